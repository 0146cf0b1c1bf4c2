//! Requests that nobody should send, all the way through a broker: of every API and version that it advertises,
//! damaged, cut short, or larger than any client's. Each is framed as it should be, so that it gets past the first door.
//!
//! After each the broker must do one of three things: answer with a reply of that version under the right number, close
//! the connection, or (where the request says so) not answer. Meanwhile somebody else writes and reads as ever.
//!
//! `CORELOG_HOSTILE_ROUNDS=1000` sends more of each version, `CORELOG_HOSTILE_SEED` others.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::{Buf, BufMut, Bytes};
use corelog_loadgen::batch::{self, Producer};
use corelog_loadgen::client::{
    Client, FETCH_VERSION, PRODUCE_VERSION, produce_outcome, produce_request, topic_name, wall_ms,
};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use crate::apis::{AFTER_CORRELATION, APIS, Api, request, wants_no_reply};
use crate::harness::{Broker, Launch};
use crate::random::Random;
use crate::samples::{PARTITIONS, TOPIC, sign};

const SEED: u64 = 0x5eed;
const ROUNDS: u64 = 30;
/// Of the broker over all of it: far more than it takes, far less than a length can claim.
const MEMORY_BYTES_MAX: u64 = 384 << 20;
/// A broker that neither answers nor closes within this time never will.
const PATIENCE: Duration = Duration::from_secs(60);

/// The canary's own topic, which no damaged request is likely to name.
const CANARY: &str = "canary-in-the-mine";
/// Marks the request that is sent behind each other one, so that no reply is a reply, too.
const SENTINEL: i32 = 0x7e57;
const CORRELATION: i32 = 77;

#[test]
fn hostile_requests_are_answered_or_closed_and_disturb_nobody() {
    const SEED_GIVEN: &str = "CORELOG_HOSTILE_SEED";
    let seed = match std::env::var_os(SEED_GIVEN) {
        Some(_) => Random::seed_from(SEED_GIVEN),
        None => SEED,
    };
    let rounds = std::env::var("CORELOG_HOSTILE_ROUNDS");
    let rounds = rounds.map_or(ROUNDS, |n| n.parse().expect("a number"));
    let mut broker = Broker::launch(Launch {
        arguments: &["--cores", "2"],
        // Nobody is waited for who has joined a group and will never be heard of again.
        overrides: &[
            "node.id=1",
            "group.initial.rebalance.delay.ms=0",
            "group.min.session.timeout.ms=1",
            "group.max.session.timeout.ms=100",
        ],
        ..Launch::default()
    });
    let mut client = Client::connect(broker.address()).expect("a connection");
    let topic_id = create_topics(&mut client);
    let served = served(&mut client);
    let known: Vec<i16> = APIS.iter().map(|api| api.key).collect();
    assert_eq!(
        known,
        served.iter().map(|(key, ..)| *key).collect::<Vec<_>>()
    );

    let (stop, sung) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        let until = Stop(&stop);
        let canary = scope.spawn(|| sing(&broker, &stop, &sung));
        for (api, (_, min, max)) in APIS.iter().zip(served) {
            for version in min..=max {
                let fuzz = Fuzz::new(&broker, api, version, topic_id, seed);
                for round in 0..rounds {
                    fuzz.send_damaged(round);
                }
            }
            Fuzz::new(&broker, api, max, topic_id, seed).send_large();
            // Somebody else has been served since.
            let before = sung.load(Ordering::Relaxed);
            while sung.load(Ordering::Relaxed) == before && !canary.is_finished() {
                thread::yield_now();
            }
            assert!(!canary.is_finished(), "the canary is dead");
        }
        drop(until);
    });
    assert!(broker.is_running(), "{}", broker.log());
    let peak = broker.memory_peak_bytes();
    println!("{} MiB at most", peak >> 20);
    assert!(peak < MEMORY_BYTES_MAX, "it held {} MiB", peak >> 20);
    broker.stop();
}

