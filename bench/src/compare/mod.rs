//! Apache Kafka and Corelog in turn on this machine, each alone while it is measured.
//!
//! A round is: one product started in a fresh folder, all figures, the product killed and its folder removed; then the
//! same for the other. Both get the same `server.properties` and keep every default: Kafka leaves its records to the
//! page cache, Corelog syncs before each acknowledgement. Before each workload what is dirty in the page cache is
//! written out, so that no figure pays for the one before it.

mod figures;
mod start_up;
mod table;
mod workloads;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use serde_json::{Value, json};

use crate::broker::{Product, Site};
use crate::usage::ProcessUsage;
use corelog_loadgen::client::wall_ms;

pub use figures::{Figure, Reading};
pub use table::Table;

/// What a second of the fastest workload may write, with room to spare.
const DISK_BYTES_A_SECOND: u64 = 2_500_000_000;
const DISK_BYTES_LEAST: u64 = 5_000_000_000;

#[derive(Clone, Debug)]
pub struct CompareSettings {
    /// Where the brokers' folders are made: on the disk that is to be measured.
    pub folder: PathBuf,
    pub products: Vec<Product>,
    pub rounds: usize,
    pub seconds: u64,
    pub warm_up_seconds: u64,
    /// Parts of names: only figures of workloads whose name has one of these.
    pub only: Vec<String>,
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
        for product in &self.products {
            if let Product::Corelog { binary, cores } = product {
                ensure!(
                    binary.exists(),
                    "{} does not exist: build it with 'cargo build --release', or say where it is with --corelog",
                    binary.display()
                );
                ensure!(*cores > 0, "--cores: at least 1");
            }
        }
        for part in &self.only {
            ensure!(
                workloads::names().any(|name| name.contains(part.as_str())),
                "--only {part}: no workload has this in its name; there are: {}",
                workloads::names().collect::<Vec<_>>().join(", ")
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

    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|part| name.contains(part.as_str()))
    }
}

/// Runs all rounds; the table holds the median of each figure.
pub fn run(settings: &CompareSettings) -> Result<(Table, Value)> {
    settings.check()?;
    let mut readings: Vec<(&'static str, Vec<Reading>)> = Vec::new();
    for round in 0..settings.rounds {
        for product in &settings.products {
            eprintln!(
                "== round {} of {}: {}",
                round + 1,
                settings.rounds,
                product.name()
            );
            readings.push((product.name(), measure(settings, product)?));
        }
    }
    let table = Table::new(&readings);
    let json = json!({
        "seconds": settings.seconds,
        "warm_up_seconds": settings.warm_up_seconds,
        "rounds": settings.rounds,
        "figures": table.json(),
    });
    Ok((table, json))
}

fn measure(settings: &CompareSettings, product: &Product) -> Result<Vec<Reading>> {
    let mut readings = Vec::new();
    if settings.wants(workloads::START_EMPTY) {
        in_fresh_site(settings, product, |site| {
            start_up::empty(site, &mut readings)
        })?;
    }
    if workloads::under_load().any(|name| settings.wants(name)) {
        in_fresh_site(settings, product, |site| {
            workloads::run_all(settings, site, &mut readings)
        })?;
    }
    if settings.wants(workloads::START_10000) {
        in_fresh_site(settings, product, |site| {
            start_up::after_kill(site, &mut readings)
        })?;
    }
    Ok(readings)
}

/// Gives `work` a folder of its own and removes it afterwards; where the work fails it stays, to be looked at.
fn in_fresh_site(
    settings: &CompareSettings,
    product: &Product,
    work: impl FnOnce(&Site) -> Result<()>,
) -> Result<()> {
    let name = format!(
        "{}-{}",
        product.name().to_lowercase().replace(' ', "-"),
        wall_ms()
    );
    let folder = settings.folder.join(name);
    let site = Site::prepare(product.clone(), &folder)?;
    work(&site).with_context(|| {
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

/// Writes out what is dirty in the page cache, and lets the disk come to rest.
pub(crate) fn settle() {
    nix::unistd::sync();
    std::thread::sleep(Duration::from_secs(1));
}

/// Waits until a broker that got no requests has nothing left to do, at most half a minute. After the first records
/// of many partitions Kafka writes and syncs a small file for each.
pub(crate) fn quieten(pid: u32) -> Result<()> {
    const SAMPLE: Duration = Duration::from_millis(500);
    let mut before = ProcessUsage::of(pid)?;
    for _ in 0..60 {
        std::thread::sleep(SAMPLE);
        let after = ProcessUsage::of(pid)?;
        let quiet = after.cpu - before.cpu <= SAMPLE / 20
            && after.disk_written - before.disk_written <= 1 << 20;
        if quiet {
            break;
        }
        before = after;
    }
    Ok(())
}

/// Where the release build of the broker is, beside this program.
pub fn built_corelog() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    Ok(own.parent().unwrap_or(Path::new(".")).join("corelog"))
}
