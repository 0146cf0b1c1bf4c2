//! Reading the batches of a finished segment one after the other.

use std::rc::Rc;

use super::CompactError;
use crate::io::{BLOCK, DmaBuffer, File, Io, align_down};
use crate::log::batch::Batch;
use crate::log::batch::header::LENGTH_PREFIX_BYTES;
use crate::log::compact::Candidate;
use crate::partition::Partition;
use crate::shard::store::{DiskShare, Store};

/// Where in a segment the reading is.
pub(super) struct Reader {
    io: Io,
    share: Rc<DiskShare>,
    file: Rc<File>,
    base_offset: i64,
    next_offset: i64,
    bytes: u64,
    position: u64,
    /// First offset that the next batch may have.
    offset: i64,
    chunk: Option<Chunk>,
}

struct Chunk {
    buffer: DmaBuffer,
    /// Of its first byte in the file.
    at: u64,
}

impl Reader {
    pub async fn open(
        store: &Store,
        partition: &Partition,
        segment: &Candidate,
    ) -> Result<Self, CompactError> {
        Ok(Self {
            io: store.io().clone(),
            share: partition.disk_share(),
            file: store.segment(partition, segment.base_offset, false).await?,
            base_offset: segment.base_offset,
            next_offset: segment.next_offset,
            bytes: segment.bytes,
            position: 0,
            offset: segment.base_offset,
            chunk: None,
        })
    }

    /// Has the next batch in memory, and those behind it that fit; how many bytes that took from the disk. `None` at the
    /// end of the segment.
    pub async fn fill(&mut self) -> Result<Option<usize>, CompactError> {
        if self.position == self.bytes {
            return Ok(None);
        }
        let mut wanted = self.share.chunk_bytes_max(&self.io);
        loop {
            let at = align_down(self.position);
            let left = (self.bytes - at) as usize;
            let len = left.min(wanted).next_multiple_of(BLOCK);
            let buffer = self.share.read(&self.io, &self.file, at, len).await?;
            if buffer.len() < left.min(len) {
                return Err(self.damaged());
            }
            self.chunk = Some(Chunk { buffer, at });
            match self.size_of_next() {
                Some(size) if self.whole(size).is_some() => return Ok(Some(len)),
                Some(size) if self.position + size as u64 <= self.bytes => {
                    wanted = (size + BLOCK).max(2 * wanted);
                }
                _ => return Err(self.damaged()),
            }
        }
    }

    /// The next batch of what is in memory. It is sound and in its place.
    pub fn next(&mut self) -> Result<Option<Batch<'_>>, CompactError> {
        let Some(size) = self.size_of_next() else {
            return Ok(None);
        };
        if self.whole(size).is_none() {
            return Ok(None);
        }
        let damaged = self.damaged();
        let (offset, next_offset) = (self.offset, self.next_offset);
        let place = self.place();
        self.position += size as u64;
        let chunk = self.chunk.as_ref().expect("it has the batch");
        let batch = Batch::first(&chunk.buffer[place..place + size]);
        let Ok(batch) = batch else {
            return Err(damaged);
        };
        let is_in_place = batch.base_offset() >= offset && batch.next_offset() <= next_offset;
        if !is_in_place || batch.next_offset() <= batch.base_offset() || batch.check_crc().is_err()
        {
            return Err(damaged);
        }
        self.offset = batch.next_offset();
        Ok(Some(batch))
    }

    /// Of the next batch in what is in memory.
    fn place(&self) -> usize {
        let at = self.chunk.as_ref().map_or(0, |chunk| chunk.at);
        (self.position - at) as usize
    }

    fn size_of_next(&self) -> Option<usize> {
        let prefix = self.whole(LENGTH_PREFIX_BYTES)?;
        let length = prefix[LENGTH_PREFIX_BYTES - 4..].first_chunk()?;
        let length = usize::try_from(i32::from_be_bytes(*length)).ok()?;
        Some(length + LENGTH_PREFIX_BYTES)
    }

    /// So many bytes from the position on, if they are in memory and of the segment.
    fn whole(&self, len: usize) -> Option<&[u8]> {
        if self.position + len as u64 > self.bytes {
            return None;
        }
        let place = self.place();
        self.chunk.as_ref()?.buffer.get(place..place + len)
    }

    fn damaged(&self) -> CompactError {
        CompactError::Damaged {
            segment: self.base_offset,
            position: self.position,
        }
    }
}
