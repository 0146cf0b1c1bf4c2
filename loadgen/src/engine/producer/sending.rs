//! Requests to brokers, and what becomes of them.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{ProduceRequest, ProduceResponse, TopicName};

use super::making::{Batch, Records};
use super::{Line, Producer, UNANSWERED, UNSENT};
use crate::client::{PRODUCE_VERSION, error_name, is_retriable, topic_name};
use crate::connection::Connection;
use crate::engine::Shared;
use crate::engine::link;
use crate::measure::{Fate, Recorder};
use crate::workload::Acks;

/// A request takes batches of several partitions up to this, as Kafka's `max.request.size`.
const REQUEST_BYTES_MAX: usize = 1 << 20;
/// Between two looks for what is overdue.
const OVERDUE_EVERY_NS: u64 = 1_000_000_000;
/// The broker has had this batch before and acknowledges it.
const DUPLICATE_SEQUENCE_NUMBER: i16 = 46;
/// A batch before this one was refused, and comes again.
const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;

impl Producer<'_> {
    /// Sends what is ready for one broker, as far as requests may be in flight.
    pub(super) fn send(&mut self, link_at: usize, shared: &Shared<'_>, recorder: &mut Recorder) {
        let producers = &self.workload.producers;
        while !self.ready[link_at].is_empty() {
            let now_ns = shared.clock.now_ns();
            let link = &mut self.links[link_at];
            let Some(connection) = link.open(&self.cluster, now_ns, shared, recorder) else {
                return;
            };
            let is_full = match producers.acks {
                Acks::None => !connection.is_flushed(),
                Acks::Leader | Acks::All => connection.in_flight() >= producers.in_flight as usize,
            };
            if is_full {
                return;
            }
            let bound = match self.cluster.has_ids() {
                true => i16::MAX,
                false => PRODUCE_VERSION,
            };
            let version = match connection.newest::<ProduceRequest>(bound) {
                Ok(version) => version,
                Err(error) => return self.disconnect(link_at, error, now_ns, shared, recorder),
            };
            if !self.send_request(link_at, version, now_ns, shared, recorder) {
                return;
            }
        }
    }

    /// Sends one request; whether there was something to send.
    fn send_request(
        &mut self,
        link_at: usize,
        version: i16,
        now_ns: u64,
        shared: &Shared<'_>,
        recorder: &mut Recorder,
    ) -> bool {
        let mut batches = Vec::new();
        let mut bytes = 0;
        let listed = self.ready[link_at].len();
        for _ in 0..listed {
            let Some(at) = self.ready[link_at].pop_front() else {
                break;
            };
            self.partitions[at].is_listed = false;
            if self.partitions[at].retry_ns > now_ns {
                continue;
            }
            if self.partitions[at].is_stuck() {
                // Once what is in flight is back it goes on.
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
            batches.extend(partition.batches.pop_front().map(|mut batch| {
                batch.was_sent = true;
                (at, batch)
            }));
            self.list(at);
        }
        if batches.is_empty() {
            return false;
        }
        let request = self.request(&batches, version);
        let tag = match self.workload.producers.acks {
            Acks::None => {
                for (at, batch) in batches {
                    self.acknowledge(at, batch, now_ns, shared, recorder);
                }
                None
            }
            Acks::Leader | Acks::All => {
                for (at, _) in &batches {
                    self.partitions[*at].in_flight += 1;
                }
                Some(batches)
            }
        };
        let Some(connection) = &mut self.links[link_at].connection else {
            return false;
        };
        let sent = connection.queue(&request, version, tag, now_ns);
        if let Err(error) = sent.and_then(|()| connection.flush()) {
            self.disconnect(link_at, error, now_ns, shared, recorder);
        }
        true
    }

    fn request(&self, batches: &[(usize, Batch)], version: i16) -> ProduceRequest {
        let by_id = version > PRODUCE_VERSION;
        // Where each topic of the workload stands in the request.
        let mut topics: Vec<(usize, TopicProduceData)> = Vec::new();
        for (at, batch) in batches {
            let Records::Sealed(records) = &batch.records else {
                unreachable!("only closed batches are sent")
            };
            let place = &self.places[*at];
            let data = PartitionProduceData::default()
                .with_index(place.partition)
                .with_records(Some(records.clone()));
            let known = topics
                .iter_mut()
                .find(|(number, _)| *number == place.topic_number);
            match known {
                Some((_, topic)) => topic.partition_data.push(data),
                None => {
                    let topic = TopicProduceData::default().with_partition_data(vec![data]);
                    let topic = match by_id {
                        true => topic.with_topic_id(self.cluster.topics[place.topic_number].id),
                        false => topic.with_name(topic_name(&place.topic)),
                    };
                    topics.push((place.topic_number, topic));
                }
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
            .with_topic_data(topics.into_iter().map(|(_, topic)| topic).collect())
    }

    /// Reads what a broker has sent, by way of a buffer that is lent to it.
    pub(in crate::engine) fn receive(
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
            let now_ns = shared.clock.now_ns();
            loop {
                let Some(connection) = &mut self.links[link_at].connection else {
                    return;
                };
                match connection.next_reply::<ProduceRequest>() {
                    Ok(Some((batches, reply))) => {
                        self.answered(batches, &reply, now_ns, shared, recorder);
                    }
                    Ok(None) => break,
                    Err(error) => {
                        return self.disconnect(link_at, error, now_ns, shared, recorder);
                    }
                }
            }
            match received {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => return self.disconnect(link_at, error, now_ns, shared, recorder),
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
        let outcomes = self.outcomes(reply, shared);
        let mut refused = Vec::new();
        for (at, batch) in batches {
            self.partitions[at].in_flight -= 1;
            let outcome = outcomes.binary_search_by_key(&at, |(at, _)| *at);
            match outcome.map(|found| outcomes[found].1) {
                Ok(0 | DUPLICATE_SEQUENCE_NUMBER) => {
                    self.acknowledge(at, batch, now_ns, shared, recorder);
                }
                Ok(code) => {
                    if code == OUT_OF_ORDER_SEQUENCE_NUMBER {
                        self.partitions[at].sequences.out_of_order(&batch);
                    }
                    let may_retry = is_retriable(code) || code == OUT_OF_ORDER_SEQUENCE_NUMBER;
                    if may_retry && now_ns < batch.deadline_ns {
                        recorder.error(now_ns, error_name(code));
                        refused.push((at, batch));
                    } else {
                        let why = error_name(code);
                        self.give_up_batch(at, &batch, why, Fate::Refused, now_ns, recorder);
                    }
                    shared.directory.want_another_look();
                }
                Err(_) => {
                    let why = "no outcome in the reply";
                    self.give_up_batch(at, &batch, why, Fate::Unanswered, now_ns, recorder);
                }
            }
        }
        self.put_back(refused, now_ns);
    }

    /// The error code of each partition in a reply, in the order of all partitions.
    fn outcomes(&self, reply: &ProduceResponse, shared: &Shared<'_>) -> Vec<(usize, i16)> {
        let mut outcomes = Vec::new();
        let mut near = 0;
        for topic in &reply.responses {
            let TopicName(name) = &topic.name;
            let Some(number) = self.cluster.topic_number(name, topic.topic_id, near) else {
                continue;
            };
            near = number;
            outcomes.extend(topic.partition_responses.iter().filter_map(|partition| {
                let at = shared.place_number(number, partition.index)?;
                Some((at, partition.error_code))
            }));
        }
        outcomes.sort_unstable();
        outcomes
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
        if let Records::Sealed(sealed) = &batch.records {
            recorder.sent(now_ns, sealed.len() as u64);
        }
        // The first ones get what a division leaves.
        let rest = batch.payload_bytes % count;
        for (number, due_ns) in (0..).zip(&batch.due_ns) {
            let bytes = bytes_each + u64::from(number < rest);
            recorder.produced(now_ns, now_ns.saturating_sub(*due_ns), 1, bytes);
        }
        if self.workload.verify {
            let line = Line {
                producer: self.index,
                partition: at as u32,
            };
            self.acknowledged.insert(line, batch.sequences());
        }
        self.partitions[at].sequences.acknowledged(&batch);
        self.renew_sequences(at);
        self.forget(&batch);
    }

    fn forget(&mut self, batch: &Batch) {
        self.buffered_bytes -= batch.memory;
        self.unacknowledged -= batch.due_ns.len() as u64;
    }

    /// Its records will not be acknowledged; each counts as a failure of that name.
    fn give_up_batch(
        &mut self,
        at: usize,
        batch: &Batch,
        name: impl Into<Cow<'static, str>>,
        fate: Fate,
        now_ns: u64,
        recorder: &mut Recorder,
    ) {
        self.partitions[at].sequences.given_up(batch.number);
        self.renew_sequences(at);
        recorder.errors(now_ns, name, batch.due_ns.len() as u64);
        for due_ns in &batch.due_ns {
            recorder.gave_up(now_ns, now_ns.saturating_sub(*due_ns), fate);
        }
        self.forget(batch);
    }

    /// Gives up batches that could not be delivered in time, and connections that do not answer.
    pub(super) fn give_up_overdue(
        &mut self,
        now_ns: u64,
        shared: &Shared<'_>,
        recorder: &mut Recorder,
    ) {
        if now_ns < self.overdue_ns {
            return;
        }
        self.overdue_ns = now_ns + OVERDUE_EVERY_NS;
        for link_at in 0..self.links.len() {
            if self.links[link_at].is_overdue(now_ns) {
                let lost = self.links[link_at].fail(link::OVERDUE, now_ns, shared, recorder);
                self.take_back(lost, now_ns);
            }
        }
        for at in 0..self.partitions.len() {
            let is_overdue = |batch: &mut Batch| batch.deadline_ns <= now_ns;
            while let Some(batch) = self.partitions[at].batches.pop_front_if(is_overdue) {
                let fate = batch.fate();
                self.give_up_batch(at, &batch, "delivery timed out", fate, now_ns, recorder);
            }
        }
    }

    /// Gives up all that was not acknowledged, and sends nothing more.
    pub(in crate::engine) fn give_up(&mut self, now_ns: u64, recorder: &mut Recorder) {
        let mut batches = Vec::new();
        for link in &mut self.links {
            let lost = link.connection.take();
            let lost = lost.into_iter().flat_map(Connection::into_unanswered);
            batches.extend(lost.flatten());
        }
        for (at, partition) in self.partitions.iter_mut().enumerate() {
            batches.extend(partition.batches.drain(..).map(|batch| (at, batch)));
        }
        self.ready.iter_mut().for_each(VecDeque::clear);
        self.aging.clear();
        self.retries.clear();
        for (at, batch) in batches {
            let (fate, name) = match batch.fate() {
                Fate::Unsent => (Fate::Unsent, UNSENT),
                fate => (fate, UNANSWERED),
            };
            self.give_up_batch(at, &batch, name, fate, now_ns, recorder);
        }
    }

    /// Batches that have to be sent again take their old places.
    fn put_back(&mut self, batches: Vec<(usize, Batch)>, now_ns: u64) {
        for (at, batch) in batches {
            let partition = &mut self.partitions[at];
            partition.retry_ns = link::retry_ns(now_ns);
            let place = partition
                .batches
                .partition_point(|it| it.number < batch.number);
            self.retries
                .push_back((partition.retry_ns, at, batch.number));
            partition.batches.insert(place, batch);
            self.renew_sequences(at);
        }
    }

    /// The connection is of no use any more, and with it go the answers to what was in flight.
    fn disconnect(
        &mut self,
        link_at: usize,
        error: anyhow::Error,
        now_ns: u64,
        shared: &Shared<'_>,
        recorder: &mut Recorder,
    ) {
        let why = link::reason(&error);
        let lost = self.links[link_at].fail(why, now_ns, shared, recorder);
        self.take_back(lost, now_ns);
    }

    fn take_back(&mut self, lost: Option<Connection<Vec<(usize, Batch)>>>, now_ns: u64) {
        for batches in lost.into_iter().flat_map(Connection::into_unanswered) {
            for (at, _) in &batches {
                self.partitions[*at].in_flight -= 1;
            }
            self.put_back(batches, now_ns);
        }
    }
}
