//! Writing snapshots: an image as the batches of a file of its own.

use super::*;
use crate::cluster::image::Image;
use crate::cluster::records::{SnapshotFooterMessage, SnapshotHeaderMessage};

/// How much of a snapshot goes into one batch: some tens of microseconds of work.
const BATCH_BYTES: usize = 32 * 1024;

/// The snapshot of `image`, batch by batch: header, records, footer. Whoever takes the batches may do
/// other things in between. `last_log_timestamp_ms` is that of the last record the snapshot stands for.
pub fn snapshot_batches(
    image: &Image,
    last_log_timestamp_ms: i64,
    timestamp_ms: i64,
) -> impl Iterator<Item = Vec<u8>> {
    SnapshotBatches {
        records: image.records(),
        metadata_version: image.metadata_version(),
        place: BatchPlace {
            base_offset: 0,
            leader_epoch: image.last_epoch,
            timestamp_ms,
        },
        next: Part::Header {
            last_log_timestamp_ms,
        },
    }
}

enum Part {
    Header { last_log_timestamp_ms: i64 },
    Records,
    Nothing,
}

struct SnapshotBatches<I> {
    records: I,
    metadata_version: MetadataVersion,
    /// Of the next batch.
    place: BatchPlace,
    next: Part,
}

impl<I: Iterator<Item = Record>> SnapshotBatches<I> {
    /// As many of the records as go into one batch; `None` if there is none left.
    fn some_records(&mut self) -> Option<Vec<u8>> {
        let mut batch = self.place.builder();
        let mut value = Vec::new();
        while batch.uncompressed_bytes() < BATCH_BYTES
            && let Some(record) = self.records.next()
        {
            value.clear();
            record.encode(record.version_at(self.metadata_version), &mut value);
            append(&mut batch, self.place, None, &value);
        }
        let count = batch.record_count();
        self.place.base_offset += i64::from(count);
        (count > 0).then(|| finish(batch))
    }

    fn footer(&self) -> Vec<u8> {
        let footer = encode_control(&SnapshotFooterMessage { version: 0 });
        control_batch(ControlKind::SnapshotFooter, &footer, self.place)
    }
}

impl<I: Iterator<Item = Record>> Iterator for SnapshotBatches<I> {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        match self.next {
            Part::Header {
                last_log_timestamp_ms,
            } => {
                let header = encode_control(&SnapshotHeaderMessage {
                    version: 0,
                    last_contained_log_timestamp: last_log_timestamp_ms,
                });
                let batch = control_batch(ControlKind::SnapshotHeader, &header, self.place);
                self.place.base_offset += 1;
                self.next = Part::Records;
                Some(batch)
            }
            Part::Records => Some(self.some_records().unwrap_or_else(|| {
                self.next = Part::Nothing;
                self.footer()
            })),
            Part::Nothing => None,
        }
    }
}
