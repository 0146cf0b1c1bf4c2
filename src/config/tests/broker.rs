//! Settings of the broker as a whole: listeners, roles, limits, folders.

use std::path::Path;
use std::time::Duration;

use super::set;
use crate::config::property::Property;
use crate::config::{BrokerConfig, Layers, Listeners, OnRot, Overrides, load, reference, table};

/// As the stock `server.properties`, in short.
const NODE: &[(&str, &str)] = &[
    ("controller.listener.names", "CONTROLLER"),
    ("listeners", "PLAINTEXT://:9092,CONTROLLER://:9093"),
    (
        "listener.security.protocol.map",
        "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,X:PLAINTEXT,Y:PLAINTEXT,SECURE:SSL",
    ),
];

fn resolve(pairs: &[(&str, &str)]) -> Result<BrokerConfig, String> {
    let mut file = set(NODE);
    file.extend(set(pairs));
    BrokerConfig::resolve(Layers::of_file(&file)).map_err(|error| error.to_string())
}

fn listeners(pairs: &[(&str, &str)]) -> Listeners {
    resolve(pairs).unwrap().listeners
}

fn refusal(pairs: &[(&str, &str)]) -> String {
    resolve(pairs).unwrap_err()
}

fn texts(endpoints: &[crate::config::Endpoint]) -> Vec<String> {
    endpoints.iter().map(ToString::to_string).collect()
}

#[test]
fn every_number_is_taken_or_refused() {
    const NUMBERS: &[&str] = &[
        "-9223372036854775808",
        "-2147483648",
        "-32768",
        "-2",
        "-1",
        "0",
        "1",
        "32767",
        "2147483647",
        "9223372036854775807",
        "1.7976931348623157E308",
        "-1.7976931348623157E308",
        "NaN",
    ];
    for name in table::broker().keys() {
        for number in NUMBERS {
            if load(b"", &[format!("{name}={number}")]).is_ok() {
                // Whether it makes sense beside the others is not asked here.
                let _ = resolve(&[(name, number)]);
            }
        }
    }
}

#[test]
fn controller_listeners_are_taken_and_not_bound() {
    let all = listeners(&[]);
    assert_eq!(texts(&all.bound), ["PLAINTEXT://:9092"]);
    assert_eq!(texts(&all.controllers), ["CONTROLLER://:9093"]);
    assert_eq!(texts(&all.advertised), ["PLAINTEXT://:9092"]);
    assert_eq!(all.inter_broker, "PLAINTEXT");
    // Only what is bound needs to be PLAINTEXT.
    let map = (
        "listener.security.protocol.map",
        "CONTROLLER:SASL_SSL,PLAINTEXT:PLAINTEXT",
    );
    assert_eq!(listeners(&[map]).controllers.len(), 1);
}

#[test]
fn several_listeners_with_hosts_and_ports() {
    let all = listeners(&[(
        "listeners",
        "PLAINTEXT://127.0.0.1:9092,x://[::1]:9092, Y://example.org:0,CONTROLLER://:9093",
    )]);
    assert_eq!(
        texts(&all.bound),
        [
            "PLAINTEXT://127.0.0.1:9092",
            "X://[::1]:9092",
            "Y://example.org:0"
        ]
    );
    let told = (
        "advertised.listeners",
        "PLAINTEXT://a.example:19092,CONTROLLER://b:9093",
    );
    assert_eq!(
        texts(&listeners(&[told]).advertised),
        ["PLAINTEXT://a.example:19092"]
    );
    let free = ("listeners", "PLAINTEXT://:0,X://:0");
    assert_eq!(
        texts(&listeners(&[free]).bound),
        ["PLAINTEXT://:0", "X://:0"]
    );
}

#[test]
fn a_listener_that_is_not_plaintext_is_refused() {
    let refused = refusal(&[("listeners", "PLAINTEXT://:9092,SECURE://:9094")]);
    assert!(
        refused.starts_with("Listener SECURE://:9094 uses security protocol SSL"),
        "{refused}"
    );
    assert!(refused.contains("only PLAINTEXT is"), "{refused}");
}

