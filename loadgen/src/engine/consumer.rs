//! One consumer: its share of the partitions, read from where they ended when the run began.

use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::{BrokerId, FetchRequest, FetchResponse};

use super::Shared;
use crate::batch::whole_batches;
use crate::client::{FETCH_VERSION, error_name, topic_name};
use crate::cluster::Cluster;
use crate::connection::Connection;
use crate::measure::Recorder;
use crate::record::{Found, Stamp};
use crate::verify::{Line, Received};

/// What a fetch asks for, as Kafka's consumers do by default.
const PARTITION_BYTES: i32 = 1 << 20;
const REPLY_BYTES: i32 = 50 << 20;
const WAIT_MS: i32 = 500;
const RETRY_AFTER: Duration = Duration::from_millis(100);

pub(super) struct Consumer {
    /// Which set it belongs to.
    pub set: usize,
    /// The partitions it reads, and the offset of the next record of each.
    positions: Vec<(usize, i64)>,
    cluster: Arc<Cluster>,
    pub links: Vec<Link>,
    /// What it got, for the verification.
    pub received: Received,
    /// Records and bytes so far.
    pub records: u64,
}

/// The connection to one broker.
pub(super) struct Link {
    broker: i32,
    pub connection: Option<Connection<()>>,
    retry_ns: u64,
    pub is_watched: bool,
}

impl Consumer {
    /// Reads from these offsets on.
    pub(super) fn new(set: usize, positions: Vec<(usize, i64)>, shared: &Shared<'_>) -> Self {
        Self {
            set,
            positions,
            cluster: shared.directory.newest(),
            links: Vec::new(),
            received: Received::default(),
            records: 0,
        }
    }

    /// Sees to it that each broker it needs is asked.
    pub(super) fn tick(&mut self, shared: &Shared<'_>, recorder: &mut Recorder) {
        self.cluster = shared.directory.newest();
        for broker in self.cluster.brokers.keys() {
            if self.links.iter().all(|link| link.broker != *broker) {
                self.links.push(Link {
                    broker: *broker,
                    connection: None,
                    retry_ns: 0,
                    is_watched: false,
                });
            }
        }
        for at in 0..self.links.len() {
            self.ask(at, shared, recorder);
        }
    }

    fn ask(&mut self, link_at: usize, shared: &Shared<'_>, recorder: &mut Recorder) {
        let now_ns = shared.clock.now_ns();
        let link = &self.links[link_at];
        let is_busy = link
            .connection
            .as_ref()
            .is_some_and(|it| it.in_flight() > 0);
        if is_busy || now_ns < link.retry_ns {
            return;
        }
        let Some(request) = self.request(link.broker, shared) else {
            return;
        };
        let link = &mut self.links[link_at];
        if link.connection.is_none() {
            let address = self.cluster.brokers.get(&link.broker);
            match address.map(|address| Connection::open(*address)) {
                Some(Ok(connection)) => {
                    link.connection = Some(connection);
                    link.is_watched = false;
                }
                _ => return self.disconnect(link_at, shared, recorder),
            }
        }
        let Some(connection) = &mut link.connection else {
            return;
        };
        let sent = connection.queue(&request, FETCH_VERSION, Some(()));
        if sent.and_then(|()| connection.flush()).is_err() {
            self.disconnect(link_at, shared, recorder);
        }
    }

    fn request(&self, broker: i32, shared: &Shared<'_>) -> Option<FetchRequest> {
        let mut topics: Vec<FetchTopic> = Vec::new();
        for (at, offset) in &self.positions {
            if self.cluster.leaders[*at] != broker {
                continue;
            }
            let place = &shared.places[*at];
            let partition = FetchPartition::default()
                .with_partition(place.partition)
                .with_fetch_offset(*offset)
                .with_partition_max_bytes(PARTITION_BYTES);
            match topics
                .last_mut()
                .filter(|topic| topic.topic.as_str() == &*place.topic)
            {
                Some(topic) => topic.partitions.push(partition),
                None => topics.push(
                    FetchTopic::default()
                        .with_topic(topic_name(&place.topic))
                        .with_partitions(vec![partition]),
                ),
            }
        }
        let request = FetchRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_max_wait_ms(WAIT_MS)
            .with_min_bytes(1)
            .with_max_bytes(REPLY_BYTES)
            .with_session_epoch(-1)
            .with_topics(topics);
        (!request.topics.is_empty()).then_some(request)
    }

