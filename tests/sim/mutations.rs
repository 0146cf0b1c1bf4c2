//! Deliberate bugs in the broker above the engine, and some in the engine, each of which a simulation of the whole broker
//! has to catch, as `shards/tests/sim/mutations.rs` says of those in the engine.
//!
//! Most fail within the first ten seeds; those that need more: `RetainTooShort` 28, `MistakeRecreatedTopic` 22,
//! `HideMetadata` 21, `KeepFileOpen` 14, `WeakenDurability` 13, `DropReply` 12.

use corelog_shards::io::sim::Simulation;
use corelog_shards::mutation::{Mutation, uncaught};

use crate::{data, groups};

/// What has to be caught, by which simulation, within how many seeds.
const CAUGHT: &[(Mutation, Simulation, u64)] = &[
    (Mutation::AcknowledgeBeforeSync, data::simulate, 100),
    (Mutation::HighWatermarkBeforeSync, data::simulate, 100),
    (Mutation::SwapReplies, data::simulate, 100),
    (Mutation::RepeatReply, data::simulate, 100),
    (Mutation::DropReply, data::simulate, 100),
    (Mutation::CloseConnection, data::simulate, 300),
    (Mutation::AnswerWithoutAcks, data::simulate, 100),
    (Mutation::MixUpResults, data::simulate, 100),
    (Mutation::WeakenDurability, data::simulate, 300),
    (Mutation::SilentSession, data::simulate, 300),
    (Mutation::MistakeRecreatedTopic, data::simulate, 300),
    (Mutation::KeepReservation, data::simulate, 100),
    (Mutation::UntoldShards, data::simulate, 100),
    (Mutation::ReuseProducerIds, data::simulate, 100),
    (Mutation::SnapshotWithoutSync, data::simulate, 300),
    (Mutation::RetainTooLittle, data::simulate, 100),
    (Mutation::RetainTooShort, data::simulate, 100),
    (Mutation::KeepFileOpen, data::simulate, 100),
    (Mutation::AcknowledgeCommitAtOnce, groups::simulate, 50),
    (Mutation::TakeStaleCommit, groups::simulate, 50),
    (Mutation::AssignOwned, groups::simulate, 50),
    (Mutation::MixUpShares, groups::simulate, 50),
    (Mutation::HideRebalance, groups::simulate, 50),
    (Mutation::ForgetTombstones, groups::simulate, 50),
    (Mutation::HideMetadata, groups::simulate, 100),
    (Mutation::DropFarAnswer, groups::simulate, 50),
];

#[test]
fn each_bug_is_caught() {
    let missed = uncaught(CAUGHT, |mutation, needed, seeds_max| {
        println!("{mutation:?}: {needed:?} of {seeds_max}");
    });
    assert!(missed.is_empty(), "nothing has failed with {missed:?}");
}
