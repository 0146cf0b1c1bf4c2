//! What DescribeConfigs tells of a property: value, source, synonyms. Follows Kafka's
//! `ConfigHelper`, its peculiarities included, since tools show them: a topic's `retention.ms`
//! that comes from `log.retention.hours` has no synonyms and counts as a default.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::layers::{Layers, Overrides, Source};
use super::load::base_name;
use super::property::{Property, Scope};
use super::table;
use super::value::Kind;

/// One property of a broker, topic or group, described.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    pub name: String,
    /// `None` when it is not set, or sensitive.
    pub value: Option<String>,
    pub source: Source,
    pub read_only: bool,
    pub sensitive: bool,
    /// `None` when nobody knows the name.
    pub kind: Option<Kind>,
    pub doc: Option<Cow<'static, str>>,
    /// What decides, and what would decide without it, the strongest first.
    pub synonyms: Vec<SynonymValue>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SynonymValue {
    pub name: String,
    pub value: Option<String>,
    pub source: Source,
}

/// All properties of a topic that sets `topic` itself.
pub fn describe_topic(layers: Layers<'_>, topic: &Overrides) -> Vec<Described> {
    let rows = table::topic().values().filter(|row| !row.internal);
    rows.map(|row| own_property(layers, (Source::Topic, topic), row))
        .collect()
}

/// All properties of a group that sets `group` itself.
pub fn describe_group(layers: Layers<'_>, group: &Overrides) -> Vec<Described> {
    let rows = table::group().values();
    let mut described: Vec<Described> = rows
        .map(|row| own_property(layers, (Source::Group, group), row))
        .collect();
    // Unlike those of topics, they stand for themselves where no broker property does.
    for (described, row) in described.iter_mut().zip(table::group().values()) {
        if let Some(value) = row.default_value().filter(|_| row.synonyms.is_empty()) {
            described.synonyms.push(SynonymValue {
                name: row.name.to_owned(),
                value: Some(value.to_string()),
                source: Source::Default,
            });
        }
    }
    described
}

/// All properties of this broker, set names that nobody knows included.
pub fn describe_broker(layers: Layers<'_>) -> Vec<Described> {
    let all_set = layers
        .each()
        .into_iter()
        .flat_map(|(_, layer)| layer.keys());
    let mut names: BTreeSet<&str> = all_set.map(String::as_str).collect();
    names.extend(table::broker().values().filter_map(|row| {
        let shown_unset = !row.internal && row.scope != Scope::RuntimeOnly;
        shown_unset.then_some(row.name)
    }));
    let known_internal = |name: &str| table::broker().get(name).is_some_and(|row| row.internal);
    names.retain(|name| !known_internal(name));
    names
        .into_iter()
        .map(|name| broker_property(layers, name))
        .collect()
}

/// What is set as the default of all brokers, and nothing else.
pub fn describe_cluster_default(cluster: &Overrides) -> Vec<Described> {
    let nothing = Overrides::new();
    let layers = Layers {
        broker: &nothing,
        cluster,
        file: &nothing,
    };
    let describe = |name: &String| {
        let mut described = broker_property(layers, name);
        described
            .synonyms
            .retain(|synonym| synonym.source == Source::ClusterDefault);
        described
    };
    cluster.keys().map(describe).collect()
}

fn own_property(
    layers: Layers<'_>,
    (source, own): (Source, &Overrides),
    row: &'static Property,
) -> Described {
    let value = layers.own_value(row, own).map(|value| value.to_string());
    let value = value.filter(|_| !row.is_sensitive());
    let mut synonyms = match row.synonyms {
        [first, ..] => synonyms_of(layers, first.name, row.is_sensitive()),
        [] => Vec::new(),
    };
    if own.contains_key(row.name) {
        let own = SynonymValue {
            name: row.name.to_owned(),
            value: value.clone(),
            source,
        };
        synonyms.insert(0, own);
    }
    Described {
        name: row.name.to_owned(),
        value,
        source: synonyms
            .first()
            .map_or(Source::Default, |first| first.source),
        read_only: false,
        sensitive: row.is_sensitive(),
        kind: Some(row.kind),
        doc: Some(row.documentation()),
        synonyms,
    }
}

fn broker_property(layers: Layers<'_>, name: &str) -> Described {
    let row = table::broker().get(name).copied();
    let described_by = row.or_else(|| table::broker().get(base_name(name)).copied());
    // What nobody knows may be a secret.
    let sensitive = described_by.is_none_or(Property::is_sensitive);
    let value = match row {
        Some(row) => layers.broker_value(row).map(|value| value.to_string()),
        None => layers
            .each()
            .iter()
            .find_map(|(_, layer)| layer.get(name).cloned()),
    };
    let synonyms = synonyms_of(layers, name, sensitive);
    Described {
        name: name.to_owned(),
        value: value.filter(|_| !sensitive),
        source: synonyms
            .first()
            .map_or(Source::Default, |first| first.source),
        read_only: !row.is_some_and(Property::is_dynamic),
        sensitive,
        kind: described_by.map(|row| row.kind),
        doc: described_by.map(Property::documentation),
        synonyms,
    }
}

/// Every value set for a broker property or one that stands for it, the strongest first. As in
/// Kafka, those before the first one of this very name are left out.
fn synonyms_of(layers: Layers<'_>, name: &str, sensitive: bool) -> Vec<SynonymValue> {
    let names = names_behind(name);
    let mut synonyms = Vec::new();
    let mut add = |name: &str, value: &str, source: Source| {
        synonyms.push(SynonymValue {
            name: name.to_owned(),
            value: (!sensitive).then(|| value.to_owned()),
            source,
        });
    };
    for (source, layer) in layers.each() {
        for name in &names {
            if let Some(value) = layer.get(*name) {
                add(name, value, source);
            }
        }
    }
    for name in &names {
        let row = table::broker().get(name);
        let in_file = row.filter(|row| row.scope != Scope::RuntimeOnly);
        if let Some(value) = in_file.and_then(|row| row.default_value()) {
            add(name, &value.to_string(), Source::Default);
        }
    }
    let first = synonyms.iter().position(|synonym| synonym.name == name);
    synonyms.drain(..first.unwrap_or(synonyms.len()));
    synonyms
}

/// The names that may decide in place of this one, the strongest first.
fn names_behind(name: &str) -> Vec<&str> {
    let base = base_name(name);
    if base != name {
        return vec![name, base];
    }
    let groups = table::topic().values().map(|row| row.synonyms);
    let mut groups = groups.filter(|group| group.iter().any(|synonym| synonym.name == name));
    match groups.next() {
        Some(group) => group.iter().map(|synonym| synonym.name).collect(),
        None => vec![name],
    }
}
