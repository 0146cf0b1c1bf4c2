//! Making journal files free: partitions are anchored anew, oldest first.
//!
//! A partition is anchored by a checkpoint entry: its whole state, and with it the bytes that its
//! segment files do not hold on stable storage. Before that, what is more than a small tail is
//! settled and synced, so that carrying costs little; a small tail is cheaper to write again than to
//! sync in a file of its own.
//!
//! A file is released when nothing is anchored in it and the checkpoints that took the anchors out
//! of it are themselves on stable storage.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;

use super::Shard;
use super::settle::{RETRY, Reach};
use super::volume::Volume;
use crate::io::{File, Landmark, Notify};
use crate::journal::group::{EntryHead, EntryKind};
use crate::journal::{Body, Durability, Entry, Inline, Ticket};
use crate::log::snapshot;
use crate::mutation::{Mutation, is_on};
use crate::partition::Partition;

/// A tail up to this is carried forward instead of settled, as long as the journal has room.
const CARRIED_BYTES_MAX: u64 = 64 << 10;
/// Partitions anchored anew at the same time: their syncs overlap.
const ANCHORED_AT_ONCE: usize = 8;

/// How far anchors have to move, and what was moved already.
#[derive(Default)]
pub(super) struct Reclaim {
    target: Cell<Ticket>,
    work: Notify,
    /// A carried entry was synced.
    carried: Notify,
    /// Release up to the first ticket when the second is synced.
    release: RefCell<Option<(Ticket, Ticket)>>,
    /// The shard ends and an anchor could not be moved: its files stay.
    gave_up: Cell<bool>,
    /// Partitions whose anchors are about to be in other journals.
    leaving: Cell<usize>,
    left: Notify,
}

impl Reclaim {
    /// Whether the files up to this ticket are released as soon as what was queued for that is synced.
    fn will_release(&self, through: Ticket) -> bool {
        let release = self.release.borrow();
        release.is_some_and(|(anchors, _)| anchors >= through)
    }

    /// Has the anchors up to this ticket moved.
    pub(super) fn through(&self, through: Ticket) {
        if through >= self.target.get() && !self.will_release(through) {
            self.target.set(through);
            self.work.notify_one();
        }
    }

    /// Ends the task that waits for work, so that it sees the journal's end.
    pub(super) fn wake(&self) {
        self.work.notify_one();
    }

    /// Lets those who wait for a checkpoint see that the journal has failed.
    pub(super) fn wake_all_for_anchors(&self) {
        self.carried.notify_all();
    }
}

impl Volume {
    pub(super) fn carried_through(&self, through: Ticket) {
        self.reclaim.carried.notify_all();
        let mut release = self.reclaim.release.borrow_mut();
        if let Some((anchors, _)) = release.take_if(|(_, needs)| *needs <= through) {
            self.journal.release(anchors);
        }
    }

    /// A partition goes on in another journal. Until that has it durably, what this one has of it stays.
    pub(super) fn begin_leaving(&self) {
        let leaving = &self.reclaim.leaving;
        leaving.set(leaving.get() + 1);
    }

    /// The other journal has it, or this one has it again; if neither has, because the shard ends, no file of this one
    /// is released any more.
    pub(super) fn end_leaving(&self, is_safe: bool) {
        let Reclaim {
            leaving,
            left,
            gave_up,
            ..
        } = &self.reclaim;
        leaving.set(leaving.get() - 1);
        gave_up.set(gave_up.get() || !is_safe);
        left.notify_one();
    }

    /// Waits until no partition is between this journal and another one.
    async fn all_have_left(&self) {
        while self.reclaim.leaving.get() > 0 {
            self.reclaim.left.notified().await;
        }
    }

