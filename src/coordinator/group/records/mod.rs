//! The records of `__consumer_offsets`, byte for byte those of Apache Kafka 4.3.
//!
//! A record's key is `type (i16), fields`, never flexible; its value is `version (i16), fields`, of
//! which only newer versions are flexible. A record without a value is a tombstone: what its key
//! names is gone. Written is the version that Kafka 4.3 writes; all that it reads are read.
//!
//! A type that is not known here ([`Record::Unknown`]: share groups, streams groups, later ones) is
//! to be passed over, as Kafka does. A *version* that is not known is an error: state would silently
//! be missing. Unknown tagged fields, which the format promises may be ignored, are skipped.
//!
//! Plain functions over bytes, callable from any core. Not here: what records mean, how they are
//! packed into batches, and null keys, which no record of this topic has.

mod classic;
mod consumer;
mod offsets;
#[cfg(test)]
mod tests;

use std::fmt;

use bytes::Bytes;

pub use classic::*;
pub use consumer::*;
pub use offsets::*;

use crate::schema::{Reader, Version, Wire, WireError};

/// Why bytes are not a record that this version understands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Malformed {
    Wire(WireError),
    UnknownVersion { record: &'static str, version: i16 },
    Garbage { record: &'static str, len: usize },
}

impl From<WireError> for Malformed {
    fn from(error: WireError) -> Self {
        Self::Wire(error)
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wire(error) => write!(f, "the group record is malformed: {error}"),
            Self::UnknownVersion { record, version } => {
                write!(f, "version {version} of {record} is not known")
            }
            Self::Garbage { record, len } => write!(f, "{len} bytes of garbage after {record}"),
        }
    }
}

impl std::error::Error for Malformed {}

/// A record has a string that is longer than the 32,767 bytes that Kafka's formats allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string is too long for a group record")
    }
}

impl std::error::Error for TooLong {}

/// Defines [`Record`]: type (and an older one with the same fields), fields of the key in their
/// order, value with its highest version and the first flexible one.
macro_rules! record_types {
    ($(
        $(#[$doc:meta])*
        $record_type:literal $(| $older:literal)? $name:ident { $( $field:ident: $ty:ty ),* }
        = $value:ident up to $highest:literal flexible from $flexible:literal;
    )*) => {
        /// Any record of `__consumer_offsets`. One whose `value` is `None` is a tombstone.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Record {
            $(
                $(#[$doc])*
                $name { $( $field: $ty, )* value: Option<$value> },
            )*
            /// Of a type that is not known here; its first two bytes are the type.
            Unknown { key: Bytes, value: Option<Bytes> },
        }

        impl Record {
            /// Decodes a record whose key and value fill the given bytes to their ends.
            pub fn decode(key: &[u8], value: Option<&[u8]>) -> Result<Self, Malformed> {
                let mut reader = Reader::new(key);
                let record_type = i16::decode(KEY, &mut reader)?;
                let record = match record_type {
                    $( $record_type $(| $older)? => Self::$name {
                        $( $field: Wire::decode(KEY, &mut reader)?, )*
                        value: value
                            .map(|value| decode_value(value, stringify!($value), $highest, $flexible))
                            .transpose()?,
                    }, )*
                    _ => return Ok(Self::Unknown {
                        key: Bytes::copy_from_slice(key),
                        value: value.map(Bytes::copy_from_slice),
                    }),
                };
                at_end(&reader, record.type_name())?;
                Ok(record)
            }

            /// The name of the type as Kafka writes it.
            fn type_name(&self) -> &'static str {
                match self {
                    $( Self::$name { .. } => stringify!($name), )*
                    Self::Unknown { .. } => "Unknown",
                }
            }

            /// The group that it is of, if its type is known.
            pub fn group(&self) -> Option<&str> {
                match self {
                    $( Self::$name { group, .. } => Some(group), )*
                    Self::Unknown { .. } => None,
                }
            }

            /// Whether what its key names is gone.
            pub fn is_tombstone(&self) -> bool {
                match self {
                    $( Self::$name { value, .. } => value.is_none(), )*
                    Self::Unknown { value, .. } => value.is_none(),
                }
            }

            fn fits(&self) -> bool {
                match self {
                    $( Self::$name { $( $field, )* value } => {
                        $( $field.fits() && )* value.as_ref().is_none_or(Wire::fits)
                    } )*
                    Self::Unknown { .. } => true,
                }
            }

            fn encode_key(&self, out: &mut Vec<u8>) {
                match self {
                    $( Self::$name { $( $field, )* .. } => {
                        i16::encode(&$record_type, KEY, out);
                        $( $field.encode(KEY, out); )*
                    } )*
                    Self::Unknown { key, .. } => out.extend_from_slice(key),
                }
            }

            /// Whether there is a value.
            fn encode_value(&self, out: &mut Vec<u8>) -> bool {
                match self {
                    $( Self::$name { value: Some(value), .. } => {
                        let version = self.written_version();
                        version.encode(KEY, out);
                        value.encode(version_of(version, $flexible), out);
                        true
                    } )*
                    Self::Unknown { value: Some(value), .. } => {
                        out.extend_from_slice(value);
                        true
                    }
                    _ => false,
                }
            }
        }
    };
}

