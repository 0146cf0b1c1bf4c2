//! A producer that does not give up: several batches in flight, and after every reconnect the unanswered ones again,
//! as they were. What it gets acknowledged goes into the ledger.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use corelog_loadgen::batch::{self, Producer};
use corelog_loadgen::client::{self, Client, PRODUCE_VERSION, error_name, is_retriable};
use kafka_protocol::messages::ProduceRequest;

use crate::ledger::{Ledger, Place};
use crate::random::Random;
use crate::stamp::{self, Stamp};

/// Batches in flight for a partition: as many as a broker can tell from repeated ones.
const IN_FLIGHT_MAX: usize = 5;
const RETRY: Duration = Duration::from_millis(2);

/// What producers and consumers beside the crashes are to do.
#[derive(Clone, Copy, PartialEq)]
#[repr(u8)]
pub enum Order {
    Write,
    /// What is in flight is brought to its end; nothing new is written.
    Pause,
    Stop,
}

/// The [`Order`] of the moment, given by one thread to the others.
pub struct Orders(AtomicU8);

impl Orders {
    pub fn new() -> Orders {
        Orders(AtomicU8::new(Order::Write as u8))
    }

    pub fn give(&self, order: Order) {
        self.0.store(order as u8, Ordering::Relaxed);
    }

    pub fn are(&self, order: Order) -> bool {
        self.0.load(Ordering::Relaxed) == order as u8
    }
}

/// Lets the other threads end when a check has failed in this one.
pub struct Stop<'a>(pub &'a Orders);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.give(Order::Stop);
    }
}

struct Sent {
    first: u64,
    count: u64,
    batch: Bytes,
}

/// One partition of a producer.
struct Lane {
    place: Place,
    next: u64,
    unanswered: VecDeque<Sent>,
    /// Where the last acknowledged batch of this connection ended.
    session_end: i64,
}

pub struct Writer<'a> {
    writer: u32,
    /// Producer id and epoch of an idempotent one.
    identity: Option<(i64, i16)>,
    is_idempotent: bool,
    lanes: Vec<Lane>,
    ledger: &'a Ledger,
    random: Random,
}

/// What ended a connection.
enum End {
    Stopped,
    Retry,
}

impl<'a> Writer<'a> {
    pub fn new(writer: u32, is_idempotent: bool, ledger: &'a Ledger, seed: u64) -> Writer<'a> {
        let lanes = ledger.places().map(|place| Lane {
            place: place.clone(),
            next: 0,
            unanswered: VecDeque::new(),
            session_end: 0,
        });
        Writer {
            writer,
            identity: None,
            is_idempotent,
            lanes: lanes.collect(),
            ledger,
            random: Random::new(seed),
        }
    }

    /// Writes until told to stop and everything is acknowledged, however often the broker goes away.
    pub fn run(mut self, addr: SocketAddr, orders: &Orders) {
        loop {
            let ended = Client::connect(addr)
                .context("connecting")
                .and_then(|client| self.session(client, orders));
            match ended {
                Ok(End::Stopped) => return,
                Ok(End::Retry) => {}
                Err(error) if error.root_cause().is::<io::Error>() => {}
                Err(error) => panic!("writer {}: {error:#}", self.writer),
            }
            if orders.are(Order::Stop) && Client::connect(addr).is_err() {
                // The test has failed elsewhere, and the broker is gone.
                return;
            }
            thread::sleep(RETRY);
        }
    }

    fn session(&mut self, mut client: Client, orders: &Orders) -> Result<End> {
        if self.is_idempotent && self.identity.is_none() {
            self.identity = Some(client.init_producer_id()?);
        }
        let mut in_flight = VecDeque::new();
        for (at, lane) in self.lanes.iter_mut().enumerate() {
            lane.session_end = 0;
            for sent in &lane.unanswered {
                in_flight.push_back((at, send(&mut client, &lane.place, sent)?));
            }
        }
        loop {
            while orders.are(Order::Write) && in_flight.len() < self.lanes.len() * 2 {
                let at = self.random.below(self.lanes.len() as u64) as usize;
                if self.lanes[at].unanswered.len() == IN_FLIGHT_MAX {
                    break;
                }
                let sent = self.make_batch(at);
                let lane = &mut self.lanes[at];
                // Before it is sent: what the kernel took of it may arrive, whatever this end hears.
                lane.unanswered.push_back(sent);
                let sent = lane.unanswered.back().expect("it was just put there");
                in_flight.push_back((at, send(&mut client, &lane.place, sent)?));
            }
            let Some((at, correlation_id)) = in_flight.pop_front() else {
                if orders.are(Order::Stop) {
                    return Ok(End::Stopped);
                }
                thread::sleep(RETRY);
                continue;
            };
            let reply = client.receive::<ProduceRequest>(PRODUCE_VERSION, correlation_id)?;
            match client::produce_outcome(&reply)? {
                (0, base_offset) => self.acknowledged(at, base_offset)?,
                (code, _) if is_retriable(code) => return Ok(End::Retry),
                (code, _) => bail!("an append was refused: {}", error_name(code)),
            }
        }
    }

    fn acknowledged(&mut self, at: usize, base_offset: i64) -> Result<()> {
        let lane = &mut self.lanes[at];
        let sent = lane.unanswered.pop_front().context("a reply too many")?;
        ensure!(
            base_offset >= lane.session_end,
            "a batch at offset {base_offset}, sent after one that ends at {}",
            lane.session_end
        );
        lane.session_end = base_offset + sent.count as i64;
        let first = Stamp {
            writer: self.writer,
            sequence: sent.first,
        };
        self.ledger
            .acknowledge(&lane.place, base_offset, first, sent.count);
        Ok(())
    }

    fn make_batch(&mut self, at: usize) -> Sent {
        let lane = &mut self.lanes[at];
        let random = &mut self.random;
        // Mostly small ones, some that take a group of their own.
        let (count, filler_max) = match random.below(100) {
            0 => (1, 300_000),
            1..10 => (40, 1_000),
            _ => (1 + random.below(8), 200),
        };
        let first = lane.next;
        lane.next += count;
        let records: Vec<Vec<u8>> = (first..lane.next)
            .map(|sequence| {
                let stamp = Stamp {
                    writer: self.writer,
                    sequence,
                };
                let filler_bytes = random.below(filler_max) as usize;
                stamp::write(stamp, filler_bytes, random)
            })
            .collect();
        let producer = self
            .identity
            .map_or(Producer::NONE, |(id, epoch)| Producer {
                id,
                epoch,
                base_sequence: first as i32,
            });
        let values = records.iter().map(Vec::as_slice);
        Sent {
            first,
            count,
            batch: Bytes::from(batch::encode(producer, client::wall_ms(), values)),
        }
    }
}

fn send(client: &mut Client, place: &Place, sent: &Sent) -> Result<i32> {
    let request = client::produce_request(&place.topic, place.partition, -1, &sent.batch);
    client.send(&request, PRODUCE_VERSION)
}
