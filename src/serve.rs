//! A broker's life: shards open, the controller starts, clients are served, everything drains.
//!
//! Shard 0 leads: it starts the controller, has every shard take over the metadata and listen, and at
//! the end has them drain before any engine stops, since connections of one shard use the others.

use std::fmt;
use std::net::ToSocketAddrs;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use corelog_shards::io::{Io, Stop};
use corelog_shards::journal::Durability;
use corelog_shards::log::config::LogConfig;
use corelog_shards::mesh::{self, Ends};
use corelog_shards::route::Route;
use corelog_shards::runtime;
use corelog_shards::shard::{self, RotPolicy, Shard, ShardConfig};
use uuid::Uuid;

use crate::broker::{Broker, Node, cleaner_config};
use crate::cli::addresses::BoundListener;
use crate::cli::start::Prepared;
use crate::cluster::controller::{NodeStart, Policy};
use crate::cluster::driver::{Driver, METADATA_LOG};
use crate::cluster::image::Image;
use crate::cluster::records;
use crate::config::{BrokerConfig, OnRot, StorageConfig};
use crate::metrics;
use crate::metrics::monitor::{Monitor, Phase};
use crate::net::admission::Admission;
use crate::net::{Limits, Network};

/// Kafka's mark of a clean stop.
const CLEAN_STOP: &str = ".kafka_cleanshutdown";
/// Folder of the metadata log, as Kafka names it.
const METADATA_DIR: &str = "__cluster_metadata-0";
/// How long requests that have begun may take when the broker stops.
const DRAIN_PATIENCE: Duration = Duration::from_secs(5);

/// Why the broker ended other than by request.
#[derive(Debug)]
pub struct ServeError(String);

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ServeError {}

/// What every shard is started with.
struct Plan {
    config: BrokerConfig,
    shard_config: ShardConfig,
    node: Node,
    listeners: Vec<BoundListener>,
    banner: String,
    admission: Arc<Admission>,
    shards: usize,
    /// What each shard takes when it starts.
    ends: Mutex<Vec<Option<Ends>>>,
    was_clean: bool,
    monitor: Arc<Monitor>,
    stop: Stop,
    /// All shards have drained and may end.
    ended: Stop,
    /// A shard has ended without what found no room on a full disk.
    gave_up: AtomicBool,
}

/// Runs a broker until `stop` is requested.
pub fn serve(prepared: Prepared, stop: Stop) -> Result<(), ServeError> {
    let mark = prepared.folder.path.join(CLEAN_STOP);
    let was_clean = prepared.folder.is_new || mark.exists();
    // From here on a crash must not look like a clean stop.
    if mark.exists() {
        let folder = std::fs::File::open(&prepared.folder.path);
        std::fs::remove_file(&mark)
            .and_then(|()| folder?.sync_all())
            .map_err(|error| ServeError(format!("{}: {error}", mark.display())))?;
    }
    let shards = prepared.cores.len();
    let monitor = Arc::new(Monitor::default());
    let banner = prepared.banner();
    if !prepared.http.is_empty() {
        metrics::server::start(prepared.http, monitor.clone())
            .map_err(|error| ServeError(format!("cannot serve metrics: {error}")))?;
    }
    let plan = Arc::new(Plan {
        shard_config: shard_config(&prepared.config.storage, shards),
        node: Node {
            cluster_id: prepared.folder.cluster_id.clone(),
            directory_id: prepared.folder.directory_id,
            file: prepared.file.clone(),
            advertised: prepared.advertised.clone(),
        },
        banner,
        admission: Admission::new(connections_max(shards), look_up),
        listeners: prepared.listeners.clone(),
        config: prepared.config.clone(),
        shards,
        ends: Mutex::new(mesh::lanes(shards).into_iter().map(Some).collect()),
        was_clean,
        monitor: monitor.clone(),
        stop,
        ended: Stop::new(),
        gave_up: AtomicBool::new(false),
    });
    let of_shards = plan.clone();
    runtime::run_shards(&prepared.cores, move |io, id| {
        let plan = of_shards.clone();
        async move {
            if let Err(error) = run_shard(&plan, io, id).await {
                fail(&error);
            }
        }
    })
    .map_err(|error| ServeError(error.to_string()))?;
    if plan.gave_up.load(Ordering::Relaxed) {
        return Ok(());
    }
    // Without the mark the next start takes this stop for a crash, which costs nothing but new leader
    // epochs: no failure, and to be expected on a full disk.
    if let Err(error) = std::fs::write(&mark, "{\"version\":0,\"brokerEpoch\":-1}") {
        tracing::warn!(file = %mark.display(), %error, "cannot mark the stop as clean");
    }
    Ok(())
}

