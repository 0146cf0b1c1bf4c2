//! Nobody reads what the broker prints: it loses lines, not time.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::thread;

use corelog_loadgen::client::Client;

use crate::harness::{Broker, Launch, free_port, http};
use crate::records::{append, read, whole};
use crate::turn;

/// Each leaves a line: together more than the broker keeps for a reader (16,384) and a pipe holds (64 KiB).
const BROKEN_CLIENTS: usize = 20_000;
const THREADS: usize = 8;
const RECORDS: u64 = 200;

/// Says what is no request.
fn break_off(address: SocketAddr) {
    let mut broken = TcpStream::connect(address).expect("a connection");
    let request = b"GET / HTTP/1.1\r\n\r\n";
    broken.write_all(request).expect("it is taken");
    // Closed, with or without a reset.
    let _ = broken.read_to_end(&mut Vec::new());
}

#[test]
fn a_log_that_nobody_reads_holds_up_neither_clients_nor_a_stop() {
    turn::run("unread-log", || {
        let port = free_port();
        let http = format!("corelog.http.listener=127.0.0.1:{port}");
        let mut broker = Broker::launch(Launch {
            overrides: &[&http],
            is_unread: true,
            // Else it says few of these lines.
            arguments: &["--log", "debug"],
            ..Launch::default()
        });
        let mut client = Client::connect(broker.address()).expect("a connection");
        client.create_topic("t", 1, &[]).expect("a topic");
        let address = broker.address();
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    for _ in 0..BROKEN_CLIENTS / THREADS {
                        break_off(address);
                    }
                });
            }
        });
        append(&mut client, "t", 0..RECORDS, 1_000);
        let end = RECORDS as i64;
        assert_eq!(read(broker.address(), "t", end), whole(end));
        let metrics = (Ipv4Addr::LOCALHOST, port).into();
        let (status, told) = http::get(metrics, "/metrics").expect("it is served");
        let mut lost = told
            .lines()
            .filter_map(|line| line.strip_prefix("corelog_log_lines_lost_total "));
        let lost = lost.next().and_then(|lost| lost.parse::<f64>().ok());
        assert_eq!(status, 200, "{told}");
        assert!(lost.is_some_and(|lost| lost > 0.0), "{lost:?}: {told}");
        // Within the bound of the harness, and clean.
        broker.stop();
        Ok(())
    });
}