#[test]
fn without_a_map_kafkas_names_and_controllers_are_known() {
    let file = set(&[("listeners", "PLAINTEXT://:9092,MINE://:9093")]);
    let mut controllers = file.clone();
    controllers.extend(set(&[("controller.listener.names", "MINE")]));
    assert!(BrokerConfig::resolve(Layers::of_file(&controllers)).is_ok());
    let refused = BrokerConfig::resolve(Layers::of_file(&file))
        .unwrap_err()
        .to_string();
    assert!(
        refused.ends_with("No security protocol defined for listener MINE"),
        "{refused}"
    );
}

#[test]
fn listeners_that_kafka_refuses() {
    let error = "Error creating broker listeners from ";
    let listeners = [
        (
            "PLAINTEXT://:9092,X://:9092",
            "Each listener must have a different port, listeners: [PLAINTEXT://:9092, X://:9092]",
        ),
        (
            "PLAINTEXT://:9092,PLAINTEXT://:9094",
            "Each listener must have a different name, listeners: [PLAINTEXT://:9092, \
             PLAINTEXT://:9094]",
        ),
        (
            "PLAINTEXT://127.0.0.1:9092,X://127.0.0.2:9092",
            "If you have two listeners on the same port then one needs to be IPv4 and the other \
             IPv6, listeners: [PLAINTEXT://127.0.0.1:9092, X://127.0.0.2:9092], port: 9092",
        ),
        (
            "PLAINTEXT://127.0.0.1:1,X://127.0.0.2:1,Y://[::1]:1",
            "Each listener must have a different port unless exactly one listener has an IPv4 \
             address and the other IPv6 address, listeners: [PLAINTEXT://127.0.0.1:1, \
             X://127.0.0.2:1, Y://[::1]:1], port: 1",
        ),
        (
            "PLAINTEXT://foo:1,X://[::1]:1",
            "Each listener must have a different port unless exactly one listener has an IPv4 \
             address and the other IPv6 address, listeners: [PLAINTEXT://foo:1, X://[::1]:1], \
             port: 1",
        ),
        (
            "FOO://:9092",
            "No security protocol defined for listener FOO",
        ),
        (
            "PLAINTEXT//:9092",
            "Unable to parse PLAINTEXT//:9092 to a broker endpoint",
        ),
        (
            "PLAINTEXT://:9092x",
            "Unable to parse PLAINTEXT://:9092x to a broker endpoint",
        ),
        (
            "PLAINTEXT://:99992",
            "Unable to parse PLAINTEXT://:99992 to a broker endpoint",
        ),
        (
            "PLAINTEXT://a b:1",
            "Unable to parse PLAINTEXT://a b:1 to a broker endpoint",
        ),
    ];
    for (value, why) in listeners {
        let refused = refusal(&[("listeners", value)]);
        assert!(
            refused.starts_with(error) && refused.ends_with(why),
            "{refused}"
        );
    }
    let only_controllers = refusal(&[("listeners", "CONTROLLER://:9093")]);
    assert!(only_controllers.contains("at least one broker advertised listener"));
}

