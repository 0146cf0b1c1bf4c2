//! The settings that one group may have of its own, resolved.

use std::time::Duration;

use super::groups::ConsumerGroupsConfig;
use super::layers::Overrides;
use super::table;
use super::value::Value;

/// Settings of a group of the consumer protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConsumerGroupSettings {
    pub session_timeout: Duration,
    pub heartbeat_interval: Duration,
    /// The least time between two assignments.
    pub assignment_interval: Duration,
}

impl ConsumerGroupSettings {
    /// What the group sets itself, within the bounds that the broker has by now; the broker's settings for all else.
    pub fn resolve(broker: &ConsumerGroupsConfig, own: Option<&Overrides>) -> Self {
        let or = |name: &str, default: Duration, (min, max): (Duration, Duration)| {
            let text = own.and_then(|own| own.get(name));
            let value = text.and_then(|text| table::group()[name].parse(text).ok());
            match value {
                Some(Value::Number(ms)) => {
                    Duration::from_millis(u64::try_from(ms).unwrap_or(0)).clamp(min, max)
                }
                _ => default,
            }
        };
        Self {
            session_timeout: or(
                "consumer.session.timeout.ms",
                broker.session_timeout,
                (broker.session_timeout_min, broker.session_timeout_max),
            ),
            heartbeat_interval: or(
                "consumer.heartbeat.interval.ms",
                broker.heartbeat_interval,
                (broker.heartbeat_interval_min, broker.heartbeat_interval_max),
            ),
            assignment_interval: or(
                "consumer.assignment.interval.ms",
                broker.assignment_interval,
                (
                    broker.assignment_interval_min,
                    broker.assignment_interval_max,
                ),
            ),
        }
    }
}
