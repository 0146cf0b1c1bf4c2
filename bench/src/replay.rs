//! One Produce request encoded once and sent again and again, and the non-blocking connection that sends it.
//!
//! Only the correlation id and the partition differ between two copies, and no checksum covers either. The head of
//! each copy is patched and queued; the records behind it are always the same bytes, handed to the kernel as they are.
//! Kafka answers in the order of the requests, so that a reply belongs to the oldest one in flight.

use std::collections::VecDeque;
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context, Result, bail, ensure};
use bytes::{Buf, Bytes, BytesMut};

use corelog_loadgen::batch::{self, Producer};
use corelog_loadgen::client;

const CORRELATION_ID_AT: usize = 8;
/// Requests handed to the kernel by one call: two slices each, within its limit of 1,024.
const REQUESTS_A_WRITE_MAX: usize = 128;
const READ_BYTES: usize = 64 << 10;

/// A Produce request of one batch, ready to be copied for any partition of its topic.
#[derive(Debug)]
pub struct Template {
    /// Up to and with the partition's index, which is its end.
    head: Vec<u8>,
    body: Vec<u8>,
    topic: String,
    /// Bytes of the values of its records: what a user would say was written.
    pub payload_bytes: u64,
}

impl Template {
    pub fn new(topic: &str, acks: i16, records: usize, record_bytes: usize) -> Result<Self> {
        let values: Vec<Vec<u8>> = (0..records)
            .map(|index| incompressible(index as u64, record_bytes))
            .collect();
        let batch = batch::encode(
            Producer::NONE,
            client::wall_ms(),
            values.iter().map(Vec::as_slice),
        );
        let batch = Bytes::from(batch);
        let encoded = |partition| {
            let request = client::produce_request(topic, partition, acks, &batch);
            client::frame(&request, client::PRODUCE_VERSION, 0)
        };
        let mut head = encoded(0)?.to_vec();
        let differing = encoded(i32::MAX)?;
        let partition_at = head
            .iter()
            .zip(&differing)
            .position(|(a, b)| a != b)
            .context("the partition's place")?;
        let body = head.split_off(partition_at + 4);
        Ok(Self {
            head,
            body,
            topic: topic.to_owned(),
            payload_bytes: (records * record_bytes) as u64,
        })
    }

    /// The error code in the reply to one copy, whose header was taken off already.
    fn error_code(&self, reply: &[u8]) -> Option<i16> {
        let topic = self.topic.as_bytes();
        // One topic, its name, one partition: compact lengths are one too high, and these fit one byte each.
        let (prefix, rest) = reply.split_at_checked(2)?;
        let (name, rest) = rest.split_at_checked(topic.len())?;
        if prefix != [2, topic.len() as u8 + 1] || name != topic || *rest.first()? != 2 {
            return None;
        }
        Some(i16::from_be_bytes(rest.get(5..7)?.try_into().ok()?))
    }
}

/// Bytes that no compression makes smaller, always the same for the same seed.
pub fn incompressible(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// A connection that replays one template.
#[derive(Debug)]
pub struct Replay<'a> {
    template: &'a Template,
    stream: TcpStream,
    /// Patched heads of the requests not yet handed to the kernel whole, oldest first.
    heads: BytesMut,
    /// Bytes of the oldest of them that the kernel took already.
    taken: usize,
    /// The time given for each request that has no reply yet.
    in_flight: VecDeque<u64>,
    correlation_id: i32,
    received: Vec<u8>,
    received_len: usize,
    /// Whether the socket refused bytes and was not writable again since.
    pub blocked: bool,
}

