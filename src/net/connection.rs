//! One connection: requests in, replies out.
//!
//! The reader cuts requests out of what arrives and starts them one after the other:
//! - An overlapping one (Produce) has its effects put in order, then the next may start.
//! - Any other waits until the effects of all before it are complete, and is complete before the
//!   next one starts.
//!
//! The writer answers in the order of the requests (see `replies`). Both are polled by one task: a
//! connection that waits for its client costs one task and no buffer.
//!
//! How it ends: when the client closes, when the broker stops, or when a request can't be read, is
//! not served, or has a reply that can't be written. Then no further request is taken, those that
//! have begun are answered, and the socket is closed, once the client has had a chance to get the answers
//! (see [`linger`]). When the socket fails, or an error of a request
//! without reply must be told, nothing is answered any more. But a handler that has begun is never
//! dropped in the middle, whoever may have gone: only a stop that has lost its patience does that. One
//! that waits for news is told that the wait is over when its client has gone or the broker stops (see
//! [`crate::api::wait`]). (The second stage of an overlapping request may be dropped at any time: it
//! waits for the engine and does nothing itself.)

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use corelog_shards::io::futures::{first_of, poll_once};
use corelog_shards::io::{Instant, Io, Landmark, ReadHalf, SLICE, WriteHalf};
use kafka_protocol::messages::ApiKey;

use super::Shared;
use super::keeper::Watched;
use super::replies::{Asked, Replies};
use crate::api::{Context, Failure, Handler, LocalFuture, Request, Unserved};
use crate::budget::Reservation;
use crate::lines;
use crate::protocol::frame::{FrameDecoder, FrameError, Next};
use crate::protocol::header::{self, HeaderError};

/// From this much missing of a request on, the kernel wakes us for larger parts of it only.
const LOW_WATER_FROM: usize = 64 * 1024;
const LOW_WATER_MAX: usize = 256 * 1024;

/// Of a request on its way, the part that is reserved before any of it is there: so much for
/// everybody, and while memory is ample as much as the connection has shown to send, up to a limit.
const FIRST_BYTES: usize = 64 * 1024;
const SHOWN_BYTES_MAX: usize = 1 << 20;
/// What may arrive behind a request that waits for news before its client is no longer looked at. One that waits for
/// more, as a fetch does, is answered then: nobody would know that its client has gone.
const AHEAD_BYTES_MAX: usize = 4 * 1024;
/// How long it may still wait then: the `fetch.max.wait.ms` of most clients. One that always has so much behind its
/// fetches shall not be answered with nothing again and again without a pause.
const GRACE: Duration = Duration::from_millis(500);

/// How long a connection may go on with requests that are answered one after the other. Others have such requests, too,
/// and an append comes back to its core several times before it is answered: each time it waits for whoever has his
/// turn. Overlapping requests have a whole slice: they are worth more together.
const SEQUENTIAL_TURN: Duration = Duration::from_micros(25);

/// What a request takes beside its bytes: its place in the queue, its future, its reply.
const REQUEST_OVERHEAD_BYTES: usize = 1_024;

/// How long a client that may go on sending is given to read its last replies.
const LINGER_MAX: Duration = Duration::from_secs(1);
/// Of what it sends then, so much is thrown away at a time.
const DISCARDED_BYTES: usize = 64 * 1024;

/// Why no further request is read.
enum End {
    ByClient,
    ByBroker,
    Socket(std::io::Error),
    Frame(FrameError),
    Header(HeaderError),
    Unserved(Unserved),
    Unanswerable {
        key: ApiKey,
        version: i16,
        why: Failure,
    },
    /// An error of a request that the client wants no reply to.
    Untold(String),
}

/// Serves one connection to its end.
pub(super) async fn serve(
    shared: Rc<Shared>,
    context: Rc<Context>,
    mut read: ReadHalf,
    mut write: WriteHalf,
    watched: Watched,
) {
    let (end, was_answering) = exchange(&shared, &context, &mut read, &mut write, &watched).await;
    // An error would show in what follows.
    let _ = read.set_low_water(1);
    let may_send_on = match end {
        End::ByClient | End::Socket(_) => false,
        // Most have nothing to say when the broker stops.
        End::ByBroker => was_answering || has_sent_more(&shared.io, &mut read).await,
        _ => true,
    };
    end.log(&context, &shared, watched.id());
    if may_send_on {
        linger(&shared.io, &mut read, &mut write).await;
    }
}

