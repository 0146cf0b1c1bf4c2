//! More partitions for topics that exist.

use super::directories::place_in_directories;
use super::error::{ControlError, ControlErrorKind};
use super::placement::{check_manual_assignment, new_partition, place_partitions};
use super::{Context, Decision, RECORDS_PER_REQUEST_MAX, split_duplicates};
use crate::cluster::image::{Partition, Topic};
use crate::cluster::records::Record;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CreatePartitions {
    pub topics: Vec<MorePartitions>,
    pub validate_only: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MorePartitions {
    pub name: String,
    /// How many the topic is to have.
    pub count: i32,
    /// The replicas of each new partition, if the client chose them.
    pub assignments: Option<Vec<Vec<i32>>>,
}

/// Names that came more than once, once each; then one result for each other topic, in the order of
/// the request.
pub type CreatePartitionsReply = Vec<(String, Result<(), ControlError>)>;

pub fn create_partitions(
    context: &mut Context<'_>,
    request: &CreatePartitions,
) -> Decision<CreatePartitionsReply> {
    let (topics, repeated) = split_duplicates(&request.topics, |topic| topic.name.as_str());
    let mut reply = CreatePartitionsReply::new();
    for name in repeated {
        let error = ControlError::new(ControlErrorKind::InvalidRequest, "Duplicate topic name.");
        reply.push((name.to_owned(), Err(error)));
    }
    let mut records = Vec::new();
    for topic in topics {
        let result = add_partitions(context, topic, &mut records);
        reply.push((topic.name.clone(), result));
    }
    Decision::new(records, reply).only_validated(request.validate_only)
}

fn add_partitions(
    context: &mut Context<'_>,
    request: &MorePartitions,
    records: &mut Vec<Record>,
) -> Result<(), ControlError> {
    let Some(topic) = context.image.topics.by_name(&request.name).cloned() else {
        return Err(ControlErrorKind::UnknownTopic.into());
    };
    let existing = topic.partition_count();
    let additional = additional_partitions(request, existing)?;
    if let Some(assignments) = &request.assignments
        && assignments.len() != additional
    {
        return Err(ControlError::new(
            ControlErrorKind::InvalidReplicaAssignment,
            format!(
                "Attempted to add {additional} additional partition(s), \
                 but only {} assignment(s) were specified.",
                assignments.len()
            ),
        ));
    }
    if records.len() + additional > RECORDS_PER_REQUEST_MAX {
        return Err(ControlError::too_many_records());
    }
    let replication_factor = replication_factor_of(&topic)?;
    let mut partitions = match &request.assignments {
        Some(assignments) => {
            assigned_partitions(context, existing, replication_factor, assignments)?
        }
        None => place_partitions(context, additional, replication_factor as i16)?,
    };
    for (at, partition) in (existing as i32..).zip(&mut partitions) {
        place_in_directories(context, &topic.name, at, partition);
        records.push(partition.to_record(topic.id, at).into());
    }
    Ok(())
}

fn additional_partitions(request: &MorePartitions, existing: usize) -> Result<usize, ControlError> {
    let refused = |message| {
        Err(ControlError::new(
            ControlErrorKind::InvalidPartitions,
            message,
        ))
    };
    match i64::from(request.count) - existing as i64 {
        0 => refused(format!("Topic already has {existing} partition(s).")),
        additional @ 1.. => Ok(additional as usize),
        _ => refused(format!(
            "The topic {} currently has {existing} partition(s); {} would not be an increase.",
            request.name, request.count
        )),
    }
}

/// New partitions have as many replicas as the first one has.
fn replication_factor_of(topic: &Topic) -> Result<usize, ControlError> {
    let first = topic.partitions.values().next();
    first
        .map(|partition| partition.replicas.len())
        .filter(|factor| i16::try_from(*factor).is_ok())
        .ok_or(ControlErrorKind::UnknownServerError.into())
}

fn assigned_partitions(
    context: &Context<'_>,
    existing: usize,
    replication_factor: usize,
    assignments: &[Vec<i32>],
) -> Result<Vec<Partition>, ControlError> {
    let one = |(at, replicas): (usize, &Vec<i32>)| {
        check_manual_assignment(context, replicas, Some(replication_factor))?;
        new_partition(context, replicas.clone()).ok_or_else(|| {
            ControlError::new(
                ControlErrorKind::InvalidReplicaAssignment,
                format!(
                    "All brokers specified in the manual partition assignment for \
                     partition {at} are fenced or in controlled shutdown."
                ),
            )
        })
    };
    (existing..).zip(assignments).map(one).collect()
}

#[cfg(test)]
mod tests;