/// Lets the canary end when a check has failed.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Writes and reads what it wrote, again and again.
fn sing(broker: &Broker, stop: &AtomicBool, sung: &AtomicUsize) {
    let mut client = Client::connect(broker.address()).expect("a connection");
    for offset in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let note = batch::encode(Producer::NONE, wall_ms(), [b"note".as_slice()]);
        let request = produce_request(CANARY, 0, -1, &Bytes::from(note));
        let reply = client.call(&request, PRODUCE_VERSION).expect("a reply");
        assert_eq!(produce_outcome(&reply).expect("an outcome"), (0, offset));
        let reply = client.call(&fetch_request(offset), FETCH_VERSION);
        let fetched = &reply.expect("a reply").responses[0].partitions[0];
        let records = fetched.records.as_deref().unwrap_or_default();
        let read = batch::whole_batches(records).next().expect("a batch");
        assert_eq!((fetched.error_code, read.base_offset()), (0, offset));
        sung.fetch_add(1, Ordering::Relaxed);
    }
}

fn fetch_request(offset: i64) -> FetchRequest {
    let partition = fetch_request::FetchPartition::default()
        .with_fetch_offset(offset)
        .with_partition_max_bytes(1 << 20);
    let topic = fetch_request::FetchTopic::default()
        .with_topic(topic_name(CANARY))
        .with_partitions(vec![partition]);
    FetchRequest::default()
        .with_max_bytes(1 << 20)
        .with_session_epoch(-1)
        .with_topics(vec![topic])
}

fn create_topics(client: &mut Client) -> Uuid {
    client.create_topic(CANARY, 1, &[]).expect("a topic");
    client
        .create_topic(TOPIC, PARTITIONS, &[])
        .expect("a topic");
    let key = vec![StrBytes::from_static_str("group")];
    let coordinator = FindCoordinatorRequest::default().with_coordinator_keys(key);
    let found = client.call(&coordinator, 4).expect("a reply");
    assert_eq!(found.coordinators[0].error_code, 0);
    let topic =
        metadata_request::MetadataRequestTopic::default().with_name(Some(topic_name(TOPIC)));
    let request = MetadataRequest::default().with_topics(Some(vec![topic]));
    client.call(&request, 12).expect("a reply").topics[0].topic_id
}

/// Key and versions of each API that the broker advertises.
fn served(client: &mut Client) -> Vec<(i16, i16, i16)> {
    let reply = client.call(&ApiVersionsRequest::default(), 0);
    let all = reply.expect("a reply").api_keys.into_iter();
    let mut all: Vec<_> = all
        .map(|api| (api.api_key, api.min_version, api.max_version))
        .collect();
    all.sort();
    all
}

/// Requests of one version of one API.
struct Fuzz<'a> {
    broker: &'a Broker,
    api: &'a Api,
    version: i16,
    seed: u64,
    samples: Vec<Bytes>,
}

impl<'a> Fuzz<'a> {
    fn new(broker: &'a Broker, api: &'a Api, version: i16, topic_id: Uuid, seed: u64) -> Self {
        let samples = (api.samples)(version, topic_id);
        assert!(!samples.is_empty(), "API {} version {version}", api.key);
        Self {
            broker,
            api,
            version,
            seed,
            samples,
        }
    }

    /// The first rounds send what is not damaged yet.
    fn send_damaged(&self, round: u64) {
        let place = (self.api.key as u64) << 48 | (self.version as u64) << 32 | round;
        let mut random = Random::new(self.seed ^ place);
        let mut body = match round {
            0 => self.samples[0].to_vec(),
            _ => self.samples[random.below(self.samples.len() as u64) as usize].to_vec(),
        };
        let is_fetch = self.api.key == ApiKey::Fetch as i16;
        let is_damaged = round > 1;
        // One in which nobody knows where the header ends could not be hurried.
        let in_header = !is_fetch && random.one_in(8);
        if is_damaged && !in_header {
            damage(&mut body, &mut random);
        }
        if is_fetch {
            hurry(&mut body, self.version);
        }
        let mut request = self.request(&body);
        if is_damaged && in_header {
            let mut rest = request.split_off(AFTER_CORRELATION);
            damage(&mut rest, &mut random);
            request.extend(rest);
        }
        self.send(round, request.into(), is_damaged);
    }

    fn request(&self, body: &[u8]) -> Vec<u8> {
        let header_version = (self.api.header_version)(self.version);
        request(
            self.api.key,
            self.version,
            header_version,
            CORRELATION,
            body,
        )
    }

    fn send_large(&mut self) {
        if let Some(body) = (self.api.large)(self.version) {
            let mut request = Bytes::from(self.request(&body));
            self.send(u64::MAX, request.clone(), false);
            request.truncate(request.len() - 1);
            self.send(u64::MAX, request, true);
        }
    }

