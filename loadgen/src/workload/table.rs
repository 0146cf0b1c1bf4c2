//! The table of all settings of a workload. Files, flags, checks and the reference derive from it.

use std::time::Duration;

use super::settings::{Input, Kind, Setting, Type};
use super::units::TimeUnit;
use super::{Acks, Assignor, Codec, GroupProtocol, forms};

const DAY: Duration = Duration::from_secs(86_400);

const ACKS: [Acks; 3] = [Acks::None, Acks::Leader, Acks::All];

const CODECS: [Codec; 5] = [
    Codec::None,
    Codec::Gzip,
    Codec::Snappy,
    Codec::Lz4,
    Codec::Zstd,
];

const GROUP_PROTOCOLS: [Option<GroupProtocol>; 3] = [
    None,
    Some(GroupProtocol::Classic),
    Some(GroupProtocol::Consumer),
];

const ASSIGNORS: [Assignor; 4] = [
    Assignor::Default,
    Assignor::Range,
    Assignor::CooperativeSticky,
    Assignor::Uniform,
];

fn place<T: PartialEq>(of: &T, among: &[T]) -> usize {
    let place = among.iter().position(|one| one == of);
    place.expect("all values stand in the table")
}

/// All settings, those of one table of a file together, and those without a table first. A setting that refines
/// another one comes after it.
pub static SETTINGS: &[Setting] = &[
    Setting {
        key: "name",
        flag: "name",
        meaning: "What reports call the workload; that of a file is its file name without the ending, unless it says otherwise",
        kind: Kind::Form {
            allowed: forms::NAME,
            value: "TEXT",
            types: &[Type::Text],
            read: forms::read_name,
            show: |w| Some(Input::Text(w.name.clone())),
        },
    },
    Setting {
        key: "warm-up",
        flag: "warm-up",
        meaning: "Time under load before anything counts",
        kind: Kind::Time {
            unit: TimeUnit::Seconds,
            least: Duration::ZERO,
            most: DAY,
            get: |w| w.warm_up,
            set: |w, time| w.warm_up = time,
        },
    },
    Setting {
        key: "duration",
        flag: "duration",
        meaning: "Time under load that counts",
        kind: Kind::Time {
            unit: TimeUnit::Seconds,
            least: Duration::from_millis(100),
            most: Duration::from_secs(30 * 86_400),
            get: |w| w.duration,
            set: |w, time| w.duration = time,
        },
    },
    Setting {
        key: "verify",
        flag: "verify",
        meaning: "Whether each acknowledged record is looked for again, and checked",
        kind: Kind::Switch {
            get: |w| w.verify,
            set: |w, on| w.verify = on,
        },
    },
    Setting {
        key: "seed",
        flag: "seed",
        meaning: "Where all randomness begins: the same seed gives the same records at the same times",
        kind: Kind::Whole {
            least: 0,
            most: i64::MAX,
            get: |w| w.seed.cast_signed(),
            set: |w, seed| w.seed = seed.cast_unsigned(),
        },
    },
    Setting {
        key: "topics.name",
        flag: "topic",
        meaning: "Name of the topic; several are numbered, with a hyphen between",
        kind: Kind::Form {
            allowed: forms::TOPIC,
            value: "NAME",
            types: &[Type::Text],
            read: forms::read_topic,
            show: |w| Some(Input::Text(w.topics.name.clone())),
        },
    },
    Setting {
        key: "topics.count",
        flag: "topics",
        meaning: "How many topics, all alike",
        kind: Kind::Whole {
            least: 1,
            most: 100_000,
            get: |w| w.topics.count.into(),
            set: |w, n| w.topics.count = n as u32,
        },
    },
    Setting {
        key: "topics.partitions",
        flag: "partitions",
        meaning: "Partitions of each topic",
        kind: Kind::Whole {
            least: 1,
            most: 100_000,
            get: |w| w.topics.partitions.into(),
            set: |w, n| w.topics.partitions = n as u32,
        },
    },
    Setting {
        key: "topics.replication-factor",
        flag: "replication-factor",
        meaning: "Replicas of each partition",
        kind: Kind::Form {
            allowed: forms::REPLICATION_FACTOR,
            value: "N",
            types: &[Type::Whole],
            read: forms::read_replication_factor,
            show: |w| Some(Input::Text(w.topics.replication_factor.to_string())),
        },
    },
    Setting {
        key: "topics.configs",
        flag: "topic-config",
        meaning: "Topic properties, added to those of what it is laid over; on the command line one at a time as \
                  NAME=VALUE",
        kind: Kind::Form {
            allowed: forms::CONFIGS,
            value: "NAME=VALUE",
            types: &[Type::Table],
            read: forms::read_configs,
            show: forms::show_configs,
        },
    },
    Setting {
        key: "producers.count",
        flag: "producers",
        meaning: "How many producers, each with connections of its own",
        kind: Kind::Whole {
            least: 1,
            most: 10_000,
            get: |w| w.producers.count.into(),
            set: |w, n| w.producers.count = n as u32,
        },
    },
    Setting {
        key: "producers.acks",
        flag: "acks",
        meaning: "What a broker must have done before it answers: nothing (0, and it never does), the leader has the \
                  records (1), all in-sync replicas have them (all)",
        kind: Kind::Choice {
            words: &["0", "1", "all"],
            get: |w| place(&w.producers.acks, &ACKS),
            set: |w, at| w.producers.acks = ACKS[at],
        },
    },
    Setting {
        key: "producers.enable-idempotence",
        flag: "enable-idempotence",
        meaning: "Whether the broker drops batches that are sent again; needs acks of all and at most 5 requests in \
                  flight",
        kind: Kind::Switch {
            get: |w| w.producers.idempotence,
            set: |w, on| w.producers.idempotence = on,
        },
    },
    Setting {
        key: "producers.connections",
        flag: "producer-connections",
        meaning: "Connections of each producer to each broker, over which it spreads the partitions",
        kind: Kind::Whole {
            least: 1,
            most: 1_000,
            get: |w| w.producers.connections.into(),
            set: |w, n| w.producers.connections = n as u32,
        },
    },
    Setting {
        key: "producers.max-in-flight-requests-per-connection",
        flag: "max-in-flight",
        meaning: "Produce requests that one connection may have on the way",
        kind: Kind::Whole {
            least: 1,
            most: 10_000,
            get: |w| w.producers.in_flight.into(),
            set: |w, n| w.producers.in_flight = n as u32,
        },
    },
    Setting {
        key: "producers.batch-size",
        flag: "batch-size",
        meaning: "A batch is sent once it has so many bytes of records",
        kind: Kind::Size {
            least: 1,
            most: 100 << 20,
            get: |w| w.producers.batch_bytes.into(),
            set: |w, bytes| w.producers.batch_bytes = bytes as u32,
        },
    },
    Setting {
        key: "producers.linger",
        flag: "linger",
        meaning: "A batch is sent once its first record is so old, however small it is",
        kind: Kind::Time {
            unit: TimeUnit::Milliseconds,
            least: Duration::ZERO,
            most: Duration::from_secs(60),
            get: |w| w.producers.linger,
            set: |w, time| w.producers.linger = time,
        },
    },
    Setting {
        key: "producers.compression-type",
        flag: "compression-type",
        meaning: "How batches are compressed",
        kind: Kind::Choice {
            words: &["none", "gzip", "snappy", "lz4", "zstd"],
            get: |w| place(&w.producers.codec, &CODECS),
            set: |w, at| w.producers.codec = CODECS[at],
        },
    },
    Setting {
        key: "consumers.count",
        flag: "consumers",
        meaning: "Consumers that share the partitions among them; none if 0",
        kind: Kind::Whole {
            least: 0,
            most: 10_000,
            get: |w| w.consumers.count.into(),
            set: |w, n| w.consumers.count = n as u32,
        },
    },
    Setting {
        key: "consumers.fan-out",
        flag: "fan-out",
        meaning: "How many sets of so many consumers there are, so how often each record is read",
        kind: Kind::Whole {
            least: 1,
            most: 1_000,
            get: |w| w.consumers.fan_out.into(),
            set: |w, n| w.consumers.fan_out = n as u32,
        },
    },
    Setting {
        key: "consumers.connections",
        flag: "consumer-connections",
        meaning: "Connections of each consumer to each broker, over which it spreads the partitions",
        kind: Kind::Whole {
            least: 1,
            most: 1_000,
            get: |w| w.consumers.connections.into(),
            set: |w, n| w.consumers.connections = n as u32,
        },
    },
    Setting {
        key: "consumers.backlog",
        flag: "backlog",
        meaning: "Consumers begin once so many bytes have been produced, which they have to catch up with",
        kind: Kind::Size {
            least: 0,
            most: 100 << 40,
            get: |w| w.consumers.backlog_bytes,
            set: |w, bytes| w.consumers.backlog_bytes = bytes,
        },
    },
    Setting {
        key: "consumers.group-protocol",
        flag: "group-protocol",
        meaning: "Whether each set of consumers is a group, whose members share the partitions by the classic protocol \
                  or by the one of KIP-848 (consumer), commit, and deliver at least once",
        kind: Kind::Choice {
            words: &["none", "classic", "consumer"],
            get: |w| place(&w.consumers.group.protocol, &GROUP_PROTOCOLS),
            set: |w, at| w.consumers.group.protocol = GROUP_PROTOCOLS[at],
        },
    },
    Setting {
        key: "consumers.assignor",
        flag: "assignor",
        meaning: "Which member of a group gets which partition: range by default, or of the consumer protocol what the \
                  broker prefers; cooperative-sticky is of the classic protocol, uniform of the consumer protocol",
        kind: Kind::Choice {
            words: &["default", "range", "cooperative-sticky", "uniform"],
            get: |w| place(&w.consumers.group.assignor, &ASSIGNORS),
            set: |w, at| w.consumers.group.assignor = ASSIGNORS[at],
        },
    },
    Setting {
        key: "consumers.session-timeout",
        flag: "session-timeout",
        meaning: "How long a member of a classic group may say nothing before its partitions go to others",
        kind: Kind::Time {
            unit: TimeUnit::Milliseconds,
            least: Duration::from_millis(100),
            most: Duration::from_secs(1_800),
            get: |w| w.consumers.group.session_timeout,
            set: |w, time| w.consumers.group.session_timeout = time,
        },
    },
    Setting {
        key: "consumers.commit-interval",
        flag: "commit-interval",
        meaning: "Between two commits of a member of a group",
        kind: Kind::Time {
            unit: TimeUnit::Milliseconds,
            least: Duration::from_millis(1),
            most: Duration::from_secs(3_600),
            get: |w| w.consumers.group.commit_interval,
            set: |w, time| w.consumers.group.commit_interval = time,
        },
    },
    Setting {
        key: "records.sizes",
        flag: "record-sizes",
        meaning: "Lengths of values, in bytes unless a unit is given: one, any in a range equally often, or several by \
                  weight",
        kind: Kind::Form {
            allowed: forms::SIZES,
            value: "SIZES",
            types: &[Type::Whole, Type::Text, Type::List],
            read: forms::read_sizes,
            show: forms::show_sizes,
        },
    },
    Setting {
        key: "records.keys",
        flag: "keys",
        meaning: "Keys, which choose the partition: none (partitions in turn), a number of them equally often, or by \
                  Zipf's law, in proportion to 1 / rank^EXPONENT",
        kind: Kind::Form {
            allowed: forms::KEYS,
            value: "KEYS",
            types: &[Type::Text],
            read: forms::read_keys,
            show: forms::show_keys,
        },
    },
    Setting {
        key: "records.compressibility",
        flag: "compressibility",
        meaning: "Part of each value that compresses to nothing; the rest is random",
        kind: Kind::Number {
            least: 0.0,
            most: 1.0,
            get: |w| w.records.compressibility,
            set: |w, part| w.records.compressibility = part,
        },
    },
    Setting {
        key: "load.rate",
        flag: "rate",
        meaning: "Records a second, at a constant rate",
        kind: Kind::Form {
            allowed: forms::RATE,
            value: "RATE",
            types: &[Type::Whole, Type::Float],
            read: forms::read_rate,
            show: forms::show_rate,
        },
    },
    Setting {
        key: "load.ramp",
        flag: "ramp",
        meaning: "Records a second, evenly from the first rate to the second over the whole run",
        kind: Kind::Form {
            allowed: forms::RAMP,
            value: "FROM:TO",
            types: &[Type::Text],
            read: forms::read_ramp,
            show: forms::show_ramp,
        },
    },
    Setting {
        key: "load.steps",
        flag: "steps",
        meaning: "Records a second, each rate for an equal part of the run",
        kind: Kind::Form {
            allowed: forms::STEPS,
            value: "RATE,...",
            types: &[Type::List, Type::Text],
            read: forms::read_steps,
            show: forms::show_steps,
        },
    },
    Setting {
        key: "load.bursts",
        flag: "bursts",
        meaning: "Records a second: the base, and at the end of each period, for the given length, the peak",
        kind: Kind::Form {
            allowed: forms::BURSTS,
            value: "BASE:PEAK:EVERY:LENGTH",
            types: &[Type::Text],
            read: forms::read_bursts,
            show: forms::show_bursts,
        },
    },
    Setting {
        key: "load.trace",
        flag: "trace",
        meaning: "Recorded rates: each line of the file has a time and the records a second from then on, such as \
                  `10s 5000`; the last rate holds as long as the one before it, then it begins again",
        kind: Kind::Form {
            allowed: forms::TRACE,
            value: "FILE",
            types: &[Type::Text, Type::List],
            read: forms::read_trace,
            show: forms::show_trace,
        },
    },
    Setting {
        key: "load.max",
        flag: "max",
        meaning: "As fast as the requests in flight allow instead of by a timetable: finds saturation, and says \
                  nothing of latency",
        kind: Kind::Form {
            allowed: forms::MAX,
            value: "BOOL",
            types: &[Type::Switch],
            read: forms::read_max,
            show: forms::show_max,
        },
    },
    Setting {
        key: "load.poisson",
        flag: "poisson",
        meaning: "Whether records at a constant rate come at random distances, as from many independent senders",
        kind: Kind::Form {
            allowed: forms::POISSON,
            value: "BOOL",
            types: &[Type::Switch],
            read: forms::read_poisson,
            show: forms::show_poisson,
        },
    },
];
