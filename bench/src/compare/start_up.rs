//! How long a broker takes from its start to the first acknowledged record, and what it holds while it idles.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::figures::{Reading, Wanted};
use super::settle;
use super::workloads::{START_10000, START_EMPTY};
use crate::broker::Site;
use crate::usage::ProcessUsage;

const TOPICS: i32 = 10;
const PARTITIONS_A_TOPIC: i32 = 1_000;
const PATIENCE: Duration = Duration::from_secs(300);
/// Time without any request after which a broker counts as idle.
const IDLE: Duration = Duration::from_secs(3);

pub fn empty(site: &Site, readings: &mut Vec<Reading>) -> Result<()> {
    let start = Instant::now();
    let mut broker = site.start()?;
    broker.eventually(PATIENCE, |client| {
        client.create_topic("first", 1, &[])?;
        client.prime("first", 1, PATIENCE)
    })?;
    let seconds = start.elapsed().as_secs_f64();
    std::thread::sleep(IDLE);
    let before = ProcessUsage::of(broker.pid())?;
    std::thread::sleep(IDLE);
    let after = ProcessUsage::of(broker.pid())?;
    broker.kill9()?;

    let cpu_part = (after.cpu - before.cpu).as_secs_f64() / IDLE.as_secs_f64();
    eprintln!(
        "{START_EMPTY}: {seconds:.3} s, then {:.1} MB idle",
        after.rss as f64 / 1e6
    );
    readings.push(
        Reading::new(START_EMPTY, "s to the first acknowledged record", seconds)
            .wanted(Wanted::Max(0.1)),
    );
    readings.push(
        Reading::new("idle", "MB resident", after.rss as f64 / 1e6).wanted(Wanted::Max(30.0)),
    );
    readings.push(Reading::new("idle", "% of a core", cpu_part * 100.0));
    Ok(())
}

pub fn after_kill(site: &Site, readings: &mut Vec<Reading>) -> Result<()> {
    let topics: Vec<String> = (0..TOPICS).map(|index| format!("many-{index}")).collect();
    let mut broker = site.start()?;
    broker.eventually(PATIENCE, |client| client.create_topic("first", 1, &[]))?;
    let mut client = broker.connect(PATIENCE)?;
    let creation = Instant::now();
    for topic in &topics {
        client.create_topic(topic, PARTITIONS_A_TOPIC, &[])?;
        client.prime(topic, PARTITIONS_A_TOPIC, PATIENCE)?;
    }
    let creation = creation.elapsed().as_secs_f64();
    let rss = ProcessUsage::of(broker.pid())?.rss;
    broker.kill9()?;
    settle();

    let start = Instant::now();
    let mut broker = site.start()?;
    broker.eventually(PATIENCE, |client| client.prime(&topics[0], 1, PATIENCE))?;
    let first = start.elapsed().as_secs_f64();
    let mut client = broker.connect(PATIENCE)?;
    for topic in &topics {
        client
            .prime(topic, PARTITIONS_A_TOPIC, PATIENCE)
            .context("a record for each partition after the restart")?;
    }
    let all = start.elapsed().as_secs_f64();
    broker.kill9()?;

    eprintln!(
        "{START_10000}: {first:.3} s to the first acknowledged record, {all:.3} s to one on each partition"
    );
    let wanted = Wanted::Max(2.0);
    readings.push(
        Reading::new(START_10000, "s to the first acknowledged record", first).wanted(wanted),
    );
    readings.push(Reading::new(START_10000, "s to one on each partition", all));
    readings.push(Reading::new(
        "10,000 partitions",
        "s to create and write one record to each",
        creation,
    ));
    readings.push(Reading::new(
        "10,000 partitions",
        "MB resident",
        rss as f64 / 1e6,
    ));
    Ok(())
}
