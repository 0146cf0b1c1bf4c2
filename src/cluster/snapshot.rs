//! Snapshots of the metadata, as Apache Kafka keeps them beside the `__cluster_metadata` log: what the
//! log said below an offset, so that its beginning can be deleted.
//!
//! A file's name is that of [`SnapshotId`]; its content is batches of metadata records, with offsets of their own, between a header and a footer. A file without a footer
//! was not finished.
//!
//! Plain synchronous code over bytes. What it is used for, and when: [`super::driver`].

use std::fmt;

use corelog_shards::log::batch::control::ControlKind;
use corelog_shards::log::batch::{Batch, BatchError, BatchIter, Records};
use corelog_shards::log::checkpoint_name::SnapshotId;

use super::image::{Image, Replayer};
use super::log_codec::{LogError, damaged, replay_next};
use super::records::decode_header;
use crate::config::SnapshotSettings;

/// Why a snapshot cannot be used.
#[derive(Clone, Debug, PartialEq)]
pub enum SnapshotError {
    Content(LogError),
    NoHeader,
    NoFooter,
    OpenTransaction,
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Content(error) => error.fmt(f),
            Self::NoHeader => f.write_str("it has no header"),
            Self::NoFooter => f.write_str("it has no footer: it was not finished"),
            Self::OpenTransaction => f.write_str("it ends inside a metadata transaction"),
        }
    }
}

impl std::error::Error for SnapshotError {}

/// Reads a snapshot batch by batch.
pub struct Reader {
    replayer: Replayer,
    is_begun: bool,
    /// Of the last batch.
    last: Option<ControlKind>,
}

impl Reader {
    /// `empty` is the image of no log.
    pub fn new(empty: Image) -> Self {
        Self {
            replayer: Replayer::new(empty),
            is_begun: false,
            last: None,
        }
    }

    /// Takes the next batch, as one that checks CRCs gives it.
    pub fn take(&mut self, batch: Result<Batch<'_>, BatchError>) -> Result<(), SnapshotError> {
        let batch =
            batch.map_err(|error| SnapshotError::Content(damaged(error, &self.replayer)))?;
        replay_next(batch, &mut self.replayer).map_err(SnapshotError::Content)?;
        let controls = controls(batch);
        let first = controls.first().copied().flatten();
        if !self.is_begun && first != Some(ControlKind::SnapshotHeader) {
            return Err(SnapshotError::NoHeader);
        }
        self.is_begun = true;
        self.last = controls.last().copied().flatten();
        Ok(())
    }

    /// The image that the snapshot gives, as far as the log it stands for.
    pub fn finish(self, id: SnapshotId) -> Result<Image, SnapshotError> {
        if !self.is_begun {
            return Err(SnapshotError::NoHeader);
        }
        if self.last != Some(ControlKind::SnapshotFooter) {
            return Err(SnapshotError::NoFooter);
        }
        if self.replayer.open_transaction().is_some() {
            return Err(SnapshotError::OpenTransaction);
        }
        let mut image = self.replayer.image().clone();
        image.last_offset = id.end_offset - 1;
        image.last_epoch = id.epoch;
        Ok(image)
    }
}

/// The timestamp of the last record that a snapshot stands for, from the first bytes of its file.
pub fn last_log_timestamp_ms(bytes: &[u8]) -> Option<i64> {
    let header = BatchIter::verifying(bytes).next()?.ok()?;
    let mut records = Records::new(header).ok()?;
    let record = records.next().ok()??;
    let kind = ControlKind::from_key(record.key?)?;
    let header = decode_header(record.value?);
    (kind == ControlKind::SnapshotHeader).then_some(header?.last_contained_log_timestamp)
}

/// A snapshot that is in the folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    pub id: SnapshotId,
    pub bytes: u64,
    /// `None` if its header cannot be read: then it counts as too old.
    pub last_log_timestamp_ms: Option<i64>,
}

/// What the records of a control batch are; nothing for another batch.
fn controls(batch: Batch<'_>) -> Vec<Option<ControlKind>> {
    let mut kinds = Vec::new();
    if batch.is_control()
        && let Ok(mut records) = Records::new(batch)
    {
        while let Ok(Some(record)) = records.next() {
            kinds.push(record.key.and_then(ControlKind::from_key));
        }
    }
    kinds
}

/// Why a snapshot goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breach {
    /// Of `metadata.max.retention.bytes`.
    Bytes,
    /// Of `metadata.max.retention.ms`.
    Age,
}

