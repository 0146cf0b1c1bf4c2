//! Requests that mean something, of every API that is served: where damage is to begin. What a version has no field
//! for is left out by whoever encodes them.

use bytes::Bytes;
use corelog_loadgen::batch::{self, Producer};
use corelog_loadgen::client::topic_name;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Request, StrBytes};
use uuid::Uuid;

/// The topic that damaged requests are about; the other ones are nobody's.
pub const TOPIC: &str = "hostile";
pub const PARTITIONS: i32 = 2;
pub const NOBODYS: &str = "nobody";

/// More than any real client asks for at once.
const MANY: usize = 40_000;

pub trait Samples: Request + Default {
    /// About the topic, whose id this is.
    fn samples(topic_id: Uuid) -> Vec<Self>;

    /// A request as large as it gets, of the newest version.
    fn large() -> Option<Self> {
        None
    }
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn group(name: &str) -> GroupId {
    GroupId(text(name))
}

fn topics() -> [TopicName; 2] {
    [TOPIC, NOBODYS].map(topic_name)
}

/// A different short name each.
fn names() -> impl Iterator<Item = StrBytes> {
    (0..MANY).map(|n| text(&format!("{n:x}")))
}

/// Plain, in a transaction, and of every compression there is or is not, with a checksum that fits.
pub fn batches() -> Vec<Bytes> {
    let plain = batch::encode(
        Producer::NONE,
        1_700_000_000_000,
        [b"one".as_slice(), b"two"],
    );
    let idempotent = Producer {
        id: 3,
        epoch: 0,
        base_sequence: 0,
    };
    let mut all = vec![
        Bytes::from(batch::encode(idempotent, 0, [b"x".as_slice()])),
        Bytes::from(plain[..40].to_vec()),
    ];
    for attributes in 0..0x40 {
        let mut batch = plain.clone();
        batch[22] = attributes;
        sign(&mut batch);
        all.push(batch.into());
    }
    all
}

/// Gives a batch the checksum that it should have.
pub fn sign(batch: &mut [u8]) {
    if batch.len() > 21 {
        let checksum = crc32c::crc32c(&batch[21..]);
        batch[17..21].copy_from_slice(&checksum.to_be_bytes());
    }
}

impl Samples for ProduceRequest {
    fn samples(topic_id: Uuid) -> Vec<Self> {
        use produce_request::{PartitionProduceData, TopicProduceData};
        let sample = |(acks, batch): (i16, Bytes)| {
            let data = |index| {
                PartitionProduceData::default()
                    .with_index(index)
                    .with_records(Some(batch.clone()))
            };
            let topic = TopicProduceData::default()
                .with_partition_data((0..=PARTITIONS).map(data).collect());
            let request = Self::default().with_acks(acks).with_timeout_ms(100);
            let by_name = topic.clone().with_name(topic_name(TOPIC));
            let by_id = topic.with_topic_id(topic_id);
            [by_name, by_id].map(|topic| request.clone().with_topic_data(vec![topic]))
        };
        let acks = [-1, 1, 0, -1, 7].into_iter().cycle();
        acks.zip(batches()).flat_map(sample).collect()
    }

