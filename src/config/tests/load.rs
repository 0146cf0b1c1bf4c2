//! Loading of `server.properties`, and what is said about it.

use std::path::PathBuf;

use super::STOCK_KAFKA_4;
use crate::config::{BrokerConfig, Layers, LoadError, load};

fn overrides(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

#[test]
fn the_file_of_a_stock_kafka_4_starts_unchanged() {
    let loaded = load(STOCK_KAFKA_4.as_bytes(), &[]).unwrap();
    assert_eq!(loaded.unknown, Vec::<String>::new());
    assert_eq!(
        loaded.warnings(),
        ["properties without effect: not available yet: \
          share.coordinator.state.topic.min.isr, \
          share.coordinator.state.topic.replication.factor, transaction.state.log.min.isr, \
          transaction.state.log.replication.factor; not needed here: num.io.threads, \
          num.network.threads, num.recovery.threads.per.data.dir, socket.receive.buffer.bytes, \
          socket.send.buffer.bytes"]
    );
    let config = BrokerConfig::resolve(Layers::of_file(&loaded.settings)).unwrap();
    assert_eq!(config.node.node_id, 1);
    assert_eq!(
        config.storage.log_dirs[0].to_str(),
        Some("/tmp/kraft-combined-logs")
    );
    let bound: Vec<String> = config
        .listeners
        .bound
        .iter()
        .map(|e| e.to_string())
        .collect();
    assert_eq!(bound, ["PLAINTEXT://:9092"]);
    let told: Vec<String> = config
        .listeners
        .advertised
        .iter()
        .map(|e| e.to_string())
        .collect();
    assert_eq!(told, ["PLAINTEXT://localhost:9092"]);
}

#[test]
fn nothing_at_all_is_enough() {
    let loaded = load(b"", &[]).unwrap();
    assert!(loaded.warnings().is_empty());
    let config = BrokerConfig::resolve(Layers::of_file(&loaded.settings)).unwrap();
    assert_eq!(config.storage.log_dirs[0].to_str(), Some("corelog-data"));
    assert_eq!(
        config.listeners.bound[0].to_string(),
        "PLAINTEXT://localhost:9092"
    );
}

#[test]
fn a_folder_that_is_named_twice_is_one() {
    let loaded = load(b"log.dirs=/a, /b,/a\n", &[]).expect("sound");
    let config = BrokerConfig::resolve(Layers::of_file(&loaded.settings)).expect("sound");
    assert_eq!(config.storage.log_dirs, ["/a", "/b"].map(PathBuf::from));
}

#[test]
fn overrides_go_before_the_file() {
    let file = b"num.partitions=2\nnum.partitions=3\nlog.dirs=/a\n";
    let loaded = load(file, &overrides(&["num.partitions = 4", "log.dir=/b=c"])).unwrap();
    assert_eq!(loaded.settings["num.partitions"], "4");
    assert_eq!(loaded.settings["log.dir"], "/b=c");
    assert_eq!(loaded.repeated, ["num.partitions"]);
    assert!(loaded.warnings()[0].contains("more than once, the last one counts: num.partitions"));
    for wrong in ["num.partitions", "=4", ""] {
        let refused = load(b"", &overrides(&[wrong])).unwrap_err();
        assert_eq!(refused, LoadError::Override(wrong.to_owned()));
    }
}

#[test]
fn every_value_out_of_range_is_named_with_its_range() {
    let file = b"num.partitions=0\nlog.cleanup.policy=foo\nlog.retention.ms=week\n\
        compression.zstd.level=23\nlisteners=\nnode.id=-1\nssl.key.password=x\n";
    let LoadError::Values(refused) = load(file, &[]).unwrap_err() else {
        panic!("another error");
    };
    assert_eq!(
        refused,
        [
            "Invalid value 23 for configuration compression.zstd.level: Value must be no more \
             than 22 (valid: [-131072,...,22])",
            "Configuration 'listeners' must not be empty. Valid values include: any non-empty \
             value",
            "Invalid value foo for configuration log.cleanup.policy: String must be one of: \
             compact, delete",
            "Invalid value week for configuration log.retention.ms: Not a number of type LONG",
            "Invalid value -1 for configuration node.id: Value must be at least 0 (valid: \
             [0,...])",
            "Invalid value 0 for configuration num.partitions: Value must be at least 1 (valid: \
             [1,...])",
        ]
    );
}

#[test]
fn unknown_names_are_listed_and_values_of_one_listener_checked() {
    let file = b"zookeeper.connect=x:1\nfoo.bar=1\nlistener.name.x.ssl.client.auth=none\n";
    let loaded = load(file, &[]).unwrap();
    assert_eq!(loaded.unknown, ["foo.bar", "zookeeper.connect"]);
    assert_eq!(loaded.not_yet, ["listener.name.x.ssl.client.auth"]);
    let refused = load(b"listener.name.x.ssl.client.auth=maybe", &[]).unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("String must be one of: required, requested, none")
    );
}

#[test]
fn an_authorizer_that_does_not_work_is_not_passed_over_in_silence() {
    let loaded = load(b"authorizer.class.name=org.example.Authorizer", &[]).unwrap();
    assert!(loaded.warnings()[1].contains("every client may do everything"));
    let loaded = load(b"authorizer.class.name=", &[]).unwrap();
    assert_eq!(loaded.warnings().len(), 1);
}

#[test]
fn node_id_and_broker_id_stand_for_each_other() {
    let id = |file: &str| load(file.as_bytes(), &[]).map(|loaded| loaded.settings);
    for (file, expected) in [("broker.id=3", "3"), ("node.id=4", "4"), ("", "1")] {
        let settings = id(file).unwrap();
        assert_eq!(
            (&*settings["node.id"], &*settings["broker.id"]),
            (expected, expected)
        );
    }
    assert!(id("node.id=5\nbroker.id= 5").is_ok());
    assert_eq!(
        id("node.id=5\nbroker.id=6").unwrap_err().to_string(),
        "You must set `node.id` to the same value as `broker.id`."
    );
}

#[test]
fn a_malformed_escape_is_named_by_its_line() {
    let refused = load(b"a=b\nlog.dirs=C:\\users", &[]).unwrap_err();
    assert_eq!(refused.to_string(), "line 2: malformed \\uxxxx escape");
}
