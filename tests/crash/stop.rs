//! A stop that is asked for again goes on: supervisors tell a process and then its group, and nobody wants a recovery
//! for that.

use std::time::Duration;

use corelog_loadgen::client::Backoff;
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

use crate::harness::Broker;

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn a_second_sigterm_does_not_cut_a_stop_short() {
    let mut broker = Broker::start(&[]);
    let pid = Pid::from_raw(i32::try_from(broker.pid()).expect("a process id"));
    signal::kill(pid, Signal::SIGTERM).expect("a signal to the broker");
    let mut backoff = Backoff::within(PATIENCE);
    while !broker.log().contains("SIGTERM: stopping") {
        assert!(backoff.wait(), "{}", broker.log());
    }
    // Asks again, and wants a clean end.
    broker.stop();
    assert!(broker.folder().join(".kafka_cleanshutdown").exists());
}
