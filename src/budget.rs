//! The memory that requests, or the replies to them, may hold on one shard.
//!
//! A request that is there reserves what it will take before it is decoded; one that is on its way
//! reserves in steps, each before the bytes it is for are read, so that a length somebody claims
//! holds no more than the bytes he has sent. What is not left is waited for, first come, first
//! served, and those on their way before new ones.
//!
//! Requests on their way hold a part while they wait for more, so they could all wait for each
//! other. Therefore one of them at a time may go over the budget: it comes to its end, or the keeper
//! closes its connection, and then the next may. So the budget is exceeded by one request, as in
//! Kafka; without that a request larger than all of it could never be served.
//!
//! Small requests have a quarter to themselves.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use corelog_shards::io::{Completer, slot};
use corelog_shards::mutation::{Mutation, strikes};

#[derive(Clone)]
pub struct Budget {
    small_max: usize,
    small: Lane,
    large: Lane,
}

/// What is in use of a budget, and how much there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryUse {
    pub used_bytes: usize,
    pub limit_bytes: usize,
}

/// A part of the budget, with a queue of its own.
#[derive(Clone)]
struct Lane {
    state: Rc<State>,
}

struct State {
    limit: usize,
    used: Cell<usize>,
    /// A reservation has grown over the limit.
    is_overdrawn: Cell<bool>,
    /// Those who hold a part and need more of it. They go first.
    growing: RefCell<VecDeque<Waiting>>,
    waiting: RefCell<VecDeque<Waiting>>,
}

struct Waiting {
    bytes: usize,
    go: Completer<Reservation>,
}

/// Memory that counts as held until this is dropped.
pub struct Reservation {
    lane: Rc<State>,
    bytes: usize,
    /// It is the one that may go over the limit.
    is_over: bool,
}

/// A part of something large that is worth to be waited for.
const PART_MIN: usize = 1 << 20;

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

    fn lane(&self, bytes: usize) -> &Lane {
        if bytes <= self.small_max {
            &self.small
        } else {
            &self.large
        }
    }

    /// Waits until that much is left. Whoever stops waiting loses nothing.
    pub async fn reserve(&self, bytes: usize) -> Reservation {
        self.lane(bytes).reserve(bytes).await
    }

    /// The first `bytes` of something that will grow to `whole`.
    pub async fn reserve_first(&self, bytes: usize, whole: usize) -> Reservation {
        self.lane(whole).reserve(bytes).await
    }

    /// For what can also be had in part: waits until some of it is left, and takes no more than half
    /// of what there is.
    pub async fn reserve_part(&self, wanted: usize) -> Reservation {
        let lane = self.lane(wanted);
        let least = wanted.min(PART_MIN).min(lane.state.limit / 16);
        let mut part = lane.reserve(least).await;
        part.resize((lane.left() / 2).clamp(least, wanted));
        part
    }

    /// Whether less than half of what something of that size is taken from is in use.
    pub fn is_roomy(&self, whole: usize) -> bool {
        let lane = self.lane(whole);
        lane.left() > lane.state.limit / 2
    }

    /// Whether the first `bytes` of something that will grow to `whole` have to be waited for.
    pub fn is_used_up_for(&self, bytes: usize, whole: usize) -> bool {
        let lane = self.lane(whole);
        lane.is_short() || !lane.state.fits(bytes)
    }

    /// Whether someone waits for memory to be given back.
    pub fn is_short(&self) -> bool {
        self.small.is_short() || self.large.is_short()
    }

    /// Bytes in use.
    pub fn used(&self) -> usize {
        self.small.used() + self.large.used()
    }

    /// Bytes in use, and the limit.
    pub fn memory(&self) -> MemoryUse {
        MemoryUse {
            used_bytes: self.used(),
            limit_bytes: self.small.state.limit + self.large.state.limit,
        }
    }
}

impl Lane {
    fn new(limit: usize) -> Self {
        Self {
            state: Rc::new(State {
                limit,
                used: Cell::new(0),
                is_overdrawn: Cell::new(false),
                growing: RefCell::default(),
                waiting: RefCell::default(),
            }),
        }
    }

    async fn reserve(&self, bytes: usize) -> Reservation {
        let state = &self.state;
        if state.growing.borrow().is_empty()
            && state.waiting.borrow().is_empty()
            && state.fits(bytes)
        {
            return Reservation::new(state, bytes);
        }
        State::turn(&state.waiting, bytes).await
    }

    fn left(&self) -> usize {
        self.state.limit.saturating_sub(self.state.used.get())
    }

    fn is_short(&self) -> bool {
        [&self.state.growing, &self.state.waiting]
            .into_iter()
            .any(|queue| queue.borrow().iter().any(|one| !one.go.is_abandoned()))
    }

    fn used(&self) -> usize {
        self.state.used.get()
    }
}

impl State {
    fn fits(&self, bytes: usize) -> bool {
        let used = self.used.get();
        used == 0 || used.saturating_add(bytes) <= self.limit
    }

    /// Whether one that holds a part may have so much more.
    fn fits_growth(&self, bytes: usize) -> bool {
        self.fits(bytes) || !self.is_overdrawn.get()
    }

    async fn turn(queue: &RefCell<VecDeque<Waiting>>, bytes: usize) -> Reservation {
        let (go, turn) = slot();
        queue.borrow_mut().push_back(Waiting { bytes, go });
        turn.await
            .expect("the queue is emptied in order, never thrown away")
    }

