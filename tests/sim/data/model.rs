//! What all clients together know of the broker's topics, and hold it to.

use std::collections::{BTreeMap, BTreeSet};

use corelog_shards::io::Io;
use corelog_shards::io::sim::Crash;
use corelog_shards::journal::Durability;
use corelog_shards::log::batch::BatchIter;
use uuid::Uuid;

use super::batches::{Content, Found, Sent, Tag, decode};
use super::cleanup::Cleanup;
use super::partition::{Floor, Key, Partition};
use super::plan::{Feature, Plan};
use super::rot::Loss;

/// A name, and the topic that has it.
#[derive(Debug, Default)]
pub struct Topic {
    pub id: Option<Uuid>,
    pub partitions: i32,
    /// How often this was about to become another topic, or became one.
    changes: u32,
    /// It may be that one or another by now.
    is_changing: bool,
    /// The weakest class that it may have.
    weakest: Durability,
    /// What may go by itself, as long as there are topics of that name.
    pub cleanup: Cleanup,
}

pub struct Model {
    pub plan: Plan,
    /// Of the broker's node, to look at its clock.
    broker_io: Io,
    /// What that has shown before each of its jumps.
    clock_ends: Vec<i64>,
    /// As in the plan.
    pub topics: Vec<Topic>,
    pub partitions: BTreeMap<Key, Partition>,
    pub sent: Vec<Sent>,
    /// Starts and ends of the broker.
    pub run: u32,
    pub acknowledged: u64,
    pub read: u64,
    streams: u64,
}

