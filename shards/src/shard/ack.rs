//! What completes when the journal has done its part: watermarks move, replies go out.
//!
//! Two queues, in the order of tickets: one for what waits for a write, one for what waits for a
//! sync. Their fronts are all that is ever looked at.

use std::collections::VecDeque;
use std::io;
use std::rc::Rc;

use super::Shard;
use super::message::{Acknowledged, AppendError, Appended, Reply};
use crate::io::{Completer, Instant, slot};
use crate::journal::{Durability, GroupEvents, Ticket};
use crate::mesh::Mesh;
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
    fn release(self, at: Instant, mesh: &Mesh) {
        let results = self.results;
        let reply = Reply::Append(Acknowledged { results, at });
        self.to.send(reply, mesh);
    }

    fn fail(mut self, at: Instant, mesh: &Mesh) {
        for result in &mut self.results {
            *result = Err(AppendError::StorageFailed);
        }
        self.release(at, mesh);
    }
}

#[derive(Default)]
struct Queue {
    marks: VecDeque<(Ticket, Rc<Partition>, i64)>,
    replies: VecDeque<(Ticket, Unacknowledged)>,
    through: Ticket,
    /// When it came to that.
    completed_at: Instant,
}

impl Queue {
    fn pop_completed(&mut self) -> Option<(Unacknowledged, Instant)> {
        let through = self.through;
        let reply = self.replies.pop_front_if(|(ticket, _)| *ticket <= through);
        reply.map(|(_, reply)| (reply, self.completed_at))
    }
}

/// Appends that the journal has not completed.
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
        reply: Unacknowledged,
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
    fn complete(&self, through: Ticket, durability: Durability) {
        let now = self.io().now();
        loop {
            let mark = {
                let mut acks = self.0.acks.borrow_mut();
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
    /// next requests, and the journal writes those, the others get theirs. Sent all at once, they would
    /// come back all at once as well, and disk and core would wait for each other.
    pub(super) async fn release_replies(self) {
        loop {
            let mut released = 0;
            while let Some((reply, at)) = self.next_completed() {
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

    fn next_completed(&self) -> Option<(Unacknowledged, Instant)> {
        let mut acks = self.0.acks.borrow_mut();
        let reply = acks.synced.pop_completed();
        reply.or_else(|| acks.written.pop_completed())
    }

    /// Waits until the newest entry, which has this ticket, is on stable storage; `false` if it never
    /// will be.
    pub(super) async fn synced(&self, ticket: Ticket) -> bool {
        let (completer, slot) = slot();
        let reply = Unacknowledged {
            to: ReplyTo::Local(completer),
            results: Vec::new(),
        };
        self.0.acks.borrow_mut().wait(
            ticket,
            Durability::Sync,
            reply,
            self.io().now(),
            &self.0.mesh,
        );
        slot.await;
        !self.has_failed()
    }

    /// Nothing that waits for the journal will complete.
    fn fail_what_waits(&self) {
        self.0.has_failed.set(true);
        self.wake_all_for_anchors();
        while let Some((reply, at)) = self.next_completed() {
            reply.release(at, &self.0.mesh);
        }
        let now = self.io().now();
        let waiting = std::mem::take(&mut *self.0.acks.borrow_mut());
        for queue in [waiting.written, waiting.synced] {
            for (_, reply) in queue.replies {
                reply.fail(now, &self.0.mesh);
            }
        }
    }

    /// Moves a partition's high watermark and tells those who wait for it.
    pub(super) fn acknowledge(&self, partition: &Partition, end: i64) {
        for watch in partition.acknowledge(end) {
            self.wake(watch);
        }
    }
}

impl GroupEvents for Shard {
    fn written(&self, through: Ticket) {
        self.complete(through, Durability::Written);
    }

    fn synced(&self, through: Ticket) {
        self.complete(through, Durability::Sync);
    }

    fn carried(&self, through: Ticket) {
        self.carried_through(through);
    }

    fn reclaim(&self, through: Ticket) {
        self.reclaim_through(through);
    }

    fn disk_full(&self, full: bool) {
        self.set_disk_full(full);
    }

    fn failed(&self, _error: &io::Error) {
        self.fail_what_waits();
        if let Some(then) = self.0.on_failure.get() {
            then();
        }
    }

    fn gave_up(&self) {
        self.fail_what_waits();
    }
}
