//! The metadata log behind a journal that has lost where it begins: the group rots in which its start has moved, after
//! the segments before it are gone. The broker that is told to go on without knows all its topics, since a snapshot
//! has what was in those; without that snapshot it says so and does not start, and whoever restores it loses nothing.

use std::path::{Path, PathBuf};
use std::time::Duration;

use corelog_shards::io::Io;
use corelog_shards::io::sim::{Crash, Faults, World};
use corelog_shards::journal::files::parse_slot_name;
use corelog_shards::journal::group::HEADER_LEN;
use corelog_shards::route::METADATA_TOPIC;
use corelog_shards::shard::RotPolicy;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::{CreateTopicsRequest, MetadataRequest, TopicName};

use crate::damage::{Group, Journal, JournalFile};
use crate::node::{DATA, Node, PORT, Setup};
use crate::story::Story;
use crate::wire::{Client, text};

/// A start takes no longer.
const START_MAX: Duration = Duration::from_secs(60);
/// Longer than a snapshot takes, and all that goes with it.
const PAUSE: Duration = Duration::from_secs(3);
/// Made before a clean stop: what their records took of the journal was used anew.
const TOPICS: usize = 200;

struct Life {
    world: World,
    node: Node,
    /// So many were made.
    topics: usize,
}

impl Life {
    fn new() -> Life {
        let mut world = World::new(1, Faults::none());
        let mut setup = Setup::new(vec![
            "metadata.log.max.record.bytes.between.snapshots=1500".to_owned(),
            "metadata.max.retention.bytes=80000".to_owned(),
            "internal.metadata.log.segment.bytes=1000".to_owned(),
        ]);
        // What was settled long ago is in its checkpoints.
        setup.journal_bytes = 8 * (48 << 10);
        let node = Node::new(&mut world, setup);
        let topics = 0;
        Life {
            world,
            node,
            topics,
        }
    }

    /// Starts the broker until it serves clients, or says why it does not.
    fn start(&mut self, on_rot: RotPolicy) -> Result<(), String> {
        self.node.setup.on_rot = on_rot;
        self.node.start(&mut self.world, 2);
        let end = self.world.now() + START_MAX;
        while !self.node.is_ready() && self.node.failure().is_none() {
            assert!(self.world.now() < end, "a start hangs");
            assert!(self.world.step(), "a start waits for nothing");
        }
        self.node.failure().map_or(Ok(()), Err)
    }

    fn crash(&mut self) {
        self.node.crash(&mut self.world, Crash::PowerLoss);
    }

    /// Has a client do something.
    fn ask<T: 'static, F: Future<Output = T> + 'static>(
        &mut self,
        job: impl FnOnce(Client) -> F + 'static,
    ) -> T {
        let broker = self.world.socket_address(self.node.id(), PORT);
        let node = self.world.add_node();
        self.world.start(node, 1, |_, _| async {});
        let done = self.world.block_on(node, move |io| {
            job(Client::new(io, broker, "client", Story::short()))
        });
        self.world.crash(node, Crash::Kill);
        done
    }

    /// Makes topics, with time in between for snapshots.
    fn make_topics(&mut self, count: usize) {
        let numbers = self.topics..self.topics + count;
        self.topics = numbers.end;
        self.ask(async |mut client| {
            for number in numbers {
                let topic = CreatableTopic::default()
                    .with_name(TopicName(text(&name(number))))
                    .with_num_partitions(1)
                    .with_replication_factor(1);
                let request = CreateTopicsRequest::default()
                    .with_topics(vec![topic])
                    .with_timeout_ms(5_000);
                let reply = client.ask(2..=7, |_| request).await.expect("a reply");
                assert_eq!(reply.topics[0].error_code, 0);
                client.io().sleep(PAUSE).await;
            }
        });
    }

    /// All topics are known that were made.
    fn check_topics(&mut self) {
        let reply = self.ask(async |mut client| {
            let request = MetadataRequest::default().with_topics(None);
            client.ask(9..=9, |_| request).await.expect("a reply")
        });
        let names = reply.topics.iter();
        let names = names.map(|topic| topic.name.as_ref().expect("a name").to_string());
        let mut names: Vec<String> = names.collect();
        names.sort_unstable();
        let made: Vec<String> = (0..self.topics).map(name).collect();
        assert_eq!(names, made);
    }

