//! All of a group that its records say, and what follows from it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::member::Member;
use super::metadata_hash::metadata_hash;
use super::owners::Owners;
use super::subscriptions::{Resolved, Subscriptions};
use super::{State, check_sizes};
use crate::cluster::image::{ConfigResource, Image};
use crate::config::ConsumerGroupSettings;
use crate::coordinator::Context;
use crate::coordinator::group::assignor::Partitions;
use crate::coordinator::group::has_room;
use crate::coordinator::group::records::{
    ConsumerGroupMetadataValue, ConsumerGroupRegularExpressionValue, Record,
};
use crate::lines;

/// The epoch of a group that nobody has written anything about, and of its target.
pub(super) const FIRST_EPOCH: i32 = 1;

static NO_PARTITIONS: Partitions = Partitions::new();

/// What the records of a group say. Nothing but [`Durable::replay`] changes it.
#[derive(Debug, PartialEq)]
pub(super) struct Durable {
    pub id: Rc<str>,
    pub epoch: i32,
    /// Of the subscribed topics, as of the group epoch.
    pub metadata_hash: i64,
    /// By id.
    pub members: BTreeMap<String, Member>,
    pub target_epoch: i32,
    /// Milliseconds since 1970 at which the target was computed; 0 if that is not known.
    pub target_computed_at_ms: i64,
    /// What members are to have, by their ids.
    pub targets: BTreeMap<String, Partitions>,
    /// There is a record of a kind that Kafka before 4.1 wrote; it is to go with the next change.
    pub has_partition_metadata: bool,

    // Derived from the above.
    /// Ids of static members by their instance ids.
    pub static_members: BTreeMap<String, String>,
    pub subscriptions: Subscriptions,
    pub owners: Owners,
    /// What all of this takes in memory but for the group itself; see [`super::held`].
    pub held_bytes: usize,
}

impl Durable {
    pub fn new(id: Rc<str>) -> Self {
        Self {
            id,
            epoch: FIRST_EPOCH,
            metadata_hash: 0,
            members: BTreeMap::new(),
            target_epoch: FIRST_EPOCH,
            target_computed_at_ms: 0,
            targets: BTreeMap::new(),
            has_partition_metadata: false,
            static_members: BTreeMap::new(),
            subscriptions: Subscriptions::default(),
            owners: Owners::default(),
            held_bytes: 0,
        }
    }

    /// The group's own settings, and the broker's for all that it has none for.
    pub fn settings(&self, context: &Context<'_>) -> ConsumerGroupSettings {
        let own = (context.image).properties(&ConfigResource::group(&*self.id));
        ConsumerGroupSettings::resolve(&context.config.groups.consumer, own)
    }

    pub fn state(&self) -> State {
        let is_reconciled = |member: &Member| member.is_reconciled_to(self.target_epoch);
        if self.members.is_empty() {
            State::Empty
        } else if self.epoch > self.target_epoch {
            State::Assigning
        } else if self.members.values().all(is_reconciled) {
            State::Stable
        } else {
            State::Reconciling
        }
    }

    pub fn static_member(&self, instance_id: &str) -> Option<&Member> {
        self.members.get(self.static_members.get(instance_id)?)
    }

