//! With a small table of test APIs beside ApiVersions: over real sockets on loopback, or in a simulated world where time
//! matters, which there passes as the test wants it to.

mod ends;
mod limits;
mod memory;
mod order;
mod sim;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use corelog_shards::io::sim::{Faults, World};
use corelog_shards::io::{Io, ReadHalf, WriteHalf, slot};
use corelog_shards::runtime::{cores, run_shards};
use kafka_protocol::messages::{ApiKey, RequestHeader as WireHeader};
use kafka_protocol::protocol::{Encodable, StrBytes};

use super::admission::{Admission, ConnectionLimits};
use super::{Limits, Network};
use crate::api::{
    Answer, Api, Context, Effects, Failure, Handler, Request, Unserved, api_versions,
};
use crate::broker;
use crate::protocol::Malformed;
use crate::protocol::frame::{FrameDecoder, Next};
use crate::protocol::reply::{Reply, ReplyBuilder};

/// Does nothing but answer after the time its body says, and note what happens.
const TIMED: ApiKey = ApiKey::ListOffsets;
/// Panics in its handler.
const PANICS: ApiKey = ApiKey::Heartbeat;
/// Says it cannot read its body.
const UNREADABLE: ApiKey = ApiKey::DescribeGroups;
/// Answers with as many bytes as its body says.
const LARGE: ApiKey = ApiKey::DescribeCluster;

/// Waits for ever unless its connection ends the wait.
const WAITS: ApiKey = ApiKey::JoinGroup;
/// Answers with as many bytes as its body says and reply memory allows.
const BOUNDED: ApiKey = ApiKey::Fetch;

static TABLE: [Api; 8] = [
    api(
        ApiKey::Produce,
        Handler::Overlapping(|_, request| Box::pin(produce(request))),
    ),
    api(
        TIMED,
        Handler::Sequential(|_, request| Box::pin(timed(request))),
    ),
    api(
        PANICS,
        Handler::Sequential(|_, request| Box::pin(panics(request))),
    ),
    api(
        UNREADABLE,
        Handler::Sequential(|_, _| Box::pin(async { Err(Malformed::Truncated.into()) })),
    ),
    api(
        ApiKey::ApiVersions,
        Handler::Sequential(|context, request| Box::pin(api_versions::handle(context, request))),
    ),
    api(
        LARGE,
        Handler::Sequential(|_, request| Box::pin(large(request))),
    ),
    api(
        WAITS,
        Handler::Sequential(|context, request| Box::pin(waits(context, request))),
    ),
    api(
        BOUNDED,
        Handler::Sequential(|context, request| Box::pin(bounded(context, request))),
    ),
];

const fn api(key: ApiKey, handler: Handler) -> Api {
    Api {
        key,
        version_min: 0,
        version_max: 4,
        memory_factor: 1,
        handler,
    }
}

fn find(key: ApiKey, version: i16) -> Result<&'static Api, Unserved> {
    let api = TABLE.iter().find(|api| api.key == key);
    let api = api.ok_or(Unserved::Api(key))?;
    if (0..=4).contains(&version) || key == ApiKey::ApiVersions {
        Ok(api)
    } else {
        Err(Unserved::Version { key, version })
    }
}

thread_local! {
    /// What the handlers of the test that runs on this thread see.
    static ENGINE: RefCell<Option<Rc<Engine>>> = const { RefCell::new(None) };
}

struct Engine {
    io: Io,
    events: RefCell<Vec<(Event, i32)>>,
    /// Requests in the hands of a handler, and the most there ever were.
    under_way: Cell<usize>,
    under_way_max: Cell<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Begin,
    Complete,
}

impl Engine {
    /// From now on handlers on this thread work with a new one.
    fn begin(io: Io) -> Rc<Engine> {
        let engine = Rc::new(Engine {
            io,
            events: RefCell::default(),
            under_way: Cell::new(0),
            under_way_max: Cell::new(0),
        });
        ENGINE.set(Some(Rc::clone(&engine)));
        engine
    }

    fn current() -> Rc<Engine> {
        ENGINE.with_borrow(|engine| Rc::clone(engine.as_ref().expect("a test has set it")))
    }

    fn note(&self, event: Event, id: i32) {
        self.events.borrow_mut().push((event, id));
        let now = match event {
            Event::Begin => self.under_way.get() + 1,
            Event::Complete => self.under_way.get() - 1,
        };
        self.under_way.set(now);
        self.under_way_max.set(now.max(self.under_way_max.get()));
    }
}

