//! What clients leave in the log: a line for a connection that is closed, which names the peer and the reason, never a
//! line for each thing that a request names, and few lines however often they do the same.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::harness::{Broker, Launch};

const PRODUCE: i16 = 0;
const FETCH: i16 = 1;
const METADATA: i16 = 3;
const API_VERSIONS: i16 = 18;
const DESCRIBE_LOG_DIRS: i16 = 35;

/// How often a client does the same.
const REPEATS: usize = 1_000;
/// Lines of a kind in that time at most: one of each of two shards at once, and one of each every ten seconds.
const FEW: usize = 20;
/// What is said of a topic that somebody asked for.
const CREATED: &str = "created automatically";

/// More than may be created by one request.
const TOPICS: i32 = 10_001;

fn frame(content: &[u8]) -> Vec<u8> {
    let len = content.len() as i32;
    [&len.to_be_bytes(), content].concat()
}

/// With the header of the versions without tagged fields.
fn request(key: i16, version: i16, body: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    content.extend(key.to_be_bytes());
    content.extend(version.to_be_bytes());
    content.extend(7_i32.to_be_bytes());
    content.extend((-1_i16).to_be_bytes());
    content.extend(body);
    frame(&content)
}

/// A batch that is none, to a partition that there is not, without wish for a reply.
fn untold() -> Vec<u8> {
    let mut body = Vec::new();
    body.extend((-1_i16).to_be_bytes());
    body.extend(0_i16.to_be_bytes());
    body.extend(1_000_i32.to_be_bytes());
    body.extend([0, 0, 0, 1, 0, 1, b'x', 0, 0, 0, 1, 0, 0, 0, 9]);
    body.extend([0, 0, 0, 3, 1, 2, 3]);
    request(PRODUCE, 8, &body)
}

/// Topics that there are not, to be created.
fn many_topics() -> Vec<u8> {
    let mut body = TOPICS.to_be_bytes().to_vec();
    for topic in 0..TOPICS {
        body.extend([0, 5]);
        body.extend(format!("{topic:05}").into_bytes());
    }
    request(METADATA, 1, &body)
}

fn connect(broker: &Broker) -> TcpStream {
    let stream = TcpStream::connect(broker.address()).expect("it listens");
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .expect("a timeout");
    stream
}

/// Sends it, waits for the end of the connection, and returns our address of it.
fn send_and_be_closed(broker: &Broker, bytes: &[u8]) -> String {
    let mut stream = connect(broker);
    stream.write_all(bytes).expect("taken");
    let mut said = Vec::new();
    // An end with a reset is one, too.
    let _ = stream.read_to_end(&mut said);
    assert!(said.is_empty(), "answered {said:?}");
    stream.local_addr().expect("an address").to_string()
}

#[test]
fn a_connection_that_is_closed_leaves_one_line_with_peer_and_reason() {
    let cases = [
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "1195725856"),
        ((-1_i32).to_be_bytes().to_vec(), "-1"),
        (i32::MAX.to_be_bytes().to_vec(), "2147483647"),
        (frame(b"abc"), "header"),
        (request(9_999, 0, b""), "9999"),
        (request(METADATA, 99, &[0]), "version 99 of Metadata"),
        (request(FETCH, 4, b"half"), "a Fetch request of version 4"),
        (
            request(METADATA, 1, &i32::MAX.to_be_bytes()),
            "a Metadata request of version 1",
        ),
        (untold(), "x-9"),
    ];
    for (bytes, reason) in cases {
        let mut broker = Broker::start(&[]);
        let peer = send_and_be_closed(&broker, &bytes);
        broker.stop();
        let log = broker.log();
        let told: Vec<_> = log.lines().filter(|line| line.contains(&peer)).collect();
        let [line] = told[..] else {
            panic!("{reason}: {told:?} in\n{log}");
        };
        assert!(line.contains("closed") && line.contains(reason), "{line}");
    }
}

