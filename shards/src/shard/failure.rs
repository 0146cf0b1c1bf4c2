//! Folders that fail.
//!
//! | what failed | what goes offline |
//! |---|---|
//! | a write or sync of the journal | the folders of its device, since nothing can be acknowledged there any more |
//! | a write or sync of a segment or its index | its folder; for a write where nothing goes without that, it is tried again, since the journal has its records |
//! | a folder without which nothing goes, or the last one | the shard has failed: the process should end |
//!
//! A full disk is no failure, nor is a read that fails. A folder that has failed on one shard is offline on all of them, and
//! stays so until the process is started anew.
//!
//! What a journal has completed of an offline folder's partitions is there when the folder is: as long as the journal
//! goes on, their newest state is carried forward in it with everything that their files do not hold.

use std::io;
use std::rc::Rc;

use uuid::Uuid;

use super::Shard;
use super::volume::Folder;
use crate::io::{Landmark, is_exhaustion};
use crate::partition::Partition;

/// Folders that went offline, and who is told.
#[derive(Default)]
pub(super) struct Failures {
    pub(super) then: Option<Rc<dyn Fn(Uuid)>>,
    offline: Vec<Uuid>,
}

impl Shard {
    /// Calls `then` once for each folder that goes offline while this shard runs, on whichever shard it has
    /// failed, and at once for those that have. Not for those that were offline at the start.
    pub fn on_folder_offline(&self, then: impl Fn(Uuid) + 'static) {
        let then: Rc<dyn Fn(Uuid)> = Rc::new(then);
        let known = {
            let mut failures = self.0.failures.borrow_mut();
            let set = failures.then.replace(then.clone());
            assert!(set.is_none(), "one observer of folders");
            failures.offline.clone()
        };
        for id in known {
            then(id);
        }
    }

    /// Takes a folder offline on all shards, for those above the engine who have met an error there.
    pub fn fail_folder(&self, id: Uuid) {
        let folders = self.0.folders.configured().iter();
        let folders = folders.filter(|folder| folder.id == id).cloned();
        self.fail_folders(folders.collect(), None);
    }

    /// A write of a partition's files has failed. Its folder goes offline, unless that is for want of something that
    /// others may give back, or nothing goes without that folder: then the caller tries again.
    pub(super) fn segment_failed(&self, partition: &Partition, error: &io::Error) {
        if error.raw_os_error() == Some(libc::ENOSPC) {
            self.set_disk_full(self.volume_of_files(partition), true);
        } else if error.raw_os_error().is_none()
            || is_exhaustion(error)
            || !self.goes_on_without(&[partition.folder()])
        {
            tracing::error!(partition = %partition.dir, %error, "cannot write a segment; the journal still has its records");
        } else {
            self.folder_failed(partition, error);
        }
    }

    /// Nobody knows any more what a partition's files hold: its folder goes offline.
    pub(super) fn folder_failed(&self, partition: &Partition, error: &io::Error) {
        let folder = partition.folder();
        if !folder.is_offline.get() {
            tracing::error!(partition = %partition.dir, folder = %folder.path.display(), %error, "cannot write a segment");
        }
        self.io().reached(Landmark::FolderFailed);
        self.fail_folders(vec![folder], None);
    }

    /// A copy of a partition cannot be written: the folder where it goes has failed, unless nothing goes without that.
    pub(super) fn fail_target(&self, folder: &Rc<Folder>) {
        if self.goes_on_without(std::slice::from_ref(folder)) {
            self.fail_folders(vec![folder.clone()], None);
        }
    }

    /// The journal of a volume is poisoned.
    pub(super) fn journal_failed(&self, volume: usize) {
        let folders = self.0.folders.configured().iter();
        let folders = folders.filter(|folder| folder.volume == volume).cloned();
        self.fail_folders(folders.collect(), Some(volume));
    }

    fn fail_folders(&self, folders: Vec<Rc<Folder>>, journal: Option<usize>) {
        let online = |folder: &Rc<Folder>| !folder.is_offline.get();
        let failed: Vec<Rc<Folder>> = folders.into_iter().filter(online).collect();
        if failed.is_empty() || self.has_failed() {
            if let Some(volume) = journal {
                self.fail_what_waits(&self.0.volumes[volume]);
            }
            return;
        }
        for folder in &failed {
            self.tell_other_shards(folder.id);
        }
        if !self.goes_on_without(&failed) {
            self.fail();
            return;
        }
        for folder in &failed {
            tracing::error!(
                shard = self.id(),
                folder = %folder.path.display(),
                "the folder is offline: its partitions are out of reach until the next start"
            );
            folder.is_offline.set(true);
            self.leave_folder(folder);
        }
        if let Some(volume) = journal {
            self.fail_what_waits(&self.0.volumes[volume]);
        }
        self.tell_observer(&failed);
    }

    /// Whether anything is left without these folders, and nothing that is required is among them.
    fn goes_on_without(&self, failed: &[Rc<Folder>]) -> bool {
        let is_left = |folder: &Rc<Folder>| failed.iter().all(|failed| failed.id != folder.id);
        failed.iter().all(|folder| !folder.is_required) && self.0.folders.online().any(is_left)
    }

    /// Nothing is acknowledged any more, and the process should end.
    fn fail(&self) {
        let had_failed = self.0.has_failed.replace(true);
        for volume in &self.0.volumes {
            self.fail_what_waits(volume);
        }
        if !had_failed && let Some(then) = self.0.on_failure.get() {
            then();
        }
    }

    /// Lets go of the partitions of a folder that is offline now, and tells those who wait for them.
    fn leave_folder(&self, folder: &Rc<Folder>) {
        let mut partitions: Vec<Rc<Partition>> = {
            let partitions = self.0.partitions.borrow();
            let here = |partition: &&Rc<Partition>| Rc::ptr_eq(&partition.folder(), folder);
            partitions.values().filter(here).cloned().collect()
        };
        partitions.sort_unstable_by_key(|partition| partition.key);
        self.let_go_offline(&partitions);
    }

    /// Lets go of partitions whose folders are offline now, and tells those who wait for them.
    pub(super) fn let_go_offline(&self, partitions: &[Rc<Partition>]) {
        let mut unsettled = vec![0; self.0.volumes.len()];
        for partition in partitions {
            let mut state = partition.state.borrow_mut();
            unsettled[partition.volume()] += state.log.unsettled_bytes();
            let watches = state.take_watches();
            drop(state);
            for watch in watches {
                self.wake(watch);
            }
        }
        for (volume, unsettled) in self.0.volumes.iter().zip(unsettled) {
            volume.settling.forgot_ended(unsettled);
        }
    }

    fn tell_other_shards(&self, id: Uuid) {
        for other in (0..self.count()).filter(|other| *other != self.id()) {
            let shard = self.clone();
            self.io().spawn("folder offline", async move {
                let telling = move |other: Shard| async move { other.fail_folder(id) };
                shard.run_on(other, telling).await;
            });
        }
    }

    fn tell_observer(&self, failed: &[Rc<Folder>]) {
        let then = {
            let mut failures = self.0.failures.borrow_mut();
            failures
                .offline
                .extend(failed.iter().map(|folder| folder.id));
            failures.then.clone()
        };
        for folder in failed {
            if let Some(then) = &then {
                then(folder.id);
            }
        }
    }
}

#[cfg(test)]
mod tests;
