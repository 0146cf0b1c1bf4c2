//! Knows the open connections of the shard: closes those that are silent or slow, and all of them
//! at the end.
//!
//! One task looks at all connections once a second, so that no connection needs a timer or a clock
//! of its own: activity is noted as the number of the current look. It closes
//! - a connection that for `connections.max.idle.ms` has neither sent nor taken a byte, unless a
//!   request of it is being worked on; one that only waits for news does not count as such;
//! - while others wait for memory, a connection that holds some for a request on its way and sends
//!   next to nothing of it for three looks, or has not sent it whole after half a minute;
//! - while others wait for memory for their replies, a connection that has taken nothing of a reply
//!   for ten looks, and while they wait for that of requests, one whose next request is there and
//!   waits for the same;
//! - while more connections are open than `max.connections`, those that have been silent for longest, except
//!   of a protected listener.
//!
//! Slow clients are welcome as long as nobody pays for them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use corelog_shards::io::{Instant, Io, TaskHandle};

use super::admission::{Admission, Admitted};
use crate::budget::Budget;
use crate::lines::{self, Lines};

const LOOK: Duration = Duration::from_secs(1);
/// How long a request may be on its way when memory is short, and how long with less than a few
/// bytes at each look.
const REQUEST_LOOKS_MAX: u32 = 30;
const STALLED_LOOKS_MAX: u32 = 3;
const STALLED_BYTES: usize = 32 << 10;
/// How long a reply may wait for its client to take a part of it when memory is short. Progress is
/// noted at every MiB, or at its end.
const UNTAKEN_LOOKS_MAX: u64 = 10;
/// How often the end of all connections is looked for.
const DRAIN_LOOK: Duration = Duration::from_millis(5);

pub(super) struct Keeper {
    looks: Cell<u64>,
    idle_looks: Option<u64>,
    next_id: Cell<u64>,
    open: RefCell<BTreeMap<u64, Open>>,
    is_draining: Cell<bool>,
    /// Of the broker on this shard.
    lines: Rc<Lines>,
}

struct Open {
    watch: Rc<Watch>,
    task: TaskHandle,
    /// None for one that has been told to go and counts no longer.
    admitted: Option<Admitted>,
}

impl Open {
    /// Ends a connection: at once, or as soon as the handler that has begun has answered.
    fn end(&self) {
        match self.watch.is_handling.get() {
            true => self.watch.close(),
            false => self.task.cancel(),
        }
    }

    /// The same, told once: until its handler has answered, each look finds the connection again.
    fn end_telling(&self, tell: impl FnOnce()) {
        if !self.watch.is_closing() {
            tell();
        }
        self.end();
    }
}

/// What is known of one connection. Its task keeps it up to date.
#[derive(Default)]
pub(super) struct Watch {
    /// The look at which bytes last moved.
    active: Cell<u64>,
    /// Requests that the engine, not the client, has to go on with.
    worked_on: Cell<usize>,
    /// A handler has begun and is not to be dropped in the middle.
    is_handling: Cell<bool>,
    /// The handler that works waits for news, and looks after its client itself.
    is_waiting: Cell<bool>,
    /// Of the request that has reserved memory and is on its way.
    incoming: Cell<Option<Incoming>>,
    /// Replies on their way that have reserved memory.
    owed: Cell<usize>,
    /// A request that holds memory waits until its client has taken earlier replies.
    is_blocked: Cell<bool>,
    is_closing: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// A request on its way.
#[derive(Clone, Copy, Default)]
struct Incoming {
    /// It waits for memory itself: its client is not to blame.
    is_held_up: bool,
    /// Since the last look.
    bytes: usize,
    /// Looks that have seen it on its way, and the last of them in a row that found it stalled.
    looks: u32,
    stalled: u32,
}

/// Held by the task of a connection; it is forgotten when this is dropped.
pub(super) struct Watched {
    keeper: Rc<Keeper>,
    id: u64,
    watch: Rc<Watch>,
}

impl Keeper {
    /// Begins to look after connections, for as long as the shard runs.
    pub fn start(
        io: &Io,
        idle_max: Option<Duration>,
        budgets: [Budget; 2],
        admission: Arc<Admission>,
        lines: Rc<Lines>,
    ) -> Rc<Self> {
        let keeper = Rc::new(Self {
            looks: Cell::new(0),
            idle_looks: idle_max.map(|max| max.as_secs_f64().ceil().max(1.0) as u64),
            next_id: Cell::new(0),
            open: RefCell::default(),
            is_draining: Cell::new(false),
            lines,
        });
        let looking = Rc::clone(&keeper);
        let timer = io.clone();
        io.spawn("connection keeper", async move {
            loop {
                timer.sleep(LOOK).await;
                let [requests, replies] = &budgets;
                let now = timer.now();
                looking.look(requests.is_short(), replies.is_short(), now);
                looking.make_room(&admission, now);
            }
        });
        keeper
    }

