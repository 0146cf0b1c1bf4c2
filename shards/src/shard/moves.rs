//! Moving partitions from one log folder to another while they are in use.
//!
//! | state | what is there | what leads on |
//! |---|---|---|
//! | asked | nothing yet | a folder `TOPIC-PARTITION.ID-future` in the log folder where it goes, durably |
//! | announced | that folder, with nothing but the topic's id: it waits for the moves before it | its turn |
//! | copying | copies of what its files hold are there, too | less than a megabyte is left to copy |
//! | caught up | the partition's turn is held: nothing else writes its files; all that is settled is copied and synced | a checkpoint names the new folder, *durably* |
//! | switched | the new folder is the partition's, still with the name of a future one; the old one is what it was | it is recorded above the engine where the partition is |
//! | recorded | nobody looks for it in the old folder, should the new one be missing | the journal of the new folder's device has the partition, durably, if that is another one |
//! | handed over | the old journal says that its copy is over | the new folder has its name, the old one is set aside |
//! | moved | as if it had always been there | |
//!
//! Until it has switched, a move ends without a trace if it is asked to (the partition shall be elsewhere or stay), if
//! the partition is deleted, if one of the folders fails, or if there is no room. A copy that is given up is removed at
//! once: on a full disk others need the room. One move at a time is copied on each shard; one that only waits ends as soon
//! as it is not wanted any more.
//!
//! A log is not compacted while it moves, as in Kafka. Appends, settling, retention and the roll of segments go on:
//! what is settled behind the copy is copied later, and what is removed from the log is removed from the copy. What no
//! file holds is carried by the checkpoint. Readers of the old files find the new ones under another generation.
//!
//! Between *switched* and *handed over* the partition's files are in a folder of another device than its journal, which
//! is what a start finds when folders were moved to other devices, and handles in the same way (`handover`).
//! Acknowledgements in flight in the old journal stay valid: whatever it has, the checkpoint in the new one has too.
//! The old journal keeps what it has of the partition until that checkpoint is durable; if it cannot be, the old
//! journal takes the partition back, whose folder is offline then.
//!
//! # Crash behaviour
//! Before the deciding checkpoint is durable, the old folder is the partition's, and a move that was announced is begun
//! anew after the start. Behind it, the new folder is, under one of its two names, and the start does the rest before it
//! has ended: the checkpoint says what is left to do, even if all is done. Where neither is there the folder is missing,
//! and nothing that is left elsewhere is touched.
//!
//! What is not done: files of other names than those of segments stay behind and go with the old folder; batches are
//! copied as they are, without a look at their checksums.

mod copy;
mod switch;

use std::cell::{Cell, OnceCell};
use std::io;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::rc::Rc;

use uuid::Uuid;

use super::Shard;
use super::message::NotHere;
use super::query::FutureCopy;
use super::volume::Folder;
use crate::io::futures::first_of;
use crate::io::{Notify, is_exhaustion};
use crate::log::segment_name::{DirPurpose, PartitionDir, dir_set_aside};
use crate::partition::{Partition, State, Turn, TurnGuard};
use crate::route::PartitionKey;

/// Why a partition is not moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MoveError {
    /// This shard has no such partition.
    UnknownPartition,
    /// There is no such folder.
    UnknownFolder,
    /// The folder where it is, or the one where it shall be, is offline, or the partition could not be opened.
    FolderOffline,
}

impl From<NotHere> for MoveError {
    fn from(why: NotHere) -> Self {
        match why {
            NotHere::Unknown => Self::UnknownPartition,
            NotHere::Unopened => Self::FolderOffline,
        }
    }
}

/// A move of one partition.
pub(crate) struct Move {
    target: Rc<Folder>,
    /// Name of its folder there, and the number in that.
    name: String,
    future: Uuid,
    is_cancelled: Cell<bool>,
    cancelled: Notify,
    /// Bytes that were copied.
    bytes: Cell<u64>,
    /// First offset of which that is not sure.
    copied_through: Cell<i64>,
}

impl Move {
    /// The folder of the copy.
    fn dir(&self) -> PathBuf {
        self.target.path.join(&self.name)
    }
}

/// Ready when it is recorded where a partition is.
type Recording = Pin<Box<dyn Future<Output = ()>>>;

/// Called with a partition that has moved, and the folder where it is now.
type OnMoved = Box<dyn Fn(PartitionKey, Uuid) -> Recording>;

/// The moves of one shard.
#[derive(Default)]
pub(super) struct Moves {
    /// One at a time is under way.
    turn: Turn,
    /// One at a time is announced.
    announcing: Turn,
    /// How many have not been announced.
    unannounced: Cell<usize>,
    announced: Notify,
    bytes_a_second: Cell<Option<u64>>,
    on_moved: OnceCell<OnMoved>,
}

