//! Deliberate bugs, each of which the simulation has to catch: what proves that it would catch others.
//!
//! A bug is switched on for one thread, which is one simulated world at a time, by [`with`]. What users
//! run has none of this: [`is_on`] is `false` at compile time unless debug assertions are on, as they are
//! when tests are built and are not in a release build. `shards/tests/sim/mutations.rs` says which test
//! catches which of them, and within how many seeds; for those of the broker above the engine,
//! `tests/sim/mutations.rs` does.

/// A bug, named by what the code does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mutation {
    /// No bug: a seed that fails with this fails for another reason, such as the limit on the steps of runs with bugs.
    Nothing,
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
    /// The copy of a partition in another folder is not synced before it is switched to.
    MoveWithoutSync,
    /// Retention takes one segment more than the log can spare.
    RetainTooLittle,
    /// Retention takes what is half as old as it is to be.
    RetainTooShort,
    /// Now and then a segment's file is opened and never closed.
    KeepFileOpen,

    // Of the broker above the engine.
    /// A reply overtakes the one before it.
    SwapReplies,
    /// Now and then a reply is sent twice.
    RepeatReply,
    /// Now and then a reply is not sent.
    DropReply,
    /// Now and then a connection is closed behind a reply.
    CloseConnection,
    /// A produce without acknowledgements is answered.
    AnswerWithoutAcks,
    /// The results of two partitions of a produce change places.
    MixUpResults,
    /// Topics of class `sync` are kept as if they were of class `written`.
    WeakenDurability,
    /// A fetch session does not tell of a high watermark that has moved while there was no room for records.
    SilentSession,
    /// A topic that was made again is taken for the one that had its name before.
    MistakeRecreatedTopic,
    /// Now and then the memory of a request is not given back.
    KeepReservation,
    /// Other shards than the controller's do not learn of a change of the metadata.
    UntoldShards,
    /// Blocks of producer ids are given out again.
    ReuseProducerIds,
    /// A snapshot of the metadata is not durable before the log goes that it stands for.
    SnapshotWithoutSync,
    /// Committed offsets are acknowledged before the log has them.
    AcknowledgeCommitAtOnce,
    /// Offsets are taken of members of another generation or epoch.
    TakeStaleCommit,
    /// A member is given a partition that another one has not given up yet.
    AssignOwned,
    /// Members of a generation are given each other's share.
    MixUpShares,
    /// Members of the classic protocol are not told of a rebalance.
    HideRebalance,
    /// Who loads a coordinator's log passes over what deletes.
    ForgetTombstones,
    /// Groups are not told of a change of the metadata.
    HideMetadata,
    /// Now and then a coordinator's answer to another shard is lost.
    DropFarAnswer,
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

#[cfg(debug_assertions)]
pub use caught::uncaught;
#[cfg(debug_assertions)]
pub use switch::with;
pub use switch::{current, strikes};

#[cfg(debug_assertions)]
mod caught {
    use std::cell::Cell;
    use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
    use std::sync::Once;

    use super::{Mutation, with};
    use crate::io::sim::Simulation;

    /// Names the only bug of a list to try, whose failures are told.
    const ONLY: &str = "CORELOG_MUTATION";

    thread_local! {
        /// Whether a panic of this thread is expected, and nobody wants to read of it.
        static IS_EXPECTED: Cell<bool> = const { Cell::new(false) };
    }

    fn expect_panics() {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            let hook = take_hook();
            set_hook(Box::new(move |panic| {
                if !IS_EXPECTED.get() {
                    hook(panic);
                }
            }));
        });
    }

    /// Seeds of the simulation until one failed with the bug; `None` if none of so many did.
    fn seeds_needed(mutation: Mutation, simulation: Simulation, seeds_max: u64) -> Option<u64> {
        expect_panics();
        IS_EXPECTED.set(std::env::var(ONLY).is_err());
        let fails = |seed: &u64| {
            let run = || with(mutation, || simulation(*seed));
            catch_unwind(AssertUnwindSafe(run)).is_err()
        };
        let failed = (0..seeds_max).find(fails);
        IS_EXPECTED.set(false);
        failed.map(|seed| seed + 1)
    }

    /// The bugs of a list that its simulations do not catch within so many seeds; `told` hears of each how many were
    /// needed. What fails with a bug does so for the bug: the seed that fails is run without it, too, with the limit on steps
    /// that runs with bugs have. Panics if that fails, or if the environment names a bug that is not in the list.
    pub fn uncaught(
        list: &[(Mutation, Simulation, u64)],
        told: impl Fn(Mutation, Option<u64>, u64),
    ) -> Vec<Mutation> {
        let only = std::env::var(ONLY).ok();
        let is_wanted = |mutation: Mutation| {
            let is_it = |only: &String| *only == format!("{mutation:?}");
            only.as_ref().is_none_or(is_it)
        };
        let is_any = list.iter().any(|(mutation, ..)| is_wanted(*mutation));
        assert!(
            is_any,
            "{ONLY}={}: not in this list",
            only.unwrap_or_default()
        );
        let mut missed = Vec::new();
        for (mutation, simulation, seeds_max) in list {
            if !is_wanted(*mutation) {
                continue;
            }
            let needed = seeds_needed(*mutation, *simulation, *seeds_max);
            told(*mutation, needed, *seeds_max);
            match needed {
                Some(needed) => with(Mutation::Nothing, || simulation(needed - 1)),
                None => missed.push(*mutation),
            }
        }
        missed
    }
}

/// Whether this thread runs with the bug. Costs nothing in a release build.
#[inline(always)]
pub fn is_on(mutation: Mutation) -> bool {
    current() == Some(mutation)
}
