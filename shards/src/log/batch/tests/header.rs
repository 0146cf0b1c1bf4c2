use super::GOLDEN;
use crate::log::batch::header::*;
use crate::log::batch::iter::{Batch, BatchIter, find_offset};

fn with<const N: usize>(at: usize, field: [u8; N]) -> Vec<u8> {
    let mut bytes = GOLDEN.to_vec();
    bytes[at..at + N].copy_from_slice(&field);
    bytes
}

/// Three copies of the golden batch at offsets 0, 10 and 11.
fn three_batches() -> Vec<u8> {
    let mut log = Vec::new();
    for base_offset in [0i64, 10, 11] {
        log.extend(with(0, base_offset.to_be_bytes()));
    }
    log
}

#[test]
fn every_field_is_read_from_its_place() {
    let fields = HeaderFields {
        base_offset: 0x0102_0304_0506_0708,
        leader_epoch: 0x1112_1314,
        attributes: Attributes::default()
            .with_compression(Compression::Zstd)
            .with_timestamp_type(TimestampType::LogAppendTime)
            .with_transactional(true)
            .with_control(true),
        last_offset_delta: 0x2122_2324,
        base_timestamp: 0x3132_3334_3536_3738,
        max_timestamp: 0x4142_4344_4546_4748,
        producer_id: 0x5152_5354_5556_5758,
        producer_epoch: 0x6162,
        base_sequence: 0x7172_7374,
        record_count: 0x0a0b_0c0d,
    };
    let mut bytes = vec![0; HEADER_BYTES + 3];
    fields.write(&mut bytes);
    let expected: &[u8] = &[
        1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 52, 0x11, 0x12, 0x13, 0x14, 2,
    ];
    assert_eq!(&bytes[..17], expected);
    let expected: &[u8] = &[
        0, 0x3c, 0x21, 0x22, 0x23, 0x24, 0x31, 0x32, 0x33, 0x34, 0x35, 0x36, 0x37, 0x38, 0x41,
        0x42, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58,
        0x61, 0x62, 0x71, 0x72, 0x73, 0x74, 0x0a, 0x0b, 0x0c, 0x0d, 0, 0, 0,
    ];
    assert_eq!(&bytes[21..], expected);

    let batch = Batch::first(&bytes).unwrap();
    batch.check_crc().unwrap();
    assert_eq!(batch.fields(), fields);
    assert_eq!(batch.size_bytes(), bytes.len());
    assert_eq!(batch.payload(), [0; 3]);
    assert!(batch.is_control() && batch.is_transactional() && batch.has_producer_id());
    assert_eq!(batch.compression(), Some(Compression::Zstd));
}

#[test]
fn what_is_no_batch_is_named() {
    let cases: Vec<(Vec<u8>, BatchError)> = vec![
        (
            vec![],
            BatchError::Truncated {
                needed: 61,
                available: 0,
            },
        ),
        (
            GOLDEN[..16].into(),
            BatchError::Truncated {
                needed: 61,
                available: 16,
            },
        ),
        (
            GOLDEN[..60].into(),
            BatchError::Truncated {
                needed: 61,
                available: 60,
            },
        ),
        (
            GOLDEN[..73].into(),
            BatchError::Truncated {
                needed: 74,
                available: 73,
            },
        ),
        (with(16, [0]), BatchError::BadMagic { magic: 0 }),
        (with(16, [0xff]), BatchError::BadMagic { magic: -1 }),
        (
            with(8, 48i32.to_be_bytes()),
            BatchError::BadLength { length: 48 },
        ),
        (
            with(8, (-1i32).to_be_bytes()),
            BatchError::BadLength { length: -1 },
        ),
        (
            with(8, i32::MAX.to_be_bytes()),
            BatchError::Truncated {
                needed: i32::MAX as usize + 12,
                available: 74,
            },
        ),
        (
            with(17, [0; 4]),
            BatchError::BadCrc {
                stored: 0,
                computed: 0xedb8_8d21,
            },
        ),
    ];
    for (bytes, error) in cases {
        let found = Batch::first(&bytes).and_then(|batch| batch.check_crc());
        assert_eq!(found, Err(error), "{bytes:02x?}");
    }
}

