//! One world: a broker, clients that send frames to it, and one client that does nothing wrong.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt::{self, Display, Formatter};
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use corelog_loadgen::batch::{self, Producer};
use corelog_loadgen::client::{produce_outcome, produce_request, topic_name};
use corelog_shards::io::sim::{Crash, Faults, World};
use corelog_shards::io::{Io, ReadHalf};
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, BrokerId, CreateTopicsRequest, FetchRequest,
};
use uuid::Uuid;

use crate::apis::{self, APIS};
use crate::corpus::Collection;
use crate::damage::BODY_BYTES_MAX;
use crate::frames::{Frame, Frames, Versions};
use crate::log::without_errors;
use crate::memory;
use crate::node::{Node, PORT, Setup};
use crate::samples::{PARTITIONS, TOPIC};
use crate::schema::{SHORT_TOPIC, Words};
use crate::story::Story;
use crate::wire::{Client, within};

const CLIENTS: u64 = 4;
/// Requests on their way on one connection.
const PIPELINED_MAX: u64 = 24;
/// A broker that neither answers nor closes within this time never will.
const PATIENCE: Duration = Duration::from_secs(60);
/// Requests that wait for what others do, for as long as their client says.
const WAITING: [ApiKey; 3] = [ApiKey::Fetch, ApiKey::JoinGroup, ApiKey::SyncGroup];
/// Marks the request behind all others, so that no reply is a reply, too.
const SENTINEL: i32 = -7;
const CANARY: &str = "canary-in-the-mine";
const CANARY_PAUSE: Duration = Duration::from_millis(20);
const READ_BYTES: usize = 64 << 10;

/// What a decoder may allocate for a body of that size, by less than 256 bytes for each of its own, and twice as much for
/// a list that grows. Far less than a length can claim.
const LARGEST_BYTES_MAX: usize = 512 * BODY_BYTES_MAX;
/// Of all in a world, its disk included.
const HELD_BYTES_MAX: isize = 64 << 20;

/// What is sent in a world.
pub enum Sent {
    /// So many frames, made anew.
    Made(u64),
    Corpus(Vec<Frame>),
}

/// What became of the frames of a world.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outcome {
    pub frames: u64,
    pub answered: u64,
    pub closed: u64,
    /// Those that were not answered since they wait for somebody.
    pub waiting: u64,
    pub held_bytes_max: isize,
    pub largest_bytes: usize,
}

impl Outcome {
    pub fn add(&mut self, other: Outcome) {
        self.frames += other.frames;
        self.answered += other.answered;
        self.closed += other.closed;
        self.waiting += other.waiting;
        self.held_bytes_max = self.held_bytes_max.max(other.held_bytes_max);
        self.largest_bytes = self.largest_bytes.max(other.largest_bytes);
    }

    /// Frames a second.
    pub fn rate(&self, elapsed: Duration) -> f64 {
        self.frames as f64 / elapsed.as_secs_f64()
    }
}

impl Display for Outcome {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} frames: {} answered, {} closed, {} waiting; {} MiB held at most, {} KiB at once",
            self.frames,
            self.answered,
            self.closed,
            self.waiting,
            self.held_bytes_max >> 20,
            self.largest_bytes >> 10,
        )
    }
}

struct Shared {
    seed: u64,
    broker: SocketAddr,
    outcome: Cell<Outcome>,
    /// Attackers that have not come to their end.
    attacking: Cell<u64>,
    sung: Cell<u64>,
    collection: Option<RefCell<Collection>>,
}

/// Runs one world. With a collection, frames with an outcome that it has not seen yet are added to it.
pub fn run(seed: u64, sent: Sent, collection: Option<&mut Collection>) -> Outcome {
    without_errors(seed, || simulate(seed, sent, collection))
}

