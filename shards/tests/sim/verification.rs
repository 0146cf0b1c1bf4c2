//! A recovered partition against its model.

use corelog_shards::log::batch::BatchIter;
use corelog_shards::route::PartitionKey;
use corelog_shards::shard::message::ReadError;
use corelog_shards::shard::{PartitionFacts, Shard};

use crate::model::{Model, key, records_in, spec_of};
use crate::node::Run;

/// Compares a recovered partition with its model, and lets the model follow what a crash has cost.
/// `false` if it cannot be read, because the disk failed or segments are gone.
pub async fn verify(shard: &Shard, partition: usize, run: &Run) -> bool {
    let found = facts_of(shard, key(partition)).await;
    let found = found.expect("the partition was opened");
    let bytes = match read_whole(shard, &found).await {
        Ok(bytes) => bytes,
        Err(error) => {
            let lacks_segments = run.may_lack_segments && error == ReadError::Storage;
            let is_expected = lacks_segments || !run.starts_on_sound_disk();
            assert!(is_expected, "partition {partition}: {error:?}");
            return false;
        }
    };
    if run.is_disk_sound {
        check_epochs(shard, partition, &found, &bytes).await;
    }
    let model = &mut run.models.borrow_mut()[partition];
    let must_end = model.must_end((run.classes)(partition), run.after);
    let kept = run.lost_ends.borrow().map(|ends| ends[partition]);
    let must_end = must_end.min(kept.unwrap_or(i64::MAX));
    follow(model, partition, &found, &bytes, must_end);
    if run.is_disk_sound {
        // No CRC covers it.
        for batch in BatchIter::new(&bytes) {
            model.check_epoch(partition, batch.expect("a sound batch"));
        }
    }
    true
}

/// What the owner of a partition says of it.
pub async fn facts_of(shard: &Shard, key: PartitionKey) -> Option<PartitionFacts> {
    let asking = move |owner: Shard| async move { owner.facts_of(&key) };
    shard.run_on_owner(&key, asking).await
}

/// Where each leader epoch ends, as those ask whose log may be longer, is where the next one's batches begin.
async fn check_epochs(shard: &Shard, partition: usize, found: &PartitionFacts, bytes: &[u8]) {
    let mut ends: Vec<(i32, i64)> = Vec::new();
    for batch in BatchIter::new(bytes) {
        let batch = batch.expect("a sound batch");
        let (epoch, next) = (batch.leader_epoch(), batch.next_offset());
        match ends.last_mut() {
            Some((last, end)) if *last == epoch => *end = next,
            _ => ends.push((epoch, next)),
        }
    }
    let key = found.key;
    for (epoch, end) in ends {
        let asking = move |owner: Shard| async move { owner.epoch_end(&key, None, epoch) };
        let told = shard.run_on_owner(&key, asking).await;
        let told = told.expect("it is there").expect("it has begun");
        let told = (told.epoch, told.end_offset);
        assert_eq!(told, (epoch, end), "partition {partition}: a leader epoch");
    }
}

/// All batches of a partition, from its log start to its high watermark.
pub async fn read_whole(shard: &Shard, found: &PartitionFacts) -> Result<Vec<u8>, ReadError> {
    let mut next = found.start_offset;
    let mut bytes = Vec::new();
    while next < found.high_watermark {
        let read = shard.read(&[spec_of(found.key, next, 20_000)]).await;
        let data = read.into_iter().next().expect("one")?;
        let chunk = data.batches.concat();
        for batch in BatchIter::verifying(&chunk) {
            next = batch.expect("a sound batch").header().next_offset();
        }
        assert!(
            !chunk.is_empty(),
            "{:?} has nothing at {next} below {}",
            found.key,
            found.high_watermark
        );
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// Compares what a partition holds with its model, and lets the model follow what a crash has cost.
pub fn follow(
    model: &mut Model,
    partition: usize,
    found: &PartitionFacts,
    bytes: &[u8],
    must_end: i64,
) {
    let end = found.high_watermark;
    assert!(
        end >= must_end,
        "partition {partition} ends at {end}, {must_end} was acknowledged or seen"
    );
    assert!(
        end <= model.end(),
        "partition {partition} ends at {end}, only {} were sent",
        model.end()
    );
    assert!(
        found.start_offset >= model.start_acked,
        "partition {partition}: the log start went back"
    );
    assert!(
        found.start_offset <= model.start_asked,
        "partition {partition}: nobody asked for the log start {}, but for {}",
        found.start_offset,
        model.start_asked
    );
    model.start_acked = found.start_offset;
    model.start_asked = found.start_offset;
    // The first batch may begin below the log start.
    let mut expected = model
        .sent
        .iter()
        .filter(|(base, batch)| base + records_in(batch) > found.start_offset);
    let mut last = found.start_offset;
    for batch in BatchIter::new(bytes) {
        let batch = batch.expect("a sound batch");
        let sent = expected.next().expect("no more than was sent");
        model.check(partition, batch, sent);
        last = batch.header().next_offset();
    }
    assert_eq!(
        last,
        end.max(found.start_offset),
        "partition {partition} is read to its end"
    );
    let lost = model.sent.partition_point(|(base, _)| *base < end);
    model.sent.truncate(lost);
    model.epochs.retain(|(begins, _)| *begins < end);
    model.acked_end = end;
    model.high_watermark = end;
    model.next_sequence = model
        .sent
        .iter()
        .map(|(_, batch)| records_in(batch) as i32)
        .sum();
}