    /// Reads what a broker has sent.
    pub(super) fn receive(&mut self, link_at: usize, shared: &Shared<'_>, recorder: &mut Recorder) {
        loop {
            let Some(connection) = &mut self.links[link_at].connection else {
                return;
            };
            let received = connection.receive();
            match connection.next_reply::<FetchRequest>(FETCH_VERSION) {
                Ok(Some(((), reply))) => self.take(&reply, shared, recorder),
                Ok(None) => {}
                Err(_) => return self.disconnect(link_at, shared, recorder),
            }
            match received {
                Ok(true) => {}
                Ok(false) => return,
                Err(_) => return self.disconnect(link_at, shared, recorder),
            }
        }
    }

    fn take(&mut self, reply: &FetchResponse, shared: &Shared<'_>, recorder: &mut Recorder) {
        let now_ns = shared.clock.now_ns();
        if reply.error_code != 0 {
            recorder.error(now_ns, error_name(reply.error_code));
        }
        for topic in &reply.responses {
            for partition in &topic.partitions {
                let is_it = |(at, _): &&mut (usize, i64)| {
                    let place = &shared.places[*at];
                    place.partition == partition.partition_index
                        && &*place.topic == topic.topic.as_str()
                };
                let Some((at, position)) = self.positions.iter_mut().find(is_it) else {
                    continue;
                };
                if partition.error_code != 0 {
                    recorder.error(now_ns, error_name(partition.error_code));
                    shared.directory.want_another_look();
                    continue;
                }
                let line = *at as u32;
                for batch in whole_batches(partition.records.as_deref().unwrap_or(&[])) {
                    let read = batch.records(|offset, value| {
                        // A batch may begin before the offset that was asked for.
                        if offset < *position {
                            return Ok(());
                        }
                        self.records += 1;
                        match Stamp::decode(value) {
                            Found::Sound(stamp) if stamp.run == shared.run => {
                                let due_ns = shared.clock.since_start(stamp.intended_ns);
                                let latency_ns = now_ns.saturating_sub(due_ns);
                                recorder.consumed(now_ns, latency_ns, 1, value.len() as u64);
                                if shared.workload.verify {
                                    let producer = stamp.producer;
                                    let line = Line {
                                        producer,
                                        partition: line,
                                    };
                                    self.received.insert(line, stamp.sequence);
                                }
                            }
                            Found::Corrupted => self.received.corrupted += 1,
                            Found::Sound(_) | Found::Foreign => self.received.unknown += 1,
                        }
                        Ok(())
                    });
                    if let Err(error) = read {
                        recorder.error(now_ns, error.to_string());
                        self.received.corrupted += 1;
                    }
                    *position = batch.last_offset() + 1;
                }
            }
        }
    }

    /// How many records are left up to these ends.
    pub(super) fn lag(&self, ends: &[i64]) -> i64 {
        let left = |(at, position): &(usize, i64)| (ends[*at] - position).max(0);
        self.positions.iter().map(left).sum()
    }

    pub(super) fn disconnect(
        &mut self,
        link_at: usize,
        shared: &Shared<'_>,
        recorder: &mut Recorder,
    ) {
        let now_ns = shared.clock.now_ns();
        let link = &mut self.links[link_at];
        link.connection = None;
        link.retry_ns = now_ns + RETRY_AFTER.as_nanos() as u64;
        recorder.error(now_ns, "connection lost");
        shared.directory.want_another_look();
    }
}