record_types! {
    /// The offset that a group has committed for a partition. Type 0 is that of Kafka before 0.8.2.
    1 | 0 OffsetCommit { group: String, topic: String, partition: i32 }
        = OffsetCommitValue up to 4 flexible from 4;
    /// A group of the classic protocol, with all of its members.
    2 GroupMetadata { group: String } = GroupMetadataValue up to 4 flexible from 4;
    /// A group of the consumer protocol.
    3 ConsumerGroupMetadata { group: String }
        = ConsumerGroupMetadataValue up to 0 flexible from 0;
    /// Written by Kafka before 4.1; since then there are only tombstones, for groups that had one.
    4 ConsumerGroupPartitionMetadata { group: String }
        = ConsumerGroupPartitionMetadataValue up to 0 flexible from 0;
    /// A member and what it subscribes to.
    5 ConsumerGroupMemberMetadata { group: String, member: String }
        = ConsumerGroupMemberMetadataValue up to 0 flexible from 0;
    6 ConsumerGroupTargetAssignmentMetadata { group: String }
        = ConsumerGroupTargetAssignmentMetadataValue up to 0 flexible from 0;
    /// What a member is to have.
    7 ConsumerGroupTargetAssignmentMember { group: String, member: String }
        = ConsumerGroupTargetAssignmentMemberValue up to 0 flexible from 0;
    /// What a member has on its way to its target.
    8 ConsumerGroupCurrentMemberAssignment { group: String, member: String }
        = ConsumerGroupCurrentMemberAssignmentValue up to 0 flexible from 0;
    /// The topics that a regular expression stands for.
    16 ConsumerGroupRegularExpression { group: String, regular_expression: String }
        = ConsumerGroupRegularExpressionValue up to 0 flexible from 0;
}

/// Keys have one version, which is their type.
const KEY: Version = Version::plain(0);

impl Record {
    /// The version that Kafka 4.3 writes this record's value at.
    fn written_version(&self) -> i16 {
        match self {
            // The only version that has an expiry of its own.
            Self::OffsetCommit {
                value: Some(value), ..
            } if value.expire_timestamp != NO_TIMESTAMP => 1,
            Self::OffsetCommit { .. } => 4,
            Self::GroupMetadata { .. } => 3,
            _ => 0,
        }
    }

    /// Key and value, which stand one behind the other in `out` afterwards; what was in there is
    /// gone.
    pub fn encode<'a>(
        &self,
        out: &'a mut Vec<u8>,
    ) -> Result<(&'a [u8], Option<&'a [u8]>), TooLong> {
        if !self.fits() {
            return Err(TooLong);
        }
        out.clear();
        self.encode_key(out);
        let key_len = out.len();
        let has_value = self.encode_value(out);
        let (key, value) = out.split_at(key_len);
        Ok((key, has_value.then_some(value)))
    }
}

fn version_of(number: i16, first_flexible: i16) -> Version {
    match number >= first_flexible {
        true => Version::flexible(number),
        false => Version::plain(number),
    }
}

fn decode_value<T: Wire>(
    value: &[u8],
    record: &'static str,
    highest: i16,
    first_flexible: i16,
) -> Result<T, Malformed> {
    let mut reader = Reader::new(value);
    let version = i16::decode(KEY, &mut reader)?;
    if !(0..=highest).contains(&version) {
        return Err(Malformed::UnknownVersion { record, version });
    }
    let value = T::decode(version_of(version, first_flexible), &mut reader)?;
    at_end(&reader, record)?;
    Ok(value)
}

fn at_end(reader: &Reader<'_>, record: &'static str) -> Result<(), Malformed> {
    match reader.remaining() {
        0 => Ok(()),
        len => Err(Malformed::Garbage { record, len }),
    }
}
