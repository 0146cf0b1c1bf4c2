//! A member with its connections.

use std::borrow::Cow;
use std::sync::Arc;

use anyhow::Result;
use nix::sys::epoll::{Epoll, EpollEvent};

use super::api::Api;
use super::classic::REBALANCE_TIMEOUT_MS;
use super::{Member, Settings};
use crate::cluster::Cluster;
use crate::link::{self, Link};

/// How long the group may let a member wait that joins: until all others have.
const JOIN_NS_MAX: u64 = REBALANCE_TIMEOUT_MS as u64 * 1_000_000;

/// What a member has to tell whoever counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// A connection failed, which may have to do with a change of the cluster.
    Disconnected(Cow<'static, str>),
    /// An error code in a reply, other than what belongs to every rebalance.
    Refused(i16),
    /// A request was answered without an error, so long after it was sent.
    Answered(Api, u64),
}

/// One member, and a connection of its own to each broker that it has needed.
pub struct Membership {
    pub member: Member,
    links: Vec<Link<Api>>,
    /// What is on the way: over which link, and since when.
    asked: Option<(Api, usize, u64)>,
    /// Who is asked for the coordinator: another one after each failure.
    turn: usize,
}

impl Membership {
    pub fn new(settings: Arc<Settings>) -> Self {
        Self {
            member: Member::new(settings),
            links: Vec::new(),
            asked: None,
            turn: 0,
        }
    }

    /// Sends what is due.
    pub fn tick(&mut self, cluster: &Cluster, now_ns: u64, mut told: impl FnMut(Told)) {
        if let Some((api, link_at, at_ns)) = self.asked {
            let waits_ns_max = match api {
                Api::JoinGroup => link::REQUEST_NS_MAX + JOIN_NS_MAX,
                _ => link::REQUEST_NS_MAX,
            };
            if now_ns <= at_ns + waits_ns_max {
                return;
            }
            self.fail(link_at, link::OVERDUE, now_ns, &mut told);
        }
        if self.member.is_gone() {
            return;
        }
        link::complete(&mut self.links, cluster, 1);
        let link_at = match self.member.coordinator() {
            Some(coordinator) => link::find(&self.links, coordinator, 0),
            None => self.turn.checked_rem(self.links.len()),
        };
        let Some(link_at) = link_at else {
            self.member.lost(now_ns);
            return told(Told::Disconnected("no such coordinator".into()));
        };
        let mut why = None;
        let link = &mut self.links[link_at];
        let connection = link.open(cluster, now_ns, |failed| why = Some(failed));
        if let Some(connection) = connection {
            let Some(ask) = self.member.next(now_ns) else {
                return;
            };
            self.asked = Some((ask.api(), link_at, now_ns));
            if let Err(error) = ask.send(connection, now_ns) {
                self.fail(link_at, link::reason(&error), now_ns, &mut told);
            }
        } else if let Some(why) = why {
            self.turn += 1;
            self.member.lost(now_ns);
            told(Told::Disconnected(why.into()));
        }
    }

    /// Has an epoll watch its connections, with a token whose lower half is free.
    pub fn watch(&mut self, epoll: &Epoll, token: u64) -> Result<()> {
        let mut links = self.links.iter_mut().enumerate();
        links.try_for_each(|(at, link)| link.watch(epoll, token | at as u64))
    }

    /// Something has come over one of its connections, which is read by way of a buffer that is lent to it.
    pub fn happened(
        &mut self,
        event: EpollEvent,
        epoll: &Epoll,
        buffer: &mut [u8],
        now_ns: u64,
        told: impl FnMut(Told),
    ) -> Result<()> {
        let link_at = event.data() as u32 as usize;
        if let Some(link) = self.links.get_mut(link_at) {
            link.happened(epoll, event)?;
            self.receive(link_at, buffer, now_ns, told);
        }
        Ok(())
    }

    fn receive(
        &mut self,
        link_at: usize,
        buffer: &mut [u8],
        now_ns: u64,
        mut told: impl FnMut(Told),
    ) {
        loop {
            let Some(connection) = &mut self.links[link_at].connection else {
                return;
            };
            let received = connection.receive(buffer);
            let reply =
                connection.next_reply_by(|api: &Api, version, body| api.decode(version, body));
            match reply {
                Ok(Some((api, answer))) => {
                    let asked = self.asked.take();
                    match self.member.answered(answer, now_ns) {
                        Some(code) => told(Told::Refused(code)),
                        None => {
                            let at_ns = asked.map_or(now_ns, |(_, _, at_ns)| at_ns);
                            told(Told::Answered(api, now_ns.saturating_sub(at_ns)));
                        }
                    }
                }
                Ok(None) => {}
                Err(error) => {
                    return self.fail(link_at, link::reason(&error), now_ns, &mut told);
                }
            }
            match received {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    return self.fail(link_at, link::reason(&error), now_ns, &mut told);
                }
            }
        }
    }

    fn fail(
        &mut self,
        link_at: usize,
        why: impl Into<Cow<'static, str>>,
        now_ns: u64,
        told: &mut impl FnMut(Told),
    ) {
        self.links[link_at].fail(now_ns);
        self.turn += 1;
        // An idle connection to a broker that is not the coordinator any more may go.
        if self.asked.take_if(|(_, at, _)| *at == link_at).is_some()
            || self.coordinator_link() == Some(link_at)
        {
            self.member.lost(now_ns);
        }
        told(Told::Disconnected(why.into()));
    }

    fn coordinator_link(&self) -> Option<usize> {
        let coordinator = self.member.coordinator()?;
        link::find(&self.links, coordinator, 0)
    }
}
