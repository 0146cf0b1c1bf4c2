//! Deliberate bugs, each of which some simulation has to catch.
//!
//! What is caught is what would be caught if somebody made the mistake. Each bug of
//! [`Mutation`] is switched on, and the seeds of one simulation are run from zero on until one fails. Most fail within
//! the first three seeds; those that need more: `AcknowledgeDuplicateAtOnce` 34, `SkipGroupChecksum` 7,
//! `ReuseStaleGroups` 5, `KeepCutOffFile` 36, `TrustIndex` 4, `DropAppendWaiter` 5, `DropFetchWaiter` 8,
//! `CompactWithoutSync` 6, `SwapBeforeCheckpoint` 8, `PreferOldCopy` 8, `ForgetMovedMark` 58. All are caught. The seed that fails with a bug is
//! run without it, too, with the limit on steps that runs with bugs have, and must not fail.
//!
//! `CORELOG_MUTATION=TrustIndex cargo test -p corelog-shards --test sim mutations` tries that one alone, and tells how it
//! fails.

use corelog_shards::io::sim::Simulation;
use corelog_shards::mutation::{Mutation, uncaught};

use crate::crashes::{simulate_handovers, simulate_short_runs};
use crate::failed_journal::simulate_failed_segments;
use crate::folders::simulate_absences;
use crate::hours::{
    all_classes_crash, compacting, failing, journals, moving, rotting_journal, rotting_segments,
    stale_journals,
};
use crate::mesh;

/// What has to be caught, by which simulation, within how many seeds.
const CAUGHT: &[(Mutation, Simulation, u64)] = &[
    (Mutation::AcknowledgeBeforeSync, all_classes_crash, 30),
    (Mutation::HighWatermarkBeforeSync, all_classes_crash, 30),
    (Mutation::ReadBeyondHighWatermark, all_classes_crash, 30),
    (Mutation::AcknowledgeDuplicateAtOnce, all_classes_crash, 100),
    (Mutation::AcknowledgeLogStartAtOnce, all_classes_crash, 30),
    (Mutation::IgnoreFailedWrite, failing, 30),
    (Mutation::SkipGroupChecksum, all_classes_crash, 30),
    (Mutation::SkipBatchChecksum, rotting_segments, 30),
    (Mutation::ReuseStaleGroups, stale_journals, 100),
    (Mutation::KeepCutOffFile, journals, 100),
    (Mutation::ReuseFileAtOnce, journals, 100),
    (Mutation::TrustUnvouchedGroups, simulate_short_runs, 100),
    (Mutation::MistakeTearForRot, simulate_short_runs, 30),
    (Mutation::MistakeRotForTear, rotting_journal, 30),
    (Mutation::ForgetToCarry, all_classes_crash, 30),
    (Mutation::ReleaseBeforeCarried, simulate_short_runs, 100),
    (Mutation::FinishSegmentWithoutSync, all_classes_crash, 30),
    (Mutation::CheckpointWithoutSync, all_classes_crash, 30),
    (Mutation::ForgetSegmentName, all_classes_crash, 100),
    (Mutation::ForgetProducersAtRoll, all_classes_crash, 30),
    (Mutation::ForgetLeaderEpoch, all_classes_crash, 30),
    (Mutation::TrustIndex, rotting_segments, 30),
    (Mutation::DropAppendWaiter, all_classes_crash, 100),
    (Mutation::DropFetchWaiter, all_classes_crash, 100),
    (Mutation::DropReplyOfFullLane, mesh::simulate, 10),
    (Mutation::ForgetCredit, mesh::simulate, 10),
    (Mutation::SwapRequests, all_classes_crash, 30),
    (Mutation::CompactWithoutSync, compacting, 60),
    (Mutation::SwapBeforeCheckpoint, compacting, 60),
    (Mutation::CompactNewest, compacting, 30),
    (Mutation::MoveWithoutSync, moving, 100),
    (Mutation::PreferOldCopy, simulate_handovers, 100),
    (Mutation::ForgetSwappedNames, compacting, 100),
    (Mutation::KeepLeftovers, simulate_failed_segments, 100),
    (Mutation::ForgetMovedMark, simulate_absences, 100),
];

#[test]
fn each_bug_is_caught() {
    let missed = uncaught(CAUGHT, |mutation, needed, seeds_max| {
        println!("{mutation:?}: {needed:?} of {seeds_max}");
    });
    assert!(missed.is_empty(), "nothing has failed with {missed:?}");
}
