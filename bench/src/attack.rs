//! Clients that mean harm, or know no better: each goes on until it is told to stop, and connects anew where it is cut off.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Result;

use crate::fetch::{self, Limits};
use corelog_loadgen::client::{self, Client, FETCH_VERSION};

/// Requests that are sent before the first reply is read.
const PIPELINED: u32 = 10_000;
/// Connections of whoever reads nothing, and requests on each.
const UNREAD_CONNECTIONS: usize = 64;
const UNREAD_REQUESTS: i32 = 100;
/// How long these are kept.
const UNREAD_FOR: Duration = Duration::from_millis(500);
const UNREAD_LIMITS: Limits = Limits {
    reply_bytes: 8 << 20,
    partition_bytes: 8 << 20,
    wait: Duration::ZERO,
};
/// How long one waits before it looks whether it shall stop.
const PATIENCE: Duration = Duration::from_millis(100);
/// Behind an error.
const PAUSE: Duration = Duration::from_millis(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attack {
    /// Tiny requests, thousands of them at once.
    Pipelined,
    /// A connection for each request.
    Connections,
    /// Requests for what is large, and nobody reads the replies.
    Unread,
}

/// Whom it is against.
#[derive(Clone, Copy, Debug)]
pub struct Victim<'a> {
    pub addr: SocketAddr,
    /// A topic with some megabytes in its first partition.
    pub full_topic: &'a str,
}

impl Attack {
    /// Attacks while `meanwhile` runs. What that gives, and how many requests the attackers sent.
    pub fn beside<T>(self, victim: Victim<'_>, meanwhile: impl FnOnce() -> T) -> (T, u64) {
        let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
        let threads = match self {
            Self::Pipelined | Self::Unread => 1,
            Self::Connections => 4,
        };
        let result = thread::scope(|scope| {
            // Lets the attackers end where the other panics.
            let _until = Until(&stop);
            for _ in 0..threads {
                scope.spawn(|| self.go_on(victim, &stop, &sent));
            }
            meanwhile()
        });
        (result, sent.into_inner())
    }

    fn go_on(self, victim: Victim<'_>, stop: &AtomicBool, sent: &AtomicU64) {
        while !stop.load(Ordering::Relaxed) {
            let attacked = match self {
                Self::Pipelined => pipeline(victim.addr, stop, sent),
                Self::Connections => ask_once(victim.addr, sent),
                Self::Unread => leave_unread(victim, stop, sent),
            };
            if attacked.is_err() {
                // It was cut off, or there are no more ports for now.
                thread::sleep(PAUSE);
            }
        }
    }
}

struct Until<'a>(&'a AtomicBool);

impl Drop for Until<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A frame of ApiVersions, in its oldest version.
pub fn tiny(correlation: u32) -> [u8; 14] {
    let mut frame = [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 0, 0xff, 0xff];
    frame[8..12].copy_from_slice(&correlation.to_be_bytes());
    frame
}

/// Reads a reply to one of these. Its number.
pub fn tiny_reply(stream: &mut impl Read) -> io::Result<u32> {
    let mut word = [0; 4];
    stream.read_exact(&mut word)?;
    let mut reply = vec![0; u32::from_be_bytes(word) as usize];
    stream.read_exact(&mut reply)?;
    word.copy_from_slice(&reply[..4]);
    Ok(u32::from_be_bytes(word))
}

fn connect(addr: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(addr)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn pipeline(addr: SocketAddr, stop: &AtomicBool, sent: &AtomicU64) -> Result<()> {
    let mut stream = connect(addr)?;
    let frames: Vec<u8> = (0..PIPELINED).flat_map(tiny).collect();
    let mut from = io::BufReader::with_capacity(1 << 20, stream.try_clone()?);
    while !stop.load(Ordering::Relaxed) {
        stream.write_all(&frames)?;
        for _ in 0..PIPELINED {
            tiny_reply(&mut from)?;
            sent.fetch_add(1, Ordering::Relaxed);
        }
    }
    Ok(())
}

fn ask_once(addr: SocketAddr, sent: &AtomicU64) -> Result<()> {
    let mut stream = connect(addr)?;
    stream.write_all(&tiny(0))?;
    tiny_reply(&mut stream)?;
    sent.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

/// Opens connections, asks for as much as is taken, and lets go of them after a while.
fn leave_unread(victim: Victim<'_>, stop: &AtomicBool, sent: &AtomicU64) -> Result<()> {
    let request = fetch::request(victim.full_topic, [(0, 0)], UNREAD_LIMITS);
    let mut unread = Vec::new();
    for _ in 0..UNREAD_CONNECTIONS {
        let mut stream = connect(victim.addr)?;
        stream.set_nonblocking(true)?;
        for number in 0..UNREAD_REQUESTS {
            let frame = client::frame(&request, FETCH_VERSION, number)?;
            // Once the broker reads no more there is no room.
            if stream.write_all(&frame).is_err() {
                break;
            }
            sent.fetch_add(1, Ordering::Relaxed);
        }
        unread.push(stream);
        if stop.load(Ordering::Relaxed) {
            return Ok(());
        }
    }
    thread::sleep(UNREAD_FOR);
    Ok(())
}

/// Makes the topic that replies are taken from.
pub fn prepare(victim: Victim<'_>) -> Result<()> {
    use corelog_loadgen::batch::{self, Producer};
    use corelog_loadgen::client::{PRODUCE_VERSION, produce_outcome, produce_request};

    const BATCHES: usize = 16;
    let mut client = Client::connect(victim.addr)?;
    client.create_topic(victim.full_topic, 1, &[])?;
    client.prime(victim.full_topic, 1, Duration::from_secs(60))?;
    let value = vec![b'x'; 900_000];
    for _ in 0..BATCHES {
        let records = batch::encode(Producer::NONE, client::wall_ms(), [value.as_slice()]);
        let request = produce_request(victim.full_topic, 0, -1, &records.into());
        let (error, _) = produce_outcome(&client.call(&request, PRODUCE_VERSION)?)?;
        anyhow::ensure!(error == 0, "filling a topic: {}", client::error_name(error));
    }
    Ok(())
}
