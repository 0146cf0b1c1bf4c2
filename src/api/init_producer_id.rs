//! InitProducerId: ids for idempotent producers.
//!
//! Transactional ids are answered as by a Kafka whose transaction coordinator is not available.

use std::rc::Rc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse, ProducerId};

use super::{Context, Failure, Request, errors};
use crate::protocol::reply::Reply;

const NO_PRODUCER_ID: ProducerId = ProducerId(-1);
const NO_EPOCH: i16 = -1;

pub async fn handle(context: Rc<Context>, request: Request) -> Result<Reply, Failure> {
    let asked: InitProducerIdRequest = request.decode()?;
    let outcome = match check(&asked) {
        Ok(()) => context
            .broker
            .new_producer_id()
            .await
            .map_err(errors::of_no_producer_id),
        Err(error) => Err(error),
    };
    let response = match outcome {
        Ok(id) => InitProducerIdResponse::default()
            .with_producer_id(ProducerId(id))
            .with_producer_epoch(0),
        Err(error) => InitProducerIdResponse::default()
            .with_error_code(error.code())
            .with_producer_id(NO_PRODUCER_ID)
            .with_producer_epoch(NO_EPOCH),
    };
    Ok(Reply::encode(&request.header, &response)?)
}

fn check(asked: &InitProducerIdRequest) -> Result<(), ResponseError> {
    let (no_id, no_epoch) = (
        asked.producer_id == NO_PRODUCER_ID,
        asked.producer_epoch == NO_EPOCH,
    );
    match &asked.transactional_id {
        _ if no_id != no_epoch => Err(ResponseError::InvalidRequest),
        Some(id) if id.is_empty() => Err(ResponseError::InvalidRequest),
        Some(_) => Err(ResponseError::CoordinatorNotAvailable),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::TransactionalId;
    use kafka_protocol::protocol::StrBytes;

    use super::*;

    #[test]
    fn only_plain_idempotent_producers_get_ids() {
        let plain = InitProducerIdRequest::default().with_transactional_id(None);
        assert_eq!(check(&plain), Ok(()));
        let again = plain.clone().with_producer_id(ProducerId(7));
        assert_eq!(check(&again), Err(ResponseError::InvalidRequest));
        assert_eq!(check(&again.with_producer_epoch(0)), Ok(()));
        let transactional = |id| {
            let id = TransactionalId(StrBytes::from_static_str(id));
            check(&plain.clone().with_transactional_id(Some(id)))
        };
        assert_eq!(transactional(""), Err(ResponseError::InvalidRequest));
        let unavailable = Err(ResponseError::CoordinatorNotAvailable);
        assert_eq!(transactional("t"), unavailable);
    }
}