fn echo(request: &Request, body: &[u8]) -> Reply {
    let mut reply = ReplyBuilder::new(&request.header, body.len());
    reply.records(Bytes::copy_from_slice(body));
    reply.finish().expect("a small reply")
}

/// The body says: milliseconds (2 bytes), and how it is answered (1 byte).
async fn produce(request: Request) -> Result<Effects, Failure> {
    let engine = Engine::current();
    let mut body = request.body.clone();
    let delay = Duration::from_millis(body.get_u16().into());
    let how = body.get_u8();
    let id = request.header.correlation_id;
    engine.note(Event::Begin, id);
    let (done, effects) = slot();
    let io = engine.io.clone();
    io.spawn("engine", async move {
        engine.io.sleep(delay).await;
        engine.note(Event::Complete, id);
        done.complete(());
    });
    Ok(Box::pin(async move {
        effects.await.expect("the engine completes it");
        match how {
            0 => Answer::Reply(echo(&request, b"done"), request.begun),
            1 => Answer::Nothing,
            _ => Answer::Close("the engine said no".to_owned()),
        }
    }))
}

async fn timed(request: Request) -> Result<Reply, Failure> {
    let engine = Engine::current();
    let delay = Duration::from_millis(request.body.clone().get_u16().into());
    let id = request.header.correlation_id;
    engine.note(Event::Begin, id);
    engine.io.sleep(delay).await;
    engine.note(Event::Complete, id);
    Ok(echo(&request, b"timed"))
}

async fn panics(_: Request) -> Result<Reply, Failure> {
    panic!("a handler panics on purpose")
}

async fn large(request: Request) -> Result<Reply, Failure> {
    Engine::current().note(Event::Begin, request.header.correlation_id);
    Engine::current().note(Event::Complete, request.header.correlation_id);
    let len = request.body.clone().get_u32() as usize;
    Ok(echo(&request, &vec![7; len]))
}

async fn waits(context: Rc<Context>, request: Request) -> Result<Reply, Failure> {
    let engine = Engine::current();
    engine.note(Event::Begin, request.header.correlation_id);
    context.wait.for_more(std::future::pending::<()>()).await;
    engine.note(Event::Complete, request.header.correlation_id);
    Ok(echo(&request, b"waited"))
}

async fn bounded(context: Rc<Context>, request: Request) -> Result<Reply, Failure> {
    let wanted = request.body.clone().get_u32() as usize;
    let granted = context.reply_memory.reserve(wanted).await;
    Ok(echo(&request, &vec![7; granted]))
}

/// One broker's network on one shard, and the io to make clients with.
struct Stage {
    io: Io,
    engine: Rc<Engine>,
    network: Rc<Network>,
    address: SocketAddr,
}

fn roomy() -> Limits {
    Limits {
        request_bytes_max: 10 << 20,
        request_memory_bytes: 64 << 20,
        reply_memory_bytes: 64 << 20,
        idle_max: None,
    }
}

fn open_to_all() -> ConnectionLimits {
    ConnectionLimits {
        connections_max: 1_000,
        per_ip_max: i32::MAX as u32,
        per_ip_overrides: Vec::new(),
    }
}

/// With the test table, over a broker whose data is in `folder`.
async fn network(
    io: &Io,
    folder: &Path,
    limits: Limits,
    connection_limits: ConnectionLimits,
) -> Rc<Network> {
    let admission = Admission::new(usize::MAX, |_, hosts| panic!("{hosts:?} are no addresses"));
    admission.set_limits(connection_limits);
    Rc::new(Network::serving(
        find,
        io.clone(),
        limits,
        broker::testing::broker(io, folder).await,
        admission,
    ))
}

/// Runs a test on a shard, beside a network with these limits.
fn on_a_stage<F: Future<Output = ()> + 'static>(
    limits: Limits,
    connection_limits: ConnectionLimits,
    test: impl Fn(Stage) -> F + Clone + Send + 'static,
) {
    let core = cores().expect("the affinity")[0];
    let (done, finished) = mpsc::channel();
    let folder = Arc::new(tempfile::tempdir().expect("a folder"));
    run_shards(&[core], move |io, _| {
        let folder = Arc::clone(&folder);
        let (limits, connection_limits) = (limits.clone(), connection_limits.clone());
        let (test, done) = (test.clone(), done.clone());
        async move {
            run_on_a_stage(io, folder.path(), limits, connection_limits, test).await;
            done.send(()).expect("somebody waits");
        }
    })
    .expect("a shard");
    finished.recv().expect("the test came to its end");
}

