//! DeleteTopics: by name or by id; the controller decides.

use std::rc::Rc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse};

use super::view::topic_name;
use super::{Context, Failure, Request, errors};
use crate::cluster::controller::{
    ControlErrorKind, DeletedTopic, TopicReference, check_count, delete_topics,
};
use crate::protocol::reply::Reply;
use crate::turns::Turns;

/// Before, clients do not know the error that says topics cannot be deleted here.
const KNOWS_DELETION_DISABLED: i16 = 3;

pub async fn handle(context: Rc<Context>, request: Request) -> Result<Reply, Failure> {
    let version = request.header.api_version;
    let asked: DeleteTopicsRequest = request.decode()?;
    let count = asked.topic_names.len() + asked.topics.len();
    let responses = match check_count(count) {
        Ok(()) => delete(&context, version, references(&asked).collect()).await,
        Err(error) => {
            let (code, message) = errors::refusal(error);
            let mut turns = Turns::on(context.broker.shard.io());
            let mut responses = Vec::with_capacity(count);
            for reference in references(&asked) {
                responses.push(failed(&reference, code).with_error_message(message.clone()));
                turns.step().await;
            }
            responses
        }
    };
    let response = DeleteTopicsResponse::default().with_responses(responses);
    Ok(Reply::encode(&request.header, &response)?)
}

fn references(asked: &DeleteTopicsRequest) -> impl Iterator<Item = TopicReference> {
    let by_name = asked.topic_names.iter();
    let by_name = by_name.map(|name| TopicReference::by_name(name.as_str()));
    let by_either = asked.topics.iter().map(|topic| TopicReference {
        name: topic.name.as_ref().map(|name| name.to_string()),
        id: topic.topic_id,
    });
    by_name.chain(by_either)
}

async fn delete(
    context: &Context,
    version: i16,
    references: Vec<TopicReference>,
) -> Vec<DeletableTopicResult> {
    let asked_again = references.clone();
    let outcome = context
        .broker
        .control(move |context| delete_topics(context, &references))
        .await;
    match outcome {
        Ok(deleted) => deleted
            .into_iter()
            .map(|topic| tell(version, topic))
            .collect(),
        Err(failure) => {
            let (code, message) = errors::not_carried_out(failure);
            let failed = |reference: &TopicReference| {
                failed(reference, code).with_error_message(message.clone())
            };
            asked_again.iter().map(failed).collect()
        }
    }
}

fn failed(reference: &TopicReference, code: i16) -> DeletableTopicResult {
    DeletableTopicResult::default()
        .with_name(reference.name.as_deref().map(topic_name))
        .with_topic_id(reference.id)
        .with_error_code(code)
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
    use kafka_protocol::messages::ApiKey;
    use uuid::Uuid;

    use super::*;
    use crate::api::testing::{ask, image_of, on_a_broker};

    #[test]
    fn more_topics_than_can_be_deleted_at_once_are_refused_without_a_look() {
        on_a_broker(image_of(&[("t", 1)], &[]), async move |context| {
            let mut names = vec![topic_name("t")];
            names.resize(10_001, topic_name("t"));
            let body = DeleteTopicsRequest::default().with_topic_names(names);
            let request = (ApiKey::DeleteTopics, 5);
            let reply: DeleteTopicsResponse = ask(&context, request, &body, handle).await;
            assert_eq!(reply.responses.len(), 10_001);
            let policy_violation = |result: &DeletableTopicResult| result.error_code == 44;
            assert!(reply.responses.iter().all(policy_violation));
        });
    }

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
