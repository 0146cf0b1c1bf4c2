//! The table at the end of a run.

use std::fmt::Write;

use super::figures::{Figures, FlowFigures, Latency};
use super::format::{clock, count, millions, ms, rate, time};
use crate::measure::{Judgement, Verification};

/// As text of lines below 100 characters, but for the verdict.
pub fn write(figures: &Figures) -> String {
    let mut text = String::new();
    let mut line = |line: std::fmt::Arguments<'_>| {
        text.push_str(line.to_string().trim_end());
        text.push('\n');
    };
    let cut_short = match figures.is_cut_short() {
        true => format!(" of {}", clock(figures.planned_s.round() as u64)),
        false => String::new(),
    };
    line(format_args!(
        "{}: {:.1} s{cut_short} measured after {:.1} s of warm-up",
        figures.name(),
        figures.measured_s,
        figures.warm_up_s
    ));
    line(format_args!(""));
    line(format_args!(
        "{:<12}{:>14}{:>12}{:>18}",
        "throughput", "records/s", "MB/s", "records"
    ));
    for row in flow_rows(figures) {
        let [name, rate, megabytes, records] = row.as_slice() else {
            unreachable!("a row has four cells")
        };
        line(format_args!(
            "{name:<12}{rate:>14}{megabytes:>12}{records:>18}"
        ));
    }
    line(format_args!(""));
    line(format_args!(
        "{:<12}{:>12}{:>12}{:>12}{:>12}{:>12}{:>12}",
        "latency, ms", "p50", "p90", "p99", "p99.9", "p99.99", "max"
    ));
    for row in latency_rows(figures) {
        let cells = row[1..].iter().map(|cell| format!("{cell:>12}"));
        line(format_args!("{:<12}{}", row[0], cells.collect::<String>()));
    }
    line(format_args!(""));
    for (name, value) in facts(figures) {
        line(format_args!("{name:<14}{value}"));
    }
    text
}

/// Throughput in the order in which records pass; what a run did not have is left out.
/// Each with records a second, MB a second and records.
pub(super) fn flow_rows(figures: &Figures) -> Vec<Vec<String>> {
    let all = [
        ("intended", figures.intended),
        ("produced", figures.produced),
        ("consumed", figures.consumed),
    ];
    let is_there = |&(name, flow): &(&str, FlowFigures)| name == "produced" || flow.records > 0;
    let row = |(name, flow): (&str, FlowFigures)| {
        let megabytes = match flow.bytes {
            0 => "-".to_owned(),
            _ => millions(flow.bytes_per_s),
        };
        let (rate, records) = (rate(flow.records_per_s), count(flow.records));
        vec![name.to_owned(), rate, megabytes, records]
    };
    all.into_iter().filter(is_there).map(row).collect()
}

/// Distributions of times, each with its parts; what a run did not have is left out.
pub(super) fn latency_rows(figures: &Figures) -> Vec<Vec<String>> {
    let all = [
        ("produce", figures.produce_latency_ns),
        ("end-to-end", figures.end_to_end_latency_ns),
        ("left late", figures.lateness_ns),
    ];
    let is_there = |&(name, latency): &(&str, Latency)| name == "produce" || latency.count > 0;
    let row = |(name, latency): (&str, Latency)| {
        let mut row = vec![name.to_owned()];
        row.extend(columns(latency));
        row
    };
    all.into_iter().filter(is_there).map(row).collect()
}

/// p50, p90, p99, p99.9, p99.99 and the longest, in milliseconds.
fn columns(latency: Latency) -> [String; 6] {
    let all = [
        latency.p50,
        latency.p90,
        latency.p99,
        latency.p999,
        latency.p9999,
        latency.max,
    ];
    all.map(|ns| match latency.count {
        0 => "-".to_owned(),
        _ => ms(ns),
    })
}

/// All else that is to be said, by name.
pub(super) fn facts(figures: &Figures) -> Vec<(&'static str, String)> {
    let mut facts = vec![("errors", errors(figures))];
    if figures.intended.records == 0 && figures.produced.records > 0 {
        let text =
            "no timetable: latency counts from when requests in flight left room, whatever was due";
        facts.push(("closed loop", text.to_owned()));
    }
    for (name, records) in [
        ("never sent", figures.unsent_records),
        ("unanswered", figures.unanswered_records),
    ] {
        if records > 0 {
            let text = format!("{} records; latency counts them until then", count(records));
            facts.push((name, text));
        }
    }
    if figures.skipped_records > 0 {
        let text = format!(
            "{} records were deleted, by retention or on request, before they were read",
            count(figures.skipped_records)
        );
        facts.push(("skipped", text));
    }
    if let Some(lag) = figures.lag {
        let (last, max) = (count(lag.last_records), count(lag.max_records));
        facts.push((
            "lag",
            format!("{last} records at the end, {max} at the most"),
        ));
    }
    if let Some(groups) = &figures.groups {
        let (commits, joined) = (groups.commit_latency_ns, groups.first_assignment_ns);
        facts.push((
            "groups",
            format!(
                "{} rebalances of members; {} commits, p50 {}, p99 {}",
                count(groups.rebalances),
                count(commits.count),
                time(commits.p50 as f64),
                time(commits.p99 as f64)
            ),
        ));
        facts.push((
            "assigned",
            format!(
                "{} members, the first after {}, the last after {}",
                count(joined.count),
                time(joined.min as f64),
                time(joined.max as f64)
            ),
        ));
    }
    if let Some(verification) = &figures.verification {
        facts.push(("verification", verification_line(verification)));
    }
    if let Some(error_ns) = figures.clock_error_ns {
        let text = format!(
            "agents' clocks are at most {} apart, as far as end-to-end latency is from one to another",
            time(error_ns as f64)
        );
        facts.push(("clocks", text));
    }
    for lost in &figures.lost_agents {
        facts.push((
            "LOST",
            format!("{lost}; its part is in none of these figures"),
        ));
    }
    facts.push(("verdict", figures.verdict.to_string()));
    facts
}

fn errors(figures: &Figures) -> String {
    let mut text = count(figures.errors.total);
    let names = figures.errors.by_name.iter();
    for (at, (name, number)) in names.enumerate() {
        let before = if at == 0 { " (" } else { ", " };
        let _ = write!(text, "{before}{name} {}", count(*number));
    }
    if !figures.errors.by_name.is_empty() {
        text.push(')');
    }
    text
}

/// What became of the records, in a line.
pub(super) fn verification_line(verification: &Verification) -> String {
    let word = match verification.judgement() {
        Judgement::Whole => "passed",
        Judgement::Unread if verification.unread == 0 => "INCOMPLETE, some were deleted unread",
        Judgement::Unread => "UNKNOWN, not all could be read",
        Judgement::Broken => "FAILED",
    };
    let counts = [
        ("acknowledged", verification.acknowledged),
        ("received", verification.received),
        ("lost", verification.lost),
        ("unread", verification.unread),
        ("deleted unread", verification.deleted),
        ("duplicated", verification.duplicated),
        ("redelivered", verification.redelivered),
        ("reordered", verification.reordered),
        ("corrupted", verification.corrupted),
        ("unknown", verification.unknown),
    ];
    let rare = ["unread", "deleted unread", "redelivered"];
    let is_told = |&(name, number): &(&str, u64)| !rare.contains(&name) || number > 0;
    let counts = counts.into_iter().filter(is_told);
    let counts = counts.map(|(name, number)| format!("{} {name}", count(number)));
    format!("{word}: {}", counts.collect::<Vec<_>>().join(", "))
}