    fn large() -> Option<Self> {
        use produce_request::{PartitionProduceData, TopicProduceData};
        let data = |index| PartitionProduceData::default().with_index(index as i32);
        let topic = TopicProduceData::default().with_partition_data((0..MANY).map(data).collect());
        Some(Self::default().with_acks(-1).with_topic_data(vec![topic]))
    }
}

impl Samples for FetchRequest {
    fn samples(topic_id: Uuid) -> Vec<Self> {
        use fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
        let partition = |(partition, offset)| {
            FetchPartition::default()
                .with_partition(partition)
                .with_fetch_offset(offset)
                .with_partition_max_bytes(1 << 20)
        };
        let partitions = [(0, 0), (1, 1), (0, -1), (9, 0)].map(partition).to_vec();
        let topic = FetchTopic::default().with_partitions(partitions);
        let forgotten = ForgottenTopic::default().with_partitions(vec![0]);
        let request = Self::default()
            .with_min_bytes(1)
            .with_max_bytes(i32::MAX)
            .with_isolation_level(1);
        let mut all = Vec::new();
        for (session_id, session_epoch) in [(0, -1), (0, 0), (2, 1), (4, -1)] {
            let request = request
                .clone()
                .with_session_id(session_id)
                .with_session_epoch(session_epoch);
            let by_name = topic.clone().with_topic(topic_name(TOPIC));
            let by_id = topic.clone().with_topic_id(topic_id);
            all.extend([by_name, by_id].map(|topic| request.clone().with_topics(vec![topic])));
            let by_name = forgotten.clone().with_topic(topic_name(TOPIC));
            let by_id = forgotten.clone().with_topic_id(topic_id);
            let forgetting = |topic| request.clone().with_forgotten_topics_data(vec![topic]);
            all.extend([by_name, by_id].map(forgetting));
        }
        all
    }

    fn large() -> Option<Self> {
        use fetch_request::{FetchPartition, FetchTopic};
        let partition = |index| FetchPartition::default().with_partition(index as i32);
        let topic = FetchTopic::default().with_partitions((0..MANY).map(partition).collect());
        Some(Self::default().with_topics(vec![topic]))
    }
}

impl Samples for ListOffsetsRequest {
    fn samples(_: Uuid) -> Vec<Self> {
        use list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
        let partition = |timestamp| ListOffsetsPartition::default().with_timestamp(timestamp);
        let partitions: Vec<_> = [-1, -2, -3, -4, -5, -6, 0, i64::MAX].map(partition).into();
        let topic = |name| {
            ListOffsetsTopic::default()
                .with_name(name)
                .with_partitions(partitions.clone())
        };
        vec![Self::default().with_topics(topics().map(topic).into())]
    }

    fn large() -> Option<Self> {
        use list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
        let partition = |index| ListOffsetsPartition::default().with_partition_index(index as i32);
        let topic = ListOffsetsTopic::default()
            .with_name(topic_name(TOPIC))
            .with_partitions((0..MANY).map(partition).collect());
        Some(Self::default().with_topics(vec![topic]))
    }
}

impl Samples for MetadataRequest {
    fn samples(topic_id: Uuid) -> Vec<Self> {
        use metadata_request::MetadataRequestTopic;
        let topic = |name| MetadataRequestTopic::default().with_name(Some(name));
        let by_name = topics().map(topic).to_vec();
        let by_id = MetadataRequestTopic::default()
            .with_topic_id(topic_id)
            .with_name(None);
        let quiet = Self::default().with_allow_auto_topic_creation(false);
        vec![
            Self::default().with_topics(Some(vec![topic(topic_name(TOPIC))])),
            quiet.clone().with_topics(Some(by_name)),
            quiet.clone().with_topics(Some(vec![by_id])),
            quiet.with_topics(None),
        ]
    }

    fn large() -> Option<Self> {
        use metadata_request::MetadataRequestTopic;
        let topic = |name| MetadataRequestTopic::default().with_name(Some(TopicName(name)));
        let quiet = Self::default().with_allow_auto_topic_creation(false);
        Some(quiet.with_topics(Some(names().map(topic).collect())))
    }
}

impl Samples for OffsetCommitRequest {
    fn samples(_: Uuid) -> Vec<Self> {
        use offset_commit_request::*;
        let partition = |partition| {
            OffsetCommitRequestPartition::default()
                .with_partition_index(partition)
                .with_committed_offset(5)
                .with_committed_metadata(Some(text("note")))
        };
        let topic = |name| {
            OffsetCommitRequestTopic::default()
                .with_name(name)
                .with_partitions((0..=PARTITIONS).map(partition).collect())
        };
        let request = Self::default().with_topics(topics().map(topic).into());
        let simple = request.clone().with_group_id(group("simple"));
        let of_member = request
            .clone()
            .with_group_id(group("group"))
            .with_member_id(text("member"))
            .with_generation_id_or_member_epoch(1);
        vec![request, simple, of_member]
    }

