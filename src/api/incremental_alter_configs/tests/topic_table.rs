//! Every property of topics: its default, the values that are refused at both ends of its range, and what a change does
//! to a running broker.

use std::pin::Pin;

use super::effects::{self, timestamp_distance};
use super::subject::{Subject, with_topic};
use crate::config::property::Status;
use crate::config::table;

type Effect = fn(Subject) -> Pin<Box<dyn Future<Output = ()>>>;

struct Row {
    name: &'static str,
    default: &'static str,
    /// Values just outside the range, or that are none of its kind, and what is said of them.
    refused: &'static [(&'static str, &'static str)],
    /// `None`: there is none, and the documentation says so.
    effect: Option<Effect>,
}

macro_rules! seen {
    ($effect:path $(, $argument:expr)*) => {
        Some((|subject| Box::pin($effect(subject $(, $argument)*))) as Effect)
    };
}

const ABOVE_INT: (&str, &str) = ("2147483648", "Not a number of type INT");
const ABOVE_LONG: (&str, &str) = ("9223372036854775808", "Not a number of type LONG");
const BELOW_LONG: (&str, &str) = ("-9223372036854775809", "Not a number of type LONG");
const BELOW_ZERO: (&str, &str) = ("-1", "Value must be at least 0");
const BELOW_ONE: (&str, &str) = ("0", "Value must be at least 1");
const NO_BOOLEAN: (&str, &str) = ("1", "Expected value to be either true or false");
const NO_LEVEL_OF_GZIP: &str = "Value must be between 1 and 9 or equal to -1";
const NO_TIERS: &str = "Tiered Storage functionality is disabled in the broker. Topic cannot be \
                        configured with remote log storage.";
const LONG_MAX: &str = "9223372036854775807";

const fn row(
    name: &'static str,
    default: &'static str,
    refused: &'static [(&'static str, &'static str)],
    effect: Option<Effect>,
) -> Row {
    Row {
        name,
        default,
        refused,
        effect,
    }
}