fn simulate(seed: u64, sent: Sent, collection: Option<&mut Collection>) -> Outcome {
    let before = memory::take();
    let faults = Faults {
        network_piece_max: if seed.is_multiple_of(4) {
            100
        } else {
            64 << 10
        },
        ..Faults::none()
    };
    let mut world = World::new(seed, faults);
    let mut node = Node::new(&mut world, Setup::new(properties()));
    node.start(&mut world, 1 + (seed % 2) as usize);
    while !node.is_ready() {
        assert!(world.step(), "a start waits for nothing");
        node.check();
    }
    let broker = world.socket_address(node.id(), PORT);
    let client = world.add_node();
    world.start(client, 1, |_, _| async {});
    let (topic_id, versions) = world.block_on(client, move |io| prepare(io, broker));
    let (words, versions) = (Rc::new(Words::new(topic_id)), Rc::new(versions));
    let mut collection = collection;
    let shared = Rc::new(Shared {
        seed,
        broker,
        outcome: Cell::default(),
        attacking: Cell::new(0),
        sung: Cell::new(0),
        collection: collection
            .as_mut()
            .map(|it| RefCell::new(std::mem::take(*it))),
    });
    let io = world.io(client);
    match sent {
        Sent::Corpus(frames) => {
            shared.attacking.set(1);
            let (shared, io) = (shared.clone(), io.clone());
            io.clone().spawn("attacker", async move {
                attack_with(&shared, &io, &frames, 1).await;
                shared.attacking.set(0);
            });
        }
        Sent::Made(count) => {
            shared.attacking.set(CLIENTS);
            for number in 0..CLIENTS {
                let seed = seed << 8 | number;
                let others = Vec::new();
                let frames = Frames::new(seed, words.clone(), versions.clone(), others);
                let attack = attack(shared.clone(), io.clone(), frames, count / CLIENTS);
                io.spawn("attacker", attack);
            }
        }
    }
    io.spawn("canary", sing(shared.clone(), io.clone()));
    while shared.attacking.get() > 0 {
        assert!(world.step(), "everything waits for something else");
        node.check();
    }
    // Somebody else is served behind it all.
    let sung = shared.sung.get();
    while shared.sung.get() < sung + 2 {
        assert!(world.step(), "the canary waits for nothing");
    }
    world.crash(client, Crash::Kill);
    node.check_drained(&mut world);
    node.stop(&mut world);
    drop(world);
    if let (Some(to), Some(from)) = (collection, &shared.collection) {
        *to = from.take();
    }
    let counts = memory::take();
    let outcome = Outcome {
        held_bytes_max: counts.held_max - before.held,
        largest_bytes: counts.largest,
        ..shared.outcome.get()
    };
    assert!(
        outcome.largest_bytes < LARGEST_BYTES_MAX && outcome.held_bytes_max < HELD_BYTES_MAX,
        "CORELOG_SEED={seed}: {outcome:?}"
    );
    outcome
}

fn properties() -> Vec<String> {
    [
        "offsets.topic.num.partitions=2",
        "node.id=1",
        // Nobody is waited for who has joined a group and will never be heard of again.
        "group.initial.rebalance.delay.ms=0",
        "group.min.session.timeout.ms=1",
        "group.max.session.timeout.ms=100",
    ]
    .map(str::to_owned)
    .into()
}

pub async fn create_topics(
    client: &mut Client,
    topics: Vec<CreatableTopic>,
) -> Vec<CreatableTopicResult> {
    let request = CreateTopicsRequest::default()
        .with_topics(topics)
        .with_timeout_ms(5_000);
    let made = client.ask(7..=7, |_| request).await.expect("topics");
    assert!(
        made.topics.iter().all(|topic| topic.error_code == 0),
        "{made:?}"
    );
    made.topics
}

/// Makes the topics. Returns the id of the one that frames are about, and what is served.
async fn prepare(io: Io, broker: SocketAddr) -> (Uuid, Versions) {
    let mut client = Client::new(io, broker, "prepares", Story::new());
    let topic = |name, partitions| {
        CreatableTopic::default()
            .with_name(topic_name(name))
            .with_num_partitions(partitions)
            .with_replication_factor(1)
    };
    let topics = vec![
        topic(TOPIC, PARTITIONS),
        topic(SHORT_TOPIC, PARTITIONS),
        topic(CANARY, 1),
    ];
    let made = create_topics(&mut client, topics).await;
    let told = client.ask(0..=0, |_| ApiVersionsRequest::default()).await;
    let told = told.expect("versions").api_keys;
    let versions = APIS.iter().map(|api| {
        let served = told.iter().find(|served| served.api_key == api.key);
        let served = served.expect("it is served");
        (served.min_version, served.max_version)
    });
    assert_eq!(told.len(), APIS.len(), "an API is not fuzzed");
    (made[0].topic_id, versions.collect())
}

