//! Produce workloads, and what is stated of each.

use std::time::Duration;

use anyhow::Result;

use super::figures::*;
use super::session::Session;
use super::workloads::{self, Load, Produce, Work};
use crate::produce::{self as client, Pace, ProduceSettings};
use crate::report::ProduceReport;
use crate::usage::ProcessUsage;

pub const RECORD_BYTES: usize = 1_024;
const CONNECTIONS: usize = 16;
/// A broker's own warm-up takes at most so many times that of a workload, for each of two loads.
const WARM_UPS_MAX: u64 = 5;
pub const NO_PROCESS: &str = "the broker's process is not known";
/// Kafka's own property, which Corelog takes and does not need.
const SYNCED: &[(&str, &str)] = &[("flush.messages", "1")];

pub fn run(session: &mut Session<'_>, name: &'static str, produce: Produce) -> Result<()> {
    let pace = session.pace(produce.load)?;
    let settings = settings_of(session, name, produce, pace);
    client::prepare(&settings)?;
    session.calm_down()?;
    let written_before = written(session)?;
    let report = client::load(&settings)?;
    eprintln!("{}\n", indented(&report.to_string()));
    session.calm_down()?;
    let written = written(session)?.zip(written_before);
    let disk_bytes = written.map(|(after, before)| (after - before) as f64);
    if let Load::InFlight(_) = produce.load {
        session.found_limit(name, report.requests_a_second);
    }
    state(session, name, pace, &report);
    state_use(session, name, &report, disk_bytes);
    Ok(())
}

pub fn settings_of(
    session: &mut Session<'_>,
    name: &str,
    produce: Produce,
    pace: Pace,
) -> ProduceSettings {
    let connections = match pace {
        Pace::InFlight(in_flight) => CONNECTIONS.min(in_flight),
        Pace::Rate(_) | Pace::Offered(_) => CONNECTIONS,
    };
    ProduceSettings {
        target: session.target(),
        topic: session.topic(name),
        partitions: produce.partitions,
        topic_configs: if produce.is_synced { SYNCED } else { &[] },
        records_a_request: produce.records,
        record_bytes: RECORD_BYTES,
        acks: -1,
        connections,
        threads: 1,
        pace,
        warm_up: Duration::from_secs(session.settings.warm_up_seconds),
        duration: Duration::from_secs(session.settings.seconds),
        counts_calls: session.target().pid.is_some(),
    }
}

/// Bytes that the broker has sent to the disk so far.
fn written(session: &Session<'_>) -> Result<Option<u64>> {
    let usage = session.target().pid.map(ProcessUsage::of).transpose()?;
    Ok(usage.map(|usage| usage.disk_written))
}

/// Small and large requests before anything counts, until they get no faster: a JVM compiles what it runs by and by,
/// and does little else at first. Without a warm-up of workloads there is none of the broker either.
pub fn warm_up(session: &mut Session<'_>) -> Result<()> {
    if session.settings.warm_up_seconds == 0 {
        return Ok(());
    }
    for name in [workloads::SMALL_100_256, workloads::LARGE_100] {
        let workload = workloads::by_name(name);
        let Work::Produce(produce) = workload.work else {
            continue;
        };
        let pace = session.pace(produce.load)?;
        let mut settings = settings_of(session, "warm-up", produce, pace);
        settings.warm_up = Duration::ZERO;
        settings.duration = Duration::from_secs(1);
        settings.counts_calls = false;
        let mut rates = Vec::new();
        let most = WARM_UPS_MAX * session.settings.warm_up_seconds;
        while (rates.len() as u64) < most && is_rising(&rates) {
            rates.push(client::run(&settings)?.requests_a_second);
        }
    }
    Ok(())
}

/// Whether one of the last three rates is a tenth above all before it, or there are too few to tell.
fn is_rising(rates: &[f64]) -> bool {
    const LAST: usize = 3;
    let Some((before, last)) = rates.split_last_chunk::<LAST>() else {
        return true;
    };
    let most = |rates: &[f64]| rates.iter().copied().fold(0.0, f64::max);
    most(last) > most(before) * 1.1
}

