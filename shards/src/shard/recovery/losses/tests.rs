use std::rc::Rc;

use uuid::Uuid;

use super::*;
use crate::journal::group::EntryHead;
use crate::log::Log;
use crate::log::batch::BatchBuilder;
use crate::log::config::LogConfig;
use crate::log::snapshot::{self, Facts, UnfinishedMove};
use crate::route::PartitionKey;
use crate::shard::recovery::Place;

const PLACE: Place = Place {
    folder: Uuid::nil(),
    volume: 0,
    journal: None,
};

fn key(partition: i32) -> PartitionKey {
    PartitionKey {
        topic: Uuid::from_u128(1),
        partition,
    }
}

/// A journal's entries, as its reader hands them over.
#[derive(Default)]
struct Journal {
    replayed: Replayed,
    rotten_places: usize,
}

impl Journal {
    fn entry(&mut self, kind: EntryKind, partition: i32, body: &[u8]) {
        let head = EntryHead {
            kind,
            key: key(partition),
            revision: 0,
        };
        let found = Found {
            head,
            body,
            carried: 1,
            rotten_places: self.rotten_places,
            read_bytes: 0,
            needed_bytes: 0,
        };
        let applied = self.replayed.apply(PLACE, &found, 0);
        applied.expect("it fits");
    }

    /// A partition that is empty.
    fn checkpoint(&mut self, partition: i32) {
        let facts = Facts {
            dir: &format!("t-{partition}"),
            folder: Uuid::nil(),
            unfinished_move: &UnfinishedMove::default(),
            leader_epoch: 0,
        };
        let body = snapshot::encode(&facts, &Log::new(Rc::new(LogConfig::default())));
        self.entry(EntryKind::Checkpoint, partition, &body.concat());
    }

    /// A record at this offset, in a log where all records have the same length.
    fn record(&mut self, partition: i32, offset: i64) {
        let mut builder = BatchBuilder::uncompressed().at(offset, 0);
        builder.append(0, None, Some(b"a")).expect("appended");
        let batch = builder.finish().expect("built");
        let position = offset as u64 * batch.len() as u64;
        let place = [0u64.to_be_bytes(), position.to_be_bytes()].concat();
        self.entry(EntryKind::Append, partition, &[place, batch].concat());
    }

    fn rot(&mut self) {
        self.rotten_places += 1;
    }

    fn lost(mut self, missing: &[PathBuf]) -> Vec<Lost> {
        let rot = Rot {
            path: PathBuf::from("a"),
            position: 0,
            groups: 1..2,
        };
        let rot = vec![rot; self.rotten_places];
        self.replayed.note_damage(&rot, missing);
        self.replayed.lost()
    }
}

fn lost(partition: &str, from: i64, through: Option<i64>) -> Lost {
    Lost {
        partition: partition.to_owned(),
        from,
        through,
    }
}

#[test]
fn a_whole_journal_has_cost_nothing() {
    let mut journal = Journal::default();
    journal.checkpoint(1);
    journal.record(1, 0);
    assert_eq!(journal.lost(&[]), []);
}

#[test]
fn what_comes_behind_rot_tells_what_it_has_cost() {
    let mut journal = Journal::default();
    for partition in 1..=6 {
        journal.checkpoint(partition);
        journal.record(partition, 0);
    }
    journal.rot();
    // It goes on.
    journal.record(1, 1);
    // One record is missing, and two go with it.
    journal.record(2, 2);
    journal.record(2, 3);
    // One is missing, and then a checkpoint knows all.
    journal.record(3, 2);
    journal.checkpoint(3);
    // It is deleted.
    journal.entry(EntryKind::Drop, 4, b"t-4");
    // It says nothing of its records.
    journal.entry(EntryKind::LeaderEpoch, 5, &1u64.to_be_bytes());
    // Nothing comes of 6, and of 7 nothing has come before.
    journal.record(7, 5);
    let stranger = format!("{}-7", key(7).topic);
    let wanted = [
        lost("t-2", 1, Some(3)),
        lost(&stranger, 0, None),
        lost("t-5", 1, None),
        lost("t-6", 1, None),
    ];
    assert_eq!(journal.lost(&[]), wanted);
}

#[test]
fn each_rotten_place_may_have_cost_something() {
    let mut journal = Journal::default();
    journal.checkpoint(1);
    journal.checkpoint(2);
    journal.rot();
    journal.record(1, 0);
    journal.record(2, 0);
    journal.rot();
    journal.record(2, 1);
    assert_eq!(journal.lost(&[]), [lost("t-1", 1, None)]);
}

#[test]
fn a_missing_file_may_have_cost_any_partition_its_newest_records() {
    let mut journal = Journal::default();
    journal.checkpoint(1);
    journal.record(1, 0);
    let missing = [PathBuf::from("a")];
    assert_eq!(journal.lost(&missing), [lost("t-1", 1, None)]);
}

#[test]
fn a_partition_that_another_journal_knows_has_lost_nothing() {
    let mut rotten = Journal::default();
    rotten.rot();
    rotten.record(1, 5);
    rotten.replayed.note_damage(&[], &[]);
    let mut other = Journal::default();
    other.checkpoint(1);
    rotten.replayed.merge(other.replayed);
    assert_eq!(rotten.replayed.lost(), []);
}
