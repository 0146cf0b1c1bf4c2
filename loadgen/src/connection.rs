//! A connection that never blocks: requests go out as far as the socket takes them, replies come in
//! the order of the requests. It begins by asking the broker for the versions that it serves.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;

use anyhow::{Context, Result, bail, ensure};
use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::ResponseHeader;
use kafka_protocol::protocol::{Decodable, HeaderVersion, Request};
use nix::errno::Errno;
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, SockaddrStorage};

use crate::client::{self, REPLY_BYTES_MAX};
use crate::versions::{self, Answer, Versions};

/// Bytes asked of a socket at a time: how long the buffer should be that is lent to [`Connection::receive`].
pub const READ_BYTES: usize = 256 << 10;

/// `T` is what the caller wants to know when the reply to a request comes.
#[derive(Debug)]
pub struct Connection<T> {
    stream: TcpStream,
    unsent: VecDeque<Bytes>,
    received: BytesMut,
    in_flight: VecDeque<InFlight<T>>,
    correlation_id: i32,
    greeting: Greeting,
    /// The socket took less than it was given, and has not said since that it takes more.
    pub is_blocked: bool,
}

#[derive(Debug)]
struct InFlight<T> {
    correlation_id: i32,
    version: i16,
    at_ns: u64,
    tag: T,
}

#[derive(Debug)]
enum Greeting {
    /// The broker was asked for its versions, in this version of the question.
    Asked(i16),
    Answered(Versions),
}

impl<T> Connection<T> {
    /// Begins to connect, and asks for the versions as soon as it is done. Whether it fails shows when it is read from.
    pub fn open(address: SocketAddr) -> Result<Self> {
        let stream = connect(address).with_context(|| format!("connecting to {address}"))?;
        stream.set_nodelay(true)?;
        let mut connection = Self {
            stream,
            unsent: VecDeque::new(),
            received: BytesMut::new(),
            in_flight: VecDeque::new(),
            correlation_id: 0,
            greeting: Greeting::Asked(versions::ASKED_FIRST),
            is_blocked: false,
        };
        connection.greet(versions::ASKED_FIRST)?;
        Ok(connection)
    }

    fn greet(&mut self, version: i16) -> Result<()> {
        self.greeting = Greeting::Asked(version);
        self.push(&versions::request(), version)?;
        self.flush()
    }

    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Requests without a reply.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Whether the broker has said what it serves. Until then no request can be queued.
    pub fn is_greeted(&self) -> bool {
        matches!(self.greeting, Greeting::Answered(_))
    }

    /// The newest version of an API that both sides know, and none above `bound`.
    pub fn newest<R: Request>(&self, bound: i16) -> Result<i16> {
        match &self.greeting {
            Greeting::Asked(_) => bail!("the broker has not said yet which versions it serves"),
            Greeting::Answered(versions) => versions.newest::<R>(bound),
        }
    }

    /// When the oldest request without a reply was queued.
    pub fn oldest_ns(&self) -> Option<u64> {
        self.in_flight.front().map(|oldest| oldest.at_ns)
    }

    /// Queues a request at `now_ns`; [`Connection::flush`] sends it. No reply is waited for if `tag` is `None`.
    pub fn queue<R: Request>(
        &mut self,
        request: &R,
        version: i16,
        tag: Option<T>,
        now_ns: u64,
    ) -> Result<()> {
        self.push(request, version)?;
        if let Some(tag) = tag {
            self.in_flight.push_back(InFlight {
                correlation_id: self.correlation_id,
                version,
                at_ns: now_ns,
                tag,
            });
        }
        Ok(())
    }

    fn push<R: Request>(&mut self, request: &R, version: i16) -> Result<()> {
        self.correlation_id = self.correlation_id.wrapping_add(1);
        let frame = client::frame(request, version, self.correlation_id)?;
        self.unsent.push_back(frame.freeze());
        Ok(())
    }

