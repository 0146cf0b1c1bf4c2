//! The journal by itself, in a simulated world.

use std::path::Path;

use uuid::Uuid;

use super::files::{Closed, Slot, make_slot, open_slot, prepare_slot, slot_path};
use super::group::{EntryKind, GroupHeader};
use super::recovery::{Rot, scan};
use super::*;
use crate::io::sim::{Crash, Faults, Operation, World};
use crate::io::{BLOCK, Landmark};
use crate::route::PartitionKey;

const DIR: &str = "/journal";
const FILE_BYTES: u64 = 96 << 10;

#[derive(Default)]
struct Events {
    synced: Cell<Ticket>,
    /// Up to where files should become free.
    asked: Cell<Option<Ticket>>,
    gave_up: Cell<bool>,
}

impl GroupEvents for Events {
    fn written(&self, _through: Ticket) {}

    fn synced(&self, through: Ticket) {
        self.synced.set(through);
    }

    fn carried(&self, _through: Ticket) {}

    fn reclaim(&self, through: Ticket) {
        self.asked.set(Some(through));
    }

    fn disk_full(&self, _full: bool) {}

    fn failed(&self, error: &io::Error) {
        panic!("{error}");
    }

    fn gave_up(&self) {
        self.gave_up.set(true);
    }
}

fn append_of(len: usize) -> Entry {
    Entry {
        head: EntryHead {
            kind: EntryKind::Append,
            key: PartitionKey {
                topic: Uuid::nil(),
                partition: 0,
            },
            revision: 1,
        },
        inline: Inline::default(),
        body: Body::One(Bytes::from(vec![1; len])),
        durability: Durability::Sync,
        queued: Instant::default(),
    }
}

/// Makes a file of zeros.
async fn prepare(io: &Io, number: u32, len: u64) -> Slot {
    let dir = Path::new(DIR);
    io.create_dir_all(dir).await.expect("made");
    let path = slot_path(dir, 0, number);
    make_slot(io, &path).await.expect("made");
    let prepared = prepare_slot(io, &path, Slot { number, len: 0 }, len).await;
    prepared.expect("prepared");
    Slot { number, len }
}

/// A journal that goes on in files of these lengths.
async fn start(io: &Io, lens: &[u64], events: &Rc<Events>) -> Rc<Journal> {
    let mut files = Files::default();
    for (number, len) in (0..).zip(lens) {
        files.ready.push_back(prepare(io, number, *len).await);
        files.made += 1;
    }
    start_in(io, files, events)
}

fn start_in(io: &Io, files: Files, events: &Rc<Events>) -> Rc<Journal> {
    let config = JournalConfig {
        dir: DIR.into(),
        id: 0,
        file_bytes: FILE_BYTES,
        files_max: 8,
        memory_flush: Duration::from_millis(5),
    };
    let journal = Journal::new(io.clone(), config, (files, 0), Arc::default());
    let preparing = journal.clone().prepare_files(events.clone());
    io.spawn("journal files", preparing);
    io.spawn("journal", journal.clone().run(events.clone()));
    journal
}

#[test]
fn a_file_keeps_its_length_though_a_first_sync_of_it_failed() {
    const SHORT: u64 = 16 << 10;
    for seed in 0..20 {
        let mut world = World::new(seed, Faults::none());
        let node = world.add_node();
        world.start(node, 1, |_, _| async {});
        world.block_on(node, |io| async move {
            prepare(&io, 0, SHORT).await;
            let named = io.sync_dir(Path::new("/")).await;
            named.expect("the folder lasts");
        });
        world.fail_next(node, Operation::Sync, ".journal");
        let path = slot_path(Path::new(DIR), 0, 0);
        let slot = Slot {
            number: 0,
            len: SHORT,
        };
        world.block_on(node, |io| async move {
            let path = slot_path(Path::new(DIR), 0, 0);
            let failed = prepare_slot(&io, &path, slot, FILE_BYTES).await;
            failed.expect_err("its sync fails");
            let again = prepare_slot(&io, &path, slot, FILE_BYTES).await;
            again.expect("prepared");
        });
        world.crash(node, Crash::PowerLoss);
        world.start(node, 1, |_, _| async {});
        let len = world.block_on(node, |io| async move { io.file_len(&path).await });
        let len = len.expect("it is there");
        assert_eq!(len, FILE_BYTES, "seed {seed}");
    }
}

