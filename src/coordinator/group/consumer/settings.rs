//! The settings that a group goes by.

use std::time::Duration;

use crate::config::BrokerConfig;

/// Those that may differ from group to group.
pub(super) struct Settings {
    pub session_timeout: Duration,
    pub heartbeat_interval: Duration,
    pub assignment_interval: Duration,
}

impl Settings {
    /// The one place that resolves them. So far all groups have the broker's.
    pub fn of(_group: &str, config: &BrokerConfig) -> Self {
        let broker = &config.groups.consumer;
        Self {
            session_timeout: broker.session_timeout,
            heartbeat_interval: broker.heartbeat_interval,
            assignment_interval: broker.assignment_interval,
        }
    }
}
