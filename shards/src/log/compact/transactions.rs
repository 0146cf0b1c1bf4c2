//! Which batches of transactions go.
//!
//! Batches are shown in the order of the log, once for each reading of it: first where the keys are collected, then
//! where batches are filtered.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::log::aborted::AbortedTransaction;
use crate::log::batch::Batch;
use crate::log::batch::control::TransactionEnd;

/// The transactions of a part of a log, as far as it was read.
#[derive(Default)]
pub struct Transactions {
    /// Those that were aborted, by first offset; every reading of the log shares them.
    all: Rc<[AbortedTransaction]>,
    /// How many of them have begun.
    begun: usize,
    /// Begun and not ended, by producer, with whether a batch of them was seen.
    aborted: BTreeMap<i64, (AbortedTransaction, bool)>,
    /// Producers with a batch in a transaction that is not aborted.
    committed: BTreeSet<i64>,
    /// Aborted ones whose markers stay because their records were still there.
    kept: Vec<AbortedTransaction>,
}

impl Transactions {
    /// With the aborted transactions of the part of the log that is read.
    pub fn new(mut aborted: Vec<AbortedTransaction>) -> Self {
        aborted.sort_unstable_by_key(|transaction| transaction.first_offset);
        Self {
            all: aborted.into(),
            ..Self::default()
        }
    }

    /// For another reading of the same part.
    pub fn again(&self) -> Self {
        Self {
            all: self.all.clone(),
            ..Self::default()
        }
    }

    /// Whether the batch says nothing to anybody any more: it has records of an aborted transaction, or it ends a
    /// transaction of which no records are left.
    pub fn is_void(&mut self, batch: Batch<'_>) -> bool {
        self.begin_through(batch.last_offset());
        let producer = batch.producer_id();
        // The marker of a transaction may lie before what is read, or be gone: nothing behind its place is of it.
        if let Some((ended, _)) = self.aborted.get(&producer)
            && ended.last_offset < batch.base_offset()
        {
            self.aborted.remove(&producer);
        }
        if batch.is_control() {
            return self.is_marker_void(batch);
        }
        if !batch.is_transactional() {
            return false;
        }
        match self.aborted.get_mut(&producer) {
            Some((_, was_seen)) => {
                *was_seen = true;
                true
            }
            None => {
                self.committed.insert(producer);
                false
            }
        }
    }

    /// The aborted transactions whose markers were shown since the last call and stay for their records' sake: the
    /// index of the segment names them.
    pub fn take_kept(&mut self) -> Vec<AbortedTransaction> {
        std::mem::take(&mut self.kept)
    }

    fn begin_through(&mut self, offset: i64) {
        while let Some(next) = self.all.get(self.begun)
            && next.first_offset <= offset
        {
            self.aborted.insert(next.producer_id, (*next, false));
            self.begun += 1;
        }
    }

    fn is_marker_void(&mut self, batch: Batch<'_>) -> bool {
        let producer = batch.producer_id();
        // What is no end of a transaction is none of this module's business.
        let Some(end) = TransactionEnd::of(batch) else {
            return false;
        };
        if !end.is_aborted {
            return !self.committed.remove(&producer);
        }
        match self.aborted.remove(&producer) {
            Some((transaction, true)) => {
                self.kept.push(transaction);
                false
            }
            _ => true,
        }
    }
}
