//! A small language for the schemas of metadata records.
//!
//! Each structure lists its fields in the order of Kafka's own schema. A field is one of
//! - `name: Type` in the body at all versions,
//! - `name: Type [since N]` in the body from version N on,
//! - `name: Type [tag T since N default VALUE]` among the tagged fields from version N on, written
//!   only when it differs from the default. Tagged fields are listed by ascending tag.
//!
//! Encoding at a version that doesn't have a field leaves the field out; decoding such a version
//! gives it its default. Tagged fields nobody here knows are skipped.

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
                Self { $( $field: $crate::cluster::records::schema::default_of!($($($spec)+)?), )* }
            }
        }

        impl $crate::cluster::records::wire::Wire for $name {
            #[allow(unused_variables, unused_mut)]
            fn encode(&self, version: i16, out: &mut Vec<u8>) {
                let mut tagged = $crate::cluster::records::wire::TaggedFields::default();
                $( $crate::cluster::records::schema::write_field!(
                    self.$field, version, out, tagged; $($($spec)+)?
                ); )*
                tagged.finish(out);
            }

            #[allow(unused_variables, unused_mut)]
            fn decode(
                version: i16,
                reader: &mut $crate::cluster::records::wire::Reader<'_>,
            ) -> Result<Self, $crate::cluster::records::DecodeError> {
                // The expressions of a structure literal run in the order they are written.
                let mut value = Self {
                    $( $field: $crate::cluster::records::schema::read_field!(
                        version, reader; $($($spec)+)?
                    ), )*
                };
                reader.tagged(|tag, field| {
                    $( $crate::cluster::records::schema::read_tagged!(
                        value.$field, tag, version, field; $($($spec)+)?
                    ); )*
                    Ok(())
                })?;
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
    (tag $tag:literal since $since:literal default $default:expr) => {
        $default
    };
}

macro_rules! write_field {
    ($value:expr, $version:ident, $out:ident, $tagged:ident;) => {
        $crate::cluster::records::wire::Wire::encode(&$value, $version, $out)
    };
    ($value:expr, $version:ident, $out:ident, $tagged:ident; since $since:literal) => {
        if $version >= $since {
            $crate::cluster::records::wire::Wire::encode(&$value, $version, $out)
        }
    };
    ($value:expr, $version:ident, $out:ident, $tagged:ident;
     tag $tag:literal since $since:literal default $default:expr) => {
        if $version >= $since {
            $tagged.push_unless($tag, $version, &$value, $default)
        }
    };
}

macro_rules! read_field {
    ($version:ident, $reader:ident;) => {
        $crate::cluster::records::wire::Wire::decode($version, $reader)?
    };
    ($version:ident, $reader:ident; since $since:literal) => {
        if $version >= $since {
            $crate::cluster::records::wire::Wire::decode($version, $reader)?
        } else {
            Default::default()
        }
    };
    ($version:ident, $reader:ident; tag $tag:literal since $since:literal default $default:expr) => {
        $default
    };
}

macro_rules! read_tagged {
    ($value:expr, $tag:ident, $version:ident, $reader:ident;) => {};
    ($value:expr, $tag:ident, $version:ident, $reader:ident; since $since:literal) => {};
    ($value:expr, $found:ident, $version:ident, $reader:ident;
     tag $tag:literal since $since:literal default $default:expr) => {
        if $found == $tag && $version >= $since {
            $value = $crate::cluster::records::wire::Wire::decode($version, $reader)?;
        }
    };
}

pub(super) use {default_of, read_field, read_tagged, structures, write_field};
