//! Partitions that move between folders of one device and of several, at any time: while they are written, read,
//! compacted, deleted from the front or altogether, while the node crashes at any step, and while disks fail.
//!
//! What holds for partitions that stay where they are holds for these: whatever was acknowledged is there, once and in
//! its place. Beside that, a partition is in one folder only, and a move that nothing hinders comes to its end.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use corelog_shards::io::Random;
use corelog_shards::io::sim::{Crash, Faults, NodeId, Operation, World, seeds};
use corelog_shards::shard::{FolderConfig, MoveError, Shard};
use uuid::Uuid;

use crate::compaction::{self, Model, PARTITIONS, Run};
use crate::node::stop_all;

const FOLDERS: u128 = 3;

fn id(folder: u128) -> Uuid {
    Uuid::from_u128(100 + folder)
}

/// The first folder is required. Which ones share a device is drawn.
fn draw_folders(world: &mut World) -> Vec<FolderConfig> {
    let folder = |folder: u128, device: u64| FolderConfig {
        device,
        is_required: folder == 0,
        ..FolderConfig::only(id(folder), format!("/folder{folder}"))
    };
    let all = (0..FOLDERS).map(|number| folder(number, world.random_below(FOLDERS as u64)));
    all.collect()
}

/// Has the metadata follow the moves of a shard's partitions.
pub fn watch(shard: &Shard, run: &Rc<Run>) {
    let telling = Rc::downgrade(run);
    shard.on_moved(move |key, folder| {
        let run = telling.upgrade();
        let partition = key.partition as usize;
        if let Some(run) = run.filter(|run| run.key(partition) == key) {
            run.places.borrow_mut()[partition] = folder;
        }
        std::future::ready(())
    });
}

/// Partitions have their folders in one place each, while none of them moves.
async fn check_folders(shard: &Shard) {
    let mut found = Vec::new();
    for folder in shard.folders() {
        if folder.is_offline {
            continue;
        }
        let Ok(entries) = shard.io().list_dir(&folder.path).await else {
            continue;
        };
        let names = entries.into_iter().map(|entry| entry.name);
        for name in names.filter(|name| name.starts_with("topic-") && name.len() == 7) {
            let path = folder.path.join(&name);
            let path = path.join("partition.metadata");
            let Ok(metadata) = shard.io().read_small(&path).await else {
                continue;
            };
            let partition: usize = name[6..].parse().expect("a number");
            let its = (partition, metadata);
            assert!(!found.contains(&its), "{partition} is in two folders");
            found.push(its);
        }
    }
}

/// Moves partitions hither and thither.
pub async fn move_some(shard: Shard, run: Rc<Run>) {
    loop {
        let pause = run.below(15_000);
        shard.io().sleep(Duration::from_micros(pause)).await;
        let partition = run.below(PARTITIONS as u64) as usize;
        let target = id(u128::from(run.below(FOLDERS as u64)));
        let rate = (run.below(3) == 0).then(|| 50_000 + run.below(1_000_000));
        if let Err(error) = ask(&shard, &run, partition, target, rate).await {
            let is_expected = match error {
                // It is just being made anew.
                MoveError::UnknownPartition => true,
                MoveError::FolderOffline => !run.is_disk_sound,
                MoveError::UnknownFolder => false,
            };
            assert!(is_expected, "{partition}: {error:?}");
        }
    }
}

async fn ask(
    shard: &Shard,
    run: &Run,
    partition: usize,
    target: Uuid,
    rate: Option<u64>,
) -> Result<(), MoveError> {
    let key = run.key(partition);
    let moving = move |owner: Shard| async move {
        owner.set_move_rate(rate);
        owner.move_partition(&key, target)
    };
    shard.run_on_owner(&key, moving).await
}

/// The parts of a world that outlive a run.
struct Lives {
    world: World,
    node: NodeId,
    models: Rc<RefCell<Vec<Model>>>,
    topics: Rc<Cell<u128>>,
    places: Rc<RefCell<Vec<Uuid>>>,
    folders: Vec<FolderConfig>,
}

impl Lives {
    fn new(seed: u64) -> Self {
        let mut world = World::new(seed, Faults::none());
        let node = world.add_node();
        let folders = draw_folders(&mut world);
        Self {
            world,
            node,
            models: Rc::new(RefCell::new(vec![Model::default(); PARTITIONS])),
            topics: Rc::new(Cell::new(0)),
            places: Rc::new(RefCell::new(vec![id(0); PARTITIONS])),
            folders,
        }
    }