/// Whether there is more of a client than was read.
async fn has_sent_more(io: &Io, read: &mut ReadHalf) -> bool {
    // What has come by now is seen behind a look outside.
    io.yield_now().await;
    let mut discarded = BytesMut::new();
    let found = poll_once(pin!(read.read(&mut discarded, DISCARDED_BYTES))).await;
    matches!(found, Some(Ok(1..)))
}

/// Has a client get its last replies that may be sending more than was read of it: where bytes are in a socket that is
/// closed, or come to it, the kernel takes back what the client has not read yet.
async fn linger(io: &Io, read: &mut ReadHalf, write: &mut WriteHalf) {
    if write.shutdown().is_err() {
        return;
    }
    let mut discarded = BytesMut::new();
    let until_its_end = async {
        loop {
            discarded.clear();
            match read.read(&mut discarded, DISCARDED_BYTES).await {
                Ok(1..) => io.yield_now().await,
                _ => return,
            }
        }
    };
    first_of(pin!(until_its_end), pin!(io.sleep(LINGER_MAX))).await;
}

/// Reads requests and answers them. Why no more are read, and whether some were not answered then.
async fn exchange(
    shared: &Rc<Shared>,
    context: &Rc<Context>,
    read: &mut ReadHalf,
    write: &mut WriteHalf,
    watched: &Watched,
) -> (End, bool) {
    let replies = Replies::new(Rc::clone(&shared.overlapping));
    let is_resting = Cell::new(false);
    let reader = Reader {
        io: &shared.io,
        is_resting: &is_resting,
        shared,
        context,
        replies: &replies,
        watched,
        read,
        low_water: 1,
        shown: 0,
        decoder: FrameDecoder::new(shared.limits.request_bytes_max),
        received: shared.io.now(),
    };
    let mut reading = pin!(reader.run());
    let mut writing = pin!(replies.write_all(shared, write, watched));
    let (mut end, mut was_answering) = (None, false);
    let outcome = poll_fn(|cx| {
        watched.watch().set_waker(cx.waker());
        loop {
            if end.is_none()
                && let Poll::Ready(ended) = reading.as_mut().poll(cx)
            {
                end = Some(ended);
                was_answering = !replies.is_empty();
                replies.finish();
            }
            match writing.as_mut().poll(cx) {
                Poll::Ready(outcome) => return Poll::Ready(outcome),
                // A reader that lets others have their turn is not to be asked again in this one.
                Poll::Pending if end.is_none() && !is_resting.get() && replies.take_moved() => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await;
    // Without a writer only a handler that has begun goes on.
    watched.watch().close();
    let watch = watched.watch();
    poll_fn(
        |cx| match watch.is_handling() && reading.as_mut().poll(cx).is_pending() {
            true if watch.is_handling() => Poll::Pending,
            _ => Poll::Ready(()),
        },
    )
    .await;
    let end = match outcome {
        Ok(Some(reason)) => End::Untold(reason),
        Ok(None) => end.unwrap_or(End::ByClient),
        Err(error) => End::Socket(error),
    };
    (end, was_answering)
}

impl End {
    /// A line for a connection that was not closed in peace.
    fn log(self, context: &Context, shared: &Shared, id: u64) {
        let (peer, listener) = (context.peer, &*context.listener);
        let (lines, now) = (&shared.lines, shared.io.now());
        match self {
            End::ByClient => tracing::debug!(%peer, listener, id, "the client has closed"),
            End::ByBroker => tracing::debug!(%peer, listener, id, "closed: the broker stops"),
            End::Socket(error) => tracing::debug!(%peer, listener, id, "lost: {error}"),
            End::Frame(why) => {
                lines::say!(lines, now, warn, %peer, listener, id, "closed: {why}");
            }
            End::Header(why) => {
                lines::say!(lines, now, warn, %peer, listener, id, "closed: {why}");
            }
            End::Unserved(why) => {
                lines::say!(lines, now, warn, %peer, listener, id, "closed: {why}");
            }
            End::Unanswerable { key, version, why } => {
                let what = format!("closed: a {key:?} request of version {version}: {why}");
                match why {
                    Failure::Malformed(_) => {
                        lines::say!(lines, now, warn, %peer, listener, id, "{what}");
                    }
                    // Not the client's mistake, but ours.
                    Failure::Unencodable(_) => {
                        lines::say!(lines, now, error, %peer, listener, id, "{what}");
                    }
                }
            }
            End::Untold(why) => {
                lines::say!(lines, now, info, %peer, listener, id, "closed: {why}");
            }
        }
    }
}

struct Reader<'a> {
    io: &'a Io,
    /// It has nothing to wait for, and lets others have their turn.
    is_resting: &'a Cell<bool>,
    shared: &'a Shared,
    context: &'a Rc<Context>,
    replies: &'a Replies,
    watched: &'a Watched,
    read: &'a mut ReadHalf,
    low_water: usize,
    /// The largest request so far.
    shown: usize,
    decoder: FrameDecoder,
    /// When bytes came in last.
    received: Instant,
}

impl Reader<'_> {
    async fn run(mut self) -> End {
        match self.read_requests().await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    async fn read_requests(&mut self) -> Result<std::convert::Infallible, End> {
        // Of the request on its way.
        let mut memory = None;
        let (mut slice, mut turn) = (self.io.slice(), SLICE);
        loop {
            let goes_on = match self.decoder.next_frame().map_err(End::Frame)? {
                Next::Frame(frame) => {
                    self.watched.set_incoming(false);
                    turn = self.start(frame, memory.take()).await?;
                    if self.watched.watch().is_closing() {
                        return Err(End::ByBroker);
                    }
                    // What is to be read next may have to be waited for.
                    self.decoder.buffered() > 0
                }
                Next::Incoming(len) => {
                    let first = self.first_part(len);
                    memory = Some(self.reserve_first(first, len).await);
                    self.watched.set_incoming(true);
                    self.decoder.begin(len, first);
                    false
                }
                Next::Full { allowed, len } => {
                    let more = allowed.min(len - allowed);
                    let memory = memory.as_mut().expect("reserved at its beginning");
                    self.watched.hold_up(true);
                    self.watched.watch().working(memory.grow(more)).await;
                    self.watched.hold_up(false);
                    self.decoder.allow(more);
                    false
                }
                Next::Missing(bytes) => {
                    self.set_low_water(bytes);
                    let has_waited = self.receive().await?;
                    if has_waited {
                        slice = self.io.slice();
                    }
                    !has_waited
                }
            };
            if goes_on && slice.has_lasted(self.io, turn) {
                // Others have requests, too.
                self.is_resting.set(true);
                self.io.yield_now().await;
                self.is_resting.set(false);
                slice = self.io.slice();
            }
        }
    }

    /// How much of a request may be read before it has to ask again. A length that is claimed costs
    /// little, and most connections that send large requests ask once for each.
    fn first_part(&self, len: usize) -> usize {
        let shown = match self.shown > FIRST_BYTES && self.shared.budget.is_roomy(len) {
            true => self.shown.min(SHOWN_BYTES_MAX),
            false => FIRST_BYTES,
        };
        shown.min(len)
    }

    async fn reserve_first(&self, first: usize, len: usize) -> Reservation {
        let budget = &self.shared.budget;
        let overhead = REQUEST_OVERHEAD_BYTES;
        if budget.is_used_up_for(first + overhead, len + overhead) {
            self.io.reached(Landmark::RequestMemoryShort);
        }
        let reserving = budget.reserve_first(first + overhead, len + overhead);
        self.watched.watch().working(reserving).await
    }

    async fn reserve(&self, bytes: usize) -> Reservation {
        if self.shared.budget.is_used_up_for(bytes, bytes) {
            self.io.reached(Landmark::RequestMemoryShort);
        }
        let reserving = self.shared.budget.reserve(bytes);
        self.watched.watch().working(reserving).await
    }

    /// Waits for bytes, or for the wish that the connection end. Whether there was a wait.
    async fn receive(&mut self) -> Result<bool, End> {
        let watch = self.watched.watch();
        let mut has_waited = false;
        let read = {
            let (buffer, room) = self.decoder.buffer();
            let mut reading = pin!(self.read.read(buffer, room));
            poll_fn(|cx| {
                if watch.is_closing() {
                    return Poll::Ready(None);
                }
                let read = reading.as_mut().poll(cx);
                has_waited |= read.is_pending();
                read.map(Some)
            })
            .await
        };
        match read {
            None => Err(End::ByBroker),
            Some(Ok(0)) => Err(End::ByClient),
            Some(Ok(bytes)) => {
                self.received = self.io.now();
                self.watched.has_received(bytes);
                self.decoder.received(bytes);
                Ok(has_waited)
            }
            Some(Err(error)) => Err(End::Socket(error)),
        }
    }

    /// While a large request comes in, fewer and larger reads do.
    fn set_low_water(&mut self, missing: usize) {
        let wanted = if missing >= LOW_WATER_FROM {
            missing.min(LOW_WATER_MAX)
        } else {
            1
        };
        if wanted != self.low_water && self.read.set_low_water(wanted).is_ok() {
            self.low_water = wanted;
        }
    }

    /// Starts a request, in its turn. How long its connection may go on without a pause.
    async fn start(&mut self, frame: Bytes, memory: Option<Reservation>) -> Result<Duration, End> {
        let frame_bytes = frame.len();
        self.shown = self.shown.max(frame_bytes);
        let (header, body) = header::decode(frame).map_err(End::Header)?;
        let (key, version) = (header.api_key, header.api_version);
        let api = (self.shared.find)(key, version).map_err(End::Unserved)?;
        let bytes = frame_bytes * api.memory_factor + REQUEST_OVERHEAD_BYTES;
        let memory = match memory {
            Some(mut memory) => {
                memory.resize(bytes);
                memory
            }
            None => self.reserve(bytes).await,
        };
        let context = Rc::clone(self.context);
        let asked = Asked {
            key,
            received: self.received,
        };
        match api.handler {
            Handler::Sequential(_) => {
                if self.replies.are_untaken() {
                    self.io.reached(Landmark::RepliesUntaken);
                }
                self.watched.set_blocked(true);
                self.replies.settled().await;
                self.watched.set_blocked(false);
            }
            Handler::Overlapping(_) => {
                if !self.replies.has_room_for(bytes) {
                    self.io.reached(Landmark::PipelineFull);
                }
                self.replies.room_for(bytes).await;
            }
        }
        let begun = self.io.now();
        let metrics = &context.broker.metrics;
        metrics.begun(key, frame_bytes, begun - asked.received);
        let request = Request {
            header,
            body,
            begun,
        };
        let started = match api.handler {
            Handler::Sequential(handle) => {
                let handled = self.answering(handle(context, request)).await;
                let ready = self.io.now();
                let memory = self.context.reply_memory.take();
                handled.map(|reply| {
                    memory.iter().for_each(|_| self.watched.owes());
                    self.replies.push(reply, memory, asked.answered(ready));
                })
            }
            Handler::Overlapping(begin) => {
                let begun = self.handling(begin(context, request)).await;
                begun.map(|effects| self.replies.push_overlapping(effects, memory, asked))
            }
        };
        started.map_err(|why| End::Unanswerable { key, version, why })?;
        Ok(match api.handler {
            Handler::Sequential(_) => SEQUENTIAL_TURN,
            Handler::Overlapping(_) => SLICE,
        })
    }

    async fn handling<T>(&self, handler: impl Future<Output = T>) -> T {
        let watch = self.watched.watch();
        watch.set_handling(true);
        let outcome = handler.await;
        watch.set_handling(false);
        outcome
    }

    /// Runs a handler that may wait for news. Meanwhile its client is looked at: when it has gone, or
    /// the broker stops, there is nothing to wait for.
    async fn answering<T>(&mut self, mut handler: LocalFuture<T>) -> T {
        let watch = self.watched.watch();
        let wait = &self.context.wait;
        watch.set_handling(true);
        // Begun, and then over.
        let mut grace = None;
        let outcome = poll_fn(|cx| {
            loop {
                if watch.is_closing() {
                    wait.end();
                }
                if let Poll::Ready(outcome) = handler.as_mut().poll(cx) {
                    return Poll::Ready(outcome);
                }
                watch.set_waiting(wait.is_waiting());
                if !wait.is_waiting() || wait.is_over() {
                    return Poll::Pending;
                }
                if self.decoder.buffered() >= AHEAD_BYTES_MAX {
                    let grace = grace.get_or_insert_with(|| Some(Box::pin(self.io.sleep(GRACE))));
                    if let Some(left) = grace {
                        ready!(left.as_mut().poll(cx));
                    }
                    *grace = None;
                    match wait.cut_short() {
                        true => continue,
                        false => return Poll::Pending,
                    }
                }
                let read = {
                    let (buffer, _) = self.decoder.buffer();
                    pin!(self.read.read(buffer, AHEAD_BYTES_MAX)).poll(cx)
                };
                match read {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(bytes @ 1..)) => {
                        self.received = self.io.now();
                        self.watched.has_received(bytes);
                        self.decoder.received(bytes);
                    }
                    // Whoever reads next finds the same.
                    Poll::Ready(_) => wait.end(),
                }
            }
        })
        .await;
        watch.set_waiting(false);
        watch.set_handling(false);
        outcome
    }
}
