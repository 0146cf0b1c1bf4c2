//! The aborted transactions of a partition, read from its files when the first reader of committed
//! records needs them: starting up looks at no file.
//!
//! An index file that is missing or damaged is made anew by reading the segments, which takes as long
//! as that takes, once.

use std::io;
use std::path::Path;

use bytes::Bytes;

use super::message::{ReadError, ReadSpec};
use super::store::{Fault, Store, has_segment, segment_key};
use crate::io::OpenMode;
use crate::log::Log;
use crate::log::aborted::{self, AbortedTransaction, AbortedTransactions, Unusable};
use crate::log::segment_name::{FileKind, SegmentFile};
use crate::partition::Partition;

/// A segment that holds markers of aborted transactions.
struct Marked {
    base_offset: i64,
    next_base: i64,
    count: u32,
}

impl Store {
    /// Writes the index of a segment's aborted transactions; if there are none, only over one that is
    /// there.
    pub(super) async fn write_aborted(
        &self,
        dir: &Path,
        segment_base: i64,
        aborted: &[AbortedTransaction],
    ) -> io::Result<()> {
        let path = dir.join(SegmentFile::new(segment_base, FileKind::TxnIndex).name());
        if aborted.is_empty() {
            match self.io().file_len(&path).await {
                Ok(1..) => {}
                Ok(0) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.io()
            .write_small(&path, &aborted::encode(aborted))
            .await
    }

    /// The aborted transactions that a reader gets with these batches.
    pub(super) async fn aborted_among(
        &self,
        partition: &Partition,
        spec: &ReadSpec,
        batches: &[Bytes],
    ) -> Result<Vec<AbortedTransaction>, ReadError> {
        loop {
            if let Some(aborted) = partition.aborted_among(spec, batches) {
                return Ok(aborted);
            }
            self.all_aborted(partition).await?;
        }
    }

    /// Has all aborted transactions of a partition in memory.
    pub(super) async fn all_aborted(&self, partition: &Partition) -> Result<(), ReadError> {
        let _turn = partition.loading_aborted.take().await;
        if partition.aborted.borrow().is_none() {
            let aborted = self.load_aborted(partition).await?;
            *partition.aborted.borrow_mut() = Some(aborted);
        }
        Ok(())
    }

    async fn load_aborted(&self, partition: &Partition) -> Result<AbortedTransactions, ReadError> {
        let mut all = Vec::new();
        for marked in marked_segments(partition) {
            match self.read_aborted(partition, &marked).await? {
                Ok(aborted) => all.extend(aborted),
                Err(Unusable) if !has_segment(partition, marked.base_offset) => {}
                Err(Unusable) => {
                    tracing::warn!(
                        partition = %partition.dir,
                        segment = marked.base_offset,
                        "the index of aborted transactions is missing or damaged; reading the segments \
                         to make it anew"
                    );
                    return self.rebuild_aborted(partition).await;
                }
            }
        }
        Ok(AbortedTransactions::new(all))
    }

    async fn read_aborted(
        &self,
        partition: &Partition,
        marked: &Marked,
    ) -> Result<Result<Vec<AbortedTransaction>, Unusable>, ReadError> {
        let (base, kind) = (marked.base_offset, FileKind::TxnIndex);
        match self.read_file(partition, base, kind).await {
            Ok(bytes) => {
                let offsets = marked.base_offset..marked.next_base;
                Ok(aborted::decode(&bytes, offsets, marked.count))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Err(Unusable)),
            Err(error) => Err(self.without_aborted(partition, base, kind, &error)),
        }
    }

    /// A file that tells of aborted transactions cannot be read, which is told once: readers will come again and again.
    fn without_aborted(
        &self,
        partition: &Partition,
        segment_base: i64,
        kind: FileKind,
        error: &io::Error,
    ) -> ReadError {
        let key = segment_key(partition, segment_base);
        if self.is_news(partition, key, kind, Fault::Unreadable) {
            tracing::error!(
                partition = %partition.dir,
                file = %self.path(partition, segment_base, kind).display(),
                %error,
                "cannot read the aborted transactions of a partition: readers of committed records get an error"
            );
        }
        ReadError::Storage
    }

    /// Finds the aborted transactions by reading all segments, as at a takeover, and writes their
    /// indexes.
    async fn rebuild_aborted(
        &self,
        partition: &Partition,
    ) -> Result<AbortedTransactions, ReadError> {
        let (config, segments) = {
            let state = partition.state.borrow();
            let segments = state.log.segments();
            let last = segments.iter().rposition(|segment| segment.aborted > 0);
            let segments: Vec<(i64, u64)> = segments[..last.map_or(0, |last| last + 1)]
                .iter()
                .map(|segment| (segment.base_offset, segment.bytes))
                .collect();
            (state.log.config.clone(), segments)
        };
        let mut read = Log::new(config);
        let mut all = Vec::new();
        let next_bases = segments.iter().skip(1).map(|(next, _)| Some(*next));
        let next_bases: Vec<Option<i64>> = next_bases.chain([None]).collect();
        for ((base, len), next_base) in segments.into_iter().zip(next_bases) {
            let path = self.path(partition, base, FileKind::Log);
            let file = match self.io().open(&path, OpenMode::READ).await {
                Ok(file) => file,
                Err(_) if !has_segment(partition, base) => continue,
                Err(error) => {
                    return Err(self.without_aborted(partition, base, FileKind::Log, &error));
                }
            };
            let noted = self
                .note_segment(&mut read, &file, (base, len), next_base)
                .await
                .map_err(|error| self.without_aborted(partition, base, FileKind::Log, &error))?;
            if noted.sound_bytes < len {
                tracing::error!(
                    file = %path.display(),
                    position = noted.sound_bytes,
                    "a segment is damaged: transactions that were aborted behind this position are \
                     shown to readers of committed records"
                );
            } else if let Some(segment) = partition.state.borrow_mut().log.segment_mut(base) {
                // Records of a transaction that lay in segments before the first are gone.
                segment.aborted = noted.aborted.len() as u32;
            }
            let written = self
                .write_aborted(&self.dir(partition), base, &noted.aborted)
                .await;
            if let Err(error) = written {
                tracing::warn!(file = %path.display(), %error, "cannot write the index of aborted transactions");
            }
            all.extend(noted.aborted);
        }
        Ok(AbortedTransactions::new(all))
    }
}

fn marked_segments(partition: &Partition) -> Vec<Marked> {
    let state = partition.state.borrow();
    let segments = state.log.segments();
    let ends = segments[1.min(segments.len())..]
        .iter()
        .map(|next| next.base_offset)
        .chain([state.log.end_offset()]);
    segments
        .iter()
        .zip(ends)
        .filter(|(segment, _)| segment.aborted > 0)
        .map(|(segment, next_base)| Marked {
            base_offset: segment.base_offset,
            next_base,
            count: segment.aborted,
        })
        .collect()
}
