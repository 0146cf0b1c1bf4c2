//! Sequences of an idempotent producer, and how they go on behind batches that the broker does not have.
//!
//! A broker takes the batches of a producer's epoch in the order of their sequences alone. If one was given up, the
//! broker either has it all the same, or refuses all that follow as out of order. It also refuses them if it has lost
//! what it acknowledged. Then the partition goes on in the next epoch with sequence 0, as with Kafka's clients: other
//! partitions keep their epoch, and no broker is asked. It waits until nothing of the partition is in flight, because a
//! broker does not recognise what comes again in another epoch.

use super::Producer;
use super::making::{Batch, Partition, Records};
use crate::batch::{self, renumbered};

/// Of a producer in one partition.
pub(super) struct Sequences {
    /// Of the producer's id.
    pub epoch: i16,
    /// Of the next record.
    pub next: i32,
    /// Of the first record behind the newest batch that was acknowledged.
    unacknowledged: i32,
    /// Number of the newest batch that was given up, as long as no later one is acknowledged.
    given_up: Option<u64>,
    /// Number of the oldest batch that was refused as out of order for one that does not come again.
    refused: Option<u64>,
}

impl Sequences {
    pub fn new(epoch: i16) -> Self {
        Self {
            epoch,
            next: 0,
            unacknowledged: 0,
            given_up: None,
            refused: None,
        }
    }

    /// Takes the sequence of the next record.
    pub fn take(&mut self) -> i32 {
        let sequence = self.next;
        self.next = (self.next + 1) & i32::MAX;
        sequence
    }

    /// The broker has a batch.
    pub fn acknowledged(&mut self, batch: &Batch) {
        self.unacknowledged =
            batch.base_sequence.wrapping_add(batch.due_ns.len() as i32) & i32::MAX;
        if self
            .given_up
            .is_some_and(|given_up| given_up < batch.number)
        {
            // And has the one that was given up, too.
            self.given_up = None;
            self.refused = None;
        }
    }

    /// A batch will not be sent again.
    pub fn given_up(&mut self, number: u64) {
        self.given_up = self.given_up.max(Some(number));
    }

    /// A batch was refused, because one before it is missing. That one comes again, unless it was given up, or there is
    /// none that was not acknowledged.
    pub fn out_of_order(&mut self, batch: &Batch) {
        let number = batch.number;
        let is_lost = batch.base_sequence == self.unacknowledged;
        if is_lost || self.given_up.is_some_and(|given_up| given_up < number) {
            self.refused = Some(self.refused.map_or(number, |refused| refused.min(number)));
        }
    }
}

impl Partition {
    /// Whether the broker waits for a batch that does not come again: nothing older is there that could be it.
    pub fn is_stuck(&self) -> bool {
        let oldest = self.batches.front().map(|batch| batch.number);
        let refused = self.sequences.refused;
        oldest
            .zip(refused)
            .is_some_and(|(oldest, refused)| oldest >= refused)
    }
}

impl Producer<'_> {
    /// Lets a partition that is stuck go on in the next epoch.
    pub(super) fn renew_sequences(&mut self, at: usize) {
        let partition = &mut self.partitions[at];
        if partition.in_flight > 0 || !partition.is_stuck() {
            return;
        }
        let Some(epoch) = partition.sequences.epoch.checked_add(1) else {
            return;
        };
        let mut sequences = Sequences::new(epoch);
        for batch in &mut partition.batches {
            batch.base_sequence = sequences.next;
            let producer = batch::Producer {
                id: self.producer_id,
                epoch,
                base_sequence: batch.base_sequence,
            };
            if let Records::Sealed(sealed) = &mut batch.records {
                *sealed = renumbered(sealed, producer).into();
            }
            batch.due_ns.iter().for_each(|_| {
                sequences.take();
            });
        }
        partition.sequences = sequences;
        self.list(at);
    }
}
