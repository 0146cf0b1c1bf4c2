//! What a request claims costs nothing: for every API and version of the protocol, served or not,
//! messages full of lengths up to 2^31 are decoded in a process that may not reserve much more
//! memory than it has at the start. An allocation by claim would abort that process.

use std::process::Command;

use bytes::Bytes;
use corelog::protocol::bounded;
use corelog::protocol::fetch::FetchRequest as FetchByHand;
use corelog::protocol::header;
use corelog::protocol::produce::ProduceRequest as ProduceByHand;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Message, Request};
use nix::sys::resource::{Resource, UsageWho, getrusage, setrlimit};

/// Says that this process is the limited one, and how many rounds it shall do.
const ROUNDS: &str = "CORELOG_CLAIM_ROUNDS";
const ROUNDS_PER_VERSION: usize = 150;

/// Room to reserve beyond what the process has at the start, and what may really be touched.
const RESERVE_BYTES_MAX: u64 = 512 << 20;
const RESIDENT_GROWTH_KIB_MAX: i64 = 64 << 10;

#[test]
fn no_claim_costs_memory() {
    let own = std::env::current_exe().expect("a test has an executable");
    let outcome = Command::new(own)
        .args([
            "--exact",
            "claims::decode_under_a_limit",
            "--ignored",
            "--nocapture",
        ])
        .env(ROUNDS, ROUNDS_PER_VERSION.to_string())
        .output()
        .expect("it can be started");
    let said = String::from_utf8_lossy(&outcome.stdout);
    assert!(
        outcome.status.success() && said.contains("decoded"),
        "{}\n{said}\n{}",
        outcome.status,
        String::from_utf8_lossy(&outcome.stderr)
    );
}

#[test]
#[ignore = "run by no_claim_costs_memory in a process of its own"]
fn decode_under_a_limit() {
    let rounds = std::env::var(ROUNDS).map_or(ROUNDS_PER_VERSION, |n| n.parse().expect("a number"));
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: u64 = statm
        .split(' ')
        .next()
        .expect("a size")
        .parse()
        .expect("a number");
    let limit = pages * 4096 + RESERVE_BYTES_MAX;
    setrlimit(Resource::RLIMIT_AS, limit, limit).expect("a lower limit is allowed");
    let resident_before = resident_max_kib();

    let mut fuzz = Fuzz::new(rounds);
    fuzz.all_generated();
    fuzz.by_hand();

    let grown = resident_max_kib() - resident_before;
    assert!(grown < RESIDENT_GROWTH_KIB_MAX, "grew by {grown} KiB");
    assert!(
        fuzz.accepted > 0,
        "no message was ever valid: the fuzz is blunt"
    );
    println!(
        "decoded {} messages, {} valid; grew by {grown} KiB",
        fuzz.decoded, fuzz.accepted
    );
}

fn resident_max_kib() -> i64 {
    getrusage(UsageWho::RUSAGE_SELF)
        .expect("own usage")
        .max_rss()
}

struct Fuzz {
    rounds: usize,
    state: u64,
    decoded: usize,
    accepted: usize,
}

impl Fuzz {
    fn new(rounds: usize) -> Self {
        Self {
            rounds,
            state: 0x5eed,
            decoded: 0,
            accepted: 0,
        }
    }

    fn draw(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state
    }

    /// Mostly small values, so that decoders get deep before they meet a claim.
    fn message(&mut self) -> Bytes {
        let pieces = 1 + self.draw() % 40;
        let mut bytes = Vec::new();
        for _ in 0..pieces {
            let claim = (self.draw() >> (33 + self.draw() % 31)) as u32;
            match self.draw() % 12 {
                0 => bytes.extend(claim.to_be_bytes()),
                1 => bytes.extend([0xff, 0xff, 0xff, 0xff, 0x0f]),
                2 => bytes.extend([0x7f, 0xff, 0xff, 0xff]),
                3 => bytes.extend([claim as u8 | 0x80, (claim >> 8) as u8 | 0x80, 0x7f]),
                4 => bytes.extend([0, 0, 0, (claim % 3) as u8]),
                5 => bytes.extend([0, (claim % 2) as u8, b'a']),
                6 => bytes.push(claim as u8),
                _ => bytes.push((claim % 3) as u8),
            }
        }
        // A tail that could be the elements of what was claimed.
        bytes.extend(vec![(self.draw() % 2) as u8; (self.draw() % 300) as usize]);
        Bytes::from(bytes)
    }

