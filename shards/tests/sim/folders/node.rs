//! One node with several folders: its shards from start to end.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use corelog_shards::io::sim::{Crash, NodeId, World};
use corelog_shards::io::{Io, Random};
use corelog_shards::journal::recovery::RecoveryError;
use corelog_shards::mesh::{self, Ends};
use corelog_shards::route::{PartitionKey, Route};
use corelog_shards::shard::message::ReadError;
use corelog_shards::shard::{RotPolicy, Shard, ShardConfig, StartError, open};

use super::clients::{control, read_along, write};
use super::compacted::cleaner;
use super::layout::{Dependencies, Layout, Placed, folder_of, id_of};
use super::topics::{TOPICS, Topics, config_of, dir_of, is_retained};
use crate::model::shard_config;
use crate::node::stop_all;
use crate::verification::{facts_of, read_whole};

/// One run of a node, from a start to its end.
pub struct Run {
    pub topics: Topics,
    pub random: RefCell<Random>,
    pub layout: Layout,
    /// By folder: whether the start may have left it offline.
    pub may_be_offline: Vec<bool>,
    /// Whether the disk fails now and then, anywhere.
    pub is_disk_sound: Cell<bool>,
    /// Whether an operation was made to fail.
    pub has_fault: Cell<bool>,
    /// Folders that may go offline because of that.
    pub blamed: RefCell<BTreeSet<usize>>,
    /// Whether there are clients, and topics come and go.
    pub has_clients: bool,
    /// Shards that have opened their partitions.
    pub opened: Cell<usize>,
    /// Whether a folder has failed before its shard had started: what the journals know of its partitions may be in
    /// others than before.
    pub has_lost_folder: Cell<bool>,
    /// Whether all partitions were compared with their models, as far as they can be read.
    pub is_compared: Cell<bool>,
    pub is_stopping: Cell<bool>,
    /// Why a shard did not start.
    pub refused: RefCell<Option<StartError>>,
    /// Requests that were not answered yet.
    pub unanswered: Cell<usize>,
    /// Those that have started.
    pub shards: RefCell<Vec<Shard>>,
}

impl Run {
    /// A run that knows of no faults yet.
    pub fn new(
        world: &mut World,
        topics: &Topics,
        layout: &Layout,
        dependencies: &Dependencies,
    ) -> Run {
        let folders = 0..layout.placed.len();
        Run {
            topics: topics.clone(),
            random: RefCell::new(Random::from_seed(world.random_below(u64::MAX))),
            may_be_offline: folders
                .map(|folder| dependencies.may_be_offline(layout, folder))
                .collect(),
            layout: layout.clone(),
            is_disk_sound: Cell::new(true),
            has_fault: Cell::new(false),
            blamed: RefCell::default(),
            has_clients: true,
            opened: Cell::new(0),
            has_lost_folder: Cell::new(false),
            is_compared: Cell::new(false),
            is_stopping: Cell::new(false),
            refused: RefCell::default(),
            unanswered: Cell::new(0),
            shards: RefCell::default(),
        }
    }

    pub fn below(&self, bound: u64) -> u64 {
        self.random.borrow_mut().below(bound)
    }

    /// Whether all shards have started, with all folders that were there.
    pub fn has_started(&self, shards: usize) -> bool {
        self.opened.get() == shards && !self.has_lost_folder.get()
    }

    /// All shards have started, and have dropped what the metadata does not know. If they had all folders that were
    /// there, no journal knows any more of a topic of this name that was deleted, unless of one in a folder that is away.
    pub fn forget_deleted(&self, name: usize) {
        let is_certain = !self.is_disturbed() && !self.is_stopping.get();
        if is_certain && !self.has_lost_folder.get() {
            let topic = &mut self.topics.borrow_mut()[name];
            topic.forget_folders(|folder| !self.may_be_offline[folder]);
        }
    }

    /// Whether something may have failed.
    pub fn is_disturbed(&self) -> bool {
        self.has_fault.get() || !self.is_disk_sound.get()
    }

    /// Whether there is a reason for which partitions of a folder are out of reach.
    pub fn may_be_out_of_reach(&self, folder: usize) -> bool {
        self.may_be_offline[folder]
            || self.blamed.borrow().contains(&folder)
            || !self.is_disk_sound.get()
    }

    /// Folders whose devices are sound go on.
    pub fn check_folders(&self) {
        for placed in self.layout.there() {
            let folder = placed.folder;
            let is_well = self.is_online(folder) || self.may_be_out_of_reach(folder);
            assert!(is_well, "folder {folder} is offline for no reason");
        }
    }

    /// Starts the node's shards, and on the first of them the clients.
    pub fn start(self: &Rc<Self>, world: &mut World, node: NodeId, shards: usize) {
        for topic in self.topics.borrow_mut().iter_mut() {
            topic.is_offline = false;
        }
        let all = mesh::lanes(shards).into_iter().map(Some);
        let ends = RefCell::new(all.collect::<Vec<_>>());
        world.start(node, shards, |io, id| {
            let ends = ends.borrow_mut()[id].take().expect("each once");
            shard_main(io, id, shards, ends, self.clone())
        });
    }

    /// Stops the shards that have started; panics if that takes for ever.
    pub fn stop(&self, world: &mut World, node: NodeId) {
        self.is_stopping.set(true);
        stop_all(world, node, &self.shards.borrow());
        assert_eq!(self.unanswered.get(), 0, "appends were never answered");
    }

