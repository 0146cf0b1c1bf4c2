use super::super::test_random::Random;
use super::*;

const INTERVAL: u32 = 4_096;

fn batch(last_offset: i64, position: u32, max_timestamp_ms: i64) -> IndexedBatch {
    IndexedBatch {
        last_offset,
        position,
        max_timestamp_ms,
    }
}

#[test]
fn entries_come_at_the_interval_in_kafkas_bytes() {
    let mut index = SegmentIndex::new(100);
    index.append(batch(104, 0, 1_000), INTERVAL);
    index.append(batch(109, 4_096, 3_000), INTERVAL);
    assert!(
        index.offset_index_bytes().is_empty(),
        "exactly the interval is not past it"
    );
    index.append(batch(114, 4_097, 2_000), INTERVAL);
    index.append(batch(119, 8_193, 2_500), INTERVAL);
    index.append(batch(124, 8_194, 4_000), INTERVAL);
    assert_eq!(
        index.offset_index_bytes(),
        [0, 0, 0, 14, 0, 0, 0x10, 1, 0, 0, 0, 24, 0, 0, 0x20, 2]
    );
    let mut times = Vec::new();
    times.extend(3_000_i64.to_be_bytes());
    times.extend(9_i32.to_be_bytes());
    times.extend(4_000_i64.to_be_bytes());
    times.extend(24_i32.to_be_bytes());
    assert_eq!(index.time_index_bytes(), times);
    index.seal();
    assert_eq!(index.time_index_bytes(), times, "nothing new to say");
}

#[test]
fn sealing_writes_the_largest_timestamp() {
    let mut index = SegmentIndex::new(0);
    index.append(batch(0, 0, 50), INTERVAL);
    index.append(batch(1, 100, 70), INTERVAL);
    index.append(batch(2, 200, 60), INTERVAL);
    assert!(index.time_index_bytes().is_empty());
    index.seal();
    index.seal();
    assert_eq!(
        index.time_index_bytes(),
        [0, 0, 0, 0, 0, 0, 0, 70, 0, 0, 0, 1]
    );
    let expected = TimestampOffset {
        timestamp_ms: 70,
        offset: 1,
    };
    assert_eq!(index.max_timestamp(), Some(expected));
    let loaded = SegmentIndex::load(0, 300, Vec::new(), index.time_index_bytes().to_vec()).unwrap();
    assert_eq!(loaded, index);
}

#[test]
fn nothing_is_allocated_for_a_small_segment() {
    let mut index = SegmentIndex::new(7);
    for step in 0..40 {
        index.append(
            batch(7 + i64::from(step), step * 100, i64::from(step)),
            INTERVAL,
        );
    }
    assert_eq!((index.offsets.capacity(), index.times.capacity()), (0, 0));
}

#[test]
fn batches_without_timestamps_leave_no_time_entries() {
    let mut index = SegmentIndex::new(0);
    for step in 0..10 {
        index.append(batch(i64::from(step), step * 5_000, NO_TIMESTAMP), INTERVAL);
    }
    index.seal();
    assert!(index.time_index_bytes().is_empty());
    assert_eq!(index.max_timestamp(), None);
    assert_eq!(index.entry_for_timestamp(0), None);
}

#[test]
fn a_segment_reaches_no_further_than_a_relative_offset() {
    let index = SegmentIndex::new(10);
    assert!(index.can_hold(10 + i64::from(i32::MAX)));
    assert!(!index.can_hold(11 + i64::from(i32::MAX)));
    assert!(!index.can_hold(9));
    assert!(!SegmentIndex::new(i64::MAX).can_hold(i64::MIN));
}

#[test]
fn an_index_is_full_when_an_entry_might_not_fit() {
    let mut index = SegmentIndex::new(0);
    assert!(
        index.is_full(8),
        "no room for a time entry besides the last"
    );
    assert!(!index.is_full(24));
    index.append(batch(0, 0, 1), INTERVAL);
    index.append(batch(1, 5_000, 2), INTERVAL);
    assert!(index.is_full(24));
    assert!(!index.is_full(36));
}

#[test]
fn damaged_files_are_refused() {
    let offsets = |entries: &[(i32, i32)]| -> Vec<u8> {
        entries
            .iter()
            .flat_map(|(relative, position)| [relative.to_be_bytes(), position.to_be_bytes()])
            .flatten()
            .collect()
    };
    let times = |entries: &[(i64, i32)]| -> Vec<u8> {
        let mut bytes = Vec::new();
        for (timestamp_ms, relative) in entries {
            bytes.extend(timestamp_ms.to_be_bytes());
            bytes.extend(relative.to_be_bytes());
        }
        bytes
    };
    let load = |offsets, times| SegmentIndex::load(5, 1_000, offsets, times).map(|_| ());
    assert_eq!(
        load(offsets(&[(0, 0), (9, 999)]), times(&[(0, 0), (1, 0)])),
        Ok(())
    );
    assert_eq!(load(vec![0; 7], Vec::new()), Err(IndexError::PartialEntry));
    assert_eq!(load(Vec::new(), vec![0; 11]), Err(IndexError::PartialEntry));
    for bad in [
        [(1, 5), (1, 6)],
        [(1, 5), (2, 5)],
        [(1, 5), (2, 1_000)],
        [(1, 5), (2, -1)],
        [(1, 5), (0, 0)],
    ] {
        let refused = load(offsets(&bad), Vec::new());
        assert_eq!(refused, Err(IndexError::Disordered { entry: 1 }), "{bad:?}");
    }
    for bad in [[(1, 5), (1, 6)], [(1, 5), (2, 4)], [(1, 5), (0, 0)]] {
        let refused = load(Vec::new(), times(&bad));
        assert_eq!(refused, Err(IndexError::Disordered { entry: 1 }), "{bad:?}");
    }
    let negative = Err(IndexError::Disordered { entry: 0 });
    assert_eq!(load(offsets(&[(-1, 0)]), Vec::new()), negative);
    assert_eq!(load(Vec::new(), times(&[(-1, 0)])), negative);
    assert_eq!(load(Vec::new(), times(&[(1, -1)])), negative);
}

