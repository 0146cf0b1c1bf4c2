//! Links in a data folder: a partition that is kept elsewhere is served and can be deleted, and one that leads nowhere
//! keeps nobody from the rest.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use corelog_loadgen::client::{Backoff, Client};

use crate::harness::Broker;
use crate::records::{append, read, whole};
use crate::turn;

const RECORDS: u64 = 50;
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_linked_partition_is_served_and_deleted() {
    turn::run("links", || {
        let mut broker = Broker::start(&["log.segment.delete.delay.ms=0"]);
        let mut client = Client::connect(broker.address()).expect("a connection");
        client.create_topic("t", 1, &[]).expect("a topic");
        append(&mut client, "t", 0..RECORDS, 1_000);
        broker.stop();
        let data = std::path::absolute(broker.folder()).expect("a path");
        let elsewhere = data.with_file_name("elsewhere");
        fs::rename(data.join("t-0"), &elsewhere).expect("it is moved");
        symlink(&elsewhere, data.join("t-0")).expect("a link");
        symlink(data.join("loop"), data.join("loop")).expect("a link to itself");
        symlink(data.join("nowhere"), data.join("gone")).expect("a link that leads nowhere");
        broker.restart();
        let end = RECORDS as i64;
        assert_eq!(read(broker.address(), "t", end), whole(end));
        let mut client = Client::connect(broker.address()).expect("a connection");
        client.delete_topic("t").expect("it is deleted");
        let names = || {
            let entries = fs::read_dir(&data).expect("the data folder");
            let names = entries.map(|entry| entry.expect("an entry").file_name());
            names.map(|name| name.to_string_lossy().into_owned())
        };
        let mut backoff = Backoff::within(PATIENCE);
        while names().any(|name| name.starts_with("t-0") || name.ends_with("-delete")) {
            assert!(
                backoff.wait(),
                "{:?}: {}",
                names().collect::<Vec<_>>(),
                broker.log()
            );
        }
        let left = fs::read_dir(&elsewhere).expect("it stays").count();
        assert_eq!(left, 0, "its files are gone");
        broker.stop();
        assert!(!broker.log().contains("cannot remove"), "{}", broker.log());
        Ok(())
    });
}
