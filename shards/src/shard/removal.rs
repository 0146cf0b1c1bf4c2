//! Files that nobody reads any more go a while after they were given up (`file.delete.delay.ms`), so that
//! what was deleted by mistake can still be copied.
//!
//! | what | how it is marked | when it goes |
//! |---|---|---|
//! | a segment below the log start | its files' names end in `.deleted` | after the delay of the topic |
//! | the folder of a deleted partition | its name ends in `-delete` | after the delay of the broker |
//!
//! What a start finds marked goes after the delay, counted anew. On a full disk all that is marked there goes at once.
//! What compaction has replaced is never marked.
//!
//! # Crash behaviour
//! The list is in memory only; the marks are what the next start finds. A mark that a loss of power undoes
//! leaves a file that the log does not know, which the next start marks again. A marked file may have the base offset of
//! a segment that is in use: Apache Kafka marks what its cleaner has replaced.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use super::Shard;
use super::folders::unless_gone;
use super::store::{SEGMENT_FILES, Store};
use super::volume::Folder;
use crate::io::futures::first_of;
use crate::io::{Instant, Notify};
use crate::log::segment_name::{DirPurpose, PartitionDir, SegmentFile};
use crate::partition::{Partition, Turn};

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

/// What a shard has marked on the device of one volume, by when it goes.
#[derive(Default)]
pub(super) struct Removals {
    due: RefCell<BTreeMap<(Instant, u64), Marked>>,
    added: Cell<u64>,
    news: Notify,
    /// Held while files are removed.
    removing: Turn,
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

    /// Waits for what is being removed. Nothing is after the shard has been told to stop.
    pub(super) async fn ended(&self) {
        self.wake();
        self.removing.take().await;
    }

    fn next_due(&self) -> Option<Instant> {
        self.due.borrow().keys().next().map(|(at, _)| *at)
    }
}

impl Shard {
    /// The task that removes what is marked on a volume, one after the other, until the shard stops.
    pub(super) async fn remover(self, volume: usize) {
        let volume = &self.0.volumes[volume];
        let removals = &volume.removals;
        loop {
            let removing = removals.removing.take().await;
            if self.0.stopping.get() {
                return;
            }
            let now = match volume.is_disk_full.get() {
                true => Instant::from_nanos(u64::MAX),
                false => self.io().now(),
            };
            if let Some(marked) = removals.take_due(now) {
                self.remove(marked).await;
                continue;
            }
            drop(removing);
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
        self.0.store.mark_segment(partition, base_offset).await?;
        self.remove_later(partition, base_offset);
        Ok(())
    }

    /// Has the files of a segment removed that are marked.
    fn remove_later(&self, partition: &Partition, base_offset: i64) {
        let delay = partition.state.borrow().log.config.file_delete_delay;
        let marked = Marked::Segment(self.0.store.dir(partition), base_offset);
        let volume = &self.0.volumes[partition.folder().volume];
        volume.removals.add(self.io().now() + delay, marked);
    }

    /// Has what was set aside in a folder removed.
    pub(super) fn give_up_folder(&self, folder: &Folder, dir: PathBuf) {
        let at = self.io().now() + self.0.folder_delete_delay.get();
        let volume = &self.0.volumes[folder.volume];
        volume.removals.add(at, Marked::Folder(dir));
    }

    /// Removes what earlier runs have left behind. However much it is, the start does not wait for it.
    pub(super) async fn remove_leftovers(self) {
        for folder in self.0.folders.online() {
            self.give_up_leftovers(folder);
        }
        let keys = self.partitions();
        // Before moves copy what is gone already, or is to go.
        for partition in keys.iter().filter_map(|key| self.partition(key)) {
            self.remove_left_segments(&partition).await;
        }
        self.resume_moves().await;
        self.io().sleep(BEFORE_LOOKING).await;
        for partition in keys.iter().filter_map(|key| self.partition(key)) {
            if self.0.stopping.get() {
                return;
            }
            // More may be known by now of whose its folder is.
            self.remove_left_segments(&partition).await;
            let was_there = |folder: &Folder| folder.found_dirs.borrow().contains(&*partition.dir);
            if partition.is_offline() || !was_there(&partition.folder()) {
                continue;
            }
            if let Err(error) = self.give_up_unknown_files(&partition).await {
                tracing::warn!(partition = %partition.dir, %error, "cannot remove old segments");
            }
        }
    }

    /// Removes segments below the log start that the last run has not come to.
    async fn remove_left_segments(&self, partition: &Rc<Partition>) {
        let has_old = partition.state.borrow().log.has_old_segment();
        if has_old && !partition.is_offline() && self.has_folder(partition).await {
            self.remove_old_segments(partition).await;
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
            self.give_up_folder(folder, folder.path.join(&name));
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
            first.map(|first| first.base_offset)
        };
        let is_unknown = |file: &SegmentFile| first.is_some_and(|first| file.base_offset < first);
        let files = files.filter(|file| file.deleted || is_unknown(file));
        let (marked, unknown): (Vec<SegmentFile>, Vec<_>) = files.partition(|file| file.deleted);
        if marked.is_empty() && unknown.is_empty() || !self.has_folder(partition).await {
            return Ok(());
        }
        let bases = |files: Vec<SegmentFile>| -> BTreeSet<i64> {
            files.iter().map(|file| file.base_offset).collect()
        };
        for base in bases(marked) {
            self.remove_later(partition, base);
        }
        let _turn = partition.settling.take().await;
        // The folder of a dropped one goes as a whole, and its name may be another topic's by now.
        if partition.state.borrow().is_dropped || self.0.stopping.get() {
            return Ok(());
        }
        for base in bases(unknown) {
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
