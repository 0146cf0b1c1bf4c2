//! Groups of the consumer protocol (KIP-848).

use bytes::Bytes;
use uuid::Uuid;

use crate::schema::structures;

structures! {
    /// `metadata_hash` is that of all topics subscribed to, 0 if it is not known.
    ConsumerGroupMetadataValue {
        epoch: i32,
        metadata_hash: i64 [tag 0 since 0 default 0],
    }

    /// What groups knew of their topics before they had a metadata hash.
    ConsumerGroupPartitionMetadataValue {
        topics: Vec<TopicMetadata>,
    }

    TopicMetadata {
        topic_id: Uuid,
        topic_name: String,
        num_partitions: i32,
        partition_metadata: Vec<PartitionMetadata>,
    }

    PartitionMetadata {
        partition: i32,
        racks: Vec<String>,
    }

    /// `classic_member_metadata` is there for members that still speak the classic protocol. Null is
    /// written and an empty one left out: Kafka 4.3 takes what its schema calls a default of null for
    /// one of an empty structure.
    ConsumerGroupMemberMetadataValue {
        instance_id: Option<String>,
        rack_id: Option<String>,
        client_id: String,
        client_host: String,
        subscribed_topic_names: Vec<String>,
        subscribed_topic_regex: Option<String>,
        rebalance_timeout_ms: i32 [since 0 default -1],
        server_assignor: Option<String>,
        classic_member_metadata: Option<ClassicMemberMetadata>
            [tag 0 since 0 default Some(ClassicMemberMetadata::default())],
    }

    ClassicMemberMetadata {
        session_timeout_ms: i32,
        supported_protocols: Vec<ClassicProtocol>,
    }

    ClassicProtocol {
        name: String,
        metadata: Bytes,
    }

    /// `assignment_timestamp`: milliseconds since 1970 at which the assignment was made, 0 if it is
    /// not known.
    ConsumerGroupTargetAssignmentMetadataValue {
        assignment_epoch: i32,
        assignment_timestamp: i64 [tag 0 since 0 default 0],
    }

    ConsumerGroupTargetAssignmentMemberValue {
        topic_partitions: Vec<TargetTopicPartitions>,
    }

    TargetTopicPartitions {
        topic_id: Uuid,
        partitions: Vec<i32>,
    }

    /// `state` is a number of Kafka's `MemberState`.
    ConsumerGroupCurrentMemberAssignmentValue {
        member_epoch: i32,
        previous_member_epoch: i32,
        state: i8,
        assigned_partitions: Vec<CurrentTopicPartitions>,
        partitions_pending_revocation: Vec<CurrentTopicPartitions>,
    }

    /// `assignment_epochs`: the epoch at which the member got each of `partitions`. Where there are
    /// not as many, as in records of Kafka before 4.3, the member's epoch stands for all of them.
    CurrentTopicPartitions {
        topic_id: Uuid,
        partitions: Vec<i32>,
        assignment_epochs: Option<Vec<i32>> [tag 0 since 0 default Some(Vec::new())],
    }

    /// `version` is that of the cluster's metadata the expression was resolved with, `timestamp` the
    /// milliseconds since 1970 at which it was.
    ConsumerGroupRegularExpressionValue {
        topics: Vec<String>,
        version: i64,
        timestamp: i64,
    }
}
