//! What clients do: append, delete records, read along, delete topics and make them anew.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use corelog_shards::route::PartitionKey;
use corelog_shards::shard::Shard;
use corelog_shards::shard::message::{Append, AppendError, ReadError};

use super::node::{Run, open_one};
use super::topics::{TOPICS, is_retained};
use crate::model::{make_batch, records_in, spec_of};

/// Waits, at most so many microseconds.
async fn pause(shard: &Shard, run: &Run, micros_max: u64) {
    let pause = run.below(micros_max);
    shard.io().sleep(Duration::from_micros(pause)).await;
}

/// What a writer sends now.
struct Sent {
    key: PartitionKey,
    base: i64,
    batch: Bytes,
    /// Whether it is known that nobody takes it.
    is_hopeless: bool,
}

/// Writes to whichever topic has this name, for as long as something may be acknowledged.
pub async fn write(shard: Shard, name: usize, run: Rc<Run>) {
    loop {
        pause(&shard, &run, 2_500).await;
        if !run.topics.borrow()[name].exists {
            continue;
        }
        let mut pending = Vec::new();
        for _ in 0..1 + run.below(4) {
            let sent = next_sent(name, &run);
            let append = Append::own(sent.key, sent.batch.clone());
            run.unanswered.set(run.unanswered.get() + 1);
            let append = shard.append(vec![append], shard.io().now()).await;
            pending.push((sent, append));
        }
        let mut goes_on = true;
        for (sent, append) in pending {
            let appended = append.wait().await.results.pop().expect("one");
            run.unanswered.set(run.unanswered.get() - 1);
            let appended = appended.map(|appended| appended.base_offset);
            goes_on &= note_appended(name, &sent, appended, &run);
        }
        if !goes_on {
            return;
        }
        if run.below(40) == 0 {
            delete_some(&shard, name, &run).await;
        }
    }
}

fn next_sent(name: usize, run: &Run) -> Sent {
    let topic = &mut run.topics.borrow_mut()[name];
    let random = &mut run.random.borrow_mut();
    let (base, batch) = match topic.is_offline {
        true => (0, make_batch(name, 0, 0, random)),
        false => topic.next_batch(name, random),
    };
    Sent {
        key: topic.key(name),
        base,
        batch,
        is_hopeless: topic.is_offline,
    }
}

/// Takes note of what became of an append; `false` if nothing more will be.
fn note_appended(name: usize, sent: &Sent, appended: Result<i64, AppendError>, run: &Run) -> bool {
    let topic = &mut run.topics.borrow_mut()[name];
    let is_current = topic.exists && topic.key(name) == sent.key;
    match appended {
        Ok(base) => {
            assert!(!sent.is_hopeless, "{name}: an offline folder takes records");
            if is_current {
                assert_eq!(base, sent.base, "{name}");
                let model = &mut topic.model;
                model.acked_end = model.acked_end.max(base + records_in(&sent.batch));
            }
        }
        Err(AppendError::FolderOffline) => {
            if is_current {
                let is_expected = run.may_be_out_of_reach(topic.folder);
                assert!(
                    is_expected,
                    "{name} in {}: nothing has failed",
                    topic.folder
                );
                topic.is_offline = true;
            }
        }
        Err(AppendError::StorageFailed) => {
            let is_expected = run.is_disturbed() || run.is_stopping.get();
            assert!(is_expected, "{name}: nothing has failed");
            return false;
        }
        Err(AppendError::UnknownPartition) if !is_current => {}
        // It was made just now, and its owner has not heard of it.
        Err(AppendError::UnknownPartition) if topic.model.acked_end == 0 => {
            topic.model.sent.clear();
            topic.model.next_sequence = 0;
        }
        Err(error) => panic!("{name} at {}: {error:?}", sent.base),
    }
    true
}

