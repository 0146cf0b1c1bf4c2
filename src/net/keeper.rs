//! Knows the open connections of the shard: closes those that are silent or slow, and all of them
//! at the end.
//!
//! One task looks at all connections once a second, so that no connection needs a timer or a clock
//! of its own: activity is noted as the number of the current look. It closes
//! - a connection that for `connections.max.idle.ms` has neither sent nor taken a byte, unless a
//!   request of it is being worked on;
//! - a connection whose request has been on its way for half a minute while others wait for the
//!   memory it has reserved. Slow clients are welcome as long as nobody pays for them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

use corelog_shards::io::{Io, TaskHandle};

use super::budget::Budget;

const LOOK: Duration = Duration::from_secs(1);
/// How long a request may be on its way when memory is short.
const SLOW_REQUEST_LOOKS: u64 = 30;
/// How often the end of all connections is looked for.
const DRAIN_LOOK: Duration = Duration::from_millis(5);

pub(super) struct Keeper {
    looks: Cell<u64>,
    idle_looks: Option<u64>,
    next_id: Cell<u64>,
    open: RefCell<BTreeMap<u64, Open>>,
    is_draining: Cell<bool>,
}

struct Open {
    watch: Rc<Watch>,
    task: TaskHandle,
}

/// What is known of one connection. Its task keeps it up to date.
#[derive(Default)]
pub(super) struct Watch {
    /// The look at which bytes last moved.
    active: Cell<u64>,
    /// Requests that the engine, not the client, has to go on with.
    worked_on: Cell<usize>,
    /// The look at which a request that has reserved memory began to arrive.
    incoming: Cell<Option<u64>>,
    is_closing: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// Held by the task of a connection; it is forgotten when this is dropped.
pub(super) struct Watched {
    keeper: Rc<Keeper>,
    id: u64,
    watch: Rc<Watch>,
}

impl Keeper {
    /// Begins to look after connections, for as long as the shard runs.
    pub fn start(io: &Io, idle_max: Option<Duration>, budget: Budget) -> Rc<Self> {
        let keeper = Rc::new(Self {
            looks: Cell::new(0),
            idle_looks: idle_max.map(|max| max.as_secs_f64().ceil().max(1.0) as u64),
            next_id: Cell::new(0),
            open: RefCell::default(),
            is_draining: Cell::new(false),
        });
        let looking = Rc::clone(&keeper);
        let timer = io.clone();
        io.spawn("connection keeper", async move {
            loop {
                timer.sleep(LOOK).await;
                looking.look(&budget);
            }
        });
        keeper
    }

    fn look(&self, budget: &Budget) {
        let look = self.looks.get() + 1;
        self.looks.set(look);
        let is_short = budget.is_short();
        for (id, open) in self.open.borrow().iter() {
            let watch = &open.watch;
            let silent = look - watch.active.get();
            if self.idle_looks.is_some_and(|max| silent > max) && watch.worked_on.get() == 0 {
                tracing::debug!(
                    connection = id,
                    "closed: silent for connections.max.idle.ms"
                );
                open.task.cancel();
                continue;
            }
            let incoming = watch.incoming.get();
            if is_short && incoming.is_some_and(|since| look - since > SLOW_REQUEST_LOOKS) {
                tracing::warn!(
                    connection = id,
                    "closed: its request takes too long to arrive while others wait for memory"
                );
                open.task.cancel();
            }
        }
    }

    pub fn connections(&self) -> usize {
        self.open.borrow().len()
    }

    /// Takes a new connection in: `spawn` starts its task, which gets what it must hold on to.
    pub fn keep(self: &Rc<Self>, spawn: impl FnOnce(Watched) -> TaskHandle) {
        let id = self.next_id.get();
        self.next_id.set(id + 1);
        let watch = Rc::new(Watch::default());
        watch.active.set(self.looks.get());
        watch.is_closing.set(self.is_draining.get());
        let task = spawn(Watched {
            keeper: Rc::clone(self),
            id,
            watch: Rc::clone(&watch),
        });
        self.open.borrow_mut().insert(id, Open { watch, task });
    }

    /// Asks all connections to end, waits for it, and cuts off those that don't in time.
    pub async fn drain(&self, io: &Io, patience: Duration) {
        self.is_draining.set(true);
        for open in self.open.borrow().values() {
            open.watch.close();
        }
        let deadline = io.now() + patience;
        while self.connections() > 0 && io.now() < deadline {
            io.sleep(DRAIN_LOOK).await;
        }
        let left: Vec<TaskHandle> = self
            .open
            .borrow()
            .values()
            .map(|open| open.task.clone())
            .collect();
        for task in left {
            task.cancel();
            task.await;
        }
    }
}

impl Watch {
    /// Whether no further request shall be taken. Whoever asks is asked again when that changes.
    pub fn is_closing(&self) -> bool {
        self.is_closing.get()
    }

    /// Lets no further request be taken.
    pub fn close(&self) {
        self.is_closing.set(true);
        let waker = self.waker.borrow_mut().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Remembers whom to wake: the connection's task, at each of its polls.
    pub fn set_waker(&self, waker: &Waker) {
        let mut own = self.waker.borrow_mut();
        if !own.as_ref().is_some_and(|own| own.will_wake(waker)) {
            *own = Some(waker.clone());
        }
    }

    /// Runs what the client is not to blame for.
    pub async fn working<T>(&self, work: impl Future<Output = T>) -> T {
        self.worked_on.set(self.worked_on.get() + 1);
        let done = work.await;
        self.worked_on.set(self.worked_on.get() - 1);
        done
    }
}

impl Watched {
    pub fn id(&self) -> u64 {
        self.id
    }

    pub fn watch(&self) -> &Watch {
        &self.watch
    }

    /// Bytes have moved.
    pub fn is_active(&self) {
        self.watch.active.set(self.keeper.looks.get());
    }

    /// A request for which memory is reserved begins to arrive, or has.
    pub fn set_incoming(&self, incoming: bool) {
        let since = incoming.then(|| self.keeper.looks.get());
        self.watch.incoming.set(since);
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.keeper.open.borrow_mut().remove(&self.id);
    }
}
