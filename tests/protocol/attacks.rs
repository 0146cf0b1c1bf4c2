//! Clients that mean harm, or know no better, on a real broker: bytes that trickle in, replies that nobody reads, a
//! million requests at once, a connection for each request, ten thousand connections that say nothing, records that
//! unpack to far more than they are, claims of frames that never come.
//!
//! Beside each, a well-behaved client writes and reads, and is served. The broker's memory stays below what README.md
//! states for its settings ([`stated_bytes`]). The latency of the well-behaved client is printed, and decides nothing
//! (`corelog-bench compare --only attackers` measures it).

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use corelog_bench::attack::{tiny, tiny_reply};
use corelog_loadgen::batch::{self, Producer};
use corelog_loadgen::client::{
    self, Backoff, Client, FETCH_VERSION, PRODUCE_VERSION, produce_outcome, produce_request,
    topic_name,
};
use corelog_shards::log::batch::BatchBuilder;
use corelog_shards::log::batch::compress::Codec;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::{ApiVersionsRequest, FetchRequest};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::harness::{Broker, Launch};

const CORES: u64 = 2;
const MIB: u64 = 1 << 20;
const TAIL_CACHE: u64 = 16 * MIB;
const REQUEST_MEMORY: u64 = 32 * MIB;
const JOURNAL: u64 = 64 * MIB;
/// Of the process itself, of what its allocator holds back, and of partitions and groups.
const OWN_BYTES: u64 = 96 * MIB;
/// As README.md states, and no connection that says nothing holds more.
const CONNECTION_BYTES_MAX: u64 = 8 << 10;

const CANARY: &str = "canary-in-the-mine";
/// A topic with enough in it that replies are large.
const FULL: &str = "full";
const FULL_BATCHES: usize = 16;
const MESSAGE_TOO_LARGE: i16 = 10;
/// Whoever is neither served nor refused within this time never will be.
const PATIENCE: Duration = Duration::from_secs(120);

/// What the broker may hold, as README.md states, with so many connections.
fn stated_bytes(connections: u64) -> u64 {
    let of_core = TAIL_CACHE + 2 * REQUEST_MEMORY + JOURNAL / 4;
    CORES * of_core + OWN_BYTES + connections * CONNECTION_BYTES_MAX
}

fn launch() -> Broker {
    let properties = [
        "log.cleaner.backoff.ms=100".to_owned(),
        format!("corelog.tail.cache.bytes={TAIL_CACHE}"),
        format!("corelog.request.memory.bytes={REQUEST_MEMORY}"),
        format!("corelog.journal.bytes={JOURNAL}"),
    ];
    let broker = Broker::launch(Launch {
        arguments: &["--cores", "2"],
        overrides: &properties.each_ref().map(String::as_str),
        ..Launch::default()
    });
    let mut client = Client::connect(broker.address()).expect("a connection");
    client.create_topic(CANARY, 1, &[]).expect("a topic");
    client.create_topic(FULL, 1, &[]).expect("a topic");
    let value = vec![b'x'; 900_000];
    for _ in 0..FULL_BATCHES {
        let records = batch::encode(Producer::NONE, client::wall_ms(), [value.as_slice()]);
        produce(&mut client, FULL, Bytes::from(records)).expect("room");
    }
    broker
}

/// Writes a batch; its offset or the error.
fn produce(client: &mut Client, topic: &str, records: Bytes) -> Result<i64, i16> {
    let request = produce_request(topic, 0, -1, &records);
    let reply = client.call(&request, PRODUCE_VERSION).expect("a reply");
    match produce_outcome(&reply).expect("an outcome") {
        (0, offset) => Ok(offset),
        (error, _) => Err(error),
    }
}

fn fetch(topic: &str, offset: i64) -> FetchRequest {
    let partition = FetchPartition::default()
        .with_fetch_offset(offset)
        .with_partition_max_bytes(8 << 20);
    let topic = FetchTopic::default()
        .with_topic(topic_name(topic))
        .with_partitions(vec![partition]);
    FetchRequest::default()
        .with_max_bytes(8 << 20)
        .with_session_epoch(-1)
        .with_topics(vec![topic])
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("an option");
    stream.set_write_timeout(Some(PATIENCE)).expect("an option");
    stream
}

