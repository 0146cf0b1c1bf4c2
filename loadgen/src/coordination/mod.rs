//! Loads on the coordinators of groups alone, without a record: commits at saturation, how long a group takes to
//! settle, and many members that only send heartbeats.
//!
//! Each runs on the thread that calls, with one epoll over all connections.

mod commits;
mod crowd;
mod heartbeats;
mod settle;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

pub use commits::{Commits, CommitsReport, Until};
pub use heartbeats::{Heartbeats, HeartbeatsReport, Joined};
pub use settle::{Settle, SettleReport};

use crate::cluster::Cluster;
use crate::engine::first_client;
use crate::measure::Verdict;
use crate::report::{Latency, time};
use crate::workload::{Topics, Workload};

/// How long the first group of a cluster waits for the topic that its offsets are kept in.
const COORDINATOR_MAX: Duration = Duration::from_secs(60);

/// The topic that groups read or commit for; it is made if it is not there.
fn prepare(bootstrap: &[SocketAddr], topic: &str, partitions: u32) -> Result<Cluster> {
    let mut client = first_client(bootstrap)?;
    client.create_topic_with(topic, partitions as i32, -1, &[])?;
    client.coordinator(topic, COORDINATOR_MAX)?;
    let topics = Topics {
        name: topic.to_owned(),
        partitions,
        ..Workload::default().topics
    };
    Cluster::look_up(&mut client, &topics)
}

/// What failed, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Failures(pub BTreeMap<String, u64>);

impl Failures {
    fn count(&mut self, name: impl Into<String>) {
        *self.0.entry(name.into()).or_default() += 1;
    }
}

impl fmt::Display for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("errors 0");
        }
        let names = self.0.iter().map(|(name, count)| format!("{name} {count}"));
        write!(f, "errors: {}", names.collect::<Vec<_>>().join(", "))
    }
}

fn latency_line(latency: &Latency) -> String {
    format!(
        "latency p50 {}, p99 {}, p99.9 {}, max {}",
        time(latency.p50 as f64),
        time(latency.p99 as f64),
        time(latency.p999 as f64),
        time(latency.max as f64)
    )
}

/// What the generator says of itself where it was more than a witness.
fn verdict_line(verdict: &Verdict) -> String {
    match verdict.level {
        crate::measure::Level::Kept => String::new(),
        _ => format!("\n{verdict}"),
    }
}
