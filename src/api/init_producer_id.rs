//! InitProducerId: ids for idempotent producers.
//!
//! The controller gives each shard a block of ids at a time; what is left of a block when the process
//! ends is never used. Transactional ids are answered as by a Kafka whose transaction coordinator is
//! not available.

use std::cell::Cell;
use std::ops::Range;
use std::rc::Rc;

use corelog_shards::partition::Turn;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse, ProducerId};

use super::{Context, Request, errors};
use crate::broker::Broker;
use crate::cluster::controller::{PRODUCER_ID_BLOCK_SIZE, allocate_producer_ids};
use crate::protocol::Malformed;
use crate::protocol::reply::Reply;

const NO_PRODUCER_ID: ProducerId = ProducerId(-1);
const NO_EPOCH: i16 = -1;

/// The producer ids that a shard may give out.
#[derive(Default)]
pub struct ProducerIds {
    first: Cell<i64>,
    end: Cell<i64>,
    /// One at a time asks for the next block.
    turn: Turn,
}

impl ProducerIds {
    /// An id that nobody was ever given.
    async fn next(&self, broker: &Broker) -> Result<ProducerId, ResponseError> {
        loop {
            if let Some(id) = self.take() {
                return Ok(id);
            }
            let turn = self.turn.take().await;
            if self.first.get() == self.end.get() {
                let block = allocate(broker).await?;
                self.first.set(block.start);
                self.end.set(block.end);
            }
            drop(turn);
        }
    }

    fn take(&self) -> Option<ProducerId> {
        let first = self.first.get();
        if first == self.end.get() {
            return None;
        }
        self.first.set(first + 1);
        Some(ProducerId(first))
    }
}

async fn allocate(broker: &Broker) -> Result<Range<i64>, ResponseError> {
    let node_id = broker.node_id();
    let allocated = broker
        .control(move |context| {
            let registered = context.image.brokers.get(&node_id);
            let epoch = registered.map_or(-1, |broker| broker.epoch);
            allocate_producer_ids(context, node_id, epoch)
        })
        .await
        .map_err(errors::of_control_failure)?;
    let block = allocated.map_err(|refusal| errors::of_control(refusal.kind))?;
    Ok(block.first..block.first + PRODUCER_ID_BLOCK_SIZE)
}

pub async fn handle(context: Rc<Context>, request: Request) -> Result<Reply, Malformed> {
    let asked: InitProducerIdRequest = request.decode()?;
    let outcome = match check(&asked) {
        Ok(()) => context.broker.producer_ids.next(&context.broker).await,
        Err(error) => Err(error),
    };
    let response = match outcome {
        Ok(id) => InitProducerIdResponse::default()
            .with_producer_id(id)
            .with_producer_epoch(0),
        Err(error) => InitProducerIdResponse::default()
            .with_error_code(error.code())
            .with_producer_id(NO_PRODUCER_ID)
            .with_producer_epoch(NO_EPOCH),
    };
    Ok(Reply::encode(&request.header, &response))
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
