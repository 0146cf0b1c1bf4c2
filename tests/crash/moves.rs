//! Killed while partitions move from one folder to another, of one device and of two: what was acknowledged is there.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use corelog_loadgen::client::{Client, topic_name};
use kafka_protocol::messages::AlterReplicaLogDirsRequest;
use kafka_protocol::messages::alter_replica_log_dirs_request::{
    AlterReplicaLogDir, AlterReplicaLogDirTopic,
};
use kafka_protocol::protocol::StrBytes;

use crate::folders::places_in;
use crate::harness::{Broker, Launch};
use crate::ledger::{Ledger, Place};
use crate::producer::{Order, Orders, Stop, Writer};
use crate::random::Random;
use crate::small_disk::SmallDisk;
use crate::turn;

const TOPIC: &str = "moved";
const PARTITIONS: i32 = 4;
const ALTER_VERSION: i16 = 2;
const KILLS: u64 = 6;
const DISK_MIB: u64 = 2048;
/// Of one life of the broker, at most.
const LIFE_MS: u64 = 1_500;
/// The smallest journal.
const JOURNAL: &str = "corelog.journal.bytes=67108864";
/// A bound, no measure.
const LONG: Duration = Duration::from_secs(120);

fn request(place: &Place, folder: &Path) -> AlterReplicaLogDirsRequest {
    let topic = AlterReplicaLogDirTopic::default()
        .with_name(topic_name(&place.topic))
        .with_partitions(vec![place.partition]);
    let path = folder.to_str().expect("UTF-8").to_owned();
    let folder = AlterReplicaLogDir::default()
        .with_path(StrBytes::from_string(path))
        .with_topics(vec![topic]);
    AlterReplicaLogDirsRequest::default().with_dirs(vec![folder])
}

/// Has a partition move. A broker that is being killed does not answer.
fn ask(client: &mut Client, place: &Place, folder: &Path) {
    let Ok(reply) = client.call(&request(place, folder), ALTER_VERSION) else {
        return;
    };
    let code = reply.results[0].partitions[0].error_code;
    assert_eq!(code, 0, "{place:?} to {}", folder.display());
}

#[test]
fn killed_while_partitions_move() {
    turn::run("killed-while-partitions-move", || {
        let seed = Random::seed_from("CORELOG_CRASH_SEED");
        println!("CORELOG_CRASH_SEED={seed}");
        let mut random = Random::new(seed);
        let disk = SmallDisk::new(DISK_MIB)?;
        let far = disk.path().join("data");
        let log_dirs = format!("log.dirs=./data,./data-b,{}", far.display());
        let mut broker = Broker::launch(Launch {
            overrides: &[JOURNAL, &log_dirs],
            arguments: &["--cores", "2"],
            ..Launch::default()
        });
        let near = std::path::absolute(broker.folder()).expect("a path");
        let folders = [near.clone(), near.with_file_name("data-b"), far];
        let addr = broker.address();
        let mut client = Client::connect(addr).expect("a connection");
        let segments = [("segment.bytes", "1048576")];
        client
            .create_topic(TOPIC, PARTITIONS, &segments)
            .expect("a topic");
        let places = (0..PARTITIONS).map(|partition| Place {
            topic: TOPIC.to_owned(),
            partition,
        });
        let ledger = Ledger::new(addr, places, |writer| writer % 2 == 1);
        let orders = Orders::new();
        thread::scope(|scope| {
            let _until = Stop(&orders);
            for writer in 0..2 {
                let seed = random.next();
                let writing = Writer::new(writer, writer % 2 == 1, &ledger, seed);
                scope.spawn(|| writing.run(addr, &orders));
            }
            for _ in 0..KILLS {
                let life = Instant::now() + Duration::from_millis(random.below(LIFE_MS));
                let mut client = Client::connect(addr).expect("a connection");
                while Instant::now() < life {
                    for place in ledger.places() {
                        let folder = random.below(folders.len() as u64) as usize;
                        ask(&mut client, place, &folders[folder]);
                    }
                    thread::sleep(Duration::from_millis(random.below(300)));
                }
                broker.kill9();
                broker.restart();
            }
            // All of them get where they shall be, and go on there.
            orders.give(Order::Pause);
            let last = &folders[random.below(folders.len() as u64) as usize];
            let mut client = Client::connect(addr).expect("a connection");
            let begin = Instant::now();
            while places_in(&mut client, last).len() < PARTITIONS as usize {
                assert!(begin.elapsed() < LONG, "not within {LONG:?}: all are there");
                for place in ledger.places() {
                    ask(&mut client, place, last);
                }
                thread::sleep(Duration::from_millis(50));
            }
            orders.give(Order::Write);
            let before = ledger.acknowledged_records();
            while ledger.acknowledged_records() < before + 1_000 {
                assert!(begin.elapsed() < LONG, "not within {LONG:?}: records");
                thread::sleep(Duration::from_millis(20));
            }
        });
        ledger.verify();
        broker.kill9();
        broker.restart();
        ledger.verify();
        // The loop device is let go of.
        broker.stop();
        Ok(())
    });
}
