//! `corelog doctor` beside a broker that runs, one that was killed, and none.

use corelog_loadgen::client::Client;

use crate::harness::{Broker, Launch, free_port};
use crate::records::append;
use crate::turn;

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
        let (status, said) = broker.doctor();
        assert_eq!(status, Some(0), "{said}");
        for word in ["answers", "used by a running process", "ready", "live"] {
            assert!(said.contains(&format!("\"{word}")), "{word}: {said}");
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
