//! The settings of the broker, resolved and checked: one small struct for each module that is
//! handed some. Everything here can be resolved again when a layer changes; what may change while
//! running is marked so in the table.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::ConfigError;
use super::groups::GroupsConfig;
use super::layers::{Layers, Overrides, Reader};
use super::listeners::{Endpoint, Listeners};
use super::topic::TopicSettings;

/// The property that says where metrics and health are served.
pub const HTTP_LISTENER: &str = "corelog.http.listener";
const HTTP_DEFAULT: &str = "localhost:9644";

/// Everything the broker was told.
#[derive(Debug, Clone, PartialEq)]
pub struct BrokerConfig {
    pub node: NodeConfig,
    pub listeners: Listeners,
    pub http: Option<HttpConfig>,
    pub network: NetworkLimits,
    pub storage: StorageConfig,
    pub metadata_log: MetadataLogConfig,
    pub topics: TopicPolicy,
    pub fetch: FetchLimits,
    pub groups: GroupsConfig,
    /// Settings of a topic that sets nothing itself.
    pub topic_defaults: TopicSettings,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeConfig {
    pub node_id: i32,
    pub rack: Option<String>,
    /// `None` is every core of the machine.
    pub cores: Option<usize>,
}

/// Where metrics and health are served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpConfig {
    pub endpoint: Endpoint,
    /// Nobody chose it: the broker does without if it is taken.
    pub is_default: bool,
}

/// Limits of connections and requests. 'Of the broker' means over all shards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkLimits {
    pub request_bytes_max: u32,
    /// Of the broker; `None` leaves it to `request_memory_bytes_per_shard`.
    pub queued_request_bytes_max: Option<u64>,
    pub request_memory_bytes_per_shard: u64,
    /// Of the broker.
    pub connections_max: u32,
    /// Of the broker.
    pub connections_per_ip_max: u32,
    /// Host names or addresses with limits of their own.
    pub connections_per_ip_overrides: Vec<(String, u32)>,
    /// `None` keeps silent connections open.
    pub idle_max: Option<Duration>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageConfig {
    /// Where partitions lie, at least one.
    pub log_dirs: Vec<PathBuf>,
    /// Where the metadata log lies: one of `log_dirs`, or none of them.
    pub metadata_log_dir: PathBuf,
    /// Those of `log_dirs` that take no new partitions, by their place among them. What names none of
    /// them is passed over here: a folder that was cordoned may be taken out.
    pub cordoned_log_dirs: Vec<usize>,
    /// How long a failed folder may stay unrecorded in the metadata log.
    pub log_dir_failure_timeout: Duration,
    /// Of a shard, on each device.
    pub journal_bytes_per_shard: u64,
    pub tail_cache_bytes_per_shard: u64,
    /// Of topics with durability `memory`.
    pub memory_flush: Duration,
    pub on_rot: OnRot,
    pub retention_check_interval: Duration,
    pub producer_id_expiration: Duration,
    /// Of folders of deleted partitions.
    pub folder_delete_delay: Duration,
    pub cleaner: CleanerSettings,
    /// Copied when partitions move between folders, of the broker; `None` has no limit.
    pub move_bytes_a_second: Option<u64>,
}

/// How the log of the cluster's metadata is kept small.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetadataLogConfig {
    pub segment_bytes: u32,
    pub segment_ms: i64,
    pub snapshots: SnapshotSettings,
}

/// When snapshots of the metadata are made, and when they go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotSettings {
    /// Bytes of log after which another one is made.
    pub bytes_between: u64,
    /// Time after which another one is made; `None` makes none by time.
    pub interval: Option<Duration>,
    /// Of log and snapshots together; `None` has no limit.
    pub retention_bytes: Option<u64>,
    /// Age of what a snapshot ends with; `None` has no limit.
    pub retention_ms: Option<u64>,
    /// From when a snapshot is deleted until its file goes.
    pub delete_delay: Duration,
}

/// How compacted topics are compacted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CleanerSettings {
    pub is_enabled: bool,
    pub backoff: Duration,
    /// Of the broker.
    pub map_bytes_max: u64,
    /// Of the broker; `None` has no limit.
    pub io_bytes_a_second: Option<u64>,
}

