use super::{CODECS, GOLDEN, build, edit, forge, random_records, run};
use crate::log::batch::compress::DecoderPool;
use crate::log::batch::header::NO_TIMESTAMP;
use crate::log::batch::record::{NewRecord, RecordFault};
use crate::log::batch::rejection::RejectedRecords;
use crate::log::batch::{
    Attributes, Batch, BatchBuilder, BatchError, Budget, Codec, Compression, RecordError,
    RecordProblem, Rejection, RejectionKind, Rules, TimestampType, Validated, Validator,
};
use crate::log::test_random::Random;

const NOW_MS: i64 = 1_000_000;

const RULES: Rules = Rules {
    batch_bytes_max: 1_048_588,
    timestamp_type: TimestampType::CreateTime,
    timestamp_before_max_ms: i64::MAX,
    timestamp_after_max_ms: 3_600_000,
    compacted: false,
};

fn validate(records: &[u8], rules: Rules) -> Result<Validated, Rejection> {
    let mut validator = Validator::new(records, rules, NOW_MS, &DecoderPool::default())?;
    let (result, _) = run(Budget::SLICE, |budget| validator.step(budget));
    result
}

fn reject(records: &[u8], rules: Rules) -> Rejection {
    validate(records, rules).expect_err("a rejection")
}

/// A batch with these timestamps, without keys.
fn timed(codec: Codec, timestamps: &[i64]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(codec).unwrap();
    for timestamp in timestamps {
        builder.append(*timestamp, None, Some(b"value")).unwrap();
    }
    builder.finish().unwrap()
}

fn problems(rejection: &Rejection) -> Vec<(i32, RecordProblem)> {
    match rejection {
        Rejection::Records(records) => records
            .errors()
            .iter()
            .map(|error| (error.index, error.problem))
            .collect(),
        other => panic!("{other}"),
    }
}

#[test]
fn a_good_batch_passes() {
    let expected = Validated {
        size_bytes: GOLDEN.len(),
        record_count: 1,
        compression: Compression::None,
        timestamp_type: TimestampType::CreateTime,
        max_timestamp: 1_000,
    };
    assert_eq!(validate(GOLDEN, RULES), Ok(expected));
    for seed in 0..50 {
        let mut random = Random::new(seed);
        let count = 1 + random.below(200);
        let mut records = random_records(&mut random, count, 1_000);
        for record in &mut records {
            record.timestamp %= NOW_MS;
        }
        for codec in CODECS {
            let batch = build(&records, codec);
            let found = validate(&batch, RULES).unwrap();
            assert_eq!(found.record_count as usize, records.len());
            assert_eq!(found.compression, codec.compression());
            assert_eq!(
                Some(found.max_timestamp),
                records.iter().map(|record| record.timestamp).max()
            );
        }
    }
}

#[test]
fn half_a_batch_behind_a_whole_one_is_dropped() {
    for tail in [&GOLDEN[..1], &GOLDEN[..16], &GOLDEN[..GOLDEN.len() - 1]] {
        let found = validate(&[GOLDEN, tail].concat(), RULES).unwrap();
        assert_eq!(found.size_bytes, GOLDEN.len());
    }
}

