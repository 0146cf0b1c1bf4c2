//! A server that takes Produce requests, checks that their bytes are whole, writes what waits as one direct durable
//! write into blocks that were written before, and replies. It knows nothing of topics, offsets or recovery: no broker
//! that keeps its word can do less.
//!
//! Each thread has an epoll over its share of the connections and a file of its own, and stands still while it writes;
//! what comes in meanwhile waits for the next write, as in any group commit. It runs as a process of its own, so that
//! what it uses is counted apart from the client.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use bytes::BytesMut;
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{ProduceResponse, ResponseHeader};
use kafka_protocol::protocol::{Encodable, HeaderVersion};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::parts::direct_file;
use crate::target::Target;
use corelog_loadgen::client::{PRODUCE_VERSION, topic_name};

const BLOCK: usize = 4096;
/// Written before, and then again and again.
const FILE_BYTES: usize = 64 << 20;
const READ_BYTES: usize = 256 << 10;
const CONNECTIONS_MAX: usize = 64;
/// One write holds at most what all connections may have sent.
const GROUP_BYTES_MAX: usize = CONNECTIONS_MAX * 2 * READ_BYTES;

#[derive(Clone, Debug)]
pub struct ServeSettings {
    /// Where its files are: on the disk that is measured.
    pub folder: PathBuf,
    /// Replies name this topic.
    pub topic: String,
    /// It begins when so many have come, and ends when they have gone.
    pub connections: usize,
    pub threads: usize,
}

/// The process.
#[derive(Debug)]
pub struct BareLoop {
    child: Child,
    target: Target,
}

impl BareLoop {
    /// Starts this program once more, as the server.
    pub fn start(settings: &ServeSettings) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("bare-loop")
            .args(["--topic", &settings.topic])
            .args(["--connections", &settings.connections.to_string()])
            .args(["--threads", &settings.threads.to_string(), "--folder"])
            .arg(&settings.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting the bare loop")?;
        let output = child.stdout.take().context("the bare loop has an output")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let pid = Some(child.id());
        let addr = line.trim().parse();
        let mut this = Self {
            child,
            target: Target {
                addr: (Ipv4Addr::LOCALHOST, 0).into(),
                pid,
                http: None,
            },
        };
        this.target.addr = addr.context("the bare loop did not say where it listens")?;
        Ok(this)
    }

    pub fn target(&self) -> Target {
        self.target
    }
}

