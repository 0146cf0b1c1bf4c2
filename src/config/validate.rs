//! Checks of changes while running: what a topic, a group or a broker is to be set to, in full, before it
//! is written down. The texts are what Kafka answers, as INVALID_CONFIG for topics and groups, and
//! INVALID_REQUEST for brokers.

use super::broker::{BrokerConfig, check_cordoned_log_dirs};
use super::error::ConfigError;
use super::layers::{Layers, Overrides};
use super::load::base_name;
use super::property::Scope;
use super::table;
use super::value::Value;

const CLEANER_THREADS: &str = "log.cleaner.threads";

/// Sizes of pools of threads in Apache Kafka that change while it runs.
const POOLS: [&str; 9] = [
    "num.io.threads",
    "num.network.threads",
    "num.replica.fetchers",
    "num.recovery.threads.per.data.dir",
    "background.threads",
    CLEANER_THREADS,
    "remote.log.reader.threads",
    "remote.log.manager.copier.thread.pool.size",
    "remote.log.manager.expiration.thread.pool.size",
];

/// Whether a topic may set all of `topic` itself, on a broker with these layers.
pub fn check_topic(layers: Layers<'_>, topic: &Overrides) -> Result<(), ConfigError> {
    if let Some(name) = topic
        .keys()
        .find(|name| !table::topic().contains_key(name.as_str()))
    {
        return Err(ConfigError::UnknownTopicProperty(name.clone()));
    }
    for (name, value) in topic {
        table::topic()[name.as_str()].parse(value)?;
    }
    let value = |name: &str| layers.own_value(table::topic()[name], topic);
    let (min, max) = ("min.compaction.lag.ms", "max.compaction.lag.ms");
    if let (Some(Value::Number(least)), Some(Value::Number(most))) = (value(min), value(max))
        && least > most
    {
        return Err(ConfigError::Refused(format!(
            "conflict topic config setting {min} ({least}) > {max} ({most})"
        )));
    }
    if value("remote.storage.enable") == Some(Value::Boolean(true)) {
        return Err(ConfigError::Refused(
            "Tiered Storage functionality is disabled in the broker. Topic cannot be configured \
             with remote log storage."
                .to_owned(),
        ));
    }
    Ok(())
}

/// Whether a group may set all of `group` itself, on a broker with these layers. What the broker bounds for all groups
/// stays within these bounds.
pub fn check_group(layers: Layers<'_>, group: &Overrides) -> Result<(), ConfigError> {
    let rows = table::group();
    if let Some(name) = group.keys().find(|name| !rows.contains_key(name.as_str())) {
        return Err(ConfigError::UnknownGroupProperty(name.clone()));
    }
    let number = |name: &str| match layers.own_value(rows[name], group) {
        Some(Value::Number(number)) => Some(number),
        _ => None,
    };
    for (name, value) in group {
        rows[name.as_str()].parse(value)?;
        let bound = |bound: &str| {
            let bound = name_of_bound(bound, name)?;
            let row = table::broker().get(bound.as_str())?;
            match layers.broker_value(row) {
                Some(Value::Number(number)) => Some((bound, number)),
                _ => None,
            }
        };
        let value = number(name);
        if let Some((min, _)) = bound("min").filter(|(_, min)| value < Some(*min)) {
            let why = format!("{name} must be greater than or equal to {min}");
            return Err(ConfigError::Refused(why));
        }
        if let Some((max, _)) = bound("max").filter(|(_, max)| value > Some(*max)) {
            let why = format!("{name} must be less than or equal to {max}");
            return Err(ConfigError::Refused(why));
        }
    }
    for kind in ["consumer", "share", "streams"] {
        let session = format!("{kind}.session.timeout.ms");
        let interval = format!("{kind}.heartbeat.interval.ms");
        if number(&session) <= number(&interval) {
            let why = format!("{session} must be greater than {interval}");
            return Err(ConfigError::Refused(why));
        }
    }
    Ok(())
}

/// The broker property that bounds one of groups, if there is one of this name.
fn name_of_bound(bound: &str, name: &str) -> Option<String> {
    let (kind, what) = name.split_once('.')?;
    let what = what.trim_start_matches("num.");
    Some(format!("group.{kind}.{bound}.{what}"))
}

/// Whether this broker may be set to `layers.broker` while it runs, all of it taken together, where it was set to
/// `before`.
pub fn check_broker(layers: Layers<'_>, before: Layers<'_>) -> Result<(), ConfigError> {
    check_dynamic(layers.broker)?;
    check_change(layers)?;
    check_pools(layers, before)?;
    check_cordoned_log_dirs(layers)?;
    BrokerConfig::resolve(layers).map(drop)
}

