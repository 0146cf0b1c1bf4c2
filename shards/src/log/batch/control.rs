//! The keys of control records, which say what a control batch is there for. Kafka's versions of their
//! values are the business of whoever writes them.

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
