//! Files that nobody reads any more go a while after they were given up (`file.delete.delay.ms`), so that
//! what was deleted by mistake can still be copied.
//!
//! | what | how it is marked | when it goes |
//! |---|---|---|
//! | a segment below the log start | its files' names end in `.deleted` | after the delay of the topic |
//! | the folder of a deleted partition | its name ends in `-delete` | after the delay of the broker |
//!
//! What a start finds marked goes after the delay, counted anew. On a full disk all of it goes at once. What
//! compaction has replaced is never marked.
//!
//! # Crash behaviour
//! The list is in memory only; the marks are what the next start finds. A mark that a loss of power undoes
//! leaves a file that the log does not know, which the next start marks again.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use super::Shard;
use super::folders::unless_gone;
use super::store::{SEGMENT_FILES, Store};
use super::volume::{Folder, Volume};
use crate::io::futures::first_of;
use crate::io::{Instant, Notify};
use crate::log::segment_name::{DirPurpose, PartitionDir, SegmentFile};
use crate::partition::Partition;

/// Sleeps are no longer than this: nothing is gained by one that lasts for years.
const SLEEP_MAX: Duration = Duration::from_secs(3600);

/// A start has better to do than to look through all folders for what a crash has left there.
const BEFORE_LOOKING: Duration = Duration::from_secs(10);

/// What is marked.
enum Marked {
    /// The files of a segment: the folder and the base offset.
    Segment(PathBuf, i64),
    /// A folder with all that is in it.
    Folder(PathBuf),
}

/// What is marked on one shard, by when it goes.
#[derive(Default)]
pub(super) struct Removals {
    due: RefCell<BTreeMap<(Instant, u64), Marked>>,
    added: Cell<u64>,
    news: Notify,
}

impl Removals {
    fn add(&self, at: Instant, marked: Marked) {
        let number = self.added.replace(self.added.get() + 1);
        self.due.borrow_mut().insert((at, number), marked);
        self.news.notify_one();
    }

    /// Something has changed that the removal depends on.
    pub(super) fn wake(&self) {
        self.news.notify_one();
    }

    /// What goes next, if its time has come.
    fn take_due(&self, now: Instant) -> Option<Marked> {
        let mut due = self.due.borrow_mut();
        let first = due.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }

    /// Whether files of a segment wait for their time.
    fn has_segment(&self, dir: &Path, base_offset: i64) -> bool {
        let due = self.due.borrow();
        let mut marked = due.values();
        marked.any(|marked| matches!(marked, Marked::Segment(of, base) if of == dir && *base == base_offset))
    }

    fn next_due(&self) -> Option<Instant> {
        self.due.borrow().keys().next().map(|(at, _)| *at)
    }
}

impl Shard {
    /// The task that removes what is marked, one after the other, until the shard stops.
    pub(super) async fn remover(self) {
        let removals = &self.0.removals;
        while !self.0.stopping.get() {
            let is_disk_full = |volume: &Volume| volume.is_disk_full.get();
            let now = match self.0.volumes.iter().any(is_disk_full) {
                true => Instant::from_nanos(u64::MAX),
                false => self.io().now(),
            };
            if let Some(marked) = removals.take_due(now) {
                self.remove(marked).await;
                continue;
            }
            let next = removals.next_due();
            let left = next.map_or(SLEEP_MAX, |at| at.since(now).min(SLEEP_MAX));
            let (slept, news) = (self.io().sleep(left), removals.news.notified());
            first_of(pin!(slept), pin!(news)).await;
        }
    }

    async fn remove(&self, marked: Marked) {
        match marked {
            Marked::Folder(dir) => self.0.store.remove_dir_with_files(&dir).await,
            Marked::Segment(dir, base) => {
                let files = SEGMENT_FILES.map(|kind| SegmentFile::new(base, kind).deleted());
                for file in files {
                    let path = dir.join(file.name());
                    if let Err(error) = unless_gone(self.io().remove_file(&path).await) {
                        tracing::warn!(file = %path.display(), %error, "cannot remove a file");
                    }
                }
            }
        }
    }

    /// Gives up the files of a segment that is no longer part of its log. The caller holds the partition's
    /// turn.
    pub(super) async fn give_up_segment(
        &self,
        partition: &Partition,
        base_offset: i64,
    ) -> io::Result<()> {
        let delay = partition.state.borrow().log.config.file_delete_delay;
        self.0.store.mark_segment(partition, base_offset).await?;
        let dir = self.0.store.dir(partition);
        let at = self.io().now() + delay;
        self.0.removals.add(at, Marked::Segment(dir, base_offset));
        Ok(())
    }

