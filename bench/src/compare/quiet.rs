//! Producers at a rate, alone and beside what a broker does for its logs: segments that retention deletes, a large topic
//! that is compacted, and a topic of a thousand partitions that is deleted.
//!
//! What proves that all of it went on while producers were measured is the same for all brokers: bytes that the process
//! fetched from the disk, which nothing but compaction does here, and what is in its folder. Where one of them did not,
//! the figures say that they are not proven.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::compaction::{self, Progress, UNTOUCHED};
use super::figures::*;
use super::produce::{client_note, indented, settings_of};
use super::session::Session;
use super::workloads::{Load, Produce};
use crate::history::History;
use crate::produce::{self as client, Pace, ProduceSettings};
use crate::report::ProduceReport;
use crate::target::Target;
use corelog_loadgen::client::Client;

/// Of the topic that is compacted.
const COMPACTED_BYTES: u64 = 10_000_000_000;
const COMPACTED_BYTES_IF_QUICK: u64 = 2_000_000_000;
const COMPACTED_PARTITIONS: i32 = 4;
const COMPACTED_SEGMENT_BYTES: u64 = 64 << 20;
/// Of the topic with segments that retention deletes. Kafka has none smaller.
const RETAINED_PARTITIONS: i32 = 50;
const RETAINED_SEGMENT_BYTES: u64 = 1 << 20;
const RETAINED_SEGMENTS: u64 = 20;
/// Of the topic that is deleted.
const DELETED_PARTITIONS: i32 = 1_000;
const DELETED_BYTES_A_PARTITION: u64 = 256 << 10;
/// How much longer than other loads it takes: deletions are waited for.
const TIMES_AS_LONG: u32 = 5;
/// Between steps of retention, at which it is told to keep less.
const STEP: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What there is for the housekeeping to do.
struct Chores {
    target: Target,
    data: PathBuf,
    retained: String,
    deleted: String,
    compacted: String,
    compaction: Progress,
}

/// What was done of it while producers were measured.
#[derive(Debug, Default)]
struct Done {
    is_compaction_over: bool,
    segments_deleted: usize,
    partitions_deleted: usize,
    /// From the request to delete the topic until its last file was gone.
    deletion: Option<Duration>,
}

pub fn run(
    session: &mut Session<'_>,
    name: &'static str,
    of: &'static str,
    part: f64,
) -> Result<()> {
    let Some(data) = session.data() else {
        // What a broker does that was not started here cannot be seen.
        return Ok(());
    };
    let rate = session.limit(of)? * part;
    let produce = Produce {
        partitions: 100,
        records: 1,
        load: Load::Limit { of, part },
        is_synced: false,
    };
    let mut settings = settings_of(session, name, produce, Pace::Rate(rate));
    settings.duration *= TIMES_AS_LONG;
    settings.counts_calls = false;
    client::prepare(&settings)?;
    let chores = Chores::prepare(session, data)?;

    session.calm_down()?;
    let before = client::load(&settings)?;
    session.calm_down()?;
    session.drop_page_cache()?;
    let (beside, done) = chores.beside(&settings)?;
    eprintln!("{}\n  {done:?}\n", indented(&beside.to_string()));
    Client::connect(chores.target.addr)?.delete_topic(&chores.compacted)?;
    session.calm_down()?;
    let after = client::load(&settings)?;
    session.state(name, DUE, rate);
    state(session, name, &chores, &[before, after], &beside, &done);
    Ok(())
}

