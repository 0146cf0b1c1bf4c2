//! Deliberate bugs, each of which the simulation has to catch: what proves that it would catch others.
//!
//! A bug is switched on for one thread, which is one simulated world at a time, by [`with`]. What users
//! run has none of this: [`is_on`] is `false` at compile time unless debug assertions are on, as they are
//! when tests are built and are not in a release build. `shards/tests/sim/mutations.rs` says which test
//! catches which of them, and within how many seeds.

/// A bug, named by what the code does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mutation {
    /// Groups that should be durable when they are written are only written.
    AcknowledgeBeforeSync,
    /// Records are shown to readers as soon as they are in memory.
    HighWatermarkBeforeSync,
    /// Readers get what lies above the high watermark.
    ReadBeyondHighWatermark,
    /// A batch that was sent again is acknowledged while its first copy is under way.
    AcknowledgeDuplicateAtOnce,
    /// The new log start is acknowledged before the journal has it.
    AcknowledgeLogStartAtOnce,
    /// The journal goes on after a failed write, as if it had succeeded.
    IgnoreFailedWrite,
    /// Recovery takes a group for sound whose entries do not fit their checksum.
    SkipGroupChecksum,
    /// Readers of segments take a batch for sound that does not fit its checksum.
    SkipBatchChecksum,
    /// Recovery takes groups that an earlier run, or an earlier use of the file, has left behind the end.
    ReuseStaleGroups,
    /// Recovery keeps a file of which all was cut off among those that are needed.
    KeepCutOffFile,
    /// A file is written anew before a group on stable storage says that it is not needed.
    ReuseFileAtOnce,
    /// Recovery leaves the newest groups as they are, durable or not.
    TrustUnvouchedGroups,
    /// A torn group with a sound one behind it is called damage.
    MistakeTearForRot,
    /// A rotten group is taken for the torn end of the log.
    MistakeRotForTear,
    /// Checkpoints are not carried forward before their file is written anew.
    ForgetToCarry,
    /// A file is given back before the checkpoints that took its place are durable.
    ReleaseBeforeCarried,
    /// A full segment is not synced before the journal forgets it.
    FinishSegmentWithoutSync,
    /// What was settled of the active segment is not synced before a checkpoint counts on it.
    CheckpointWithoutSync,
    /// The name of a new segment is not made durable.
    ForgetSegmentName,
    /// What an earlier run has left in a segment's file behind its end stays there.
    KeepLeftovers,
    /// Producers are forgotten when a segment is rolled.
    ForgetProducersAtRoll,
    /// A new leader epoch does not reach the partition.
    ForgetLeaderEpoch,
    /// A rotten index makes a sound segment unreadable.
    TrustIndex,
    /// Now and then the reply to an append of another shard is not sent.
    DropAppendWaiter,
    /// Now and then a fetch is not told that there is news.
    DropFetchWaiter,
    /// A lane has no room of its own for replies: those that find it full are lost.
    DropReplyOfFullLane,
    /// The room that a reply gives back is not given to who waits for it.
    ForgetCredit,
    /// Two requests to one shard change places.
    SwapRequests,
    /// A compacted segment is not durable before it takes the place of others.
    CompactWithoutSync,
    /// Files are renamed before the checkpoint is durable that says what they are.
    SwapBeforeCheckpoint,
    /// The names of swapped files are not durable before the log counts on them.
    ForgetSwappedNames,
    /// Compaction removes the newest record of a key, too.
    CompactNewest,
    /// A partition that went to another journal is not ended in the old one.
    ForgetMovedMark,
    /// Of two copies of a partition the older one wins.
    PreferOldCopy,
    /// Recovery passes over the end of deleted partitions.
    ForgetDrop,
    /// The copy of a partition in another folder is not synced before it is switched to.
    MoveWithoutSync,
}

#[cfg(debug_assertions)]
mod switch {
    use std::cell::Cell;

    use super::Mutation;

    thread_local! {
        static ON: Cell<Option<Mutation>> = const { Cell::new(None) };
        static CALLS: Cell<u64> = const { Cell::new(0) };
    }

    /// Switches the bug off again, also when a test panics.
    struct Off;

    impl Drop for Off {
        fn drop(&mut self) {
            ON.set(None);
        }
    }

    /// Runs something on this thread that has this bug.
    pub fn with<T>(mutation: Mutation, run: impl FnOnce() -> T) -> T {
        assert_eq!(ON.replace(Some(mutation)), None, "one bug at a time");
        CALLS.set(0);
        let _off = Off;
        run()
    }

    /// The bug that is on.
    pub fn current() -> Option<Mutation> {
        ON.get()
    }

    /// Whether the bug is on and strikes this time: each time that many calls have come.
    pub fn strikes(mutation: Mutation, every: u64) -> bool {
        if ON.get() != Some(mutation) {
            return false;
        }
        CALLS.set(CALLS.get() + 1);
        CALLS.get().is_multiple_of(every)
    }
}

#[cfg(not(debug_assertions))]
mod switch {
    use super::Mutation;

    /// None: this build has no bugs of this kind.
    #[inline(always)]
    pub const fn current() -> Option<Mutation> {
        None
    }

    /// Never.
    #[inline(always)]
    pub const fn strikes(_: Mutation, _: u64) -> bool {
        false
    }
}

pub use switch::current;
pub(crate) use switch::strikes;
#[cfg(debug_assertions)]
pub use switch::with;

/// Whether this thread runs with the bug. Costs nothing in a release build.
#[inline(always)]
pub(crate) fn is_on(mutation: Mutation) -> bool {
    current() == Some(mutation)
}
