//! Commits of offsets as fast as they are acknowledged: one on the way over each connection.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::{GroupId, OffsetCommitRequest, OffsetCommitResponse};
use kafka_protocol::protocol::StrBytes;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent};
use serde::Serialize;

use super::{COORDINATOR_MAX, Failures, latency_line, prepare, verdict_line};
use crate::client::{error_name, topic_name};
use crate::cluster::Cluster;
use crate::connection::READ_BYTES;
use crate::engine::first_client;
use crate::link::{self, Link};
use crate::measure::{ThreadClock, ThreadUse, Verdict, histogram};
use crate::report::Latency;

/// The last version that names topics.
const VERSION: i16 = 9;
const EVENTS_MAX: usize = 256;
const SLEEP_MS_MAX: u16 = 20;

/// Who commits, and what.
#[derive(Clone, Debug)]
pub struct Commits {
    pub topic: String,
    pub connections: usize,
    /// They have no members, and are named like the topic.
    pub groups: usize,
    /// In each commit; the topic has as many.
    pub partitions: u32,
    pub until: Until,
}

/// When it ends.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// So long, behind a time in which nothing counts.
    Time {
        warm_up: Duration,
        duration: Duration,
    },
    /// Once every group has committed so often.
    Commits(u64),
}

/// What was acknowledged in the time that counts.
#[derive(Clone, Debug, Serialize)]
pub struct CommitsReport {
    pub seconds: f64,
    pub commits: u64,
    pub commits_per_s: f64,
    pub offsets_per_s: f64,
    pub latency_ns: Latency,
    pub failures: Failures,
    pub verdict: Verdict,
}

/// Its groups take turns on a connection.
struct Committer {
    link: Link<()>,
    groups: Vec<GroupId>,
    /// Of the next commit.
    number: u64,
    asked_ns: Option<u64>,
}

impl Commits {
    /// The id of a group.
    pub fn group(&self, number: usize) -> String {
        format!("{}-{number}", self.topic)
    }

    pub fn run(&self, bootstrap: &[SocketAddr]) -> Result<CommitsReport> {
        let cluster = prepare(bootstrap, &self.topic, self.partitions)?;
        let mut committers = self.committers(bootstrap, &cluster)?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let mut buffer = vec![0; READ_BYTES];
        let mut failures = Failures::default();
        let mut latency = histogram::empty();
        let mut thread = ThreadUse {
            name: "commits".to_owned(),
            ..ThreadUse::default()
        };
        let mut clock = ThreadClock::start();
        let start = Instant::now();
        let now_ns = || start.elapsed().as_nanos() as u64;
        let (begin_ns, end_ns, commits_max) = match self.until {
            Until::Time { warm_up, duration } => {
                let begin_ns = warm_up.as_nanos() as u64;
                (begin_ns, begin_ns + duration.as_nanos() as u64, u64::MAX)
            }
            Until::Commits(each) => (0, u64::MAX, each),
        };
        let mut has_begun = false;
        loop {
            let now = now_ns();
            if !has_begun && now >= begin_ns {
                has_begun = true;
                failures = Failures::default();
                clock.lap();
            }
            let mut is_busy = false;
            for (at, committer) in committers.iter_mut().enumerate() {
                is_busy |= committer.asked_ns.is_some() || !committer.is_done(commits_max);
                committer.go_on(self, &cluster, commits_max, now, &mut failures);
                committer.link.watch(&epoll, at as u64)?;
            }
            if now >= end_ns || !is_busy {
                break;
            }
            let mut events = [EpollEvent::empty(); EVENTS_MAX];
            let count = match epoll.wait(&mut events, SLEEP_MS_MAX) {
                Ok(count) => count,
                Err(Errno::EINTR) => 0,
                Err(errno) => return Err(errno).context("waiting for replies"),
            };
            for event in &events[..count] {
                let committer = &mut committers[event.data() as usize];
                committer.link.happened(&epoll, *event)?;
                let now = now_ns();
                let took_ns = committer.receive(&mut buffer, now, &mut failures);
                if has_begun && let Some(took_ns) = took_ns {
                    latency.saturating_record(took_ns);
                }
                committer.go_on(self, &cluster, commits_max, now, &mut failures);
            }
        }
        thread.add(clock.lap());
        let seconds = (now_ns().min(end_ns) - begin_ns) as f64 / 1e9;
        let commits = latency.len();
        Ok(CommitsReport {
            seconds,
            commits,
            commits_per_s: commits as f64 / seconds,
            offsets_per_s: commits as f64 * f64::from(self.partitions) / seconds,
            latency_ns: Latency::of(&latency),
            failures,
            verdict: Verdict::of(&histogram::empty(), &[thread]),
        })
    }

