//! From the old folder to the new one: the steps behind which there is no way back.

use std::io;
use std::pin::pin;
use std::rc::Rc;

use uuid::Uuid;

use super::Ended;
use super::copy::Copy;
use crate::io::Landmark;
use crate::io::futures::first_of;
use crate::journal::group::{EntryHead, EntryKind};
use crate::journal::{Body, Durability, Entry, Inline};
use crate::log::segment_name::DirPurpose;
use crate::partition::Partition;
use crate::shard::Shard;
use crate::shard::handover::OldCopy;
use crate::shard::settle::RETRY;
use crate::shard::volume::Folder;

/// A partition's revision grows by this when it moves to another journal: more than it grows by when starts hand its
/// older copies around.
const REVISIONS_OF_A_MOVE: u64 = 1 << 32;

impl Shard {
    /// Has the copy be the partition's folder, durably.
    pub(super) async fn switch(
        &self,
        partition: &Rc<Partition>,
        copy: &mut Copy<'_>,
    ) -> Result<(), Ended> {
        let target = copy.target();
        let turn = partition.settling.take().await;
        let _switching = self.io().within(Landmark::MoveSwitches);
        let carried_bytes_max = || self.carried_bytes_max_of(partition, &target);
        loop {
            copy.check()?;
            let settled = self.settle_for_checkpoint(partition).await;
            if let Err(error) = &settled {
                self.segment_failed(partition, error);
            }
            copy.seal().await?;
            // What came in meanwhile may be too much for a checkpoint.
            let carried = partition.state.borrow().log.carried_bytes();
            match settled {
                Ok(()) if carried <= carried_bytes_max() => break,
                Ok(()) => {}
                // A partition shall be able to leave a full disk.
                Err(error)
                    if error.raw_os_error() == Some(libc::ENOSPC)
                        && carried <= carried_bytes_max() =>
                {
                    break;
                }
                Err(error) => return Err(Ended::Source(error)),
            }
        }
        // All in one step from here to the checkpoint.
        copy.check()?;
        partition.state.borrow_mut().log.note_files_copied();
        partition.set_folder(target, copy.future());
        partition.has_dir.set(true);
        self.0.store.forget_files(partition);
        self.checkpoint(partition);
        self.anchor_synced(partition).await;
        drop(turn);
        Ok(())
    }

    /// Does the rest for a partition that has switched, until that is done or the partition is out of reach.
    pub(super) async fn complete_move(&self, partition: &Rc<Partition>) {
        let is_over = || self.0.stopping.get() || self.has_failed() || partition.is_offline();
        while !is_over() {
            match self.finish_move(partition).await {
                Ok(false) => {}
                Ok(true) => {
                    let folder = partition.folder();
                    tracing::info!(partition = %partition.dir, folder = %folder.path.display(), "a partition has moved");
                    self.0.metrics.moves.add(1);
                    return;
                }
                Err(error) => self.segment_failed(partition, &error),
            }
            self.io().sleep(RETRY).await;
        }
    }

    /// Does what is left to do for a partition that has switched. Whether all is done.
    pub(in crate::shard) async fn finish_move(
        &self,
        partition: &Rc<Partition>,
    ) -> io::Result<bool> {
        let is_dropped = || partition.state.borrow().is_dropped;
        let turn = partition.settling.take().await;
        // Whatever became of the checkpoint that says so: before it is durable, the old folder is the partition's.
        if !is_dropped() && !self.anchor_synced(partition).await {
            if self.volume(partition).has_failed.get() {
                self.go_back_offline(partition);
            }
            return Ok(false);
        }
        drop(turn);
        if !self.is_recorded(partition).await {
            return Ok(false);
        }
        let _turn = partition.settling.take().await;
        if !self.change_journal(partition).await? {
            return Ok(false);
        }
        if !is_dropped() {
            self.name_folder(partition).await?;
        }
        self.leave_old_folders(partition).await;
        Ok(true)
    }

