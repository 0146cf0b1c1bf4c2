//! Reading a partition of this shard from one end to the other, for those who replay what is in it.

use bytes::Bytes;
use corelog_shards::route::PartitionKey;
use corelog_shards::shard::message::{ReadError, ReadSpec};
use corelog_shards::shard::{OffsetQuery, Shard};

/// Bytes read together.
const READ_BYTES: usize = 1 << 20;

/// The first offset of the log.
pub async fn log_start(shard: &Shard, key: &PartitionKey) -> Result<i64, ReadError> {
    let start = shard.offset_for(key, None, OffsetQuery::Earliest).await?;
    Ok(start.offset)
}

/// Some of the acknowledged batches from `offset` on, the first of which may begin before it; none at the end.
pub async fn batches_at(shard: &Shard, key: PartitionKey, offset: i64) -> Result<Bytes, ReadError> {
    let spec = ReadSpec {
        key,
        offset,
        bytes_max: READ_BYTES,
        at_least_one: true,
        current_leader_epoch: None,
        last_fetched_epoch: None,
        committed: false,
    };
    let mut read = shard.read(&[spec]).await;
    let read = read.pop().expect("one answer for one question");
    // A batch may lie in several slices.
    let mut slices = read?.batches;
    Ok(match slices.len() {
        1 => slices.remove(0),
        _ => Bytes::from(slices.concat()),
    })
}
