//! Apache Kafka and Corelog in turn on this machine, each alone while it is measured.
//!
//! A round is: one product started in a fresh folder, all figures, the product killed and its folder removed; then the
//! same for the others. Both brokers get the same `server.properties` and keep every default: Kafka leaves its records
//! to the page cache, Corelog syncs before each acknowledgement; workloads named `fsync` have both sync. The bare loop
//! states in each round what the machine allows. Before each workload what is dirty in the page cache is written out,
//! so that no figure pays for the one before it. A workload that fails is kept as failed, and the others go on.

mod attacked;
mod baseline;
mod compaction;
mod consume;
mod figures;
mod groups;
mod overload;
mod page;
mod produce;
mod quiet;
mod results;
mod roofline;
mod session;
mod soak;
mod spread;
mod start_up;
mod table;
mod targets;
mod workloads;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use nix::sys::statfs::{TMPFS_MAGIC, statfs};

use crate::broker::{KAFKA_VERSION, Product, Site};
use crate::machine::{Machine, version_of};
use crate::target::Target;
use corelog_loadgen::client::wall_ms;
use session::{Session, settle};
use workloads::{Work, Workload};

pub use baseline::{Change, changes, differences};
pub use page::page;
pub use results::Results;
pub use table::Table;

/// What a second of the fastest workload may write, with room to spare.
const DISK_BYTES_A_SECOND: u64 = 2_500_000_000;
const DISK_BYTES_LEAST: u64 = 5_000_000_000;

/// Who takes part.
#[derive(Clone, Debug)]
pub enum Participant {
    /// It is started and stopped.
    Started(Product),
    /// Corelog on one core, whatever it has otherwise: what the way between cores costs.
    OnOneCore(PathBuf),
    /// It runs already, and goes on to.
    Running(Target),
    /// What the machine allows at most.
    BareLoop,
}

impl Participant {
    fn name(&self) -> String {
        match self {
            Self::Started(product) => product.name().to_owned(),
            Self::OnOneCore(_) => results::ONE_CORE.to_owned(),
            Self::Running(target) => target.addr.to_string(),
            Self::BareLoop => results::BARE_LOOP.to_owned(),
        }
    }

