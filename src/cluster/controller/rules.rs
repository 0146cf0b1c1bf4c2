//! What the table of properties has to say to the controller.

use super::{Context, ControlError, ControlErrorKind, MIN_INSYNC_REPLICAS};
use crate::cluster::image::{ConfigResource, Properties, ResourceKind};
use crate::config::property::Property;
use crate::config::{
    Kind, Layers, Value, check_broker, check_cluster_default, check_group, check_topic, table,
};

static NOTHING: Properties = Properties::new();

/// The row of a property of this kind of resource, if it has one.
fn row(kind: ResourceKind, name: &str) -> Option<&'static Property> {
    match kind {
        ResourceKind::Topic => table::topic().get(name).copied(),
        ResourceKind::Broker => table::broker().get(name).copied(),
        ResourceKind::Group => table::group().get(name).copied(),
        _ => None,
    }
}

/// Whether the property is known.
pub(super) fn is_known(kind: ResourceKind, name: &str) -> bool {
    row(kind, name).is_some()
}

/// Whether the property is known and a list, which things can be appended to.
pub(super) fn is_list(kind: ResourceKind, name: &str) -> bool {
    row(kind, name).is_some_and(|row| row.kind == Kind::List)
}

/// The value of a property that nobody set.
pub(super) fn default_of(kind: ResourceKind, name: &str) -> Option<&'static str> {
    row(kind, name)?.default
}

impl Context<'_> {
    /// What is in effect on this node below topics and groups.
    fn layers(&self) -> Layers<'_> {
        let set_on = |resource| self.image.properties(&resource).unwrap_or(&NOTHING);
        Layers {
            broker: set_on(ConfigResource::broker(self.policy.node_id)),
            cluster: set_on(ConfigResource::cluster_default()),
            file: self.file,
        }
    }

    /// Whether a topic may be configured so.
    pub(super) fn check_topic(&self, properties: &Properties) -> Result<(), ControlError> {
        check_topic(self.layers(), properties)
            .map_err(|why| ControlError::new(ControlErrorKind::InvalidConfig, why.to_string()))
    }

    /// Whether a group may be configured so.
    pub(super) fn check_group(&self, properties: &Properties) -> Result<(), ControlError> {
        check_group(self.layers(), properties)
            .map_err(|why| ControlError::new(ControlErrorKind::InvalidConfig, why.to_string()))
    }

    /// Whether the running broker (or with the empty name, every broker) may be configured so.
    pub(super) fn check_broker(
        &self,
        target: &ConfigResource,
        properties: &Properties,
    ) -> Result<(), ControlError> {
        let before = self.layers();
        let mut layers = before;
        let checked = if target.name.is_empty() {
            layers.cluster = properties;
            check_cluster_default(layers, before)
        } else {
            layers.broker = properties;
            check_broker(layers, before)
        };
        checked.map_err(|why| ControlError::new(ControlErrorKind::InvalidRequest, why.to_string()))
    }

    pub(super) fn min_insync_replicas(&self, topic: &str) -> usize {
        match self.topic_value(topic, MIN_INSYNC_REPLICAS) {
            Some(Value::Number(count)) => usize::try_from(count).unwrap_or(1),
            _ => 1,
        }
    }

    pub(super) fn is_unclean_election_enabled(&self, topic: &str) -> bool {
        self.topic_value(topic, "unclean.leader.election.enable") == Some(Value::Boolean(true))
    }

    /// The value of a topic's property that is in effect.
    fn topic_value(&self, topic: &str, name: &str) -> Option<Value> {
        let own = self.image.properties(&ConfigResource::topic(topic));
        let row = table::topic().get(name)?;
        self.layers().own_value(row, own.unwrap_or(&NOTHING))
    }
}
