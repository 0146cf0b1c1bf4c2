//! Many groups whose members have nothing to do but to send heartbeats: what the broker pays for that they are there.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde::Serialize;

use super::crowd::Crowd;
use super::{Failures, latency_line, prepare, verdict_line};
use crate::engine::wall_ns;
use crate::group::{Api, Settings, Subscription};
use crate::measure::{ThreadClock, ThreadUse, Verdict, histogram};
use crate::report::Latency;
use crate::workload::{Assignor, GroupProtocol};

/// So many members connect at once: listeners have a bounded backlog, Kafka's by default of 50.
const CONNECTING_MAX: usize = 50;
/// How long all groups may take to settle. Both protocols let each of them wait for some seconds, which is why they settle
/// side by side.
const PATIENCE: Duration = Duration::from_secs(120);
/// Files of this process other than connections.
const OTHER_FILES: u64 = 100;

/// Groups that read one topic each on its own.
#[derive(Clone, Debug)]
pub struct Heartbeats {
    pub topic: String,
    pub groups: usize,
    /// Of each group; the topic has as many partitions.
    pub members: usize,
    pub protocol: GroupProtocol,
    pub assignor: Assignor,
    pub session_timeout: Duration,
}

/// All have joined, and their groups have settled.
pub struct Joined {
    crowd: Crowd,
    /// How long that took.
    pub took: Duration,
}

/// What there was in the time that was measured.
#[derive(Clone, Debug, Serialize)]
pub struct HeartbeatsReport {
    pub seconds: f64,
    pub heartbeats: u64,
    pub latency_ns: Latency,
    /// Partitions that were given to somebody: none should be.
    pub rebalances: u64,
    pub failures: Failures,
    pub verdict: Verdict,
}

impl Heartbeats {
    /// Has all members join, with a bound on those that have yet to hear from the broker.
    ///
    /// # Errors
    /// If there may not be so many connections, or not all groups have settled in time.
    pub fn join(&self, bootstrap: &[SocketAddr]) -> Result<Joined> {
        let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
        let all = (self.groups * self.members) as u64 + OTHER_FILES;
        ensure!(all <= most, "{all} open files are needed, {most} allowed");
        setrlimit(Resource::RLIMIT_NOFILE, all.max(1024), most).context("open files")?;
        let cluster = prepare(bootstrap, &self.topic, self.members as u32)?;
        let subscription = Subscription {
            topics: cluster.topics.as_slice().into(),
            partitions: self.members as u32,
        };
        let run = wall_ns();
        let mut crowd = Crowd::new(cluster)?;
        let start = Instant::now();
        let mut waiting = 0..self.groups;
        let mut settling = Vec::new();
        while !waiting.is_empty() || !settling.is_empty() {
            ensure!(
                start.elapsed() < PATIENCE,
                "{} of {} groups have not settled after {PATIENCE:?}; {}",
                waiting.len() + settling.len(),
                self.groups,
                crowd.failures
            );
            while crowd.unheard() < CONNECTING_MAX
                && let Some(group) = waiting.next()
            {
                let settings = Arc::new(Settings {
                    group: format!("{}-{run:016x}-{group}", self.topic),
                    protocol: self.protocol,
                    assignor: self.assignor,
                    session_timeout: self.session_timeout,
                    commit_interval: Duration::from_secs(3_600),
                    subscription: subscription.clone(),
                    starts: vec![0; self.members].into(),
                });
                (0..self.members).for_each(|_| crowd.add(&settings));
                settling.push(group);
            }
            crowd.turn()?;
            settling.retain(|group| {
                let first = group * self.members;
                !crowd.is_settled(first..first + self.members, self.members)
            });
        }
        Ok(Joined {
            crowd,
            took: start.elapsed(),
        })
    }
}

impl Joined {
    /// Goes on so long, without a figure of it.
    pub fn rest(&mut self, duration: Duration) -> Result<()> {
        let start = Instant::now();
        while start.elapsed() < duration {
            self.crowd.turn()?;
        }
        Ok(())
    }

    /// Goes on so long, and says what there was.
    pub fn measure(&mut self, duration: Duration) -> Result<HeartbeatsReport> {
        self.crowd.forget();
        let adoptions = |crowd: &Crowd| -> u64 {
            let members = crowd.members.iter();
            members.map(|it| it.member.adoptions()).sum()
        };
        let before = adoptions(&self.crowd);
        let mut thread = ThreadUse {
            name: "members".to_owned(),
            ..ThreadUse::default()
        };
        let mut clock = ThreadClock::start();
        let start = Instant::now();
        self.rest(duration)?;
        thread.add(clock.lap());
        let mut latency = histogram::empty();
        for api in [Api::Heartbeat, Api::ConsumerGroupHeartbeat] {
            if let Some(found) = self.crowd.latency.get(&api) {
                latency.add(found)?;
            }
        }
        Ok(HeartbeatsReport {
            seconds: start.elapsed().as_secs_f64(),
            heartbeats: latency.len(),
            latency_ns: Latency::of(&latency),
            rebalances: adoptions(&self.crowd) - before,
            failures: self.crowd.failures.clone(),
            verdict: Verdict::of(&histogram::empty(), &[thread]),
        })
    }

    /// All leave.
    pub fn leave(mut self) -> Result<()> {
        self.crowd.leave()
    }
}

impl fmt::Display for HeartbeatsReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = self.heartbeats as f64 / self.seconds;
        writeln!(f, "{rate:.0} heartbeats/s for {:.1} s", self.seconds)?;
        writeln!(f, "{}", latency_line(&self.latency_ns))?;
        write!(f, "{} rebalances, {}", self.rebalances, self.failures)?;
        f.write_str(&verdict_line(&self.verdict))
    }
}
