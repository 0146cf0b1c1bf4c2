//! Runs a workload: workers drive producers and consumers, a collector gathers what they measure.
//!
//! Each worker is one thread with one epoll over the connections of its producers and consumers.
//! Nothing is shared between workers but the map of the cluster and a few counters, so that the
//! generator's own cost grows with the load alone.

mod consumer;
mod producer;
mod worker;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};

use crate::client::{self, Client};
use crate::cluster::{self, Directory, Place};
use crate::measure::{Collector, Measurements, Plan, Verification};
use crate::report::Progress;
use crate::verify::{self, Acknowledged, Received};
use crate::workload::{Consumers, Workload};
use consumer::Consumer;
use producer::Producer;
use worker::Worker;

/// How long to wait for a broker that is not there yet.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// How long new partitions may take until they accept a record.
const PRIME_MAX: Duration = Duration::from_secs(120);
/// Between two looks at what the workers have measured.
const PROGRESS_EVERY: Duration = Duration::from_millis(250);

/// Where a workload is run, and with what.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Brokers to ask for the others.
    pub bootstrap: Vec<SocketAddr>,
    /// Worker threads; at most one for each producer and consumer.
    pub threads: usize,
}

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    /// What was measured.
    pub measurements: Measurements,
    /// What came out of what went in, if that was asked for.
    pub verification: Option<Verification>,
}

/// What all workers know.
struct Shared<'a> {
    workload: &'a Workload,
    places: Vec<Place>,
    directory: Directory,
    clock: Clock,
    /// Tells records of this run from others.
    run: u64,
    /// No more records are made.
    stop: &'a AtomicBool,
    /// Producers that have nothing more to send.
    producers_done: AtomicU64,
    /// Bytes of values acknowledged so far, for the backlog.
    produced_bytes: AtomicU64,
    /// Ends of the partitions once all producers are done; consumers go on up to there.
    ends: std::sync::OnceLock<Vec<i64>>,
    /// Consumers need not go on.
    give_up: AtomicBool,
}

/// Time of a run: monotonic, and tied to the wall clock at its start.
#[derive(Clone, Copy, Debug)]
struct Clock {
    start: Instant,
    start_wall_ns: u64,
}

impl Clock {
    fn starting_now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            start: Instant::now(),
            start_wall_ns: since.map_or(0, |since| since.as_nanos() as u64),
        }
    }

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

/// Makes the topics, runs the workload to its end or until `stop`, and says what came of it.
/// `progress` is told several times a second.
pub fn run(
    workload: &Workload,
    settings: &Settings,
    stop: &AtomicBool,
    mut progress: impl FnMut(Progress),
) -> Result<Outcome> {
    ensure!(!settings.bootstrap.is_empty(), "no broker is named");
    let mut client = first_client(&settings.bootstrap)?;
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
    let directory = Directory::open(&mut client, &settings.bootstrap, topics)?;
    let shared = Shared {
        workload,
        places: cluster::places(topics),
        directory,
        clock: Clock::starting_now(),
        run: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_nanos() as u64)
            ^ u64::from(std::process::id()) << 48,
        stop,
        producers_done: AtomicU64::new(0),
        produced_bytes: AtomicU64::new(0),
        ends: std::sync::OnceLock::new(),
        give_up: AtomicBool::new(false),
    };
    let mut workers = spread(&shared, settings.threads, &starts, &producer_ids);
    let plan = Plan::new(workload.warm_up, workload.duration);
    let mut collector = Collector::new(plan);
    let has_ended = AtomicBool::new(false);
    let outcome = std::thread::scope(|scope| {
        let running: Vec<_> = workers
            .drain(..)
            .enumerate()
            .map(|(at, worker)| {
                let recorder = collector.recorder(format!("worker {at}"));
                let shared = &shared;
                scope.spawn(move || worker.run(shared, recorder))
            })
            .collect();
        scope.spawn(|| shared.directory.keep(&has_ended));
        let mut stopped_ns = u64::MAX;
        let mut asked = false;
        while !running.iter().all(|worker| worker.is_finished()) {
            std::thread::sleep(PROGRESS_EVERY);
            if stop.load(Ordering::Relaxed) {
                stopped_ns = stopped_ns.min(shared.clock.now_ns());
            }
            progress(collector.progress(shared.clock.start.elapsed()));
            let all_done = u64::from(workload.producers.count);
            if !asked && shared.producers_done.load(Ordering::Relaxed) == all_done {
                // Consumers need to know how far they have to go.
                asked = true;
                let found = first_client(&settings.bootstrap)
                    .and_then(|mut client| ends(&mut client, workload));
                match found {
                    Ok(ends) => drop(shared.ends.set(ends)),
                    Err(_) => shared.give_up.store(true, Ordering::Relaxed),
                }
            }
        }
        has_ended.store(true, Ordering::Relaxed);
        let finished: Result<Vec<_>> = running
            .into_iter()
            .map(|worker| worker.join().expect("a worker does not panic"))
            .collect();
        finished.map(|finished| (finished, stopped_ns))
    });
    let (finished, stopped_ns) = outcome?;
    let ended_ns = shared.clock.now_ns();
    let mut acknowledged = Acknowledged::default();
    let sets = workload.consumers.sets();
    let mut received: Vec<Received> = (0..sets).map(|_| Received::default()).collect();
    for worker in finished {
        for producer in worker.producers {
            acknowledged.merge(producer.acknowledged);
        }
        for consumer in worker.consumers {
            received[consumer.set].merge(consumer.received);
        }
    }
    Ok(Outcome {
        measurements: collector.finish(stopped_ns, ended_ns),
        verification: workload
            .verify
            .then(|| verify::verify(&acknowledged, &received)),
    })
}

impl Consumers {
    /// How often each record is read.
    fn sets(&self) -> usize {
        match self.count {
            0 => 0,
            _ => self.fan_out as usize,
        }
    }
}

fn first_client(bootstrap: &[SocketAddr]) -> Result<Client> {
    if let Some(client) = bootstrap.iter().find_map(|it| Client::connect(*it).ok()) {
        return Ok(client);
    }
    client::connect_within(bootstrap[0], CONNECT_MAX)
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

/// Gives each worker its producers and consumers.
fn spread<'a>(
    shared: &'a Shared<'a>,
    threads: usize,
    starts: &[i64],
    producer_ids: &[(i64, i16)],
) -> Vec<Worker<'a>> {
    let workload = shared.workload;
    let sets = workload.consumers.sets();
    let consumers = workload.consumers.count as usize;
    let all = workload.producers.count as usize + sets * consumers;
    let mut workers: Vec<Worker<'a>> = (0..threads.clamp(1, all.max(1)))
        .map(|_| Worker::default())
        .collect();
    let count = workers.len();
    for (index, id) in (0..).zip(producer_ids) {
        let producer = Producer::new(workload, shared, index, *id);
        workers[index as usize % count].producers.push(producer);
    }
    // From the other end, so that a few of each do not meet on the same worker.
    let mut next = count;
    for set in 0..sets {
        for index in 0..consumers {
            let mine = (index..starts.len()).step_by(consumers);
            let positions = mine.map(|at| (at, starts[at])).collect();
            next = next.checked_sub(1).unwrap_or(count - 1).min(count - 1);
            workers[next]
                .consumers
                .push(Consumer::new(set, positions, shared));
        }
    }
    workers
}
