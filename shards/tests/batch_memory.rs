//! What a batch claims is not allocated, and what it unpacks to is never in memory as a whole. Alone in its
//! process, whose peak it looks at.

use corelog_shards::log::batch::compress::{Codec, DecoderPool};
use corelog_shards::log::batch::recompress::{RecompressError, Recompressor};
use corelog_shards::log::batch::{
    Batch, BatchBuilder, Budget, Progress, Records, Rejection, Rules, TimestampType, Validator,
};

const MIB: usize = 1 << 20;
const UNPACKED_BYTES: usize = 512 * MIB;
const GROWTH_BYTES_MAX: usize = 24 * MIB;

const RULES: Rules = Rules {
    batch_bytes_max: MIB,
    timestamp_type: TimestampType::CreateTime,
    timestamp_before_max_ms: i64::MAX,
    timestamp_after_max_ms: i64::MAX,
    compacted: true,
};

fn peak_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .expect("a peak");
    let kib: usize = line
        .split_whitespace()
        .nth(1)
        .and_then(|kib| kib.parse().ok())
        .expect("a number");
    kib * 1024
}

/// Half a gigabyte of records without keys in a batch below the limit.
fn bomb(codec: Codec) -> Option<Vec<u8>> {
    let mut builder = BatchBuilder::new(codec).expect("a codec");
    let value = vec![0; 32 * 1024];
    while builder.uncompressed_bytes() < UNPACKED_BYTES {
        builder.append(0, None, Some(&value)).expect("room");
    }
    let batch = builder.finish().expect("a batch");
    (batch.len() <= RULES.batch_bytes_max).then_some(batch)
}

fn run<T>(mut step: impl FnMut(Budget) -> Progress<T>) -> T {
    loop {
        if let Progress::Done(result) = step(Budget::SLICE) {
            return result;
        }
    }
}

#[test]
fn bombs_and_boasts_stay_small() {
    let pool = DecoderPool::default();
    let bombs: Vec<_> = [Codec::GZIP, Codec::ZSTD]
        .into_iter()
        .filter_map(bomb)
        .collect();
    assert_eq!(
        bombs.len(),
        2,
        "both codecs make half a gigabyte of zeros small"
    );
    let before = peak_bytes();

    for batch in &bombs {
        let mut validator = Validator::new(batch, RULES, 0, &pool).expect("a good header");
        let verdict = run(|budget| validator.step(budget));
        assert!(matches!(verdict, Err(Rejection::Records(records)) if records.total() > 16_000));

        let parsed = Batch::first(batch).expect("a batch");
        let mut machine = Recompressor::new(parsed, Codec::Snappy, MIB, &pool).expect("codecs");
        let result = run(|budget| machine.step(budget));
        assert_eq!(result, Err(RecompressError::TooLarge { bytes_max: MIB }));

        let mut records = Records::new(parsed).expect("a codec");
        while records.next().expect("a record").is_some() {}
    }

    // One record that claims two gigabytes, one batch that claims two billion records.
    for codec in [
        Codec::None,
        Codec::GZIP,
        Codec::Snappy,
        Codec::LZ4,
        Codec::ZSTD,
    ] {
        let mut builder = BatchBuilder::new(codec).expect("a codec");
        builder
            .append(0, Some(b"k"), Some(&[7; 1_000]))
            .expect("room");
        let good = builder.finish().expect("a batch");
        let mut fields = Batch::first(&good).expect("a batch").fields();
        (fields.record_count, fields.last_offset_delta) = (i32::MAX, i32::MAX - 1);
        let mut boast = good;
        fields.write(&mut boast);
        let mut validator = Validator::new(&boast, RULES, 0, &pool).expect("a good header");
        assert!(matches!(
            run(|budget| validator.step(budget)),
            Err(Rejection::Structure { index: 1, .. })
        ));
    }

    let growth = peak_bytes() - before;
    assert!(
        growth < GROWTH_BYTES_MAX,
        "the peak grew by {} MiB",
        growth / MIB
    );
}
