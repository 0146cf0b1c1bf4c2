//! What the parts of a run do depends on all of them: when consumers may begin, how far they have to go.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use anyhow::Result;

use super::{any_client, ends, group_id};
use crate::client::Client;
use crate::measure::Moment;
use crate::workload::Workload;

/// How long brokers may not tell where the partitions end, before nobody waits for it any more.
const ASKED_MAX: Duration = Duration::from_secs(30);
/// How long groups may commit nothing before they count as stuck.
const STUCK_MAX: Duration = Duration::from_secs(30);
/// Between two looks at how far groups have come.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How it goes in one part of a run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Status {
    /// Bytes of values acknowledged so far.
    pub produced_bytes: u64,
    /// Its producers have nothing more to send.
    pub are_producers_done: bool,
    /// Figures of the last second, some times in each.
    pub moment: Option<Moment>,
}

/// What a part has to do. Once something is ordered, it stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orders {
    /// Make no more records.
    pub stop: bool,
    /// Consumers may begin.
    pub may_consume: bool,
    /// Where the partitions end: consumers go on up to there.
    pub ends: Option<Vec<i64>>,
    /// Groups have committed up to the ends: their members may leave.
    pub have_read_all: bool,
    /// Consumers need not go on.
    pub give_up: bool,
}

/// Knows how all parts go, and tells them what to do.
#[derive(Debug)]
pub struct Conductor<'a> {
    workload: &'a Workload,
    bootstrap: &'a [SocketAddr],
    run: u64,
    orders: Orders,
    /// When it was first asked where the partitions end.
    asked: Option<Instant>,
    /// Sets of consumers whose group has not committed up to the ends, each with the sum of what it has.
    reading: Vec<(usize, i64)>,
    /// When a look first found the ends or last found more committed.
    moved: Option<Instant>,
    looked: Instant,
}

impl<'a> Conductor<'a> {
    /// Before the start of that run.
    pub fn new(workload: &'a Workload, bootstrap: &'a [SocketAddr], run: u64) -> Self {
        Self {
            workload,
            bootstrap,
            run,
            orders: Orders::default(),
            asked: None,
            reading: match workload.consumers.group.protocol {
                Some(_) => (0..workload.consumers.sets())
                    .map(|set| (set, -1))
                    .collect(),
                None => Vec::new(),
            },
            moved: None,
            looked: Instant::now(),
        }
    }

    /// The orders to all parts, given how each of them goes. When all producers are done it asks a broker where the
    /// partitions end, again and again while none tells.
    pub fn conduct(&mut self, parts: &[&Status], stop: bool) -> &Orders {
        let orders = &mut self.orders;
        orders.stop |= stop;
        let produced: u64 = parts.iter().map(|part| part.produced_bytes).sum();
        let are_producers_done = parts.iter().all(|part| part.are_producers_done);
        orders.may_consume |=
            are_producers_done || produced >= self.workload.consumers.backlog_bytes;
        if are_producers_done && orders.ends.is_none() && !orders.give_up {
            let found = any_client(self.bootstrap)
                .map_err(|(_, error)| error.into())
                .and_then(|mut client| ends(&mut client, self.workload));
            match found {
                Ok(ends) => orders.ends = Some(ends),
                Err(_) => {
                    let asked = *self.asked.get_or_insert_with(Instant::now);
                    orders.give_up |= asked.elapsed() > ASKED_MAX;
                }
            }
        }
        if self.orders.ends.is_some() && self.looked.elapsed() > LOOK_EVERY {
            self.look_at_groups();
            self.looked = Instant::now();
        }
        &self.orders
    }

    /// Groups have read everything once they have committed up to the ends, whoever of their members has read it.
    fn look_at_groups(&mut self) {
        let Some(ends) = self.orders.ends.take() else {
            return;
        };
        let now = Instant::now();
        let mut moved = *self.moved.get_or_insert(now);
        let mut reading = std::mem::take(&mut self.reading);
        reading.retain_mut(|(set, sum)| {
            let group = group_id(self.workload, self.run, *set);
            let Ok(committed) = self.committed_by(&group) else {
                return true;
            };
            if committed.iter().sum::<i64>() > *sum {
                *sum = committed.iter().sum();
                moved = now;
            }
            committed.iter().zip(&ends).any(|(one, end)| one < end)
        });
        self.moved = Some(moved);
        self.reading = reading;
        self.orders.give_up |= moved.elapsed() > STUCK_MAX;
        self.orders.have_read_all = self.reading.is_empty();
        self.orders.ends = Some(ends);
    }

    fn committed_by(&self, group: &str) -> Result<Vec<i64>> {
        let mut client = self.coordinator(group)?;
        let topics = &self.workload.topics;
        client.committed(group, &topics.names(), topics.partitions as i32)
    }

    fn coordinator(&self, group: &str) -> Result<Client> {
        let mut client = any_client(self.bootstrap).map_err(|(_, error)| error)?;
        Ok(Client::connect(client.coordinator(group, Duration::ZERO)?)?)
    }

    /// Deletes the groups of the run, as far as that is possible: what is left of them expires.
    pub fn clean_up(&self) {
        let protocol = self.workload.consumers.group.protocol;
        let sets = protocol.map_or(0, |_| self.workload.consumers.sets());
        for set in 0..sets {
            let group = group_id(self.workload, self.run, set);
            let deleted = self
                .coordinator(&group)
                .and_then(|mut coordinator| coordinator.delete_group(&group));
            if deleted.is_err() {
                return;
            }
        }
    }
}
