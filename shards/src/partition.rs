//! One partition on the shard that owns it: its log, how far it is acknowledged, and who waits.
//!
//! | event | effect |
//! |---|---|
//! | append | the log's end moves; the high watermark does not (class `memory`: it does) |
//! | group written or synced, by class | the high watermark moves to the end of the entry; waiting fetches are woken |
//! | checkpoint queued | the anchor moves to its ticket |
//! | log start moved | reads below it are out of range; segments below it go |
//! | dropped | nothing is appended or read any more; its folder is set aside once nobody settles |
//!
//! With one replica the high watermark is what the journal has completed. It never goes back.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

use bytes::Bytes;
use rustc_hash::FxHashSet;
use uuid::Uuid;

use crate::io::Notify;
use crate::journal::Ticket;
use crate::log::Log;
use crate::log::aborted::{AbortedTransaction, AbortedTransactions};
use crate::log::batch::BatchHeader;
use crate::log::snapshot::UnfinishedMove;
use crate::mutation::{Mutation, is_on};
use crate::route::PartitionKey;
use crate::shard::compact::Course;
use crate::shard::message::{Probe, ReadError, ReadSpec, WatchId};
use crate::shard::moves::Move;
use crate::shard::store::DiskShare;
use crate::shard::volume::Folder;

/// One partition. Lives on one shard.
pub struct Partition {
    /// Its name inside the engine.
    pub key: PartitionKey,
    /// Name of its folder, as Kafka spells it.
    pub dir: Rc<str>,
    /// How often it moved between journals.
    pub revision: Cell<u64>,
    /// The log folder that its own is in.
    folder: RefCell<Rc<Folder>>,
    /// Place of the volume whose journal takes its appends: that of its folder, unless that is offline since the start,
    /// and once it has moved there altogether.
    volume: Cell<usize>,
    /// What is yet to be done since it has moved to its log folder.
    pub(crate) unfinished_move: RefCell<UnfinishedMove>,
    /// The move to another log folder that is wanted or under way. Its log is not compacted meanwhile.
    pub(crate) moving: RefCell<Option<Rc<Move>>>,
    /// How often its files have been in another place.
    places: Cell<u32>,
    /// Whether a sync of its files has failed: nobody knows what they hold.
    pub(crate) is_unsure: Cell<bool>,
    /// Epoch of its leader, which batches are stamped with.
    pub leader_epoch: Cell<i32>,
    /// Everything that changes with records.
    pub state: RefCell<State>,
    /// Only one task at a time writes its segments.
    pub settling: Turn,
    /// Whether it waits for its turn to be settled.
    pub is_queued: Cell<bool>,
    /// Whether it is among the partitions with a little to settle.
    pub is_dirty: Cell<bool>,
    /// The log start on stable storage: only what lies below it may be removed.
    pub durable_start: Cell<i64>,
    /// Whether its folder is known to exist.
    pub has_dir: Cell<bool>,
    /// Whether the start has not found its folder, and it should be there.
    pub has_lost_dir: Cell<bool>,
    /// Whether a file is gone that had records of the segment that is written, and none shall take its place.
    pub has_lost_segment: Cell<bool>,
    /// Whether its folder says that it is another topic's, while nobody knows whether it was deleted itself.
    pub has_foreign_dir: Cell<bool>,
    /// Whether it was opened by its owner: one that recovery found may have been deleted.
    pub is_opened: Cell<bool>,
    /// Whether it had to forget producers because there were too many.
    pub has_forgotten_producers: Cell<bool>,
    /// How compaction of it has gone.
    pub(crate) compaction: Cell<Course>,
    /// Its aborted transactions, once they were read from its files.
    pub aborted: RefCell<Option<AbortedTransactions>>,
    /// Only one task at a time reads these.
    pub loading_aborted: Turn,
    /// What went in and out since it was opened.
    pub traffic: Cell<Traffic>,
}

/// What went in and out of a partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    pub records_in: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
}

/// Log, watermark and those who wait.
pub struct State {
    /// The log.
    pub log: Log,
    /// Acknowledged records end here.
    pub high_watermark: i64,
    /// Carried ticket of its newest checkpoint; 0 before the first.
    pub anchor: Ticket,
    /// It was deleted.
    pub is_dropped: bool,
    watches: FxHashSet<WatchId>,
}

