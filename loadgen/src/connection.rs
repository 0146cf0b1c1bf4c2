//! A connection that never blocks: requests go out as far as the socket takes them, replies come in
//! the order of the requests.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context, Result, bail, ensure};
use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::ResponseHeader;
use kafka_protocol::protocol::{Decodable, HeaderVersion, Request};

use crate::client::{self, REPLY_BYTES_MAX};

/// Bytes asked of the socket at a time.
const READ_BYTES: usize = 256 << 10;

/// `T` is what the caller wants to know when the reply to a request comes.
#[derive(Debug)]
pub struct Connection<T> {
    stream: TcpStream,
    unsent: VecDeque<Bytes>,
    received: BytesMut,
    in_flight: VecDeque<(i32, T)>,
    correlation_id: i32,
    /// The socket took less than it was given, and has not said since that it takes more.
    pub is_blocked: bool,
}

impl<T> Connection<T> {
    /// Connects, which blocks for a moment.
    pub fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, std::time::Duration::from_secs(1))
            .with_context(|| format!("connecting to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            unsent: VecDeque::new(),
            received: BytesMut::new(),
            in_flight: VecDeque::new(),
            correlation_id: 0,
            is_blocked: false,
        })
    }

    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Requests without a reply.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Queues a request; [`Connection::flush`] sends it. No reply is waited for if `tag` is `None`.
    pub fn queue<R: Request>(&mut self, request: &R, version: i16, tag: Option<T>) -> Result<()> {
        self.correlation_id = self.correlation_id.wrapping_add(1);
        let frame = client::frame(request, version, self.correlation_id)?;
        self.unsent.push_back(frame.freeze());
        if let Some(tag) = tag {
            self.in_flight.push_back((self.correlation_id, tag));
        }
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

    /// Reads what is there, once; whether there may be more.
    pub fn receive(&mut self) -> Result<bool> {
        let old = self.received.len();
        self.received.resize(old + READ_BYTES, 0);
        let read = self.stream.read(&mut self.received[old..]);
        self.received.truncate(old + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => bail!("the broker closed the connection"),
            Ok(read) => Ok(read == READ_BYTES),
            Err(error)
                if [ErrorKind::WouldBlock, ErrorKind::Interrupted].contains(&error.kind()) =>
            {
                Ok(false)
            }
            Err(error) => Err(error).context("reading a reply"),
        }
    }

    /// The next whole reply.
    pub fn next_reply<R: Request>(&mut self, version: i16) -> Result<Option<(T, R::Response)>> {
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
        let header = ResponseHeader::decode(&mut frame, R::Response::header_version(version))?;
        let (id, tag) = self
            .in_flight
            .pop_front()
            .context("a reply nobody asked for")?;
        ensure!(
            header.correlation_id == id,
            "reply {} where {id} was due",
            header.correlation_id
        );
        Ok(Some((tag, R::Response::decode(&mut frame, version)?)))
    }

    /// What will have no reply, oldest first.
    pub fn into_unanswered(self) -> impl Iterator<Item = T> {
        self.in_flight.into_iter().map(|(_, tag)| tag)
    }
}
