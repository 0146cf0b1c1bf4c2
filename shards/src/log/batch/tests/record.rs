use super::{CODECS, OwnedRecord, build, random_records, with_append_time};
use crate::log::batch::control::ControlKind;
use crate::log::batch::header::{NO_PRODUCER_ID, NO_SEQUENCE};
use crate::log::batch::iter::Batch;
use crate::log::batch::record::{RecordFault, check};
use crate::log::batch::records::Records;
use crate::log::batch::{BatchBuilder, Codec, TimestampType, varint};
use crate::log::test_random::Random;

fn read_all(batch: &[u8]) -> Vec<(i64, OwnedRecord)> {
    let mut records = Records::new(Batch::first(batch).unwrap()).unwrap();
    let mut all = Vec::new();
    while let Some(record) = records.next().unwrap() {
        let headers = record
            .headers
            .map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec)));
        let owned = OwnedRecord {
            timestamp: record.timestamp,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: headers.collect(),
        };
        all.push((record.offset, owned));
    }
    all
}

#[test]
fn varints_are_zigzag_and_bounded() {
    let known: [(i64, &[u8]); 8] = [
        (0, &[0]),
        (-1, &[1]),
        (1, &[2]),
        (63, &[0x7e]),
        (-64, &[0x7f]),
        (64, &[0x80, 1]),
        (i32::MAX.into(), &[0xfe, 0xff, 0xff, 0xff, 0x0f]),
        (i32::MIN.into(), &[0xff, 0xff, 0xff, 0xff, 0x0f]),
    ];
    for (value, bytes) in known {
        let mut out = vec![];
        varint::write(&mut out, value);
        assert_eq!(out, bytes, "{value}");
        assert_eq!(varint::size(value), bytes.len(), "{value}");
        for (read, len) in [
            {
                let mut at = 0;
                (varint::read_i32(bytes, &mut at).map(i64::from), at)
            },
            {
                let mut at = 0;
                (varint::read_i64(bytes, &mut at), at)
            },
        ] {
            assert_eq!((read, len), (Some(value), bytes.len()));
        }
        for cut in 0..bytes.len() {
            let mut at = 0;
            assert_eq!(varint::read_i64(&bytes[..cut], &mut at), None);
            assert_eq!(varint::read_i32(&bytes[..cut], &mut at), None);
            assert_eq!(at, 0);
        }
    }
    for value in [i64::MAX, i64::MIN, 1 << 40, -(1 << 56)] {
        let mut out = vec![];
        varint::write(&mut out, value);
        let mut at = 0;
        assert_eq!(varint::read_i64(&out, &mut at), Some(value));
        assert_eq!((at, varint::size(value)), (out.len(), out.len()));
    }
    assert_eq!(
        varint::read_i32(&[0x80, 0x80, 0x80, 0x80, 0x80, 0], &mut 0),
        None
    );
    assert_eq!(varint::read_i64(&[0x80; 11], &mut 0), None);
    // Bits beyond the number are dropped, as Kafka drops them.
    assert_eq!(
        varint::read_i32(&[0xff, 0xff, 0xff, 0xff, 0x7f], &mut 0),
        Some(i32::MIN)
    );
}

#[test]
fn records_come_back_through_every_codec() {
    for seed in 0..60 {
        let mut random = Random::new(seed);
        // Now and then records much larger than a chunk.
        let (count, length_max) = if seed % 10 == 0 {
            (5, 100_000)
        } else {
            (1 + random.below(100), 500)
        };
        let records = random_records(&mut random, count, length_max);
        let expected: Vec<_> = (0i64..).zip(records.clone()).collect();
        for codec in CODECS {
            assert_eq!(
                read_all(&build(&records, codec)),
                expected,
                "seed {seed} {codec:?}"
            );
        }
    }
}