    /// Some partitions whose anchors lie at or before `target`. `place` is that of this volume.
    fn anchored_through(&self, target: Ticket, place: usize) -> Option<Vec<Rc<Partition>>> {
        let mut anchors = self.anchors.borrow_mut();
        let mut oldest = Vec::new();
        while oldest.len() < ANCHORED_AT_ONCE
            && let Some((ticket, partition)) = anchors.pop_front_if(|(at, _)| *at <= target)
        {
            let Some(partition) = partition.upgrade() else {
                continue;
            };
            let state = partition.state.borrow();
            let is_here = partition.volume() == place;
            let is_current = is_here && state.anchor == ticket && !state.is_dropped;
            drop(state);
            if is_current && !is_on(Mutation::ForgetToCarry) {
                oldest.push(partition);
            }
        }
        (!oldest.is_empty()).then_some(oldest)
    }

    /// How much a checkpoint may carry, so that as many as are made at once fit into half a file.
    /// Nothing of it comes into the reserve: many tails together could be more than fits there.
    pub(super) fn carried_bytes_max(&self) -> u64 {
        let part = (self.journal.append_bytes_max() / (2 * ANCHORED_AT_ONCE)) as u64;
        part.min(self.journal.room_to_carry())
    }

    /// Waits until a carried entry is on stable storage; `false` if it never will be.
    pub(super) async fn carried_synced(&self, ticket: Ticket) -> bool {
        self.journal.hurry_carried(ticket);
        loop {
            if self.journal.carried_synced() >= ticket {
                return true;
            }
            if self.acknowledges_no_more() {
                return false;
            }
            self.reclaim.carried.notified().await;
        }
    }

    /// Releases the files up to `target` once every checkpoint queued so far is synced.
    fn release_when_synced(&self, target: Ticket) {
        // Checkpoints that were queued meanwhile, of other partitions, must not put it off.
        if self.reclaim.will_release(target) {
            return;
        }
        let newest = self.anchors.borrow().back().map(|(ticket, _)| *ticket);
        let carried = self.journal.carried_synced();
        match newest {
            Some(needs) if needs > carried && !is_on(Mutation::ReleaseBeforeCarried) => {
                *self.reclaim.release.borrow_mut() = Some((target, needs));
            }
            _ => self.journal.release(target),
        }
    }
}

impl Shard {
    /// The task that moves a volume's anchors until its journal ends: a stop may need room as well.
    pub(super) async fn reclaimer(self, place: usize) {
        let volume = &self.0.volumes[place];
        while !volume.journal.has_closed() {
            volume.reclaim.work.notified().await;
            let target = volume.reclaim.target.get();
            volume.journal.gather_carried(true);
            loop {
                volume.journal.may_carry().await;
                let Some(oldest) = volume.anchored_through(target, place) else {
                    break;
                };
                let mut moving = Vec::with_capacity(oldest.len());
                for partition in oldest {
                    let shard = self.clone();
                    let task = async move { shard.anchor_anew(&partition).await };
                    moving.push(self.io().spawn("anchor", task));
                }
                for task in moving {
                    task.await;
                }
                if volume.reclaim.gave_up.get() || volume.has_failed.get() || self.has_failed() {
                    volume.journal.give_up();
                    return;
                }
            }
            volume.journal.gather_carried(false);
            volume.all_have_left().await;
            if volume.reclaim.gave_up.get() {
                volume.journal.give_up();
                return;
            }
            volume.release_when_synced(target);
            if volume.reclaim.will_release(target) {
                self.io().reached(Landmark::ReleaseWaits);
            }
        }
    }

    /// Settles what is too much to carry, then queues a checkpoint. Between attempts others have the partition's turn: on a
    /// full disk they may be what makes room.
    pub(super) async fn anchor_anew(&self, partition: &Rc<Partition>) {
        loop {
            let turn = partition.settling.take().await;
            let anchored = self.anchor_in_turn(partition).await;
            drop(turn);
            if anchored.is_ok() {
                return;
            }
            let volume = self.volume(partition);
            if self.0.stopping.get() || self.has_failed() || volume.has_failed.get() {
                volume.reclaim.gave_up.set(true);
                return;
            }
            self.io().sleep(RETRY).await;
        }
    }

