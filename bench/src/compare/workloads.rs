//! The workloads of the comparison, run one after another on one broker.

use std::time::Duration;

use anyhow::{Context, Result};

use super::figures::{Reading, Wanted};
use super::{CompareSettings, quieten, settle};
use crate::broker::{Broker, Site};
use crate::fetch::{self, FetchSettings};
use crate::produce::{self, Pace, ProduceSettings};
use crate::report::ProduceReport;

pub const START_EMPTY: &str = "start on an empty folder";
pub const START_10000: &str = "start with 10,000 partitions after kill -9";
const ONE_PARTITION: &str = "produce 1 KiB, 1 partition, 16 in flight";
const FETCH_1: &str = "fetch from the start, 1 partition";
const FETCH_100: &str = "fetch from the start, 100 partitions";
const RECORD_BYTES: usize = 1_024;
const CONNECTIONS: usize = 16;

/// Which quantities of a produce run are stated, and what is wanted of them.
#[derive(Clone, Copy)]
enum States {
    Requests { rate: Wanted },
    Megabytes { rate: Wanted, cpu: Wanted },
    Latency { tail: Wanted },
}

struct Produce {
    name: &'static str,
    partitions: i32,
    records: usize,
    pace: Pace,
    states: States,
    /// Whether its topic is read afterwards, and under which name.
    then_fetch: Option<&'static str>,
}

const fn closed(name: &'static str, partitions: i32, in_flight: usize, rate: Wanted) -> Produce {
    let states = States::Requests { rate };
    Produce {
        name,
        partitions,
        records: 1,
        pace: Pace::InFlight(in_flight),
        states,
        then_fetch: None,
    }
}

const fn large(name: &'static str, partitions: i32, then_fetch: &'static str) -> Produce {
    let states = States::Megabytes {
        rate: Wanted::TimesKafkaMin(2.5),
        cpu: Wanted::TimesKafkaMax(0.35),
    };
    Produce {
        name,
        partitions,
        records: 64,
        pace: Pace::InFlight(16),
        states,
        then_fetch: Some(then_fetch),
    }
}

const fn open(name: &'static str, partitions: i32, records: usize) -> Produce {
    let states = States::Latency {
        tail: Wanted::TimesKafkaMax(0.5),
    };
    Produce {
        name,
        partitions,
        records,
        pace: Pace::Rate(5_000.0),
        states,
        then_fetch: None,
    }
}

const WITHIN_1_5: Wanted = Wanted::PartOfMin(
    "produce 1 KiB, 1 partition, 16 in flight: requests/s",
    1.0 / 1.5,
);

/// At 5,000 requests of 16 KiB a second Kafka is at half of its limit here, of 1 KiB at a tenth.
const PRODUCE: [Produce; 10] = [
    closed(ONE_PARTITION, 1, 16, Wanted::TimesKafkaMin(2.0)),
    closed(
        "produce 1 KiB, 1 partition, 256 in flight",
        1,
        256,
        Wanted::TimesKafkaMin(5.0),
    ),
    closed(
        "produce 1 KiB, 100 partitions, 16 in flight",
        100,
        16,
        Wanted::TimesKafkaMin(2.0),
    ),
    closed(
        "produce 1 KiB, 100 partitions, 256 in flight",
        100,
        256,
        Wanted::TimesKafkaMin(5.0),
    ),
    closed(
        "produce 1 KiB, 1,000 partitions, 16 in flight",
        1_000,
        16,
        WITHIN_1_5,
    ),
    large("produce 64 KiB, 1 partition, 16 in flight", 1, FETCH_1),
    large(
        "produce 64 KiB, 100 partitions, 16 in flight",
        100,
        FETCH_100,
    ),
    open("open loop 5,000/s of 16 KiB, 1 partition", 1, 16),
    open("open loop 5,000/s of 16 KiB, 100 partitions", 100, 16),
    open("open loop 5,000/s of 1 KiB, 100 partitions", 100, 1),
];

/// Names of what one broker is measured at, one after the other.
pub fn under_load() -> impl Iterator<Item = &'static str> {
    PRODUCE
        .iter()
        .map(|produce| produce.name)
        .chain(PRODUCE.iter().filter_map(|produce| produce.then_fetch))
}

pub fn names() -> impl Iterator<Item = &'static str> {
    under_load().chain([START_EMPTY, START_10000])
}