#[test]
fn advertised_and_inter_broker_listeners_that_kafka_refuses() {
    let cases: &[(&[(&str, &str)], &str)] = &[
        (
            &[("advertised.listeners", "PLAINTEXT://0.0.0.0:9092")],
            "advertised.listeners cannot use the nonroutable meta-address 0.0.0.0. Use a \
             routable IP address.",
        ),
        (
            &[("listeners", "PLAINTEXT://0.0.0.0:9092")],
            "advertised.listeners cannot use the nonroutable meta-address 0.0.0.0. Use a \
             routable IP address.",
        ),
        (
            &[("advertised.listeners", "CONTROLLER://b:9093")],
            "There must be at least one broker advertised listener. Perhaps all listeners appear \
             in controller.listener.names?",
        ),
        (
            &[("advertised.listeners", "X://a:9092")],
            "advertised.listeners names X://a:9092, but listeners has no listener X",
        ),
        (
            &[("inter.broker.listener.name", "NONE")],
            "Listener with name NONE defined in inter.broker.listener.name not found in \
             listener.security.protocol.map.",
        ),
        (
            &[("inter.broker.listener.name", "CONTROLLER")],
            "inter.broker.listener.name must be a listener name defined in \
             advertised.listeners. The valid options based on currently configured listeners \
             are PLAINTEXT",
        ),
        (
            &[
                ("inter.broker.listener.name", "PLAINTEXT"),
                ("security.inter.broker.protocol", "PLAINTEXT"),
            ],
            "Only one of inter.broker.listener.name and security.inter.broker.protocol should \
             be set.",
        ),
        (
            &[("listener.security.protocol.map", "PLAINTEXT:FOO")],
            "Invalid security protocol `FOO` defined in listener.security.protocol.map",
        ),
        (
            &[(
                "listener.security.protocol.map",
                "PLAINTEXT:PLAINTEXT,plaintext:SSL",
            )],
            "Listener PLAINTEXT is defined twice in listener.security.protocol.map",
        ),
    ];
    for (pairs, why) in cases {
        assert_eq!(&refusal(pairs), why);
    }
}

#[test]
fn roles_and_quorums_that_take_several_nodes_are_refused() {
    for roles in ["broker", "controller"] {
        let refused = refusal(&[("process.roles", roles)]);
        assert!(
            refused.contains("Set process.roles=broker,controller"),
            "{refused}"
        );
    }
    assert!(resolve(&[("process.roles", "controller,broker")]).is_ok());
    assert!(resolve(&[("controller.quorum.voters", "1@localhost:9093")]).is_ok());
    let other = refusal(&[("controller.quorum.voters", "2@localhost:9093")]);
    assert!(
        other.contains("the node id 1 must be included in the set of voters"),
        "{other}"
    );
    let many = refusal(&[("controller.quorum.voters", "1@a:9093,2@b:9093,3@c:9093")]);
    assert!(many.contains("names 3 nodes"), "{many}");
    let many = refusal(&[("controller.quorum.bootstrap.servers", "a:9093,b:9093")]);
    assert!(many.contains("names 2 controllers"), "{many}");
}

#[test]
fn limits_of_the_network() {
    let limits = resolve(&[
        ("queued.max.request.bytes", "200000000"),
        ("max.connections.per.ip", "0"),
        (
            "max.connections.per.ip.overrides",
            "127.0.0.1:5, ::1:6,foo:7",
        ),
        ("connections.max.idle.ms", "-1"),
    ])
    .unwrap()
    .network;
    assert_eq!(limits.queued_request_bytes_max, Some(200_000_000));
    assert_eq!(limits.connections_per_ip_max, 0);
    let overrides = [("127.0.0.1", 5), ("::1", 6), ("foo", 7)];
    let overrides = overrides.map(|(host, count)| (host.to_owned(), count));
    assert_eq!(limits.connections_per_ip_overrides, overrides);
    assert_eq!(limits.idle_max, None);

    let limits = resolve(&[]).unwrap().network;
    assert_eq!(limits.request_bytes_max, 100 << 20);
    assert_eq!(limits.queued_request_bytes_max, None);
    assert_eq!(limits.idle_max, Some(Duration::from_secs(600)));
    assert_eq!(limits.connections_max, i32::MAX as u32);

    assert_eq!(
        refusal(&[("queued.max.request.bytes", "5")]),
        "queued.max.request.bytes must be larger or equal to socket.request.max.bytes"
    );
    for wrong in ["127.0.0.1", "127.0.0.1:x", "a:-1", ":5"] {
        let refused = refusal(&[("max.connections.per.ip.overrides", wrong)]);
        assert!(
            refused.contains("is not of the form host:count"),
            "{refused}"
        );
    }
}

