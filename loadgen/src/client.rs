//! A blocking connection to a broker: one request at a time through `kafka-protocol`, and the calls that set up a run.
//!
//! Not for measuring: it copies and allocates freely.

mod groups;
mod leaders;
#[cfg(test)]
mod tests;
mod topics;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::{Bytes, BytesMut};
use kafka_protocol::ResponseError;
use kafka_protocol::error::ParseResponseErrorCode;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    InitProducerIdRequest, MetadataRequest, MetadataResponse, ProduceRequest, ProduceResponse,
    ProducerId, RequestHeader, ResponseHeader, TopicName, TransactionalId,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};

use crate::versions::{self, Answer, Versions};
pub use leaders::{EARLIEST, LIST_OFFSETS_VERSION, primer};

/// The last version of Produce that names the topic instead of giving its id.
pub const PRODUCE_VERSION: i16 = 12;
/// Of Fetch likewise.
pub const FETCH_VERSION: i16 = 12;
const METADATA_VERSION: i16 = 12;
const INIT_PRODUCER_ID_VERSION: i16 = 4;
/// The longest reply that is believed to be one.
pub const REPLY_BYTES_MAX: usize = 256 << 20;
const UNKNOWN_TOPIC: i16 = 3;
/// How long a machine may take to accept a connection, before it counts as not there.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How long a broker may let the next part of a reply wait.
const REPLY_MAX: Duration = Duration::from_secs(60);

/// Whether a client should send the same request again a little later: the broker is not there yet, or has just moved
/// what was asked for.
pub fn is_retriable(error_code: i16) -> bool {
    // The topic is unknown as long as a new topic's metadata spreads.
    error_code == UNKNOWN_TOPIC || error_code.err().is_some_and(|error| error.is_retriable())
}

/// The error as Kafka names it.
pub fn error_name(error_code: i16) -> String {
    match error_code.err() {
        None => "NONE".to_owned(),
        Some(ResponseError::Unknown(code)) => format!("error code {code}"),
        Some(error) => format!("{error:?} ({error_code})"),
    }
}

pub fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

/// One request framed for the wire.
pub fn frame<R: Request>(request: &R, version: i16, correlation_id: i32) -> Result<BytesMut> {
    let mut out = BytesMut::zeroed(4);
    RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(correlation_id)
        .with_client_id(Some(StrBytes::from_static_str("corelog-loadgen")))
        .encode(&mut out, R::header_version(version))?;
    request.encode(&mut out, version)?;
    let counted = u32::try_from(out.len() - 4)?;
    out[..4].copy_from_slice(&counted.to_be_bytes());
    Ok(out)
}

/// A Produce request of one batch for one partition.
pub fn produce_request(topic: &str, partition: i32, acks: i16, batch: &Bytes) -> ProduceRequest {
    produce_request_for(topic, &[partition], acks, batch)
}

/// A Produce request with the same batch for each of these partitions.
fn produce_request_for(
    topic: &str,
    partitions: &[i32],
    acks: i16,
    batch: &Bytes,
) -> ProduceRequest {
    let data = partitions.iter().map(|&partition| {
        PartitionProduceData::default()
            .with_index(partition)
            .with_records(Some(batch.clone()))
    });
    let topic = TopicProduceData::default()
        .with_name(topic_name(topic))
        .with_partition_data(data.collect());
    ProduceRequest::default()
        .with_acks(acks)
        .with_timeout_ms(30_000)
        .with_topic_data(vec![topic])
}

/// The error code and base offset of the only partition in a Produce reply.
pub fn produce_outcome(reply: &ProduceResponse) -> Result<(i16, i64)> {
    let [topic] = reply.responses.as_slice() else {
        bail!("a reply for {} topics", reply.responses.len())
    };
    let [partition] = topic.partition_responses.as_slice() else {
        bail!("a reply for {} partitions", topic.partition_responses.len())
    };
    Ok((partition.error_code, partition.base_offset))
}

#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    correlation_id: i32,
    /// What the broker serves, once it was asked.
    versions: Option<Versions>,
}

impl Client {
    pub fn connect(addr: SocketAddr) -> std::io::Result<Self> {
        Self::connect_for(addr, REPLY_MAX)
    }

