//! One consumer: its share of the partitions, read from where they ended when the run began.

use std::borrow::Cow;
use std::sync::Arc;

use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::{FetchRequest, FetchResponse, TopicName};

use super::Shared;
use super::link::{self, Link};
use super::session::{Asked, Session};
use crate::batch::whole_batches;
use crate::client::{FETCH_VERSION, error_name, topic_name};
use crate::cluster::Cluster;
use crate::measure::Recorder;
use crate::record::{Found, Stamp};
use crate::verify::{Line, Received};

/// What a fetch asks for, as Kafka's consumers do by default.
const PARTITION_BYTES: i32 = 1 << 20;
const REPLY_BYTES: i32 = 50 << 20;
const WAIT_MS: i32 = 500;

pub(super) struct Consumer {
    /// Which set it belongs to.
    pub set: usize,
    /// The partitions it reads, in their order.
    positions: Vec<Position>,
    cluster: Arc<Cluster>,
    pub links: Vec<Link<()>>,
    /// One for each link.
    readings: Vec<Reading>,
    /// What it got, for the verification.
    pub received: Received,
    /// Records so far.
    pub records: u64,
    /// Records that are left up to where its partitions are known to end.
    pub lag: u64,
    /// Where they end is known for good.
    has_ends: bool,
}

/// How far a partition has been read.
struct Position {
    /// Which of all partitions.
    at: usize,
    /// Of the next record.
    offset: i64,
    /// Where it ends, as far as is known; once producers are done, for good.
    end: i64,
    /// Over which link it is read; `None` as long as it has no leader.
    link: Option<usize>,
}

/// What is read over a link.
#[derive(Default)]
struct Reading {
    session: Session,
    /// How many partitions.
    count: usize,
}

impl Position {
    /// Records that are left.
    fn lag(&self) -> u64 {
        (self.end - self.offset).max(0) as u64
    }

    /// Records that were read, and lie beyond an end.
    fn beyond(&self, end: i64) -> u64 {
        (self.offset - end).max(0) as u64
    }
}

impl Consumer {
    /// Reads from these offsets on, each with the number of its partition, in their order.
    pub(super) fn new(set: usize, starts: Vec<(usize, i64)>) -> Self {
        Self {
            set,
            positions: starts
                .into_iter()
                .map(|(at, offset)| Position {
                    at,
                    offset,
                    end: offset,
                    link: None,
                })
                .collect(),
            cluster: Arc::default(),
            links: Vec::new(),
            readings: Vec::new(),
            received: Received::default(),
            records: 0,
            lag: 0,
            has_ends: false,
        }
    }

    /// Sees to it that each broker it needs is asked.
    pub(super) fn tick(
        &mut self,
        cluster: &Arc<Cluster>,
        shared: &Shared<'_>,
        recorder: &mut Recorder,
    ) {
        if !Arc::ptr_eq(&self.cluster, cluster) {
            self.follow_leaders(cluster, shared.workload.consumers.connections);
        }
        let now_ns = shared.clock.now_ns();
        for at in 0..self.links.len() {
            if self.links[at].is_overdue(now_ns) {
                self.fail(at, link::OVERDUE, now_ns, shared, recorder);
            }
            self.ask(at, shared, recorder);
        }
    }

    /// Takes over what another look at the cluster has found.
    fn follow_leaders(&mut self, cluster: &Arc<Cluster>, connections: u32) {
        self.cluster = Arc::clone(cluster);
        link::complete(&mut self.links, cluster, connections);
        self.readings
            .resize_with(self.links.len(), Reading::default);
        for reading in &mut self.readings {
            reading.session.renew();
            reading.count = 0;
        }
        for (number, position) in self.positions.iter_mut().enumerate() {
            let leader = cluster.leaders[position.at];
            position.link = link::find(&self.links, leader, number);
            if let Some(link) = position.link {
                self.readings[link].count += 1;
            }
        }
    }

