//! A stop while requests are on their way: what was carried out has been answered, and what was answered is there.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bytes::Bytes;
use corelog_loadgen::batch::{self, Producer};
use corelog_loadgen::client::{self, Client, PRODUCE_VERSION, produce_request};
use nix::sys::signal::Signal;

use crate::harness::Broker;
use crate::turn;

/// More than are answered before the signal comes.
const REQUESTS: i32 = 2_000;
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn a_stop_answers_what_it_has_begun() {
    turn::run("drain", || {
        let mut broker = Broker::start(&[]);
        let mut client = Client::connect(broker.address()).expect("a connection");
        client.create_topic("t", 1, &[]).expect("a topic");
        let mut stream = TcpStream::connect(broker.address()).expect("a connection");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("it can wait");
        let mut requests = Vec::new();
        for correlation_id in 0..REQUESTS {
            let batch = batch::encode(Producer::NONE, client::wall_ms(), [b"one".as_slice()]);
            let request = produce_request("t", 0, -1, &Bytes::from(batch));
            let frame = client::frame(&request, PRODUCE_VERSION, correlation_id);
            requests.extend_from_slice(&frame.expect("it is encoded"));
        }
        let mut sending = stream.try_clone().expect("a second handle");
        let sender = std::thread::spawn(move || {
            // The broker may take no more of them.
            let _ = sending.write_all(&requests);
        });
        let mut answered = 0;
        while let Some(correlation_id) = next_reply(&mut stream) {
            assert_eq!(correlation_id, answered, "replies are in order");
            answered += 1;
            if answered == 1 {
                broker.signal(Signal::SIGTERM);
            }
        }
        let status = broker.await_end();
        assert!(status.success(), "{status}: {}", broker.log());
        sender.join().expect("no panic");
        assert!(answered > 0);
        assert!(broker.folder().join(".kafka_cleanshutdown").exists());
        broker.restart();
        let mut client = Client::connect(broker.address()).expect("a connection");
        let ends = client.end_offsets("t", 1).expect("the end of the log");
        assert_eq!(
            ends,
            [i64::from(answered)],
            "carried out and answered are the same"
        );
        broker.stop();
        Ok(())
    });
}

/// The correlation id of the next reply; `None` at the end of the connection.
fn next_reply(stream: &mut TcpStream) -> Option<i32> {
    let mut len = [0; 4];
    stream.read_exact(&mut len).ok()?;
    let mut reply = vec![0; u32::from_be_bytes(len) as usize];
    stream.read_exact(&mut reply).ok()?;
    Some(i32::from_be_bytes(*reply.first_chunk().expect("a header")))
}