/// Ends the process. Others may be waiting for what this shard will never do; recovery is cheap.
fn fail(why: &str) -> ! {
    tracing::error!("ending the process: {why}");
    // The log may be written by another thread that never gets to it.
    eprintln!("corelog: {why}");
    std::process::exit(1)
}

async fn run_shard(plan: &Arc<Plan>, io: Io, id: usize) -> Result<(), String> {
    let ends = plan
        .ends
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())[id]
        .take();
    let ends = ends.expect("each shard starts once");
    let opened = shard::open(
        io,
        id,
        Route::new(plan.shards),
        plan.shard_config.clone(),
        ends,
    )
    .await
    .map_err(|error| error.to_string())?;
    let shard = opened.shard;
    if opened.partitions > 0 {
        tracing::info!(
            shard = id,
            partitions = opened.partitions,
            groups = opened.groups,
            "recovered"
        );
    }
    shard.on_failure(|| fail("the journal cannot be written"));
    let broker = Broker::new(shard.clone(), plan.node.clone(), plan.config.clone());
    shard.set_resident(broker.clone());
    plan.monitor.watch(&broker);
    // Jobs for a shard's broker may be sent from here on.
    shard.meet().await;
    if id == 0 {
        lead(plan, &shard, &broker).await?;
    }
    plan.ended.requested().await;
    shard.stop().await;
    plan.monitor.forget(id);
    if shard.has_failed() {
        plan.gave_up.store(true, Ordering::Relaxed);
    }
    Ok(())
}

/// Shard 0's part: from the controller's start to the end of all.
async fn lead(plan: &Arc<Plan>, shard: &Shard, broker: &Rc<Broker>) -> Result<(), String> {
    // Whatever topics are given by default: what they are given is told here.
    let metadata_config = LogConfig {
        cleanup_delete: false,
        durability: Durability::Sync,
        ..LogConfig::default()
    };
    let opened = shard
        .open_partition(METADATA_LOG, METADATA_DIR, 0, metadata_config)
        .await;
    opened.map_err(|error| format!("the metadata log cannot be opened: {error:?}"))?;
    let driver = Driver::start(
        shard.clone(),
        &plan.shard_config.log_dir.join(METADATA_DIR),
        &plan.node.cluster_id,
        Policy::from(&plan.config),
        plan.node.file.clone(),
        node_start(plan, shard),
    )
    .await
    .map_err(|error| error.to_string())?;
    let driver = Rc::new(driver);
    broker.set_controller(driver.clone());
    let serving = plan.clone();
    let listening = |shard: Shard| async move {
        let broker = Broker::of(&shard);
        broker.set_network(listen(&serving, &shard, &broker)?);
        Ok(())
    };
    put_into_service(shard, driver.image(), listening).await?;
    let answering = plan.monitor.clone().answer(broker.clone());
    shard.io().spawn("monitor", answering);
    plan.monitor.enter(Phase::Ready);
    print!("{}", plan.banner);
    tracing::info!("ready");
    plan.stop.requested().await;
    plan.monitor.enter(Phase::Stopping);
    shard
        .run_on_all(|shard| async move { Broker::of(&shard).drain(DRAIN_PATIENCE).await })
        .await;
    plan.ended.request();
    Ok(())
}

/// Has every shard take over the metadata and then serve clients. No shard listens before all know
/// the metadata: what a client changes is published to every shard, as a change of what it knows.
async fn put_into_service<F>(
    shard: &Shard,
    image: Image,
    listen: impl FnOnce(Shard) -> F + Clone + Send + 'static,
) -> Result<(), String>
where
    F: Future<Output = Result<(), String>> + 'static,
{
    let known = image.clone();
    shard
        .run_on_all(move |shard| async move { Broker::of(&shard).drop_unknown(&known).await })
        .await;
    shard
        .run_on_all(move |shard| async move { Broker::of(&shard).install(image).await })
        .await;
    shard.run_on_all(listen).await.into_iter().collect()
}