    fn start(&mut self, is_disk_sound: bool, has_moves: bool) -> Rc<Run> {
        if self.world.random_below(4) == 0 {
            self.folders = draw_folders(&mut self.world);
        }
        let run = Rc::new(Run {
            models: self.models.clone(),
            topics: self.topics.clone(),
            random: RefCell::new(Random::from_seed(self.world.random_below(u64::MAX))),
            is_disk_sound,
            may_fill: false,
            folders: self.folders.clone(),
            places: self.places.clone(),
            has_clients: has_moves,
            has_moves,
            is_over: Cell::new(false),
            is_compared: Cell::new(false),
            shards: RefCell::default(),
        });
        let shards = 1 + self.world.random_below(2) as usize;
        compaction::start(&mut self.world, self.node, shards, &run);
        run
    }

    /// One run with a crash somewhere, maybe after something has failed.
    fn live(&mut self) {
        let is_disk_sound = self.world.random_below(3) > 0;
        let is_harsh = !is_disk_sound && self.world.random_below(2) == 0;
        self.world.set_faults(match is_harsh {
            false => Faults::none(),
            true => Faults::harsh(),
        });
        let run = self.start(is_disk_sound, true);
        for _ in 0..1 + self.world.random_below(3) {
            if !is_disk_sound && !is_harsh {
                self.fail_somewhere();
            }
            let steps = self.world.random_below(8_000);
            self.world.run_steps(steps);
        }
        let is_stopped = run.is_compared.get() && self.world.random_below(5) == 0;
        if is_stopped {
            stop_all(&mut self.world, self.node, &run.shards.borrow());
        }
        self.crash(&run);
    }

    fn crash(&mut self, run: &Run) {
        run.shards.borrow_mut().clear();
        let crash = match self.world.random_below(2) {
            0 => Crash::Kill,
            _ => Crash::PowerLoss,
        };
        self.world.crash(self.node, crash);
    }

    /// Has an operation fail in one of the folders.
    fn fail_somewhere(&mut self) {
        let world = &mut self.world;
        let operation = match world.random_below(8) {
            0 => Operation::Read,
            1 => Operation::SyncDir,
            2..5 => Operation::Sync,
            _ => Operation::Write,
        };
        let folder = world.random_below(FOLDERS as u64);
        let part = match world.random_below(4) {
            0 => format!("/folder{folder}/journal/0000-0"),
            1 => "-future/0".to_owned(),
            2 => "-future".to_owned(),
            _ => format!("/folder{folder}/topic"),
        };
        world.fail_next(self.node, operation, &part);
    }

    /// A run in which nothing fails and nobody writes: all partitions get where they shall be.
    fn settle_down(&mut self) {
        self.world.set_faults(Faults::none());
        let run = self.start(true, false);
        let world = &mut self.world;
        for _ in 0..200 {
            if run.is_compared.get() {
                break;
            }
            world.run_for(Duration::from_millis(20));
        }
        assert!(run.is_compared.get(), "the start hangs");
        let target = id(u128::from(world.random_below(FOLDERS as u64)));
        let mut at = vec![None; PARTITIONS - 1];
        for _ in 0..500 {
            let shard = run.shards.borrow()[0].clone();
            let run = run.clone();
            at = world.block_on(self.node, |io| async move {
                let mut at = Vec::new();
                for partition in 0..PARTITIONS - 1 {
                    let key = run.key(partition);
                    let facts =
                        shard.run_on_owner(&key, move |owner| async move { owner.facts_of(&key) });
                    let facts = facts.await.expect("it is open");
                    at.push(facts.future.is_none().then_some(facts.folder));
                    let asked = ask(&shard, &run, partition, target, None).await;
                    assert_eq!(asked, Ok(()));
                }
                io.sleep(Duration::from_millis(4)).await;
                at
            });
            if at.iter().all(|at| *at == Some(target)) {
                break;
            }
        }
        assert!(
            at.iter().all(|at| *at == Some(target)),
            "{at:?} is not {target}"
        );
        let shard = run.shards.borrow()[0].clone();
        world.block_on(self.node, |io| async move {
            io.sleep(Duration::from_secs(1)).await;
            check_folders(&shard).await;
        });
        self.crash(&run);
        let last = self.start(true, false);
        let world = &mut self.world;
        world.run_for(Duration::from_secs(1));
        assert!(last.is_compared.get(), "the last start hangs");
        self.crash(&last);
    }
}

pub fn simulate(seed: u64) -> u64 {
    let mut lives = Lives::new(seed);
    for _ in 0..2 + lives.world.random_below(4) {
        lives.live();
    }
    lives.settle_down();
    lives.world.trace()
}

#[test]
fn partitions_that_move_keep_what_was_acknowledged() {
    for seed in seeds(30) {
        simulate(seed);
    }
}

#[test]
fn moves_are_the_same_for_the_same_seed() {
    for seed in 0..3 {
        assert_eq!(simulate(seed), simulate(seed));
    }
}
