//! Who may connect: the counts of connections over all shards, and their limits, which may change
//! at any time.
//!
//! The one thing here that shards share. It is touched when a connection comes and when it goes,
//! never on the way of a request, so all of it is under one lock, held for a look-up.
//!
//! As in Kafka a connection over its address's limit is closed at once, while one over the total
//! waits until another has gone or the limit is raised, and is woken by it, on whichever shard it
//! was. The brokers' own listener is protected, where there are others: its connections do not wait,
//! and while the total is exceeded, by them or since it was lowered, connections of the others are
//! closed (see [`super::keeper`]).
//!
//! Limits may name hosts. Looking a name up blocks, so it is done elsewhere (see [`LookUp`]); until
//! it is known, its limit holds for nobody.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use corelog_shards::io::RemoteWaker;

use crate::config::NetworkLimits;

/// `max.connections`, `max.connections.per.ip` and its overrides, for the whole broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionLimits {
    pub connections_max: usize,
    pub per_ip_max: u32,
    /// By host name or address.
    pub per_ip_overrides: Vec<(String, u32)>,
}

impl From<&NetworkLimits> for ConnectionLimits {
    fn from(network: &NetworkLimits) -> Self {
        Self {
            connections_max: network.connections_max as usize,
            per_ip_max: network.connections_per_ip_max,
            per_ip_overrides: network.connections_per_ip_overrides.clone(),
        }
    }
}

/// Looks hosts up without holding up its caller, and tells their addresses by [`Admission::found`].
pub type LookUp = fn(Arc<Admission>, Vec<String>);

pub struct Admission {
    /// What the files that the logs leave over allow, whatever the limits say.
    connections_max: usize,
    look_up: LookUp,
    state: Mutex<State>,
}

struct State {
    limits: ConnectionLimits,
    /// Addresses of the hosts in the limits; none where they are not known.
    addresses: BTreeMap<String, Vec<IpAddr>>,
    /// From both.
    overrides: BTreeMap<IpAddr, u32>,
    total: usize,
    per_ip: BTreeMap<IpAddr, u32>,
    /// Those who wait for room: one for each listener and shard at most.
    waiting: Vec<RemoteWaker>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// `max.connections` are open. Worth another try once one has ended.
    Full,
    /// This address has as many as it may.
    PerIp { max: u32 },
}

/// A connection that is counted until this is dropped.
pub struct Admitted {
    admission: Arc<Admission>,
    ip: IpAddr,
    is_protected: bool,
}

impl Admitted {
    /// Came by a listener that `max.connections` does not hold for.
    pub fn is_protected(&self) -> bool {
        self.is_protected
    }
}

impl State {
    fn set_overrides(&mut self) {
        let overrides = self.limits.per_ip_overrides.iter();
        self.overrides = overrides
            .flat_map(|(host, max)| self.addresses[host].iter().map(|ip| (*ip, *max)))
            .collect();
    }

    fn max_of(&self, ip: IpAddr) -> u32 {
        let max = self.overrides.get(&ip);
        *max.unwrap_or(&self.limits.per_ip_max)
    }
}