async fn delete_some(shard: &Shard, name: usize, run: &Run) {
    let (key, offset) = {
        let topic = &mut run.topics.borrow_mut()[name];
        if !topic.exists || topic.is_offline || is_retained(name) {
            return;
        }
        let key = topic.key(name);
        let model = &mut topic.model;
        let room = (model.high_watermark - model.start_asked).max(0) as u64;
        model.start_asked += run.below(room + 1) as i64;
        (key, model.start_asked)
    };
    let deleting =
        move |owner: Shard| async move { owner.delete_records(&key, Some(offset)).await };
    let deleted = shard.run_on_owner(&key, deleting).await;
    let topic = &mut run.topics.borrow_mut()[name];
    if topic.key(name) == key && deleted.is_ok() {
        topic.model.start_acked = topic.model.start_acked.max(offset);
    }
}

/// A consumer: reads now and then, and holds the node to what it saw.
pub async fn read_along(shard: Shard, name: usize, run: Rc<Run>) {
    let mut next = 0;
    loop {
        pause(&shard, &run, 4_000).await;
        let (key, was_offline) = {
            let topic = &run.topics.borrow()[name];
            if !topic.exists {
                continue;
            }
            let model = &topic.model;
            let span = (model.acked_end - model.start_asked).max(0) as u64;
            if run.below(10) == 0 || next < model.start_asked || next > model.acked_end {
                next = model.start_asked + run.below(span + 1) as i64;
            }
            (topic.key(name), topic.is_offline)
        };
        let read = shard.read(&[spec_of(key, next, 10_000)]).await;
        let read = read.into_iter().next().expect("one");
        let topic = &mut run.topics.borrow_mut()[name];
        if !topic.exists || topic.key(name) != key {
            next = 0;
            continue;
        }
        match read {
            Ok(data) => {
                assert!(!was_offline, "{name}: an offline folder is read");
                let high_watermark = data.probe.high_watermark;
                topic.model.note_high_watermark(name, high_watermark);
                next = topic.note_read(name, next, &data);
            }
            Err(ReadError::FolderOffline) => {
                let is_expected = run.may_be_out_of_reach(topic.folder);
                assert!(is_expected, "{name}: nothing has failed");
                topic.is_offline = true;
            }
            // Records were deleted, or the topic was made just now.
            Err(ReadError::OffsetOutOfRange | ReadError::UnknownPartition) => {
                assert!(
                    !was_offline,
                    "{name}: it is unknown where it has to be offline"
                );
                next = next.saturating_add(1);
            }
            Err(error) => assert!(run.is_disturbed(), "{name} at {next}: {error:?}"),
        }
    }
}

/// Deletes topics and makes them anew, one change at a time, as the controller does.
pub async fn control(shard: Shard, run: Rc<Run>) {
    loop {
        pause(&shard, &run, 60_000).await;
        let name = run.below(TOPICS as u64) as usize;
        let is_new = !run.topics.borrow()[name].exists;
        if is_new || run.below(3) == 0 {
            replace(&shard, name, &run).await;
        }
        if run.below(4) == 0 {
            let name = run.below(TOPICS as u64) as usize;
            let key = run.topics.borrow()[name].key(name);
            let rolling = move |owner: Shard| async move { owner.roll(&key) };
            shard.run_on_owner(&key, rolling).await;
        }
    }
}

/// Deletes a topic, if there is one, and makes another of its name.
async fn replace(shard: &Shard, name: usize, run: &Run) {
    let old = {
        let topic = &mut run.topics.borrow_mut()[name];
        std::mem::take(&mut topic.exists).then(|| topic.key(name))
    };
    if let Some(old) = old {
        let dropping = move |owner: Shard| async move { owner.drop_partitions(&[old]).await };
        shard.run_on_owner(&old, dropping).await;
        run.forget_deleted(name);
        if run.below(4) == 0 {
            return;
        }
    }
    let there: Vec<usize> = run.layout.there().map(|placed| placed.folder).collect();
    let folder = there[run.below(there.len() as u64) as usize];
    let key = {
        let topic = &mut run.topics.borrow_mut()[name];
        topic.make(folder);
        topic.key(name)
    };
    // In this world all shards are on one thread.
    let owner = shard.owner(&key);
    let owner = {
        let shards = run.shards.borrow();
        shards.iter().find(|shard| shard.id() == owner).cloned()
    };
    if let Some(owner) = owner
        && let Err(error) = open_one(&owner, name, run).await
    {
        assert!(run.is_disturbed(), "{name} cannot be opened: {error:?}");
    }
}
