//! The records of the metadata log, byte for byte those of Kafka's KRaft.
//!
//! A record is framed as `frame version (1), key, version` (unsigned varints) and a body in Kafka's
//! flexible encoding. Everything here is plain synchronous code without state, callable from any
//! core.
//!
//! A record whose key or version is not known is an error of its own kind: skipping it would make
//! the image silently different from what the cluster agreed on, so the caller must decide.
//! Unknown tagged fields, which the format promises may be ignored, are skipped.
//!
//! Not here: what records mean ([`super::image`]) and how they are packed into batches
//! ([`super::log_codec`]).

mod control;
mod nodes;
mod security;
#[cfg(test)]
mod tests;
mod topics;
mod transactions;

use std::fmt;

pub use control::*;
pub use nodes::*;
pub use security::*;
pub use topics::*;
pub use transactions::*;

use super::features::MetadataVersion;
use crate::schema::{Reader, Version, Wire, WireError, put_uvarint};

/// The only version of the frame around records so far.
const FRAME_VERSION: u32 = 1;

/// Why bytes are not a metadata record that this version understands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DecodeError {
    Wire(WireError),
    FrameVersion(u32),
    UnknownKey(u32),
    UnknownVersion { record: &'static str, version: u32 },
    Garbage { record: &'static str, len: usize },
}

impl From<WireError> for DecodeError {
    fn from(error: WireError) -> Self {
        Self::Wire(error)
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wire(error) => write!(f, "the metadata record is malformed: {error}"),
            Self::FrameVersion(version) => {
                write!(
                    f,
                    "metadata record frame version {version} is not supported"
                )
            }
            Self::UnknownKey(key) => write!(f, "metadata record type {key} is not known"),
            Self::UnknownVersion { record, version } => {
                write!(f, "version {version} of {record} is not known")
            }
            Self::Garbage { record, len } => write!(f, "{len} bytes of garbage after {record}"),
        }
    }
}

impl std::error::Error for DecodeError {}

macro_rules! record_types {
    ($( $key:literal $name:ident($body:ident) up to $highest:literal; )*) => {
        /// Any record of the metadata log.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Record {
            $( $name($body), )*
        }

        impl Record {
            /// The number that names the type of the record on disk.
            pub fn key(&self) -> u32 {
                match self {
                    $( Self::$name(_) => $key, )*
                }
            }

            /// The name of the type as Kafka writes it.
            pub fn type_name(&self) -> &'static str {
                match self {
                    $( Self::$name(_) => stringify!($body), )*
                }
            }

            /// The highest version that can be read and written.
            pub fn highest_version(&self) -> i16 {
                match self {
                    $( Self::$name(_) => $highest, )*
                }
            }

            fn encode_body(&self, version: Version, out: &mut Vec<u8>) {
                match self {
                    $( Self::$name(body) => body.encode(version, out), )*
                }
            }

            fn decode_body(
                key: u32,
                version: u32,
                reader: &mut Reader<'_>,
            ) -> Result<Self, DecodeError> {
                match key {
                    $( $key => {
                        if version > $highest {
                            return Err(DecodeError::UnknownVersion {
                                record: stringify!($body),
                                version,
                            });
                        }
                        let version = Version::flexible(version as i16);
                        Ok(Self::$name($body::decode(version, reader)?))
                    } )*
                    _ => Err(DecodeError::UnknownKey(key)),
                }
            }
        }

        $( impl From<$body> for Record {
            fn from(body: $body) -> Self {
                Self::$name(body)
            }
        } )*
    };
}

record_types! {
    0 RegisterBroker(RegisterBrokerRecord) up to 4;
    1 UnregisterBroker(UnregisterBrokerRecord) up to 0;
    2 Topic(TopicRecord) up to 0;
    3 Partition(PartitionRecord) up to 2;
    4 Config(ConfigRecord) up to 0;
    5 PartitionChange(PartitionChangeRecord) up to 2;
    7 FenceBroker(FenceBrokerRecord) up to 0;
    8 UnfenceBroker(UnfenceBrokerRecord) up to 0;
    9 RemoveTopic(RemoveTopicRecord) up to 0;
    10 DelegationToken(DelegationTokenRecord) up to 0;
    11 UserScramCredential(UserScramCredentialRecord) up to 0;
    12 FeatureLevel(FeatureLevelRecord) up to 0;
    14 ClientQuota(ClientQuotaRecord) up to 0;
    15 ProducerIds(ProducerIdsRecord) up to 0;
    17 BrokerRegistrationChange(BrokerRegistrationChangeRecord) up to 3;
    18 AccessControlEntry(AccessControlEntryRecord) up to 0;
    19 RemoveAccessControlEntry(RemoveAccessControlEntryRecord) up to 0;
    20 NoOp(NoOpRecord) up to 0;
    21 ZkMigrationState(ZkMigrationStateRecord) up to 0;
    22 RemoveUserScramCredential(RemoveUserScramCredentialRecord) up to 0;
    23 BeginTransaction(BeginTransactionRecord) up to 0;
    24 EndTransaction(EndTransactionRecord) up to 0;
    25 AbortTransaction(AbortTransactionRecord) up to 0;
    26 RemoveDelegationToken(RemoveDelegationTokenRecord) up to 0;
    27 RegisterController(RegisterControllerRecord) up to 0;
    28 ClearElr(ClearElrRecord) up to 0;
}

impl Record {
    /// The version that a cluster at `metadata_version` writes this record at, as Kafka chooses it.
    pub fn version_at(&self, metadata_version: MetadataVersion) -> i16 {
        match self {
            Self::RegisterBroker(_) => metadata_version.register_broker_record_version(),
            Self::Partition(_) | Self::PartitionChange(_) => {
                metadata_version.partition_record_version()
            }
            // The lowest version that holds what is said.
            Self::BrokerRegistrationChange(change) => {
                if change.cordoned_log_dirs.is_some() {
                    3
                } else if !change.log_dirs.is_empty() {
                    2
                } else if change.in_controlled_shutdown != 0 {
                    1
                } else {
                    0
                }
            }
            _ => 0,
        }
    }

    /// Appends the framed record at `version` to `out`.
    pub fn encode(&self, version: i16, out: &mut Vec<u8>) {
        assert!(
            (0..=self.highest_version()).contains(&version),
            "{} has no version {version}",
            self.type_name()
        );
        put_uvarint(FRAME_VERSION, out);
        put_uvarint(self.key(), out);
        put_uvarint(version as u32, out);
        self.encode_body(Version::flexible(version), out);
    }

    /// Decodes one framed record that fills `bytes` to the end.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let frame_version = reader.uvarint()?;
        if frame_version != FRAME_VERSION {
            return Err(DecodeError::FrameVersion(frame_version));
        }
        let key = reader.uvarint()?;
        let version = reader.uvarint()?;
        let record = Self::decode_body(key, version, &mut reader)?;
        match reader.remaining() {
            0 => Ok(record),
            len => Err(DecodeError::Garbage {
                record: record.type_name(),
                len,
            }),
        }
    }
}
