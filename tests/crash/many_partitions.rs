//! More partitions than the process may open files.

use std::time::{Duration, Instant};

use bytes::Bytes;
use corelog_bench::fetch::{self, Fetcher, Limits};
use corelog_loadgen::batch::{self, Producer, whole_batches};
use corelog_loadgen::client::{self, Client, PRODUCE_VERSION, error_name};
use kafka_protocol::messages::ProduceRequest;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};

use crate::harness::{Broker, Launch};
use crate::random::Random;
use crate::stamp::{self, Stamp};
use crate::turn;

const TOPICS: u32 = 10;
const PARTITIONS: i32 = 1_000;
const AT_ONCE: i32 = 250;
const FILLER_BYTES: usize = 100;
const LIMIT: &str = "--nofile=4096:4096";

#[test]
fn ten_thousand_partitions_with_4096_files() {
    turn::run("many-partitions", || {
        turn::needs_prlimit(LIMIT)?;
        let mut broker = Broker::launch(Launch {
            overrides: &["corelog.journal.bytes=67108864"],
            under: &["prlimit", LIMIT],
            ..Launch::default()
        });
        let begin = Instant::now();
        let done = |what| println!("{what} after {:.1?}", begin.elapsed());
        let mut client = Client::connect(broker.address()).expect("a connection");
        for topic in 0..TOPICS {
            client
                .create_topic(&name(topic), PARTITIONS, &[])
                .expect("a topic");
        }
        done("created");
        append_to_all(&mut client, 0);
        done("appended");
        verify(&broker, 1);
        broker.kill9();
        broker.restart();
        done("up again");
        verify(&broker, 1);
        let mut client = Client::connect(broker.address()).expect("a connection");
        append_to_all(&mut client, 1);
        done("appended again");
        broker.stop();
        done("stopped");
        broker.restart();
        done("up once more");
        verify(&broker, 2);
        done("all found");
        Ok(())
    });
}

fn name(topic: u32) -> String {
    format!("many-{topic}")
}

fn stamp_of(topic: u32, partition: i32, sequence: u64) -> Stamp {
    Stamp {
        writer: topic * 100_000 + partition as u32,
        sequence,
    }
}

fn append_to_all(client: &mut Client, sequence: u64) {
    let mut random = Random::new(sequence);
    for topic in 0..TOPICS {
        for first in (0..PARTITIONS).step_by(AT_ONCE as usize) {
            let data = (first..first + AT_ONCE).map(|partition| {
                let stamp = stamp_of(topic, partition, sequence);
                let record = stamp::write(stamp, FILLER_BYTES, &mut random);
                let batch = batch::encode(Producer::NONE, client::wall_ms(), [record.as_slice()]);
                PartitionProduceData::default()
                    .with_index(partition)
                    .with_records(Some(Bytes::from(batch)))
            });
            let data = TopicProduceData::default()
                .with_name(client::topic_name(&name(topic)))
                .with_partition_data(data.collect());
            let request = ProduceRequest::default()
                .with_acks(-1)
                .with_timeout_ms(30_000)
                .with_topic_data(vec![data]);
            let reply = client.call(&request, PRODUCE_VERSION).expect("a reply");
            let mut outcomes = 0;
            for outcome in reply
                .responses
                .iter()
                .flat_map(|it| &it.partition_responses)
            {
                let code = outcome.error_code;
                assert_eq!(
                    code,
                    0,
                    "{}-{}: {}",
                    name(topic),
                    outcome.index,
                    error_name(code)
                );
                assert_eq!(outcome.base_offset, sequence as i64);
                outcomes += 1;
            }
            assert_eq!(outcomes, AT_ONCE);
        }
    }
}

/// Panics unless each partition holds just its first so many records.
fn verify(broker: &Broker, records: u64) {
    let mut fetcher = Fetcher::connect(broker.address()).expect("a connection");
    let limits = Limits {
        reply_bytes: 50 << 20,
        partition_bytes: 1 << 20,
        wait: Duration::from_millis(100),
    };
    for topic in 0..TOPICS {
        let request = fetch::request(&name(topic), (0..PARTITIONS).map(|p| (p, 0)), limits);
        let mut found = 0;
        fetcher
            .fetch(&request, |partition, bytes| {
                let mut sequence = 0;
                for batch in whole_batches(bytes) {
                    batch.records(|offset, value| {
                        let stamp = stamp::read(value).map(|(_, stamp)| stamp);
                        assert_eq!(stamp, Some(stamp_of(topic, partition, sequence)));
                        assert_eq!(offset, sequence as i64);
                        sequence += 1;
                        Ok(())
                    })?;
                }
                assert_eq!(sequence, records, "{}-{partition}", name(topic));
                found += 1;
                Ok(())
            })
            .expect("a fetch");
        assert_eq!(found, PARTITIONS, "partitions of {}", name(topic));
    }
}
