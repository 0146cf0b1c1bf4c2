//! From listeners to socket addresses: names resolved, free ports chosen, and each one probed,
//! since shards bind with SO_REUSEPORT, which would let two brokers share a port unnoticed.
//!
//! The probe is not a reservation: between it and the shards' own bind another process may come.

use std::fmt;
use std::fs;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::thread;
use std::time::Duration;

use nix::libc;

use crate::config::{Endpoint, HTTP_LISTENER};

/// How often another free port is tried, when the first address has one that the second has not.
const FREE_PORT_ATTEMPTS: usize = 32;

/// A broker that was killed keeps its port for a moment after its process is gone: the kernel takes
/// down an io_uring, and the sockets in it, in the background. A restart at once waits for that.
const LINGERING_ATTEMPTS: usize = 100;
const LINGERING_PAUSE: Duration = Duration::from_millis(20);

/// A listener with the addresses that every shard binds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoundListener {
    pub name: String,
    /// All of the same port; at least one.
    pub addresses: Vec<SocketAddr>,
}

/// Why a listener can't be bound, with the remedy.
#[derive(Debug)]
pub enum AddressError {
    Unresolved {
        endpoint: Endpoint,
        source: io::Error,
    },
    InUse {
        endpoint: Endpoint,
        address: SocketAddr,
    },
    Forbidden {
        endpoint: Endpoint,
        address: SocketAddr,
    },
    NotHere {
        endpoint: Endpoint,
        address: SocketAddr,
    },
    Other {
        address: SocketAddr,
        source: io::Error,
    },
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AddressError::Unresolved { endpoint, source } => write!(
                f,
                "listener {endpoint}: the host name can't be resolved ({source}): correct it in \
                 {}, or use an address",
                property(endpoint)
            ),
            AddressError::InUse { endpoint, address } => write!(
                f,
                "listener {endpoint}: {address} is in use by another process: stop it, or choose \
                 another port in {}",
                property(endpoint)
            ),
            AddressError::Forbidden { endpoint, address } => write!(
                f,
                "listener {endpoint}: this user may not bind {address}: choose a port from 1024 \
                 on in {}",
                property(endpoint)
            ),
            AddressError::NotHere { endpoint, address } => write!(
                f,
                "listener {endpoint}: {address} is no address of this machine: correct the host \
                 in {}",
                property(endpoint)
            ),
            AddressError::Other { address, source } => write!(f, "can't bind {address}: {source}"),
        }
    }
}

impl std::error::Error for AddressError {}

/// Resolves and probes all listeners.
pub fn bind_addresses(endpoints: &[Endpoint]) -> Result<Vec<BoundListener>, AddressError> {
    let mut bound = Vec::with_capacity(endpoints.len());
    // Open until all are probed, so that no free port is given out twice.
    let mut probes = Vec::new();
    for endpoint in endpoints {
        let listeners = probe_patiently(endpoint)?;
        let addresses = listeners.iter().map(|(address, _)| *address).collect();
        bound.push(BoundListener {
            name: endpoint.listener.clone(),
            addresses,
        });
        probes.extend(listeners);
    }
    Ok(bound)
}

/// What clients are told: a port that was chosen and a host that was left out are filled in.
pub fn advertise(advertised: &[Endpoint], bound: &[BoundListener]) -> Vec<Endpoint> {
    let complete = |endpoint: &Endpoint| {
        let mut endpoint = endpoint.clone();
        let listener = bound.iter().find(|b| b.name == endpoint.listener);
        if let (0, Some(listener)) = (endpoint.port, listener) {
            endpoint.port = listener.addresses[0].port();
        }
        if endpoint.host.is_empty() {
            endpoint.host = host_name();
        }
        endpoint
    };
    advertised.iter().map(complete).collect()
}

/// This machine's name, or `localhost`.
fn host_name() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" | "(none)" => "localhost".to_owned(),
        name => name.to_owned(),
    }
}

