//! The keys of control records, which say what a control batch is there for, and the values of those that
//! end transactions. Kafka's versions of the other values are the business of whoever writes them.

use super::iter::Batch;
use super::records::Records;

/// What a control record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i16)]
pub enum ControlKind {
    /// The producer's transaction is aborted.
    Abort = 0,
    /// The producer's transaction is committed.
    Commit = 1,
    /// A new leader of a replicated metadata log.
    LeaderChange = 2,
    SnapshotHeader = 3,
    SnapshotFooter = 4,
    QuorumVersion = 5,
    QuorumVoters = 6,
}

impl ControlKind {
    const ALL: [Self; 7] = [
        Self::Abort,
        Self::Commit,
        Self::LeaderChange,
        Self::SnapshotHeader,
        Self::SnapshotFooter,
        Self::QuorumVersion,
        Self::QuorumVoters,
    ];
    const KEY_VERSION: i16 = 0;

    pub fn key(self) -> [u8; 4] {
        let [version, kind] = [Self::KEY_VERSION, self as i16].map(i16::to_be_bytes);
        [version[0], version[1], kind[0], kind[1]]
    }

    /// None for a kind that is not known, which readers pass over. Later versions of the key may be longer.
    pub fn from_key(key: &[u8]) -> Option<Self> {
        let (version, rest) = key.split_first_chunk()?;
        let kind = i16::from_be_bytes(*rest.first_chunk()?);
        if i16::from_be_bytes(*version) < Self::KEY_VERSION {
            return None;
        }
        Self::ALL.get(usize::try_from(kind).ok()?).copied()
    }
}

/// What the marker at the end of a transaction says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransactionEnd {
    pub is_aborted: bool,
    pub coordinator_epoch: i32,
}

impl TransactionEnd {
    const VALUE_VERSION: i16 = 0;

    /// The value of the record.
    pub fn value(self) -> [u8; 6] {
        let mut value = [0; 6];
        value[..2].copy_from_slice(&Self::VALUE_VERSION.to_be_bytes());
        value[2..].copy_from_slice(&self.coordinator_epoch.to_be_bytes());
        value
    }

    /// None for a batch that ends no transaction. Later versions of the value may be longer.
    pub fn of(batch: Batch<'_>) -> Option<Self> {
        if !batch.is_control() || !batch.has_producer_id() {
            return None;
        }
        let mut records = Records::new(batch).ok()?;
        let record = records.next().ok()??;
        let is_aborted = match ControlKind::from_key(record.key?)? {
            ControlKind::Abort => true,
            ControlKind::Commit => false,
            _ => return None,
        };
        let (_, rest) = record.value?.split_first_chunk::<2>()?;
        Some(Self {
            is_aborted,
            coordinator_epoch: i32::from_be_bytes(*rest.first_chunk()?),
        })
    }
}
