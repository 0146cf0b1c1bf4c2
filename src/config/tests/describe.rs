//! DescribeConfigs, held against what Apache Kafka 4.3.1 answered to the same settings.

use super::set;
use crate::config::{
    Described, Kind, Layers, Overrides, Source, describe_broker, describe_cluster_default,
    describe_group, describe_topic,
};

/// The layers that Kafka was given.
struct Given {
    broker: Overrides,
    cluster: Overrides,
    file: Overrides,
}

impl Given {
    fn new() -> Given {
        Given {
            broker: set(&[
                ("listener.name.plaintext.ssl.keystore.location", "x"),
                ("log.cleanup.policy", "delete,compact"),
                ("log.retention.ms", "100000"),
                ("message.max.bytes", "2000000"),
                ("unknown.thing", "x"),
            ]),
            cluster: set(&[
                ("leader.replication.throttled.rate", "5"),
                ("log.retention.ms", "200000"),
                ("max.connections", "555"),
                ("min.insync.replicas", "2"),
                ("unknown.thing2", "x"),
            ]),
            file: set(&[
                ("broker.id", "1"),
                ("foo.bar", "baz"),
                ("log.retention.hours", "24"),
                ("log.roll.hours", "5"),
                ("node.id", "1"),
                ("ssl.key.password", "secret"),
            ]),
        }
    }

    fn layers(&self) -> Layers<'_> {
        Layers {
            broker: &self.broker,
            cluster: &self.cluster,
            file: &self.file,
        }
    }
}

fn source_name(source: Source) -> &'static str {
    match source {
        Source::Topic => "DYNAMIC_TOPIC_CONFIG",
        Source::Group => "DYNAMIC_GROUP_CONFIG",
        Source::Broker => "DYNAMIC_BROKER_CONFIG",
        Source::ClusterDefault => "DYNAMIC_DEFAULT_BROKER_CONFIG",
        Source::File => "STATIC_BROKER_CONFIG",
        Source::Default => "DEFAULT_CONFIG",
    }
}

/// Value, source, type, access, synonyms: as one line.
fn line(all: &[Described], name: &str) -> String {
    let found = all.iter().find(|described| described.name == name);
    let described = found.unwrap_or_else(|| panic!("{name} is missing"));
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "null".to_owned());
    let synonyms: Vec<String> = described
        .synonyms
        .iter()
        .map(|s| format!("{}:{}={}", source_name(s.source), s.name, text(&s.value)))
        .collect();
    format!(
        "{} {} {} {}{} [{}]",
        text(&described.value),
        source_name(described.source),
        described.kind.map_or("UNKNOWN", Kind::name),
        if described.read_only { "ro" } else { "rw" },
        if described.sensitive {
            " sensitive"
        } else {
            ""
        },
        synonyms.join(", ")
    )
}

/// With what that Kafka was started, and what its format command has set.
fn of_golden_answers() -> Given {
    Given {
        broker: Overrides::new(),
        cluster: set(&[("min.insync.replicas", "1")]),
        file: set(&[
            ("advertised.listeners", "PLAINTEXT://localhost:9092"),
            ("broker.id", "1"),
            ("controller.listener.names", "CONTROLLER"),
            ("controller.quorum.bootstrap.servers", "localhost:9093"),
            (
                "listener.security.protocol.map",
                "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            ),
            (
                "listeners",
                "PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093",
            ),
            ("log.dirs", "/data"),
            ("node.id", "1"),
            ("offsets.topic.replication.factor", "1"),
            ("process.roles", "broker,controller"),
            ("share.coordinator.state.topic.replication.factor", "1"),
            ("transaction.state.log.min.isr", "1"),
            ("transaction.state.log.replication.factor", "1"),
        ]),
    }
}

/// What Corelog means to tell otherwise than Kafka: it has other defaults, and changes listeners at a start
/// only.
const TOLD_OTHERWISE: [(&str, &str); 6] = [
    ("controller.listener.names", "CONTROLLER:DEFAULT_CONFIG;"),
    ("listener.security.protocol.map", "\tro\t"),
    ("listeners", "\tro\t"),
    ("log.dir", "corelog-data"),
    ("node.id", "1:DEFAULT_CONFIG;"),
    ("process.roles", "broker,controller:DEFAULT_CONFIG;"),
];

/// A line of the golden answers, without the resource.
fn golden_line(described: &Described) -> String {
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "null".to_owned());
    let synonyms = described.synonyms.iter();
    let synonyms = synonyms.map(|synonym| {
        let (value, source) = (text(&synonym.value), source_name(synonym.source));
        format!("{}={value}:{source};", synonym.name)
    });
    let access = match (described.read_only, described.sensitive) {
        (true, false) => "ro",
        (false, false) => "rw",
        (true, true) => "ro sens",
        (false, true) => "rw sens",
    };
    [
        described.name.clone(),
        text(&described.value),
        source_name(described.source).to_owned(),
        described.kind.map_or("UNKNOWN", Kind::name).to_owned(),
        access.to_owned(),
        synonyms.collect(),
    ]
    .join("\t")
}