/// Whether `layers.cluster` may be the default of all brokers, where it was that of `before`.
pub fn check_cluster_default(layers: Layers<'_>, before: Layers<'_>) -> Result<(), ConfigError> {
    check_dynamic(layers.cluster)?;
    let only_per_broker = |name: &&String| {
        let row = table::broker().get(base_name(name));
        row.is_some_and(|row| row.scope == Scope::PerBroker)
    };
    refuse_names(
        "Cannot update these configs at default cluster level, broker id must be specified",
        layers.cluster.keys().filter(only_per_broker),
    )?;
    check_change(layers)?;
    check_pools(layers, before)?;
    BrokerConfig::resolve(layers).map(drop)
}

/// Names and values on their own. Names that nobody knows are let through, as in Kafka.
fn check_dynamic(changed: &Overrides) -> Result<(), ConfigError> {
    let rows = table::broker();
    let fixed = |name: &&String| rows.get(name.as_str()).is_some_and(|row| !row.is_dynamic());
    refuse_names(
        "Cannot update these configs dynamically",
        changed.keys().filter(fixed),
    )?;
    refuse_names(
        "These security configs can be dynamically updated only per-listener using the listener \
         prefix",
        changed.keys().filter(|name| is_of_one_listener(name)),
    )?;
    for (name, value) in changed {
        if let Some(row) = rows.get(base_name(name)) {
            row.parse(value)?;
        }
    }
    Ok(())
}

/// What Kafka checks when a running broker is changed, and not when it starts: less is kept locally than
/// altogether, whether or not there is tiered storage, and connections can be made.
fn check_change(layers: Layers<'_>) -> Result<(), ConfigError> {
    let rate = table::broker()["max.connection.creation.rate"];
    if layers.broker_value(rate) == Some(Value::Number(0)) {
        return Err(ConfigError::Refused(format!("Invalid {} 0", rate.name)));
    }
    let value = |name: &str| layers.own_value(table::topic()[name], &Overrides::new());
    for (local, all) in [
        ("local.retention.ms", "retention.ms"),
        ("local.retention.bytes", "retention.bytes"),
    ] {
        let (Some(Value::Number(kept)), Some(Value::Number(limit))) = (value(local), value(all))
        else {
            continue;
        };
        let why = match kept {
            _ if limit < 0 => continue,
            -1 => format!("Value must not be -1 as log.{all} value is set as {limit}."),
            _ if kept > limit => {
                format!("Value must not be more than log.{all} property value: {limit}")
            }
            _ => continue,
        };
        return Err(ConfigError::Invalid {
            name: format!("log.{local}"),
            value: kept.to_string(),
            why,
        });
    }
    Ok(())
}

/// Kafka makes a pool of threads at most twice as large, or half as large, in one step. There are none here, but tools
/// that go by that rule are to meet it.
fn check_pools(layers: Layers<'_>, before: Layers<'_>) -> Result<(), ConfigError> {
    for name in POOLS {
        let row = table::broker()[name];
        let (Some(Value::Number(old)), Some(Value::Number(new))) =
            (before.broker_value(row), layers.broker_value(row))
        else {
            continue;
        };
        if new == old {
            continue;
        }
        let is_cleaner = name == CLEANER_THREADS;
        let why = match () {
            () if new < old / 2 && is_cleaner => {
                format!(
                    "Log cleaner threads cannot be reduced to less than half the current value {old}"
                )
            }
            () if new > old * 2 && is_cleaner => {
                format!(
                    "Log cleaner threads cannot be increased to more than double the current value {old}"
                )
            }
            () if new < old / 2 => format!(
                "Dynamic thread count update validation failed for {name}={new}, value should be at least half the \
                 current value {old}"
            ),
            () if new > old * 2 => format!(
                "Dynamic thread count update validation failed for {name}={new}, value should not be greater than \
                 double the current value {old}"
            ),
            () => continue,
        };
        return Err(ConfigError::Refused(why));
    }
    Ok(())
}

/// Key and trust stores, which Kafka lets change for one listener at a time only.
fn is_of_one_listener(name: &str) -> bool {
    name == "ssl.key.password"
        || name.starts_with("ssl.keystore.")
        || name.starts_with("ssl.truststore.")
}

fn refuse_names<'a>(why: &str, names: impl Iterator<Item = &'a String>) -> Result<(), ConfigError> {
    let names: Vec<&str> = names.map(String::as_str).collect();
    match names.as_slice() {
        [] => Ok(()),
        names => Err(ConfigError::Refused(format!(
            "{why}: [{}]",
            names.join(", ")
        ))),
    }
}
