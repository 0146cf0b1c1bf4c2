//! A small language for the schemas of Kafka's records: those of the metadata log and those of the
//! coordinators.
//!
//! Each structure lists its fields in the order of Kafka's own schema. A field is one of
//! - `name: Type` in the body at all versions,
//! - `name: Type [since N]` in the body from version N on,
//! - `name: Type [since N default VALUE]` likewise, with another default than that of its type,
//! - `name: Type [only N default VALUE]` in the body of version N alone,
//! - `name: Type [tag T since N default VALUE]` among the tagged fields from version N on, written
//!   only when it differs from the default. Tagged fields are listed by ascending tag.
//!
//! Encoding at a version that doesn't have a field leaves the field out; decoding such a version
//! gives it its default. Tagged fields nobody here knows are skipped, and there are none at versions
//! that are not flexible.

mod wire;

pub use wire::WireError;
pub(crate) use wire::{Reader, Structure, TaggedFields, Version, Wire, put_uvarint};

/// Defines structures with their encodings.
macro_rules! structures {
    ($(
        $(#[$doc:meta])*
        $name:ident { $( $field:ident : $ty:ty $( [ $($spec:tt)+ ] )? ),* $(,)? }
    )*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $( pub $field: $ty, )*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $field: $crate::schema::default_of!($($($spec)+)?), )* }
            }
        }

        impl $crate::schema::Structure for $name {}

        impl $crate::schema::Wire for $name {
            fn fits(&self) -> bool {
                true $( && $crate::schema::Wire::fits(&self.$field) )*
            }

            #[allow(unused_variables, unused_mut)]
            fn encode(&self, version: $crate::schema::Version, out: &mut Vec<u8>) {
                $( $crate::schema::write_field!(self.$field, version, out; $($($spec)+)?); )*
                if version.flexible {
                    let mut tagged = $crate::schema::TaggedFields::begin(out);
                    $( $crate::schema::write_tagged!(
                        self.$field, version, tagged; $($($spec)+)?
                    ); )*
                }
            }

            #[allow(unused_variables, unused_mut)]
            fn decode(
                version: $crate::schema::Version,
                reader: &mut $crate::schema::Reader<'_>,
            ) -> Result<Self, $crate::schema::WireError> {
                // The expressions of a structure literal run in the order they are written.
                let mut value = Self {
                    $( $field: $crate::schema::read_field!(version, reader; $($($spec)+)?), )*
                };
                if version.flexible {
                    reader.tagged(|tag, field| {
                        $( $crate::schema::read_tagged!(
                            value.$field, tag, version, field; $($($spec)+)?
                        ); )*
                        Ok(())
                    })?;
                }
                Ok(value)
            }
        }
    )*};
}

macro_rules! default_of {
    () => {
        Default::default()
    };
    (since $since:literal) => {
        Default::default()
    };
    (since $since:literal default $default:expr) => {
        $default
    };
    (only $only:literal default $default:expr) => {
        $default
    };
    (tag $tag:literal since $since:literal default $default:expr) => {
        $default
    };
}

macro_rules! write_field {
    ($value:expr, $version:ident, $out:ident;) => {
        $crate::schema::Wire::encode(&$value, $version, $out)
    };
    ($value:expr, $version:ident, $out:ident; since $since:literal $(default $default:expr)?) => {
        if $version.number >= $since {
            $crate::schema::Wire::encode(&$value, $version, $out)
        }
    };
    ($value:expr, $version:ident, $out:ident; only $only:literal default $default:expr) => {
        if $version.number == $only {
            $crate::schema::Wire::encode(&$value, $version, $out)
        }
    };
    ($value:expr, $version:ident, $out:ident; tag $($rest:tt)+) => {};
}

macro_rules! write_tagged {
    ($value:expr, $version:ident, $tagged:ident;
     tag $tag:literal since $since:literal default $default:expr) => {
        if $version.number >= $since {
            $tagged.push_unless($tag, $version, &$value, $default)
        }
    };
    ($value:expr, $version:ident, $tagged:ident; $($rest:tt)*) => {};
}

macro_rules! read_field {
    ($version:ident, $reader:ident;) => {
        $crate::schema::Wire::decode($version, $reader)?
    };
    ($version:ident, $reader:ident; since $since:literal $(default $default:expr)?) => {
        if $version.number >= $since {
            $crate::schema::Wire::decode($version, $reader)?
        } else {
            $crate::schema::default_of!(since $since $(default $default)?)
        }
    };
    ($version:ident, $reader:ident; only $only:literal default $default:expr) => {
        if $version.number == $only {
            $crate::schema::Wire::decode($version, $reader)?
        } else {
            $default
        }
    };
    ($version:ident, $reader:ident; tag $tag:literal since $since:literal default $default:expr) => {
        $default
    };
}

macro_rules! read_tagged {
    ($value:expr, $found:ident, $version:ident, $reader:ident;
     tag $tag:literal since $since:literal default $default:expr) => {
        if $found == $tag && $version.number >= $since {
            $value = $crate::schema::Wire::decode($version, $reader)?;
        }
    };
    ($value:expr, $found:ident, $version:ident, $reader:ident; $($rest:tt)*) => {};
}

pub(crate) use {default_of, read_field, read_tagged, structures, write_field, write_tagged};
