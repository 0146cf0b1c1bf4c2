//! Changes of configuration: single properties (incremental), or all of a resource (legacy).
//!
//! A request goes through two rounds, as it does in Kafka: first what the broker checks (each
//! resource and each property once, no missing values, the broker's own name, whether a running
//! broker can take the change), then what the controller checks (lists, names, the topic's values
//! as a whole, existence). Every resource is changed as a whole or not at all.

use std::collections::BTreeMap;

use super::error::{ControlError, ControlErrorKind};
use super::rules::{default_of, is_known, is_list};
use super::{Context, Decision, MIN_INSYNC_REPLICAS, RECORDS_PER_REQUEST_MAX, check_count};
use crate::cluster::features::MetadataVersion;
use crate::cluster::image::{ConfigResource, Properties, ResourceKind, config_record};
use crate::cluster::records::{ClearElrRecord, Record};

/// The longest name that can be given a value. Far longer than any property's; a reply of every
/// version has room for it. Kafka has no such limit, and cannot describe what is longer than 32 KiB.
const NAME_BYTES_MAX: usize = 1_024;
/// The longest value: what a length of 16 bits can say.
const VALUE_BYTES_MAX: usize = i16::MAX as usize;

const CORDONED_LOG_DIRS: &str = "cordoned.log.dirs";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlterOp {
    Set,
    Delete,
    Append,
    Subtract,
    /// A number that stands for none of these.
    Unknown(i8),
}

