//! Snapshots for tests of what reads them.

use super::*;
use crate::cluster::image::Image;

/// A whole snapshot of `image`.
pub(in crate::cluster) fn encode_snapshot(
    image: &Image,
    last_log_timestamp_ms: i64,
    timestamp_ms: i64,
) -> Vec<u8> {
    snapshot_batches(image, last_log_timestamp_ms, timestamp_ms)
        .flatten()
        .collect()
}
