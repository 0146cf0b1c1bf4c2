//! Elections that a client asks for.

use std::sync::Arc;

use super::error::{ControlError, ControlErrorKind};
use super::partition_change::{Election, PartitionUpdate, has_replica};
use super::{Context, Decision, RECORDS_PER_REQUEST_MAX};
use crate::cluster::image::Topic;
use crate::cluster::records::Record;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElectionType {
    /// Of the first replica.
    Preferred,
    /// Of any replica, where there is no leader.
    Unclean,
}

impl ElectionType {
    /// In the protocol's numbering.
    pub fn from_id(id: i8) -> Result<Self, ControlError> {
        match id {
            0 => Ok(Self::Preferred),
            1 => Ok(Self::Unclean),
            _ => Err(ControlError::new(
                ControlErrorKind::InvalidRequest,
                format!("Unknown election type {id}"),
            )),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ElectLeaders {
    pub election: ElectionType,
    /// `None` for all partitions there are.
    pub partitions: Option<Vec<(String, Vec<i32>)>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ElectedPartition {
    pub partition: i32,
    pub result: Result<(), ControlError>,
}

/// Topic by topic. When all partitions were asked for, those that need no election are left out.
pub type ElectLeadersReply = Vec<(String, Vec<ElectedPartition>)>;

pub fn elect_leaders(context: &Context<'_>, request: &ElectLeaders) -> Decision<ElectLeadersReply> {
    let mut records = Vec::new();
    let mut elect_one = |topic: Option<&Arc<Topic>>, name: &str, partition| {
        let election = elect_leader(context, topic, name, partition, request.election);
        let result = election.and_then(|record| {
            if records.len() == RECORDS_PER_REQUEST_MAX {
                return Err(ControlError::too_many_records());
            }
            records.push(record);
            Ok(())
        });
        ElectedPartition { partition, result }
    };
    let topics = &context.image.topics;
    let reply = match &request.partitions {
        Some(partitions) => partitions
            .iter()
            .map(|(name, ids)| {
                let topic = topics.by_name(name);
                let results = ids.iter().map(|id| elect_one(topic, name, *id));
                (name.clone(), results.collect())
            })
            .collect(),
        None => topics
            .iter()
            .map(|topic| {
                let ids = topic.partitions.keys();
                let results = ids.map(|id| elect_one(Some(topic), &topic.name, *id));
                let needed = results.filter(|elected| !is_not_needed(&elected.result));
                (topic.name.to_string(), needed.collect())
            })
            .collect(),
    };
    Decision::new(records, reply)
}

fn is_not_needed(result: &Result<(), ControlError>) -> bool {
    result
        .as_ref()
        .is_err_and(|error| error.kind == ControlErrorKind::ElectionNotNeeded)
}

fn elect_leader(
    context: &Context<'_>,
    topic: Option<&Arc<Topic>>,
    name: &str,
    id: i32,
    election: ElectionType,
) -> Result<Record, ControlError> {
    let unknown =
        |what: &str| ControlError::new(ControlErrorKind::UnknownTopic, format!("No such {what}"));
    let topic = topic.ok_or_else(|| unknown(&format!("topic as {name}")))?;
    let partition = topic
        .partition(id)
        .ok_or_else(|| unknown(&format!("partition as {name}-{id}")))?;
    let is_needed = match election {
        ElectionType::Preferred => !partition.has_preferred_leader(),
        ElectionType::Unclean => !partition.has_leader(),
    };
    if !is_needed {
        return Err(ControlError::new(
            ControlErrorKind::ElectionNotNeeded,
            "Leader election not needed for topic partition.",
        ));
    }
    let serves = |replica: i32| {
        let broker = context.image.brokers.get(&replica);
        broker.is_some_and(|broker| broker.is_active() && has_replica(partition, broker))
    };
    let (kind, unavailable) = match election {
        ElectionType::Preferred => (
            Election::Preferred,
            ControlError::new(
                ControlErrorKind::PreferredLeaderNotAvailable,
                "The preferred leader was not available.",
            ),
        ),
        ElectionType::Unclean => (
            Election::Unclean,
            ControlError::new(
                ControlErrorKind::EligibleLeadersNotAvailable,
                "Eligible topic partition leaders are not available.",
            ),
        ),
    };
    let update = PartitionUpdate::new(context, topic, (id, partition), kind, &serves);
    update.record().map(Record::from).ok_or(unavailable)
}

#[cfg(test)]
mod tests;
