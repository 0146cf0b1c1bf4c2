//! Appending: find the owners, place the batches in their logs, hand them to the journal.
//!
//! Both halves are synchronous on their shard: batches get their offsets in the order in which
//! [`Shard::append`] was called, and what comes back later is only the acknowledgement.

use std::rc::Rc;

use super::Shard;
use super::ack::{Joint, ReplyTo, Unacknowledged, Waiting};
use super::message::{Acknowledged, Append, AppendError, Appended, Reply, Request};
use super::volume::Volume;
use crate::io::{Instant, Landmark, Slot, slot};
use crate::journal::group::{EntryHead, EntryKind};
use crate::journal::{Body, Durability, Entry, Inline, Ticket};
use crate::log::batch::header::HEADER_BYTES;
use crate::log::{Outcome, Placed};
use crate::mutation::{Mutation, is_on};
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
        let mut waits = Waits::default();
        let mut results = Vec::with_capacity(appends.len());
        for append in appends {
            let place = results.len();
            results.push(self.append_one(append, place, (arrived, now_ms), &mut waits));
        }
        self.wait_for(waits, Unacknowledged { to, results }, arrived);
    }

    /// Has a reply sent when all journals have done what it waits for.
    fn wait_for(&self, waits: Waits, reply: Unacknowledged, now: Instant) {
        let mesh = &self.0.mesh;
        let Some(first) = waits.first else {
            return reply.release(now, mesh);
        };
        let wait = |wait: Wait, reply: Waiting| {
            let volume = &self.0.volumes[wait.volume];
            if wait.durability == Durability::Sync {
                volume.journal.sync_through(wait.ticket);
            }
            let mut acks = volume.acks.borrow_mut();
            acks.wait(wait.ticket, wait.durability, reply, now, mesh);
        };
        if waits.others.is_empty() {
            return wait(first, Waiting::Alone(reply));
        }
        self.io().reached(Landmark::JournalsJoined);
        let joint = Joint::new(reply, 1 + waits.others.len());
        for mut one in std::iter::once(first).chain(waits.others) {
            let places = std::mem::take(&mut one.places);
            wait(one, Waiting::Part(joint.clone(), places));
        }
    }

    fn append_one(
        &self,
        append: Append,
        place: usize,
        (arrived, now_ms): (Instant, i64),
        waits: &mut Waits,
    ) -> Result<Appended, AppendError> {
        let partition = self.find(&append.key)?;
        let at = partition.volume();
        let volume = &self.0.volumes[at];
        self.check_room(&partition, volume, append.batch.len())?;
        volume.disk_share.note_append(arrived);
        if partition.state.borrow().anchor == 0 {
            self.checkpoint(&partition);
        }
        let mut state = partition.state.borrow_mut();
        let before = state.log.tail().backing_bytes();
        let producers_before = state.log.producers().len();
        let partitions = || self.0.partitions.borrow().len();
        let chunk_bytes_max = self.0.cache.chunk_bytes_max(partitions);
        state.log.bound_chunks(chunk_bytes_max);
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
        let place = (self.0.volumes.len() > 1).then_some(place);
        let durability = state.log.config.durability;
        match outcome {
            Outcome::Placed(placed) => {
                if placed.position == 0 {
                    self.io().reached(Landmark::SegmentRolled);
                }
                let backing_bytes = state.log.tail().backing_bytes();
                self.bound_producers(&partition, &mut state.log, producers_before, now_ms);
                drop(state);
                volume.settling.grew(append.batch.len() as u64);
                self.0.cache.changed(before, backing_bytes);
                let records = (placed.last_offset - placed.base_offset + 1) as u64;
                partition.note_in(records, append.batch.len());
                let durability = class_now(volume, durability);
                let placed_at = self.io().now();
                self.0.metrics.append_place.record(placed_at - arrived);
                let entry = entry(&partition, &placed, &append, durability, placed_at);
                let ticket = volume.journal.append(entry);
                let end = placed.last_offset + 1;
                self.await_entry(&partition, ticket, durability, end);
                waits.add(at, ticket, durability, place);
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
                let is_early = is_on(Mutation::AcknowledgeDuplicateAtOnce);
                if last_offset >= state.high_watermark && !is_early {
                    self.io().reached(Landmark::DuplicateUnderWay);
                    drop(state);
                    // The first copy is still on its way, perhaps in a stricter class than the topic has now: what is
                    // acknowledged here is shown as well.
                    let durability = class_now(volume, durability);
                    let ticket = volume.journal.newest_append();
                    self.await_entry(&partition, ticket, durability, last_offset + 1);
                    waits.add(at, ticket, durability, place);
                } else {
                    self.io().reached(Landmark::DuplicateKnown);
                }
                Ok(Appended {
                    base_offset,
                    log_append_time_ms,
                    log_start_offset,
                })
            }
        }
    }

    /// Has a partition acknowledged up to `end` once its journal has done with this entry what the class asks for.
    fn await_entry(
        &self,
        partition: &Rc<Partition>,
        ticket: Ticket,
        durability: Durability,
        end: i64,
    ) {
        let mut acks = self.0.volumes[partition.volume()].acks.borrow_mut();
        acks.mark(ticket, durability, partition, end);
        drop(acks);
        if durability == Durability::Memory || is_on(Mutation::HighWatermarkBeforeSync) {
            self.acknowledge(partition, end);
        }
    }

    /// The largest batch that can be appended, in bytes.
    pub fn append_bytes_max(&self) -> usize {
        let volumes = self.0.volumes.iter();
        let most = volumes.map(|volume| volume.journal.append_bytes_max());
        most.min().expect("a shard has a volume")
    }

    fn check_room(
        &self,
        partition: &Partition,
        volume: &Volume,
        bytes: usize,
    ) -> Result<(), AppendError> {
        let bytes_max = volume.journal.append_bytes_max();
        // What is out of reach for good comes first: a producer that is told of a size or of room would try again.
        if self.has_failed() {
            Err(AppendError::StorageFailed)
        } else if partition.is_offline() || partition.has_lost_segment.get() {
            Err(AppendError::FolderOffline)
        } else if volume.acknowledges_no_more() {
            Err(AppendError::StorageFailed)
        } else if bytes > bytes_max {
            Err(AppendError::TooLarge { bytes, bytes_max })
        } else if volume.is_out_of_room() {
            self.io().reached(Landmark::AppendRefused);
            Err(AppendError::StorageFull)
        } else {
            Ok(())
        }
    }
}

