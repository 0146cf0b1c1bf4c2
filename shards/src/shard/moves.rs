//! Moving a partition from one log folder to another.

use uuid::Uuid;

use super::Shard;
use crate::route::PartitionKey;

/// Why a partition is not moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MoveError {
    /// This shard has no such partition.
    UnknownPartition,
    /// There is no such folder.
    UnknownFolder,
    /// The folder where it is, or the one where it shall be, is offline.
    FolderOffline,
    /// It is in another folder, and cannot be moved yet.
    NotYet,
}

impl Shard {
    /// Has a partition of this shard be in a folder.
    pub fn move_partition(&self, key: &PartitionKey, folder: Uuid) -> Result<(), MoveError> {
        let partition = self.partition(key).ok_or(MoveError::UnknownPartition)?;
        let folders = self.0.folders.configured();
        let target = folders.iter().find(|known| known.id == folder);
        let target = target.ok_or(MoveError::UnknownFolder)?;
        if target.is_offline.get() || partition.is_offline() {
            return Err(MoveError::FolderOffline);
        }
        match partition.folder().id == folder {
            true => Ok(()),
            false => Err(MoveError::NotYet),
        }
    }
}
