mod broker;
mod consumer;
mod producer;

use std::net::TcpListener;

use super::producer::Producer;
use super::*;
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
        topics: vec![crate::cluster::Topic {
            name: workload().topics.name,
            ..Default::default()
        }],
        leaders: vec![leader],
        replication_factor: 1,
    }
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

#[test]
fn a_stop_is_heard_while_a_run_is_prepared() {
    // Connections are taken by the kernel, and nobody answers.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let settings = Settings {
        bootstrap: vec![listener.local_addr().unwrap()],
        threads: 1,
    };
    let error = run(&workload(), &settings, &AtomicBool::new(true), |_| {}).unwrap_err();
    assert_eq!(error.to_string(), "stopped before the load began");
}
