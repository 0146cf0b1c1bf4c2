//! Clients that begin with groups and never go on: what they leave behind is bounded, goes away, and is in nobody's way.

use std::thread;
use std::time::Duration;

use bytes::Bytes;
use corelog_loadgen::client::{Backoff, Client};
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::{
    FindCoordinatorRequest, GroupId, JoinGroupRequest, JoinGroupResponse, ListGroupsRequest,
};
use kafka_protocol::protocol::StrBytes;

use crate::harness::{Broker, Launch};

const GROUPS: usize = 100_000;
const MEMBERS: usize = 100_000;
/// Requests of one connection are handled one after the other, and each of them is written down.
const CONNECTIONS: usize = 64;
const AT_ONCE: usize = 50;
/// Of the broker, for all of them.
const MEMORY_BYTES_MAX: u64 = 512 << 20;
const PATIENCE: Duration = Duration::from_secs(120);
const JOIN_VERSION: i16 = 7;
/// Of JoinGroup without a member id: the client is to come again, with the one that it gets.
const MEMBER_ID_REQUIRED: i16 = 79;
/// Until the partition of `__consumer_offsets` is there and read.
const NOT_YET: [i16; 3] = [14, 15, 16];
const GROUP_MAX_SIZE_REACHED: i16 = 81;

fn text(text: String) -> StrBytes {
    StrBytes::from_string(text)
}

fn join(group: String, session_ms: i32, metadata: &Bytes) -> JoinGroupRequest {
    let protocol = JoinGroupRequestProtocol::default()
        .with_name(text("range".to_owned()))
        .with_metadata(metadata.clone());
    JoinGroupRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_protocol_type(text("consumer".to_owned()))
        .with_session_timeout_ms(session_ms)
        .with_rebalance_timeout_ms(session_ms)
        .with_protocols(vec![protocol])
}

fn launch() -> (Broker, Client) {
    let broker = Broker::launch(Launch {
        arguments: &["--cores", "2"],
        overrides: &["node.id=1", "group.min.session.timeout.ms=1"],
        ..Launch::default()
    });
    let mut client = Client::connect(broker.address()).expect("a connection");
    let mut backoff = Backoff::within(PATIENCE);
    loop {
        let keys = vec![text("g".to_owned())];
        let request = FindCoordinatorRequest::default().with_coordinator_keys(keys);
        let found = client.call(&request, 4).expect("a reply");
        match found.coordinators[0].error_code {
            0 => return (broker, client),
            code => assert!(backoff.wait(), "no coordinator: error {code}"),
        }
    }
}

/// Sends all, many at a time, and those again whose coordinator is not there yet.
fn join_all(
    client: &mut Client,
    requests: impl IntoIterator<Item = JoinGroupRequest>,
    version: i16,
    mut judge: impl FnMut(JoinGroupResponse),
) {
    let mut backoff = Backoff::within(PATIENCE);
    let mut requests = requests.into_iter().peekable();
    while requests.peek().is_some() {
        let mut left: Vec<_> = requests.by_ref().take(AT_ONCE).collect();
        while !left.is_empty() {
            let mut send = |request| client.send(request, version).expect("it is taken");
            let sent: Vec<i32> = left.iter().map(&mut send).collect();
            let mut refused = Vec::new();
            for (request, id) in left.into_iter().zip(sent) {
                let reply = client.receive::<JoinGroupRequest>(version, id);
                let reply = reply.expect("a reply");
                match NOT_YET.contains(&reply.error_code) {
                    true => refused.push(request),
                    false => judge(reply),
                }
            }
            assert!(refused.is_empty() || backoff.wait(), "no coordinator");
            left = refused;
        }
    }
}

/// Sends so many over many connections; each of them is to be told to come back.
fn crowd(broker: &Broker, count: usize, request: impl Fn(usize) -> JoinGroupRequest + Sync) {
    let address = broker.address();
    thread::scope(|scope| {
        for first in 0..CONNECTIONS {
            let request = &request;
            scope.spawn(move || {
                let mut client = Client::connect(address).expect("a connection");
                let requests = (first..count).step_by(CONNECTIONS).map(request);
                join_all(&mut client, requests, JOIN_VERSION, |reply| {
                    assert_eq!(reply.error_code, MEMBER_ID_REQUIRED);
                    assert!(!reply.member_id.is_empty());
                });
            });
        }
    });
}

fn groups(client: &mut Client) -> usize {
    let reply = client.call(&ListGroupsRequest::default(), 4);
    let reply = reply.expect("a reply");
    assert_eq!(reply.error_code, 0);
    reply.groups.len()
}

#[test]
fn a_hundred_thousand_groups_of_one_careless_client_are_borne_and_go_away() {
    const SESSION_MS: i32 = 20_000;
    let (mut broker, mut client) = launch();
    let metadata = Bytes::from_static(b"anything");
    crowd(&broker, GROUPS, |at| {
        join(format!("group-{at}"), SESSION_MS, &metadata)
    });
    let there = groups(&mut client);
    println!("{there} groups, {} MiB", broker.memory_peak_bytes() >> 20);
    assert!((1..=GROUPS).contains(&there));
    let mut backoff = Backoff::within(PATIENCE);
    while groups(&mut client) > 0 {
        assert!(backoff.wait(), "groups stay though nobody is in them");
    }
    let peak = broker.memory_peak_bytes();
    assert!(peak < MEMORY_BYTES_MAX, "it held {} MiB", peak >> 20);
    assert!(broker.is_running(), "{}", broker.log());
    broker.stop();
}

#[test]
fn a_hundred_thousand_members_that_never_come_back_take_little() {
    const LONG_MS: i32 = 1_800_000;
    let (mut broker, mut client) = launch();
    let metadata = Bytes::from_static(b"anything");
    crowd(&broker, MEMBERS, |_| {
        join("one".to_owned(), LONG_MS, &metadata)
    });
    // Nobody is waited for who has been forgotten: somebody else gets in.
    let own = join("other".to_owned(), 10_000, &metadata);
    let mut given = None;
    join_all(&mut client, [own.clone()], JOIN_VERSION, |reply| {
        given = Some(reply.member_id);
    });
    let own = own.with_member_id(given.expect("an id"));
    join_all(&mut client, [own], JOIN_VERSION, |reply| {
        assert_eq!((reply.error_code, reply.generation_id), (0, 1));
    });
    let peak = broker.memory_peak_bytes();
    println!("{} MiB at most", peak >> 20);
    assert!(peak < MEMORY_BYTES_MAX, "it held {} MiB", peak >> 20);
    broker.stop();
}

#[test]
fn members_with_far_too_much_metadata_find_their_group_full() {
    const VERSION_WITHOUT_IDS: i16 = 3;
    let (mut broker, mut client) = launch();
    let metadata = Bytes::from(vec![0; 5 << 20]);
    let requests = (0..100).map(|_| join("one".to_owned(), 60_000, &metadata));
    join_all(&mut client, requests, VERSION_WITHOUT_IDS, |reply| {
        assert_eq!(reply.error_code, GROUP_MAX_SIZE_REACHED);
    });
    let peak = broker.memory_peak_bytes();
    println!("{} MiB at most", peak >> 20);
    assert!(peak < MEMORY_BYTES_MAX, "it held {} MiB", peak >> 20);
    broker.stop();
}
