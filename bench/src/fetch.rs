//! The fetch workload: a topic read from its start by a few connections, once, or again and again until the time is
//! over, as fast as it goes or at a rate.
//!
//! Each connection has its own share of the partitions and asks as Kafka's Java consumer does by default: 1 MiB a
//! partition, 50 MiB a reply. Replies go into one buffer that is used again, and only the headers of the batches in
//! them are looked at.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::{BrokerId, FetchRequest, FetchResponse, ResponseHeader};
use kafka_protocol::protocol::{Decodable, HeaderVersion};
use nix::sys::socket::{MsgFlags, recv};

use crate::report::FetchReport;
use crate::target::Target;
use corelog_loadgen::batch;
use corelog_loadgen::client::{self, FETCH_VERSION, REPLY_BYTES_MAX, connect_within};
use corelog_loadgen::measure::ThreadClock;

#[derive(Clone, Debug)]
pub struct FetchSettings {
    pub target: Target,
    pub topic: String,
    pub partitions: i32,
    pub connections: usize,
    pub reply_bytes_max: i32,
    pub partition_bytes_max: i32,
    /// The longest time it may take.
    pub duration: Duration,
    /// Whether it is over at the end of the topic.
    pub is_once: bool,
    /// No more than so many MB of records a second.
    pub mb_a_second_max: Option<f64>,
}

impl FetchSettings {
    pub fn check(&self) -> Result<()> {
        ensure!(
            (1..=100_000).contains(&self.partitions),
            "--partitions {}: from 1 to 100000",
            self.partitions
        );
        ensure!(
            (1..=self.partitions as usize).contains(&self.connections),
            "--connections {}: from 1 to the {} partitions, since each connection reads its own",
            self.connections,
            self.partitions
        );
        ensure!(
            (1..=128 << 20).contains(&self.reply_bytes_max) && self.partition_bytes_max > 0,
            "--reply-bytes {} and --partition-bytes {}: from 1 to 128 MiB",
            self.reply_bytes_max,
            self.partition_bytes_max
        );
        ensure!(!self.duration.is_zero(), "--seconds: more than 0");
        ensure!(
            self.mb_a_second_max.is_none_or(|most| most > 0.0),
            "--mb-a-second-max: more than 0"
        );
        Ok(())
    }
}

/// Reads the topic, which must hold something already, and reports.
pub fn run(settings: &FetchSettings) -> Result<FetchReport> {
    settings.check()?;
    let mut client = connect_within(settings.target.addr, Duration::from_secs(10))?;
    let ends = client.end_offsets(&settings.topic, settings.partitions)?;
    ensure!(
        ends.iter().any(|&end| end > 0),
        "topic {} holds nothing to read",
        settings.topic
    );

    let before = settings.target.before()?;
    let start = Instant::now();
    let outcomes = std::thread::scope(|scope| {
        let ends = &ends;
        let readers: Vec<_> = (0..settings.connections)
            .map(|index| {
                scope.spawn(move || read_share(settings, index, ends, start + settings.duration))
            })
            .collect();
        let join = |reader: std::thread::ScopedJoinHandle<'_, _>| {
            reader.join().expect("a reader does not panic")
        };
        readers.into_iter().map(join).collect::<Result<Vec<_>>>()
    })?;
    let elapsed = start.elapsed();
    let after = settings.target.after()?;

    let bytes = outcomes.iter().map(|outcome| outcome.bytes).sum();
    let records = outcomes.iter().map(|outcome| outcome.records).sum();
    let cpu = outcomes.iter().map(|outcome| outcome.cpu).sum();
    Ok(FetchReport::new(
        settings,
        (bytes, records),
        elapsed,
        cpu,
        (before, after),
    ))
}

#[derive(Default)]
struct Outcome {
    bytes: u64,
    records: u64,
    cpu: Duration,
}