    fn large() -> Option<Self> {
        use offset_commit_request::OffsetCommitRequestTopic;
        let topic = |name| OffsetCommitRequestTopic::default().with_name(TopicName(name));
        let request = Self::default().with_group_id(group("simple"));
        Some(request.with_topics(names().map(topic).collect()))
    }
}

impl Samples for OffsetFetchRequest {
    fn samples(_: Uuid) -> Vec<Self> {
        use offset_fetch_request::*;
        let indexes: Vec<i32> = (0..=PARTITIONS).collect();
        let old = |name| {
            OffsetFetchRequestTopic::default()
                .with_name(name)
                .with_partition_indexes(indexes.clone())
        };
        let new = |name| {
            OffsetFetchRequestTopics::default()
                .with_name(name)
                .with_partition_indexes(indexes.clone())
        };
        let alone = Self::default().with_group_id(group("simple"));
        let of_group = |name| OffsetFetchRequestGroup::default().with_group_id(group(name));
        let some = of_group("simple").with_topics(Some(topics().map(new).into()));
        let all = ["group", "simple", ""].map(|name| of_group(name).with_topics(None));
        vec![
            alone.clone().with_topics(Some(topics().map(old).into())),
            alone.with_topics(None),
            Self::default().with_groups(vec![some.clone()]),
            Self::default()
                .with_groups(all.into_iter().chain([some]).collect())
                .with_require_stable(true),
        ]
    }

    fn large() -> Option<Self> {
        use offset_fetch_request::OffsetFetchRequestGroup;
        let group = |name| OffsetFetchRequestGroup::default().with_group_id(GroupId(name));
        Some(Self::default().with_groups(names().map(group).collect()))
    }
}

impl Samples for FindCoordinatorRequest {
    fn samples(_: Uuid) -> Vec<Self> {
        let keys = vec![text("group"), text("")];
        (0..4)
            .flat_map(|key_type| {
                let request = Self::default().with_key_type(key_type);
                let one = request.clone().with_key(text("group"));
                [one, request.with_coordinator_keys(keys.clone())]
            })
            .collect()
    }

    fn large() -> Option<Self> {
        Some(Self::default().with_coordinator_keys(names().collect()))
    }
}

impl Samples for JoinGroupRequest {
    fn samples(_: Uuid) -> Vec<Self> {
        use join_group_request::JoinGroupRequestProtocol;
        let protocol = JoinGroupRequestProtocol::default()
            .with_name(text("range"))
            .with_metadata(Bytes::from_static(&[0, 1, 0, 0, 0, 0, 0, 0, 0, 0]));
        // Short enough that nobody is waited for, whatever the damage.
        let new = Self::default()
            .with_group_id(group("group"))
            .with_session_timeout_ms(50)
            .with_rebalance_timeout_ms(50)
            .with_protocol_type(text("consumer"))
            .with_protocols(vec![protocol]);
        let known = new.clone().with_member_id(text("member"));
        let of_instance = new.clone().with_group_instance_id(Some(text("instance")));
        vec![new, known, of_instance]
    }

    fn large() -> Option<Self> {
        use join_group_request::JoinGroupRequestProtocol;
        let protocol = |name| JoinGroupRequestProtocol::default().with_name(name);
        let request = Self::samples(Uuid::nil()).swap_remove(0);
        Some(request.with_protocols(names().map(protocol).collect()))
    }
}

impl Samples for SyncGroupRequest {
    fn samples(_: Uuid) -> Vec<Self> {
        use sync_group_request::SyncGroupRequestAssignment;
        let assignment = SyncGroupRequestAssignment::default()
            .with_member_id(text("member"))
            .with_assignment(Bytes::from_static(&[0, 1, 0, 0, 0, 0, 0, 0, 0, 0]));
        let request = Self::default()
            .with_group_id(group("group"))
            .with_generation_id(1)
            .with_member_id(text("member"))
            .with_assignments(vec![assignment]);
        let named = request
            .clone()
            .with_protocol_type(Some(text("consumer")))
            .with_protocol_name(Some(text("range")));
        vec![request, named]
    }

