//! The journal by itself, in a simulated world.

use std::path::Path;

use uuid::Uuid;

use super::files::{Slot, prepare_slot, slot_path};
use super::group::EntryKind;
use super::*;
use crate::io::sim::{Faults, World};
use crate::route::PartitionKey;

const FILE_BYTES: u64 = 96 << 10;

#[derive(Default)]
struct Events {
    synced: Cell<Ticket>,
}

impl GroupEvents for Events {
    fn written(&self, _through: Ticket) {}

    fn synced(&self, through: Ticket) {
        self.synced.set(through);
    }

    fn carried(&self, _through: Ticket) {}

    fn reclaim(&self, _through: Ticket) {}

    fn disk_full(&self, _full: bool) {}

    fn failed(&self, error: &io::Error) {
        panic!("{error}");
    }

    fn gave_up(&self) {
        panic!("there was room");
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
    }
}

/// A journal that goes on in files of these lengths.
async fn start(io: &Io, lens: &[u64], events: &Rc<Events>) -> Rc<Journal> {
    let dir = Path::new("/journal");
    io.create_dir_all(dir).await.expect("made");
    let mut files = Files::default();
    for (number, len) in (0..).zip(lens) {
        let blank = Slot { number, len: 0 };
        let path = slot_path(dir, 0, number);
        let prepared = prepare_slot(io, &path, blank, *len).await;
        prepared.expect("prepared");
        files.ready.push_back(Slot { number, len: *len });
        files.made += 1;
    }
    let config = JournalConfig {
        dir: dir.to_owned(),
        id: 0,
        file_bytes: FILE_BYTES,
        files_max: 8,
        memory_flush: Duration::from_millis(5),
    };
    let journal = Journal::new(io.clone(), config, files, 0);
    let preparing = journal.clone().prepare_files(events.clone());
    io.spawn("journal files", preparing);
    io.spawn("journal", journal.clone().run(events.clone()));
    journal
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