#[test]
fn headers_are_refused_by_their_first_fault() {
    let old = |magic: u8| {
        let mut bytes = GOLDEN.to_vec();
        bytes[16] = magic;
        bytes
    };
    let cases: Vec<(Vec<u8>, Rejection, RejectionKind)> = vec![
        (vec![], Rejection::NoBatch, RejectionKind::InvalidRecord),
        (
            GOLDEN[..70].to_vec(),
            Rejection::NoBatch,
            RejectionKind::InvalidRecord,
        ),
        (
            [GOLDEN, GOLDEN].concat(),
            Rejection::MoreBatches,
            RejectionKind::InvalidRecord,
        ),
        (
            [GOLDEN, &old(1)].concat(),
            Rejection::MoreBatches,
            RejectionKind::InvalidRecord,
        ),
        (
            old(0),
            Rejection::OldFormat { magic: 0 },
            RejectionKind::InvalidRecord,
        ),
        (
            old(1),
            Rejection::OldFormat { magic: 1 },
            RejectionKind::InvalidRecord,
        ),
        (
            old(3),
            Rejection::Corrupt(BatchError::BadMagic { magic: 3 }),
            RejectionKind::Corrupt,
        ),
        (
            [GOLDEN, &[0; 30]].concat(),
            Rejection::Corrupt(BatchError::BadLength { length: 0 }),
            RejectionKind::Corrupt,
        ),
        (
            vec![0; 30],
            Rejection::Corrupt(BatchError::BadLength { length: 0 }),
            RejectionKind::Corrupt,
        ),
        (
            [GOLDEN, &old(3)].concat(),
            Rejection::Corrupt(BatchError::BadMagic { magic: 3 }),
            RejectionKind::Corrupt,
        ),
        (
            edit(GOLDEN, |fields| fields.base_offset = 7),
            Rejection::BaseOffset { offset: 7 },
            RejectionKind::InvalidRecord,
        ),
        (
            edit(GOLDEN, |fields| fields.record_count = 0),
            Rejection::RecordCount {
                record_count: 0,
                last_offset_delta: 0,
            },
            RejectionKind::InvalidRecord,
        ),
        (
            edit(GOLDEN, |fields| fields.last_offset_delta = 1),
            Rejection::RecordCount {
                record_count: 1,
                last_offset_delta: 1,
            },
            RejectionKind::InvalidRecord,
        ),
        (
            edit(GOLDEN, |fields| {
                (fields.last_offset_delta, fields.record_count) = (i32::MAX, i32::MIN)
            }),
            Rejection::RecordCount {
                record_count: i32::MIN,
                last_offset_delta: i32::MAX,
            },
            RejectionKind::InvalidRecord,
        ),
        (
            edit(GOLDEN, |fields| {
                fields.attributes = Attributes::default().with_control(true)
            }),
            Rejection::Control,
            RejectionKind::InvalidRecord,
        ),
        (
            edit(GOLDEN, |fields| fields.producer_id = 5),
            Rejection::Sequence {
                producer_id: 5,
                base_sequence: -1,
            },
            RejectionKind::InvalidRecord,
        ),
        (
            edit(GOLDEN, |fields| {
                fields.attributes = Attributes::from_bits(6)
            }),
            Rejection::UnknownCompression { id: 6 },
            RejectionKind::UnknownCompression,
        ),
    ];
    for (bytes, expected, kind) in cases {
        let found = reject(&bytes, RULES);
        assert_eq!(found, expected);
        assert_eq!(found.kind(), kind, "{found}");
    }
}

#[test]
fn every_flipped_bit_under_the_crc_is_noticed() {
    for bit in 17 * 8..GOLDEN.len() * 8 {
        let mut bytes = GOLDEN.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let found = reject(&bytes, RULES);
        assert!(
            matches!(found, Rejection::Corrupt(BatchError::BadCrc { .. })),
            "bit {bit}: {found}"
        );
        assert_eq!(found.kind(), RejectionKind::Corrupt);
    }
}

#[test]
fn the_size_limit_holds_for_the_whole_batch_and_comes_before_the_crc() {
    let exact = Rules {
        batch_bytes_max: GOLDEN.len(),
        ..RULES
    };
    assert!(validate(GOLDEN, exact).is_ok());
    let less = Rules {
        batch_bytes_max: GOLDEN.len() - 1,
        ..RULES
    };
    let mut corrupt = GOLDEN.to_vec();
    corrupt[70] ^= 1;
    let found = reject(&corrupt, less);
    assert_eq!(
        found,
        Rejection::TooLarge {
            size_bytes: 74,
            bytes_max: 73
        }
    );
    assert_eq!(found.kind(), RejectionKind::TooLarge);
}

#[test]
fn idempotent_producers_pass_with_a_sequence() {
    let batch = edit(GOLDEN, |fields| {
        (
            fields.producer_id,
            fields.producer_epoch,
            fields.base_sequence,
        ) = (5, 0, 0);
    });
    assert!(validate(&batch, RULES).is_ok());
}