    fn ask(&mut self, link_at: usize, shared: &Shared<'_>, recorder: &mut Recorder) {
        let now_ns = shared.clock.now_ns();
        let link = &self.links[link_at];
        let in_flight = link.connection.as_ref().map(|it| it.in_flight());
        let is_busy = in_flight.is_some_and(|in_flight| in_flight > 0);
        if is_busy || now_ns < link.retry_ns || self.readings[link_at].count == 0 {
            return;
        }
        let link = &mut self.links[link_at];
        let Some(connection) = link.open(&self.cluster, now_ns, shared, recorder) else {
            return;
        };
        let bound = match self.cluster.has_ids() {
            true => i16::MAX,
            false => FETCH_VERSION,
        };
        let sent = connection
            .newest::<FetchRequest>(bound)
            .and_then(|version| {
                let request = self.request(link_at, version, shared);
                let connection = self.links[link_at].connection.as_mut();
                let connection = connection.expect("it is open");
                connection.queue(&request, version, Some(()), now_ns)?;
                connection.flush()
            });
        if let Err(error) = sent {
            self.disconnect(link_at, error, shared, recorder);
        }
    }

    fn request(&mut self, link_at: usize, version: i16, shared: &Shared<'_>) -> FetchRequest {
        let (id, epoch, asked) = self.readings[link_at].session.next_request(version);
        let mut numbers = match asked {
            Asked::All => (0..self.positions.len()).collect(),
            Asked::Changed(changed) => changed,
        };
        numbers.retain(|number| self.positions[*number].link == Some(link_at));
        let by_id = version > FETCH_VERSION;
        let mut topics: Vec<FetchTopic> = Vec::new();
        let mut last = None;
        for number in numbers {
            let Position { at, offset, .. } = self.positions[number];
            let place = &shared.places[at];
            if last != Some(place.topic_number) {
                last = Some(place.topic_number);
                let topic = FetchTopic::default();
                topics.push(match by_id {
                    true => topic.with_topic_id(self.cluster.topics[place.topic_number].id),
                    false => topic.with_topic(topic_name(&place.topic)),
                });
            }
            let partition = FetchPartition::default()
                .with_partition(place.partition)
                .with_fetch_offset(offset)
                .with_partition_max_bytes(PARTITION_BYTES);
            let topic = topics.last_mut().expect("there is one now");
            topic.partitions.push(partition);
        }
        FetchRequest::default()
            .with_max_wait_ms(WAIT_MS)
            .with_min_bytes(1)
            .with_max_bytes(REPLY_BYTES)
            .with_session_id(id)
            .with_session_epoch(epoch)
            .with_topics(topics)
    }

    /// Reads what a broker has sent, by way of a buffer that is lent to it.
    pub(super) fn receive(
        &mut self,
        link_at: usize,
        buffer: &mut [u8],
        shared: &Shared<'_>,
        recorder: &mut Recorder,
    ) {
        loop {
            let Some(connection) = &mut self.links[link_at].connection else {
                return;
            };
            let received = connection.receive(buffer);
            match connection.next_reply::<FetchRequest>() {
                Ok(Some(((), reply))) => self.take(link_at, &reply, shared, recorder),
                Ok(None) => {}
                Err(error) => return self.disconnect(link_at, error, shared, recorder),
            }
            match received {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => return self.disconnect(link_at, error, shared, recorder),
            }
        }
    }

    fn take(
        &mut self,
        link_at: usize,
        reply: &FetchResponse,
        shared: &Shared<'_>,
        recorder: &mut Recorder,
    ) {
        let now_ns = shared.clock.now_ns();
        let session = &mut self.readings[link_at].session;
        session.answered(reply.error_code, reply.session_id);
        if reply.error_code != 0 {
            recorder.error(now_ns, error_name(reply.error_code));
            self.links[link_at].retry_ns = link::retry_ns(now_ns);
        }
        let mut near = 0;
        for topic in &reply.responses {
            let TopicName(name) = &topic.topic;
            let Some(number) = self.cluster.topic_number(name, topic.topic_id, near) else {
                continue;
            };
            near = number;
            for partition in &topic.partitions {
                if partition.error_code != 0 {
                    recorder.error(now_ns, error_name(partition.error_code));
                    shared.directory.want_another_look();
                    self.links[link_at].retry_ns = link::retry_ns(now_ns);
                    continue;
                }
                let position = shared
                    .place_number(number, partition.partition_index)
                    .and_then(|at| self.positions.binary_search_by_key(&at, |it| it.at).ok());
                if let Some(position) = position
                    && self.read(link_at, position, partition, now_ns, shared, recorder)
                {
                    self.readings[link_at].session.moved(position);
                }
            }
        }
    }

