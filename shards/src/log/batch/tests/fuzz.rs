//! Whatever comes in, nothing panics, loops or grows: mutated batches through everything that reads them.

use super::{CODECS, OwnedRecord, build, random_records, run};
use crate::log::batch::compress::{Decoder, DecoderPool};
use crate::log::batch::header::{HEADER_BYTES, crc_of};
use crate::log::batch::iter::{Batch, BatchIter, find_offset};
use crate::log::batch::lookup::RecordSearch;
use crate::log::batch::recompress::Recompressor;
use crate::log::batch::records::Records;
use crate::log::batch::{Budget, Codec, Compression, Progress, Rules, TimestampType, Validator};
use crate::log::test_random::Random;

const ROUNDS: u64 = 20_000;
const BYTES_MAX: usize = 1 << 20;

fn mutate(random: &mut Random, batch: &mut Vec<u8>) {
    for _ in 0..=random.below(4) {
        let at = random.below(batch.len() as u64) as usize;
        match random.below(6) {
            0 => batch[at] = random.next() as u8,
            1 => batch[at] ^= 1 << random.below(8),
            2 => batch[at] = [0, 1, 0x7f, 0x80, 0xff][random.below(5) as usize],
            3 => {
                // A stretch of it comes again, over other bytes.
                let from = random.below(batch.len() as u64) as usize;
                let length = (random.below(16) as usize).min(batch.len() - at.max(from));
                batch.copy_within(from..from + length, at);
            }
            4 => batch.insert(at, random.next() as u8),
            _ if random.one_in(4) && at > 0 => batch.truncate(at),
            _ => {}
        }
    }
}

/// Makes length, magic and CRC right again, so that what is inside is looked at.
fn repair(batch: &mut [u8]) {
    if batch.len() >= 61 {
        let length = (batch.len() - 12) as i32;
        batch[8..12].copy_from_slice(&length.to_be_bytes());
        batch[..8].fill(0);
        batch[16] = 2;
        let crc = crc_of(batch);
        batch[17..21].copy_from_slice(&crc.to_be_bytes());
    }
}

fn read_everything(bytes: &[u8], rules: Rules, pool: &DecoderPool) {
    // A decoded byte takes at least 0.05 ns of estimate: this bounds the work as well as the steps.
    let ends =
        |mut step: Box<dyn FnMut(Budget) -> Progress<()> + '_>| run(Budget::SLICE, &mut step).0;
    if let Ok(mut validator) = Validator::new(bytes, rules, 1_000, pool) {
        ends(Box::new(|budget| match validator.step(budget) {
            Progress::Pending => Progress::Pending,
            Progress::Done(result) => {
                if let Ok(found) = result {
                    assert!(found.size_bytes <= bytes.len());
                    let mut stamped = bytes[..found.size_bytes].to_vec();
                    found.stamp(9, 9).apply(&mut stamped);
                    Batch::first(&stamped).unwrap().check_crc().unwrap();
                }
                Progress::Done(())
            }
        }));
    }
    for batch in BatchIter::new(bytes).map_while(Result::ok) {
        if let Ok(mut search) = RecordSearch::newest(&batch) {
            ends(Box::new(|budget| match search.step(budget) {
                Progress::Pending => Progress::Pending,
                Progress::Done(_) => Progress::Done(()),
            }));
        }
        if let Ok(mut machine) = Recompressor::new(batch, Codec::LZ4, BYTES_MAX, pool) {
            ends(Box::new(|budget| match machine.step(budget) {
                Progress::Pending => Progress::Pending,
                Progress::Done(result) => {
                    assert!(result.is_err() || result.is_ok_and(|bytes| bytes.len() <= BYTES_MAX));
                    Progress::Done(())
                }
            }));
        }
        if let Ok(mut records) = Records::new(batch) {
            while let Ok(Some(record)) = records.next() {
                let _ = record.headers.count();
            }
        }
    }
    let _ = find_offset(bytes, i64::MAX);
}

fn read_well(batch: &[u8], records: &[OwnedRecord], pool: &DecoderPool) {
    let mut decoder = Decoder::new(Compression::Zstd, &batch[HEADER_BYTES..], pool).unwrap();
    let plain = build(records, Codec::None);
    let mut found = vec![0; plain.len()];
    let mut length = HEADER_BYTES;
    loop {
        match decoder.read(&mut found[length..]).unwrap() {
            0 => break,
            count => length += count,
        }
    }
    assert_eq!(found[HEADER_BYTES..], plain[HEADER_BYTES..]);
}

#[test]
fn mutated_batches_do_no_harm() {
    let pool = DecoderPool::default();
    for seed in 0..ROUNDS {
        let mut random = Random::new(seed);
        let count = 1 + random.below(12);
        let records = random_records(&mut random, count, 60);
        let codec = CODECS[random.below(5) as usize];
        let mut batch = build(&records, codec);
        mutate(&mut random, &mut batch);
        if !random.one_in(8) {
            repair(&mut batch);
        }
        let rules = Rules {
            batch_bytes_max: BYTES_MAX,
            timestamp_type: [TimestampType::CreateTime, TimestampType::LogAppendTime]
                [random.below(2) as usize],
            timestamp_before_max_ms: random.between(0, i64::MAX - 1),
            timestamp_after_max_ms: random.between(0, i64::MAX - 1),
            compacted: random.one_in(2),
        };
        read_everything(&batch, rules, &pool);
        // Contexts that saw the worst are as good as new.
        if seed % 16 == 0 {
            let good = build(&records, Codec::ZSTD);
            read_well(&good, &records, &pool);
        }
    }
}

#[test]
fn noise_does_no_harm() {
    let rules = Rules {
        batch_bytes_max: BYTES_MAX,
        timestamp_type: TimestampType::CreateTime,
        timestamp_before_max_ms: i64::MAX,
        timestamp_after_max_ms: i64::MAX,
        compacted: true,
    };
    let pool = DecoderPool::default();
    for seed in 0..ROUNDS {
        let mut random = Random::new(seed);
        let length = random.below(200);
        let mut bytes: Vec<u8> = (0..length).map(|_| random.next() as u8).collect();
        repair(&mut bytes);
        read_everything(&bytes, rules, &pool);
    }
}