    fn large() -> Option<Self> {
        use sync_group_request::SyncGroupRequestAssignment;
        let assignment = |name| SyncGroupRequestAssignment::default().with_member_id(name);
        let request = Self::samples(Uuid::nil()).swap_remove(0);
        Some(request.with_assignments(names().map(assignment).collect()))
    }
}

impl Samples for HeartbeatRequest {
    fn samples(_: Uuid) -> Vec<Self> {
        let request = Self::default()
            .with_group_id(group("group"))
            .with_generation_id(1)
            .with_member_id(text("member"));
        let instance = Some(text("instance"));
        vec![request.clone().with_group_instance_id(instance), request]
    }
}

impl Samples for LeaveGroupRequest {
    fn samples(_: Uuid) -> Vec<Self> {
        use leave_group_request::MemberIdentity;
        let request = Self::default().with_group_id(group("group"));
        let member = MemberIdentity::default()
            .with_member_id(text("member"))
            .with_group_instance_id(Some(text("instance")));
        let alone = request.clone().with_member_id(text("member"));
        vec![alone, request.with_members(vec![member])]
    }

    fn large() -> Option<Self> {
        use leave_group_request::MemberIdentity;
        let member = |name| MemberIdentity::default().with_member_id(name);
        let request = Self::default().with_group_id(group("group"));
        Some(request.with_members(names().map(member).collect()))
    }
}

impl Samples for DescribeGroupsRequest {
    fn samples(_: Uuid) -> Vec<Self> {
        let groups = ["group", "simple", "nobody", ""].map(group);
        let request = Self::default().with_groups(groups.into());
        let told = request.clone().with_include_authorized_operations(true);
        vec![request, told]
    }

    fn large() -> Option<Self> {
        Some(Self::default().with_groups(names().map(GroupId).collect()))
    }
}

impl Samples for ConsumerGroupHeartbeatRequest {
    fn samples(topic_id: Uuid) -> Vec<Self> {
        use consumer_group_heartbeat_request::TopicPartitions;
        let joins = Self::default()
            .with_group_id(group("consumers"))
            .with_member_id(text("member"))
            .with_rebalance_timeout_ms(60_000)
            .with_subscribed_topic_names(Some(topics().into()))
            .with_topic_partitions(Some(Vec::new()));
        let owned = TopicPartitions::default()
            .with_topic_id(topic_id)
            .with_partitions((0..=PARTITIONS).collect());
        let stays = joins
            .clone()
            .with_member_epoch(1)
            .with_instance_id(Some(text("instance")))
            .with_rack_id(Some(text("rack")))
            .with_server_assignor(Some(text("range")))
            .with_topic_partitions(Some(vec![owned]));
        let leaves = Self::default()
            .with_group_id(group("consumers"))
            .with_member_id(text("member"))
            .with_member_epoch(-1);
        vec![joins, stays, leaves]
    }

    fn large() -> Option<Self> {
        let request = Self::samples(Uuid::nil()).swap_remove(0);
        Some(request.with_subscribed_topic_names(Some(names().map(TopicName).collect())))
    }
}

impl Samples for ConsumerGroupDescribeRequest {
    fn samples(_: Uuid) -> Vec<Self> {
        let groups = ["consumers", "simple", "nobody", ""].map(group);
        let request = Self::default().with_group_ids(groups.into());
        let told = request.clone().with_include_authorized_operations(true);
        vec![request, told]
    }

    fn large() -> Option<Self> {
        Some(Self::default().with_group_ids(names().map(GroupId).collect()))
    }
}

impl Samples for ListGroupsRequest {
    fn samples(_: Uuid) -> Vec<Self> {
        let by_state = Self::default().with_states_filter(vec![text("Stable"), text("none")]);
        let by_type = by_state.clone().with_types_filter(vec![text("classic")]);
        vec![by_state, by_type]
    }