/// Against a plain list of all batches: a search must start at or before the right batch, and no
/// further before it than the interval allows.
#[test]
fn searches_agree_with_a_list_of_all_batches() {
    for seed in 0..60 {
        let mut random = Random::new(seed);
        let interval = u32::try_from(random.between(0, 3_000)).unwrap();
        let base = random.between(0, 1 << 40);
        let mut index = SegmentIndex::new(base);
        let mut batches: Vec<IndexedBatch> = Vec::new();
        let (mut next, mut position) = (base, 0_u32);
        for _ in 0..random.between(0, 300) {
            next += random.between(1, 20);
            let added = batch(next - 1, position, random.between(-1, 5_000));
            index.append(added, interval);
            batches.push(added);
            position += u32::try_from(random.between(61, 900)).unwrap();
        }
        let mut largest = None;
        for noted in &batches {
            let better = largest
                .is_none_or(|max: IndexedBatch| noted.max_timestamp_ms > max.max_timestamp_ms);
            if noted.max_timestamp_ms > NO_TIMESTAMP && better {
                largest = Some(*noted);
            }
        }
        let largest = largest.map(|max| TimestampOffset {
            timestamp_ms: max.max_timestamp_ms,
            offset: max.last_offset,
        });
        assert_eq!(index.max_timestamp(), largest, "seed {seed}");

        for offset in base..next + 2 {
            let found = index.position_for_offset(offset);
            let wanted = batches.iter().find(|batch| batch.last_offset >= offset);
            let wanted = wanted.map_or(position, |batch| batch.position);
            assert!(
                found <= wanted,
                "seed {seed}: {offset} at {wanted}, looked from {found}"
            );
            assert!(
                found == 0 || batches.iter().any(|batch| batch.position == found),
                "seed {seed}: {found} is no start of a batch"
            );
            assert!(
                wanted - found <= interval + 1_800,
                "seed {seed}: {offset} at {wanted}, looked from {found}"
            );
        }
        check_times_found(&index, &batches, seed);
        let (offsets, times) = index.thinned(2_500);
        let thin = SegmentIndex::load(base, position, offsets, times).unwrap();
        assert_eq!(thin.max_timestamp(), index.max_timestamp(), "seed {seed}");
        check_times_found(&thin, &batches, seed);
        for offset in base..next + 2 {
            let exact = index.position_for_offset(offset);
            let found = thin.position_for_offset(offset);
            assert!(found <= exact && exact - found <= 2_500 + interval + 1_800);
        }

        index.seal();
        let loaded = SegmentIndex::load(
            base,
            position,
            index.offset_index_bytes().to_vec(),
            index.time_index_bytes().to_vec(),
        );
        assert_eq!(loaded, Ok(index), "seed {seed}");
    }
}

/// No batch with such a timestamp lies before the offset where the search starts.
fn check_times_found(index: &SegmentIndex, batches: &[IndexedBatch], seed: u64) {
    for timestamp_ms in (-1..5_001).step_by(50) {
        let entry = index.entry_for_timestamp(timestamp_ms);
        let from_offset = entry.map_or(index.base_offset, |entry| entry.offset);
        let wanted = batches
            .iter()
            .find(|batch| batch.max_timestamp_ms >= timestamp_ms);
        if let Some(wanted) = wanted {
            assert!(
                from_offset <= wanted.last_offset,
                "seed {seed}: time {timestamp_ms} at {wanted:?}, looked from {from_offset}"
            );
        }
    }
}

#[test]
fn building_again_gives_the_same_entries() {
    let mut random = Random::new(7);
    let mut first = SegmentIndex::new(0);
    let mut second = SegmentIndex::new(0);
    let mut position = 0;
    for offset in 0..1_000 {
        let added = batch(offset, position, random.between(0, 9_999));
        first.append(added, 2_000);
        second.append(added, 2_000);
        position += u32::try_from(random.between(61, 900)).unwrap();
    }
    assert_eq!(first, second);
}

#[test]
fn what_leads_astray_is_forgotten() {
    let mut index = SegmentIndex::new(100);
    for at in 0..4 {
        index.append(batch(109 + at * 10, at as u32 * 1_000, -1), 100);
    }
    assert_eq!(index.entry_for_offset(125), Some((119, 1_000)));
    assert_eq!(index.entry_for_offset(130), Some((129, 2_000)));
    index.forget(2_000);
    assert_eq!(index.entry_for_offset(130), Some((119, 1_000)));
    index.forget(1_500);
    index.forget(1_000);
    assert_eq!(index.entry_for_offset(130), None);
    assert_eq!(index.entry_for_offset(139), Some((139, 3_000)));
}
