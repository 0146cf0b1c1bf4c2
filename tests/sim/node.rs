//! The broker's node: the whole of it, from listeners to disk, in a simulated world.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use corelog::broker::Node as Identity;
use corelog::cli::addresses::BoundListener;
use corelog::config::{BrokerConfig, Endpoint, Layers, Overrides, load};
use corelog::metrics::monitor::{Monitor, ShardState};
use corelog::net::admission::Admission;
use corelog::serve::plan::{Plan, Start};
use corelog_shards::io::Stop;
use corelog_shards::io::sim::{Crash, NodeId, World};
use corelog_shards::shard::{CleanerConfig, FolderConfig, RotPolicy, ShardConfig};
use uuid::Uuid;

pub const PORT: u16 = 9092;
const LISTENER: &str = "PLAINTEXT";
pub const DATA: &str = "/data";
const DIRECTORY_ID: Uuid = Uuid::from_u128(1);
const CONNECTIONS_MAX: usize = 1_000;
/// Segments that each shard keeps open.
const OPEN_FILES_MAX: usize = 16;
/// Longer than a stop in order takes.
const STOP_MAX: Duration = Duration::from_secs(60);

/// Longer than it takes to notice that clients have gone.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// What a node is like, from start to start.
#[derive(Clone, Debug)]
pub struct Setup {
    /// `name=value`.
    pub properties: Vec<String>,
    /// The first of them has the metadata log.
    pub folders: Vec<FolderConfig>,
    /// Of each shard, small, so that it goes round.
    pub journal_bytes: u64,
    /// Of each shard.
    pub tail_cache_bytes: usize,
    pub on_rot: RotPolicy,
}

impl Setup {
    pub fn new(properties: Vec<String>) -> Setup {
        Setup {
            properties,
            folders: vec![FolderConfig::only(DIRECTORY_ID, DATA)],
            journal_bytes: 1 << 20,
            tail_cache_bytes: 256 << 10,
            on_rot: RotPolicy::Refuse,
        }
    }
}

pub struct Node {
    id: NodeId,
    file: Overrides,
    /// From the next start on.
    pub setup: Setup,
    was_clean: bool,
    running: Option<Running>,
}

/// A process, from its start to its end.
struct Running {
    shards: usize,
    plan: Arc<Plan>,
    monitor: Arc<Monitor>,
    stop: Stop,
    is_ready: Arc<AtomicBool>,
    failure: Arc<Mutex<Option<String>>>,
    ended: Rc<Cell<usize>>,
}

impl Node {
    pub fn new(world: &mut World, setup: Setup) -> Node {
        let id = world.add_node();
        let loaded = load(&[], &setup.properties).unwrap_or_else(|error| panic!("{error}"));
        assert!(loaded.unknown.is_empty(), "{:?}", loaded.unknown);
        Node {
            id,
            file: loaded.settings,
            setup,
            was_clean: true,
            running: None,
        }
    }

    pub fn id(&self) -> NodeId {
        self.id
    }

    pub fn start(&mut self, world: &mut World, shards: usize) {
        let config = BrokerConfig::resolve(Layers::of_file(&self.file)).expect("sound properties");
        let address = world.socket_address(self.id, PORT);
        let advertised = Endpoint {
            listener: LISTENER.to_owned(),
            host: address.ip().to_string(),
            port: PORT,
        };
        let (stop, monitor) = (Stop::new(), Arc::<Monitor>::default());
        let (is_ready, why) = (Arc::<AtomicBool>::default(), Arc::default());
        let (ready, failure) = (Arc::clone(&is_ready), Arc::<Mutex<_>>::clone(&why));
        let plan = Plan::new(Start {
            shard_config: shard_config(&config, &self.setup),
            config,
            node: Identity {
                cluster_id: "simulated".to_owned(),
                directory_id: self.setup.folders[0].id,
                log_dirs: self.setup.folders.iter().map(|folder| folder.id).collect(),
                file: self.file.clone(),
                advertised: vec![advertised],
            },
            listeners: vec![BoundListener {
                name: LISTENER.to_owned(),
                addresses: vec![address],
            }],
            admission: Admission::new(CONNECTIONS_MAX, |_, hosts| panic!("no names: {hosts:?}")),
            shards,
            was_clean: self.was_clean,
            monitor: monitor.clone(),
            stop: stop.clone(),
            on_ready: Box::new(move || ready.store(true, Ordering::Relaxed)),
            on_failure: Box::new(move |why| {
                *failure.lock().expect("one thread") = Some(why.to_owned());
            }),
        });
        let running = Running {
            shards,
            plan: plan.clone(),
            monitor,
            stop,
            is_ready,
            failure: why,
            ended: Rc::default(),
        };
        let ended = running.ended.clone();
        world.start(self.id, shards, |io, id| {
            let (living, ended) = (plan.clone().run(io, id), ended.clone());
            async move {
                living.await;
                ended.set(ended.get() + 1);
            }
        });
        self.running = Some(running);
        self.was_clean = false;
    }