impl AlterOp {
    /// In the protocol's numbering.
    pub fn from_id(id: i8) -> Self {
        match id {
            0 => Self::Set,
            1 => Self::Delete,
            2 => Self::Append,
            3 => Self::Subtract,
            _ => Self::Unknown(id),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Set => "SET",
            Self::Delete => "DELETE",
            Self::Append => "APPEND",
            Self::Subtract => "SUBTRACT",
            Self::Unknown(_) => "UNKNOWN",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigAlteration {
    pub name: String,
    pub op: AlterOp,
    pub value: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceAlteration {
    /// In the protocol's numbering, which may be none that is known.
    pub resource_type: i8,
    pub name: String,
    pub configs: Vec<ConfigAlteration>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IncrementalAlterConfigs {
    pub resources: Vec<ResourceAlteration>,
    pub validate_only: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceReplacement {
    /// In the protocol's numbering, which may be none that is known.
    pub resource_type: i8,
    pub name: String,
    pub configs: Vec<(String, Option<String>)>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LegacyAlterConfigs {
    pub resources: Vec<ResourceReplacement>,
    pub validate_only: bool,
}

/// One result for each resource, in the order of the request.
pub type AlterConfigsReply = Vec<Result<(), ControlError>>;

/// A property and the value it is to have; without one it is removed.
type Change = (String, Option<String>);

pub fn incremental_alter_configs(
    context: &Context<'_>,
    request: &IncrementalAlterConfigs,
) -> Decision<AlterConfigsReply> {
    let key = |resource: &ResourceAlteration| key_of(resource.resource_type, &resource.name);
    let decision = alter_each(&request.resources, key, |resource| {
        let names = resource.configs.iter().map(|config| config.name.as_str());
        check_distinct(names)?;
        let without_value = resource
            .configs
            .iter()
            .filter(|config| config.op != AlterOp::Delete && config.value.is_none());
        check_no_null(without_value.map(|config| config.name.as_str()))?;
        let target = target_of(context, resource.resource_type, &resource.name)?;
        if target.kind == ResourceKind::Broker {
            let mut properties = current(context, &target);
            for config in &resource.configs {
                apply_to_broker(config, &mut properties)?;
            }
            context.check_broker(&target, &properties)?;
        }
        let changes = resource
            .configs
            .iter()
            .map(|config| Ok((config.name.clone(), new_value(context, &target, config)?)));
        let changes = changes.collect::<Result<Vec<Change>, ControlError>>()?;
        validated_config_records(context, &target, changes, false)
    });
    decision.only_validated(request.validate_only)
}

pub fn legacy_alter_configs(
    context: &Context<'_>,
    request: &LegacyAlterConfigs,
) -> Decision<AlterConfigsReply> {
    let key = |resource: &ResourceReplacement| key_of(resource.resource_type, &resource.name);
    let decision = alter_each(&request.resources, key, |resource| {
        check_distinct(resource.configs.iter().map(|(name, _)| name.as_str()))?;
        let without_value = resource.configs.iter().filter(|(_, value)| value.is_none());
        check_no_null(without_value.map(|(name, _)| name.as_str()))?;
        let target = target_of(context, resource.resource_type, &resource.name)?;
        if target.kind == ResourceKind::Broker {
            let with_value = |(name, value): &Change| Some((name.clone(), value.clone()?));
            let properties = resource.configs.iter().filter_map(with_value).collect();
            context.check_broker(&target, &properties)?;
        }
        let is_named = |name: &String| resource.configs.iter().any(|(named, _)| named == name);
        let forgotten = current(context, &target)
            .into_keys()
            .filter(|name| !is_named(name));
        let removals = forgotten.map(|name| (name, None)).collect::<Vec<Change>>();
        let changes = resource.configs.iter().cloned().chain(removals);
        validated_config_records(context, &target, changes, false)
    });
    decision.only_validated(request.validate_only)
}

/// What a resource is the same by: a number that is written in several ways is one broker.
fn key_of(resource_type: i8, name: &str) -> (i8, String) {
    let broker = ResourceKind::from_id(resource_type) == ResourceKind::Broker;
    match name.parse::<i32>().ok().filter(|_| broker) {
        Some(id) => (resource_type, id.to_string()),
        None => (resource_type, name.to_owned()),
    }
}

/// Runs `alter` for every resource that the request has once.
fn alter_each<T>(
    resources: &[T],
    key: impl Fn(&T) -> (i8, String),
    mut alter: impl FnMut(&T) -> Result<Vec<Record>, ControlError>,
) -> Decision<AlterConfigsReply> {
    if let Err(error) = check_count(resources.len()) {
        let reply = resources.iter().map(|_| Err(error.clone())).collect();
        return Decision::new(Vec::new(), reply);
    }
    let mut counts: BTreeMap<_, usize> = BTreeMap::new();
    for resource in resources {
        *counts.entry(key(resource)).or_default() += 1;
    }
    let mut records: Vec<Record> = Vec::new();
    let results = resources.iter().map(|resource| {
        if counts[&key(resource)] > 1 {
            return Err(invalid_request("Each resource must appear at most once."));
        }
        let altered = alter(resource)?;
        if records.len() + altered.len() > RECORDS_PER_REQUEST_MAX {
            return Err(ControlError::too_many_records());
        }
        records.extend(altered);
        Ok(())
    });
    let reply = results.collect();
    Decision::new(records, reply)
}

fn check_distinct<'a>(names: impl Iterator<Item = &'a str>) -> Result<(), ControlError> {
    let mut seen = std::collections::BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(invalid_request("Error due to duplicate config keys"));
        }
    }
    Ok(())
}

fn check_no_null<'a>(names: impl Iterator<Item = &'a str>) -> Result<(), ControlError> {
    let names: Vec<&str> = names.collect();
    if names.is_empty() {
        return Ok(());
    }
    Err(invalid_request(format!(
        "Null value not supported for : {}",
        names.join(", ")
    )))
}

/// The resource, if it is of a kind that can be configured here.
fn target_of(
    context: &Context<'_>,
    resource_type: i8,
    name: &str,
) -> Result<ConfigResource, ControlError> {
    match ResourceKind::from_id(resource_type) {
        ResourceKind::Topic => Ok(ConfigResource::topic(name)),
        ResourceKind::Broker if name.is_empty() => Ok(ConfigResource::cluster_default()),
        ResourceKind::Broker => {
            let own = context.policy.node_id;
            match name.parse::<i32>() {
                Ok(id) if id == own => Ok(ConfigResource::broker(id)),
                Ok(_) => Err(invalid_request(format!(
                    "Unexpected broker id, expected {own}, but received {name}"
                ))),
                Err(_) => Err(invalid_request(format!(
                    "Node id must be an integer, but it is: {name}"
                ))),
            }
        }
        ResourceKind::Group => Ok(ConfigResource::group(name)),
        kind @ (ResourceKind::BrokerLogger | ResourceKind::ClientMetrics) => Err(invalid_request(
            format!("Unsupported resource type: {}", kind.name()),
        )),
        ResourceKind::Unknown => Err(invalid_request(format!(
            "Unknown resource type {resource_type}"
        ))),
    }
}

fn current(context: &Context<'_>, target: &ConfigResource) -> Properties {
    context
        .image
        .properties(target)
        .cloned()
        .unwrap_or_default()
}

/// What the broker makes of one change to its own properties, before it asks the controller.
fn apply_to_broker(
    config: &ConfigAlteration,
    properties: &mut Properties,
) -> Result<(), ControlError> {
    let kind = ResourceKind::Broker;
    let name = &config.name;
    let verb = match config.op {
        AlterOp::Append => Some("append"),
        AlterOp::Subtract => Some("subtract"),
        AlterOp::Set | AlterOp::Delete => None,
        AlterOp::Unknown(id) => return Err(unknown_op(id)),
    };
    if let Some(verb) = verb
        && !is_list(kind, name)
    {
        let why = match is_known(kind, name) {
            true => format!("Config value {verb} is not allowed for config key: {name}"),
            false => format!("Unknown config name: {name}"),
        };
        return Err(ControlError::new(ControlErrorKind::InvalidConfig, why));
    }
    let old = properties.get(name).cloned();
    match changed_value(kind, config, old) {
        Some(value) => properties.insert(name.clone(), value),
        None => properties.remove(name),
    };
    Ok(())
}

/// The value that a property is to have after `config`; `None` removes it.
fn new_value(
    context: &Context<'_>,
    target: &ConfigResource,
    config: &ConfigAlteration,
) -> Result<Option<String>, ControlError> {
    match config.op {
        AlterOp::Unknown(id) => return Err(unknown_op(id)),
        AlterOp::Append | AlterOp::Subtract if !is_list(target.kind, &config.name) => {
            return Err(ControlError::new(
                ControlErrorKind::InvalidConfig,
                format!(
                    "Can't {} to key {} because its type is not LIST.",
                    config.op.name(),
                    config.name
                ),
            ));
        }
        _ => {}
    }
    let old = context.image.property(target, &config.name);
    Ok(changed_value(target.kind, config, old.map(str::to_owned)))
}

/// What `config` makes of `old`, given that it can be done.
fn changed_value(
    kind: ResourceKind,
    config: &ConfigAlteration,
    old: Option<String>,
) -> Option<String> {
    let value = config.value.as_deref().unwrap_or_default();
    let old_items = || -> Vec<String> {
        let text = old.as_deref().or_else(|| default_of(kind, &config.name));
        let items = text.unwrap_or_default().split(',');
        items
            .filter(|item| !item.is_empty())
            .map(str::to_owned)
            .collect()
    };
    match config.op {
        AlterOp::Set => Some(value.to_owned()),
        AlterOp::Delete | AlterOp::Unknown(_) => None,
        AlterOp::Append => {
            let mut items = old_items();
            for item in value.split(',') {
                if !items.iter().any(|other| other == item) {
                    items.push(item.to_owned());
                }
            }
            Some(items.join(","))
        }
        AlterOp::Subtract => {
            let mut items = old_items();
            for item in value.split(',') {
                if let Some(at) = items.iter().position(|other| other == item) {
                    items.remove(at);
                }
            }
            Some(items.join(","))
        }
    }
}

/// The records that make `changes` to `resource`, if it may have the properties it then has.
pub(super) fn validated_config_records(
    context: &Context<'_>,
    resource: &ConfigResource,
    changes: impl IntoIterator<Item = Change>,
    is_new: bool,
) -> Result<Vec<Record>, ControlError> {
    let existing = current(context, resource);
    let mut wanted = existing.clone();
    let mut records = Vec::new();
    let mut clears_elr = false;
    for (name, value) in changes {
        // Brokers reload on every record, even one that says what was said before.
        if existing.get(&name) == value.as_ref() && resource.kind != ResourceKind::Broker {
            continue;
        }
        check_elr(context, resource, &name, value.is_none())?;
        check_cordoned(context, resource, &name)?;
        match &value {
            // What is there already, from whenever it was allowed, can be removed.
            Some(_) if name.len() > NAME_BYTES_MAX => {
                return Err(too_long("name", NAME_BYTES_MAX));
            }
            Some(value) if value.len() > VALUE_BYTES_MAX => {
                return Err(too_long("value", VALUE_BYTES_MAX));
            }
            Some(value) => wanted.insert(name.clone(), value.clone()),
            None => wanted.remove(&name),
        };
        clears_elr |= name == MIN_INSYNC_REPLICAS;
        records.push(Record::from(config_record(resource, &name, value)));
    }
    check_resource(context, resource, &wanted, is_new)?;
    if clears_elr && context.image.is_elr_enabled() {
        let topic_name = match resource.kind {
            ResourceKind::Topic => resource.name.clone(),
            _ => String::new(),
        };
        records.push(Record::from(ClearElrRecord { topic_name }));
    }
    Ok(records)
}

fn too_long(what: &str, bytes_max: usize) -> ControlError {
    ControlError::new(
        ControlErrorKind::InvalidConfig,
        format!(
            "The configuration {what} cannot be added because it exceeds the maximum {what} size \
             of {bytes_max} bytes."
        ),
    )
}

/// Eligible leader replicas depend on one `min.insync.replicas` for the whole cluster.
fn check_elr(
    context: &Context<'_>,
    resource: &ConfigResource,
    name: &str,
    is_removal: bool,
) -> Result<(), ControlError> {
    let concerned = resource.kind == ResourceKind::Broker
        && name == MIN_INSYNC_REPLICAS
        && context.image.is_elr_enabled();
    let refused = |text: &str| Err(ControlError::new(ControlErrorKind::InvalidConfig, text));
    match (concerned, resource.name.is_empty()) {
        (true, false) => {
            refused("Broker-level min.insync.replicas cannot be altered while ELR is enabled.")
        }
        (true, true) if is_removal => {
            refused("Cluster-level min.insync.replicas cannot be removed while ELR is enabled.")
        }
        _ => Ok(()),
    }
}

/// Before all nodes know of cordoned directories there is nothing to set, nor to remove.
fn check_cordoned(
    context: &Context<'_>,
    resource: &ConfigResource,
    name: &str,
) -> Result<(), ControlError> {
    let is_known = context.image.metadata_version() >= MetadataVersion::CORDONED_DIRECTORIES;
    if is_known || resource.kind != ResourceKind::Broker || name != CORDONED_LOG_DIRS {
        return Ok(());
    }
    Err(ControlError::new(
        ControlErrorKind::InvalidConfig,
        format!(
            "The {CORDONED_LOG_DIRS} configuration value cannot be set because it requires \
             metadata.version >= 4.3-IV0"
        ),
    ))
}

fn check_resource(
    context: &Context<'_>,
    resource: &ConfigResource,
    wanted: &Properties,
    is_new: bool,
) -> Result<(), ControlError> {
    if resource.kind == ResourceKind::Group {
        if resource.name.is_empty() {
            return Err(invalid_request("Default group resources are not allowed."));
        }
        return context.check_group(wanted);
    }
    if resource.kind != ResourceKind::Topic {
        return Ok(());
    }
    if resource.name.is_empty() {
        return Err(invalid_request("Default topic resources are not allowed."));
    }
    super::validate_topic_name(&resource.name)?;
    context.check_topic(wanted)?;
    if !is_new && context.image.topics.id_of(&resource.name).is_none() {
        return Err(ControlError::new(
            ControlErrorKind::UnknownTopic,
            format!("The topic '{}' does not exist.", resource.name),
        ));
    }
    Ok(())
}

fn unknown_op(id: i8) -> ControlError {
    invalid_request(format!("Unknown operations type {id}"))
}

fn invalid_request(message: impl Into<String>) -> ControlError {
    ControlError::new(ControlErrorKind::InvalidRequest, message)
}

#[cfg(test)]
mod tests;