impl Partition {
    /// A partition with this log, all of which is acknowledged.
    pub(crate) fn new(
        key: PartitionKey,
        (folder, dir): (Rc<Folder>, &str),
        revision: u64,
        leader_epoch: i32,
        mut log: Log,
    ) -> Rc<Self> {
        log.on_high_watermark(log.end_offset());
        let (topic, rest) = key.topic.as_u64_pair();
        log.spread_rolls(topic ^ rest.rotate_left(32) ^ u64::from(key.partition as u32) << 40);
        let durable_start = Cell::new(log.start_offset());
        let has_none = log.segments().iter().all(|segment| segment.aborted == 0);
        let aborted = RefCell::new(has_none.then(AbortedTransactions::default));
        let volume = Cell::new(folder.volume);
        let state = State {
            high_watermark: log.end_offset(),
            log,
            anchor: 0,
            is_dropped: false,
            watches: FxHashSet::default(),
        };
        Rc::new(Self {
            key,
            dir: Rc::from(dir),
            revision: Cell::new(revision),
            folder: RefCell::new(folder),
            volume,
            unfinished_move: RefCell::default(),
            moving: RefCell::default(),
            places: Cell::default(),
            is_unsure: Cell::new(false),
            leader_epoch: Cell::new(leader_epoch),
            state: RefCell::new(state),
            settling: Turn::default(),
            is_queued: Cell::new(false),
            is_dirty: Cell::new(false),
            durable_start,
            has_dir: Cell::new(false),
            has_lost_dir: Cell::new(false),
            has_lost_segment: Cell::new(false),
            has_foreign_dir: Cell::new(false),
            is_opened: Cell::new(false),
            has_forgotten_producers: Cell::new(false),
            compaction: Cell::default(),
            aborted,
            loading_aborted: Turn::default(),
            traffic: Cell::default(),
        })
    }

    /// The log folder that its own is in.
    pub(crate) fn folder(&self) -> Rc<Folder> {
        self.folder.borrow().clone()
    }

    /// Place of the volume whose journal takes its appends.
    pub(crate) fn volume(&self) -> usize {
        self.volume.get()
    }

    /// From now on another journal takes its appends.
    pub(crate) fn set_volume(&self, volume: usize) {
        self.volume.set(volume);
    }

    /// From now on its files are in another log folder, in a folder with the name of a future one.
    pub(crate) fn set_folder(&self, folder: Rc<Folder>, future: Uuid) {
        let mut unfinished = self.unfinished_move.borrow_mut();
        let left = self.folder.replace(folder.clone()).id;
        unfinished.future = Some(future);
        unfinished.left.push(left);
        unfinished.left.retain(|left| *left != folder.id);
        self.note_place();
    }

    /// From now on it counts as one of a folder that is offline.
    pub(crate) fn set_offline_in(&self, folder: Rc<Folder>) {
        assert!(folder.is_offline.get(), "its files are elsewhere");
        self.unfinished_move.borrow_mut().future = None;
        self.folder.replace(folder);
        self.note_place();
    }

    /// Its files are in another place.
    pub(crate) fn note_place(&self) {
        self.places.set(self.places.get() + 1);
    }

    /// Tells the places apart that its files had one after the other.
    pub(crate) fn place(&self) -> u32 {
        self.places.get()
    }

    /// Name that its folder has now.
    pub(crate) fn dir_now(&self) -> Cow<'_, str> {
        self.unfinished_move.borrow().dir_now(&self.dir)
    }

    /// What it shares with those whose folders are on the same device.
    pub(crate) fn disk_share(&self) -> Rc<DiskShare> {
        self.folder.borrow().disk_share.clone()
    }

    /// Whether its folder is out of reach.
    pub fn is_offline(&self) -> bool {
        self.folder.borrow().is_offline.get()
    }

    /// Whether anything can be written to its files: its folder is neither out of reach nor lost nor another's, and no
    /// segment is lost that is written.
    pub fn has_files(&self) -> bool {
        !self.is_offline()
            && !self.has_lost_dir.get()
            && !self.has_lost_segment.get()
            && !self.has_foreign_dir.get()
    }

    /// Counts a batch that was placed.
    pub fn note_in(&self, records: u64, bytes: usize) {
        let mut traffic = self.traffic.get();
        traffic.records_in += records;
        traffic.bytes_in += bytes as u64;
        self.traffic.set(traffic);
    }

    /// Counts what a reader gets.
    pub fn note_out(&self, bytes: u64) {
        let mut traffic = self.traffic.get();
        traffic.bytes_out += bytes;
        self.traffic.set(traffic);
    }

    /// Moves the high watermark; returns who waits for that.
    pub fn acknowledge(&self, end_offset: i64) -> Vec<WatchId> {
        let mut state = self.state.borrow_mut();
        if end_offset <= state.high_watermark {
            return Vec::new();
        }
        assert!(
            end_offset <= state.log.end_offset(),
            "nothing is acknowledged that is not there"
        );
        state.high_watermark = end_offset;
        state.log.on_high_watermark(end_offset);
        state.take_watches()
    }

    /// What a reader may have, and the fetch that wants to hear of more.
    pub fn probe(&self, spec: &ReadSpec, watch: Option<WatchId>) -> Result<Probe, ReadError> {
        if self.is_offline() {
            return Err(ReadError::FolderOffline);
        }
        let mut state = self.state.borrow_mut();
        let probe = state.probe(spec, self.leader_epoch.get())?;
        if let Some(watch) = watch {
            state.watches.insert(watch);
        }
        Ok(probe)
    }

    /// The aborted transactions that a reader gets with these batches; `None` if their files have to
    /// be read first.
    pub fn aborted_among(
        &self,
        spec: &ReadSpec,
        batches: &[Bytes],
    ) -> Option<Vec<AbortedTransaction>> {
        if !spec.committed {
            return Some(Vec::new());
        }
        let aborted = self.aborted.borrow();
        let aborted = aborted.as_ref()?;
        if !aborted.reach(spec.offset) {
            return Some(Vec::new());
        }
        let end = end_of(batches).unwrap_or(spec.offset);
        Some(aborted.overlapping(spec.offset..end))
    }
}