/// Every address that will do; those of one listener are all bound, except that an empty host is
/// IPv6's wildcard, which takes IPv4 as well, or IPv4's where there is no IPv6.
pub(super) fn resolve(endpoint: &Endpoint) -> Result<Vec<SocketAddr>, AddressError> {
    if endpoint.host.is_empty() {
        let wildcard = SocketAddr::from((Ipv6Addr::UNSPECIFIED, endpoint.port));
        return Ok(match try_bind(wildcard) {
            Err(error) if is_missing_address(&error) => {
                vec![SocketAddr::from((Ipv4Addr::UNSPECIFIED, endpoint.port))]
            }
            _ => vec![wildcard],
        });
    }
    let unresolved = |source| AddressError::Unresolved {
        endpoint: endpoint.clone(),
        source,
    };
    let found = (endpoint.host.as_str(), endpoint.port).to_socket_addrs();
    let mut addresses: Vec<SocketAddr> = found.map_err(unresolved)?.collect();
    if endpoint.host == "localhost" {
        // Many hosts files name one of them only.
        addresses.push(SocketAddr::from((Ipv4Addr::LOCALHOST, endpoint.port)));
        addresses.push(SocketAddr::from((Ipv6Addr::LOCALHOST, endpoint.port)));
    }
    addresses.sort();
    addresses.dedup();
    if addresses.is_empty() {
        return Err(unresolved(ErrorKind::NotFound.into()));
    }
    Ok(addresses)
}

/// Listeners of an endpoint that only this process will use.
pub fn listen(endpoint: &Endpoint) -> Result<Vec<TcpListener>, AddressError> {
    let bound = probe_patiently(endpoint)?;
    Ok(bound.into_iter().map(|(_, listener)| listener).collect())
}

/// The property that an endpoint was named by.
fn property(endpoint: &Endpoint) -> &str {
    match endpoint.listener == HTTP_LISTENER {
        true => HTTP_LISTENER,
        false => "listeners",
    }
}

type Probes = Vec<(SocketAddr, TcpListener)>;

/// Binds all addresses of an endpoint, as soon as they are free or to a port that is.
fn probe_patiently(endpoint: &Endpoint) -> Result<Probes, AddressError> {
    let candidates = resolve(endpoint)?;
    let mut attempts = 1;
    loop {
        match probe(endpoint, &candidates) {
            Err(AddressError::InUse { .. })
                if endpoint.port == 0 && attempts < FREE_PORT_ATTEMPTS => {}
            Err(AddressError::InUse { .. })
                if endpoint.port != 0 && attempts < LINGERING_ATTEMPTS =>
            {
                thread::sleep(LINGERING_PAUSE);
            }
            outcome => return outcome,
        }
        attempts += 1;
    }
}

/// Binds each address without SO_REUSEPORT. Of several, those that this machine has not are left
/// out.
fn probe(endpoint: &Endpoint, candidates: &[SocketAddr]) -> Result<Probes, AddressError> {
    let mut probes = Probes::new();
    let mut missing = None;
    for &candidate in candidates {
        let mut address = candidate;
        if let (0, Some((first, _))) = (endpoint.port, probes.first()) {
            address.set_port(first.port());
        }
        match try_bind(address) {
            Ok((address, listener)) => probes.push((address, listener)),
            Err(error) if is_missing_address(&error) => missing = missing.or(Some(address)),
            Err(error) => {
                let endpoint = endpoint.clone();
                return Err(match error.kind() {
                    ErrorKind::AddrInUse => AddressError::InUse { endpoint, address },
                    ErrorKind::PermissionDenied => AddressError::Forbidden { endpoint, address },
                    _ => AddressError::Other {
                        address,
                        source: error,
                    },
                });
            }
        }
    }
    match missing {
        Some(address) if probes.is_empty() => Err(AddressError::NotHere {
            endpoint: endpoint.clone(),
            address,
        }),
        _ => Ok(probes),
    }
}

fn try_bind(address: SocketAddr) -> io::Result<(SocketAddr, TcpListener)> {
    let listener = TcpListener::bind(address)?;
    Ok((listener.local_addr()?, listener))
}

fn is_missing_address(error: &io::Error) -> bool {
    let no_ipv6 = error.raw_os_error() == Some(libc::EAFNOSUPPORT);
    no_ipv6 || error.kind() == ErrorKind::AddrNotAvailable
}
