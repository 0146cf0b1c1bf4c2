//! Changes while running: what is refused, in the words of Apache Kafka 4.3.1.

use super::set;
use crate::config::{
    Layers, Overrides, check_broker, check_cluster_default, check_group, check_topic,
};

fn topic(pairs: &[(&str, &str)]) -> Result<(), String> {
    let nothing = Overrides::new();
    check_topic(Layers::of_file(&nothing), &set(pairs)).map_err(|error| error.to_string())
}

fn broker(pairs: &[(&str, &str)]) -> Result<(), String> {
    let nothing = Overrides::new();
    let broker = set(pairs);
    let layers = Layers {
        broker: &broker,
        cluster: &nothing,
        file: &nothing,
    };
    check_broker(layers, Layers::of_file(&nothing)).map_err(|error| error.to_string())
}

fn cluster_default(pairs: &[(&str, &str)]) -> Result<(), String> {
    let nothing = Overrides::new();
    let cluster = set(pairs);
    let layers = Layers {
        broker: &nothing,
        cluster: &cluster,
        file: &nothing,
    };
    check_cluster_default(layers, Layers::of_file(&nothing)).map_err(|error| error.to_string())
}

#[test]
fn groups() {
    let file = set(&[("group.consumer.max.session.timeout.ms", "70000")]);
    let group = |pairs: &[(&str, &str)]| {
        let checked = check_group(Layers::of_file(&file), &set(pairs));
        checked.map_err(|error| error.to_string())
    };
    let refused = [
        (("foo", "1"), "Unknown group config name: foo"),
        (
            ("consumer.session.timeout.ms", "x"),
            "Invalid value x for configuration consumer.session.timeout.ms: Not a number of type INT",
        ),
        (
            ("consumer.session.timeout.ms", "0"),
            "Invalid value 0 for configuration consumer.session.timeout.ms: Value must be at least 1",
        ),
        (
            ("consumer.session.timeout.ms", "44999"),
            "consumer.session.timeout.ms must be greater than or equal to \
             group.consumer.min.session.timeout.ms",
        ),
        (
            ("consumer.session.timeout.ms", "70001"),
            "consumer.session.timeout.ms must be less than or equal to \
             group.consumer.max.session.timeout.ms",
        ),
        (
            ("consumer.heartbeat.interval.ms", "15001"),
            "consumer.heartbeat.interval.ms must be less than or equal to \
             group.consumer.max.heartbeat.interval.ms",
        ),
        (
            ("streams.num.standby.replicas", "3"),
            "streams.num.standby.replicas must be less than or equal to \
             group.streams.max.standby.replicas",
        ),
        (
            ("share.auto.offset.reset", "by_duration:1"),
            "Invalid value by_duration:1 for configuration share.auto.offset.reset: Invalid value \
             `by_duration:1` for configuration share.auto.offset.reset. The value must be either \
             'earliest', 'latest' or of the format 'by_duration:<PnDTnHnMn.nS>'.",
        ),
    ];
    for (pair, why) in refused {
        assert_eq!(group(&[pair]), Err(why.to_owned()), "{pair:?}");
    }
    let taken = [
        ("consumer.session.timeout.ms", "70000"),
        ("consumer.heartbeat.interval.ms", "5000"),
        ("consumer.assignment.interval.ms", "0"),
        ("share.auto.offset.reset", "by_duration:PT1H"),
        ("share.delivery.count.limit", "10"),
    ];
    for pair in taken {
        assert_eq!(group(&[pair]), Ok(()), "{pair:?}");
    }
    let file = set(&[
        ("group.consumer.min.session.timeout.ms", "10000"),
        ("group.consumer.max.heartbeat.interval.ms", "20000"),
    ]);
    let both = set(&[
        ("consumer.session.timeout.ms", "20000"),
        ("consumer.heartbeat.interval.ms", "20000"),
    ]);
    let checked = check_group(Layers::of_file(&file), &both);
    assert_eq!(
        checked.unwrap_err().to_string(),
        "consumer.session.timeout.ms must be greater than consumer.heartbeat.interval.ms"
    );
}

