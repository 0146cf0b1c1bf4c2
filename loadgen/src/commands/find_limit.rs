//! `find-limit`: the highest rate that keeps a promise.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Result, anyhow, ensure};
use corelog_loadgen::client::Client;
use corelog_loadgen::cluster::Cluster;
use corelog_loadgen::engine::{self, Outcome, Settings};
use corelog_loadgen::limit::{self, Node, Promise, Range};
use corelog_loadgen::report::limit::{page, step_line, table};
use corelog_loadgen::report::{Figures, Host, ProgressLine};
use corelog_loadgen::workload::units::parse_size;
use corelog_loadgen::workload::{Load as WorkloadLoad, Workload, WorkloadArgs};

use super::{AGENT_LOST, Ground, Output, Outputs, Target, stop_on_signals};

/// Exit status when no rate kept the promise.
const NOTHING_KEPT: u8 = 3;
/// Tried first if the workload has no rate.
const FIRST_RATE: f64 = 1_000.0;

/// Each step makes load for the workload's --warm-up, in which it settles, and then for its --duration, for which the
/// promise has to hold. It has topics of its own, named like the workload's with -sNUMBER, which are deleted after it.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    workload: WorkloadArgs,
    #[command(flatten)]
    target: Target,
    /// What has to be kept, such as `p99 < 10ms` or `p99.9 < 50ms and end-to-end p99 < 20ms`
    #[arg(long, value_name = "PROMISE")]
    slo: Promise,
    /// No lower rate is tried, in records a second [0.001 to 100000000]
    #[arg(long, value_name = "RATE", default_value = "1", value_parser = rate)]
    rate_min: f64,
    /// No higher rate is tried, in records a second [0.001 to 100000000]
    #[arg(long, value_name = "RATE", default_value = "100000000", value_parser = rate)]
    rate_max: f64,
    /// Part of the limit by which it may be too low [0.01 to 0.5]
    #[arg(long, value_name = "PART", default_value = "0.05", value_parser = part)]
    precision: f64,
    /// Cores of each broker, for `plan`; known if it runs here
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    node_cores: Option<u32>,
    /// Memory of each broker, for `plan`; known if it runs here
    #[arg(long, value_name = "SIZE", value_parser = size)]
    node_memory: Option<u64>,
    /// Disk of each broker in words, for `plan`
    #[arg(long, value_name = "TEXT")]
    node_disk: Option<String>,
    /// Network of each broker in words, for `plan`
    #[arg(long, value_name = "TEXT")]
    node_network: Option<String>,
    /// Write the curve to this file, for `plan` and for programs
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a page with the curve to this file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

fn rate(text: &str) -> Result<f64, String> {
    number(text, 0.001, 1e8)
}

fn part(text: &str) -> Result<f64, String> {
    number(text, 0.01, 0.5)
}

fn number(text: &str, least: f64, most: f64) -> Result<f64, String> {
    let number = text.parse().ok();
    number
        .filter(|number| (least..=most).contains(number))
        .ok_or_else(|| format!("must be a number from {least} to {most}"))
}

