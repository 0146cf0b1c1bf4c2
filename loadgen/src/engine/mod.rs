//! Runs a workload: workers drive producers and consumers, a collector gathers what they measure.
//!
//! Each worker is one thread with one epoll over the connections of its producers and consumers.
//! Nothing is shared between workers but the map of the cluster and a few counters, so that the
//! generator's own cost grows with the load alone.
//!
//! A run has three steps, so that several machines can take part in it: [`prepare`] makes the topics and what all have
//! to agree on, [`run_part`] is one machine's share of producers and consumers, and [`Outcome::of`] puts the parts
//! together. While it goes on, each part tells its [`Status`] and a [`Conductor`] answers with [`Orders`].

mod asking;
mod conductor;
mod consumer;
mod part;
mod producer;
mod session;
mod worker;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::client::{Backoff, Client};
use crate::cluster::{Directory, Place};
use crate::measure::{Measurements, Recorder, Verification};
use crate::report::Progress;
use crate::verify;
use crate::workload::{Consumers, Workload};
pub use conductor::{Conductor, Orders, Status};
pub use part::{Part, PartOutcome, Start, run_part};

/// How long to wait for a broker that is not there yet.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// Between two looks for whether a run is stopped before its load has begun.
const STOP_HEARD_EVERY: Duration = Duration::from_millis(50);
/// How long new partitions may take until they accept a record.
const PRIME_MAX: Duration = Duration::from_secs(120);

/// Where a workload is run, and with what.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Brokers to ask for the others.
    pub bootstrap: Vec<SocketAddr>,
    /// Worker threads; at most one for each producer and consumer.
    pub threads: usize,
}

/// What all parts of a run agree on before it starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preparation {
    /// Tells records of this run from others.
    pub run: u64,
    /// Where each partition ends, and its consumers begin.
    pub starts: Vec<i64>,
    /// Id and epoch of each producer, as idempotence knows it; -1 without it.
    pub producer_ids: Vec<(i64, i16)>,
}

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    /// What was measured.
    pub measurements: Measurements,
    /// What came out of what went in, if that was asked for.
    pub verification: Option<Verification>,
}

/// What all workers of a part know.
struct Shared<'a> {
    workload: &'a Workload,
    places: &'a [Place],
    directory: Directory,
    clock: Clock,
    /// Tells records of this run from others.
    run: u64,
    /// No more records are made.
    stop: AtomicBool,
    /// Producers that have nothing more to send.
    producers_done: AtomicU64,
    /// Bytes of values acknowledged so far, for the backlog.
    produced_bytes: AtomicU64,
    /// Consumers may begin.
    may_consume: AtomicBool,
    /// Ends of the partitions once all producers are done; consumers go on up to there.
    ends: OnceLock<Vec<i64>>,
    /// Groups have read everything.
    have_read_all: AtomicBool,
    /// Consumers need not go on.
    give_up: AtomicBool,
}

impl Shared<'_> {
    /// A connection has failed: that counts, and the cluster may have changed.
    fn lost_connection(
        &self,
        now_ns: u64,
        why: impl Into<Cow<'static, str>>,
        recorder: &mut Recorder,
    ) {
        recorder.error(now_ns, why);
        self.directory.want_another_look();
    }

    /// The number of a partition among all; `None` if there is none.
    fn place_number(&self, topic_number: usize, partition: i32) -> Option<usize> {
        let partitions = self.workload.topics.partitions as usize;
        let partition = usize::try_from(partition).ok()?;
        (partition < partitions).then_some(topic_number * partitions + partition)
    }
}

/// Time of a run: monotonic, and tied to the wall clock at its start.
#[derive(Clone, Copy, Debug)]
struct Clock {
    start: Instant,
    start_wall_ns: u64,
}

