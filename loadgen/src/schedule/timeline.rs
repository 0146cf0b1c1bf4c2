//! A rate over time, in pieces over each of which it changes evenly, repeated without end.

use std::sync::Arc;
use std::time::Duration;

use super::{NANOS_PER_SECOND, nanos};
use crate::workload::Shape;

/// One round of pieces without a gap between them.
#[derive(Clone, Debug)]
pub(super) struct Timeline {
    /// At least one, none of them without length.
    pieces: Arc<[Piece]>,
    round_ns: u64,
    /// Due in one round.
    records: f64,
}

#[derive(Clone, Copy, Debug)]
struct Piece {
    /// Since the start of the round.
    start_ns: u64,
    length_ns: u64,
    /// Due in the round before this piece.
    before: f64,
    /// Records a second at the start.
    rate: f64,
    /// Added to the rate in each second.
    slope: f64,
}

impl Timeline {
    pub(super) fn new(shape: &Shape, whole: Duration) -> Self {
        // Of no importance if the run has no length.
        let whole_ns = nanos(whole).max(1);
        let mut round = Round::default();
        match shape {
            Shape::Constant(rate) | Shape::Poisson(rate) => round.push(whole_ns, *rate, *rate),
            Shape::Ramp(from, to) => round.push(whole_ns, *from, *to),
            Shape::Steps(rates) => {
                let steps = rates.len() as u128;
                for (at, rate) in rates.iter().enumerate() {
                    let bound = |step: u128| (u128::from(whole_ns) * step / steps) as u64;
                    let length = bound(at as u128 + 1) - bound(at as u128);
                    round.push(length, *rate, *rate);
                }
            }
            Shape::Bursts {
                base,
                peak,
                every,
                length,
            } => {
                let length = length.min(every);
                round.push(nanos(*every - *length), *base, *base);
                round.push(nanos(*length), *peak, *peak);
            }
            Shape::Trace(points) => {
                for (at, (start, rate)) in points.iter().enumerate() {
                    let length = match points.get(at + 1) {
                        Some((next, _)) => nanos(next.saturating_sub(*start)),
                        // As long as the one before it, or if there is none, for the whole run.
                        None => match at.checked_sub(1) {
                            Some(before) => nanos(start.saturating_sub(points[before].0)),
                            None => whole_ns,
                        },
                    };
                    round.push(length, *rate, *rate);
                }
            }
        }
        round.finish(whole_ns)
    }

    /// The integral of the rate.
    pub(super) fn records_until(&self, end_ns: u64) -> f64 {
        let into_ns = end_ns % self.round_ns;
        let piece = self.piece_at(into_ns);
        let rounds = (end_ns / self.round_ns) as f64;
        rounds * self.records + piece.before + piece.records_in(into_ns - piece.start_ns)
    }

    /// `into_ns` is below the length of a round.
    fn piece_at(&self, into_ns: u64) -> &Piece {
        let after = self
            .pieces
            .partition_point(|piece| piece.start_ns <= into_ns);
        &self.pieces[after - 1]
    }
}

#[derive(Default)]
struct Round {
    pieces: Vec<Piece>,
    length_ns: u64,
    records: f64,
}

impl Round {
    fn push(&mut self, length_ns: u64, from: f64, to: f64) {
        if length_ns == 0 {
            return;
        }
        let piece = Piece {
            start_ns: self.length_ns,
            length_ns,
            before: self.records,
            rate: from,
            slope: (to - from) / seconds(length_ns),
        };
        self.length_ns += length_ns;
        self.records += seconds(length_ns) * (from + to) / 2.0;
        self.pieces.push(piece);
    }

    fn finish(mut self, whole_ns: u64) -> Timeline {
        if self.pieces.is_empty() {
            self.push(whole_ns, 0.0, 0.0);
        }
        Timeline {
            pieces: self.pieces.into(),
            round_ns: self.length_ns,
            records: self.records,
        }
    }
}

impl Piece {
    /// Due in its first `length_ns`.
    fn records_in(&self, length_ns: u64) -> f64 {
        let length = seconds(length_ns);
        length * (self.rate + self.slope * length / 2.0)
    }

    /// Nanoseconds after its start at which so many records are due.
    fn time_of(&self, records: f64) -> u64 {
        // The solution of `rate * t + slope * t² / 2 = records` that loses no digits to a slope near zero.
        let root = (self.rate * self.rate + 2.0 * self.slope * records).max(0.0);
        let time = 2.0 * records / (self.rate + root.sqrt());
        // To the nearest nanosecond, so that even gaps look even.
        ((time * NANOS_PER_SECOND + 0.5) as u64).min(self.length_ns - 1)
    }
}

/// Goes through a timeline once, forward.
#[derive(Clone, Debug)]
pub(super) struct Walk {
    timeline: Timeline,
    at: usize,
    piece: Piece,
    /// Since the start of the run, of the current round.
    round_start_ns: u64,
    /// Due before the current round.
    round_before: f64,
    rounds: u64,
    /// Due by the end of the current piece.
    piece_end: f64,
}

impl Walk {
    pub(super) fn new(timeline: Timeline) -> Self {
        let mut walk = Self {
            piece: timeline.pieces[0],
            at: 0,
            round_start_ns: 0,
            round_before: 0.0,
            rounds: 0,
            piece_end: 0.0,
            timeline,
        };
        walk.enter(0);
        walk
    }

    /// When the integral of the rate reaches `records`, which never falls from call to call. None if that is not in a
    /// piece that begins before `whole_ns`.
    #[inline]
    pub(super) fn time_of(&mut self, records: f64, whole_ns: u64) -> Option<u64> {
        while records >= self.piece_end {
            if self.at + 1 == self.timeline.pieces.len() {
                self.rounds += 1;
                self.round_start_ns = self.rounds.saturating_mul(self.timeline.round_ns);
                // Multiplied and not added up: its error does not grow.
                self.round_before = self.rounds as f64 * self.timeline.records;
                self.enter(0);
            } else {
                self.enter(self.at + 1);
            }
            if self.start_ns() >= whole_ns {
                return None;
            }
        }
        let into = (records - self.round_before - self.piece.before).max(0.0);
        Some(self.start_ns() + self.piece.time_of(into))
    }

    fn enter(&mut self, at: usize) {
        self.at = at;
        self.piece = self.timeline.pieces[at];
        let before = match self.timeline.pieces.get(at + 1) {
            Some(next) => next.before,
            None => self.timeline.records,
        };
        self.piece_end = self.round_before + before;
    }

    fn start_ns(&self) -> u64 {
        self.round_start_ns.saturating_add(self.piece.start_ns)
    }
}

fn seconds(nanos: u64) -> f64 {
    nanos as f64 / NANOS_PER_SECOND
}
