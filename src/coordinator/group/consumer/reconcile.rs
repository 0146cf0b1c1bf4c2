//! A member's next step towards its target.

use std::borrow::Cow;

use corelog_shards::mutation::{Mutation, is_on};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions as Owned;
use uuid::Uuid;

use super::member::{Assigned, Member, MemberState};
use super::owners::Owners;
use super::{Rejection, rejection};
use crate::coordinator::group::assignor::Partitions;

/// Where a member is to go, and what is known on the way.
pub(super) struct Step<'a> {
    pub target_epoch: i32,
    pub target: &'a Partitions,
    /// Whether the member subscribes to a topic, which need not exist any more.
    pub is_subscribed: &'a dyn Fn(Uuid) -> bool,
    /// Whether it does so to others than before. What it no longer subscribes to is taken from it at once, whatever
    /// its target.
    pub has_subscription_changed: bool,
    /// What the member says it owns, if it does.
    pub owned: Option<&'a [Owned]>,
    pub owners: &'a Owners,
}

impl Step<'_> {
    /// The member after this step; the same one if nothing is to be done.
    pub fn take<'m>(&self, member: &'m Member) -> Result<Cow<'m, Member>, Rejection> {
        if !self.has_subscription_changed && member.is_reconciled_to(self.target_epoch) {
            return Ok(Cow::Borrowed(member));
        }
        Ok(match member.state {
            MemberState::Stable if member.epoch != self.target_epoch => {
                self.advance(member, member.epoch)
            }
            MemberState::Stable => self.drop_unsubscribed(member),
            MemberState::UnrevokedPartitions if !self.owns_any(&member.revoking) => {
                self.advance(member, member.epoch)
            }
            MemberState::UnrevokedPartitions if self.has_subscription_changed => {
                self.drop_unsubscribed(member)
            }
            MemberState::UnrevokedPartitions => Cow::Borrowed(member),
            MemberState::UnreleasedPartitions => self.advance(member, member.epoch),
            MemberState::Unknown if self.owned.is_some_and(<[_]>::is_empty) => {
                self.advance(member, self.target_epoch)
            }
            MemberState::Unknown => {
                let text = "The consumer group member is in a unknown state. \
                            The member must abandon all its partitions and rejoin.";
                return Err(rejection(ResponseError::FencedMemberEpoch, text));
            }
        })
    }

    /// Whether the member may still own some of these: it says so, or doesn't say.
    fn owns_any(&self, revoking: &Assigned) -> bool {
        let Some(owned) = self.owned else {
            return true;
        };
        owned.iter().any(|topic| {
            let revoking = revoking.get(&topic.topic_id);
            let is_revoking = |partition| revoking.is_some_and(|all| all.contains_key(partition));
            topic.partitions.iter().any(is_revoking)
        })
    }

    /// Takes from the member what its target doesn't have. Once it has given that up, it gets what its target has and
    /// nobody else does.
    fn advance<'m>(&self, member: &'m Member, epoch: i32) -> Cow<'m, Member> {
        let mut kept = Assigned::new();
        let mut revoking = Assigned::new();
        for (topic, partitions) in &member.assigned {
            let is_kept = |partition: &i32| self.is_in_target(*topic, *partition);
            let (keep, revoke) = partitions
                .iter()
                .partition(|(partition, _)| is_kept(partition));
            put_unless_empty(&mut kept, *topic, keep);
            put_unless_empty(&mut revoking, *topic, revoke);
        }
        if !revoking.is_empty() && self.owns_any(&revoking) {
            let state = MemberState::UnrevokedPartitions;
            return changed(member, state, epoch, kept, revoking);
        }
        let all_released = self.add_released(member, &mut kept);
        let state = match all_released {
            true => MemberState::Stable,
            false => MemberState::UnreleasedPartitions,
        };
        changed(member, state, self.target_epoch, kept, Assigned::new())
    }

    fn is_in_target(&self, topic: Uuid, partition: i32) -> bool {
        let target = self.target.get(&topic);
        target.is_some_and(|target| target.contains(&partition)) && (self.is_subscribed)(topic)
    }

    /// Adds what is missing of the target and free. Whether that is all that is missing.
    fn add_released(&self, member: &Member, assigned: &mut Assigned) -> bool {
        let mut are_all_free = true;
        let subscribed = self
            .target
            .iter()
            .filter(|(topic, _)| (self.is_subscribed)(**topic));
        for (topic, target) in subscribed {
            let had = member.assigned.get(topic);
            // Its own until now, so that nobody else has it.
            let revoking = member.revoking.get(topic);
            for partition in target {
                if had.is_some_and(|had| had.contains_key(partition)) {
                    continue;
                }
                let was_revoking = revoking.is_some_and(|all| all.contains_key(partition));
                let is_owned = self.owners.has(*topic, *partition);
                if is_owned && !was_revoking && !is_on(Mutation::AssignOwned) {
                    are_all_free = false;
                } else {
                    let assigned = assigned.entry(*topic).or_default();
                    assigned.insert(*partition, self.target_epoch);
                }
            }
        }
        are_all_free
    }

    /// Takes from the member what it no longer subscribes to. All else stays, also its epoch.
    fn drop_unsubscribed<'m>(&self, member: &'m Member) -> Cow<'m, Member> {
        let is_dropped = |topic: &Uuid| !(self.is_subscribed)(*topic);
        if !member.assigned.keys().any(is_dropped) {
            return Cow::Borrowed(member);
        }
        let mut kept = Assigned::new();
        let mut revoking = member.revoking.clone();
        for (topic, partitions) in &member.assigned {
            let into = if is_dropped(topic) {
                &mut revoking
            } else {
                &mut kept
            };
            into.entry(*topic).or_default().extend(partitions);
        }
        if self.owns_any(&revoking) {
            let state = MemberState::UnrevokedPartitions;
            changed(member, state, member.epoch, kept, revoking)
        } else {
            let revoking = member.revoking.clone();
            changed(member, member.state, member.epoch, kept, revoking)
        }
    }
}

fn put_unless_empty(
    assigned: &mut Assigned,
    topic: Uuid,
    partitions: std::collections::BTreeMap<i32, i32>,
) {
    if !partitions.is_empty() {
        assigned.insert(topic, partitions);
    }
}

/// The member with another assignment. If that is what it has, it is the same one.
fn changed(
    member: &Member,
    state: MemberState,
    epoch: i32,
    assigned: Assigned,
    revoking: Assigned,
) -> Cow<'_, Member> {
    let before = (member.state, member.epoch, member.previous_epoch);
    if before == (state, epoch, member.epoch)
        && member.assigned == assigned
        && member.revoking == revoking
    {
        return Cow::Borrowed(member);
    }
    Cow::Owned(Member {
        state,
        epoch,
        previous_epoch: member.epoch,
        assigned,
        revoking,
        ..member.clone()
    })
}