    /// Connections to each coordinator, and the groups that it has.
    fn committers(&self, bootstrap: &[SocketAddr], cluster: &Cluster) -> Result<Vec<Committer>> {
        ensure!(self.connections > 0, "no connection");
        let mut client = first_client(bootstrap)?;
        let mut by_broker: BTreeMap<i32, Vec<GroupId>> = BTreeMap::new();
        for number in 0..self.groups {
            let group = self.group(number);
            let address = client.coordinator(&group, COORDINATOR_MAX)?;
            let mut brokers = cluster.brokers.iter();
            let broker = brokers.find(|(_, addresses)| addresses.contains(&address));
            let (broker, _) = broker.context("a coordinator that is no broker")?;
            let of_broker = by_broker.entry(*broker).or_default();
            of_broker.push(GroupId(StrBytes::from_string(group)));
        }
        let each = self.connections.div_ceil(by_broker.len().max(1));
        let mut committers = Vec::new();
        for (broker, groups) in by_broker {
            let count = each.min(groups.len());
            for at in 0..count {
                committers.push(Committer {
                    link: Link::new(broker),
                    groups: groups.iter().skip(at).step_by(count).cloned().collect(),
                    number: 0,
                    asked_ns: None,
                });
            }
        }
        Ok(committers)
    }
}

impl Committer {
    /// Whether each of its groups has committed so often.
    fn is_done(&self, commits_max: u64) -> bool {
        self.number >= commits_max.saturating_mul(self.groups.len() as u64)
    }

    /// Sends the next commit if none is on the way.
    fn go_on(
        &mut self,
        commits: &Commits,
        cluster: &Cluster,
        commits_max: u64,
        now_ns: u64,
        failures: &mut Failures,
    ) {
        if self.asked_ns.is_none() && !self.is_done(commits_max) {
            self.send(commits, cluster, now_ns, failures);
        }
    }

    fn send(&mut self, commits: &Commits, cluster: &Cluster, now_ns: u64, failures: &mut Failures) {
        let opened = self.link.open(cluster, now_ns, |why| failures.count(why));
        let Some(connection) = opened else {
            return;
        };
        let turns = self.groups.len() as u64;
        let group = self.groups[(self.number % turns) as usize].clone();
        let partitions = (0..commits.partitions as i32).map(|index| {
            OffsetCommitRequestPartition::default()
                .with_partition_index(index)
                .with_committed_offset((self.number / turns) as i64)
                .with_committed_metadata(Some(StrBytes::default()))
        });
        let topic = OffsetCommitRequestTopic::default()
            .with_name(topic_name(&commits.topic))
            .with_partitions(partitions.collect());
        let request = OffsetCommitRequest::default()
            .with_group_id(group)
            .with_generation_id_or_member_epoch(-1)
            .with_topics(vec![topic]);
        let sent = connection
            .newest::<OffsetCommitRequest>(VERSION)
            .and_then(|version| connection.queue(&request, version, Some(()), now_ns))
            .and_then(|()| connection.flush());
        match sent {
            Ok(()) => self.asked_ns = Some(now_ns),
            Err(error) => self.fail(&error, now_ns, failures),
        }
    }

    /// Takes the reply if it has come; how long it took if all was committed. What was refused is sent again.
    fn receive(&mut self, buffer: &mut [u8], now_ns: u64, failures: &mut Failures) -> Option<u64> {
        let connection = self.link.connection.as_mut()?;
        let received = connection.receive(buffer);
        let reply = connection.next_reply::<OffsetCommitRequest>();
        match received.and(reply) {
            Ok(None) => None,
            Ok(Some(((), reply))) => {
                let asked_ns = self.asked_ns.take();
                match first_error(&reply) {
                    Some(code) => {
                        failures.count(error_name(code));
                        self.link.retry_ns = link::retry_ns(now_ns);
                        None
                    }
                    None => {
                        self.number += 1;
                        asked_ns.map(|asked_ns| now_ns.saturating_sub(asked_ns))
                    }
                }
            }
            Err(error) => {
                self.fail(&error, now_ns, failures);
                None
            }
        }
    }

    fn fail(&mut self, error: &anyhow::Error, now_ns: u64, failures: &mut Failures) {
        self.asked_ns = None;
        self.link.fail(now_ns);
        failures.count(link::reason(error));
    }
}

fn first_error(reply: &OffsetCommitResponse) -> Option<i16> {
    let partitions = reply.topics.iter().flat_map(|topic| &topic.partitions);
    let mut codes = partitions.map(|partition| partition.error_code);
    codes.find(|code| *code != 0)
}

impl fmt::Display for CommitsReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:.0} commits/s, {:.0} offsets/s: {} in {:.1} s",
            self.commits_per_s, self.offsets_per_s, self.commits, self.seconds
        )?;
        writeln!(f, "{}", latency_line(&self.latency_ns))?;
        write!(f, "{}{}", self.failures, verdict_line(&self.verdict))
    }
}
