//! What a connection has to answer, in the order of its requests.
//!
//! The reader appends an entry for each request: a reply, or the second stage of an overlapping
//! request. The writer takes them from the front, so that replies leave in order whatever completes
//! first, and gives the socket everything that is ready with one call.
//!
//! Reader and writer are polled together by one task (see `connection`), the writer after the reader
//! and the reader again after the writer has made progress. So they tell each other of changes by
//! plain values, without wakers.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use corelog_shards::io::{Instant, WriteHalf};
use corelog_shards::mutation::{Mutation, is_on, strikes};
use kafka_protocol::messages::ApiKey;

use super::Shared;
use super::keeper::Watched;
use crate::api::{Answer, Effects};
use crate::budget::Reservation;
use crate::protocol::reply::Reply;

/// Memory of the overlapping requests of one connection that may be under way.
const OVERLAP_BYTES_MAX: usize = 16 << 20;
/// How many of them may be under way on a core, in even parts for the connections that have some, and what each
/// connection has at least. More would only wait, and by the time they go on nothing of them would be in the caches any
/// more: what comes in faster than it can be worked on is better left to the sockets.
const OVERLAP_REQUESTS_MAX: usize = 1_024;
const OVERLAP_REQUESTS_LEAST: usize = 32;
/// Of a connection that is full, so many replies leave together, and none waits for others for longer than this. Did
/// each leave by itself and let one more request begin, the requests of all connections would mingle, and nearly every
/// reply would take a system call and wake its client.
const REPLIES_GATHERED: usize = 32;
const GATHERED_FOR: Duration = Duration::from_millis(5);
/// Replies that may wait for the client to take them before its next request is worked on.
const UNSENT_BYTES_MAX: usize = 1 << 20;
/// Bytes given to the socket in one go; between them the client's progress is noted.
const WRITE_BYTES_MAX: usize = 1 << 20;

/// The connections of a core that have overlapping requests under way.
#[derive(Default)]
pub(super) struct Overlapping {
    connections: Cell<usize>,
}

impl Overlapping {
    /// How many requests each of them may have under way.
    fn share(&self) -> usize {
        let share = OVERLAP_REQUESTS_MAX / self.connections.get().max(1);
        share.max(OVERLAP_REQUESTS_LEAST)
    }
}

pub(super) struct Replies {
    of_core: Rc<Overlapping>,
    queue: RefCell<VecDeque<Entry>>,
    /// No request will follow.
    is_finished: Cell<bool>,
    /// Overlapping requests whose effects are not known to be complete, and what they reserved.
    overlapping: Cell<usize>,
    overlapping_bytes: Cell<usize>,
    /// As many as its share are under way, or were, and more than half of the share still are: it goes on behind that.
    is_full: Cell<bool>,
    unsent_bytes: Cell<usize>,
    /// The writer has made progress that the reader may wait for.
    has_moved: Cell<bool>,
}

enum Entry {
    /// With the memory it holds, if that is counted.
    Ready(Reply, Option<Reservation>, Answered),
    Pending(Effects, Reservation, Asked),
}

/// A request, for the metrics.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    pub key: ApiKey,
    /// When its bytes came in.
    pub received: Instant,
}

impl Asked {
    /// Its reply may be sent from `ready` on.
    pub fn answered(self, ready: Instant) -> Answered {
        Answered { asked: self, ready }
    }
}

/// A reply on its way, for the metrics.
#[derive(Clone, Copy)]
pub(super) struct Answered {
    asked: Asked,
    ready: Instant,
}

/// What the writer does next.
enum Step {
    Add(Reply, Option<Reservation>, Answered),
    Skip,
    Flush,
    Close(String),
    End,
}

impl Drop for Replies {
    fn drop(&mut self) {
        self.set_overlapping(0);
    }
}

/// For the reader.
impl Replies {
    pub fn new(of_core: Rc<Overlapping>) -> Self {
        Self {
            of_core,
            queue: RefCell::default(),
            is_finished: Cell::default(),
            overlapping: Cell::default(),
            overlapping_bytes: Cell::default(),
            is_full: Cell::default(),
            unsent_bytes: Cell::default(),
            has_moved: Cell::default(),
        }
    }