    fn large() -> Option<Self> {
        Some(Self::default().with_states_filter(names().collect()))
    }
}

impl Samples for DeleteGroupsRequest {
    fn samples(_: Uuid) -> Vec<Self> {
        let groups = ["simple", "nobody", ""].map(group);
        vec![Self::default().with_groups_names(groups.into())]
    }

    fn large() -> Option<Self> {
        Some(Self::default().with_groups_names(names().map(GroupId).collect()))
    }
}

impl Samples for OffsetDeleteRequest {
    fn samples(_: Uuid) -> Vec<Self> {
        use offset_delete_request::*;
        let partition = |index| OffsetDeleteRequestPartition::default().with_partition_index(index);
        let topic = |name| {
            OffsetDeleteRequestTopic::default()
                .with_name(name)
                .with_partitions((0..=PARTITIONS).map(partition).collect())
        };
        let request = Self::default().with_topics(topics().map(topic).into());
        vec![request.with_group_id(group("simple"))]
    }

    fn large() -> Option<Self> {
        use offset_delete_request::OffsetDeleteRequestTopic;
        let topic = |name| OffsetDeleteRequestTopic::default().with_name(TopicName(name));
        let request = Self::default().with_group_id(group("simple"));
        Some(request.with_topics(names().map(topic).collect()))
    }
}

impl Samples for ApiVersionsRequest {
    fn samples(_: Uuid) -> Vec<Self> {
        let named = Self::default().with_client_software_name(text("hostile"));
        vec![named.with_client_software_version(text("1.0"))]
    }
}

impl Samples for CreateTopicsRequest {
    fn samples(_: Uuid) -> Vec<Self> {
        use create_topics_request::*;
        let config = |(name, value)| {
            CreatableTopicConfig::default()
                .with_name(text(name))
                .with_value(Some(text(value)))
        };
        let assignment = CreatableReplicaAssignment::default().with_broker_ids(vec![BrokerId(1)]);
        let counted = CreatableTopic::default()
            .with_name(topic_name("made"))
            .with_num_partitions(1)
            .with_replication_factor(1)
            .with_configs(
                [("retention.ms", "100000"), ("none", "x")]
                    .map(config)
                    .into(),
            );
        let assigned = CreatableTopic::default()
            .with_name(topic_name("placed"))
            .with_num_partitions(-1)
            .with_replication_factor(-1)
            .with_assignments(vec![assignment]);
        let tried = Self::default().with_validate_only(true);
        vec![
            // Whatever is really made is small, lest damage makes ten thousand partitions each time.
            Self::default().with_topics(vec![assigned.clone()]),
            tried.clone().with_topics(vec![counted, assigned]),
            tried,
        ]
    }

    fn large() -> Option<Self> {
        use create_topics_request::CreatableTopic;
        let topic = |name| {
            CreatableTopic::default()
                .with_name(TopicName(name))
                .with_num_partitions(1)
                .with_replication_factor(1)
        };
        let tried = Self::default().with_validate_only(true);
        Some(tried.with_topics(names().map(topic).collect()))
    }
}

impl Samples for DeleteTopicsRequest {
    fn samples(_: Uuid) -> Vec<Self> {
        use delete_topics_request::DeleteTopicState;
        let by_name = |name| DeleteTopicState::default().with_name(Some(topic_name(name)));
        let by_id = DeleteTopicState::default().with_topic_id(Uuid::from_u128(1 << 77));
        vec![
            Self::default().with_topic_names(["made", "placed"].map(topic_name).into()),
            Self::default().with_topics(vec![by_name("made"), by_name("placed"), by_id]),
        ]
    }

