//! From received bytes to the records of a Produce request: cutting the frame, its header, its body.

use bytes::Bytes;
use corelog::protocol::frame::{FrameDecoder, Next};
use corelog::protocol::header;
use corelog::protocol::produce::ProduceRequest;
use corelog_loadgen::batch::{self, Producer};
use corelog_loadgen::client::{self, PRODUCE_VERSION};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const FRAME_BYTES_MAX: usize = 100 << 20;
/// What a connection's reads bring at most at a time.
const READ_BYTES_MAX: usize = 256 << 10;

fn request(records: usize) -> Bytes {
    let value = vec![7; 1_024];
    let batch = batch::encode(
        Producer::NONE,
        1_700_000_000_000,
        (0..records).map(|_| value.as_slice()),
    );
    let request = client::produce_request("bench", 3, -1, &batch.into());
    client::frame(&request, PRODUCE_VERSION, 1)
        .expect("a request is encoded")
        .freeze()
}

/// Feeds the stream as a socket would and decodes every request in it.
fn decode_all(decoder: &mut FrameDecoder, mut stream: &[u8]) -> usize {
    let mut record_bytes = 0;
    loop {
        match decoder.next_frame().expect("lengths are valid") {
            Next::Frame(frame) => {
                let (header, body) = header::decode(frame).expect("the header is valid");
                let request =
                    ProduceRequest::decode(&body, header.api_version).expect("the body is valid");
                let partitions = request.topics.iter().flat_map(|topic| &topic.partitions);
                record_bytes += partitions
                    .filter_map(|it| it.records.as_ref())
                    .map(Bytes::len)
                    .sum::<usize>();
            }
            Next::Incoming(len) => decoder.begin(len, len),
            Next::Full { .. } => unreachable!("all of it is allowed"),
            Next::Missing(_) if stream.is_empty() => return record_bytes,
            Next::Missing(_) => {
                let (buffer, room) = decoder.buffer();
                buffer.reserve(room);
                let room = (buffer.capacity() - buffer.len()).min(READ_BYTES_MAX);
                let (now, later) = stream.split_at(room.min(stream.len()));
                buffer.extend_from_slice(now);
                decoder.received(now.len());
                stream = later;
            }
        }
    }
}

fn frame_decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("frame decode");
    for (name, records, requests) in [
        ("64 requests of 1 KiB", 1, 64),
        ("a request of 64 KiB", 64, 1),
        ("a request of 900 KiB", 900, 1),
    ] {
        let stream = request(records).repeat(requests);
        group.throughput(Throughput::Bytes(stream.len() as u64));
        let mut decoder = FrameDecoder::new(FRAME_BYTES_MAX);
        group.bench_function(name, |bencher| {
            bencher.iter(|| decode_all(&mut decoder, &stream))
        });
    }
    group.finish();
}

criterion_group!(benches, frame_decode);
criterion_main!(benches);
