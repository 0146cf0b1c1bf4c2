use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use bytes::BytesMut;
use kafka_protocol::messages::ApiVersionsResponse;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::protocol::Encodable;

use super::consumer::Consumer;
use super::link::REQUEST_NS_MAX;
use super::producer::Producer;
use super::*;
use crate::batch;
use crate::cluster::{Cluster, places};
use crate::measure::{Collector, Plan, Recorder};
use crate::record::Filling;
use crate::schedule::choice::Random;
use crate::workload::{Load, Shape, Sizes};

const SECOND: u64 = 1_000_000_000;

/// One producer, one partition, 1,000 records of 1 MiB a second for two seconds.
fn workload() -> Workload {
    let mut workload = Workload::default();
    workload.topics.partitions = 1;
    workload.producers.count = 1;
    workload.producers.idempotence = false;
    workload.records.sizes = Sizes::Fixed(1 << 20);
    workload.load = Load::Open(Shape::Constant(1_000.0));
    workload.warm_up = Duration::ZERO;
    workload.duration = Duration::from_secs(2);
    workload
}

/// What is the same in all of these: a run whose time stands where a test puts it, to the time that the test takes.
struct Ground {
    workload: Workload,
    places: Vec<Place>,
    preparation: Preparation,
}

impl Ground {
    fn new(workload: Workload) -> Self {
        let places = places(&workload.topics);
        let preparation = Preparation {
            run: 1,
            starts: vec![0; places.len()],
            producer_ids: vec![(-1, -1); workload.producers.count as usize],
        };
        Self {
            workload,
            places,
            preparation,
        }
    }

    fn producer(&self) -> Producer<'_> {
        let longest = self.workload.records.sizes.longest() as usize;
        let filling = Filling::new(longest, 1.0, &mut Random::new(1));
        let (workload, places) = (&self.workload, self.places.as_slice());
        Producer::new(workload, places, &self.preparation, 0, &filling)
    }

    /// So long after the start.
    fn at(&self, now_ns: u64, cluster: Cluster) -> Shared<'_> {
        Shared {
            workload: &self.workload,
            places: &self.places,
            directory: Directory::new(cluster, &[], &self.workload.topics),
            clock: Clock {
                start: Instant::now() - Duration::from_nanos(now_ns),
                start_wall_ns: SECOND,
            },
            run: 1,
            stop: AtomicBool::new(false),
            producers_done: AtomicU64::new(0),
            produced_bytes: AtomicU64::new(0),
            may_consume: AtomicBool::new(true),
            ends: OnceLock::new(),
            give_up: AtomicBool::new(false),
        }
    }

    /// What is recorded meanwhile.
    fn measure(&self, fill: impl FnOnce(&mut Recorder)) -> Measurements {
        let plan = Plan::new(self.workload.warm_up, self.workload.duration);
        let mut collector = Collector::new(plan, 0);
        let mut recorder = collector.recorder("worker");
        fill(&mut recorder);
        drop(recorder);
        collector.finish(plan.end_ns(), plan.end_ns())
    }
}

/// A cluster whose partitions are led by the only broker, if it has an address.
fn cluster(address: Option<SocketAddr>) -> Cluster {
    let leader = address.map_or(-1, |_| 0);
    let broker = address.map(|address| (leader, vec![address]));
    Cluster {
        brokers: broker.into_iter().collect(),
        topics: vec![crate::cluster::Topic::default()],
        leaders: vec![leader],
        replication_factor: 1,
    }
}

#[test]
fn what_was_due_while_the_buffer_was_full_is_intended_and_not_the_generators_lateness() {
    let ground = Ground::new(workload());
    let mut producer = ground.producer();
    let measurements = ground.measure(|recorder| {
        let nobody = Arc::new(cluster(None));
        // In time, until the buffer is full.
        let full_ns = 70_000_000;
        let shared = ground.at(full_ns, cluster(None));
        let wake_ns = producer.tick(&nobody, &shared, recorder);
        assert!((60..70).contains(&producer.unacknowledged));
        assert!(wake_ns > full_ns, "it does not wait for what has no room");
        let shared = ground.at(SECOND, cluster(None));
        producer.tick(&nobody, &shared, recorder);
        let shared = ground.at(10 * SECOND, cluster(None));
        producer.stop(2 * SECOND, &shared, recorder);
        recorder.stop(2 * SECOND);
        producer.give_up(shared.clock.now_ns(), recorder);
    });
    assert_eq!(measurements.intended, 2_000);
    assert_eq!(measurements.unsent, 2_000);
    assert_eq!(measurements.errors["due and never sent"], 2_000);
    // Each was up to ten seconds old when it was given up, and the last one at least eight.
    assert_eq!(measurements.produce_latency.len(), 2_000);
    assert!(measurements.produce_latency.min() >= 7 * SECOND);
    // Only those that had room can have been late by the generator.
    assert!((60..80).contains(&measurements.lateness.len()));
    assert!(measurements.lateness.max() < SECOND);
}

