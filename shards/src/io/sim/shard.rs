//! The handle of one shard of a simulated node: clocks, tasks, randomness. What it
//! does with disk and network is beside those.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use crate::io::time::Instant;

use super::coverage::{Fault, InWorld, Landmark};
use super::disk::{Disk, Operation};
use super::kernel::{Kernel, Place, Sleep};

/// How long a task that yields stays away.
const YIELD: (Duration, Duration) = (Duration::from_micros(1), Duration::from_micros(5));

pub struct Shard {
    kernel: Rc<Kernel>,
    place: Place,
}

impl Shard {
    pub(super) fn new(kernel: &Rc<Kernel>, place: Place) -> Shard {
        Shard {
            kernel: Rc::clone(kernel),
            place,
        }
    }

    pub(super) fn kernel(&self) -> &Rc<Kernel> {
        &self.kernel
    }

    pub(super) fn node(&self) -> usize {
        self.place.node
    }

    /// Whether the incarnation of the node that this belongs to still runs.
    pub(super) fn is_alive(&self) -> bool {
        self.kernel.is_alive(self.place)
    }

    /// The error of whoever holds on to the handle of a node that has crashed.
    pub(super) fn check_alive(&self) -> io::Result<()> {
        if self.is_alive() {
            Ok(())
        } else {
            Err(io::Error::other("this node has crashed"))
        }
    }

    pub(in crate::io) fn now(&self) -> Instant {
        self.kernel.now()
    }

    pub(in crate::io) fn wall_ms(&self) -> i64 {
        let elapsed_ms = self.kernel.now().as_nanos() / 1_000_000;
        let start = self.kernel.nodes.borrow()[self.place.node].wall_start_ms;
        start + i64::try_from(elapsed_ms).unwrap_or(i64::MAX)
    }

    pub(in crate::io) fn random_u64(&self) -> u64 {
        self.kernel.random_u64()
    }

    pub(super) fn below(&self, bound: u64) -> u64 {
        self.kernel.below(bound)
    }

    pub(super) fn toss(&self) -> bool {
        self.kernel.chance(0.5)
    }

    pub(super) fn record(&self, event: &[u64]) {
        self.kernel.record(event);
    }

    pub(super) fn tell(&self, event: impl FnOnce() -> String) {
        self.kernel.tell(event);
    }

    pub(in crate::io) fn reached(&self, landmark: Landmark) {
        self.kernel.reach(landmark);
    }

    pub(in crate::io) fn within(&self, landmark: Landmark) -> InWorld {
        InWorld::enter(&self.kernel, self.place, landmark)
    }

    pub(in crate::io) fn slice_is_over(&self) -> bool {
        let probability = self.kernel.faults.borrow().slice_over;
        self.kernel.chance(probability)
    }

    pub(in crate::io) async fn sleep(&self, duration: Duration) {
        if duration.is_zero() {
            return self.yield_now().await;
        }
        let late_max = self.kernel.faults.borrow().timer_late_max;
        let late = self.kernel.duration_between((Duration::ZERO, late_max));
        self.pause(duration + late).await;
    }

    /// Takes a little time: if it took none, a task that yields until something
    /// has happened would keep it from happening.
    pub(in crate::io) async fn yield_now(&self) {
        self.pause(self.kernel.duration_between(YIELD)).await;
    }

    pub(super) async fn pause(&self, duration: Duration) {
        Sleep::until(&self.kernel, self.kernel.now() + duration).await;
    }

    pub(in crate::io) fn spawn(
        &self,
        name: &'static str,
        future: impl Future<Output = ()> + 'static,
    ) {
        self.kernel.spawn(self.place, name, future);
    }

    pub(super) fn disk(&self) -> io::Result<Rc<RefCell<Disk>>> {
        self.check_alive()?;
        let disk = Rc::clone(&self.kernel.nodes.borrow()[self.place.node].disk);
        disk.borrow_mut().at(self.kernel.now());
        Ok(disk)
    }

    /// One half of the time that an operation of the disk takes.
    pub(super) async fn disk_pause(&self) {
        let duration = {
            let faults = self.kernel.faults.borrow();
            let latency = self.kernel.duration_between(faults.disk_latency);
            if self.kernel.chance(faults.disk_stall) {
                self.kernel.inject(Fault::DiskStall);
                latency * (1 + self.kernel.below(100) as u32)
            } else {
                latency
            }
        };
        let slowness = self.kernel.nodes.borrow()[self.place.node].slowness;
        self.pause(duration * slowness / 2).await;
    }

    /// For how long the seed lets a place be unreadable.
    pub(super) fn draws_unreadable(&self) -> Duration {
        let longest = self.kernel.faults.borrow().read_error_lasts_max;
        match longest.is_zero() {
            true => Duration::ZERO,
            false => self.kernel.duration_between((Duration::ZERO, longest)),
        }
    }

    /// Whether the seed lets the disk be full, and for how long, within the budget.
    pub(super) fn draws_disk_full(&self) -> Option<Duration> {
        let mut faults = self.kernel.faults.borrow_mut();
        let may_fill = faults.disk_fulls_max > 0 && faults.disk_full > 0.0;
        if !may_fill || !self.kernel.chance(faults.disk_full) {
            return None;
        }
        faults.disk_fulls_max -= 1;
        let longest = faults.disk_full_lasts_max;
        Some(self.kernel.duration_between((Duration::ZERO, longest)))
    }

    /// Whether the seed lets an operation of the disk fail, within the budget.
    pub(super) fn draws_disk_error(&self, operation: Operation) -> bool {
        let mut faults = self.kernel.faults.borrow_mut();
        let probability = match operation {
            Operation::Read => faults.read_error,
            Operation::Write => faults.write_error,
            Operation::WholeWrite => faults.whole_write_error,
            Operation::Sync | Operation::SyncDir => faults.sync_error,
        };
        let left = match operation {
            Operation::Read => &mut faults.read_errors_max,
            _ => &mut faults.disk_errors_max,
        };
        let fails = *left > 0 && self.kernel.chance(probability);
        if fails {
            *left -= 1;
        }
        fails
    }
}