#[test]
fn everything_is_told_as_kafka_tells_it() {
    let given = of_golden_answers();
    let golden = include_str!("kafka-4.3.1-described.tsv").lines();
    let golden = golden.filter(|line| !line.starts_with('#'));
    let mut expected: Vec<(&str, &str)> = golden.filter_map(|line| line.split_once('\t')).collect();
    expected.sort_unstable();
    let all = [
        ("topic", describe_topic(given.layers(), &Overrides::new())),
        ("broker", describe_broker(given.layers())),
        ("cluster", describe_cluster_default(&given.cluster)),
    ];
    let mut told: Vec<(&str, String)> = Vec::new();
    for (resource, all) in &all {
        let kafkas = all.iter().filter(|one| !one.name.starts_with("corelog."));
        told.extend(kafkas.map(|one| (*resource, golden_line(one))));
    }
    told.sort_unstable();
    let name = |line: &str| line.split('\t').next().unwrap_or_default().to_owned();
    let names: Vec<_> = told.iter().map(|(of, line)| (*of, name(line))).collect();
    let expected_names: Vec<_> = expected
        .iter()
        .map(|(of, line)| (*of, name(line)))
        .collect();
    assert_eq!(names, expected_names);
    for ((resource, told), (_, expected)) in told.iter().zip(expected) {
        match TOLD_OTHERWISE
            .iter()
            .find(|(other, _)| name(told) == *other)
        {
            Some((_, how)) => assert!(told.contains(how) && told != expected, "{told}"),
            None => assert_eq!(told, expected, "{resource}"),
        }
    }
}

#[test]
fn a_group() {
    let mut given = Given::new();
    let interval = "group.consumer.assignment.interval.ms".to_owned();
    given.broker.insert(interval, "2000".to_owned());
    let group = set(&[("consumer.session.timeout.ms", "50000")]);
    let all = describe_group(given.layers(), &group);
    assert_eq!(all.len(), 17);
    let expected = [
        (
            "consumer.session.timeout.ms",
            "50000 DYNAMIC_GROUP_CONFIG INT rw \
             [DYNAMIC_GROUP_CONFIG:consumer.session.timeout.ms=50000, \
             DEFAULT_CONFIG:group.consumer.session.timeout.ms=45000]",
        ),
        (
            "consumer.heartbeat.interval.ms",
            "5000 DEFAULT_CONFIG INT rw \
             [DEFAULT_CONFIG:group.consumer.heartbeat.interval.ms=5000]",
        ),
        (
            "consumer.assignment.interval.ms",
            "2000 DYNAMIC_BROKER_CONFIG INT rw \
             [DYNAMIC_BROKER_CONFIG:group.consumer.assignment.interval.ms=2000, \
             DEFAULT_CONFIG:group.consumer.assignment.interval.ms=1000]",
        ),
        (
            "share.auto.offset.reset",
            "latest DEFAULT_CONFIG STRING rw [DEFAULT_CONFIG:share.auto.offset.reset=latest]",
        ),
    ];
    for (name, expected) in expected {
        assert_eq!(line(&all, name), expected, "{name}");
    }
}

