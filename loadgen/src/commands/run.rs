//! `run`: one workload, once.

use std::fs;
use std::io::BufWriter;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use corelog_loadgen::fleet::{Lost, Ran};
use corelog_loadgen::measure::Judgement;
use corelog_loadgen::report::{Figures, ProgressLine, hlog, html, json, table};
use corelog_loadgen::workload::WorkloadArgs;

use super::{AGENT_LOST, Target, stop_on_signals, write};

/// Exit status when what came out is not what was acknowledged.
const NOT_WHOLE: u8 = 2;
/// Exit status when not all that was acknowledged could be read.
const UNREAD: u8 = 5;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    workload: WorkloadArgs,
    #[command(flatten)]
    target: Target,
    /// Write all figures to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a page with plots to this file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write the latencies to this file, as an HdrHistogram log
    #[arg(long, value_name = "FILE")]
    hlog: Option<PathBuf>,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let workload = args.workload.resolve()?;
    let ground = args.target.ground()?;
    let stop = stop_on_signals()?;
    let mut progress = ProgressLine::stderr();
    let Ran {
        outcome,
        hosts,
        clock_error_ns,
        lost,
    } = ground.run(&workload, &stop, |now| {
        // Where nobody reads it any more there is nobody to tell.
        let _ = progress.update(&now);
    })?;
    let _ = progress.clear();
    let figures = Figures {
        clock_error_ns: ground.has_agents().then_some(clock_error_ns),
        lost_agents: lost.iter().map(Lost::to_string).collect(),
        ..Figures::of(
            &workload,
            &outcome.measurements,
            outcome.verification,
            hosts,
        )
    };
    print!("{}", table::write(&figures));
    write(&args.json, || json::write(&figures))?;
    write(&args.html, || html::page(&figures))?;
    if let Some(path) = &args.hlog {
        let file = fs::File::create(path).with_context(|| path.display().to_string())?;
        hlog::write(&outcome.measurements, &mut BufWriter::new(file))?;
    }
    if !lost.is_empty() {
        return Ok(ExitCode::from(AGENT_LOST));
    }
    Ok(match outcome.verification.map(|found| found.judgement()) {
        None | Some(Judgement::Whole) => ExitCode::SUCCESS,
        Some(Judgement::Unread) => ExitCode::from(UNREAD),
        Some(Judgement::Broken) => ExitCode::from(NOT_WHOLE),
    })
}