    fn large() -> Option<Self> {
        use delete_topics_request::DeleteTopicState;
        let by_name = |name| DeleteTopicState::default().with_name(Some(TopicName(name)));
        Some(Self::default().with_topics(names().map(by_name).collect()))
    }
}

impl Samples for DeleteRecordsRequest {
    fn samples(_: Uuid) -> Vec<Self> {
        use delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
        let partition = |offset| DeleteRecordsPartition::default().with_offset(offset);
        let topic = |name| {
            DeleteRecordsTopic::default()
                .with_name(name)
                .with_partitions([-1, 0, 1 << 40].map(partition).into())
        };
        vec![Self::default().with_topics(topics().map(topic).into())]
    }

    fn large() -> Option<Self> {
        use delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
        let partition = |n| DeleteRecordsPartition::default().with_partition_index(n as i32);
        let topic = DeleteRecordsTopic::default()
            .with_name(topic_name(TOPIC))
            .with_partitions((0..MANY).map(partition).collect());
        Some(Self::default().with_topics(vec![topic]))
    }
}

impl Samples for InitProducerIdRequest {
    fn samples(_: Uuid) -> Vec<Self> {
        let plain = Self::default()
            .with_transactional_id(None)
            .with_transaction_timeout_ms(60_000);
        vec![
            plain.clone(),
            plain.clone().with_producer_id(ProducerId(3)),
            plain.with_transactional_id(Some(TransactionalId(text("t")))),
        ]
    }
}

impl Samples for OffsetForLeaderEpochRequest {
    fn samples(_: Uuid) -> Vec<Self> {
        use offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
        let partition = |epoch| OffsetForLeaderPartition::default().with_leader_epoch(epoch);
        let topic = |name| {
            OffsetForLeaderTopic::default()
                .with_topic(name)
                .with_partitions([0, -1, i32::MAX].map(partition).into())
        };
        vec![Self::default().with_topics(topics().map(topic).into())]
    }

    fn large() -> Option<Self> {
        use offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
        let partition = |n| OffsetForLeaderPartition::default().with_partition(n as i32);
        let topic = OffsetForLeaderTopic::default()
            .with_topic(topic_name(TOPIC))
            .with_partitions((0..MANY).map(partition).collect());
        Some(Self::default().with_topics(vec![topic]))
    }
}

/// A property that nothing here depends on, of the topic and of all brokers.
const RESOURCES: [(i8, &str, &str); 3] = [
    (2, TOPIC, "retention.ms"),
    (4, "", "num.network.threads"),
    (9, "x", "x"),
];

impl Samples for DescribeConfigsRequest {
    fn samples(_: Uuid) -> Vec<Self> {
        use describe_configs_request::DescribeConfigsResource;
        let resource = |(kind, name, key): (i8, &str, &str)| {
            let all = DescribeConfigsResource::default()
                .with_resource_type(kind)
                .with_resource_name(text(name))
                .with_configuration_keys(None);
            let some = all.clone().with_configuration_keys(Some(vec![text(key)]));
            Self::default().with_resources(vec![all, some])
        };
        RESOURCES.map(resource).into()
    }

    fn large() -> Option<Self> {
        use describe_configs_request::DescribeConfigsResource;
        let resource = DescribeConfigsResource::default()
            .with_resource_type(4)
            .with_resource_name(text("1"))
            .with_configuration_keys(None);
        let all = Self::default().with_include_documentation(true);
        Some(
            all.with_include_synonyms(true)
                .with_resources(vec![resource; 200]),
        )
    }
}

impl Samples for AlterConfigsRequest {
    fn samples(_: Uuid) -> Vec<Self> {
        use alter_configs_request::{AlterConfigsResource, AlterableConfig};
        let resource = |(kind, name, key): (i8, &str, &str)| {
            let config = AlterableConfig::default()
                .with_name(text(key))
                .with_value(Some(text("100000")));
            AlterConfigsResource::default()
                .with_resource_type(kind)
                .with_resource_name(text(name))
                .with_configs(vec![config])
        };
        vec![Self::default().with_resources(RESOURCES.map(resource).into())]
    }
}

impl Samples for IncrementalAlterConfigsRequest {
    fn samples(_: Uuid) -> Vec<Self> {
        use incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
        let resource = |(kind, name, key): (i8, &str, &str)| {
            let config = |operation| {
                AlterableConfig::default()
                    .with_name(text(key))
                    .with_config_operation(operation)
                    .with_value(Some(text("100000")))
            };
            let resource = AlterConfigsResource::default()
                .with_resource_type(kind)
                .with_resource_name(text(name));
            let with = |operation| resource.clone().with_configs(vec![config(operation)]);
            Self::default().with_resources((0..5).map(with).collect())
        };
        RESOURCES.map(resource).into()
    }

