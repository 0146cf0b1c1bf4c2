//! One producer: records come due by its schedule, gather in batches, and leave in requests.
//!
//! Latency counts from the time at which a record was due, so that whatever holds it up on the way,
//! here or in the broker, is part of it.

mod making;
mod sending;

use std::collections::VecDeque;
use std::sync::Arc;

use super::Shared;
use super::link::{self, Link};
use crate::cluster::{Cluster, Place};
use crate::measure::Recorder;
use crate::record::Filling;
use crate::schedule::Schedule;
use crate::schedule::choice::{KeyChoice, Random, SizeChoice};
use crate::verify::{Acknowledged, Line};
use crate::workload::{Load, Workload};
use making::{Batch, Partition};

pub(super) struct Producer<'a> {
    workload: &'a Workload,
    places: &'a [Place],
    index: u32,
    run: u64,
    /// `None` in a closed loop.
    schedule: Option<Schedule>,
    /// When the next record is due, in nanoseconds since the start.
    due_ns: Option<u64>,
    sizes: SizeChoice,
    keys: KeyChoice,
    random: Random,
    filling: Filling,
    value: Vec<u8>,
    key: String,
    /// Where records without a key go until a batch is full or has left.
    sticky: usize,
    partitions: Vec<Partition>,
    /// When batches have been open for long enough, oldest first.
    aging: VecDeque<(u64, usize, u64)>,
    /// When batches that were refused may be sent again, soonest first.
    retries: VecDeque<(u64, usize, u64)>,
    /// Batches made so far.
    batches: u64,
    buffered_bytes: usize,
    /// Records on their way or waiting.
    pub unacknowledged: u64,
    producer_id: (i64, i16),
    cluster: Arc<Cluster>,
    /// With the batches of each request in flight, and their partitions.
    pub links: Vec<Link<Vec<(usize, Batch)>>>,
    /// For each link, the partitions that have a batch to be sent.
    ready: Vec<VecDeque<usize>>,
    /// What was acknowledged, for the verification.
    pub acknowledged: Acknowledged,
}

impl<'a> Producer<'a> {
    pub(super) fn new(
        workload: &'a Workload,
        shared: &'a Shared<'a>,
        index: u32,
        producer_id: (i64, i16),
    ) -> Self {
        let seed = workload.seed ^ u64::from(index).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut random = Random::new(seed);
        let mut schedule = match &workload.load {
            Load::Open(shape) => Some(Schedule::new(
                shape,
                workload.whole(),
                workload.seed,
                index,
                workload.producers.count,
            )),
            Load::Max => None,
        };
        let longest = workload.records.sizes.longest() as usize;
        let partitions = shared.places.len();
        Self {
            workload,
            places: &shared.places,
            index,
            run: shared.run,
            due_ns: schedule.as_mut().and_then(Iterator::next),
            schedule,
            sizes: SizeChoice::new(&workload.records.sizes),
            keys: KeyChoice::new(&workload.records.keys),
            filling: Filling::new(longest, workload.records.compressibility, &mut random),
            random,
            value: Vec::with_capacity(longest),
            key: String::new(),
            sticky: index as usize * partitions / workload.producers.count as usize,
            partitions: (0..partitions).map(|_| Partition::default()).collect(),
            aging: VecDeque::new(),
            retries: VecDeque::new(),
            batches: 0,
            buffered_bytes: 0,
            unacknowledged: 0,
            producer_id,
            cluster: Arc::default(),
            links: Vec::new(),
            ready: Vec::new(),
            acknowledged: Acknowledged::default(),
        }
    }

    /// Makes the records that are due and sends what may leave. When to call it again at the latest.
    pub(super) fn tick(
        &mut self,
        cluster: &Arc<Cluster>,
        shared: &Shared<'_>,
        recorder: &mut Recorder,
        may_make: bool,
    ) -> u64 {
        let now_ns = shared.clock.now_ns();
        if !Arc::ptr_eq(&self.cluster, cluster) {
            self.follow_leaders(cluster);
        }
        if may_make {
            self.make_due(now_ns, &shared.clock, recorder);
        }
        self.age(now_ns);
        for at in 0..self.links.len() {
            self.send(at, shared, recorder);
        }
        if may_make && self.schedule.is_none() && self.has_room() {
            // Nothing wakes a closed loop whose requests have no reply.
            return now_ns;
        }
        let next_due = self.due_ns.filter(|_| may_make).unwrap_or(u64::MAX);
        let soonest = |queue: &VecDeque<(u64, usize, u64)>| queue.front().map(|(at, ..)| *at);
        let aged = soonest(&self.aging).unwrap_or(u64::MAX);
        let again = soonest(&self.retries).unwrap_or(u64::MAX);
        next_due.min(aged).min(again)
    }

    /// Puts a partition into the list of the link to the broker that leads it.
    fn list(&mut self, at: usize) {
        let partition = &mut self.partitions[at];
        let front = partition.batches.front();
        if !front.is_some_and(|batch| batch.is_ready) || partition.is_listed {
            return;
        }
        if let Some(link) = link::find(&self.links, self.cluster.leaders[at], at) {
            partition.is_listed = true;
            self.ready[link].push_back(at);
        }
    }

    /// Takes over what another look at the cluster has found.
    fn follow_leaders(&mut self, cluster: &Arc<Cluster>) {
        self.cluster = Arc::clone(cluster);
        link::complete(
            &mut self.links,
            cluster,
            self.workload.producers.connections,
        );
        self.ready.resize_with(self.links.len(), VecDeque::new);
        self.ready.iter_mut().for_each(VecDeque::clear);
        for at in 0..self.partitions.len() {
            self.partitions[at].is_listed = false;
            self.list(at);
        }
    }
}
