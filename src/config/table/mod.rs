//! THE table of properties: every property of Apache Kafka 4.3's broker, topics and groups, and
//! Corelog's own. Parsing, validation, DescribeConfigs and the reference page derive from it.
//!
//! Names, types, ranges, scopes and defaults are Kafka's. Five defaults differ, so that a broker
//! starts without a configuration and is not open to the network unasked: `node.id`,
//! `process.roles`, `controller.listener.names`, `listeners` and `log.dir`.

mod corelog;
mod group;
mod groups;
mod log;
mod metrics;
mod net;
mod node;
mod replication;
mod security;
mod share;
mod tiered;
mod tls;
mod topic;
mod transactions;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use super::property::{Property, Synonym};

/// A group of broker properties that belong together.
#[derive(Debug, Clone, Copy)]
pub struct Family {
    pub title: &'static str,
    pub rows: &'static [Property],
}

const fn family(title: &'static str, rows: &'static [Property]) -> Family {
    Family { title, rows }
}

/// The broker's properties, in the order of the reference page.
pub const BROKER_FAMILIES: &[Family] = &[
    family("Corelog's own", corelog::ROWS),
    family("Node, controller and metadata", node::ROWS),
    family("Listeners and connections", net::ROWS),
    family("Topics and logs", log::ROWS),
    family("Replication", replication::ROWS),
    family("Groups and offsets", groups::ROWS),
    family("Share groups", share::ROWS),
    family("Transactions", transactions::ROWS),
    family("Tiered storage", tiered::ROWS),
    family("Authorization and SASL", security::ROWS),
    family("TLS", tls::ROWS),
    family("Quotas, metrics and telemetry", metrics::ROWS),
];

type ByName = BTreeMap<&'static str, &'static Property>;

/// All properties of the broker, by name.
pub fn broker() -> &'static ByName {
    static ROWS: OnceLock<ByName> = OnceLock::new();
    ROWS.get_or_init(|| by_name(BROKER_FAMILIES.iter().flat_map(|family| family.rows)))
}

/// All properties of topics, by name.
pub fn topic() -> &'static ByName {
    static ROWS: OnceLock<ByName> = OnceLock::new();
    ROWS.get_or_init(|| by_name(topic::ROWS.iter()))
}

/// All properties of groups, by name.
pub fn group() -> &'static ByName {
    static ROWS: OnceLock<ByName> = OnceLock::new();
    ROWS.get_or_init(|| by_name(group::ROWS.iter()))
}

/// A broker property of the same unit.
const fn same(name: &'static str) -> Synonym {
    Synonym { name, factor: 1 }
}

fn by_name(rows: impl Iterator<Item = &'static Property>) -> ByName {
    let mut by_name = ByName::new();
    for row in rows {
        let earlier = by_name.insert(row.name, row);
        assert!(earlier.is_none(), "{} is in the table twice", row.name);
    }
    by_name
}

#[cfg(test)]
mod tests;
