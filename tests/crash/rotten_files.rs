//! A byte of a file has changed while the broker was down: it is found, told, and never served. What is around it is
//! there.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use corelog_loadgen::client::{Backoff, Client};

use crate::half_deleted::{filled, verify};
use crate::harness::Broker;
use crate::records::{append, client_code, fetch_at, flip, read, whole};
use crate::turn;

const BULK: &str = "bulk";
const RECORDS: i64 = 110;
/// These fill several groups, and are not in a segment yet.
const MORE_RECORDS: i64 = 8;
const BULK_BYTES: usize = 900_000;
/// One of the first segment, which is in no journal any more.
const ROTTEN: i64 = 7;
/// EX_DATAERR.
const DATA: i32 = 65;

/// Where a batch begins in a segment that begins with offset 0 and holds one record a batch.
fn position_of(segment: &Path, offset: i64) -> u64 {
    let file = fs::File::open(segment).expect("the segment");
    let mut position = 0;
    for due in 0..=offset {
        let mut head = [0; 12];
        file.read_exact_at(&mut head, position).expect("a batch");
        let base = i64::from_be_bytes(*head.first_chunk().expect("an offset"));
        assert_eq!(base, due);
        if due < offset {
            position += 12 + u64::from(u32::from_be_bytes(*head.last_chunk().expect("a length")));
        }
    }
    position
}

fn segment(broker: &Broker) -> PathBuf {
    broker.folder().join("bulk-0/00000000000000000000.log")
}

#[test]
fn a_rotten_batch_is_not_served_and_those_around_it_are() {
    turn::run("rotten-segment", || {
        let mut broker = filled();
        broker.kill9();
        let file = segment(&broker);
        let at = position_of(&file, ROTTEN) + 5_000;
        flip(&file, at);
        broker.restart();
        let before = broker.log().len();
        let mut wanted = whole(RECORDS);
        wanted.insert(ROTTEN, Err(client_code::CORRUPT_MESSAGE));
        assert_eq!(read(broker.address(), BULK, RECORDS), wanted);
        let mut client = Client::connect(broker.address()).expect("a connection");
        for _ in 0..20 {
            assert_eq!(
                fetch_at(&mut client, BULK, ROTTEN).0,
                client_code::CORRUPT_MESSAGE
            );
        }
        assert_eq!(
            append(&mut client, BULK, 110..111, 1_000),
            RECORDS,
            "it goes on"
        );
        broker.stop();
        let said = broker.log().split_off(before);
        let told: Vec<_> = said
            .lines()
            .filter(|line| line.contains("a segment is damaged"))
            .collect();
        assert_eq!(told.len(), 1, "{said}");
        assert!(
            told[0].contains("bulk-0/00000000000000000000.log"),
            "{said}"
        );
        flip(&file, at);
        broker.restart();
        verify(&broker);
        Ok(())
    });
}

#[test]
fn a_rotten_index_misleads_nobody() {
    turn::run("rotten-index", || {
        let mut broker = filled();
        broker.stop();
        let dir = broker.folder().join("bulk-0");
        let mut indexes = 0;
        for entry in fs::read_dir(&dir).expect("the partition") {
            let path = entry.expect("a file").path();
            let is_index = path.to_string_lossy().ends_with("index");
            let len = fs::metadata(&path).expect("its length").len();
            if is_index && len > 0 {
                flip(&path, len / 2);
                indexes += 1;
            }
        }
        assert!(indexes > 0, "there are indexes");
        // The newest records are in no file's index.
        broker.restart();
        let mut client = Client::connect(broker.address()).expect("a connection");
        for offset in (0..RECORDS).rev() {
            let (error, records) = fetch_at(&mut client, BULK, offset);
            assert!(error == 0 && !records.is_empty(), "{offset}: {error}");
        }
        verify(&broker);
        Ok(())
    });
}