    fn large() -> Option<Self> {
        use incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
        let config = |name| AlterableConfig::default().with_name(name).with_value(None);
        let resource = AlterConfigsResource::default()
            .with_resource_type(2)
            .with_resource_name(text(TOPIC))
            .with_configs(names().map(config).collect());
        Some(Self::default().with_resources(vec![resource]))
    }
}

impl Samples for AlterReplicaLogDirsRequest {
    fn samples(_: Uuid) -> Vec<Self> {
        use alter_replica_log_dirs_request::{AlterReplicaLogDir, AlterReplicaLogDirTopic};
        let topic = |name| {
            AlterReplicaLogDirTopic::default()
                .with_name(name)
                .with_partitions(vec![0, 1, 9, -1])
        };
        let folder = |path| {
            AlterReplicaLogDir::default()
                .with_path(text(path))
                .with_topics(topics().map(topic).to_vec())
        };
        vec![
            Self::default(),
            Self::default().with_dirs(["", "/", "/nowhere"].map(folder).to_vec()),
        ]
    }
}

impl Samples for AlterPartitionReassignmentsRequest {
    fn samples(_: Uuid) -> Vec<Self> {
        use alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
        let partition = |index: i32, replicas: Option<&[i32]>| {
            let replicas = replicas.map(|ids| ids.iter().copied().map(BrokerId).collect());
            ReassignablePartition::default()
                .with_partition_index(index)
                .with_replicas(replicas)
        };
        let topic = |name| {
            ReassignableTopic::default()
                .with_name(name)
                .with_partitions(vec![
                    partition(0, Some(&[1])),
                    partition(1, None),
                    partition(9, Some(&[])),
                    partition(-1, Some(&[1, 1, -1])),
                ])
        };
        vec![
            Self::default(),
            Self::default().with_topics(topics().map(topic).to_vec()),
        ]
    }
}

impl Samples for ListPartitionReassignmentsRequest {
    fn samples(_: Uuid) -> Vec<Self> {
        use list_partition_reassignments_request::ListPartitionReassignmentsTopics;
        let topic = |name| {
            ListPartitionReassignmentsTopics::default()
                .with_name(name)
                .with_partition_indexes(vec![0, 1, 9, -1])
        };
        vec![
            Self::default().with_topics(None),
            Self::default().with_topics(Some(topics().map(topic).to_vec())),
        ]
    }
}

impl Samples for DescribeLogDirsRequest {
    fn samples(_: Uuid) -> Vec<Self> {
        use describe_log_dirs_request::DescribableLogDirTopic;
        let topic = |name| {
            DescribableLogDirTopic::default()
                .with_topic(name)
                .with_partitions(vec![0, 1, 9, -1])
        };
        let some = topics().map(topic).to_vec();
        vec![
            Self::default().with_topics(None),
            Self::default().with_topics(Some(some)),
        ]
    }

    fn large() -> Option<Self> {
        use describe_log_dirs_request::DescribableLogDirTopic;
        let topic = DescribableLogDirTopic::default()
            .with_topic(topic_name(TOPIC))
            .with_partitions((0..MANY as i32).collect());
        Some(Self::default().with_topics(Some(vec![topic])))
    }
}

impl Samples for CreatePartitionsRequest {
    fn samples(_: Uuid) -> Vec<Self> {
        use create_partitions_request::{CreatePartitionsAssignment, CreatePartitionsTopic};
        let assignment = CreatePartitionsAssignment::default().with_broker_ids(vec![BrokerId(1)]);
        let topic = |name| {
            CreatePartitionsTopic::default()
                .with_name(name)
                .with_count(PARTITIONS + 1)
        };
        let counted = topics().map(|name| topic(name).with_assignments(None));
        let assigned =
            topics().map(|name| topic(name).with_assignments(Some(vec![assignment.clone()])));
        let tried = Self::default().with_validate_only(true);
        [counted, assigned]
            .map(|topics| tried.clone().with_topics(topics.into()))
            .into()
    }

