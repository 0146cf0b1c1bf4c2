//! Who may connect: the counts of connections over all shards.
//!
//! The one thing here that shards share. It is touched when a connection comes and when it goes,
//! never on the way of a request: one atomic for the total, and for the counts of each address a
//! lock held for a look-up.
//!
//! As in Kafka a connection over its address's limit is closed at once, while one over the total
//! waits until another has gone.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

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
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// `max.connections` are open. Worth another try.
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
        })
    }

    pub fn admit(self: &Arc<Self>, ip: IpAddr) -> Result<Admitted, Refused> {
        let ip = ip.to_canonical();
        let ip = (!self.limits.is_open_to_all()).then_some(ip);
        if let Some(ip) = ip {
            let max = self.limits.of(ip);
            let mut counts = self.per_ip.lock().unwrap_or_else(PoisonError::into_inner);
            let count = counts.get(&ip).copied().unwrap_or(0);
            if count >= max {
                return Err(Refused::PerIp { max });
            }
            counts.insert(ip, count + 1);
        }
        // From here on dropping it gives back what was counted, the total included.
        let admitted = Admitted {
            admission: Arc::clone(self),
            ip,
        };
        if self.total.fetch_add(1, Ordering::Relaxed) >= self.limits.connections_max {
            return Err(Refused::Full);
        }
        Ok(admitted)
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.admission.total.fetch_sub(1, Ordering::Relaxed);
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