    /// The same, once, for a caller who holds the partition's turn. Whether a checkpoint was queued: nobody needs one of a
    /// partition that is gone.
    pub(super) async fn anchor_in_turn(&self, partition: &Rc<Partition>) -> io::Result<bool> {
        let _settled = self.io().within(Landmark::SettledToCarry);
        if let Err(error) = self.settle_for_checkpoint(partition).await {
            self.segment_failed(partition, &error);
            return Err(error);
        }
        let is_wanted = !partition.state.borrow().is_dropped && !self.has_failed();
        if is_wanted && self.volume(partition).journal.has_closed() {
            return Err(io::Error::other("the journal has ended"));
        }
        if is_wanted {
            self.checkpoint(partition);
        }
        Ok(is_wanted)
    }

    /// Settles and syncs until little is left to carry. Batches go on coming in meanwhile; those who
    /// send them wait for the journal before long, so this ends.
    pub(super) async fn settle_for_checkpoint(&self, partition: &Rc<Partition>) -> io::Result<()> {
        let carried = || partition.state.borrow().log.carried_bytes();
        let has_full_segment = || partition.state.borrow().log.has_full_segment_to_settle();
        let is_over = || partition.state.borrow().is_dropped || !partition.has_files();
        let volume = self.volume(partition);
        while !is_over() {
            let aim = CARRIED_BYTES_MAX.min(volume.carried_bytes_max());
            while !is_over() && (carried() > aim || has_full_segment()) {
                self.settle(partition, Reach::Blocks).await?;
                // What remains begins with the batch that is not settled to its end: maybe a large one.
                if carried() > aim {
                    self.settle(partition, Reach::End).await?;
                }
            }
            self.sync_segments(partition).await?;
            // What came in during the sync may be too much for any journal file.
            if carried() <= volume.carried_bytes_max() {
                break;
            }
        }
        match partition.is_offline() && !partition.state.borrow().is_dropped {
            true => self.sync_offline(partition).await,
            false => Ok(()),
        }
    }

    /// For a partition whose folder is offline: all is carried that its files do not hold, which takes one last sync of
    /// them. If that fails the journal has to keep what it has, and cannot go on.
    async fn sync_offline(&self, partition: &Rc<Partition>) -> io::Result<()> {
        let synced = match partition.is_unsure.get() {
            true => Err(io::Error::other("a sync has failed before")),
            false => self.sync_segments(partition).await,
        };
        if let Err(error) = &synced {
            tracing::error!(
                partition = %partition.dir,
                %error,
                "the journal has to keep what an offline folder may have lost, and cannot go on"
            );
            self.journal_failed(partition.volume());
        }
        synced
    }

    /// Makes a segment's file durable. If that fails its folder has failed: another sync would say
    /// nothing of what was written before, and the journal's next start still has all of it.
    pub(super) async fn sync_segment(&self, partition: &Partition, file: &File) -> io::Result<()> {
        let synced = file.sync().await;
        if let Err(error) = &synced {
            partition.is_unsure.set(true);
            self.folder_failed(partition, error);
        }
        synced
    }

    /// Makes what was written to the active segment's file durable. The caller holds the turn, so
    /// nothing more is written meanwhile.
    async fn sync_segments(&self, partition: &Rc<Partition>) -> io::Result<()> {
        while !partition.has_lost_segment.get() {
            let unsynced = {
                let state = partition.state.borrow();
                let mut segments = state.log.segments().iter().rev();
                segments
                    .find(|segment| segment.has_unsynced_writes)
                    .map(|segment| segment.base_offset)
            };
            let Some(base) = unsynced else { return Ok(()) };
            let file = self.0.store.segment_for_write(partition, base).await?;
            if !is_on(Mutation::CheckpointWithoutSync) {
                self.sync_segment(partition, &file).await?;
            }
            if let Some(segment) = partition.state.borrow_mut().log.segment_mut(base) {
                segment.has_unsynced_writes = false;
            }
        }
        Ok(())
    }

