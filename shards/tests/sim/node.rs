//! One node of the simulation: its shards from start to end, and what they were asked to do.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use corelog_shards::io::sim::{Crash, NodeId, World};
use corelog_shards::io::{Io, Landmark, Random};
use corelog_shards::journal::recovery::{RecoveryError, Rot};
use corelog_shards::mesh::{self, Ends};
use corelog_shards::mutation;
use corelog_shards::route::Route;
use corelog_shards::shard::{RotPolicy, Shard, ShardConfig, StartError, open};
use uuid::Uuid;

use crate::model::{
    Classes, Models, PARTITIONS, Sending, all_classes, key, log_config, shard_config,
};
use crate::verification::verify;
use crate::workload::{read_along, write};

/// One run of a node, from a start to its end.
pub struct Run {
    pub models: Models,
    pub random: RefCell<Random>,
    /// The worst crash since the models were compared last.
    pub after: Option<Crash>,
    /// Whether they were in this run.
    pub is_compared: Cell<bool>,
    /// Whether that has ended because a partition could not be read.
    pub is_unreadable: Cell<bool>,
    pub on_rot: RotPolicy,
    /// Whether a bit of the journal was flipped.
    pub has_rotted: bool,
    /// Whether the journal has lost log starts: segments may be gone that it believes to be there.
    pub may_lack_segments: bool,
    pub classes: Classes,
    /// Whether only a deliberate fault may fail an operation.
    pub is_disk_sound: bool,
    /// Whether that holds until the models were compared, at least.
    pub is_start_sound: bool,
    /// Whether the disk may be full: then each writer waits for one batch before it sends the next.
    pub may_fill: bool,
    /// Whether there are clients that write and read.
    pub has_clients: bool,
    /// Partitions that are written, a bit for each.
    pub written: u32,
    /// Whether records are deleted from the front of logs.
    pub deletes: bool,
    /// Why a shard did not start.
    pub refused: RefCell<Option<StartError>>,
    /// How far the partitions are at least, whatever was acknowledged: the rest was destroyed.
    pub lost_ends: RefCell<Option<[i64; PARTITIONS]>>,
    /// What is sent.
    pub sending: Sending,
    /// Whether writers send batches again that others have followed, and don't mind which copy is answered.
    pub is_impatient: bool,
    /// Bytes of the journal, if they are few.
    pub journal_bytes: Option<u64>,
    /// Whether the writers shall come to an end.
    pub is_over: Cell<bool>,
    /// Up to where readers have come that wait for more.
    pub read_to: RefCell<[i64; PARTITIONS]>,
    /// Appends that were not answered yet.
    pub unanswered: Cell<usize>,
    /// Those that have started.
    pub shards: RefCell<Vec<Shard>>,
}

impl Run {
    /// A run that knows of no faults yet.
    pub fn new(world: &mut World, models: &Models, after: Option<Crash>) -> Run {
        Run {
            models: models.clone(),
            random: RefCell::new(Random::from_seed(world.random_below(u64::MAX))),
            after,
            is_compared: Cell::new(false),
            is_unreadable: Cell::new(false),
            on_rot: RotPolicy::Refuse,
            has_rotted: false,
            may_lack_segments: false,
            classes: all_classes,
            is_disk_sound: true,
            is_start_sound: false,
            may_fill: false,
            has_clients: true,
            written: u32::MAX,
            deletes: true,
            refused: RefCell::default(),
            lost_ends: RefCell::default(),
            sending: Sending::default(),
            is_impatient: false,
            journal_bytes: None,
            is_over: Cell::new(false),
            read_to: RefCell::new([-1; PARTITIONS]),
            unanswered: Cell::new(0),
            shards: RefCell::default(),
        }
    }

    /// Starts the node's shards, and on the first of them the clients.
    pub fn start(self: &Rc<Self>, world: &mut World, node: NodeId, shards: usize) {
        let ends = RefCell::new(
            mesh::lanes(shards)
                .into_iter()
                .map(Some)
                .collect::<Vec<_>>(),
        );
        world.start(node, shards, |io, id| {
            let ends = ends.borrow_mut()[id].take().expect("each once");
            shard_main(io, id, shards, ends, self.clone())
        });
    }

    /// Lets the writers end and the others do what is left to do: nobody waits for an answer any more, and
    /// each reader has all that was sent.
    pub fn come_to_rest(&self, world: &mut World) {
        self.is_over.set(true);
        world.run_for(Duration::from_secs(2));
        let unanswered = self.unanswered.get();
        assert_eq!(unanswered, 0, "appends were never answered");
        for (partition, model) in self.models.borrow().iter().enumerate() {
            let read_to = self.read_to.borrow()[partition];
            assert_eq!(
                read_to,
                model.end(),
                "partition {partition}: a reader hangs"
            );
        }
    }

    /// Stops the shards that have started; panics if that takes for ever.
    pub fn stop(&self, world: &mut World, node: NodeId) {
        stop_all(world, node, &self.shards.borrow());
        let unanswered = self.unanswered.get();
        assert_eq!(unanswered, 0, "appends were never answered");
    }