#[test]
fn folders_and_sizes() {
    let storage = resolve(&[("log.dir", "/a"), ("log.dirs", "/b")])
        .unwrap()
        .storage;
    assert_eq!(storage.log_dirs, [Path::new("/b")]);
    assert_eq!(storage.metadata_log_dir, Path::new("/b"));
    assert_eq!(storage.journal_bytes_per_shard, 512 << 20);
    assert_eq!(storage.on_rot, OnRot::Refuse);
    let storage = resolve(&[
        ("corelog.journal.bytes", "67108864"),
        ("corelog.recovery.on.rot", "continue"),
        ("corelog.memory.flush.ms", "7"),
    ]);
    let storage = storage.unwrap().storage;
    assert_eq!(storage.journal_bytes_per_shard, 64 << 20);
    assert_eq!(storage.on_rot, OnRot::Continue);
    assert_eq!(storage.memory_flush, Duration::from_millis(7));
    assert_eq!(storage.retention_check_interval, Duration::from_secs(300));
}

#[test]
fn the_reference_page_has_every_property_once() {
    let page = reference::markdown();
    let headings: Vec<&str> = page
        .lines()
        .filter(|line| line.starts_with("### "))
        .collect();
    assert!(headings.len() > 370, "only {}", headings.len());
    assert!(headings.contains(&"### `retention.ms` (topic)"));
    assert!(headings.contains(&"### `log.retention.ms`"));
    let mut unique = headings.clone();
    unique.sort();
    unique.dedup();
    assert_eq!(unique.len(), headings.len());
    assert!(!page.contains("internal.segment.bytes"));

    let one = reference::of_property("log.retention.check.interval.ms").unwrap();
    assert!(
        one.contains("LONG, in ms; default `300000`; valid: [1,...]."),
        "{one}"
    );
    assert!(
        reference::of_property("compression.type")
            .unwrap()
            .matches("###")
            .count()
            == 2
    );
    assert_eq!(reference::of_property("nope"), None);
    let nothing = Overrides::new();
    assert!(BrokerConfig::resolve(Layers::of_file(&nothing)).is_ok());
}

#[test]
fn where_metrics_are_served() {
    let http = |text: &str| resolve(&[("corelog.http.listener", text)]).unwrap().http;
    let served = |text: &str| {
        let served = http(text).expect("it is served");
        assert!(!served.is_default);
        (served.endpoint.host, served.endpoint.port)
    };
    let default = resolve(&[]).unwrap().http.expect("it is served");
    assert!(default.is_default);
    assert_eq!(default.endpoint.port, 9644);
    assert_eq!(http(""), None);
    assert_eq!(http("  "), None);
    assert_eq!(served("10.0.0.1:80"), ("10.0.0.1".to_owned(), 80));
    assert_eq!(served("[::1]:0"), ("::1".to_owned(), 0));
    assert_eq!(served(":9000"), (String::new(), 9000));
    for malformed in [
        "localhost",
        "9644",
        "localhost:",
        "localhost:x",
        "localhost:65536",
    ] {
        let why = refusal(&[("corelog.http.listener", malformed)]);
        assert!(why.contains("host:port"), "{malformed}: {why}");
    }
}

#[test]
fn settings_of_groups_lie_within_their_bounds() {
    let refused = |kind: &str, what: &str, value: &str| {
        refusal(&[(&*format!("group.{kind}.{what}.ms"), value)])
    };
    for kind in ["consumer", "share", "streams"] {
        for (what, low, high) in [
            ("heartbeat.interval", "4999", "15001"),
            ("session.timeout", "44999", "60001"),
            ("assignment.interval", "-1", "15001"),
        ] {
            let name = format!("group.{kind}.{what}.ms");
            let (min, max) = (
                format!("group.{kind}.min.{what}.ms"),
                format!("group.{kind}.max.{what}.ms"),
            );
            assert_eq!(
                refused(kind, what, high),
                format!("{name} must be less than or equal to {max}")
            );
            if low != "-1" {
                assert_eq!(
                    refused(kind, what, low),
                    format!("{name} must be greater than or equal to {min}")
                );
                assert_eq!(
                    refusal(&[(&*max, low)]),
                    format!("{max} must be greater than or equal to {min}")
                );
            }
        }
        let interval = format!("group.{kind}.heartbeat.interval.ms");
        let (max, session) = (
            format!("group.{kind}.max.heartbeat.interval.ms"),
            format!("group.{kind}.session.timeout.ms"),
        );
        assert_eq!(
            refusal(&[(&*interval, "45000"), (&*max, "45000")]),
            format!("{interval} must be less than {session}")
        );
    }
}