impl Model {
    pub fn new(plan: Plan, broker_io: Io) -> Model {
        Model {
            broker_io,
            clock_ends: Vec::new(),
            topics: (0..plan.topics.len())
                .map(|at| Topic {
                    weakest: plan.class(at),
                    cleanup: plan.cleanup(at),
                    ..Topic::default()
                })
                .collect(),
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
        topic.is_changing = false;
        let (class, is_compacted) = (topic.weakest, topic.cleanup.is_compacted);
        for index in 0..partitions {
            let key = Key { topic: id, index };
            let new = || {
                let mut new = Partition::new(at, class);
                new.is_compacted = is_compacted;
                new
            };
            self.partitions.entry(key).or_insert_with(new);
        }
    }

    /// A topic is about to be deleted.
    pub fn begin_deletion(&mut self, at: usize) {
        self.topics[at].changes += 1;
        self.topics[at].is_changing = true;
    }

    /// It was.
    pub fn end_deletion(&mut self, at: usize) {
        let topic = &mut self.topics[at];
        topic.changes += 1;
        topic.is_changing = false;
        topic.id = None;
        topic.partitions = 0;
    }

    /// A topic may have that class from now on.
    pub fn weaken(&mut self, at: usize, class: Durability) {
        let topic = &mut self.topics[at];
        topic.weakest = topic.weakest.min(class);
        let all = self.partitions.values_mut();
        for partition in all.filter(|partition| partition.topic == at) {
            partition.class = partition.class.min(class);
        }
    }

    /// More may go by itself from a topic from now on.
    pub fn loosen(&mut self, at: usize, cleanup: &Cleanup) {
        self.topics[at].cleanup.loosen(cleanup);
        let all = self.partitions.values_mut();
        for partition in all.filter(|partition| partition.topic == at) {
            partition.is_compacted |= cleanup.is_compacted;
        }
    }

    /// The class that a partition has for certain.
    pub fn class(&self, key: Key) -> Durability {
        self.topics[self.partitions[&key].topic].weakest
    }

    /// Whether a partition may be none, or another topic's, since its topic had changed so often.
    pub fn is_unsure(&self, key: Key, changes: u32) -> bool {
        let topic = &self.topics[self.partitions[&key].topic];
        topic.is_changing || topic.changes != changes || topic.id != Some(key.topic)
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

    /// A log start was told, or that a log does not start before.
    pub fn note_start(&mut self, key: Key, start: i64) {
        self.check_start(key, start);
        self.partition(key).note_start(start);
    }

    /// Only who asked for it or retention may have moved the log start there. Retention leaves what is young, or so many
    /// bytes.
    pub fn check_start(&self, key: Key, start: i64) {
        let partition = &self.partitions[&key];
        if !partition.is_start_news(start) {
            return;
        }
        let Some(end) = self.end_of_young(key, start) else {
            return;
        };
        let asked = partition.start_asked;
        let cleanup = &self.topics[partition.topic].cleanup;
        let least = cleanup.retention_bytes.filter(|_| cleanup.is_deleted);
        let least = least.unwrap_or_else(|| {
            panic!(
                "{key:?}: the log starts at {start}, nobody asked for more than {asked}, and what is before {end} is not \
                 too old"
            )
        });
        let most = self.bytes_from(key, end);
        assert!(
            most >= least,
            "{key:?}: the log starts at {start}, with {most} bytes behind {end} at most, {least} are to be kept"
        );
    }

    /// Where the last record ends that age cannot have taken from before a log start that is news, if there is one.
    fn end_of_young(&self, key: Key, start: i64) -> Option<i64> {
        let partition = &self.partitions[&key];
        let cleanup = &self.topics[partition.topic].cleanup;
        let Some(ms) = cleanup.retention_ms.filter(|_| cleanup.is_deleted) else {
            return Some(start);
        };
        if cleanup.is_compacted {
            // That may have taken those that are young first, and what is left of their segment is as old as the others.
            return None;
        }
        let mut taken = partition.known_in(partition.start_excused()..start).rev();
        let young = taken.find(|(_, tag)| {
            let sent = &self.sent[tag.batch as usize];
            self.latest_since(sent.jumps) - sent.timestamp <= ms
        });
        young.map(|(offset, _)| offset + 1)
    }

    /// The broker's clock is about to jump.
    pub fn note_jump(&mut self) {
        self.clock_ends.push(self.broker_io.wall_ms());
    }

    /// How often it has.
    pub fn jumps(&self) -> usize {
        self.clock_ends.len()
    }

    /// The latest that it has shown since the last of so many jumps.
    fn latest_since(&self, jumps: usize) -> i64 {
        let ends = self.clock_ends[jumps..].iter().copied();
        ends.fold(self.broker_io.wall_ms(), i64::max)
    }

    /// How many bytes a log may ever have had from an offset on.
    fn bytes_from(&self, key: Key, start: i64) -> u64 {
        let partition = &self.partitions[&key];
        let may_change = self.plan.has(Feature::Configs);
        let mut bytes = 0;
        for (number, sent) in self.sent.iter().enumerate() {
            let is_its = sent.topic == partition.topic
                && sent.partition == key.index
                && (sent.target == key.topic || sent.by_name);
            if is_its {
                let last = Tag {
                    batch: number as u32,
                    index: sent.records.len() as u32 - 1,
                };
                let below = partition.places_below(last, start) as u64;
                let elsewhere = u64::from(sent.copies_max()).saturating_sub(below);
                bytes += elsewhere * sent.stored_bytes_max(may_change);
            }
        }
        bytes
    }

    /// Nothing is left of a log whose records have all been too old for longer than it takes to remove them.
    pub fn check_age(&self, key: Key, removal_ms: i64) {
        let partition = &self.partitions[&key];
        let cleanup = &self.topics[partition.topic].cleanup;
        let Some(ms) = cleanup.retention_ms.filter(|_| !cleanup.is_unsure) else {
            return;
        };
        let now_ms = self.broker_io.wall_ms();
        let is_old = |sent: &Sent| now_ms - sent.timestamp > ms + removal_ms;
        let is_its = |sent: &Sent| sent.topic == partition.topic && sent.partition == key.index;
        let mut all = self.sent.iter();
        if all.all(|sent| !is_its(sent) || is_old(sent)) {
            let Floor { start, end } = partition.floor();
            assert_eq!(start, end, "{key:?}: what is behind the start is too old");
        }
    }

    /// Groups of a journal are gone.
    pub fn lose(&mut self, loss: &Loss) {
        for (key, end) in &loss.ends {
            if let Some(partition) = self.partitions.get_mut(key) {
                partition.lose(*end);
            }
        }
        for key in loss.starts.union(&loss.unknown) {
            if let Some(partition) = self.partitions.get_mut(key) {
                partition.lose_start();
            }
        }
    }

    pub fn new_stream(&mut self) -> u64 {
        self.streams += 1;
        self.streams
    }

    /// A batch was acknowledged as the one at this offset.
    pub fn note_ack(&mut self, key: Key, number: u32, base: i64, run: u32) {
        let is_late = run != self.run;
        let partition = self.partitions.get_mut(&key).expect("a known partition");
        if is_late && partition.class != Durability::Sync {
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
        let is_compacted = self.partition(key).is_compacted;
        let (mut next, mut is_first) = (from, true);
        let mut offsets = BTreeSet::new();
        for batch in BatchIter::verifying(bytes) {
            let batch = batch.unwrap_or_else(|why| panic!("{key:?} from {from}: {why:?}"));
            let header = batch.header();
            let (base, last) = (header.base_offset(), header.last_offset());
            let follows = match is_first {
                true => base <= from || is_compacted,
                false => base == next || is_compacted && base > next,
            };
            assert!(
                follows && last >= next,
                "{key:?} from {from}: {base} to {last} after {next}"
            );
            let found = decode(batch);
            if !is_compacted {
                let are_all = found.iter().map(|record| record.offset).eq(base..=last);
                assert!(are_all, "{key:?} from {base} to {last}: offsets are dense");
            }
            for record in &found {
                self.note_record(key, record);
                offsets.insert(record.offset);
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
        let partition = self.partition(key);
        // Whoever asks behind the high watermark, where the log goes on, gets nothing.
        partition.note_end(next.min(end));
        if is_compacted {
            partition.note_found(from, next, &offsets);
        }
        next
    }

    /// Compaction has taken nothing of which there is no newer value. Only what is never lost is looked at: what made
    /// something obsolete may be lost otherwise.
    pub fn check_compaction(&self, key: Key) {
        let partition = &self.partitions[&key];
        if partition.class != Durability::Sync {
            return;
        }
        let content = |tag: Tag| &self.sent[tag.batch as usize].records[tag.index as usize];
        for (tag, later) in partition.missing() {
            let gone = content(tag);
            let mut later = later.map(content);
            let is_obsolete = gone.key.is_none()
                || gone.value.is_none()
                || later.any(|record| record.key == gone.key)
                || self.is_perhaps_newer(key, gone);
            assert!(
                is_obsolete,
                "{key:?}: {tag:?} is gone, the newest of {:?}",
                gone.key
            );
        }
    }

    /// Whether there is a record of the same key of which nobody knows what became of it.
    fn is_perhaps_newer(&self, key: Key, gone: &Content) -> bool {
        let partition = &self.partitions[&key];
        let is_its = |sent: &Sent| sent.topic == partition.topic && sent.partition == key.index;
        let all = self.sent.iter().enumerate();
        let mut its = all.filter(|(_, sent)| sent.attempts > 0 && is_its(sent));
        its.any(|(batch, sent)| {
            let mut records = sent.records.iter().enumerate();
            records.any(|(index, record)| {
                let tag = Tag {
                    batch: batch as u32,
                    index: index as u32,
                };
                record.key == gone.key && !partition.has(tag)
            })
        })
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
        // What it has said comes too late by now.
        self.run += 1;
        for partition in self.partitions.values_mut() {
            partition.is_doomed |= self.topics[partition.topic].is_changing;
            partition.crash(how);
        }
    }

    pub fn stopped(&mut self) {
        self.run += 1;
        for partition in self.partitions.values_mut() {
            partition.stopped();
        }
    }
}

fn pin(partition: &mut Partition, sent: &Sent, offset: i64, tag: Tag) -> Result<(), String> {
    let keeps_order = sent.identity.is_some() || sent.attempts == 1;
    let stream = keeps_order.then_some(sent.stream);
    partition.pin(offset, tag, sent.copies_max(), stream)
}