fn size(text: &str) -> Result<u64, String> {
    parse_size(text)
        .filter(|size| *size > 0)
        .ok_or_else(|| "must be a size such as 64GiB".into())
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let workload = args.workload.resolve()?;
    let first = match &workload.load {
        WorkloadLoad::Open(shape) => shape.mean_rate(workload.whole()),
        WorkloadLoad::Max => FIRST_RATE,
    };
    let workload = limit::at_rate(&workload, &args.slo, first).map_err(|why| anyhow!(why))?;
    ensure!(
        args.rate_min <= args.rate_max,
        "--rate-min {} must not be above --rate-max {}",
        args.rate_min,
        args.rate_max
    );
    let ground = args.target.ground()?;
    let (json, html) = (Output::open(&args.json)?, Output::open(&args.html)?);
    let stop = stop_on_signals()?;
    let search = limit::Settings {
        promise: args.slo.clone(),
        range: Range {
            first,
            least: args.rate_min,
            most: args.rate_max,
            precision: args.precision,
        },
        node: node(args, &ground.settings),
        started_unix_ms: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_millis() as u64),
    };
    let mut seen = Seen::default();
    let mut started = 0;
    let run = |rate| {
        started += 1;
        let mut workload =
            limit::at_rate(&workload, &args.slo, rate).map_err(|why| anyhow!(why))?;
        workload.topics.name += &format!("-s{started}");
        match step(&workload, &ground, &stop, &mut seen) {
            // What there is shall not be lost.
            Err(error) if started > 1 => {
                seen.failed = Some(error);
                Ok(None)
            }
            outcome => outcome,
        }
    };
    let mut ended = 0;
    let mut curve = limit::find(&workload, &search, run, |step| {
        ended += 1;
        eprintln!("{}", step_line(ended, step));
    })?;
    curve.node.count = seen.cluster.brokers.len().max(1) as f64;
    curve.load.replication_factor = seen.cluster.replication_factor.max(1) as f64;
    curve.hosts = seen.hosts;
    print!("{}", table(&curve));
    let mut outputs = Outputs::default();
    outputs.write(&json, || curve.to_json());
    outputs.write(&html, || page(&curve));
    let ended_early = seen.failed.map(|it| it.context("the search ended early"));
    outputs.failed.extend(ended_early);
    outputs.finish()?;
    Ok(match curve.limit {
        _ if seen.has_lost => ExitCode::from(AGENT_LOST),
        Some(_) => ExitCode::SUCCESS,
        None => ExitCode::from(NOTHING_KEPT),
    })
}

/// What steps have shown beside their figures.
#[derive(Default)]
struct Seen {
    cluster: Cluster,
    hosts: Vec<Host>,
    /// An agent was lost, which ended the search.
    has_lost: bool,
    /// What else ended it.
    failed: Option<anyhow::Error>,
}

/// Runs one step and takes its topics away; `None` if it was stopped or lost an agent.
fn step(
    workload: &Workload,
    ground: &Ground,
    stop: &AtomicBool,
    seen: &mut Seen,
) -> Result<Option<Figures>> {
    if stop.load(Ordering::Relaxed) || seen.has_lost {
        return Ok(None);
    }
    let mut client = engine::first_client(&ground.settings.bootstrap)?;
    limit::refuse_existing(&mut client, workload)?;
    let mut progress = ProgressLine::stderr();
    let ran = ground.run(workload, stop, |now| {
        let _ = progress.update(&now);
    });
    let _ = progress.clear();
    let mut client = engine::first_client(&ground.settings.bootstrap)?;
    if let Ok(cluster) = Cluster::look_up(&mut client, &workload.topics) {
        seen.cluster = cluster;
    }
    let deleted = delete(&mut client, workload);
    let ran = match ran {
        // While it was prepared, so that there are neither figures nor perhaps topics.
        Err(_) if stop.load(Ordering::Relaxed) => return Ok(None),
        ran => ran?,
    };
    deleted?;
    for lost in &ran.lost {
        eprintln!("{lost}: the search ends");
        seen.has_lost = true;
    }
    if stop.load(Ordering::Relaxed) || seen.has_lost {
        return Ok(None);
    }
    let Outcome {
        measurements,
        verification,
    } = ran.outcome;
    seen.hosts = ran.hosts;
    let figures = Figures::of(workload, &measurements, verification, Vec::new());
    Ok(Some(figures))
}

fn delete(client: &mut Client, workload: &Workload) -> Result<()> {
    let topics = workload.topics.names();
    topics.iter().try_for_each(|it| client.delete_topic(it))
}

/// What the brokers run on: this machine, if they are reached within it.
fn node(args: &Args, target: &Settings) -> Node {
    let is_here = target.bootstrap.iter().all(|it| it.ip().is_loopback());
    let here = match is_here {
        true => Host::here(),
        false => Host::default(),
    };
    Node {
        count: 1.0,
        cores: args.node_cores.map_or(here.cores as f64, f64::from),
        memory_bytes: args.node_memory.unwrap_or(here.memory_bytes) as f64,
        disk: args.node_disk.clone().unwrap_or_default(),
        network: args.node_network.clone().unwrap_or_default(),
        is_shared: is_here,
    }
}