    /// The journal has failed that was to say where the partition is, and its old folder with it. The next start knows which
    /// of both has it; until then it is out of reach like all that were there.
    fn go_back_offline(&self, partition: &Rc<Partition>) {
        let left = partition.unfinished_move.borrow_mut().left.pop();
        if let Some(left) = left {
            partition.set_offline_in(self.0.folders.by_id(left));
            self.let_go_offline(std::slice::from_ref(partition));
        }
    }

    /// Waits until those above the engine have recorded where the partition is; `false` if the shard ends before that. Until
    /// then the old journal has it, so that a start without the new folder finds that missing, and nothing in the old place.
    /// A deleted partition is not waited for: nobody will look for it. The caller does not hold the partition's turn: a
    /// deletion waits for that, and the record may wait for the deletion.
    async fn is_recorded(&self, partition: &Rc<Partition>) -> bool {
        let Some(then) = self.0.moves.on_moved.get() else {
            return true;
        };
        let is_dropped = || partition.state.borrow().is_dropped;
        let recording = then(partition.key, partition.folder().id);
        let mut recording = self.io().spawn("record a move", recording);
        while !recording.is_done() && !is_dropped() {
            if self.0.stopping.get() || self.has_failed() {
                return false;
            }
            let a_while = self.io().sleep(RETRY);
            first_of(pin!(&mut recording), pin!(a_while)).await;
        }
        true
    }

    /// Has the journal of the folder's volume take over the partition. Whether it has it. The caller holds the
    /// partition's turn.
    async fn change_journal(&self, partition: &Rc<Partition>) -> io::Result<bool> {
        let (from, to) = (partition.volume(), partition.folder().volume);
        if from == to {
            return Ok(true);
        }
        if let Err(error) = self.settle_for_checkpoint(partition).await {
            let carried = partition.state.borrow().log.carried_bytes();
            if error.raw_os_error() != Some(libc::ENOSPC)
                || carried > self.carried_bytes_max_of(partition, &partition.folder())
            {
                return Err(error);
            }
        }
        if partition.is_offline() {
            return Ok(false);
        }
        let old = OldCopy {
            volume: from,
            key: partition.key,
            revision: partition.revision.get(),
        };
        if partition.state.borrow().is_dropped {
            // The old journal has been told.
            return Ok(true);
        }
        if self.0.volumes[to].acknowledges_no_more() {
            // The shard ends: the next start goes on.
            return Ok(false);
        }
        self.0.volumes[from].begin_leaving();
        self.hand_to_volume(partition, to);
        let mut is_synced = self.anchor_synced(partition).await;
        let has_it = is_synced;
        if !is_synced && !self.0.stopping.get() && !self.has_failed() {
            // The new one has failed, and the folder is offline: the old one carries what it has until the next start.
            self.hand_to_volume(partition, from);
            is_synced = self.anchor_synced(partition).await;
        }
        self.0.volumes[from].end_leaving(is_synced);
        if has_it && !self.0.volumes[from].acknowledges_no_more() {
            // Should that fail, the next start ends the old copy.
            _ = self.forget_copies(vec![old]).await;
        }
        Ok(has_it)
    }

    /// How much a checkpoint may carry that takes a partition to the journal of a folder.
    fn carried_bytes_max_of(&self, partition: &Partition, folder: &Folder) -> u64 {
        let others = self.0.volumes[folder.volume].carried_bytes_max();
        self.volume(partition).carried_bytes_max().min(others)
    }

