//! What worlds have done to their nodes, and to which states that has brought them.
//!
//! A simulation that never comes to a state proves nothing of it. So the engine and the broker above it say where they
//! are with [`Io::reached`](crate::io::Io::reached) and [`Io::within`](crate::io::Io::within), and the world counts the
//! faults it injects. [`coverage`] has the sums over all worlds of this process that have ended; what
//! nobody has come to stands there with a zero.

use std::cell::RefCell;
use std::fmt;
use std::ops::AddAssign;
use std::rc::{Rc, Weak};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::kernel::{Kernel, Place};

/// An enum and the list of its variants.
macro_rules! listed {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name {
            $($(#[$doc])* $variant,)*
        }

        impl $name {
            /// All of them, in their order.
            pub const ALL: &[$name] = &[$($name::$variant,)*];
        }
    };
}

listed! {
    /// Something that a world has done to a node or a connection.
    Fault {
        /// A process was killed.
        Kill,
        /// The power failed.
        PowerLoss,
        /// A write was under way when its node ended.
        WriteInterrupted,
        /// A write was not durable when the power failed.
        WriteUnsynced,
        /// Sectors of a page came from different writes.
        PageTorn,
        /// A change of names was lost.
        NameLost,
        /// A read failed.
        ReadError,
        /// A write failed.
        WriteError,
        /// A part of a write was done that failed.
        WritePartly,
        /// A sync failed.
        SyncError,
        /// There was no room on the disk.
        DiskFull,
        /// An operation of the disk took very long.
        DiskStall,
        /// A bit flipped.
        Rot,
        /// A wall clock jumped.
        ClockJump,
        /// A connection was reset.
        ConnectionReset,
        /// Two nodes were cut off from each other.
        Cut,
        /// A connection was closed in one direction.
        HalfClosed,
        /// A connection stood still for a while.
        Stalled,
        /// A shard got no turns for a while.
        Starved,
        /// A node was made slow.
        Slowed,
    }
}

listed! {
    /// A state of the engine, or of the broker above it, that simulations should come to.
    Landmark {
        /// The journal has two groups under way.
        GroupsOverlap,
        /// A group is under way to the disk.
        GroupWritten,
        /// A group that was written is being synced.
        GroupSynced,
        /// A journal file is being made.
        JournalFileMade,
        /// The journal goes on in a file that was used before.
        JournalWrapped,
        /// The journal waits for room.
        JournalWaits,
        /// A group says that files are not needed any more.
        FilesPublished,
        /// A write or sync of the journal has failed.
        JournalFailed,
        /// The journal was closed without room for what was queued.
        JournalGaveUp,
        /// Recovery has cut off a torn group.
        GroupTorn,
        /// Recovery has cut off a sound group behind a torn one.
        GroupBehindTear,
        /// Recovery has met a sound group of an earlier run, or of an earlier use of its file.
        GroupStale,
        /// Recovery has cut off all of a file.
        FileCutOff,
        /// Recovery has found damage.
        JournalRotten,
        /// Recovery has written a group again that nobody vouched for.
        GroupSecured,
        /// A partition is settled so that little of it is to be carried.
        SettledToCarry,
        /// A checkpoint is carried to the journal's head.
        CheckpointCarried,
        /// Journal files wait for checkpoints to be durable before they are given back.
        ReleaseWaits,
        /// Blocks are being settled.
        Settling,
        /// A full segment is being finished.
        SegmentFinished,
        /// A segment was rolled.
        SegmentRolled,
        /// The file of a segment was made.
        SegmentMade,
        /// What an earlier run has left behind in a segment's file was cut off.
        LeftoversCut,
        /// The log start moved.
        LogStartMoved,
        /// A segment was removed.
        SegmentRemoved,
        /// A start has moved a log's start behind segments that were gone.
        RemovedSegmentsGivenUp,
        /// A batch came again while its first copy was under way.
        DuplicateUnderWay,
        /// A batch came again after its first copy was acknowledged.
        DuplicateKnown,
        /// An append was refused for want of room.
        AppendRefused,
        /// A request has waited for several journals.
        JournalsJoined,
        /// A request to another shard waits for credit.
        CreditsUsedUp,
        /// A batch was read from a segment.
        ReadFromDisk,
        /// An index has led astray.
        IndexAstray,
        /// A segment was found damaged.
        SegmentRotten,
        /// Compacted segments take the place of others.
        Swapping,
        /// A start has finished such a swap.
        SwapFinishedAtStart,
        /// A partition is handed to the shard that owns it now.
        HandedOver,
        /// A partition's copy in an old journal was ended.
        OldCopyEnded,
        /// Of two copies of a partition the newer one was kept.
        OldCopyMet,
        /// A journal that no shard has any more is removed.
        JournalRemoved,
        /// A partition is copied to another folder.
        MoveCopies,
        /// A partition's copy takes its place.
        MoveSwitches,
        /// A start has finished a move.
        MoveFinishedAtStart,
        /// A deleted partition was met by recovery.
        DropRecovered,
        /// A folder has failed.
        FolderFailed,
        /// The disk is known to be full.
        DiskFullNoted,

        // Of the broker above the engine.
        /// A fetch waits for more than there is.
        FetchWaits,
        /// New records have answered a fetch that waited.
        FetchWoken,
        /// The time of a fetch that waited was up.
        FetchTimedOut,
        /// A fetch session has given way to another one.
        FetchSessionEvicted,
        /// A connection's next request waits for memory of requests.
        RequestMemoryShort,
        /// A connection's next request waits until its client has taken replies.
        RepliesUntaken,
        /// A connection's next request waits for those that it has under way.
        PipelineFull,
        /// A snapshot of the metadata is being written.
        SnapshotWritten,
        /// A coordinator reads its log.
        CoordinatorLoads,
        /// A request has come to a coordinator that loads.
        AskedWhileLoading,
        /// A coordinator could not write and begins anew from its log.
        CoordinatorAnew,
        /// Replies of a coordinator were given up, since a write takes long.
        CoordinatorSlow,
        /// A member waits for the others of its group to join a rebalance, or for its share.
        Rebalancing,
        /// A member was fenced: it is of an old epoch, or another one has its place.
        MemberFenced,
        /// Offsets have expired, or their topics are gone.
        OffsetsExpired,
    }
}

impl Landmark {
    /// Whether it is one of the broker above the engine, to which the engine alone does not come.
    pub fn is_of_broker(self) -> bool {
        self >= Landmark::FetchWaits
    }
}

/// How often something was come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// In all.
    pub times: u64,
    /// Worlds in which it was.
    pub worlds: u64,
    /// Nodes that ended within it: for what takes a while.
    pub ended_within: u64,
}

