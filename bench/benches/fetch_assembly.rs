//! A Fetch reply from slices of records to what the socket gets: fields around records that are not copied.

use std::collections::VecDeque;

use bytes::Bytes;
use corelog::protocol::TopicRef;
use corelog::protocol::fetch::{FetchPartitionResponse, FetchResponse, FetchTopicResponse};
use corelog::protocol::header::{self, RequestHeader};
use corelog_bench::fetch::{self, Limits};
use corelog_loadgen::client::{self, FETCH_VERSION};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

fn request_header() -> RequestHeader {
    let limits = Limits {
        reply_bytes: 1,
        partition_bytes: 1,
        wait: std::time::Duration::ZERO,
    };
    let request = fetch::request("bench", [(0, 0)], limits);
    let frame = client::frame(&request, FETCH_VERSION, 1)
        .expect("a request is encoded")
        .freeze();
    header::decode(frame.slice(4..))
        .expect("the header is valid")
        .0
}

fn reply(partitions: i32, slices: usize, slice: &Bytes) -> FetchResponse {
    let partitions = (0..partitions).map(|partition| FetchPartitionResponse {
        partition,
        error: None,
        high_watermark: 1_000,
        last_stable_offset: 1_000,
        log_start_offset: 0,
        aborted_transactions: None,
        preferred_read_replica: -1,
        diverging_epoch: None,
        current_leader: None,
        records: vec![slice.clone(); slices],
    });
    let topic = FetchTopicResponse {
        topic: TopicRef::Name("bench".into()),
        partitions: partitions.collect(),
    };
    FetchResponse {
        topics: vec![topic],
        ..FetchResponse::default()
    }
}

fn fetch_assembly(criterion: &mut Criterion) {
    let header = request_header();
    let mut group = criterion.benchmark_group("fetch assembly");
    for (name, partitions, slices, slice_bytes) in [
        ("1 partition, a slice of 1 MiB", 1, 1, 1 << 20),
        ("100 partitions, a slice of 64 KiB each", 100, 1, 64 << 10),
        (
            "1,000 partitions, two slices of 512 bytes each",
            1_000,
            2,
            512,
        ),
    ] {
        let slice = Bytes::from(vec![7; slice_bytes]);
        group.throughput(Throughput::Elements(partitions as u64));
        let mut out = VecDeque::new();
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                || reply(partitions, slices, &slice),
                |reply| {
                    out.clear();
                    let reply = reply.encode(&header).expect("below 2 GiB");
                    reply.drain_into(&mut out);
                    out.len()
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, fetch_assembly);
criterion_main!(benches);
