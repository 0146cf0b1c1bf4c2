//! What clients do: append, send again, delete, read along.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use corelog_shards::shard::Shard;
use corelog_shards::shard::message::{Append, AppendError, ReadError};

use crate::model::{is_idempotent, key, records_in, spec};
use crate::node::Run;

pub async fn write(shard: Shard, partition: usize, run: Rc<Run>) {
    while !run.is_over.get() {
        let pause = run.random.borrow_mut().below(2_000);
        shard.io().sleep(Duration::from_micros(pause)).await;
        let burst = match run.may_fill {
            true => 1,
            false => 1 + run.random.borrow_mut().below(4),
        };
        let mut pending = Vec::new();
        let mut sent: Vec<(i64, Bytes)> = Vec::new();
        for _ in 0..burst {
            let (base, batch) = run.models.borrow_mut()[partition].next_batch(
                partition,
                run.sending,
                &mut run.random.borrow_mut(),
            );
            let append = Append::own(key(partition), batch.clone());
            run.unanswered.set(run.unanswered.get() + 1);
            pending.push((
                base,
                batch.clone(),
                shard.append(vec![append], shard.io().now()).await,
            ));
            sent.push((base, batch));
            if is_idempotent(partition) && !run.may_fill && run.random.borrow_mut().below(4) == 0 {
                // One of them again, while the first copy may still be in flight.
                let older = match run.is_impatient {
                    true => run.random.borrow_mut().below(sent.len() as u64) as usize,
                    false => 0,
                };
                let (base, batch) = sent[sent.len() - 1 - older].clone();
                let again = Append::own(key(partition), batch.clone());
                run.unanswered.set(run.unanswered.get() + 1);
                pending.push((
                    base,
                    batch,
                    shard.append(vec![again], shard.io().now()).await,
                ));
            }
        }
        if run.is_impatient && run.random.borrow_mut().below(2) == 0 {
            // Whichever is answered first counts.
            pending.reverse();
        }
        let mut has_ended = false;
        for (base, batch, append) in pending {
            let appended = append.wait().await.results.pop().expect("one");
            run.unanswered.set(run.unanswered.get() - 1);
            match appended {
                Ok(appended) => {
                    assert_eq!(appended.base_offset, base, "partition {partition}");
                    let mut models = run.models.borrow_mut();
                    let model = &mut models[partition];
                    model.acked_end = model.acked_end.max(base + records_in(&batch));
                }
                Err(AppendError::StorageFailed) => has_ended = true,
                Err(AppendError::StorageFull) if run.may_fill => {
                    let mut models = run.models.borrow_mut();
                    let model = &mut models[partition];
                    let (refused, _) = model.sent.pop().expect("it was sent");
                    assert_eq!(refused, base);
                    model.next_sequence -= records_in(&batch) as i32;
                }
                Err(error) => panic!("partition {partition} at {base}: {error:?}"),
            }
        }
        if has_ended {
            return;
        }
        if run.deletes
            && run.random.borrow_mut().below(40) == 0
            && !delete_some(&shard, partition, &run).await
        {
            return;
        }
    }
}

async fn delete_some(shard: &Shard, partition: usize, run: &Run) -> bool {
    let offset = {
        let mut models = run.models.borrow_mut();
        let model = &mut models[partition];
        let room = (model.high_watermark - model.start_asked).max(0) as u64;
        let offset = model.start_asked + run.random.borrow_mut().below(room + 1) as i64;
        model.start_asked = offset;
        offset
    };
    let deleted = shard
        .run_on_owner(&key(partition), move |owner| async move {
            owner.delete_records(&key(partition), Some(offset)).await
        })
        .await;
    if deleted.is_ok() {
        let mut models = run.models.borrow_mut();
        models[partition].start_acked = models[partition].start_acked.max(offset);
    }
    deleted.is_ok()
}

/// A consumer: waits for news, reads, and holds the broker to what it saw.
pub async fn read_along(shard: Shard, partition: usize, run: Rc<Run>) {
    let mut next = run.models.borrow()[partition].start_asked;
    let waiter = shard.waiter();
    loop {
        if run.random.borrow_mut().below(10) == 0 {
            let models = run.models.borrow();
            let model = &models[partition];
            let span = (model.acked_end - model.start_asked).max(0) as u64;
            next = model.start_asked + run.random.borrow_mut().below(span + 1) as i64;
        }
        let probe = shard
            .probe(&[spec(partition, next, 10_000)], Some(waiter.id()))
            .await
            .pop()
            .expect("one");
        let Ok(probe) = probe else {
            next = run.models.borrow()[partition].start_asked;
            shard.io().sleep(Duration::from_millis(1)).await;
            continue;
        };
        run.models.borrow_mut()[partition].note_high_watermark(partition, probe.high_watermark);
        if probe.available == 0 {
            run.read_to.borrow_mut()[partition] = next;
            waiter.news().await;
            continue;
        }
        let read = shard
            .read(&[spec(partition, next, 10_000)])
            .await
            .pop()
            .expect("one");
        let data = match read {
            Ok(data) => data,
            Err(error) => {
                let is_expected = !run.is_disk_sound || error == ReadError::OffsetOutOfRange;
                assert!(is_expected, "partition {partition} at {next}: {error:?}");
                shard.io().sleep(Duration::from_millis(1)).await;
                continue;
            }
        };
        next = run.models.borrow_mut()[partition].note_read(partition, next, &data);
    }
}