/// Writes and reads what it wrote, again and again.
async fn sing(shared: Rc<Shared>, io: Io) {
    let mut client = Client::new(io.clone(), shared.broker, "canary", Story::new());
    for offset in 0.. {
        let note = batch::encode(Producer::NONE, io.wall_ms(), [b"note".as_slice()]);
        let request = produce_request(CANARY, 0, -1, &Bytes::from(note));
        let reply = client.ask(9..=9, |_| request).await.expect("a reply");
        let written = produce_outcome(&reply).expect("an outcome");
        assert_eq!(written, (0, offset), "CORELOG_SEED={}", shared.seed);
        let partition = FetchPartition::default()
            .with_fetch_offset(offset)
            .with_partition_max_bytes(1 << 20);
        let topic = FetchTopic::default()
            .with_topic(topic_name(CANARY))
            .with_partitions(vec![partition]);
        let request = FetchRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_max_bytes(1 << 20)
            .with_session_epoch(-1)
            .with_topics(vec![topic]);
        let reply = client.ask(11..=11, |_| request).await.expect("a reply");
        let fetched = &reply.responses[0].partitions[0];
        let records = fetched.records.as_deref().unwrap_or_default();
        let read = batch::whole_batches(records).next().expect("a batch");
        assert_eq!((fetched.error_code, read.base_offset()), (0, offset));
        shared.sung.set(shared.sung.get() + 1);
        io.sleep(CANARY_PAUSE).await;
    }
}

async fn attack(shared: Rc<Shared>, io: Io, mut frames: Frames, count: u64) {
    let (mut sent, mut id) = (0, 1);
    while sent < count {
        let length = 1 + frames.below(PIPELINED_MAX);
        let made: Vec<Frame> = (0..length).map(|at| frames.next(id + at as i32)).collect();
        attack_with(&shared, &io, &made, id).await;
        (sent, id) = (sent + length, id + length as i32);
    }
    shared.attacking.set(shared.attacking.get() - 1);
}

/// Sends all of these, whose numbers begin with `first_id`, over as many connections as it takes.
async fn attack_with(shared: &Shared, io: &Io, frames: &[Frame], first_id: i32) {
    let (mut from, mut is_alone) = (0, false);
    while from < frames.len() {
        let to = if is_alone { from + 1 } else { frames.len() };
        let mut round = Round {
            shared,
            io,
            frames: &frames[from..to],
            first_id: first_id + from as i32,
            over: 0,
            has_sentinel: !is_alone || frames[from].wants_no_reply,
        };
        let end = round.exchange().await;
        // A connection that is closed before all was read takes replies with it. Who has caused that is seen when those
        // that are left come one by one.
        let is_known = end != End::Reset || is_alone;
        if is_known {
            round.judge(end);
        }
        from += round.over;
        is_alone = !is_known;
    }
    let mut outcome = shared.outcome.get();
    outcome.frames += frames.len() as u64;
    shared.outcome.set(outcome);
}

/// How an exchange came to its end.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Answered,
    Closed,
    Reset,
    Silent,
}

/// What is sent over one connection.
struct Round<'a> {
    shared: &'a Shared,
    io: &'a Io,
    frames: &'a [Frame],
    first_id: i32,
    /// The first frame of which nothing has been heard.
    over: usize,
    /// Another request comes behind them.
    has_sentinel: bool,
}

