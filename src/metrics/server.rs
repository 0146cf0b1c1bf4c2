//! The HTTP listener: `/metrics`, `/metrics/partitions`, `/metrics/groups`, `/live`, `/ready`.
//!
//! One ordinary thread, off the way of the data: it may wait and allocate as it likes, and clients of
//! the broker feel no more of it than of any thread that a core is shared with. Requests without a
//! body, one a connection, few at a time. Whoever comes is taken in: where there is no room the
//! connection that has waited for its request for longest makes some, so that `/live` is answered
//! whatever others hold open.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;

use super::monitor::{Monitor, Phase};
use super::partitions::Texts;
use super::stream::Stream;
use super::{families, groups};
use crate::lines::{self, Lines};

/// Connections at a time.
const CONNECTIONS_MAX: usize = 64;
/// Files that the server opens at most: its connections, its listeners, what it waits with.
pub const FILES_MAX: usize = CONNECTIONS_MAX + 16;
/// How long a client may take to send its request's head.
const HEAD_PATIENCE: Duration = Duration::from_secs(30);
/// How long a connection may last: to be asked, and to take the reply.
const CONNECTION_LIFE: Duration = Duration::from_secs(60);
/// Pause after a failed accept: descriptors may be short.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

type Reply = Response<Either<Full<Bytes>, Stream>>;

/// What all connections use.
struct Server {
    monitor: Arc<Monitor>,
    /// Before there are shards.
    started: Instant,
    connections: Connections,
    /// Read what there is for each partition, or for each group: one at a time each, since it is much.
    partitions: Arc<Semaphore>,
    groups: Arc<Semaphore>,
}

/// The connections that are open, and how to end them. Those that wait for their request come first,
/// and among them the oldest.
#[derive(Default)]
struct Connections {
    next_id: AtomicU64,
    open: Mutex<BTreeMap<(State, u64), AbortHandle>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    Waiting,
    Answered,
}

impl Connections {
    fn open(&self) -> MutexGuard<'_, BTreeMap<(State, u64), AbortHandle>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes room for one more.
    fn make_room(&self) {
        let mut open = self.open();
        while open.len() >= CONNECTIONS_MAX
            && let Some((_, oldest)) = open.pop_first()
        {
            oldest.abort();
        }
    }

    /// The request of a connection is there.
    fn is_asked(&self, id: u64) {
        let mut open = self.open();
        if let Some(connection) = open.remove(&(State::Waiting, id)) {
            open.insert((State::Answered, id), connection);
        }
    }

    fn forget(&self, id: u64) {
        let mut open = self.open();
        for state in [State::Waiting, State::Answered] {
            open.remove(&(state, id));
        }
    }
}

/// Forgets a connection when it ends.
struct Open(Arc<Server>, u64);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connections.forget(self.1);
    }
}

/// Serves until the process ends.
pub fn start(listeners: Vec<TcpListener>, monitor: Arc<Monitor>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()?;
    for listener in &listeners {
        listener.set_nonblocking(true)?;
    }
    thread::Builder::new()
        .name("http".to_owned())
        .spawn(move || runtime.block_on(serve(listeners, monitor)))?;
    Ok(())
}

async fn serve(listeners: Vec<TcpListener>, monitor: Arc<Monitor>) {
    let server = Arc::new(Server {
        monitor,
        started: Instant::now(),
        connections: Connections::default(),
        partitions: Arc::new(Semaphore::new(1)),
        groups: Arc::new(Semaphore::new(1)),
    });
    let mut accepting = Vec::new();
    for listener in listeners {
        match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => {
                accepting.push(tokio::spawn(accept_all(listener, server.clone())));
            }
            Err(error) => tracing::warn!(%error, "cannot serve metrics"),
        }
    }
    for task in accepting {
        // Ends only by a panic, which is in the log.
        let _ = task.await;
    }
}

