//! The HTTP listener: `/metrics`, `/metrics/partitions`, `/live`, `/ready`.
//!
//! One ordinary thread, off the way of the data: it may wait and allocate as it likes, and whatever is
//! done to it, clients of the broker feel nothing of it. Requests without a body, few at a time.

use std::convert::Infallible;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::Semaphore;

use super::families;
use super::monitor::{Monitor, Phase};

/// Connections served at a time; the others wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 64;
/// How long a client may take to send a request's head. An idle connection ends by it, too.
const HEAD_PATIENCE: Duration = Duration::from_secs(30);
/// How long a connection may last, so that slow readers do not take all of them.
const CONNECTION_LIFE: Duration = Duration::from_secs(300);
/// Pause after a failed accept: descriptors may be short.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

type Reply = Response<Full<Bytes>>;

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
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut accepting = Vec::new();
    for listener in listeners {
        match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => {
                let accepts = accept_all(listener, monitor.clone(), room.clone());
                accepting.push(tokio::spawn(accepts));
            }
            Err(error) => tracing::warn!(%error, "cannot serve metrics"),
        }
    }
    for task in accepting {
        // Ends only by a panic, which is in the log.
        let _ = task.await;
    }
}

async fn accept_all(
    listener: tokio::net::TcpListener,
    monitor: Arc<Monitor>,
    room: Arc<Semaphore>,
) {
    while let Ok(permit) = room.clone().acquire_owned().await {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!("can't accept an HTTP connection: {error}");
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        let monitor = monitor.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(request, monitor.clone()));
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_PATIENCE)
                .serve_connection(TokioIo::new(stream), service);
            if let Ok(Err(error)) = tokio::time::timeout(CONNECTION_LIFE, connection).await {
                tracing::debug!(%peer, "an HTTP connection was closed: {error}");
            }
            drop(permit);
        });
    }
}

async fn answer(request: Request<Incoming>, monitor: Arc<Monitor>) -> Result<Reply, Infallible> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut reply = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD");
        let allowed = HeaderValue::from_static("GET, HEAD");
        reply.headers_mut().insert(ALLOW, allowed);
        return Ok(reply);
    }
    Ok(match request.uri().path() {
        "/metrics" => {
            let known = monitor.ask().await;
            exposition(families::of_broker(&monitor, known.as_ref()))
        }
        "/metrics/partitions" => match monitor.ask().await {
            Some(known) => exposition(families::of_partitions(&known)),
            None => text(StatusCode::SERVICE_UNAVAILABLE, "the shards do not answer"),
        },
        "/live" => live(&monitor),
        "/ready" => ready(&monitor),
        "/" => text(
            StatusCode::OK,
            "Corelog: /metrics /metrics/partitions /live /ready",
        ),
        _ => text(StatusCode::NOT_FOUND, "not found"),
    })
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
fn ready(monitor: &Monitor) -> Reply {
    match monitor.phase() {
        Phase::Ready => text(StatusCode::OK, "ready"),
        Phase::Recovering => text(StatusCode::SERVICE_UNAVAILABLE, "recovering"),
        Phase::Stopping => text(StatusCode::SERVICE_UNAVAILABLE, "stopping"),
    }
}

fn exposition(families: Vec<prometheus::proto::MetricFamily>) -> Reply {
    match prometheus::TextEncoder::new().encode_to_string(&families) {
        Ok(body) => {
            let mut reply = Response::new(Full::from(body));
            let kind = HeaderValue::from_static(prometheus::TEXT_FORMAT);
            reply.headers_mut().insert(CONTENT_TYPE, kind);
            reply
        }
        Err(error) => {
            tracing::error!(%error, "the metrics cannot be written");
            text(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the metrics cannot be written",
            )
        }
    }
}

fn text(status: StatusCode, line: &str) -> Reply {
    let mut reply = Response::new(Full::from(format!("{line}\n")));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, TEXT);
    reply
}