pub fn run_all(settings: &CompareSettings, site: &Site, readings: &mut Vec<Reading>) -> Result<()> {
    let mut broker = site.start()?;
    broker.eventually(Duration::from_secs(60), |client| {
        client.create_topic("warm-up", 100, &[])
    })?;
    warm_up(settings, &broker).context("warming up")?;
    for (index, workload) in PRODUCE.iter().enumerate() {
        let fetched = workload.then_fetch.filter(|name| settings.wants(name));
        if !settings.wants(workload.name) && fetched.is_none() {
            continue;
        }
        let topic = format!("bench-{index}");
        let run = produce_settings(settings, &broker, workload, &topic);
        produce::prepare(&run)?;
        quieten(broker.pid())?;
        settle();
        let report = produce::run(&run).context(workload.name)?;
        eprintln!("{}\n{}\n", workload.name, indented(&report.to_string()));
        state(workload, &report, readings);
        if let Some(name) = fetched {
            settle();
            fetch_back(
                settings,
                &broker,
                name,
                &topic,
                workload.partitions,
                readings,
            )
            .context(name)?;
        }
        broker.check_running()?;
    }
    broker.kill9()
}

fn produce_settings(
    settings: &CompareSettings,
    broker: &Broker,
    workload: &Produce,
    topic: &str,
) -> ProduceSettings {
    ProduceSettings {
        addr: broker.addr,
        topic: topic.to_owned(),
        partitions: workload.partitions,
        records_a_request: workload.records,
        record_bytes: RECORD_BYTES,
        acks: -1,
        connections: CONNECTIONS,
        threads: 1,
        pace: workload.pace,
        warm_up: Duration::from_secs(settings.warm_up_seconds),
        duration: Duration::from_secs(settings.seconds),
        pid: Some(broker.pid()),
    }
}

/// Small and large requests before anything counts: a JVM gets fast only by and by.
fn warm_up(settings: &CompareSettings, broker: &Broker) -> Result<()> {
    for workload in [&PRODUCE[2], &PRODUCE[6]] {
        let mut run = produce_settings(settings, broker, workload, "warm-up");
        run.warm_up = Duration::ZERO;
        run.duration = Duration::from_secs(settings.warm_up_seconds.max(1));
        produce::run(&run)?;
    }
    Ok(())
}

fn state(workload: &Produce, report: &ProduceReport, readings: &mut Vec<Reading>) {
    let note = report
        .client_was_the_limit()
        .then(|| "the client was the limit".to_owned());
    let mut add = |quantity: &str, value: f64, wanted: Wanted| {
        readings.push(
            Reading::new(workload.name, quantity, value)
                .wanted(wanted)
                .noted(note.clone()),
        );
    };
    match workload.states {
        States::Requests { rate } => {
            add("requests/s", report.requests_a_second, rate);
            add(
                "CPU us a request",
                report.cpu_us_a_request().unwrap_or(f64::NAN),
                Wanted::Nothing,
            );
            add("p50 ms", report.latency_ms(0.5), Wanted::Nothing);
            add("p99 ms", report.latency_ms(0.99), Wanted::Nothing);
        }
        States::Megabytes { rate, cpu } => {
            let used = report
                .broker
                .map_or(f64::NAN, |broker| broker.cpu_seconds_a_gb(report.bytes));
            add("MB/s", report.mb_a_second, rate);
            add("CPU s/GB", used, cpu);
            add("p50 ms", report.latency_ms(0.5), Wanted::Nothing);
            add("p99 ms", report.latency_ms(0.99), Wanted::Nothing);
            let resident = report
                .broker
                .map_or(f64::NAN, |broker| broker.rss as f64 / 1e6);
            add("MB resident", resident, Wanted::Nothing);
        }
        States::Latency { tail } => {
            add("p50 ms", report.latency_ms(0.5), Wanted::Nothing);
            add("p99 ms", report.latency_ms(0.99), tail);
            add("p99.9 ms", report.latency_ms(0.999), tail);
            add(
                "CPU us a request",
                report.cpu_us_a_request().unwrap_or(f64::NAN),
                Wanted::Nothing,
            );
        }
    }
}

fn fetch_back(
    settings: &CompareSettings,
    broker: &Broker,
    name: &str,
    topic: &str,
    partitions: i32,
    readings: &mut Vec<Reading>,
) -> Result<()> {
    let report = fetch::run(&FetchSettings {
        addr: broker.addr,
        topic: topic.to_owned(),
        partitions,
        connections: (partitions as usize).min(4),
        reply_bytes_max: 50 << 20,
        partition_bytes_max: 1 << 20,
        duration: Duration::from_secs(settings.seconds),
        pid: Some(broker.pid()),
    })?;
    eprintln!("{name}\n{}\n", indented(&report.to_string()));
    let used = report
        .broker
        .map_or(f64::NAN, |broker| broker.cpu_seconds_a_gb(report.bytes));
    readings.push(Reading::new(name, "MB/s", report.mb_a_second()));
    readings.push(Reading::new(name, "CPU s/GB", used));
    Ok(())
}

fn indented(text: &str) -> String {
    text.lines()
        .map(|line| format!("  {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}
