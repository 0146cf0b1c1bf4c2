//! Whether a produced batch may be appended: header, checksum, every record.

use std::hint::black_box;

use corelog_loadgen::batch::{self, Producer};
use corelog_shards::log::batch::compress::DecoderPool;
use corelog_shards::log::batch::{Budget, Progress, Rules, TimestampType, Validator};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const NOW_MS: i64 = 1_700_000_000_000;
const RULES: Rules = Rules {
    batch_bytes_max: 2 << 20,
    timestamp_type: TimestampType::CreateTime,
    timestamp_before_max_ms: i64::MAX,
    timestamp_after_max_ms: 3_600_000,
    compacted: false,
};

fn check(batch: &[u8], pool: &DecoderPool) -> i32 {
    let mut validator = Validator::new(batch, RULES, NOW_MS, pool).expect("the header is in order");
    loop {
        if let Progress::Done(verdict) = validator.step(Budget::SLICE) {
            return verdict.expect("the batch is in order").record_count;
        }
    }
}

fn batch_check(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("batch check");
    let pool = DecoderPool::default();
    for (name, records, record_bytes) in [
        ("1 record of 1 KiB", 1, 1_024),
        ("64 records of 1 KiB", 64, 1_024),
        ("9,000 records of 100 bytes", 9_000, 100),
    ] {
        let value = vec![7; record_bytes];
        let batch = batch::encode(
            Producer::NONE,
            NOW_MS,
            (0..records).map(|_| value.as_slice()),
        );
        group.throughput(Throughput::Bytes(batch.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| check(black_box(&batch), &pool))
        });
    }
    group.finish();
}

criterion_group!(benches, batch_check);
criterion_main!(benches);