    /// Whether clients are served.
    pub fn is_ready(&self) -> bool {
        let running = self.running.as_ref();
        running.is_some_and(|running| running.is_ready.load(Ordering::Relaxed))
    }

    /// Why the process would have ended by itself, if it would.
    pub fn failure(&self) -> Option<String> {
        let running = self.running.as_ref()?;
        running.failure.lock().expect("one thread").clone()
    }

    /// Panics if the process would have ended by itself, where nothing gives it a reason.
    pub fn check(&self) {
        assert_eq!(self.failure(), None, "the broker gave up");
    }

    pub fn crash(&mut self, world: &mut World, how: Crash) {
        world.crash(self.id, how);
        self.running = None;
    }

    /// Stops in order. Whether everything is on the disk.
    pub fn stop(&mut self, world: &mut World) -> bool {
        let running = self.running.take().expect("it runs");
        running.stop.request();
        let end = world.now() + STOP_MAX;
        while running.ended.get() < running.shards {
            assert!(world.now() < end, "a stop hangs");
            assert!(world.step(), "a stop waits for nothing");
        }
        world.crash(self.id, Crash::Kill);
        let plan = &running.plan;
        self.was_clean = !plan.gave_up() && plan.offline_folders().is_empty();
        self.was_clean
    }

    /// Panics if something is left of clients that have gone, or more files are open than those that the broker keeps so,
    /// or one that has no name any more.
    pub fn check_drained(&self, world: &mut World) {
        let end = world.now() + DRAIN_MAX;
        loop {
            let (held, kept) = self.load(world);
            let connections = world.connections(self.id);
            let open = world.open_files(self.id);
            let nameless = world.open_nameless_files(self.id);
            if held == (0, 0, 0) && connections == 0 && open == kept && nameless.is_empty() {
                return;
            }
            assert!(
                world.now() < end,
                "connections, bytes of requests and of replies: {held:?}; open connections: {connections}, files: {open}, \
                 of which it keeps {kept}, without a name: {nameless:?}"
            );
            world.run_for(Duration::from_millis(1));
        }
    }

    /// What clients make it hold: connections, bytes of requests and of replies; and how many files it keeps open whether
    /// there are any or not.
    fn load(&self, world: &mut World) -> ((usize, usize, usize), usize) {
        let running = self.running.as_ref().expect("it runs");
        let (mut answer, mut known) = (running.monitor.ask_known(), None);
        world.run_until(|| {
            known = answer.try_recv().ok();
            known.is_some()
        });
        let shards = known.expect("just seen").shards;
        let sum = |of: fn(&ShardState) -> usize| shards.iter().map(of).sum();
        let held = (
            sum(|shard| shard.connections),
            sum(|shard| shard.request_memory.used_bytes),
            sum(|shard| shard.reply_memory.used_bytes),
        );
        (held, sum(|shard| shard.open_files))
    }
}

fn shard_config(config: &BrokerConfig, setup: &Setup) -> ShardConfig {
    ShardConfig {
        folders: setup.folders.clone(),
        journal_bytes: setup.journal_bytes,
        tail_cache_bytes: setup.tail_cache_bytes,
        open_files_max: OPEN_FILES_MAX,
        memory_flush: config.storage.memory_flush,
        retention_check: config.storage.retention_check_interval,
        producer_expiration_ms: config.storage.producer_id_expiration.as_millis() as i64,
        folder_delete_delay: config.storage.folder_delete_delay,
        cleaner: CleanerConfig {
            backoff: Duration::from_secs(1),
            ..CleanerConfig::default()
        },
        on_rot: setup.on_rot,
    }
}
