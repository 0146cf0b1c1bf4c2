//! `corelog doctor`: looks at host, clock, configuration, data folders and a running broker, and explains what it finds,
//! with what to do.
//!
//! Each check is the one of `corelog start` or `corelog tune` where they have it. Changes nothing but for one block that
//! is written to a file of its own in each data folder and removed again; takes no lock, so that a broker may be started
//! meanwhile.
//!
//! A problem is what keeps a broker from its work. What cannot be told of another user's process or files is noted.

mod broker;
mod clock;
mod folders;
mod host;
mod journals;
mod process;
mod settings;

use std::io::{self, Write};
use std::path::Path;

use clap::Args;
use serde_json::json;

use super::finding::{Finding, Verdict};
use super::folders::look::InUse;
use super::start::BrokerArgs;

/// Look at host, clock, configuration, folders and a running broker, and explain what is wrong
#[derive(Debug, Default, Args)]
pub struct DoctorArgs {
    #[command(flatten)]
    pub config: BrokerArgs,

    /// Tell it as JSON
    #[arg(long)]
    pub json: bool,
}

/// What was looked at, and what was found there.
struct Report(Vec<(&'static str, Vec<Finding>)>);

/// Prints all findings. `Ok(false)` if one of them is a problem.
pub fn run(args: &DoctorArgs, out: &mut dyn Write) -> io::Result<bool> {
    // As a start does. What it would say of them is among the findings.
    let _ = super::host::raise_limits();
    let report = examine(args, Path::new("/"));
    match args.json {
        true => report.print_json(out)?,
        false => report.print(out)?,
    }
    Ok(report.count(Verdict::Needed) == 0)
}

/// Everything, with the kernel's files below `root`, which is / but in tests.
fn examine(args: &DoctorArgs, root: &Path) -> Report {
    let (config, settings) = settings::examine(&args.config);
    let mut report = Report(vec![("configuration", settings)]);
    // Without a configuration nobody knows which folders and listeners are meant.
    let wanted = config.as_ref().and_then(|config| config.node.cores);
    let shards = host::shards(wanted);
    let subject = host::Subject {
        in_use: config.as_ref().map_or(InUse::No, folders::taken),
        process: config
            .as_ref()
            .and_then(|config| folders::taken_by(config, root)),
    };
    let host = host::examine(root, config.as_ref(), shards, &subject);
    report.0.push(("host", host));
    let mut clock = clock::examine();
    if let Some(config) = &config {
        clock.extend(clock::of_folders(config));
    }
    report.0.push(("clock", clock));
    if let Some(config) = &config {
        report.0.push(("folders", folders::examine(config, shards)));
        report.0.push(("broker", broker::examine(config, root)));
    }
    report
}

/// In the doctor's words.
fn level(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Fine => "ok",
        Verdict::Unknown => "note",
        Verdict::Advice => "warning",
        Verdict::Needed => "problem",
    }
}

impl Report {
    fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.0.iter().flat_map(|(_, findings)| findings)
    }

    fn count(&self, verdict: Verdict) -> usize {
        self.findings().filter(|it| it.verdict == verdict).count()
    }

    fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        for (area, findings) in &self.0 {
            writeln!(out, "{area}")?;
            for it in findings {
                writeln!(
                    out,
                    "  {:<8} {}: {}",
                    level(it.verdict),
                    it.setting,
                    it.found
                )?;
                if !it.remedy.is_empty() {
                    writeln!(out, "           {}", it.remedy)?;
                }
            }
        }
        writeln!(
            out,
            "{} ok, {} notes, {} warnings, {} problems",
            self.count(Verdict::Fine),
            self.count(Verdict::Unknown),
            self.count(Verdict::Advice),
            self.count(Verdict::Needed)
        )
    }

    fn print_json(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut findings = Vec::new();
        for (area, found) in &self.0 {
            findings.extend(found.iter().map(|it| {
                json!({
                    "area": area,
                    "level": level(it.verdict),
                    "subject": it.setting,
                    "found": it.found,
                    "remedy": it.remedy,
                })
            }));
        }
        let all = json!({
            "problems": self.count(Verdict::Needed),
            "warnings": self.count(Verdict::Advice),
            "findings": findings,
        });
        writeln!(out, "{all:#}")
    }
}

#[cfg(test)]
mod tests;
