//! One machine's part of a run: its producers, its consumers, and the threads that drive them.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use super::conductor::{Orders, Status};
use super::consumer::Consumer;
use super::producer::Producer;
use super::worker::Worker;
use super::{Clock, Preparation, Settings, Shared, ends, first_client, wall_ns};
use crate::cluster::{self, Cluster, Directory, Place};
use crate::measure::{Collector, Measurements, Plan};
use crate::record::Filling;
use crate::schedule::choice::Random;
use crate::verify::{Acknowledged, Received};
use crate::workload::Workload;

/// Between two looks at what the workers do.
const TURN_EVERY: Duration = Duration::from_millis(50);
/// A status has figures of the last second every so many turns.
const MOMENT_TURNS: u64 = 5;

/// Which part of the producers and consumers: each one whose number, divided by `count`, leaves `index`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// From 0.
    pub index: u32,
    /// How many parts there are, at least 1.
    pub count: u32,
}

/// When a run starts, on this machine's monotonic clock and on the wall clock that all parts share.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// May lie ahead.
    pub at: Instant,
    /// In nanoseconds since 1970, the same for all parts.
    pub wall_ns: u64,
}

/// What came of one part.
#[derive(Debug)]
pub struct PartOutcome {
    /// What it measured.
    pub measurements: Measurements,
    /// What its producers got acknowledged, if that is to be verified.
    pub acknowledged: Acknowledged,
    /// What its consumers of each set got.
    pub received: Vec<Received>,
}

impl Part {
    /// All of it.
    pub const WHOLE: Self = Self { index: 0, count: 1 };

    fn has(self, number: usize) -> bool {
        number % self.count as usize == self.index as usize
    }
}

impl Start {
    /// At once.
    pub fn now() -> Self {
        Self {
            at: Instant::now(),
            wall_ns: wall_ns(),
        }
    }
}

impl PartOutcome {
    /// Adds another part of the same run.
    pub(super) fn merge(&mut self, other: Self) {
        self.measurements.merge(&other.measurements);
        self.acknowledged.merge(other.acknowledged);
        for (received, other) in self.received.iter_mut().zip(other.received) {
            received.merge(other);
        }
    }
}