    fn large() -> Option<Self> {
        use create_partitions_request::CreatePartitionsTopic;
        let topic = |name| {
            CreatePartitionsTopic::default()
                .with_name(TopicName(name))
                .with_count(2)
        };
        let tried = Self::default().with_validate_only(true);
        Some(tried.with_topics(names().map(topic).collect()))
    }
}

impl Samples for ElectLeadersRequest {
    fn samples(_: Uuid) -> Vec<Self> {
        use elect_leaders_request::TopicPartitions;
        let topic = |name| {
            TopicPartitions::default()
                .with_topic(name)
                .with_partitions(vec![0, 1, 9, -1])
        };
        let some = topics().map(topic).to_vec();
        vec![
            Self::default().with_topic_partitions(None),
            Self::default().with_topic_partitions(Some(some.clone())),
            Self::default()
                .with_election_type(1)
                .with_topic_partitions(Some(some)),
        ]
    }

    fn large() -> Option<Self> {
        use elect_leaders_request::TopicPartitions;
        let topic = TopicPartitions::default()
            .with_topic(topic_name(TOPIC))
            .with_partitions((0..MANY as i32).collect());
        Some(Self::default().with_topic_partitions(Some(vec![topic])))
    }
}

impl Samples for DescribeQuorumRequest {
    fn samples(_: Uuid) -> Vec<Self> {
        use describe_quorum_request::{PartitionData, TopicData};
        let topic = |name: &str| {
            TopicData::default()
                .with_topic_name(topic_name(name))
                .with_partitions(vec![PartitionData::default()])
        };
        ["__cluster_metadata", TOPIC]
            .map(|name| Self::default().with_topics(vec![topic(name)]))
            .into()
    }

    fn large() -> Option<Self> {
        use describe_quorum_request::{PartitionData, TopicData};
        let partition = |n| PartitionData::default().with_partition_index(n as i32);
        let topic = TopicData::default()
            .with_topic_name(topic_name("__cluster_metadata"))
            .with_partitions((0..MANY).map(partition).collect());
        Some(Self::default().with_topics(vec![topic]))
    }
}

impl Samples for DescribeClusterRequest {
    fn samples(_: Uuid) -> Vec<Self> {
        vec![
            Self::default().with_include_cluster_authorized_operations(true),
            Self::default().with_endpoint_type(2),
        ]
    }
}

impl Samples for ListConfigResourcesRequest {
    fn samples(_: Uuid) -> Vec<Self> {
        vec![Self::default().with_resource_types(vec![2, 4, 8, 16, 32, 99])]
    }

    fn large() -> Option<Self> {
        Some(Self::default().with_resource_types(vec![2; MANY]))
    }
}

impl Samples for DescribeTopicPartitionsRequest {
    fn samples(_: Uuid) -> Vec<Self> {
        use describe_topic_partitions_request::{Cursor, TopicRequest};
        let topic = |name| TopicRequest::default().with_name(name);
        let some = Self::default()
            .with_topics(topics().map(topic).into())
            .with_response_partition_limit(1);
        let cursor = Cursor::default()
            .with_topic_name(topic_name(TOPIC))
            .with_partition_index(1);
        vec![
            some.clone(),
            some.with_cursor(Some(cursor)),
            Self::default(),
        ]
    }

    fn large() -> Option<Self> {
        use describe_topic_partitions_request::TopicRequest;
        let topic = |name| TopicRequest::default().with_name(TopicName(name));
        let many = Self::default().with_topics(names().map(topic).collect());
        Some(many.with_response_partition_limit(i32::MAX))
    }
}
