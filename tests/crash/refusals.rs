//! What a start needs and does not get: a line that says what to do, and a status that tells supervisors whether to try
//! again.

use std::fs;

use corelog_loadgen::client::Client;

use crate::harness::{Broker, Launch};
use crate::records::{append, read, whole};
use crate::small_disk::SmallDisk;
use crate::turn;

const HOST: i32 = 71;
const FOLDER: i32 = 73;
const BUSY: i32 = 75;
const CONFIG: i32 = 78;

/// A start of `broker` that ends at once.
fn refused(broker: &mut Broker, status: i32, words: &[&str]) {
    let (ended, said) = broker.spawn_to_end();
    assert_eq!(ended, Some(status), "{said}");
    let last = said.lines().last().unwrap_or_default();
    for word in words {
        assert!(last.contains(word), "{word}: {said}");
    }
}

#[test]
fn too_little_memory_to_lock() {
    turn::run("memlock", || {
        const LIMIT: &str = "--memlock=65536:65536";
        turn::needs_prlimit(LIMIT)?;
        let mut broker = Broker::prepare(Launch {
            under: &["prlimit", LIMIT],
            ..Launch::default()
        });
        refused(
            &mut broker,
            HOST,
            &["only 65536 bytes", "ulimit -l", "LimitMEMLOCK"],
        );
        assert!(!broker.folder().exists(), "nothing is made");
        Ok(())
    });
}

#[test]
fn what_may_be_locked_is_raised_as_far_as_it_goes() {
    turn::run("memlock-soft", || {
        const LIMIT: &str = "--memlock=65536:8388608";
        turn::needs_prlimit(LIMIT)?;
        let mut broker = Broker::launch(Launch {
            under: &["prlimit", LIMIT],
            arguments: &["--cores", "1"],
            ..Launch::default()
        });
        broker.stop();
        let (status, said) = broker.doctor();
        assert_eq!(status, Some(0), "{said}");
        assert!(said.contains("groups are whole"), "{said}");
        Ok(())
    });
}

#[test]
fn too_few_files_to_open_are_told_of_and_enough_to_run() {
    turn::run("open-files", || {
        const LIMIT: &str = "--nofile=300:300";
        turn::needs_prlimit(LIMIT)?;
        let mut broker = Broker::launch(Launch {
            under: &["prlimit", LIMIT],
            arguments: &["--cores", "1"],
            ..Launch::default()
        });
        broker.await_log(0, "only 300 files may be open at once");
        broker.await_log(0, "LimitNOFILE");
        let mut client = Client::connect(broker.address()).expect("a connection");
        client.create_topic("t", 1, &[]).expect("a topic");
        append(&mut client, "t", 0..10, 100);
        assert_eq!(read(broker.address(), "t", 10), whole(10));
        broker.stop();
        Ok(())
    });
}

#[test]
fn a_folder_that_cannot_be_written() {
    turn::run("read-only-folder", || {
        let disk = SmallDisk::new(256)?;
        let mut broker = Broker::launch(Launch {
            overrides: &["corelog.journal.bytes=67108864"],
            arguments: &["--cores", "1"],
            folder: Some(&disk.path().join("data")),
            ..Launch::default()
        });
        let mut client = Client::connect(broker.address()).expect("a connection");
        client.create_topic("t", 1, &[]).expect("a topic");
        append(&mut client, "t", 0..10, 100);
        drop(client);
        broker.stop();
        disk.make_read_only()?;
        refused(
            &mut broker,
            FOLDER,
            &["Read-only file system", "Make it writable"],
        );
        disk.heal()?;
        broker.restart();
        assert_eq!(read(broker.address(), "t", 10), whole(10));
        broker.stop();
        Ok(())
    });
}

#[test]
fn a_port_or_a_folder_that_another_broker_has() {
    turn::run("in-use", || {
        let first = Broker::start(&[]);
        let data = std::path::absolute(first.folder()).expect("a path");
        let mut same_folder = Broker::prepare(Launch {
            folder: Some(&data),
            ..Launch::default()
        });
        refused(
            &mut same_folder,
            BUSY,
            &["another process uses the data folder"],
        );
        let same_port = format!("listeners=PLAINTEXT://{}", first.bootstrap());
        let mut same_port = Broker::prepare(Launch {
            overrides: &[&same_port],
            ..Launch::default()
        });
        refused(
            &mut same_port,
            BUSY,
            &["in use by another process", "choose another port"],
        );
        Ok(())
    });
}

#[test]
fn a_configuration_that_cannot_be_read() {
    turn::run("configuration", || {
        let mut wrong = Broker::prepare(Launch {
            overrides: &["num.partitions=many"],
            ..Launch::default()
        });
        refused(&mut wrong, CONFIG, &["num.partitions"]);
        let mut missing = Broker::prepare(Launch {
            arguments: &["no-such.properties"],
            ..Launch::default()
        });
        refused(&mut missing, CONFIG, &["can't read no-such.properties"]);
        assert!(!fs::exists(missing.folder()).expect("it can be told"));
        Ok(())
    });
}
