//! Writing what compaction leaves of some segments.

use std::io;
use std::rc::Rc;

use crate::io::{BLOCK, DmaBuffer, File, Io, align_down};
use crate::log::batch::Batch;
use crate::log::index::{IndexedBatch, SegmentIndex};
use crate::log::segment::Segment;
use crate::mutation::{Mutation, is_on};
use crate::shard::store::DiskShare;

/// Bytes of one write.
const WRITE_BYTES: usize = 256 << 10;

/// A segment on its way, in a file that nobody else knows.
pub(super) struct Writer {
    io: Io,
    share: Rc<DiskShare>,
    file: Rc<File>,
    /// What is not in the file yet, from its last whole block on.
    buffer: DmaBuffer,
    filled: usize,
    written: u64,
    segment: Segment,
    index: SegmentIndex,
    index_interval_bytes: u32,
}

/// A segment that is on stable storage but for its indexes and its name.
pub(super) struct Written {
    pub file: Rc<File>,
    pub segment: Segment,
    pub index: SegmentIndex,
}

impl Writer {
    /// In an empty file.
    pub fn new(
        io: Io,
        share: Rc<DiskShare>,
        file: File,
        base_offset: i64,
        index_interval_bytes: u32,
    ) -> Self {
        let buffer = io.buffer(WRITE_BYTES);
        Self {
            io,
            share,
            file: Rc::new(file),
            buffer,
            filled: 0,
            written: 0,
            segment: Segment::new(base_offset, 0),
            index: SegmentIndex::new(base_offset),
            index_interval_bytes,
        }
    }

    /// Appends a batch; how many bytes were written for it and those before it.
    pub async fn put(&mut self, batch: Batch<'_>) -> io::Result<usize> {
        self.index.append(
            IndexedBatch {
                last_offset: batch.last_offset(),
                position: self.segment.bytes as u32,
                max_timestamp_ms: batch.max_timestamp(),
            },
            self.index_interval_bytes,
        );
        self.segment.note(&batch, 0);
        let mut rest = batch.bytes();
        let before = self.written;
        while !rest.is_empty() {
            let part = rest.len().min(WRITE_BYTES - self.filled);
            self.buffer[self.filled..self.filled + part].copy_from_slice(&rest[..part]);
            self.filled += part;
            rest = &rest[part..];
            if self.filled == WRITE_BYTES {
                self.flush().await?;
            }
        }
        Ok((self.written - before) as usize)
    }

    async fn flush(&mut self) -> io::Result<()> {
        let padded = self.filled.next_multiple_of(BLOCK);
        self.buffer[self.filled..padded].fill(0);
        let empty = self.io.buffer(BLOCK);
        let buffer = std::mem::replace(&mut self.buffer, empty);
        let writing = self
            .share
            .write(&self.io, &self.file, buffer, padded, self.written);
        let (written, buffer) = writing.await;
        self.buffer = buffer;
        self.written += align_down(self.filled as u64);
        self.filled = 0;
        written
    }

    /// Writes the rest and makes all of it durable.
    pub async fn finish(mut self) -> io::Result<Written> {
        if self.filled > 0 {
            self.flush().await?;
        }
        self.file.truncate(self.segment.bytes).await?;
        if !is_on(Mutation::CompactWithoutSync) {
            self.file.sync().await?;
        }
        self.index.seal();
        self.segment.settled = self.segment.bytes;
        self.segment.finish();
        Ok(Written {
            file: self.file,
            segment: self.segment,
            index: self.index,
        })
    }
}
