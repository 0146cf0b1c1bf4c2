//! Partitions whose owner has changed, because the number of cores did.
//!
//! Such a one is handed to the new owner with a higher revision; the old copy loses against it from
//! then on, whatever journal it is in, and its own journal says before the start has ended that it is
//! over. Before anything is handed over, all shards tell the owners which copies they have found: an
//! old one that was handed over as well could get the revision of the newest, and take its place.
//!
//! The same is done with a partition that is in another journal of its shard than the one of its folder,
//! because folders were moved to other devices or their order has changed. One of a folder that is offline
//! stays on the device of the journal where it was found.
//!
//! A journal that no shard has any more is removed when all its partitions were adopted. A mark that
//! stays until its files are gone has the next start finish what a crash has interrupted.

use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustc_hash::FxHashMap;

use super::Shard;
use super::folders::unless_gone;
use super::recovery::{Recovering, Seen, StartError};
use crate::io::{Io, Landmark};
use crate::journal::files::{adopted_path, list_path, parse_adopted_name, parse_slot_name};
use crate::journal::group::{EntryHead, EntryKind};
use crate::journal::{Body, Durability, Entry, Inline};
use crate::log::config::LogConfig;
use crate::log::snapshot;
use crate::mutation::{Mutation, is_on};
use crate::partition::Partition;
use crate::route::PartitionKey;

impl Shard {
    /// Tells the owners of partitions which copies of them were found here.
    async fn announce(&self, copies: Vec<(PartitionKey, u64)>) {
        let mut by_owner: Vec<Vec<(PartitionKey, u64)>> = vec![Vec::new(); self.count()];
        for (key, revision) in copies {
            by_owner[self.owner(&key)].push((key, revision));
        }
        for (owner, copies) in by_owner.into_iter().enumerate() {
            self.run_on(owner, move |owner| async move {
                let mut newest = owner.0.newest_copies.borrow_mut();
                for (key, revision) in copies {
                    let known = newest.entry(key).or_default();
                    *known = revision.max(*known);
                }
            })
            .await;
        }
    }

    /// Puts recovered partitions in their places: first all that stay, so that one which comes from
    /// another journal can be compared with the copy that is here.
    pub(super) async fn take_recovered(
        &self,
        recovered: FxHashMap<PartitionKey, Recovering>,
    ) -> Result<(), StartError> {
        let copies: Vec<(PartitionKey, u64)> = recovered
            .iter()
            .map(|(key, found)| (*key, found.revision))
            .collect();
        let mut recovered: Vec<_> = recovered.into_iter().collect();
        recovered.sort_unstable_by_key(|(key, partition)| (partition.anchor, *key));
        let stays = |(key, found): &(PartitionKey, Recovering)| {
            self.owner(key) == self.id() && found.journal == Some(found.volume)
        };
        let (staying, moving): (Vec<_>, Vec<_>) = recovered.into_iter().partition(stays);
        for (key, found) in staying {
            self.place_recovered(key, found);
        }
        self.announce(copies).await;
        self.meet().await;
        for (key, found) in moving {
            let facts = snapshot::Facts {
                dir: &found.dir,
                folder: found.folder,
                unfinished_move: &found.unfinished_move,
                leader_epoch: found.leader_epoch,
            };
            let bytes = snapshot::encode(&facts, &found.log).concat();
            let (revision, volume) = (found.revision + 1, found.volume);
            let adopting = self.run_on_owner(&key, move |owner| async move {
                owner.adopt(key, revision, volume, bytes).await
            });
            if !adopting.await {
                return Err(StartError::NotWritten(key));
            }
        }
        Ok(())
    }

    /// Ends copies of partitions that are in other journals by now. Were one found after its partition was
    /// deleted, it would be taken for it.
    pub(super) async fn forget_copies(&self, copies: Vec<OldCopy>) -> Result<(), StartError> {
        if is_on(Mutation::ForgetMovedMark) {
            return Ok(());
        }
        let mut newest = vec![None; self.0.volumes.len()];
        for copy in copies {
            self.io().reached(Landmark::OldCopyEnded);
            let ticket = self.0.volumes[copy.volume].journal.carry(Entry {
                head: EntryHead {
                    kind: EntryKind::Moved,
                    key: copy.key,
                    revision: copy.revision,
                },
                inline: Inline::default(),
                body: Body::Empty,
                durability: Durability::Sync,
                queued: self.io().now(),
            });
            newest[copy.volume] = Some((copy.key, ticket));
        }
        for (volume, newest) in self.0.volumes.iter().zip(newest) {
            if let Some((key, ticket)) = newest
                && !volume.carried_synced(ticket).await
            {
                return Err(StartError::NotWritten(key));
            }
        }
        Ok(())
    }

    /// Waits until every shard has come this far.
    pub async fn meet(&self) {
        let meeting = self.0.meetings.get() + 1;
        self.0.meetings.set(meeting);
        for other in (0..self.count()).filter(|other| *other != self.id()) {
            self.run_on(other, |shard| async move {
                shard.0.arrivals.set(shard.0.arrivals.get() + 1);
                shard.0.arrival.notify_all();
            })
            .await;
        }
        while self.0.arrivals.get() < meeting * (self.count() - 1) {
            self.0.arrival.notified().await;
        }
    }

