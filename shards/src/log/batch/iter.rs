//! Walking a buffer that holds one batch behind the other.

use super::header::{
    BatchError, BatchHeader, HEADER_BYTES, LENGTH_PREFIX_BYTES, THROUGH_MAGIC_BYTES, crc_of,
};
use std::ops::Deref;

/// One whole batch: its header, and its bytes to the end of its records.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    header: BatchHeader<'a>,
    bytes: &'a [u8],
}

impl<'a> Batch<'a> {
    /// The batch at the front of `bytes`; more may follow it.
    pub fn first(bytes: &'a [u8]) -> Result<Self, BatchError> {
        let header = BatchHeader::parse(bytes)?;
        let needed = header.size_bytes();
        let bytes = bytes.get(..needed).ok_or(BatchError::Truncated {
            needed,
            available: bytes.len(),
        })?;
        Ok(Self { header, bytes })
    }

    pub fn header(&self) -> BatchHeader<'a> {
        self.header
    }

    /// The batch as it lies in the log.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// What follows the header: records, or the compressed block of them.
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[HEADER_BYTES..]
    }

    pub fn check_crc(&self) -> Result<(), BatchError> {
        let (stored, computed) = (self.header.crc(), crc_of(self.bytes));
        if stored == computed {
            Ok(())
        } else {
            Err(BatchError::BadCrc { stored, computed })
        }
    }
}

impl<'a> Deref for Batch<'a> {
    type Target = BatchHeader<'a>;

    fn deref(&self) -> &BatchHeader<'a> {
        &self.header
    }
}

/// The batches of a buffer in order. Ends at the end of the buffer or behind the first error.
#[derive(Clone, Debug)]
pub struct BatchIter<'a> {
    bytes: &'a [u8],
    position: usize,
    verify_crc: bool,
    failed: bool,
}

impl<'a> BatchIter<'a> {
    /// Trusts the bytes of the batches: for what was verified when it came in.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            position: 0,
            verify_crc: false,
            failed: false,
        }
    }

    /// Checks the CRC of each batch: for what comes from outside or from disk.
    pub fn verifying(bytes: &'a [u8]) -> Self {
        Self {
            verify_crc: true,
            ..Self::new(bytes)
        }
    }

    /// Bytes of the batches returned so far, all of them good: where the buffer would have to be cut.
    pub fn position(&self) -> usize {
        self.position
    }
}

impl<'a> Iterator for BatchIter<'a> {
    type Item = Result<Batch<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = &self.bytes[self.position..];
        if rest.is_empty() || self.failed {
            return None;
        }
        let batch = Batch::first(rest).and_then(|batch| {
            if self.verify_crc {
                batch.check_crc()?;
            }
            Ok(batch)
        });
        match &batch {
            Ok(batch) => self.position += batch.bytes().len(),
            Err(_) => self.failed = true,
        }
        Some(batch)
    }
}

/// The first batch of `bytes` that ends at or behind `offset`: the one that holds it, or, where
/// compaction left a gap, the next. Its place in `bytes` comes with it.
pub fn find_offset(bytes: &[u8], offset: i64) -> Result<Option<(usize, Batch<'_>)>, BatchError> {
    let mut batches = BatchIter::new(bytes);
    loop {
        let position = batches.position();
        match batches.next().transpose()? {
            Some(batch) if batch.last_offset() < offset => {}
            found => return Ok(found.map(|batch| (position, batch))),
        }
    }
}

const _: () =
    assert!(LENGTH_PREFIX_BYTES < THROUGH_MAGIC_BYTES && THROUGH_MAGIC_BYTES < HEADER_BYTES);
