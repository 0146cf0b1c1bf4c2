//! How far each group is behind in each partition, as text in pieces: a family after the other, each read of the shards
//! anew while it is sent, since there may be millions of offsets.

use std::fmt::Write;

use super::monitor::Monitor;
use super::stream::{ClientGone, Pieces};
use crate::coordinator::lag::{Cursor, GroupLag, Lags};

/// One name, with a value of each group and partition that has one.
struct Family {
    name: &'static str,
    help: &'static str,
    value: fn(&GroupLag) -> Option<i64>,
}

const FAMILIES: [Family; 3] = [
    Family {
        name: "corelog_group_committed_offset",
        help: "Offset of the record that the group reads next, by its last commit (Kafka: kafka-consumer-groups \
               CURRENT-OFFSET; kafka-lag-exporter: kafka_consumergroup_group_offset; Burrow: \
               kafka_burrow_partition_current_offset).",
        value: |lag| Some(lag.committed),
    },
    Family {
        name: "corelog_group_log_end_offset",
        help: "Offset of the next acknowledged record of the partition (Kafka: kafka-consumer-groups LOG-END-OFFSET; \
               kafka-lag-exporter: kafka_partition_latest_offset; Burrow: kafka_burrow_topic_partition_offset).",
        value: |lag| lag.log_end,
    },
    Family {
        name: "corelog_group_lag",
        help: "Records that the group has still to read: the log's end less what is committed, both of the same \
               moment (Kafka: kafka-consumer-groups LAG; kafka-lag-exporter: kafka_consumergroup_group_lag; Burrow: \
               kafka_burrow_partition_lag).",
        value: GroupLag::lag,
    },
];

/// Which lags are wanted.
pub(super) fn cursor(group: Option<&str>) -> Cursor {
    match group {
        Some(group) => Cursor::of_group(group.to_owned()),
        None => Cursor::of_all(),
    }
}

/// Writes all families, beginning with a part of the lags that is there.
pub(super) async fn write(
    monitor: &Monitor,
    group: Option<&str>,
    first: Lags,
    to: &Pieces,
) -> Result<(), ClientGone> {
    let mut first = Some(first);
    for family in &FAMILIES {
        let mut part = match first.take() {
            Some(first) => Some(first),
            None => monitor.lags(cursor(group)).await,
        };
        let mut text = family.head();
        loop {
            let Some(lags) = part else {
                to.cut("the shards do not answer").await;
                return Ok(());
            };
            family.write(&lags.lags, &mut text);
            to.put(std::mem::take(&mut text)).await?;
            let Some(next) = lags.next else {
                break;
            };
            part = monitor.lags(next).await;
        }
    }
    Ok(())
}

impl Family {
    fn head(&self) -> String {
        let Self { name, help, .. } = self;
        format!("# HELP {name} {help}\n# TYPE {name} gauge\n")
    }

    fn write(&self, lags: &[GroupLag], text: &mut String) {
        for lag in lags {
            let Some(value) = (self.value)(lag) else {
                continue;
            };
            let GroupLag {
                topic, partition, ..
            } = lag;
            let _ = write!(text, "{}{{group=\"", self.name);
            escape(&lag.group, text);
            // Writing to a String can't fail.
            let _ = writeln!(
                text,
                "\",topic=\"{topic}\",partition=\"{partition}\"}} {value}"
            );
        }
    }
}

/// As a label's value. Groups may have any name.
fn escape(value: &str, text: &mut String) {
    for letter in value.chars() {
        match letter {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            letter => text.push(letter),
        }
    }
}
