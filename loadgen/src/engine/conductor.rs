//! What the parts of a run do depends on all of them: when consumers may begin, how far they have to go.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{any_client, ends};
use crate::measure::Moment;
use crate::workload::Workload;

/// How long brokers may not tell where the partitions end, before nobody waits for it any more.
const ASKED_MAX: Duration = Duration::from_secs(30);

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
    /// Consumers need not go on.
    pub give_up: bool,
}

/// Knows how all parts go, and tells them what to do.
#[derive(Debug)]
pub struct Conductor<'a> {
    workload: &'a Workload,
    bootstrap: &'a [SocketAddr],
    orders: Orders,
    /// When it was first asked where the partitions end.
    asked: Option<Instant>,
}

impl<'a> Conductor<'a> {
    /// Before the start.
    pub fn new(workload: &'a Workload, bootstrap: &'a [SocketAddr]) -> Self {
        Self {
            workload,
            bootstrap,
            orders: Orders::default(),
            asked: None,
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
        orders
    }
}
