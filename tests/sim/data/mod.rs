//! Clients that write and read records and administrate topics, and what they are promised.
//!
//! Each seed switches on some kinds of work and some of trouble ([`plan`]). Producers, plain and idempotent, send with
//! all acks and codecs to topics of all durability classes, with several requests under way ([`producer`]); fetchers
//! follow partitions and jump about in them ([`fetcher`]). The broker is stopped, killed, or loses its power, also while
//! it starts; it comes back with another number of shards, and what a crash may have cost is read through ([`reading`]).
//!
//! What is checked, of each partition ([`partition`]):
//! - A record that was acknowledged or read is where it was, unchanged, for as long as the class of its topic promises.
//! - None is there more often than it was sent, an idempotent one once, and those of one producer are in order.
//! - Offsets are dense. High watermark and log start don't go back, as long as the broker runs.
//! - Replies come in order, one for each request, and none where none is wanted.
//! - After a stop in order everything is there, whatever the class. No part of the broker logs an error.
//!
//! A seed that fails prints what was switched on and the commands that run it again, and that look for a smaller run
//! which fails in the same way.

mod batches;
mod fetcher;
mod minimise;
mod model;
mod partition;
mod plan;
mod producer;
mod reading;
mod scenario;
mod sim;
mod topics;

use corelog_shards::io::sim::{on_all_cores, seeds};

use self::minimise::run_seed;
use self::plan::Plan;
use self::scenario::run;
use crate::story::Story;

#[test]
fn nothing_is_lost_changed_or_told_too_early() {
    on_all_cores(seeds(1_000), |seed| {
        run_seed(seed);
    });
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 0..10 {
        let plan = Plan::draw(seed);
        let run = || run(&plan, &Story::short());
        assert_eq!(run(), run());
    }
}
