//! What completes when a journal has done its part: watermarks move, replies go out.
//!
//! Two queues for each journal, in the order of tickets: one for what waits for a write, one for what
//! waits for a sync. Their fronts are all that is ever looked at. A request with batches for several
//! journals waits in the queues of all of them, and is answered when the last has completed.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;

use super::Shard;
use super::message::{Acknowledged, AppendError, Appended, Reply};
use super::volume::Volume;
use crate::io::{Completer, Instant, slot};
use crate::journal::{Durability, GroupEvents, Ticket};
use crate::mesh::Mesh;
use crate::mutation::{Mutation, strikes};
use crate::partition::Partition;
use crate::route::ShardId;

/// Replies sent before it is looked for what came in meanwhile.
const REPLIES_AT_ONCE: usize = 8;

/// Who gets the reply to an append.
pub(super) enum ReplyTo {
    /// A task of this shard.
    Local(Completer<Reply>),
    /// Another shard, for its request of that number.
    Remote(ShardId, u32),
}

impl ReplyTo {
    /// Sends the reply.
    pub(super) fn send(self, reply: Reply, mesh: &Mesh) {
        match self {
            Self::Local(completer) => completer.complete(reply),
            Self::Remote(..) if strikes(Mutation::DropAppendWaiter, 100) => {}
            Self::Remote(shard, id) => mesh.reply(shard, id, reply),
        }
    }
}

/// Results that are true once the journal says so.
pub(super) struct Unacknowledged {
    pub(super) to: ReplyTo,
    pub(super) results: Vec<Result<Appended, AppendError>>,
}

impl Unacknowledged {
    pub(super) fn release(self, at: Instant, mesh: &Mesh) {
        let results = self.results;
        let reply = Reply::Append(Acknowledged { results, at });
        self.to.send(reply, mesh);
    }
}

/// Results of which each journal has a part.
pub(super) struct Joint {
    reply: RefCell<Option<Unacknowledged>>,
    parts_left: Cell<usize>,
}

impl Joint {
    pub(super) fn new(reply: Unacknowledged, parts: usize) -> Rc<Self> {
        Rc::new(Self {
            reply: RefCell::new(Some(reply)),
            parts_left: Cell::new(parts),
        })
    }

    fn part_done(&self, at: Instant, mesh: &Mesh) {
        let left = self.parts_left.get() - 1;
        self.parts_left.set(left);
        if left == 0
            && let Some(reply) = self.reply.take()
        {
            reply.release(at, mesh);
        }
    }
}

/// What waits for a journal.
pub(super) enum Waiting {
    /// All of a request.
    Alone(Unacknowledged),
    /// Some of its results.
    Part(Rc<Joint>, Vec<usize>),
}

impl Waiting {
    fn release(self, at: Instant, mesh: &Mesh) {
        match self {
            Self::Alone(reply) => reply.release(at, mesh),
            Self::Part(joint, _) => joint.part_done(at, mesh),
        }
    }

    fn fail(self, error: &AppendError, at: Instant, mesh: &Mesh) {
        match self {
            Self::Alone(mut reply) => {
                for result in reply.results.iter_mut().filter(|result| result.is_ok()) {
                    *result = Err(error.clone());
                }
                reply.release(at, mesh);
            }
            Self::Part(joint, places) => {
                if let Some(reply) = &mut *joint.reply.borrow_mut() {
                    for place in places {
                        reply.results[place] = Err(error.clone());
                    }
                }
                joint.part_done(at, mesh);
            }
        }
    }
}

#[derive(Default)]
struct Queue {
    marks: VecDeque<(Ticket, Rc<Partition>, i64)>,
    replies: VecDeque<(Ticket, Waiting)>,
    through: Ticket,
    /// When it came to that.
    completed_at: Instant,
}

impl Queue {
    fn pop_completed(&mut self) -> Option<(Waiting, Instant)> {
        let through = self.through;
        let reply = self.replies.pop_front_if(|(ticket, _)| *ticket <= through);
        reply.map(|(_, reply)| (reply, self.completed_at))
    }
}

/// Appends that a journal has not completed.
#[derive(Default)]
pub(super) struct Acks {
    written: Queue,
    synced: Queue,
}

impl Acks {
    fn queue(&mut self, durability: Durability) -> Option<&mut Queue> {
        match durability {
            Durability::Memory => None,
            Durability::Written => Some(&mut self.written),
            Durability::Sync => Some(&mut self.synced),
        }
    }

    /// Notes up to where a partition is acknowledged when `ticket` completes.
    pub(super) fn mark(
        &mut self,
        ticket: Ticket,
        durability: Durability,
        partition: &Rc<Partition>,
        end: i64,
    ) {
        if let Some(queue) = self.queue(durability) {
            queue.marks.push_back((ticket, partition.clone(), end));
        }
    }