    pub fn push(&self, reply: Reply, memory: Option<Reservation>, answered: Answered) {
        self.unsent_bytes.set(self.unsent_bytes.get() + reply.len());
        self.put(Entry::Ready(reply, memory, answered));
    }

    fn put(&self, entry: Entry) {
        let mut queue = self.queue.borrow_mut();
        queue.push_back(entry);
        if is_on(Mutation::SwapReplies) && queue.len() > 1 {
            let newest = queue.len() - 1;
            queue.swap(newest - 1, newest);
        }
    }

    pub fn push_overlapping(&self, effects: Effects, memory: Reservation, asked: Asked) {
        self.set_overlapping(self.overlapping.get() + 1);
        self.overlapping_bytes
            .set(self.overlapping_bytes.get() + memory.bytes());
        self.put(Entry::Pending(effects, memory, asked));
    }

    fn set_overlapping(&self, count: usize) {
        let before = self.overlapping.replace(count);
        let connections = &self.of_core.connections;
        connections.set(connections.get() + usize::from(count > 0) - usize::from(before > 0));
        let share = self.of_core.share();
        let is_full = count >= share || (self.is_full.get() && count > share / 2);
        self.is_full.set(is_full);
    }

    /// Whether the client has been given all replies.
    pub fn is_empty(&self) -> bool {
        self.queue.borrow().is_empty() && self.unsent_bytes.get() == 0
    }

    /// Nothing will be pushed any more.
    pub fn finish(&self) {
        self.is_finished.set(true);
    }

    /// Waits until the effects of all requests so far are complete, and the client has taken most of
    /// their replies.
    pub async fn settled(&self) {
        self.until(|| self.overlapping.get() == 0 && !self.are_untaken())
            .await;
    }

    /// Whether the client has so many replies to take that its next request has to wait.
    pub fn are_untaken(&self) -> bool {
        self.unsent_bytes.get() > UNSENT_BYTES_MAX
    }

    /// Waits until another overlapping request of that size may begin.
    pub async fn room_for(&self, bytes: usize) {
        self.until(|| self.has_room_for(bytes)).await;
    }

    /// Whether another overlapping request of that size may begin now.
    pub fn has_room_for(&self, bytes: usize) -> bool {
        let is_small_enough = self.overlapping_bytes.get() + bytes <= OVERLAP_BYTES_MAX;
        self.overlapping.get() == 0 || (!self.is_full.get() && is_small_enough)
    }

    async fn until(&self, is_so: impl Fn() -> bool) {
        poll_fn(|_| match is_so() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        })
        .await;
    }
}

/// For the writer, and the task that runs both.
impl Replies {
    /// Whether the reader should look again.
    pub fn take_moved(&self) -> bool {
        self.has_moved.take()
    }

