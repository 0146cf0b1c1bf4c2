//! Every property of brokers that changes while one runs: what it does is another thing from the next change on, set
//! for one broker and as the default of all, or its documentation says that it does nothing here.

use std::time::Duration;

use corelog_shards::route::PartitionKey;

use super::subject::{BROKER, Subject, TOPIC, with_topic};
use crate::broker::log_config;
use crate::config::property::{Property, Scope, Status};
use crate::config::table;

/// A property, a value that is not its default, and what must be set for it to matter.
type Change = (
    &'static str,
    &'static str,
    Option<(&'static str, &'static str)>,
);

/// By the simulated clock.
const A_MOMENT: Duration = Duration::from_millis(100);
const POLICY: &str = "cleanup.policy";

const CHANGES: &[Change] = &[
    (
        "compression.gzip.level",
        "3",
        Some(("compression.type", "gzip")),
    ),
    (
        "compression.lz4.level",
        "3",
        Some(("compression.type", "lz4")),
    ),
    ("compression.type", "snappy", None),
    (
        "compression.zstd.level",
        "5",
        Some(("compression.type", "zstd")),
    ),
    ("cordoned.log.dirs", "*", None),
    ("corelog.group.memory.bytes", "7777777", None),
    ("corelog.log.durability", "memory", None),
    ("corelog.memory.flush.ms", "77", None),
    ("group.consumer.assignment.interval.ms", "77", None),
    ("log.cleaner.backoff.ms", "77", None),
    ("log.cleaner.dedupe.buffer.size", "7777777", None),
    ("log.cleaner.delete.retention.ms", "77", None),
    ("log.cleaner.io.max.bytes.per.second", "77", None),
    ("log.cleaner.max.compaction.lag.ms", "77", None),
    ("log.cleaner.min.cleanable.ratio", "0.7", None),
    ("log.cleaner.min.compaction.lag.ms", "77", None),
    ("log.cleanup.policy", "compact", None),
    ("log.index.interval.bytes", "77", None),
    ("log.index.size.max.bytes", "77", None),
    ("log.message.timestamp.after.max.ms", "77", None),
    ("log.message.timestamp.before.max.ms", "77", None),
    ("log.message.timestamp.type", "LogAppendTime", None),
    ("log.retention.bytes", "77", None),
    ("log.retention.ms", "77", None),
    ("log.roll.jitter.ms", "77", None),
    ("log.roll.ms", "77", None),
    ("log.segment.bytes", "7777777", None),
    ("log.segment.delete.delay.ms", "77", None),
    ("max.connections", "77", None),
    ("max.connections.per.ip", "77", None),
    ("max.connections.per.ip.overrides", "127.0.0.1:7", None),
    ("message.max.bytes", "77", None),
    ("min.insync.replicas", "7", None),
    ("producer.id.expiration.ms", "77", None),
    ("replica.alter.log.dirs.io.max.bytes.per.second", "77", None),
];

fn dynamic() -> impl Iterator<Item = &'static Property> {
    let rows = table::broker().values().copied();
    rows.filter(|row| row.is_dynamic())
}

#[test]
fn what_has_an_effect_has_a_row() {
    let honoured = dynamic().filter(|row| row.status == Status::Honoured);
    let honoured: Vec<&str> = honoured.map(|row| row.name).collect();
    let rows: Vec<&str> = CHANGES.iter().map(|(name, ..)| *name).collect();
    assert_eq!(rows, honoured);
}

#[test]
fn what_has_none_says_so() {
    for row in dynamic().filter(|row| row.status != Status::Honoured) {
        let text = row.documentation();
        assert!(text.contains("no effect"), "{}: {text}", row.name);
    }
}

/// What the broker does with all settings, and what it does with those of the topic, by which its log goes.
async fn in_effect(subject: &Subject) -> String {
    let broker = &subject.context.broker;
    // Shards take turns in handing them out.
    broker.shard.io().sleep(A_MOMENT).await;
    let image = broker.image();
    let topic = image.topics.by_name("t").expect("the topic");
    let settings = broker.topic_settings(topic);
    let key = PartitionKey {
        topic: topic.id,
        partition: 0,
    };
    let config = broker.shard.config_of(&key).expect("its log");
    assert_eq!(*config, log_config(&settings));
    format!("{:?} {settings:?}", broker.config())
}

async fn alter(subject: &Subject, of: &str, changes: &[(&str, &str)]) {
    let altered = subject.alter((BROKER, of), changes).await;
    assert_eq!(altered.0, 0, "{changes:?}: {:?}", altered.1);
}

#[test]
fn changes_take_effect_without_a_restart() {
    for policy in [None, Some("compact"), Some("compact,delete")] {
        with_topic(move |subject| async move {
            if let Some(policy) = policy {
                let set = subject.alter((TOPIC, "t"), &[(POLICY, policy)]).await;
                assert_eq!(set.0, 0);
            }
            for change @ (name, ..) in CHANGES {
                // The topic's own comes before it.
                if *name != "log.cleanup.policy" || policy.is_none() {
                    takes_effect(&subject, change).await;
                }
            }
        });
    }
}

async fn takes_effect(subject: &Subject, (name, value, needed): &Change) {
    let levels: &[&str] = match table::broker()[name].scope {
        Scope::PerBroker => &["1"],
        _ => &["", "1"],
    };
    for of in levels {
        alter(subject, of, needed.as_slice()).await;
        let before = in_effect(subject).await;
        alter(subject, of, &[(name, value)]).await;
        let after = in_effect(subject).await;
        assert_ne!(before, after, "{name}={value} of {of:?}");
        subject.remove((BROKER, of), name).await;
        let removed = in_effect(subject).await;
        assert_eq!(before, removed, "{name} of {of:?} removed");
        if let Some((needed, _)) = needed {
            subject.remove((BROKER, of), needed).await;
        }
    }
}