/// Why a move has ended before it has switched.
enum Ended {
    /// Nobody wants it any more, or it has become impossible.
    Unwanted,
    /// Its old files cannot be read, or not settled.
    Source(io::Error),
    /// The new ones cannot be written.
    Target(io::Error),
}

impl Shard {
    /// Has a partition of this shard move to a folder, behind the moves that were asked for before. Where it was on its
    /// way to another one, that ends. [`Shard::facts_of`] tells how far it is; [`Shard::moves_announced`] waits until a
    /// start would go on with it.
    pub fn move_partition(&self, key: &PartitionKey, folder: Uuid) -> Result<(), MoveError> {
        let partition = self.find(key)?;
        let folders = self.0.folders.configured();
        let target = folders.iter().find(|known| known.id == folder);
        let target = target.ok_or(MoveError::UnknownFolder)?;
        if target.is_offline.get() || partition.is_offline() || self.has_failed() {
            return Err(MoveError::FolderOffline);
        }
        let mut moving = partition.moving.borrow_mut();
        if let Some(running) = &*moving {
            if running.target.id == folder {
                return Ok(());
            }
            running.is_cancelled.set(true);
            running.cancelled.notify_one();
        }
        if partition.folder().id == folder {
            *moving = None;
            return Ok(());
        }
        let parsed = PartitionDir::parse(&partition.dir).ok_or(MoveError::UnknownPartition)?;
        let future = Uuid::from_u64_pair(self.io().random_u64(), self.io().random_u64());
        let name = dir_set_aside(&parsed, DirPurpose::Future, future);
        let its = Rc::new(Move {
            target: target.clone(),
            name,
            future,
            is_cancelled: Cell::new(false),
            cancelled: Notify::new(),
            bytes: Cell::new(0),
            copied_through: Cell::new(i64::MIN),
        });
        *moving = Some(its.clone());
        drop(moving);
        let unannounced = &self.0.moves.unannounced;
        unannounced.set(unannounced.get() + 1);
        let shard = self.clone();
        self.io().spawn("move", async move {
            shard.run_move(&partition, &its).await;
        });
        Ok(())
    }