fn read_share(
    settings: &FetchSettings,
    index: usize,
    ends: &[i64],
    deadline: Instant,
) -> Result<Outcome> {
    let mine: Vec<usize> = (index..ends.len())
        .step_by(settings.connections)
        .filter(|&at| ends[at] > 0)
        .collect();
    let mut outcome = Outcome::default();
    if mine.is_empty() {
        return Ok(outcome);
    }
    let mut clock = ThreadClock::start();
    let mut fetcher = Fetcher::connect(settings.target.addr)?;
    let mut positions = vec![0_i64; ends.len()];
    let limits = Limits {
        reply_bytes: settings.reply_bytes_max,
        partition_bytes: settings.partition_bytes_max,
        wait: Duration::from_millis(500),
    };
    let start = Instant::now();
    let share_a_second = settings
        .mb_a_second_max
        .map(|megabytes| megabytes * 1e6 / settings.connections as f64);
    while Instant::now() < deadline {
        if let Some(share) = share_a_second {
            let due = start + Duration::from_secs_f64(outcome.bytes as f64 / share);
            std::thread::sleep(due.min(deadline).saturating_duration_since(Instant::now()));
        }
        let unread: Vec<usize> = mine
            .iter()
            .copied()
            .filter(|&at| positions[at] < ends[at])
            .collect();
        if unread.is_empty() && settings.is_once {
            break;
        }
        if unread.is_empty() {
            positions.fill(0);
            continue;
        }
        let from = unread.iter().map(|&at| (at as i32, positions[at]));
        let request = request(&settings.topic, from, limits);
        let progressed = fetcher.fetch(&request, |partition, records| {
            // What is cut off behind the last whole batch comes again.
            for batch in batch::whole_batches(records) {
                let position = positions
                    .get_mut(partition as usize)
                    .context("a partition that was not asked for")?;
                outcome.bytes += batch.size_bytes() as u64;
                outcome.records += batch.record_count() as u64;
                *position = batch.last_offset() + 1;
            }
            Ok(())
        })?;
        ensure!(
            progressed,
            "a fetch below the end of the log came back empty"
        );
    }
    outcome.cpu = Duration::from_nanos(clock.lap().ran_ns);
    Ok(outcome)
}

/// Limits of one fetch.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub reply_bytes: i32,
    pub partition_bytes: i32,
    pub wait: Duration,
}

/// A request without a session for these partitions of a topic, each from its offset.
pub fn request(
    topic: &str,
    from: impl IntoIterator<Item = (i32, i64)>,
    limits: Limits,
) -> FetchRequest {
    let partitions = from.into_iter().map(|(partition, offset)| {
        FetchPartition::default()
            .with_partition(partition)
            .with_fetch_offset(offset)
            .with_current_leader_epoch(-1)
            .with_partition_max_bytes(limits.partition_bytes)
    });
    let topic = FetchTopic::default()
        .with_topic(client::topic_name(topic))
        .with_partitions(partitions.collect());
    FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(limits.wait.as_millis() as i32)
        .with_min_bytes(1)
        .with_max_bytes(limits.reply_bytes)
        .with_session_epoch(-1)
        .with_topics(vec![topic])
}

/// A blocking connection that keeps one reply buffer.
#[derive(Debug)]
pub struct Fetcher {
    stream: TcpStream,
    buffer: BytesMut,
}

impl Fetcher {
    pub fn connect(addr: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(addr).with_context(|| format!("connecting to {addr}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        Ok(Self {
            stream,
            buffer: BytesMut::new(),
        })
    }

    /// Sends one request and hands the records of each partition that has any to `visit`; tells whether any had.
    pub fn fetch(
        &mut self,
        request: &FetchRequest,
        mut visit: impl FnMut(i32, &[u8]) -> Result<()>,
    ) -> Result<bool> {
        self.stream
            .write_all(&client::frame(request, FETCH_VERSION, 1)?)?;
        let mut length = [0; 4];
        self.receive_whole_into(&mut length)?;
        let length = u32::from_be_bytes(length) as usize;
        ensure!(length <= REPLY_BYTES_MAX, "a reply of {length} bytes");
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(length, 0);
        self.receive_whole_into(&mut buffer)?;

        let whole = buffer.freeze();
        let mut rest: Bytes = whole.clone();
        let header =
            ResponseHeader::decode(&mut rest, FetchResponse::header_version(FETCH_VERSION))?;
        ensure!(
            header.correlation_id == 1,
            "reply {} to request 1",
            header.correlation_id
        );
        let reply = FetchResponse::decode(&mut rest, FETCH_VERSION)?;
        ensure!(
            reply.error_code == 0,
            "a fetch was refused: {}",
            client::error_name(reply.error_code)
        );
        let mut any = false;
        for partition in reply.responses.iter().flat_map(|topic| &topic.partitions) {
            let index = partition.partition_index;
            ensure!(
                partition.error_code == 0,
                "fetching partition {index}: {}",
                client::error_name(partition.error_code)
            );
            if let Some(records) = partition
                .records
                .as_ref()
                .filter(|records| !records.is_empty())
            {
                any = true;
                visit(index, records)?;
            }
        }
        drop((reply, rest));
        self.buffer = whole.try_into_mut().unwrap_or_default();
        Ok(any)
    }

    /// Waits in the kernel until all is there: one wake-up instead of one for each segment that arrives.
    fn receive_whole_into(&self, mut into: &mut [u8]) -> Result<()> {
        while !into.is_empty() {
            let read = recv(self.stream.as_raw_fd(), into, MsgFlags::MSG_WAITALL)
                .context("reading a Fetch reply")?;
            ensure!(
                read > 0,
                "the broker closed the connection in the middle of a reply"
            );
            into = &mut into[read..];
        }
        Ok(())
    }
}