    /// Whether all can be read until the models were compared.
    pub fn starts_on_sound_disk(&self) -> bool {
        self.is_disk_sound || self.is_start_sound
    }

    /// Whether the journal of some shard has failed.
    pub fn has_failed(&self) -> bool {
        self.shards.borrow().iter().any(Shard::has_failed)
    }

    /// The damage for which a shard refused to start.
    pub fn damage(&self) -> Option<Vec<Rot>> {
        match &*self.refused.borrow() {
            Some(StartError::Damaged(rot)) => Some(rot.clone()),
            _ => None,
        }
    }

    /// Ends the run: what is left of the shards goes with their node.
    pub fn crash(&self, world: &mut World, node: NodeId, crash: Crash) {
        self.shards.borrow_mut().clear();
        world.crash(node, crash);
    }

    /// What the next run has to compare with.
    pub fn worst(&self, crash: Crash) -> Option<Crash> {
        match self.after {
            Some(Crash::PowerLoss) if !self.is_compared.get() => self.after,
            _ => Some(crash),
        }
    }
}

async fn shard_main(io: Io, id: usize, shards: usize, ends: Ends, run: Rc<Run>) {
    let config = shard_config(run.on_rot);
    let config = ShardConfig {
        journal_bytes: run.journal_bytes.unwrap_or(config.journal_bytes),
        ..config
    };
    let opened = match open(io, id, Route::new(shards), config, ends).await {
        Ok(opened) => opened,
        Err(error) => {
            // The process would end and be started again.
            let is_expected = match error {
                StartError::Io(..) | StartError::Journal(RecoveryError::Io(..)) => {
                    !run.starts_on_sound_disk() || run.may_fill
                }
                StartError::NotWritten(_) => !run.starts_on_sound_disk(),
                StartError::NoFolder | StartError::Missing(_) => false,
                StartError::Journal(RecoveryError::Malformed(..)) => false,
                StartError::Damaged(_) => run.has_rotted,
            };
            assert!(is_expected, "{error}");
            *run.refused.borrow_mut() = Some(error);
            return;
        }
    };
    let shard = opened.shard;
    for partition in (0..PARTITIONS).filter(|partition| shard.owner(&key(*partition)) == id) {
        let dir = format!("topic-{partition}");
        let config = log_config((run.classes)(partition));
        if shard
            .open_partition(
                key(partition),
                &dir,
                Uuid::nil(),
                run.sending.leader_epoch,
                config,
            )
            .await
            .is_err()
        {
            return;
        }
    }
    shard.meet().await;
    run.shards.borrow_mut().push(shard.clone());
    if id != 0 {
        return;
    }
    for partition in 0..PARTITIONS {
        if !verify(&shard, partition, &run).await {
            run.is_unreadable.set(true);
            return;
        }
    }
    run.is_compared.set(true);
    if !run.has_clients {
        return;
    }
    let io = shard.io().clone();
    for partition in 0..PARTITIONS {
        if run.written & 1 << partition != 0 {
            io.spawn("writer", write(shard.clone(), partition, run.clone()));
        }
        io.spawn("reader", read_along(shard.clone(), partition, run.clone()));
    }
}

/// Runs on to one of these states, and some steps into what follows.
pub fn run_to_one_of(
    world: &mut World,
    landmarks: &[Landmark],
    steps_max: u64,
) -> Option<Landmark> {
    let landmark = landmarks[world.random_below(landmarks.len() as u64) as usize];
    if !world.run_until_reached(landmark, steps_max) {
        return None;
    }
    let steps = world.random_below(30);
    world.run_steps(steps);
    Some(landmark)
}

/// What was done to a node, told when the test fails.
#[derive(Default)]
pub struct Story(Vec<String>);

impl Drop for Story {
    fn drop(&mut self) {
        if std::thread::panicking() && mutation::current().is_none() {
            for line in &self.0 {
                eprintln!("{line}");
            }
        }
    }
}

impl Story {
    /// Notes what was done, and how far each partition is.
    pub fn tell(&mut self, event: String, models: &Models) {
        self.0.push(event);
        for (partition, model) in models.borrow().iter().enumerate() {
            let (sent, acked) = (model.end(), model.acked_end);
            let line =
                format!("  partition {partition}: {sent} sent, {acked} acknowledged or read");
            self.0.push(line);
        }
    }
}

/// Stops shards of a node; panics if that takes for ever.
pub fn stop_all(world: &mut World, node: NodeId, shards: &[Shard]) {
    let stopped = Rc::new(Cell::new(0));
    for shard in shards {
        let (shard, stopped) = (shard.clone(), stopped.clone());
        world.io(node).spawn("stop", async move {
            shard.stop().await;
            stopped.set(stopped.get() + 1);
        });
    }
    world.run_for(Duration::from_secs(20));
    assert_eq!(stopped.get(), shards.len(), "a stop hangs");
}
