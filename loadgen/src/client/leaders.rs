//! What only the leader of a partition answers: its first record, and where it ends.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::list_offsets_response::ListOffsetsPartitionResponse;
use kafka_protocol::messages::{BrokerId, ListOffsetsRequest};

use super::{
    Backoff, Client, PRODUCE_VERSION, error_name, is_retriable, produce_request_for, topic_name,
    wall_ms,
};
use crate::batch;
use crate::cluster::brokers;
use crate::workload::Codec;

/// That has nothing newer than these.
pub const LIST_OFFSETS_VERSION: i16 = 7;
const LATEST: i64 = -1;
/// Asks for where a log starts.
pub const EARLIEST: i64 = -2;
const PRIMED_AT_ONCE: usize = 500;

/// The brokers that lead the partitions of a topic, each with a connection of its own if there are several.
struct Leaders<'a> {
    /// Where they are asked for.
    first: &'a mut Client,
    /// All brokers; none if there is but the first one.
    brokers: BTreeMap<i32, Vec<SocketAddr>>,
    others: BTreeMap<i32, Client>,
}

impl<'a> Leaders<'a> {
    fn new(first: &'a mut Client) -> Self {
        Self {
            first,
            brokers: BTreeMap::new(),
            others: BTreeMap::new(),
        }
    }

    /// These partitions by the id of their leader, which is -1 where there is none.
    fn share(&mut self, topic: &str, partitions: &[i32]) -> Result<BTreeMap<i32, Vec<i32>>> {
        let reply = self.first.metadata(&[topic.to_owned()])?;
        self.brokers = match reply.brokers.len() {
            0 | 1 => BTreeMap::new(),
            _ => brokers(&reply)?,
        };
        let found = reply.topics.iter().flat_map(|topic| &topic.partitions);
        let leaders: BTreeMap<i32, i32> = found
            .map(|partition| (partition.partition_index, partition.leader_id.0))
            .collect();
        let mut shares: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
        for partition in partitions {
            let leader = leaders.get(partition).copied().unwrap_or(-1);
            shares.entry(leader).or_default().push(*partition);
        }
        Ok(shares)
    }

    /// None if it cannot be reached.
    fn client(&mut self, leader: i32) -> Option<&mut Client> {
        if self.brokers.is_empty() {
            return Some(self.first);
        }
        if !self.others.contains_key(&leader) {
            let mut addresses = self.brokers.get(&leader)?.iter();
            let client = addresses.find_map(|address| Client::connect(*address).ok())?;
            self.others.insert(leader, client);
        }
        self.others.get_mut(&leader)
    }
}

/// The batch of one record that [`Client::prime`] appends to each partition.
pub fn primer() -> Bytes {
    let now_ms = wall_ms();
    let mut batch = batch::Builder::new(now_ms);
    // With a key: topics that are compacted take no record without one.
    batch.push(now_ms, Some(b"primed"), b"primed");
    Bytes::from(batch.finish(batch::Producer::NONE, Codec::None))
}

impl Client {
    /// Appends one small record to each partition, trying again where the broker asks for it, so that a measurement
    /// starts with every partition ready. Kafka needs seconds for that after it created thousands.
    pub fn prime(&mut self, topic: &str, partitions: i32, patience: Duration) -> Result<()> {
        let mut backoff = Backoff::within(patience);
        let batch = primer();
        let mut leaders = Leaders::new(self);
        let mut waiting: Vec<i32> = (0..partitions).collect();
        while !waiting.is_empty() {
            let mut refused = Vec::new();
            for (leader, led) in leaders.share(topic, &waiting)? {
                let Some(client) = leaders.client(leader) else {
                    let code = ResponseError::LeaderNotAvailable.code();
                    refused.extend(led.into_iter().map(|index| (index, code)));
                    continue;
                };
                for some in led.chunks(PRIMED_AT_ONCE) {
                    refused.extend(client.prime_some(topic, some, &batch)?);
                }
            }
            if let Some(&(partition, error_code)) = refused.first() {
                ensure!(
                    is_retriable(error_code) && backoff.wait(),
                    "first record of {topic}-{partition}: {}",
                    error_name(error_code)
                );
            }
            waiting = refused
                .into_iter()
                .map(|(partition, _)| partition)
                .collect();
        }
        Ok(())
    }

    /// The same once, to partitions that this broker leads. Which of them it refused, and why.
    fn prime_some(
        &mut self,
        topic: &str,
        partitions: &[i32],
        batch: &Bytes,
    ) -> Result<Vec<(i32, i16)>> {
        let request = produce_request_for(topic, partitions, -1, batch);
        let reply = self.ask(&request, PRODUCE_VERSION)?;
        let topics = reply.responses.iter();
        let outcomes: Vec<_> = topics.flat_map(|it| &it.partition_responses).collect();
        ensure!(
            outcomes.len() == partitions.len(),
            "{} outcomes for {} partitions",
            outcomes.len(),
            partitions.len()
        );
        let refused = outcomes.iter().filter(|it| it.error_code != 0);
        Ok(refused.map(|it| (it.index, it.error_code)).collect())
    }

    /// The log end offset of each partition.
    pub fn end_offsets(&mut self, topic: &str, partitions: i32) -> Result<Vec<i64>> {
        let mut leaders = Leaders::new(self);
        let all: Vec<i32> = (0..partitions).collect();
        let mut ends = vec![None; partitions as usize];
        for (leader, led) in leaders.share(topic, &all)? {
            let client = leaders.client(leader);
            let client = client.with_context(|| format!("{topic}-{} has no leader", led[0]))?;
            for (index, end) in client.ends_of(topic, &led)? {
                *ends
                    .get_mut(index as usize)
                    .context("an end offset that was not asked for")? = Some(end);
            }
        }
        ends.into_iter()
            .collect::<Option<_>>()
            .ok_or_else(|| anyhow!("end offsets are missing in the reply"))
    }

    /// The same of partitions that this broker leads.
    fn ends_of(&mut self, topic: &str, partitions: &[i32]) -> Result<Vec<(i32, i64)>> {
        let asked = partitions.iter().map(|index| {
            ListOffsetsPartition::default()
                .with_partition_index(*index)
                .with_timestamp(LATEST)
        });
        let asked = ListOffsetsTopic::default()
            .with_name(topic_name(topic))
            .with_partitions(asked.collect());
        let request = ListOffsetsRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_topics(vec![asked]);
        let reply = self.ask(&request, LIST_OFFSETS_VERSION)?;
        let found = reply.topics.iter().flat_map(|topic| &topic.partitions);
        let end = |found: &ListOffsetsPartitionResponse| {
            let index = found.partition_index;
            ensure!(
                found.error_code == 0,
                "end of {topic}-{index}: {}",
                error_name(found.error_code)
            );
            Ok((index, found.offset))
        };
        found.map(end).collect()
    }
}