impl AddAssign for Count {
    fn add_assign(&mut self, other: Count) {
        self.times += other.times;
        self.worlds += other.worlds;
        self.ended_within += other.ended_within;
    }
}

/// What was injected and what was reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage {
    worlds: u64,
    faults: [Count; Fault::ALL.len()],
    landmarks: [Count; Landmark::ALL.len()],
}

impl Coverage {
    pub(super) const NONE: Coverage = {
        let none = Count {
            times: 0,
            worlds: 0,
            ended_within: 0,
        };
        Coverage {
            worlds: 0,
            faults: [none; Fault::ALL.len()],
            landmarks: [none; Landmark::ALL.len()],
        }
    };

    /// Of a world that is still there: in no world, that is, yet.
    pub(super) fn inject(&mut self, fault: Fault) {
        self.faults[fault as usize].times += 1;
    }

    pub(super) fn reach(&mut self, landmark: Landmark) {
        self.landmarks[landmark as usize].times += 1;
    }

    pub(super) fn end_within(&mut self, landmark: Landmark) {
        self.landmarks[landmark as usize].ended_within += 1;
    }

    /// How often a fault was injected.
    pub fn fault(&self, fault: Fault) -> Count {
        self.faults[fault as usize]
    }

    /// How often a state was reached.
    pub fn landmark(&self, landmark: Landmark) -> Count {
        self.landmarks[landmark as usize]
    }

