//! The only disk fails under load: nothing is acknowledged any more, health says so, and the process ends with a
//! status of its own. What was acknowledged is there when the disk is.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use corelog_loadgen::client::Client;

use crate::harness::{Broker, Launch, free_port, http};
use crate::ledger::{Ledger, Place};
use crate::producer::{Order, Orders, Stop, Writer};
use crate::small_disk::SmallDisk;
use crate::turn;

const TOPIC: &str = "t";
const PARTITIONS: i32 = 4;
const DISK_MIB: u64 = 768;
/// The exit status of a broker whose disk has failed: EX_IOERR.
const DISK_FAILED: i32 = 74;
/// A bound, no measure.
const LONG: Duration = Duration::from_secs(60);

#[test]
fn a_failed_journal_ends_the_broker() {
    turn::run("failed-journal", || {
        let disk = SmallDisk::new(DISK_MIB)?;
        let http_port = free_port();
        let http_address = SocketAddr::from(([127, 0, 0, 1], http_port));
        let mut broker = Broker::launch(Launch {
            overrides: &[
                "corelog.journal.bytes=67108864",
                &format!("corelog.http.listener={http_address}"),
            ],
            arguments: &["--cores", "2"],
            folder: Some(&disk.path().join("data")),
            ..Launch::default()
        });
        let addr = broker.address();
        let mut client = Client::connect(addr).expect("a connection");
        client
            .create_topic(TOPIC, PARTITIONS, &[])
            .expect("a topic");
        let places = (0..PARTITIONS).map(|partition| Place {
            topic: TOPIC.to_owned(),
            partition,
        });
        let ledger = Ledger::new(addr, places, |_| true);
        let orders = Orders::new();
        let outcome = thread::scope(|scope| {
            let _until = Stop(&orders);
            for writer in 0..2 {
                let writing = Writer::new(writer, true, &ledger, u64::from(writer));
                scope.spawn(|| writing.run(addr, &orders));
            }
            let begin = Instant::now();
            while ledger.acknowledged_records() < 1_000 {
                assert!(begin.elapsed() < LONG, "{}", broker.log());
                thread::sleep(Duration::from_millis(5));
            }
            let ready = http::get(http_address, "/ready").expect("HTTP is served");
            assert_eq!(ready, (200, "ready\n".to_owned()));
            disk.fail()?;
            while broker.is_running() {
                let has_failed = broker.log().contains("ending the process");
                // Once it has ended, nobody answers.
                if let Ok((status, said)) = http::get(http_address, "/ready")
                    && has_failed
                {
                    assert_eq!(status, 503, "{said}");
                    assert_eq!(said, "failed: the journal cannot be written\n");
                }
                assert!(begin.elapsed() < LONG, "{}", broker.log());
            }
            let status = broker.await_end();
            assert_eq!(status.code(), Some(DISK_FAILED), "{}", broker.log());
            orders.give(Order::Pause);
            Ok(())
        });
        outcome?;
        let log = broker.log();
        assert_eq!(log.matches("ending the process").count(), 1, "{log}");
        let last = log.lines().last().unwrap_or_default();
        assert_eq!(last, "corelog: the journal cannot be written", "{log}");
        disk.heal()?;
        assert!(!broker.folder().join(".kafka_cleanshutdown").exists());
        broker.restart();
        ledger.verify();
        // The loop device is let go of.
        broker.stop();
        Ok(())
    });
}
