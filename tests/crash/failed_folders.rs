//! Folders that fail, are broken at a start, come and go: their partitions are out of reach meanwhile, the
//! others go on, and nothing that was acknowledged is lost.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use corelog_loadgen::batch::{self, Producer};
use corelog_loadgen::client::{self, Client, PRODUCE_VERSION};
use kafka_protocol::ResponseError;

use crate::folders::{describe, leaders, places_in};
use crate::harness::{Broker, Launch};
use crate::ledger::{Ledger, Place};
use crate::producer::{Orders, Stop, Writer};
use crate::small_disk::SmallDisk;
use crate::turn;

const TOPIC: &str = "spread";
const PARTITIONS: i32 = 4;
/// Room for a journal and for what is written within the test.
const DISK_MIB: u64 = 1024;
/// The smallest journal.
const JOURNAL: &str = "corelog.journal.bytes=67108864";
const NOBODY: i32 = -1;
/// Bounds, no measures.
const LONG: Duration = Duration::from_secs(120);

fn broker(log_dirs: &str) -> Broker {
    Broker::launch(Launch {
        overrides: &[JOURNAL, log_dirs],
        arguments: &["--cores", "2"],
        ..Launch::default()
    })
}

fn connect(broker: &Broker) -> Client {
    Client::connect(broker.address()).expect("a connection")
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < LONG, "not within {LONG:?}: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_failed_folder_takes_its_partitions_with_it_and_no_others() {
    turn::run("failed-folder", || {
        let disk = SmallDisk::new(DISK_MIB)?;
        let failing = disk.path().join("data");
        let mut broker = broker(&format!("log.dirs=./data,{}", failing.display()));
        let mut client = connect(&broker);
        client
            .create_topic(TOPIC, PARTITIONS, &[])
            .expect("a topic");
        let (others, lost) = (broker.folder().to_owned(), failing.clone());
        let ledger = |client: &mut Client, folder: &Path| {
            let places = places_in(client, folder);
            assert_eq!(
                places.len(),
                PARTITIONS as usize / 2,
                "{}",
                folder.display()
            );
            Ledger::new(broker.address(), places, |_| true)
        };
        let (others, lost) = (ledger(&mut client, &others), ledger(&mut client, &lost));
        let lost_ids: Vec<usize> = lost.places().map(|p| p.partition as usize).collect();
        let orders = Orders::new();
        let addr = broker.address();
        let outcome = thread::scope(|scope| {
            let _until = Stop(&orders);
            for (writer, ledger) in [&others, &lost].into_iter().enumerate() {
                let writer = Writer::new(writer as u32, true, ledger, writer as u64 + 1);
                scope.spawn(|| writer.run(addr, &orders));
            }
            eventually("records in both folders", || {
                others.acknowledged_records() > 1_000 && lost.acknowledged_records() > 1_000
            });
            disk.fail()?;
            eventually("the folder is offline", || {
                let folders = describe(&mut client).expect("a reply");
                let told = &folders[failing.to_str().expect("UTF-8")];
                told.error == ResponseError::KafkaStorageError.code()
            });
            eventually("its partitions have no leader", || {
                let leaders = leaders(&mut client, TOPIC);
                let unavailable = (NOBODY, ResponseError::LeaderNotAvailable.code());
                let is_lost = |at: &usize| lost_ids.contains(at);
                (0..leaders.len()).all(|at| match is_lost(&at) {
                    true => leaders[at] == unavailable,
                    false => leaders[at] == (1, 0),
                })
            });
            let before = others.acknowledged_records();
            eventually("the others go on", || {
                others.acknowledged_records() > before + 1_000
            });
            for place in lost.places() {
                let code = append(&mut client, place);
                assert_eq!(code, ResponseError::KafkaStorageError.code());
            }
            client.create_topic("later", 2, &[]).expect("a topic");
            let folder = places_in(&mut client, broker.folder());
            let later = folder.iter().filter(|place| place.topic == "later");
            assert_eq!(later.count(), 2, "new partitions are put elsewhere");
            assert!(broker.is_running(), "{}", broker.log());

            // It is back with the next start of the broker, and its writer goes on.
            broker.kill9();
            disk.heal()?;
            broker.restart();
            let mut client = connect(&broker);
            assert!(leaders(&mut client, TOPIC).iter().all(|it| *it == (1, 0)));
            let before = lost.acknowledged_records();
            eventually("it is written to again", || {
                lost.acknowledged_records() > before + 1_000
            });
            Ok(())
        });
        outcome?;
        others.verify();
        lost.verify();
        // The loop device is let go of.
        broker.stop();
        Ok(())
    });
}

