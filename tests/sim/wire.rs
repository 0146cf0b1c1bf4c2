//! What any client has: a connection over the simulated network, and patience. Most ask one thing at a time; some send
//! more before they have their replies.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt::Debug;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Buf, BufMut, BytesMut};
use corelog_shards::io::{Io, ReadHalf, WriteHalf};
use kafka_protocol::messages::{ApiKey, RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};

use crate::story::Story;

/// How long a request may take that the broker answers at once, as Java's `default.api.timeout.ms`, which is longer.
const PATIENCE: Duration = Duration::from_secs(8);
/// Between two attempts: `retry.backoff.ms`, and up to as much again.
const BACKOFF_MS: u64 = 200;
const READ_BYTES: usize = 64 << 10;

pub struct Client {
    io: Io,
    broker: SocketAddr,
    name: StrBytes,
    connection: Option<Connection>,
    /// Whether anybody may say anything to the broker now.
    is_open: Option<Rc<Cell<bool>>>,
    /// The start of the broker that keeps its connections and answers everything as long as it lasts.
    keeps: Rc<Cell<Option<u32>>>,
    story: Story,
}

struct Connection {
    /// The start that it was made to, if that keeps it.
    keeper: Option<u32>,
    read: ReadHalf,
    write: WriteHalf,
    received: BytesMut,
    correlation_id: i32,
    /// Requests that are to be answered, in their order.
    awaited: VecDeque<i32>,
}

/// No reply came: nobody knows what became of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost;

impl Client {
    pub fn new(io: Io, broker: SocketAddr, name: &str, story: Story) -> Client {
        Client {
            io,
            broker,
            name: text(name),
            connection: None,
            is_open: None,
            keeps: Rc::default(),
            story,
        }
    }

    /// Panics from now on at a connection that is lost, or a reply that does not come, though one start of the broker has
    /// lasted all the while that this tells of.
    pub fn rely_on(mut self, keeps: &Rc<Cell<Option<u32>>>) -> Client {
        self.keeps = keeps.clone();
        self
    }

    /// The start of the broker that has to answer.
    fn keeper(&self) -> Option<u32> {
        match &self.connection {
            Some(connection) => connection.keeper,
            None => self.keeps.get(),
        }
    }

    /// Nothing came of what was asked of that start.
    fn lose(&mut self, keeper: Option<u32>) {
        self.connection = None;
        // A client that the broker does not serve for now has left by itself.
        let has_left = self.is_open.as_ref().is_some_and(|is_open| !is_open.get());
        let is_explained = keeper.is_none() || keeper != self.keeps.get() || has_left;
        assert!(
            is_explained,
            "{}: a connection was lost, or no reply came",
            self.name
        );
    }

    /// From now on what it connects to while this is not set is left at once: the broker it meant is gone by then.
    pub fn speak_while(mut self, is_open: &Rc<Cell<bool>>) -> Client {
        self.is_open = Some(is_open.clone());
        self
    }

    pub fn io(&self) -> &Io {
        &self.io
    }

    /// A number below `bound`, of the world's randomness.
    pub fn below(&self, bound: u64) -> u64 {
        self.io.random_u64() % bound
    }

    pub async fn back_off(&self) {
        let pause = BACKOFF_MS + self.below(BACKOFF_MS);
        self.io.sleep(Duration::from_millis(pause)).await;
    }

    /// Asks in one of these versions, and waits for the reply.
    pub async fn ask<R: Request<Response: Debug> + Debug>(
        &mut self,
        versions: RangeInclusive<i16>,
        request: impl FnOnce(i16) -> R,
    ) -> Result<R::Response, Lost> {
        self.ask_patiently(versions, PATIENCE, request).await
    }

    /// The same, of what may take its time.
    pub async fn ask_patiently<R: Request<Response: Debug> + Debug>(
        &mut self,
        versions: RangeInclusive<i16>,
        patience: Duration,
        request: impl FnOnce(i16) -> R,
    ) -> Result<R::Response, Lost> {
        let (low, high) = versions.into_inner();
        let version = low + self.below((high - low + 1) as u64) as i16;
        let request = request(version);
        let (io, keeper) = (self.io.clone(), self.keeper());
        let begun = io.now();
        let asking = self.exchange(&request, version);
        let answer = within(&io, patience, asking).await.unwrap_or(Err(Lost));
        if answer.is_err() {
            self.lose(keeper);
        }
        self.story.tell(io.now(), || {
            let (name, begun) = (&self.name, begun.as_nanos() as f64 / 1e9);
            format!("{name}: {request:?}, since {begun}: {answer:?}")
        });
        answer
    }

    async fn exchange<R: Request>(
        &mut self,
        request: &R,
        version: i16,
    ) -> Result<R::Response, Lost> {
        self.connect().await?;
        let connection = self.connection.as_mut().expect("just made");
        connection.send(request, version, &self.name, true).await?;
        connection.receive::<R>(version).await
    }