pub fn state(session: &mut Session<'_>, name: &str, pace: Pace, report: &ProduceReport) {
    let note = client_note(report);
    let mut add = |quantity, value| {
        session.push(Reading::new(name, quantity, value).noted(note));
    };
    if let Some(late_ns) = report.lateness_p99_ns {
        add(LEFT_LATE, late_ns as f64 / 1e6);
    }
    match pace {
        Pace::InFlight(_) => {
            add(REQUESTS, report.requests_a_second);
            add(MEGABYTES, report.mb_a_second);
        }
        Pace::Rate(rate) | Pace::Offered(rate) => add(DUE, rate),
    }
    add(P50, report.latency_ms(0.5));
    add(P99, report.latency_ms(0.99));
    add(P999, report.latency_ms(0.999));
}

/// Why the figures of a load may be the client's rather than the broker's.
pub fn client_note(report: &ProduceReport) -> Option<&'static str> {
    if report.client_was_the_limit() {
        return Some("the client was the limit");
    }
    report.client_was_late().then_some("the client was late")
}

/// The broker's CPU time.
pub fn state_cpu(session: &mut Session<'_>, name: &str, report: &ProduceReport) {
    let broker = report.broker.as_ref();
    let cpu = broker.map(|broker| broker.cpu.as_secs_f64());
    let seconds = session.settings.seconds as f64;
    let (gigabytes, requests) = (report.bytes as f64 / 1e9, report.requests as f64);
    for (quantity, value) in [
        (CPU_IN, cpu.map(|cpu| cpu / gigabytes)),
        (CPU_REQUEST, cpu.map(|cpu| cpu / requests * 1e6)),
        (CPU_CORE, cpu.map(|cpu| cpu / seconds * 100.0)),
    ] {
        state_if_known(session, name, quantity, value);
    }
}

fn state_if_known(session: &mut Session<'_>, name: &str, quantity: Quantity, value: Option<f64>) {
    session.push(match value {
        Some(value) => Reading::new(name, quantity, value),
        None => Reading::not_measured(name, quantity, NO_PROCESS),
    });
}

/// What else the broker used for it.
fn state_use(
    session: &mut Session<'_>,
    name: &str,
    report: &ProduceReport,
    disk_bytes: Option<f64>,
) {
    state_cpu(session, name, report);
    let broker = report.broker.as_ref();
    let requests = report.requests as f64;
    let known = [
        (RESIDENT, broker.map(|broker| broker.rss as f64 / 1e6)),
        (
            CONTEXT_SWITCHES,
            broker.map(|broker| broker.context_switches as f64 / requests),
        ),
        (
            DISK_BYTES,
            disk_bytes.map(|written| written / report.all_bytes as f64),
        ),
    ];
    for (quantity, value) in known {
        state_if_known(session, name, quantity, value);
    }
    session.push(match &report.calls_a_request {
        Some(Ok(calls)) => Reading::new(name, SYSTEM_CALLS, *calls),
        Some(Err(why)) => Reading::not_measured(name, SYSTEM_CALLS, why),
        None => Reading::not_measured(name, SYSTEM_CALLS, NO_PROCESS),
    });
    if let Some(inside) = &report.inside {
        if let Some(pause_ms) = inside.pause_p9999_ms {
            session.state(name, PAUSE, pause_ms);
        }
        session.state(
            name,
            JOURNAL_BYTES,
            inside.journal_bytes / report.bytes as f64,
        );
        session.keep_inside(name, inside);
    }
}

pub fn indented(text: &str) -> String {
    text.lines()
        .map(|line| format!("  {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::is_rising;

    #[test]
    fn a_warm_up_goes_on_as_long_as_it_gets_faster() {
        assert!(is_rising(&[]) && is_rising(&[90.0, 40.0, 30.0]));
        assert!(is_rising(&[90.0, 40.0, 30.0, 900.0]));
        assert!(is_rising(&[90.0, 900.0, 1_000.0, 950.0]));
        assert!(!is_rising(&[90.0, 900.0, 1_000.0, 950.0, 980.0, 940.0]));
    }
}
