//! Workloads with consumers: records in their hands, tail and catch-up reads, and reads of cold data beside producers.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::figures::*;
use super::produce::{NO_PROCESS, RECORD_BYTES, client_note, indented, settings_of};
use super::session::Session;
use super::workloads::{self, Produce, Work};
use crate::fetch::{self, FetchSettings};
use crate::produce::{self as client, Pace};
use crate::report::FetchReport;
use crate::target::BrokerReport;
use corelog_loadgen::engine::{self, Settings};
use corelog_loadgen::measure::{Measurements, Verdict, histogram::Histogram};
use corelog_loadgen::workload::{Consumers, Load, Shape, Sizes, Workload};

/// Of the reader beside producers: a consumer that catches up and leaves room for others.
const COLD_MB_A_SECOND: f64 = 50.0;
/// Part of what is read that a broker must have fetched from the disk for it to count as cold.
const FROM_DISK_MIN: f64 = 0.9;

/// Reads a topic of another workload from its start to its end, out of the page cache's reach.
pub fn catch_up(session: &mut Session<'_>, name: &str, of: &'static str) -> Result<()> {
    let settings = reader(session, of)?;
    session.calm_down()?;
    let is_cold = session.drop_page_cache()?;
    let report = fetch::run(&FetchSettings {
        is_once: true,
        ..settings
    })?;
    eprintln!("{}\n", indented(&report.to_string()));
    state_fetch(session, name, &report, is_cold);
    Ok(())
}

/// What was read may not have come from the disk: why.
fn cache_note(read: &FetchReport, is_cold: bool) -> Option<&'static str> {
    if !is_cold {
        return Some("the page cache was not dropped");
    }
    let from_disk = read.broker.as_ref()?.disk_read as f64;
    (from_disk < FROM_DISK_MIN * read.bytes as f64).then_some("partly from the page cache")
}

fn state_fetch(session: &mut Session<'_>, name: &str, report: &FetchReport, is_cold: bool) {
    let client = report.client_was_the_limit();
    let cache = cache_note(report, is_cold);
    let note = client.then_some("the client was the limit").or(cache);
    session.push(Reading::new(name, MEGABYTES, report.mb_a_second()).noted(note));
    session.push(match &report.broker {
        Some(broker) => {
            let cpu = broker.cpu_seconds_a_gb(report.bytes);
            Reading::new(name, CPU_OUT, cpu).noted(cache)
        }
        None => Reading::not_measured(name, CPU_OUT, NO_PROCESS),
    });
    if let Some(inside) = &report.inside {
        session.keep_inside(name, inside);
    }
}

/// Reads a workload's topic; if that workload was not among what is wanted, it is run now.
fn reader(session: &mut Session<'_>, of: &'static str) -> Result<FetchSettings> {
    if !session.has_topic(of) {
        session.run(workloads::by_name(of))?;
    }
    let partitions = match workloads::by_name(of).work {
        Work::Produce(produce) => produce.partitions,
        _ => 1,
    };
    Ok(FetchSettings {
        target: session.target(),
        topic: session.topic(of),
        partitions,
        connections: (partitions as usize).min(4),
        reply_bytes_max: 50 << 20,
        partition_bytes_max: 1 << 20,
        duration: Duration::from_secs(session.settings.seconds * 10),
        is_once: false,
        mb_a_second_max: None,
    })
}

/// Records of 1 KiB, none waiting for others to share a request, to one set of consumers that have their partitions assigned.
pub fn end_to_end(
    session: &mut Session<'_>,
    name: &'static str,
    of: &'static str,
    part: f64,
) -> Result<()> {
    let rate = session.limit(of)? * part;
    let mut workload = engine_workload(session, name, rate);
    workload.topics.partitions = 100;
    workload.producers.count = 4;
    workload.producers.batch_bytes = RECORD_BYTES as u32;
    workload.producers.linger = Duration::ZERO;
    let (measured, _) = run_engine(session, &workload)?;
    let note = limit_note(&measured);
    session.state(name, DUE, rate);
    let ms = |histogram: &Histogram, part| histogram.value_at_quantile(part) as f64 / 1e6;
    for (quantity, part) in [(P50, 0.5), (P99, 0.99), (P999, 0.999)] {
        let value = ms(&measured.produce_latency, part);
        session.push(Reading::new(name, quantity, value).noted(note));
    }
    for (quantity, part) in [
        (END_TO_END_P50, 0.5),
        (END_TO_END_P99, 0.99),
        (END_TO_END_P999, 0.999),
    ] {
        let value = ms(&measured.end_to_end_latency, part);
        session.push(Reading::new(name, quantity, value).noted(note));
    }
    Ok(())
}