#[test]
fn a_topic() {
    let given = Given::new();
    let topic = set(&[
        ("cleanup.policy", "delete"),
        ("compression.type", " gzip "),
        ("leader.replication.throttled.replicas", "0:1"),
        ("retention.bytes", "77"),
        ("retention.ms", "999"),
    ]);
    let all = describe_topic(given.layers(), &topic);
    assert_eq!(
        all.len(),
        33 + 1,
        "Kafka's without the internal one, and durability"
    );
    let expected = [
        (
            "cleanup.policy",
            "delete DYNAMIC_TOPIC_CONFIG LIST rw [DYNAMIC_TOPIC_CONFIG:cleanup.policy=delete, \
             DYNAMIC_BROKER_CONFIG:log.cleanup.policy=delete,compact, \
             DEFAULT_CONFIG:log.cleanup.policy=delete]",
        ),
        (
            "compression.type",
            "gzip DYNAMIC_TOPIC_CONFIG STRING rw [DYNAMIC_TOPIC_CONFIG:compression.type=gzip, \
             DEFAULT_CONFIG:compression.type=producer]",
        ),
        ("flush.ms", "9223372036854775807 DEFAULT_CONFIG LONG rw []"),
        (
            "follower.replication.throttled.replicas",
            " DEFAULT_CONFIG LIST rw []",
        ),
        (
            "leader.replication.throttled.replicas",
            "0:1 DYNAMIC_TOPIC_CONFIG LIST rw \
             [DYNAMIC_TOPIC_CONFIG:leader.replication.throttled.replicas=0:1]",
        ),
        (
            "max.message.bytes",
            "2000000 DYNAMIC_BROKER_CONFIG INT rw \
             [DYNAMIC_BROKER_CONFIG:message.max.bytes=2000000, \
             DEFAULT_CONFIG:message.max.bytes=1048588]",
        ),
        (
            "min.cleanable.dirty.ratio",
            "0.5 DEFAULT_CONFIG DOUBLE rw [DEFAULT_CONFIG:log.cleaner.min.cleanable.ratio=0.5]",
        ),
        (
            "min.insync.replicas",
            "2 DYNAMIC_DEFAULT_BROKER_CONFIG INT rw \
             [DYNAMIC_DEFAULT_BROKER_CONFIG:min.insync.replicas=2, \
             DEFAULT_CONFIG:min.insync.replicas=1]",
        ),
        (
            "remote.storage.enable",
            "false DEFAULT_CONFIG BOOLEAN rw []",
        ),
        (
            "retention.bytes",
            "77 DYNAMIC_TOPIC_CONFIG LONG rw [DYNAMIC_TOPIC_CONFIG:retention.bytes=77, \
             DEFAULT_CONFIG:log.retention.bytes=-1]",
        ),
        (
            "retention.ms",
            "999 DYNAMIC_TOPIC_CONFIG LONG rw [DYNAMIC_TOPIC_CONFIG:retention.ms=999, \
             DYNAMIC_BROKER_CONFIG:log.retention.ms=100000, \
             DYNAMIC_DEFAULT_BROKER_CONFIG:log.retention.ms=200000, \
             STATIC_BROKER_CONFIG:log.retention.hours=24, \
             DEFAULT_CONFIG:log.retention.hours=168]",
        ),
        ("segment.jitter.ms", "0 DEFAULT_CONFIG LONG rw []"),
        ("segment.ms", "18000000 DEFAULT_CONFIG LONG rw []"),
    ];
    for (name, described) in expected {
        assert_eq!(line(&all, name), described, "{name}");
    }
}

