//! A recovered partition against its model.

use corelog_shards::io::sim::Crash;
use corelog_shards::journal::Durability;
use corelog_shards::log::batch::BatchIter;
use corelog_shards::shard::Shard;

use crate::model::{HEADER_BYTES, key, records_in, spec};
use crate::node::Run;

/// Compares a recovered partition with its model, and lets the model follow what a crash has cost.
/// `false` if the disk failed.
pub async fn verify(shard: &Shard, partition: usize, run: &Run) -> bool {
    let owner = shard
        .run_on_owner(&key(partition), move |owner| async move {
            owner
                .partition_facts()
                .await
                .into_iter()
                .find(|size| size.key == key(partition))
        })
        .await;
    let found = owner.expect("the partition was opened");
    let mut next = found.start_offset;
    let mut bytes = Vec::new();
    while next < found.high_watermark {
        let read = shard
            .read(&[spec(partition, next, 20_000)])
            .await
            .pop()
            .expect("one");
        let data = match read {
            Ok(data) => data,
            Err(error) => {
                assert!(
                    !run.is_disk_sound,
                    "partition {partition} at {next}: {error:?}"
                );
                return false;
            }
        };
        let chunk = data.batches.concat();
        for batch in BatchIter::verifying(&chunk) {
            next = batch.expect("a sound batch").header().next_offset();
        }
        assert!(
            !chunk.is_empty(),
            "partition {partition} has nothing at {next} below {}",
            found.high_watermark
        );
        bytes.extend_from_slice(&chunk);
    }
    let mut models = run.models.borrow_mut();
    let model = &mut models[partition];
    let must_end = match ((run.classes)(partition), run.after) {
        (_, None) | (Durability::Sync, _) | (Durability::Written, Some(Crash::Kill)) => {
            model.acked_end.max(model.high_watermark)
        }
        (Durability::Written, Some(Crash::PowerLoss)) | (Durability::Memory, _) => 0,
    };
    let kept = run.lost_ends.borrow().map(|ends| ends[partition]);
    let must_end = must_end.min(kept.unwrap_or(i64::MAX));
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
        "partition {partition}: nobody asked for that log start"
    );
    model.start_acked = found.start_offset;
    model.start_asked = found.start_offset;
    // The first batch may begin below the log start.
    let mut expected = model
        .sent
        .iter()
        .filter(|(base, batch)| base + records_in(batch) > found.start_offset);
    let mut last = found.start_offset;
    for batch in BatchIter::new(&bytes) {
        let batch = batch.expect("a sound batch");
        let (base, sent) = expected.next().expect("no more than was sent");
        assert_eq!(batch.header().base_offset(), *base, "partition {partition}");
        assert!(
            batch.bytes()[HEADER_BYTES..] == sent[HEADER_BYTES..],
            "partition {partition} at {base}"
        );
        last = batch.header().next_offset();
    }
    assert_eq!(
        last,
        end.max(found.start_offset),
        "partition {partition} is read to its end"
    );
    let lost = model.sent.partition_point(|(base, _)| *base < end);
    model.sent.truncate(lost);
    model.acked_end = end;
    model.high_watermark = end;
    model.next_sequence = model
        .sent
        .iter()
        .map(|(_, batch)| records_in(batch) as i32)
        .sum();
    true
}