impl Drop for BareLoop {
    fn drop(&mut self) {
        // Fails only where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Says on its output where it listens, and serves until all connections have been closed.
pub fn serve(settings: &ServeSettings) -> Result<()> {
    ensure!(settings.threads > 0, "--threads: at least 1");
    ensure!(
        (1..=CONNECTIONS_MAX).contains(&settings.connections),
        "--connections: from 1 to {CONNECTIONS_MAX}"
    );
    let reply = &reply(&settings.topic)?;
    let files = (0..settings.threads)
        .map(|at| GroupFile::create(&settings.folder.join(format!("bare-loop-{at}"))))
        .collect::<Result<Vec<_>>>()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    println!("{}", listener.local_addr()?);
    let mut shares: Vec<Vec<Connection>> = files.iter().map(|_| Vec::new()).collect();
    for at in 0..settings.connections {
        let (stream, _) = listener.accept()?;
        shares[at % settings.threads].push(Connection::new(stream)?);
    }
    std::thread::scope(|scope| {
        let threads: Vec<_> = files
            .into_iter()
            .zip(shares)
            .map(|(file, connections)| scope.spawn(move || run(file, connections, reply)))
            .collect();
        let mut joined = threads
            .into_iter()
            .map(|thread| thread.join().expect("a thread does not panic"));
        joined.try_for_each(|outcome| outcome)
    })
}

/// A frame that acknowledges a request; its correlation id stands behind its length.
fn reply(topic: &str) -> Result<Vec<u8>> {
    let topic = TopicProduceResponse::default()
        .with_name(topic_name(topic))
        .with_partition_responses(vec![PartitionProduceResponse::default()]);
    let reply = ProduceResponse::default().with_responses(vec![topic]);
    let mut out = BytesMut::zeroed(4);
    let header_version = ProduceResponse::header_version(PRODUCE_VERSION);
    ResponseHeader::default().encode(&mut out, header_version)?;
    reply.encode(&mut out, PRODUCE_VERSION)?;
    let length = out.len() as u32 - 4;
    out[..4].copy_from_slice(&length.to_be_bytes());
    Ok(out.to_vec())
}

fn run(mut file: GroupFile, mut connections: Vec<Connection>, reply: &[u8]) -> Result<()> {
    let epoll = Epoll::new(EpollCreateFlags::empty())?;
    for (at, connection) in connections.iter().enumerate() {
        let event = EpollEvent::new(EpollFlags::EPOLLIN, at as u64);
        epoll.add(&connection.stream, event)?;
    }
    let mut open = connections.len();
    let mut events = vec![EpollEvent::empty(); 64];
    while open > 0 {
        let ready = epoll.wait(&mut events, EpollTimeout::NONE)?;
        for event in &events[..ready] {
            let connection = &mut connections[event.data() as usize];
            if !connection.receive()? {
                epoll.delete(&connection.stream)?;
                open -= 1;
            }
            connection.take_frames(&mut file, reply);
        }
        if file.filled > 0 {
            file.write()?;
            for event in &events[..ready] {
                connections[event.data() as usize].answer()?;
            }
        }
    }
    Ok(())
}

struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
    filled: usize,
    replies: Vec<u8>,
}

impl Connection {
    fn new(stream: TcpStream) -> Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            received: vec![0; READ_BYTES],
            filled: 0,
            replies: Vec::new(),
        })
    }

    /// Reads once; false at the end of the connection.
    fn receive(&mut self) -> Result<bool> {
        match self.stream.read(&mut self.received[self.filled..]) {
            Ok(0) => Ok(false),
            Ok(read) => {
                self.filled += read;
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(true),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Adds what is whole to the group, with its checksum, and prepares the replies.
    fn take_frames(&mut self, file: &mut GroupFile, reply: &[u8]) {
        let mut at = 0;
        while let Some(length) = self.received[at..self.filled].first_chunk::<4>() {
            let length = u32::from_be_bytes(*length) as usize;
            let Some(frame) = self.received[at + 4..self.filled].get(..length) else {
                break;
            };
            file.add(&crc32c::crc32c(frame).to_be_bytes());
            file.add(frame);
            let start = self.replies.len();
            self.replies.extend_from_slice(reply);
            self.replies[start + 4..start + 8].copy_from_slice(&frame[4..8]);
            at += 4 + length;
        }
        self.received.copy_within(at..self.filled, 0);
        self.filled -= at;
    }

    /// Replies are small: a socket that does not take them is an error.
    fn answer(&mut self) -> Result<()> {
        if !self.replies.is_empty() {
            self.stream.write_all(&self.replies)?;
            self.replies.clear();
        }
        Ok(())
    }
}

/// Blocks that were written before, and the group that goes into them next.
struct GroupFile {
    file: File,
    position: usize,
    memory: Vec<u8>,
    /// Of the first aligned byte of the memory.
    aligned: usize,
    filled: usize,
}

impl GroupFile {
    fn create(path: &Path) -> Result<Self> {
        let file = direct_file(path)?;
        let memory = vec![0; GROUP_BYTES_MAX + 2 * BLOCK];
        let aligned = memory.as_ptr().align_offset(BLOCK);
        let zeros = &memory[aligned..aligned + (4 << 20)];
        for at in (0..FILE_BYTES).step_by(zeros.len()) {
            file.write_all_at(zeros, at as u64)?;
        }
        Ok(Self {
            file,
            position: 0,
            memory,
            aligned,
            filled: 0,
        })
    }

    fn add(&mut self, bytes: &[u8]) {
        let start = self.aligned + self.filled;
        self.memory[start..start + bytes.len()].copy_from_slice(bytes);
        self.filled += bytes.len();
    }

    /// Durable when it returns.
    fn write(&mut self) -> Result<()> {
        let length = self.filled.next_multiple_of(BLOCK);
        if self.position + length > FILE_BYTES {
            self.position = 0;
        }
        let group = &self.memory[self.aligned..self.aligned + length];
        self.file.write_all_at(group, self.position as u64)?;
        self.position += length;
        self.filled = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn requests_are_written_with_their_checksums_and_answered_in_their_order() {
        let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let file = GroupFile::create(&folder.path().join("group")).unwrap();
        let written = file.file.try_clone().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let connection = Connection::new(listener.accept().unwrap().0).unwrap();
        let reply = reply("t").unwrap();
        std::thread::scope(|scope| {
            let reply = &reply;
            let served = scope.spawn(move || run(file, vec![connection], reply));
            for id in [7_u8, 8] {
                let frame = [0, 0, 0, 10, 0, 0, 0, 12, 0, 0, 0, id, 55, 66];
                client.write_all(&frame).unwrap();
                let mut answer = vec![0; reply.len()];
                client.read_exact(&mut answer).unwrap();
                assert_eq!(answer[4..8], [0, 0, 0, id]);
                assert_eq!(answer[8..], reply[8..]);
            }
            drop(client);
            served.join().unwrap().unwrap();
        });
        let mut memory = vec![0; 3 * BLOCK];
        let aligned = memory.as_ptr().align_offset(BLOCK);
        let blocks = &mut memory[aligned..aligned + 2 * BLOCK];
        written.read_exact_at(blocks, 0).unwrap();
        for (block, id) in blocks.chunks(BLOCK).zip([7, 8]) {
            let frame = [0, 0, 0, 12, 0, 0, 0, id, 55, 66];
            assert_eq!(block[..4], crc32c::crc32c(&frame).to_be_bytes());
            assert_eq!(block[4..14], frame);
        }
    }
}