fn state(
    session: &mut Session<'_>,
    name: &str,
    chores: &Chores,
    without: &[ProduceReport; 2],
    beside: &ProduceReport,
    done: &Done,
) {
    let read = beside.broker.as_ref().map_or(0, |it| it.disk_read);
    let missing = done.missing(read);
    let note = missing.map(|missing| format!("not proven: {missing}"));
    let note = note.as_deref().or(client_note(beside));
    for (part, [alone, with, times]) in [
        (0.99, [P99, P99_BESIDE_HOUSEKEEPING, P99_HOUSEKEEPING_TIMES]),
        (
            0.999,
            [P999, P999_BESIDE_HOUSEKEEPING, P999_HOUSEKEEPING_TIMES],
        ),
    ] {
        let before_and_after = without.iter().map(|report| report.latency_ms(part));
        let alone_ms = before_and_after.sum::<f64>() / without.len() as f64;
        let with_ms = beside.latency_ms(part);
        let own_note = without.iter().find_map(client_note);
        session.push(Reading::new(name, alone, alone_ms).noted(own_note));
        session.push(Reading::new(name, with, with_ms).noted(note));
        session.push(Reading::new(name, times, with_ms / alone_ms).noted(note));
    }
    let compacted = chores.compaction.finished_bytes();
    session.state(name, TOPIC_COMPACTED, compacted as f64 / 1e9);
    session.state(name, DISK_READ_MEANWHILE, read as f64 / 1e6);
    session.state(name, SEGMENTS_DELETED, done.segments_deleted as f64);
    session.state(name, PARTITIONS_DELETED, done.partitions_deleted as f64);
    session.push(match done.deletion {
        Some(took) => Reading::new(name, DELETION, took.as_secs_f64()),
        None => Reading::not_measured(name, DELETION, "some were there at the end"),
    });
    if let Some(inside) = &beside.inside {
        session.keep_inside(name, inside);
    }
}

impl Chores {
    fn prepare(session: &mut Session<'_>, data: PathBuf) -> Result<Self> {
        let target = session.target();
        let (retained, deleted, compacted) = (
            session.topic("retained"),
            session.topic("deleted"),
            session.topic("compacted"),
        );
        let history = |topic: &str, partitions, segment_bytes, value_bytes| History {
            topic: topic.to_owned(),
            partitions,
            segment_bytes,
            value_bytes,
        };
        history(
            &retained,
            RETAINED_PARTITIONS,
            RETAINED_SEGMENT_BYTES,
            RETAINED_PARTITIONS as u64 * RETAINED_SEGMENTS * RETAINED_SEGMENT_BYTES,
        )
        .write(target.addr, &[UNTOUCHED])?;
        history(
            &deleted,
            DELETED_PARTITIONS,
            COMPACTED_SEGMENT_BYTES,
            DELETED_PARTITIONS as u64 * DELETED_BYTES_A_PARTITION,
        )
        .write(target.addr, &[UNTOUCHED])?;
        let bytes = match session.settings.is_quick {
            true => COMPACTED_BYTES_IF_QUICK,
            false => COMPACTED_BYTES,
        };
        let written = history(
            &compacted,
            COMPACTED_PARTITIONS,
            COMPACTED_SEGMENT_BYTES,
            bytes,
        )
        .write(target.addr, &[UNTOUCHED])?;
        Ok(Self {
            target,
            compaction: Progress::new(target, data.clone(), &compacted, written)?,
            data,
            retained,
            deleted,
            compacted,
        })
    }

    /// Runs the load, and does everything meanwhile.
    fn beside(&self, settings: &ProduceSettings) -> Result<(ProduceReport, Done)> {
        let begun = Instant::now() + settings.warm_up;
        let end = begun + settings.duration;
        std::thread::scope(|scope| {
            let doing = scope.spawn(move || self.go_through(begun, end));
            let beside = client::load(settings);
            let done = doing.join().expect("a thread that does not panic");
            Ok((beside?, done?))
        })
    }