    fn generated<T: Request>(&mut self, seen: &mut Vec<i16>) {
        seen.push(T::KEY);
        let versions = <T as Message>::VERSIONS;
        for version in versions.min..=versions.max {
            for _ in 0..self.rounds {
                let message = self.message();
                self.decoded += 1;
                if let Ok(guarded) = bounded::decode::<T>(&message, version) {
                    self.accepted += 1;
                    // Valid claims are safe for the decoder alone, which must say the same.
                    let plain = T::decode(&mut message.clone(), version).expect("valid");
                    let mut one = Vec::new();
                    let mut other = Vec::new();
                    guarded.encode(&mut one, version).expect("encodes");
                    plain.encode(&mut other, version).expect("encodes");
                    assert_eq!(one, other);
                }
            }
        }
    }

    fn by_hand(&mut self) {
        for _ in 0..self.rounds * 50 {
            let message = self.message();
            for version in 0..=19 {
                self.decoded += 2;
                let _ = ProduceByHand::decode(&message, version);
                let _ = FetchByHand::decode(&message, version);
            }
            let _ = header::decode(message);
        }
    }
}

macro_rules! all_generated {
    ($($request:ident)*) => {
        impl Fuzz {
            fn all_generated(&mut self) {
                let mut seen = Vec::new();
                $(self.generated::<$request>(&mut seen);)*
                let all: Vec<i16> = ApiKey::iter().map(|key| key as i16).collect();
                seen.sort();
                assert_eq!(seen, all);
            }
        }
    };
}

all_generated! {
    ProduceRequest FetchRequest ListOffsetsRequest MetadataRequest OffsetCommitRequest
    OffsetFetchRequest FindCoordinatorRequest JoinGroupRequest HeartbeatRequest
    LeaveGroupRequest SyncGroupRequest DescribeGroupsRequest ListGroupsRequest
    SaslHandshakeRequest ApiVersionsRequest CreateTopicsRequest DeleteTopicsRequest
    DeleteRecordsRequest InitProducerIdRequest OffsetForLeaderEpochRequest
    AddPartitionsToTxnRequest AddOffsetsToTxnRequest EndTxnRequest WriteTxnMarkersRequest
    TxnOffsetCommitRequest DescribeAclsRequest CreateAclsRequest DeleteAclsRequest
    DescribeConfigsRequest AlterConfigsRequest AlterReplicaLogDirsRequest
    DescribeLogDirsRequest SaslAuthenticateRequest CreatePartitionsRequest
    CreateDelegationTokenRequest RenewDelegationTokenRequest ExpireDelegationTokenRequest
    DescribeDelegationTokenRequest DeleteGroupsRequest ElectLeadersRequest
    IncrementalAlterConfigsRequest AlterPartitionReassignmentsRequest
    ListPartitionReassignmentsRequest OffsetDeleteRequest DescribeClientQuotasRequest
    AlterClientQuotasRequest DescribeUserScramCredentialsRequest
    AlterUserScramCredentialsRequest VoteRequest BeginQuorumEpochRequest EndQuorumEpochRequest
    DescribeQuorumRequest AlterPartitionRequest UpdateFeaturesRequest EnvelopeRequest
    FetchSnapshotRequest DescribeClusterRequest DescribeProducersRequest
    BrokerRegistrationRequest BrokerHeartbeatRequest UnregisterBrokerRequest
    DescribeTransactionsRequest ListTransactionsRequest AllocateProducerIdsRequest
    ConsumerGroupHeartbeatRequest ConsumerGroupDescribeRequest ControllerRegistrationRequest
    GetTelemetrySubscriptionsRequest PushTelemetryRequest AssignReplicasToDirsRequest
    ListConfigResourcesRequest DescribeTopicPartitionsRequest ShareGroupHeartbeatRequest
    ShareGroupDescribeRequest ShareFetchRequest ShareAcknowledgeRequest AddRaftVoterRequest
    RemoveRaftVoterRequest UpdateRaftVoterRequest InitializeShareGroupStateRequest
    ReadShareGroupStateRequest WriteShareGroupStateRequest DeleteShareGroupStateRequest
    ReadShareGroupStateSummaryRequest DescribeShareGroupOffsetsRequest
    AlterShareGroupOffsetsRequest DeleteShareGroupOffsetsRequest
}