#[test]
fn iteration_ends_behind_the_last_good_batch() {
    let log = three_batches();
    let offsets: Vec<_> = BatchIter::verifying(&log)
        .map(|b| b.unwrap().base_offset())
        .collect();
    assert_eq!(offsets, [0, 10, 11]);

    for cut in 0..log.len() {
        let mut batches = BatchIter::verifying(&log[..cut]);
        let good = batches.by_ref().take_while(Result::is_ok).count();
        assert_eq!(good, cut / GOLDEN.len());
        assert_eq!(batches.position(), good * GOLDEN.len());
        assert!(batches.next().is_none());
    }

    let mut rotten = log;
    rotten[GOLDEN.len() + 70] ^= 1;
    let mut batches = BatchIter::verifying(&rotten);
    assert!(batches.next().unwrap().is_ok());
    assert!(matches!(
        batches.next(),
        Some(Err(BatchError::BadCrc { .. }))
    ));
    assert!(batches.next().is_none());
    assert_eq!(BatchIter::new(&rotten).filter(Result::is_ok).count(), 3);
}

#[test]
fn offsets_are_found_across_gaps() {
    let log = three_batches();
    let size = GOLDEN.len();
    for (offset, expected) in [
        (0, Some(0)),
        (1, Some(size)),
        (10, Some(size)),
        (11, Some(2 * size)),
        (12, None),
    ] {
        let found = find_offset(&log, offset)
            .unwrap()
            .map(|(position, _)| position);
        assert_eq!(found, expected, "offset {offset}");
    }
}

#[test]
fn stamping_touches_the_crc_only_when_it_must() {
    let crc = |bytes: &[u8]| Batch::first(bytes).unwrap().crc();
    let create_time = Stamp {
        base_offset: 77,
        leader_epoch: 5,
        timestamp_type: TimestampType::CreateTime,
        max_timestamp: 1_000,
    };
    let log_append_time = Stamp {
        timestamp_type: TimestampType::LogAppendTime,
        max_timestamp: 2_000,
        ..create_time
    };
    for (stamp, changes_crc) in [(create_time, false), (log_append_time, true)] {
        let mut bytes = GOLDEN.to_vec();
        stamp.apply(&mut bytes);
        let batch = Batch::first(&bytes).unwrap();
        batch.check_crc().unwrap();
        assert_eq!(batch.base_offset(), 77);
        assert_eq!(batch.leader_epoch(), 5);
        assert_eq!(batch.timestamp_type(), stamp.timestamp_type);
        assert_eq!(batch.max_timestamp(), stamp.max_timestamp);
        assert_eq!(batch.payload(), &GOLDEN[HEADER_BYTES..]);
        assert_eq!(crc(&bytes) != crc(GOLDEN), changes_crc);

        assert_eq!(stamp.header_for(GOLDEN), bytes[..HEADER_BYTES]);
    }
}

#[test]
fn sequences_wrap_to_zero() {
    assert_eq!(add_to_sequence(0, 4), 4);
    assert_eq!(add_to_sequence(i32::MAX - 1, 1), i32::MAX);
    assert_eq!(add_to_sequence(i32::MAX, 1), 0);
    assert_eq!(add_to_sequence(i32::MAX - 2, 10), 7);
}

#[test]
fn attributes_name_codecs_and_keep_their_bits_apart() {
    for id in 0..8u8 {
        let attributes = Attributes::from_bits(0xff78 | u16::from(id));
        assert_eq!(attributes.compression_id(), id);
        assert_eq!(
            attributes.compression().map(Compression::id),
            (id < 5).then_some(id)
        );
    }
    let bits = Attributes::from_bits(0x77)
        .with_compression(Compression::Lz4)
        .with_control(false);
    assert_eq!(bits.bits(), 0x53);
}