impl Round<'_> {
    async fn exchange(&mut self) -> End {
        let connecting = self.io.connect(self.shared.broker).await;
        let (mut read, mut write) = connecting.expect("a connection");
        let frames = self.frames.iter();
        let mut slices: VecDeque<Bytes> = frames.map(|frame| frame.bytes.clone()).collect();
        if self.has_sentinel {
            let key = ApiKey::ApiVersions as i16;
            let sentinel = apis::request(key, 0, 1, SENTINEL, &[]);
            slices.push_back(Frame::new(key, 0, &sentinel, None, true).bytes);
        }
        let mut sending = pin!(write.write(&mut slices));
        let mut receiving = pin!(self.receive(&mut read));
        let mut is_sending = true;
        poll_fn(|cx| {
            is_sending = is_sending && sending.as_mut().poll(cx).is_pending();
            receiving.as_mut().poll(cx)
        })
        .await
    }

    async fn receive(&mut self, read: &mut ReadHalf) -> End {
        let mut received = BytesMut::new();
        loop {
            while let Some(len) = received.first_chunk::<4>() {
                let len = i32::from_be_bytes(*len) as usize;
                if received.len() < 4 + len {
                    break;
                }
                received.advance(4);
                if self.take(received.split_to(len).freeze()) {
                    return End::Answered;
                }
            }
            let reading = read.read(&mut received, READ_BYTES);
            match within(self.io, PATIENCE, reading).await {
                None => return End::Silent,
                Some(Ok(0)) => return End::Closed,
                Some(Err(_)) => return End::Reset,
                Some(Ok(_)) => {}
            }
        }
    }

    /// Takes a reply. Whether it is the last one.
    fn take(&mut self, reply: Bytes) -> bool {
        let id = reply.clone().get_i32();
        let is_last = id == SENTINEL;
        let at = match is_last {
            true => self.frames.len(),
            false => (id - self.first_id) as usize,
        };
        assert!(
            (self.over..=self.frames.len()).contains(&at),
            "{}",
            self.tell(self.over, "replies out of order")
        );
        for skipped in self.over..at {
            let may_be_skipped = self.frames[skipped].wants_no_reply;
            assert!(
                may_be_skipped,
                "{}",
                self.tell(skipped, "there was no reply")
            );
        }
        self.over = at;
        if !is_last {
            let frame = &self.frames[at];
            if let Some(api) = frame.api {
                let version = frame.version;
                if let Err(why) = (api.check)(reply.clone(), version) {
                    panic!(
                        "{}",
                        self.tell(at, &format!("its reply: {why:#}: {reply:02x?}"))
                    );
                }
            }
            self.count(at, reply.len(), |outcome| outcome.answered += 1);
            self.over += 1;
        }
        is_last || !self.has_sentinel
    }

    /// Blames somebody for an early end.
    fn judge(&mut self, end: End) {
        let at = self.over;
        if end == End::Answered {
            return;
        }
        let Some(frame) = self.frames.get(at) else {
            panic!(
                "{}",
                self.tell(at - 1, "whoever came behind it was not served")
            );
        };
        match end {
            End::Silent => {
                let may_wait = frame
                    .api
                    .is_none_or(|api| WAITING.iter().any(|waiting| *waiting as i16 == api.key));
                assert!(may_wait, "{}", self.tell(at, "neither answered nor closed"));
                self.count(at, 0, |outcome| outcome.waiting += 1);
            }
            _ => {
                // An error of one without reply can be told in no other way.
                let is_told = self.frames[..=at].iter().any(|frame| frame.wants_no_reply);
                assert!(
                    !frame.is_sound || is_told,
                    "{}",
                    self.tell(at, "closed, although it is sound")
                );
                self.count(at, 0, |outcome| outcome.closed += 1);
            }
        }
        self.over += 1;
    }

    fn count(&self, at: usize, reply_bytes: usize, count: impl FnOnce(&mut Outcome)) {
        let mut outcome = self.shared.outcome.get();
        count(&mut outcome);
        self.shared.outcome.set(outcome);
        if let Some(collection) = &self.shared.collection {
            collection.borrow_mut().see(&self.frames[at], reply_bytes);
        }
    }

    fn tell(&self, at: usize, what: &str) -> String {
        let frame = &self.frames[at.min(self.frames.len() - 1)];
        let (seed, key, version) = (self.shared.seed, frame.key, frame.version);
        let hex: String = frame.bytes[4..]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        format!("CORELOG_SEED={seed}: API {key} version {version}: {what}: {hex}")
    }
}
