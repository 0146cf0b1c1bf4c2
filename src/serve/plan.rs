//! A broker's life on its shards: they open, the controller starts, clients are served, everything drains.
//!
//! Shard 0 leads: it starts the controller, has every shard take over the metadata and listen, and at
//! the end has them drain before any engine stops, since connections of one shard use the others.
//!
//! Knows of no process: what is to happen with it is told to whoever made the plan, so that a broker
//! can live in a simulated world as well.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use corelog_shards::io::{Io, Stop};
use corelog_shards::journal::recovery::RecoveryError;
use corelog_shards::mesh::{self, Ends};
use corelog_shards::route::Route;
use corelog_shards::shard::{self, MissingFolder, Shard, ShardConfig, StartError};
use uuid::Uuid;

use crate::broker::{Broker, Node};
use crate::cli::addresses::BoundListener;
use crate::cluster::controller::Policy;
use crate::cluster::driver::{
    ControlFailure, Driver, DriverError, METADATA_DIR, METADATA_LOG, log_config,
};
use crate::cluster::image::Image;
use crate::config::BrokerConfig;
use crate::metrics::monitor::{Cause, Monitor, Phase};
use crate::net::admission::Admission;
use crate::net::{Limits, Network};

/// How long requests that have begun may take when the broker stops.
const DRAIN_PATIENCE: Duration = Duration::from_secs(5);
/// The same when it has failed: they are told so, and what waits for records is cut off.
const FAILURE_PATIENCE: Duration = Duration::from_secs(1);
/// Missing folders that are named.
const MISSING_NAMED: usize = 5;
/// How often a start that takes long says how far it is.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

/// What a broker is started with.
pub struct Start {
    pub config: BrokerConfig,
    pub shard_config: ShardConfig,
    pub node: Node,
    pub listeners: Vec<BoundListener>,
    pub admission: Arc<Admission>,
    pub shards: usize,
    /// Whether the last run on this data came to its end.
    pub was_clean: bool,
    pub monitor: Arc<Monitor>,
    /// Ends the broker once it is requested.
    pub stop: Stop,
    /// Clients are served from now on.
    pub on_ready: Box<dyn Fn() + Send + Sync>,
    /// The broker has failed, and why, as its monitor says as well: the process has to end soon, whatever
    /// waits for what will never be done. Called once. Requesting `stop` has clients told so.
    pub on_failure: Box<dyn Fn(&str) + Send + Sync>,
}

/// What every shard of a broker is run with.
pub struct Plan {
    start: Start,
    /// What each shard takes when it starts.
    ends: Mutex<Vec<Option<Ends>>>,
    /// All shards have drained and may end.
    ended: Stop,
    /// A shard has ended without what found no room on a full disk.
    gave_up: AtomicBool,
    /// Folders that were offline to any shard when it ended.
    offline: Mutex<BTreeSet<Uuid>>,
}

impl Plan {
    pub fn new(start: Start) -> Arc<Plan> {
        let ends = mesh::lanes(start.shards).into_iter().map(Some).collect();
        Arc::new(Plan {
            ends: Mutex::new(ends),
            ended: Stop::new(),
            gave_up: AtomicBool::new(false),
            offline: Mutex::default(),
            start,
        })
    }

    /// Whether something was not written at the end, since the disk was full.
    pub fn gave_up(&self) -> bool {
        self.gave_up.load(Ordering::Relaxed)
    }

    /// The folders that have failed by the end: they were not left in order.
    pub fn offline_folders(&self) -> BTreeSet<Uuid> {
        let offline = self.offline.lock();
        offline
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .clone()
    }

    /// The main future of a shard: returns when the broker has come to its end.
    pub async fn run(self: Arc<Self>, io: Io, id: usize) {
        if let Err((cause, why)) = run_shard(&self, io, id).await {
            self.fail(cause, &why);
        }
    }

    fn fail(&self, cause: Cause, why: &str) {
        if self.start.monitor.fail(cause, why) {
            (self.start.on_failure)(why);
        }
    }

    fn has_failed(&self) -> bool {
        self.start.monitor.phase() == Phase::Failed
    }
}

/// What kind of failure it is, and its words.
type Failed = (Cause, String);

