//! `corelog doctor` beside a broker that runs, one that was killed, and none.

use std::time::Duration;

use corelog_loadgen::client::{Backoff, Client};

use crate::harness::{Broker, Launch, free_port};
use crate::records::append;
use crate::turn;

/// For a broker that answers late.
const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn the_doctor_tells_a_running_broker_from_one_that_was_killed() {
    turn::run("doctor", || {
        let http = format!("corelog.http.listener=127.0.0.1:{}", free_port());
        let mut broker = Broker::launch(Launch {
            overrides: &[&http, "corelog.journal.bytes=67108864"],
            arguments: &["--cores", "1"],
            ..Launch::default()
        });
        let mut client = Client::connect(broker.address()).expect("a connection");
        client.create_topic("t", 3, &[]).expect("a topic");
        append(&mut client, "t", 0..20, 1_000);
        // A machine that has much else to do may keep it waiting for longer than the doctor does.
        let mut backoff = Backoff::within(PATIENCE);
        loop {
            let (status, said) = broker.doctor();
            let words = ["answers", "used by a running process", "ready", "live"];
            let mut untold = words
                .into_iter()
                .filter(|word| !said.contains(&format!("\"{word}")));
            let untold = untold.next();
            if (status, untold) == (Some(0), None) {
                break;
            }
            assert!(backoff.wait(), "{status:?}, {untold:?}: {said}");
        }
        assert!(broker.is_running(), "it does no harm: {}", broker.log());
        broker.kill9();
        let (status, said) = broker.doctor();
        assert_eq!(status, Some(0), "{said}");
        for word in [
            "the last run ended without a stop",
            "groups are whole",
            "no broker runs",
        ] {
            assert!(said.contains(word), "{word}: {said}");
        }
        broker.restart();
        broker.stop();
        let (status, said) = broker.doctor();
        assert_eq!(status, Some(0), "{said}");
        assert!(said.contains("stopped in order"), "{said}");
        Ok(())
    });
}
