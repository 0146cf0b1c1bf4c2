//! Quotas of clients, metrics and telemetry.

use crate::config::property::Scope::ClusterWide;
use crate::config::property::{Property, Unit, broker, broker_unset};
use crate::config::valid::Valid;
use crate::config::value::Kind::{Class, Int, List, Long, String};

pub(super) const ROWS: &[Property] = &[
    broker_unset("client.quota.callback.class", Class)
        .moot("Java class that decides the quotas of clients."),
    broker("quota.window.num", Int, "11")
        .at_least(1)
        .not_yet("Number of samples kept for client quotas."),
    broker("quota.window.size.seconds", Int, "1")
        .at_least(1)
        .unit(Unit::Seconds)
        .not_yet("Length of each sample of client quotas."),
    broker(
        "metric.reporters",
        List,
        "org.apache.kafka.common.metrics.JmxReporter",
    )
    .valid(Valid::ITEMS)
    .dynamic(ClusterWide)
    .moot("Java classes that report metrics."),
    broker("metrics.num.samples", Int, "2")
        .at_least(1)
        .moot("Number of samples kept for metrics."),
    broker("metrics.recording.level", String, "INFO").moot("Level of detail of metrics."),
    broker("metrics.sample.window.ms", Long, "30000")
        .at_least(1)
        .ms()
        .moot("Length of each sample of metrics."),
    broker("kafka.metrics.polling.interval.secs", Int, "10")
        .at_least(1)
        .unit(Unit::Seconds)
        .moot("How often the older metric reporters run."),
    broker("kafka.metrics.reporters", List, "")
        .valid(Valid::ITEMS)
        .moot("Java classes of the older metric reporters."),
    broker("telemetry.max.bytes", Int, "1048576")
        .at_least(1)
        .bytes()
        .not_yet("Largest metrics message a client may push."),
];
