//! A cluster in memory for tests: decisions go through the bytes of a log before they take effect.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::*;
use crate::cluster::bootstrap::bootstrap_records;
use crate::cluster::image::Replayer;
use crate::cluster::log_codec::{self, BatchPlace};
use crate::cluster::records::{BrokerRegistrationChangeRecord, RegisterBrokerRecord};

pub(super) struct Cluster {
    pub(super) replayer: Replayer,
    pub(super) policy: Policy,
    pub(super) file: Properties,
    pub(super) preferred: PreferredDirectories,
    pub(super) cordoned: Vec<Uuid>,
    random: u64,
}

impl Cluster {
    pub(super) fn empty() -> Self {
        Self {
            replayer: Replayer::new(Image::empty("c")),
            policy: Policy {
                node_id: 1,
                default_partitions: 3,
                default_replication_factor: 1,
                topics_can_be_deleted: true,
            },
            file: Properties::new(),
            preferred: PreferredDirectories::new(),
            cordoned: Vec::new(),
            random: 1,
        }
    }

    /// A cluster of serving brokers with these ids and no racks.
    pub(super) fn of(brokers: &[i32]) -> Self {
        let mut cluster = Self::empty();
        cluster.commit(bootstrap_records());
        for id in brokers {
            cluster.add_broker(*id, None, false);
        }
        cluster
    }

    pub(super) fn add_broker(&mut self, id: i32, rack: Option<&str>, fenced: bool) {
        let record = RegisterBrokerRecord {
            broker_id: id,
            broker_epoch: i64::from(id) * 10,
            rack: rack.map(str::to_owned),
            fenced,
            log_dirs: vec![dir_of(id)],
            ..Default::default()
        };
        self.commit(vec![record.into()]);
    }

    /// A serving broker with these directories.
    pub(super) fn add_broker_with(&mut self, id: i32, log_dirs: Vec<Uuid>) {
        let record = RegisterBrokerRecord {
            broker_id: id,
            broker_epoch: i64::from(id) * 10,
            log_dirs,
            ..Default::default()
        };
        self.commit(vec![record.into()]);
    }

    pub(super) fn set_fenced(&mut self, id: i32, fenced: bool) {
        let record = BrokerRegistrationChangeRecord {
            broker_id: id,
            broker_epoch: i64::from(id) * 10,
            fenced: if fenced { 1 } else { -1 },
            ..Default::default()
        };
        self.commit(vec![record.into()]);
    }

    pub(super) fn image(&self) -> &Image {
        self.replayer.image()
    }

    pub(super) fn next_offset(&self) -> i64 {
        self.image().last_offset + 1
    }

    /// Takes a decision, without its effect.
    pub(super) fn decide<R>(
        &mut self,
        decide: impl FnOnce(&mut Context<'_>) -> Decision<R>,
    ) -> Decision<R> {
        let random = &mut self.random;
        decide(&mut Context {
            image: self.replayer.image(),
            directories: self.replayer.directories(),
            placed: DirectoryCounts::default(),
            preferred: &self.preferred,
            cordoned: &self.cordoned,
            policy: &self.policy,
            file: &self.file,
            random_u64: &mut || {
                *random = random
                    .wrapping_mul(6364136223846793005)
                    .wrapping_add(1442695040888963407);
                *random ^ (*random >> 32)
            },
        })
    }

    /// Takes a decision and lets its records take effect.
    pub(super) fn run<R>(&mut self, decide: impl FnOnce(&mut Context<'_>) -> Decision<R>) -> R {
        let decision = self.decide(decide);
        self.commit(decision.records);
        decision.reply
    }

    pub(super) fn commit(&mut self, records: Vec<Record>) {
        if records.is_empty() {
            return;
        }
        let place = BatchPlace {
            base_offset: self.next_offset(),
            leader_epoch: 1,
            timestamp_ms: 0,
        };
        let version = self.image().metadata_version();
        let bytes = log_codec::encode_batch(&records, version, place);
        log_codec::replay(&bytes, &mut self.replayer).expect("decisions fit the image");
    }

    /// Makes a topic whose partitions have these replicas.
    pub(super) fn add_topic(&mut self, name: &str, replicas: &[&[i32]]) -> Uuid {
        let assignments = (0..).zip(replicas.iter().map(|ids| ids.to_vec())).collect();
        let request = CreateTopics {
            topics: vec![NewTopic {
                assignments,
                ..NewTopic::automatic(name)
            }],
            validate_only: false,
        };
        let reply = self.run(|context| create_topics(context, &request));
        reply[0].1.as_ref().expect("a good topic").id
    }

    /// Leader, in-sync set and leader epoch of each partition of a topic.
    pub(super) fn leaders(&self, topic: &str) -> Vec<(i32, Vec<i32>, i32)> {
        let topic = self.image().topics.by_name(topic).expect("a topic");
        let partitions = topic.partitions.values();
        partitions
            .map(|partition| {
                (
                    partition.leader,
                    partition.isr.clone(),
                    partition.leader_epoch,
                )
            })
            .collect()
    }
}

pub(super) fn dir_of(broker: i32) -> Uuid {
    Uuid::from_u128(1000 + broker as u128)
}

/// Kind and text of an error, for tables.
pub(super) fn refusal<T: std::fmt::Debug>(
    result: &Result<T, ControlError>,
) -> (ControlErrorKind, &str) {
    let error = result.as_ref().expect_err("a refusal");
    (error.kind, error.message.as_deref().unwrap_or_default())
}

pub(super) fn properties(pairs: &[(&str, &str)]) -> Properties {
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    pairs.iter().map(own).collect::<BTreeMap<_, _>>()
}
