//! Who may connect: the counts of connections over all shards.
//!
//! The one thing here that shards share. It is touched when a connection comes and when it goes,
//! never on the way of a request: one atomic for the total, and for the counts of each address a
//! lock held for a look-up.
//!
//! As in Kafka a connection over its address's limit is closed at once, while one over the total
//! waits until another has gone, and is woken by it, on whichever shard it was.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};

use corelog_shards::io::RemoteWaker;

/// `max.connections`, `max.connections.per.ip` and its overrides, for the whole broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionLimits {
    pub connections_max: usize,
    pub per_ip_max: u32,
    pub per_ip_overrides: BTreeMap<IpAddr, u32>,
}

impl ConnectionLimits {
    fn of(&self, ip: IpAddr) -> u32 {
        *self.per_ip_overrides.get(&ip).unwrap_or(&self.per_ip_max)
    }

    /// Whether addresses need not be counted.
    fn is_open_to_all(&self) -> bool {
        self.per_ip_max == i32::MAX as u32 && self.per_ip_overrides.is_empty()
    }
}

pub struct Admission {
    limits: ConnectionLimits,
    total: AtomicUsize,
    per_ip: Mutex<BTreeMap<IpAddr, u32>>,
    /// Those who wait for a connection to end: one for each listener and shard at most.
    waiting: Mutex<Vec<RemoteWaker>>,
    waiting_count: AtomicUsize,
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
    /// None if addresses are not counted.
    ip: Option<IpAddr>,
}

impl Admission {
    pub fn new(limits: ConnectionLimits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            total: AtomicUsize::new(0),
            per_ip: Mutex::default(),
            waiting: Mutex::default(),
            waiting_count: AtomicUsize::new(0),
        })
    }

    pub fn admit(self: &Arc<Self>, ip: IpAddr) -> Result<Admitted, Refused> {
        let mut counts = None;
        let ip = ip.to_canonical();
        let ip = (!self.limits.is_open_to_all()).then_some(ip);
        if let Some(ip) = ip {
            let max = self.limits.of(ip);
            let locked = self.per_ip.lock().unwrap_or_else(PoisonError::into_inner);
            if locked.get(&ip).is_some_and(|count| *count >= max) || max == 0 {
                return Err(Refused::PerIp { max });
            }
            counts = Some((locked, ip));
        }
        let one_more = |total| (total < self.limits.connections_max).then_some(total + 1);
        self.total
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more)
            .map_err(|_| Refused::Full)?;
        if let Some((mut counts, ip)) = counts {
            *counts.entry(ip).or_insert(0) += 1;
        }
        Ok(Admitted {
            admission: Arc::clone(self),
            ip,
        })
    }

    /// Waits while the broker is full.
    pub async fn admit_in_turn(self: &Arc<Self>, ip: IpAddr) -> Result<Admitted, Refused> {
        poll_fn(|cx| match self.admit(ip) {
            Err(Refused::Full) => {
                self.wake_me(cx.waker());
                // One may have ended before it could know of us.
                match self.admit(ip) {
                    Err(Refused::Full) => Poll::Pending,
                    outcome => Poll::Ready(outcome),
                }
            }
            outcome => Poll::Ready(outcome),
        })
        .await
    }

    fn wake_me(&self, waker: &Waker) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if !waiting.iter().any(|other| other.will_wake(waker)) {
            waiting.push(RemoteWaker::new(waker));
        }
        self.waiting_count.store(waiting.len(), Ordering::SeqCst);
    }

    /// Lets those who wait look again.
    fn wake_waiting(&self) {
        if self.waiting_count.load(Ordering::SeqCst) == 0 {
            return;
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        self.waiting_count.store(0, Ordering::SeqCst);
        let woken = std::mem::take(&mut *waiting);
        drop(waiting);
        woken.into_iter().for_each(RemoteWaker::wake);
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.uncount_address();
        self.admission.total.fetch_sub(1, Ordering::SeqCst);
        self.admission.wake_waiting();
    }
}

impl Admitted {
    fn uncount_address(&self) {
        let Some(ip) = self.ip else { return };
        let mut counts = self
            .admission
            .per_ip
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match counts.get_mut(&ip) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                counts.remove(&ip);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn admission(connections_max: usize, per_ip_max: u32) -> Arc<Admission> {
        Admission::new(ConnectionLimits {
            connections_max,
            per_ip_max,
            per_ip_overrides: BTreeMap::from([(ip(9), 1), (ip(8), 0)]),
        })
    }

    #[test]
    fn the_total_is_limited() {
        let admission = admission(2, 10);
        let first = admission.admit(ip(1)).expect("room");
        let _second = admission.admit(ip(2)).expect("room");
        assert_eq!(admission.admit(ip(3)).err(), Some(Refused::Full));
        drop(first);
        let third = admission.admit(ip(3));
        assert!(third.is_ok());
    }

    #[test]
    fn one_that_waits_is_woken_when_another_has_gone() {
        struct Count(AtomicUsize);
        impl std::task::Wake for Count {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let woken = Arc::new(Count(AtomicUsize::new(0)));
        let waker = Waker::from(Arc::clone(&woken));
        let mut cx = std::task::Context::from_waker(&waker);
        let admission = admission(1, 10);
        let first = admission.admit(ip(1)).expect("room");
        let mut waiting = std::pin::pin!(admission.admit_in_turn(ip(2)));
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
        assert_eq!(admission.per_ip.lock().expect("whole").len(), 1);
    }

    #[test]
    fn each_address_is_limited_and_some_on_their_own() {
        let admission = admission(100, 2);
        let held: Vec<_> = (0..2).map(|_| admission.admit(ip(1))).collect();
        assert!(held.iter().all(Result::is_ok));
        assert_eq!(
            admission.admit(ip(1)).err(),
            Some(Refused::PerIp { max: 2 })
        );
        assert_eq!(
            admission.admit(ip(8)).err(),
            Some(Refused::PerIp { max: 0 })
        );
        let nine = admission.admit(ip(9));
        assert!(nine.is_ok());
        assert_eq!(
            admission.admit(ip(9)).err(),
            Some(Refused::PerIp { max: 1 })
        );
        drop((held, nine));
        assert_eq!(admission.total.load(Ordering::Relaxed), 0);
        assert!(admission.per_ip.lock().expect("whole").is_empty());
    }

    #[test]
    fn an_address_counts_the_same_in_both_of_its_forms() {
        let admission = admission(100, 1);
        let _one = admission.admit("::ffff:10.0.0.1".parse().expect("an address"));
        assert_eq!(
            admission.admit(ip(1)).err(),
            Some(Refused::PerIp { max: 1 })
        );
    }
}
