//! Producers: several at once, plain and idempotent, with several requests under way on one connection.
//!
//! A producer that has lost its connection sends what was not answered again, in order if it is idempotent, and
//! perhaps if it is not. One that was told of an error takes a new identity, as a process that was started again.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use corelog_shards::io::Io;
use corelog_shards::journal::Durability;
use corelog_shards::log::batch::Codec;
use kafka_protocol::error::{ParseResponseErrorCode, ResponseError};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::ProduceResponse;
use kafka_protocol::messages::{InitProducerIdRequest, ProduceRequest, ProducerId, TopicName};

use super::TOPIC_IDS;
use super::batches::{Content, Identity, Sent, encode};
use super::partition::Key;
use super::plan::Feature;
use super::sim::Sim;
use crate::wire::{Client, Lost, text};

const PAUSE_US: u64 = 3_000;
/// As many as the broker remembers of an idempotent producer.
const DEPTH_MAX: u64 = 5;
const TIMEOUT_MS: i32 = 30_000;
const VERSION_MIN: i16 = 3;
const VERSION_MAX: i16 = 13;
/// From this version on clients may use it.
const ZSTD: i16 = 7;
/// So long no reply comes that nobody is to get.
const SILENCE: Duration = Duration::from_millis(2);

/// A request on its way.
struct Flight {
    version: i16,
    acks: i16,
    /// Batches, where they go, and how often the topics there had changed when it was sent.
    batches: Vec<(u32, Key, u32)>,
    /// The start of the broker that it was sent to.
    run: u32,
}

struct Producer {
    sim: Rc<Sim>,
    client: Client,
    is_idempotent: bool,
    identity: Option<Its>,
    stream: u64,
    waiting: VecDeque<Flight>,
    under_way: VecDeque<Flight>,
}

/// What an idempotent producer is known by.
struct Its {
    id: i64,
    epoch: i16,
    next: BTreeMap<Key, i32>,
    /// The start of the broker in which it got its id.
    run: u32,
    /// Something has failed: what follows it may fail, too.
    has_failed: bool,
}

pub async fn produce(sim: Rc<Sim>, io: Io, name: String) {
    let client = sim.client(io, &name);
    let is_idempotent = sim.has(Feature::Idempotent) && client.below(2) == 0;
    let mut producer = Producer {
        stream: sim.model.borrow_mut().new_stream(),
        client,
        is_idempotent,
        identity: None,
        waiting: VecDeque::new(),
        under_way: VecDeque::new(),
        sim: sim.clone(),
    };
    loop {
        sim.opened(producer.client.io()).await;
        if producer.waiting.is_empty() && sim.is_calm.get() {
            break;
        }
        if producer.burst().await.is_err() {
            producer.lost();
        }
        let pause = producer.client.below(PAUSE_US);
        producer
            .client
            .io()
            .sleep(Duration::from_micros(pause))
            .await;
    }
    producer.client.expect_nothing(SILENCE).await;
    producer.client.disconnect();
    sim.end_client();
}

impl Producer {
    /// Some requests, and their replies.
    async fn burst(&mut self) -> Result<(), Lost> {
        if self.is_idempotent && self.identity.as_ref().is_none_or(|it| it.has_failed) {
            self.waiting.clear();
            self.identify().await?;
        }
        let depth = match self.sim.has(Feature::Pipelined) {
            true => 1 + self.client.below(DEPTH_MAX) as usize,
            false => 1,
        };
        if !self.sim.is_calm.get() {
            for _ in 0..self.client.below(depth as u64 + 1) {
                let flight = self.make();
                self.waiting.push_back(flight);
            }
        }
        while !self.waiting.is_empty() || !self.under_way.is_empty() {
            let may_send = !self.waiting.is_empty() && self.under_way.len() < depth;
            if may_send && (self.under_way.is_empty() || self.client.below(2) == 0) {
                self.send().await?;
            } else {
                self.receive().await?;
            }
        }
        Ok(())
    }