#[test]
fn a_broker() {
    let given = Given::new();
    let all = describe_broker(given.layers());
    assert!(
        !all.iter().any(|d| d.name == "log.initial.task.delay.ms"),
        "internal"
    );
    assert!(
        !all.iter()
            .any(|d| d.name == "follower.replication.throttled.rate"),
        "not set"
    );
    let expected = [
        ("advertised.listeners", "null DEFAULT_CONFIG LIST ro []"),
        (
            "broker.id",
            "1 STATIC_BROKER_CONFIG INT ro [STATIC_BROKER_CONFIG:broker.id=1, \
             DEFAULT_CONFIG:broker.id=-1]",
        ),
        (
            "foo.bar",
            "null STATIC_BROKER_CONFIG UNKNOWN ro sensitive [STATIC_BROKER_CONFIG:foo.bar=null]",
        ),
        (
            "leader.replication.throttled.rate",
            "5 DYNAMIC_DEFAULT_BROKER_CONFIG LONG rw \
             [DYNAMIC_DEFAULT_BROKER_CONFIG:leader.replication.throttled.rate=5]",
        ),
        (
            "listener.name.plaintext.ssl.keystore.location",
            "x DYNAMIC_BROKER_CONFIG STRING ro \
             [DYNAMIC_BROKER_CONFIG:listener.name.plaintext.ssl.keystore.location=x]",
        ),
        (
            "log.cleanup.policy",
            "delete,compact DYNAMIC_BROKER_CONFIG LIST rw \
             [DYNAMIC_BROKER_CONFIG:log.cleanup.policy=delete,compact, \
             DEFAULT_CONFIG:log.cleanup.policy=delete]",
        ),
        ("log.flush.interval.ms", "null DEFAULT_CONFIG LONG rw []"),
        (
            "log.retention.hours",
            "24 STATIC_BROKER_CONFIG INT ro [STATIC_BROKER_CONFIG:log.retention.hours=24, \
             DEFAULT_CONFIG:log.retention.hours=168]",
        ),
        ("log.retention.minutes", "null DEFAULT_CONFIG INT ro []"),
        (
            "log.retention.ms",
            "100000 DYNAMIC_BROKER_CONFIG LONG rw \
             [DYNAMIC_BROKER_CONFIG:log.retention.ms=100000, \
             DYNAMIC_DEFAULT_BROKER_CONFIG:log.retention.ms=200000, \
             STATIC_BROKER_CONFIG:log.retention.hours=24, \
             DEFAULT_CONFIG:log.retention.hours=168]",
        ),
        ("log.roll.ms", "null DEFAULT_CONFIG LONG rw []"),
        (
            "max.connections",
            "555 DYNAMIC_DEFAULT_BROKER_CONFIG INT rw \
             [DYNAMIC_DEFAULT_BROKER_CONFIG:max.connections=555, \
             DEFAULT_CONFIG:max.connections=2147483647]",
        ),
        (
            "ssl.key.password",
            "null STATIC_BROKER_CONFIG PASSWORD rw sensitive \
             [STATIC_BROKER_CONFIG:ssl.key.password=null]",
        ),
        (
            "ssl.keystore.key",
            "null DEFAULT_CONFIG PASSWORD rw sensitive []",
        ),
        (
            "unknown.thing2",
            "null DYNAMIC_DEFAULT_BROKER_CONFIG UNKNOWN ro sensitive \
             [DYNAMIC_DEFAULT_BROKER_CONFIG:unknown.thing2=null]",
        ),
    ];
    for (name, described) in expected {
        assert_eq!(line(&all, name), described, "{name}");
    }
}

#[test]
fn the_default_of_all_brokers() {
    let given = Given::new();
    let all = describe_cluster_default(&given.cluster);
    let names: Vec<&str> = all
        .iter()
        .map(|described| described.name.as_str())
        .collect();
    assert_eq!(
        names,
        [
            "leader.replication.throttled.rate",
            "log.retention.ms",
            "max.connections",
            "min.insync.replicas",
            "unknown.thing2"
        ]
    );
    assert_eq!(
        line(&all, "log.retention.ms"),
        "200000 DYNAMIC_DEFAULT_BROKER_CONFIG LONG rw \
         [DYNAMIC_DEFAULT_BROKER_CONFIG:log.retention.ms=200000]"
    );
    assert_eq!(
        line(&all, "leader.replication.throttled.rate"),
        "5 DYNAMIC_DEFAULT_BROKER_CONFIG LONG rw \
         [DYNAMIC_DEFAULT_BROKER_CONFIG:leader.replication.throttled.rate=5]"
    );
}