#[test]
fn topics() {
    let refused = [
        (("foo", "1"), "Unknown topic config name: foo"),
        (("", "x"), "Unknown topic config name: "),
        (
            ("retention.ms", "x"),
            "Invalid value x for configuration retention.ms: Not a number of type LONG",
        ),
        (
            ("retention.ms", "-2"),
            "Invalid value -2 for configuration retention.ms: Value must be at least -1",
        ),
        (
            ("retention.ms", ""),
            "Invalid value  for configuration retention.ms: Not a number of type LONG",
        ),
        (
            ("cleanup.policy", "foo"),
            "Invalid value foo for configuration cleanup.policy: String must be one of: compact, \
             delete",
        ),
        (
            ("cleanup.policy", "compact,,delete"),
            "Configuration 'cleanup.policy' values must not be empty.",
        ),
        (
            ("message.timestamp.type", "createtime"),
            "Invalid value createtime for configuration message.timestamp.type: String must be \
             one of: CreateTime, LogAppendTime",
        ),
        (
            ("compression.gzip.level", "0"),
            "Invalid value 0 for configuration compression.gzip.level: Value must be between 1 \
             and 9 or equal to -1",
        ),
        (
            ("min.cleanable.dirty.ratio", "1.5"),
            "Invalid value 1.5 for configuration min.cleanable.dirty.ratio: Value must be no \
             more than 1",
        ),
        (
            ("preallocate", "maybe"),
            "Invalid value maybe for configuration preallocate: Expected value to be either \
             true or false",
        ),
        (
            ("leader.replication.throttled.replicas", "1:1,2:a"),
            "Invalid value [1:1, 2:a] for configuration leader.replication.throttled.replicas: \
             leader.replication.throttled.replicas must be the literal '*' or a list of replicas \
             in the following format: [partitionId]:[brokerId],[partitionId]:[brokerId],...",
        ),
        (
            ("remote.storage.enable", "true"),
            "Tiered Storage functionality is disabled in the broker. Topic cannot be configured \
             with remote log storage.",
        ),
        (
            ("corelog.durability", "fsync"),
            "Invalid value fsync for configuration corelog.durability: String must be one of: \
             sync, written, memory",
        ),
    ];
    for (pair, why) in refused {
        assert_eq!(topic(&[pair]), Err(why.to_owned()), "{pair:?}");
    }
    let taken = [
        ("cleanup.policy", ""),
        ("cleanup.policy", "compact,delete"),
        ("cleanup.policy", "compact, compact"),
        ("internal.segment.bytes", "10"),
        ("leader.replication.throttled.replicas", "*"),
        ("leader.replication.throttled.replicas", "1:1"),
        ("min.insync.replicas", "9"),
        ("retention.bytes", "-5"),
        ("retention.ms", "  7 "),
    ];
    for pair in taken {
        assert_eq!(topic(&[pair]), Ok(()), "{pair:?}");
    }
}

#[test]
fn values_of_a_topic_that_contradict_each_other() {
    let lags = [
        ("min.compaction.lag.ms", "10"),
        ("max.compaction.lag.ms", "5"),
    ];
    let why = "conflict topic config setting min.compaction.lag.ms (10) > \
               max.compaction.lag.ms (5)";
    assert_eq!(topic(&lags), Err(why.to_owned()));
    // The other one may be the broker's.
    let file = set(&[("log.cleaner.max.compaction.lag.ms", "5")]);
    let refused = check_topic(Layers::of_file(&file), &set(&lags[..1])).unwrap_err();
    assert_eq!(refused.to_string(), why);
}

#[test]
fn brokers() {
    let refused = [
        (
            ("log.dirs", "x"),
            "Cannot update these configs dynamically: [log.dirs]",
        ),
        (
            ("log.retention.hours", "9"),
            "Cannot update these configs dynamically: [log.retention.hours]",
        ),
        (
            ("log.segment.bytes", "1"),
            "Invalid value 1 for configuration log.segment.bytes: Value must be at least 1048576",
        ),
        (
            ("log.retention.ms", "0"),
            "log.retention.ms must be unlimited (-1) or, greater than or equal to 1",
        ),
        (
            ("log.roll.ms", "0"),
            "log.roll.ms must be greater than or equal to 1",
        ),
        (
            ("log.cleaner.dedupe.buffer.size", "1048576"),
            "log.cleaner.dedupe.buffer.size must be at least 1MB per cleaner thread.",
        ),
        (
            ("max.connection.creation.rate", "0"),
            "Invalid max.connection.creation.rate 0",
        ),
        (
            ("max.connections.per.ip", "0"),
            "max.connections.per.ip can be set to zero only if \
             max.connections.per.ip.overrides property is set.",
        ),
        (
            ("follower.replication.throttled.rate", "-1"),
            "Invalid value -1 for configuration follower.replication.throttled.rate: Value must \
             be at least 0",
        ),
        (
            ("ssl.keystore.location", "x"),
            "These security configs can be dynamically updated only per-listener using the \
             listener prefix: [ssl.keystore.location]",
        ),
    ];
    for (pair, why) in refused {
        assert_eq!(broker(&[pair]), Err(why.to_owned()), "{pair:?}");
        assert_eq!(cluster_default(&[pair]), Err(why.to_owned()), "{pair:?}");
    }
    let too_long = [("log.local.retention.ms", "11"), ("log.retention.ms", "10")];
    assert_eq!(
        broker(&too_long).unwrap_err(),
        "Invalid value 11 for configuration log.local.retention.ms: Value must not be more than \
         log.retention.ms property value: 10"
    );
    let too_large = [
        ("log.local.retention.bytes", "-1"),
        ("log.retention.bytes", "10"),
    ];
    assert_eq!(
        cluster_default(&too_large).unwrap_err(),
        "Invalid value -1 for configuration log.local.retention.bytes: Value must not be -1 as \
         log.retention.bytes value is set as 10."
    );
    let both = [("num.partitions", "4"), ("node.id", "4")];
    assert_eq!(
        broker(&both).unwrap_err(),
        "Cannot update these configs dynamically: [node.id, num.partitions]"
    );
    let taken = [
        ("unknown.thing", "x"),
        ("listener.name.plaintext.ssl.keystore.location", "x"),
        ("log.retention.ms", "100000"),
        ("log.local.retention.ms", "604800000"),
        ("log.local.retention.bytes", "5"),
        ("log.cleanup.policy", "delete,compact"),
        ("leader.replication.throttled.rate", "5"),
        ("corelog.log.durability", "written"),
    ];
    for pair in taken {
        assert_eq!(broker(&[pair]), Ok(()), "{pair:?}");
    }
}