    fn look(&self, requests_are_short: bool, replies_are_short: bool, now: Instant) {
        let look = self.looks.get() + 1;
        self.looks.set(look);
        for (id, open) in self.open.borrow().iter() {
            let watch = &open.watch;
            let silent = look - watch.active.get();
            if self.idle_looks.is_some_and(|max| silent > max) && watch.worked_on.get() == 0 {
                tracing::debug!(
                    connection = id,
                    "closed: silent for connections.max.idle.ms"
                );
                open.end();
                continue;
            }
            let is_in_the_way = replies_are_short && watch.owed.get() > 0
                || requests_are_short && watch.is_blocked.get() && watch.worked_on.get() == 0;
            if is_in_the_way && silent > UNTAKEN_LOOKS_MAX {
                open.end_telling(|| {
                    lines::say!(
                        self.lines,
                        now,
                        warn,
                        connection = id,
                        "closed: its client takes no replies while others wait for memory"
                    );
                });
                continue;
            }
            if watch.is_incoming_too_slow() && requests_are_short {
                open.end_telling(|| {
                    lines::say!(
                        self.lines,
                        now,
                        warn,
                        connection = id,
                        "closed: its request takes too long to arrive while others wait for memory"
                    );
                });
            }
        }
    }

    /// Has connections end while too many are open.
    fn make_room(&self, admission: &Admission, now: Instant) {
        if !admission.is_exceeded() {
            return;
        }
        let mut open = self.open.borrow_mut();
        let may_go = |open: &Open| open.admitted.as_ref().is_some_and(|a| !a.is_protected());
        let mut going: Vec<_> = open.iter_mut().filter(|(_, open)| may_go(open)).collect();
        going.sort_by_key(|(_, open)| (open.watch.worked_on.get() > 0, open.watch.active.get()));
        for (id, open) in going {
            if !admission.is_exceeded() {
                return;
            }
            lines::say!(
                self.lines,
                now,
                info,
                connection = id,
                "closed: more than max.connections are open"
            );
            match open.watch.worked_on.get() {
                0 => open.end(),
                _ => open.watch.close(),
            }
            open.admitted = None;
        }
    }

    pub fn connections(&self) -> usize {
        self.open.borrow().len()
    }

