//! What there is for each partition, as text in pieces: a hundred thousand partitions are a hundred
//! megabytes of it, which nobody should hold at once.

use std::fmt::{Display, Write};
use std::sync::Arc;

use corelog_shards::shard::PartitionFacts;

/// Series of one piece. One takes less than a millisecond.
const PIECE_SERIES: usize = 500;

/// One name, with a value of each partition.
struct Family {
    name: &'static str,
    help: &'static str,
    kind: &'static str,
    value: fn(&PartitionFacts) -> &dyn Display,
}

const FAMILIES: [Family; 8] = [
    Family {
        name: "corelog_partition_log_start_offset",
        help: "First offset (Kafka: kafka.log Log LogStartOffset).",
        kind: "gauge",
        value: |facts| &facts.start_offset,
    },
    Family {
        name: "corelog_partition_log_end_offset",
        help: "Offset of the next record (Kafka: kafka.log Log LogEndOffset).",
        kind: "gauge",
        value: |facts| &facts.end_offset,
    },
    Family {
        name: "corelog_partition_high_watermark",
        help: "Acknowledged records end here.",
        kind: "gauge",
        value: |facts| &facts.high_watermark,
    },
    Family {
        name: "corelog_partition_size_bytes",
        help: "Bytes of all segments (Kafka: kafka.log Log Size).",
        kind: "gauge",
        value: |facts| &facts.bytes,
    },
    Family {
        name: "corelog_partition_segments",
        help: "Segments (Kafka: kafka.log Log NumLogSegments).",
        kind: "gauge",
        value: |facts| &facts.segments,
    },
    Family {
        name: "corelog_partition_records_in_total",
        help: "Records that were appended since the start.",
        kind: "counter",
        value: |facts| &facts.traffic.records_in,
    },
    Family {
        name: "corelog_partition_bytes_in_total",
        help: "Bytes of batches that were appended since the start.",
        kind: "counter",
        value: |facts| &facts.traffic.bytes_in,
    },
    Family {
        name: "corelog_partition_bytes_out_total",
        help: "Bytes of batches that were read since the start.",
        kind: "counter",
        value: |facts| &facts.traffic.bytes_out,
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
            let (partition, value) = (facts.key.partition, value(facts));
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
        }
    }

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
                    let line = format!("\n{name}{labels} {}\n", at + 1);
                    assert_eq!(text.matches(&line).count(), 1, "{line}");
                }
            }
            assert_eq!(text.lines().count(), FAMILIES.len() * (partitions + 2));
        }
        assert_eq!(text(0), "");
    }
}
