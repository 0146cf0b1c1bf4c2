use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::wire::{FromAgent, ToAgent, VERSION, receive, send};
use super::*;
use crate::client::Backoff;
use crate::workload::Workload;

/// Ends an agent when a test is over, also one that fails.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Calls `with` with the address of an agent.
fn with_agent(with: impl FnOnce(std::net::SocketAddr)) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| serve(&listener, 1, &stop, |_| {}));
        let _stop = StopOnDrop(&stop);
        with(address);
    });
}

/// The answer of an agent that works for nobody any more: it hears a moment later that it does not. That it takes a
/// minute is a failure.
fn free_agent(address: std::net::SocketAddr) -> FromAgent {
    let mut backoff = Backoff::within(Duration::from_secs(60));
    loop {
        let stream = TcpStream::connect(address).unwrap();
        let version = VERSION.to_owned();
        let _ = send(&stream, &ToAgent::Hello { version });
        match receive(&stream) {
            Ok(FromAgent::Busy) | Err(_) => assert!(backoff.wait(), "it stays busy"),
            Ok(answer) => return answer,
        }
    }
}

fn hello(stream: &TcpStream, version: &str) -> FromAgent {
    let version = version.to_owned();
    send(stream, &ToAgent::Hello { version }).unwrap();
    receive(stream).unwrap()
}

#[test]
fn an_agent_of_another_version_refuses_and_names_both() {
    with_agent(|address| {
        let stream = TcpStream::connect(address).unwrap();
        let FromAgent::Refused { why } = hello(&stream, "0.0.0-other") else {
            panic!("it agrees")
        };
        assert!(
            why.contains(VERSION) && why.contains("0.0.0-other"),
            "{why}"
        );
    });
}

#[test]
fn an_agent_works_for_one_coordinator_at_a_time_and_for_the_next_one_after_it() {
    with_agent(|address| {
        let first = TcpStream::connect(address).unwrap();
        assert!(matches!(hello(&first, VERSION), FromAgent::Hello { .. }));
        let second = TcpStream::connect(address).unwrap();
        assert!(matches!(receive(&second).unwrap(), FromAgent::Busy));
        drop(first);
        assert!(matches!(free_agent(address), FromAgent::Hello { .. }));
    });
}

#[test]
fn noise_on_the_wire_ends_a_connection_and_not_the_agent() {
    use std::io::Write;
    with_agent(|address| {
        for noise in [
            &b"GET / HTTP/1.1\r\n\r\n"[..],
            &[0xff; 64],
            &[0, 0, 0, 2, b'{', b'}'],
            &[0, 0, 0, 9, b'{'],
        ] {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(noise).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            assert!(receive::<FromAgent>(&stream).is_err());
        }
        assert!(matches!(free_agent(address), FromAgent::Hello { .. }));
    });
}

#[test]
fn an_agent_that_is_none_is_named_before_anything_is_done() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let vanishing = thread::spawn(move || drop(listener.accept()));
    let stop = AtomicBool::new(false);
    let workload = Workload::default();
    // No broker is there either, and none is asked.
    let error = run(&workload, &[], &[address], &stop, |_| {}).unwrap_err();
    let text = format!("{error:#}");
    assert!(text.starts_with(&format!("agent {address}: ")), "{text}");
    vanishing.join().unwrap();

    let error = run(&workload, &[], &[address], &stop, |_| {}).unwrap_err();
    assert!(format!("{error:#}").contains("connecting"), "{error:#}");

    let error = run(&workload, &[], &[address, address], &stop, |_| {}).unwrap_err();
    assert_eq!(error.to_string(), format!("agent {address} is named twice"));
}