    async fn connect(&mut self) -> Result<(), Lost> {
        if self.connection.is_none() {
            let (read, write) = self.io.connect(self.broker).await.map_err(|_| Lost)?;
            if self.is_open.as_ref().is_some_and(|is_open| !is_open.get()) {
                return Err(Lost);
            }
            self.connection = Some(Connection {
                keeper: self.keeps.get(),
                read,
                write,
                received: BytesMut::new(),
                correlation_id: 0,
                awaited: VecDeque::new(),
            });
        }
        Ok(())
    }
}

/// Several requests at a time.
impl Client {
    pub fn is_connected(&self) -> bool {
        self.connection.is_some()
    }

    /// Sends a request without waiting for its reply, if it gets one at all.
    pub async fn send<R: Request>(
        &mut self,
        version: i16,
        request: &R,
        is_answered: bool,
    ) -> Result<(), Lost> {
        let (io, keeper) = (self.io.clone(), self.keeper());
        let sending = async {
            self.connect().await?;
            let connection = self.connection.as_mut().expect("just made");
            let sending = connection.send(request, version, &self.name, is_answered);
            sending.await
        };
        let sent = within(&io, PATIENCE, sending).await.unwrap_or(Err(Lost));
        if sent.is_err() {
            self.lose(keeper);
        }
        sent
    }

    /// The reply to the oldest request that was not answered yet.
    pub async fn receive<R: Request>(&mut self, version: i16) -> Result<R::Response, Lost> {
        let (io, keeper) = (self.io.clone(), self.keeper());
        let connection = self.connection.as_mut().ok_or(Lost)?;
        let receiving = connection.receive::<R>(version);
        let received = within(&io, PATIENCE, receiving).await.unwrap_or(Err(Lost));
        if received.is_err() {
            self.lose(keeper);
        }
        received
    }

    pub fn disconnect(&mut self) {
        self.connection = None;
    }

    /// Panics if something comes that nobody has asked for.
    pub async fn expect_nothing(&mut self, pause: Duration) {
        let io = self.io.clone();
        let Some(connection) = &mut self.connection else {
            return;
        };
        assert!(connection.awaited.is_empty(), "replies are to come");
        let reading = connection.read.read(&mut connection.received, READ_BYTES);
        if within(&io, pause, reading)
            .await
            .is_some_and(|read| read.is_err())
        {
            self.connection = None;
        } else {
            let left = connection.received.len();
            assert_eq!(left, 0, "bytes that belong to no reply");
        }
    }
}

impl Connection {
    async fn send<R: Request>(
        &mut self,
        request: &R,
        version: i16,
        name: &StrBytes,
        is_answered: bool,
    ) -> Result<(), Lost> {
        self.correlation_id += 1;
        if is_answered {
            self.awaited.push_back(self.correlation_id);
        }
        let key = ApiKey::try_from(R::KEY).expect("a known API");
        let mut frame = BytesMut::new();
        frame.put_i32(0);
        RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(self.correlation_id)
            .with_client_id(Some(name.clone()))
            .encode(&mut frame, key.request_header_version(version))
            .expect("a header");
        let encoded = request.encode(&mut frame, version);
        encoded.unwrap_or_else(|error| panic!("{key:?} in version {version}: {error}"));
        let len = frame.len() as i32 - 4;
        frame[..4].copy_from_slice(&len.to_be_bytes());
        let mut slices = VecDeque::from([frame.freeze()]);
        self.write.write(&mut slices).await.map_err(|_| Lost)
    }

    async fn receive<R: Request>(&mut self, version: i16) -> Result<R::Response, Lost> {
        loop {
            if let Some(len) = self.received.first_chunk::<4>() {
                let len = i32::from_be_bytes(*len) as usize;
                if self.received.len() >= 4 + len {
                    self.received.advance(4);
                    let mut body = self.received.split_to(len).freeze();
                    let header_version = <R::Response as HeaderVersion>::header_version(version);
                    let header = ResponseHeader::decode(&mut body, header_version);
                    let id = header.expect("a reply's header").correlation_id;
                    let awaited = self.awaited.pop_front();
                    assert_eq!(Some(id), awaited, "replies come in order, one for each");
                    let reply = <R::Response as Decodable>::decode(&mut body, version);
                    return Ok(reply.expect("a valid reply"));
                }
            }
            match self.read.read(&mut self.received, READ_BYTES).await {
                Ok(0) | Err(_) => return Err(Lost),
                Ok(_) => {}
            }
        }
    }
}

/// What comes of a future in time.
pub async fn within<T>(io: &Io, patience: Duration, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let mut over = pin!(io.sleep(patience));
    poll_fn(|cx| {
        if let Poll::Ready(outcome) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(outcome));
        }
        over.as_mut().poll(cx).map(|()| None)
    })
    .await
}

pub fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}
