//! One incremental fetch session (KIP-227): the partitions of a client, and what it knows of them.
//!
//! | event | condition | effect |
//! |---|---|---|
//! | full fetch answered, epoch 0 | there is room ([`super::sessions`]) | begins with epoch 1 and the request's partitions |
//! | full fetch, epoch 0 or -1 | names the session | ends |
//! | fetch | another epoch than the expected | refused, nothing changes |
//! | fetch | topics by id, the session by name, or the other way round | refused, nothing changes |
//! | fetch | else | partitions are added, changed, forgotten; the epoch moves on |
//! | fetch | no partition is left | ends |
//! | answered | the epoch moved on meanwhile | refused: two fetches with one epoch |
//! | answered | else | what has changed is told; partitions that sent records go to the back |
//!
//! A topic that is wanted by id keeps the name that the session first knew it by. So a client can be
//! told that the name has another id since, which is something else than an id that nobody knows.
//!
//! Epochs go from 1 to the largest number and then to 1 again.

use std::collections::BTreeMap;
use std::sync::Arc;

use corelog_shards::mutation::{Mutation, is_on};
use uuid::Uuid;

use super::{Outcome, Wanted};
use crate::protocol::TopicRef;
use crate::protocol::fetch::ForgottenTopic;

/// Why a fetch is refused as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionError {
    /// Never begun, ended, or evicted.
    UnknownId,
    WrongEpoch,
    /// Topics by name in a session of topic ids, or the other way round.
    TopicIds,
}

/// What the client knows of one partition.
#[derive(Debug)]
struct Cached {
    wanted: Wanted,
    high_watermark: i64,
    log_start_offset: i64,
}

/// The partitions in the order in which they are served, and the epoch that is expected next.
#[derive(Debug)]
pub struct Session {
    has_topic_ids: bool,
    epoch: i32,
    places: BTreeMap<(TopicRef, i32), u64>,
    order: BTreeMap<u64, Cached>,
    next_place: u64,
}

/// The epoch after `epoch`.
pub fn next_epoch(epoch: i32) -> i32 {
    match epoch {
        i32::MAX => 1,
        _ => epoch + 1,
    }
}

impl Session {
    /// A session of the partitions of a full fetch, as it was answered.
    pub fn new(has_topic_ids: bool, answered: impl Iterator<Item = (Wanted, Outcome)>) -> Self {
        let mut session = Self {
            has_topic_ids,
            epoch: 1,
            places: BTreeMap::new(),
            order: BTreeMap::new(),
            next_place: 0,
        };
        for (wanted, outcome) in answered {
            session.add(Cached {
                wanted,
                high_watermark: outcome.high_watermark,
                log_start_offset: outcome.log_start_offset,
            });
        }
        session
    }

    pub fn len(&self) -> usize {
        self.order.len()
    }

    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    fn add(&mut self, cached: Cached) {
        let name = (cached.wanted.topic.clone(), cached.wanted.params.partition);
        self.places.insert(name, self.next_place);
        self.order.insert(self.next_place, cached);
        self.next_place += 1;
    }

    fn cached(&mut self, topic: &TopicRef, partition: i32) -> Option<(u64, &mut Cached)> {
        let place = *self.places.get(&(topic.clone(), partition))?;
        let cached = self.order.get_mut(&place);
        Some((place, cached.expect("every place is taken")))
    }

    /// Takes in a request. The partitions to fetch are then [`Session::wanted`].
    pub fn update(
        &mut self,
        epoch: i32,
        has_topic_ids: bool,
        changed: Vec<Wanted>,
        forgotten: &[ForgottenTopic],
    ) -> Result<(), SessionError> {
        if epoch != self.epoch {
            return Err(SessionError::WrongEpoch);
        }
        if has_topic_ids != self.has_topic_ids {
            return Err(SessionError::TopicIds);
        }
        for wanted in changed {
            match self.cached(&wanted.topic, wanted.params.partition) {
                Some((_, cached)) => cached.wanted.params = wanted.params,
                None => self.add(Cached {
                    wanted,
                    high_watermark: -1,
                    log_start_offset: -1,
                }),
            }
        }
        for topic in forgotten {
            for partition in &topic.partitions {
                if let Some(place) = self.places.remove(&(topic.topic.clone(), *partition)) {
                    self.order.remove(&place);
                }
            }
        }
        self.epoch = next_epoch(self.epoch);
        Ok(())
    }

    /// Notes what topics are called that were not known before.
    pub fn note_names(&mut self, name_of: impl Fn(Uuid) -> Option<Arc<str>>) {
        for cached in self.order.values_mut() {
            cached.wanted.note_name(&name_of);
        }
    }

    /// The partitions in the order in which they are served.
    pub fn wanted(&self) -> Vec<Wanted> {
        let cached = self.order.values();
        cached.map(|cached| cached.wanted.clone()).collect()
    }

    /// Takes in the answer to the fetch of `epoch`; which of its partitions are told.
    pub fn answered<'a>(
        &mut self,
        epoch: i32,
        outcomes: impl Iterator<Item = &'a (TopicRef, i32, Outcome)>,
    ) -> Result<Vec<bool>, SessionError> {
        if self.epoch != next_epoch(epoch) {
            return Err(SessionError::WrongEpoch);
        }
        let told = outcomes.map(|(topic, partition, outcome)| {
            let Some((place, cached)) = self.cached(topic, *partition) else {
                return true;
            };
            let is_told = cached.take(outcome);
            if outcome.has_records {
                let cached = self.order.remove(&place).expect("it was found just now");
                self.add(cached);
            }
            is_told
        });
        Ok(told.collect())
    }
}

impl Cached {
    /// Whether the client has to be told of this outcome.
    fn take(&mut self, outcome: &Outcome) -> bool {
        let is_told = outcome.has_records
            || outcome.is_error
            || outcome.is_diverging
            || (outcome.high_watermark != self.high_watermark && !is_on(Mutation::SilentSession))
            || outcome.log_start_offset != self.log_start_offset;
        self.log_start_offset = outcome.log_start_offset;
        self.high_watermark = match outcome.is_error {
            // When the error goes away, that is news.
            true => -1,
            false => outcome.high_watermark,
        };
        is_told
    }
}

#[cfg(test)]
mod tests;
