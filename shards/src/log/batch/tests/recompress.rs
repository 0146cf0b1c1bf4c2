use super::{CODECS, UNLIMITED, build, random_records, run, with_append_time};
use crate::log::batch::compress::DecoderPool;
use crate::log::batch::iter::Batch;
use crate::log::batch::recompress::{RecompressError, Recompressor};
use crate::log::batch::{BatchBuilder, Budget, Codec, TimestampType};
use crate::log::test_random::Random;

fn recompress(
    batch: &[u8],
    codec: Codec,
    bytes_max: usize,
    budget: Budget,
) -> (Result<Vec<u8>, RecompressError>, usize) {
    let mut machine = Recompressor::new(
        Batch::first(batch).unwrap(),
        codec,
        bytes_max,
        &DecoderPool::default(),
    )
    .unwrap();
    run(budget, |budget| machine.step(budget))
}

#[test]
fn any_codec_becomes_any_other() {
    let mut random = Random::new(3);
    let records = random_records(&mut random, 500, 1_000);
    let plain = build(&records, Codec::None);
    for from in CODECS {
        let source = build(&records, from);
        for to in CODECS {
            let (result, steps) = recompress(&source, to, 1 << 20, Budget::SLICE);
            let result = result.unwrap();
            let batch = Batch::first(&result).unwrap();
            assert_eq!(batch.bytes().len(), result.len());
            batch.check_crc().unwrap();
            assert_eq!(batch.compression(), Some(to.compression()));
            assert!(steps > 1 || to == Codec::None, "{from:?} to {to:?}");
            let (back, _) = recompress(&result, Codec::None, 1 << 20, UNLIMITED);
            assert_eq!(back.as_ref(), Ok(&plain), "{from:?} to {to:?}");
        }
    }
}

#[test]
fn the_header_stays() {
    let mut builder = BatchBuilder::uncompressed()
        .at(5, 6)
        .producer(7, 8, 9)
        .transactional();
    builder.append(10, None, None).unwrap();
    let source = with_append_time(&builder.finish().unwrap(), 11);
    let (result, _) = recompress(&source, Codec::ZSTD, 1_000, Budget::SLICE);
    let (before, result) = (Batch::first(&source).unwrap().fields(), result.unwrap());
    let mut after = Batch::first(&result).unwrap().fields();
    assert_eq!(
        after.attributes.timestamp_type(),
        TimestampType::LogAppendTime
    );
    after.attributes = before.attributes;
    assert_eq!(after, before);
}

#[test]
fn what_outgrows_the_limit_is_given_up_early() {
    let mut builder = BatchBuilder::new(Codec::ZSTD).unwrap();
    for _ in 0..100 {
        builder.append(0, None, Some(&[0; 100_000])).unwrap();
    }
    let bomb = builder.finish().unwrap();
    assert!(bomb.len() < 10_000);
    let machine = |bytes_max| recompress(&bomb, Codec::None, bytes_max, Budget::of_us(20));
    let (result, steps) = machine(100_000);
    assert_eq!(
        result,
        Err(RecompressError::TooLarge { bytes_max: 100_000 })
    );
    assert!(steps < 20);
    assert!(machine(11_000_000).0.is_ok());

    // The limit is on the whole batch, to the byte.
    let records = random_records(&mut Random::new(1), 10, 100);
    let plain = build(&records, Codec::None);
    let packed = build(&records, Codec::GZIP);
    assert!(
        recompress(&packed, Codec::None, plain.len(), Budget::SLICE)
            .0
            .is_ok()
    );
    assert!(
        recompress(&packed, Codec::None, plain.len() - 1, Budget::SLICE)
            .0
            .is_err()
    );
}

#[test]
fn garbage_does_not_recompress() {
    let good = build(&random_records(&mut Random::new(1), 10, 100), Codec::GZIP);
    let mut bad = good.clone();
    bad[80] ^= 0xff;
    assert!(matches!(
        recompress(&bad, Codec::ZSTD, 1 << 20, Budget::SLICE).0,
        Err(RecompressError::Codec(_))
    ));
}