#[test]
fn a_start_trusts_no_length_that_the_last_run_gave_a_file() {
    const SHORT: u64 = 16 << 10;
    const RECORD: usize = 40_000;
    for seed in 0..20 {
        let mut world = World::new(seed, Faults::none());
        let node = world.add_node();
        world.start(node, 1, |_, _| async {});
        world.block_on(node, |io| async move {
            prepare(&io, 0, SHORT).await;
            let named = io.sync_dir(Path::new("/")).await;
            named.expect("the folder lasts");
        });
        world.fail_next(node, Operation::Sync, ".journal");
        world.block_on(node, |io| async move {
            let slot = Slot {
                number: 0,
                len: SHORT,
            };
            let path = slot_path(Path::new(DIR), 0, 0);
            let failed = prepare_slot(&io, &path, slot, FILE_BYTES).await;
            failed.expect_err("its sync fails");
        });
        world.crash(node, Crash::Kill);
        world.start(node, 1, |_, _| async {});
        let events = Rc::new(Events::default());
        let its_events = events.clone();
        world.block_on(node, |io| async move {
            let scanned = scan(&io, Path::new(DIR), 0, |_| Ok(())).await;
            let files = scanned.expect("read").files;
            start_in(&io, files, &its_events).append(append_of(RECORD));
        });
        world.run_until(|| events.synced.get() == 1);
        world.crash(node, Crash::PowerLoss);
        world.start(node, 1, |_, _| async {});
        let found = world.block_on(node, |io| async move {
            let mut lens = Vec::new();
            let scanned = scan(&io, Path::new(DIR), 0, |found| {
                lens.push(found.body.len());
                Ok(())
            });
            scanned.await.expect("read");
            lens
        });
        assert_eq!(found, [RECORD], "seed {seed}");
    }
}

#[test]
fn what_is_too_long_for_the_next_file_goes_into_the_one_behind_it() {
    let mut world = World::new(1, Faults::none());
    let node = world.add_node();
    let events = Rc::new(Events::default());
    let its_events = events.clone();
    world.start(node, 1, |io, _| {
        let events = its_events.clone();
        async move {
            let journal = start(&io, &[16 << 10, FILE_BYTES], &events).await;
            journal.append(append_of(40_000));
        }
    });
    world.run_for(Duration::from_secs(5));
    assert_eq!(events.synced.get(), 1);
}

#[test]
fn what_many_short_files_have_no_room_for_has_others_become_free() {
    let mut world = World::new(1, Faults::none());
    let node = world.add_node();
    let events = Rc::new(Events::default());
    let its_events = events.clone();
    world.start(node, 1, |_, _| async {});
    let journal = world.block_on(node, |io| async move {
        let mut files = Files::default();
        files.ready.push_back(prepare(&io, 0, FILE_BYTES).await);
        for number in 1..4 {
            let short = prepare(&io, number, 16 << 10).await;
            files.unproven.push_back(short);
        }
        for number in 4..8 {
            files.closed.push_back(Closed {
                slot: prepare(&io, number, FILE_BYTES).await,
                seq: u64::from(number),
                carried_through: 7,
            });
        }
        (files.made, files.next_seq) = (8, 8);
        let journal = start_in(&io, files, &its_events);
        journal.append(append_of(60_000));
        journal
    });
    world.run_for(Duration::from_secs(1));
    assert_eq!((events.synced.get(), events.asked.get()), (0, Some(7)));
    journal.release(7);
    world.run_for(Duration::from_secs(1));
    assert_eq!(events.synced.get(), 1);
}

#[test]
fn what_is_too_long_for_any_file_makes_a_longer_one() {
    let mut world = World::new(1, Faults::none());
    let node = world.add_node();
    let events = Rc::new(Events::default());
    let its_events = events.clone();
    world.start(node, 1, |io, _| {
        let events = its_events.clone();
        async move {
            let journal = start(&io, &[16 << 10, FILE_BYTES], &events).await;
            journal.carry(append_of(3 * FILE_BYTES as usize));
            journal.append(append_of(100));
        }
    });
    world.run_for(Duration::from_secs(5));
    assert_eq!(events.synced.get(), 1);
    let scanned = world.block_on(node, |io| async move {
        let mut lens = Vec::new();
        let scanned = scan(&io, Path::new(DIR), 0, |found| {
            lens.push(found.body.len());
            Ok(())
        });
        assert!(scanned.await.expect("read").rot.is_empty());
        lens
    });
    assert_eq!(scanned, [3 * FILE_BYTES as usize, 100]);
}

