//! What hostile clients leave in the log: one line for each connection that is closed, which names the peer and the
//! reason, and never a line for each thing that a request names.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::harness::Broker;

const PRODUCE: i16 = 0;
const FETCH: i16 = 1;
const METADATA: i16 = 3;

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
fn each_connection_that_is_closed_leaves_one_line_with_peer_and_reason() {
    let mut broker = Broker::start(&[]);
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
    let closed: Vec<_> = cases
        .iter()
        .map(|(bytes, reason)| (send_and_be_closed(&broker, bytes), *reason))
        .collect();
    broker.stop();
    let log = broker.log();
    for (peer, reason) in closed {
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
    stream.write_all(&many_topics()).expect("taken");
    let mut len = [0; 4];
    stream.read_exact(&mut len).expect("a reply");
    let mut reply = vec![0; u32::from_be_bytes(len) as usize];
    stream.read_exact(&mut reply).expect("a whole reply");
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