#[test]
fn what_is_due_until_the_stop_is_made() {
    let mut small = workload();
    small.records.sizes = Sizes::Fixed(100);
    let ground = Ground::new(small);
    let mut producer = ground.producer();
    let measurements = ground.measure(|recorder| {
        let shared = ground.at(2 * SECOND, cluster(None));
        producer.stop(2 * SECOND, &shared, recorder);
        assert_eq!(producer.unacknowledged, 2_000);
        let wake_ns = producer.tick(&Arc::new(cluster(None)), &shared, recorder);
        assert_eq!(
            producer.unacknowledged, 2_000,
            "no more after it: {wake_ns}"
        );
    });
    assert_eq!((measurements.intended, measurements.unsent), (2_000, 0));
}

#[test]
fn a_closed_loop_without_replies_asks_to_be_called_again_at_once() {
    let mut closed = workload();
    closed.load = Load::Max;
    closed.producers.acks = crate::workload::Acks::None;
    closed.records.sizes = Sizes::Fixed(100);
    let ground = Ground::new(closed);
    let broker = Broker::silent(1);
    let mut producer = ground.producer();
    ground.measure(|recorder| {
        let found = Arc::new(cluster(Some(broker.address)));
        let shared = ground.at(SECOND, cluster(None));
        // Until the connection is there, nothing leaves and the buffer is full.
        while producer.links.is_empty() || !is_greeted(&producer) {
            producer.tick(&found, &shared, recorder);
            receive(&mut producer, &shared, recorder);
        }
        let wake_ns = producer.tick(&found, &shared, recorder);
        assert!(wake_ns <= shared.clock.now_ns(), "{wake_ns}");
        assert!(
            shared
                .produced_bytes
                .load(std::sync::atomic::Ordering::Relaxed)
                > 0
        );
    });
}

#[test]
fn a_request_without_a_reply_is_sent_again_and_in_the_end_given_up_record_by_record() {
    let mut small = workload();
    small.records.sizes = Sizes::Fixed(100);
    small.producers.linger = Duration::ZERO;
    let ground = Ground::new(small);
    let broker = Broker::silent(2);
    let mut producer = ground.producer();
    let measurements = ground.measure(|recorder| {
        let found = Arc::new(cluster(Some(broker.address)));
        let shared = ground.at(SECOND, cluster(None));
        while producer.links.is_empty() || producer.in_flight() == 0 {
            producer.tick(&found, &shared, recorder);
            receive(&mut producer, &shared, recorder);
        }
        let made = producer.unacknowledged;
        let late = ground.at(2 * SECOND + REQUEST_NS_MAX, cluster(None));
        producer.stop(SECOND, &late, recorder);
        producer.tick(&found, &late, recorder);
        assert_eq!(producer.in_flight(), 0, "the connection is given up");
        assert!(producer.unacknowledged >= made, "and the records are not");
        let later = ground.at(200 * SECOND, cluster(None));
        producer.tick(&found, &later, recorder);
        assert_eq!(producer.unacknowledged, 0, "the delivery has its time");
    });
    assert_eq!(measurements.errors["no reply within 30 s"], 1);
    let given_up = measurements.errors["delivery timed out"];
    assert!(given_up >= 1_000, "{given_up}");
    assert!(measurements.unanswered > 0);
    assert_eq!(measurements.unanswered + measurements.unsent, given_up);
    assert_eq!(measurements.produce_latency.len(), given_up);
}

#[test]
fn what_is_in_flight_at_the_end_is_unanswered() {
    let mut small = workload();
    small.records.sizes = Sizes::Fixed(100);
    small.producers.linger = Duration::ZERO;
    let ground = Ground::new(small);
    let broker = Broker::silent(1);
    let mut producer = ground.producer();
    let measurements = ground.measure(|recorder| {
        let found = Arc::new(cluster(Some(broker.address)));
        let shared = ground.at(SECOND, cluster(None));
        while producer.links.is_empty() || producer.in_flight() == 0 {
            producer.tick(&found, &shared, recorder);
            receive(&mut producer, &shared, recorder);
        }
        producer.stop(2 * SECOND, &ground.at(2 * SECOND, cluster(None)), recorder);
        let shared = ground.at(40 * SECOND, cluster(None));
        producer.give_up(shared.clock.now_ns(), recorder);
        assert_eq!(producer.unacknowledged, 0);
        producer.tick(&found, &shared, recorder);
        assert_eq!(producer.in_flight(), 0, "it sends nothing after that");
    });
    assert_eq!(measurements.intended, 2_000);
    assert_eq!(measurements.unanswered + measurements.unsent, 2_000);
    assert!(measurements.unanswered > 0);
    assert_eq!(
        measurements.errors["never answered"],
        measurements.unanswered
    );
    assert_eq!(measurements.produce_latency.len(), 2_000);
}