fn listen(plan: &Plan, shard: &Shard, broker: &Rc<Broker>) -> Result<Network, String> {
    let network = &plan.config.network;
    let per_shard = network.request_memory_bytes_per_shard;
    let limits = Limits {
        request_bytes_max: network.request_bytes_max as usize,
        request_memory_bytes: network
            .queued_request_bytes_max
            .map_or(per_shard, |bytes| bytes / plan.shards as u64)
            as usize,
        reply_memory_bytes: per_shard as usize,
        idle_max: network.idle_max,
    };
    let network = Network::new(
        shard.io().clone(),
        limits,
        broker.clone(),
        plan.admission.clone(),
    );
    network.set_connection_limits(&broker.config().network);
    for listener in &plan.listeners {
        // As in Kafka, clients must not keep other brokers out.
        let is_protected =
            plan.listeners.len() > 1 && listener.name == plan.config.listeners.inter_broker;
        for address in &listener.addresses {
            let bound = network.listen(&listener.name, *address, is_protected);
            bound.map_err(|error| format!("cannot listen on {address}: {error}"))?;
        }
    }
    Ok(network)
}

fn node_start(plan: &Plan, shard: &Shard) -> NodeStart {
    let endpoint = |endpoint: &crate::config::Endpoint| records::Endpoint {
        name: endpoint.listener.clone(),
        host: endpoint.host.clone(),
        port: endpoint.port,
        security_protocol: 0,
    };
    let io = shard.io();
    NodeStart {
        node_id: plan.config.node.node_id,
        incarnation_id: Uuid::from_u64_pair(io.random_u64(), io.random_u64()),
        endpoints: plan.node.advertised.iter().map(endpoint).collect(),
        controller_endpoints: plan
            .config
            .listeners
            .controllers
            .iter()
            .map(endpoint)
            .collect(),
        rack: plan.config.node.rack.clone(),
        log_dirs: vec![plan.node.directory_id],
        bump_leader_epochs: !plan.was_clean,
    }
}

fn shard_config(storage: &StorageConfig, shards: usize) -> ShardConfig {
    ShardConfig {
        log_dir: storage.log_dir.clone(),
        journal_bytes: storage.journal_bytes_per_shard,
        tail_cache_bytes: storage.tail_cache_bytes_per_shard as usize,
        open_files_max: open_files_max(shards),
        memory_flush: storage.memory_flush,
        retention_check: storage.retention_check_interval,
        producer_expiration_ms: storage.producer_id_expiration.as_millis() as i64,
        cleaner: cleaner_config(&storage.cleaner, shards),
        on_rot: match storage.on_rot {
            OnRot::Refuse => RotPolicy::Refuse,
            OnRot::Continue => RotPolicy::Continue,
        },
    }
}

/// Files that each shard opens beside segments and connections: its journal, its rings.
const OWN_FILES_OF_SHARD: usize = 48;
/// Files of the process as a whole: the log, the folder's lock, and what serves metrics.
const OWN_FILES: usize = 32 + metrics::server::FILES_MAX;

/// Files that the process may open at once.
fn files_max() -> usize {
    use nix::sys::resource::{Resource, getrlimit};
    getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft as usize)
}

/// A quarter of what the process may open is for segments; the rest for connections.
fn open_files_max(shards: usize) -> usize {
    (files_max() / 4 / shards).clamp(16, 4096)
}

/// Connections never take the files that the logs need.
fn connections_max(shards: usize) -> usize {
    let for_logs = (open_files_max(shards) + OWN_FILES_OF_SHARD) * shards + OWN_FILES;
    files_max().saturating_sub(for_logs).max(1)
}

/// On a thread of its own, since a name that does not resolve takes its time to say so.
fn look_up(admission: Arc<Admission>, hosts: Vec<String>) {
    std::thread::spawn(move || {
        for host in hosts {
            match (host.as_str(), 0).to_socket_addrs() {
                Ok(addresses) => admission.found(&host, addresses.map(|address| address.ip())),
                Err(error) => {
                    tracing::warn!(host, %error, "max.connections.per.ip.overrides: unknown host")
                }
            }
        }
    });
}

#[cfg(test)]
mod tests;
