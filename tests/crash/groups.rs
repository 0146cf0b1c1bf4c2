//! Offsets of groups under kill -9: what was acknowledged is there, and nothing that was never sent.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use corelog_loadgen::client::{Backoff, Client, topic_name};
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::{
    FindCoordinatorRequest, GroupId, OffsetCommitRequest, OffsetFetchRequest,
};
use kafka_protocol::protocol::StrBytes;

use crate::harness::Broker;
use crate::random::Random;
use crate::turn;

const TOPIC: &str = "read";
/// On different partitions of `__consumer_offsets`, and so on different shards.
const GROUPS: usize = 8;
const CRASHES: u64 = 6;
const PATIENCE: Duration = Duration::from_secs(30);

/// What is known of a group's offset.
#[derive(Clone, Copy, Debug)]
struct Known {
    sent: i64,
    acknowledged: i64,
}

fn group(index: usize) -> GroupId {
    GroupId(StrBytes::from_string(format!("group-{index}")))
}

fn commit(client: &mut Client, index: usize, known: &mut Known) -> Result<()> {
    known.sent += 1;
    let partition = OffsetCommitRequestPartition::default().with_committed_offset(known.sent);
    let topic = OffsetCommitRequestTopic::default()
        .with_name(topic_name(TOPIC))
        .with_partitions(vec![partition]);
    let request = OffsetCommitRequest::default()
        .with_group_id(group(index))
        .with_topics(vec![topic]);
    let reply = client.call(&request, 8)?;
    let code = reply.topics[0].partitions[0].error_code;
    ensure!(code == 0, "a commit was refused: {code}");
    known.acknowledged = known.sent;
    Ok(())
}

/// Asks until the coordinator has read its log.
fn committed(client: &mut Client, index: usize) -> i64 {
    let topic = OffsetFetchRequestTopics::default()
        .with_name(topic_name(TOPIC))
        .with_partition_indexes(vec![0]);
    let of_group = OffsetFetchRequestGroup::default()
        .with_group_id(group(index))
        .with_topics(Some(vec![topic]));
    let request = OffsetFetchRequest::default().with_groups(vec![of_group]);
    let mut backoff = Backoff::within(PATIENCE);
    loop {
        let reply = client.call(&request, 8).expect("a reply");
        let found = &reply.groups[0];
        match found.error_code {
            0 => return found.topics[0].partitions[0].committed_offset,
            // Its log is being read.
            14 if backoff.wait() => {}
            code => panic!("{}: error {code}", found.group_id.as_str()),
        }
    }
}

fn commit_until_killed(broker: SocketAddr, all: &mut [Known], random: &mut Random) {
    let Ok(mut client) = Client::connect(broker) else {
        return;
    };
    loop {
        let index = random.below(GROUPS as u64) as usize;
        if commit(&mut client, index, &mut all[index]).is_err() {
            return;
        }
    }
}

#[test]
fn committed_offsets_survive() {
    turn::run("committed-offsets-survive", || {
        crashes();
        Ok(())
    });
}

fn crashes() {
    let seed = Random::seed_from("CORELOG_CRASH_SEED");
    println!("CORELOG_CRASH_SEED={seed}");
    let mut random = Random::new(seed);
    let mut broker = Broker::start(&[]);
    let mut client = Client::connect(broker.address()).expect("a connection");
    client.create_topic(TOPIC, 1, &[]).expect("a topic");
    let key = vec![group(0).0];
    let coordinator = FindCoordinatorRequest::default().with_coordinator_keys(key);
    let found = client.call(&coordinator, 4).expect("a reply");
    assert_eq!(found.coordinators[0].error_code, 0);
    let nothing = Known {
        sent: -1,
        acknowledged: -1,
    };
    let mut all = [nothing; GROUPS];
    for index in 0..GROUPS {
        // Its coordinator may still be loading.
        committed(&mut client, index);
    }
    for _ in 0..CRASHES {
        let address = broker.address();
        let until = Duration::from_millis(50 + random.below(400));
        thread::scope(|scope| {
            scope.spawn(|| commit_until_killed(address, &mut all, &mut random));
            thread::sleep(until);
            broker.kill9();
        });
        broker.restart();
        let mut client = Client::connect(broker.address()).expect("a connection");
        for (index, known) in all.iter_mut().enumerate() {
            let found = committed(&mut client, index);
            assert!(
                (known.acknowledged..=known.sent).contains(&found),
                "group {index}: {found} of {known:?}"
            );
            (known.sent, known.acknowledged) = (found, found);
        }
    }
    assert!(all.iter().any(|known| known.acknowledged > 0));
}
