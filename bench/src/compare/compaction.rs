//! How fast a log of keyed records is compacted, by each broker's own account of how far it has come.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::figures::*;
use super::session::Session;
use crate::history::{History, Written};
use crate::metrics::Metrics;
use crate::target::Target;
use corelog_loadgen::client::Client;

/// Of values.
const BYTES: u64 = 3_000_000_000;
const BYTES_IF_QUICK: u64 = 500_000_000;
const SEGMENT_BYTES: u64 = 64 << 20;
/// Between looks at how far the broker has come: asking costs it something.
const LOOK_EVERY: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(900);
/// Kept altogether, until it is to be compacted.
pub const UNTOUCHED: (&str, &str) = ("retention.ms", "-1");
/// To be compacted as soon as the broker looks.
pub const DUE: [(&str, &str); 2] = [
    ("cleanup.policy", "compact"),
    ("min.cleanable.dirty.ratio", "0.01"),
];

/// The compaction of one topic, as its broker tells of it.
pub struct Progress {
    target: Target,
    data: PathBuf,
    topic: String,
    written: Vec<Written>,
    /// What Corelog had compacted before.
    compacted_before: f64,
}

impl Progress {
    /// Of a topic that nothing was compacted of so far.
    pub fn new(target: Target, data: PathBuf, topic: &str, written: Vec<Written>) -> Result<Self> {
        let mut progress = Self {
            target,
            data,
            topic: topic.to_owned(),
            written,
            compacted_before: 0.0,
        };
        progress.compacted_before = progress.compacted()?.unwrap_or_default();
        Ok(progress)
    }

    /// By Corelog's metrics, once all of a group of segments is in its place.
    fn compacted(&self) -> Result<Option<f64>> {
        let metrics = self.target.http.map(Metrics::of).transpose()?;
        Ok(metrics.map(|metrics| metrics.compacted_bytes))
    }

    /// Whether each partition is compacted up to its last segment.
    pub fn is_complete(&self) -> Result<bool> {
        if let Some(compacted) = self.compacted()? {
            return Ok(compacted - self.compacted_before >= self.finished_bytes() as f64);
        }
        // Kafka notes there where each compacted log is dirty from on.
        let checkpoint = self.data.join("cleaner-offset-checkpoint");
        let noted = fs::read_to_string(checkpoint).unwrap_or_default();
        let mut written = (0..).zip(&self.written);
        Ok(written.all(|(partition, written)| {
            first_dirty_offset(&noted, &self.topic, partition) >= Some(written.active_offset)
        }))
    }

    pub fn finished_bytes(&self) -> u64 {
        self.written.iter().map(|it| it.finished_bytes).sum()
    }

    fn active_bytes(&self) -> u64 {
        self.written.iter().map(|it| it.active_bytes).sum()
    }
}

/// In the text of Kafka's file: two lines of its own, then one for each partition.
fn first_dirty_offset(checkpoint: &str, topic: &str, partition: i32) -> Option<i64> {
    checkpoint.lines().skip(2).find_map(|line| {
        let (place, offset) = line.rsplit_once(' ')?;
        (place == format!("{topic} {partition}")).then(|| offset.parse().ok())?
    })
}

/// Writes a history, makes its compaction due, and waits for its end. Both brokers read it from the disk.
pub fn run(session: &mut Session<'_>, name: &'static str) -> Result<()> {
    let Some(data) = session.data() else {
        // How far a broker has come that was not started here is not known.
        return Ok(());
    };
    let target = session.target();
    let history = History {
        topic: session.topic(name),
        partitions: 1,
        segment_bytes: SEGMENT_BYTES,
        value_bytes: match session.settings.is_quick {
            true => BYTES_IF_QUICK,
            false => BYTES,
        },
    };
    let written = history.write(target.addr, &[UNTOUCHED])?;
    session.calm_down()?;
    session.drop_page_cache()?;
    let progress = Progress::new(target, data, &history.topic, written)?;
    let mut client = Client::connect(target.addr)?;
    let before = target.before()?;
    let begun = Instant::now();
    client.alter_topic(&history.topic, &DUE)?;
    while !progress.is_complete()? {
        ensure!(
            begun.elapsed() < PATIENCE,
            "{} is not compacted after {PATIENCE:?}",
            history.topic
        );
        std::thread::sleep(LOOK_EVERY);
    }
    let took = begun.elapsed();
    let used = target.after()?.used_since(&before);
    let used = used.context("the broker's process is known")?;
    let finished = progress.finished_bytes();
    let left = client.topic_bytes(&history.topic, history.partitions)?;
    let left = left.saturating_sub(progress.active_bytes());
    let megabytes = finished as f64 / 1e6;
    eprintln!(
        "  {megabytes:.0} MB compacted in {:.1} s, {:.0} MB left\n",
        took.as_secs_f64(),
        left as f64 / 1e6
    );
    session.state(name, TOPIC_COMPACTED, megabytes / 1e3);
    session.state(name, COMPACTED, megabytes / took.as_secs_f64());
    session.state(name, CPU_COMPACTED, used.cpu_seconds_a_gb(finished));
    session.state(name, COMPACTED_LEFT, left as f64 / finished as f64 * 100.0);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::first_dirty_offset;

    #[test]
    fn the_line_of_a_partition_is_found_in_kafkas_checkpoint() {
        let text = "0\n3\nt-1 0 7\nt 11 8\nt 1 1206\n";
        assert_eq!(first_dirty_offset(text, "t", 1), Some(1_206));
        assert_eq!(first_dirty_offset(text, "t", 0), None);
        assert_eq!(first_dirty_offset("", "t", 0), None);
    }
}