#[test]
fn a_request_for_many_topics_leaves_one_line() {
    let mut broker = Broker::start(&[]);
    let mut stream = connect(&broker);
    let lines_before = broker.log().lines().count();
    let reply = ask(&mut stream, &many_topics());
    // The topics stand at its end, the last of them with its error, its name and no partitions.
    let unknown = [0, 3, 0, 5, b'1', b'0', b'0', b'0', b'0', 0, 0, 0, 0, 0];
    assert!(reply.ends_with(&unknown));
    broker.stop();
    let log = broker.log();
    let said: Vec<_> = log.lines().skip(lines_before).collect();
    let told = said.iter().filter(|line| line.contains("created"));
    assert_eq!(told.count(), 1, "{said:?}");
    assert!(said.len() < 10, "{} lines", said.len());
}

/// Sends a request and takes its reply.
fn ask(stream: &mut TcpStream, request: &[u8]) -> Vec<u8> {
    stream.write_all(request).expect("taken");
    let mut len = [0; 4];
    stream.read_exact(&mut len).expect("a reply");
    let mut reply = vec![0; u32::from_be_bytes(len) as usize];
    stream.read_exact(&mut reply).expect("a whole reply");
    reply
}

/// For the metadata of one topic, to be created if it is not there.
fn metadata_of(topic: &str) -> Vec<u8> {
    let mut body = 1_i32.to_be_bytes().to_vec();
    body.extend((topic.len() as i16).to_be_bytes());
    body.extend(topic.as_bytes());
    request(METADATA, 1, &body)
}

/// How many lines say this, of those behind `from`.
fn said(log: &str, from: usize, what: &str) -> usize {
    let lines = log.lines().skip(from);
    lines.filter(|line| line.contains(what)).count()
}

#[test]
fn what_a_client_repeats_leaves_few_lines() {
    let mut broker = Broker::launch(Launch {
        arguments: &["--cores", "2"],
        ..Launch::default()
    });
    let mut stream = connect(&broker);
    ask(&mut stream, &metadata_of("a_b"));
    // Lines are written in their order, by a thread of its own.
    let before = broker.await_log(0, CREATED).lines().count();

    // Names of which one could not be told from the other.
    let collides = metadata_of("a.b");
    for _ in 0..REPEATS {
        ask(&mut stream, &collides);
    }
    for _ in 0..REPEATS {
        send_and_be_closed(&broker, b"GET / HTTP/1.1\r\n\r\n");
        send_and_be_closed(&broker, &request(9_999, 0, b""));
        send_and_be_closed(&broker, &request(METADATA, 1, &i32::MAX.to_be_bytes()));
    }
    let away = broker.folder().with_extension("away");
    fs::rename(broker.folder(), &away).expect("it may be renamed");
    let all_folders = request(DESCRIBE_LOG_DIRS, 1, &(-1_i32).to_be_bytes());
    for _ in 0..REPEATS {
        ask(&mut stream, &all_folders);
    }
    fs::rename(&away, broker.folder()).expect("and back");

    ask(&mut stream, &metadata_of("the-last"));
    let log = broker.await_log(0, "the-last");
    let kinds = [
        "cannot be created automatically",
        "1195725856",
        "9999",
        "a Metadata request of version 1",
        "cannot be described",
    ];
    for kind in kinds {
        let count = said(&log, before, kind);
        assert!((1..=FEW).contains(&count), "{count} lines say {kind:?}");
    }
    let lines = log.lines().count() - before;
    assert!(lines <= kinds.len() * FEW, "{lines} lines");
    broker.stop();
}

#[test]
fn a_thousand_requests_of_several_apis_leave_no_line() {
    let mut broker = Broker::start(&[]);
    let mut stream = connect(&broker);
    let known = metadata_of("known");
    ask(&mut stream, &known);
    let before = broker.await_log(0, CREATED).lines().count();
    let requests = [
        known,
        request(API_VERSIONS, 0, b""),
        request(DESCRIBE_LOG_DIRS, 1, &(-1_i32).to_be_bytes()),
        request(METADATA, 1, &(-1_i32).to_be_bytes()),
    ];
    for _ in 0..REPEATS {
        for request in &requests {
            ask(&mut stream, request);
        }
    }
    ask(&mut stream, &metadata_of("the-last"));
    let log = broker.await_log(0, "the-last");
    let lines: Vec<_> = log.lines().skip(before).collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    broker.stop();
}
