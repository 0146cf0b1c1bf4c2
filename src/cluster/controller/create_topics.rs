//! New topics, asked for or made because a client named them.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::alter_configs::validated_config_records;
use super::directories::place_in_directories;
use super::error::{ControlError, ControlErrorKind};
use super::placement::{check_manual_assignment, new_partition, place_partitions};
use super::{Context, Decision, RECORDS_PER_REQUEST_MAX, check_count, split_duplicates};
use crate::cluster::ids::random_id;
use crate::cluster::image::{ConfigResource, Partition, Properties};
use crate::cluster::records::{Record, TopicRecord};

/// Of all topics of a request together, as in Kafka.
pub const PARTITIONS_PER_REQUEST_MAX: usize = 10_000;
const NAME_CHARS_MAX: usize = 249;
/// The metadata log itself, which is not a topic of the cluster.
const CLUSTER_METADATA_TOPIC: &str = "__cluster_metadata";
/// Of a number of partitions or a replication factor: the configured default.
const DEFAULT: i32 = -1;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CreateTopics {
    pub topics: Vec<NewTopic>,
    pub validate_only: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic {
    pub name: String,
    /// -1 for the default.
    pub partitions: i32,
    /// -1 for the default.
    pub replication_factor: i16,
    /// The replicas of each partition, if the client chose them.
    pub assignments: Vec<(i32, Vec<i32>)>,
    pub configs: Vec<(String, Option<String>)>,
}

impl NewTopic {
    /// A topic with defaults throughout, as one is made when a client first names it.
    pub fn automatic(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            partitions: DEFAULT,
            replication_factor: DEFAULT as i16,
            assignments: Vec::new(),
            configs: Vec::new(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatedTopic {
    pub id: Uuid,
    pub partitions: i32,
    pub replication_factor: i16,
    /// What the topic sets itself.
    pub configs: Properties,
}

/// One result for each topic, in the order of the request; names that came more than once follow
/// behind, once.
pub type CreateTopicsReply = Vec<(String, Result<CreatedTopic, ControlError>)>;

pub fn create_topics(
    context: &mut Context<'_>,
    request: &CreateTopics,
) -> Decision<CreateTopicsReply> {
    if let Err(error) = check_total(context, request) {
        return refuse_all(request, error);
    }
    let (topics, repeated) = split_duplicates(&request.topics, |topic| topic.name.as_str());
    let mut records = Vec::new();
    let mut reply = CreateTopicsReply::new();
    for topic in topics {
        let result = create_topic(context, topic, &mut records);
        if records.len() > RECORDS_PER_REQUEST_MAX {
            return refuse_all(request, ControlError::too_many_records());
        }
        reply.push((topic.name.clone(), result));
    }
    for name in repeated {
        let error = ControlError::new(ControlErrorKind::InvalidRequest, "Duplicate topic name.");
        reply.push((name.to_owned(), Err(error)));
    }
    Decision::new(records, reply).only_validated(request.validate_only)
}

fn refuse_all(request: &CreateTopics, error: ControlError) -> Decision<CreateTopicsReply> {
    let names: BTreeSet<&String> = request.topics.iter().map(|topic| &topic.name).collect();
    let refused = |name: &String| (name.clone(), Err(error.clone()));
    Decision::new(Vec::new(), names.into_iter().map(refused).collect())
}

fn check_total(context: &Context<'_>, request: &CreateTopics) -> Result<(), ControlError> {
    check_count(request.topics.len())?;
    let partitions_of = |topic: &NewTopic| match (topic.assignments.len(), topic.partitions) {
        (0, DEFAULT) => context.policy.default_partitions.into(),
        (0, partitions) => i64::from(partitions.max(0)),
        (assigned, _) => assigned as i64,
    };
    let total: i64 = request.topics.iter().map(partitions_of).sum();
    if total > PARTITIONS_PER_REQUEST_MAX as i64 {
        return Err(ControlError::new(
            ControlErrorKind::PolicyViolation,
            "Excessively large number of partitions per request.",
        ));
    }
    Ok(())
}

fn create_topic(
    context: &mut Context<'_>,
    topic: &NewTopic,
    records: &mut Vec<Record>,
) -> Result<CreatedTopic, ControlError> {
    check_name(context, &topic.name)?;
    let configs = requested_configs(topic)?;
    let resource = ConfigResource::topic(topic.name.as_str());
    let changes = configs
        .iter()
        .map(|(name, value)| (name.clone(), Some(value.clone())));
    let config_records = validated_config_records(context, &resource, changes, true)?;
    let mut partitions = if topic.assignments.is_empty() {
        chosen_partitions(context, topic)?
    } else {
        assigned_partitions(context, topic)?
    };

    let id = random_id(context.random_u64);
    let created = CreatedTopic {
        id,
        partitions: partitions.len() as i32,
        replication_factor: partitions[0].replicas.len() as i16,
        configs,
    };
    records.push(Record::from(TopicRecord {
        name: topic.name.clone(),
        topic_id: id,
    }));
    // Configuration stands before the partitions, so that it is known when these come to be.
    records.extend(config_records);
    for (at, partition) in (0..).zip(&mut partitions) {
        place_in_directories(context, &topic.name, at, partition);
        records.push(partition.to_record(id, at).into());
    }
    Ok(created)
}

fn check_name(context: &Context<'_>, name: &str) -> Result<(), ControlError> {
    if name == CLUSTER_METADATA_TOPIC {
        return Err(ControlError::new(
            ControlErrorKind::InvalidRequest,
            format!("Creation of internal topic {CLUSTER_METADATA_TOPIC} is prohibited."),
        ));
    }
    if context.image.topics.id_of(name).is_some() {
        return Err(ControlError::new(
            ControlErrorKind::TopicAlreadyExists,
            format!("Topic '{name}' already exists."),
        ));
    }
    if let Some(other) = context.image.topics.colliding_with(name) {
        return Err(ControlError::new(
            ControlErrorKind::InvalidTopic,
            format!("Topic '{name}' collides with existing topic: {other}"),
        ));
    }
    validate_topic_name(name)
}

/// Whether a topic may have this name.
pub fn validate_topic_name(name: &str) -> Result<(), ControlError> {
    let is_legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let why = if name.is_empty() {
        "the empty string is not allowed".to_owned()
    } else if name == "." || name == ".." {
        format!("'{name}' is not allowed")
    } else if name.chars().count() > NAME_CHARS_MAX {
        format!("the length of '{name}' is longer than the max allowed length {NAME_CHARS_MAX}")
    } else if !name.chars().all(is_legal) {
        format!(
            "'{name}' contains one or more characters other than \
             ASCII alphanumerics, '.', '_' and '-'"
        )
    } else {
        return Ok(());
    };
    Err(ControlError::new(
        ControlErrorKind::InvalidTopic,
        format!("Topic name is invalid: {why}"),
    ))
}

fn requested_configs(topic: &NewTopic) -> Result<Properties, ControlError> {
    let mut configs = Properties::new();
    let mut without_value = Vec::new();
    for (name, value) in &topic.configs {
        match value {
            Some(value) => {
                configs.insert(name.clone(), value.clone());
            }
            None => without_value.push(name.as_str()),
        }
    }
    if without_value.is_empty() {
        return Ok(configs);
    }
    Err(ControlError::new(
        ControlErrorKind::InvalidConfig,
        format!(
            "Null value not supported for topic configs: {}",
            without_value.join(",")
        ),
    ))
}

/// Partitions on brokers that the client chose.
fn assigned_partitions(
    context: &Context<'_>,
    topic: &NewTopic,
) -> Result<Vec<Partition>, ControlError> {
    let invalid = |message: &str| ControlError::new(ControlErrorKind::InvalidRequest, message);
    if i32::from(topic.replication_factor) != DEFAULT {
        return Err(invalid(
            "A manual partition assignment was specified, \
             but replication factor was not set to -1.",
        ));
    }
    if topic.partitions != DEFAULT {
        return Err(invalid(
            "A manual partition assignment was specified, \
             but numPartitions was not set to -1.",
        ));
    }
    let refused =
        |message: String| ControlError::new(ControlErrorKind::InvalidReplicaAssignment, message);
    let mut partitions = BTreeMap::new();
    let mut replication_factor = None;
    for (index, replicas) in &topic.assignments {
        if partitions.contains_key(index) {
            return Err(refused(format!(
                "Found multiple manual partition assignments for partition {index}"
            )));
        }
        check_manual_assignment(context, replicas, replication_factor)?;
        replication_factor = Some(replicas.len());
        let partition = new_partition(context, replicas.clone()).ok_or_else(|| {
            refused(format!(
                "All brokers specified in the manual partition assignment for \
                 partition {index} are fenced or in controlled shutdown."
            ))
        })?;
        partitions.insert(*index, partition);
    }
    if !partitions.keys().copied().eq(0..partitions.len() as i32) {
        return Err(refused(
            "partitions should be a consecutive 0-based integer sequence".to_owned(),
        ));
    }
    Ok(partitions.into_values().collect())
}

/// Partitions on brokers that the controller chooses.
fn chosen_partitions(
    context: &mut Context<'_>,
    topic: &NewTopic,
) -> Result<Vec<Partition>, ControlError> {
    let replication_factor = match i32::from(topic.replication_factor) {
        DEFAULT => context.policy.default_replication_factor,
        1.. => topic.replication_factor,
        _ => {
            return Err(ControlError::new(
                ControlErrorKind::InvalidReplicationFactor,
                "Replication factor must be larger than 0, or -1 to use the default value.",
            ));
        }
    };
    let count = match topic.partitions {
        DEFAULT => context.policy.default_partitions,
        count @ 1.. => count,
        _ => {
            return Err(ControlError::new(
                ControlErrorKind::InvalidPartitions,
                "Number of partitions was set to an invalid non-positive value.",
            ));
        }
    };
    place_partitions(context, count as usize, replication_factor).map_err(|mut error| {
        error.message = error.message.map(|why| {
            format!("Unable to replicate the partition {replication_factor} time(s): {why}")
        });
        error
    })
}

#[cfg(test)]
mod tests;
