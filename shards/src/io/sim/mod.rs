//! The simulated world: nodes with disks, clocks and a network between them, all in
//! one thread and all decided by one seed.
//!
//! A [`World`] runs the same code as a real machine, through the same
//! [`Io`](super::Io). One task at a time takes one step, chosen by the seed; time
//! passes only when none can run. The same seed and the same calls give the same
//! run, step by step, and [`World::trace`] tells runs apart. What may go wrong by
//! itself is budgeted in [`Faults`]; crashes, cuts and the rest are the test's doing.
//!
//! ```
//! use corelog_shards::io::OpenMode;
//! use corelog_shards::io::sim::{Crash, Faults, World};
//! use std::path::Path;
//!
//! let mut world = World::new(42, Faults::none());
//! let node = world.add_node();
//! world.start(node, 1, |_io, _shard| async {});
//! world.block_on(node, |io| async move {
//!     io.write_small(Path::new("/greeting"), b"hello").await.unwrap();
//! });
//! world.crash(node, Crash::PowerLoss);
//! world.start(node, 1, |_io, _shard| async {});
//! let found = world.block_on(node, |io| async move {
//!     io.read_small(Path::new("/greeting")).await.unwrap()
//! });
//! assert_eq!(found, b"hello");
//! ```

mod coverage;
mod disk;
mod faults;
mod hours;
mod kernel;
pub(super) mod lane;
mod net;
mod seeds;
mod shard;
mod text;

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

pub use coverage::{Count, Coverage, Fault, Landmark, Within, coverage, coverage_of};
pub use disk::{File, Operation};
pub use faults::{Crash, Faults};
pub use hours::{Simulation, for_hours};
pub use net::{Listener, ReadHalf, WriteHalf};
pub use seeds::{on_all_cores, on_threads, seeds, threads};
pub use shard::Shard;

use super::task::{OnPanic, supervise};
use super::time::Instant;
use super::{Backend, Io};
use crate::mutation;
use disk::Disk;
use kernel::{Kernel, Node, Place};

/// What wall clocks show when a world begins: an evening in November 2023.
const WALL_START_MS: i64 = 1_700_000_000_000;

/// Steps without an end in sight after which a run counts as stuck. One with a deliberate bug is given up earlier, as many
/// of those end like this; that none without does is seen to where the bugs are listed, with the same limit.
const STEPS_MAX: u64 = 50_000_000;
const STEPS_MAX_MUTATED: u64 = 1_000_000;

fn steps_max() -> u64 {
    match mutation::current() {
        Some(_) => STEPS_MAX_MUTATED,
        None => STEPS_MAX,
    }
}

/// Names a node of a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(usize);

/// See the module. Dropped while panicking it says which seed it was.
pub struct World {
    seed: u64,
    kernel: Rc<Kernel>,
}

impl World {
    pub fn new(seed: u64, faults: Faults) -> World {
        World {
            seed,
            kernel: Rc::new(Kernel::new(seed, faults)),
        }
    }

    /// A node that is not running yet, with an empty disk of unlimited size.
    pub fn add_node(&mut self) -> NodeId {
        let mut nodes = self.kernel.nodes.borrow_mut();
        nodes.push(Node {
            incarnation: 0,
            is_up: false,
            disk: Rc::new(RefCell::new(Disk::new())),
            wall_start_ms: WALL_START_MS,
            slowness: 1,
        });
        NodeId(nodes.len() - 1)
    }

    /// Starts a node: spawns `main` on each of its shards, as `run_shards` does.
    pub fn start<M, F>(&mut self, node: NodeId, shards: usize, main: M)
    where
        M: Fn(Io, usize) -> F,
        F: Future<Output = ()> + 'static,
    {
        {
            let mut nodes = self.kernel.nodes.borrow_mut();
            let node = &mut nodes[node.0];
            assert!(!node.is_up, "the node runs already");
            node.is_up = true;
            node.incarnation += 1;
        }
        self.kernel.record(&[8, node.0 as u64, shards as u64]);
        self.kernel
            .tell(|| format!("starts node {} with {shards} shards", node.0));
        for shard in 0..shards {
            let place = Place {
                shard,
                ..self.place(node)
            };
            let (task, _) = supervise("main", OnPanic::Propagate, main(self.io_at(place), shard));
            self.kernel.spawn(place, "main", task);
        }
    }

    /// Ends a node in the middle of whatever it does. It can be started again.
    pub fn crash(&mut self, node: NodeId, crash: Crash) {
        self.kernel.record(&[9, node.0 as u64, crash as u64]);
        self.kernel.tell(|| format!("ends node {}", node.0));
        self.kernel.inject(match crash {
            Crash::Kill => Fault::Kill,
            Crash::PowerLoss => Fault::PowerLoss,
        });
        self.kernel.note_ended_within(node.0);
        self.kernel.nodes.borrow_mut()[node.0].is_up = false;
        self.kernel.drop_tasks_of(node.0);
        self.kernel
            .network
            .borrow_mut()
            .crash(node.0, crash, &self.kernel);
        let disk = Rc::clone(&self.kernel.nodes.borrow()[node.0].disk);
        let mut counts = self.kernel.coverage.borrow_mut();
        self.kernel
            .with_random(|random| disk.borrow_mut().crash(crash, random, &mut counts));
    }

