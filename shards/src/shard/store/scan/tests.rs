use uuid::Uuid;

use super::*;
use crate::log::batch::BatchBuilder;
use crate::route::PartitionKey;

const BASE: i64 = 1 << 20;
/// Of the same length, so that a rotten length may lead to another batch; a power of two for the same
/// reason.
const BATCH_BYTES: usize = 128;
/// The leader epoch, which is neither checked here nor covered by the CRC.
const EPOCH: Range<usize> = 12..16;

/// A batch of two records.
fn batch(base_offset: i64) -> Vec<u8> {
    let mut builder = BatchBuilder::uncompressed().at(base_offset, 5);
    for value in [[base_offset as u8; 26].as_slice(), &[7; 27]] {
        builder.append(1_000, None, Some(value)).expect("appended");
    }
    let batch = builder.finish().expect("built");
    assert_eq!(batch.len(), BATCH_BYTES);
    batch
}

/// A segment of batches from [`BASE`] on with so many offsets between them, and where it ends.
fn segment(gaps: &[i64]) -> (Vec<u8>, i64) {
    let mut end = BASE;
    let mut file = Vec::new();
    for gap in gaps {
        file.extend(batch(end + gap));
        end += gap + 2;
    }
    (file, end)
}

/// What one read from an offset gives, as the store reads; nothing if the segment ends before.
fn read(
    file: &[u8],
    start: (usize, Expected),
    offset: i64,
    end: i64,
    bytes_max: usize,
) -> Result<(usize, Range<usize>), Rotten> {
    let spec = ReadSpec {
        key: PartitionKey {
            topic: Uuid::nil(),
            partition: 0,
        },
        offset,
        bytes_max,
        at_least_one: true,
        current_leader_epoch: None,
        last_fetched_epoch: None,
        committed: false,
    };
    let (mut position, mut expected) = start;
    let mut window = 100;
    while position < file.len() {
        let until = (position + window).min(file.len());
        let piece = Piece {
            bytes: &file[position..until],
            left: (file.len() - position) as u64,
            next_segment: Some(end),
        };
        let scanned = piece.scan(expected, &(offset..end), &spec);
        let in_file = |rot: Rotten| Rotten {
            at: position + rot.at,
            claims: rot.claims.map(|(end, next)| (position + end, next)),
            ..rot
        };
        match scanned.map_err(in_file)? {
            Scan::Data { from, to, .. } => return Ok((position, from..to)),
            Scan::Nothing => return Err(Rotten::missing(position, expected)),
            Scan::Skipped {
                bytes,
                needs,
                expected: then,
            } => {
                assert!(bytes > 0 || needs > until - position, "no progress");
                position += bytes;
                expected = then;
                window = window.max(needs);
            }
            Scan::Astray => {
                assert!(matches!(expected, Expected::Last(_)), "for ever astray");
                (position, expected) = (0, Expected::Base(BASE));
            }
        }
    }
    Ok((position, 0..0))
}

/// Reads on to the end of the segment: the batches until the first error.
fn read_on(
    file: &[u8],
    mut start: (usize, Expected),
    offset: i64,
    end: i64,
    bytes_max: usize,
) -> (Vec<Vec<u8>>, Option<Rotten>) {
    let mut next_offset = offset;
    let mut batches = Vec::new();
    while next_offset < end {
        let (position, range) = match read(file, start, next_offset, end, bytes_max) {
            Ok(found) => found,
            Err(error) => return (batches, Some(error)),
        };
        if range.is_empty() {
            break;
        }
        let data = &file[position + range.start..position + range.end];
        for batch in crate::log::batch::BatchIter::verifying(data) {
            let batch = batch.expect("whole batches");
            next_offset = batch.next_offset();
            batches.push(batch.bytes().to_vec());
        }
        start = (position + range.end, Expected::Base(next_offset));
    }
    (batches, None)
}

