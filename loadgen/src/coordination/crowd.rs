//! Many members of groups on one thread.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent};

use super::Failures;
use crate::client::error_name;
use crate::cluster::Cluster;
use crate::connection::READ_BYTES;
use crate::group::{Api, Membership, Settings, Told};
use crate::measure::histogram::{self, Histogram};

const EVENTS_MAX: usize = 1024;
/// Between two looks at all members for what is due: a hundredth of the shortest heartbeat interval.
const SWEEP_EVERY: Duration = Duration::from_millis(20);
/// How long a crowd may take to leave.
const LEAVE_MAX: Duration = Duration::from_secs(10);

pub(super) struct Crowd {
    cluster: Cluster,
    pub members: Vec<Membership>,
    epoll: Epoll,
    buffer: Vec<u8>,
    start: Instant,
    swept_ns: u64,
    pub failures: Failures,
    /// Of replies by request, in the order of the requests.
    pub latency: BTreeMap<Api, Histogram>,
}

impl Crowd {
    pub fn new(cluster: Cluster) -> Result<Self> {
        Ok(Self {
            cluster,
            members: Vec::new(),
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            buffer: vec![0; READ_BYTES],
            start: Instant::now(),
            swept_ns: 0,
            failures: Failures::default(),
            latency: BTreeMap::new(),
        })
    }

    pub fn add(&mut self, settings: &Arc<Settings>) {
        self.members.push(Membership::new(Arc::clone(settings)));
        self.swept_ns = 0;
    }

    /// Members that have not heard from a broker yet.
    pub fn unheard(&self) -> usize {
        let members = self.members.iter();
        members.filter(|it| it.member.heard_ns() == 0).count()
    }

    pub fn now_ns(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    /// What was measured and failed so far counts no more.
    pub fn forget(&mut self) {
        self.failures = Failures::default();
        self.latency.clear();
    }

    /// Goes on for a moment: sends what is due, takes what has come.
    pub fn turn(&mut self) -> Result<()> {
        let now_ns = self.now_ns();
        if now_ns >= self.swept_ns + SWEEP_EVERY.as_nanos() as u64 || self.swept_ns == 0 {
            self.swept_ns = now_ns;
            for at in 0..self.members.len() {
                self.tick(at)?;
            }
        }
        let mut events = [EpollEvent::empty(); EVENTS_MAX];
        let left = (self.swept_ns + SWEEP_EVERY.as_nanos() as u64).saturating_sub(self.now_ns());
        let count = match self.epoll.wait(&mut events, (left / 1_000_000 + 1) as u16) {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(errno) => return Err(errno).context("waiting for replies"),
        };
        for event in &events[..count] {
            let at = (event.data() >> 32) as usize;
            let now_ns = self.now_ns();
            let (failures, latency) = (&mut self.failures, &mut self.latency);
            self.members[at].happened(*event, &self.epoll, &mut self.buffer, now_ns, |told| {
                count_told(told, failures, latency);
            })?;
            self.tick(at)?;
        }
        Ok(())
    }

    fn tick(&mut self, at: usize) -> Result<()> {
        let now_ns = self.now_ns();
        let (failures, latency) = (&mut self.failures, &mut self.latency);
        let membership = &mut self.members[at];
        membership.tick(&self.cluster, now_ns, |told| {
            count_told(told, failures, latency);
        });
        membership.watch(&self.epoll, (at as u64) << 32)
    }

    /// Goes on until it is so; how long that took.
    ///
    /// # Errors
    /// If it takes longer than it may.
    pub fn until(
        &mut self,
        what: &str,
        patience: Duration,
        mut is_so: impl FnMut(&Self) -> bool,
    ) -> Result<Duration> {
        let start = Instant::now();
        while !is_so(self) {
            ensure!(
                start.elapsed() < patience,
                "{what}: not after {patience:?}; {}",
                self.failures
            );
            self.turn()?;
        }
        Ok(start.elapsed())
    }

    /// Whether each of so many partitions is held by exactly one of these members, evenly, and nobody has anything to
    /// change.
    pub fn is_settled(&self, members: std::ops::Range<usize>, partitions: usize) -> bool {
        let least = partitions / members.len().max(1);
        let mut is_held = vec![false; partitions];
        let mut count = 0;
        for membership in &self.members[members] {
            let Some(held) = membership.member.settled() else {
                return false;
            };
            let before = count;
            for at in held {
                if std::mem::replace(&mut is_held[at], true) {
                    return false;
                }
                count += 1;
            }
            if count - before < least {
                return false;
            }
        }
        count == partitions
    }

    /// All leave, as far as they do in time.
    pub fn leave(&mut self) -> Result<()> {
        self.members.iter_mut().for_each(|it| it.member.leave());
        let all_gone = |crowd: &Self| crowd.members.iter().all(|it| it.member.is_gone());
        // Who does not come to leave is given up by its group.
        let _ = self.until("leaving", LEAVE_MAX, all_gone);
        Ok(())
    }
}

fn count_told(told: Told, failures: &mut Failures, latency: &mut BTreeMap<Api, Histogram>) {
    match told {
        Told::Disconnected(why) => failures.count(why),
        Told::Refused(code) => failures.count(error_name(code)),
        Told::Answered(api, latency_ns) => latency
            .entry(api)
            .or_insert_with(histogram::empty)
            .saturating_record(latency_ns),
    }
}
