//! What all clients together know of the broker's topics, and hold it to.

use std::collections::BTreeMap;

use corelog_shards::io::sim::Crash;
use corelog_shards::log::batch::BatchIter;
use uuid::Uuid;

use super::batches::{Content, Found, Sent, Tag, decode};
use super::partition::{Floor, Key, Partition};
use super::plan::Plan;

/// A name, and the topic that has it.
#[derive(Debug, Default)]
pub struct Topic {
    pub id: Option<Uuid>,
    pub partitions: i32,
    /// How often this was about to become another topic, or became one.
    pub changes: u32,
}

#[derive(Debug)]
pub struct Model {
    pub plan: Plan,
    /// As in the plan.
    pub topics: Vec<Topic>,
    pub partitions: BTreeMap<Key, Partition>,
    pub sent: Vec<Sent>,
    /// Starts of the broker.
    pub run: u32,
    pub acknowledged: u64,
    pub read: u64,
    streams: u64,
}

impl Model {
    pub fn new(plan: Plan) -> Model {
        Model {
            topics: plan.topics.iter().map(|_| Topic::default()).collect(),
            plan,
            partitions: BTreeMap::new(),
            sent: Vec::new(),
            run: 0,
            acknowledged: 0,
            read: 0,
            streams: 0,
        }
    }

    /// A topic has come to be, or to have more partitions.
    pub fn note_topic(&mut self, at: usize, id: Uuid, partitions: i32) {
        let topic = &mut self.topics[at];
        if topic.id != Some(id) {
            topic.changes += 1;
            topic.id = Some(id);
        }
        topic.partitions = partitions;
        let class = self.plan.class(at);
        for index in 0..partitions {
            let key = Key { topic: id, index };
            let new = || Partition::new(at, class);
            self.partitions.entry(key).or_insert_with(new);
        }
    }

    /// Partitions that clients may use.
    pub fn keys(&self) -> Vec<Key> {
        let of_topic = |topic: &Topic| {
            let id = topic.id;
            let count = topic.partitions;
            id.map(|topic| (0..count).map(move |index| Key { topic, index }))
        };
        self.topics.iter().filter_map(of_topic).flatten().collect()
    }

    pub fn partition(&mut self, key: Key) -> &mut Partition {
        self.partitions.get_mut(&key).expect("a known partition")
    }

    pub fn floor(&self, key: Key) -> Floor {
        self.partitions[&key].floor()
    }

    /// How often the topic of a partition has changed.
    pub fn changes(&self, key: Key) -> u32 {
        self.topics[self.partitions[&key].topic].changes
    }

    pub fn new_stream(&mut self) -> u64 {
        self.streams += 1;
        self.streams
    }

    /// A batch was acknowledged as the one at this offset.
    pub fn note_ack(&mut self, key: Key, number: u32, base: i64, run: u32) {
        let is_late = run != self.run;
        let partition = self.partitions.get_mut(&key).expect("a known partition");
        if is_late && partition.class != corelog_shards::journal::Durability::Sync {
            // Since then it may have been lost.
            return;
        }
        let sent = &self.sent[number as usize];
        let end = base + sent.records.len() as i64;
        for index in 0..sent.records.len() as u32 {
            let tag = Tag {
                batch: number,
                index,
            };
            pin(partition, sent, base + i64::from(index), tag)
                .unwrap_or_else(|why| panic!("{key:?}, an acknowledgement: {why}"));
        }
        partition.note_end(end);
        self.acknowledged += 1;
    }

    /// What was read from `from` on, all of it below `end`. Returns where to go on.
    pub fn note_read(&mut self, key: Key, from: i64, bytes: &[u8], end: i64) -> i64 {
        let mut next = from;
        let mut is_first = true;
        for batch in BatchIter::verifying(bytes) {
            let batch = batch.unwrap_or_else(|why| panic!("{key:?} from {from}: {why:?}"));
            let header = batch.header();
            let (base, last) = (header.base_offset(), header.last_offset());
            match is_first {
                true => assert!(
                    base <= from && from <= last,
                    "{key:?} from {from}: a batch from {base} to {last}"
                ),
                false => assert_eq!(base, next, "{key:?} from {from}: offsets are dense"),
            }
            let found = decode(batch);
            assert_eq!(
                found.len() as i64,
                last - base + 1,
                "{key:?} at {base}: offsets are dense"
            );
            for record in &found {
                self.note_record(key, record);
                if let Some(identity) = self.sent[record.tag.batch as usize].identity {
                    let said = (header.producer_id(), header.producer_epoch());
                    assert_eq!(said, (identity.id, identity.epoch), "{key:?} at {base}");
                    assert_eq!(
                        header.base_sequence(),
                        identity.sequence,
                        "{key:?} at {base}"
                    );
                }
            }
            next = header.next_offset();
            is_first = false;
        }
        assert!(
            next <= end.max(from),
            "{key:?}: read to {next}, which only {end} bounds"
        );
        // Whoever asks behind the high watermark, where the log goes on, gets nothing.
        self.partition(key).note_end(next.min(end));
        next
    }

    fn note_record(&mut self, key: Key, record: &Found) {
        let Found { offset, tag, .. } = record;
        let partition = self.partitions.get_mut(&key).expect("a known partition");
        let sent = self.sent.get(tag.batch as usize);
        let sent = sent.unwrap_or_else(|| panic!("{key:?} at {offset}: nobody sent {tag:?}"));
        let is_meant = sent.topic == partition.topic
            && sent.partition == key.index
            && (sent.target == key.topic || sent.by_name);
        assert!(
            is_meant,
            "{key:?} at {offset}: {tag:?} was sent to {:?}",
            sent.target
        );
        let content: &Content = &sent.records[tag.index as usize];
        assert_eq!(record.content, *content, "{key:?} at {offset}, {tag:?}");
        assert_eq!(
            record.timestamp, sent.timestamp,
            "{key:?} at {offset}, {tag:?}"
        );
        pin(partition, sent, *offset, *tag)
            .unwrap_or_else(|why| panic!("{key:?}, a reader: {why}"));
        self.read += 1;
    }

    pub fn crash(&mut self, how: Crash) {
        for partition in self.partitions.values_mut() {
            partition.crash(how);
        }
    }

    pub fn stopped(&mut self) {
        for partition in self.partitions.values_mut() {
            partition.stopped();
        }
    }
}

fn pin(partition: &mut Partition, sent: &Sent, offset: i64, tag: Tag) -> Result<(), String> {
    let is_idempotent = sent.identity.is_some();
    let copies_max = if is_idempotent { 1 } else { sent.attempts };
    let keeps_order = is_idempotent || sent.attempts == 1;
    partition.pin(offset, tag, copies_max, keeps_order.then_some(sent.stream))
}
