//! What Corelog says of itself at `/metrics`: read twice, the difference tells where requests spent their time.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

const STAGES: &str = "corelog_request_stage_seconds";
const PAUSES: &str = "corelog_shard_pause_seconds";
const JOURNAL_BYTES: &str = "corelog_journal_bytes_total";
const COMPACTED_BYTES: &str = "corelog_compaction_read_bytes_total";

/// What was counted up to some moment, over all shards.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics {
    /// By API and stage.
    stages: BTreeMap<(String, String), Distribution>,
    pauses: Distribution,
    journal_bytes: f64,
    /// Of segments that compaction has been through.
    pub compacted_bytes: f64,
}

/// Where requests spent their time, and how shards were, between two moments.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Inside {
    /// In the order in which requests pass them.
    pub stages: Vec<Stage>,
    /// 99.99 % of a shard's looks outside came no later than this after the one before, in ms.
    pub pause_p9999_ms: Option<f64>,
    /// Bytes written to journals.
    pub journal_bytes: f64,
}

/// One step of all requests of an API.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    pub api: String,
    pub stage: String,
    pub count: u64,
    pub mean_us: f64,
    /// The upper end of the bucket, of two an octave, in which it lies.
    pub p99_us: f64,
}

/// Buckets by their upper bounds, which are positive: their bits have their order.
#[derive(Clone, Debug, Default, PartialEq)]
struct Distribution {
    cumulative: BTreeMap<u64, f64>,
    sum: f64,
    count: f64,
}

impl Distribution {
    fn add(&mut self, suffix: &str, labels: &str, value: f64) {
        match suffix {
            "_sum" => self.sum += value,
            "_count" => self.count += value,
            "_bucket" => {
                let bound = label(labels, "le").and_then(|bound| bound.parse::<f64>().ok());
                if let Some(bound) = bound {
                    *self.cumulative.entry(bound.to_bits()).or_default() += value;
                }
            }
            _ => {}
        }
    }

    fn since(&self, earlier: &Self) -> Self {
        let before = |bound| earlier.cumulative.get(bound).copied().unwrap_or(0.0);
        Self {
            cumulative: self
                .cumulative
                .iter()
                .map(|(bound, count)| (*bound, count - before(bound)))
                .collect(),
            sum: self.sum - earlier.sum,
            count: self.count - earlier.count,
        }
    }

    /// The upper bound of the bucket with the value at this part, in seconds; none without values.
    fn quantile(&self, part: f64) -> Option<f64> {
        let wanted = self.count * part;
        let mut reached = self.cumulative.iter();
        let (bound, _) = reached.find(|(_, count)| self.count > 0.0 && **count >= wanted)?;
        Some(f64::from_bits(*bound))
    }
}

impl Metrics {
    /// Asks a broker for them.
    pub fn of(addr: SocketAddr) -> Result<Self> {
        let mut stream =
            TcpStream::connect(addr).with_context(|| format!("asking http://{addr}/metrics"))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(
            stream,
            "GET /metrics HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n"
        )?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply)?;
        ensure!(
            reply.starts_with("HTTP/1.1 200"),
            "http://{addr}/metrics: {}",
            reply.lines().next().unwrap_or("no reply")
        );
        Ok(Self::from_text(&reply))
    }

    /// From Prometheus' text format; what else is in it does not matter.
    fn from_text(text: &str) -> Self {
        let mut metrics = Self::default();
        for line in text.lines() {
            let Some((series, value)) = line.rsplit_once(' ') else {
                continue;
            };
            let Ok(value) = value.trim().parse::<f64>() else {
                continue;
            };
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            if let Some(suffix) = name.strip_prefix(STAGES) {
                let key = label(labels, "api").zip(label(labels, "stage"));
                if let Some((api, stage)) = key {
                    let key = (api.to_owned(), stage.to_owned());
                    let stage = metrics.stages.entry(key).or_default();
                    stage.add(suffix, labels, value);
                }
            } else if let Some(suffix) = name.strip_prefix(PAUSES) {
                metrics.pauses.add(suffix, labels, value);
            } else if name == JOURNAL_BYTES {
                metrics.journal_bytes += value;
            } else if name == COMPACTED_BYTES {
                metrics.compacted_bytes += value;
            }
        }
        metrics
    }

    /// What happened since an earlier moment.
    pub fn since(&self, earlier: &Self) -> Inside {
        let none = Distribution::default();
        let mut stages: Vec<Stage> = self
            .stages
            .iter()
            .filter_map(|(key, now)| {
                let spent = now.since(earlier.stages.get(key).unwrap_or(&none));
                Some(Stage {
                    api: key.0.clone(),
                    stage: key.1.clone(),
                    count: spent.count as u64,
                    mean_us: spent.sum / spent.count * 1e6,
                    p99_us: spent.quantile(0.99)? * 1e6,
                })
            })
            .filter(|stage| stage.api == "Produce" || stage.api == "Fetch")
            .collect();
        stages.sort_by_key(Stage::place);
        let pauses = self.pauses.since(&earlier.pauses);
        Inside {
            stages,
            pause_p9999_ms: pauses.quantile(0.9999).map(|seconds| seconds * 1e3),
            journal_bytes: self.journal_bytes - earlier.journal_bytes,
        }
    }
}

