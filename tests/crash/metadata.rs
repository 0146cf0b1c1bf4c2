//! What the broker knows of its topics, whatever became of their records.

use std::fs;
use std::time::{Duration, Instant};

use bytes::Bytes;
use corelog_loadgen::batch::{self, Producer};
use corelog_loadgen::client::{self, Client, PRODUCE_VERSION, produce_outcome, produce_request};

use crate::harness::{Broker, Launch};
use crate::random::Random;
use crate::turn;

/// Appends one record to partition 0 of a topic: error code and offset.
fn append(client: &mut Client, topic: &str) -> (i16, i64) {
    let record = batch::encode(Producer::NONE, client::wall_ms(), [&b"a record"[..]]);
    let request = produce_request(topic, 0, -1, &Bytes::from(record));
    let reply = client.call(&request, PRODUCE_VERSION).expect("a reply");
    produce_outcome(&reply).expect("one outcome")
}

#[test]
fn topics_are_known_after_a_kill_whatever_the_default_durability() {
    turn::run("metadata-durability", || {
        let mut broker = Broker::start(&["corelog.log.durability=memory"]);
        for round in 0..5 {
            let topic = format!("kept-{round}");
            let mut client = Client::connect(broker.address()).expect("a connection");
            client
                .create_topic(&topic, 1, &[("corelog.durability", "sync")])
                .expect("a topic");
            assert_eq!(append(&mut client, &topic), (0, 0));
            broker.kill9();
            broker.restart();
            let mut client = Client::connect(broker.address()).expect("a connection");
            assert_eq!(client.end_offsets(&topic, 1).expect("offsets"), [1]);
        }
        Ok(())
    });
}

#[test]
fn a_folder_of_a_topic_that_nobody_knows_is_set_aside_and_kept() {
    turn::run("stray-folder", || {
        let mut broker = Broker::start(&[]);
        let mut client = Client::connect(broker.address()).expect("a connection");
        client.create_topic("known", 1, &[]).expect("a topic");
        assert_eq!(append(&mut client, "known"), (0, 0));
        broker.stop();
        let stray = broker.folder().join("gone-3");
        fs::create_dir(&stray).expect("a folder");
        fs::write(
            stray.join("partition.metadata"),
            "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAew",
        )
        .expect("a file");
        fs::write(stray.join("00000000000000000000.log"), b"old").expect("a file");

        broker.restart();
        let names = fs::read_dir(broker.folder()).expect("a folder");
        let names: Vec<String> = names
            .map(|entry| {
                entry
                    .expect("an entry")
                    .file_name()
                    .into_string()
                    .expect("text")
            })
            .collect();
        assert!(!stray.exists(), "{names:?}");
        let aside = names
            .iter()
            .find(|name| name.starts_with("gone-3.") && name.ends_with("-stray"));
        let kept = broker.folder().join(aside.expect("a stray folder"));
        let kept = fs::read(kept.join("00000000000000000000.log"));
        assert_eq!(kept.expect("its file"), b"old");
        let mut client = Client::connect(broker.address()).expect("a connection");
        assert_eq!(append(&mut client, "known"), (0, 1));
        Ok(())
    });
}

#[test]
fn topics_that_are_deleted_and_made_again_after_a_start_take_records() {
    turn::run("topics-made-again", || {
        // Their new ids give half of the partitions to the other shard, on average.
        let mut broker = Broker::launch(Launch {
            arguments: &["--cores", "2"],
            ..Launch::default()
        });
        let topics: Vec<String> = (0..8).map(|n| format!("t{n}")).collect();
        let mut client = Client::connect(broker.address()).expect("a connection");
        for topic in &topics {
            client.create_topic(topic, 1, &[]).expect("a topic");
            assert_eq!(append(&mut client, topic), (0, 0));
        }
        broker.stop();
        for topic in &topics {
            let dir = broker.folder().join(format!("{topic}-0"));
            assert!(dir.is_dir(), "no folder of {topic}");
        }

        broker.restart();
        let mut client = Client::connect(broker.address()).expect("a connection");
        // Twice: a folder may come back to the shard that had it first.
        for _ in 0..2 {
            for topic in &topics {
                client.delete_topic(topic).expect("deleted");
                client.create_topic(topic, 1, &[]).expect("a topic");
                client
                    .prime(topic, 1, Duration::from_secs(5))
                    .expect("a record");
                assert_eq!(append(&mut client, topic), (0, 1), "{topic}");
            }
        }
        drop(client);
        broker.restart();
        let mut client = Client::connect(broker.address()).expect("a connection");
        for topic in &topics {
            assert_eq!(client.end_offsets(topic, 1).expect("offsets"), [2]);
        }
        let log = broker.log();
        assert!(!log.contains("cannot open a partition"), "{log}");
        Ok(())
    });
}

/// The files of the metadata log whose names end so.
fn metadata_files(broker: &Broker, suffix: &str) -> Vec<String> {
    let entries = fs::read_dir(broker.folder().join("__cluster_metadata-0")).expect("a folder");
    let names = entries.map(|entry| entry.expect("an entry").file_name().into_string());
    let mut names: Vec<String> = names.map(|name| name.expect("text")).collect();
    names.retain(|name| name.ends_with(suffix));
    names.sort();
    names
}

#[test]
fn topics_are_known_after_kills_while_the_metadata_log_is_cut_behind_snapshots() {
    turn::run("metadata-snapshots", || {
        let mut broker = Broker::start(&[
            "metadata.log.max.record.bytes.between.snapshots=3000",
            "metadata.max.retention.bytes=8000",
            "internal.metadata.log.segment.bytes=5000",
            "internal.metadata.delete.delay.millis=10",
        ]);
        let mut random = Random::new(Random::seed_from("CORELOG_SEED"));
        let mut kept: Vec<String> = Vec::new();
        for round in 0..12 {
            let mut client = Client::connect(broker.address()).expect("a connection");
            for topic in kept.iter().filter(|_| random.one_in(2)) {
                assert_eq!(client.end_offsets(topic, 1).expect("offsets"), [0]);
            }
            // Not all of these come back from what follows: the broker may be anywhere in a snapshot.
            for n in 0..30 + random.below(30) {
                let topic = format!("passing-{round}-{n}");
                client.create_topic(&topic, 1, &[]).expect("a topic");
                client.delete_topic(&topic).expect("deleted");
            }
            let topic = format!("kept-{round}");
            client.create_topic(&topic, 1, &[]).expect("a topic");
            kept.push(topic);
            match random.one_in(4) {
                true => broker.stop(),
                false => broker.kill9(),
            }
            broker.restart();
        }
        let mut client = Client::connect(broker.address()).expect("a connection");
        for topic in &kept {
            assert_eq!(append(&mut client, topic), (0, 0), "{topic}");
        }
        let begin = Instant::now();
        let is_first = |name: &String| name.as_str() == "00000000000000000000.log";
        while metadata_files(&broker, ".log").iter().any(is_first)
            || metadata_files(&broker, ".checkpoint").len() != 1
        {
            let found = metadata_files(&broker, "");
            assert!(begin.elapsed() < Duration::from_secs(60), "{found:?}");
            client.create_topic("another", 1, &[]).expect("a topic");
            client.delete_topic("another").expect("deleted");
        }
        Ok(())
    });
}
