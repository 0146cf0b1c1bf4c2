//! What the simulated world may do to its nodes by itself.

use std::time::Duration;

use crate::io::random::Random;

/// The budget of faults: how often the seed may inject what, and how much of it in
/// all. Everything here is survivable: whoever acknowledged a record still has to
/// have it afterwards. What is not (losing a disk, rot in what was synced) is only
/// ever done by the test's own hand, through [`World`](super::World).
///
/// Crashes are the test's decision as well; here is what they leave behind.
#[derive(Clone, Debug)]
pub struct Faults {
    /// Time that one operation of the disk takes, from and to.
    pub disk_latency: (Duration, Duration),
    /// Chance that an operation of the disk takes up to a hundred times as long.
    pub disk_stall: f64,
    /// Chance of an I/O error, for each read. The place stays unreadable for a while.
    pub read_error: f64,
    /// For how long at most a place stays unreadable.
    pub read_error_lasts_max: Duration,
    /// Chance of an I/O error, for each write. Any part of it may have been written.
    pub write_error: f64,
    /// Chance of an I/O error, for each write, of which nothing has been written then.
    pub whole_write_error: f64,
    /// Chance of an I/O error, for each sync of a file or directory. What should
    /// have become durable may be lost at a crash, even if a later sync succeeds.
    pub sync_error: f64,
    /// How many reads may fail in all, each for as long as its place stays unreadable.
    pub read_errors_max: u32,
    /// How many writes and syncs may fail in all.
    pub disk_errors_max: u32,
    /// Chance that a disk has no more room, for each write, until that has passed.
    pub disk_full: f64,
    /// For how long at most a disk has no room.
    pub disk_full_lasts_max: Duration,
    /// How often disks may be full in all.
    pub disk_fulls_max: u32,
    /// Time that a piece of data, or a connection being made, is under way.
    pub network_latency: (Duration, Duration),
    /// Data travels in pieces of a size up to this many bytes.
    pub network_piece_max: usize,
    /// Bytes that fit between a writer and a reader that does not read, from and to.
    pub network_window: (usize, usize),
    /// Chance that a connection is reset, for each piece sent.
    pub network_reset: f64,
    /// How many connections may be reset in all.
    pub network_resets_max: u32,
    /// Chance that a connection stands still for a while, both ways, for each piece sent.
    pub network_stall: f64,
    /// For how long at most a connection stands still.
    pub network_stall_max: Duration,
    /// Chance that a shard gets no turns for a while, for each step of one of its tasks.
    pub starvation: f64,
    /// For how long at most a shard gets no turns.
    pub starvation_max: Duration,
    /// Timers fire late by up to this much.
    pub timer_late_max: Duration,
    /// Chance that a slice of work is over, each time it is asked.
    pub slice_over: f64,
}

impl Faults {
    /// A slow but faultless world. The order in which things happen is still the
    /// seed's, and crashes still lose, keep and tear what was not synced.
    pub fn none() -> Faults {
        Faults {
            disk_latency: (Duration::from_micros(20), Duration::from_micros(400)),
            disk_stall: 0.0,
            read_error: 0.0,
            write_error: 0.0,
            whole_write_error: 0.0,
            sync_error: 0.0,
            read_error_lasts_max: Duration::ZERO,
            read_errors_max: 0,
            disk_errors_max: 0,
            disk_full: 0.0,
            disk_full_lasts_max: Duration::ZERO,
            disk_fulls_max: 0,
            network_latency: (Duration::from_micros(10), Duration::from_micros(300)),
            network_piece_max: 64 << 10,
            network_window: (16 << 10, 256 << 10),
            network_reset: 0.0,
            network_resets_max: 0,
            network_stall: 0.0,
            network_stall_max: Duration::ZERO,
            starvation: 0.0,
            starvation_max: Duration::ZERO,
            timer_late_max: Duration::from_micros(50),
            slice_over: 0.1,
        }
    }

    /// Some of all kinds that a node goes on with (no I/O errors), each by chance none or at a rate of its own:
    /// what one kind keeps from happening, others show in another run.
    pub fn swarm(random: &mut Random) -> Faults {
        let mut rate = |most: f64| match random.below(2) {
            0 => 0.0,
            _ => most * (1 + random.below(100)) as f64 / 100.0,
        };
        let disk_stall = rate(0.02);
        let disk_full = rate(0.001);
        let network_reset = rate(0.002);
        let network_stall = rate(0.002);
        let starvation = rate(0.0005);
        let slice_over = rate(1.0);
        Faults {
            disk_stall,
            disk_full,
            disk_full_lasts_max: Duration::from_millis(500),
            disk_fulls_max: 3,
            network_piece_max: 1 + random.below(64 << 10) as usize,
            network_window: (1 << 10, 1 << (10 + random.below(9))),
            network_reset,
            network_resets_max: 20,
            network_stall,
            network_stall_max: Duration::from_millis(1 + random.below(2_000)),
            starvation,
            starvation_max: Duration::from_millis(1 + random.below(200)),
            timer_late_max: Duration::from_micros(50 + random.below(5_000)),
            slice_over,
            ..Faults::none()
        }
    }

    /// Slow disks, small pieces, resets, and now and then an I/O error.
    pub fn harsh() -> Faults {
        Faults {
            disk_stall: 0.01,
            read_error: 0.001,
            write_error: 0.001,
            sync_error: 0.001,
            read_errors_max: 2,
            disk_errors_max: 3,
            network_piece_max: 3_000,
            network_window: (1 << 10, 64 << 10),
            network_reset: 0.001,
            network_resets_max: 20,
            timer_late_max: Duration::from_millis(5),
            ..Faults::none()
        }
    }
}

/// How a node ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The process is killed: what the kernel was given stays, except that writes
    /// under way may be done in part. Peers soon see their connections reset.
    Kill,
    /// The power fails: of everything not made durable, each 512-byte sector is kept
    /// or lost by itself, and in each directory the changes of names up to some
    /// point. Peers learn of it after a while.
    PowerLoss,
}

#[cfg(test)]
mod tests;
