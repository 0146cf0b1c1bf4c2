//! Clients that write and read records and administrate topics, and what they are promised.
//!
//! Each seed switches on some kinds of work and some of trouble ([`plan`]). Producers, plain and idempotent, send with
//! all acks and codecs to topics of all durability classes, with several requests under way ([`producer`]). Fetchers
//! follow partitions and jump about in them ([`fetcher`]), with and without sessions ([`session`]), and ask where they
//! start and end ([`offsets`]). Topics grow, get other settings, lose records from their fronts, move between folders,
//! are deleted and made again ([`admin`]); they are compacted, and what is too much is deleted. The broker is stopped,
//! killed, or loses its power, also while it starts; it comes back with another number of shards, and what a crash may
//! have cost is read through ([`reading`]). Its disk is slow, full, or fails, its clock jumps, its shards get no turns,
//! connections break, stand still, are cut, or are closed in one direction. At the end it is stopped or crashes once more,
//! and a bit flips somewhere ([`rot`]).
//!
//! What is checked, of each partition ([`partition`]):
//! - A record that was acknowledged or read is where it was, unchanged, for as long as the class of its topic promises.
//! - None is there more often than it was sent, an idempotent one once, and those of one producer are in order.
//! - Offsets are dense, but for what compaction has removed; that leaves the newest of each key.
//! - High watermark and log start don't go back as long as the broker runs. No log starts where nobody asked for it, but
//!   for those of which retention has taken as much as it may, for their size or age. At last nothing is left of those
//!   that are too old altogether.
//! - The first record that is not older than some time is that.
//! - What a reply in a fetch session is silent about has not changed.
//! - Replies come in order, one for each request, and none where none is wanted.
//! - Each partition is in one folder. What was deleted does not come back.
//! - Once clients have gone, nothing is held for them: no connection, and no memory of requests or replies.
//! - After a stop in order everything is there, whatever the class.
//! - What has rotted is told from what has not: never served, and an error only in the batch that holds the bit, or, where
//!   that says where others begin, up to the next one that an index knows. Of a journal no more is lost than its newest
//!   groups, or the one that has rotted, held and what came behind that in the same partitions.
//! - Where nothing disturbs them, no connection is lost and each request is answered.
//! - No part of the broker logs an error without a reason, and none panics.
//!
//! A seed that fails prints what was switched on and the commands that run it again, and that look for a smaller run
//! which fails in the same way.

mod admin;
mod batches;
mod cleanup;
mod fetcher;
mod folders;
mod model;
mod offsets;
mod partition;
mod plan;
mod producer;
mod reading;
mod rot;
mod scenario;
mod session;
mod sim;

use corelog_shards::io::sim::{on_all_cores, seeds};

use self::plan::Plan;
use self::scenario::run;
use crate::minimise::run_seed;
use crate::plan::Drawn;
use crate::story::Story;

/// From this version on Produce and Fetch name topics by their ids.
const TOPIC_IDS: i16 = 13;

/// The world of one seed.
pub fn simulate(seed: u64) {
    run_seed(seed, run);
}

#[test]
fn nothing_is_lost_changed_or_told_too_early() {
    on_all_cores(seeds(7_600), simulate);
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 0..10 {
        let plan = Plan::draw(seed);
        let run = || run(&plan, &Story::short());
        assert_eq!(run(), run());
    }
}