    /// Gives the socket what it takes.
    pub fn flush(&mut self) -> Result<()> {
        while let Some(first) = self.unsent.front_mut()
            && !self.is_blocked
        {
            match self.stream.write(first) {
                Ok(written) => {
                    first.advance(written);
                    if first.is_empty() {
                        self.unsent.pop_front();
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.is_blocked = true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("sending a request"),
            }
        }
        Ok(())
    }

    /// Whether everything queued has left.
    pub fn is_flushed(&self) -> bool {
        self.unsent.is_empty()
    }

    /// Reads what is there, once, by way of a buffer that is lent to it; whether there may be more.
    pub fn receive(&mut self, buffer: &mut [u8]) -> Result<bool> {
        match self.stream.read(buffer) {
            Ok(0) => {
                let closed = std::io::Error::from(ErrorKind::UnexpectedEof);
                Err(closed).context("the broker closed the connection")
            }
            Ok(read) => {
                self.received.extend_from_slice(&buffer[..read]);
                Ok(read == buffer.len())
            }
            Err(error)
                if [ErrorKind::WouldBlock, ErrorKind::Interrupted].contains(&error.kind()) =>
            {
                Ok(false)
            }
            Err(error) => Err(error).context("reading a reply"),
        }
    }

    /// The next whole reply. After an error the connection is of no use, and what the reply was to is unanswered.
    pub fn next_reply<R: Request>(&mut self) -> Result<Option<(T, R::Response)>> {
        while let Some(mut frame) = self.next_frame()? {
            if let Greeting::Asked(version) = self.greeting {
                // The header of this reply is the same in all versions: the correlation id alone.
                ensure!(frame.len() >= 4, "a reply of {} bytes", frame.len());
                frame.advance(4);
                match versions::answer(frame, version)? {
                    Answer::Served(versions) => self.greeting = Greeting::Answered(versions),
                    Answer::AskOlder => self.greet(0)?,
                }
                continue;
            }
            let oldest = self.in_flight.front();
            let &InFlight {
                correlation_id,
                version,
                ..
            } = oldest.context("a reply nobody asked for")?;
            let header = ResponseHeader::decode(&mut frame, R::Response::header_version(version))?;
            ensure!(
                header.correlation_id == correlation_id,
                "reply {} where {correlation_id} was due",
                header.correlation_id
            );
            let reply = R::Response::decode(&mut frame, version)?;
            return Ok(self.in_flight.pop_front().map(|it| (it.tag, reply)));
        }
        Ok(None)
    }

    /// The next whole frame, without its length.
    fn next_frame(&mut self) -> Result<Option<Bytes>> {
        let Some(length) = self.received.first_chunk::<4>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*length) as usize;
        ensure!(length <= REPLY_BYTES_MAX, "a reply of {length} bytes");
        if self.received.len() < 4 + length {
            return Ok(None);
        }
        let mut frame = self.received.split_to(4 + length).freeze();
        frame.advance(4);
        Ok(Some(frame))
    }

    /// What will have no reply, oldest first.
    pub fn into_unanswered(self) -> impl Iterator<Item = T> {
        self.in_flight.into_iter().map(|in_flight| in_flight.tag)
    }
}

/// Connects without waiting for it.
fn connect(address: SocketAddr) -> nix::Result<TcpStream> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket::socket(family, SockType::Stream, flags, None)?;
    match socket::connect(socket.as_raw_fd(), &SockaddrStorage::from(address)) {
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(TcpStream::from(socket)),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use kafka_protocol::messages::api_versions_response::ApiVersion;
    use kafka_protocol::messages::{ApiVersionsResponse, ProduceRequest};
    use kafka_protocol::protocol::Encodable;

    use super::*;

    fn read_request(stream: &mut TcpStream) -> Vec<u8> {
        let mut length = [0; 4];
        stream.read_exact(&mut length).unwrap();
        let mut request = vec![0; u32::from_be_bytes(length) as usize];
        stream.read_exact(&mut request).unwrap();
        request
    }

    fn reply(stream: &mut TcpStream, body: &[u8]) {
        let length = (body.len() as u32).to_be_bytes();
        stream.write_all(&[&length, body].concat()).unwrap();
    }

    /// Answers ApiVersions as a broker does that knows its version 0 alone, and Produce up to version 7.
    fn old_broker(listener: &TcpListener) -> TcpStream {
        let (mut stream, _) = listener.accept().expect("a client");
        for error_code in [35, 0] {
            let request = read_request(&mut stream);
            let served = ApiVersion::default().with_max_version(7);
            let answer = ApiVersionsResponse::default()
                .with_error_code(error_code)
                .with_api_keys(vec![served]);
            let mut body = BytesMut::from(&request[4..8]);
            answer.encode(&mut body, 0).unwrap();
            reply(&mut stream, &body);
        }
        stream
    }

    /// Waits until it is greeted.
    fn connect(address: SocketAddr) -> Connection<&'static str> {
        let mut connection = Connection::open(address).unwrap();
        let mut buffer = vec![0; 100];
        while !connection.is_greeted() {
            connection.is_blocked = false;
            connection.flush().unwrap();
            connection.receive(&mut buffer).unwrap();
            assert!(connection.next_reply::<ProduceRequest>().unwrap().is_none());
            thread::yield_now();
        }
        connection
    }

    #[test]
    fn a_machine_that_does_not_answer_does_not_hold_up_who_connects() {
        // Nobody accepts, and the queue of those who wait is full after a few.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(1).unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let connections: Vec<_> = (0..8).map(|_| Connection::<()>::open(address)).collect();
        assert!(connections.iter().all(Result::is_ok));
        assert!(connections.iter().flatten().any(|it| it.is_blocked));
    }

    #[test]
    fn an_old_broker_is_asked_again_and_spoken_to_in_its_version() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stranger = Connection::<()>::open(address).unwrap();
        assert!(stranger.newest::<ProduceRequest>(12).is_err());
        drop((stranger, listener.accept()));
        let broker = thread::spawn(move || old_broker(&listener));
        let connection = connect(address);
        assert_eq!(connection.newest::<ProduceRequest>(12).unwrap(), 7);
        broker.join().unwrap();
    }

    #[test]
    fn what_a_broken_reply_was_to_is_unanswered() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let broker = thread::spawn(move || {
            let mut stream = old_broker(&listener);
            let request = read_request(&mut stream);
            // Nothing behind the header.
            reply(&mut stream, &request[4..8]);
            stream
        });
        let mut connection = connect(address);
        for tag in ["first", "second"] {
            let request = ProduceRequest::default();
            connection.queue(&request, 7, Some(tag), 0).unwrap();
        }
        connection.flush().unwrap();
        let _open = broker.join().unwrap();
        while connection.received.len() < 8 {
            connection.receive(&mut [0; 100]).unwrap();
        }
        assert!(connection.next_reply::<ProduceRequest>().is_err());
        let unanswered: Vec<_> = connection.into_unanswered().collect();
        assert_eq!(unanswered, ["first", "second"]);
    }
}