    /// The file of the metadata log's oldest segment.
    fn oldest_segment(&self) -> PathBuf {
        let files = self.world.files(self.node.id()).into_iter();
        let dir = Path::new(DATA).join("__cluster_metadata-0");
        let segments = files.map(|(path, _)| path).filter(|path| {
            path.parent() == Some(&dir) && path.extension().is_some_and(|its| its == "log")
        });
        segments.min().expect("a segment")
    }

    /// Flips a bit of the group in which the metadata log's start has moved last. The broker is down.
    fn rot_log_start(&mut self) {
        let files = self.world.files(self.node.id()).into_iter();
        let files = files
            .map(|(path, _)| path)
            .filter(|path| is_of_leader(path));
        let files: Vec<PathBuf> = files.collect();
        let journal = self.on_disk(async move |io| {
            let mut read = Vec::new();
            for path in files {
                let bytes = io.read_small(&path).await.expect("read");
                read.extend(JournalFile::parse(&path, &bytes));
            }
            Journal::new(read)
        });
        let is_moved = |group: &Group| {
            let mut moved = group.moved_starts();
            moved.any(|key| key.topic == METADATA_TOPIC)
        };
        let at = journal.groups.iter().rposition(is_moved);
        let at = at.expect("the log has been shortened");
        assert!(journal.vouches_for(at));
        let group = &journal.groups[at];
        let place = group.position + HEADER_LEN as u64;
        let flipped = self.world.rot(self.node.id(), &group.path, place, 0);
        flipped.expect("flipped");
    }

    /// Does something with the disk of the broker, which is down.
    fn on_disk<T: 'static, F: Future<Output = T> + 'static>(
        &mut self,
        job: impl FnOnce(Io) -> F + 'static,
    ) -> T {
        let broker = self.node.id();
        self.world.start(broker, 1, |_, _| async {});
        let done = self.world.block_on(broker, job);
        self.world.crash(broker, Crash::Kill);
        done
    }
}

/// Whether it is a file of the first shard's journal, which has the metadata log.
fn is_of_leader(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.and_then(parse_slot_name)
        .is_some_and(|(id, _)| id == 0)
}

fn name(number: usize) -> String {
    format!("topic-{number:03}")
}

/// A broker whose journal has lost the last move of the metadata log's start, by which segments went.
fn rotten() -> Life {
    let mut life = Life::new();
    assert_eq!(life.start(RotPolicy::Refuse), Ok(()));
    life.make_topics(TOPICS);
    // All that there is by now is in segments.
    assert!(life.node.stop(&mut life.world));
    assert_eq!(life.start(RotPolicy::Refuse), Ok(()));
    let oldest = life.oldest_segment();
    while life.oldest_segment() == oldest {
        life.make_topics(1);
    }
    // The journal says of this one that all before it was on stable storage.
    life.make_topics(1);
    // A loss of power might bring segments back.
    life.node.crash(&mut life.world, Crash::Kill);
    life.rot_log_start();
    let why = life.start(RotPolicy::Refuse).expect_err("it is damaged");
    assert!(why.contains("is damaged"), "{why}");
    life.crash();
    life
}

#[test]
fn all_topics_are_known_whose_records_are_in_a_snapshot() {
    let mut life = rotten();
    for on_rot in [RotPolicy::Continue, RotPolicy::Refuse, RotPolicy::Refuse] {
        assert_eq!(life.start(on_rot), Ok(()));
        life.check_topics();
        life.make_topics(2);
        life.crash();
    }
}

/// Renames the files in the folder of the metadata log whose names end in `from`.
fn rename_all(life: &mut Life, from: &'static str, to: &'static str) {
    let dir = Path::new(DATA).join("__cluster_metadata-0");
    life.on_disk(async move |io| {
        for entry in io.list_dir(&dir).await.expect("a folder") {
            if let Some(stem) = entry.name.strip_suffix(from) {
                let (from, to) = (dir.join(&entry.name), dir.join(format!("{stem}{to}")));
                io.rename(&from, &to).await.expect("renamed");
            }
        }
        io.sync_dir(&dir).await.expect("synced");
    });
}

#[test]
fn a_metadata_log_without_its_beginning_is_refused_until_its_snapshot_is_restored() {
    let mut life = rotten();
    rename_all(&mut life, ".checkpoint", ".aside");
    for _ in 0..2 {
        let why = life
            .start(RotPolicy::Continue)
            .expect_err("the beginning is lost");
        assert!(why.contains("the metadata log"), "{why}");
        life.crash();
    }
    rename_all(&mut life, ".aside", ".checkpoint");
    assert_eq!(life.start(RotPolicy::Continue), Ok(()));
    life.check_topics();
}