    pub fn is_up(&self, node: NodeId) -> bool {
        self.kernel.nodes.borrow()[node.0].is_up
    }

    /// The node's first shard.
    fn place(&self, node: NodeId) -> Place {
        Place {
            node: node.0,
            shard: 0,
            incarnation: self.kernel.nodes.borrow()[node.0].incarnation,
        }
    }

    /// The outside world as the running node sees it, from its first shard.
    pub fn io(&self, node: NodeId) -> Io {
        self.io_at(self.place(node))
    }

    fn io_at(&self, place: Place) -> Io {
        let shard = Shard::new(&self.kernel, place);
        Io {
            backend: Backend::Sim(Rc::new(shard)),
        }
    }

    /// Runs a future on a node, and the world with it, until it is ready. Panics if
    /// that can never happen.
    pub fn block_on<T, F>(&mut self, node: NodeId, future: impl FnOnce(Io) -> F) -> T
    where
        T: 'static,
        F: Future<Output = T> + 'static,
    {
        let output = Rc::new(RefCell::new(None));
        let future = future(self.io(node));
        let slot = Rc::clone(&output);
        assert!(self.is_up(node), "a node that is down runs nothing");
        let (task, _) = supervise("block_on", OnPanic::Propagate, async move {
            *slot.borrow_mut() = Some(future.await);
        });
        self.kernel.spawn(self.place(node), "block_on", task);
        self.run_until(|| output.borrow().is_some());
        output.take().expect("ready, as just seen")
    }

    /// Runs until a condition holds. Panics if nothing is left to happen before.
    pub fn run_until(&mut self, mut condition: impl FnMut() -> bool) {
        let start = self.kernel.steps();
        while !condition() {
            assert!(self.step(), "everything waits for something else");
            assert!(self.kernel.steps() - start < steps_max(), "no end in sight");
        }
    }

    /// Runs for a while of the world's time.
    pub fn run_for(&mut self, duration: Duration) {
        let end = self.kernel.now() + duration;
        let start = self.kernel.steps();
        while self.kernel.has_ready() || self.kernel.next_alarm().is_some_and(|at| at <= end) {
            self.step();
            assert!(self.kernel.steps() - start < steps_max(), "no end in sight");
        }
        self.kernel.advance_to(end);
    }

    /// Takes that many steps, or fewer if nothing is left to happen.
    pub fn run_steps(&mut self, steps: u64) {
        let end = self.kernel.steps() + steps;
        while self.kernel.steps() < end && self.step() {}
    }

    /// Lets one task run, or time pass. False if nothing is left to happen.
    pub fn step(&mut self) -> bool {
        self.kernel.step()
    }

    /// Runs until some node comes to that state once more, and stops right there: where a crash tells most.
    /// `false` if that did not happen in so many steps.
    pub fn run_until_reached(&mut self, landmark: Landmark, steps_max: u64) -> bool {
        let times = || self.kernel.coverage.borrow().landmark(landmark).times;
        let (before, end) = (times(), self.kernel.steps() + steps_max);
        while times() == before && self.kernel.steps() < end && self.kernel.step() {}
        times() > before
    }

    /// What this world has done so far, and what it has come to.
    pub fn coverage(&self) -> Coverage {
        self.kernel.coverage.borrow().clone()
    }

    pub fn seed(&self) -> u64 {
        self.seed
    }

    pub fn now(&self) -> Instant {
        self.kernel.now()
    }

    /// How many steps tasks have taken in all.
    pub fn steps(&self) -> u64 {
        self.kernel.steps()
    }

    /// A digest of all that has happened, the bytes that were written and sent among it: equal for equal runs.
    pub fn trace(&self) -> u64 {
        self.kernel.trace()
    }

    /// Keeps all that happens from now on as text, a line for each event; without this it goes to the file that
    /// `CORELOG_TRACE` names, if it does.
    pub fn keep_text(&mut self) {
        self.kernel.keep_text();
    }

    /// What was kept.
    pub fn text(&self) -> String {
        self.kernel.text()
    }

    /// Randomness for the test's own decisions, part of the same run.
    pub fn random_below(&mut self, bound: u64) -> u64 {
        self.kernel.below(bound)
    }

    /// Gives the tasks of one shard of a node no turns for a while, as when its core is busy with something else. Those
    /// started by [`World::io`] and [`World::block_on`] are tasks of the first.
    pub fn starve(&mut self, node: NodeId, shard: usize, duration: Duration) {
        self.kernel.starve(node.0, shard, duration);
    }

    /// Has all that a node's disk does take so many times as long; once is as usual.
    pub fn slow_down(&mut self, node: NodeId, times: u32) {
        if times > 1 {
            self.kernel.inject(Fault::Slowed);
        }
        self.kernel.nodes.borrow_mut()[node.0].slowness = times.max(1);
    }