#[test]
fn a_rotten_journal_is_refused_and_no_torn_end() {
    turn::run("rotten-journal", || {
        let mut broker = filled();
        broker.kill9();
        let (file, at) = damage_journal(&broker);
        let (status, said) = broker.spawn_to_end();
        assert_eq!(status, Some(DATA), "{said}");
        let told = "the journal is damaged: what was on stable storage cannot be read any more";
        assert!(said.contains(told), "{said}");
        let last = said.lines().last().unwrap_or_default();
        let name = file.file_name().expect("a name").to_string_lossy();
        for word in [&*name, "is damaged at", "corelog.recovery.on.rot=continue"] {
            assert!(last.contains(word), "{word}: {said}");
        }
        // As it was, nothing is lost: what a crash tears is no rot, and was cut off without a word of damage.
        flip(&file, at);
        let before = broker.log().len();
        broker.restart();
        verify(&broker);
        assert!(!broker.log().split_off(before).contains("damaged"));

        // Without what is lost, if somebody wants that. What the start has found may be in segments by now.
        let mut client = Client::connect(broker.address()).expect("a connection");
        let more = RECORDS as u64..(RECORDS + MORE_RECORDS) as u64;
        append(&mut client, BULK, more, BULK_BYTES);
        broker.kill9();
        damage_journal(&broker);
        broker.set_property("corelog.recovery.on.rot=continue");
        broker.restart();
        let mut client = Client::connect(broker.address()).expect("a connection");
        let end = client.end_offsets(BULK, 1).expect("an end")[0];
        // Panics if anything is not as it was written.
        let found = read(broker.address(), BULK, end);
        assert!(
            found.iter().all(|(offset, it)| *it == Ok(*offset as u64)),
            "{found:?}"
        );
        broker.kill9();
        broker.set_property("corelog.recovery.on.rot=refuse");
        broker.restart();
        assert_eq!(read(broker.address(), BULK, end), found, "the loss is over");
        Ok(())
    });
}

/// Changes a byte in a group of which a later one says that it was stored: `corelog doctor` tells when one was found.
/// Where it is.
fn damage_journal(broker: &Broker) -> (PathBuf, u64) {
    let journal = broker.folder().join("journal");
    let files = fs::read_dir(&journal).expect("the journal");
    let mut paths: Vec<_> = files
        .map(|file| file.expect("a file").path())
        .map(|path| (fs::metadata(&path).and_then(|it| it.modified()).ok(), path))
        .collect();
    paths.sort();
    for (_, path) in paths.into_iter().rev() {
        let len = fs::metadata(&path).expect("its length").len();
        for at in (1..16).map(|part| len * part / 16 + 100) {
            flip(&path, at);
            let (status, said) = broker.doctor();
            if said.contains("damaged: ") {
                assert_eq!(status, Some(1), "{said}");
                return (path, at);
            }
            flip(&path, at);
        }
    }
    panic!("the journal needs nothing of its files");
}

#[test]
fn a_rotten_snapshot_of_the_metadata_is_passed_over() {
    turn::run("rotten-snapshot", || {
        let mut broker = Broker::start(&[
            "corelog.journal.bytes=67108864",
            "metadata.log.max.record.bytes.between.snapshots=1",
        ]);
        let mut client = Client::connect(broker.address()).expect("a connection");
        let topics = ["a", "b", "c"];
        for topic in topics {
            client.create_topic(topic, 1, &[]).expect("a topic");
            append(&mut client, topic, 0..5, 100);
        }
        let log = broker.folder().join("__cluster_metadata-0");
        let mut backoff = Backoff::within(std::time::Duration::from_secs(30));
        let newest = loop {
            match newest_snapshot(&log) {
                Some(found) => break found,
                None => assert!(backoff.wait(), "no snapshot:\n{}", broker.log()),
            }
        };
        broker.kill9();
        let newest = newest_snapshot(&log).unwrap_or(newest);
        let len = fs::metadata(&newest).expect("its length").len();
        flip(&newest, len / 2);
        broker.restart();
        for topic in topics {
            assert_eq!(read(broker.address(), topic, 5), whole(5));
        }
        let name = newest
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        let told = broker.log();
        assert!(told.contains(&name), "{name}: {told}");
        broker.stop();
        Ok(())
    });
}

fn newest_snapshot(log: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(log).ok()?;
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    paths
        .filter(|path| path.extension().is_some_and(|it| it == "checkpoint"))
        .max()
}