    /// Has a folder removed that was set aside.
    pub(super) fn give_up_folder(&self, dir: PathBuf) {
        let at = self.io().now() + self.0.folder_delete_delay.get();
        self.0.removals.add(at, Marked::Folder(dir));
    }

    /// Removes what earlier runs have left behind. However much it is, the start does not wait for it.
    pub(super) async fn remove_leftovers(self) {
        for folder in self.0.folders.online() {
            self.give_up_leftovers(folder);
        }
        self.resume_moves().await;
        let keys = self.partitions();
        for partition in keys.iter().filter_map(|key| self.partition(key)) {
            let has_old = partition.state.borrow().log.has_old_segment();
            if has_old && !partition.is_offline() && self.has_folder(&partition).await {
                self.remove_old_segments(&partition).await;
            }
        }
        self.io().sleep(BEFORE_LOOKING).await;
        for partition in keys.iter().filter_map(|key| self.partition(key)) {
            if self.0.stopping.get() {
                return;
            }
            let was_there = |folder: &Folder| folder.found_dirs.borrow().contains(&*partition.dir);
            if partition.is_offline() || !was_there(&partition.folder()) {
                continue;
            }
            if let Err(error) = self.give_up_unknown_files(&partition).await {
                tracing::warn!(partition = %partition.dir, %error, "cannot remove old segments");
            }
        }
    }

    fn give_up_leftovers(&self, folder: &Folder) {
        let is_leftover = |name: &&String| {
            PartitionDir::parse(name).is_some_and(|dir| dir.purpose == DirPurpose::Delete)
        };
        let leftovers: Vec<String> = {
            let found = folder.found_dirs.borrow();
            found.iter().filter(is_leftover).cloned().collect()
        };
        for name in leftovers {
            folder.found_dirs.borrow_mut().remove(&name);
            self.give_up_folder(folder.path.join(&name));
        }
    }

    /// Whether the folder of a partition's name is its own: it may itself have been deleted, and the folder be
    /// another topic's.
    async fn has_folder(&self, partition: &Partition) -> bool {
        match self.0.store.is_of_another_topic(partition).await {
            Ok(is_others) => !is_others,
            Err(error) => {
                tracing::warn!(partition = %partition.dir, %error, "cannot look for old segments");
                false
            }
        }
    }

    /// Gives up files of segments that were marked by an earlier run, or that lie before all segments of the log.
    async fn give_up_unknown_files(&self, partition: &Rc<Partition>) -> io::Result<()> {
        let dir = self.0.store.dir(partition);
        let entries = match self.io().list_dir(&dir).await {
            // It was deleted meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            listed => listed?,
        };
        let files = entries
            .iter()
            .filter_map(|entry| SegmentFile::parse(&entry.name))
            .filter(|file| SEGMENT_FILES.contains(&file.kind));
        let first = {
            let state = partition.state.borrow();
            let first = state.log.segments().first();
            first.map_or(0, |first| first.base_offset)
        };
        let unknown: BTreeSet<i64> = files
            .filter(|file| file.deleted || file.base_offset < first)
            .map(|file| file.base_offset)
            .filter(|base| !self.0.removals.has_segment(&dir, *base))
            .collect();
        if unknown.is_empty() || !self.has_folder(partition).await {
            return Ok(());
        }
        let _turn = partition.settling.take().await;
        // The folder of a dropped one goes as a whole, and its name may be another topic's by now.
        if partition.state.borrow().is_dropped {
            return Ok(());
        }
        for base in unknown {
            self.give_up_segment(partition, base).await?;
        }
        Ok(())
    }
}

impl Store {
    /// Gives the files of a segment the names of deleted ones.
    async fn mark_segment(&self, partition: &Partition, base_offset: i64) -> io::Result<()> {
        self.forget_segments(partition, base_offset..base_offset + 1);
        let dir = self.dir(partition);
        for kind in SEGMENT_FILES {
            let file = SegmentFile::new(base_offset, kind);
            let marked = dir.join(file.deleted().name());
            unless_gone(self.io().rename(&dir.join(file.name()), &marked).await)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
