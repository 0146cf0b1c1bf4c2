//! Appending: find the owners, place the batches in their logs, hand them to the journal.
//!
//! Both halves are synchronous on their shard: batches get their offsets in the order in which
//! [`Shard::append`] was called, and what comes back later is only the acknowledgement.

use super::Shard;
use super::ack::{ReplyTo, Unacknowledged};
use super::message::{Acknowledged, Append, AppendError, Appended, Reply, Request};
use crate::io::{Instant, Slot, slot};
use crate::journal::group::{EntryHead, EntryKind};
use crate::journal::{Body, Durability, Entry, Inline, Ticket};
use crate::log::batch::header::HEADER_BYTES;
use crate::log::{Outcome, Placed};
use crate::partition::Partition;
use crate::route::ShardId;

/// Bytes that wait for the journal, past which nothing is acknowledged from memory.
const MEMORY_CLASS_BYTES_MAX: usize = 16 << 20;

/// Batches under way. Awaiting it gives the results in the order of the batches.
pub struct PendingAppend {
    total: usize,
    parts: Vec<(Vec<usize>, Slot<Reply>)>,
}

impl PendingAppend {
    /// Waits for the acknowledgements.
    pub async fn wait(self) -> Acknowledged {
        let mut results: Vec<Option<Result<Appended, AppendError>>> = vec![None; self.total];
        let mut at = Instant::default();
        for (places, slot) in self.parts {
            let Some(Reply::Append(part)) = slot.await else {
                unreachable!("an append is answered with its results")
            };
            at = at.max(part.at);
            for (place, result) in places.into_iter().zip(part.results) {
                results[place] = Some(result);
            }
        }
        let whole = results.into_iter().collect::<Option<_>>();
        Acknowledged {
            results: whole.expect("each batch has one owner, which answers"),
            at,
        }
    }
}

impl Shard {
    /// Appends batches to their partitions. When this returns, the owners on this shard have placed
    /// theirs and the others will do so in the order of the calls; the acknowledgements follow.
    /// Waits only while another shard has too much to do. `begun` is when the wish came up, for the
    /// metrics.
    pub async fn append(&self, appends: Vec<Append>, begun: Instant) -> PendingAppend {
        let total = appends.len();
        let mut parts = Vec::with_capacity(1);
        let first_owner = appends.first().map(|append| self.owner(&append.key));
        if let Some(owner) = first_owner
            && appends
                .iter()
                .all(|append| self.owner(&append.key) == owner)
        {
            // Most requests: one owner, nothing to sort.
            let slot = self.append_at(owner, appends, begun).await;
            parts.push(((0..total).collect(), slot));
            return PendingAppend { total, parts };
        }
        let mut by_owner: Vec<(Vec<usize>, Vec<Append>)> =
            (0..self.count()).map(|_| Default::default()).collect();
        for (place, append) in appends.into_iter().enumerate() {
            let (places, batch) = &mut by_owner[self.owner(&append.key)];
            places.push(place);
            batch.push(append);
        }
        for (owner, (places, batch)) in by_owner.into_iter().enumerate() {
            if !batch.is_empty() {
                parts.push((places, self.append_at(owner, batch, begun).await));
            }
        }
        PendingAppend { total, parts }
    }

    async fn append_at(&self, owner: ShardId, appends: Vec<Append>, begun: Instant) -> Slot<Reply> {
        if owner == self.id() {
            let (completer, slot) = slot();
            self.handle_append(begun, appends, ReplyTo::Local(completer));
            slot
        } else {
            let request = Request::Append(begun, appends);
            self.0.mesh.request(owner, request).await
        }
    }

    /// The owner's half. Replies once the journal has done what the topics ask for.
    pub(super) fn handle_append(&self, begun: Instant, appends: Vec<Append>, to: ReplyTo) {
        let _unbroken = self.io().unbroken();
        let arrived = self.io().now();
        self.0.metrics.append_route.record(arrived - begun);
        let now_ms = self.io().wall_ms();
        self.0.store.disk_share.note_append(arrived);
        let mut waits = Waits::default();
        let results = appends
            .into_iter()
            .map(|append| self.append_one(append, (arrived, now_ms), &mut waits))
            .collect();
        if waits.durability == Durability::Sync {
            self.0.journal.sync_through(waits.ticket);
        }
        let reply = Unacknowledged { to, results };
        self.0
            .acks
            .borrow_mut()
            .wait(waits.ticket, waits.durability, reply, arrived, &self.0.mesh);
    }