    /// Compaction begins at once; the rest is of the time from `begun` to `end`.
    fn go_through(&self, begun: Instant, end: Instant) -> Result<Done> {
        Client::connect(self.target.addr)?.alter_topic(&self.compacted, &compaction::DUE)?;
        sleep_until(begun);
        let segments = self.segments_retained()?;
        let partitions = self.partitions_to_delete()?;
        let (retention, deletion) = std::thread::scope(|scope| {
            let retention = scope.spawn(|| self.keep_less_and_less(begun, end));
            let deletion = self.delete_topic(end);
            let retention = retention.join().expect("a thread that does not panic");
            (retention, deletion)
        });
        retention?;
        let deletion = deletion?;
        sleep_until(end);
        Ok(Done {
            is_compaction_over: self.compaction.is_complete()?,
            segments_deleted: segments.saturating_sub(self.segments_retained()?),
            partitions_deleted: partitions.saturating_sub(self.partitions_to_delete()?),
            deletion,
        })
    }

    /// Has retention delete the same part of the topic at each step, and all but the last segments in the end.
    fn keep_less_and_less(&self, begun: Instant, end: Instant) -> Result<()> {
        let mut client = Client::connect(self.target.addr)?;
        let steps = (end - begun).as_nanos() / STEP.as_nanos();
        for step in 1..steps as u32 {
            let part = 1.0 - f64::from(step) / steps as f64;
            let kept = RETAINED_SEGMENTS as f64 * RETAINED_SEGMENT_BYTES as f64 * part;
            let kept = (kept as u64).to_string();
            client.alter_topic(&self.retained, &[("retention.bytes", &kept)])?;
            sleep_until(begun + STEP * step);
        }
        Ok(())
    }

    /// Deletes the topic, and says how long it took until its last file was gone; none if some are there at the end.
    fn delete_topic(&self, end: Instant) -> Result<Option<Duration>> {
        let asked = Instant::now();
        Client::connect(self.target.addr)?.delete_topic(&self.deleted)?;
        while Instant::now() < end {
            if self.partitions_to_delete()? == 0 {
                return Ok(Some(asked.elapsed()));
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(None)
    }

    /// Segment files that are not set aside to be deleted.
    fn segments_retained(&self) -> Result<usize> {
        let mut segments = 0;
        for partition in 0..RETAINED_PARTITIONS {
            let folder = self.data.join(format!("{}-{partition}", self.retained));
            segments += names_in(&folder)?
                .iter()
                .filter(|name| name.ends_with(".log"))
                .count();
        }
        Ok(segments)
    }

    /// Folders of partitions, also of those that are set aside.
    fn partitions_to_delete(&self) -> Result<usize> {
        let own = format!("{}-", self.deleted);
        let names = names_in(&self.data)?;
        Ok(names.iter().filter(|name| name.starts_with(&own)).count())
    }
}

impl Done {
    /// What did not go on all the time, or not to its end.
    fn missing(&self, disk_read: u64) -> Option<&'static str> {
        if disk_read == 0 {
            Some("compaction read nothing from the disk")
        } else if self.is_compaction_over {
            Some("compaction was over before the end")
        } else if self.segments_deleted == 0 {
            Some("retention deleted nothing")
        } else if self.partitions_deleted == 0 {
            Some("no partition's files were deleted")
        } else {
            None
        }
    }
}

fn names_in(folder: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder).with_context(|| format!("listing {}", folder.display()))?;
    entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect()
}

fn sleep_until(at: Instant) {
    std::thread::sleep(at.saturating_duration_since(Instant::now()));
}

#[cfg(test)]
mod tests {
    use super::Done;

    #[test]
    fn figures_without_one_of_the_chores_are_not_proven() {
        let all = || Done {
            segments_deleted: 900,
            partitions_deleted: 1_000,
            ..Done::default()
        };
        assert_eq!(all().missing(1), None);
        let without = |change: fn(&mut Done)| {
            let mut done = all();
            change(&mut done);
            done.missing(1).is_some()
        };
        assert!(all().missing(0).is_some());
        assert!(without(|done| done.is_compaction_over = true));
        assert!(without(|done| done.segments_deleted = 0));
        assert!(without(|done| done.partitions_deleted = 0));
    }
}
