//! A journal by itself, on a few files of a few blocks: they are used again all the time, and nearly each
//! start finds groups that an earlier run, or an earlier use of the file, has left there.
//!
//! Runs are short, and write groups of one size, which differs from run to run: what an earlier run has left
//! behind a torn end then has, now and then, just the number and the place of the group that is expected.
//!
//! Each append has a number and a nonce of its own. After every start the journal must hold those that were
//! sent, in order and unchanged, up to some point that covers what was promised, and nothing of it may be
//! called damaged. A checkpoint stands for all that was sent before it.

use std::cell::{Cell, RefCell};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use corelog_shards::io::sim::{Crash, Faults, NodeId, World, seeds};
use corelog_shards::io::{BLOCK, Io, Landmark, Random};
use corelog_shards::journal::group::{EntryHead, EntryKind};
use corelog_shards::journal::recovery::{Found, scan};
use corelog_shards::journal::{
    Body, Durability, Entry, GroupEvents, Inline, Journal, JournalConfig, Ticket,
};
use corelog_shards::route::PartitionKey;
use uuid::Uuid;

/// Journals of a seed, one after the other.
const JOURNALS: usize = 8;
/// Bytes of an append, at most: a part of a sector, or as many as fit into a group.
const SMALL: usize = 64;
const LARGE: usize = 100_000;

/// States in the middle of which a crash tells most.
const LANDMARKS: &[Landmark] = &[
    Landmark::GroupWritten,
    Landmark::GroupsOverlap,
    Landmark::GroupSynced,
    Landmark::JournalWrapped,
    Landmark::JournalWaits,
    Landmark::FilesPublished,
    Landmark::GroupSecured,
];

/// What an append holds: its number, its nonce, and so many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sent {
    nonce: u64,
    len: usize,
}

/// What is known of a journal from outside. Outlives crashes.
#[derive(Default)]
struct Model {
    sent: Vec<Sent>,
    /// Appends that survive the process, and those that survive the power.
    written_end: usize,
    synced_end: usize,
}

impl Model {
    fn note_written(&mut self, end: usize) {
        self.written_end = self.written_end.max(end);
    }

    fn note_synced(&mut self, end: usize) {
        self.note_written(end);
        self.synced_end = self.synced_end.max(end);
    }

    fn note_crash(&mut self, crash: Crash) {
        if crash == Crash::PowerLoss {
            self.written_end = self.synced_end;
        }
    }

    /// A journal was read, and goes so far.
    fn follow(&mut self, end: usize) {
        let must_end = self.written_end;
        assert!(end >= must_end, "ends at {end}, {must_end} was promised");
        self.sent.truncate(end);
        self.note_synced(end);
    }
}

/// What the journal of a seed is like.
#[derive(Clone)]
struct Place {
    dir: PathBuf,
    file_bytes: u64,
    files_max: usize,
}

/// One run of the node.
struct Run {
    place: Place,
    model: Rc<RefCell<Model>>,
    random: RefCell<Random>,
    durability: Durability,
    /// Bytes of an append, at most.
    len_max: usize,
    /// How long the client waits between two bursts, and how many appends make one, at most.
    pause_us_max: u64,
    burst_max: u64,
    /// Whether files are given back as soon as they can be; otherwise only when the journal asks.
    is_eager: bool,
    /// Number of the first append of this run.
    first: Cell<usize>,
    /// Checkpoints of this run by their tickets, with what they stand for.
    checkpoints: RefCell<Vec<(Ticket, usize)>>,
    /// Whether the journal has asked for files.
    is_asked: Cell<bool>,
    /// Whether the client is to come to its end.
    is_over: Cell<bool>,
}

impl GroupEvents for Run {
    fn written(&self, through: Ticket) {
        let end = self.first.get() + through as usize;
        self.model.borrow_mut().note_written(end);
    }

    fn synced(&self, through: Ticket) {
        let end = self.first.get() + through as usize;
        self.model.borrow_mut().note_synced(end);
    }

    fn carried(&self, through: Ticket) {
        let checkpoints = self.checkpoints.borrow();
        let carried = checkpoints.iter().rfind(|(ticket, _)| *ticket <= through);
        if let Some((_, end)) = carried {
            self.model.borrow_mut().note_synced(*end);
        }
    }