/// The same load without consumers, with four sets of them, and without again: the difference is what reading costs.
pub fn tail(session: &mut Session<'_>, name: &'static str) -> Result<()> {
    let mut workload = engine_workload(session, name, 20_000.0);
    workload.topics.partitions = 12;
    workload.producers.count = 2;
    workload.producers.batch_bytes = 64 << 10;
    workload.producers.linger = Duration::from_millis(10);
    workload.records.sizes = Sizes::Fixed(1_000);
    workload.consumers.fan_out = 4;
    let without = Workload {
        consumers: Consumers {
            count: 0,
            ..workload.consumers.clone()
        },
        ..workload.clone()
    };
    let (_, before) = run_engine(session, &without)?;
    let (measured, both) = run_engine(session, &workload)?;
    let (_, after) = run_engine(session, &without)?;
    let note = limit_note(&measured);

    let consumed: u64 = measured
        .intervals
        .values()
        .map(|it| it.consumed.bytes)
        .sum();
    let latency = measured.end_to_end_latency.value_at_quantile(0.99) as f64 / 1e6;
    session.push(Reading::new(name, END_TO_END_P99, latency).noted(note));
    session.push(match before.zip(both).zip(after) {
        Some(((before, both), after)) => {
            let alone = (before.cpu + after.cpu).as_secs_f64() / 2.0;
            let extra = both.cpu.as_secs_f64() - alone;
            Reading::new(name, CPU_OUT, extra / (consumed as f64 / 1e9)).noted(note)
        }
        None => Reading::not_measured(name, CPU_OUT, NO_PROCESS),
    });
    Ok(())
}

/// Producers alone, and beside a reader of what is on the disk only.
pub fn beside_a_cold_reader(
    session: &mut Session<'_>,
    name: &'static str,
    (of, part): (&'static str, f64),
    reads: &'static str,
) -> Result<()> {
    let rate = session.limit(of)? * part;
    let reader = reader(session, reads)?;
    let produce = Produce {
        partitions: 100,
        records: 1,
        load: workloads::Load::Limit { of, part },
        is_synced: false,
    };
    let mut settings = settings_of(session, name, produce, Pace::Rate(rate));
    settings.counts_calls = false;
    client::prepare(&settings)?;
    session.calm_down()?;
    let alone = client::load(&settings)?;
    session.calm_down()?;
    let is_cold = session.drop_page_cache()?;
    let (beside, read) = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            fetch::run(&FetchSettings {
                duration: settings.warm_up + settings.duration,
                mb_a_second_max: Some(COLD_MB_A_SECOND),
                ..reader
            })
        });
        let beside = client::load(&settings);
        (beside, reader.join().expect("a reader does not panic"))
    });
    let (beside, read) = (beside?, read?);
    let cache = cache_note(&read, is_cold);
    let note = client_note(&beside).or(cache);
    let (before, with) = (alone.latency_ms(0.99), beside.latency_ms(0.99));
    session.state(name, DUE, rate);
    session.push(Reading::new(name, P99, before).noted(client_note(&alone)));
    session.push(Reading::new(name, P99_BESIDE_READER, with).noted(note));
    session.push(Reading::new(name, P99_TIMES, with / before).noted(note));
    session.push(Reading::new(name, MEGABYTES, read.mb_a_second()).noted(cache));
    if let Some(inside) = &beside.inside {
        session.keep_inside(name, inside);
    }
    Ok(())
}

/// Records of 1 KiB at a rate, one set of one consumer.
pub fn engine_workload(session: &mut Session<'_>, name: &str, records_a_second: f64) -> Workload {
    let mut workload = Workload {
        name: name.to_owned(),
        load: Load::Open(Shape::Constant(records_a_second)),
        warm_up: Duration::from_secs(session.settings.warm_up_seconds),
        duration: Duration::from_secs(session.settings.seconds),
        ..Workload::default()
    };
    workload.topics.name = session.topic(name);
    workload.topics.replication_factor = 1;
    workload.producers.idempotence = false;
    workload.records.sizes = Sizes::Fixed(RECORD_BYTES as u32);
    workload
}

/// Runs it, and says what the broker used from its beginning to its end, the warm-up included.
fn run_engine(
    session: &Session<'_>,
    workload: &Workload,
) -> Result<(Measurements, Option<BrokerReport>)> {
    let target = session.target();
    let settings = Settings {
        bootstrap: vec![target.addr],
        threads: 1,
    };
    engine::prepare(workload, &settings.bootstrap)?;
    session.calm_down()?;
    let before = target.before()?;
    let outcome = engine::run(workload, &settings, &AtomicBool::new(false), |_| {})?;
    let after = target.after()?;
    let errors = &outcome.measurements.errors;
    ensure!(errors.is_empty(), "errors while it ran: {errors:?}");
    Ok((outcome.measurements, after.used_since(&before)))
}

fn limit_note(measured: &Measurements) -> Option<&'static str> {
    let verdict = Verdict::of(&measured.lateness, &measured.threads);
    use corelog_loadgen::measure::Level;
    (verdict.level == Level::Limit).then_some("the client was the limit")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_did_not_come_from_the_disk_is_noted() {
        let note = |disk_read, is_cold| {
            let report = FetchReport {
                bytes: 1_000,
                records: 1,
                seconds: 1.0,
                broker: Some(BrokerReport {
                    cpu: Duration::ZERO,
                    rss: 0,
                    disk_written: 0,
                    disk_read,
                    context_switches: 0,
                }),
                inside: None,
                client_busy: 0.0,
                connections: 1,
            };
            cache_note(&report, is_cold)
        };
        assert_eq!(note(900, true), None);
        assert_eq!(note(899, true), Some("partly from the page cache"));
        assert_eq!(note(900, false), Some("the page cache was not dropped"));
    }
}
