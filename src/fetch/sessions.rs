//! The fetch sessions of one shard, bounded. A session's id names its shard, so that any connection
//! can find it.
//!
//! When all slots are taken, a new session takes the place of one that was not used for two minutes,
//! or else of the smallest one that is older than two minutes and smaller than the new one. If there
//! is none, the client goes on without a session. The partitions of all sessions are bounded, too:
//! over that only sessions that were not used for two minutes give way, and one that grows ends. As
//! Kafka does, except that there are no followers whose sessions go first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use corelog_shards::io::Instant;
use corelog_shards::route::ShardId;
use uuid::Uuid;

use super::session::{Session, SessionError};
use super::{Outcome, Wanted};
use crate::protocol::TopicRef;
use crate::protocol::fetch::ForgottenTopic;

/// Partitions that the sessions of a shard may know of; each takes some 250 bytes.
const PARTITIONS_MAX: usize = 100_000;

const EVICTION_AGE: Duration = Duration::from_secs(120);

/// Stands for no session.
pub const NO_SESSION: i32 = 0;
/// Of a full fetch that wants a session.
pub const INITIAL_EPOCH: i32 = 0;
/// Of a full fetch that wants none.
pub const FINAL_EPOCH: i32 = -1;

/// Lives on one shard.
#[derive(Debug)]
pub struct Sessions {
    slots: usize,
    shard: ShardId,
    shards: usize,
    /// Of all sessions: the sum of their sizes.
    partitions: usize,
    by_id: BTreeMap<i32, Slot>,
    by_use: BTreeSet<(Instant, i32)>,
    /// By size: those that may give way to a larger one.
    evictable: BTreeSet<(usize, i32)>,
    evicted: u64,
}

#[derive(Debug)]
struct Slot {
    session: Session,
    created: Instant,
    used: Instant,
    /// Its size as `evictable` and the sum of all have it.
    size: usize,
}

/// The shard that holds a session.
pub fn home(id: i32, shards: usize) -> ShardId {
    id as u32 as usize % shards
}

impl Sessions {
    /// The sessions of `shard`, whose part of the slots of all this is.
    pub fn new(slots_of_all: usize, shard: ShardId, shards: usize) -> Self {
        let extra = usize::from(shard < slots_of_all % shards);
        Self {
            slots: slots_of_all / shards + extra,
            shard,
            shards,
            partitions: 0,
            by_id: BTreeMap::new(),
            by_use: BTreeSet::new(),
            evictable: BTreeSet::new(),
            evicted: 0,
        }
    }

    /// Begins a session if there is room for it or room can be made.
    pub fn begin(
        &mut self,
        now: Instant,
        random: impl FnMut() -> u64,
        size: usize,
        session: impl FnOnce() -> Session,
    ) -> i32 {
        if !self.make_room(size, now) {
            return NO_SESSION;
        }
        if self.by_id.len() >= self.slots && !self.evict(size, now) {
            return NO_SESSION;
        }
        self.partitions += size;
        let id = self.new_id(random);
        let slot = Slot {
            session: session(),
            created: now,
            used: now,
            size,
        };
        self.by_id.insert(id, slot);
        self.by_use.insert((now, id));
        id
    }

    fn new_id(&self, mut random: impl FnMut() -> u64) -> i32 {
        loop {
            let some = (random() % i32::MAX as u64) as usize;
            let id = i32::try_from(some - some % self.shards + self.shard);
            if let Ok(id) = id
                && id != NO_SESSION
                && !self.by_id.contains_key(&id)
            {
                return id;
            }
        }
    }

    /// Ends sessions that are not used any more until so many partitions fit.
    fn make_room(&mut self, partitions: usize, now: Instant) -> bool {
        if partitions > PARTITIONS_MAX {
            return false;
        }
        while self.partitions + partitions > PARTITIONS_MAX {
            match self.by_use.first().copied() {
                Some((used, stale)) if now - used > EVICTION_AGE => self.end(stale),
                _ => return false,
            }
        }
        true
    }

    fn evict(&mut self, size: usize, now: Instant) -> bool {
        let Some((used, stale)) = self.by_use.first().copied() else {
            return false;
        };
        let gives_way = match self.evictable.first().copied() {
            _ if now - used > EVICTION_AGE => stale,
            Some((smallest, id)) if smallest < size => id,
            _ => return false,
        };
        self.end(gives_way);
        self.evicted += 1;
        true
    }

    /// How many sessions have given way to new ones when all slots were taken.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Ends a session if there is one of this id.
    pub fn end(&mut self, id: i32) {
        if let Some(slot) = self.by_id.remove(&id) {
            self.partitions -= slot.size;
            self.by_use.remove(&(slot.used, id));
            self.evictable.remove(&(slot.size, id));
        }
    }

    /// Takes in an incremental fetch; the partitions it is about.
    pub fn update(
        &mut self,
        now: Instant,
        (id, epoch): (i32, i32),
        has_topic_ids: bool,
        changed: Vec<Wanted>,
        forgotten: &[ForgottenTopic],
        name_of: impl Fn(Uuid) -> Option<Arc<str>>,
    ) -> Result<Vec<Wanted>, SessionError> {
        let slot = self.by_id.get_mut(&id).ok_or(SessionError::UnknownId)?;
        slot.session
            .update(epoch, has_topic_ids, changed, forgotten)?;
        if slot.session.is_empty() {
            self.end(id);
            return Ok(Vec::new());
        }
        self.by_use.remove(&(slot.used, id));
        self.evictable.remove(&(slot.size, id));
        self.partitions -= slot.size;
        slot.used = now;
        slot.size = slot.session.len();
        self.partitions += slot.size;
        self.by_use.insert((slot.used, id));
        if now - slot.created > EVICTION_AGE {
            self.evictable.insert((slot.size, id));
        }
        slot.session.note_names(name_of);
        let wanted = slot.session.wanted();
        if self.partitions > PARTITIONS_MAX && !self.make_room(0, now) {
            // The client begins again and learns that there is no room.
            self.end(id);
            return Err(SessionError::UnknownId);
        }
        Ok(wanted)
    }

    /// Takes in the answer to an incremental fetch; which partitions are told. All are, if the
    /// session has ended meanwhile.
    pub fn answered(
        &mut self,
        (id, epoch): (i32, i32),
        outcomes: &[(TopicRef, i32, Outcome)],
    ) -> Result<Vec<bool>, SessionError> {
        match self.by_id.get_mut(&id) {
            Some(slot) => slot.session.answered(epoch, outcomes.iter()),
            None => Ok(vec![true; outcomes.len()]),
        }
    }
}

#[cfg(test)]
mod tests;
