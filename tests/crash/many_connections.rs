//! More connections than the process may open files: those that are too many wait, the others are served.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use corelog_bench::attack::{tiny, tiny_reply};
use corelog_loadgen::client::Client;

use crate::harness::{Broker, Launch, free_port};
use crate::records::{append, fetch_at, read, whole};
use crate::turn;

const TOPIC: &str = "t";
const LIMIT: &str = "--nofile=600:600";
const CONNECTIONS: usize = 900;
/// Enough that the journal's files are changed several times.
const BATCHES: u64 = 200;
const BATCH_BYTES: usize = 900_000;
/// Of those who were there before.
const CLIENTS: usize = 4;
/// How often a core says a line of one kind that clients could have said as often as they like.
const LINE_INTERVAL: Duration = Duration::from_secs(10);
/// In which a connection that is not served gets no reply.
const SILENCE: Duration = Duration::from_millis(500);
/// Bounds what hangs.
const PATIENCE: Duration = Duration::from_secs(60);

fn clients(broker: &Broker) -> Vec<Client> {
    let connect = |_| Client::connect(broker.address()).expect("a connection");
    (0..CLIENTS).map(connect).collect()
}

/// A client writes a record, and reads it and an older one.
fn serve(client: &mut Client, sequence: u64, bytes: usize) {
    let offset = append(client, TOPIC, sequence..sequence + 1, bytes);
    assert_eq!(offset, sequence as i64);
    for offset in [offset, offset / 2] {
        let (error, records) = fetch_at(client, TOPIC, offset);
        assert!(error == 0 && !records.is_empty(), "{offset}: {error}");
    }
}

/// Connects and asks, and gets no reply.
fn ask_in_vain(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("the kernel accepts");
    stream.write_all(&tiny(7)).expect("sent");
    stream.set_read_timeout(Some(SILENCE)).expect("an option");
    let nothing = stream.read(&mut [0]).map_err(|error| error.kind());
    assert!(
        matches!(nothing, Err(ErrorKind::WouldBlock | ErrorKind::TimedOut)),
        "{nothing:?}"
    );
    stream.set_read_timeout(Some(PATIENCE)).expect("an option");
    stream
}

/// A line is said, and not each time that there is a reason to.
fn assert_said_in_turn(said: &str, words: &str, begin: Instant) {
    let times = said.matches(words).count() as u64;
    let max = 1 + begin.elapsed().as_secs() / LINE_INTERVAL.as_secs();
    assert!(
        (1..=max).contains(&times),
        "{words}: {times} of {max}: {said}"
    );
}

#[test]
fn connections_that_take_all_descriptors_do_not_stop_the_log() {
    turn::run("many-connections", || {
        turn::needs_prlimit(LIMIT)?;
        let mut broker = Broker::launch(Launch {
            overrides: &["corelog.journal.bytes=67108864"],
            arguments: &["--cores", "1"],
            under: &["prlimit", LIMIT],
            ..Launch::default()
        });
        let mut clients = clients(&broker);
        clients[0].create_topic(TOPIC, 1, &[]).expect("a topic");
        let (begin, before) = (Instant::now(), broker.log().len());
        // Those that are too many wait in the kernel's queue.
        let idle: Vec<_> = (0..CONNECTIONS)
            .map(|_| TcpStream::connect(broker.address()).expect("a connection"))
            .collect();
        let waits = "a connection waits: max.connections are open";
        broker.await_log(before, waits);
        let mut waiting = ask_in_vain(broker.address());
        for sequence in 0..BATCHES {
            let client = &mut clients[sequence as usize % CLIENTS];
            serve(client, sequence, BATCH_BYTES);
        }
        drop(idle);
        assert_eq!(tiny_reply(&mut waiting).expect("its turn has come"), 7);
        let all = BATCHES as i64;
        assert_eq!(read(broker.address(), TOPIC, all), whole(all));
        broker.stop();
        let said = broker.log().split_off(before);
        assert_said_in_turn(&said, waits, begin);
        // The logs have kept theirs.
        for words in ["can't accept", "cannot open", "Too many open files"] {
            assert!(!said.contains(words), "{words}: {said}");
        }
        Ok(())
    });
}

/// From now on the broker may open no file whose number is not below this.
fn limit_files(broker: &Broker, limit: u64) {
    let status = Command::new("prlimit")
        .arg(format!("--pid={}", broker.pid()))
        .arg(format!("--nofile={limit}:"))
        .status();
    assert!(status.is_ok_and(|status| status.success()), "prlimit");
}

/// The number of the next file that the broker opens.
fn next_file(broker: &Broker) -> u64 {
    let is_free = |number: &u64| {
        let open = format!("/proc/{}/fd/{number}", broker.pid());
        fs::symlink_metadata(open).is_err()
    };
    (0..).find(is_free).expect("a number")
}

#[test]
fn without_a_descriptor_left_those_who_are_there_are_served_and_others_wait() {
    turn::run("no-descriptors", || {
        turn::needs_prlimit(LIMIT)?;
        let http = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let mut broker = Broker::launch(Launch {
            overrides: &[
                "corelog.journal.bytes=67108864",
                &format!("corelog.http.listener={http}"),
            ],
            arguments: &["--cores", "1"],
            under: &["prlimit", LIMIT],
            ..Launch::default()
        });
        let mut clients = clients(&broker);
        clients[0].create_topic(TOPIC, 1, &[]).expect("a topic");
        serve(&mut clients[0], 0, 100);
        let (begin, before) = (Instant::now(), broker.log().len());
        limit_files(&broker, next_file(&broker));
        // Some of them take the numbers of files that are closed by now.
        let addresses = [broker.address(), http];
        let others = addresses.iter().cycle().take(40);
        let _others: Vec<_> = others
            .map(|address| TcpStream::connect(address).expect("the kernel accepts"))
            .collect();
        let refused = [
            "can't accept a connection",
            "can't accept an HTTP connection",
        ];
        for words in refused {
            broker.await_log(before, words);
        }
        let mut waiting = ask_in_vain(broker.address());
        for sequence in 1..40 {
            serve(&mut clients[sequence as usize % CLIENTS], sequence, 100);
            thread::sleep(Duration::from_millis(50));
        }
        limit_files(&broker, 600);
        assert_eq!(tiny_reply(&mut waiting).expect("its turn has come"), 7);
        assert_eq!(read(broker.address(), TOPIC, 40), whole(40));
        broker.stop();
        let said = broker.log().split_off(before);
        for words in refused {
            assert_said_in_turn(&said, words, begin);
        }
        Ok(())
    });
}