    /// Queues the partition's state as its new anchor. What its files hold must be synced.
    pub(super) fn checkpoint(&self, partition: &Rc<Partition>) {
        let mut state = partition.state.borrow_mut();
        let unfinished = partition.unfinished_move.borrow();
        let facts = snapshot::Facts {
            dir: &partition.dir,
            folder: partition.folder().id,
            unfinished_move: &unfinished,
            leader_epoch: partition.leader_epoch.get(),
        };
        if state.anchor > 0 {
            self.io().reached(Landmark::CheckpointCarried);
        }
        let pieces = snapshot::encode(&facts, &state.log);
        drop(unfinished);
        let volume = self.volume(partition);
        let ticket = volume.journal.carry(Entry {
            head: EntryHead {
                kind: EntryKind::Checkpoint,
                key: partition.key,
                revision: partition.revision.get(),
            },
            inline: Inline::default(),
            body: Body::Many(pieces),
            durability: Durability::Sync,
            queued: self.io().now(),
        });
        state.anchor = ticket;
        drop(state);
        let anchor = (ticket, Rc::downgrade(partition));
        volume.anchors.borrow_mut().push_back(anchor);
    }

    /// Waits until the partition's newest checkpoint is on stable storage; `false` if it never will be.
    pub(super) async fn anchor_synced(&self, partition: &Rc<Partition>) -> bool {
        let ticket = partition.state.borrow().anchor;
        ticket > 0 && self.volume(partition).carried_synced(ticket).await
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::time::Duration;

    use super::*;
    use crate::io::futures::first_of;
    use crate::io::sim::{Faults, World};
    use crate::log::config::LogConfig;
    use crate::shard::ShardConfig;
    use crate::shard::message::AppendError;
    use crate::shard::tests::{
        append, append_to, config, key, open_partition, started, with_shard,
    };

    #[test]
    fn a_release_waits_for_no_checkpoint_that_came_behind_it() {
        with_shard(config(), |shard| async move {
            open_partition(&shard, 1, Durability::Sync).await;
            let partition = shard.partition(&key(1)).expect("it is open");
            let release = || *shard.0.volumes[0].reclaim.release.borrow();
            shard.checkpoint(&partition);
            shard.0.volumes[0].release_when_synced(0);
            let first = partition.state.borrow().anchor;
            assert_eq!(release(), Some((0, first)));
            shard.checkpoint(&partition);
            shard.0.volumes[0].release_when_synced(0);
            assert_eq!(release(), Some((0, first)));
            // More is to be released: that waits for what is newest now.
            shard.0.volumes[0].release_when_synced(first);
            assert_eq!(release(), Some((first, first + 1)));
        });
    }

    #[test]
    fn an_append_waits_for_some_checkpoints_and_not_for_all() {
        let roomy = ShardConfig {
            journal_bytes: 64 << 20,
            ..config()
        };
        with_shard(roomy, |shard| async move {
            for topic in 1..=200 {
                open_partition(&shard, topic, Durability::Sync).await;
                append(&shard, vec![append_to(topic, 16_000)]).await;
            }
            let front = || {
                shard.0.volumes[0]
                    .anchors
                    .borrow()
                    .front()
                    .map(|(ticket, _)| *ticket)
            };
            let target = shard.0.volumes[0].journal.carried_synced();
            shard.0.volumes[0].reclaim.through(target);
            shard.0.volumes[0].reclaim.carried.notified().await;
            append(&shard, vec![append_to(1, 1_000)]).await;
            assert!(front() <= Some(target), "all were carried before it");
        });
    }

    /// As compaction does, and a move, while the journal has no room but for checkpoints, which are gathered.
    #[test]
    fn who_holds_a_partition_and_waits_for_its_checkpoint_is_not_waited_for() {
        with_shard(config(), |shard| async move {
            open_partition(&shard, 1, Durability::Sync).await;
            open_partition(&shard, 2, Durability::Sync).await;
            open_partition(&shard, 3, Durability::Sync).await;
            append(&shard, vec![append_to(1, 1_000), append_to(3, 1_000)]).await;
            let other = shard.partition(&key(3)).expect("it is open");
            let partition = shard.partition(&key(1)).expect("it is open");
            let turn = partition.settling.take().await;
            let mut pending = Vec::new();
            for _ in 0..300 {
                let append = vec![append_to(2, 60_000)];
                pending.push(shard.append(append, shard.io().now()).await);
            }
            shard.io().sleep(Duration::from_secs(5)).await;
            let journal = &shard.0.volumes[0].journal;
            assert!(journal.waiting_bytes() > 0, "there is no room for appends");
            let mut checkpoints = 0;
            while journal.room_to_carry() > 0 {
                assert!(checkpoints < 1_000, "the room for checkpoints has an end");
                shard.checkpoint(&other);
                checkpoints += 1;
                shard.io().sleep(RETRY).await;
            }
            assert!(
                checkpoints > 0,
                "the turn of the one that is held does not take all of it"
            );
            let queued = shard.anchor_in_turn(&partition).await;
            assert!(queued.is_ok_and(|queued| queued));
            let synced = Cell::new(false);
            let waiting = async { synced.set(shard.anchor_synced(&partition).await) };
            first_of(pin!(waiting), pin!(shard.io().sleep(60 * RETRY))).await;
            assert!(synced.get());
            drop(turn);
            for append in pending {
                let result = append.wait().await.results.remove(0);
                result.expect("appended");
            }
        });
    }

    #[test]
    fn what_finds_room_for_a_checkpoint_knows_that_the_disk_has_room() {
        let mut world = World::new(1, Faults::none());
        let node = world.add_node();
        world.start(node, 1, |_, _| async {});
        let shard = world.block_on(node, |io| async move {
            let shard = started(&io, config()).await;
            open_partition(&shard, 1, Durability::Sync).await;
            append(&shard, vec![append_to(1, 100_000)]).await;
            // The journal has made its next file.
            io.sleep(Duration::from_secs(1)).await;
            shard
        });
        world.set_disk_capacity(node, world.disk_used(node));
        let (again, partition) = (shard.clone(), shard.partition(&key(1)).expect("it is open"));
        let anchoring = async move { again.anchor_anew(&partition).await };
        world.io(node).spawn("anchor", anchoring);
        world.run_for(2 * RETRY);
        assert!(shard.0.volumes[0].is_disk_full.get());
        world.set_disk_capacity(node, u64::MAX);
        world.run_for(2 * RETRY);
        assert!(!shard.0.volumes[0].is_disk_full.get());
    }

    /// What is in the journal and finds no room in its file holds up its own partition's retention as little as others'.
    #[test]
    fn retention_makes_room_on_a_full_disk() {
        let mut world = World::new(1, Faults::none());
        let node = world.add_node();
        world.start(node, 1, |_, _| async {});
        let shard = world.block_on(node, |io| async move {
            let shard = started(&io, config()).await;
            open_partition(&shard, 1, Durability::Sync).await;
            for _ in 0..80 {
                append(&shard, vec![append_to(1, 60_000)]).await;
            }
            io.sleep(Duration::from_secs(1)).await;
            shard
        });
        world.set_disk_capacity(node, world.disk_used(node));
        world.block_on(node, |io| async move {
            let mut appends = 0;
            while append_one(&shard).await.is_ok() {
                assert!(appends < 1_000, "the disk is never full");
                appends += 1;
            }
            io.sleep(10 * RETRY).await;
            assert_eq!(append_one(&shard).await, Err(AppendError::StorageFull));
            let settings = LogConfig {
                segment_bytes: 1 << 20,
                retention_bytes: Some(1 << 20),
                durability: Durability::Sync,
                ..LogConfig::default()
            };
            shard.set_config(&key(1), settings);
            let is_done = Cell::new(false);
            let retention = async {
                shard.enforce_retention().await;
                is_done.set(true);
            };
            first_of(pin!(retention), pin!(io.sleep(100 * RETRY))).await;
            assert!(is_done.get(), "retention hangs");
            io.sleep(10 * RETRY).await;
            append_one(&shard).await.expect("there is room again");
        });
    }

    async fn append_one(shard: &Shard) -> Result<(), AppendError> {
        let pending = shard.append(vec![append_to(1, 60_000)], shard.io().now());
        let result = pending.await.wait().await.results.remove(0);
        result.map(drop)
    }
}
