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
use super::host::{HostError, check_direct_io};

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

/// How much something matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Fine,
    /// The broker works, and could do better.
    Advice,
    /// The broker does not start.
    Needed,
    /// The kernel does not say.
    Unknown,
}

#[derive(Debug, PartialEq, Eq)]
struct Finding {
    setting: String,
    found: String,
    verdict: Verdict,
    /// Why, and what to do; nothing where all is well.
    remedy: String,
}

/// Prints all findings. `Ok(false)` if something is missing that the broker needs.
pub fn run(args: &TuneArgs, out: &mut dyn Write) -> io::Result<bool> {
    let mut findings = vec![
        needed("io_uring", runtime::check_io_uring()),
        direct_io(check_direct_io(&args.folder)),
    ];
    findings.extend(look(Path::new("/"), &args.folder));
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

/// All advice about the settings below `root`, which is / but in tests.
fn look(root: &Path, folder: &Path) -> Vec<Finding> {
    let host = Host {
        root: root.to_owned(),
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

fn finding(
    setting: impl Into<String>,
    found: impl Into<String>,
    verdict: Verdict,
    remedy: &str,
) -> Finding {
    let remedy = match verdict {
        Verdict::Fine | Verdict::Unknown => String::new(),
        Verdict::Advice | Verdict::Needed => remedy.to_owned(),
    };
    Finding {
        setting: setting.into(),
        found: found.into(),
        verdict,
        remedy,
    }
}

fn fine_if(is_fine: bool) -> Verdict {
    match is_fine {
        true => Verdict::Fine,
        false => Verdict::Advice,
    }
}

/// What a check of the start says: what is wrong, a colon, and what to do.
fn needed(setting: &str, checked: Result<(), impl fmt::Display>) -> Finding {
    let Err(error) = checked else {
        return finding(setting, "works", Verdict::Fine, "");
    };
    let error = error.to_string();
    let (found, remedy) = error.split_once(": ").unwrap_or((&error, &error));
    finding(setting, found, Verdict::Needed, remedy)
}

/// A folder that is not there yet, or is another user's, tells nothing.
fn direct_io(checked: Result<(), HostError>) -> Finding {
    use io::ErrorKind::{NotFound, PermissionDenied};
    let setting = "direct I/O";
    match checked {
        Err(HostError::NoDirectIo { source, .. })
            if [NotFound, PermissionDenied].contains(&source.kind()) =>
        {
            finding(setting, source.to_string(), Verdict::Unknown, "")
        }
        checked => needed(setting, checked),
    }
}

#[cfg(test)]
mod tests;
