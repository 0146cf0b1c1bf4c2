//! Brokers for tests of what uses one.

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use corelog_shards::io::Io;
use corelog_shards::log::config::LogConfig;
use corelog_shards::mesh::{Ends, lanes};
use corelog_shards::route::Route;
use corelog_shards::shard::{CleanerConfig, FolderConfig, RotPolicy, ShardConfig, open};
use uuid::Uuid;

use super::{Broker, Node};
use crate::cluster::controller::{NodeStart, Policy};
use crate::cluster::driver::{Driver, METADATA_LOG};
use crate::config::{BrokerConfig, Layers, Overrides};

const DIRECTORY_ID: Uuid = Uuid::from_u128(2);

/// Of one shard, without a controller, with empty metadata, over an empty folder.
pub(crate) async fn broker(io: &Io, folder: &Path) -> Rc<Broker> {
    let ends = lanes(1).pop().expect("one shard");
    broker_of_shard(io, folder, (0, 1), ends).await
}

/// One of several shards, with its place among them.
pub(crate) async fn broker_of_shard(
    io: &Io,
    folder: &Path,
    (id, shards): (usize, usize),
    ends: Ends,
) -> Rc<Broker> {
    let file = Overrides::new();
    let config = BrokerConfig::resolve(Layers::of_file(&file)).expect("the defaults are sound");
    let shard_config = ShardConfig {
        folders: vec![FolderConfig::only(DIRECTORY_ID, folder)],
        journal_bytes: 8 << 20,
        tail_cache_bytes: 1 << 20,
        open_files_max: 16,
        memory_flush: Duration::from_millis(10),
        retention_check: Duration::from_secs(300),
        producer_expiration_ms: 86_400_000,
        folder_delete_delay: Duration::from_secs(60),
        cleaner: CleanerConfig::default(),
        on_rot: RotPolicy::Refuse,
    };
    let opened = open(io.clone(), id, Route::new(shards), shard_config, ends).await;
    let shard = opened.unwrap_or_else(|error| panic!("{error}")).shard;
    let node = Node {
        cluster_id: "test".to_owned(),
        directory_id: DIRECTORY_ID,
        file,
        advertised: Vec::new(),
    };
    let broker = Broker::new(shard.clone(), node, config);
    shard.set_resident(broker.clone());
    broker
}

/// Starts the controller, on shard 0.
pub(crate) async fn lead(broker: &Broker, folder: &Path) -> Rc<Driver> {
    const DIR: &str = "__cluster_metadata-0";
    let shard = &broker.shard;
    let opened = shard.open_partition(METADATA_LOG, DIR, DIRECTORY_ID, 0, LogConfig::default());
    opened.await.expect("a metadata log");
    let config = broker.config();
    let start = NodeStart {
        node_id: config.node.node_id,
        incarnation_id: Uuid::from_u128(3),
        endpoints: Vec::new(),
        controller_endpoints: Vec::new(),
        rack: None,
        log_dirs: vec![broker.node.directory_id],
        bump_leader_epochs: false,
    };
    let (policy, file) = (Policy::from(&*config), broker.node.file.clone());
    let dir = folder.join(DIR);
    let cluster = &broker.node.cluster_id;
    let started = Driver::start(shard.clone(), &dir, cluster, policy, file, start).await;
    let driver = Rc::new(started.unwrap_or_else(|error| panic!("{error}")));
    broker.set_controller(driver.clone());
    driver
}