    /// Lets those go on for whom there is room now, in their order.
    fn serve(self: &Rc<Self>) {
        while let Some((first, is_growing)) = self.next() {
            let granted = match is_growing {
                true => Reservation::growth(self, first.bytes),
                false => Reservation::new(self, first.bytes),
            };
            first.go.complete(granted);
        }
    }

    /// Whose turn it is, and whether it is one that grows; None while nobody can go on.
    fn next(&self) -> Option<(Waiting, bool)> {
        let is_gone = |waiting: &mut Waiting| waiting.go.is_abandoned();
        for (queue, is_growing) in [(&self.growing, true), (&self.waiting, false)] {
            let mut queue = queue.borrow_mut();
            while queue.pop_front_if(is_gone).is_some() {}
            let Some(first) = queue.front() else { continue };
            let goes = match is_growing {
                true => self.fits_growth(first.bytes),
                false => self.fits(first.bytes),
            };
            return match goes {
                true => queue.pop_front().map(|first| (first, is_growing)),
                false => None,
            };
        }
        None
    }
}

impl Reservation {
    fn new(lane: &Rc<State>, bytes: usize) -> Self {
        lane.used.set(lane.used.get() + bytes);
        Self {
            lane: Rc::clone(lane),
            bytes,
            is_over: false,
        }
    }

    fn growth(lane: &Rc<State>, bytes: usize) -> Self {
        let is_over = !lane.fits(bytes);
        if is_over {
            lane.is_overdrawn.set(true);
        }
        let mut granted = Self::new(lane, bytes);
        granted.is_over = is_over;
        granted
    }

    /// Waits until there is room for so much more, or it is this one's turn to go over the limit.
    pub async fn grow(&mut self, more: usize) {
        let lane = &self.lane;
        let is_first = lane.growing.borrow().is_empty();
        let mut more = if self.is_over {
            Self::new(lane, more)
        } else if is_first && lane.fits_growth(more) {
            Self::growth(lane, more)
        } else {
            State::turn(&lane.growing, more).await
        };
        self.bytes += std::mem::take(&mut more.bytes);
        self.is_over |= std::mem::take(&mut more.is_over);
    }

    /// Counts it as `bytes` from now on. More is taken without waiting: what is there whole never
    /// waits for memory, so that it comes to its end.
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
        if strikes(Mutation::KeepReservation, 100) {
            return;
        }
        self.lane.used.set(self.lane.used.get() - self.bytes);
        if self.is_over {
            self.lane.is_overdrawn.set(false);
        }
        if self.is_over || self.bytes > 0 {
            self.lane.serve();
        }
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
        let (used_bytes, limit_bytes) = (100 << 20, 64 << 20);
        let memory = MemoryUse {
            used_bytes,
            limit_bytes,
        };
        assert_eq!(budget.memory(), memory);
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

    type Growing<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

    fn grow(held: &mut Reservation, more: usize) -> Growing<'_> {
        let mut growing: Growing<'_> = Box::pin(held.grow(more));
        match is_done(&mut growing) {
            true => Box::pin(std::future::ready(())),
            false => growing,
        }
    }

    fn is_done(growing: &mut Growing<'_>) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        growing.as_mut().poll(&mut cx).is_ready()
    }

    #[test]
    fn of_those_that_wait_for_more_one_at_a_time_goes_on() {
        let budget = Lane::new(100);
        let [mut a, mut b, mut c] = [40, 40, 20].map(|bytes| taken(&mut begin(&budget, bytes)));
        let mut new = begin(&budget, 1);
        assert!(is_done(&mut grow(&mut a, 40)), "one may go over");
        let mut b_grows = grow(&mut b, 40);
        let mut c_grows = grow(&mut c, 20);
        assert!(!is_done(&mut b_grows) && !is_done(&mut c_grows));
        assert!(is_done(&mut grow(&mut a, 500)), "the same goes on");
        drop(a);
        assert!(is_done(&mut b_grows) && is_done(&mut c_grows));
        drop((b_grows, c_grows));
        assert_eq!(budget.used(), 120);
        assert!(poll(&mut new).is_pending(), "those that hold some go first");
        drop(b);
        drop((c, taken(&mut new)));
        assert_eq!(budget.used(), 0);
        assert!(!budget.state.is_overdrawn.get());
    }

    #[test]
    fn one_that_is_gone_while_it_grows_gives_all_back() {
        let budget = Lane::new(100);
        let mut a = taken(&mut begin(&budget, 60));
        let mut b = taken(&mut begin(&budget, 40));
        let mut c_first = begin(&budget, 40);
        assert!(is_done(&mut grow(&mut a, 60)));
        assert!(!is_done(&mut grow(&mut b, 60)));
        drop(b);
        drop(a);
        let c = taken(&mut c_first);
        assert_eq!(budget.used(), 40);
        drop(c);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_part_is_half_of_what_is_left_at_most() {
        let budget = Budget::new(64 << 20);
        let part = |wanted: usize| {
            let budget = budget.clone();
            let reserving: Reserving = Box::pin(async move { budget.reserve_part(wanted).await });
            reserving
        };
        assert_eq!(taken(&mut part(9 << 20)).bytes(), 9 << 20);
        let mut held = Vec::new();
        let mut next = part(1 << 30);
        while let Poll::Ready(granted) = poll(&mut next) {
            held.push(granted);
            next = part(1 << 30);
        }
        assert!(held.len() > 4 && budget.used() <= 48 << 20);
        held.clear();
        assert!(taken(&mut next).bytes() >= 1 << 20);
    }
}
