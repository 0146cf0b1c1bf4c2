//! What there is for each partition, as text in pieces: a hundred thousand partitions are a hundred
//! megabytes of it, which nobody should hold at once.

use std::fmt::{self, Display, Write};
use std::sync::Arc;

use corelog_shards::shard::{CompactionFacts, LastPass, PartitionFacts};

/// Series of one piece. One takes less than a millisecond.
const PIECE_SERIES: usize = 500;

/// One name, with a value of each partition.
struct Family {
    name: &'static str,
    help: &'static str,
    kind: &'static str,
    /// `None` of partitions that have none.
    value: fn(&PartitionFacts) -> Option<Value>,
}

enum Value {
    Offset(i64),
    Count(u64),
    Real(f64),
}

impl Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Offset(offset) => offset.fmt(f),
            Self::Count(count) => count.fmt(f),
            Self::Real(real) => real.fmt(f),
        }
    }
}

fn of_compaction(facts: &PartitionFacts, value: fn(&CompactionFacts) -> Value) -> Option<Value> {
    facts.compaction.as_ref().map(value)
}

fn of_last_pass(facts: &PartitionFacts, value: fn(&LastPass) -> f64) -> Option<Value> {
    let pass = facts.compaction.as_ref()?.last_pass.as_ref()?;
    Some(Value::Real(value(pass)))
}

const FAMILIES: [Family; 13] = [
    Family {
        name: "corelog_partition_log_start_offset",
        help: "First offset (Kafka: kafka.log Log LogStartOffset).",
        kind: "gauge",
        value: |facts| Some(Value::Offset(facts.start_offset)),
    },
    Family {
        name: "corelog_partition_log_end_offset",
        help: "Offset of the next record (Kafka: kafka.log Log LogEndOffset).",
        kind: "gauge",
        value: |facts| Some(Value::Offset(facts.end_offset)),
    },
    Family {
        name: "corelog_partition_high_watermark",
        help: "Acknowledged records end here.",
        kind: "gauge",
        value: |facts| Some(Value::Offset(facts.high_watermark)),
    },
    Family {
        name: "corelog_partition_size_bytes",
        help: "Bytes of all segments (Kafka: kafka.log Log Size).",
        kind: "gauge",
        value: |facts| Some(Value::Count(facts.bytes)),
    },
    Family {
        name: "corelog_partition_segments",
        help: "Segments (Kafka: kafka.log Log NumLogSegments).",
        kind: "gauge",
        value: |facts| Some(Value::Count(facts.segments as u64)),
    },
    Family {
        name: "corelog_partition_records_in_total",
        help: "Records that were appended since the start.",
        kind: "counter",
        value: |facts| Some(Value::Count(facts.traffic.records_in)),
    },
    Family {
        name: "corelog_partition_bytes_in_total",
        help: "Bytes of batches that were appended since the start.",
        kind: "counter",
        value: |facts| Some(Value::Count(facts.traffic.bytes_in)),
    },
    Family {
        name: "corelog_partition_bytes_out_total",
        help: "Bytes of batches that were read since the start.",
        kind: "counter",
        value: |facts| Some(Value::Count(facts.traffic.bytes_out)),
    },
    Family {
        name: "corelog_partition_first_dirty_offset",
        help: "Of a compacted log: compaction has been through everything below it.",
        kind: "gauge",
        value: |facts| of_compaction(facts, |of| Value::Offset(of.first_dirty_offset)),
    },
    Family {
        name: "corelog_partition_dirty_ratio",
        help: "Of a compacted log: part of its bytes, 0 to 1, that compaction has not been through and may go through by \
               now (Kafka: LogCleanerManager max-dirty-percent).",
        kind: "gauge",
        value: |facts| of_compaction(facts, |of| Value::Real(of.dirty_ratio())),
    },
    Family {
        name: "corelog_partition_uncleanable_bytes",
        help: "Of a compacted log: its bytes while its compaction fails, for damage or because the disk does, and 0 \
               otherwise (Kafka: LogCleanerManager uncleanable-bytes, uncleanable-partitions-count).",
        kind: "gauge",
        value: |facts| {
            let is_held_up = facts.compaction?.is_held_up;
            Some(Value::Count(if is_held_up { facts.bytes } else { 0 }))
        },
    },
    Family {
        name: "corelog_partition_last_compaction_timestamp_seconds",
        help: "When the last pass of compaction over the log has ended since the start, in seconds since 1970 (Kafka: \
               LogCleanerManager time-since-last-run-ms).",
        kind: "gauge",
        value: |facts| of_last_pass(facts, |pass| pass.ended_ms as f64 / 1000.0),
    },
    Family {
        name: "corelog_partition_last_compaction_seconds",
        help: "How long that pass took, in seconds (Kafka: LogCleaner max-clean-time-secs).",
        kind: "gauge",
        value: |facts| of_last_pass(facts, |pass| pass.took.as_secs_f64()),
    },
];

