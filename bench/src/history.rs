//! A history of keyed records: the same ones each time, written as fast as a broker takes them.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use bytes::Bytes;
use kafka_protocol::messages::ProduceRequest;

use crate::replay::incompressible;
use corelog_loadgen::batch::{Builder, Producer};
use corelog_loadgen::client::{
    self, Client, PRODUCE_VERSION, connect_within, produce_outcome, produce_request,
};
use corelog_loadgen::schedule::choice::{KeyChoice, Random};
use corelog_loadgen::workload::{Codec, Keys};

const VALUE_BYTES: usize = 1_024;
/// What a producer of Kafka's puts into a batch by default.
const RECORDS_A_BATCH: usize = 16;
/// Of keys: a few are written again and again, most of them some times.
const ZIPF_EXPONENT: f64 = 0.99;
/// Records for each key there is.
const RECORDS_A_KEY: u64 = 10;
const SEED: u64 = 1;
const IN_FLIGHT: usize = 16;
/// Until each partition takes records.
const PATIENCE: Duration = Duration::from_secs(120);

/// What is written, to each partition of a topic in turn.
#[derive(Clone, Debug)]
pub struct History {
    pub topic: String,
    pub partitions: i32,
    /// Of each segment at most; the topic has this as `segment.bytes`.
    pub segment_bytes: u64,
    /// Of all values together.
    pub value_bytes: u64,
}

/// What brokers have of one partition of it, which is the same for all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Written {
    /// Of the batches in segments that others follow: compaction leaves the last one alone.
    pub finished_bytes: u64,
    /// Of the batches in the last segment, behind the finished ones.
    pub active_bytes: u64,
    /// Where the last segment begins.
    pub active_offset: i64,
    end_offset: i64,
}

impl Written {
    /// Adds a batch as brokers do: one that the last segment has no room for begins another.
    fn add(&mut self, records: usize, bytes: u64, segment_bytes: u64) {
        if self.active_bytes + bytes > segment_bytes {
            self.finished_bytes += std::mem::take(&mut self.active_bytes);
            self.active_offset = self.end_offset;
        }
        self.active_bytes += bytes;
        self.end_offset += records as i64;
    }
}

impl History {
    /// Creates the topic with these configs besides its own, and writes everything behind a first record in each partition.
    /// What each has then.
    pub fn write(&self, addr: SocketAddr, configs: &[(&str, &str)]) -> Result<Vec<Written>> {
        let segment_bytes = self.segment_bytes.to_string();
        let mut all = vec![("segment.bytes", segment_bytes.as_str())];
        all.extend_from_slice(configs);
        let mut client = connect_within(addr, Duration::from_secs(10))?;
        client.create_topic(&self.topic, self.partitions, &all)?;
        client.prime(&self.topic, self.partitions, PATIENCE)?;
        let mut primed = Written::default();
        primed.add(1, client::primer().len() as u64, self.segment_bytes);
        let mut written = vec![primed; self.partitions as usize];
        let mut in_flight = VecDeque::with_capacity(IN_FLIGHT);
        for ((records, batch), partition) in self.batches().zip((0..self.partitions).cycle()) {
            let of_partition = &mut written[partition as usize];
            of_partition.add(records, batch.len() as u64, self.segment_bytes);
            if in_flight.len() == IN_FLIGHT {
                self.acknowledged(&mut client, &mut in_flight)?;
            }
            let request = produce_request(&self.topic, partition, -1, &batch);
            in_flight.push_back(client.send(&request, PRODUCE_VERSION)?);
        }
        while !in_flight.is_empty() {
            self.acknowledged(&mut client, &mut in_flight)?;
        }
        Ok(written)
    }

    fn acknowledged(&self, client: &mut Client, in_flight: &mut VecDeque<i32>) -> Result<()> {
        if let Some(oldest) = in_flight.pop_front() {
            let reply = client.receive::<ProduceRequest>(PRODUCE_VERSION, oldest)?;
            let (code, _) = produce_outcome(&reply)?;
            let error = client::error_name(code);
            ensure!(code == 0, "writing {}: {error}", self.topic);
        }
        Ok(())
    }

    /// With the number of records of each.
    fn batches(&self) -> impl Iterator<Item = (usize, Bytes)> {
        let records = self.value_bytes / VALUE_BYTES as u64;
        let keys = (records / RECORDS_A_KEY).max(1);
        let keys = KeyChoice::new(&Keys::Zipf(keys, ZIPF_EXPONENT));
        let mut random = Random::new(SEED);
        let now_ms = client::wall_ms();
        (0..records).step_by(RECORDS_A_BATCH).map(move |first| {
            let mut batch = Builder::new(now_ms);
            let of_batch = first..records.min(first + RECORDS_A_BATCH as u64);
            let count = of_batch.clone().count();
            for record in of_batch {
                let key = keys.next(&mut random).unwrap_or_default();
                let value = incompressible(record, VALUE_BYTES);
                batch.push(now_ms, Some(format!("{key:012}").as_bytes()), &value);
            }
            let batch = batch.finish(Producer::NONE, Codec::None);
            (count, Bytes::from(batch))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use corelog_loadgen::batch::HEADER_BYTES;

    #[test]
    fn a_history_is_the_same_each_time_but_for_its_timestamps() {
        let history = History {
            topic: "t".to_owned(),
            partitions: 1,
            segment_bytes: 1 << 20,
            value_bytes: 40 << 10,
        };
        let batches = || {
            let records = |(count, batch): (usize, Bytes)| (count, batch.slice(HEADER_BYTES..));
            history.batches().map(records).collect::<Vec<_>>()
        };
        let counts: Vec<usize> = batches().iter().map(|(count, _)| *count).collect();
        assert_eq!(counts, [16, 16, 8]);
        assert_eq!(batches(), batches());
    }

    #[test]
    fn a_segment_ends_before_the_batch_that_it_has_no_room_for() {
        let mut written = Written::default();
        let finished = [60, 40, 1, 100, 30].map(|bytes| {
            written.add(2, bytes, 100);
            written.finished_bytes
        });
        assert_eq!(finished, [0, 0, 100, 101, 201]);
        assert_eq!((written.active_bytes, written.active_offset), (30, 8));
    }
}
