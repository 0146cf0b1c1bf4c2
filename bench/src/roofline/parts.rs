//! The parts that a broker is made of, each alone: the disk by large direct reads and writes, and the loopback.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::fcntl::OFlag;

const BLOCK: usize = 4096;
const CHUNK: usize = 1 << 20;
/// The disk is written and read over so much, again and again.
const FILE_BYTES: u64 = 1 << 30;
const SEND_BYTES: usize = 64 << 10;
const REQUEST_BYTES: usize = 1 << 10;
const REPLY_BYTES: usize = 64;

/// What each does at most, one thread on either side.
#[derive(Clone, Copy, Debug)]
pub struct Parts {
    /// Durable, 1 MiB at a time, in MB/s.
    pub disk_write: f64,
    /// 1 MiB at a time, in MB/s.
    pub disk_read: f64,
    /// 64 KiB at a time, in MB/s.
    pub loopback: f64,
    /// Requests of 1 KiB and short replies, one after the other, in requests/s.
    pub loopback_requests: f64,
}

impl fmt::Display for Parts {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (write, read) = (self.disk_write, self.disk_read);
        writeln!(
            out,
            "disk: {write:.0} MB/s written (durable, direct), {read:.0} MB/s read (direct)"
        )?;
        let (loopback, requests) = (self.loopback, self.loopback_requests);
        write!(
            out,
            "loopback: {loopback:.0} MB/s, {requests:.0} requests/s of 1 KiB one by one"
        )
    }
}

/// Each part for so long.
pub fn measure(folder: &Path, time: Duration) -> Result<Parts> {
    let (disk_write, disk_read) = disk(folder, time)?;
    Ok(Parts {
        disk_write,
        disk_read,
        loopback: loopback(time)?,
        loopback_requests: loopback_requests(time)?,
    })
}

/// MB/s written and read.
fn disk(folder: &Path, time: Duration) -> Result<(f64, f64)> {
    let file = direct_file(&folder.join("sequential"))?;
    let mut memory = vec![7; CHUNK + BLOCK];
    let aligned = memory.as_ptr().align_offset(BLOCK);
    let chunk = &mut memory[aligned..aligned + CHUNK];
    let mut written = 0;
    let write = repeat(time, CHUNK, || {
        file.write_all_at(chunk, written % FILE_BYTES)?;
        written += CHUNK as u64;
        Ok(())
    })?;
    let mut read = 0;
    let end = written.min(FILE_BYTES);
    let read = repeat(time, CHUNK, || {
        file.read_exact_at(chunk, read % end)?;
        read += CHUNK as u64;
        Ok(())
    })?;
    Ok((write / 1e6, read / 1e6))
}

/// A new file whose writes are direct and durable, without a name: nothing is left of it afterwards.
pub fn direct_file(path: &Path) -> Result<File> {
    let flags = OFlag::O_DIRECT | OFlag::O_DSYNC;
    let file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .read(true)
        .write(true)
        .custom_flags(flags.bits())
        .open(path)
        .with_context(|| format!("{}: direct writes are needed", path.display()))?;
    std::fs::remove_file(path)?;
    Ok(file)
}

fn loopback(time: Duration) -> Result<f64> {
    let (mut client, mut server) = connected()?;
    let taken = std::thread::spawn(move || {
        let mut buffer = vec![0; 4 * SEND_BYTES];
        while server.read(&mut buffer).is_ok_and(|read| read > 0) {}
    });
    let sent = vec![7; SEND_BYTES];
    let rate = repeat(time, SEND_BYTES, || Ok(client.write_all(&sent)?))?;
    drop(client);
    taken.join().expect("a thread that reads does not panic");
    Ok(rate / 1e6)
}

fn loopback_requests(time: Duration) -> Result<f64> {
    let (mut client, mut server) = connected()?;
    let answering = std::thread::spawn(move || {
        let mut request = [0; REQUEST_BYTES];
        let reply = [0; REPLY_BYTES];
        while server.read_exact(&mut request).is_ok() && server.write_all(&reply).is_ok() {}
    });
    let rate = repeat(time, 1, || {
        client.write_all(&[7; REQUEST_BYTES])?;
        Ok(client.read_exact(&mut [0; REPLY_BYTES])?)
    })?;
    drop(client);
    answering
        .join()
        .expect("a thread that answers does not panic");
    Ok(rate)
}

fn connected() -> Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let client = TcpStream::connect(listener.local_addr()?)?;
    let (server, _) = listener.accept()?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    Ok((client, server))
}

/// Does it again and again, and says how much of `amount` that is in a second.
fn repeat(time: Duration, amount: usize, mut once: impl FnMut() -> Result<()>) -> Result<f64> {
    let start = Instant::now();
    let mut times = 0_u64;
    while start.elapsed() < time {
        once()?;
        times += 1;
    }
    Ok(times as f64 * amount as f64 / start.elapsed().as_secs_f64())
}
