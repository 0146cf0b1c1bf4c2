//! The producer ids that a shard may give out: a block of them at a time comes from the controller.
//!
//! What is left of a block when the process ends is never used.

use std::cell::Cell;
use std::ops::Range;

use corelog_shards::partition::Turn;

use super::Broker;
use crate::cluster::controller::{ControlError, PRODUCER_ID_BLOCK_SIZE, allocate_producer_ids};
use crate::cluster::driver::ControlFailure;

/// Why there is no id to give.
#[derive(Debug)]
pub enum NoProducerId {
    Refused(ControlError),
    Failed(ControlFailure),
}

/// The ids of one shard.
#[derive(Default)]
pub struct ProducerIds {
    next: Cell<i64>,
    end: Cell<i64>,
    /// One at a time asks for the next block.
    turn: Turn,
}

impl ProducerIds {
    /// An id that nobody was ever given.
    pub(super) async fn draw(&self, broker: &Broker) -> Result<i64, NoProducerId> {
        loop {
            if let Some(id) = self.take() {
                return Ok(id);
            }
            let turn = self.turn.take().await;
            if self.is_used_up() {
                let block = allocate(broker).await?;
                self.next.set(block.start);
                self.end.set(block.end);
            }
            drop(turn);
        }
    }

    fn is_used_up(&self) -> bool {
        self.next.get() == self.end.get()
    }

    fn take(&self) -> Option<i64> {
        if self.is_used_up() {
            return None;
        }
        Some(self.next.replace(self.next.get() + 1))
    }
}

async fn allocate(broker: &Broker) -> Result<Range<i64>, NoProducerId> {
    let node_id = broker.node_id();
    let allocated = broker
        .control(move |context| {
            let registered = context.image.brokers.get(&node_id);
            let epoch = registered.map_or(-1, |broker| broker.epoch);
            allocate_producer_ids(context, node_id, epoch)
        })
        .await
        .map_err(NoProducerId::Failed)?;
    let block = allocated.map_err(NoProducerId::Refused)?;
    Ok(block.first..block.first + PRODUCER_ID_BLOCK_SIZE)
}
