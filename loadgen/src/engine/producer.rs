//! One producer: records come due by its schedule, gather in batches, and leave in requests.
//!
//! Latency counts from the time at which a record was due, so that whatever holds it up on the way,
//! here or in the broker, is part of it.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{ProduceRequest, ProduceResponse};

use super::{Clock, Shared};
use crate::batch::{self, Builder};
use crate::client::{PRODUCE_VERSION, error_name, is_retriable, topic_name};
use crate::cluster::{Cluster, Place};
use crate::connection::Connection;
use crate::measure::Recorder;
use crate::record::{Filling, STAMP_BYTES, Stamp};
use crate::schedule::Schedule;
use crate::schedule::choice::{KeyChoice, Random, SizeChoice};
use crate::verify::{Acknowledged, Line};
use crate::workload::{Acks, Load, Workload};

/// A request takes batches of several partitions up to this, as Kafka's `max.request.size`.
const REQUEST_BYTES_MAX: usize = 1 << 20;
/// Records that wait may take this much memory; then no more are made, and those that are due are late.
const BUFFER_BYTES_MAX: usize = 64 << 20;
/// How long a batch is tried to be delivered, as Kafka's `delivery.timeout.ms`.
const DELIVERY_MAX: Duration = Duration::from_secs(120);
/// How long to wait before connecting again, and before sending again what was refused.
const RETRY_AFTER: Duration = Duration::from_millis(100);
/// The broker has had this batch before and acknowledges it.
const DUPLICATE_SEQUENCE_NUMBER: i16 = 46;
/// A batch before this one was refused, and comes again.
const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;

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
    pub links: Vec<Link>,
    /// What was acknowledged, for the verification.
    pub acknowledged: Acknowledged,
}

#[derive(Default)]
struct Partition {
    /// The newest may be open, all others are full.
    batches: VecDeque<Batch>,
    /// Of the next record, for the verification.
    sequence: u64,
    /// Of the next record, for the broker.
    base_sequence: i32,
    /// Whether the partition is in the list of its link.
    is_listed: bool,
    retry_ns: u64,
}

pub(super) struct Batch {
    number: u64,
    records: Records,
    /// When each record was due.
    due_ns: Vec<u64>,
    first_sequence: u64,
    base_sequence: i32,
    payload_bytes: u64,
    memory: usize,
    deadline_ns: u64,
    is_ready: bool,
}

enum Records {
    Open(Builder),
    Sealed(Bytes),
}