#[test]
fn timestamps_must_be_near_now() {
    let rules = Rules {
        timestamp_before_max_ms: 1_000,
        timestamp_after_max_ms: 500,
        ..RULES
    };
    let (earliest_ms, latest_ms) = (NOW_MS - 1_000, NOW_MS + 500);
    for codec in CODECS {
        let good = timed(codec, &[earliest_ms, NOW_MS, latest_ms, NO_TIMESTAMP]);
        assert_eq!(validate(&good, rules).unwrap().max_timestamp, latest_ms);

        let stamps = [
            NOW_MS,
            earliest_ms - 1,
            NO_TIMESTAMP,
            latest_ms + 1,
            i64::MAX,
            i64::MIN,
        ];
        let found = reject(&timed(codec, &stamps), rules);
        assert_eq!(found.kind(), RejectionKind::InvalidTimestamp);
        let wrong = |index: i32| {
            let problem = RecordProblem::Timestamp {
                timestamp: stamps[index as usize],
                earliest_ms,
                latest_ms,
            };
            (index, problem)
        };
        assert_eq!(problems(&found), [1, 3, 4, 5].map(wrong));
    }
    // The default allows any time of the past that can be told apart from the present.
    assert!(validate(&timed(Codec::None, &[0, -7, NOW_MS - i64::MAX]), RULES).is_ok());
    assert!(validate(&timed(Codec::None, &[i64::MIN]), RULES).is_err());
}

#[test]
fn the_maximum_is_counted_not_believed() {
    for codec in CODECS {
        let batch = edit(&timed(codec, &[10, 30, 20]), |fields| {
            fields.max_timestamp = 999
        });
        let found = validate(&batch, RULES).unwrap();
        assert_eq!(found.max_timestamp, 30);
        let mut stamped = batch;
        found.stamp(700, 4).apply(&mut stamped);
        let stamped = Batch::first(&stamped).unwrap();
        stamped.check_crc().unwrap();
        assert_eq!(
            (
                stamped.base_offset(),
                stamped.leader_epoch(),
                stamped.max_timestamp()
            ),
            (700, 4, 30)
        );
    }
}

#[test]
fn log_append_time_replaces_what_the_producer_says() {
    let rules = Rules {
        timestamp_type: TimestampType::LogAppendTime,
        timestamp_before_max_ms: 0,
        timestamp_after_max_ms: 0,
        ..RULES
    };
    let mut batch = timed(Codec::LZ4, &[1, 2, i64::MAX]);
    let found = validate(&batch, rules).unwrap();
    assert_eq!(
        (found.timestamp_type, found.max_timestamp),
        (TimestampType::LogAppendTime, NOW_MS)
    );
    found.stamp(0, 0).apply(&mut batch);
    let stamped = Batch::first(&batch).unwrap();
    stamped.check_crc().unwrap();
    assert_eq!(stamped.timestamp_type(), TimestampType::LogAppendTime);
}

#[test]
fn a_producer_that_sets_log_append_time_is_treated_as_in_kafka() {
    let claim = |max_timestamp| {
        edit(&timed(Codec::None, &[1, 2]), |fields| {
            fields.attributes = fields
                .attributes
                .with_timestamp_type(TimestampType::LogAppendTime);
            fields.max_timestamp = max_timestamp;
        })
    };
    let wrong = [
        (0, RecordProblem::LogAppendTime),
        (1, RecordProblem::LogAppendTime),
    ];
    let log_append_time = Rules {
        timestamp_type: TimestampType::LogAppendTime,
        ..RULES
    };
    let found = reject(&claim(NOW_MS), log_append_time);
    assert_eq!(problems(&found), wrong);
    assert_eq!(found.kind(), RejectionKind::InvalidTimestamp);
    // Where the producer's time counts, it is taken for that, unless it is none.
    let found = validate(&claim(NOW_MS), RULES).unwrap();
    assert_eq!(
        (found.timestamp_type, found.max_timestamp),
        (TimestampType::CreateTime, NOW_MS)
    );
    assert_eq!(problems(&reject(&claim(NO_TIMESTAMP), RULES)), wrong);
}

#[test]
fn compacted_topics_take_no_record_without_key() {
    let rules = Rules {
        compacted: true,
        ..RULES
    };
    for codec in CODECS {
        let mut builder = BatchBuilder::new(codec).unwrap();
        for key in [Some(&b"k"[..]), None, Some(b""), None] {
            builder.append(0, key, None).unwrap();
        }
        let found = reject(&builder.finish().unwrap(), rules);
        assert_eq!(found.kind(), RejectionKind::InvalidRecord);
        assert_eq!(
            problems(&found),
            [(1, RecordProblem::NoKey), (3, RecordProblem::NoKey)]
        );
        assert_eq!(
            found.to_string(),
            "One or more records have been rejected due to 2 record errors in total, and only showing the first \
             three errors at most: [RecordError(batchIndex=1, message='Compacted topic cannot accept message without \
             key'), RecordError(batchIndex=3, message='Compacted topic cannot accept message without key')]"
        );
    }
    assert!(validate(GOLDEN, rules).is_ok());
}

