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

use super::coverage::{Coverage, Fault, Landmark};
use super::disk::Disk;
use super::faults::Faults;
use super::net::Network;
use super::text::{Actor, Text};

/// Where a task runs. A node that is started again is another incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) node: usize,
    pub(super) shard: usize,
    pub(super) incarnation: u64,
}

/// A shard that gets no turns.
struct Starved {
    node: usize,
    shard: usize,
    until: Instant,
}

pub(super) struct Node {
    pub(super) incarnation: u64,
    pub(super) is_up: bool,
    pub(super) disk: Rc<RefCell<Disk>>,
    /// What the node's wall clock shows at the start of the world.
    pub(super) wall_start_ms: i64,
    /// How many times as long as others it takes for what its disk does.
    pub(super) slowness: u32,
}

struct Task {
    /// Taken out while it is polled.
    future: Option<Pin<Box<dyn Future<Output = ()>>>>,
    name: &'static str,
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
    starved: RefCell<Vec<Starved>>,
    /// Who has its turn.
    running: Cell<Option<Actor>>,
    text: RefCell<Option<Text>>,
    pub(super) faults: RefCell<Faults>,
    pub(super) nodes: RefCell<Vec<Node>>,
    pub(super) network: RefCell<Network>,
    pub(super) coverage: RefCell<Coverage>,
    /// Where the nodes are in what takes a while.
    pub(super) within: RefCell<Vec<(Place, Landmark)>>,
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
            starved: RefCell::default(),
            running: Cell::new(None),
            text: RefCell::new(Text::from_environment()),
            faults: RefCell::new(faults),
            nodes: RefCell::default(),
            network: RefCell::default(),
            coverage: RefCell::new(Coverage::NONE),
            within: RefCell::default(),
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

    /// Adds a line to the text of what happens, if somebody wants to read it.
    pub(super) fn tell(&self, event: impl FnOnce() -> String) {
        if let Some(text) = &mut *self.text.borrow_mut() {
            text.add(self.now(), self.running.get(), &event());
        }
    }

    /// Keeps the text in memory from now on.
    pub(super) fn keep_text(&self) {
        *self.text.borrow_mut() = Some(Text::Memory(String::new()));
    }

    /// The text that was kept.
    pub(super) fn text(&self) -> String {
        match &*self.text.borrow() {
            Some(Text::Memory(text)) => text.clone(),
            _ => String::new(),
        }
    }

    /// Counts a fault.
    pub(super) fn inject(&self, fault: Fault) {
        self.tell(|| format!("fault: {fault:?}"));
        self.coverage.borrow_mut().inject(fault);
    }

    /// Counts a state that the engine has come to.
    pub(super) fn reach(&self, landmark: Landmark) {
        self.tell(|| format!("reached: {landmark:?}"));
        self.coverage.borrow_mut().reach(landmark);
    }