/// The same in a simulated world.
fn on_a_simulated_stage<F: Future<Output = ()> + 'static>(
    limits: Limits,
    connection_limits: ConnectionLimits,
    test: impl FnOnce(Stage) -> F + 'static,
) {
    let mut world = World::new(1, Faults::none());
    let node = world.add_node();
    world.start(node, 1, |_, _| async {});
    world.block_on(node, |io| async move {
        run_on_a_stage(io, Path::new("/data"), limits, connection_limits, test).await;
    });
}

async fn run_on_a_stage<F: Future<Output = ()>>(
    io: Io,
    folder: &Path,
    limits: Limits,
    connection_limits: ConnectionLimits,
    test: impl FnOnce(Stage) -> F,
) {
    let engine = Engine::begin(io.clone());
    let network = network(&io, folder, limits, connection_limits).await;
    let address = network
        .listen("PLAINTEXT", ([127, 0, 0, 1], 0).into(), false)
        .expect("a free port");
    test(Stage {
        io,
        engine,
        network: Rc::clone(&network),
        address,
    })
    .await;
    network.drain(Duration::from_millis(100)).await;
    ENGINE.set(None);
}

impl Stage {
    async fn client(&self) -> Client {
        let client = Client::connect(&self.io, self.address).await;
        client.expect("it listens")
    }

    /// Waits a while for something to become so.
    async fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        for _ in 0..2_000 {
            if is_so() {
                return;
            }
            self.io.sleep(Duration::from_millis(5)).await;
        }
        panic!("never came true: {what}");
    }

    /// A client of its own is served as ever.
    async fn is_well(&self) {
        let mut client = self.client().await;
        client.send(request(TIMED, 1, 99, &[0, 0])).await;
        assert_eq!(client.answer().await, Some((99, Bytes::from("timed"))));
    }
}

struct Client {
    read: ReadHalf,
    write: WriteHalf,
    decoder: FrameDecoder,
}

impl Client {
    async fn connect(io: &Io, address: SocketAddr) -> std::io::Result<Client> {
        let (read, write) = io.connect(address).await?;
        Ok(Client {
            read,
            write,
            decoder: FrameDecoder::new(usize::MAX),
        })
    }

    async fn send(&mut self, bytes: impl Into<Bytes>) {
        let mut slices = VecDeque::from([bytes.into()]);
        // A server that has closed is a part of some tests.
        let _ = self.write.write(&mut slices).await;
    }

    async fn answer(&mut self) -> Option<(i32, Bytes)> {
        next_answer(&mut self.read, &mut self.decoder).await
    }
}

/// The next reply's correlation id and body; None at the end.
async fn next_answer(read: &mut ReadHalf, decoder: &mut FrameDecoder) -> Option<(i32, Bytes)> {
    loop {
        match decoder.next_frame().expect("a valid reply") {
            Next::Frame(mut frame) => return Some((frame.get_i32(), frame)),
            Next::Incoming(len) => decoder.begin(len, len),
            Next::Full { .. } => unreachable!("all is allowed"),
            Next::Missing(_) => {
                let (buffer, room) = decoder.buffer();
                match read.read(buffer, room).await {
                    Ok(0) | Err(_) => return None,
                    Ok(bytes) => decoder.received(bytes),
                }
            }
        }
    }
}

/// A frame on the wire.
fn request(key: ApiKey, version: i16, id: i32, body: &[u8]) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_i32(0);
    WireHeader::default()
        .with_request_api_key(key as i16)
        .with_request_api_version(version)
        .with_correlation_id(id)
        .with_client_id(Some(StrBytes::from_static_str("test")))
        .encode(&mut frame, key.request_header_version(version))
        .expect("encodes");
    frame.put_slice(body);
    let len = frame.len() as i32 - 4;
    frame[..4].copy_from_slice(&len.to_be_bytes());
    frame.freeze()
}

fn produce_request(id: i32, delay_ms: u16, how: u8) -> Bytes {
    let [high, low] = delay_ms.to_be_bytes();
    request(ApiKey::Produce, 3, id, &[high, low, how])
}

fn timed_request(id: i32, delay_ms: u16) -> Bytes {
    request(TIMED, 1, id, &delay_ms.to_be_bytes())
}