/// What recovery does when acknowledged records in the journal are damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnRot {
    Refuse,
    Continue,
}

/// How topics come and go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicPolicy {
    pub auto_create: bool,
    pub delete_enabled: bool,
    pub default_partitions: i32,
    /// As it was given: it may be more than there are brokers.
    pub default_replication_factor: i32,
    /// Of one DescribeTopicPartitions answer.
    pub described_partitions_max: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchLimits {
    pub response_bytes_max: u32,
    pub session_slots: u32,
}

impl BrokerConfig {
    /// Resolves and checks. The file's values must have been checked one by one before
    /// (see [`super::load`]): here those that can't be parsed are passed over.
    pub fn resolve(layers: Layers<'_>) -> Result<BrokerConfig, ConfigError> {
        let read = Reader {
            layers,
            topic: None,
        };
        let config = BrokerConfig {
            node: node(&read)?,
            listeners: Listeners::resolve(&read)?,
            http: http(&read)?,
            network: network(&read)?,
            storage: storage(&read)?,
            metadata_log: metadata_log(&read),
            topics: TopicPolicy {
                auto_create: read.flag("auto.create.topics.enable"),
                delete_enabled: read.flag("delete.topic.enable"),
                default_partitions: read.count("num.partitions"),
                default_replication_factor: read.count("default.replication.factor"),
                described_partitions_max: read.count("max.request.partition.size.limit"),
            },
            fetch: FetchLimits {
                response_bytes_max: read.count("fetch.max.bytes"),
                session_slots: read.count("max.incremental.fetch.session.cache.slots"),
            },
            groups: GroupsConfig::resolve(&read)?,
            topic_defaults: TopicSettings::resolve(layers, &Overrides::new()),
        };
        check_values(&read, &config.topic_defaults)?;
        Ok(config)
    }
}

fn refused<T>(why: impl Into<String>) -> Result<T, ConfigError> {
    Err(ConfigError::Refused(why.into()))
}

fn node(read: &Reader<'_>) -> Result<NodeConfig, ConfigError> {
    let node_id: i32 = read.count("node.id");
    let mut roles = read.items("process.roles");
    roles.sort();
    if roles != ["broker", "controller"] {
        return refused(format!(
            "process.roles={} is not available yet: Corelog runs as one node that is broker and \
             controller at once. Set process.roles=broker,controller",
            roles.join(",")
        ));
    }
    let voters = read.items("controller.quorum.voters");
    if voters.len() > 1 {
        return refused(format!(
            "controller.quorum.voters names {} nodes: a quorum of several nodes is not available \
             yet. Name this node only",
            voters.len()
        ));
    }
    let is_self = |voter: &String| voter.split('@').next() == Some(&node_id.to_string());
    if !voters.iter().all(is_self) {
        return refused(format!(
            "If process.roles contains the 'controller' role, the node id {node_id} must be \
             included in the set of voters controller.quorum.voters={}",
            voters.join(",")
        ));
    }
    let bootstrap = read.items("controller.quorum.bootstrap.servers");
    if bootstrap.len() > 1 {
        return refused(format!(
            "controller.quorum.bootstrap.servers names {} controllers: a quorum of several nodes \
             is not available yet. Name this node only",
            bootstrap.len()
        ));
    }
    Ok(NodeConfig {
        node_id,
        rack: read.text_if_set("broker.rack"),
        cores: read.number_if_set("corelog.cores").map(|n| n as usize),
    })
}

