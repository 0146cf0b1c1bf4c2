//! What thousands of connections cost that say nothing. Measured in a process of its own, since the
//! tests of one process share its memory.

use std::process::Command;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::*;

/// Both ends are in one process, so each connection takes two descriptors there.
const CONNECTIONS_MAX: usize = 10_000;
const BYTES_EACH_MAX: usize = 6 << 10;

#[test]
fn silent_connections_cost_little_memory() {
    let own = std::env::current_exe().expect("a test has an executable");
    let measure = "net::tests::memory::of_silent_connections";
    let outcome = Command::new(own)
        .args(["--exact", measure, "--ignored", "--nocapture"])
        .output()
        .expect("it can be started");
    let said = String::from_utf8_lossy(&outcome.stdout);
    assert!(
        outcome.status.success() && said.contains("bytes each"),
        "{}\n{said}\n{}",
        outcome.status,
        String::from_utf8_lossy(&outcome.stderr)
    );
}

#[test]
#[ignore = "run by silent_connections_cost_little_memory in a process of its own"]
fn of_silent_connections() {
    let connections = raise_descriptor_limit();
    let limits = ConnectionLimits {
        connections_max: connections,
        // Counted, too.
        per_ip_max: connections as u32,
        ..open_to_all()
    };
    on_a_stage(roomy(), limits, move |stage| async move {
        let mut clients = Vec::with_capacity(connections);
        let mut before = 0;
        for i in 0..connections {
            if i == connections / 10 {
                // What is made once is there by now.
                before = resident_bytes();
            }
            let mut client = stage.client().await;
            client.send(timed_request(1, 0)).await;
            assert!(client.answer().await.is_some());
            clients.push((client.read, client.write));
        }
        assert_eq!(stage.network.connections(), connections);
        let each = (resident_bytes() - before) / (connections - connections / 10);
        println!("{connections} connections, {each} bytes each, both ends");
        assert!(each < BYTES_EACH_MAX);
    });
}

/// How many connections the limit of open files allows.
fn raise_descriptor_limit() -> usize {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("up to the hard limit");
    ((hard as usize).saturating_sub(200) / 2).min(CONNECTIONS_MAX)
}

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages = statm.split(' ').nth(1).expect("a size");
    pages.parse::<usize>().expect("a number") * 4096
}
