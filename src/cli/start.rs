//! `corelog start`: everything that comes before the shards.
//!
//! In this order: the configuration is read and checked, the host, the ports; then the data folders
//! are made, locked and identified, and their file systems checked. A start that fails before the
//! folders leaves nothing behind; one that fails at them may leave folders with their lock files, and
//! an identity only where there was one.

use std::collections::BTreeSet;
use std::fmt::{self, Write};
use std::io;
use std::net::TcpListener;
use std::path::PathBuf;

use clap::Args;
use corelog_shards::runtime;

use super::addresses::{self, AddressError, BoundListener};
use super::folders::{DataFolders, FolderError};
use super::host::{self, HostError};
use crate::config::{
    BrokerConfig, ConfigError, Endpoint, HttpConfig, Layers, LoadError, Loaded, Overrides,
    check_cordoned_log_dirs, load,
};

/// The configuration of a broker
#[derive(Debug, Default, Args)]
pub struct BrokerArgs {
    /// Configuration in Apache Kafka's format; without it, localhost:9092 and ./corelog-data
    #[arg(value_name = "server.properties")]
    pub file: Option<PathBuf>,

    /// Set one property, whatever the file says; may be repeated
    #[arg(long = "override", value_name = "NAME=VALUE")]
    pub overrides: Vec<String>,

    /// Cores to run on [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub cores: Option<u16>,
}

/// Run the broker
#[derive(Debug, Default, Args)]
pub struct StartArgs {
    #[command(flatten)]
    pub config: BrokerArgs,

    /// Id of the cluster: given to an empty folder, checked against another [default: random]
    #[arg(long, value_name = "ID")]
    pub cluster_id: Option<String>,

    /// What to log, for example `debug` or `warn,corelog::api=trace` [default: info]
    #[arg(long, value_name = "FILTER")]
    pub log: Option<String>,
}

/// A broker that is ready to be run.
#[derive(Debug)]
pub struct Prepared {
    pub config: BrokerConfig,
    /// The layer of `server.properties` and overrides, for whatever resolves again.
    pub file: Overrides,
    /// Locked until they are dropped.
    pub folders: DataFolders,
    /// One for each shard.
    pub cores: Vec<usize>,
    pub listeners: Vec<BoundListener>,
    /// What clients are told.
    pub advertised: Vec<Endpoint>,
    /// Where metrics and health are served, if anywhere.
    pub http: Vec<TcpListener>,
}