impl<'a> Replay<'a> {
    pub fn connect(addr: SocketAddr, template: &'a Template) -> Result<Self> {
        let stream = TcpStream::connect(addr).with_context(|| format!("connecting to {addr}"))?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Self {
            template,
            stream,
            heads: BytesMut::new(),
            taken: 0,
            in_flight: VecDeque::new(),
            correlation_id: 0,
            received: vec![0; READ_BYTES],
            received_len: 0,
            blocked: false,
        })
    }

    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Whether something is queued that can be handed to the kernel now.
    pub fn can_flush(&self) -> bool {
        !self.heads.is_empty() && !self.blocked
    }

    /// Queues one more copy; `time` comes back with its reply.
    pub fn queue(&mut self, partition: i32, time: u64) {
        let correlation_id = self
            .correlation_id
            .wrapping_add(self.in_flight.len() as i32);
        let start = self.heads.len();
        self.heads.extend_from_slice(&self.template.head);
        let head = &mut self.heads[start..];
        head[CORRELATION_ID_AT..CORRELATION_ID_AT + 4]
            .copy_from_slice(&correlation_id.to_be_bytes());
        let partition_at = head.len() - 4;
        head[partition_at..].copy_from_slice(&partition.to_be_bytes());
        self.in_flight.push_back(time);
    }

    /// Hands the kernel what is queued, as far as it takes it.
    pub fn flush(&mut self) -> Result<()> {
        let Template { head, body, .. } = self.template;
        let request_len = head.len() + body.len();
        while self.can_flush() {
            let mut slices =
                Vec::with_capacity(2 * REQUESTS_A_WRITE_MAX.min(self.heads.len() / head.len()));
            let mut skip = self.taken;
            for head in self
                .heads
                .chunks_exact(head.len())
                .take(REQUESTS_A_WRITE_MAX)
            {
                slices.push(IoSlice::new(&head[skip.min(head.len())..]));
                slices.push(IoSlice::new(&body[skip.saturating_sub(head.len())..]));
                skip = 0;
            }
            match self.stream.write_vectored(&slices) {
                Ok(written) => {
                    self.taken += written;
                    let whole = self.taken / request_len;
                    self.taken %= request_len;
                    self.heads.advance(whole * head.len());
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.blocked = true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("sending a Produce request"),
            }
        }
        Ok(())
    }

    /// Reads once and hands the time of each request that got its reply to `replied`. An error in a reply ends the
    /// run.
    pub fn receive(&mut self, mut replied: impl FnMut(u64)) -> Result<()> {
        match self.stream.read(&mut self.received[self.received_len..]) {
            Ok(0) => bail!(
                "the broker closed the connection with {} requests in flight",
                self.in_flight.len()
            ),
            Ok(read) => self.received_len += read,
            Err(error)
                if [ErrorKind::WouldBlock, ErrorKind::Interrupted].contains(&error.kind()) =>
            {
                return Ok(());
            }
            Err(error) => return Err(error).context("reading a Produce reply"),
        }
        let mut at = 0;
        while let Some(length) = self.received[at..self.received_len].first_chunk::<4>() {
            let length = u32::from_be_bytes(*length) as usize;
            ensure!(
                length + 4 <= self.received.len(),
                "a Produce reply of {length} bytes"
            );
            let Some(frame) = self.received[at + 4..self.received_len].get(..length) else {
                break;
            };
            let time = self
                .in_flight
                .pop_front()
                .context("a reply without a request")?;
            self.check(frame)?;
            self.correlation_id = self.correlation_id.wrapping_add(1);
            replied(time);
            at += 4 + length;
        }
        self.received.copy_within(at..self.received_len, 0);
        self.received_len -= at;
        Ok(())
    }

    fn check(&self, frame: &[u8]) -> Result<()> {
        let (header, reply) = frame
            .split_at_checked(5)
            .context("a reply shorter than its header")?;
        let id = i32::from_be_bytes(header[..4].try_into()?);
        ensure!(
            id == self.correlation_id,
            "reply {id} where {} was due",
            self.correlation_id
        );
        match self.template.error_code(reply) {
            Some(0) => Ok(()),
            Some(code) => bail!(
                "a Produce request was refused: {}",
                client::error_name(code)
            ),
            None => {
                bail!("a Produce reply that is not for the one topic and partition of its request")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use kafka_protocol::messages::produce_response::{
        PartitionProduceResponse, TopicProduceResponse,
    };
    use kafka_protocol::messages::{
        ProduceRequest, ProduceResponse, RequestHeader, ResponseHeader,
    };
    use kafka_protocol::protocol::{Decodable, Encodable};

    use super::*;

    /// Reads one request whole and answers it with the given error code; gives correlation id and partition.
    fn serve_one(stream: &mut TcpStream, error_code: i16) -> (i32, i32) {
        let mut length = [0; 4];
        stream.read_exact(&mut length).unwrap();
        let mut body = vec![0; u32::from_be_bytes(length) as usize];
        stream.read_exact(&mut body).unwrap();
        let mut body = Bytes::from(body);
        let header = RequestHeader::decode(&mut body, 2).unwrap();
        let request = ProduceRequest::decode(&mut body, client::PRODUCE_VERSION).unwrap();
        assert!(body.is_empty());
        let topic = &request.topic_data[0];
        let partition = &topic.partition_data[0];
        let batch = batch::whole_batches(partition.records.as_ref().unwrap())
            .next()
            .unwrap();
        let mut records = 0;
        batch
            .records(|_, value| {
                records += 1;
                ensure!(value.len() == 100);
                Ok(())
            })
            .unwrap();
        assert_eq!(records, 3);

        let answer = PartitionProduceResponse::default()
            .with_index(partition.index)
            .with_error_code(error_code);
        let answer = TopicProduceResponse::default()
            .with_name(topic.name.clone())
            .with_partition_responses(vec![answer]);
        let reply = ProduceResponse::default().with_responses(vec![answer]);
        let mut out = bytes::BytesMut::zeroed(4);
        ResponseHeader::default()
            .with_correlation_id(header.correlation_id)
            .encode(&mut out, 1)
            .unwrap();
        reply.encode(&mut out, client::PRODUCE_VERSION).unwrap();
        let length = out.len() as u32 - 4;
        out[..4].copy_from_slice(&length.to_be_bytes());
        stream.write_all(&out).unwrap();
        (header.correlation_id, partition.index)
    }

    #[test]
    fn copies_carry_their_own_ids_and_errors_are_noticed() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let template = Template::new("a-topic", -1, 3, 100).unwrap();
        let mut replay = Replay::connect(listener.local_addr().unwrap(), &template).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        for partition in 0..5 {
            replay.queue(partition, 1_000 + partition as u64);
        }
        replay.flush().unwrap();
        let served: Vec<_> = (0..5).map(|_| serve_one(&mut server, 0)).collect();
        assert_eq!(served, (0..5).map(|n| (n, n)).collect::<Vec<_>>());

        let mut times = Vec::new();
        while times.len() < 5 {
            replay.receive(|time| times.push(time)).unwrap();
        }
        assert_eq!(times, (1_000..1_005).collect::<Vec<_>>());

        replay.queue(3, 0);
        replay.flush().unwrap();
        assert_eq!(serve_one(&mut server, 6), (5, 3));
        let error = loop {
            match replay.receive(|_| panic!("an error was taken for a success")) {
                Ok(()) => {}
                Err(error) => break error,
            }
        };
        assert!(
            error.to_string().contains("NotLeaderOrFollower (6)"),
            "{error}"
        );
    }

    #[test]
    fn a_request_that_the_socket_takes_in_parts_stays_whole() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let template = Template::new("t", -1, 3, 100).unwrap();
        let big = Template {
            body: [template.body.clone(), vec![7; 3 << 20]].concat(),
            ..template
        };
        let mut replay = Replay::connect(listener.local_addr().unwrap(), &big).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        for _ in 0..4 {
            replay.queue(9, 0);
        }
        let request_len = big.head.len() + big.body.len();
        let reader = std::thread::spawn(move || {
            let mut all = vec![0; 4 * request_len];
            server.read_exact(&mut all).unwrap();
            all
        });
        replay.flush().unwrap();
        assert!(replay.blocked, "twelve megabytes do not fit a socket");
        while !replay.heads.is_empty() {
            replay.blocked = false;
            replay.flush().unwrap();
            std::thread::yield_now();
        }
        let all = reader.join().unwrap();
        for (index, request) in all.chunks(request_len).enumerate() {
            assert_eq!(request[CORRELATION_ID_AT + 3], index as u8);
            assert_eq!(&request[big.head.len() - 4..big.head.len()], &[0, 0, 0, 9]);
            assert!(request[big.head.len()..] == big.body);
        }
    }
}