/// Writes the first block of a group whose entries are not there, and does not sync it.
async fn write_torn(io: &Io, slot: Slot, header: GroupHeader) {
    let torn = GroupHeader {
        journal_id: 0,
        run_id: 1,
        previous: 0,
        payload_len: 100,
        payload_crc: 7,
        ..header
    };
    let mut block = io.buffer(BLOCK);
    torn.encode(&mut block);
    let file = open_slot(io, &slot_path(Path::new(DIR), 0, slot.number)).await;
    let (written, _) = file.expect("opened").plain.write_at(block, BLOCK, 0).await;
    written.expect("written");
}

const FIRST: GroupHeader = GroupHeader {
    journal_id: 0,
    file_seq: 0,
    run_id: 1,
    number: 1,
    synced_through: 0,
    previous: 0,
    oldest_needed: 0,
    payload_len: 0,
    payload_crc: 0,
};

#[test]
fn a_file_with_nothing_but_a_torn_group_is_not_needed() {
    let mut world = World::new(1, Faults::none());
    let node = world.add_node();
    world.start(node, 1, |_, _| async {});
    let (slot, scanned) = world.block_on(node, |io| async move {
        let slot = prepare(&io, 0, FILE_BYTES).await;
        write_torn(&io, slot, FIRST).await;
        (slot, scan(&io, Path::new(DIR), 0, |_| Ok(())).await)
    });
    let scanned = scanned.expect("read");
    assert_eq!((scanned.groups, scanned.rot), (0, Vec::new()));
    assert!(scanned.files.closed.is_empty());
    assert_eq!(scanned.files.released, [slot]);
}

/// Makes a file with the first blocks of a chain of groups that hold nothing; torn ones lack their entries, and of others
/// not even a header is there.
async fn write_groups(io: &Io, number: u32, groups: &[Option<GroupHeader>]) {
    prepare(io, number, FILE_BYTES).await;
    let file = open_slot(io, &slot_path(Path::new(DIR), 0, number)).await;
    let file = file.expect("opened").plain;
    let mut previous = 0;
    for (at, group) in groups.iter().enumerate() {
        let Some(header) = *group else { continue };
        let mut block = io.buffer(BLOCK);
        previous = GroupHeader { previous, ..header }.encode(&mut block);
        let position = (at * BLOCK) as u64;
        let (written, _) = file.write_at(block, BLOCK, position).await;
        written.expect("written");
    }
}

/// What a start makes of files with groups.
#[derive(Debug, PartialEq, Eq)]
struct Scan {
    /// How many of them it has read.
    groups: u64,
    rot: Vec<Rot>,
    /// The number of the group that it writes first.
    next_group: u64,
    /// Which files it needs.
    needed: Vec<u64>,
}

fn scan_groups(files: &'static [&[Option<GroupHeader>]]) -> Scan {
    let mut world = World::new(1, Faults::none());
    let node = world.add_node();
    world.start(node, 1, |_, _| async {});
    world.block_on(node, move |io| async move {
        for (number, groups) in (0..).zip(files) {
            write_groups(&io, number, groups).await;
        }
        let scanned = scan(&io, Path::new(DIR), 0, |_| Ok(())).await;
        let scanned = scanned.expect("read");
        let needed = scanned.files.closed.iter().map(|file| file.seq);
        Scan {
            needed: needed.collect(),
            groups: scanned.groups,
            rot: scanned.rot,
            next_group: scanned.files.next_group,
        }
    })
}

/// The second of the groups has rotted, and the next run cuts off what follows.
fn without_second() -> Scan {
    Scan {
        groups: 1,
        rot: vec![Rot {
            path: slot_path(Path::new(DIR), 0, 0),
            position: BLOCK as u64,
            groups: 2..3,
        }],
        next_group: 3,
        needed: vec![0],
    }
}

#[test]
fn no_more_has_rotted_than_a_later_group_vouches_for() {
    const FOURTH: GroupHeader = GroupHeader {
        number: 4,
        synced_through: 2,
        ..FIRST
    };
    let scanned = scan_groups(&[&[Some(FIRST), None, None, Some(FOURTH)]]);
    assert_eq!(scanned, without_second());
}

#[test]
fn the_header_of_a_torn_group_vouches_for_one_that_has_rotted() {
    const THIRD: GroupHeader = GroupHeader {
        number: 3,
        synced_through: 2,
        payload_len: 100,
        payload_crc: 7,
        ..FIRST
    };
    let scanned = scan_groups(&[&[Some(FIRST), None, Some(THIRD)]]);
    assert_eq!(scanned, without_second());
}