    /// Connects, and waits no longer than `reply_max` for each part of a reply.
    pub fn connect_for(addr: SocketAddr, reply_max: Duration) -> std::io::Result<Self> {
        let stream = TcpStream::connect_timeout(&addr, CONNECT_MAX)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(reply_max))?;
        Ok(Self {
            stream,
            correlation_id: 0,
            versions: None,
        })
    }

    /// Sends a request without waiting; replies come in the order of the requests, by [`Self::receive`].
    pub fn send<R: Request>(&mut self, request: &R, version: i16) -> Result<i32> {
        self.correlation_id += 1;
        let frame = frame(request, version, self.correlation_id)?;
        self.stream.write_all(&frame)?;
        Ok(self.correlation_id)
    }

    /// Reads the next reply, which must answer the request of this correlation id.
    pub fn receive<R: Request>(
        &mut self,
        version: i16,
        correlation_id: i32,
    ) -> Result<R::Response> {
        let mut body = self.receive_frame()?;
        let header = ResponseHeader::decode(&mut body, R::Response::header_version(version))?;
        ensure!(
            header.correlation_id == correlation_id,
            "reply {} to request {correlation_id}",
            header.correlation_id
        );
        let reply = R::Response::decode(&mut body, version)?;
        ensure!(
            body.is_empty(),
            "{} bytes after the reply to API {}",
            body.len(),
            R::KEY
        );
        Ok(reply)
    }

    fn receive_frame(&mut self) -> Result<Bytes> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length) as usize;
        ensure!(length <= REPLY_BYTES_MAX, "a reply of {length} bytes");
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok(Bytes::from(body))
    }

    pub fn call<R: Request>(&mut self, request: &R, version: i16) -> Result<R::Response> {
        let correlation_id = self.send(request, version)?;
        self.receive::<R>(version, correlation_id)
    }

    /// Calls in the newest version that both sides know, and none above `bound`.
    fn ask<R: Request>(&mut self, request: &R, bound: i16) -> Result<R::Response> {
        let version = match &self.versions {
            Some(versions) => versions.newest::<R>(bound)?,
            None => {
                let versions = self.ask_for_versions()?;
                self.versions.insert(versions).newest::<R>(bound)?
            }
        };
        self.call(request, version)
    }

    fn ask_for_versions(&mut self) -> Result<Versions> {
        for version in [versions::ASKED_FIRST, 0] {
            self.send(&versions::request(), version)?;
            let mut body = self.receive_frame()?;
            ensure!(body.len() >= 4, "a reply of {} bytes", body.len());
            // After the correlation id, which is the header in all versions.
            if let Answer::Served(versions) = versions::answer(body.split_off(4), version)? {
                return Ok(versions);
            }
        }
        bail!("the broker does not say which versions it serves")
    }

    /// Brokers and leaders, of these topics alone.
    pub fn metadata(&mut self, topics: &[String]) -> Result<MetadataResponse> {
        let asked =
            |name: &String| MetadataRequestTopic::default().with_name(Some(topic_name(name)));
        let request = MetadataRequest::default()
            .with_topics(Some(topics.iter().map(asked).collect()))
            .with_allow_auto_topic_creation(false);
        self.ask(&request, METADATA_VERSION)
    }

    /// A fresh idempotent producer: its id and epoch.
    pub fn init_producer_id(&mut self) -> Result<(i64, i16)> {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(None::<TransactionalId>)
            .with_transaction_timeout_ms(60_000)
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1);
        let mut backoff = Backoff::within(Duration::from_secs(30));
        loop {
            let reply = self.ask(&request, INIT_PRODUCER_ID_VERSION)?;
            if reply.error_code == 0 {
                return Ok((reply.producer_id.0, reply.producer_epoch));
            }
            ensure!(
                is_retriable(reply.error_code) && backoff.wait(),
                "InitProducerId: {}",
                error_name(reply.error_code)
            );
        }
    }
}

/// Pauses between tries: short at first, for what is measured to a millisecond, then up to 20 ms.
#[derive(Debug)]
pub struct Backoff {
    deadline: Instant,
    pause: Duration,
}

impl Backoff {
    pub fn within(patience: Duration) -> Self {
        Self {
            deadline: Instant::now() + patience,
            pause: Duration::from_millis(1),
        }
    }

    /// Sleeps a little and tells whether there is time for another try.
    pub fn wait(&mut self) -> bool {
        std::thread::sleep(self.pause);
        self.pause = (self.pause * 5 / 4).min(Duration::from_millis(20));
        Instant::now() < self.deadline
    }
}

/// Waits until something accepts connections at `addr`.
pub fn connect_within(addr: SocketAddr, patience: Duration) -> Result<Client> {
    let mut backoff = Backoff::within(patience);
    loop {
        match Client::connect(addr) {
            Ok(client) => return Ok(client),
            Err(error) if error.kind() == ErrorKind::ConnectionRefused && backoff.wait() => {}
            Err(error) => return Err(error).with_context(|| format!("connecting to {addr}")),
        }
    }
}

pub fn wall_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(since.expect("the clock is past 1970").as_millis())
        .expect("milliseconds fit 63 bits")
}