/// Where batches end that follow each other in slices. One may begin in a slice and go on in those behind it.
fn end_of(slices: &[Bytes]) -> Option<i64> {
    let mut end = None;
    let mut left_of_batch = 0;
    for slice in slices {
        let mut at = slice.len().min(left_of_batch);
        left_of_batch -= at;
        while at < slice.len() {
            let header = BatchHeader::parse(&slice[at..]).ok()?;
            end = Some(header.next_offset());
            let here = header.size_bytes().min(slice.len() - at);
            at += here;
            left_of_batch = header.size_bytes() - here;
        }
    }
    end
}

impl State {
    /// Nobody reads at or above this.
    pub fn readable_end(&self, committed: bool) -> i64 {
        if committed {
            self.last_stable_offset()
        } else if is_on(Mutation::ReadBeyondHighWatermark) {
            self.log.end_offset()
        } else {
            self.high_watermark
        }
    }

    /// The first offset that an open transaction may still change.
    pub fn last_stable_offset(&self) -> i64 {
        let unstable = self.log.producers().first_unstable_offset();
        unstable.map_or(self.high_watermark, |offset| {
            offset.min(self.high_watermark)
        })
    }

    /// All who wait, once.
    pub fn take_watches(&mut self) -> Vec<WatchId> {
        self.watches.drain().collect()
    }

    fn probe(&self, spec: &ReadSpec, leader_epoch: i32) -> Result<Probe, ReadError> {
        if self.is_dropped {
            return Err(ReadError::UnknownPartition);
        }
        check_epoch(spec.current_leader_epoch, leader_epoch)?;
        let mut probe = Probe {
            available: 0,
            high_watermark: self.high_watermark,
            last_stable_offset: self.last_stable_offset(),
            log_start_offset: self.log.start_offset(),
            diverging: None,
        };
        if let Some(epoch) = spec.last_fetched_epoch {
            // KIP-595: the reader's last record must be of an epoch that this log has that far.
            let end = self
                .log
                .epochs()
                .end_offset_for(epoch, self.log.end_offset())
                .ok_or(ReadError::OffsetOutOfRange)?;
            if spec.offset < self.log.start_offset() {
                return Err(ReadError::OffsetOutOfRange);
            }
            if end.epoch < epoch || end.end_offset < spec.offset {
                probe.diverging = Some(end);
                return Ok(probe);
            }
        }
        // Kafka lets a reader ask for the log's end and nothing behind it.
        if spec.offset < self.log.start_offset() || spec.offset > self.log.end_offset() {
            return Err(ReadError::OffsetOutOfRange);
        }
        let upper = self.readable_end(spec.committed);
        if spec.offset < upper {
            probe.available = self.log.bytes_between(spec.offset, upper, spec.bytes_max);
        }
        Ok(probe)
    }
}

/// Compares the leader epoch that a client believes in with the real one.
pub fn check_epoch(believed: Option<i32>, leader_epoch: i32) -> Result<(), ReadError> {
    match believed {
        Some(epoch) if epoch < leader_epoch => Err(ReadError::FencedLeaderEpoch),
        Some(epoch) if epoch > leader_epoch => Err(ReadError::UnknownLeaderEpoch),
        _ => Ok(()),
    }
}

/// A right that one task holds at a time; the others get it in the order in which they asked, so that
/// one who asks again and again leaves it to them in between.
pub struct Turn(Notify);

/// Gives the right back when dropped.
pub struct TurnGuard<'a>(&'a Turn);

impl Turn {
    /// Waits for the right.
    pub async fn take(&self) -> TurnGuard<'_> {
        self.0.notified().await;
        TurnGuard(self)
    }
}

impl Default for Turn {
    fn default() -> Self {
        let free = Notify::new();
        free.notify_one();
        Self(free)
    }
}

impl Drop for TurnGuard<'_> {
    fn drop(&mut self) {
        self.0.0.notify_one();
    }
}