    fn version(&self) -> String {
        match self {
            Self::Started(Product::ApacheKafka(_)) => {
                let java = version_of(Path::new("java"), "-version");
                format!("{KAFKA_VERSION} on {java}")
            }
            Self::Started(Product::Corelog { binary, cores }) => {
                let version = version_of(binary, "--version");
                format!("{version} on {cores} cores")
            }
            Self::OnOneCore(binary) => version_of(binary, "--version"),
            Self::Running(_) => "not known".to_owned(),
            Self::BareLoop => env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

#[derive(Clone, Debug)]
pub struct CompareSettings {
    /// Where the brokers' folders are made: on the disk that is to be measured.
    pub folder: PathBuf,
    /// Ratios are to the first.
    pub participants: Vec<Participant>,
    pub rounds: usize,
    pub seconds: u64,
    pub warm_up_seconds: u64,
    /// How long the soak is, where it is named.
    pub soak_minutes: u64,
    /// Only the few workloads that are quick.
    pub is_quick: bool,
    /// Parts of names: only workloads whose name has one of these, quick or not.
    pub only: Vec<String>,
    /// An earlier run, at whose rates open loops run again.
    pub baseline: Option<Results>,
    /// Where all that was found is written, again after each product.
    pub json: Option<PathBuf>,
}

impl CompareSettings {
    pub fn check(&self) -> Result<()> {
        ensure!(
            (1..=100).contains(&self.rounds),
            "--rounds {}: from 1 to 100",
            self.rounds
        );
        ensure!(
            (1..=600).contains(&self.seconds),
            "--seconds {}: from 1 to 600",
            self.seconds
        );
        ensure!(
            self.warm_up_seconds <= 600,
            "--warm-up {}: from 0 to 600",
            self.warm_up_seconds
        );
        ensure!(
            (1..=1_440).contains(&self.soak_minutes),
            "--soak-minutes {}: from 1 to 1440",
            self.soak_minutes
        );
        for participant in &self.participants {
            let (binary, cores) = match participant {
                Participant::Started(Product::Corelog { binary, cores }) => (binary, *cores),
                Participant::OnOneCore(binary) => (binary, 1),
                _ => continue,
            };
            ensure!(
                binary.exists(),
                "{} does not exist: build it with 'cargo build --release', or say where it is with --corelog",
                binary.display()
            );
            ensure!(cores > 0, "--cores: at least 1");
        }
        for part in &self.only {
            ensure!(
                workloads::ALL
                    .iter()
                    .any(|it| it.name.contains(part.as_str())),
                "--only {part}: no workload has this in its name; there are:\n  {}",
                workload_names().collect::<Vec<_>>().join("\n  ")
            );
        }
        let folder = &self.folder;
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
        ensure!(
            statfs(folder)?.filesystem_type() != TMPFS_MAGIC,
            "--folder {} is in memory (tmpfs): figures need a disk",
            folder.display()
        );
        let space = nix::sys::statvfs::statvfs(folder)?;
        let free = space.blocks_available() * space.fragment_size();
        let needed = DISK_BYTES_LEAST + DISK_BYTES_A_SECOND * (self.seconds + self.warm_up_seconds);
        ensure!(
            free >= needed,
            "--folder {}: {} GB free, and {} GB may be needed; fewer --seconds need less",
            folder.display(),
            free / 1_000_000_000,
            needed / 1_000_000_000
        );
        Ok(())
    }

    fn wants(&self, workload: &Workload) -> bool {
        let is_named = |part: &String| workload.name.contains(part.as_str());
        match self.only.is_empty() {
            true => workload.is_quick || !(self.is_quick || workload.is_long()),
            false => self.only.iter().any(is_named),
        }
    }
}

/// Names of all workloads.
pub fn workload_names() -> impl Iterator<Item = &'static str> {
    workloads::ALL.iter().map(|workload| workload.name)
}

/// Runs all rounds.
pub fn run(settings: &CompareSettings) -> Result<Results> {
    settings.check()?;
    let participants = &settings.participants;
    let versions = participants.iter().map(|it| (it.name(), it.version()));
    let machine = Machine::here(&settings.folder, versions.collect());
    let (seconds, warm_up) = (settings.seconds, settings.warm_up_seconds);
    let mut results = Results::new(machine, settings.rounds, seconds, warm_up);
    match &settings.baseline {
        Some(baseline) => results.limits = baseline.limits.clone(),
        None => results.limits.of = limited(participants),
    }
    let keep = |results: &Results| match &settings.json {
        Some(file) => results.write(file),
        None => Ok(()),
    };
    keep(&results)?;
    for round in 0..settings.rounds {
        for participant in participants {
            if settings.is_quick && round > 0 && matches!(participant, Participant::BareLoop) {
                // The machine's limits are stated once where time is short.
                continue;
            }
            let name = participant.name();
            eprintln!("== round {} of {}: {name}", round + 1, settings.rounds);
            let mut session = Session::new(settings, &mut results, &name, round);
            match participant {
                Participant::Started(product) => measure(&mut session, product),
                Participant::OnOneCore(binary) => {
                    let binary = binary.clone();
                    measure(&mut session, &Product::Corelog { binary, cores: 1 });
                }
                Participant::Running(target) => measure_running(&mut session, *target),
                Participant::BareLoop => {
                    let outcome = roofline::measure(&mut session);
                    session.keep_failure([workloads::MACHINE], outcome);
                }
            }
            keep(&results)?;
        }
    }
    Ok(results)
}

/// The first one that is a broker: its limits are those that open loops run at parts of.
fn limited(participants: &[Participant]) -> String {
    let mut brokers = participants.iter();
    let first = brokers.find(|it| !matches!(it, Participant::BareLoop));
    first.map(Participant::name).unwrap_or_default()
}

fn measure(session: &mut Session<'_>, product: &Product) {
    let settings = session.settings;
    let wanted = workloads::ALL.iter().filter(|it| settings.wants(it));
    let wanted: Vec<&Workload> = wanted.collect();
    for group in wanted.chunk_by(|one, next| one.shares_broker_with(next)) {
        let first = group[0];
        let outcome = in_fresh_site(session, product, first, |session, site| match first.work {
            Work::StartEmpty => start_up::empty(session, site),
            Work::RestartData => start_up::with_data(session, site),
            Work::LoadOffsets => groups::load_offsets(session, site),
            _ if first.has_many_partitions() => {
                start_up::with_many_partitions(session, site, group)
            }
            _ => on_one_broker(session, site, group),
        });
        session.keep_failure(group.iter().map(|it| it.name), outcome);
    }
}

/// Measures them one after the other on a broker that has warmed up.
fn on_one_broker(session: &mut Session<'_>, site: &Site, group: &[&Workload]) -> Result<()> {
    let mut broker = site.start()?;
    start_up::wait_ready(&mut broker)?;
    session.attach(broker.target(), Some(site.folder()));
    produce::warm_up(session).context("warming up")?;
    session.run_all(group, &mut broker)?;
    broker.kill9()
}

fn measure_running(session: &mut Session<'_>, target: Target) {
    session.attach(target, None);
    let outcome = produce::warm_up(session);
    session.keep_failure(["warm-up"], outcome);
    for workload in workloads::ALL {
        if session.settings.wants(workload) {
            start_up::not_measured(session, workload);
            let outcome = session.run(workload);
            session.keep_failure([workload.name], outcome);
        }
    }
    let outcome = session.delete_topics();
    session.keep_failure(["deleting the topics"], outcome);
}

/// Gives `work` a folder of its own, for a broker as a workload needs it, and removes it afterwards; where the work fails it stays, to be looked at.
fn in_fresh_site(
    session: &mut Session<'_>,
    product: &Product,
    workload: &Workload,
    work: impl FnOnce(&mut Session<'_>, &Site) -> Result<()>,
) -> Result<()> {
    let name = format!(
        "{}-{}",
        product.name().to_lowercase().replace(' ', "-"),
        wall_ms()
    );
    let folder = session.settings.folder.join(name);
    let site = Site::prepare(product.clone(), &folder, workload.broker_properties())?;
    work(session, &site).with_context(|| {
        format!(
            "measuring {}, whose folder {} stays",
            product.name(),
            folder.display()
        )
    })?;
    fs::remove_dir_all(&folder)?;
    settle();
    Ok(())
}

/// Where the release build of the broker is, beside this program.
pub fn built_corelog() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    Ok(own.parent().unwrap_or(Path::new(".")).join("corelog"))
}