/// The class of an append: what is acknowledged from memory has to be bounded, so that a slow disk
/// makes its producers wait as well.
fn class_now(volume: &Volume, durability: Durability) -> Durability {
    let is_behind = volume.journal.waiting_bytes() > MEMORY_CLASS_BYTES_MAX;
    match durability {
        Durability::Memory if is_behind => Durability::Written,
        other => other,
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
            revision: partition.revision.get(),
        },
        inline: Inline::place(placed.segment_base, placed.position, &placed.header),
        body: Body::One(append.batch.slice(HEADER_BYTES..)),
        durability,
        queued,
    }
}

/// What a request has to wait for. Mostly that is one journal.
#[derive(Default)]
struct Waits {
    first: Option<Wait>,
    others: Vec<Wait>,
}

/// The newest of a request's entries in one journal, under the strictest of its classes.
struct Wait {
    volume: usize,
    ticket: Ticket,
    durability: Durability,
    /// Which results they are, where there are several journals.
    places: Vec<usize>,
}

impl Waits {
    fn add(&mut self, volume: usize, ticket: Ticket, durability: Durability, place: Option<usize>) {
        let all = self.first.iter_mut().chain(&mut self.others);
        let known = all.into_iter().find(|wait| wait.volume == volume);
        if let Some(wait) = known {
            wait.ticket = wait.ticket.max(ticket);
            wait.durability = wait.durability.max(durability);
            wait.places.extend(place);
            return;
        }
        let wait = Wait {
            volume,
            ticket,
            durability,
            places: place.into_iter().collect(),
        };
        match self.first {
            None => self.first = Some(wait),
            Some(_) => self.others.push(wait),
        }
    }
}