impl Admission {
    /// Without limits but that of the files, until it is given others.
    pub fn new(connections_max: usize, look_up: LookUp) -> Arc<Self> {
        Arc::new(Self {
            connections_max,
            look_up,
            state: Mutex::new(State {
                limits: ConnectionLimits {
                    connections_max,
                    per_ip_max: u32::MAX,
                    per_ip_overrides: Vec::new(),
                },
                addresses: BTreeMap::new(),
                overrides: BTreeMap::new(),
                total: 0,
                per_ip: BTreeMap::new(),
                waiting: Vec::new(),
            }),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on these limits hold. Each shard says so when they change: only the first changes
    /// anything.
    pub fn set_limits(self: &Arc<Self>, limits: ConnectionLimits) {
        let mut state = self.state();
        if state.limits == limits {
            return;
        }
        let mut known = std::mem::take(&mut state.addresses);
        let mut unknown = Vec::new();
        for (host, _) in &limits.per_ip_overrides {
            // One that was not found is looked up again.
            let found = known.remove(host).filter(|found| !found.is_empty());
            let addresses = found.unwrap_or_else(|| match host.parse() {
                Ok(ip) => vec![canonical(ip)],
                Err(_) => {
                    unknown.push(host.clone());
                    Vec::new()
                }
            });
            state
                .addresses
                .entry(host.clone())
                .or_default()
                .extend(addresses);
        }
        state.limits = limits;
        state.set_overrides();
        let woken = std::mem::take(&mut state.waiting);
        drop(state);
        woken.into_iter().for_each(RemoteWaker::wake);
        if !unknown.is_empty() {
            (self.look_up)(Arc::clone(self), unknown);
        }
    }

    /// Takes in the addresses of a host that was looked up.
    pub fn found(&self, host: &str, addresses: impl Iterator<Item = IpAddr>) {
        let mut state = self.state();
        // The limits may have changed meanwhile.
        if let Some(known) = state.addresses.get_mut(host) {
            *known = addresses.map(canonical).collect();
            state.set_overrides();
        }
    }

    pub fn admit(self: &Arc<Self>, ip: IpAddr, is_protected: bool) -> Result<Admitted, Refused> {
        self.admit_to(&mut self.state(), canonical(ip), is_protected)
    }

    fn admit_to(
        self: &Arc<Self>,
        state: &mut State,
        ip: IpAddr,
        is_protected: bool,
    ) -> Result<Admitted, Refused> {
        let max = state.max_of(ip);
        if state.per_ip.get(&ip).is_some_and(|count| *count >= max) || max == 0 {
            return Err(Refused::PerIp { max });
        }
        let total_max = match is_protected {
            true => self.connections_max,
            false => self.total_max(state),
        };
        if state.total >= total_max {
            return Err(Refused::Full);
        }
        state.total += 1;
        *state.per_ip.entry(ip).or_insert(0) += 1;
        Ok(Admitted {
            admission: Arc::clone(self),
            ip,
            is_protected,
        })
    }

    fn total_max(&self, state: &State) -> usize {
        state.limits.connections_max.min(self.connections_max)
    }

    /// Whether more are open than may be: connections that are not protected have to go.
    pub fn is_exceeded(&self) -> bool {
        let state = self.state();
        state.total > self.total_max(&state)
    }

    /// Waits while the broker is full.
    pub async fn admit_in_turn(
        self: &Arc<Self>,
        ip: IpAddr,
        is_protected: bool,
    ) -> Result<Admitted, Refused> {
        let ip = canonical(ip);
        poll_fn(|cx| {
            let mut state = self.state();
            match self.admit_to(&mut state, ip, is_protected) {
                Err(Refused::Full) => {
                    if !state
                        .waiting
                        .iter()
                        .any(|other| other.will_wake(cx.waker()))
                    {
                        state.waiting.push(RemoteWaker::new(cx.waker()));
                    }
                    Poll::Pending
                }
                outcome => Poll::Ready(outcome),
            }
        })
        .await
    }
}

/// One form for the two that an address can have.
fn canonical(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut state = self.admission.state();
        state.total -= 1;
        match state.per_ip.get_mut(&self.ip) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                state.per_ip.remove(&self.ip);
            }
        }
        // They look again.
        let woken = std::mem::take(&mut state.waiting);
        drop(state);
        woken.into_iter().for_each(RemoteWaker::wake);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use std::task::Waker;

    use super::*;

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn nobody(_: Arc<Admission>, hosts: Vec<String>) {
        panic!("{hosts:?} need not be looked up");
    }

    fn limits(
        connections_max: usize,
        per_ip_max: u32,
        overrides: &[(&str, u32)],
    ) -> ConnectionLimits {
        let owned = |(host, max): &(&str, u32)| ((*host).to_owned(), *max);
        ConnectionLimits {
            connections_max,
            per_ip_max,
            per_ip_overrides: overrides.iter().map(owned).collect(),
        }
    }

    fn admission(connections_max: usize, per_ip_max: u32) -> Arc<Admission> {
        let admission = Admission::new(usize::MAX, nobody);
        let overrides = [("10.0.0.9", 1), ("10.0.0.8", 0)];
        admission.set_limits(limits(connections_max, per_ip_max, &overrides));
        admission
    }

    #[test]
    fn the_total_is_limited() {
        let admission = admission(2, 10);
        let first = admission.admit(ip(1), false).expect("room");
        let _second = admission.admit(ip(2), false).expect("room");
        assert_eq!(admission.admit(ip(3), false).err(), Some(Refused::Full));
        drop(first);
        let third = admission.admit(ip(3), false);
        assert!(third.is_ok());
    }

    #[test]
    fn protected_ones_are_admitted_above_the_total_and_count() {
        let admission = admission(1, 10);
        let first = admission.admit(ip(1), false).expect("room");
        assert!(!admission.is_exceeded());
        let protected = admission.admit(ip(2), true).expect("always room");
        assert!(protected.is_protected() && admission.is_exceeded());
        drop(first);
        assert!(!admission.is_exceeded());
        assert_eq!(admission.admit(ip(1), false).err(), Some(Refused::Full));
        let refused = admission.admit(ip(8), true).err();
        assert_eq!(refused, Some(Refused::PerIp { max: 0 }));
    }

    #[test]
    fn files_limit_the_total_whatever_is_set() {
        let admission = Admission::new(1, nobody);
        admission.set_limits(limits(2, 10, &[]));
        let _first = admission.admit(ip(1), false).expect("room");
        for is_protected in [false, true] {
            let refused = admission.admit(ip(1), is_protected).err();
            assert_eq!(refused, Some(Refused::Full));
        }
    }

    #[test]
    fn changed_limits_hold_for_the_next_and_count_those_who_were_there() {
        let admission = admission(10, 10);
        let _held: Vec<_> = (0..3).map(|_| admission.admit(ip(1), false)).collect();
        admission.set_limits(limits(10, 2, &[]));
        let refused = admission.admit(ip(1), false).err();
        assert_eq!(refused, Some(Refused::PerIp { max: 2 }));
        admission.set_limits(limits(10, 2, &[("::ffff:10.0.0.1", 4)]));
        let _fourth = admission.admit(ip(1), false).expect("room");
        let refused = admission.admit(ip(1), false).err();
        assert_eq!(refused, Some(Refused::PerIp { max: 4 }));
        admission.set_limits(limits(1, 10, &[]));
        assert_eq!(admission.admit(ip(1), false).err(), Some(Refused::Full));
    }

    #[test]
    fn a_host_is_limited_once_it_is_found() {
        fn asked(admission: Arc<Admission>, hosts: Vec<String>) {
            assert_eq!(hosts, ["one.example", "none.example"]);
            admission.found("one.example", [ip(1), ip(2)].into_iter());
            admission.found("gone.example", [ip(3)].into_iter());
        }
        let admission = Admission::new(usize::MAX, asked);
        let hosts = [("one.example", 0), ("none.example", 0), ("10.0.0.4", 0)];
        admission.set_limits(limits(10, 10, &hosts));
        let refused: Vec<_> = (1..5)
            .map(|n| admission.admit(ip(n), false).is_err())
            .collect();
        assert_eq!(refused, [true, true, false, true]);
        // What is known is not looked up again.
        admission.set_limits(limits(10, 10, &[("one.example", 1)]));
        assert!(admission.admit(ip(1), false).is_ok());
    }

    struct Count(AtomicUsize);

    impl std::task::Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn one_that_waits_is_woken_when_the_limit_is_raised() {
        let woken = Arc::new(Count(AtomicUsize::new(0)));
        let waker = Waker::from(Arc::clone(&woken));
        let mut cx = std::task::Context::from_waker(&waker);
        let admission = admission(0, 10);
        let mut waiting = std::pin::pin!(admission.admit_in_turn(ip(2), false));
        assert!(waiting.as_mut().poll(&mut cx).is_pending());
        admission.set_limits(limits(1, 10, &[]));
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert!(waiting.as_mut().poll(&mut cx).is_ready());
    }

    #[test]
    fn one_that_waits_is_woken_when_another_has_gone() {
        let woken = Arc::new(Count(AtomicUsize::new(0)));
        let waker = Waker::from(Arc::clone(&woken));
        let mut cx = std::task::Context::from_waker(&waker);
        let admission = admission(1, 10);
        let first = admission.admit(ip(1), false).expect("room");
        let mut waiting = std::pin::pin!(admission.admit_in_turn(ip(2), false));
        for _ in 0..3 {
            assert!(waiting.as_mut().poll(&mut cx).is_pending());
        }
        assert_eq!(woken.0.load(Ordering::Relaxed), 0, "nobody wakes himself");
        std::thread::scope(|scope| {
            scope.spawn(|| drop(first));
        });
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        let Poll::Ready(Ok(_second)) = waiting.as_mut().poll(&mut cx) else {
            panic!("there is room");
        };
        assert_eq!(admission.state().per_ip.len(), 1);
    }

    #[test]
    fn each_address_is_limited_and_some_on_their_own() {
        let admission = admission(100, 2);
        let held: Vec<_> = (0..2).map(|_| admission.admit(ip(1), false)).collect();
        assert!(held.iter().all(Result::is_ok));
        assert_eq!(
            admission.admit(ip(1), false).err(),
            Some(Refused::PerIp { max: 2 })
        );
        assert_eq!(
            admission.admit(ip(8), false).err(),
            Some(Refused::PerIp { max: 0 })
        );
        let nine = admission.admit(ip(9), false);
        assert!(nine.is_ok());
        assert_eq!(
            admission.admit(ip(9), false).err(),
            Some(Refused::PerIp { max: 1 })
        );
        drop((held, nine));
        let state = admission.state();
        assert_eq!((state.total, state.per_ip.len()), (0, 0));
    }

    #[test]
    fn an_address_counts_the_same_in_both_of_its_forms() {
        let admission = admission(100, 1);
        let _one = admission.admit("::ffff:10.0.0.1".parse().expect("an address"), false);
        assert_eq!(
            admission.admit(ip(1), false).err(),
            Some(Refused::PerIp { max: 1 })
        );
    }
}