#[test]
fn a_missing_key_goes_before_a_wrong_time_and_a_wrong_time_names_the_error() {
    let rules = Rules {
        compacted: true,
        timestamp_after_max_ms: 0,
        ..RULES
    };
    let mut builder = BatchBuilder::uncompressed();
    builder.append(NOW_MS + 1, None, None).unwrap();
    let only_keys = reject(&builder.finish().unwrap(), rules);
    assert_eq!(problems(&only_keys), [(0, RecordProblem::NoKey)]);
    assert_eq!(only_keys.kind(), RejectionKind::InvalidRecord);

    let mut builder = BatchBuilder::uncompressed();
    builder.append(NOW_MS, None, None).unwrap();
    builder.append(NOW_MS + 1, Some(b"k"), None).unwrap();
    let both = reject(&builder.finish().unwrap(), rules);
    assert_eq!(problems(&both).len(), 2);
    assert_eq!(both.kind(), RejectionKind::InvalidTimestamp);
    assert_eq!(
        both.to_string(),
        "One or more records have been rejected due to invalid timestamp"
    );
}

#[test]
fn only_so_many_records_are_named() {
    let rules = Rules {
        compacted: true,
        ..RULES
    };
    let found = reject(&timed(Codec::GZIP, &[0; 5_000]), rules);
    let Rejection::Records(records) = &found else {
        panic!("{found}")
    };
    assert_eq!(
        (records.total(), records.errors().len()),
        (5_000, RejectedRecords::NAMED_MAX)
    );
    let last = RecordError {
        index: 999,
        problem: RecordProblem::NoKey,
    };
    assert_eq!(records.errors().last(), Some(&last));
}

#[test]
fn offsets_count_up_from_zero() {
    let record = |offset_delta| {
        let record = NewRecord {
            offset_delta,
            timestamp_delta: 0,
            key: None,
            value: None,
            headers: &[],
        };
        let mut bytes = vec![];
        record.write(&mut bytes);
        bytes
    };
    for codec in CODECS {
        for (deltas, wrong) in [
            ([0, 1, 2], None),
            ([0, 2, 1], Some((1, 2))),
            ([1, 2, 3], Some((0, 1))),
            ([0, 0, 0], Some((1, 0))),
        ] {
            let batch = forge(codec, 3, &deltas.map(record).concat());
            let expected = wrong.map(|(index, delta)| Rejection::OffsetDelta { index, delta });
            assert_eq!(validate(&batch, RULES).err(), expected, "{codec:?}");
        }
    }
}

#[test]
fn broken_records_are_named_by_their_place() {
    let good = [12, 0, 0, 0, 1, 1, 0];
    let bad = [12, 0, 0, 2, 1, 1, 1];
    for codec in CODECS {
        let found = reject(&forge(codec, 2, &[good, bad].concat()), RULES);
        let fault = RecordFault::HeaderCount(-1);
        assert_eq!(found, Rejection::Structure { index: 1, fault });
        assert_eq!(found.kind(), RejectionKind::InvalidRecord);
    }
    let not_gzip = edit(&forge(Codec::None, 1, &good), |fields| {
        fields.attributes = Attributes::from_bits(1)
    });
    assert_eq!(reject(&not_gzip, RULES).kind(), RejectionKind::Undecodable);
}

#[test]
fn long_work_is_cut_into_slices_with_the_same_verdict() {
    let mut random = Random::new(9);
    let records = random_records(&mut random, 2_000, 400);
    for codec in CODECS {
        let batch = build(&records, codec);
        let rules = Rules {
            timestamp_after_max_ms: i64::MAX,
            ..RULES
        };
        let whole = validate(&batch, rules).unwrap();
        for us in [1, 10, 100] {
            let mut validator =
                Validator::new(&batch, rules, NOW_MS, &DecoderPool::default()).unwrap();
            let (sliced, steps) = run(Budget::of_us(us), |budget| validator.step(budget));
            assert_eq!(sliced, Ok(whole));
            assert!(us == 100 || steps > 1, "{codec:?} {us} us: {steps}");
        }
    }
}
