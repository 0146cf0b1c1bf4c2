//! From records to the groups that they are of.
//!
//! A group is of the kind that its newest record is of. Offsets belong to it whatever its kind; those that are found
//! before any other record of their group make it a simple one, until there is such a record.

use std::rc::Rc;

use super::classic::ClassicGroup;
use super::consumer::ConsumerGroup;
use super::kind::Kind;
use super::records::{GroupMetadataValue, OffsetCommitValue, Record};
use super::{Context, Group, Groups};

impl Groups {
    /// Takes over a record. Those of kinds of groups that are not served are passed over.
    pub(super) fn take_over(&mut self, record: Record, context: &Context<'_>) {
        match record {
            Record::OffsetCommit {
                group,
                topic,
                partition,
                value,
            } => self.take_offset(&group, (topic, partition), value, context),
            Record::GroupMetadata {
                group,
                value: Some(value),
            } => self.take_classic(group, value, context),
            Record::GroupMetadata { group, value: None } => {
                let found = self.groups.get(group.as_str());
                // One that has become a consumer group is told apart by having no record of this kind any more.
                if found.is_some_and(|group| matches!(group.kind, Kind::Classic(_))) {
                    self.forget(&group, context);
                }
            }
            Record::Unknown { .. } => {}
            record => self.take_consumer(record, context),
        }
    }

    fn take_offset(
        &mut self,
        id: &str,
        (topic, partition): (String, i32),
        value: Option<OffsetCommitValue>,
        context: &Context<'_>,
    ) {
        let group = match value {
            Some(_) => Some(self.get_or_create(id, context)),
            None => self.groups.get_mut(id),
        };
        if let Some(group) = group {
            group.offsets.replay(topic, partition, value, context.image);
            group.recount();
        }
    }

    fn take_classic(&mut self, id: String, value: GroupMetadataValue, context: &Context<'_>) {
        let Some(group) = self.groups.get_mut(id.as_str()) else {
            let id: Rc<str> = id.into();
            let kind = Kind::Classic(ClassicGroup::restore(id.clone(), value));
            self.groups.insert(id, Group::of(kind, context));
            return;
        };
        match &mut group.kind {
            Kind::Classic(classic) => classic.apply(value),
            Kind::Consumer(_) => {
                group.kind = Kind::Classic(ClassicGroup::restore(id.into(), value))
            }
        }
        group.recount();
    }

    /// Takes over a record of a consumer group. The first one that is not a tombstone makes the group; one of a group
    /// with members of the classic protocol makes no sense and is passed over.
    fn take_consumer(&mut self, record: Record, context: &Context<'_>) {
        let Some(id) = record.group().map(Rc::<str>::from) else {
            return;
        };
        if !record.is_tombstone() {
            let group = self.get_or_create(&id, context);
            if matches!(&group.kind, Kind::Classic(classic) if classic.is_simple()) {
                self.convert(&id, Kind::Consumer(ConsumerGroup::new(id.clone())));
            }
        }
        let Some(group) = self.groups.get_mut(&id) else {
            return;
        };
        let Kind::Consumer(consumer) = &mut group.kind else {
            return;
        };
        if matches!(record, Record::ConsumerGroupMetadata { value: None, .. }) {
            return self.forget(&id, context);
        }
        consumer.replay(record);
        group.recount();
    }

    /// A group is gone. Its offsets have tombstones of their own: with those that are left it is a simple group.
    fn forget(&mut self, id: &str, context: &Context<'_>) {
        let Some((id, group)) = self.groups.remove_entry(id) else {
            return;
        };
        if let Some(due) = group.due {
            self.deadlines.remove(&(due, id.clone()));
        }
        if !group.offsets.is_empty() {
            let mut simple = Group {
                offsets: group.offsets,
                ..Group::of(
                    Kind::Classic(ClassicGroup::new(id.clone(), context)),
                    context,
                )
            };
            simple.recount();
            self.groups.insert(id, simple);
        }
    }
}