    /// Calls `then` with each partition of this shard that has moved, and its new folder. What is left of it elsewhere
    /// stays until what `then` returns is ready: whoever starts without the new folder is to find that missing, rather
    /// than what was there before.
    pub fn on_moved<F: Future<Output = ()> + 'static>(
        &self,
        then: impl Fn(PartitionKey, Uuid) -> F + 'static,
    ) {
        let then = move |key, folder| -> Recording { Box::pin(then(key, folder)) };
        let set = self.0.moves.on_moved.set(Box::new(then));
        assert!(set.is_ok(), "one observer of moves");
    }

    /// How many bytes a second this shard copies at most when partitions move; `None` has no limit.
    pub fn set_move_rate(&self, bytes_a_second: Option<u64>) {
        self.0.moves.bytes_a_second.set(bytes_a_second);
    }

    /// Waits until the next start would go on with all moves that were asked for so far and have not ended.
    pub async fn moves_announced(&self) {
        while self.0.moves.unannounced.get() > 0 {
            self.0.moves.announced.notified().await;
        }
    }

    /// Waits until no move is under way. The shard is stopping, so that none is begun.
    pub(super) async fn moves_ended(&self) {
        self.moves_announced().await;
        drop(self.0.moves.turn.take().await);
    }

    async fn run_move(&self, partition: &Rc<Partition>, its: &Rc<Move>) {
        let announced = self.announce_move(partition, its).await;
        let moves = &self.0.moves;
        moves.unannounced.set(moves.unannounced.get() - 1);
        if moves.unannounced.get() == 0 {
            moves.announced.notify_all();
        }
        let run = async {
            announced?;
            let Some(turn) = self.turn_to_move(its).await else {
                return Err(Ended::Unwanted);
            };
            self.copy_and_switch(partition, its).await?;
            self.complete_move(partition).await;
            drop(turn);
            Ok(())
        };
        if let Err(ended) = run.await {
            self.note_ended(partition, its, &ended);
            // What a stop interrupts is found by the next start, which begins anew.
            if !self.0.stopping.get() && !its.target.is_offline.get() {
                self.remove_copy(partition, its).await;
            }
        }
        let mut moving = partition.moving.borrow_mut();
        if moving.as_ref().is_some_and(|now| Rc::ptr_eq(now, its)) {
            *moving = None;
        }
    }

    /// Makes the folder of the copy, durably. Also while the shard stops: whoever asked may have been told that the
    /// partition moves.
    async fn announce_move(&self, partition: &Partition, its: &Move) -> Result<(), Ended> {
        let _turn = self.0.moves.announcing.take().await;
        if self.is_unwanted(partition, its) {
            return Err(Ended::Unwanted);
        }
        let announced = self.make_copy_dir(partition, its).await;
        announced.map_err(Ended::Target)
    }

    /// The turn of a move; `None` if it is cancelled before.
    async fn turn_to_move(&self, its: &Move) -> Option<TurnGuard<'_>> {
        let turn = Cell::new(None);
        let taking = async { turn.set(Some(self.0.moves.turn.take().await)) };
        first_of(pin!(taking), pin!(its.cancelled.notified())).await;
        turn.into_inner()
    }

    /// Whether there is no reason to go on with a move, now or after the next start.
    fn is_unwanted(&self, partition: &Partition, its: &Move) -> bool {
        its.is_cancelled.get()
            || partition.state.borrow().is_dropped
            || partition.is_offline()
            || its.target.is_offline.get()
            || self.has_failed()
    }

    /// Whether there is a reason to go on with a move now.
    fn check_move(&self, partition: &Partition, its: &Move) -> Result<(), Ended> {
        match self.0.stopping.get() || self.is_unwanted(partition, its) {
            true => Err(Ended::Unwanted),
            false => Ok(()),
        }
    }

    async fn copy_and_switch(
        &self,
        partition: &Rc<Partition>,
        its: &Rc<Move>,
    ) -> Result<(), Ended> {
        self.remove_other_copies(partition, its)
            .await
            .map_err(Ended::Target)?;
        let mut copy = self.begin_copy(partition, its).await?;
        copy.catch_up().await?;
        self.switch(partition, &mut copy).await
    }

    fn note_ended(&self, partition: &Rc<Partition>, its: &Move, ended: &Ended) {
        let target = &its.target;
        let path = target.path.display();
        match ended {
            Ended::Unwanted => {
                tracing::info!(partition = %partition.dir, folder = %path, "a move to another folder has ended");
            }
            Ended::Source(error) => {
                tracing::error!(partition = %partition.dir, folder = %path, %error, "a partition is not moved: its files cannot be read or written");
            }
            Ended::Target(error) => {
                tracing::error!(partition = %partition.dir, folder = %path, %error, "a partition is not moved: its copy cannot be written");
                let is_room_short =
                    error.raw_os_error() == Some(libc::ENOSPC) || is_exhaustion(error);
                if error.raw_os_error().is_some() && !is_room_short {
                    self.fail_target(target);
                }
            }
        }
    }

    /// Begins moves anew that the last run has not finished, and removes copies of earlier ones.
    pub(super) async fn resume_moves(&self) {
        for folder in self.0.folders.online() {
            let futures: Vec<String> = {
                let found = folder.found_dirs.borrow();
                let is_future = |name: &&String| {
                    PartitionDir::parse(name).is_some_and(|dir| dir.purpose == DirPurpose::Future)
                };
                found.iter().filter(is_future).cloned().collect()
            };
            for name in futures {
                if self.0.stopping.get() {
                    return;
                }
                if let Some(partition) = self.partition_of_future(folder, &name).await {
                    folder.found_dirs.borrow_mut().remove(&name);
                    // The new one removes it first.
                    let resumed = self.move_partition(&partition.key, folder.id);
                    tracing::info!(partition = %partition.dir, folder = %folder.path.display(), ?resumed, "a move is begun anew");
                }
            }
        }
    }

    /// The partition of this shard that has such a copy and is elsewhere.
    async fn partition_of_future(&self, folder: &Folder, name: &str) -> Option<Rc<Partition>> {
        let dir = PartitionDir::parse(name)?;
        let path = folder.path.join(name);
        let topic = self.0.store.topic_of_dir(&path).await.ok()??;
        let key = PartitionKey {
            topic,
            partition: dir.partition,
        };
        let partition = self.partition(&key)?;
        let is_elsewhere = partition.folder().id != folder.id && !partition.is_offline();
        is_elsewhere.then_some(partition)
    }
}

impl Partition {
    /// How far its copy in another folder is, if it moves there.
    pub(super) fn future_copy(&self, state: &State) -> Option<FutureCopy> {
        let moving = self.moving.borrow();
        let its = moving.as_ref()?;
        let folder = its.target.id;
        let log = &state.log;
        let through = its.copied_through.get().max(log.start_offset());
        (folder != self.folder().id).then(|| FutureCopy {
            folder,
            bytes: its.bytes.get(),
            offset_lag: log.end_offset() - through.min(log.end_offset()),
        })
    }
}

#[cfg(test)]
mod tests;