#[test]
fn lag_is_known_from_what_brokers_answer_and_later_from_the_ends() {
    let mut two = workload();
    two.topics.partitions = 2;
    let ground = Ground::new(two);
    let mut consumer = Consumer::new(0, vec![(0, 5), (1, 7)]);
    assert_eq!(consumer.lag, 0);
    ground.measure(|recorder| {
        let shared = ground.at(SECOND, cluster(None));
        let batch = batch::encode(batch::Producer::NONE, 1, [b"one".as_slice(), b"two"]);
        let mut batch = batch;
        batch[..8].copy_from_slice(&5_i64.to_be_bytes());
        let answer = PartitionData::default()
            .with_high_watermark(20)
            .with_records(Some(batch.into()));
        assert!(consumer.read(0, 0, &answer, SECOND, &shared, recorder));
        assert_eq!(consumer.lag, 13);
        // An answer that does not tell.
        let untold = PartitionData::default().with_high_watermark(-1);
        assert!(!consumer.read(0, 1, &untold, SECOND, &shared, recorder));
        assert_eq!(consumer.lag, 13);
    });
    consumer.go_up_to(&[7, 9]);
    assert_eq!(consumer.lag, 2);
    let received = consumer.finish();
    assert_eq!(received.unread.into_iter().collect::<Vec<_>>(), [1]);
    assert_eq!(received.unknown, 2);
}

#[test]
fn without_known_ends_nothing_is_read_to_its_end() {
    let received = Consumer::new(0, vec![(3, 0), (4, 0)]).finish();
    assert_eq!(received.unread.into_iter().collect::<Vec<_>>(), [3, 4]);
}

#[test]
fn every_record_of_a_damaged_batch_counts_and_one_in_the_wrong_partition() {
    let mut two = workload();
    two.topics.partitions = 2;
    let ground = Ground::new(two);
    let mut consumer = Consumer::new(0, vec![(0, 0), (1, 0)]);
    let measurements = ground.measure(|recorder| {
        let shared = ground.at(SECOND, cluster(None));
        let mut damaged = batch::encode(batch::Producer::NONE, 1, [b"one".as_slice(), b"two", b""]);
        *damaged.last_mut().unwrap() ^= 1;
        let answer = PartitionData::default()
            .with_high_watermark(3)
            .with_records(Some(damaged.into()));
        consumer.read(0, 0, &answer, SECOND, &shared, recorder);
        assert_eq!(consumer.received.corrupted, 3);
        let stamp = crate::record::Stamp {
            run: 1,
            producer: 0,
            partition: 0,
            sequence: 0,
            intended_ns: SECOND,
        };
        let mut value = Vec::new();
        stamp.encode(100, &[0; 100], &mut value);
        let misplaced = batch::encode(batch::Producer::NONE, 1, [value.as_slice()]);
        let answer = PartitionData::default()
            .with_high_watermark(1)
            .with_records(Some(misplaced.into()));
        consumer.read(0, 1, &answer, SECOND, &shared, recorder);
        assert_eq!(consumer.received.corrupted, 4);
    });
    assert_eq!(measurements.error_count(), 1);
}

#[test]
fn a_broker_that_cannot_be_asked_for_the_ends_is_asked_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = [listener.local_addr().unwrap()];
    drop(listener);
    let workload = workload();
    let mut conductor = Conductor::new(&workload, &nobody);
    let done = Status {
        are_producers_done: true,
        ..Status::default()
    };
    let orders = conductor.conduct(&[&done], false);
    assert!(orders.ends.is_none() && !orders.give_up, "{orders:?}");
}

fn is_greeted(producer: &Producer<'_>) -> bool {
    let mut links = producer.links.iter();
    links.any(|link| link.connection.as_ref().is_some_and(|it| it.is_greeted()))
}

/// Takes in what has come, as a worker does.
fn receive(producer: &mut Producer<'_>, shared: &Shared<'_>, recorder: &mut Recorder) {
    for link_at in 0..producer.links.len() {
        if let Some(connection) = &mut producer.links[link_at].connection {
            connection.is_blocked = false;
            let _ = connection.flush();
        }
        producer.receive(link_at, &mut [0; 1_000], shared, recorder);
    }
    thread::yield_now();
}

impl Producer<'_> {
    fn in_flight(&self) -> usize {
        let connections = self.links.iter().filter_map(|it| it.connection.as_ref());
        connections.map(|it| it.in_flight()).sum()
    }
}

/// Says which versions it serves, and nothing more.
struct Broker {
    address: SocketAddr,
}

impl Broker {
    /// For so many connections.
    fn silent(connections: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming().take(connections).flatten() {
                thread::spawn(move || greet_and_listen(stream));
            }
        });
        Self { address }
    }
}

fn greet_and_listen(mut stream: TcpStream) -> std::io::Result<u64> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut request = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut request)?;
    let produce = ApiVersion::default().with_api_key(0).with_max_version(9);
    let reply = ApiVersionsResponse::default().with_api_keys(vec![produce]);
    let mut body = BytesMut::from(&request[4..8]);
    reply.encode(&mut body, 3).expect("it is a reply");
    let mut frame = BytesMut::from(&(body.len() as u32).to_be_bytes()[..]);
    frame.extend_from_slice(&body);
    stream.write_all(&frame)?;
    std::io::copy(&mut stream, &mut std::io::sink())
}