#[test]
fn what_a_start_has_cut_off_stays_so_if_it_can_be_read_again() {
    const SECOND: GroupHeader = GroupHeader { number: 2, ..FIRST };
    const OF_NEXT_RUN: GroupHeader = GroupHeader {
        file_seq: 1,
        run_id: 2,
        synced_through: 1,
        ..SECOND
    };
    let scanned = scan_groups(&[&[Some(FIRST), Some(SECOND)], &[Some(OF_NEXT_RUN)]]);
    let all = Scan {
        groups: 2,
        rot: Vec::new(),
        next_group: 3,
        needed: vec![0, 1],
    };
    assert_eq!(scanned, all);
}

#[test]
fn files_that_only_a_torn_group_calls_free_are_not_missed_when_that_is_lost() {
    const RECORD: usize = 40_000;
    for seed in 0..40 {
        let mut world = World::new(seed, Faults::none());
        let node = world.add_node();
        let events = Rc::new(Events::default());
        world.start(node, 1, |_, _| async {});
        let its_events = events.clone();
        world.block_on(node, |io| async move {
            let journal = start(&io, &[FILE_BYTES; 3], &its_events).await;
            let named = io.sync_dir(Path::new("/")).await;
            named.expect("the folder lasts");
            for _ in 0..4 {
                journal.append(append_of(RECORD));
            }
        });
        world.run_until(|| events.synced.get() == 4);
        world.crash(node, Crash::Kill);
        // The power fails in the middle of the first write to the file that was free.
        world.start(node, 1, |_, _| async {});
        let its_events = events.clone();
        world.block_on(node, |io| async move {
            let slot = Slot {
                number: 2,
                len: FILE_BYTES,
            };
            let first_of_third = GroupHeader {
                file_seq: 2,
                number: 2,
                synced_through: 1,
                oldest_needed: 1,
                ..FIRST
            };
            write_torn(&io, slot, first_of_third).await;
            let scanned = scan(&io, Path::new(DIR), 0, |_| Ok(())).await;
            let files = scanned.expect("read").files;
            start_in(&io, files, &its_events).append(append_of(RECORD));
        });
        world.run_until_reached(Landmark::GroupWritten, u64::MAX / 2);
        world.crash(node, Crash::PowerLoss);
        world.start(node, 1, |_, _| async {});
        let scanned = world.block_on(node, |io| async move {
            scan(&io, Path::new(DIR), 0, |_| Ok(())).await
        });
        assert_eq!(scanned.expect("read").rot, [], "seed {seed}");
    }
}

#[test]
fn a_checkpoint_that_is_waited_for_waits_for_no_others() {
    let mut world = World::new(1, Faults::none());
    let node = world.add_node();
    world.start(node, 1, |_, _| async {});
    world.block_on(node, |io| async move {
        let events = Rc::new(Events::default());
        let journal = start(&io, &[FILE_BYTES; 8], &events).await;
        for _ in 0..200 {
            journal.append(append_of(8_000));
        }
        let a_while = Duration::from_secs(1);
        io.sleep(a_while).await;
        assert!(journal.waiting_bytes() > 0, "only the reserve is left");
        journal.gather_carried(true);
        let ticket = journal.carry(append_of(20_000));
        io.sleep(a_while).await;
        assert!(journal.carried_synced() < ticket, "it waits for others");
        journal.hurry_carried(ticket);
        io.sleep(a_while).await;
        assert_eq!(journal.carried_synced(), ticket);
    });
}

#[test]
fn a_journal_ends_on_a_full_disk_though_somebody_waits_for_his_checkpoint() {
    let mut world = World::new(1, Faults::none());
    let node = world.add_node();
    let events = Rc::new(Events::default());
    let its_events = events.clone();
    world.start(node, 1, |_, _| async {});
    let journal = world.block_on(node, |io| async move {
        start(&io, &[16 << 10], &its_events).await
    });
    world.set_disk_capacity(node, 16 << 10);
    journal.gather_carried(true);
    let ticket = journal.carry(append_of(60_000));
    journal.close();
    world.run_for(Duration::from_secs(5));
    assert!(!journal.has_closed(), "what is gathered may make room");
    journal.hurry_carried(ticket);
    world.run_for(Duration::from_secs(5));
    assert!(journal.has_closed() && events.gave_up.get());
    assert_eq!(journal.carried_synced(), 0);
}
