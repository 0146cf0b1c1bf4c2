//! What the writer knows from group to group, and the groups that are under way.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::Ticket;
use crate::io::{DmaBuffer, Instant};

/// A group on its way to the disk, durable once it is there.
pub(super) struct UnderWay {
    pub(super) write: Pin<Box<dyn Future<Output = (io::Result<()>, DmaBuffer)>>>,
    /// What came of it, once it has finished.
    pub(super) outcome: Option<(io::Result<()>, DmaBuffer)>,
    pub(super) number: u64,
    pub(super) payload_len: usize,
    pub(super) done: Done,
    pub(super) begun: Begun,
}

/// Of a group that was given to the disk.
#[derive(Clone, Copy)]
pub(super) struct Begun {
    pub(super) at: Instant,
    /// Appends that it holds.
    pub(super) appends: u64,
}

/// What is completed with a group.
#[derive(Clone, Copy)]
pub(super) struct Done {
    pub(super) appends: Option<Ticket>,
    pub(super) carried: Option<Ticket>,
}

/// What the writer knows from group to group.
pub(super) struct Chain {
    /// Checksum of the newest group's header.
    pub(super) previous: u32,
    /// Groups that were begun and not completed yet, oldest first. Completed in this order: a
    /// group is part of the log only with all before it.
    pub(super) under_way: VecDeque<UnderWay>,
    pub(super) written: u64,
    pub(super) synced: u64,
    /// The newest append that is synced.
    pub(super) synced_appends: Ticket,
    /// Carried tickets in groups so far, for the files.
    pub(super) carried_through: Ticket,
    /// Tickets that are written and not yet synced.
    pub(super) unsynced_appends: Option<Ticket>,
    pub(super) unsynced_carried: Option<Ticket>,
    /// What is to be told to the shard.
    pub(super) news: News,
}

/// Tickets that were completed and that the shard does not know of yet.
#[derive(Default)]
pub(super) struct News {
    pub(super) written: Option<Ticket>,
    pub(super) synced: Option<Ticket>,
    pub(super) carried: Option<Ticket>,
}

impl News {
    pub(super) fn is_empty(&self) -> bool {
        (self.written, self.synced, self.carried) == (None, None, None)
    }
}

impl UnderWay {
    /// Waits until the disk has finished.
    pub(super) fn finished(&mut self) -> impl Future<Output = ()> {
        poll_fn(|cx| self.poll(cx))
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.outcome.is_none() {
            self.outcome = Some(ready!(self.write.as_mut().poll(cx)));
        }
        Poll::Ready(())
    }
}

impl Chain {
    /// Waits until the disk has finished the oldest group under way; for ever if there is none.
    pub(super) async fn oldest_finished(&mut self) {
        poll_fn(|cx| match self.under_way.front_mut() {
            Some(oldest) => oldest.poll(cx),
            None => Poll::Pending,
        })
        .await;
    }

    /// Everything written so far is on stable storage.
    pub(super) fn completed(&mut self) {
        self.synced = self.written;
        if let Some(through) = self.unsynced_appends.take() {
            self.synced_appends = through;
            self.news.synced = Some(through);
        }
        self.news.carried = self.unsynced_carried.take().or(self.news.carried);
    }
}
