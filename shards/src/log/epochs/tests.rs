use super::*;

fn epochs(entries: &[(i32, i64)]) -> LeaderEpochs {
    let mut epochs = LeaderEpochs::new();
    for (epoch, start_offset) in entries {
        epochs.assign(*epoch, *start_offset);
    }
    epochs
}

fn pairs(epochs: &LeaderEpochs) -> Vec<(i32, i64)> {
    epochs
        .entries()
        .iter()
        .map(|entry| (entry.epoch, entry.start_offset))
        .collect()
}

fn end(epochs: &LeaderEpochs, epoch: i32, log_end_offset: i64) -> Option<(i32, i64)> {
    epochs
        .end_offset_for(epoch, log_end_offset)
        .map(|end| (end.epoch, end.end_offset))
}

#[test]
fn the_latest_epoch_ends_at_the_end_of_the_log() {
    let epochs = epochs(&[(2, 0), (3, 100), (7, 150)]);
    assert_eq!(end(&epochs, 7, 180), Some((7, 180)));
    assert_eq!(end(&epochs, 2, 180), Some((2, 100)));
    assert_eq!(end(&epochs, 3, 180), Some((3, 150)));
}

#[test]
fn unknown_epochs_get_the_nearest_known_answer() {
    let known = epochs(&[(2, 10), (3, 100), (7, 150)]);
    assert_eq!(end(&known, 5, 180), Some((3, 150)), "between two epochs");
    assert_eq!(end(&known, 1, 180), Some((1, 10)), "below the first");
    assert_eq!(end(&known, 8, 180), None, "above the last");
    assert_eq!(end(&known, -1, 180), None, "undefined");
    assert_eq!(
        end(&known, -2, 180),
        Some((-2, 10)),
        "below all that can be"
    );
    assert_eq!(end(&LeaderEpochs::new(), 0, 180), None, "none known");
}

#[test]
fn an_epoch_is_assigned_once() {
    let mut epochs = epochs(&[(2, 6)]);
    assert!(!epochs.assign(2, 7));
    assert_eq!(pairs(&epochs), [(2, 6)]);
    assert!(epochs.assign(2, 5), "an earlier start wins");
    assert_eq!(pairs(&epochs), [(2, 5)]);
}

#[test]
fn contradictions_remove_older_entries() {
    let mut known = epochs(&[(0, 0), (1, 10), (2, 20)]);
    known.assign(3, 10);
    assert_eq!(pairs(&known), [(0, 0), (3, 10)]);
    let mut known = epochs(&[(0, 0), (4, 10), (5, 20)]);
    known.assign(3, 30);
    assert_eq!(
        pairs(&known),
        [(0, 0), (3, 30)],
        "an older epoch at a later offset"
    );
}

#[test]
fn truncation_from_the_start() {
    let original = epochs(&[(2, 6), (3, 8), (4, 11)]);
    let truncated = |start_offset| {
        let mut known = original.clone();
        let changed = known.truncate_from_start(start_offset);
        assert_eq!(changed, known != original);
        pairs(&known)
    };
    assert_eq!(truncated(5), [(2, 6), (3, 8), (4, 11)]);
    assert_eq!(truncated(6), [(2, 6), (3, 8), (4, 11)]);
    assert_eq!(truncated(7), [(2, 7), (3, 8), (4, 11)]);
    assert_eq!(truncated(8), [(3, 8), (4, 11)]);
    assert_eq!(truncated(9), [(3, 9), (4, 11)]);
    assert_eq!(truncated(15), [(4, 15)]);
}

#[test]
fn offsets_know_their_epoch() {
    let known = epochs(&[(2, 6), (3, 8)]);
    let found: Vec<_> = (5..10)
        .map(|offset| known.epoch_for_offset(offset))
        .collect();
    assert_eq!(found, [None, Some(2), Some(2), Some(3), Some(3)]);
}

#[test]
fn binary_comes_back_and_bad_bytes_do_not_hurt() {
    let known = epochs(&[(0, 0), (3, 8), (9, 1 << 40)]);
    let mut bytes = Vec::new();
    known.encode(&mut bytes);
    let whole = bytes.len();
    bytes.push(77);
    let mut rest = bytes.as_slice();
    assert_eq!(LeaderEpochs::decode(&mut rest), Ok(known));
    assert_eq!(rest, [77], "reads no further than its own bytes");
    for cut in 0..whole {
        let read = LeaderEpochs::decode(&mut &bytes[..cut]);
        assert_eq!(read, Err(EpochsError::Truncated));
    }
    for index in 0..whole {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[index] ^= 1 << bit;
            if let Ok(read) = LeaderEpochs::decode(&mut flipped.as_slice()) {
                assert!(read.entries().is_sorted_by_key(|entry| entry.start_offset));
            }
        }
    }
    let mut huge = vec![BINARY_VERSION];
    huge.put_u32(u32::MAX);
    assert_eq!(
        LeaderEpochs::decode(&mut huge.as_slice()),
        Err(EpochsError::Truncated)
    );
}
