//! Nobody reads what the broker prints: it loses lines, not time.

use std::io::{Read, Write};
use std::net::TcpStream;

use corelog_loadgen::client::Client;

use crate::harness::{Broker, Launch};
use crate::records::{append, read, whole};
use crate::turn;

/// Each leaves a line: together more than a pipe holds.
const BROKEN_CLIENTS: usize = 2_000;
const RECORDS: u64 = 200;

#[test]
fn a_log_that_nobody_reads_holds_up_neither_clients_nor_a_stop() {
    turn::run("unread-log", || {
        let mut broker = Broker::launch(Launch {
            is_unread: true,
            ..Launch::default()
        });
        let mut client = Client::connect(broker.address()).expect("a connection");
        client.create_topic("t", 1, &[]).expect("a topic");
        for _ in 0..BROKEN_CLIENTS {
            let mut broken = TcpStream::connect(broker.address()).expect("a connection");
            broken
                .write_all(b"GET / HTTP/1.1\r\n\r\n")
                .expect("it is taken");
            // Closed, with or without a reset.
            let _ = broken.read_to_end(&mut Vec::new());
        }
        append(&mut client, "t", 0..RECORDS, 1_000);
        let end = RECORDS as i64;
        assert_eq!(read(broker.address(), "t", end), whole(end));
        // Within the bound of the harness, and clean.
        broker.stop();
        Ok(())
    });
}