    fn reclaim(&self, _through: Ticket) {
        self.is_asked.set(true);
    }

    fn disk_full(&self, _full: bool) {
        panic!("the disk has room");
    }

    fn failed(&self, error: &io::Error) {
        panic!("{error}");
    }

    fn gave_up(&self) {
        panic!("it was not closed");
    }
}

/// What is read of a journal after a start.
#[derive(Default)]
struct Replayed {
    /// Number of the append that comes next, once one or a checkpoint was found.
    next: Option<usize>,
    /// The newest checkpoint.
    anchor: Ticket,
}

impl Replayed {
    fn apply(&mut self, found: &Found<'_>, model: &Model) {
        let number = |at: usize| {
            let bytes = found.body.get(at..at + 8).expect("whole");
            u64::from_be_bytes(bytes.try_into().expect("eight bytes"))
        };
        let at = number(0) as usize;
        if found.head.kind == EntryKind::Checkpoint {
            self.next = self.next.max(Some(at));
            self.anchor = found.carried;
            return;
        }
        let next = *self.next.get_or_insert(at);
        assert!(at <= next, "{at} comes where {next} is expected");
        self.next = Some(next.max(at + 1));
        let sent = model.sent.get(at).copied();
        let nonce = number(8);
        let filling = &found.body[16..];
        let len = filling.len();
        assert_eq!(Some(Sent { nonce, len }), sent, "append {at}");
        assert!(
            filling.iter().all(|byte| *byte == nonce as u8),
            "append {at}"
        );
    }
}

impl Run {
    fn below(&self, bound: u64) -> u64 {
        self.random.borrow_mut().below(bound)
    }

    fn entry(&self, io: &Io, kind: EntryKind, inline: Inline, body: Body) -> Entry {
        let key = PartitionKey {
            topic: Uuid::nil(),
            partition: 0,
        };
        Entry {
            head: EntryHead {
                kind,
                key,
                revision: 1,
            },
            inline,
            body,
            durability: self.durability,
            queued: io.now(),
        }
    }

    async fn main(self: Rc<Self>, io: Io) {
        let Place {
            dir,
            file_bytes,
            files_max,
        } = self.place.clone();
        io.create_dir_all(&dir).await.expect("made");
        io.sync_dir(Path::new("/")).await.expect("synced");
        let mut replayed = Replayed::default();
        let scanned = scan(&io, &dir, 0, |found| {
            replayed.apply(&found, &self.model.borrow());
            Ok(())
        });
        let scanned = scanned.await.unwrap_or_else(|error| panic!("{error}"));
        assert!(scanned.rot.is_empty(), "{:?}", scanned.rot);
        let end = replayed.next.unwrap_or(0);
        self.model.borrow_mut().follow(end);
        self.first.set(end);
        let config = JournalConfig {
            dir,
            id: 0,
            file_bytes,
            files_max,
            memory_flush: Duration::from_millis(5),
        };
        let files = (scanned.files, scanned.carried);
        let journal = Journal::new(io.clone(), config, files, Arc::default());
        io.spawn("files", journal.clone().prepare_files(self.clone()));
        io.spawn("journal", journal.clone().run(self.clone()));
        let reclaiming = self.clone().reclaim(io.clone(), journal.clone());
        io.spawn("reclaim", reclaiming);
        self.append(io, journal).await;
    }

    async fn pause(&self, io: &Io, us_max: u64) {
        let pause = Duration::from_micros(self.below(us_max));
        io.sleep(pause).await;
    }

    async fn append(self: Rc<Self>, io: Io, journal: Rc<Journal>) {
        let len_max = self.len_max.min(journal.append_bytes_max() - 100) as u64;
        while !self.is_over.get() {
            for _ in 0..1 + self.below(self.burst_max) {
                let nonce = self.random.borrow_mut().next_u64();
                let len = match self.below(2) {
                    0 => self.below(len_max),
                    _ => self.below(len_max / 8),
                } as usize;
                let at = {
                    let sent = &mut self.model.borrow_mut().sent;
                    sent.push(Sent { nonce, len });
                    sent.len() - 1
                };
                let inline = Inline::pair(at as u64, nonce);
                let body = Body::One(Bytes::from(vec![nonce as u8; len]));
                journal.append(self.entry(&io, EntryKind::Append, inline, body));
            }
            self.pause(&io, self.pause_us_max).await;
            while journal.waiting_bytes() > 64 << 10 {
                self.pause(&io, 500).await;
            }
        }
    }