/// The series of all partitions, in Prometheus' text format.
pub(super) struct Texts {
    partitions: Vec<(Arc<str>, PartitionFacts)>,
    /// What comes next: the place in the families, and that of the partition.
    family: usize,
    partition: usize,
}

impl Texts {
    pub(super) fn of(partitions: Vec<(Arc<str>, PartitionFacts)>) -> Self {
        Self {
            partitions,
            family: 0,
            partition: 0,
        }
    }
}

impl Iterator for Texts {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        if self.partitions.is_empty() {
            return None;
        }
        let Family {
            name,
            help,
            kind,
            value,
        } = FAMILIES.get(self.family)?;
        let mut text = String::new();
        // Writing to a String can't fail.
        if self.partition == 0 {
            let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        }
        let rest = &self.partitions[self.partition..];
        for (topic, facts) in rest.iter().take(PIECE_SERIES) {
            let Some(value) = value(facts) else { continue };
            let partition = facts.key.partition;
            // No name of a topic has a character that would have to be escaped.
            let _ = writeln!(
                text,
                "{name}{{topic=\"{topic}\",partition=\"{partition}\"}} {value}"
            );
        }
        self.partition += PIECE_SERIES;
        if self.partition >= self.partitions.len() {
            (self.family, self.partition) = (self.family + 1, 0);
        }
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use corelog_shards::partition::Traffic;
    use corelog_shards::route::PartitionKey;
    use uuid::Uuid;

    use super::*;

    fn facts(partition: i32) -> PartitionFacts {
        PartitionFacts {
            key: PartitionKey {
                topic: Uuid::nil(),
                partition,
            },
            start_offset: 1,
            end_offset: 2,
            high_watermark: 3,
            bytes: 4,
            segments: 5,
            traffic: Traffic {
                records_in: 6,
                bytes_in: 7,
                bytes_out: 8,
            },
            folder: Uuid::nil(),
            is_offline: false,
            future: None,
            compaction: Some(CompactionFacts {
                first_dirty_offset: 9,
                clean_bytes: 6,
                dirty_bytes: 2,
                is_held_up: true,
                last_pass: Some(LastPass {
                    ended_ms: 1_500,
                    took: Duration::from_millis(250),
                }),
            }),
        }
    }

    /// Of the families in their order.
    const VALUES: [&str; FAMILIES.len()] = [
        "1", "2", "3", "4", "5", "6", "7", "8", "9", "0.25", "4", "1.5", "0.25",
    ];

    fn text(partitions: usize) -> String {
        let topic: Arc<str> = "t".into();
        let named = (0..partitions).map(|partition| (topic.clone(), facts(partition as i32)));
        let pieces: Vec<String> = Texts::of(named.collect()).collect();
        assert!(pieces.iter().all(|piece| piece.len() < 100_000));
        pieces.concat()
    }

    #[test]
    fn every_partition_stands_in_every_family_once_whatever_the_pieces() {
        for partitions in [1, PIECE_SERIES, 2 * PIECE_SERIES + 1] {
            let text = text(partitions);
            for (at, family) in FAMILIES.iter().enumerate() {
                let name = family.name;
                assert_eq!(
                    text.matches(&format!("# HELP {name} {}\n", family.help))
                        .count(),
                    1
                );
                assert_eq!(
                    text.matches(&format!("# TYPE {name} {}\n", family.kind))
                        .count(),
                    1
                );
                assert_eq!(family.kind == "counter", name.ends_with("_total"), "{name}");
                for partition in [0, partitions - 1] {
                    let labels = format!("{{topic=\"t\",partition=\"{partition}\"}}");
                    let line = format!("\n{name}{labels} {}\n", VALUES[at]);
                    assert_eq!(text.matches(&line).count(), 1, "{line}");
                }
            }
            assert_eq!(text.lines().count(), FAMILIES.len() * (partitions + 2));
        }
        assert_eq!(text(0), "");
    }

    #[test]
    fn logs_that_are_not_compacted_have_no_series_of_it() {
        let topic: Arc<str> = "t".into();
        let mut waiting = facts(1);
        let compaction = waiting.compaction.as_mut().expect("some");
        (compaction.last_pass, compaction.is_held_up) = (None, false);
        let plain = PartitionFacts {
            compaction: None,
            ..facts(2)
        };
        let named = [facts(0), waiting, plain].map(|facts| (topic.clone(), facts));
        let text = Texts::of(named.to_vec()).collect::<String>();
        let series = |partition: i32| {
            let labels = format!("{{topic=\"t\",partition=\"{partition}\"}}");
            text.matches(&labels).count()
        };
        assert_eq!([0, 1, 2].map(series), [13, 11, 8]);
        let clean = "corelog_partition_uncleanable_bytes{topic=\"t\",partition=\"1\"} 0\n";
        assert!(text.contains(clean), "{text}");
    }
}
