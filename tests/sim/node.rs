//! The broker's node: the whole of it, from listeners to disk, in a simulated world.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use corelog::broker::Node as Identity;
use corelog::cli::addresses::BoundListener;
use corelog::config::{BrokerConfig, Endpoint, Layers, Overrides, load};
use corelog::net::admission::Admission;
use corelog::serve::plan::{Plan, Start};
use corelog_shards::io::Stop;
use corelog_shards::io::sim::{Crash, NodeId, World};
use corelog_shards::shard::{CleanerConfig, FolderConfig, RotPolicy, ShardConfig};
use uuid::Uuid;

pub const PORT: u16 = 9092;
const LISTENER: &str = "PLAINTEXT";
const DATA: &str = "/data";
const DIRECTORY_ID: Uuid = Uuid::from_u128(1);
/// Small, so that it goes round.
const JOURNAL_BYTES: u64 = 1 << 20;
const CONNECTIONS_MAX: usize = 1_000;
/// Longer than a stop in order takes.
const STOP_MAX: Duration = Duration::from_secs(60);

pub struct Node {
    id: NodeId,
    file: Overrides,
    was_clean: bool,
    running: Option<Running>,
}

/// A process, from its start to its end.
struct Running {
    shards: usize,
    stop: Stop,
    is_ready: Arc<AtomicBool>,
    failure: Arc<Mutex<Option<String>>>,
    ended: Rc<Cell<usize>>,
}

impl Node {
    /// With these properties, `name=value`.
    pub fn new(world: &mut World, properties: &[String]) -> Node {
        let id = world.add_node();
        let loaded = load(&[], properties).unwrap_or_else(|error| panic!("{error}"));
        assert!(loaded.unknown.is_empty(), "{:?}", loaded.unknown);
        Node {
            id,
            file: loaded.settings,
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
        let running = Running {
            shards,
            stop: Stop::new(),
            is_ready: Arc::default(),
            failure: Arc::default(),
            ended: Rc::default(),
        };
        let (ready, failure) = (running.is_ready.clone(), running.failure.clone());
        let plan = Plan::new(Start {
            shard_config: shard_config(&config),
            config,
            node: Identity {
                cluster_id: "simulated".to_owned(),
                directory_id: DIRECTORY_ID,
                log_dirs: vec![DIRECTORY_ID],
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
            monitor: Arc::default(),
            stop: running.stop.clone(),
            on_ready: Box::new(move || ready.store(true, Ordering::Relaxed)),
            on_failure: Box::new(move |why| {
                *failure.lock().expect("one thread") = Some(why.to_owned());
            }),
        });
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

    /// Panics if the process would have ended by itself: nothing here gives it a reason.
    pub fn check(&self) {
        if let Some(running) = &self.running {
            let failure = running.failure.lock().expect("one thread");
            assert_eq!(*failure, None, "the broker gave up");
        }
    }

    pub fn crash(&mut self, world: &mut World, how: Crash) {
        self.check();
        world.crash(self.id, how);
        self.running = None;
    }

    /// Stops in order.
    pub fn stop(&mut self, world: &mut World) {
        let running = self.running.take().expect("it runs");
        running.stop.request();
        let end = world.now() + STOP_MAX;
        while running.ended.get() < running.shards {
            assert!(world.now() < end, "a stop hangs");
            assert!(world.step(), "a stop waits for nothing");
        }
        world.crash(self.id, Crash::Kill);
        self.was_clean = true;
    }
}

fn shard_config(config: &BrokerConfig) -> ShardConfig {
    ShardConfig {
        folders: vec![FolderConfig::only(DIRECTORY_ID, DATA)],
        journal_bytes: JOURNAL_BYTES,
        tail_cache_bytes: 256 << 10,
        open_files_max: 16,
        memory_flush: config.storage.memory_flush,
        retention_check: config.storage.retention_check_interval,
        producer_expiration_ms: config.storage.producer_id_expiration.as_millis() as i64,
        folder_delete_delay: config.storage.folder_delete_delay,
        cleaner: CleanerConfig {
            backoff: Duration::from_secs(1),
            ..CleanerConfig::default()
        },
        on_rot: RotPolicy::Refuse,
    }
}