    fn append_one(
        &self,
        append: Append,
        (arrived, now_ms): (Instant, i64),
        waits: &mut Waits,
    ) -> Result<Appended, AppendError> {
        let partition = self
            .partition(&append.key)
            .ok_or(AppendError::UnknownPartition)?;
        self.check_room(append.batch.len())?;
        if partition.state.borrow().anchor == 0 {
            self.checkpoint(&partition);
        }
        let mut state = partition.state.borrow_mut();
        let before = state.log.tail().backing_bytes();
        let producers_before = state.log.producers().len();
        let outcome = state
            .log
            .append(
                &append.batch,
                append.max_timestamp_ms,
                partition.leader_epoch.get(),
                now_ms,
            )
            .map_err(AppendError::Producer)?;
        let log_start_offset = state.log.start_offset();
        let durability = state.log.config.durability;
        match outcome {
            Outcome::Placed(placed) => {
                let grown = state.log.tail().backing_bytes() - before;
                self.bound_producers(&partition, &mut state.log, producers_before, now_ms);
                drop(state);
                self.0.settling.grew(append.batch.len(), grown);
                let records = (placed.last_offset - placed.base_offset + 1) as u64;
                partition.note_in(records, append.batch.len());
                let durability = self.class_now(durability);
                let placed_at = self.io().now();
                self.0.metrics.append_place.record(placed_at - arrived);
                let entry = entry(&partition, &placed, &append, durability, placed_at);
                let ticket = self.0.journal.append(entry);
                waits.add(ticket, durability);
                self.0.acks.borrow_mut().mark(
                    ticket,
                    durability,
                    &partition,
                    placed.last_offset + 1,
                );
                if durability == Durability::Memory {
                    self.acknowledge(&partition, placed.last_offset + 1);
                }
                self.settle_if_due(&partition);
                Ok(Appended {
                    base_offset: placed.base_offset,
                    log_append_time_ms: placed.log_append_time_ms,
                    log_start_offset,
                })
            }
            Outcome::Duplicate {
                base_offset,
                last_offset,
                log_append_time_ms,
            } => {
                if last_offset >= state.high_watermark {
                    // The first copy is still on its way: this one is as durable when that one is.
                    waits.add(self.0.journal.newest_append(), durability);
                }
                Ok(Appended {
                    base_offset,
                    log_append_time_ms,
                    log_start_offset,
                })
            }
        }
    }

    /// The class of an append: what is acknowledged from memory has to be bounded, so that a slow disk
    /// makes its producers wait as well.
    fn class_now(&self, durability: Durability) -> Durability {
        let is_behind = self.0.journal.waiting_bytes() > MEMORY_CLASS_BYTES_MAX;
        match durability {
            Durability::Memory if is_behind => Durability::Written,
            other => other,
        }
    }

    /// The largest batch that can be appended, in bytes.
    pub fn append_bytes_max(&self) -> usize {
        self.0.journal.append_bytes_max()
    }

    fn check_room(&self, bytes: usize) -> Result<(), AppendError> {
        let bytes_max = self.append_bytes_max();
        if self.acknowledges_no_more() {
            Err(AppendError::StorageFailed)
        } else if bytes > bytes_max {
            Err(AppendError::TooLarge { bytes, bytes_max })
        } else if self.is_out_of_room() {
            Err(AppendError::StorageFull)
        } else {
            Ok(())
        }
    }
}

fn entry(
    partition: &Partition,
    placed: &Placed,
    append: &Append,
    durability: Durability,
    queued: Instant,
) -> Entry {
    Entry {
        head: EntryHead {
            kind: EntryKind::Append,
            key: partition.key,
            revision: partition.revision,
        },
        inline: Inline::place(placed.segment_base, placed.position, &placed.header),
        body: Body::One(append.batch.slice(HEADER_BYTES..)),
        durability,
        queued,
    }
}

/// What a request has to wait for: the newest of its entries, under the strictest of its classes.
#[derive(Default)]
struct Waits {
    ticket: Ticket,
    durability: Durability,
    any: bool,
}

impl Waits {
    fn add(&mut self, ticket: Ticket, durability: Durability) {
        self.durability = if self.any {
            self.durability.max(durability)
        } else {
            durability
        };
        self.ticket = self.ticket.max(ticket);
        self.any = true;
    }
}