    /// Reads the records of one partition; whether the position has moved.
    pub(super) fn read(
        &mut self,
        link_at: usize,
        position: usize,
        partition: &PartitionData,
        now_ns: u64,
        shared: &Shared<'_>,
        recorder: &mut Recorder,
    ) -> bool {
        self.lag -= self.positions[position].lag();
        if !self.has_ends {
            // Where it is not told it is negative.
            let end = &mut self.positions[position].end;
            *end = partition.high_watermark.max(*end);
        }
        let Position { at, offset, .. } = &mut self.positions[position];
        let before = *offset;
        let mut batches = whole_batches(partition.records.as_deref().unwrap_or(&[]));
        for batch in &mut batches {
            let mut next = (*offset).max(batch.base_offset());
            let read = batch.records(|record_offset, value| {
                // A batch may begin before the offset that was asked for.
                if record_offset < *offset {
                    return Ok(());
                }
                next = record_offset + 1;
                self.records += 1;
                match Stamp::decode(value) {
                    Found::Sound(stamp)
                        if stamp.run == shared.run && stamp.partition != *at as u32 =>
                    {
                        self.received.corrupted += 1;
                    }
                    Found::Sound(stamp) if stamp.run == shared.run => {
                        let due_ns = shared.clock.since_start(stamp.intended_ns);
                        let latency_ns = now_ns.saturating_sub(due_ns);
                        recorder.consumed(now_ns, latency_ns, 1, value.len() as u64);
                        if shared.workload.verify {
                            let line = Line {
                                producer: stamp.producer,
                                partition: *at as u32,
                            };
                            self.received.insert(line, stamp.sequence);
                        }
                    }
                    Found::Corrupted => self.received.corrupted += 1,
                    Found::Sound(_) | Found::Foreign => self.received.unknown += 1,
                }
                Ok(())
            });
            let mut after = batch.last_offset().saturating_add(1);
            if let Err(error) = read {
                recorder.error(now_ns, error.to_string());
                // All of it that was not read, if it can be believed how much that is.
                after = after.min(partition.high_watermark).max(next + 1);
                self.received.corrupted += (after - next) as u64;
            }
            *offset = after.max(*offset);
        }
        if let Some(length) = batches.impossible_length() {
            recorder.error(now_ns, format!("a batch whose length is {length}"));
            self.links[link_at].retry_ns = link::retry_ns(now_ns);
            // It cannot be read past, and will come again.
            self.received.damaged.insert(*at as u32);
        }
        let has_moved = *offset != before;
        self.lag += self.positions[position].lag();
        has_moved
    }

    /// Producers are done: it has to go on up to these ends, one for each of all partitions.
    pub(super) fn go_up_to(&mut self, ends: &[i64]) {
        if !std::mem::replace(&mut self.has_ends, true) {
            for position in &mut self.positions {
                position.end = ends[position.at];
            }
            self.lag = self.positions.iter().map(Position::lag).sum();
        }
    }

    /// Whether it has read beyond an end that it knows: either the broker has lost what was read, or records came after
    /// the broker was asked for the end. Another look tells.
    pub(super) fn is_beyond_ends(&self) -> bool {
        let mut positions = self.positions.iter();
        self.has_ends && positions.any(|position| position.beyond(position.end) > 0)
    }

    /// What it got, which partitions it could not read to their ends, and how much of what it got is gone, given where
    /// the partitions ended when another look was taken, if one was.
    pub(super) fn finish(mut self, last_ends: Option<&[i64]>) -> Received {
        if self.has_ends {
            let gone = self.positions.iter().map(|position| {
                let end = last_ends.map_or(position.end, |ends| ends[position.at]);
                position.beyond(end)
            });
            self.received.gone = gone.sum();
        }
        let is_unread = |it: &&Position| !self.has_ends || it.lag() > 0;
        let unread = self.positions.iter().filter(is_unread);
        self.received.unread.extend(unread.map(|it| it.at as u32));
        self.received
    }

    fn disconnect(
        &mut self,
        link_at: usize,
        error: anyhow::Error,
        shared: &Shared<'_>,
        recorder: &mut Recorder,
    ) {
        let now_ns = shared.clock.now_ns();
        self.fail(link_at, link::reason(&error), now_ns, shared, recorder);
    }

    fn fail(
        &mut self,
        link_at: usize,
        why: impl Into<Cow<'static, str>>,
        now_ns: u64,
        shared: &Shared<'_>,
        recorder: &mut Recorder,
    ) {
        self.links[link_at].fail(why, now_ns, shared, recorder);
        self.readings[link_at].session.renew();
    }
}
