//! How long a broker takes from its start to the first acknowledged record, and what it holds while it idles.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::figures::*;
use super::session::{Session, settle};
use super::workloads::{MANY, RESTART_10000, RESTART_DATA, START_EMPTY, Work, Workload};
use crate::broker::{Broker, Site};
use crate::produce::{self as client, Pace, ProduceSettings};
use crate::target::Target;
use crate::usage::ProcessUsage;
use corelog_loadgen::client::Client;

pub const PATIENCE: Duration = Duration::from_secs(300);
/// Time without any request after which a broker counts as idle.
const IDLE: Duration = Duration::from_secs(2);
const RUNS_ALREADY: &str = "the broker is not started here";
const NOT_BY_CORES: &str = "its data is not divided by cores";
const DATA_BYTES: u64 = 1_000_000_000;

/// Waits until a broker takes requests.
pub fn wait_ready(broker: &mut Broker) -> Result<()> {
    broker.eventually(PATIENCE, |client| client.create_topic("first", 1, &[]))
}

/// Starts it, and says how long it took until it acknowledged a record.
fn started(
    site: &Site,
    mut first_record: impl FnMut(&mut Client) -> Result<()>,
) -> Result<(Broker, f64)> {
    let start = Instant::now();
    let mut broker = site.start()?;
    broker.eventually(PATIENCE, &mut first_record)?;
    Ok((broker, start.elapsed().as_secs_f64()))
}

pub fn empty(session: &mut Session<'_>, site: &Site) -> Result<()> {
    let (broker, seconds) = started(site, |client| {
        client.create_topic("first", 1, &[])?;
        client.prime("first", 1, PATIENCE)
    })?;
    std::thread::sleep(IDLE);
    let before = ProcessUsage::of(broker.pid())?;
    std::thread::sleep(IDLE);
    let after = ProcessUsage::of(broker.pid())?;
    broker.kill9()?;

    let idle_part = (after.cpu - before.cpu).as_secs_f64() / IDLE.as_secs_f64();
    session.state(START_EMPTY, FIRST_RECORD, seconds);
    session.state(START_EMPTY, RESIDENT, after.rss as f64 / 1e6);
    session.state(START_EMPTY, CPU_CORE, idle_part * 100.0);
    Ok(())
}

/// Says of a workload that starts a broker that it cannot be measured on one that runs already.
pub fn not_measured(session: &mut Session<'_>, workload: &Workload) {
    let quantities: &[Quantity] = match workload.work {
        Work::StartEmpty => &[FIRST_RECORD, RESIDENT, CPU_CORE],
        Work::RestartMany => &[
            CREATION,
            RESIDENT,
            FIRST_RECORD,
            ALL_RECORDS,
            FIRST_RECORD_CORES,
        ],
        Work::RestartData => &[FIRST_RECORD],
        Work::LoadOffsets => &[OFFSETS_LOADED, RESIDENT],
        Work::Compaction => &[COMPACTED, CPU_COMPACTED, COMPACTED_LEFT],
        Work::Quiet { .. } => &[P99_HOUSEKEEPING_TIMES, P999_HOUSEKEEPING_TIMES],
        _ => &[],
    };
    for quantity in quantities {
        session.push(Reading::not_measured(
            workload.name,
            *quantity,
            RUNS_ALREADY,
        ));
    }
}

/// Kills a broker right behind its last acknowledgement of a gigabyte, and starts it again.
pub fn with_data(session: &mut Session<'_>, site: &Site) -> Result<()> {
    let mut broker = site.start()?;
    wait_ready(&mut broker)?;
    let mut written = 0;
    while written < DATA_BYTES {
        let report = client::run(&ProduceSettings {
            target: broker.target(),
            topic: "data".to_owned(),
            partitions: 10,
            topic_configs: &[],
            records_a_request: 64,
            record_bytes: super::produce::RECORD_BYTES,
            acks: -1,
            connections: 16,
            threads: 1,
            pace: Pace::InFlight(16),
            warm_up: Duration::ZERO,
            duration: Duration::from_secs(1),
            counts_calls: false,
        })?;
        written += report.all_bytes;
    }
    broker.kill9()?;
    let (broker, seconds) = started(site, |client| client.prime("data", 1, PATIENCE))?;
    broker.kill9()?;
    session.state(RESTART_DATA, FIRST_RECORD, seconds);
    Ok(())
}

/// All workloads that need 10,000 partitions, with one broker.
pub fn with_many_partitions(
    session: &mut Session<'_>,
    site: &Site,
    workloads: &[&Workload],
) -> Result<()> {
    let mut broker = site.start()?;
    wait_ready(&mut broker)?;
    session.attach(broker.target(), Some(site.folder()));
    let topic = session.topic(RESTART_10000);
    let creation = create_many(broker.target(), &topic)?;
    session.run_all(workloads, &mut broker)?;
    if workloads.iter().any(|it| it.name == RESTART_10000) {
        let resident = ProcessUsage::of(broker.pid())?.rss as f64 / 1e6;
        session.state(RESTART_10000, CREATION, creation.as_secs_f64());
        session.state(RESTART_10000, RESIDENT, resident);
        broker.kill9()?;
        settle();
        restart(session, site, &topic)?;
    }
    Ok(())
}

fn restart(session: &mut Session<'_>, site: &Site, topic: &str) -> Result<()> {
    let start = Instant::now();
    let (mut broker, first) = started(site, |client| client.prime(topic, 1, PATIENCE))?;
    let mut client = broker.connect(PATIENCE)?;
    client
        .prime(topic, MANY, PATIENCE)
        .context("a record for each partition after the restart")?;
    let all = start.elapsed().as_secs_f64();
    broker.kill9()?;
    session.state(RESTART_10000, FIRST_RECORD, first);
    session.state(RESTART_10000, ALL_RECORDS, all);
    match site.on_other_cores() {
        Some(site) => {
            settle();
            let (broker, first) = started(&site, |client| client.prime(topic, 1, PATIENCE))?;
            broker.kill9()?;
            session.state(RESTART_10000, FIRST_RECORD_CORES, first);
        }
        None => session.push(Reading::not_measured(
            RESTART_10000,
            FIRST_RECORD_CORES,
            NOT_BY_CORES,
        )),
    }
    Ok(())
}

/// Creates a topic with 10,000 partitions and writes one record to each; says how long it took.
fn create_many(target: Target, topic: &str) -> Result<Duration> {
    let start = Instant::now();
    let mut client = Client::connect(target.addr)?;
    client.create_topic(topic, MANY, &[])?;
    client.prime(topic, MANY, PATIENCE)?;
    Ok(start.elapsed())
}
