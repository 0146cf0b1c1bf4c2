//! Holds the table against the facts of Apache Kafka 4.3.1.

use super::*;
use crate::config::property::{Level, Property, Scope, Status};
use crate::config::{Kind, Layers, Overrides, Valid};

/// Defaults that are Corelog's own, with Kafka's.
const OTHER_DEFAULTS: &[(&str, &str, &str)] = &[
    ("controller.listener.names", "<REQUIRED>", "CONTROLLER"),
    (
        "listeners",
        "PLAINTEXT://:9092",
        "PLAINTEXT://localhost:9092",
    ),
    ("log.dir", "/tmp/kafka-logs", "corelog-data"),
    ("node.id", "<REQUIRED>", "1"),
    ("process.roles", "<REQUIRED>", "broker,controller"),
];

/// Ranges that are written or checked otherwise than in Kafka.
const OTHER_RANGES: &[(&str, &str)] = &[
    ("authorizer.class.name", "non-null string"),
    ("controller.quorum.bootstrap.servers", "non-empty list"),
    ("controller.quorum.voters", "non-empty list"),
];

/// What Kafka changes while running, binding and closing sockets, and Corelog at a start only.
const CHANGED_AT_STARTS_ONLY: [&str; 2] = ["listener.security.protocol.map", "listeners"];

struct Fact {
    level: Level,
    name: &'static str,
    kind: &'static str,
    default: &'static str,
    valid: &'static str,
    mode: &'static str,
}

fn facts() -> impl Iterator<Item = Fact> {
    let lines = include_str!("kafka-4.3.tsv").lines();
    lines.filter(|line| !line.starts_with('#')).map(|line| {
        let fields: Vec<&str> = line.split('\t').collect();
        let [level, name, kind, default, valid, mode] = fields[..] else {
            panic!("not six fields: {line}");
        };
        let level = match level {
            "broker" => Level::Broker,
            "topic" => Level::Topic,
            "group" => Level::Group,
            other => panic!("no level: {other}"),
        };
        Fact {
            level,
            name,
            kind,
            default,
            valid,
            mode,
        }
    })
}

fn row(level: Level, name: &str) -> Option<&'static Property> {
    match level {
        Level::Broker => broker().get(name).copied(),
        Level::Topic => topic().get(name).copied(),
        Level::Group => group().get(name).copied(),
    }
}

fn all() -> impl Iterator<Item = &'static Property> {
    let rows = [broker(), topic(), group()].into_iter();
    rows.flat_map(|rows| rows.values().copied())
}

#[test]
fn every_property_of_kafka_is_there_as_kafka_has_it() {
    let mut count = 0;
    for fact in facts() {
        let name = fact.name;
        let row = row(fact.level, name).unwrap_or_else(|| panic!("{name} is missing"));
        assert_eq!(row.kind.name(), fact.kind, "type of {name}");

        let default = row.default_value().map(|value| value.to_string());
        let default = default.as_deref().unwrap_or("<NULL>");
        match OTHER_DEFAULTS.iter().find(|other| other.0 == name) {
            Some((_, kafka, own)) => assert_eq!((fact.default, default), (*kafka, *own), "{name}"),
            None => assert_eq!(default, fact.default, "default of {name}"),
        }

        if !OTHER_RANGES.contains(&(name, fact.valid)) {
            let valid = match row.valid {
                Valid::List(rule) if rule.items.is_empty() => "-".to_owned(),
                Valid::Any => "-".to_owned(),
                valid => valid.to_string(),
            };
            assert_eq!(valid, fact.valid, "range of {name}");
        }

        let mode = match (fact.level, row.scope) {
            (Level::Topic | Level::Group, _) => "-",
            (_, Scope::ReadOnly) => "read-only",
            (_, Scope::PerBroker) => "per-broker",
            (_, Scope::ClusterWide) => "cluster-wide",
            (_, Scope::RuntimeOnly) => "runtime only",
        };
        let internal = if row.internal { " internal" } else { "" };
        let mode = format!("{mode}{internal}");
        match CHANGED_AT_STARTS_ONLY.contains(&name) {
            true => assert_eq!((fact.mode, &*mode), ("per-broker", "read-only"), "{name}"),
            false => assert_eq!(mode, fact.mode, "update mode of {name}"),
        }
        count += 1;
    }
    assert_eq!(count, 360 + 34 + 17);
}

#[test]
fn what_kafka_lacks_is_corelogs_own_or_set_at_run_time_only() {
    let known: Vec<(Level, &str)> = facts().map(|fact| (fact.level, fact.name)).collect();
    for row in all() {
        let is_kafkas = known.contains(&(row.level, row.name));
        let is_own = row.name.starts_with("corelog.");
        let is_run_time = row.scope == Scope::RuntimeOnly;
        assert!(is_kafkas != (is_own || is_run_time), "{}", row.name);
    }
}

#[test]
fn every_row_is_documented_and_its_default_valid() {
    for row in all() {
        assert!(
            row.doc.ends_with('.') && row.doc.len() > 10,
            "{}: {}",
            row.name,
            row.doc
        );
        if let Some(default) = row.default {
            row.parse(default).unwrap_or_else(|error| panic!("{error}"));
        }
        if row.name.starts_with("corelog.") {
            assert_eq!(row.status, Status::Honoured, "{}", row.name);
        }
    }
}

#[test]
fn values_just_outside_a_range_are_refused_and_those_inside_taken() {
    let mut ranges = 0;
    for row in all() {
        let (min, max) = match row.valid {
            Valid::AtLeast(min) => (min, None),
            Valid::Between(min, max) => (min, Some(max)),
            _ => continue,
        };
        ranges += 1;
        assert!(row.parse(&min.to_string()).is_ok(), "{}", row.name);
        let refused = row.parse(&(min - 1).to_string()).unwrap_err().to_string();
        let name = row.name;
        let below = min - 1;
        assert_eq!(
            refused,
            format!("Invalid value {below} for configuration {name}: Value must be at least {min}")
        );
        if let Some(max) = max {
            assert!(row.parse(&max.to_string()).is_ok(), "{name}");
            let above = max + 1;
            assert_eq!(
                row.parse(&above.to_string()).unwrap_err().to_string(),
                format!(
                    "Invalid value {above} for configuration {name}: Value must be no more than \
                     {max}"
                )
            );
        }
    }
    assert!(ranges > 200, "only {ranges} ranges");
}

#[test]
fn synonyms_exist_and_give_the_defaults_of_topics_and_groups() {
    let nothing = Overrides::new();
    for row in topic().values().chain(group().values()) {
        for synonym in row.synonyms {
            assert!(broker().contains_key(synonym.name), "{}", synonym.name);
        }
        let resolved = Layers::of_file(&nothing).own_value(row, &nothing);
        assert_eq!(resolved, row.default_value(), "{}", row.name);
    }
}

#[test]
fn numbers_have_units_where_their_names_say_so() {
    for row in all() {
        let is_number = matches!(row.kind, Kind::Int | Kind::Long | Kind::Short);
        let suffixes = [
            (".ms", "ms"),
            (".bytes", "bytes"),
            (".hours", "h"),
            (".minutes", "min"),
        ];
        for (suffix, unit) in suffixes {
            if is_number && row.name.ends_with(suffix) {
                assert_eq!(row.unit.name(), unit, "{}", row.name);
            }
        }
    }
}