async fn accept_all(listener: tokio::net::TcpListener, server: Arc<Server>) {
    let (lines, started) = (Lines::default(), Instant::now());
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                server.clone().take_in(stream, peer);
                // What had to make room closes, and what came gets its turn, before the next one.
                tokio::task::yield_now().await;
            }
            Err(error) => {
                let now = corelog_shards::io::Instant::default() + started.elapsed();
                lines::say!(lines, now, warn, "can't accept an HTTP connection: {error}");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

impl Server {
    fn take_in(self: Arc<Self>, stream: TcpStream, peer: SocketAddr) {
        let connections = &self.connections;
        connections.make_room();
        let id = connections.next_id.fetch_add(1, Ordering::Relaxed);
        let open = Open(self.clone(), id);
        let serving = tokio::spawn(async move {
            let answering = service_fn(|request| {
                open.0.connections.is_asked(id);
                open.0.answer(request)
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_PATIENCE)
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), answering);
            match tokio::time::timeout(CONNECTION_LIFE, connection).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%peer, "an HTTP connection was closed: {error}"),
                Err(_) => tracing::debug!(%peer, "an HTTP connection was closed: too slow"),
            }
        });
        let open = (State::Waiting, id);
        self.connections.open().insert(open, serving.abort_handle());
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Reply, Infallible> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut reply = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD");
            let allowed = HeaderValue::from_static("GET, HEAD");
            reply.headers_mut().insert(ALLOW, allowed);
            return Ok(reply);
        }
        let monitor = &self.monitor;
        Ok(match request.uri().path() {
            "/metrics" => {
                let known = monitor.known().await;
                let elapsed = self.started.elapsed();
                exposition(families::of_broker(monitor, known.as_ref(), elapsed))
            }
            "/metrics/partitions" => self.partitions().await,
            "/metrics/groups" => self.groups(request.uri().query()).await,
            "/live" => live(monitor),
            "/ready" => ready(monitor, self.started.elapsed()),
            "/" => text(
                StatusCode::OK,
                "Corelog: /metrics /metrics/partitions /metrics/groups /live /ready",
            ),
            _ => text(StatusCode::NOT_FOUND, "not found"),
        })
    }

    async fn partitions(&self) -> Reply {
        let turn = take_turn(&self.partitions).await;
        let Some(known) = self.monitor.known().await else {
            return no_answer();
        };
        numbers(Either::Right(Stream::of(|pieces| async move {
            for text in Texts::of(known.partitions) {
                if pieces.put(text).await.is_err() {
                    break;
                }
            }
            drop(turn);
        })))
    }

    /// Of the group that the query names, or of all.
    async fn groups(&self, query: Option<&str>) -> Reply {
        let Ok(group) = named_group(query) else {
            return text(
                StatusCode::BAD_REQUEST,
                "only ?group=NAME, with its percent signs encoded",
            );
        };
        let turn = take_turn(&self.groups).await;
        let Some(first) = self.monitor.lags(groups::cursor(group.as_deref())).await else {
            return no_answer();
        };
        let monitor = self.monitor.clone();
        numbers(Either::Right(Stream::of(|pieces| async move {
            // A client that has gone needs no more.
            let _ = groups::write(&monitor, group.as_deref(), first, &pieces).await;
            drop(turn);
        })))
    }
}

async fn take_turn(turns: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    let turn = turns.clone().acquire_owned().await;
    turn.expect("it is never closed")
}

fn no_answer() -> Reply {
    text(StatusCode::SERVICE_UNAVAILABLE, "the shards do not answer")
}

/// The group that a query asks for, if it does. An error for a query that is none.
fn named_group(query: Option<&str>) -> Result<Option<String>, ()> {
    let Some(query) = query else {
        return Ok(None);
    };
    let name = query.strip_prefix("group=").ok_or(())?;
    decode(name).map(Some)
}

/// Percent signs and pluses of a query, undone.
fn decode(text: &str) -> Result<String, ()> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                let (high, low) = (digit().ok_or(())?, digit().ok_or(())?);
                (high * 16 + low) as u8
            }
            b'+' => b' ',
            byte => byte,
        });
    }
    String::from_utf8(bytes).map_err(drop)
}

/// Whether the process does its work; one that does not should be killed and started again.
fn live(monitor: &Monitor) -> Reply {
    let hanging = monitor.hanging(Instant::now());
    if hanging.is_empty() {
        return text(StatusCode::OK, "live");
    }
    let shards: Vec<String> = hanging.iter().map(ToString::to_string).collect();
    let why = format!("shards that hang: {}", shards.join(", "));
    text(StatusCode::SERVICE_UNAVAILABLE, &why)
}