fn rows() -> Vec<Row> {
    vec![
        row(
            "cleanup.policy",
            "delete",
            &[("foo", "String must be one of: compact, delete")],
            seen!(effects::cleanup_policy),
        ),
        row(
            "compression.gzip.level",
            "-1",
            &[
                ("-2", NO_LEVEL_OF_GZIP),
                ("0", NO_LEVEL_OF_GZIP),
                ("10", NO_LEVEL_OF_GZIP),
            ],
            seen!(effects::level, "gzip", "compression.gzip.level", ("1", "9")),
        ),
        row(
            "compression.lz4.level",
            "9",
            &[
                ("0", "Value must be at least 1"),
                ("18", "Value must be no more than 17"),
            ],
            seen!(effects::level, "lz4", "compression.lz4.level", ("1", "17")),
        ),
        row(
            "compression.type",
            "producer",
            &[(
                "none",
                "String must be one of: uncompressed, zstd, lz4, snappy, gzip, producer",
            )],
            seen!(effects::compression_type),
        ),
        row(
            "compression.zstd.level",
            "3",
            &[
                ("-131073", "Value must be at least -131072"),
                ("23", "Value must be no more than 22"),
            ],
            seen!(
                effects::level,
                "zstd",
                "compression.zstd.level",
                ("1", "19")
            ),
        ),
        row(
            "delete.retention.ms",
            "86400000",
            &[BELOW_ZERO, ABOVE_LONG],
            seen!(effects::delete_retention),
        ),
        row(
            "file.delete.delay.ms",
            "60000",
            &[BELOW_ZERO, ABOVE_LONG],
            seen!(effects::file_delete_delay),
        ),
        row("flush.messages", LONG_MAX, &[BELOW_ONE, ABOVE_LONG], None),
        row("flush.ms", LONG_MAX, &[BELOW_ZERO, ABOVE_LONG], None),
        row("follower.replication.throttled.replicas", "", &[], None),
        row(
            "index.interval.bytes",
            "4096",
            &[BELOW_ZERO, ABOVE_INT],
            seen!(effects::index_interval),
        ),
        row(
            "internal.segment.bytes",
            "",
            &[ABOVE_INT],
            seen!(effects::internal_segment_bytes),
        ),
        row("leader.replication.throttled.replicas", "", &[], None),
        row(
            "local.retention.bytes",
            "-2",
            &[("-3", "Value must be at least -2"), ABOVE_LONG],
            seen!(effects::local_retention, "local.retention.bytes"),
        ),
        row(
            "local.retention.ms",
            "-2",
            &[("-3", "Value must be at least -2"), ABOVE_LONG],
            seen!(effects::local_retention, "local.retention.ms"),
        ),
        row(
            "max.compaction.lag.ms",
            LONG_MAX,
            &[BELOW_ONE, ABOVE_LONG],
            seen!(effects::max_compaction_lag),
        ),
        row(
            "max.message.bytes",
            "1048588",
            &[BELOW_ZERO, ABOVE_INT],
            seen!(effects::max_message_bytes),
        ),
        row(
            "message.timestamp.after.max.ms",
            "3600000",
            &[BELOW_ZERO, ABOVE_LONG],
            seen!(timestamp_distance, "message.timestamp.after.max.ms", 1),
        ),
        row(
            "message.timestamp.before.max.ms",
            LONG_MAX,
            &[BELOW_ZERO, ABOVE_LONG],
            seen!(timestamp_distance, "message.timestamp.before.max.ms", -1),
        ),
        row(
            "message.timestamp.type",
            "CreateTime",
            &[(
                "createtime",
                "String must be one of: CreateTime, LogAppendTime",
            )],
            seen!(effects::timestamp_type),
        ),
        row(
            "min.cleanable.dirty.ratio",
            "0.5",
            &[
                ("-0.1", "Value must be at least 0"),
                ("1.1", "Value must be no more than 1"),
            ],
            seen!(effects::min_cleanable_dirty_ratio),
        ),
        row(
            "min.compaction.lag.ms",
            "0",
            &[BELOW_ZERO, ABOVE_LONG],
            seen!(effects::min_compaction_lag),
        ),
        row(
            "min.insync.replicas",
            "1",
            &[BELOW_ONE, ABOVE_INT],
            seen!(effects::min_insync_replicas),
        ),
        row("preallocate", "false", &[NO_BOOLEAN], None),
        row("remote.log.copy.disable", "false", &[NO_BOOLEAN], None),
        row("remote.log.delete.on.disable", "false", &[NO_BOOLEAN], None),
        row(
            "remote.storage.enable",
            "false",
            &[NO_BOOLEAN, ("true", NO_TIERS)],
            None,
        ),
        row(
            "retention.bytes",
            "-1",
            &[BELOW_LONG, ABOVE_LONG],
            seen!(effects::retention_bytes),
        ),
        row(
            "retention.ms",
            "604800000",
            &[("-2", "Value must be at least -1"), ABOVE_LONG],
            seen!(effects::retention_ms),
        ),
        row(
            "segment.bytes",
            "1073741824",
            &[("1048575", "Value must be at least 1048576"), ABOVE_INT],
            seen!(effects::segment_bytes),
        ),
        row(
            "segment.index.bytes",
            "10485760",
            &[("3", "Value must be at least 4"), ABOVE_INT],
            seen!(effects::segment_index_bytes),
        ),
        row(
            "segment.jitter.ms",
            "0",
            &[BELOW_ZERO, ABOVE_LONG],
            seen!(effects::segment_jitter),
        ),
        row(
            "segment.ms",
            "604800000",
            &[BELOW_ONE, ABOVE_LONG],
            seen!(effects::segment_ms),
        ),
        row(
            "unclean.leader.election.enable",
            "false",
            &[NO_BOOLEAN],
            None,
        ),
        row(
            "corelog.durability",
            "sync",
            &[("fsync", "String must be one of: sync, written, memory")],
            seen!(effects::durability),
        ),
    ]
}

#[test]
fn every_property_of_topics_is_in_the_table() {
    let mut rows: Vec<&str> = rows().iter().map(|row| row.name).collect();
    rows.sort_unstable();
    let known: Vec<&str> = table::topic().keys().copied().collect();
    assert_eq!(rows, known);
}

#[test]
fn defaults_and_ranges() {
    with_topic(|subject| async move {
        for row in rows() {
            // What is internal is not described.
            if !table::topic()[row.name].internal {
                let described = subject.described(row.name).await;
                assert_eq!(
                    described.value.as_deref(),
                    Some(row.default),
                    "{}",
                    row.name
                );
                assert!(!described.read_only, "{}", row.name);
            }
            for (value, why) in row.refused {
                let said = subject.refusal(row.name, value).await;
                let expected = match *why {
                    NO_TIERS => NO_TIERS.to_owned(),
                    why => format!(
                        "Invalid value {value} for configuration {}: {why}",
                        row.name
                    ),
                };
                assert_eq!(said, expected);
            }
        }
    });
}

#[test]
fn effects_without_a_restart() {
    for row in rows() {
        let Some(effect) = row.effect else {
            continue;
        };
        println!("{}", row.name);
        with_topic(effect);
    }
}

#[test]
fn what_has_no_effect_says_so() {
    with_topic(|subject| async move {
        for row in rows() {
            let has_effect = table::topic()[row.name].status == Status::Honoured;
            assert!(!has_effect || row.effect.is_some(), "{}", row.name);
            if !has_effect {
                let described = subject.described(row.name).await;
                let text = described.documentation.expect("a text");
                assert!(text.contains("no effect"), "{}: {text}", row.name);
            }
        }
    });
}