    /// Answers until the reader has finished and everything is sent. Returns the reason if a request
    /// is answered by closing the connection.
    pub async fn write_all(
        &self,
        shared: &Shared,
        write: &mut WriteHalf,
        watched: &Watched,
    ) -> std::io::Result<Option<String>> {
        let mut oldest = None;
        let mut ready = VecDeque::new();
        let mut ready_bytes = 0;
        let mut now = VecDeque::new();
        let mut memory = Vec::new();
        let mut on_their_way = Vec::new();
        let mut gathering = None;
        loop {
            let mut flush = |cx: &mut Context<'_>| {
                let gathers = memory.is_empty()
                    && on_their_way.len() < REPLIES_GATHERED
                    && self.is_full.get()
                    && !self.is_finished.get();
                match (on_their_way.is_empty(), gathers) {
                    (true, _) => Poll::Pending,
                    (false, true) => gathering
                        .get_or_insert_with(|| Box::pin(shared.io.sleep(GATHERED_FOR)))
                        .as_mut()
                        .poll(cx),
                    (false, false) => Poll::Ready(()),
                }
            };
            let step = self.next(&mut oldest, &mut flush, shared, watched).await;
            let closing = match step {
                Step::Add(reply, held, answered) => {
                    memory.extend(held);
                    on_their_way.push((answered, reply.len()));
                    ready_bytes += reply.len();
                    let from = ready.len();
                    reply.drain_into(&mut ready);
                    self.lose_or_repeat(&mut ready, from);
                    if ready_bytes < WRITE_BYTES_MAX {
                        continue;
                    }
                    None
                }
                Step::Skip => continue,
                Step::Flush => None,
                Step::End if ready.is_empty() => return Ok(None),
                Step::End => None,
                Step::Close(reason) => Some(reason),
            };
            (ready_bytes, gathering) = (0, None);
            while !ready.is_empty() {
                let mut now_bytes = 0;
                while now_bytes < WRITE_BYTES_MAX
                    && let Some(slice) = ready.pop_front()
                {
                    now_bytes += slice.len();
                    now.push_back(slice);
                }
                write.write(&mut now).await?;
                watched.is_active();
                self.unsent_bytes.set(self.unsent_bytes.get() - now_bytes);
                self.has_moved.set(true);
            }
            watched.has_paid(memory.drain(..).count());
            note_sent(shared, &mut on_their_way);
            if closing.is_some() {
                return Ok(closing);
            }
            if strikes(Mutation::CloseConnection, 200) {
                return Ok(Some("a deliberate bug".to_owned()));
            }
        }
    }

    /// Deliberate bugs: the reply from this slice on is lost, or sent twice.
    fn lose_or_repeat(&self, ready: &mut VecDeque<Bytes>, from: usize) {
        let bytes = |reply: &[Bytes]| reply.iter().map(Bytes::len).sum::<usize>();
        if strikes(Mutation::DropReply, 50) {
            let lost: Vec<Bytes> = ready.drain(from..).collect();
            self.unsent_bytes
                .set(self.unsent_bytes.get() - bytes(&lost));
        } else if strikes(Mutation::RepeatReply, 50) {
            let again: Vec<Bytes> = ready.range(from..).cloned().collect();
            self.unsent_bytes
                .set(self.unsent_bytes.get() + bytes(&again));
            ready.extend(again);
        }
    }

    /// Waits for something to do. `oldest` keeps the request at the front while it is waited for, and `flush` says when
    /// that has taken too long for what there is to send.
    async fn next(
        &self,
        oldest: &mut Option<(Effects, Reservation, Asked)>,
        flush: &mut impl FnMut(&mut Context<'_>) -> Poll<()>,
        shared: &Shared,
        watched: &Watched,
    ) -> Step {
        if oldest.is_none() {
            let step = poll_fn(|cx| match self.queue.borrow_mut().pop_front() {
                Some(Entry::Ready(reply, memory, answered)) => {
                    Poll::Ready(Some(Step::Add(reply, memory, answered)))
                }
                Some(Entry::Pending(effects, memory, asked)) => {
                    *oldest = Some((effects, memory, asked));
                    Poll::Ready(None)
                }
                None if self.is_finished.get() => Poll::Ready(Some(Step::End)),
                None => flush(cx).map(|()| Some(Step::Flush)),
            })
            .await;
            if let Some(step) = step {
                return step;
            }
        }
        let Some((effects, memory, asked)) = oldest else {
            unreachable!("just looked")
        };
        let (memory_bytes, asked) = (memory.bytes(), *asked);
        let answering = poll_fn(|cx| match effects.as_mut().poll(cx) {
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            Poll::Pending => flush(cx).map(|()| None),
        });
        let Some(answer) = watched.watch().working(answering).await else {
            return Step::Flush;
        };
        *oldest = None;
        self.set_overlapping(self.overlapping.get() - 1);
        self.overlapping_bytes
            .set(self.overlapping_bytes.get() - memory_bytes);
        self.has_moved.set(true);
        match answer {
            Answer::Reply(reply, ready) => {
                self.unsent_bytes.set(self.unsent_bytes.get() + reply.len());
                Step::Add(reply, None, asked.answered(ready))
            }
            Answer::Nothing => {
                let total = shared.io.now() - asked.received;
                shared.metrics.api(asked.key).total.record(total);
                Step::Skip
            }
            Answer::Close(reason) => Step::Close(reason),
        }
    }
}

/// The socket has taken these replies.
fn note_sent(shared: &Shared, sent: &mut Vec<(Answered, usize)>) {
    let now = shared.io.now();
    for (Answered { asked, ready }, bytes) in sent.drain(..) {
        let api = shared.metrics.api(asked.key);
        api.reply_bytes.add(bytes as u64);
        api.reply.record(now - ready);
        api.total.record(now - asked.received);
    }
}
