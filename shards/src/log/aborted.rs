//! The aborted transactions of a partition, whose records readers of committed ones pass over.
//!
//! Purpose: Kafka's `.txnindex` files, one beside each segment that holds markers of aborted
//! transactions, and what a reader is told of them. An entry lies in the index of the segment of its
//! marker, wherever the transaction began.
//! Invariants: last offsets strictly increase, since each is the offset of a marker.
//! Crash behaviour: the files carry no checksum; the segment knows how many entries its own must
//! have ([`Segment::aborted`](super::segment::Segment::aborted)). One that is missing, has another
//! number of them or breaks an invariant is refused here, and the caller builds it anew from the
//! segments.
//! What it does not do: grow while the partition is served. No transaction is ended here yet; these
//! come from folders taken over from Apache Kafka.

use std::ops::Range;

use bytes::{Buf, BufMut};

use super::producer::CompletedTransaction;

/// Version (i16), producer id, first, last and last stable offset (i64), big-endian.
const ENTRY_BYTES: usize = 34;
const VERSION: i16 = 0;

/// A transaction whose records are not for readers of committed ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// Who wrote it.
    pub producer_id: i64,
    /// Its first record.
    pub first_offset: i64,
    /// Its marker.
    pub last_offset: i64,
    /// Below it every transaction was decided when the marker was written.
    pub last_stable_offset: i64,
}

impl From<CompletedTransaction> for AbortedTransaction {
    fn from(completed: CompletedTransaction) -> Self {
        Self {
            producer_id: completed.producer_id,
            first_offset: completed.first_offset,
            last_offset: completed.last_offset,
            last_stable_offset: completed.last_stable_offset,
        }
    }
}

/// The file is not the index of its segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unusable;

/// The content of a segment's index file.
pub fn encode(aborted: &[AbortedTransaction]) -> Vec<u8> {
    let mut out = Vec::with_capacity(aborted.len() * ENTRY_BYTES);
    for transaction in aborted {
        out.put_i16(VERSION);
        out.put_i64(transaction.producer_id);
        out.put_i64(transaction.first_offset);
        out.put_i64(transaction.last_offset);
        out.put_i64(transaction.last_stable_offset);
    }
    out
}

/// Reads the index file of a segment that holds the markers of `count` aborted transactions at these
/// offsets.
pub fn decode(
    mut bytes: &[u8],
    offsets: Range<i64>,
    count: u32,
) -> Result<Vec<AbortedTransaction>, Unusable> {
    if bytes.len() != count as usize * ENTRY_BYTES {
        return Err(Unusable);
    }
    let mut aborted = Vec::with_capacity(count as usize);
    let mut lowest = offsets.start;
    while bytes.has_remaining() {
        let version = bytes.get_i16();
        let transaction = AbortedTransaction {
            producer_id: bytes.get_i64(),
            first_offset: bytes.get_i64(),
            last_offset: bytes.get_i64(),
            last_stable_offset: bytes.get_i64(),
        };
        let AbortedTransaction {
            first_offset,
            last_offset,
            ..
        } = transaction;
        let is_sound = version == VERSION
            && (0..=last_offset).contains(&first_offset)
            && (lowest..offsets.end).contains(&last_offset);
        if !is_sound {
            return Err(Unusable);
        }
        lowest = last_offset + 1;
        aborted.push(transaction);
    }
    Ok(aborted)
}

/// All aborted transactions of a partition, in the order of their markers. Costs 32 bytes for each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AbortedTransactions(Vec<AbortedTransaction>);

impl AbortedTransactions {
    /// These, of all segments, oldest first.
    pub fn new(aborted: Vec<AbortedTransaction>) -> Self {
        debug_assert!(aborted.is_sorted_by_key(|transaction| transaction.last_offset));
        Self(aborted)
    }

    /// All of them.
    pub fn all(&self) -> &[AbortedTransaction] {
        &self.0
    }

    /// Compaction has left these of what ended at some offsets.
    pub fn replace(&mut self, offsets: Range<i64>, left: &[AbortedTransaction]) {
        let place = |offset| {
            let is_before = |known: &AbortedTransaction| known.last_offset < offset;
            self.0.partition_point(is_before)
        };
        let replaced = place(offsets.start)..place(offsets.end);
        self.0.splice(replaced, left.iter().copied());
    }