    /// Takes a new connection in: `spawn` starts its task, which gets what it must hold on to.
    pub fn keep(self: &Rc<Self>, admitted: Admitted, spawn: impl FnOnce(Watched) -> TaskHandle) {
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
        self.open.borrow_mut().insert(
            id,
            Open {
                watch,
                task,
                admitted: Some(admitted),
            },
        );
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
        for task in &left {
            task.cancel();
        }
        for task in left {
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

    /// Looks at the request on its way: whether it stalls or takes too long.
    fn is_incoming_too_slow(&self) -> bool {
        let Some(mut incoming) = self.incoming.get() else {
            return false;
        };
        if !incoming.is_held_up {
            incoming.looks += 1;
            incoming.stalled = match incoming.bytes < STALLED_BYTES {
                true => incoming.stalled + 1,
                false => 0,
            };
        }
        incoming.bytes = 0;
        self.incoming.set(Some(incoming));
        !incoming.is_held_up
            && (incoming.stalled >= STALLED_LOOKS_MAX || incoming.looks > REQUEST_LOOKS_MAX)
    }

    /// Begins or ends the work on a request that may wait for news.
    pub fn set_working(&self, is_working: bool) {
        let others = self.worked_on.get();
        self.worked_on.set(match is_working {
            true => others + 1,
            false => others - 1,
        });
    }

    /// Begins or ends the work of a handler.
    pub fn set_handling(&self, is_handling: bool) {
        self.is_handling.set(is_handling);
        self.set_working(is_handling);
    }

    pub fn is_handling(&self) -> bool {
        self.is_handling.get()
    }

    /// The handler that works has begun or ceased to wait for news.
    pub fn set_waiting(&self, is_waiting: bool) {
        if self.is_waiting.replace(is_waiting) != is_waiting {
            self.set_working(!is_waiting);
        }
    }

    /// Runs what the client is not to blame for.
    pub async fn working<T>(&self, work: impl Future<Output = T>) -> T {
        self.set_working(true);
        let done = work.await;
        self.set_working(false);
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
        self.watch.incoming.set(incoming.then(Incoming::default));
    }

    /// So many bytes have come.
    pub fn has_received(&self, bytes: usize) {
        self.is_active();
        self.change_incoming(|incoming| incoming.bytes += bytes);
    }

    /// The request on its way waits for memory, or no longer does.
    pub fn hold_up(&self, is_held_up: bool) {
        self.change_incoming(|incoming| incoming.is_held_up = is_held_up);
    }

    fn change_incoming(&self, change: impl FnOnce(&mut Incoming)) {
        if let Some(mut incoming) = self.watch.incoming.get() {
            change(&mut incoming);
            self.watch.incoming.set(Some(incoming));
        }
    }

    /// A request waits for earlier ones, be it for their work or for their client.
    pub fn set_blocked(&self, is_blocked: bool) {
        self.watch.is_blocked.set(is_blocked);
    }

    /// A reply that has reserved memory is on its way.
    pub fn owes(&self) {
        self.watch.owed.set(self.watch.owed.get() + 1);
    }

    /// So many of these have been taken.
    pub fn has_paid(&self, replies: usize) {
        self.watch.owed.set(self.watch.owed.get() - replies);
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.keeper.open.borrow_mut().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use corelog_shards::io::sim::{Faults, World};

    use super::*;

    #[test]
    fn a_handler_that_has_begun_is_not_dropped_because_its_client_takes_no_replies() {
        let mut world = World::new(1, Faults::none());
        let node = world.add_node();
        world.start(node, 1, |_, _| async {});
        world.block_on(node, |io| async move {
            let admission = Admission::new(1, |_, _| {});
            let budgets = [Budget::new(1), Budget::new(1)];
            let keeper = Keeper::start(&io, None, budgets, Arc::clone(&admission), Rc::default());
            let admitted = admission.admit([127, 0, 0, 1].into(), false);
            keeper.keep(admitted.expect("the first"), |watched| {
                io.spawn("connection", async move {
                    watched.owes();
                    watched.watch().set_handling(true);
                    std::future::pending::<()>().await;
                })
            });
            io.yield_now().await;
            let look_for_long = async || {
                for _ in 0..2 * UNTAKEN_LOOKS_MAX {
                    keeper.look(false, true, io.now());
                }
                io.yield_now().await;
            };
            look_for_long().await;
            assert_eq!(keeper.connections(), 1);
            let watch = Rc::clone(&keeper.open.borrow()[&0].watch);
            assert!(watch.is_closing(), "it takes no further request");
            watch.set_handling(false);
            look_for_long().await;
            assert_eq!(keeper.connections(), 0);
        });
    }
}