    /// Ends the run: what is left of the shards goes with their node.
    pub fn crash(&self, world: &mut World, node: NodeId, crash: Crash) {
        self.shards.borrow_mut().clear();
        world.crash(node, crash);
    }

    /// Whether some shard says that nothing goes any more.
    pub fn has_failed(&self) -> bool {
        self.shards.borrow().iter().any(Shard::has_failed)
    }

    /// Whether a folder can be used on all shards.
    pub fn is_online(&self, folder: usize) -> bool {
        let is_online = |shard: &Shard| {
            let folders = shard.folders();
            let known = folders.iter().find(|known| known.id == id_of(folder));
            known.is_some_and(|known| !known.is_offline)
        };
        self.shards.borrow().iter().all(is_online)
    }

    fn key(&self, name: usize) -> Option<PartitionKey> {
        let topic = &self.topics.borrow()[name];
        topic.exists.then(|| topic.key(name))
    }

    /// A shard did not start: the process would end and be started again.
    fn refuse(&self, error: StartError) {
        let is_expected = match error {
            StartError::Io(..) | StartError::Journal(RecoveryError::Io(..)) => self.is_disturbed(),
            StartError::NotWritten(_) => self.is_disturbed(),
            StartError::NoFolder => !self.layout.is_whole(),
            StartError::Journal(RecoveryError::Malformed(..))
            | StartError::Damaged(_)
            | StartError::Missing(_) => false,
        };
        assert!(is_expected, "{error}");
        *self.refused.borrow_mut() = Some(error);
    }
}

fn config(layout: &Layout) -> ShardConfig {
    ShardConfig {
        folders: layout.config(),
        retention_check: Duration::from_millis(30),
        cleaner: cleaner(),
        ..shard_config(RotPolicy::Refuse)
    }
}

/// Starts like the broker: first all shards drop what the metadata does not know, then they open what it does.
async fn shard_main(io: Io, id: usize, shards: usize, ends: Ends, run: Rc<Run>) {
    let opened = open(io, id, Route::new(shards), config(&run.layout), ends).await;
    let shard = match opened {
        Ok(opened) => opened.shard,
        Err(error) => return run.refuse(error),
    };
    let is_lost = |placed: &Placed| {
        let is_online = shard.is_folder_online(id_of(placed.folder));
        !is_online && !run.may_be_offline[placed.folder]
    };
    if run.layout.there().any(is_lost) {
        run.has_lost_folder.set(true);
    }
    for key in shard.partitions() {
        if !(0..TOPICS).any(|name| run.key(name) == Some(key)) {
            shard.drop_partitions(&[key]).await;
        }
    }
    shard.meet().await;
    for name in 0..TOPICS {
        let Some(key) = run.key(name) else { continue };
        if shard.owner(&key) == id && open_one(&shard, name, &run).await.is_err() {
            assert!(run.is_disturbed(), "{name} cannot be opened");
            return;
        }
    }
    run.opened.set(run.opened.get() + 1);
    run.shards.borrow_mut().push(shard.clone());
    shard.meet().await;
    if id != 0 {
        return;
    }
    (0..TOPICS).for_each(|name| run.forget_deleted(name));
    for name in 0..TOPICS {
        if !compare(&shard, name, &run).await {
            return;
        }
    }
    run.is_compared.set(true);
    if !run.has_clients {
        return;
    }
    let io = shard.io().clone();
    for name in 0..TOPICS {
        io.spawn("writer", write(shard.clone(), name, run.clone()));
        io.spawn("reader", read_along(shard.clone(), name, run.clone()));
    }
    io.spawn("controller", control(shard, run));
}

/// Opens a topic's partition on the shard that owns it, where the metadata says that it is.
pub async fn open_one(owner: &Shard, name: usize, run: &Run) -> Result<(), ReadError> {
    let (key, folder) = {
        let topic = &run.topics.borrow()[name];
        (topic.key(name), topic.folder)
    };
    let (dir, config) = (dir_of(name), config_of(name));
    let opening = owner.open_partition(key, &dir, id_of(folder), 0, config);
    let found = opening.await?;
    assert_eq!(folder_of(found), folder, "{name} is in another folder");
    Ok(())
}

/// Compares a topic that was recovered with its model, if it can be read. `false` if the disk has failed.
async fn compare(shard: &Shard, name: usize, run: &Run) -> bool {
    let Some(key) = run.key(name) else {
        return true;
    };
    let (found, bytes) = loop {
        let found = facts_of(shard, key).await.expect("it was opened");
        let bytes = match found.is_offline {
            true => Err(ReadError::FolderOffline),
            false => read_whole(shard, &found).await,
        };
        match bytes {
            // Meanwhile older records were removed.
            Err(ReadError::OffsetOutOfRange) if is_retained(name) => {}
            bytes => break (found, bytes),
        }
    };
    let topic = &mut run.topics.borrow_mut()[name];
    match bytes {
        Ok(bytes) => {
            assert!(
                run.layout.is_there(topic.folder),
                "{name} is served without its folder"
            );
            topic.follow(name, &found, &bytes);
            true
        }
        Err(ReadError::FolderOffline) => {
            let is_expected = run.may_be_out_of_reach(topic.folder);
            assert!(is_expected, "{name} is offline, its folder is not");
            topic.is_offline = true;
            true
        }
        Err(error) => {
            assert!(run.is_disturbed(), "{name}: {error:?}");
            false
        }
    }
}