/// The stages of several times together. As no bucket is kept of them, p99 is the highest of theirs: that of all is no
/// higher.
pub fn stages_of_all<'a>(insides: impl Iterator<Item = &'a Inside>) -> Vec<Stage> {
    let mut all: Vec<Stage> = Vec::new();
    for stage in insides.flat_map(|inside| &inside.stages) {
        let mut known = all.iter_mut();
        match known.find(|it| (&it.api, &it.stage) == (&stage.api, &stage.stage)) {
            Some(same) => same.add(stage),
            None => all.push(stage.clone()),
        }
    }
    all.sort_by_key(Stage::place);
    all
}

impl Stage {
    fn add(&mut self, other: &Self) {
        let sum_us = |stage: &Self| stage.mean_us * stage.count as f64;
        let sum_us = sum_us(self) + sum_us(other);
        self.count += other.count;
        self.mean_us = sum_us / self.count as f64;
        self.p99_us = self.p99_us.max(other.p99_us);
    }

    /// Where it stands among the others.
    fn place(&self) -> (bool, usize) {
        const ORDER: [&str; 10] = [
            "frame", "check", "route", "append", "queue", "write", "sync", "wait", "read", "reply",
        ];
        let known = ORDER.iter().position(|name| *name == self.stage);
        (self.api != "Produce", known.unwrap_or(ORDER.len()))
    }
}

/// The value of a label in `a="b",c="d"}`.
fn label<'a>(labels: &'a str, name: &str) -> Option<&'a str> {
    labels.trim_end_matches('}').split(',').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        (key == name).then(|| value.trim_matches('"'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "\
HTTP/1.1 200 OK

# HELP corelog_request_stage_seconds Where requests spend their time.
# TYPE corelog_request_stage_seconds histogram
corelog_request_stage_seconds_bucket{api=\"Produce\",shard=\"0\",stage=\"write\",le=\"0.001\"} 10
corelog_request_stage_seconds_bucket{api=\"Produce\",shard=\"0\",stage=\"write\",le=\"0.002\"} 10
corelog_request_stage_seconds_bucket{api=\"Produce\",shard=\"0\",stage=\"write\",le=\"+Inf\"} 10
corelog_request_stage_seconds_sum{api=\"Produce\",shard=\"0\",stage=\"write\"} 0.005
corelog_request_stage_seconds_count{api=\"Produce\",shard=\"0\",stage=\"write\"} 10
corelog_journal_bytes_total{shard=\"0\"} 1000
corelog_journal_bytes_total{shard=\"1\"} 500
";
    const AFTER: &str = "\
corelog_request_stage_seconds_bucket{api=\"Produce\",shard=\"0\",stage=\"write\",le=\"0.001\"} 60
corelog_request_stage_seconds_bucket{api=\"Produce\",shard=\"0\",stage=\"write\",le=\"0.002\"} 110
corelog_request_stage_seconds_bucket{api=\"Produce\",shard=\"0\",stage=\"write\",le=\"+Inf\"} 110
corelog_request_stage_seconds_sum{api=\"Produce\",shard=\"0\",stage=\"write\"} 0.105
corelog_request_stage_seconds_count{api=\"Produce\",shard=\"0\",stage=\"write\"} 110
corelog_request_stage_seconds_bucket{api=\"Produce\",shard=\"1\",stage=\"frame\",le=\"+Inf\"} 5
corelog_request_stage_seconds_sum{api=\"Produce\",shard=\"1\",stage=\"frame\"} 0.00001
corelog_request_stage_seconds_count{api=\"Produce\",shard=\"1\",stage=\"frame\"} 5
corelog_shard_pause_seconds_bucket{shard=\"0\",le=\"0.0005\"} 7
corelog_shard_pause_seconds_bucket{shard=\"1\",le=\"0.0005\"} 3
corelog_shard_pause_seconds_count{shard=\"0\"} 7
corelog_shard_pause_seconds_count{shard=\"1\"} 3
corelog_journal_bytes_total{shard=\"0\"} 3000
corelog_journal_bytes_total{shard=\"1\"} 700
";

    #[test]
    fn the_difference_of_two_readings_tells_what_happened_between_them() {
        let inside = Metrics::from_text(AFTER).since(&Metrics::from_text(BEFORE));
        assert_eq!(inside.journal_bytes, 2_200.0);
        assert_eq!(inside.pause_p9999_ms, Some(0.5));
        let [frame, write] = inside.stages.as_slice() else {
            panic!("{inside:?}")
        };
        assert_eq!((frame.stage.as_str(), frame.count), ("frame", 5));
        assert_eq!((write.stage.as_str(), write.count), ("write", 100));
        assert!((write.mean_us - 1_000.0).abs() < 1e-6, "{write:?}");
        assert!((write.p99_us - 2_000.0).abs() < 1e-6, "{write:?}");
    }

    #[test]
    fn nothing_between_two_readings_is_no_stage() {
        let metrics = Metrics::from_text(AFTER);
        let inside = metrics.since(&metrics);
        assert_eq!(inside, Inside::default());
    }
}
