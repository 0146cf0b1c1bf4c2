//! Workloads on the coordinators of groups: commits, rebalances, heartbeats, the load of offsets, and what a group that
//! reads costs producers.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::consume::{engine_workload, limit_note, run_engine};
use super::figures::*;
use super::produce::{NO_PROCESS, indented};
use super::session::Session;
use super::start_up::{PATIENCE, wait_ready};
use super::workloads::LOAD_OFFSETS;
use crate::broker::Site;
use crate::usage::ProcessUsage;
use corelog_loadgen::client::Client;
use corelog_loadgen::coordination::{Commits, CommitsReport, Heartbeats, Settle, Until};
use corelog_loadgen::measure::{Level, Verdict};
use corelog_loadgen::workload::{Assignor, Consumers, GroupProtocol, Sizes, Workload};

/// Of groups with members that settle.
const MEMBERS: usize = 100;
/// Of members that only send heartbeats.
const IDLE_GROUPS: usize = 1_000;
const IDLE_MEMBERS: usize = 10;
/// What a broker still does for members that have just joined.
const REST: Duration = Duration::from_secs(5);
/// Time in which every member sends some heartbeats.
const HEARTBEATS_LEAST: Duration = Duration::from_secs(20);
const LOADED_GROUPS: usize = 1_000;
const LOADED_PARTITIONS: u32 = 1_000;
/// By default: of classic members the shortest that brokers allow, of the new protocol what brokers have.
const CLASSIC_SESSION: Duration = Duration::from_secs(6);
const CONSUMER_SESSION: Duration = Duration::from_secs(45);

fn session_timeout(protocol: GroupProtocol) -> Duration {
    match protocol {
        GroupProtocol::Classic => CLASSIC_SESSION,
        GroupProtocol::Consumer => CONSUMER_SESSION,
    }
}

fn generator_note(verdict: &Verdict) -> Option<&'static str> {
    (verdict.level == Level::Limit).then_some("the client was the limit")
}

/// As many as are acknowledged, of 100 groups over 64 connections.
pub fn commits(session: &mut Session<'_>, name: &'static str) -> Result<()> {
    let commits = Commits {
        topic: session.topic(name),
        connections: 64,
        groups: 100,
        partitions: 10,
        until: Until::Time {
            warm_up: Duration::from_secs(session.settings.warm_up_seconds),
            duration: Duration::from_secs(session.settings.seconds),
        },
    };
    session.calm_down()?;
    let report = run_commits(&commits, session.target().addr)?;
    let note = generator_note(&report.verdict);
    let ms = |ns: u64| ns as f64 / 1e6;
    let latency = &report.latency_ns;
    for (quantity, value) in [
        (COMMITS, report.commits_per_s),
        (P50, ms(latency.p50)),
        (P99, ms(latency.p99)),
        (P999, ms(latency.p999)),
    ] {
        session.push(Reading::new(name, quantity, value).noted(note));
    }
    Ok(())
}

fn run_commits(commits: &Commits, broker: SocketAddr) -> Result<CommitsReport> {
    let report = commits.run(&[broker])?;
    eprintln!("{}\n", indented(&report.to_string()));
    ensure!(report.failures.0.is_empty(), "{}", report.failures);
    Ok(report)
}

/// One group of a hundred members.
pub fn settle(
    session: &mut Session<'_>,
    name: &'static str,
    protocol: GroupProtocol,
) -> Result<()> {
    let settle = Settle {
        topic: session.topic(name),
        partitions: MEMBERS as u32,
        members: MEMBERS,
        protocol,
        assignor: Assignor::Default,
        session_timeout: session_timeout(protocol),
    };
    session.calm_down()?;
    let report = settle.run(&[session.target().addr])?;
    eprintln!("{}\n", indented(&report.to_string()));
    session.state(name, SETTLED_FIRST, report.first_s);
    session.state(name, SETTLED_JOIN, report.join_s);
    session.state(name, SETTLED_KILL, report.after_session_s);
    Ok(())
}

