//! A broker of one connection or a few that knows ApiVersions, and of Produce what a test wants.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{
    ApiVersionsResponse, ProduceRequest, ProduceResponse, RequestHeader, ResponseHeader,
};
use kafka_protocol::protocol::{Decodable, Encodable};

const PRODUCE_VERSION: i16 = 9;

pub struct Broker {
    pub address: SocketAddr,
}

impl Broker {
    /// Takes so many connections, and answers no Produce request.
    pub fn silent(connections: usize) -> Self {
        Self::start(connections, |stream| {
            std::io::copy(stream, &mut std::io::sink()).map(|_| ())
        })
    }

    /// Takes one connection, and answers each batch, the only one of its request, with an error code.
    pub fn answering(mut answer: impl FnMut(&[u8]) -> i16 + Clone + Send + 'static) -> Self {
        Self::start(1, move |stream| {
            loop {
                let mut request = read_frame(stream)?;
                let header = RequestHeader::decode(&mut request, 2).expect("a header");
                let request = ProduceRequest::decode(&mut request, PRODUCE_VERSION);
                let [topic] = request
                    .expect("a Produce request")
                    .topic_data
                    .try_into()
                    .unwrap();
                let [partition] = topic.partition_data.try_into().unwrap();
                let outcome = PartitionProduceResponse::default()
                    .with_index(partition.index)
                    .with_error_code(answer(&partition.records.expect("a batch")));
                let of_topic = TopicProduceResponse::default()
                    .with_name(topic.name)
                    .with_partition_responses(vec![outcome]);
                let reply = ProduceResponse::default().with_responses(vec![of_topic]);
                let header = ResponseHeader::default().with_correlation_id(header.correlation_id);
                let mut body = BytesMut::new();
                header.encode(&mut body, 1).expect("it is a header");
                reply
                    .encode(&mut body, PRODUCE_VERSION)
                    .expect("it is a reply");
                write_frame(stream, &body)?;
            }
        })
    }

    fn start(
        connections: usize,
        serve: impl FnMut(&mut TcpStream) -> std::io::Result<()> + Clone + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for mut stream in listener.incoming().take(connections).flatten() {
                let mut serve = serve.clone();
                thread::spawn(move || greet(&mut stream).and_then(|()| serve(&mut stream)));
            }
        });
        Self { address }
    }
}

fn greet(stream: &mut TcpStream) -> std::io::Result<()> {
    let request = read_frame(stream)?;
    let produce = ApiVersion::default()
        .with_api_key(0)
        .with_max_version(PRODUCE_VERSION);
    let reply = ApiVersionsResponse::default().with_api_keys(vec![produce]);
    let mut body = BytesMut::from(&request[4..8]);
    reply.encode(&mut body, 3).expect("it is a reply");
    write_frame(stream, &body)
}

fn read_frame(stream: &mut TcpStream) -> std::io::Result<Bytes> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut frame = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut frame)?;
    Ok(frame.into())
}

fn write_frame(stream: &mut TcpStream, body: &[u8]) -> std::io::Result<()> {
    let length = (body.len() as u32).to_be_bytes();
    stream.write_all(&[&length, body].concat())
}