/// Writes and reads what it wrote, until told to stop. How long each round took.
fn sing(address: SocketAddr, stop: &AtomicBool, sung: &AtomicUsize) -> Vec<Duration> {
    let mut client = Client::connect(address).expect("a connection");
    let mut rounds = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let note = batch::encode(Producer::NONE, client::wall_ms(), [b"note".as_slice()]);
        let offset = produce(&mut client, CANARY, Bytes::from(note)).expect("written");
        let reply = client.call(&fetch(CANARY, offset), FETCH_VERSION);
        let fetched = &reply.expect("a reply").responses[0].partitions[0];
        let records = fetched.records.as_deref().unwrap_or_default();
        let read = batch::whole_batches(records).next().expect("a batch");
        assert_eq!((fetched.error_code, read.base_offset()), (0, offset));
        rounds.push(begun.elapsed());
        sung.fetch_add(1, Ordering::Relaxed);
        thread::sleep(Duration::from_millis(2));
    }
    rounds
}

fn p99(mut rounds: Vec<Duration>) -> Duration {
    rounds.sort_unstable();
    let at = rounds.len() * 99 / 100;
    rounds.get(at).copied().unwrap_or_default()
}

/// The thread that sings; it ends early if it was not served.
type Canary<'scope> = thread::ScopedJoinHandle<'scope, Vec<Duration>>;

/// Lets the canary end when a check has failed.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Attacks a broker over so many connections, beside a client that is served all the while.
fn beside(name: &str, connections: u64, attack: impl FnOnce(&Broker)) {
    let mut broker = launch();
    let sing_during = |during: &mut dyn FnMut(&AtomicUsize, &Canary<'_>)| {
        let (stop, sung) = (AtomicBool::new(false), AtomicUsize::new(0));
        thread::scope(|scope| {
            let until = Stop(&stop);
            let canary = scope.spawn(|| sing(broker.address(), &stop, &sung));
            during(&sung, &canary);
            // It is served behind it all, too.
            let before = sung.load(Ordering::Relaxed);
            while sung.load(Ordering::Relaxed) < before + 3 && !canary.is_finished() {
                thread::yield_now();
            }
            drop(until);
            p99(canary.join().expect("the canary lives"))
        })
    };
    let alone = sing_during(&mut |sung, canary| {
        while sung.load(Ordering::Relaxed) < 200 && !canary.is_finished() {
            thread::sleep(Duration::from_millis(1));
        }
    });
    let mut attack = Some(attack);
    let beside = sing_during(&mut |_, _| attack.take().expect("one attack")(&broker));
    let (peak, stated) = (broker.memory_peak_bytes(), stated_bytes(connections));
    println!(
        "{name}: {} MiB at most of {} stated; p99 of a write and a read {alone:?} alone, {beside:?} beside",
        peak / MIB,
        stated / MIB,
    );
    assert!(peak < stated, "it held {} MiB", peak / MIB);
    assert!(broker.is_running(), "{}", broker.log());
    broker.stop();
}

#[test]
fn requests_that_trickle_in_hold_nobody_up() {
    const CONNECTIONS: usize = 300;
    beside("trickle", CONNECTIONS as u64, |broker| {
        let mut streams: Vec<_> = (0..CONNECTIONS)
            .map(|_| connect(broker.address()))
            .collect();
        for (at, stream) in streams.iter_mut().enumerate() {
            if at % 2 == 1 {
                // Claims a megabyte, of a Produce.
                stream.write_all(&[0, 16, 0, 0, 0, 0, 0, 9]).expect("sent");
            }
        }
        for at in 0..tiny(0).len() {
            for (number, stream) in streams.iter_mut().enumerate() {
                let byte = tiny(number as u32)[at];
                stream.write_all(&[byte]).expect("sent");
            }
            thread::sleep(Duration::from_millis(20));
        }
        for (number, stream) in streams.iter_mut().enumerate().step_by(2) {
            assert_eq!(tiny_reply(stream).expect("a reply"), number as u32);
        }
    });
}

