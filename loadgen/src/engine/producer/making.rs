//! Records as they come due, and the batches they gather in.

use std::collections::VecDeque;
use std::fmt::Write;
use std::ops::Range;

use bytes::Bytes;

use super::Producer;
use super::sequences::Sequences;
use crate::batch::{self, Builder};
use crate::engine::Clock;
use crate::measure::{Fate, Recorder};
use crate::record::{STAMP_BYTES, Stamp};

/// Records that are made and not acknowledged may take this much memory; what is due then waits for room.
const BUFFER_BYTES_MAX: usize = 64 << 20;
/// How long a batch is tried to be delivered, as Kafka's `delivery.timeout.ms`. Looked at once a second.
pub(super) const DELIVERY_NS_MAX: u64 = 120_000_000_000;

/// What waits for one partition.
pub(super) struct Partition {
    /// The newest may be open, all others are full.
    pub batches: VecDeque<Batch>,
    /// Of the next record, for the verification.
    sequence: u64,
    /// For the broker.
    pub sequences: Sequences,
    /// Batches that are sent and not answered.
    pub in_flight: u32,
    /// Whether the partition is in the list of its link.
    pub is_listed: bool,
    pub retry_ns: u64,
}

/// Records that leave together.
pub(in crate::engine) struct Batch {
    pub number: u64,
    pub records: Records,
    /// When each record was due.
    pub due_ns: Vec<u64>,
    first_sequence: u64,
    pub base_sequence: i32,
    pub payload_bytes: u64,
    pub memory: usize,
    pub deadline_ns: u64,
    pub is_ready: bool,
    /// A broker may have got it.
    pub was_sent: bool,
}

pub(in crate::engine) enum Records {
    Open(Builder),
    Sealed(Bytes),
}

impl Partition {
    /// With nothing in it, for a producer of that epoch.
    pub(super) fn new(epoch: i16) -> Self {
        Self {
            batches: VecDeque::new(),
            sequence: 0,
            sequences: Sequences::new(epoch),
            in_flight: 0,
            is_listed: false,
            retry_ns: 0,
        }
    }
}

impl Batch {
    /// What becomes of its records if it is given up.
    pub(super) fn fate(&self) -> Fate {
        match self.was_sent {
            true => Fate::Unanswered,
            false => Fate::Unsent,
        }
    }

    pub(super) fn sequences(&self) -> Range<u64> {
        self.first_sequence..self.first_sequence + self.due_ns.len() as u64
    }
}