impl Clock {
    fn now_ns(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    fn wall_ns(&self, at_ns: u64) -> u64 {
        self.start_wall_ns + at_ns
    }

    fn wall_ms(&self, at_ns: u64) -> i64 {
        (self.wall_ns(at_ns) / 1_000_000) as i64
    }

    fn since_start(&self, wall_ns: u64) -> u64 {
        wall_ns.saturating_sub(self.start_wall_ns)
    }
}

/// Makes the topics, runs the workload to its end or until `stop`, and says what came of it; an error if `stop` comes
/// before the load has begun.
/// `progress` is told several times a second.
pub fn run(
    workload: &Workload,
    settings: &Settings,
    stop: &AtomicBool,
    mut progress: impl FnMut(Progress),
) -> Result<Outcome> {
    let preparation = prepare_unless(stop, workload, &settings.bootstrap)?;
    let started = Instant::now();
    let mut conductor = Conductor::new(workload, &settings.bootstrap, preparation.run);
    let part = run_part(
        workload,
        settings,
        &preparation,
        Part::WHOLE,
        Start::now,
        |status| {
            if let Some(moment) = &status.moment {
                let elapsed = started.elapsed();
                progress(Progress::of([moment], elapsed, workload.whole()));
            }
            let stop = stop.load(std::sync::atomic::Ordering::Relaxed);
            conductor.conduct(&[&status], stop).clone()
        },
    )?;
    conductor.clean_up();
    Ok(Outcome::of(workload, vec![part]))
}

/// Prepares a run, until `stop`: brokers may let it wait for minutes. What they are asked at that moment goes on.
///
/// # Errors
/// If it was stopped, or as for [`prepare`].
pub(crate) fn prepare_unless(
    stop: &AtomicBool,
    workload: &Workload,
    bootstrap: &[SocketAddr],
) -> Result<Preparation> {
    let (sender, prepared) = channel();
    let (workload, bootstrap) = (workload.clone(), bootstrap.to_vec());
    let preparing = std::thread::Builder::new().name("preparing".to_owned());
    preparing.spawn(move || {
        // Nobody waits for it any more if it was stopped.
        let _ = sender.send(prepare(&workload, &bootstrap));
    })?;
    loop {
        match prepared.recv_timeout(STOP_HEARD_EVERY) {
            Ok(prepared) => return prepared,
            Err(RecvTimeoutError::Timeout) => {
                let is_stopped = stop.load(std::sync::atomic::Ordering::Relaxed);
                ensure!(!is_stopped, "stopped before the load began");
            }
            Err(RecvTimeoutError::Disconnected) => bail!("preparing the run failed"),
        }
    }
}

/// Makes the topics, waits until each partition has taken a record, and looks where they end.
pub fn prepare(workload: &Workload, bootstrap: &[SocketAddr]) -> Result<Preparation> {
    ensure!(!bootstrap.is_empty(), "no broker is named");
    let mut client = first_client(bootstrap)?;
    let topics = &workload.topics;
    let configs: Vec<(&str, &str)> = topics
        .configs
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    for topic in topics.names() {
        client.create_topic_with(
            &topic,
            topics.partitions as i32,
            topics.replication_factor,
            &configs,
        )?;
        client.prime(&topic, topics.partitions as i32, PRIME_MAX)?;
    }
    let starts = ends(&mut client, workload)?;
    let producer_ids = (0..workload.producers.count)
        .map(|_| match workload.producers.idempotence {
            true => client.init_producer_id(),
            false => Ok((-1, -1)),
        })
        .collect::<Result<Vec<_>>>()?;
    let run = wall_ns() ^ u64::from(std::process::id()) << 48;
    if workload.consumers.group.protocol.is_some() {
        // The first group of a cluster waits for the topic that its offsets are kept in.
        client.coordinator(&group_id(workload, run, 0), PRIME_MAX)?;
    }
    Ok(Preparation {
        run,
        starts,
        producer_ids,
    })
}

impl Outcome {
    /// Of all parts of a run, at least one.
    ///
    /// # Panics
    /// If there is none.
    pub fn of(workload: &Workload, parts: Vec<PartOutcome>) -> Self {
        let mut parts = parts.into_iter();
        let mut all = parts.next().expect("a run has at least one part");
        for part in parts {
            all.merge(part);
        }
        let may_repeat = !workload.producers.idempotence;
        Self {
            verification: workload.verify.then(|| {
                let ends = all.ends.as_deref();
                verify::verify(&all.acknowledged, &all.received, ends, may_repeat)
            }),
            measurements: all.measurements,
        }
    }
}

impl Consumers {
    /// How often each record is read.
    pub(crate) fn sets(&self) -> usize {
        match self.count {
            0 => 0,
            _ => self.fan_out as usize,
        }
    }
}

/// The id of the group that a set of consumers is, which no other run has.
fn group_id(workload: &Workload, run: u64, set: usize) -> String {
    format!("{}-{run:016x}-{set}", workload.topics.name)
}

/// Nanoseconds since 1970.
pub(crate) fn wall_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_nanos() as u64)
}

/// A client of the first broker that answers; waits for one if none does.
pub fn first_client(bootstrap: &[SocketAddr]) -> Result<Client> {
    let mut backoff = Backoff::within(CONNECT_MAX);
    loop {
        match any_client(bootstrap) {
            Ok(client) => return Ok(client),
            Err((address, error)) => {
                if error.kind() != ErrorKind::ConnectionRefused || !backoff.wait() {
                    return Err(error).with_context(|| format!("connecting to {address}"));
                }
            }
        }
    }
}

/// A client of the first broker that answers now, or why the first of at least one does not.
fn any_client(bootstrap: &[SocketAddr]) -> Result<Client, (SocketAddr, std::io::Error)> {
    let mut why = None;
    for address in bootstrap {
        match Client::connect(*address) {
            Ok(client) => return Ok(client),
            Err(error) => why = why.or(Some((*address, error))),
        }
    }
    Err(why.expect("at least one broker is named"))
}

/// End offsets of all partitions.
fn ends(client: &mut Client, workload: &Workload) -> Result<Vec<i64>> {
    let mut ends = Vec::new();
    for topic in workload.topics.names() {
        let of_topic = client.end_offsets(&topic, workload.topics.partitions as i32);
        ends.extend(of_topic.with_context(|| format!("ends of {topic}"))?);
    }
    Ok(ends)
}