/// Whether the oldest of several snapshots is to go, and the log with it up to the end of the next one.
/// `total_bytes` is that of all snapshots and of the log.
pub fn breach(
    settings: &SnapshotSettings,
    oldest: Kept,
    total_bytes: u64,
    now_ms: i64,
) -> Option<Breach> {
    let is_too_much = |max| total_bytes > max;
    if settings.retention_bytes.is_some_and(is_too_much) {
        return Some(Breach::Bytes);
    }
    // What does not tell its age must not keep those behind it.
    let ended_ms = oldest.last_log_timestamp_ms.unwrap_or(i64::MIN);
    let age_ms = now_ms.saturating_sub(ended_ms);
    let is_too_old = |max| u64::try_from(age_ms).is_ok_and(|age| age > max);
    settings
        .retention_ms
        .is_some_and(is_too_old)
        .then_some(Breach::Age)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cluster::log_codec::replay;
    use crate::cluster::log_codec::testing::encode_snapshot;

    const KAFKA_LOG: &[u8] = include_bytes!(
        "../../tests/formats/kafka-4.3.1/__cluster_metadata-0/00000000000000000000.log"
    );
    const KAFKA_SNAPSHOT: &[u8] = include_bytes!(
        "../../tests/formats/kafka-4.3.1/__cluster_metadata-0/00000000000000000000-0000000000.checkpoint"
    );
    const ID: SnapshotId = SnapshotId {
        end_offset: 125,
        epoch: 2,
    };

    fn read(bytes: &[u8], id: SnapshotId) -> Result<Image, SnapshotError> {
        let mut reader = Reader::new(Image::empty("c"));
        for batch in BatchIter::verifying(bytes) {
            reader.take(batch)?;
        }
        reader.finish(id)
    }

    #[test]
    fn the_header_says_when_the_log_ended() {
        let bytes = encode_snapshot(&Image::empty("c"), 5, 6);
        assert_eq!(last_log_timestamp_ms(&bytes), Some(5));
        assert_eq!(last_log_timestamp_ms(&bytes[..20]), None);
        assert!(last_log_timestamp_ms(KAFKA_SNAPSHOT).is_some());
        assert_eq!(last_log_timestamp_ms(KAFKA_LOG), None);
    }

    #[test]
    fn the_oldest_goes_by_size_and_by_age() {
        let settings = |retention_bytes, retention_ms| SnapshotSettings {
            bytes_between: 1,
            interval: None,
            retention_bytes,
            retention_ms,
            delete_delay: Duration::ZERO,
        };
        let oldest = Kept {
            id: ID,
            bytes: 10,
            last_log_timestamp_ms: Some(1_000),
        };
        let by_size = settings(Some(100), None);
        assert_eq!(breach(&by_size, oldest, 100, i64::MAX), None);
        assert_eq!(breach(&by_size, oldest, 101, 0), Some(Breach::Bytes));
        let by_age = settings(None, Some(500));
        assert_eq!(breach(&by_age, oldest, u64::MAX, 1_500), None);
        assert_eq!(breach(&by_age, oldest, 0, 1_501), Some(Breach::Age));
        // A clock that went back says nothing of an age.
        assert_eq!(breach(&by_age, oldest, 0, 0), None);
        let unknown = Kept {
            last_log_timestamp_ms: None,
            ..oldest
        };
        assert_eq!(breach(&by_age, unknown, 0, 1_000), Some(Breach::Age));
        assert_eq!(
            breach(&settings(None, None), oldest, u64::MAX, i64::MAX),
            None
        );
    }

    #[test]
    fn a_snapshot_gives_the_image_of_the_log_it_stands_for() {
        let mut replayer = Replayer::new(Image::empty("c"));
        replay(KAFKA_LOG, &mut replayer).expect("a good log");
        let bytes = encode_snapshot(replayer.image(), 5, 6);
        let image = read(&bytes, ID).expect("a good snapshot");
        assert_eq!(&image, replayer.image());
    }

    #[test]
    fn a_snapshot_of_kafka_is_read() {
        let id = SnapshotId {
            end_offset: 0,
            epoch: 0,
        };
        let image = read(KAFKA_SNAPSHOT, id);
        assert_eq!(image, Ok(Image::empty("c")));
    }

    #[test]
    fn a_snapshot_that_was_not_finished_is_refused() {
        let whole = encode_snapshot(&Image::empty("c"), 5, 6);
        let batches: Vec<_> = BatchIter::new(&whole)
            .map(|batch| batch.expect("a good batch").bytes().len())
            .collect();
        let footer = *batches.last().expect("a footer");
        let read = |bytes: &[u8]| read(bytes, ID).unwrap_err();
        let cut = &whole[..whole.len() - footer];
        assert_eq!(read(cut), SnapshotError::NoFooter);
        assert_eq!(read(&[]), SnapshotError::NoHeader);
        assert!(matches!(
            read(&whole[..whole.len() - 1]),
            SnapshotError::Content(_)
        ));
        assert!(matches!(
            read(&whole[batches[0]..]),
            SnapshotError::Content(_)
        ));
    }
}