/// Why the broker doesn't start.
#[derive(Debug)]
pub enum StartError {
    File {
        path: PathBuf,
        source: io::Error,
    },
    Load {
        path: Option<PathBuf>,
        error: LoadError,
    },
    Config(ConfigError),
    Runtime(runtime::StartError),
    Cores(io::Error),
    Host(HostError),
    Address(AddressError),
    Folder(FolderError),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::File { path, source } => {
                write!(f, "can't read {}: {source}", path.display())
            }
            StartError::Load {
                path: Some(path),
                error,
            } => write!(f, "{}: {error}", path.display()),
            StartError::Load { path: None, error } => write!(f, "{error}"),
            StartError::Config(error) => write!(f, "{error}"),
            StartError::Runtime(error) => write!(f, "{error}"),
            StartError::Cores(error) => write!(f, "can't tell the cores of this machine: {error}"),
            StartError::Host(error) => write!(f, "{error}"),
            StartError::Address(error) => write!(f, "{error}"),
            StartError::Folder(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for StartError {}

/// Does all that comes before the shards, and logs what should be known about it.
pub fn prepare(args: &StartArgs) -> Result<Prepared, StartError> {
    let (file, config) = configuration(&args.config)?;
    host::use_small_pages();
    if let Some(warning) = host::raise_limits() {
        tracing::warn!("{warning}");
    }
    // What may be locked counts as it was raised.
    runtime::check_io_uring().map_err(StartError::Runtime)?;
    let cores = choose_cores(config.node.cores)?;
    let bound = &config.listeners.bound;
    let listeners = addresses::bind_addresses(bound).map_err(StartError::Address)?;
    let advertised = addresses::advertise(&config.listeners.advertised, &listeners);
    let http = listen_for_http(config.http.as_ref())?;

    let folders = open_folders(&config, args.cluster_id.as_deref(), cores.len())?;
    Ok(Prepared {
        config,
        file,
        folders,
        cores,
        listeners,
        advertised,
        http,
    })
}

/// Opens the data folders and checks what their file systems give. After an error none has an
/// identity that had none before.
fn open_folders(
    config: &BrokerConfig,
    cluster_id: Option<&str>,
    shards: usize,
) -> Result<DataFolders, StartError> {
    let storage = &config.storage;
    let opened = DataFolders::open(
        &storage.log_dirs,
        &storage.metadata_log_dir,
        config.node.node_id,
        cluster_id,
    );
    let mut folders = opened.map_err(StartError::Folder)?;
    match check_file_systems(&mut folders, shards, storage.journal_bytes_per_shard) {
        Ok(()) => Ok(folders),
        Err(error) => {
            folders.abandon();
            Err(error)
        }
    }
}

fn check_file_systems(
    folders: &mut DataFolders,
    shards: usize,
    journal_bytes: u64,
) -> Result<(), StartError> {
    for at in 0..folders.all.len() {
        let folder = &folders.all[at];
        if folder.is_offline {
            continue;
        }
        if let Err(error) = host::check_direct_io(&folder.path) {
            leave_out(folders, at, error)?;
        }
    }
    // The first of each device has the journals of all on it.
    let mut devices = BTreeSet::new();
    for at in 0..folders.all.len() {
        let folder = &folders.all[at];
        if folder.is_offline || devices.contains(&folder.device) {
            continue;
        }
        match host::check_room(&folder.path, shards, journal_bytes) {
            Ok(()) => {
                devices.insert(folder.device);
            }
            Err(error @ HostError::Unreadable { .. }) => leave_out(folders, at, error)?,
            // The one that is not there may have the journals.
            Err(error) if has_lost_one(folders, folder.device) => leave_out(folders, at, error)?,
            Err(error) => return Err(StartError::Host(error)),
        }
    }
    Ok(())
}

/// Whether a folder of this device is not used.
fn has_lost_one(folders: &DataFolders, device: u64) -> bool {
    let mut all = folders.all.iter();
    all.any(|folder| folder.is_offline && folder.device == device)
}

fn leave_out(folders: &mut DataFolders, at: usize, error: HostError) -> Result<(), StartError> {
    match folders.all.len() {
        1 => Err(StartError::Host(error)),
        _ => folders
            .leave_out(at, FolderError::Host(error))
            .map_err(StartError::Folder),
    }
}

/// A second broker on this machine finds the default taken, and does without.
pub(super) fn listen_for_http(config: Option<&HttpConfig>) -> Result<Vec<TcpListener>, StartError> {
    let Some(config) = config else {
        return Ok(Vec::new());
    };
    match addresses::listen(&config.endpoint) {
        Ok(listeners) => Ok(listeners),
        Err(error) if config.is_default => {
            tracing::warn!("no metrics are served: {error}");
            Ok(Vec::new())
        }
        Err(error) => Err(StartError::Address(error)),
    }
}

fn configuration(args: &BrokerArgs) -> Result<(Overrides, BrokerConfig), StartError> {
    let loaded = load_settings(args)?;
    for warning in loaded.warnings() {
        tracing::warn!("{warning}");
    }
    let layers = Layers::of_file(&loaded.settings);
    let config = BrokerConfig::resolve(layers).map_err(StartError::Config)?;
    check_cordoned_log_dirs(layers).map_err(StartError::Config)?;
    Ok((loaded.settings, config))
}

/// What the file and the overrides set, each value by itself.
pub(super) fn load_settings(args: &BrokerArgs) -> Result<Loaded, StartError> {
    let bytes = match &args.file {
        None => Vec::new(),
        Some(path) => std::fs::read(path).map_err(|source| StartError::File {
            path: path.clone(),
            source,
        })?,
    };
    let mut overrides = args.overrides.clone();
    overrides.extend(args.cores.map(|cores| format!("corelog.cores={cores}")));
    load(&bytes, &overrides).map_err(|error| StartError::Load {
        path: args.file.clone(),
        error,
    })
}

/// The first cores that this process may use. More shards than cores share them, which is only of
/// use for tests.
fn choose_cores(wanted: Option<usize>) -> Result<Vec<usize>, StartError> {
    let allowed = runtime::cores().map_err(StartError::Cores)?;
    let wanted = wanted.unwrap_or(allowed.len());
    if wanted > allowed.len() {
        let allowed = allowed.len();
        tracing::warn!("{wanted} shards share {allowed} cores: start with --cores {allowed}");
    }
    Ok(allowed.into_iter().cycle().take(wanted).collect())
}

impl Prepared {
    /// What a person should see once the broker is up.
    pub fn banner(&self) -> String {
        let mut text = String::new();
        // Writing to a String can't fail.
        let _ = self.write_banner(&mut text);
        text
    }

    fn write_banner(&self, out: &mut String) -> fmt::Result {
        let node = self.config.node.node_id;
        let shards = self.cores.len();
        writeln!(
            out,
            "Corelog {}: node {node} of cluster {}, {shards} shard{}",
            env!("CARGO_PKG_VERSION"),
            self.folders.cluster_id,
            if shards == 1 { "" } else { "s" }
        )?;
        for folder in &self.folders.all {
            let state = match (folder.is_offline, folder.is_new) {
                (true, _) => " (OFFLINE)",
                (false, true) => " (new)",
                (false, false) => "",
            };
            writeln!(out, "  data      {}{state}", folder.path.display())?;
        }
        for listener in &self.listeners {
            let addresses = listener.addresses.iter().map(ToString::to_string);
            let addresses: Vec<String> = addresses.collect();
            writeln!(
                out,
                "  listening {} {}",
                listener.name,
                addresses.join(", ")
            )?;
        }
        let told = self.advertised.iter().map(ToString::to_string);
        let told: Vec<String> = told.collect();
        writeln!(out, "  clients are told {}", told.join(", "))?;
        if let Some(Ok(address)) = self.http.first().map(TcpListener::local_addr) {
            writeln!(out, "  metrics   http://{address}/metrics")?;
        }
        let mut all = self.listeners.iter().flat_map(|l| &l.addresses);
        if all.all(|address| address.ip().is_loopback()) {
            let everywhere = |host: &str| {
                let endpoints = self.listeners.iter().map(|listener| {
                    let port = listener.addresses[0].port();
                    format!("{}://{host}:{port}", listener.name)
                });
                endpoints.collect::<Vec<_>>().join(",")
            };
            writeln!(
                out,
                "  Only this machine can connect. To open it to the network:\n    corelog start \
                 --override listeners={} --override advertised.listeners={}",
                everywhere(""),
                everywhere("THIS_HOST")
            )?;
        }
        Ok(())
    }
}