    /// Has another journal go on with the partition, from a checkpoint with all that its files do not hold.
    fn hand_to_volume(&self, partition: &Rc<Partition>, to: usize) {
        let volumes = &self.0.volumes;
        let state = partition.state.borrow();
        let unsettled = state.log.unsettled_bytes();
        let (start, end) = (state.log.start_offset(), state.log.end_offset());
        let is_dropped = state.is_dropped;
        drop(state);
        // Of one that is offline or dropped, nothing is counted any more.
        let is_counted = !partition.is_offline() && !is_dropped;
        if is_counted {
            let from = &volumes[partition.volume()].settling;
            from.forgot_partition(partition, unsettled);
            partition.is_queued.set(false);
            partition.is_dirty.set(false);
            volumes[to].settling.grew(unsettled);
        }
        let revision = partition.revision.get() + REVISIONS_OF_A_MOVE;
        partition.revision.set(revision);
        partition.set_volume(to);
        self.checkpoint(partition);
        // A batch that is sent again waits for the newest append of the journal, which must not be older than what the
        // checkpoint has. This one says nothing new.
        let ticket = volumes[to].journal.append(Entry {
            head: EntryHead {
                kind: EntryKind::LogStart,
                key: partition.key,
                revision,
            },
            inline: Inline::pair(start as u64, 0),
            body: Body::Empty,
            durability: Durability::Sync,
            queued: self.io().now(),
        });
        let mut acks = volumes[to].acks.borrow_mut();
        acks.mark(ticket, Durability::Sync, partition, end);
        drop(acks);
        if is_counted {
            self.settle_if_due(partition);
        }
    }

    /// Gives the folder of a partition its name, durably. The caller holds the partition's turn.
    async fn name_folder(&self, partition: &Rc<Partition>) -> io::Result<()> {
        if partition.unfinished_move.borrow().future.is_none() {
            return Ok(());
        }
        let (store, folder) = (&self.0.store, partition.folder());
        let (from, to) = (
            folder.path.join(&*partition.dir_now()),
            folder.path.join(&*partition.dir),
        );
        // Otherwise it has its name, if not durably. A folder with that number in its name is nobody else's.
        let is_there = match self.io().list_dir(&from).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            listed => listed.map(|_| true)?,
        };
        if is_there {
            let occupant = store.topic_of_dir(&to).await?;
            let is_others = occupant.is_some_and(|topic| topic != partition.key.topic);
            // It may itself be the one that was deleted.
            let is_deleted = !partition.is_opened.get() || partition.state.borrow().is_dropped;
            if is_others && is_deleted {
                return Ok(());
            }
            self.set_name_free(&folder, partition).await?;
            self.io().rename(&from, &to).await?;
        }
        self.io().sync_dir(&folder.path).await?;
        let now = partition.dir_now().into_owned();
        let mut found = folder.found_dirs.borrow_mut();
        found.remove(&now);
        found.remove(&*partition.dir);
        drop(found);
        partition.unfinished_move.borrow_mut().future = None;
        partition.note_place();
        partition.state.borrow_mut().log.note_files_moved();
        store.forget_files(partition);
        Ok(())
    }

    /// Sets aside what has a partition's name in a log folder and is not its folder.
    async fn set_name_free(&self, folder: &Folder, partition: &Partition) -> io::Result<()> {
        let unique = Uuid::from_u64_pair(self.io().random_u64(), self.io().random_u64());
        let aside =
            self.0
                .store
                .set_aside_dir(&folder.path, &partition.dir, DirPurpose::Delete, unique);
        if let Some(aside) = aside.await? {
            self.give_up_folder(folder, aside);
        }
        folder.found_dirs.borrow_mut().remove(&*partition.dir);
        Ok(())
    }

    /// Sets the folders aside that a partition had in other log folders. What cannot be now is tried again by the next
    /// start.
    async fn leave_old_folders(&self, partition: &Rc<Partition>) {
        let left = partition.unfinished_move.borrow().left.clone();
        for id in left {
            let folder = self.0.folders.by_id(id);
            if folder.is_offline.get() {
                continue;
            }
            let left = async {
                let dir = folder.path.join(&*partition.dir);
                // Nobody else has a folder of this name while it is there.
                let is_there = partition.is_opened.get() && !partition.state.borrow().is_dropped;
                let topic = self.0.store.topic_of_dir(&dir).await?;
                if is_there || topic == Some(partition.key.topic) {
                    self.set_name_free(&folder, partition).await?;
                }
                io::Result::Ok(())
            };
            match left.await {
                Ok(()) => {
                    let mut unfinished = partition.unfinished_move.borrow_mut();
                    unfinished.left.retain(|left| *left != id);
                }
                Err(error) => {
                    tracing::warn!(partition = %partition.dir, folder = %folder.path.display(), %error, "cannot remove the folder of a partition that has moved");
                }
            }
        }
    }
}
