//! What a heartbeat must be, whatever its group.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::ConsumerGroupHeartbeatRequest;

use super::{Rejection, rejection};
use crate::config::ConsumerGroupsConfig;
use crate::coordinator::group::assignor;

/// Epochs that stand for something else.
pub const JOIN: i32 = 0;
pub(super) const LEAVE: i32 = -1;
/// A static member leaves, and will be back.
pub(super) const LEAVE_STATIC: i32 = -2;

/// From this version on, members make their ids themselves.
const VERSION_OF_OWN_IDS: i16 = 1;

/// Checks what no group is needed for. A heartbeat that passes and has another epoch than 0 is refused with
/// GROUP_ID_NOT_FOUND if there is no such group.
pub fn check_heartbeat(
    request: &ConsumerGroupHeartbeatRequest,
    version: i16,
    config: &ConsumerGroupsConfig,
) -> Result<(), Rejection> {
    let epoch = request.member_epoch;
    if version >= VERSION_OF_OWN_IDS || epoch > JOIN || epoch == LEAVE {
        check_given(Some(&request.member_id), "MemberId can't be empty.")?;
    }
    check_given(Some(&request.group_id), "GroupId can't be empty.")?;
    check_given(request.instance_id.as_deref(), "InstanceId can't be empty.")?;
    check_given(request.rack_id.as_deref(), "RackId can't be empty.")?;
    match epoch {
        JOIN => check_join(request)?,
        LEAVE_STATIC if request.instance_id.is_none() => {
            return invalid("InstanceId can't be null.");
        }
        ..LEAVE_STATIC => return invalid("MemberEpoch is invalid."),
        _ => {}
    }
    match &request.server_assignor {
        Some(name) => check_assignor(name, &config.assignors),
        None => Ok(()),
    }
}

fn check_join(request: &ConsumerGroupHeartbeatRequest) -> Result<(), Rejection> {
    if request.rebalance_timeout_ms == -1 {
        return invalid("RebalanceTimeoutMs must be provided in first request.");
    }
    if !request.topic_partitions.as_ref().is_some_and(Vec::is_empty) {
        return invalid("TopicPartitions must be empty when (re-)joining.");
    }
    if request.subscribed_topic_names.is_none() && request.subscribed_topic_regex.is_none() {
        return invalid(
            "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.",
        );
    }
    Ok(())
}

fn check_assignor(name: &str, supported: &[String]) -> Result<(), Rejection> {
    if supported.iter().any(|supported| supported == name) && assignor::by_name(name).is_some() {
        return Ok(());
    }
    let supported = supported.join(", ");
    let text = format!("ServerAssignor {name} is not supported. Supported assignors: {supported}.");
    Err(rejection(ResponseError::UnsupportedAssignor, text))
}

/// Not given at all is fine; nothing but blanks, as Java knows them, is not.
fn check_given(value: Option<&str>, text: &str) -> Result<(), Rejection> {
    match value {
        Some(value) if value.chars().all(|c| c <= ' ') => invalid(text),
        _ => Ok(()),
    }
}

fn invalid(text: &str) -> Result<(), Rejection> {
    Err(rejection(ResponseError::InvalidRequest, text))
}