/// Whether clients should be sent here.
fn ready(monitor: &Monitor, elapsed: Duration) -> Reply {
    let why_not = match monitor.phase() {
        Phase::Ready => return text(StatusCode::OK, "ready"),
        Phase::Recovering => format!("recovering: {}", monitor.recovery(elapsed)),
        Phase::Stopping => "stopping".to_owned(),
        Phase::Failed => {
            let why = monitor.failure().map_or("", |failure| &failure.why);
            format!("failed: {why}")
        }
    };
    text(StatusCode::SERVICE_UNAVAILABLE, &why_not)
}

fn exposition(families: Vec<prometheus::proto::MetricFamily>) -> Reply {
    match prometheus::TextEncoder::new().encode_to_string(&families) {
        Ok(body) => numbers(Either::Left(Full::from(body))),
        Err(error) => {
            tracing::error!(%error, "the metrics cannot be written");
            text(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the metrics cannot be written",
            )
        }
    }
}

/// In Prometheus' text format.
fn numbers(body: Either<Full<Bytes>, Stream>) -> Reply {
    let mut reply = Response::new(body);
    let kind = HeaderValue::from_static(prometheus::TEXT_FORMAT);
    reply.headers_mut().insert(CONTENT_TYPE, kind);
    reply
}

fn text(status: StatusCode, line: &str) -> Reply {
    let mut reply = Response::new(Either::Left(Full::from(format!("{line}\n"))));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, TEXT);
    reply
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::super::monitor::Cause;
    use super::*;

    const MIB: u64 = 1 << 20;

    /// What `/ready` says so long after the start.
    fn told(monitor: &Monitor, seconds: u64) -> (u16, String) {
        let reply = ready(monitor, Duration::from_secs(seconds));
        let status = reply.status().as_u16();
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let body = runtime
            .expect("a runtime")
            .block_on(reply.into_body().collect());
        let body = body.expect("the body").to_bytes();
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    #[test]
    fn one_that_recovers_is_not_ready_and_says_how_far_it_is() {
        let monitor = Monitor::default();
        let not_ready = |words: &str| (503, format!("recovering: {words}\n"));
        let nothing = "0 of 0 MiB of journals read, 0 of 0 partitions opened";
        assert_eq!(told(&monitor, 0), not_ready(nothing));
        let shards = [0, 1].map(|shard| monitor.watch_recovery(shard));
        for shard in &shards {
            shard.journal_bytes.set(200 * MIB);
            shard.journal_bytes_read.set(50 * MIB);
        }
        let journals = "100 of 400 MiB of journals read, 0 of 0 partitions opened, about 6 s left";
        assert_eq!(told(&monitor, 2), not_ready(journals));
        for shard in &shards {
            shard.journal_bytes_read.set(200 * MIB);
            shard.journal_nanos.set(8_000_000_000);
            shard.partitions.set(30);
            shard.partitions_opened.set(20);
        }
        let partitions =
            "400 of 400 MiB of journals read, 40 of 60 partitions opened, about 1 s left";
        assert_eq!(told(&monitor, 10), not_ready(partitions));
    }

    #[test]
    fn one_that_serves_is_ready_until_it_stops() {
        let monitor = Monitor::default();
        monitor.enter(Phase::Ready);
        assert_eq!(told(&monitor, 1), (200, "ready\n".to_owned()));
        monitor.enter(Phase::Stopping);
        assert_eq!(told(&monitor, 1), (503, "stopping\n".to_owned()));
    }

    #[test]
    fn one_whose_journal_has_failed_is_not_ready_and_says_why() {
        const WHY: &str = "the journal cannot be written";
        for phase in [Phase::Recovering, Phase::Ready, Phase::Stopping] {
            let monitor = Monitor::default();
            monitor.enter(phase);
            monitor.fail(Cause::Disk, WHY);
            let failed = (503, format!("failed: {WHY}\n"));
            assert_eq!(told(&monitor, 1), failed);
            monitor.enter(Phase::Ready);
            assert_eq!(told(&monitor, 1), failed, "from {phase:?}");
        }
    }
}
