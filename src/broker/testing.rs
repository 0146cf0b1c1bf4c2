//! Brokers for tests of what uses one.

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use corelog_shards::io::Io;
use corelog_shards::mesh::{Ends, lanes};
use corelog_shards::route::Route;
use corelog_shards::shard::{CleanerConfig, FolderConfig, RotPolicy, ShardConfig, open};
use uuid::Uuid;

use super::{Broker, Node};
use crate::cluster::controller::Policy;
use crate::cluster::driver::{Driver, METADATA_LOG, log_config};
use crate::cluster::image::Image;
use crate::config::{BrokerConfig, Layers, Overrides};

/// None of the ids with a meaning of their own.
const DIRECTORY_ID: Uuid = Uuid::from_u128(0x1000);

/// Of one shard, without a controller, with empty metadata, over an empty folder.
pub(crate) async fn broker(io: &Io, folder: &Path) -> Rc<Broker> {
    broker_with(io, folder, &[]).await
}

/// As [`broker`], with these properties.
pub(crate) async fn broker_with(io: &Io, folder: &Path, properties: &[(&str, &str)]) -> Rc<Broker> {
    let ends = lanes(1).pop().expect("one shard");
    let folders = vec![FolderConfig::only(DIRECTORY_ID, folder)];
    start(io, folders, (0, 1), ends, overrides(properties)).await
}

fn overrides(properties: &[(&str, &str)]) -> Overrides {
    let property = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    properties.iter().map(property).collect()
}

/// The same over several folders, each on a device of its own, the first with the metadata log; with
/// `log.dirs` and these properties.
pub(crate) async fn broker_in(
    io: &Io,
    folders: &[(Uuid, &Path)],
    properties: &[(&str, &str)],
) -> Rc<Broker> {
    let ends = lanes(1).pop().expect("one shard");
    let paths: Vec<String> = folders
        .iter()
        .map(|(_, path)| path.display().to_string())
        .collect();
    let mut file = overrides(properties);
    file.insert("log.dirs".to_owned(), paths.join(","));
    let folders = (0..).zip(folders).map(|(at, (id, path))| FolderConfig {
        device: at,
        is_required: at == 0,
        ..FolderConfig::only(*id, *path)
    });
    start(io, folders.collect(), (0, 1), ends, file).await
}

/// One of several shards, with its place among them.
pub(crate) async fn broker_of_shard(
    io: &Io,
    folder: &Path,
    place: (usize, usize),
    ends: Ends,
) -> Rc<Broker> {
    let folders = vec![FolderConfig::only(DIRECTORY_ID, folder)];
    start(io, folders, place, ends, Overrides::new()).await
}

async fn start(
    io: &Io,
    folders: Vec<FolderConfig>,
    (id, shards): (usize, usize),
    ends: Ends,
    file: Overrides,
) -> Rc<Broker> {
    let log_dirs: Vec<Uuid> = folders.iter().map(|folder| folder.id).collect();
    let config = BrokerConfig::resolve(Layers::of_file(&file)).expect("sound properties");
    let shard_config = ShardConfig {
        folders,
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
        directory_id: log_dirs[0],
        log_dirs,
        file,
        advertised: Vec::new(),
    };
    let broker = Broker::new(shard.clone(), node, config);
    broker.move_in();
    broker
}

/// Starts the controller, on shard 0.
pub(crate) async fn lead(broker: &Broker, folder: &Path) -> Rc<Driver> {
    const DIR: &str = "__cluster_metadata-0";
    let shard = &broker.shard;
    let id = broker.node.directory_id;
    let config = broker.config();
    let settings = log_config(&config.metadata_log);
    let opened = shard.open_partition(METADATA_LOG, DIR, id, 0, settings);
    opened.await.expect("a metadata log");
    let registration = |image: &Image| broker.registration(image, false);
    let (policy, file) = (Policy::from(&*config), broker.node.file.clone());
    let dir = folder.join(DIR);
    let cluster = &broker.node.cluster_id;
    let snapshots = config.metadata_log.snapshots.clone();
    let started = Driver::start(
        shard.clone(),
        &dir,
        cluster,
        policy,
        file,
        snapshots,
        registration,
    );
    let driver = Rc::new(started.await.unwrap_or_else(|error| panic!("{error}")));
    broker.set_controller(driver.clone());
    driver
}
