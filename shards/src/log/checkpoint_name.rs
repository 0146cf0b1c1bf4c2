//! Names of the snapshots of the metadata, which Apache Kafka keeps beside the `__cluster_metadata` log:
//! `00000000000000000042-0000000003.checkpoint` stands for what the log says below offset 42, the last of which is of
//! epoch 3.

/// Digits of the offset and of the epoch in a name.
const OFFSET_DIGITS: usize = 20;
const EPOCH_DIGITS: usize = 10;
const SUFFIX: &str = ".checkpoint";
/// Behind that.
const PARTIAL: &str = ".part";
const DELETED: &str = ".deleted";
const DAMAGED: &str = ".damaged";

/// How far a snapshot goes. The order is that of age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SnapshotId {
    /// The log goes on here.
    pub end_offset: i64,
    /// Of the last record below that.
    pub epoch: i32,
}

impl SnapshotId {
    /// `None` for anything but a finished snapshot's name.
    pub fn parse(file_name: &str) -> Option<Self> {
        let (offset, epoch) = file_name.strip_suffix(SUFFIX)?.split_once('-')?;
        let are_digits = |text: &str, count: usize| {
            text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit())
        };
        if !are_digits(offset, OFFSET_DIGITS) || !are_digits(epoch, EPOCH_DIGITS) {
            return None;
        }
        Some(Self {
            end_offset: offset.parse().ok()?,
            epoch: epoch.parse().ok()?,
        })
    }

    /// The name of the finished snapshot.
    pub fn file_name(self) -> String {
        let Self { end_offset, epoch } = self;
        format!("{end_offset:0OFFSET_DIGITS$}-{epoch:0EPOCH_DIGITS$}{SUFFIX}")
    }

    /// Its name until it is finished.
    pub fn partial_name(self) -> String {
        self.file_name() + PARTIAL
    }

    /// Its name until its file goes.
    pub fn deleted_name(self) -> String {
        self.file_name() + DELETED
    }

    /// Its name once it was found to be damaged.
    pub fn damaged_name(self) -> String {
        self.file_name() + DAMAGED
    }

    /// `None` for anything but such a name.
    pub fn parse_damaged(file_name: &str) -> Option<Self> {
        Self::parse(file_name.strip_suffix(DAMAGED)?)
    }
}

/// Whether a file was to become a snapshot, or is what is left of one. Kafka puts random digits before the suffix.
pub fn is_leftover(file_name: &str) -> bool {
    let is_one = |suffix| {
        let name = file_name.strip_suffix(suffix);
        name.is_some_and(|name| name.ends_with(SUFFIX))
    };
    is_one(PARTIAL) || is_one(DELETED)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: SnapshotId = SnapshotId {
        end_offset: 125,
        epoch: 2,
    };

    #[test]
    fn names_say_where_a_snapshot_ends() {
        let name = "00000000000000000125-0000000002.checkpoint";
        assert_eq!(SnapshotId::parse(name), Some(ID));
        assert_eq!(ID.file_name(), name);
        assert_eq!(SnapshotId::parse_damaged(&ID.damaged_name()), Some(ID));
        assert_eq!(SnapshotId::parse_damaged(name), None);
        for other in [
            "00000000000000000125-0000000002.checkpoint.part",
            "00000000000000000125-0000000002.checkpoint.deleted",
            "125-2.checkpoint",
            "bootstrap.checkpoint",
            "leader-epoch-checkpoint",
        ] {
            assert_eq!(SnapshotId::parse(other), None, "{other}");
        }
    }

    #[test]
    fn what_a_crash_leaves_behind_is_told_from_snapshots() {
        for leftover in [
            "00000000000000000125-0000000002.checkpoint.part",
            "00000000000000000125-0000000002-8745.checkpoint.part",
            "00000000000000000125-0000000002.checkpoint.deleted",
        ] {
            assert!(is_leftover(leftover), "{leftover}");
            assert_eq!(SnapshotId::parse(leftover), None);
        }
        for other in [
            "00000000000000000125-0000000002.checkpoint",
            "00000000000000000125.log.deleted",
            "00000000000000000125-0000000002.checkpoint.damaged",
        ] {
            assert!(!is_leftover(other), "{other}");
        }
    }
}