    async fn identify(&mut self) -> Result<(), Lost> {
        let run = self.sim.model.borrow().run;
        let request = |_| {
            InitProducerIdRequest::default()
                .with_transactional_id(None)
                .with_transaction_timeout_ms(60_000)
                .with_producer_id(ProducerId(-1))
                .with_producer_epoch(-1)
        };
        let reply = self.client.ask(0..=5, request).await?;
        if let Some(error) = reply.error_code.err() {
            let is_expected = self.sim.model.borrow().plan.has_bad_disk();
            assert!(is_expected, "InitProducerId: {error:?}");
            return Err(Lost);
        }
        self.stream = self.sim.model.borrow_mut().new_stream();
        self.identity = Some(Its {
            id: reply.producer_id.0,
            epoch: reply.producer_epoch,
            next: BTreeMap::new(),
            run,
            has_failed: false,
        });
        Ok(())
    }

    fn make(&mut self) -> Flight {
        let sim = self.sim.clone();
        let mut keys = sim.model.borrow().keys();
        let mut batches = Vec::new();
        for _ in 0..1 + self.client.below(3) {
            if !keys.is_empty() {
                let key = keys.swap_remove(self.client.below(keys.len() as u64) as usize);
                batches.push((self.make_batch(key), key, 0));
            }
        }
        let acks = match self.client.below(4) {
            0 if sim.has(Feature::NoAcks) && !self.is_idempotent => 0,
            1 if !self.is_idempotent => 1,
            _ => -1,
        };
        let version_min = match sim.has(Feature::Compressed) {
            // By name it could reach the next topic, and take the numbers that belong to it there.
            _ if self.is_idempotent && sim.has(Feature::Deletion) => TOPIC_IDS,
            true => ZSTD,
            false => VERSION_MIN,
        };
        let versions = (VERSION_MAX - version_min + 1) as u64;
        Flight {
            version: version_min + self.client.below(versions) as i16,
            acks,
            batches,
            run: 0,
        }
    }

    fn make_batch(&mut self, key: Key) -> u32 {
        let sim = self.sim.clone();
        let count = 1 + self.client.below(4);
        let is_compacted = sim.model.borrow_mut().partition(key).is_compacted;
        let is_large = sim.has(Feature::LargeRecords) && self.client.below(4) == 0;
        let bytes_max = if is_large { 600 } else { 100 };
        let mut records = Vec::new();
        for _ in 0..count {
            let len = self.client.below(bytes_max) as usize;
            let byte = self.client.below(256) as u8;
            let key = format!("k{}", self.client.below(8)).into_bytes();
            records.push(Content {
                key: Some(key).filter(|_| is_compacted || self.client.below(4) > 0),
                value: Some(vec![byte; len]).filter(|_| self.client.below(8) > 0),
            });
        }
        let codec = match self.client.below(5) {
            _ if !sim.has(Feature::Compressed) => Codec::None,
            0 => Codec::Gzip { level: 1 },
            1 => Codec::Snappy,
            2 => Codec::Lz4 { level: 1 },
            3 => Codec::Zstd { level: 1 },
            _ => Codec::None,
        };
        let identity = self.identity.as_mut().map(|it| {
            let next = it.next.entry(key).or_default();
            let sequence = *next;
            *next += count as i32;
            Identity {
                id: it.id,
                epoch: it.epoch,
                sequence,
            }
        });
        let timestamp = sim.broker_io.wall_ms();
        let mut model = sim.model.borrow_mut();
        let number = model.sent.len() as u32;
        let bytes = encode(number, &records, timestamp, codec, identity);
        let (topic, jumps) = (model.partition(key).topic, model.jumps());
        model.sent.push(Sent {
            topic,
            partition: key.index,
            target: key.topic,
            by_name: false,
            records,
            timestamp,
            jumps,
            identity,
            stream: self.stream,
            attempts: 0,
            bytes,
        });
        number
    }

    async fn send(&mut self) -> Result<(), Lost> {
        let mut flight = self.waiting.pop_front().expect("something to send");
        let request = self.request(&mut flight);
        let (version, acks) = (flight.version, flight.acks);
        if !self.is_idempotent {
            let mut model = self.sim.model.borrow_mut();
            if !self.client.is_connected() {
                self.stream = model.new_stream();
            }
            for (number, _, _) in &flight.batches {
                let sent = &mut model.sent[*number as usize];
                // What is sent again keeps no order.
                if sent.attempts == 1 {
                    sent.stream = self.stream;
                }
            }
        }
        if acks != 0 {
            self.under_way.push_back(flight);
        }
        self.client.send(version, &request, acks != 0).await
    }

