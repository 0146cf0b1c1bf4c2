//! The heart of a world: its clock, its randomness, its tasks, and which of them
//! runs next. All of it is a function of the seed.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use crate::io::random::Random;
use crate::io::time::Instant;

use super::disk::Disk;
use super::faults::Faults;
use super::net::Network;

/// Where a task runs. A node that is started again is another incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) node: usize,
    pub(super) incarnation: u64,
}

pub(super) struct Node {
    pub(super) incarnation: u64,
    pub(super) is_up: bool,
    pub(super) disk: Rc<RefCell<Disk>>,
    /// What the node's wall clock shows at the start of the world.
    pub(super) wall_start_ms: i64,
}

struct Task {
    /// Taken out while it is polled.
    future: Option<Pin<Box<dyn Future<Output = ()>>>>,
    place: Place,
    waker: Arc<TaskWaker>,
}

struct TaskWaker {
    task: u64,
    is_queued: AtomicBool,
    ready: Arc<Mutex<Vec<u64>>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        if !self.is_queued.swap(true, Ordering::Relaxed) {
            let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
            ready.push(self.task);
        }
    }
}

pub(super) type AlarmKey = (Instant, u64);

pub(super) struct Kernel {
    clock: Cell<Instant>,
    steps: Cell<u64>,
    trace: Cell<u64>,
    random: RefCell<Random>,
    alarms: RefCell<BTreeMap<AlarmKey, Waker>>,
    alarms_made: Cell<u64>,
    tasks: RefCell<BTreeMap<u64, Task>>,
    tasks_made: Cell<u64>,
    /// Tasks that were woken, some of which may be gone by now.
    ready: Arc<Mutex<Vec<u64>>>,
    pub(super) faults: RefCell<Faults>,
    pub(super) nodes: RefCell<Vec<Node>>,
    pub(super) network: RefCell<Network>,
}

impl Kernel {
    pub(super) fn new(seed: u64, faults: Faults) -> Kernel {
        Kernel {
            clock: Cell::default(),
            steps: Cell::new(0),
            trace: Cell::new(seed),
            random: RefCell::new(Random::from_seed(seed)),
            alarms: RefCell::default(),
            alarms_made: Cell::new(0),
            tasks: RefCell::default(),
            tasks_made: Cell::new(0),
            ready: Arc::default(),
            faults: RefCell::new(faults),
            nodes: RefCell::default(),
            network: RefCell::default(),
        }
    }

    pub(super) fn now(&self) -> Instant {
        self.clock.get()
    }

    pub(super) fn steps(&self) -> u64 {
        self.steps.get()
    }

    pub(super) fn trace(&self) -> u64 {
        self.trace.get()
    }

    /// Adds something that happened to the trace.
    pub(super) fn record(&self, event: &[u64]) {
        let mut hash = self.trace.get();
        for word in event {
            // One round of splitmix64 for each word: order and value both count.
            hash = (hash ^ word).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            hash ^= hash >> 31;
        }
        self.trace.set(hash);
    }

    pub(super) fn random_u64(&self) -> u64 {
        self.random.borrow_mut().next_u64()
    }

    pub(super) fn chance(&self, probability: f64) -> bool {
        self.random.borrow_mut().chance(probability)
    }

    pub(super) fn below(&self, bound: u64) -> u64 {
        self.random.borrow_mut().below(bound)
    }

    pub(super) fn with_random<T>(&self, f: impl FnOnce(&mut Random) -> T) -> T {
        f(&mut self.random.borrow_mut())
    }

    pub(super) fn duration_between(&self, (low, high): (Duration, Duration)) -> Duration {
        let nanos = self
            .random
            .borrow_mut()
            .between(low.as_nanos() as u64, high.as_nanos() as u64);
        Duration::from_nanos(nanos)
    }

    /// Whether the seed lets a connection break, within the budget.
    pub(super) fn draws_connection_reset(&self) -> bool {
        let mut faults = self.faults.borrow_mut();
        let resets = faults.network_resets_max > 0 && self.chance(faults.network_reset);
        if resets {
            faults.network_resets_max -= 1;
        }
        resets
    }

    pub(super) fn is_alive(&self, place: Place) -> bool {
        let nodes = self.nodes.borrow();
        let node = &nodes[place.node];
        node.is_up && node.incarnation == place.incarnation
    }

    /// Has `waker` woken at a point in time, or as soon as nothing else can run.
    pub(super) fn set_alarm(&self, at: Instant, waker: Waker) -> AlarmKey {
        let made = self.alarms_made.get() + 1;
        self.alarms_made.set(made);
        self.alarms.borrow_mut().insert((at, made), waker);
        (at, made)
    }