/// Ten thousand members that have nothing to do.
pub fn heartbeats(
    session: &mut Session<'_>,
    name: &'static str,
    protocol: GroupProtocol,
) -> Result<()> {
    let heartbeats = Heartbeats {
        topic: session.topic(name),
        groups: IDLE_GROUPS,
        members: IDLE_MEMBERS,
        protocol,
        assignor: Assignor::Default,
        session_timeout: CONSUMER_SESSION,
    };
    session.calm_down()?;
    let target = session.target();
    let resident = |target: crate::target::Target| -> Result<Option<u64>> {
        let usage = target.pid.map(ProcessUsage::of).transpose()?;
        Ok(usage.map(|usage| usage.rss))
    };
    let before = resident(target)?;
    let mut joined = heartbeats.join(&[target.addr])?;
    joined.rest(REST)?;
    let held = before.zip(resident(target)?);
    let used_before = target.before()?;
    let seconds = Duration::from_secs(session.settings.seconds);
    let report = joined.measure(seconds.max(HEARTBEATS_LEAST))?;
    let used = target.after()?.used_since(&used_before);
    joined.leave()?;
    eprintln!("{}\n", indented(&report.to_string()));
    ensure!(report.failures.0.is_empty(), "{}", report.failures);
    ensure!(report.rebalances == 0, "{} rebalances", report.rebalances);
    let note = generator_note(&report.verdict);
    session.push(match used {
        Some(used) => {
            let part = used.cpu.as_secs_f64() / report.seconds;
            Reading::new(name, CPU_CORE, part * 100.0)
        }
        None => Reading::not_measured(name, CPU_CORE, NO_PROCESS),
    });
    session.push(match held {
        Some((before, after)) => {
            let more = after.saturating_sub(before) as f64;
            let members = (IDLE_GROUPS * IDLE_MEMBERS) as f64;
            Reading::new(name, RESIDENT_MEMBER, more / members / 1e3)
        }
        None => Reading::not_measured(name, RESIDENT_MEMBER, NO_PROCESS),
    });
    let p99 = report.latency_ns.p99 as f64 / 1e6;
    session.push(Reading::new(name, P99, p99).noted(note));
    session.state(name, HEARTBEATS, report.heartbeats as f64 / report.seconds);
    Ok(())
}

/// Kills a broker behind a million committed offsets, and starts it again.
pub fn load_offsets(session: &mut Session<'_>, site: &Site) -> Result<()> {
    let mut broker = site.start()?;
    wait_ready(&mut broker)?;
    let commits = Commits {
        topic: "loaded".to_owned(),
        connections: 16,
        groups: LOADED_GROUPS,
        partitions: LOADED_PARTITIONS,
        until: Until::Commits(1),
    };
    run_commits(&commits, broker.addr)?;
    broker.kill9()?;

    let start = Instant::now();
    let mut broker = site.start()?;
    let topics = [commits.topic.clone()];
    // One offset of each group tells that all that its coordinator has is there.
    let mut first_of_each = 0..LOADED_GROUPS;
    broker.eventually(PATIENCE, |client: &mut Client| {
        while let Some(group) = first_of_each.clone().next() {
            client.committed(&commits.group(group), &topics, 1)?;
            first_of_each.next();
        }
        Ok(())
    })?;
    let seconds = start.elapsed().as_secs_f64();
    let resident = ProcessUsage::of(broker.pid())?.rss as f64 / 1e6;
    let mut client = broker.connect(PATIENCE)?;
    for group in 0..LOADED_GROUPS {
        let group = commits.group(group);
        let found = client.committed(&group, &topics, LOADED_PARTITIONS as i32)?;
        ensure!(
            found.iter().all(|offset| *offset == 0),
            "group {group} has lost offsets that were acknowledged"
        );
    }
    broker.kill9()?;
    session.state(LOAD_OFFSETS, OFFSETS_LOADED, seconds);
    session.state(LOAD_OFFSETS, RESIDENT, resident);
    Ok(())
}

/// The same load without readers, with a group that reads all of it as it comes, and without again.
pub fn producers_beside(session: &mut Session<'_>, name: &'static str) -> Result<()> {
    let mut workload = engine_workload(session, name, 20_000.0);
    workload.topics.partitions = 12;
    workload.producers.count = 2;
    workload.records.sizes = Sizes::Fixed(1_000);
    workload.consumers.count = 4;
    workload.consumers.group.protocol = Some(GroupProtocol::Classic);
    let without = Workload {
        consumers: Consumers {
            count: 0,
            ..Workload::default().consumers
        },
        ..workload.clone()
    };
    // Behind the initial delay of a rebalance.
    workload.warm_up += REST;
    let (before, _) = run_engine(session, &without)?;
    let (beside, _) = run_engine(session, &workload)?;
    let (after, _) = run_engine(session, &without)?;
    let p99 = |histogram: &corelog_loadgen::measure::histogram::Histogram| {
        histogram.value_at_quantile(0.99) as f64 / 1e6
    };
    let alone = (p99(&before.produce_latency) + p99(&after.produce_latency)) / 2.0;
    let with = p99(&beside.produce_latency);
    let note = limit_note(&beside);
    session.push(Reading::new(name, P99, alone).noted(limit_note(&before)));
    session.push(Reading::new(name, P99_BESIDE_READER, with).noted(note));
    session.push(Reading::new(name, P99_TIMES, with / alone).noted(note));
    let end_to_end = p99(&beside.end_to_end_latency);
    session.push(Reading::new(name, END_TO_END_P99, end_to_end).noted(note));
    Ok(())
}
