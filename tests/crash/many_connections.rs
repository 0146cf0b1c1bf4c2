//! More connections than the process may open files.

use std::net::TcpStream;

use bytes::Bytes;
use corelog_loadgen::batch::{self, Producer};
use corelog_loadgen::client::{self, Client, PRODUCE_VERSION, produce_outcome, produce_request};

use crate::harness::{Broker, Launch};
use crate::turn;

const LIMIT: &str = "--nofile=600:600";
const CONNECTIONS: usize = 900;
/// Enough that the journal's files are changed several times.
const BATCHES: i64 = 200;
const BATCH_BYTES: usize = 900_000;

#[test]
fn connections_that_take_all_descriptors_do_not_stop_the_log() {
    turn::run("many-connections", || {
        turn::needs_prlimit(LIMIT)?;
        let broker = Broker::launch(Launch {
            overrides: &["corelog.journal.bytes=67108864"],
            arguments: &["--cores", "1"],
            under: &["prlimit", LIMIT],
            ..Launch::default()
        });
        let mut client = Client::connect(broker.address()).expect("a connection");
        client.create_topic("t", 1, &[]).expect("a topic");
        // Those that are too many wait in the kernel's queue.
        let idle: Vec<_> = (0..CONNECTIONS)
            .map(|_| TcpStream::connect(broker.address()).expect("a connection"))
            .collect();
        let value = vec![b'x'; BATCH_BYTES];
        for sequence in 0..BATCHES {
            let records = batch::encode(Producer::NONE, client::wall_ms(), [value.as_slice()]);
            let request = produce_request("t", 0, -1, &Bytes::from(records));
            let reply = client.call(&request, PRODUCE_VERSION).expect("a reply");
            assert_eq!(produce_outcome(&reply).expect("an outcome"), (0, sequence));
        }
        drop(idle);
        Ok(())
    });
}