    /// Takes over a partition from another journal into that of a volume: durably, before this returns `true`.
    async fn adopt(
        &self,
        key: PartitionKey,
        revision: u64,
        volume: usize,
        snapshot: Vec<u8>,
    ) -> bool {
        let config = Rc::new(LogConfig::default());
        let decoded = snapshot::decode(&snapshot, config);
        let found = decoded.unwrap_or_else(|_| panic!("a snapshot that was just encoded is sound"));
        let newest = self.0.newest_copies.borrow().get(&key).copied();
        if newest.is_some_and(|newest| newest >= revision) {
            return true;
        }
        let _handing_over = self.io().within(Landmark::HandedOver);
        let mut superseded = Vec::new();
        while let Some(known) = self.partition(&key) {
            self.io().reached(Landmark::OldCopyMet);
            if known.revision.get() >= revision {
                return true;
            }
            // Two copies must not write the same files.
            let turn = known.settling.take().await;
            self.supersede(&known);
            superseded.push(OldCopy {
                volume: known.volume(),
                key,
                revision: known.revision.get(),
            });
            drop(turn);
        }
        let found = Recovering {
            revision,
            anchor: 0,
            journal: None,
            volume,
            dir: found.dir,
            folder: found.folder.expect("this version names it"),
            unfinished_move: found.unfinished_move,
            leader_epoch: found.leader_epoch,
            log: found.log,
            seen: Seen::default(),
        };
        self.place_recovered(key, found);
        let partition = self.partition(&key).expect("it was placed just now");
        // Its tail may be larger than a journal file.
        self.anchor_anew(&partition).await;
        // One that was superseded is as durable as the copy that took its place.
        if partition.state.borrow().is_dropped {
            return true;
        }
        superseded.retain(|old| old.volume != partition.volume());
        self.anchor_synced(&partition).await && self.forget_copies(superseded).await.is_ok()
    }

    /// Forgets a copy of a partition of which a newer one has come, or is to come. The caller holds its turn.
    pub(super) fn supersede(&self, old: &Rc<Partition>) {
        self.end_partitions(std::slice::from_ref(old));
        self.0.store.forget_files(old);
        let mut partitions = self.0.partitions.borrow_mut();
        if partitions
            .get(&old.key)
            .is_some_and(|placed| Rc::ptr_eq(placed, old))
        {
            partitions.remove(&old.key);
        }
    }

    /// Removes the journals that no shard has any more; their partitions were adopted.
    pub(super) async fn remove_journals(
        &self,
        orphans: &[(PathBuf, u32)],
    ) -> Result<(), StartError> {
        let io = self.io();
        for (dir, id) in orphans {
            let _removing = io.within(Landmark::JournalRemoved);
            let removed = async {
                match io.list_dir(dir).await {
                    // All of it is missing, and was said to be.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        return remove_list(io, dir, *id).await;
                    }
                    listed => _ = listed?,
                }
                // Half a journal is worse than none: first it is said that all of it is to go.
                io.write_small(&adopted_path(dir, *id), b"").await?;
                remove_journal(io, dir, *id).await
            };
            let at = |error| StartError::Io(dir.clone(), error);
            removed.await.map_err(at)?;
        }
        Ok(())
    }
}

/// A copy of a partition in a journal of this shard that is not the partition any more.
pub(super) struct OldCopy {
    /// Place of the journal's volume.
    pub(super) volume: usize,
    pub(super) key: PartitionKey,
    pub(super) revision: u64,
}

/// Removes a journal that is marked as adopted, then the mark.
async fn remove_journal(io: &Io, dir: &Path, journal_id: u32) -> io::Result<()> {
    for entry in io.list_dir(dir).await? {
        if parse_slot_name(&entry.name).is_some_and(|(id, _)| id == journal_id) {
            io.remove_file(&dir.join(&entry.name)).await?;
        }
    }
    remove_list(io, dir, journal_id).await?;
    io.sync_dir(dir).await?;
    io.remove_file(&adopted_path(dir, journal_id)).await?;
    io.sync_dir(dir).await
}

/// Removes the list of a journal's files.
async fn remove_list(io: &Io, dir: &Path, journal_id: u32) -> io::Result<()> {
    let list = list_path(dir, journal_id);
    unless_gone(io.remove_file(&list).await)?;
    match list.parent() {
        Some(folder) => io.sync_dir(folder).await,
        None => Ok(()),
    }
}

/// Finishes what a crash has interrupted: journals that were being removed.
pub(super) async fn remove_adopted(
    io: &Io,
    dir: &Path,
    is_mine: impl Fn(u32) -> bool,
) -> io::Result<()> {
    for entry in io.list_dir(dir).await? {
        if let Some(id) = parse_adopted_name(&entry.name).filter(|id| is_mine(*id)) {
            remove_journal(io, dir, id).await?;
        }
    }
    Ok(())
}