fn failed(why: String) -> Failed {
    (Cause::Other, why)
}

fn of_shard(error: &StartError) -> Failed {
    let cause = match error {
        StartError::Damaged(_)
        | StartError::Missing(_)
        | StartError::Journal(RecoveryError::Malformed(..)) => Cause::Data,
        StartError::Io(..)
        | StartError::Journal(RecoveryError::Io(..))
        | StartError::NotWritten(_)
        | StartError::NoFolder => Cause::Disk,
    };
    (cause, error.to_string())
}

fn of_missing(missing: &[MissingFolder]) -> Failed {
    let paths = missing.iter().map(|lost| lost.path.display().to_string());
    let paths: Vec<String> = paths.take(MISSING_NAMED).collect();
    let why = format!(
        "{} folders of partitions are missing, with what was acknowledged in them: {}. Restore them, or set \
         corelog.recovery.on.rot=continue to start with these partitions empty",
        missing.len(),
        paths.join(", ")
    );
    (Cause::Data, why)
}

fn of_controller(error: &DriverError) -> Failed {
    let cause = match error {
        DriverError::Read(_) | DriverError::Unsupported { .. } => Cause::Data,
        DriverError::Append(ControlFailure::Storage) => Cause::Disk,
        DriverError::Append(ControlFailure::TooLarge) => Cause::Other,
    };
    (cause, error.to_string())
}

/// Says how far the start is, until it has ended.
async fn tell_progress(plan: Arc<Plan>, io: Io) {
    let begin = io.now();
    let monitor = &plan.start.monitor;
    loop {
        io.sleep(PROGRESS_EVERY).await;
        if monitor.phase() != Phase::Recovering {
            return;
        }
        tracing::info!("recovering: {}", monitor.recovery(io.now().since(begin)));
    }
}

async fn run_shard(plan: &Arc<Plan>, io: Io, id: usize) -> Result<(), Failed> {
    let ends = plan
        .ends
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())[id]
        .take();
    let ends = ends.expect("each shard starts once");
    let progress = plan.start.monitor.watch_recovery(id);
    if id == 0 {
        let telling = tell_progress(plan.clone(), io.clone());
        io.spawn("progress of the start", telling);
    }
    let opened = shard::open_watched(
        io,
        id,
        Route::new(plan.start.shards),
        plan.start.shard_config.clone(),
        ends,
        progress,
    )
    .await
    .map_err(|error| of_shard(&error))?;
    let shard = opened.shard;
    if opened.partitions > 0 {
        tracing::info!(
            shard = id,
            partitions = opened.partitions,
            groups = opened.groups,
            "recovered"
        );
    }
    let failing = plan.clone();
    shard.on_failure(move || failing.fail(Cause::Disk, "the journal cannot be written"));
    let broker = Broker::new(
        shard.clone(),
        plan.start.node.clone(),
        plan.start.config.clone(),
    );
    broker.move_in();
    broker.watch_folders();
    plan.start.monitor.watch(&broker);
    // Jobs for a shard's broker may be sent from here on.
    shard.meet().await;
    if id == 0 {
        lead(plan, &shard, &broker).await?;
    }
    plan.ended.requested().await;
    shard.stop().await;
    plan.start.monitor.forget(id);
    let folders = shard.folders().into_iter();
    let offline = folders.filter(|folder| folder.is_offline);
    plan.offline
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
        .extend(offline.map(|folder| folder.id));
    if shard.has_failed() {
        plan.gave_up.store(true, Ordering::Relaxed);
    }
    Ok(())
}

