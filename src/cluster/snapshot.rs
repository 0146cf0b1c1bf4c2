//! Snapshots of the metadata, as Apache Kafka keeps them beside the `__cluster_metadata` log: what the
//! log said below an offset, so that its beginning can be deleted.
//!
//! A file's name is the offset and the epoch at which the snapshot ends; its content is batches of
//! metadata records, with offsets of their own, between a header and a footer. A file without a footer
//! was not finished. Pure functions over bytes.

use std::fmt;

use corelog_shards::log::batch::control::ControlKind;
use corelog_shards::log::batch::{Batch, BatchIter, Records};

use super::image::{Image, Replayer};
use super::log_codec::{LogError, replay_contiguous};

/// Digits of the offset and of the epoch in a name.
const OFFSET_DIGITS: usize = 20;
const EPOCH_DIGITS: usize = 10;
const SUFFIX: &str = ".checkpoint";

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

    pub fn file_name(self) -> String {
        let Self { end_offset, epoch } = self;
        format!("{end_offset:0OFFSET_DIGITS$}-{epoch:0EPOCH_DIGITS$}{SUFFIX}")
    }
}

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

/// The image that a snapshot gives, as far as the log it stands for. `empty` is that of no log.
pub fn read(bytes: &[u8], id: SnapshotId, empty: Image) -> Result<Image, SnapshotError> {
    let mut replayer = Replayer::new(empty);
    replay_contiguous(bytes, &mut replayer).map_err(SnapshotError::Content)?;
    let mut batches = BatchIter::new(bytes).filter_map(Result::ok);
    let first = batches.next();
    let last = batches.last();
    if first.and_then(first_control) != Some(ControlKind::SnapshotHeader) {
        return Err(SnapshotError::NoHeader);
    }
    if last.and_then(last_control) != Some(ControlKind::SnapshotFooter) {
        return Err(SnapshotError::NoFooter);
    }
    if replayer.open_transaction().is_some() {
        return Err(SnapshotError::OpenTransaction);
    }
    let mut image = replayer.image().clone();
    image.last_offset = id.end_offset - 1;
    image.last_epoch = id.epoch;
    Ok(image)
}

fn first_control(batch: Batch<'_>) -> Option<ControlKind> {
    controls(batch).first().copied().flatten()
}

fn last_control(batch: Batch<'_>) -> Option<ControlKind> {
    controls(batch).last().copied().flatten()
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

#[cfg(test)]
mod tests {
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

    #[test]
    fn names_say_where_a_snapshot_ends() {
        let name = "00000000000000000125-0000000002.checkpoint";
        assert_eq!(SnapshotId::parse(name), Some(ID));
        assert_eq!(ID.file_name(), name);
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
    fn a_snapshot_gives_the_image_of_the_log_it_stands_for() {
        let mut replayer = Replayer::new(Image::empty("c"));
        replay(KAFKA_LOG, &mut replayer).expect("a good log");
        let bytes = encode_snapshot(replayer.image(), 5, 6);
        let image = read(&bytes, ID, Image::empty("c")).expect("a good snapshot");
        assert_eq!(&image, replayer.image());
    }

    #[test]
    fn a_snapshot_of_kafka_is_read() {
        let id = SnapshotId {
            end_offset: 0,
            epoch: 0,
        };
        let image = read(KAFKA_SNAPSHOT, id, Image::empty("c"));
        assert_eq!(image, Ok(Image::empty("c")));
    }

    #[test]
    fn a_snapshot_that_was_not_finished_is_refused() {
        let whole = encode_snapshot(&Image::empty("c"), 5, 6);
        let batches: Vec<_> = BatchIter::new(&whole)
            .map(|batch| batch.expect("a good batch").bytes().len())
            .collect();
        let footer = *batches.last().expect("a footer");
        let read = |bytes: &[u8]| read(bytes, ID, Image::empty("c")).unwrap_err();
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