impl Producer<'_> {
    /// Makes the records that are due by `until_ns`, as far as there is room.
    pub(super) fn make_due(
        &mut self,
        until_ns: u64,
        now_ns: u64,
        clock: &Clock,
        recorder: &mut Recorder,
    ) {
        let Some(timetable) = &mut self.timetable else {
            while self.has_room() {
                self.make(now_ns, now_ns, clock);
            }
            return;
        };
        if timetable.is_waiting() {
            timetable.wait(until_ns, recorder);
        }
        while let Some(timetable) = &mut self.timetable {
            if self.buffered_bytes >= BUFFER_BYTES_MAX {
                return timetable.wait(until_ns, recorder);
            }
            let Some(due) = timetable.take(until_ns, recorder) else {
                return;
            };
            // What waited for room is late by the broker's latency, and not by our own.
            if !due.has_waited {
                recorder.late(now_ns, now_ns - due.due_ns);
            }
            self.make(due.due_ns, now_ns, clock);
        }
    }

    /// Whether a closed loop may make another record: there is not enough yet for all requests in flight.
    pub(super) fn has_room(&self) -> bool {
        let links = self.links.len().max(1);
        let producers = &self.workload.producers;
        let enough = producers.in_flight as usize * links * producers.batch_bytes as usize;
        self.buffered_bytes < enough.min(BUFFER_BYTES_MAX)
    }

    /// Makes one record and puts it into the batch of its partition.
    fn make(&mut self, due_ns: u64, now_ns: u64, clock: &Clock) {
        let len = self.sizes.next(&mut self.random) as usize;
        let key = self.keys.next(&mut self.random);
        let at = match key {
            Some(key) => {
                self.key.clear();
                let _ = write!(self.key, "{key}");
                crc32c::crc32c(self.key.as_bytes()) as usize % self.partitions.len()
            }
            None => self.sticky,
        };
        let linger_ns = self.workload.producers.linger.as_nanos() as u64;
        let partition = &mut self.partitions[at];
        if !matches!(
            partition.batches.back(),
            Some(Batch {
                records: Records::Open(_),
                ..
            })
        ) {
            self.batches += 1;
            partition.batches.push_back(Batch {
                number: self.batches,
                records: Records::Open(Builder::new(clock.wall_ms(due_ns))),
                due_ns: Vec::new(),
                first_sequence: partition.sequence,
                base_sequence: partition.sequences.next,
                payload_bytes: 0,
                memory: 0,
                deadline_ns: now_ns + DELIVERY_NS_MAX,
                is_ready: false,
                was_sent: false,
            });
            self.aging.push_back((now_ns + linger_ns, at, self.batches));
        }
        let stamp = Stamp {
            run: self.run,
            producer: self.index,
            partition: at as u32,
            sequence: partition.sequence,
            intended_ns: clock.wall_ns(due_ns),
        };
        let filling = self.filling.take(len.saturating_sub(STAMP_BYTES));
        stamp.encode(len, filling, &mut self.value);
        partition.sequence += 1;
        partition.sequences.take();
        self.unacknowledged += 1;
        let Some(Batch {
            records: Records::Open(builder),
            due_ns: times,
            payload_bytes,
            memory,
            number,
            ..
        }) = partition.batches.back_mut()
        else {
            unreachable!("there is an open batch now")
        };
        let before = builder.records_bytes();
        let key = key.map(|_| self.key.as_bytes());
        builder.push(clock.wall_ms(due_ns), key, &self.value);
        times.push(due_ns);
        *payload_bytes += self.value.len() as u64;
        let grown = builder.records_bytes() - before;
        *memory += grown;
        self.buffered_bytes += grown;
        if builder.records_bytes() >= self.workload.producers.batch_bytes as usize {
            let number = *number;
            self.seal(at);
            self.becomes_ready(at, number);
        }
    }

    /// Closes the open batch of a partition.
    pub(super) fn seal(&mut self, at: usize) {
        let producers = &self.workload.producers;
        let partition = &mut self.partitions[at];
        if let Some(batch) = partition.batches.back_mut()
            && let Records::Open(builder) = &mut batch.records
        {
            let builder = std::mem::replace(builder, Builder::new(0));
            let producer = match producers.idempotence {
                true => batch::Producer {
                    id: self.producer_id,
                    epoch: partition.sequences.epoch,
                    base_sequence: batch.base_sequence,
                },
                false => batch::Producer::NONE,
            };
            batch.records = Records::Sealed(builder.finish(producer, producers.codec).into());
            if self.sticky == at {
                self.sticky = (at + 1) % self.partitions.len();
            }
        }
    }

    /// Whose time has come may leave.
    pub(super) fn age(&mut self, now_ns: u64) {
        let is_over = |(ready_ns, ..): &mut (u64, usize, u64)| *ready_ns <= now_ns;
        while let Some((_, at, number)) = self.aging.pop_front_if(is_over) {
            self.becomes_ready(at, number);
        }
        while let Some((_, at, number)) = self.retries.pop_front_if(is_over) {
            self.becomes_ready(at, number);
        }
    }

    fn becomes_ready(&mut self, at: usize, number: u64) {
        let partition = &mut self.partitions[at];
        let batch = partition
            .batches
            .iter_mut()
            .rev()
            .find(|it| it.number == number);
        if let Some(batch) = batch {
            batch.is_ready = true;
            self.list(at);
        }
    }
}
