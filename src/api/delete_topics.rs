//! DeleteTopics: by name or by id; the controller decides.

use std::rc::Rc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse};

use super::view::topic_name;
use super::{Context, Failure, Request, errors};
use crate::cluster::controller::{ControlErrorKind, DeletedTopic, TopicReference, delete_topics};
use crate::protocol::reply::Reply;

/// Before, clients do not know the error that says topics cannot be deleted here.
const KNOWS_DELETION_DISABLED: i16 = 3;

pub async fn handle(context: Rc<Context>, request: Request) -> Result<Reply, Failure> {
    let version = request.header.api_version;
    let asked: DeleteTopicsRequest = request.decode()?;
    let by_name = asked.topic_names.iter();
    let by_name = by_name.map(|name| TopicReference::by_name(name.as_str()));
    let by_either = asked.topics.iter().map(|topic| TopicReference {
        name: topic.name.as_ref().map(|name| name.to_string()),
        id: topic.topic_id,
    });
    let references: Vec<TopicReference> = by_name.chain(by_either).collect();
    let asked_again = references.clone();
    let outcome = context
        .broker
        .control(move |context| delete_topics(context, &references))
        .await;
    let responses = match outcome {
        Ok(deleted) => deleted
            .into_iter()
            .map(|topic| tell(version, topic))
            .collect(),
        Err(failure) => {
            let code = errors::of_control_failure(failure).code();
            let failed = asked_again.iter().map(|reference| {
                DeletableTopicResult::default()
                    .with_name(reference.name.as_deref().map(topic_name))
                    .with_topic_id(reference.id)
                    .with_error_code(code)
            });
            failed.collect()
        }
    };
    let response = DeleteTopicsResponse::default().with_responses(responses);
    Ok(Reply::encode(&request.header, &response)?)
}

fn tell(version: i16, topic: DeletedTopic) -> DeletableTopicResult {
    let told = DeletableTopicResult::default()
        .with_name(topic.name.as_deref().map(topic_name))
        .with_topic_id(topic.id);
    let Err(error) = topic.result else {
        return told;
    };
    let is_disabled = error.kind == ControlErrorKind::TopicDeletionDisabled;
    if is_disabled && version < KNOWS_DELETION_DISABLED {
        return told.with_error_code(ResponseError::InvalidRequest.code());
    }
    let (code, message) = errors::refusal(error);
    told.with_error_code(code).with_error_message(message)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn old_clients_are_told_of_disabled_deletion_in_words_they_know() {
        let refused = || DeletedTopic {
            name: Some("t".to_owned()),
            id: Uuid::nil(),
            result: Err(ControlErrorKind::TopicDeletionDisabled.into()),
        };
        assert_eq!(tell(2, refused()).error_code, 42);
        assert_eq!(tell(3, refused()).error_code, 73);
    }
}