/// The batches that a reader from `offset` on has to get.
fn wanted_of(file: &[u8], offset: i64) -> Vec<Vec<u8>> {
    let batches = file.chunks(BATCH_BYTES);
    let is_wanted = |batch: &&[u8]| base_offset_of(batch) + 2 > offset;
    batches.filter(is_wanted).map(<[u8]>::to_vec).collect()
}

/// Where a reader may begin for an offset: at the segment's beginning and at any batch that an index may
/// speak of.
fn starts_for(file: &[u8], offset: i64) -> Vec<(usize, Expected)> {
    let mut starts = vec![(0, Expected::Base(BASE))];
    for (number, batch) in file.chunks(BATCH_BYTES).enumerate() {
        let last = base_offset_of(batch) + 1;
        if last <= offset {
            starts.push((number * BATCH_BYTES, Expected::Last(last)));
        }
    }
    starts
}

#[test]
fn no_flipped_bit_hides_or_moves_a_record() {
    let (sound, end) = segment(&[0; 6]);
    let (mut noticed, mut told_ends) = (0, 0);
    for at in (0..sound.len()).filter(|at| !EPOCH.contains(&(at % BATCH_BYTES))) {
        for bit in 0..8 {
            let mut file = sound.clone();
            file[at] ^= 1 << bit;
            for offset in BASE..end {
                for start in starts_for(&sound, offset) {
                    let wanted = wanted_of(&sound, offset);
                    let (batches, error) = read_on(&file, start, offset, end, 300);
                    let context = format!("{at} {bit}, {start:?} for {offset}: {error:?}");
                    assert!(wanted.starts_with(&batches), "{context}");
                    let is_all = batches.len() == wanted.len();
                    assert!(is_all || error.is_some(), "{context}");
                    noticed += u64::from(error.is_some());
                    // It is the flipped batch that is named, whoever meets it.
                    let rotten = at / BATCH_BYTES;
                    let place = (rotten * BATCH_BYTES, BASE + 2 * rotten as i64);
                    let Some(error) = error else { continue };
                    assert_eq!((error.at, error.offset), place, "{context}");
                    // What it says of its end is looked at there.
                    let next = (place.0 + BATCH_BYTES, place.1 + 2);
                    told_ends += u64::from(error.claims == Some(next));
                }
            }
        }
    }
    assert!(noticed > 10_000, "{noticed}");
    assert!(told_ends > noticed / 2, "{told_ends} of {noticed}");
}

#[test]
fn a_rotten_entry_of_an_index_does_no_harm() {
    for gaps in [[0; 5], [0, 3, 0, 0, 4]] {
        let (file, end) = segment(&gaps);
        for offset in BASE..end {
            let wanted = wanted_of(&file, offset);
            for last in BASE..=offset {
                for position in 0..file.len() {
                    let start = (position, Expected::Last(last));
                    let read = read_on(&file, start, offset, end, usize::MAX);
                    assert_eq!(read, (wanted.clone(), None), "{start:?} for {offset}");
                }
            }
        }
    }
}

#[test]
fn gaps_of_compaction_are_passed_over() {
    let (file, end) = segment(&[2, 0, 1, 100, 0]);
    for offset in BASE..end {
        for start in starts_for(&file, offset) {
            let read = read_on(&file, start, offset, end, 1);
            assert_eq!(read, (wanted_of(&file, offset), None), "{start:?}");
        }
    }
    // At its end too.
    let (start, behind) = ((0, Expected::Base(BASE)), end + 5);
    let empty = (file.len(), 0..0);
    assert_eq!(read(&file, start, end, behind, 1), Ok(empty));
}

#[test]
fn an_entry_may_speak_of_several_batches() {
    let (file, end) = segment(&[0; 4]);
    let start = (BATCH_BYTES, Expected::Last(end - 1));
    let found = read(&file, start, end - 1, end, 1).expect("found");
    assert_eq!(found, (2 * BATCH_BYTES, BATCH_BYTES..2 * BATCH_BYTES));
}
