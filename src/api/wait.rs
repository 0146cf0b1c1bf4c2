//! Between a handler that waits for something to happen and its connection.
//!
//! A handler that would wait for long says so, and its connection then looks after its client: when
//! that has gone, or the broker stops, the wait is over and the handler answers with what there is. So does
//! one that only waits for more, when its client has sent so much behind that it cannot be looked after.
//! Connection and handler are polled by one task, so nobody needs to be woken.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use crate::budget::{Budget, Reservation};

#[derive(Default)]
pub struct Wait {
    is_waiting: Cell<bool>,
    is_over: Cell<bool>,
    /// Who waits now would rather answer than have its client wait with further requests.
    is_for_more: Cell<bool>,
    is_cut_short: Cell<bool>,
}

impl Wait {
    /// Waits for `news`; None once the wait is over without it.
    pub async fn unless_over<T>(&self, news: impl Future<Output = T>) -> Option<T> {
        let mut news = pin!(news);
        self.is_waiting.set(true);
        let outcome = poll_fn(|cx| match news.as_mut().poll(cx) {
            Poll::Ready(news) => Poll::Ready(Some(news)),
            Poll::Pending if self.is_over.get() || self.is_cut_short.take() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        })
        .await;
        self.is_waiting.set(false);
        outcome
    }

    /// The same for `more` of what there is an answer from already; None also when it is cut short.
    pub async fn for_more<T>(&self, more: impl Future<Output = T>) -> Option<T> {
        self.is_for_more.set(true);
        let outcome = self.unless_over(more).await;
        self.is_for_more.set(false);
        self.is_cut_short.set(false);
        outcome
    }

    /// Lets whoever waits for more now go on without. Whether anybody does.
    pub fn cut_short(&self) -> bool {
        let is_cut_short = self.is_waiting.get() && self.is_for_more.get();
        self.is_cut_short.set(is_cut_short);
        is_cut_short
    }

    /// Lets whoever waits, now or later, go on without news.
    pub fn end(&self) {
        self.is_over.set(true);
    }

    pub fn is_waiting(&self) -> bool {
        self.is_waiting.get()
    }

    pub fn is_over(&self) -> bool {
        self.is_over.get()
    }
}

/// The memory of replies that bring much: reserved before it is filled, held until the client has
/// taken the reply. Replies to the other requests are bounded by what they are about.
pub struct ReplyMemory {
    budget: Budget,
    /// Of the reply that is being made. Only sequential requests reserve any, so there is one.
    held: RefCell<Option<Reservation>>,
}

impl ReplyMemory {
    pub fn new(budget: Budget) -> Self {
        Self {
            budget,
            held: RefCell::default(),
        }
    }

    /// Waits until there is memory; how much of `wanted` it is.
    pub async fn reserve(&self, wanted: usize) -> usize {
        if wanted == 0 {
            return 0;
        }
        let part = self.budget.reserve_part(wanted).await;
        let bytes = part.bytes();
        self.held.replace(Some(part));
        bytes
    }

    /// The reply has become this large.
    pub fn settle(&self, bytes: usize) {
        if let Some(held) = &mut *self.held.borrow_mut() {
            held.resize(bytes);
        }
    }

    /// What is held from now on together with the reply.
    pub fn take(&self) -> Option<Reservation> {
        self.held.take()
    }
}