    /// Whether any ended at this offset or behind it.
    pub fn reach(&self, offset: i64) -> bool {
        self.0.last().is_some_and(|last| last.last_offset >= offset)
    }

    /// Those of which a part may lie at these offsets.
    pub fn overlapping(&self, offsets: Range<i64>) -> Vec<AbortedTransaction> {
        let from = self
            .0
            .partition_point(|transaction| transaction.last_offset < offsets.start);
        let mut found = Vec::new();
        for transaction in &self.0[from..] {
            if transaction.first_offset < offsets.end {
                found.push(*transaction);
            }
            // Whatever ended later began here or behind it.
            if transaction.last_stable_offset >= offsets.end {
                break;
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aborted(first_offset: i64, last_offset: i64, last_stable_offset: i64) -> AbortedTransaction {
        AbortedTransaction {
            producer_id: 7,
            first_offset,
            last_offset,
            last_stable_offset,
        }
    }

    #[test]
    fn an_entry_is_kafkas() {
        let bytes = encode(&[aborted(0x10, 0x20, 0x21)]);
        let mut expected = vec![0, 0];
        for number in [7_u8, 0x10, 0x20, 0x21] {
            expected.extend([0, 0, 0, 0, 0, 0, 0, number]);
        }
        assert_eq!(bytes, expected);
    }

    #[test]
    fn an_index_is_read_as_it_was_written() {
        let all = [aborted(3, 10, 5), aborted(5, 12, 13)];
        assert_eq!(decode(&encode(&all), 10..13, 2), Ok(all.to_vec()));
        assert_eq!(decode(&[], 10..13, 0), Ok(Vec::new()));
    }

    #[test]
    fn what_does_not_fit_the_segment_is_refused() {
        let all = [aborted(3, 10, 5), aborted(5, 12, 13)];
        let bytes = encode(&all);
        assert_eq!(decode(&bytes, 10..13, 3), Err(Unusable), "too few");
        assert_eq!(decode(&bytes, 10..13, 1), Err(Unusable), "too many");
        assert_eq!(decode(&bytes[1..], 10..13, 2), Err(Unusable), "torn");
        assert_eq!(decode(&bytes, 10..12, 2), Err(Unusable), "of the next");
        assert_eq!(
            decode(&bytes, 11..13, 2),
            Err(Unusable),
            "of the one before"
        );
        let swapped = encode(&[all[1], all[0]]);
        assert_eq!(decode(&swapped, 10..13, 2), Err(Unusable), "out of order");
        let mut newer = bytes.clone();
        newer[1] = 1;
        assert_eq!(decode(&newer, 10..13, 2), Err(Unusable), "another version");
        let backwards = encode(&[aborted(11, 10, 5)]);
        assert_eq!(decode(&backwards, 10..13, 1), Err(Unusable), "backwards");
    }

    #[test]
    fn compaction_takes_some_out_of_the_middle() {
        let [a, b, c] = [aborted(0, 10, 4), aborted(4, 12, 13), aborted(20, 21, 22)];
        let mut all = AbortedTransactions::new(vec![a, b, c]);
        all.replace(11..21, &[b]);
        assert_eq!(all.all(), [a, b, c]);
        all.replace(10..13, &[b]);
        assert_eq!(all.all(), [b, c]);
        all.replace(0..30, &[]);
        assert_eq!(all.all(), []);
    }

    #[test]
    fn a_reader_is_told_of_those_that_overlap() {
        let [a, b, c] = [aborted(0, 10, 4), aborted(4, 12, 13), aborted(20, 21, 22)];
        let all = AbortedTransactions::new(vec![a, b, c]);
        assert_eq!(all.overlapping(0..4), [a]);
        assert_eq!(all.overlapping(0..5), [a, b]);
        assert_eq!(all.overlapping(10..11), [a, b]);
        assert_eq!(all.overlapping(11..30), [b, c]);
        assert_eq!(all.overlapping(13..20), []);
        assert_eq!(all.overlapping(22..30), []);
        assert!(all.reach(21) && !all.reach(22));
    }
}