    /// Moves the one anchor there is, and gives back what lies before it.
    async fn reclaim(self: Rc<Self>, io: Io, journal: Rc<Journal>) {
        loop {
            let is_eager = self.is_eager && !self.is_over.get();
            let rest_us_max = if is_eager { 500 } else { 5_000 };
            self.pause(&io, rest_us_max).await;
            if !is_eager && !self.is_asked.take() {
                continue;
            }
            let end = self.model.borrow().sent.len();
            let padding = Body::One(Bytes::from(vec![0; self.below(BLOCK as u64) as usize]));
            let inline = Inline::pair(end as u64, 0);
            let entry = self.entry(&io, EntryKind::Checkpoint, inline, padding);
            let ticket = journal.carry(Entry {
                durability: Durability::Sync,
                ..entry
            });
            self.checkpoints.borrow_mut().push((ticket, end));
            while journal.carried_synced() < ticket {
                self.pause(&io, 500).await;
            }
            if self.below(2) == 0 {
                self.pause(&io, 2_000).await;
            }
            journal.release(ticket - 1);
        }
    }
}

/// What a journal goes through.
#[derive(Clone, Copy, Debug)]
enum Course {
    Any,
    /// It is killed in the middle of its first group, and loses the power soon after its second start: nothing
    /// is left of a file that was cut off.
    CutOff,
    /// By turns it loses the power behind many small groups that were not synced, of which those behind the first
    /// torn one are cut off, and comes round to their file again within a few large groups.
    Stale,
}

/// Where a run ends.
struct End {
    landmark: Landmark,
    /// How often it comes to that, at most, and how many steps it takes from there.
    times: u64,
    steps: u64,
    crash: Crash,
}

/// How large what a run appends is, and how long it runs.
struct Plan {
    durability: Durability,
    len_max: usize,
    is_eager: bool,
    end: End,
}

/// Some number: low ones as often as high ones.
fn draw_many(world: &mut World, bits: u64) -> u64 {
    let bound = 1 << world.random_below(bits);
    world.random_below(bound)
}

fn draw_place(world: &mut World, number: usize) -> Place {
    Place {
        dir: PathBuf::from(format!("/journal{number}")),
        file_bytes: [16 << 10, 32 << 10, 96 << 10][world.random_below(3) as usize],
        files_max: 3 + world.random_below(6) as usize,
    }
}

fn draw_plan(world: &mut World) -> Plan {
    let mut toss = || world.random_below(2) == 0;
    let durability = match toss() {
        true => Durability::Written,
        false => Durability::Sync,
    };
    let len_max = if toss() { SMALL } else { LARGE };
    let is_eager = toss();
    let crash = match toss() {
        true => Crash::Kill,
        false => Crash::PowerLoss,
    };
    let end = End {
        landmark: LANDMARKS[world.random_below(LANDMARKS.len() as u64) as usize],
        times: 1 + draw_many(world, 6),
        steps: draw_many(world, 8),
        crash,
    };
    Plan {
        durability,
        len_max,
        is_eager,
        end,
    }
}

impl Course {
    fn draw(world: &mut World) -> Self {
        match world.random_below(4) {
            0 => Self::CutOff,
            1 => Self::Stale,
            _ => Self::Any,
        }
    }