    /// Counts what a node is in the middle of that ends now.
    pub(super) fn note_ended_within(&self, node: usize) {
        let mut within = std::mem::take(&mut *self.within.borrow_mut());
        within.retain(|(place, landmark)| {
            let ends = place.node == node;
            if ends {
                self.coverage.borrow_mut().end_within(*landmark);
            }
            !ends
        });
        *self.within.borrow_mut() = within;
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
            self.inject(Fault::ConnectionReset);
        }
        resets
    }

    /// Whether the seed lets a connection stand still, and for how long.
    pub(super) fn draws_stall(&self) -> Option<Duration> {
        let faults = self.faults.borrow();
        let stalls = faults.network_stall > 0.0 && self.chance(faults.network_stall);
        stalls.then(|| {
            self.inject(Fault::Stalled);
            self.duration_between((Duration::ZERO, faults.network_stall_max))
        })
    }

    fn starve_by_chance(&self, place: Place) {
        let (probability, longest) = {
            let faults = self.faults.borrow();
            (faults.starvation, faults.starvation_max)
        };
        if probability > 0.0 && self.chance(probability) {
            let duration = self.duration_between((Duration::ZERO, longest));
            self.starve(place.node, place.shard, duration);
        }
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
    pub(super) fn spawn(
        &self,
        place: Place,
        name: &'static str,
        future: impl Future<Output = ()> + 'static,
    ) {
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
            name,
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

    /// The moment of the next alarm, or of the end of a starvation that keeps tasks waiting.
    pub(super) fn next_alarm(&self) -> Option<Instant> {
        let alarm = self.alarms.borrow().keys().next().map(|&(at, _)| at);
        [alarm, self.next_turn()].into_iter().flatten().min()
    }

    /// Whether some task can run now.
    pub(super) fn has_ready(&self) -> bool {
        let ready = self.lock_ready();
        ready.iter().any(|task| self.starved_until(*task).is_none())
    }

    /// Keeps a shard from its turns for a while, if there is such a one that runs.
    pub(super) fn starve(&self, node: usize, shard: usize, duration: Duration) {
        let is_its = |task: &Task| (task.place.node, task.place.shard) == (node, shard);
        if self.tasks.borrow().values().any(is_its) {
            self.inject(Fault::Starved);
        }
        let until = self.now() + duration;
        self.starved
            .borrow_mut()
            .push(Starved { node, shard, until });
    }

    /// Until when a task gets no turn.
    fn starved_until(&self, task: u64) -> Option<Instant> {
        let starved = self.starved.borrow();
        if starved.is_empty() {
            return None;
        }
        let tasks = self.tasks.borrow();
        let place = tasks.get(&task)?.place;
        let its = starved.iter().filter(|starved| {
            (starved.node, starved.shard) == (place.node, place.shard) && starved.until > self.now()
        });
        its.map(|starved| starved.until).max()
    }

    /// When the first of the tasks may run that wait for turns.
    fn next_turn(&self) -> Option<Instant> {
        if self.starved.borrow().is_empty() {
            return None;
        }
        let ready = self.lock_ready();
        ready
            .iter()
            .filter_map(|task| self.starved_until(*task))
            .min()
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
        let now = self.now();
        self.starved
            .borrow_mut()
            .retain(|starved| starved.until > now);
        let mut ready = self.lock_ready();
        if ready.is_empty() {
            return None;
        }
        if self.starved.borrow().is_empty() {
            let index = self.below(ready.len() as u64) as usize;
            return Some(ready.swap_remove(index));
        }
        let may_run = |index: &usize| self.starved_until(ready[*index]).is_none();
        let places: Vec<usize> = (0..ready.len()).filter(may_run).collect();
        if places.is_empty() {
            return None;
        }
        let index = places[self.below(places.len() as u64) as usize];
        Some(ready.swap_remove(index))
    }

    fn pass_time(&self) -> bool {
        let alarm = self.alarms.borrow().keys().next().map(|&(at, _)| at);
        if let Some(turn) = self.next_turn()
            && alarm.is_none_or(|at| at > turn)
        {
            self.clock.set(self.clock.get().max(turn));
            return true;
        }
        let Some((key, waker)) = self.alarms.borrow_mut().pop_first() else {
            return false;
        };
        self.clock.set(self.clock.get().max(key.0));
        waker.wake();
        true
    }

    /// Polls a task once. False if it is gone.
    fn run(&self, id: u64) -> bool {
        let (mut future, waker, place, name) = {
            let mut tasks = self.tasks.borrow_mut();
            let Some(task) = tasks.get_mut(&id) else {
                return false;
            };
            let Some(future) = task.future.take() else {
                return false;
            };
            (future, Arc::clone(&task.waker), task.place, task.name)
        };
        waker.is_queued.store(false, Ordering::Relaxed);
        self.steps.set(self.steps.get() + 1);
        self.record(&[1, id, self.now().as_nanos()]);
        self.running.set(Some(Actor {
            node: place.node,
            shard: place.shard,
            task: name,
        }));
        self.tell(|| "runs".to_owned());
        self.starve_by_chance(place);
        let waker = Waker::from(waker);
        let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
        self.running.set(None);
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
