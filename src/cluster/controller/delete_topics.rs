//! The end of topics, named or by id.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::error::{ControlError, ControlErrorKind};
use super::{Context, Decision, RECORDS_PER_REQUEST_MAX};
use crate::cluster::records::{Record, RemoveTopicRecord};

/// How a client names a topic: one of the two, and the nil id stands for none.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct TopicReference {
    pub name: Option<String>,
    pub id: Uuid,
}

impl TopicReference {
    pub fn by_name(name: impl Into<String>) -> Self {
        Self {
            name: Some(name.into()),
            id: Uuid::nil(),
        }
    }

    #[cfg(test)]
    pub fn by_id(id: Uuid) -> Self {
        Self { name: None, id }
    }
}

/// What became of one reference; name and id as far as both sides know them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletedTopic {
    pub name: Option<String>,
    pub id: Uuid,
    pub result: Result<(), ControlError>,
}

/// One result for each different reference, ordered by what became of it.
pub fn delete_topics(
    context: &Context<'_>,
    references: &[TopicReference],
) -> Decision<Vec<DeletedTopic>> {
    let mut counts: BTreeMap<&TopicReference, usize> = BTreeMap::new();
    for reference in references {
        *counts.entry(reference).or_default() += 1;
    }
    let mut reply = Vec::new();
    let mut refuse = |reference: &TopicReference, id, error| {
        reply.push(DeletedTopic {
            name: reference.name.clone(),
            id,
            result: Err(error),
        });
    };
    // Each topic found, with how it was referred to.
    let mut found: BTreeMap<Uuid, Vec<&TopicReference>> = BTreeMap::new();
    for (reference, count) in counts {
        match resolve(context, reference, count > 1) {
            Ok(id) => found.entry(id).or_default().push(reference),
            Err(error) => refuse(reference, reference.id, error),
        }
    }
    let mut doomed = Vec::new();
    for (id, referred) in found {
        match referred[..] {
            [_] => doomed.push(id),
            // Both by name and by id: neither counts.
            _ => {
                for reference in referred.iter().filter(|reference| reference.name.is_some()) {
                    let error =
                        invalid("The provided topic name maps to an ID that was already supplied.");
                    refuse(reference, id, error);
                }
            }
        }
    }

    let mut records = Vec::new();
    let too_many = doomed.len() > RECORDS_PER_REQUEST_MAX;
    for id in doomed {
        let result = if too_many {
            Err(ControlError::too_many_records())
        } else {
            records.push(Record::from(RemoveTopicRecord { topic_id: id }));
            Ok(())
        };
        let topic = context.image.topics.get(id);
        reply.push(DeletedTopic {
            name: topic.map(|topic| topic.name.to_string()),
            id,
            result,
        });
    }
    Decision::new(records, reply)
}

fn resolve(
    context: &Context<'_>,
    reference: &TopicReference,
    is_repeated: bool,
) -> Result<Uuid, ControlError> {
    if !context.policy.topics_can_be_deleted {
        return Err(ControlErrorKind::TopicDeletionDisabled.into());
    }
    match (&reference.name, reference.id.is_nil()) {
        (None, true) => Err(invalid("Neither topic name nor id were specified.")),
        (Some(_), false) => Err(invalid("You may not specify both topic name and topic id.")),
        (Some(_), true) if is_repeated => Err(invalid("Duplicate topic name.")),
        (None, false) if is_repeated => Err(invalid("Duplicate topic id.")),
        (Some(name), true) => context.image.topics.id_of(name).ok_or_else(|| {
            ControlError::new(
                ControlErrorKind::UnknownTopic,
                "This server does not host this topic-partition.",
            )
        }),
        (None, false) => match context.image.topics.get(reference.id) {
            Some(topic) => Ok(topic.id),
            None => Err(ControlError::new(
                ControlErrorKind::UnknownTopicId,
                "This server does not host this topic ID.",
            )),
        },
    }
}

fn invalid(message: &str) -> ControlError {
    ControlError::new(ControlErrorKind::InvalidRequest, message)
}

#[cfg(test)]
mod tests;
