//! What the broker knows of its topics, whatever became of their records.

use std::fs;

use bytes::Bytes;
use corelog_loadgen::batch::{self, Producer};
use corelog_loadgen::client::{self, Client, PRODUCE_VERSION, produce_outcome, produce_request};

use crate::harness::Broker;
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
