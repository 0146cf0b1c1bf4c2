//! Walks over all groups, some of them at a time, in the order of their names: after a load, when topics have changed,
//! and for who lists them. Groups may come and go meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::ops::Bound::{Excluded, Unbounded};
use std::rc::Rc;
use std::sync::Arc;

use corelog_shards::io::Instant;
use kafka_protocol::messages::GroupId;
use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::protocol::StrBytes;

use super::kind::Kind;
use super::records::Record;
use super::{Context, Group, Groups, Output};
use crate::cluster::image::Delta;

/// Groups looked at in one step: some tens of microseconds.
const GROUPS_PER_STEP: usize = 250;

/// What consumer groups are to know of changes of the metadata.
#[derive(Debug, Default)]
pub struct TopicChanges {
    /// Of topics that are new, gone, or other than before.
    names: BTreeSet<Arc<str>>,
    /// The offset of the newest metadata that has a topic which was not there before.
    created_at: Option<i64>,
}

impl TopicChanges {
    pub fn add(&mut self, change: &Delta) {
        for topic in change.topics.values() {
            if topic.before.is_none() {
                self.created_at = Some(change.last_offset);
            }
            let named = topic.after.as_ref().or(topic.before.as_ref());
            self.names.extend(named.map(|topic| topic.name.clone()));
        }
    }

    /// Topics may have been created up to the metadata of this offset.
    fn may_be_created_at(&mut self, offset: i64) {
        self.created_at = self.created_at.max(Some(offset));
    }

    pub fn created_at(&self) -> Option<i64> {
        self.created_at
    }

    /// Whether one of these topics has changed.
    pub fn touch<V>(&self, topics: &BTreeMap<String, V>) -> bool {
        match self.names.len() < topics.len() {
            true => self.names.iter().any(|name| topics.contains_key(&**name)),
            false => topics.keys().any(|name| self.names.contains(&**name)),
        }
    }

    fn is_empty(&self) -> bool {
        self.names.is_empty() && self.created_at.is_none()
    }

    fn len(&self) -> usize {
        self.names.len()
    }
}

/// Changes on their way to the groups. Those that come while others are under way wait for the end of that walk, so
/// that each walk comes to its end.
#[derive(Default)]
pub(super) struct Spreading {
    under_way: Option<UnderWay>,
    waiting: TopicChanges,
}

struct UnderWay {
    since: Instant,
    changes: TopicChanges,
    behind: Option<Rc<str>>,
}

impl Spreading {
    pub(super) fn due(&self) -> Option<Instant> {
        self.under_way.as_ref().map(|walk| walk.since)
    }

    fn begin(&mut self, now: Instant) {
        if self.under_way.is_none() && !self.waiting.is_empty() {
            self.under_way = Some(UnderWay {
                since: now,
                changes: mem::take(&mut self.waiting),
                behind: None,
            });
        }
    }
}

/// The walk after a load.
#[derive(Default)]
pub(super) struct Finishing {
    behind: Option<Rc<str>>,
    /// The offset of the metadata at its beginning.
    begun_at: Option<i64>,
}

/// Some of the groups that are there.
pub struct Listed {
    pub groups: Vec<ListedGroup>,
    /// Behind which group to go on, if there are more.
    pub behind: Option<Rc<str>>,
}

impl Groups {
    pub(super) fn note_changes(&mut self, change: &Delta, now: Instant) {
        if change.deleted_topics().next().is_some() {
            self.sweep.topics_gone(now);
        }
        self.spreading.waiting.add(change);
        self.spreading.begin(now);
    }

    /// Tells some more groups of changes of topics.
    pub(super) fn spread_on(&mut self, now: Instant) {
        let Some(mut walk) = self.spreading.under_way.take_if(|walk| walk.since <= now) else {
            return;
        };
        let mut left = GROUPS_PER_STEP;
        while left > 0 {
            let Some((id, group)) = self.behind(walk.behind.as_deref()).next() else {
                return self.spreading.begin(now);
            };
            let mut cost = 1;
            if let Kind::Consumer(group) = &mut group.kind {
                cost += group.topics_subscribed().min(walk.changes.len());
                group.topics_changed(&walk.changes);
            }
            left = left.saturating_sub(cost);
            walk.behind = Some(id.clone());
        }
        self.spreading.under_way = Some(walk);
    }

    /// Prepares some more groups for being served after a load. Whether there are more.
    pub(super) fn finish_some(
        &mut self,
        context: &mut Context<'_>,
        out: &mut Output<Record>,
    ) -> bool {
        let newest = context.image.last_offset;
        let begun_at = *self.finishing.begun_at.get_or_insert(newest);
        for _ in 0..GROUPS_PER_STEP {
            let behind = self.finishing.behind.take();
            let Some((id, group)) = self.behind(behind.as_deref()).next() else {
                if begun_at < newest {
                    self.spreading.waiting.may_be_created_at(newest);
                    self.spreading.begin(context.now);
                }
                let interval = context.config.groups.offsets.retention_check_interval;
                self.sweep.loaded(context.now, interval);
                return false;
            };
            let id = id.clone();
            group.kind.loaded(context, out);
            self.note_deadline(&id);
            self.finishing.behind = Some(id);
        }
        true
    }

    /// The groups behind one of them, or the first ones, as many as one step may have.
    pub(super) fn list(&self, behind: Option<&str>) -> Listed {
        let from = behind.map_or(Unbounded, Excluded);
        let page = self.groups.range::<str, _>((from, Unbounded));
        let page: Vec<_> = page.take(GROUPS_PER_STEP).collect();
        let last = page.last().filter(|_| page.len() == GROUPS_PER_STEP);
        Listed {
            behind: last.map(|(id, _)| Rc::clone(id)),
            groups: page.iter().map(|(id, group)| listed(id, group)).collect(),
        }
    }

    fn behind(&mut self, id: Option<&str>) -> impl Iterator<Item = (&Rc<str>, &mut Group)> {
        let from = id.map_or(Unbounded, Excluded);
        self.groups.range_mut::<str, _>((from, Unbounded))
    }
}

fn listed(id: &str, group: &Group) -> ListedGroup {
    let text = |text: &str| StrBytes::from_string(text.to_owned());
    ListedGroup::default()
        .with_group_id(GroupId(text(id)))
        .with_protocol_type(text(group.kind.protocol_type()))
        .with_group_state(StrBytes::from_static_str(group.kind.state_name()))
        .with_group_type(StrBytes::from_static_str(group.kind.name()))
}