/// Runs one part from its start to its end, and says what came of it. `start` is asked once all is set up. `conduct` is
/// called some times a second: it gets the status of the part and gives it its orders.
pub fn run_part(
    workload: &Workload,
    settings: &Settings,
    preparation: &Preparation,
    part: Part,
    start: impl FnOnce() -> Start,
    mut conduct: impl FnMut(Status) -> Orders,
) -> Result<PartOutcome> {
    let places = cluster::places(&workload.topics);
    ensure!(
        preparation.starts.len() == places.len()
            && preparation.producer_ids.len() == workload.producers.count as usize,
        "the preparation is of another workload"
    );
    let mut client = first_client(&settings.bootstrap)?;
    let cluster = Cluster::look_up(&mut client, &workload.topics)?;
    let mut workers = spread(workload, &places, settings.threads, part, preparation);
    let producers: u64 = workers.iter().map(|it| it.producers.len() as u64).sum();
    let start = start();
    let shared = Shared {
        workload,
        places: &places,
        directory: Directory::new(cluster, &settings.bootstrap, &workload.topics),
        clock: Clock {
            start: start.at,
            start_wall_ns: start.wall_ns,
        },
        run: preparation.run,
        stop: AtomicBool::new(false),
        producers_done: AtomicU64::new(0),
        produced_bytes: AtomicU64::new(0),
        may_consume: AtomicBool::new(workload.consumers.backlog_bytes == 0),
        ends: OnceLock::new(),
        give_up: AtomicBool::new(false),
    };
    let plan = Plan::new(workload.warm_up, workload.duration);
    let mut collector = Collector::new(plan, start.wall_ns / 1_000_000);
    let has_ended = AtomicBool::new(false);
    std::thread::sleep(start.at.saturating_duration_since(Instant::now()));
    let mut stopped_ns = u64::MAX;
    let finished: Result<Vec<Worker<'_>>> = std::thread::scope(|scope| {
        let running: Vec<_> = workers
            .drain(..)
            .enumerate()
            .map(|(at, worker)| {
                let recorder = collector.recorder(format!("worker {at}"));
                let shared = &shared;
                scope.spawn(move || {
                    let ended = worker.run(shared, recorder);
                    if ended.is_err() {
                        // It will never be done, and the others must not wait for that.
                        shared.stop.store(true, Ordering::Relaxed);
                        shared.give_up.store(true, Ordering::Relaxed);
                    }
                    ended
                })
            })
            .collect();
        scope.spawn(|| shared.directory.keep(&has_ended));
        for turn in 1_u64.. {
            if running.iter().all(|worker| worker.is_finished()) {
                break;
            }
            std::thread::sleep(TURN_EVERY);
            let has_moment = turn.is_multiple_of(MOMENT_TURNS);
            let orders = conduct(Status {
                produced_bytes: shared.produced_bytes.load(Ordering::Relaxed),
                are_producers_done: shared.producers_done.load(Ordering::Relaxed) == producers,
                moment: has_moment.then(|| collector.moment(start.at.elapsed())),
            });
            if orders.stop {
                stopped_ns = stopped_ns.min(shared.clock.now_ns());
            }
            shared.obey(orders);
        }
        has_ended.store(true, Ordering::Relaxed);
        let joined = running.into_iter().map(|worker| worker.join());
        joined
            .map(|worker| worker.expect("a worker does not panic"))
            .collect()
    });
    let ended_ns = shared.clock.now_ns();
    let mut outcome = PartOutcome {
        measurements: collector.finish(stopped_ns, ended_ns),
        acknowledged: Acknowledged::default(),
        received: Vec::new(),
    };
    outcome
        .received
        .resize_with(workload.consumers.sets(), Received::default);
    let finished = finished?;
    let mut consumers = finished.iter().flat_map(|worker| &worker.consumers);
    let last_ends = match consumers.any(Consumer::is_beyond_ends) {
        // Whoever cannot be asked any more has the last word already.
        true => first_client(&settings.bootstrap)
            .and_then(|mut client| ends(&mut client, workload))
            .ok(),
        false => None,
    };
    for worker in finished {
        for producer in worker.producers {
            outcome.acknowledged.merge(producer.acknowledged);
        }
        for consumer in worker.consumers {
            outcome.received[consumer.set].merge(consumer.finish(last_ends.as_deref()));
        }
    }
    Ok(outcome)
}

impl Shared<'_> {
    fn obey(&self, orders: Orders) {
        let obey = |flag: &AtomicBool, is_ordered| {
            if is_ordered {
                flag.store(true, Ordering::Relaxed);
            }
        };
        obey(&self.stop, orders.stop);
        obey(&self.may_consume, orders.may_consume);
        obey(&self.give_up, orders.give_up);
        if let Some(ends) = orders.ends {
            self.ends.get_or_init(|| ends);
        }
    }
}

/// Gives each worker its producers and consumers.
fn spread<'a>(
    workload: &'a Workload,
    places: &'a [Place],
    threads: usize,
    part: Part,
    preparation: &Preparation,
) -> Vec<Worker<'a>> {
    let consumers = workload.consumers.count as usize;
    let filling = Filling::new(
        workload.records.sizes.longest() as usize,
        workload.records.compressibility,
        &mut Random::new(workload.seed),
    );
    let producers: Vec<Producer<'a>> = (0..workload.producers.count)
        .filter(|index| part.has(*index as usize))
        .map(|index| Producer::new(workload, places, preparation, index, &filling))
        .collect();
    let mut reading = Vec::new();
    // From the other end, so that a few of each do not meet on the same machine.
    let mirrored = Part {
        index: part.count - 1 - part.index,
        ..part
    };
    for set in 0..workload.consumers.sets() {
        for index in 0..consumers {
            if mirrored.has(set * consumers + index) {
                let mine = (index..places.len()).step_by(consumers);
                let starts = mine.map(|at| (at, preparation.starts[at])).collect();
                reading.push(Consumer::new(set, starts));
            }
        }
    }
    let all = producers.len() + reading.len();
    let count = threads.clamp(1, all.max(1));
    let mut workers: Vec<Worker<'a>> = (0..count).map(|_| Worker::default()).collect();
    for (at, producer) in producers.into_iter().enumerate() {
        workers[at % count].producers.push(producer);
    }
    // From the other end, here as well.
    for (at, consumer) in reading.into_iter().enumerate() {
        workers[count - 1 - at % count].consumers.push(consumer);
    }
    workers
}