    fn request(&self, flight: &mut Flight) -> ProduceRequest {
        let mut model = self.sim.model.borrow_mut();
        flight.run = model.run;
        let mut topics: Vec<TopicProduceData> = Vec::new();
        for (number, key, changes) in &mut flight.batches {
            *changes = model.changes(*key);
            let name = TopicName(text(model.plan.topics[model.partitions[key].topic].name));
            let sent = &mut model.sent[*number as usize];
            sent.attempts += 1;
            let data = PartitionProduceData::default()
                .with_index(key.index)
                .with_records(Some(sent.bytes.clone()));
            let topic = match flight.version {
                TOPIC_IDS.. => TopicProduceData::default().with_topic_id(key.topic),
                _ => {
                    sent.by_name = true;
                    TopicProduceData::default().with_name(name)
                }
            };
            topics.push(topic.with_partition_data(vec![data]));
        }
        ProduceRequest::default()
            .with_acks(flight.acks)
            .with_timeout_ms(TIMEOUT_MS)
            .with_topic_data(topics)
    }

    async fn receive(&mut self) -> Result<(), Lost> {
        let version = self.under_way[0].version;
        let reply = self.client.receive::<ProduceRequest>(version).await?;
        let flight = self.under_way.pop_front().expect("the oldest");
        self.note(&flight, &reply);
        Ok(())
    }

    fn note(&mut self, flight: &Flight, reply: &ProduceResponse) {
        let partitions: Vec<_> = reply
            .responses
            .iter()
            .flat_map(|topic| &topic.partition_responses)
            .collect();
        assert_eq!(partitions.len(), flight.batches.len(), "{reply:?}");
        for ((number, key, changes), response) in flight.batches.iter().zip(partitions) {
            assert_eq!(response.index, key.index, "{reply:?}");
            let sim = self.sim.clone();
            sim.tell(|| {
                let (base, error) = (response.base_offset, response.error_code.err());
                format!("batch {number} to {key:?}: {base}, {error:?}")
            });
            let mut model = sim.model.borrow_mut();
            let is_unsure = model.is_unsure(*key, *changes);
            match response.error_code.err() {
                None if is_unsure && flight.version < TOPIC_IDS => {}
                None => model.note_ack(*key, *number, response.base_offset, flight.run),
                Some(error) => {
                    let class = model.partition(*key).class;
                    let run = model.run;
                    let is_expected = match error {
                        ResponseError::UnknownTopicOrPartition | ResponseError::UnknownTopicId => {
                            is_unsure
                        }
                        ResponseError::KafkaStorageError => model.plan.has_bad_disk(),
                        ResponseError::InvalidRecord => {
                            let records = &model.sent[*number as usize].records;
                            let is_keyless = records.iter().any(|record| record.key.is_none());
                            is_keyless && model.partitions[key].is_compacted
                        }
                        ResponseError::OutOfOrderSequenceNumber => {
                            let its = self.identity.as_ref();
                            its.is_some_and(|it| {
                                it.has_failed || class != Durability::Sync && it.run != run
                            })
                        }
                        _ => false,
                    };
                    assert!(is_expected, "batch {number} to {key:?}: {error:?}");
                    if let Some(its) = &mut self.identity {
                        its.has_failed = true;
                    }
                }
            }
        }
    }

    /// The connection is gone, and nobody knows what became of what was under way.
    fn lost(&mut self) {
        self.client.disconnect();
        let unanswered: Vec<Flight> = self.under_way.drain(..).collect();
        let gives_up = self.client.below(6) == 0;
        for flight in unanswered.into_iter().rev() {
            let is_repeated = match self.is_idempotent {
                true => !gives_up,
                false => self.client.below(2) == 0,
            };
            if is_repeated {
                self.waiting.push_front(flight);
            }
        }
        if self.is_idempotent && gives_up {
            self.waiting.clear();
            self.identity = None;
        }
    }
}
