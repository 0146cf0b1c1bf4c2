//! Configuration: one table of Kafka's properties, and everything that derives from it.
//!
//! `table` says what there is, `layers` resolves what was set where, `broker` and `topic` hand
//! the results to modules as small structs, `describe` answers DescribeConfigs. All of it is pure:
//! maps in, values out, on whatever core asks.
//! It does not store anything; changes while running are records of the metadata log, which keeps
//! the maps.

mod broker;
mod describe;
mod error;
mod group;
mod groups;
mod layers;
mod listeners;
mod load;
mod properties_file;
pub mod property;
pub mod reference;
pub mod table;
mod topic;
mod valid;
mod validate;
mod value;

#[cfg(test)]
mod tests;

pub use broker::{
    BrokerConfig, CleanerSettings, FetchLimits, HTTP_LISTENER, HttpConfig, MetadataLogConfig,
    NetworkLimits, NodeConfig, OnRot, SnapshotSettings, StorageConfig, TopicPolicy,
    check_cordoned_log_dirs,
};
pub use describe::{
    Described, SynonymValue, describe_broker, describe_cluster_default, describe_group,
    describe_topic,
};
pub use error::ConfigError;
pub use group::ConsumerGroupSettings;
pub use groups::{
    ClassicGroupsConfig, ConsumerGroupsConfig, GroupsConfig, MigrationPolicy, OffsetsConfig,
};
pub use layers::{Layers, Overrides, Source};
pub use listeners::{Endpoint, Listeners, Protocol};
pub use load::{LoadError, Loaded, load};
pub use properties_file::{
    Entry, MalformedEscape, parse as parse_properties, render as render_property,
};
pub use topic::{Durability, StoredCompression, TimestampType, TopicSettings};
pub use valid::{ListRule, Valid};
pub use validate::{check_broker, check_cluster_default, check_group, check_topic};
pub use value::{Kind, Value};
