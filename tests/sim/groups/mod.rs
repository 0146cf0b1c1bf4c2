//! Clients of groups, and what they are promised.
//!
//! What happens: members of the classic protocol (eager and cooperative) and of the new one, alone and mixed, so that
//! groups move between the protocols, dynamic and static; they stop, are killed and come back, hang for longer than
//! their session, let go of partitions too late, are cut off, lose their connections with requests and replies under way,
//! and find others in their place. Connections also stand still, or close in one direction. Others commit offsets without
//! being members, delete offsets and groups, make topics grow, delete them and make them again. The broker is stopped,
//! killed, or loses its power, which tears and loses what was not synced, also while it starts or loads groups; it comes
//! back with another number of shards. Its clock jumps both ways, its shards get no turns. Its disk is slow, has no room for
//! a while, so that coordinators begin anew from their logs, or fails, so that the broker gives up and is started again.
//!
//! What is checked:
//! - Committed offsets: each read tells a commit that was sent and behind which no other one is known to have come
//!   before the read began, whatever was acknowledged or read before a crash ([`commits`]).
//! - Owners: nobody is given a partition while another member of the group holds it ([`holders`]); in one generation of
//!   the classic protocol all get what one leader has dealt out ([`generations`]).
//! - Rebalances end: once everybody is calm, all groups are stable, and all partitions are held by one who wants them
//!   ([`rest`]).
//! - Fencing: a commit of another generation, or of somebody whose partition is another one's, is refused.
//! - Codes: clients do with each error code what Java's do, and a code that these don't expect fails the run. What is not
//!   done for the disk's sake is refused with one after which they try again.
//! - Something was committed and read.
//! - Once clients have gone, nothing is held for them: no connection, and no memory of requests or replies.
//! - No part of the broker logs an error where the disk gives it no reason, and none panics.
//!
//! Each seed switches on some of the work and of the trouble ([`plan`]). One that fails prints what that was, and the
//! commands that run it again, and that look for a smaller run which fails in the same way.

mod cast;
mod classic;
mod commits;
mod consumer_protocol;
mod generations;
mod holders;
mod member;
mod modern;
mod offsets;
mod plan;
mod rest;
mod scenario;
mod sim;
mod topics;
mod trouble;

use corelog_shards::io::sim::{on_all_cores, seeds};

use self::plan::Plan;
use self::scenario::run;
use crate::minimise::run_seed;
use crate::plan::Drawn;
use crate::story::Story;

/// The world of one seed.
pub fn simulate(seed: u64) {
    run_seed(seed, run);
}

#[test]
fn groups_keep_their_promises_whatever_happens() {
    on_all_cores(seeds(200), simulate);
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 0..5 {
        let plan = Plan::draw(seed);
        let run = || run(&plan, &Story::short());
        assert_eq!(run(), run());
    }
}
