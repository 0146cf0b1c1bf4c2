//! What may go from logs by itself: by age, by size, or for newer values of its keys.

/// The most that goes with any of the settings that a topic may have, or have had. Each of them may come late, and any
/// may have met any other one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cleanup {
    /// Whether there may be compaction.
    pub is_compacted: bool,
    /// Whether there may be deletion.
    pub is_deleted: bool,
    /// So many bytes stay, if any go for being too many.
    pub retention_bytes: Option<u64>,
    /// What is no older stays, if any goes for its age.
    pub retention_ms: Option<i64>,
    /// Whether it is only known what settings there may be, and not which one there is.
    pub is_unsure: bool,
}

impl Cleanup {
    /// More may go from now on: what goes with these settings as well.
    pub fn loosen(&mut self, other: &Cleanup) {
        fn least<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
            one.into_iter().chain(other).min()
        }
        self.is_compacted |= other.is_compacted;
        self.is_deleted |= other.is_deleted;
        self.retention_bytes = least(self.retention_bytes, other.retention_bytes);
        self.retention_ms = least(self.retention_ms, other.retention_ms);
        self.is_unsure = true;
    }
}