    /// Sends the reply when `ticket` completes; at once if nothing is to be waited for.
    pub(super) fn wait(
        &mut self,
        ticket: Ticket,
        durability: Durability,
        reply: Waiting,
        now: Instant,
        mesh: &Mesh,
    ) {
        match self.queue(durability) {
            Some(queue) if ticket > queue.through => {
                // A repeated batch waits for the newest ticket, so that the order of tickets holds.
                assert!(
                    queue
                        .replies
                        .back()
                        .is_none_or(|(newest, _)| *newest <= ticket)
                );
                queue.replies.push_back((ticket, reply));
            }
            _ => reply.release(now, mesh),
        }
    }
}

impl Shard {
    fn complete(&self, volume: &Volume, through: Ticket, durability: Durability) {
        let now = self.io().now();
        loop {
            let mark = {
                let mut acks = volume.acks.borrow_mut();
                let queue = acks.queue(durability).expect("memory completes by itself");
                queue.through = queue.through.max(through);
                queue.completed_at = now;
                queue.marks.pop_front_if(|(ticket, ..)| *ticket <= through)
            };
            let Some((_, partition, end)) = mark else {
                break;
            };
            self.acknowledge(&partition, end);
        }
        self.0.completed.notify_one();
    }

    /// The task that sends replies, a few at a time: while the clients that have theirs prepare their
    /// next requests, and the journals write those, the others get theirs. Sent all at once, they would
    /// come back all at once as well, and disk and core would wait for each other.
    pub(super) async fn release_replies(self) {
        let mut first = 0;
        loop {
            let mut released = 0;
            while let Some((volume, (reply, at))) = self.next_completed(first) {
                // The volumes take turns.
                first = volume + 1;
                reply.release(at, &self.0.mesh);
                released += 1;
                if released == REPLIES_AT_ONCE {
                    self.io().yield_now().await;
                    released = 0;
                }
            }
            self.0.completed.notified().await;
        }
    }

    /// What has completed on a volume, from this one on, and which one that is.
    fn next_completed(&self, first: usize) -> Option<(usize, (Waiting, Instant))> {
        let volumes = &self.0.volumes;
        let mut places = (first..volumes.len()).chain(0..first);
        places.find_map(|place| Some((place, volumes[place].next_completed()?)))
    }

    /// Waits until the newest entry of a volume's journal, which has this ticket, is on stable storage;
    /// `false` if it never will be.
    pub(super) async fn synced(&self, volume: &Volume, ticket: Ticket) -> bool {
        let (completer, slot) = slot();
        let reply = Unacknowledged {
            to: ReplyTo::Local(completer),
            results: Vec::new(),
        };
        let reply = Waiting::Alone(reply);
        let (now, mesh) = (self.io().now(), &self.0.mesh);
        let durability = Durability::Sync;
        volume
            .acks
            .borrow_mut()
            .wait(ticket, durability, reply, now, mesh);
        slot.await;
        !volume.has_failed.get()
    }

    /// Nothing that waits for this journal will complete.
    pub(super) fn fail_what_waits(&self, volume: &Volume) {
        volume.has_failed.set(true);
        volume.reclaim.wake_all_for_anchors();
        while let Some((reply, at)) = volume.next_completed() {
            reply.release(at, &self.0.mesh);
        }
        let error = match self.has_failed() {
            true => AppendError::StorageFailed,
            false => AppendError::FolderOffline,
        };
        let now = self.io().now();
        let waiting = std::mem::take(&mut *volume.acks.borrow_mut());
        for queue in [waiting.written, waiting.synced] {
            for (_, reply) in queue.replies {
                reply.fail(&error, now, &self.0.mesh);
            }
        }
    }

    /// Moves a partition's high watermark and tells those who wait for it.
    pub(super) fn acknowledge(&self, partition: &Partition, end: i64) {
        for watch in partition.acknowledge(end) {
            if strikes(Mutation::DropFetchWaiter, 100) {
                continue;
            }
            self.wake(watch);
        }
    }
}

impl Volume {
    fn next_completed(&self) -> Option<(Waiting, Instant)> {
        let mut acks = self.acks.borrow_mut();
        let reply = acks.synced.pop_completed();
        reply.or_else(|| acks.written.pop_completed())
    }
}

/// What the journal of a volume tells its shard.
pub(super) struct VolumeEvents {
    pub(super) shard: Shard,
    /// Place of the volume.
    pub(super) volume: usize,
}

impl VolumeEvents {
    fn volume(&self) -> &Volume {
        &self.shard.0.volumes[self.volume]
    }
}

impl GroupEvents for VolumeEvents {
    fn written(&self, through: Ticket) {
        self.shard
            .complete(self.volume(), through, Durability::Written);
    }

    fn synced(&self, through: Ticket) {
        self.shard
            .complete(self.volume(), through, Durability::Sync);
    }

    fn carried(&self, through: Ticket) {
        self.volume().carried_through(through);
    }

    fn reclaim(&self, through: Ticket) {
        self.volume().reclaim.through(through);
    }

    fn disk_full(&self, full: bool) {
        self.shard.set_disk_full(self.volume(), full);
    }

    fn failed(&self, _error: &io::Error) {
        self.shard.journal_failed(self.volume);
    }

    fn gave_up(&self) {
        self.shard.0.has_failed.set(true);
        self.shard.fail_what_waits(self.volume());
    }
}
