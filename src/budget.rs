//! The memory that requests may hold on one shard.
//!
//! A request reserves what it will take before its bytes are read or it is decoded; when that is
//! more than is left, its connection is not read until others have given back theirs, first come,
//! first served. One request alone may be larger than the whole budget, or it could never be served.
//!
//! Small requests have a quarter to themselves: whoever claims many large ones and never sends them
//! keeps others from sending large ones, until the keeper closes him, but not from being served.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use corelog_shards::io::{Completer, slot};

#[derive(Clone)]
pub(super) struct Budget {
    small_max: usize,
    small: Lane,
    large: Lane,
}

/// A part of the budget, with a queue of its own.
#[derive(Clone)]
struct Lane {
    state: Rc<State>,
}

struct State {
    limit: usize,
    used: Cell<usize>,
    waiting: RefCell<VecDeque<Waiting>>,
}

struct Waiting {
    bytes: usize,
    go: Completer<Reservation>,
}

/// Memory that counts as held until this is dropped.
pub(super) struct Reservation {
    lane: Rc<State>,
    bytes: usize,
}

impl Budget {
    pub fn new(limit: usize) -> Self {
        let for_small = limit / 4;
        Self {
            // Dozens of them fit into their part.
            small_max: for_small / 64,
            small: Lane::new(for_small),
            large: Lane::new(limit - for_small),
        }
    }

    /// Waits until that much is left. Whoever stops waiting loses nothing.
    pub async fn reserve(&self, bytes: usize) -> Reservation {
        let lane = if bytes <= self.small_max {
            &self.small
        } else {
            &self.large
        };
        lane.reserve(bytes).await
    }

    /// Whether someone waits for memory to be given back.
    pub fn is_short(&self) -> bool {
        self.small.is_short() || self.large.is_short()
    }

    #[cfg(test)]
    pub fn used(&self) -> usize {
        self.small.used() + self.large.used()
    }
}

impl Lane {
    fn new(limit: usize) -> Self {
        Self {
            state: Rc::new(State {
                limit,
                used: Cell::new(0),
                waiting: RefCell::default(),
            }),
        }
    }

    async fn reserve(&self, bytes: usize) -> Reservation {
        if self.state.waiting.borrow().is_empty() && self.state.fits(bytes) {
            return Reservation::new(&self.state, bytes);
        }
        let (go, turn) = slot();
        let waiting = Waiting { bytes, go };
        self.state.waiting.borrow_mut().push_back(waiting);
        turn.await
            .expect("the queue is emptied in order, never thrown away")
    }

    fn is_short(&self) -> bool {
        let waiting = self.state.waiting.borrow();
        waiting.iter().any(|waiting| !waiting.go.is_abandoned())
    }

    #[cfg(test)]
    fn used(&self) -> usize {
        self.state.used.get()
    }
}

impl State {
    fn fits(&self, bytes: usize) -> bool {
        let used = self.used.get();
        used == 0 || used.saturating_add(bytes) <= self.limit
    }

    /// Lets those go on for whom there is room now, in their order.
    fn serve(self: &Rc<Self>) {
        loop {
            let mut waiting = self.waiting.borrow_mut();
            match waiting.front() {
                Some(first) if first.go.is_abandoned() => {
                    waiting.pop_front();
                }
                Some(first) if self.fits(first.bytes) => {
                    let Some(first) = waiting.pop_front() else {
                        return;
                    };
                    drop(waiting);
                    first.go.complete(Reservation::new(self, first.bytes));
                }
                _ => return,
            }
        }
    }
}

impl Reservation {
    fn new(lane: &Rc<State>, bytes: usize) -> Self {
        lane.used.set(lane.used.get() + bytes);
        Self {
            lane: Rc::clone(lane),
            bytes,
        }
    }

    /// Counts it as `bytes` from now on. More is taken without waiting: whoever holds memory must
    /// never wait for more of it, lest all wait for each other.
    pub fn resize(&mut self, bytes: usize) {
        let others = self.lane.used.get() - self.bytes;
        self.lane.used.set(others + bytes);
        let gives_back = bytes < self.bytes;
        self.bytes = bytes;
        if gives_back {
            self.lane.serve();
        }
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.lane.used.set(self.lane.used.get() - self.bytes);
        self.lane.serve();
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    type Reserving = Pin<Box<dyn Future<Output = Reservation>>>;

    fn begin(budget: &Lane, bytes: usize) -> Reserving {
        let budget = budget.clone();
        let mut reserving: Reserving = Box::pin(async move { budget.reserve(bytes).await });
        // The first poll queues it, unless it is served at once.
        if let Poll::Ready(reservation) = poll(&mut reserving) {
            return Box::pin(std::future::ready(reservation));
        }
        reserving
    }

    fn poll(reserving: &mut Reserving) -> Poll<Reservation> {
        reserving
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
    }

    fn taken(reserving: &mut Reserving) -> Reservation {
        match poll(reserving) {
            Poll::Ready(reservation) => reservation,
            Poll::Pending => panic!("there is room"),
        }
    }

    #[test]
    fn large_claims_leave_room_for_small_requests() {
        let budget = Budget::new(64 << 20);
        let reserve = |bytes| {
            let budget = budget.clone();
            let reserving: Reserving = Box::pin(async move { budget.reserve(bytes).await });
            reserving
        };
        let _all = taken(&mut reserve(100 << 20));
        let mut next = reserve(100 << 20);
        assert!(poll(&mut next).is_pending());
        let small: Vec<_> = (0..64).map(|_| taken(&mut reserve(256 << 10))).collect();
        assert!(poll(&mut reserve(1)).is_pending());
        drop(small);
        drop(taken(&mut reserve(1)));
        assert_eq!(budget.used(), 100 << 20);
    }

    #[test]
    fn the_first_that_came_is_served_first() {
        let budget = Lane::new(100);
        let first = taken(&mut begin(&budget, 80));
        let mut large = begin(&budget, 90);
        let mut small = begin(&budget, 10);
        assert!(poll(&mut large).is_pending() && poll(&mut small).is_pending());
        assert!(budget.is_short());
        drop(first);
        let _large = taken(&mut large);
        let _small = taken(&mut small);
        assert_eq!(budget.used(), 100);
        assert!(!budget.is_short());
    }

    #[test]
    fn one_alone_may_be_larger_than_all() {
        let budget = Lane::new(100);
        let huge = taken(&mut begin(&budget, 1_000));
        let mut next = begin(&budget, 1);
        assert!(poll(&mut next).is_pending());
        drop(huge);
        drop(taken(&mut next));
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn who_gave_up_does_not_block_the_others() {
        let budget = Lane::new(100);
        let mut held = taken(&mut begin(&budget, 80));
        let gone = begin(&budget, 90);
        let mut next = begin(&budget, 50);
        drop(gone);
        assert!(poll(&mut next).is_pending());
        held.resize(40);
        drop(taken(&mut next));
        held.resize(400);
        assert_eq!(budget.used(), 400);
        // Served, but gone before it looked.
        let gone = begin(&budget, 10);
        drop(held);
        drop(gone);
        assert_eq!(budget.used(), 0);
    }
}