/// Shard 0's part: from the controller's start to the end of all.
async fn lead(plan: &Arc<Plan>, shard: &Shard, broker: &Rc<Broker>) -> Result<(), Failed> {
    let settings = &plan.start.config.metadata_log;
    let folder = plan.start.node.directory_id;
    let opened = shard
        .open_partition(METADATA_LOG, METADATA_DIR, folder, 0, log_config(settings))
        .await;
    if let Some(lost) = shard.missing_folder(&METADATA_LOG) {
        let why = format!(
            "{} is missing: without it no topic is known. Restore it",
            lost.path.display()
        );
        return Err((Cause::Data, why));
    }
    let refused = |error| {
        let why = format!("the metadata log cannot be opened: {error:?}");
        (Cause::Disk, why)
    };
    let found = opened.map_err(refused)?;
    let folders = shard.folders();
    let path_of = |id| {
        folders
            .iter()
            .find(|folder| folder.id == id)
            .map(|folder| &folder.path)
    };
    if found != folder {
        return Err(failed(format!(
            "the metadata log is in {}: set metadata.log.dir to it",
            path_of(found).map_or_else(|| found.to_string(), |path| path.display().to_string())
        )));
    }
    if broker
        .partition_folders()
        .iter()
        .all(|folder| folder.is_offline)
    {
        let why = "no folder of log.dirs can be used".to_owned();
        return Err((Cause::Disk, why));
    }
    let metadata_path = path_of(folder).expect("it is one of the folders");
    let driver = Driver::start(
        shard.clone(),
        &metadata_path.join(METADATA_DIR),
        &plan.start.node.cluster_id,
        Policy::from(&plan.start.config),
        plan.start.node.file.clone(),
        settings.snapshots.clone(),
        |image| broker.registration(image, !plan.start.was_clean),
    )
    .await
    .map_err(|error| of_controller(&error))?;
    let driver = Rc::new(driver);
    broker.set_controller(driver.clone());
    shard
        .io()
        .spawn("metadata snapshots", driver.clone().keep_small());
    let serving = plan.clone();
    let listening = |shard: Shard| async move {
        let broker = Broker::of(&shard);
        broker.set_network(listen(&serving, &shard, &broker)?);
        broker.report_folders(Rc::new(move |why: &str| serving.fail(Cause::Disk, why)));
        Ok(())
    };
    put_into_service(shard, driver.image(), listening).await?;
    let answering = plan.start.monitor.clone().answer(broker.clone());
    shard.io().spawn("monitor", answering);
    plan.start.monitor.enter(Phase::Ready);
    (plan.start.on_ready)();
    plan.start.stop.requested().await;
    plan.start.monitor.enter(Phase::Stopping);
    let patience = match plan.has_failed() {
        true => FAILURE_PATIENCE,
        false => DRAIN_PATIENCE,
    };
    shard
        .run_on_all(move |shard| async move { Broker::of(&shard).drain(patience).await })
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
) -> Result<(), Failed>
where
    F: Future<Output = Result<(), String>> + 'static,
{
    let known = image.clone();
    shard
        .run_on_all(move |shard| async move { Broker::of(&shard).drop_unknown(&known).await })
        .await;
    let missing = shard
        .run_on_all(|shard| async move { shard.missing_folders().await })
        .await
        .concat();
    if !missing.is_empty() {
        return Err(of_missing(&missing));
    }
    shard
        .run_on_all(move |shard| async move { Broker::of(&shard).install(image).await })
        .await;
    let listening: Result<(), String> = shard.run_on_all(listen).await.into_iter().collect();
    listening.map_err(failed)
}

fn listen(plan: &Plan, shard: &Shard, broker: &Rc<Broker>) -> Result<Network, String> {
    let network = &plan.start.config.network;
    let per_shard = network.request_memory_bytes_per_shard;
    let limits = Limits {
        request_bytes_max: network.request_bytes_max as usize,
        request_memory_bytes: network
            .queued_request_bytes_max
            .map_or(per_shard, |bytes| bytes / plan.start.shards as u64)
            as usize,
        reply_memory_bytes: per_shard as usize,
        idle_max: network.idle_max,
    };
    let network = Network::new(
        shard.io().clone(),
        limits,
        broker.clone(),
        plan.start.admission.clone(),
    );
    network.set_connection_limits(&broker.config().network);
    for listener in &plan.start.listeners {
        // As in Kafka, clients must not keep other brokers out.
        let is_protected = plan.start.listeners.len() > 1
            && listener.name == plan.start.config.listeners.inter_broker;
        for address in &listener.addresses {
            let bound = network.listen(&listener.name, *address, is_protected);
            bound.map_err(|error| format!("cannot listen on {address}: {error}"))?;
        }
    }
    Ok(network)
}

#[cfg(test)]
mod tests;
