//! What members and administrators are told.

use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::{JoinGroupResponse, SyncGroupResponse};
use kafka_protocol::protocol::StrBytes;

use super::member::Member;
use super::{ClassicGroup, State};

pub(super) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_string())
}

fn instance_id(member: &Member) -> Option<StrBytes> {
    member.instance_id.as_deref().map(text)
}

/// A join that failed. The id is what the client is to join with next, if it has one.
pub(super) fn join_error(member_id: &str, error: ResponseError) -> JoinGroupResponse {
    JoinGroupResponse::default()
        .with_member_id(text(member_id))
        .with_error_code(error.code())
}

/// A sync that failed.
pub(super) fn sync_error(error: ResponseError) -> SyncGroupResponse {
    SyncGroupResponse::default().with_error_code(error.code())
}

impl ClassicGroup {
    /// That a member is in the present generation. Its leader learns who else is.
    pub(super) fn joined(&self, member_id: &str) -> JoinGroupResponse {
        let members = match self.members.is_leader(member_id) {
            true => self.members_for_leader(),
            false => Vec::new(),
        };
        self.joined_under(self.leader_id(), member_id)
            .with_members(members)
    }

    /// That a member is in the present generation, with a leader of which it is told.
    pub(super) fn joined_under(&self, leader: &str, member_id: &str) -> JoinGroupResponse {
        JoinGroupResponse::default()
            .with_generation_id(self.generation)
            .with_protocol_type(self.protocol_type.as_deref().map(text))
            .with_protocol_name(self.protocol.as_deref().map(text))
            .with_leader(text(leader))
            .with_member_id(text(member_id))
    }

    pub(super) fn leader_id(&self) -> &str {
        self.members.leader().map_or("", |leader| leader)
    }

    fn members_for_leader(&self) -> Vec<JoinGroupResponseMember> {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let member = |member: &Member| {
            JoinGroupResponseMember::default()
                .with_member_id(text(&member.id))
                .with_group_instance_id(instance_id(member))
                .with_metadata(member.metadata(protocol))
        };
        self.members.iter().map(member).collect()
    }

    /// What a member is to work on.
    pub(super) fn synced(&self, assignment: Bytes) -> SyncGroupResponse {
        SyncGroupResponse::default()
            .with_protocol_type(self.protocol_type.as_deref().map(text))
            .with_protocol_name(self.protocol.as_deref().map(text))
            .with_assignment(assignment)
    }

    /// The group and its members. What they joined with, and by which protocol they were assigned,
    /// is told of a stable group alone.
    pub fn describe(&self) -> DescribedGroup {
        let stable = self.state == State::Stable;
        let protocol = self.protocol.as_deref().filter(|_| stable);
        let member = |member: &Member| {
            DescribedGroupMember::default()
                .with_member_id(text(&member.id))
                .with_group_instance_id(instance_id(member))
                .with_client_id(text(&member.client_id))
                .with_client_host(text(&member.client_host))
                .with_member_metadata(
                    protocol
                        .map(|name| member.metadata(name))
                        .unwrap_or_default(),
                )
                .with_member_assignment(member.assignment.clone())
        };
        DescribedGroup::default()
            .with_group_id(text(&self.id).into())
            .with_group_state(StrBytes::from_static_str(self.state.name()))
            .with_protocol_type(text(self.protocol_type().unwrap_or_default()))
            .with_protocol_data(text(protocol.unwrap_or_default()))
            .with_members(self.members.iter().map(member).collect())
    }
}