    fn send(&self, round: u64, request: Bytes, is_damaged: bool) {
        if let Err(error) = self.exchange(&request, is_damaged) {
            let shown = &request[..request.len().min(4_096)];
            panic!(
                "CORELOG_HOSTILE_SEED={}: API {} version {} round {round}: {error:#}\n{} bytes: {shown:02x?}",
                self.seed,
                self.api.key,
                self.version,
                request.len(),
            );
        }
    }

    /// Sends the request and another one behind it, and looks at what comes back.
    fn exchange(&self, hostile: &Bytes, is_damaged: bool) -> Result<()> {
        let sentinel = request(ApiKey::ApiVersions as i16, 0, 1, SENTINEL, &[]);
        let mut sent = Vec::with_capacity(hostile.len() + 100);
        for request in [hostile, &sentinel.into()] {
            sent.put_u32(request.len() as u32);
            sent.put_slice(request);
        }
        let mut stream = TcpStream::connect(self.broker.address()).context("connecting")?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        match stream.write_all(&sent) {
            Err(error) if !is_close(&error) => return Err(error).context("sending"),
            _ => {}
        }
        let Some(first) = receive(&mut stream)? else {
            let may_close = is_damaged || wants_no_reply(hostile);
            ensure!(may_close, "closed, although nothing is damaged");
            return Ok(());
        };
        match correlation(&first)? {
            CORRELATION => (self.api.check)(first, self.version)?,
            SENTINEL => {
                ensure!(wants_no_reply(hostile), "there was no reply");
                return Ok(());
            }
            other => bail!("a reply to {other}"),
        }
        match receive(&mut stream)? {
            Some(second) => ensure!(correlation(&second)? == SENTINEL, "two replies"),
            None => bail!("closed after the reply"),
        }
        Ok(())
    }
}

fn correlation(reply: &Bytes) -> Result<i32> {
    Ok(reply.clone().try_get_i32()?)
}

/// The next reply, or none if the connection is closed.
fn receive(stream: &mut TcpStream) -> Result<Option<Bytes>> {
    let mut len = [0; 4];
    match stream.read_exact(&mut len) {
        Err(error) if is_close(&error) => return Ok(None),
        outcome => outcome.context("neither answered nor closed")?,
    }
    let mut reply = vec![0; u32::from_be_bytes(len) as usize];
    stream.read_exact(&mut reply).context("half a reply")?;
    Ok(Some(reply.into()))
}

fn is_close(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
    )
}

/// What decoders believe at their peril: lengths, counts, ends.
const CLAIMS: [u32; 8] = [
    0,
    1,
    0x7fff,
    0xffff,
    0x00ff_ffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
];

/// Changes a few bytes, cuts, doubles, or claims what is not there. A batch of records in it has the right checksum
/// again, half of the time.
fn damage(body: &mut Vec<u8>, random: &mut Random) {
    let batch = body
        .windows(5)
        .skip(12)
        .position(|bytes| bytes == [0xff, 0xff, 0xff, 0xff, 2])
        .map(|skipped| skipped + 12);
    let len = body.len();
    for _ in 0..=random.below(4) {
        if body.is_empty() {
            break;
        }
        let at = random.below(body.len() as u64) as usize;
        match random.below(8) {
            0 => body.truncate(at),
            1 => drop(body.remove(at)),
            2 => body.insert(at, random.next() as u8),
            3 => {
                let piece = body[at..].iter().copied().take(40).collect::<Vec<_>>();
                body.splice(at..at, piece);
            }
            4 => {
                let claim = CLAIMS[random.below(8) as usize].to_be_bytes();
                for (byte, claimed) in body[at..].iter_mut().zip(claim) {
                    *byte = claimed;
                }
            }
            5 => body.extend((0..random.below(300)).map(|_| random.next() as u8 & 3)),
            _ => body[at] ^= 1 << random.below(8),
        }
    }
    // Twelve bytes stand before the epoch, which is followed by the magic number.
    if let Some(batch) = batch
        && body.len() == len
        && random.one_in(2)
    {
        let records = u32::from_be_bytes(body[batch - 4..batch].try_into().expect("four bytes"));
        let end = (batch + records as usize).min(len);
        sign(&mut body[batch - 12..end]);
    }
}

/// A fetch that waits for weeks is no finding.
fn hurry(body: &mut [u8], version: i16) {
    let at = if version < 15 { 4 } else { 0 };
    if let Some(max_wait_ms) = body.get_mut(at..at + 4) {
        max_wait_ms.copy_from_slice(&10_i32.to_be_bytes());
    }
}
