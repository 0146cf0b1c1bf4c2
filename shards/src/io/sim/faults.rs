//! What the simulated world may do to its nodes by itself.

use std::time::Duration;

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
    /// Chance of an I/O error, for each read.
    pub read_error: f64,
    /// Chance of an I/O error, for each write. Any part of it may have been written.
    pub write_error: f64,
    /// Chance of an I/O error, for each sync of a file or directory. What should
    /// have become durable may be lost at a crash, even if a later sync succeeds.
    pub sync_error: f64,
    /// How many I/O errors there may be in all.
    pub disk_errors_max: u32,
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
            sync_error: 0.0,
            disk_errors_max: 0,
            network_latency: (Duration::from_micros(10), Duration::from_micros(300)),
            network_piece_max: 64 << 10,
            network_window: (16 << 10, 256 << 10),
            network_reset: 0.0,
            network_resets_max: 0,
            timer_late_max: Duration::from_micros(50),
            slice_over: 0.1,
        }
    }

    /// Slow disks, small pieces, resets, and now and then an I/O error.
    pub fn harsh() -> Faults {
        Faults {
            disk_stall: 0.01,
            read_error: 0.001,
            write_error: 0.001,
            sync_error: 0.001,
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