    /// What the run with that number is to be like.
    fn plan(self, number: usize, world: &mut World) -> Plan {
        let any = draw_plan(world);
        match (self, number) {
            (Self::CutOff, 0) => Plan {
                len_max: LARGE,
                end: End {
                    landmark: Landmark::GroupWritten,
                    times: 1,
                    steps: world.random_below(4),
                    crash: Crash::Kill,
                },
                ..any
            },
            (Self::CutOff, 1) => Plan {
                is_eager: false,
                end: End {
                    landmark: Landmark::GroupWritten,
                    times: 2 + world.random_below(4),
                    steps: world.random_below(10),
                    crash: Crash::PowerLoss,
                },
                ..any
            },
            (Self::Stale, _) if number.is_multiple_of(2) => Plan {
                durability: Durability::Written,
                len_max: SMALL,
                is_eager: false,
                end: End {
                    landmark: Landmark::GroupWritten,
                    times: 1 + world.random_below(30),
                    steps: world.random_below(10),
                    crash: Crash::PowerLoss,
                },
            },
            (Self::Stale, _) => Plan {
                len_max: LARGE,
                is_eager: true,
                end: End {
                    landmark: Landmark::GroupWritten,
                    times: 4 + world.random_below(8),
                    steps: world.random_below(10),
                    ..any.end
                },
                ..any
            },
            _ => any,
        }
    }
}

fn draw_run(world: &mut World, place: &Place, model: &Rc<RefCell<Model>>, plan: &Plan) -> Run {
    Run {
        place: place.clone(),
        model: model.clone(),
        random: RefCell::new(Random::from_seed(world.random_below(u64::MAX))),
        durability: plan.durability,
        len_max: plan.len_max,
        pause_us_max: 1 + world.random_below(1_000),
        burst_max: 1 + world.random_below(3),
        is_eager: plan.is_eager,
        first: Cell::new(0),
        checkpoints: RefCell::default(),
        is_asked: Cell::new(false),
        is_over: Cell::new(false),
    }
}

fn run_to(world: &mut World, node: NodeId, end: &End) {
    for _ in 0..end.times {
        if !world.run_until_reached(end.landmark, 1_000) {
            break;
        }
    }
    world.run_steps(end.steps);
    world.crash(node, end.crash);
}

/// One journal, from nothing to the end of its last run, in which all that is sent has to be written.
fn live(world: &mut World, node: NodeId, number: usize, course: Course) {
    let model = Rc::new(RefCell::new(Model::default()));
    let mut place = draw_place(world, number);
    let mut runs = 3 + draw_many(world, 5) as usize;
    if let Course::Stale = course {
        (place.file_bytes, place.files_max) = (96 << 10, 3);
        runs = 20;
    }
    let start = |world: &mut World, plan: &Plan| {
        let run = Rc::new(draw_run(world, &place, &model, plan));
        world.start(node, 1, |io, _| run.clone().main(io));
        run
    };
    for number in 0..runs {
        let plan = course.plan(number, world);
        start(world, &plan);
        run_to(world, node, &plan.end);
        model.borrow_mut().note_crash(plan.end.crash);
    }
    let plan = draw_plan(world);
    let run = start(world, &plan);
    world.run_for(Duration::from_millis(20));
    run.is_over.set(true);
    world.run_for(Duration::from_millis(300));
    let (written, sent) = (model.borrow().written_end, model.borrow().sent.len());
    assert_eq!(written, sent, "the journal hangs");
    world.crash(node, Crash::Kill);
}

fn simulate_courses(seed: u64, draw: fn(&mut World) -> Course) -> u64 {
    let mut world = World::new(seed, Faults::none());
    let node = world.add_node();
    for number in 0..JOURNALS {
        let course = draw(&mut world);
        live(&mut world, node, number, course);
    }
    world.trace()
}

/// Journals of all kinds.
pub fn simulate(seed: u64) -> u64 {
    simulate_courses(seed, Course::draw)
}

/// Journals that come round to what was cut off.
pub fn simulate_stale(seed: u64) -> u64 {
    simulate_courses(seed, |_| Course::Stale)
}

#[test]
fn a_journal_holds_what_was_promised_and_nothing_else() {
    for seed in seeds(300) {
        simulate(seed);
    }
}

#[test]
fn groups_behind_a_tear_never_come_back() {
    for seed in seeds(100) {
        simulate_stale(seed);
    }
}

#[test]
fn journals_do_the_same_for_the_same_seed() {
    for seed in 0..3 {
        assert_eq!(simulate(seed), simulate(seed));
    }
}
