//! What the generator says of itself: whether figures are the broker's or its own.
//!
//! | sign | disturbed from | the limit from |
//! |---|---|---|
//! | requests leave late, p99 | | 0.5 ms |
//! | requests leave late, at most | 10 ms | |
//! | a thread waits for a core | 5 % of its time | |
//! | a thread's seconds are full (it ran or waited for a core for 95 % of one) | one second | a tenth of its seconds |
//!
//! "From" means that the value itself is still right for latenesses, and already too much for shares. Of a thread that
//! was watched for less than half a second at a time, only its waiting is judged.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::histogram::Histogram;
use super::thread::ThreadUse;

/// p99 of lateness above which the generator was the limit, in nanoseconds.
pub const LATE_P99_NS_MAX: u64 = 500_000;
/// Lateness above which the highest percentiles are the generator's as well, in nanoseconds.
pub const LATE_NS_MAX: u64 = 10_000_000;
/// Part of its time that a thread may wait for a core.
pub const WAITED_SHARE_MAX: f64 = 0.05;
/// Part of its seconds that may be full before the generator was the limit.
pub const FULL_SECONDS_SHARE_MAX: f64 = 0.1;

/// How much the generator is in its own figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// The figures are the broker's.
    Kept,
    /// Some of the highest latencies are the generator's.
    Disturbed,
    /// The figures say as much of the generator as of the broker.
    Limit,
}

/// The generator's word on itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// In short.
    pub level: Level,
    /// In plain words, a sentence each.
    pub text: Vec<String>,
}

impl Verdict {
    /// Decides, given how late requests left (empty if there was no timetable) and what the generator's threads used.
    pub fn of(lateness: &Histogram, threads: &[ThreadUse]) -> Self {
        let mut verdict = Self {
            level: Level::Kept,
            text: Vec::new(),
        };
        if !lateness.is_empty() {
            let (level, text) = of_lateness(lateness.value_at_quantile(0.99), lateness.max());
            verdict.add(level, text);
        }
        for (level, text) in threads.iter().filter_map(of_thread) {
            verdict.add(level, text);
        }
        let busiest = threads
            .iter()
            .filter(|thread| thread.seconds > 0)
            .max_by(|one, other| one.busy_share().total_cmp(&other.busy_share()));
        if let (Level::Kept, Some(thread)) = (verdict.level, busiest) {
            let share = percent(thread.busy_share());
            let text = format!(
                "Its busiest thread ({}) was busy {share} of the time.",
                thread.name
            );
            verdict.add(Level::Kept, text);
        }
        if verdict.text.is_empty() {
            let text = "There is nothing to tell of the generator: it had no timetable to keep, and no thread of it was \
                        watched.";
            verdict.add(Level::Kept, text.to_owned());
        }
        verdict
    }

    fn add(&mut self, level: Level, text: String) {
        self.level = self.level.max(level);
        self.text.push(text);
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text.join(" "))
    }
}

fn of_lateness(p99_ns: u64, max_ns: u64) -> (Level, String) {
    let late = format!("up to {} late (p99 {})", ms(max_ns), ms(p99_ns));
    if p99_ns > LATE_P99_NS_MAX {
        let text = format!(
            "Requests left {late}: the schedule slipped, so the figures say as much of the generator as of the broker."
        );
        (Level::Limit, text)
    } else if max_ns > LATE_NS_MAX {
        let text = format!(
            "Requests left {late}: the schedule was kept but for moments, so the highest percentiles are partly the \
             generator's."
        );
        (Level::Disturbed, text)
    } else {
        let text = format!("The generator kept its schedule: requests left {late}.");
        (Level::Kept, text)
    }
}

fn of_thread(thread: &ThreadUse) -> Option<(Level, String)> {
    let name = &thread.name;
    let (full, seconds) = (thread.full_seconds, thread.seconds);
    if full > 0 && full as f64 >= FULL_SECONDS_SHARE_MAX * seconds as f64 {
        let text = format!(
            "Thread {name} of the generator had a full core in {full} of {seconds} s: the generator was the limit; give \
             it more cores or more machines."
        );
        Some((Level::Limit, text))
    } else if seconds > 0 && thread.waited_share() >= WAITED_SHARE_MAX {
        let text = format!(
            "Thread {name} of the generator waited for a core {} of the time: others use its cores, and latencies hold \
             that wait.",
            percent(thread.waited_share())
        );
        Some((Level::Disturbed, text))
    } else if full > 0 {
        let text = format!(
            "Thread {name} of the generator had a full core in {full} of {seconds} s: latencies of those are partly \
             its own."
        );
        Some((Level::Disturbed, text))
    } else {
        None
    }
}

fn ms(ns: u64) -> String {
    let ms = ns as f64 / 1e6;
    match ms {
        ms if ms < 0.1 => format!("{ms:.3} ms"),
        ms if ms < 100.0 => format!("{ms:.1} ms"),
        ms => format!("{ms:.0} ms"),
    }
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}