    /// A member, which is new if it is not there.
    pub fn member_or_new(&self, id: &str) -> Cow<'_, Member> {
        match self.members.get(id) {
            Some(member) => Cow::Borrowed(member),
            None => Cow::Owned(Member::new(id.to_owned())),
        }
    }

    /// What a member is to have. A static member that comes back under another id has what its last one had.
    pub fn target_of(&self, member: &Member) -> &Partitions {
        let instance_id = member.instance_id.as_ref();
        let id = instance_id.and_then(|id| self.static_members.get(id));
        let target = self.targets.get(id.unwrap_or(&member.id));
        target.unwrap_or(&NO_PARTITIONS)
    }

    pub fn hash_of(&self, subscriptions: &Subscriptions, image: &Image) -> i64 {
        metadata_hash(subscriptions.topics.keys(), image)
    }

    /// The epoch that follows, and the record of it.
    pub fn next_epoch(&self, metadata_hash: i64) -> (i32, Record) {
        let epoch = self.epoch.saturating_add(1);
        let record = Record::ConsumerGroupMetadata {
            group: self.id.to_string(),
            value: Some(ConsumerGroupMetadataValue {
                epoch,
                metadata_hash,
            }),
        };
        (epoch, record)
    }

    /// Writes what regular expressions were resolved to, and a new group epoch if that changes anything. Those that
    /// there is no memory for stay as they are; `counted_bytes` of it are counted already.
    pub fn take_resolved(
        &self,
        resolved: Vec<(String, Resolved)>,
        counted_bytes: usize,
        context: &Context<'_>,
        records: &mut Vec<Record>,
    ) {
        let mut next = self.subscriptions.clone();
        let mut has_changed = false;
        let mut more = 0;
        for (regex, mut resolved) in resolved {
            if self.subscriptions.subscribers_of(&regex) == 0 {
                continue;
            }
            let mut record = self.regex_record(&regex, Some(&resolved));
            if check_sizes(std::slice::from_ref(&record), context).is_err() {
                lines::say!(
                    context.lines,
                    context.now,
                    warn,
                    group = &*self.id,
                    regex,
                    topics = resolved.topics.len(),
                    "a regular expression matches more topics than a record can hold and is taken to match none"
                );
                resolved.topics = Rc::default();
                record = self.regex_record(&regex, Some(&resolved));
            }
            let grown = more + self.growth(std::slice::from_ref(&record));
            if !has_room(
                context,
                self.held_bytes,
                grown.saturating_sub(counted_bytes),
            ) {
                continue;
            }
            more = grown;
            let before = self.subscriptions.resolved.get(&regex);
            has_changed |= match before {
                Some(before) => before.topics != resolved.topics,
                None => !resolved.topics.is_empty(),
            };
            next.resolve(regex, resolved);
            records.push(record);
        }
        let hash = self.hash_of(&next, context.image);
        if has_changed || hash != self.metadata_hash {
            records.push(self.next_epoch(hash).1);
        }
    }

    pub fn regex_record(&self, regex: &str, resolved: Option<&Resolved>) -> Record {
        Record::ConsumerGroupRegularExpression {
            group: self.id.to_string(),
            regular_expression: regex.to_owned(),
            value: resolved.map(|resolved| ConsumerGroupRegularExpressionValue {
                topics: resolved.topics.iter().cloned().collect(),
                version: resolved.version,
                timestamp: resolved.resolved_at_ms,
            }),
        }
    }

    /// Writes that a member is gone. Its assignment goes first, the member itself last.
    pub fn remove_member(&self, member: &str, records: &mut Vec<Record>) {
        records.extend([
            self.assignment_tombstone(member),
            self.target_tombstone(member),
            self.member_tombstone(member),
        ]);
    }

    /// Writes that the group is gone with all that belongs to it, these members included.
    pub fn tombstones(&self, members: &[&str], records: &mut Vec<Record>) {
        let group = || self.id.to_string();
        let members = || members.iter();
        records.extend(members().map(|member| self.assignment_tombstone(member)));
        records.extend(members().map(|member| self.target_tombstone(member)));
        records.push(Record::ConsumerGroupTargetAssignmentMetadata {
            group: group(),
            value: None,
        });
        records.extend(members().map(|member| self.member_tombstone(member)));
        let regexes = self.subscriptions.resolved.keys();
        records.extend(regexes.map(|regex| self.regex_record(regex, None)));
        records.push(self.partition_metadata_tombstone());
        records.push(Record::ConsumerGroupMetadata {
            group: group(),
            value: None,
        });
    }

    pub fn partition_metadata_tombstone(&self) -> Record {
        Record::ConsumerGroupPartitionMetadata {
            group: self.id.to_string(),
            value: None,
        }
    }

    fn assignment_tombstone(&self, member: &str) -> Record {
        Record::ConsumerGroupCurrentMemberAssignment {
            group: self.id.to_string(),
            member: member.to_owned(),
            value: None,
        }
    }

    fn target_tombstone(&self, member: &str) -> Record {
        Record::ConsumerGroupTargetAssignmentMember {
            group: self.id.to_string(),
            member: member.to_owned(),
            value: None,
        }
    }

    fn member_tombstone(&self, member: &str) -> Record {
        Record::ConsumerGroupMemberMetadata {
            group: self.id.to_string(),
            member: member.to_owned(),
            value: None,
        }
    }
}
