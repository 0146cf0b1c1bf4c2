//! Which offsets a member may commit, and who may read them.

use corelog_shards::mutation::{Mutation, is_on};
use kafka_protocol::error::ResponseError;
use uuid::Uuid;

use super::ConsumerGroup;
use super::member::Member;

/// The first version of OffsetCommit whose errors members of such groups understand.
const FIRST_COMMIT_VERSION: i16 = 9;

impl ConsumerGroup {
    /// Whether offsets of these partitions may be committed, by a member, or by anybody who doesn't claim to be one if
    /// there are no members.
    ///
    /// A member whose epoch has moved on meanwhile may still commit for partitions that it has had since then.
    pub fn check_commit(
        &self,
        member_id: &str,
        member_epoch: i32,
        version: i16,
        mut partitions: impl Iterator<Item = (Uuid, i32)>,
    ) -> Result<(), ResponseError> {
        if member_epoch < 0 && self.is_empty() {
            return Ok(());
        }
        let member = self.durable.members.get(member_id);
        let member = member.ok_or(ResponseError::UnknownMemberId)?;
        if !member.uses_classic_protocol() && version < FIRST_COMMIT_VERSION {
            return Err(ResponseError::UnsupportedVersion);
        }
        let may_commit = |(topic, partition)| {
            let assigned_at = assigned_at(member, topic, partition);
            assigned_at.is_some_and(|epoch| epoch <= member_epoch)
        };
        let is_fine = is_on(Mutation::TakeStaleCommit)
            || member_epoch == member.epoch
            || member_epoch < member.epoch && partitions.all(may_commit);
        is_fine.then_some(()).ok_or(stale(member))
    }

    /// Whether a member may read committed offsets. Who doesn't claim to be a member may.
    pub fn check_fetch(
        &self,
        member_id: Option<&str>,
        member_epoch: i32,
    ) -> Result<(), ResponseError> {
        let Some(id) = member_id else {
            let refused = Err(ResponseError::UnknownMemberId);
            return if member_epoch < 0 { Ok(()) } else { refused };
        };
        let member = self.durable.members.get(id);
        let member = member.ok_or(ResponseError::UnknownMemberId)?;
        (member_epoch == member.epoch)
            .then_some(())
            .ok_or(stale(member))
    }
}

/// The epoch at which the member got a partition that it has, or has yet to give up.
fn assigned_at(member: &Member, topic: Uuid, partition: i32) -> Option<i32> {
    let of = |assigned: &super::member::Assigned| assigned.get(&topic)?.get(&partition).copied();
    of(&member.assigned).or_else(|| of(&member.revoking))
}

/// What an epoch that is not the member's is called in its protocol.
fn stale(member: &Member) -> ResponseError {
    match member.uses_classic_protocol() {
        true => ResponseError::IllegalGeneration,
        false => ResponseError::StaleMemberEpoch,
    }
}