/// The connection to one broker.
pub(super) struct Link {
    pub broker: i32,
    pub connection: Option<Connection<Vec<(usize, Batch)>>>,
    /// Partitions that have a batch to be sent.
    ready: VecDeque<usize>,
    retry_ns: u64,
    pub is_watched: bool,
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
        let cluster = shared.directory.newest();
        let partitions = shared.places.len();
        let mut producer = Self {
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
            links: Vec::new(),
            cluster,
            acknowledged: Acknowledged::default(),
        };
        producer.make_links();
        producer
    }

    fn make_links(&mut self) {
        for broker in self.cluster.brokers.keys() {
            if self.links.iter().all(|link| link.broker != *broker) {
                self.links.push(Link {
                    broker: *broker,
                    connection: None,
                    ready: VecDeque::new(),
                    retry_ns: 0,
                    is_watched: false,
                });
            }
        }
    }

    /// Makes the records that are due and sends what may leave. When to call it again at the latest.
    pub(super) fn tick(
        &mut self,
        shared: &Shared<'_>,
        recorder: &mut Recorder,
        may_make: bool,
    ) -> u64 {
        let now_ns = shared.clock.now_ns();
        if may_make {
            self.make_due(now_ns, &shared.clock, recorder);
        }
        self.age(now_ns);
        self.follow_leaders(shared);
        for at in 0..self.links.len() {
            self.send(at, shared, recorder);
        }
        let next_due = self.due_ns.filter(|_| may_make).unwrap_or(u64::MAX);
        let soonest = |queue: &VecDeque<(u64, usize, u64)>| queue.front().map(|(at, ..)| *at);
        let aged = soonest(&self.aging).unwrap_or(u64::MAX);
        let again = soonest(&self.retries).unwrap_or(u64::MAX);
        next_due.min(aged).min(again)
    }

    fn make_due(&mut self, now_ns: u64, clock: &Clock, recorder: &mut Recorder) {
        if self.schedule.is_none() {
            let brokers = self.links.len().max(1);
            let producers = &self.workload.producers;
            let enough = producers.in_flight as usize * brokers * producers.batch_bytes as usize;
            while self.buffered_bytes < enough.min(BUFFER_BYTES_MAX) {
                self.make(now_ns, now_ns, clock);
            }
            return;
        }
        while let Some(due_ns) = self.due_ns.filter(|due_ns| *due_ns <= now_ns) {
            if self.buffered_bytes >= BUFFER_BYTES_MAX {
                // The broker is behind, not we: what waits is late by its latency.
                return;
            }
            recorder.intended(now_ns, 1);
            recorder.late(now_ns, now_ns - due_ns);
            self.make(due_ns, now_ns, clock);
            self.due_ns = self.schedule.as_mut().and_then(Iterator::next);
        }
    }

    /// Makes one record and puts it into the batch of its partition.
    fn make(&mut self, due_ns: u64, now_ns: u64, clock: &Clock) {
        let len = self.sizes.next(&mut self.random) as usize;
        let key = self.keys.next(&mut self.random);
        let at = match key {
            Some(key) => {
                use std::fmt::Write;
                self.key.clear();
                let _ = write!(self.key, "{key}");
                crc32c::crc32c(self.key.as_bytes()) as usize % self.partitions.len()
            }
            None => self.sticky,
        };
        let linger_ns = self.workload.producers.linger.as_nanos() as u64;
        let partition = &mut self.partitions[at];
        if !matches!(
            partition.batches.back(),
            Some(Batch {
                records: Records::Open(_),
                ..
            })
        ) {
            self.batches += 1;
            partition.batches.push_back(Batch {
                number: self.batches,
                records: Records::Open(Builder::new(clock.wall_ms(due_ns))),
                due_ns: Vec::new(),
                first_sequence: partition.sequence,
                base_sequence: partition.base_sequence,
                payload_bytes: 0,
                memory: 0,
                deadline_ns: now_ns + DELIVERY_MAX.as_nanos() as u64,
                is_ready: false,
            });
            self.aging.push_back((now_ns + linger_ns, at, self.batches));
        }
        let stamp = Stamp {
            run: self.run,
            producer: self.index,
            sequence: partition.sequence,
            intended_ns: clock.wall_ns(due_ns),
        };
        let filling = self.filling.take(len.saturating_sub(STAMP_BYTES));
        stamp.encode(len, filling, &mut self.value);
        partition.sequence += 1;
        partition.base_sequence = (partition.base_sequence + 1) & i32::MAX;
        self.unacknowledged += 1;
        let Some(Batch {
            records: Records::Open(builder),
            due_ns: times,
            payload_bytes,
            memory,
            number,
            ..
        }) = partition.batches.back_mut()
        else {
            unreachable!("there is an open batch now")
        };
        let before = builder.records_bytes();
        let key = key.map(|_| self.key.as_bytes());
        builder.push(clock.wall_ms(due_ns), key, &self.value);
        times.push(due_ns);
        *payload_bytes += self.value.len() as u64;
        let grown = builder.records_bytes() - before;
        *memory += grown;
        self.buffered_bytes += grown;
        if builder.records_bytes() >= self.workload.producers.batch_bytes as usize {
            let number = *number;
            self.seal(at);
            self.becomes_ready(at, number);
        }
    }

    /// Closes the open batch of a partition.
    fn seal(&mut self, at: usize) {
        let producers = &self.workload.producers;
        let partition = &mut self.partitions[at];
        if let Some(batch) = partition.batches.back_mut()
            && let Records::Open(builder) = &mut batch.records
        {
            let builder = std::mem::replace(builder, Builder::new(0));
            let (id, epoch) = self.producer_id;
            let producer = batch::Producer {
                id,
                epoch,
                base_sequence: if producers.idempotence {
                    batch.base_sequence
                } else {
                    -1
                },
            };
            batch.records = Records::Sealed(builder.finish(producer, producers.codec).into());
            if self.sticky == at {
                self.sticky = (at + 1) % self.partitions.len();
            }
        }
    }

    /// Whose time has come may leave.
    fn age(&mut self, now_ns: u64) {
        let is_over = |(ready_ns, ..): &mut (u64, usize, u64)| *ready_ns <= now_ns;
        while let Some((_, at, number)) = self.aging.pop_front_if(is_over) {
            self.becomes_ready(at, number);
        }
        while let Some((_, at, number)) = self.retries.pop_front_if(is_over) {
            self.becomes_ready(at, number);
        }
    }

    fn becomes_ready(&mut self, at: usize, number: u64) {
        let partition = &mut self.partitions[at];
        let batch = partition
            .batches
            .iter_mut()
            .rev()
            .find(|it| it.number == number);
        if let Some(batch) = batch {
            batch.is_ready = true;
            self.list(at);
        }
    }

    /// Puts a partition into the list of the broker that leads it.
    fn list(&mut self, at: usize) {
        let leader = self.cluster.leaders[at];
        let partition = &mut self.partitions[at];
        let is_ready = partition
            .batches
            .front()
            .is_some_and(|batch| batch.is_ready);
        let link = self.links.iter_mut().find(|link| link.broker == leader);
        if let Some(link) = link
            && is_ready
            && !std::mem::replace(&mut partition.is_listed, true)
        {
            link.ready.push_back(at);
        }
    }

    /// Takes over what another look at the cluster has found.
    fn follow_leaders(&mut self, shared: &Shared<'_>) {
        let newest = shared.directory.newest();
        if Arc::ptr_eq(&newest, &self.cluster) {
            return;
        }
        self.cluster = newest;
        self.make_links();
        for link in &mut self.links {
            link.ready.clear();
        }
        for at in 0..self.partitions.len() {
            self.partitions[at].is_listed = false;
            self.list(at);
        }
    }

    /// Sends what is ready for one broker, as far as requests may be in flight.
    fn send(&mut self, link_at: usize, shared: &Shared<'_>, recorder: &mut Recorder) {
        let producers = &self.workload.producers;
        loop {
            let now_ns = shared.clock.now_ns();
            let link = &mut self.links[link_at];
            if link.ready.is_empty() || now_ns < link.retry_ns {
                return;
            }
            if link.connection.is_none() {
                let address = self.cluster.brokers.get(&link.broker);
                match address.map(|address| Connection::open(*address)) {
                    Some(Ok(connection)) => {
                        link.connection = Some(connection);
                        link.is_watched = false;
                    }
                    _ => {
                        link.retry_ns = now_ns + RETRY_AFTER.as_nanos() as u64;
                        recorder.error(now_ns, "no connection");
                        shared.directory.want_another_look();
                        return;
                    }
                }
            }
            let Some(connection) = &link.connection else {
                return;
            };
            let is_full = match producers.acks {
                Acks::None => !connection.is_flushed(),
                Acks::Leader | Acks::All => connection.in_flight() >= producers.in_flight as usize,
            };
            if is_full || !self.send_request(link_at, now_ns, shared, recorder) {
                return;
            }
        }
    }

    /// Sends one request; whether there was something to send.
    fn send_request(
        &mut self,
        link_at: usize,
        now_ns: u64,
        shared: &Shared<'_>,
        recorder: &mut Recorder,
    ) -> bool {
        let mut batches = Vec::new();
        let mut bytes = 0;
        let listed = self.links[link_at].ready.len();
        for _ in 0..listed {
            let Some(at) = self.links[link_at].ready.pop_front() else {
                break;
            };
            self.partitions[at].is_listed = false;
            if self.partitions[at].retry_ns > now_ns {
                continue;
            }
            if self.partitions[at].batches.len() == 1 {
                self.seal(at);
            }
            let partition = &mut self.partitions[at];
            let Some(batch) = partition.batches.front() else {
                continue;
            };
            let Records::Sealed(sealed) = &batch.records else {
                continue;
            };
            if bytes > 0 && bytes + sealed.len() > REQUEST_BYTES_MAX {
                self.list(at);
                break;
            }
            bytes += sealed.len();
            batches.extend(partition.batches.pop_front().map(|batch| (at, batch)));
            self.list(at);
        }
        if batches.is_empty() {
            return false;
        }
        let request = self.request(&batches);
        let acks = self.workload.producers.acks;
        let tag = match acks {
            Acks::None => {
                for (at, batch) in batches {
                    self.acknowledge(at, batch, now_ns, shared, recorder);
                }
                None
            }
            Acks::Leader | Acks::All => Some(batches),
        };
        let Some(connection) = &mut self.links[link_at].connection else {
            return false;
        };
        let sent = connection.queue(&request, PRODUCE_VERSION, tag);
        if sent.and_then(|()| connection.flush()).is_err() {
            self.disconnect(link_at, now_ns, recorder);
        }
        true
    }

    fn request(&self, batches: &[(usize, Batch)]) -> ProduceRequest {
        let mut topics: Vec<TopicProduceData> = Vec::new();
        for (at, batch) in batches {
            let Records::Sealed(records) = &batch.records else {
                unreachable!("only closed batches are sent")
            };
            let place = &self.places[*at];
            let data = PartitionProduceData::default()
                .with_index(place.partition)
                .with_records(Some(records.clone()));
            match topics
                .iter_mut()
                .find(|topic| topic.name.as_str() == &*place.topic)
            {
                Some(topic) => topic.partition_data.push(data),
                None => topics.push(
                    TopicProduceData::default()
                        .with_name(topic_name(&place.topic))
                        .with_partition_data(vec![data]),
                ),
            }
        }
        let acks = match self.workload.producers.acks {
            Acks::None => 0,
            Acks::Leader => 1,
            Acks::All => -1,
        };
        ProduceRequest::default()
            .with_acks(acks)
            .with_timeout_ms(30_000)
            .with_topic_data(topics)
    }

    /// Reads what a broker has sent.
    pub(super) fn receive(&mut self, link_at: usize, shared: &Shared<'_>, recorder: &mut Recorder) {
        loop {
            let Some(connection) = &mut self.links[link_at].connection else {
                return;
            };
            let received = connection.receive();
            let now_ns = shared.clock.now_ns();
            loop {
                let Some(connection) = &mut self.links[link_at].connection else {
                    return;
                };
                match connection.next_reply::<ProduceRequest>(PRODUCE_VERSION) {
                    Ok(Some((batches, reply))) => {
                        self.answered(batches, &reply, now_ns, shared, recorder);
                    }
                    Ok(None) => break,
                    Err(_) => return self.disconnect(link_at, now_ns, recorder),
                }
            }
            match received {
                Ok(true) => {}
                Ok(false) => return,
                Err(_) => {
                    shared.directory.want_another_look();
                    return self.disconnect(link_at, now_ns, recorder);
                }
            }
        }
    }

    fn answered(
        &mut self,
        batches: Vec<(usize, Batch)>,
        reply: &ProduceResponse,
        now_ns: u64,
        shared: &Shared<'_>,
        recorder: &mut Recorder,
    ) {
        let mut refused = Vec::new();
        for (at, batch) in batches {
            let place = &self.places[at];
            let of_topic = reply
                .responses
                .iter()
                .filter(|topic| topic.name.as_str() == &*place.topic);
            let outcome = of_topic
                .flat_map(|topic| &topic.partition_responses)
                .find(|partition| partition.index == place.partition);
            match outcome.map(|outcome| outcome.error_code) {
                Some(0 | DUPLICATE_SEQUENCE_NUMBER) => {
                    self.acknowledge(at, batch, now_ns, shared, recorder);
                }
                Some(code) => {
                    recorder.error(now_ns, error_name(code));
                    let may_retry = is_retriable(code) || code == OUT_OF_ORDER_SEQUENCE_NUMBER;
                    if may_retry && now_ns < batch.deadline_ns {
                        refused.push((at, batch));
                    } else {
                        self.forget(&batch);
                    }
                    shared.directory.want_another_look();
                }
                None => {
                    recorder.error(now_ns, "no outcome in the reply");
                    self.forget(&batch);
                }
            }
        }
        self.put_back(refused, now_ns);
    }

    fn acknowledge(
        &mut self,
        at: usize,
        batch: Batch,
        now_ns: u64,
        shared: &Shared<'_>,
        recorder: &mut Recorder,
    ) {
        shared
            .produced_bytes
            .fetch_add(batch.payload_bytes, Ordering::Relaxed);
        let count = batch.due_ns.len() as u64;
        let bytes_each = batch.payload_bytes / count;
        for due_ns in &batch.due_ns {
            recorder.produced(now_ns, now_ns.saturating_sub(*due_ns), 1, bytes_each);
        }
        if self.workload.verify {
            let line = Line {
                producer: self.index,
                partition: at as u32,
            };
            self.acknowledged.insert(line, batch.sequences());
        }
        self.forget(&batch);
    }

    fn forget(&mut self, batch: &Batch) {
        self.buffered_bytes -= batch.memory;
        self.unacknowledged -= batch.due_ns.len() as u64;
    }

    /// Batches that have to be sent again take their old places.
    fn put_back(&mut self, batches: Vec<(usize, Batch)>, now_ns: u64) {
        for (at, batch) in batches {
            let partition = &mut self.partitions[at];
            partition.retry_ns = now_ns + RETRY_AFTER.as_nanos() as u64;
            let place = partition
                .batches
                .partition_point(|it| it.number < batch.number);
            self.retries
                .push_back((partition.retry_ns, at, batch.number));
            partition.batches.insert(place, batch);
        }
    }

    /// The connection is lost, and with it the answers to what was in flight.
    pub(super) fn disconnect(&mut self, link_at: usize, now_ns: u64, recorder: &mut Recorder) {
        let link = &mut self.links[link_at];
        link.retry_ns = now_ns + RETRY_AFTER.as_nanos() as u64;
        let Some(connection) = link.connection.take() else {
            return;
        };
        recorder.error(now_ns, "connection lost");
        for batches in connection.into_unanswered().collect::<Vec<_>>() {
            self.put_back(batches, now_ns);
        }
    }
}

impl Batch {
    fn sequences(&self) -> Range<u64> {
        self.first_sequence..self.first_sequence + self.due_ns.len() as u64
    }
}