/// The error code of an append.
fn append(client: &mut Client, place: &Place) -> i16 {
    let batch = batch::encode(Producer::NONE, client::wall_ms(), [b"one".as_slice()]);
    let batch = Bytes::from(batch);
    let request = client::produce_request(&place.topic, place.partition, -1, &batch);
    let reply = client.call(&request, PRODUCE_VERSION).expect("a reply");
    client::produce_outcome(&reply).expect("an outcome").0
}

/// Writes for a while.
fn write(broker: &Broker, ledger: &Ledger, writer: u32) {
    let orders = Orders::new();
    thread::scope(|scope| {
        let _until = Stop(&orders);
        let before = ledger.acknowledged_records();
        let writing = Writer::new(writer, true, ledger, u64::from(writer));
        scope.spawn(|| writing.run(broker.address(), &orders));
        eventually("records", || ledger.acknowledged_records() > before + 500);
    });
}

#[test]
fn folders_come_and_go_between_starts() {
    turn::run("folders-between-starts", || {
        let mut broker = broker("log.dirs=data,data-b");
        let mut client = connect(&broker);
        client
            .create_topic(TOPIC, PARTITIONS, &[])
            .expect("a topic");
        let a = std::path::absolute(broker.folder()).expect("a path");
        let b = a.with_file_name("data-b");
        let in_a = places_in(&mut client, &a);
        let in_b = places_in(&mut client, &b);
        assert_eq!((in_a.len(), in_b.len()), (2, 2));
        let of_a = Ledger::new(broker.address(), in_a.clone(), |_| true);
        let of_b = Ledger::new(broker.address(), in_b.clone(), |_| true);
        write(&broker, &of_a, 0);
        write(&broker, &of_b, 1);

        // One that cannot be used is no reason not to serve the others, nor to make its partitions anew.
        let kept = a.with_file_name("kept");
        let replace = |folder: &Path, with: &Path| fs::rename(folder, with).expect("renamed");
        broker.stop();
        replace(&b, &kept);
        fs::write(&b, "no folder").expect("a file");
        broker.restart();
        let mut client = connect(&broker);
        of_a.verify();
        write(&broker, &of_a, 2);
        let offline = ResponseError::KafkaStorageError.code();
        let told = describe(&mut client).expect("a reply");
        assert_eq!(told[b.to_str().expect("UTF-8")].error, offline);
        for place in &in_b {
            assert_eq!(append(&mut client, place), offline);
            let leader = leaders(&mut client, TOPIC)[place.partition as usize];
            assert_eq!(leader, (NOBODY, ResponseError::LeaderNotAvailable.code()));
        }
        broker.kill9();
        fs::remove_file(&b).expect("removed");
        replace(&kept, &b);
        broker.restart();
        of_a.verify();
        of_b.verify();
        write(&broker, &of_b, 3);

        // One more: what is made next goes there.
        broker.stop();
        broker.set_property("log.dirs=data,data-b,data-c");
        broker.restart();
        let mut client = connect(&broker);
        client.create_topic("more", 2, &[]).expect("a topic");
        let c = a.with_file_name("data-c");
        let made = places_in(&mut client, &c);
        assert_eq!(made.len(), 2, "{made:?}");
        let of_c = Ledger::new(broker.address(), made, |_| true);
        write(&broker, &of_c, 4);

        // One less, in another order: what is in it is out of reach, and there again.
        broker.kill9();
        broker.set_property("log.dirs=data-c,data");
        broker.set_property("metadata.log.dir=data");
        broker.restart();
        let mut client = connect(&broker);
        of_a.verify();
        of_c.verify();
        assert_eq!(append(&mut client, &in_b[0]), offline);
        broker.stop();
        broker.set_property("log.dirs=data-b,data-c,data");
        broker.restart();
        for ledger in [&of_a, &of_b, &of_c] {
            ledger.verify();
        }
        broker.stop();

        refuses_to_start(
            &[a.clone(), b.clone()],
            &a,
            "the folder of the metadata log",
        );
        Ok(())
    });
}

/// A start without the folder that has the metadata log says so.
fn refuses_to_start(folders: &[PathBuf], broken: &Path, why: &str) {
    let kept = broken.with_file_name("kept");
    fs::rename(broken, &kept).expect("renamed");
    fs::write(broken, "no folder").expect("a file");
    let folders: Vec<String> = folders.iter().map(|f| f.display().to_string()).collect();
    let log_dirs = format!("log.dirs={}", folders.join(","));
    let mut command = Command::new(env!("CARGO_BIN_EXE_corelog"));
    command.arg("start");
    for property in [
        log_dirs.as_str(),
        JOURNAL,
        "listeners=PLAINTEXT://127.0.0.1:0",
    ] {
        command.args(["--override", property]);
    }
    let output = command.output().expect("the broker's binary");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains(why), "{said}");
    fs::remove_file(broken).expect("removed");
    fs::rename(&kept, broken).expect("renamed");
}