#[test]
fn what_is_no_record_is_named() {
    let cases: &[(&[u8], RecordFault)] = &[
        (&[], RecordFault::Missing),
        (&[0x80], RecordFault::Field),
        (&[0x80, 0x80, 0x80, 0x80, 0x80, 0], RecordFault::Field),
        (&[1], RecordFault::Length(-1)),
        (&[14, 0, 0, 0, 1, 1, 0], RecordFault::Length(7)),
        (
            &[0xfe, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0, 1, 1, 0],
            RecordFault::Length(i32::MAX),
        ),
        (&[0], RecordFault::Field),
        // Cut off behind each field in turn.
        (&[2, 0], RecordFault::Field),
        (&[4, 0, 0], RecordFault::Field),
        (&[6, 0, 0, 0], RecordFault::Field),
        (&[8, 0, 0, 0, 1], RecordFault::Field),
        (&[10, 0, 0, 0, 1, 1], RecordFault::Field),
        // A key or a value that goes beyond the record, though not beyond the batch.
        (&[12, 0, 0, 0, 8, 1, 0, 9, 9, 9, 9], RecordFault::Field),
        (&[12, 0, 0, 0, 1, 4, 0, 9, 9, 9, 9], RecordFault::Field),
        (&[12, 0, 0, 0, 1, 1, 1], RecordFault::HeaderCount(-1)),
        (&[12, 0, 0, 0, 1, 1, 2], RecordFault::HeaderCount(1)),
        (
            &[20, 0, 0, 0, 1, 1, 0xfe, 0xff, 0xff, 0xff, 0x0f],
            RecordFault::HeaderCount(i32::MAX),
        ),
        (&[16, 0, 0, 0, 1, 1, 2, 1, 1], RecordFault::HeaderKey(-1)),
        (&[16, 0, 0, 0, 1, 1, 2, 0, 8], RecordFault::Field),
        (&[14, 0, 0, 0, 1, 1, 0, 0], RecordFault::Slack),
        (&[18, 0, 0, 0, 1, 1, 2, 0, 1, 0], RecordFault::Slack),
    ];
    for (bytes, fault) in cases {
        assert_eq!(check(bytes, &mut 0), Err(*fault), "{bytes:?}");
    }
    let mut at = 0;
    let meta = check(&[16, 0, 3, 4, 1, 1, 2, 0, 1], &mut at).unwrap();
    assert_eq!(
        (meta.timestamp_delta, meta.offset_delta, meta.has_key, at),
        (-2, 2, false, 9)
    );
}

#[test]
fn builders_fill_in_the_header() {
    let mut builder = BatchBuilder::uncompressed()
        .at(40, 3)
        .producer(9, 2, 100)
        .transactional();
    for timestamp in [500, 700, 600] {
        builder.append(timestamp, None, Some(b"v")).unwrap();
    }
    assert_eq!(
        (builder.record_count(), builder.uncompressed_bytes()),
        (3, 61 + 8 + 9 + 9)
    );
    let bytes = builder.finish().unwrap();
    let batch = Batch::first(&bytes).unwrap();
    batch.check_crc().unwrap();
    assert_eq!(
        (
            batch.base_offset(),
            batch.last_offset(),
            batch.leader_epoch()
        ),
        (40, 42, 3)
    );
    assert_eq!((batch.base_timestamp(), batch.max_timestamp()), (500, 700));
    assert_eq!(
        (
            batch.producer_id(),
            batch.producer_epoch(),
            batch.base_sequence()
        ),
        (9, 2, 100)
    );
    assert_eq!(batch.last_sequence(), 102);
    assert!(batch.is_transactional() && !batch.is_control());
    let timestamps: Vec<_> = read_all(&bytes)
        .into_iter()
        .map(|(offset, record)| (offset, record.timestamp))
        .collect();
    assert_eq!(timestamps, [(40, 500), (41, 700), (42, 600)]);

    let mut builder = BatchBuilder::new(Codec::ZSTD).unwrap();
    builder.append(500, None, None).unwrap();
    let bytes = with_append_time(&builder.finish().unwrap(), 9_000);
    let batch = Batch::first(&bytes).unwrap();
    assert_eq!(
        (batch.producer_id(), batch.last_sequence()),
        (NO_PRODUCER_ID, NO_SEQUENCE)
    );
    assert_eq!(
        (batch.timestamp_type(), batch.max_timestamp()),
        (TimestampType::LogAppendTime, 9_000)
    );
    assert_eq!(read_all(&bytes)[0].1.timestamp, 9_000);
}

#[test]
fn control_keys_tell_their_kind() {
    assert_eq!(ControlKind::Commit.key(), [0, 0, 0, 1]);
    for kind in [
        ControlKind::Abort,
        ControlKind::LeaderChange,
        ControlKind::QuorumVoters,
    ] {
        assert_eq!(ControlKind::from_key(&kind.key()), Some(kind));
    }
    assert_eq!(
        ControlKind::from_key(&[0, 9, 0, 1, 5]),
        Some(ControlKind::Commit)
    );
    for key in [
        &[][..],
        &[0, 0, 0],
        &[0, 0, 0, 7],
        &[0, 0, 0xff, 0xff],
        &[0xff, 0xff, 0, 1],
    ] {
        assert_eq!(ControlKind::from_key(key), None, "{key:?}");
    }
}
