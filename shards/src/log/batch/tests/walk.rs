use super::{CODECS, UNLIMITED, build, edit, forge, random_records};
use crate::log::batch::compress::DecoderPool;
use crate::log::batch::iter::Batch;
use crate::log::batch::record::{NewRecord, RecordFault, RecordMeta, check};
use crate::log::batch::walk::{Walk, WalkError, Walked};
use crate::log::batch::{Attributes, Budget, Codec};
use crate::log::test_random::Random;
use std::ops::ControlFlow;

fn walk(batch: &[u8], budget: Budget) -> Result<(Vec<RecordMeta>, usize), WalkError> {
    let mut walk = Walk::new(&Batch::first(batch).unwrap(), &DecoderPool::default())?;
    let (mut records, mut pauses) = (vec![], 0);
    loop {
        let mut left = budget;
        let walked = walk.drive(&mut left, |index, meta| {
            assert_eq!(index as usize, records.len());
            records.push(*meta);
            Ok::<_, WalkError>(ControlFlow::Continue(()))
        })?;
        match walked {
            Walked::End => return Ok((records, pauses)),
            Walked::Pending => pauses += 1,
            Walked::Stopped => panic!("nobody stopped it"),
        }
    }
}

fn record_bytes(offset_delta: i32, key: Option<&[u8]>, value: Option<&[u8]>) -> Vec<u8> {
    let record = NewRecord {
        offset_delta,
        timestamp_delta: 1 << 40,
        key,
        value,
        headers: &[(b"header", Some(b"value")), (b"", None)],
    };
    let mut out = vec![];
    record.write(&mut out);
    out
}

#[test]
fn all_codecs_show_the_same_records_however_often_interrupted() {
    for seed in 0..40 {
        let mut random = Random::new(seed);
        let (count, length_max) = if seed % 10 == 0 {
            (4, 200_000)
        } else {
            (1 + random.below(300), 200)
        };
        let records = random_records(&mut random, count, length_max);
        let (expected, _) = walk(&build(&records, Codec::None), UNLIMITED).unwrap();
        assert_eq!(expected.len(), records.len());
        for (index, (meta, record)) in (0..).zip(expected.iter().zip(&records)) {
            assert_eq!(meta.offset_delta, index);
            assert_eq!(
                meta.timestamp_delta,
                record.timestamp - records[0].timestamp
            );
            assert_eq!(meta.has_key, record.key.is_some());
        }
        for codec in CODECS {
            let batch = build(&records, codec);
            let (found, pauses) = walk(&batch, Budget::of_us(1)).unwrap();
            assert_eq!(found, expected, "seed {seed} {codec:?}");
            assert!(pauses > 0 || records.len() < 200, "{codec:?}");
            assert_eq!(walk(&batch, UNLIMITED).unwrap(), (expected.clone(), 0));
        }
    }
}

/// The same faults are found in a compressed batch as in an uncompressed one, wherever chunks end.
#[test]
fn compressed_faults_are_those_of_plain_ones() {
    let mut random = Random::new(7);
    let good = [
        record_bytes(0, Some(&[b'k'; 300]), Some(&[b'v'; 40_000])),
        record_bytes(1, None, None),
        record_bytes(2, Some(b""), Some(&[b'w'; 16_000])),
    ]
    .concat();
    for round in 0..3_000 {
        let mut bad = good.clone();
        // Only structure is worth changing: the fields' bytes may be anything.
        let at = loop {
            let at = random.below(good.len() as u64) as usize;
            if !matches!(good[at], b'k' | b'v' | b'w') {
                break at;
            }
        };
        bad[at] = random.next() as u8;
        if random.one_in(3) {
            bad.truncate(random.below(bad.len() as u64) as usize);
        }
        let plain = walk(&forge(Codec::None, 3, &bad), UNLIMITED);
        let packed = walk(&forge(Codec::LZ4, 3, &bad), Budget::of_us(3));
        match (plain, packed) {
            (Ok(plain), Ok(packed)) => assert_eq!(plain.0, packed.0, "round {round}"),
            (
                Err(WalkError::Record { index, .. }),
                Err(WalkError::Record { index: packed, .. }),
            ) => {
                assert_eq!(index, packed, "round {round}");
            }
            other => panic!("round {round}: {other:?}"),
        }
    }
}

#[test]
fn records_must_be_as_many_as_the_batch_says() {
    let records = [
        record_bytes(0, None, None),
        record_bytes(1, None, Some(b"v")),
    ]
    .concat();
    for codec in CODECS {
        let fault = |count| match walk(&forge(codec, count, &records), UNLIMITED) {
            Err(WalkError::Record { index, fault }) => Some((index, fault)),
            Ok(_) => None,
            Err(error) => panic!("{error}"),
        };
        assert_eq!(fault(1), Some((1, RecordFault::TrailingBytes)), "{codec:?}");
        assert_eq!(fault(2), None);
        assert_eq!(fault(3), Some((2, RecordFault::Missing)), "{codec:?}");
        assert_eq!(
            fault(i32::MAX),
            Some((2, RecordFault::Missing)),
            "{codec:?}"
        );
    }
}

#[test]
fn batches_that_compaction_emptied_have_no_records() {
    for codec in CODECS {
        let batch = edit(&forge(codec, 1, &[]), |fields| fields.record_count = 0);
        assert_eq!(walk(&batch, UNLIMITED).unwrap().0, []);
    }
}

#[test]
fn unknown_codecs_are_refused() {
    for id in 5..8 {
        let batch = edit(&forge(Codec::None, 1, &[]), |fields| {
            fields.attributes = Attributes::from_bits(id)
        });
        let error = Walk::new(&Batch::first(&batch).unwrap(), &DecoderPool::default()).err();
        assert_eq!(error, Some(WalkError::UnknownCompression { id: id as u8 }));
    }
}

#[test]
fn garbage_is_no_compressed_block() {
    for codec in &CODECS[1..] {
        for garbage in [&[][..], &[0; 40], &[0xff; 40]] {
            let plain = forge(Codec::None, 1, garbage);
            let batch = edit(&plain, |fields| {
                fields.attributes = fields.attributes.with_compression(codec.compression());
            });
            assert!(walk(&batch, UNLIMITED).is_err(), "{codec:?} {garbage:?}");
        }
    }
}

#[test]
fn the_checker_stops_exactly_behind_a_record() {
    let records = [
        record_bytes(0, None, None),
        record_bytes(1, Some(b"k"), Some(b"v")),
    ]
    .concat();
    let mut at = 0;
    check(&records, &mut at).unwrap();
    assert_eq!(at, record_bytes(0, None, None).len());
    check(&records, &mut at).unwrap();
    assert_eq!(at, records.len());
}
