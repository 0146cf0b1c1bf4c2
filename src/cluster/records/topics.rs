//! Topics, their partitions and the configuration of any resource.

use uuid::Uuid;

use crate::schema::structures;

/// Of [`PartitionChangeRecord::leader`]: the leader stays, and with it the leader epoch.
pub const LEADER_UNCHANGED: i32 = -2;
/// Of a partition's leader: there is none.
pub const NO_LEADER: i32 = -1;

structures! {
    TopicRecord {
        name: String,
        topic_id: Uuid,
    }

    /// A new partition. All epochs start at zero.
    PartitionRecord {
        partition_id: i32,
        topic_id: Uuid,
        replicas: Vec<i32>,
        isr: Vec<i32>,
        removing_replicas: Vec<i32>,
        adding_replicas: Vec<i32>,
        leader: i32,
        leader_recovery_state: i8 [tag 0 since 0 default 0],
        leader_epoch: i32,
        partition_epoch: i32,
        directories: Vec<Uuid> [since 1],
        eligible_leader_replicas: Option<Vec<i32>> [tag 1 since 2 default None],
        last_known_elr: Option<Vec<i32>> [tag 2 since 2 default None],
    }

    /// What changes of a partition; `None` (or [`LEADER_UNCHANGED`], -1 for the recovery state)
    /// leaves a property as it is. Naming a leader, even the same one, raises the leader epoch.
    PartitionChangeRecord {
        partition_id: i32,
        topic_id: Uuid,
        isr: Option<Vec<i32>> [tag 0 since 0 default None],
        leader: i32 [tag 1 since 0 default LEADER_UNCHANGED],
        replicas: Option<Vec<i32>> [tag 2 since 0 default None],
        removing_replicas: Option<Vec<i32>> [tag 3 since 0 default None],
        adding_replicas: Option<Vec<i32>> [tag 4 since 0 default None],
        leader_recovery_state: i8 [tag 5 since 0 default -1],
        eligible_leader_replicas: Option<Vec<i32>> [tag 6 since 2 default None],
        last_known_elr: Option<Vec<i32>> [tag 7 since 2 default None],
        directories: Option<Vec<Uuid>> [tag 8 since 1 default None],
    }

    /// Removes the topic with its partitions and its configuration.
    RemoveTopicRecord {
        topic_id: Uuid,
    }

    /// Forgets the eligible leader replicas of one topic, or of all when the name is empty.
    ClearElrRecord {
        topic_name: String,
    }

    /// Sets one property of one resource, or removes it when there is no value.
    ConfigRecord {
        resource_type: i8,
        resource_name: String,
        name: String,
        value: Option<String>,
    }

    /// The producer ids below `next_producer_id` are given away.
    ProducerIdsRecord {
        broker_id: i32,
        broker_epoch: i64,
        next_producer_id: i64,
    }
}
