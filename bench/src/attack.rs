//! Clients that mean harm, or know no better: each goes on until it is told to stop, and connects anew where it is cut off.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use bytes::Bytes;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rustix::process::setpriority_process;

use crate::fetch::{self, Limits};
use corelog_loadgen::batch::{self, Producer};
use corelog_loadgen::client::{
    self, Client, FETCH_VERSION, PRODUCE_VERSION, produce_outcome, produce_request,
};
use corelog_loadgen::workload::Codec;

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
/// Connections on which requests trickle in, and the pause between two bytes on each.
const TRICKLING_CONNECTIONS: usize = 500;
const TRICKLE_PAUSE: Duration = Duration::from_millis(10);
/// Connections that say nothing any more, as far as half of what may be open allows.
const SILENT_CONNECTIONS: usize = 4_000;
/// What the records of a bomb unpack to.
const BOMB_BYTES: usize = 16 << 20;
/// How long one waits before it looks whether it shall stop.
const PATIENCE: Duration = Duration::from_millis(100);
/// The niceness of attackers.
const LEAST_PRIORITY: i32 = 19;
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
    /// Requests byte by byte, on many connections.
    Trickling,
    /// Thousands of connections that say nothing.
    Silent,
    /// Small batches that unpack to a thousand times their size.
    Bombs,
}

/// Whom it is against.
#[derive(Clone, Copy, Debug)]
pub struct Victim<'a> {
    pub addr: SocketAddr,
    /// A topic with some megabytes in its first partition.
    pub full_topic: &'a str,
    /// Batches for it, of [`bombs`].
    pub bombs: &'a [Bytes],
}

impl Attack {
    /// Attacks while `meanwhile` runs. What that gives, and how many requests the attackers sent: of [`Self::Trickling`]
    /// how many bytes, of [`Self::Silent`] how many connections they held.
    pub fn beside<T>(self, victim: Victim<'_>, meanwhile: impl FnOnce() -> T) -> (T, u64) {
        let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
        let threads = match self {
            Self::Pipelined | Self::Unread | Self::Trickling | Self::Silent => 1,
            Self::Connections | Self::Bombs => 4,
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
        // In life attackers use up machines of their own, and clients beside them lack no time.
        setpriority_process(None, LEAST_PRIORITY).expect("everybody may want less");
        while !stop.load(Ordering::Relaxed) {
            let attacked = match self {
                Self::Pipelined => pipeline(victim.addr, stop, sent),
                Self::Connections => ask_once(victim.addr, sent).map(drop),
                Self::Unread => leave_unread(victim, stop, sent),
                Self::Trickling => trickle(victim.addr, stop, sent),
                Self::Silent => say_nothing(victim.addr, stop, sent),
                Self::Bombs => send_bombs(victim, stop, sent),
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

/// Connects, and has a request answered.
fn ask_once(addr: SocketAddr, sent: &AtomicU64) -> Result<TcpStream> {
    let mut stream = connect(addr)?;
    stream.write_all(&tiny(0))?;
    tiny_reply(&mut stream)?;
    sent.fetch_add(1, Ordering::Relaxed);
    Ok(stream)
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

/// Sends the same request on all connections, a byte at a time, and reads the replies.
fn trickle(addr: SocketAddr, stop: &AtomicBool, sent: &AtomicU64) -> Result<()> {
    let mut streams = Vec::new();
    for _ in 0..TRICKLING_CONNECTIONS {
        let stream = connect(addr)?;
        // Each byte is a packet.
        stream.set_nodelay(true)?;
        streams.push(stream);
    }
    loop {
        for byte in tiny(0) {
            for stream in &mut streams {
                stream.write_all(&[byte])?;
                sent.fetch_add(1, Ordering::Relaxed);
            }
            if stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            thread::sleep(TRICKLE_PAUSE);
        }
        for stream in &mut streams {
            tiny_reply(stream)?;
        }
    }
}

/// Opens connections, and keeps them as they are.
fn say_nothing(addr: SocketAddr, stop: &AtomicBool, sent: &AtomicU64) -> Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let files = soft.max(hard.min(2 * SILENT_CONNECTIONS as u64));
    setrlimit(Resource::RLIMIT_NOFILE, files, hard)?;
    let connections = SILENT_CONNECTIONS.min(files as usize / 2);
    let mut silent = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        if silent.len() == connections {
            thread::sleep(PATIENCE);
        } else if let Ok(stream) = ask_once(addr, sent) {
            silent.push(stream);
        } else {
            // A broker that takes no more for now leaves those that it has.
            thread::sleep(PAUSE);
        }
    }
    Ok(())
}

fn send_bombs(victim: Victim<'_>, stop: &AtomicBool, sent: &AtomicU64) -> Result<()> {
    let mut client = Client::connect(victim.addr)?;
    for bomb in victim.bombs.iter().cycle() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        append(&mut client, victim.full_topic, bomb)?;
        sent.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// One of each compression that makes a thousandth of zeros.
pub fn bombs() -> Vec<Bytes> {
    let zeros = vec![0; 1 << 20];
    let bomb = |codec| {
        let now_ms = client::wall_ms();
        let mut batch = batch::Builder::new(now_ms);
        while batch.records_bytes() < BOMB_BYTES {
            batch.push(now_ms, None, &zeros);
        }
        Bytes::from(batch.finish(Producer::NONE, codec))
    };
    [Codec::Gzip, Codec::Zstd].map(bomb).into()
}

fn append(client: &mut Client, topic: &str, batch: &Bytes) -> Result<()> {
    let request = produce_request(topic, 0, -1, batch);
    let (error, _) = produce_outcome(&client.call(&request, PRODUCE_VERSION)?)?;
    ensure!(error == 0, "filling a topic: {}", client::error_name(error));
    Ok(())
}

/// Makes the topic that replies are taken from.
pub fn prepare(victim: Victim<'_>) -> Result<()> {
    const BATCHES: usize = 16;
    let mut client = Client::connect(victim.addr)?;
    client.create_topic(victim.full_topic, 1, &[])?;
    client.prime(victim.full_topic, 1, Duration::from_secs(60))?;
    let value = vec![b'x'; 900_000];
    for _ in 0..BATCHES {
        let records = batch::encode(Producer::NONE, client::wall_ms(), [value.as_slice()]);
        append(&mut client, victim.full_topic, &records.into())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bombs_unpack_to_a_thousand_times_their_size() {
        for bomb in bombs() {
            let mut unpacked = 0;
            let batch = batch::whole_batches(&bomb).next().expect("a batch");
            let records = batch.records(|_, value| {
                unpacked += value.len();
                Ok(())
            });
            records.expect("what a broker takes");
            assert!(unpacked >= BOMB_BYTES, "{unpacked}");
            assert!(unpacked / bomb.len() >= 900, "{} bytes", bomb.len());
        }
    }
}
