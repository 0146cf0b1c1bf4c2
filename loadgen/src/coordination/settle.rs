//! How long a group takes to settle: at first, after one more joins, and after one is killed.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;

use super::crowd::Crowd;
use super::{Failures, prepare};
use crate::engine::wall_ns;
use crate::group::{Settings, Subscription};
use crate::workload::{Assignor, GroupProtocol};

/// How long a group may take in each step, beside the session time-out.
const PATIENCE: Duration = Duration::from_secs(120);

/// One group, which reads one topic.
#[derive(Clone, Debug)]
pub struct Settle {
    pub topic: String,
    pub partitions: u32,
    /// The one that joins last included.
    pub members: usize,
    pub protocol: GroupProtocol,
    pub assignor: Assignor,
    /// Of the classic protocol; of the new one what the broker has, so that it can be told from the rest.
    pub session_timeout: Duration,
}

/// Settled is a group in which each partition is held by exactly one member, evenly, and no member has anything to
/// change.
#[derive(Clone, Debug, Serialize)]
pub struct SettleReport {
    pub members: usize,
    /// From nothing, all but one of the members joining at once.
    pub first_s: f64,
    /// From when the last member begins to join.
    pub join_s: f64,
    /// From when the connections of a member are cut, the session time-out included.
    pub kill_s: f64,
    pub session_timeout_s: f64,
    /// From when its session ends, counted from the last reply that it got.
    pub after_session_s: f64,
    pub failures: Failures,
}

impl Settle {
    pub fn run(&self, bootstrap: &[SocketAddr]) -> Result<SettleReport> {
        let cluster = prepare(bootstrap, &self.topic, self.partitions)?;
        let settings = Arc::new(Settings {
            group: format!("{}-settle-{:016x}", self.topic, wall_ns()),
            protocol: self.protocol,
            assignor: self.assignor,
            session_timeout: self.session_timeout,
            commit_interval: Duration::from_secs(5),
            subscription: Subscription {
                topics: cluster.topics.as_slice().into(),
                partitions: self.partitions,
            },
            starts: vec![0; self.partitions as usize].into(),
        });
        let partitions = self.partitions as usize;
        let mut crowd = Crowd::new(cluster)?;
        for _ in 1..self.members {
            crowd.add(&settings);
        }
        let all_but_one = 0..self.members - 1;
        let first = crowd.until("the group settles", PATIENCE, |crowd| {
            crowd.is_settled(all_but_one.clone(), partitions)
        })?;
        crowd.add(&settings);
        let join = crowd.until("it settles after a member has joined", PATIENCE, |crowd| {
            crowd.is_settled(0..self.members, partitions)
        })?;
        crowd.forget();
        let killed = crowd.members.pop();
        let heard_ns = killed.as_ref().map_or(0, |it| it.member.heard_ns());
        // Its connections close without a word to the group.
        drop(killed);
        let before = Instant::now();
        let before_ns = crowd.now_ns();
        let patience = PATIENCE + self.session_timeout;
        crowd.until("it settles after a member was killed", patience, |crowd| {
            crowd.is_settled(all_but_one.clone(), partitions)
        })?;
        let kill = before.elapsed();
        let since_heard_ns = before_ns + kill.as_nanos() as u64 - heard_ns;
        let report = SettleReport {
            members: self.members,
            first_s: first.as_secs_f64(),
            join_s: join.as_secs_f64(),
            kill_s: kill.as_secs_f64(),
            session_timeout_s: self.session_timeout.as_secs_f64(),
            after_session_s: since_heard_ns as f64 / 1e9 - self.session_timeout.as_secs_f64(),
            failures: std::mem::take(&mut crowd.failures),
        };
        crowd.leave()?;
        Ok(report)
    }
}

impl fmt::Display for SettleReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let before = self.members - 1;
        writeln!(f, "{before} members at once  {:.3} s", self.first_s)?;
        writeln!(f, "one more joins      {:.3} s", self.join_s)?;
        writeln!(
            f,
            "one is killed       {:.3} s, {:.3} s after the end of its session of {} s",
            self.kill_s, self.after_session_s, self.session_timeout_s
        )?;
        write!(f, "{}", self.failures)
    }
}
