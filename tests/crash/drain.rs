//! A stop while requests are on their way: what was carried out has been answered, and what was answered is there.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use corelog_loadgen::batch::{self, Producer};
use corelog_loadgen::client::{self, Client, PRODUCE_VERSION, produce_request};
use nix::sys::signal::Signal;

use crate::harness::Broker;
use crate::turn;

/// Requests sent at once.
const AT_ONCE: usize = 100;
/// Whoever has sent nothing for so long has no room for more.
const FULL: Duration = Duration::from_millis(200);
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
        let mut sending = stream.try_clone().expect("a second handle");
        let sent = Arc::new(AtomicUsize::new(0));
        let sending_on = Arc::clone(&sent);
        // Until the broker takes no more of them.
        let sender = std::thread::spawn(move || {
            let mut requests = (0..).map(|correlation_id| {
                let batch = batch::encode(Producer::NONE, client::wall_ms(), [b"one".as_slice()]);
                let request = produce_request("t", 0, -1, &Bytes::from(batch));
                client::frame(&request, PRODUCE_VERSION, correlation_id).expect("it is encoded")
            });
            loop {
                let some: Vec<_> = requests.by_ref().take(AT_ONCE).collect();
                if sending.write_all(&some.concat()).is_err() {
                    return;
                }
                sending_on.fetch_add(AT_ONCE, Ordering::Relaxed);
            }
        });
        let (mut answered, mut is_stopping) = (0, false);
        while let Some(correlation_id) = next_reply(&mut stream) {
            assert_eq!(correlation_id, answered, "replies are in order");
            answered += 1;
            if !is_stopping {
                broker.signal(Signal::SIGSTOP);
                await_full_buffers(&sent);
                broker.signal(Signal::SIGTERM);
                broker.signal(Signal::SIGCONT);
                is_stopping = true;
            }
        }
        assert!(is_stopping, "it ended before: {}", broker.log());
        let status = broker.await_end();
        assert!(status.success(), "{status}: {}", broker.log());
        sender.join().expect("no panic");
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

/// Waits until the sender can send no more to a broker that stands still, so that some are not read when it stops.
fn await_full_buffers(sent: &AtomicUsize) {
    let mut before = usize::MAX;
    while before != sent.load(Ordering::Relaxed) {
        before = sent.load(Ordering::Relaxed);
        std::thread::sleep(FULL);
    }
}

/// The correlation id of the next reply; `None` at the end of the connection.
fn next_reply(stream: &mut TcpStream) -> Option<i32> {
    let mut next = || {
        let mut len = [0; 4];
        stream.read_exact(&mut len)?;
        let mut reply = vec![0; u32::from_be_bytes(len) as usize];
        stream.read_exact(&mut reply)?;
        Ok::<_, io::Error>(i32::from_be_bytes(*reply.first_chunk().expect("a header")))
    };
    match next() {
        Ok(correlation_id) => Some(correlation_id),
        Err(error)
            if [ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset].contains(&error.kind()) =>
        {
            None
        }
        Err(error) => panic!("no reply, and no end: {error}"),
    }
}
