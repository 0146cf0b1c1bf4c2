//! Ids for idempotent producers, given away in blocks: a broker asks once for a thousand.

use corelog_shards::mutation::{Mutation, is_on};

use super::error::{ControlError, ControlErrorKind};
use super::{Context, Decision};
use crate::cluster::records::{ProducerIdsRecord, Record};

pub const PRODUCER_ID_BLOCK_SIZE: i64 = 1000;

/// The ids `first .. first + PRODUCER_ID_BLOCK_SIZE`, of one broker alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerIdBlock {
    pub first: i64,
}

pub fn allocate_producer_ids(
    context: &Context<'_>,
    broker_id: i32,
    broker_epoch: i64,
) -> Decision<Result<ProducerIdBlock, ControlError>> {
    let allocated = check_broker_epoch(context, broker_id, broker_epoch).and_then(|()| {
        let first = context.image.next_producer_id;
        let next = first.checked_add(PRODUCER_ID_BLOCK_SIZE);
        Ok((first, next.ok_or(ControlErrorKind::UnknownServerError)?))
    });
    match allocated {
        Ok((first, _)) if is_on(Mutation::ReuseProducerIds) => {
            Decision::new(Vec::new(), Ok(ProducerIdBlock { first }))
        }
        Ok((first, next_producer_id)) => {
            let record = ProducerIdsRecord {
                broker_id,
                broker_epoch,
                next_producer_id,
            };
            Decision::new(vec![Record::from(record)], Ok(ProducerIdBlock { first }))
        }
        Err(error) => Decision::new(Vec::new(), Err(error)),
    }
}

/// Whether the broker that asks is the one that registered last under its id.
fn check_broker_epoch(context: &Context<'_>, id: i32, epoch: i64) -> Result<(), ControlError> {
    let stale = |message| {
        Err(ControlError::new(
            ControlErrorKind::StaleBrokerEpoch,
            message,
        ))
    };
    match context.image.brokers.get(&id) {
        None => stale(format!("No broker registration found for broker id {id}")),
        Some(broker) if broker.epoch != epoch => stale(format!(
            "Expected broker epoch {}, but got broker epoch {epoch}",
            broker.epoch
        )),
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests;
