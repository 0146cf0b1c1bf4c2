//! Snapshots for tests of what reads them.

use super::*;
use crate::cluster::image::Image;
use crate::cluster::records::{SnapshotFooterMessage, SnapshotHeaderMessage};

/// How much of a snapshot goes into one batch.
const BATCH_BYTES: usize = 256 * 1024;

/// A whole snapshot of `image` for a file of its own: header, records, footer.
/// `last_log_timestamp_ms` is that of the last record the snapshot stands for.
pub(in crate::cluster) fn encode_snapshot(
    image: &Image,
    last_log_timestamp_ms: i64,
    timestamp_ms: i64,
) -> Vec<u8> {
    let mut place = BatchPlace {
        base_offset: 0,
        leader_epoch: 0,
        timestamp_ms,
    };
    let header = encode_control(&SnapshotHeaderMessage {
        version: 0,
        last_contained_log_timestamp: last_log_timestamp_ms,
    });
    let mut bytes = control_batch(ControlKind::SnapshotHeader, &header, place);
    place.base_offset += 1;

    let metadata_version = image.metadata_version();
    let mut batch = place.builder();
    let mut value = Vec::new();
    for record in image.to_records() {
        value.clear();
        record.encode(record.version_at(metadata_version), &mut value);
        append(&mut batch, place, None, &value);
        if batch.uncompressed_bytes() >= BATCH_BYTES {
            place.base_offset += i64::from(batch.record_count());
            bytes.extend(finish(std::mem::replace(&mut batch, place.builder())));
        }
    }
    if batch.record_count() > 0 {
        place.base_offset += i64::from(batch.record_count());
        bytes.extend(finish(batch));
    }

    let footer = encode_control(&SnapshotFooterMessage { version: 0 });
    bytes.extend(control_batch(ControlKind::SnapshotFooter, &footer, place));
    bytes
}