    /// Changes what may go wrong by itself from now on.
    pub fn set_faults(&mut self, faults: Faults) {
        *self.kernel.faults.borrow_mut() = faults;
    }
}

/// Disks and clocks.
impl World {
    fn with_disk<T>(&self, node: NodeId, f: impl FnOnce(&mut Disk) -> T) -> T {
        let disk = Rc::clone(&self.kernel.nodes.borrow()[node.0].disk);
        f(&mut disk.borrow_mut())
    }

    /// How many bytes fit on a node's disk. May be less than there are on it.
    pub fn set_disk_capacity(&mut self, node: NodeId, bytes: u64) {
        self.with_disk(node, |disk| disk.set_capacity(bytes));
    }

    /// How many bytes of a node's disk are taken.
    pub fn disk_used(&self, node: NodeId) -> u64 {
        self.with_disk(node, |disk| disk.used())
    }

    /// How many files a node has open.
    pub fn open_files(&self, node: NodeId) -> usize {
        self.with_disk(node, |disk| disk.handles())
    }

    /// The files that a node has open and nobody finds any more, by the paths they had.
    pub fn open_nameless_files(&self, node: NodeId) -> Vec<String> {
        self.with_disk(node, |disk| disk.open_nameless())
    }

    /// What a node would read of a file at this moment, looked at behind everybody's back.
    pub fn content(&self, node: NodeId, path: &Path) -> io::Result<Vec<u8>> {
        self.with_disk(node, |disk| disk.content(path))
    }

    /// Lets the next operation of that kind fail that works on a path with `part` in it.
    pub fn fail_next(&mut self, node: NodeId, operation: Operation, part: &str) {
        self.with_disk(node, |disk| disk.order_failure(operation, part));
    }

    /// How many of the failures that were ordered have not come yet.
    pub fn failures_left(&self, node: NodeId) -> usize {
        self.with_disk(node, |disk| disk.failures_left())
    }

    /// Flips one bit of a file, behind everybody's back.
    pub fn rot(&mut self, node: NodeId, path: &Path, position: u64, bit: u32) -> io::Result<()> {
        self.with_disk(node, |disk| disk.rot(path, position, bit))?;
        self.kernel.inject(Fault::Rot);
        Ok(())
    }

    /// All files of a node's disk and their lengths, in the order of their paths. It need not run.
    pub fn files(&self, node: NodeId) -> Vec<(PathBuf, u64)> {
        self.with_disk(node, |disk| disk.all_files())
    }

    /// Sets a node's wall clock forward or back.
    pub fn jump_wall_clock(&mut self, node: NodeId, by_ms: i64) {
        self.kernel.inject(Fault::ClockJump);
        self.kernel.nodes.borrow_mut()[node.0].wall_start_ms += by_ms;
    }
}

/// The network.
impl World {
    pub fn address(&self, node: NodeId) -> IpAddr {
        net::address_of(node.0)
    }

    pub fn socket_address(&self, node: NodeId, port: u16) -> SocketAddr {
        SocketAddr::new(self.address(node), port)
    }

    /// Lets nothing through between two nodes until it is healed.
    pub fn cut(&mut self, a: NodeId, b: NodeId) {
        self.kernel.inject(Fault::Cut);
        self.kernel.network.borrow_mut().cut(a.0, b.0);
    }

    pub fn heal(&mut self, a: NodeId, b: NodeId) {
        self.kernel.network.borrow_mut().heal(a.0, b.0);
    }

    /// Closes all connections between two nodes, or those of a node with itself, in one direction: the readers at `to`
    /// come to an end, and writers at `from` are told that nobody reads.
    pub fn half_close(&mut self, from: NodeId, to: NodeId) {
        let network = self.kernel.network.borrow();
        network.half_close(from.0, to.0, &self.kernel);
    }

    /// Lets nothing arrive on all connections between two nodes for a while, in either direction; then all of it does.
    pub fn stall_connections(&mut self, a: NodeId, b: NodeId, duration: Duration) {
        let until = self.now() + duration;
        let network = self.kernel.network.borrow();
        network.stall(a.0, b.0, until, &self.kernel);
    }

    /// How many connections of a node there are, of which at least one end is still held.
    pub fn connections(&self, node: NodeId) -> usize {
        self.kernel.network.borrow().connections_of(node.0)
    }

    /// Resets all connections between two nodes, or those of a node with itself.
    pub fn reset_connections(&mut self, a: NodeId, b: NodeId) {
        let network = self.kernel.network.borrow();
        network.reset(a.0, b.0, &self.kernel);
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() && mutation::current().is_none() {
            eprintln!(
                "simulated world failed: CORELOG_SEED={}, {} steps, {:?} after its start",
                self.seed,
                self.steps(),
                self.now() - Instant::default(),
            );
        }
        coverage::add_world(self.coverage());
        // Tasks hold the kernel that holds them.
        let nodes = self.kernel.nodes.borrow().len();
        for node in 0..nodes {
            self.kernel.nodes.borrow_mut()[node].is_up = false;
            self.kernel.drop_tasks_of(node);
        }
    }
}

#[cfg(test)]
mod tests;
