//! One direction of a connection: pieces of bytes on their way, and those who wait
//! at its two ends.

use std::collections::VecDeque;
use std::io::{Error, ErrorKind, Result};
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes, BytesMut};

use crate::io::sim::kernel::{AlarmKey, Kernel};
use crate::io::time::Instant;

pub(super) struct Pipe {
    under_way: VecDeque<(Instant, Bytes)>,
    arrived: VecDeque<Bytes>,
    arrived_len: usize,
    /// Bytes under way and arrived.
    len: usize,
    window: usize,
    low_water: usize,
    /// The writer has sent all it will, and that has arrived by then.
    end: Option<Instant>,
    /// Nothing arrives before.
    stalled: Instant,
    /// From then on both sides get errors.
    reset: Option<Instant>,
    reader_gone: bool,
    reader: Waiter,
    writer: Waiter,
}

/// A task that waits at one end of a pipe, for a wake-up or a point in time.
#[derive(Default)]
struct Waiter {
    waker: Option<Waker>,
    alarm: Option<AlarmKey>,
}

impl Waiter {
    fn wait(&mut self, kernel: &Kernel, until: Option<Instant>, cx: &Context<'_>) {
        self.stop(kernel);
        self.waker = Some(cx.waker().clone());
        self.alarm = until.map(|at| kernel.set_alarm(at, cx.waker().clone()));
    }

    fn stop(&mut self, kernel: &Kernel) {
        if let Some(alarm) = self.alarm.take() {
            kernel.cancel_alarm(alarm);
        }
        self.waker = None;
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl Pipe {
    pub(super) fn new(window: usize) -> Pipe {
        Pipe {
            under_way: VecDeque::new(),
            arrived: VecDeque::new(),
            arrived_len: 0,
            len: 0,
            window,
            low_water: 1,
            end: None,
            stalled: Instant::default(),
            reset: None,
            reader_gone: false,
            reader: Waiter::default(),
            writer: Waiter::default(),
        }
    }

    pub(super) fn set_low_water(&mut self, bytes: usize) {
        self.low_water = bytes.max(1);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn wake_both(&mut self) {
        self.reader.wake();
        self.writer.wake();
    }

    pub(super) fn reset(&mut self, at: Instant) {
        self.reset = Some(self.reset.map_or(at, |earlier| earlier.min(at)));
        self.wake_both();
    }

    fn is_reset(&self, now: Instant) -> bool {
        self.reset.is_some_and(|at| at <= now)
    }

    /// Nobody will read what is sent from now on.
    pub(super) fn leave_reader(&mut self) {
        self.reader_gone = true;
        self.wake_both();
    }

    pub(super) fn stall(&mut self, until: Instant) {
        self.stalled = self.stalled.max(until);
        self.reader.wake();
    }

    /// Lets the reader find the end after all that was sent before.
    pub(super) fn end(&mut self, kernel: &Kernel) {
        if self.end.is_none() {
            self.end = Some(self.arrival(kernel));
            self.wake_both();
        }
    }

    /// When something arrives that is sent now.
    fn arrival(&self, kernel: &Kernel) -> Instant {
        let latency = kernel.faults.borrow().network_latency;
        let at = kernel.now() + kernel.duration_between(latency);
        let last = self.under_way.back();
        last.map_or(at, |(before, _)| at.max(*before))
    }

    /// Sends a piece of the front of `bytes`. False if the window is full.
    pub(super) fn send_some(&mut self, bytes: &mut Bytes, kernel: &Kernel) -> Result<bool> {
        if self.is_reset(kernel.now()) || self.reader_gone || self.end.is_some() {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let room = self.window.saturating_sub(self.len);
        if room == 0 {
            return Ok(false);
        }
        let piece_max = kernel.faults.borrow().network_piece_max.max(1);
        let piece_max = 1 + kernel.below(piece_max as u64) as usize;
        let piece = bytes.split_to(piece_max.min(room).min(bytes.len()));
        self.len += piece.len();
        let at = self.arrival(kernel);
        self.under_way.push_back((at, piece));
        self.reader.wake();
        Ok(true)
    }

    /// Waits until the window opens or the connection breaks.
    pub(super) fn wait_to_send(&mut self, kernel: &Kernel, cx: &Context<'_>) {
        self.writer.wait(kernel, self.reset, cx);
    }

    /// Reads what has arrived; zero is the end. While the pipe is cut nothing does.
    pub(super) fn poll_receive(
        &mut self,
        buffer: &mut BytesMut,
        is_cut: bool,
        kernel: &Kernel,
        cx: &Context<'_>,
    ) -> Poll<Result<usize>> {
        self.reader.stop(kernel);
        if is_cut {
            self.reader.wait(kernel, None, cx);
            return Poll::Pending;
        }
        let now = kernel.now();
        if self.is_reset(now) {
            return Poll::Ready(Err(Error::from(ErrorKind::ConnectionReset)));
        }
        if now < self.stalled {
            let reset = self.reset.unwrap_or(self.stalled);
            self.reader.wait(kernel, Some(reset.min(self.stalled)), cx);
            return Poll::Pending;
        }
        self.arrive(now);
        let has_ended = self.under_way.is_empty() && self.end.is_some_and(|at| at <= now);
        let is_full = self.under_way.is_empty() && self.len >= self.window;
        let is_enough = self.arrived_len >= self.low_water || is_full || has_ended;
        if self.arrived_len > 0 && is_enough {
            return Poll::Ready(Ok(self.take(buffer)));
        }
        if has_ended {
            return Poll::Ready(Ok(0));
        }
        let until = self.next_event();
        self.reader.wait(kernel, until, cx);
        Poll::Pending
    }

    fn arrive(&mut self, now: Instant) {
        while let Some((_, piece)) = self.under_way.pop_front_if(|(at, _)| *at <= now) {
            self.arrived_len += piece.len();
            self.arrived.push_back(piece);
        }
    }

    fn take(&mut self, buffer: &mut BytesMut) -> usize {
        let spare = buffer.capacity() - buffer.len();
        let mut taken = 0;
        while taken < spare
            && let Some(piece) = self.arrived.front_mut()
        {
            let part = piece.len().min(spare - taken);
            buffer.extend_from_slice(&piece[..part]);
            piece.advance(part);
            if piece.is_empty() {
                self.arrived.pop_front();
            }
            taken += part;
        }
        self.arrived_len -= taken;
        self.len -= taken;
        self.writer.wake();
        taken
    }

    /// When the next thing happens that a reader may wait for.
    fn next_event(&self) -> Option<Instant> {
        let arrival = self.under_way.front().map(|(at, _)| *at);
        let end = self.end.filter(|_| self.under_way.is_empty());
        [arrival, end, self.reset].into_iter().flatten().min()
    }

    pub(super) fn stop_reader(&mut self, kernel: &Kernel) {
        self.reader.stop(kernel);
    }

    pub(super) fn stop_writer(&mut self, kernel: &Kernel) {
        self.writer.stop(kernel);
    }
}