#[test]
fn replies_that_nobody_reads_are_bounded() {
    const CONNECTIONS: usize = 64;
    const FETCHES: usize = 100;
    beside("unread replies", CONNECTIONS as u64, |broker| {
        let mut streams = Vec::new();
        for _ in 0..CONNECTIONS {
            let mut stream = connect(broker.address());
            let short = Some(Duration::from_millis(50));
            stream.set_write_timeout(short).expect("an option");
            for number in 0..FETCHES {
                let request = fetch(FULL, 0);
                let frame = client::frame(&request, FETCH_VERSION, number as i32);
                // Once the broker does not read any more there is no room.
                if stream.write_all(&frame.expect("a frame")).is_err() {
                    break;
                }
            }
            streams.push(stream);
        }
        thread::sleep(Duration::from_secs(1));
        // Whoever reads after all gets what he asked for.
        let reply = read_frame(&mut streams[0]).expect("a reply");
        assert!(reply > 900_000, "{reply} bytes");
    });
}

/// Reads a frame to its end. Its length.
fn read_frame(stream: &mut TcpStream) -> std::io::Result<u64> {
    let mut len = [0; 4];
    stream.read_exact(&mut len)?;
    let len = u64::from(u32::from_be_bytes(len));
    std::io::copy(&mut stream.take(len), &mut std::io::sink())
}

#[test]
fn a_million_requests_at_once_are_answered_in_order() {
    const REQUESTS: u32 = 1_000_000;
    beside("a million requests", 1, |broker| {
        let stream = connect(broker.address());
        thread::scope(|scope| {
            let mut to = stream.try_clone().expect("another handle");
            scope.spawn(move || {
                let numbers: Vec<u32> = (0..REQUESTS).collect();
                for some in numbers.chunks(10_000) {
                    let frames: Vec<u8> = some.iter().flat_map(|number| tiny(*number)).collect();
                    to.write_all(&frames).expect("sent");
                }
            });
            let mut from = std::io::BufReader::with_capacity(1 << 20, &stream);
            for number in 0..REQUESTS {
                assert_eq!(tiny_reply(&mut from).expect("a reply"), number);
            }
        });
    });
}

#[test]
fn a_connection_for_each_request_is_served() {
    const THREADS: usize = 4;
    const CONNECTIONS: u32 = 2_500;
    beside("a connection for each request", THREADS as u64, |broker| {
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    for number in 0..CONNECTIONS {
                        let mut stream = connect(broker.address());
                        stream.write_all(&tiny(number)).expect("sent");
                        assert_eq!(tiny_reply(&mut stream).expect("a reply"), number);
                    }
                });
            }
        });
    });
}

#[test]
fn ten_thousand_connections_that_say_nothing_take_little() {
    const CONNECTIONS: u64 = 10_000;
    /// Beside the connections, of this process and of the broker: a quarter is for its logs, the rest for its own files.
    const FILES: u64 = CONNECTIONS * 3 / 2;
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    if hard < FILES {
        // Past the test runner, which withholds what a test that passes prints.
        let _ = writeln!(
            std::io::stdout(),
            "protocol test silent connections: 0 passed, 1 skipped; not possible here: {FILES} open files are needed, \
             {hard} are allowed"
        );
        return;
    }
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("a higher limit");
    beside("silent connections", CONNECTIONS, |broker| {
        let before = broker.memory_bytes();
        let mut streams: Vec<_> = (0..CONNECTIONS)
            .map(|_| connect(broker.address()))
            .collect();
        // All have been accepted once the last one is served.
        for (number, stream) in streams.iter_mut().enumerate() {
            stream.write_all(&tiny(number as u32)).expect("sent");
            assert_eq!(tiny_reply(stream).expect("a reply"), number as u32);
        }
        let each = broker.memory_bytes().saturating_sub(before) / CONNECTIONS;
        println!("{each} bytes for each connection that says nothing any more");
        assert!(each < CONNECTION_BYTES_MAX, "{each} bytes each");
    });
}

/// Records that unpack to `bytes`, as many as fit into a batch that a topic takes.
fn bomb(codec: Codec, bytes: usize) -> Bytes {
    const BATCH_BYTES_MAX: usize = 1_000_000;
    let value = vec![0; 1 << 20];
    let make = |bytes: usize| {
        let mut builder = BatchBuilder::new(codec).expect("a codec");
        while builder.uncompressed_bytes() < bytes {
            builder.append(0, Some(b"key"), Some(&value)).expect("room");
        }
        builder.finish().expect("a batch")
    };
    let mut bytes = bytes;
    loop {
        let batch = make(bytes);
        if batch.len() <= BATCH_BYTES_MAX {
            println!(
                "{codec:?}: {} bytes unpack to {} MiB",
                batch.len(),
                bytes >> 20
            );
            return batch.into();
        }
        bytes = bytes / 10 * 9;
    }
}