    fn counts(&mut self) -> impl Iterator<Item = &mut Count> {
        self.faults.iter_mut().chain(&mut self.landmarks)
    }

    /// The coverage of one world that has ended.
    fn of_one_world(mut self) -> Coverage {
        self.worlds = 1;
        for count in self.counts() {
            count.worlds = u64::from(count.times > 0);
        }
        self
    }

    fn add(&mut self, mut other: Coverage) {
        self.worlds += other.worlds;
        for (count, more) in self.counts().zip(other.counts()) {
            *count += *more;
        }
    }
}

/// A table of all faults and states, those that were never reached by themselves below it.
impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<20} {:>12} {:>10} {:>12}   in {} worlds",
            "", "times", "worlds", "ended within", self.worlds
        )?;
        let faults = Fault::ALL.iter().map(|fault| format!("{fault:?}"));
        let landmarks = Landmark::ALL.iter().map(|landmark| format!("{landmark:?}"));
        let names = faults.chain(landmarks);
        let counts = self.faults.iter().chain(&self.landmarks);
        let mut never = Vec::new();
        for (name, count) in names.zip(counts) {
            if count.times == 0 {
                never.push(name);
                continue;
            }
            let Count {
                times,
                worlds,
                ended_within,
            } = count;
            writeln!(f, "{name:<20} {times:>12} {worlds:>10} {ended_within:>12}")?;
        }
        match never.is_empty() {
            true => write!(f, "never: nothing"),
            false => write!(f, "never: {}", never.join(", ")),
        }
    }
}

thread_local! {
    static OF_THREAD: RefCell<Coverage> = const { RefCell::new(Coverage::NONE) };
}

static ALL_WORLDS: Mutex<Coverage> = Mutex::new(Coverage::NONE);

fn all_worlds() -> MutexGuard<'static, Coverage> {
    ALL_WORLDS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What all worlds of this process that have ended have come to.
pub fn coverage() -> Coverage {
    all_worlds().clone()
}

/// What the worlds have come to that end on this thread while `run` does.
pub fn coverage_of(run: impl FnOnce()) -> Coverage {
    let before = OF_THREAD.replace(Coverage::NONE);
    run();
    let its = OF_THREAD.replace(before);
    OF_THREAD.with_borrow_mut(|all| all.add(its.clone()));
    its
}

/// A world has ended.
pub(super) fn add_world(coverage: Coverage) {
    let coverage = coverage.of_one_world();
    OF_THREAD.with_borrow_mut(|all| all.add(coverage.clone()));
    all_worlds().add(coverage);
}

/// Held while the engine is in some state. On a real core there is nothing to it.
pub struct Within {
    pub(in crate::io) _held: Option<InWorld>,
}

pub(in crate::io) struct InWorld {
    kernel: Weak<Kernel>,
    place: Place,
    landmark: Landmark,
}

impl InWorld {
    pub(super) fn enter(kernel: &Rc<Kernel>, place: Place, landmark: Landmark) -> InWorld {
        kernel.reach(landmark);
        kernel.within.borrow_mut().push((place, landmark));
        InWorld {
            kernel: Rc::downgrade(kernel),
            place,
            landmark,
        }
    }
}

impl Drop for InWorld {
    fn drop(&mut self) {
        let Some(kernel) = self.kernel.upgrade() else {
            return;
        };
        let mut within = kernel.within.borrow_mut();
        let entered = (self.place, self.landmark);
        if let Some(at) = within.iter().position(|entry| *entry == entered) {
            within.swap_remove(at);
        }
    }
}
