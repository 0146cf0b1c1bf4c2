//! The real broker on a real disk when things end badly: killed under load, out of room, short of files.
//!
//! What the simulation shows with its own disk is shown here for kernel, file system and process. A test that this
//! machine does not permit says so and why, on a line of its own, and counts as skipped (`turn.rs`).

#[path = "../harness/mod.rs"]
mod harness;

mod random;
mod records;
mod stamp;
mod turn;

mod folders;
mod ledger;
mod producer;
mod small_disk;
mod trace;

mod doctor;
mod drain;
mod failed_folders;
mod failed_journal;
mod full_disk;
mod groups;
mod half_deleted;
mod kill;
mod links;
mod many_connections;
mod many_partitions;
mod metadata;
mod moves;
mod old_copy;
mod recreated;
mod refusals;
mod rotten_files;
mod stop;
mod sync_before_reply;
mod under_load;
mod unread_log;
