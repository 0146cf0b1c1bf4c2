//! `corelog tune --check`: what of this host's settings stands in the way of the broker, and what to
//! do about it.
//!
//! What the broker cannot do without is found out by the checks of `corelog start` themselves. The
//! rest is advice: each finding is one setting as the kernel shows it below /proc and /sys.
//! tuning/README.md has the reasons and what was measured.

mod disk;
mod host;

use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use corelog_shards::runtime;

use self::host::Host;
use super::finding::{Finding, Verdict, direct_io, needed};
use super::host::{check_direct_io, raise_limits};

/// This process, as /proc names it.
pub(super) const SELF: &str = "self";

/// Tell what this host's settings cost the broker
#[derive(Debug, Args)]
pub struct TuneArgs {
    /// Look, and change nothing; one block is written to a file that is removed again
    #[arg(long, required = true)]
    pub check: bool,

    /// The data folder, or the one above it, whose disk is looked at
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub folder: PathBuf,
}

/// Prints all findings. `Ok(false)` if something is missing that the broker needs.
pub fn run(args: &TuneArgs, out: &mut dyn Write) -> io::Result<bool> {
    // As a start does. What it would say of them is among the findings.
    let _ = raise_limits();
    let mut findings = vec![
        needed("io_uring", runtime::check_io_uring()),
        direct_io(check_direct_io(&args.folder)),
    ];
    findings.extend(look(Path::new("/"), SELF, &args.folder));
    print(&findings, out)?;
    Ok(!findings.iter().any(|one| one.verdict == Verdict::Needed))
}

fn print(findings: &[Finding], out: &mut dyn Write) -> io::Result<()> {
    for finding in findings {
        let Finding {
            setting,
            found,
            verdict,
            remedy,
        } = finding;
        writeln!(out, "{verdict:<8} {setting}: {found}")?;
        if !remedy.is_empty() {
            writeln!(out, "         {remedy}")?;
        }
    }
    let count = |verdict| findings.iter().filter(|one| one.verdict == verdict).count();
    writeln!(
        out,
        "{} fine, {} to improve, {} missing, {} that the kernel does not tell",
        count(Verdict::Fine),
        count(Verdict::Advice),
        count(Verdict::Needed),
        count(Verdict::Unknown)
    )
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Verdict::Fine => "fine",
            Verdict::Advice => "improve",
            Verdict::Needed => "MISSING",
            Verdict::Unknown => "unknown",
        })
    }
}

/// Bytes that a process may take by its control groups, if they bound them.
pub(super) fn memory_max(root: &Path, process: &str) -> Option<u64> {
    let host = Host {
        root: root.to_owned(),
        process: process.to_owned(),
    };
    host.memory_max()
}

/// All advice about the settings below `root`, which is / but in tests, for a process as /proc names it.
pub(super) fn look(root: &Path, process: &str, folder: &Path) -> Vec<Finding> {
    let host = Host {
        root: root.to_owned(),
        process: process.to_owned(),
    };
    let mut findings = vec![
        host.open_files(),
        host.cpu_quota(),
        host.steal(),
        host.clock(),
        host.governor(),
        host.swap(),
        host.backlog(),
    ];
    findings.extend(host.disk(folder));
    findings
}

#[cfg(test)]
mod tests;