#[test]
fn bombs_of_all_compressions_are_bounded() {
    const ROUNDS: usize = 2;
    let bombs = [
        (Codec::GZIP, 512 << 20),
        (Codec::ZSTD, 512 << 20),
        (Codec::LZ4, 240 << 20),
        (Codec::Snappy, 20 << 20),
    ]
    .map(|(codec, bytes)| bomb(codec, bytes));
    const COMPACTED: usize = 0;
    const SEGMENT_BYTES: u64 = MIB;
    // Looked into for its keys, as it comes, and compressed anew (also into nothing).
    let topics: [&[(&str, &str)]; 5] = [
        &[
            ("cleanup.policy", "compact"),
            ("min.cleanable.dirty.ratio", "0.01"),
            ("segment.bytes", "1048576"),
        ],
        &[],
        &[("compression.type", "uncompressed")],
        &[("compression.type", "zstd")],
        &[("compression.type", "lz4")],
    ];
    beside("bombs", topics.len() as u64, |broker| {
        let mut client = Client::connect(broker.address()).expect("a connection");
        for (at, configs) in topics.iter().enumerate() {
            let name = format!("bombs-{at}");
            client.create_topic(&name, 1, configs).expect("a topic");
        }
        thread::scope(|scope| {
            for at in 0..topics.len() {
                let (bombs, address) = (&bombs, broker.address());
                scope.spawn(move || {
                    let mut client = Client::connect(address).expect("a connection");
                    let name = format!("bombs-{at}");
                    for bomb in std::iter::repeat_n(bombs, ROUNDS).flatten() {
                        let written = produce(&mut client, &name, bomb.clone());
                        match at {
                            // As it comes.
                            0 | 1 => assert!(written.is_ok(), "{written:?}"),
                            // Into what no topic takes.
                            2 => assert_eq!(written, Err(MESSAGE_TOO_LARGE)),
                            _ => assert!(
                                matches!(written, Ok(_) | Err(MESSAGE_TOO_LARGE)),
                                "{written:?}"
                            ),
                        }
                    }
                });
            }
        });
        // Of one key, a record is left of each segment but the active one.
        let name = format!("bombs-{COMPACTED}");
        let mut backoff = Backoff::within(PATIENCE);
        while client.topic_bytes(&name, 1).expect("its size") > SEGMENT_BYTES + MIB / 4 {
            assert!(backoff.wait(), "{name} is not compacted: {}", broker.log());
        }
    });
}

#[test]
fn frames_that_are_claimed_and_never_come_cost_what_has_come() {
    const CONNECTIONS: usize = 200;
    /// `socket.request.max.bytes`.
    const FRAME_BYTES_MAX: u32 = 104_857_600;
    beside("claims", CONNECTIONS as u64, |broker| {
        for claim in [0, u32::MAX, 1 << 31, i32::MAX as u32, FRAME_BYTES_MAX + 1] {
            let mut stream = connect(broker.address());
            stream.write_all(&claim.to_be_bytes()).expect("sent");
            let _ = stream.write_all(&[0; 64]);
            assert!(is_closed(&mut stream), "after a claim of {claim}");
        }
        let claims: Vec<_> = (0..CONNECTIONS)
            .map(|_| {
                let mut stream = connect(broker.address());
                let claim = FRAME_BYTES_MAX.to_be_bytes();
                stream.write_all(&claim).expect("sent");
                stream
            })
            .collect();
        // Some send a good part of it, all at once.
        thread::scope(|scope| {
            for mut stream in claims.iter().take(24) {
                scope.spawn(move || {
                    let short = Some(Duration::from_millis(500));
                    stream.set_write_timeout(short).expect("an option");
                    let junk = vec![0; 1 << 20];
                    for _ in 0..30 {
                        if stream.write_all(&junk).is_err() {
                            break;
                        }
                    }
                });
            }
        });
        for stream in &claims {
            let _ = stream.shutdown(Shutdown::Both);
        }
        let mut client = Client::connect(broker.address()).expect("a connection");
        client
            .call(&ApiVersionsRequest::default(), 0)
            .expect("a reply");
    });
}

fn is_closed(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0; 16]) {
        Ok(0) => true,
        Ok(_) => false,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}
