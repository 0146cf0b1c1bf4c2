//! One producer: records come due by its schedule, gather in batches, and leave in requests.
//!
//! Latency counts from the time at which a record was due, so that whatever holds it up on the way,
//! here or in the broker, is part of it.

mod making;
mod sending;
mod sequences;
mod timetable;

use std::collections::VecDeque;
use std::sync::Arc;

use super::link::{self, Link};
use super::{Preparation, Shared};
use crate::cluster::{Cluster, Place};
use crate::measure::{Fate, Recorder};
use crate::record::Filling;
use crate::schedule::Schedule;
use crate::schedule::choice::{KeyChoice, Random, SizeChoice};
use crate::verify::{Acknowledged, Line};
use crate::workload::{Load, Workload};
use making::{Batch, Partition};
use timetable::Timetable;

/// What records are counted as that were due and never left.
const UNSENT: &str = "due and never sent";
/// And those that left and had no answer.
const UNANSWERED: &str = "never answered";

pub(super) struct Producer<'a> {
    workload: &'a Workload,
    places: &'a [Place],
    index: u32,
    run: u64,
    /// `None` in a closed loop.
    timetable: Option<Timetable>,
    /// It makes no more records.
    is_stopped: bool,
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
    /// When to look next for batches that could not be delivered in time.
    overdue_ns: u64,
    /// Records on their way or waiting.
    pub unacknowledged: u64,
    producer_id: i64,
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
        places: &'a [Place],
        preparation: &Preparation,
        index: u32,
        filling: &Filling,
    ) -> Self {
        let seed = workload.seed ^ u64::from(index).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut random = Random::new(seed);
        let timetable = match &workload.load {
            Load::Open(shape) => Some(Timetable::new(Schedule::new(
                shape,
                workload.whole(),
                workload.seed,
                index,
                workload.producers.count,
            ))),
            Load::Max => None,
        };
        let longest = workload.records.sizes.longest() as usize;
        let partitions = places.len();
        let (producer_id, epoch) = preparation.producer_ids[index as usize];
        Self {
            workload,
            places,
            index,
            run: preparation.run,
            timetable,
            is_stopped: false,
            sizes: SizeChoice::new(&workload.records.sizes),
            keys: KeyChoice::new(&workload.records.keys),
            filling: filling.share(&mut random),
            random,
            value: Vec::with_capacity(longest),
            key: String::new(),
            sticky: index as usize * partitions / workload.producers.count as usize,
            partitions: (0..partitions).map(|_| Partition::new(epoch)).collect(),
            aging: VecDeque::new(),
            retries: VecDeque::new(),
            batches: 0,
            buffered_bytes: 0,
            overdue_ns: 0,
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
    ) -> u64 {
        let now_ns = shared.clock.now_ns();
        if !Arc::ptr_eq(&self.cluster, cluster) {
            self.follow_leaders(cluster);
        }
        if !self.is_stopped {
            self.make_due(now_ns, now_ns, &shared.clock, recorder);
        }
        self.age(now_ns);
        self.give_up_overdue(now_ns, shared, recorder);
        for at in 0..self.links.len() {
            self.send(at, shared, recorder);
        }
        if !self.is_stopped && self.timetable.is_none() && self.has_room() {
            // Nothing wakes a closed loop whose requests have no reply.
            return now_ns;
        }
        let timetable = self.timetable.as_ref().filter(|_| !self.is_stopped);
        let next_due = timetable.and_then(Timetable::due_ns).unwrap_or(u64::MAX);
        let soonest = |queue: &VecDeque<(u64, usize, u64)>| queue.front().map(|(at, ..)| *at);
        let aged = soonest(&self.aging).unwrap_or(u64::MAX);
        let again = soonest(&self.retries).unwrap_or(u64::MAX);
        next_due.min(aged).min(again)
    }

    /// Makes what was due by `end_ns` and no more after that; what there is no room for is given up.
    pub(super) fn stop(&mut self, end_ns: u64, shared: &Shared<'_>, recorder: &mut Recorder) {
        let now_ns = shared.clock.now_ns();
        self.is_stopped = true;
        if self.timetable.is_none() {
            return;
        }
        self.make_due(end_ns, now_ns, &shared.clock, recorder);
        let mut unsent = 0;
        while let Some(due) = self
            .timetable
            .as_mut()
            .and_then(|it| it.take(end_ns, recorder))
        {
            recorder.gave_up(now_ns, now_ns - due.due_ns, Fate::Unsent);
            unsent += 1;
        }
        recorder.errors(now_ns, UNSENT, unsent);
    }

    /// Puts a partition into the list of the link to the broker that leads it.
    fn list(&mut self, at: usize) {
        let partition = &mut self.partitions[at];
        let front = partition.batches.front();
        if !front.is_some_and(|batch| batch.is_ready) || partition.is_listed {
            return;
        }
        // Before the first tick no leader is known.
        let leader = self.cluster.leaders.get(at);
        if let Some(link) = leader.and_then(|leader| link::find(&self.links, *leader, at)) {
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
