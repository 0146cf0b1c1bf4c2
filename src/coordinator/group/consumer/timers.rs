//! Until when members must show that they are alive, and must have given up partitions; those of the classic protocol,
//! must have joined again and fetched what they are assigned.

use std::collections::BTreeMap;
use std::time::Duration;

use corelog_shards::io::Instant;

use super::member::{Member, MemberState};

/// The deadlines of the members. Heartbeats move them all the time, so the earliest one is found anew only when it
/// has come.
#[derive(Debug, Default)]
pub(super) struct Timers {
    members: BTreeMap<String, Timer>,
    /// No deadline is before that one.
    earliest: Option<Instant>,
}

#[derive(Debug)]
struct Timer {
    session: Instant,
    revocation: Option<Revocation>,
    join: Option<Instant>,
    sync: Option<Instant>,
}

impl Timer {
    /// By when the member must do something, whatever its epoch.
    fn presence(&self) -> Instant {
        let others = self.join.into_iter().chain(self.sync);
        others.fold(self.session, Instant::min)
    }
}

/// By when a member must have left an epoch.
#[derive(Clone, Copy, Debug)]
struct Revocation {
    deadline: Instant,
    epoch: i32,
}

/// Which deadline of a member has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overdue {
    /// It has not shown itself, joined or synced.
    Presence,
    Revocation {
        epoch: i32,
    },
}

impl Overdue {
    /// Whether the deadline still means this member as it is now.
    pub fn holds_of(self, member: &Member) -> bool {
        match self {
            Self::Presence => true,
            Self::Revocation { epoch } => member.epoch == epoch,
        }
    }
}

impl Timers {
    pub fn earliest(&self) -> Option<Instant> {
        self.earliest
    }

    pub fn renew_session(&mut self, member: &str, deadline: Instant) {
        match self.members.get_mut(member) {
            Some(timer) => timer.session = deadline,
            None => {
                let timer = Timer {
                    session: deadline,
                    revocation: None,
                    join: None,
                    sync: None,
                };
                self.members.insert(member.to_owned(), timer);
            }
        }
        self.note(deadline);
    }

    /// Begins the time a member has to give up partitions, or ends it. The member must have a session. One of the
    /// classic protocol has its time to join again instead.
    pub fn follow(&mut self, member: &Member, now: Instant) {
        match member.state {
            MemberState::UnrevokedPartitions if !member.uses_classic_protocol() => {
                self.await_revocation(member, now);
            }
            _ => {
                if let Some(timer) = self.members.get_mut(&member.id) {
                    timer.revocation = None;
                }
            }
        }
    }

    pub fn await_revocation(&mut self, member: &Member, now: Instant) {
        let deadline = now + millis(member.rebalance_timeout_ms);
        if let Some(timer) = self.members.get_mut(&member.id) {
            let epoch = member.epoch;
            timer.revocation = Some(Revocation { deadline, epoch });
            self.note(deadline);
        }
    }

    /// A member of the classic protocol was told to join again: its time for that begins, unless it has already.
    pub fn await_join(&mut self, member: &Member, now: Instant) {
        let deadline = now + millis(member.rebalance_timeout_ms);
        if let Some(timer) = self.members.get_mut(&member.id) {
            timer.join.get_or_insert(deadline);
            self.note(deadline);
        }
    }

    /// It has joined, and is to sync by then. It must have a session.
    pub fn await_sync(&mut self, member: &str, deadline: Instant) {
        if let Some(timer) = self.members.get_mut(member) {
            timer.join = None;
            timer.sync = Some(deadline);
            self.note(deadline);
        }
    }

    /// It has synced.
    pub fn synced(&mut self, member: &str) {
        if let Some(timer) = self.members.get_mut(member) {
            timer.sync = None;
        }
    }

    pub fn remove(&mut self, member: &str) {
        self.members.remove(member);
    }

    /// The members that missed a deadline. A missed revocation is reported once, all else until the member is removed.
    pub fn take_overdue(&mut self, now: Instant) -> Vec<(String, Overdue)> {
        if self.earliest.is_none_or(|earliest| earliest > now) {
            return Vec::new();
        }
        let mut overdue = Vec::new();
        for (member, timer) in &mut self.members {
            if timer.presence() <= now {
                overdue.push((member.clone(), Overdue::Presence));
            } else if let Some(missed) = timer.revocation.take_if(|r| r.deadline <= now) {
                let epoch = missed.epoch;
                overdue.push((member.clone(), Overdue::Revocation { epoch }));
            }
        }
        let deadlines = self.members.values().flat_map(|timer| {
            let revocation = timer.revocation.map(|revocation| revocation.deadline);
            [Some(timer.presence()), revocation]
        });
        self.earliest = deadlines.flatten().min();
        overdue
    }

    fn note(&mut self, deadline: Instant) {
        self.earliest = Some(
            self.earliest
                .map_or(deadline, |earliest| earliest.min(deadline)),
        );
    }
}

/// A time-out as clients give it; there is none below zero.
pub(super) fn millis(timeout_ms: i32) -> Duration {
    Duration::from_millis(u64::try_from(timeout_ms).unwrap_or(0))
}