#[test]
fn the_default_of_all_brokers_takes_nothing_that_is_one_brokers() {
    assert_eq!(
        cluster_default(&[("principal.builder.class", "x"), ("max.connections", "5")]),
        Err(
            "Cannot update these configs at default cluster level, broker id must be \
             specified: [principal.builder.class]"
                .to_owned()
        )
    );
    assert_eq!(cluster_default(&[("max.connections", "555")]), Ok(()));
    let refused = broker(&[("listeners", "PLAINTEXT://:9093")]).unwrap_err();
    assert_eq!(
        refused,
        "Cannot update these configs dynamically: [listeners]"
    );
}

#[test]
fn pools_of_threads_change_by_steps_of_two() {
    let refused = |what: &str| {
        Err(format!(
            "Dynamic thread count update validation failed for {what}"
        ))
    };
    for check in [broker, cluster_default] {
        assert_eq!(
            check(&[("num.io.threads", "16"), ("background.threads", "5")]),
            Ok(())
        );
        assert_eq!(
            check(&[("num.io.threads", "17")]),
            refused(
                "num.io.threads=17, value should not be greater than double the current value 8"
            )
        );
        assert_eq!(
            check(&[("background.threads", "4")]),
            refused("background.threads=4, value should be at least half the current value 10")
        );
        assert_eq!(check(&[("log.cleaner.threads", "2")]), Ok(()));
        let cleaners =
            "Log cleaner threads cannot be increased to more than double the current value 1";
        assert_eq!(
            check(&[("log.cleaner.threads", "3")]),
            Err(cleaners.to_owned())
        );
    }
    // From what it was changed to before.
    let nothing = Overrides::new();
    let (before, after) = (
        set(&[("log.cleaner.threads", "8")]),
        set(&[("log.cleaner.threads", "3")]),
    );
    let layers = |broker| Layers {
        broker,
        cluster: &nothing,
        file: &nothing,
    };
    let checked = check_broker(layers(&after), layers(&before)).map_err(|error| error.to_string());
    let fewer = "Log cleaner threads cannot be reduced to less than half the current value 8";
    assert_eq!(checked, Err(fewer.to_owned()));
}

#[test]
fn only_folders_that_there_are_can_be_cordoned() {
    let file = set(&[("log.dirs", "/a,/b")]);
    let nothing = Overrides::new();
    let cordon = |value| {
        let broker = set(&[("cordoned.log.dirs", value)]);
        let layers = Layers {
            broker: &broker,
            cluster: &nothing,
            file: &file,
        };
        check_broker(layers, Layers::of_file(&file)).map_err(|error| error.to_string())
    };
    for known in ["/a", "/b,/a", "*", ""] {
        assert_eq!(cordon(known), Ok(()));
    }
    for (value, why) in [
        (
            "*,/a",
            "When cordoned.log.dirs is set to *, it must not contain other values",
        ),
        (
            "/a,/x,/y",
            "All entries in cordoned.log.dirs must be present in log.dirs or log.dir. Missing \
             entries : /x, /y",
        ),
    ] {
        assert_eq!(cordon(value), Err(why.to_owned()));
    }
}
