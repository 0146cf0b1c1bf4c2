//! What the metadata says of topics, each of one partition, and what was sent to them.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use corelog_shards::io::Random;
use corelog_shards::io::sim::Crash;
use corelog_shards::journal::Durability;
use corelog_shards::log::config::LogConfig;
use corelog_shards::route::PartitionKey;
use corelog_shards::shard::PartitionFacts;
use corelog_shards::shard::message::ReadData;
use uuid::Uuid;

use super::compacted;
use crate::model::{Model, Sending, log_config};
use crate::verification::follow;

pub const TOPICS: usize = 6;
/// The topic of which only the newest records are kept.
const RETAINED: usize = 2;
/// The topic of which only the newest record of each key is kept.
const COMPACTED: usize = 5;

/// A name, and the topic that has it.
#[derive(Default)]
pub struct Topic {
    /// How many topics have had this name.
    pub generation: u64,
    pub exists: bool,
    /// The folder that its partition is in.
    pub folder: usize,
    /// Folders of which journals may know because of topics of this name.
    pub had: BTreeSet<usize>,
    pub model: Model,
    /// The worst that has happened since the model was compared last.
    pub after: Option<Crash>,
    /// Whether somebody was told in this run that the folder is offline.
    pub is_offline: bool,
}

/// All names; outlives crashes as the metadata does.
pub type Topics = Rc<RefCell<Vec<Topic>>>;

pub fn no_topics() -> Topics {
    Rc::new(RefCell::new(
        (0..TOPICS).map(|_| Topic::default()).collect(),
    ))
}

impl Topic {
    pub fn key(&self, name: usize) -> PartitionKey {
        PartitionKey {
            topic: Uuid::from_u64_pair(1 + name as u64, self.generation),
            partition: 0,
        }
    }

    /// A new topic of this name, in a folder.
    pub fn make(&mut self, folder: usize) {
        let mut had = std::mem::take(&mut self.had);
        had.insert(folder);
        *self = Topic {
            generation: self.generation + 1,
            exists: true,
            folder,
            had,
            ..Topic::default()
        };
    }

    /// Whatever journals knew of topics of this name in folders that are there has gone, but for the one that exists.
    pub fn forget_folders(&mut self, is_there: impl Fn(usize) -> bool) {
        let kept = self.exists.then_some(self.folder);
        self.had
            .retain(|folder| kept == Some(*folder) || !is_there(*folder));
    }

    /// Makes the next batch, with its offset.
    pub fn next_batch(&mut self, name: usize, random: &mut Random) -> (i64, Bytes) {
        match is_compacted(name) {
            true => compacted::next_batch(&mut self.model, random),
            false => self.model.next_batch(name, Sending::default(), random),
        }
    }

    /// What a reader got from `offset` on must be there from now on. Returns where to go on.
    pub fn note_read(&mut self, name: usize, offset: i64, data: &ReadData) -> i64 {
        match is_compacted(name) {
            true => compacted::note_read(&mut self.model, offset, &data.batches.concat()),
            false => self.model.note_read(name, offset, data),
        }
    }

    /// Compares what was found with what was sent, and lets the model follow what crashes have cost.
    pub fn follow(&mut self, name: usize, found: &PartitionFacts, bytes: &[u8]) {
        let must_end = self.model.must_end(class_of(name), self.after);
        if is_retained(name) {
            self.model.start_asked = self.model.end();
        }
        match is_compacted(name) {
            true => compacted::follow(&mut self.model, found, bytes, must_end),
            false => follow(&mut self.model, name, found, bytes, must_end),
        }
        self.after = None;
    }

    /// Something has happened that may have cost records.
    pub fn note(&mut self, crash: Crash) {
        if self.after != Some(Crash::PowerLoss) {
            self.after = Some(crash);
        }
    }
}

/// Name of a partition's folder.
pub fn dir_of(name: usize) -> String {
    format!("topic{name}-0")
}

pub fn class_of(name: usize) -> Durability {
    match name {
        3 => Durability::Written,
        4 => Durability::Memory,
        _ => Durability::Sync,
    }
}

/// Whether records go by themselves.
pub fn is_retained(name: usize) -> bool {
    name == RETAINED
}

pub fn is_compacted(name: usize) -> bool {
    name == COMPACTED
}

pub fn config_of(name: usize) -> LogConfig {
    LogConfig {
        retention_bytes: is_retained(name).then_some(120_000),
        cleanup_delete: !is_compacted(name),
        compaction: is_compacted(name).then(compacted::compaction),
        segment_bytes: match is_compacted(name) {
            true => 8_000,
            false => 30_000,
        },
        file_delete_delay: Duration::from_millis(20),
        ..log_config(class_of(name))
    }
}
