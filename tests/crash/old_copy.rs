//! A copy of the data folder from before a crash: a broker on it goes on from its time, and knows nothing of what came
//! later.
//!
//! Two brokers on two copies have one identity and do not know of each other: nothing on one machine could tell them.
//! On one folder the second is refused (`refusals.rs`).

use std::path::Path;
use std::process::Command;

use corelog_loadgen::client::Client;

use crate::harness::{Broker, Launch};
use crate::records::{append, read, whole};
use crate::turn;

#[test]
fn a_broker_on_an_old_copy_goes_on_from_its_time() {
    turn::run("old-copy", || {
        let mut broker = Broker::start(&["corelog.journal.bytes=67108864"]);
        let mut client = Client::connect(broker.address()).expect("a connection");
        client.create_topic("t", 1, &[]).expect("a topic");
        append(&mut client, "t", 0..500, 1_000);
        // As a crash leaves it, and as a stop does.
        broker.kill9();
        let data = std::path::absolute(broker.folder()).expect("a path");
        let crashed = copy(&data, "crashed");
        broker.restart();
        broker.stop();
        let stopped = copy(&data, "stopped");
        broker.restart();
        let mut client = Client::connect(broker.address()).expect("a connection");
        append(&mut client, "t", 500..900, 1_000);
        broker.kill9();
        for old in [crashed, stopped] {
            let mut other = Broker::launch(Launch {
                overrides: &["corelog.journal.bytes=67108864"],
                folder: Some(&old),
                ..Launch::default()
            });
            assert_eq!(read(other.address(), "t", 500), whole(500));
            let mut client = Client::connect(other.address()).expect("a connection");
            assert_eq!(client.end_offsets("t", 1).expect("an end"), [500]);
            assert_eq!(append(&mut client, "t", 500..510, 1_000), 509);
            other.kill9();
            other.restart();
            assert_eq!(read(other.address(), "t", 510), whole(510));
            other.stop();
        }
        // What was copied is as it was.
        broker.restart();
        assert_eq!(read(broker.address(), "t", 900), whole(900));
        broker.stop();
        Ok(())
    });
}

fn copy(data: &Path, name: &str) -> std::path::PathBuf {
    let to = data.with_file_name(name);
    let copied = Command::new("cp").arg("-a").args([data, &to]).status();
    assert!(copied.expect("cp").success());
    to
}
