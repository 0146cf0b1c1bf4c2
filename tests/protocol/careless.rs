//! Clients that begin with groups and never go on: what they leave behind is bounded, goes away, and is in nobody's way.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use corelog_loadgen::client::{Backoff, Client};
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    FindCoordinatorRequest, GroupId, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse,
    LeaveGroupRequest, ListGroupsRequest, OffsetCommitRequest, SyncGroupRequest,
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
/// Of JoinGroup that is answered without a second request.
const VERSION_WITHOUT_IDS: i16 = 3;

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
    launch_with(&[])
}

fn launch_with(settings: &[&str]) -> (Broker, Client) {
    let overrides = [&["node.id=1", "group.min.session.timeout.ms=1"], settings];
    let broker = Broker::launch(Launch {
        arguments: &["--cores", "2"],
        overrides: &overrides.concat(),
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

/// A member of its own group that does all that a consumer does, again and again, until it is told to stop.
fn behave(broker: &Broker, group: &str, stop: &AtomicBool, rounds: &AtomicUsize) {
    let mut client = Client::connect(broker.address()).expect("a connection");
    let name = || GroupId(text(group.to_owned()));
    let metadata = Bytes::from_static(b"anything");
    while !stop.load(Ordering::Relaxed) {
        let mut joined = None;
        let request = join(group.to_owned(), 30_000, &metadata);
        join_all(&mut client, [request], VERSION_WITHOUT_IDS, |reply| {
            assert_eq!(reply.error_code, 0);
            joined = Some(reply);
        });
        let joined = joined.expect("a reply");
        let assignment = SyncGroupRequestAssignment::default()
            .with_member_id(joined.member_id.clone())
            .with_assignment(Bytes::from_static(b"work"));
        let sync = SyncGroupRequest::default()
            .with_group_id(name())
            .with_generation_id(joined.generation_id)
            .with_member_id(joined.member_id.clone())
            .with_assignments(vec![assignment]);
        let synced = client.call(&sync, 3).expect("a reply");
        assert_eq!((synced.error_code, &*synced.assignment), (0, &b"work"[..]));
        let beat = HeartbeatRequest::default()
            .with_group_id(name())
            .with_generation_id(joined.generation_id)
            .with_member_id(joined.member_id.clone());
        assert_eq!(client.call(&beat, 3).expect("a reply").error_code, 0);
        let round = rounds.fetch_add(1, Ordering::Relaxed);
        let partition = OffsetCommitRequestPartition::default()
            .with_committed_offset(round as i64)
            .with_committed_metadata(Some(text("a note".to_owned())));
        let topic = OffsetCommitRequestTopic::default()
            .with_name(text("t".to_owned()).into())
            .with_partitions(vec![partition]);
        let commit = OffsetCommitRequest::default()
            .with_group_id(name())
            .with_generation_id_or_member_epoch(joined.generation_id)
            .with_member_id(joined.member_id.clone())
            .with_topics(vec![topic]);
        let committed = client.call(&commit, 7).expect("a reply");
        assert_eq!(committed.topics[0].partitions[0].error_code, 0);
        leave(&mut client, group, &joined.member_id);
    }
}

/// Tells them to stop when it is dropped.
struct Stops<'a>(&'a AtomicBool);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn leave(client: &mut Client, group: &str, member: &StrBytes) {
    let member = MemberIdentity::default().with_member_id(member.clone());
    let request = LeaveGroupRequest::default()
        .with_group_id(GroupId(text(group.to_owned())))
        .with_members(vec![member]);
    assert_eq!(client.call(&request, 3).expect("a reply").error_code, 0);
}

#[test]
fn a_thousand_groups_of_a_megabyte_each_stay_within_the_memory_for_groups() {
    const MIB: u64 = 1 << 20;
    const CORES: u64 = 2;
    const GROUP_MEMORY: u64 = 64 * MIB;
    /// What README.md states for these settings: newest records, requests, replies, the journal's part, groups, and the
    /// process itself.
    const STATED_BYTES: u64 = CORES * ((16 + 2 * 32 + 64 / 4) * MIB + GROUP_MEMORY) + 100 * MIB;
    const ATTACKERS: usize = 16;
    const SESSION_MS: i32 = 15_000;
    let (mut broker, mut client) = launch_with(&[
        "group.initial.rebalance.delay.ms=0",
        "corelog.tail.cache.bytes=16777216",
        "corelog.request.memory.bytes=33554432",
        "corelog.journal.bytes=67108864",
        "corelog.group.memory.bytes=67108864",
    ]);
    client.create_topic("t", 1, &[]).expect("a topic");
    let metadata = Bytes::from(vec![0; 1_000_000]);
    let (stop, rounds) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (admitted, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        scope.spawn(|| behave(&broker, "well-behaved", &stop, &rounds));
        // Whatever fails here, nobody is to go on for ever.
        let _stops = Stops(&stop);
        let attackers = (0..ATTACKERS).map(|first| {
            let (broker, metadata) = (&broker, &metadata);
            let (admitted, refused) = (&admitted, &refused);
            scope.spawn(move || {
                let mut client = Client::connect(broker.address()).expect("a connection");
                for group in (first..1_000).step_by(ATTACKERS) {
                    let request = join(format!("large-{group}"), SESSION_MS, metadata);
                    let reply = client.call(&request, VERSION_WITHOUT_IDS);
                    match reply.expect("a reply").error_code {
                        0 => admitted.fetch_add(1, Ordering::Relaxed),
                        code if NOT_YET.contains(&code) => refused.fetch_add(1, Ordering::Relaxed),
                        code => panic!("error {code}"),
                    };
                }
            })
        });
        let attackers: Vec<_> = attackers.collect();
        for attacker in attackers {
            attacker.join().expect("no attacker fails");
        }
        let before = rounds.load(Ordering::Relaxed);
        let mut backoff = Backoff::within(PATIENCE);
        while rounds.load(Ordering::Relaxed) < before + 10 {
            assert!(backoff.wait(), "it is not served");
        }
    });
    let (admitted, refused) = (admitted.into_inner(), refused.into_inner());
    let peak = broker.memory_peak_bytes();
    println!(
        "{admitted} admitted, {refused} refused, {} rounds beside them, {} MiB at most of {}",
        rounds.into_inner(),
        peak >> 20,
        STATED_BYTES >> 20
    );
    assert!(admitted > 0 && refused > 0);
    assert!(peak < STATED_BYTES, "it held {} MiB", peak >> 20);

    // None of them ever came back: the next ones get in, one after the other, as soon as they are out.
    for group in 0..100 {
        let name = format!("later-{group}");
        let mut joined = None;
        let request = join(name.clone(), SESSION_MS, &metadata);
        join_all(&mut client, [request], VERSION_WITHOUT_IDS, |reply| {
            assert_eq!(reply.error_code, 0);
            joined = Some(reply.member_id);
        });
        leave(&mut client, &name, &joined.expect("a member"));
    }
    assert!(broker.is_running(), "{}", broker.log());
    let peak = broker.memory_peak_bytes();
    assert!(peak < STATED_BYTES, "it held {} MiB", peak >> 20);
    broker.stop();
}
