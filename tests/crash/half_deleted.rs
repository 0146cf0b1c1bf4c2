//! Parts of the data folder are gone at a start: it says which, serves nothing in their place, and all is there when
//! they are back.

use std::fs;
use std::path::{Path, PathBuf};

use corelog_loadgen::client::Client;

use crate::harness::{Broker, Launch};
use crate::records::{append, client_code, fetch_at, read, whole};
use crate::turn;

const BULK: &str = "bulk";
pub const FIRST_SEGMENT: &str = "bulk-0/00000000000000000000.log";
/// More than the journal holds.
const BULK_RECORDS: u64 = 110;
const BULK_BYTES: usize = 900_000;
pub const SMALL: &str = "small";
pub const SMALL_RECORDS: u64 = 50;
const JOURNAL: &str = "corelog.journal.bytes=67108864";
/// EX_DATAERR.
pub const DATA: i32 = 65;

/// A broker with records in segments, the first of which the journal has no more, and some that are small.
pub fn filled() -> Broker {
    let broker = Broker::launch(Launch {
        overrides: &[JOURNAL],
        arguments: &["--cores", "1"],
        ..Launch::default()
    });
    let mut client = Client::connect(broker.address()).expect("a connection");
    let rolled = [("segment.bytes", "16777216")];
    client.create_topic(BULK, 1, &rolled).expect("a topic");
    client.create_topic(SMALL, 1, &[]).expect("a topic");
    append(&mut client, SMALL, 0..SMALL_RECORDS, 100);
    append(&mut client, BULK, 0..BULK_RECORDS, BULK_BYTES);
    broker
}

/// All is there.
pub fn verify(broker: &Broker) {
    let address = broker.address();
    let small = SMALL_RECORDS as i64;
    assert_eq!(read(address, SMALL, small), whole(small));
    let bulk = BULK_RECORDS as i64;
    assert_eq!(read(address, BULK, bulk), whole(bulk));
}

/// One line has these words, and names the file.
pub fn assert_told_once(said: &str, words: &str, file: &str) {
    let told: Vec<_> = said.lines().filter(|line| line.contains(words)).collect();
    assert!(
        matches!(told[..], [line] if line.contains(file)),
        "{words}, {file}: {said}"
    );
}

/// Without this, the start ends with a status of its own and says what is missing; with it back, all is there.
fn refuses_without(broker: &mut Broker, path: &Path, words: &str) {
    assert!(path.exists(), "{}", path.display());
    let kept = broker.folder().with_file_name("kept");
    fs::rename(path, &kept).expect("taken away");
    let (status, said) = broker.spawn_to_end();
    assert_eq!(status, Some(DATA), "{said}");
    let last = said.lines().last().unwrap_or_default();
    assert!(last.contains(words), "{words}: {said}");
    assert!(
        last.contains(&*path.to_string_lossy()) || words.contains("meta.properties"),
        "{said}"
    );
    assert!(!path.exists(), "something was made in its place");
    fs::rename(&kept, path).expect("brought back");
    broker.restart();
    verify(broker);
}

/// The file of the journal that was written last.
fn newest(journal: &Path) -> PathBuf {
    let files = fs::read_dir(journal).expect("the journal");
    let paths = files.map(|file| file.expect("a file").path());
    let newest = paths.max_by_key(|path| fs::metadata(path).and_then(|it| it.modified()).ok());
    newest.expect("a file of the journal")
}

#[test]
fn what_is_missing_in_a_data_folder_is_named_and_not_replaced() {
    turn::run("half-deleted", || {
        let mut broker = filled();
        // Absolute, as the broker names it.
        let data = std::path::absolute(broker.folder()).expect("a path");
        // What is not settled goes to the journal of another core, and has no folder to be settled in.
        broker.kill9();
        broker.set_cores(2);
        refuses_without(
            &mut broker,
            &data.join("bulk-0"),
            "folders of partitions are missing",
        );
        broker.stop();
        refuses_without(
            &mut broker,
            &data.join("bulk-0"),
            "folders of partitions are missing",
        );
        broker.kill9();
        // What the journal still has whole is made anew.
        fs::remove_dir_all(data.join("__cluster_metadata-0")).expect("removed");
        broker.restart();
        verify(&broker);
        broker.kill9();
        let file = newest(&data.join("journal"));
        refuses_without(
            &mut broker,
            &file,
            "is missing, with what may have been acknowledged in it",
        );
        broker.kill9();
        refuses_without(&mut broker, &data.join("journal"), "is missing");
        broker.kill9();
        refuses_without(
            &mut broker,
            &data.join("meta.properties"),
            "no meta.properties",
        );
        broker.stop();
        Ok(())
    });
}

#[test]
fn a_missing_segment_gives_an_error_to_those_who_read_it_and_to_nobody_else() {
    turn::run("missing-segment", || {
        let mut broker = filled();
        broker.kill9();
        let segment = broker.folder().join(FIRST_SEGMENT);
        let kept = broker.folder().with_file_name("kept");
        fs::rename(&segment, &kept).expect("taken away");
        broker.restart();
        let before = broker.log().len();
        let mut client = Client::connect(broker.address()).expect("a connection");
        for _ in 0..20 {
            let (error, records) = fetch_at(&mut client, BULK, 0);
            assert_eq!(
                (error, records.len()),
                (client_code::KAFKA_STORAGE_ERROR, 0)
            );
        }
        let small = SMALL_RECORDS as i64;
        assert_eq!(read(broker.address(), SMALL, small), whole(small));
        // Told once, however often it is asked for.
        broker.stop();
        let said = broker.log().split_off(before);
        assert_told_once(&said, "cannot read a segment", FIRST_SEGMENT);
        fs::rename(&kept, &segment).expect("brought back");
        broker.restart();
        verify(&broker);
        Ok(())
    });
}

#[test]
fn a_start_that_is_told_to_goes_on_without_what_is_missing_and_says_so() {
    turn::run("half-deleted-continue", || {
        let mut broker = filled();
        broker.kill9();
        fs::remove_dir_all(broker.folder().join("bulk-0")).expect("removed");
        broker.set_property("corelog.recovery.on.rot=continue");
        let before = broker.log().len();
        broker.restart();
        let told = "the folder of a partition is missing: its records are lost";
        broker.await_log(before, told);
        let small = SMALL_RECORDS as i64;
        assert_eq!(read(broker.address(), SMALL, small), whole(small));
        let mut client = Client::connect(broker.address()).expect("a connection");
        assert_eq!(append(&mut client, BULK, 0..3, 1_000), 2, "it begins anew");
        broker.kill9();
        // The loss is over: no start finds it again.
        broker.set_property("corelog.recovery.on.rot=refuse");
        broker.restart();
        assert_eq!(read(broker.address(), BULK, 3), whole(3));

        broker.stop();
        fs::remove_dir_all(broker.folder().join("journal")).expect("removed");
        broker.set_property("corelog.recovery.on.rot=continue");
        let before = broker.log().len();
        broker.restart();
        let told =
            "a file of the journal is missing: what may have been acknowledged in it is lost";
        broker.await_log(before, told);
        // A stop in order leaves all records in the segments.
        assert_eq!(read(broker.address(), SMALL, small), whole(small));
        assert_eq!(read(broker.address(), BULK, 3), whole(3));
        broker.kill9();
        broker.set_property("corelog.recovery.on.rot=refuse");
        broker.restart();
        assert_eq!(read(broker.address(), SMALL, small), whole(small));
        Ok(())
    });
}