    pub(super) fn cancel_alarm(&self, key: AlarmKey) {
        self.alarms.borrow_mut().remove(&key);
    }

    /// Adds a task to an incarnation of a node; if that is gone the task is dropped.
    pub(super) fn spawn(&self, place: Place, future: impl Future<Output = ()> + 'static) {
        if !self.is_alive(place) {
            return;
        }
        let task = self.tasks_made.get() + 1;
        self.tasks_made.set(task);
        let waker = Arc::new(TaskWaker {
            task,
            is_queued: AtomicBool::new(false),
            ready: Arc::clone(&self.ready),
        });
        Arc::clone(&waker).wake();
        let task_state = Task {
            future: Some(Box::pin(future)),
            place,
            waker,
        };
        self.tasks.borrow_mut().insert(task, task_state);
    }

    /// Lets one task run, or if none can, time pass until the next alarm. False if
    /// there is nothing left to wait for.
    pub(super) fn step(&self) -> bool {
        loop {
            let Some(task) = self.pick() else {
                return self.pass_time();
            };
            if self.run(task) {
                return true;
            }
        }
    }

    /// The moment of the next alarm.
    pub(super) fn next_alarm(&self) -> Option<Instant> {
        self.alarms.borrow().keys().next().map(|&(at, _)| at)
    }

    pub(super) fn has_ready(&self) -> bool {
        !self.lock_ready().is_empty()
    }

    /// Moves the clock forward where no alarm is due before.
    pub(super) fn advance_to(&self, to: Instant) {
        assert!(self.next_alarm().is_none_or(|at| at >= to));
        self.clock.set(self.clock.get().max(to));
    }

    fn lock_ready(&self) -> std::sync::MutexGuard<'_, Vec<u64>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pick(&self) -> Option<u64> {
        let mut ready = self.lock_ready();
        if ready.is_empty() {
            return None;
        }
        let index = self.below(ready.len() as u64) as usize;
        Some(ready.swap_remove(index))
    }

    fn pass_time(&self) -> bool {
        let Some((key, waker)) = self.alarms.borrow_mut().pop_first() else {
            return false;
        };
        self.clock.set(self.clock.get().max(key.0));
        waker.wake();
        true
    }

    /// Polls a task once. False if it is gone.
    fn run(&self, id: u64) -> bool {
        let (mut future, waker) = {
            let mut tasks = self.tasks.borrow_mut();
            let Some(task) = tasks.get_mut(&id) else {
                return false;
            };
            let Some(future) = task.future.take() else {
                return false;
            };
            (future, Arc::clone(&task.waker))
        };
        waker.is_queued.store(false, Ordering::Relaxed);
        self.steps.set(self.steps.get() + 1);
        self.record(&[1, id, self.now().as_nanos()]);
        let waker = Waker::from(waker);
        let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
        let mut tasks = self.tasks.borrow_mut();
        if polled.is_pending()
            && let Some(task) = tasks.get_mut(&id)
        {
            task.future = Some(future);
            return true;
        }
        // It has ended, or its node crashed while it ran. What it held may reach for
        // the tasks when it is dropped.
        let ended = tasks.remove(&id);
        drop(tasks);
        drop(ended);
        drop(future);
        true
    }

    /// Drops all tasks of a node, in the order in which they were spawned.
    pub(super) fn drop_tasks_of(&self, node: usize) {
        let ids: Vec<u64> = {
            let tasks = self.tasks.borrow();
            let of_node = tasks.iter().filter(|(_, task)| task.place.node == node);
            of_node.map(|(&id, _)| id).collect()
        };
        for id in ids {
            let task = self.tasks.borrow_mut().remove(&id);
            drop(task);
        }
    }
}

/// Waits until a point in time.
pub(super) struct Sleep {
    kernel: Rc<Kernel>,
    until: Instant,
    alarm: Option<AlarmKey>,
}

impl Sleep {
    pub(super) fn until(kernel: &Rc<Kernel>, until: Instant) -> Sleep {
        Sleep {
            kernel: Rc::clone(kernel),
            until,
            alarm: None,
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(alarm) = self.alarm.take() {
            self.kernel.cancel_alarm(alarm);
            if self.kernel.now() >= self.until {
                return Poll::Ready(());
            }
        }
        // Suspends even if the time has come already, as every operation does.
        self.alarm = Some(self.kernel.set_alarm(self.until, cx.waker().clone()));
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(alarm) = self.alarm.take() {
            self.kernel.cancel_alarm(alarm);
        }
    }
}