fn http(read: &Reader<'_>) -> Result<Option<HttpConfig>, ConfigError> {
    let set = read.text_if_set(HTTP_LISTENER);
    let is_default = set.is_none();
    let text = set.unwrap_or_else(|| HTTP_DEFAULT.to_owned());
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let parts = text.rsplit_once(':');
    let Some((host, Ok(port))) = parts.map(|(host, port)| (host, port.parse::<u16>())) else {
        return refused(format!(
            "{HTTP_LISTENER}={text} is not of the form host:port; leave it empty to serve none"
        ));
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Ok(Some(HttpConfig {
        endpoint: Endpoint {
            listener: HTTP_LISTENER.to_owned(),
            host: host.to_owned(),
            port,
        },
        is_default,
    }))
}

fn network(read: &Reader<'_>) -> Result<NetworkLimits, ConfigError> {
    let request_bytes_max: u32 = read.count("socket.request.max.bytes");
    let queued = read.number("queued.max.request.bytes");
    if queued > 0 && queued < i64::from(request_bytes_max) {
        return refused(
            "queued.max.request.bytes must be larger or equal to socket.request.max.bytes",
        );
    }
    let connections_per_ip_max = read.count("max.connections.per.ip");
    let overrides = per_ip_overrides(&read.text("max.connections.per.ip.overrides"))?;
    if connections_per_ip_max == 0 && overrides.is_empty() {
        return refused(
            "max.connections.per.ip can be set to zero only if max.connections.per.ip.overrides \
             property is set.",
        );
    }
    Ok(NetworkLimits {
        request_bytes_max,
        queued_request_bytes_max: read.count_if_positive("queued.max.request.bytes"),
        request_memory_bytes_per_shard: read.count("corelog.request.memory.bytes"),
        connections_max: read.count("max.connections"),
        connections_per_ip_max,
        connections_per_ip_overrides: overrides,
        idle_max: read
            .count_unless_negative("connections.max.idle.ms")
            .map(Duration::from_millis),
    })
}

/// `host:count,...`; the host may be an IPv6 address.
fn per_ip_overrides(text: &str) -> Result<Vec<(String, u32)>, ConfigError> {
    let entries = text.split(',').map(str::trim).filter(|e| !e.is_empty());
    let parsed = entries.map(|entry| {
        let parts = entry.rsplit_once(':').filter(|(host, _)| !host.is_empty());
        let count = parts.and_then(|(_, count)| count.trim().parse::<i32>().ok());
        match (parts, count.and_then(|count| u32::try_from(count).ok())) {
            (Some((host, _)), Some(count)) => Ok((host.trim().to_owned(), count)),
            _ => refused(format!(
                "Error parsing configuration property 'max.connections.per.ip.overrides': \
                 {entry} is not of the form host:count"
            )),
        }
    });
    parsed.collect()
}

fn storage(read: &Reader<'_>) -> Result<StorageConfig, ConfigError> {
    let log_dirs = log_dirs(read);
    let metadata_log_dir = read.text_if_set("metadata.log.dir");
    Ok(StorageConfig {
        metadata_log_dir: metadata_log_dir.map_or_else(|| log_dirs[0].clone(), PathBuf::from),
        cordoned_log_dirs: cordoned_log_dirs(read, &log_dirs),
        log_dirs,
        log_dir_failure_timeout: read.ms("log.dir.failure.timeout.ms"),
        journal_bytes_per_shard: read.count("corelog.journal.bytes"),
        tail_cache_bytes_per_shard: read.count("corelog.tail.cache.bytes"),
        memory_flush: read.ms("corelog.memory.flush.ms"),
        on_rot: match read.text("corelog.recovery.on.rot").as_str() {
            "continue" => OnRot::Continue,
            _ => OnRot::Refuse,
        },
        retention_check_interval: read.ms("log.retention.check.interval.ms"),
        producer_id_expiration: read.ms("producer.id.expiration.ms"),
        folder_delete_delay: read.ms("log.segment.delete.delay.ms"),
        cleaner: CleanerSettings {
            is_enabled: read.flag("log.cleaner.enable"),
            backoff: read.ms("log.cleaner.backoff.ms"),
            // What is too little is refused with Kafka's other checks.
            map_bytes_max: read
                .count_unless_negative("log.cleaner.dedupe.buffer.size")
                .unwrap_or(0),
            io_bytes_a_second: {
                let bytes = read.ratio("log.cleaner.io.max.bytes.per.second");
                // Kafka's default is the largest number that there is; it does not wait for a negative rate either.
                (0.0..u64::MAX as f64)
                    .contains(&bytes)
                    .then_some(bytes as u64)
            },
        },
        move_bytes_a_second: {
            let bytes: u64 = read.count("replica.alter.log.dirs.io.max.bytes.per.second");
            // Kafka's default is the largest number that there is.
            (bytes < i64::MAX as u64).then_some(bytes)
        },
    })
}

fn metadata_log(read: &Reader<'_>) -> MetadataLogConfig {
    let segment_bytes = read.number_if_set("internal.metadata.log.segment.bytes");
    let segment_bytes = segment_bytes.and_then(|bytes| u32::try_from(bytes).ok());
    MetadataLogConfig {
        segment_bytes: segment_bytes.unwrap_or_else(|| read.count("metadata.log.segment.bytes")),
        segment_ms: read.number("metadata.log.segment.ms"),
        snapshots: SnapshotSettings {
            bytes_between: read.count("metadata.log.max.record.bytes.between.snapshots"),
            interval: read
                .count_if_positive("metadata.log.max.snapshot.interval.ms")
                .map(Duration::from_millis),
            retention_bytes: read.count_unless_negative("metadata.max.retention.bytes"),
            retention_ms: read.count_unless_negative("metadata.max.retention.ms"),
            delete_delay: read
                .count_unless_negative("internal.metadata.delete.delay.millis")
                .map_or(Duration::ZERO, Duration::from_millis),
        },
    }
}

fn log_dirs(read: &Reader<'_>) -> Vec<PathBuf> {
    let dirs = read.items_if_set("log.dirs");
    let dirs = dirs.unwrap_or_else(|| read.items("log.dir"));
    dirs.into_iter().map(PathBuf::from).collect()
}

/// In `cordoned.log.dirs`: all of them.
const ALL_FOLDERS: &str = "*";

fn cordoned_log_dirs(read: &Reader<'_>, log_dirs: &[PathBuf]) -> Vec<usize> {
    let cordoned = read.items("cordoned.log.dirs");
    if cordoned.iter().any(|dir| dir == ALL_FOLDERS) {
        return (0..log_dirs.len()).collect();
    }
    let place = |dir: String| log_dirs.iter().position(|other| *other == Path::new(&dir));
    cordoned.into_iter().filter_map(place).collect()
}

/// Whether `cordoned.log.dirs` names folders that there are. To be asked when it is set.
pub fn check_cordoned_log_dirs(layers: Layers<'_>) -> Result<(), ConfigError> {
    let read = Reader {
        layers,
        topic: None,
    };
    let mut cordoned = read.items("cordoned.log.dirs");
    if cordoned.iter().any(|dir| dir == ALL_FOLDERS) {
        return match cordoned.len() {
            1 => Ok(()),
            _ => refused("When cordoned.log.dirs is set to *, it must not contain other values"),
        };
    }
    let log_dirs = log_dirs(&read);
    cordoned.retain(|dir| !log_dirs.iter().any(|known| known == Path::new(dir)));
    match cordoned.is_empty() {
        true => Ok(()),
        false => refused(format!(
            "All entries in cordoned.log.dirs must be present in log.dirs or log.dir. Missing \
             entries : {}",
            cordoned.join(", ")
        )),
    }
}

/// Kafka's checks of broker properties that have no range of their own in the table, or not all of it.
fn check_values(read: &Reader<'_>, topic: &TopicSettings) -> Result<(), ConfigError> {
    if topic.retention_ms == Some(0) {
        return refused("log.retention.ms must be unlimited (-1) or, greater than or equal to 1");
    }
    if topic.segment_ms < 1 {
        return refused("log.roll.ms must be greater than or equal to 1");
    }
    if topic.segment_jitter_ms < 0 {
        return refused("log.roll.jitter.ms must be greater than or equal to 0");
    }
    let (buffer_bytes, threads) = (
        read.number("log.cleaner.dedupe.buffer.size"),
        read.number("log.cleaner.threads"),
    );
    if buffer_bytes / threads.max(1) <= 1 << 20 {
        return refused("log.cleaner.dedupe.buffer.size must be at least 1MB per cleaner thread.");
    }
    if read.number("replica.fetch.wait.max.ms") > read.number("replica.socket.timeout.ms") {
        return refused(
            "replica.socket.timeout.ms should always be at least replica.fetch.wait.max.ms to \
             prevent unnecessary socket timeouts",
        );
    }
    Ok(())
}