#[test]
fn only_protocols_and_assignors_that_there_are() {
    let protocols = |names| resolve(&[("group.coordinator.rebalance.protocols", names)]);
    assert!(
        protocols("classic,consumer")
            .unwrap()
            .groups
            .consumer
            .is_enabled
    );
    assert!(!protocols("classic").unwrap().groups.consumer.is_enabled);
    assert_eq!(
        protocols("consumer").unwrap_err(),
        "Disabling the 'CLASSIC' protocol is not supported."
    );
    let assignors = |names| resolve(&[("group.consumer.assignors", names)]);
    let known = "org.apache.kafka.coordinator.group.assignor.RangeAssignor,uniform";
    let known = assignors(known).unwrap().groups.consumer.assignors;
    assert_eq!(known, ["range", "uniform"]);
    assert_eq!(
        assignors("uniform,com.example.Own").unwrap_err(),
        "Class com.example.Own cannot be found"
    );
}

#[test]
fn the_migration_policy_says_in_which_directions() {
    for (policy, upgrade, downgrade) in [
        ("disabled", false, false),
        ("Upgrade", true, false),
        ("downgrade", false, true),
        ("BIDIRECTIONAL", true, true),
    ] {
        let config = resolve(&[("group.consumer.migration.policy", policy)]).unwrap();
        let migration = config.groups.consumer.migration;
        assert_eq!(
            (migration.upgrade, migration.downgrade),
            (upgrade, downgrade)
        );
        assert_eq!(migration.mixes(), upgrade || downgrade);
    }
}

#[test]
fn several_folders_and_the_cordoned_among_them() {
    let storage = |more: &[(&str, &str)]| {
        let all = [&[("log.dirs", "/a,/b,/c")], more].concat();
        resolve(&all).map(|config| config.storage)
    };
    let plain = storage(&[]).unwrap();
    assert_eq!(plain.log_dirs, ["/a", "/b", "/c"].map(Path::new));
    assert_eq!(plain.metadata_log_dir, Path::new("/a"));
    assert_eq!(plain.cordoned_log_dirs, [0; 0]);
    let elsewhere = storage(&[("metadata.log.dir", "/m")]).unwrap();
    assert_eq!(elsewhere.metadata_log_dir, Path::new("/m"));
    let cordoned = |value| storage(&[("cordoned.log.dirs", value)]);
    assert_eq!(cordoned("/c,/a").unwrap().cordoned_log_dirs, [2, 0]);
    assert_eq!(cordoned("*").unwrap().cordoned_log_dirs, [0, 1, 2]);
    // One that was cordoned may be gone by now.
    assert_eq!(cordoned("/c,/x").unwrap().cordoned_log_dirs, [2]);
}

/// Kafka takes what is there twice for once where it checks a list as such, and only there.
#[test]
fn what_a_list_names_twice() {
    let parsed = |property: &Property, text: &str| property.parse(text).unwrap().to_string();
    let throttled = table::topic()["leader.replication.throttled.replicas"];
    assert_eq!(parsed(throttled, "0:1,0:1,1:1"), "0:1,0:1,1:1");
    let folders = table::broker()["log.dirs"];
    assert_eq!(parsed(folders, "/a, /b,/a"), "/a,/b");
    let policy = table::topic()["cleanup.policy"];
    assert_eq!(parsed(policy, "delete,compact,delete"), "delete,compact");
}

#[test]
fn compaction_has_no_limit_unless_there_is_a_sensible_one() {
    let limit = |value| {
        let config = resolve(&[("log.cleaner.io.max.bytes.per.second", value)]);
        config
            .expect("it is accepted")
            .storage
            .cleaner
            .io_bytes_a_second
    };
    assert_eq!(limit("1.7976931348623157E308"), None);
    assert_eq!(limit("-1"), None, "as Apache Kafka's throttler takes it");
    assert_eq!(limit("1048576.9"), Some(1_048_576));
}
