//! The network side as a whole, in a process of its own: what connections cost that say nothing.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::mpsc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use corelog::api::api_versions::FeatureLevels;
use corelog::broker::Broker;
use corelog::net::admission::{Admission, ConnectionLimits};
use corelog::net::{Limits, Network};
use corelog_shards::io::Io;
use corelog_shards::runtime::{cores, run_shards};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Both ends are in this process, so each takes two descriptors.
const CONNECTIONS_MAX: usize = 10_000;
const BYTES_EACH_MAX: usize = 6 << 10;

/// ApiVersions, version 0, of a client without name.
const API_VERSIONS: &[u8] = &[0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xff];

#[test]
fn thousands_of_silent_connections_cost_little_memory() {
    let connections = raise_descriptor_limit();
    let (done, finished) = mpsc::channel();
    let core = cores().expect("the affinity")[0];
    run_shards(&[core], move |io, _| {
        let done = done.clone();
        async move {
            open_and_measure(io, connections).await;
            done.send(()).expect("somebody waits");
        }
    })
    .expect("a shard");
    finished.recv().expect("the test came to its end");
}

async fn open_and_measure(io: Io, connections: usize) {
    let limits = Limits {
        request_bytes_max: 100 << 20,
        request_memory_bytes: 64 << 20,
        idle_max: Some(Duration::from_secs(600)),
    };
    let admission = Admission::new(ConnectionLimits {
        connections_max: connections,
        per_ip_max: connections as u32,
        per_ip_overrides: BTreeMap::new(),
    });
    let broker = Rc::new(Broker::new(FeatureLevels::default()));
    let network = Network::new(io.clone(), limits, broker, admission);
    let address = network
        .listen("PLAINTEXT", ([127, 0, 0, 1], 0).into())
        .expect("a free port");

    let mut clients = Vec::with_capacity(connections);
    let mut before = 0;
    for i in 0..connections {
        if i == connections / 10 {
            // What is made once is there by now.
            before = resident_bytes();
        }
        let (mut read, mut write) = io.connect(address).await.expect("it listens");
        let mut slices = VecDeque::from([Bytes::from_static(API_VERSIONS)]);
        write.write(&mut slices).await.expect("it is read");
        let mut answer = BytesMut::new();
        let received = read.read(&mut answer, 1_024).await.expect("an answer");
        assert!(received > 8);
        clients.push((read, write));
    }
    assert_eq!(network.connections(), connections);
    let each = (resident_bytes() - before) / (connections - connections / 10);
    println!("{connections} connections, {each} bytes each, both ends");
    assert!(each < BYTES_EACH_MAX);
    drop(clients);
    network.drain(Duration::from_secs(5)).await;
    assert_eq!(network.connections(), 0);
}

/// How many connections the limit of open files allows.
fn raise_descriptor_limit() -> usize {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("up to the hard limit");
    ((hard as usize).saturating_sub(200) / 2).min(CONNECTIONS_MAX)
}

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages = statm.split(' ').nth(1).expect("a size");
    pages.parse::<usize>().expect("a number") * 4096
}
