//! One product in one round: what is loaded at the moment, and what was found so far.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};

use super::CompareSettings;
use super::attacked;
use super::compaction;
use super::consume;
use super::figures::{Quantity, Reading};
use super::groups;
use super::overload;
use super::produce;
use super::quiet;
use super::results::{Results, Run};
use super::soak;
use super::workloads::{self, Load, Work, Workload};
use crate::broker::{Broker, DATA};
use crate::metrics::Inside;
use crate::produce::Pace;
use crate::target::Target;
use crate::usage::ProcessUsage;
use corelog_loadgen::client::{connect_within, wall_ms};

pub struct Session<'a> {
    pub settings: &'a CompareSettings,
    results: &'a mut Results,
    /// Of its run in the results.
    run_index: usize,
    target: Option<Target>,
    folder: Option<PathBuf>,
    /// Begins the names of all topics.
    prefix: String,
    /// That were made on the target.
    topics: Vec<String>,
}

impl<'a> Session<'a> {
    pub fn new(
        settings: &'a CompareSettings,
        results: &'a mut Results,
        product: &str,
        round: usize,
    ) -> Self {
        results.runs.push(Run {
            product: product.to_owned(),
            round,
            ..Run::default()
        });
        let run_index = results.runs.len() - 1;
        Self {
            settings,
            results,
            run_index,
            target: None,
            folder: None,
            prefix: format!("bench-{}", wall_ms()),
            topics: Vec::new(),
        }
    }

    /// From now on, this broker is loaded; its folder is known where it was started here.
    pub fn attach(&mut self, target: Target, folder: Option<&Path>) {
        self.target = Some(target);
        self.folder = folder.map(Path::to_owned);
        self.topics.clear();
    }

    pub fn target(&self) -> Target {
        self.target
            .expect("a broker is attached before it is loaded")
    }

    /// The name of a workload's topic. Those with very many partitions share theirs.
    pub fn topic(&mut self, workload: &str) -> String {
        let topic = self.topic_name(workload);
        if !self.topics.contains(&topic) {
            self.topics.push(topic.clone());
        }
        topic
    }

    /// Whether a workload's topic has been made.
    pub fn has_topic(&self, workload: &str) -> bool {
        self.topics.contains(&self.topic_name(workload))
    }

    fn topic_name(&self, workload: &str) -> String {
        let at = workloads::ALL.iter().position(|it| it.name == workload);
        let has_many = at.is_some_and(|at| workloads::ALL[at].has_many_partitions());
        match (has_many, at) {
            (true, _) => format!("{}-many", self.prefix),
            (false, Some(at)) => format!("{}-{}", self.prefix, at + 1),
            (false, None) => format!("{}-{workload}", self.prefix),
        }
    }

    pub fn delete_topics(&mut self) -> Result<()> {
        let mut client = connect_within(self.target().addr, Duration::from_secs(10))?;
        let mut topics = self.topics.drain(..);
        topics.try_for_each(|topic| client.delete_topic(&topic))
    }

    pub fn state(&mut self, workload: &str, quantity: Quantity, value: f64) {
        self.push(Reading::new(workload, quantity, value));
    }

    pub fn push(&mut self, reading: Reading) {
        self.results.runs[self.run_index].readings.push(reading);
    }

    pub fn keep_inside(&mut self, workload: &str, inside: &Inside) {
        let run = &mut self.results.runs[self.run_index];
        run.inside.insert(workload.to_owned(), inside.clone());
    }

    /// Notes why workloads came to nothing, unless they failed before this.
    pub fn keep_failure<'n>(
        &mut self,
        workloads: impl IntoIterator<Item = &'n str>,
        outcome: Result<()>,
    ) {
        let Err(error) = outcome else {
            return;
        };
        eprintln!("FAILED: {error:#}");
        let failures = &mut self.results.runs[self.run_index].failures;
        for workload in workloads {
            let failure = failures.entry(workload.to_owned());
            failure.or_insert_with(|| format!("{error:#}"));
        }
    }

    /// Measures all of them, also behind one that failed; an error only if the broker has ended.
    pub fn run_all(&mut self, workloads: &[&Workload], broker: &mut Broker) -> Result<()> {
        for (at, workload) in workloads.iter().enumerate() {
            let outcome = self.run(workload);
            self.keep_failure([workload.name], outcome);
            if let Err(ended) = broker.check_running() {
                let names = workloads[at..].iter().map(|it| it.name);
                self.keep_failure(names, Err(ended));
                bail!("the broker has ended");
            }
        }
        Ok(())
    }

    /// Measures one workload on the broker that is attached.
    pub fn run(&mut self, workload: &Workload) -> Result<()> {
        eprintln!("{}", workload.name);
        let name = workload.name;
        match workload.work {
            Work::Produce(load) => produce::run(self, name, load),
            Work::CatchUp { of } => consume::catch_up(self, name, of),
            Work::EndToEnd { of, part } => consume::end_to_end(self, name, of, part),
            Work::Tail => consume::tail(self, name),
            Work::Overload { times } => overload::run(self, name, times),
            Work::Soak => soak::run(self, name),
            Work::ColdReader { of, part, reads } => {
                consume::beside_a_cold_reader(self, name, (of, part), reads)
            }
            Work::Commits => groups::commits(self, name),
            Work::Settle(protocol) => groups::settle(self, name, protocol),
            Work::Heartbeats(protocol) => groups::heartbeats(self, name, protocol),
            Work::BesideGroup => groups::producers_beside(self, name),
            Work::Attacked { of, part } => attacked::run(self, name, of, part),
            Work::Quiet { of, part } => quiet::run(self, name, of, part),
            Work::Compaction => compaction::run(self, name),
            Work::StartEmpty | Work::RestartMany | Work::RestartData | Work::LoadOffsets => Ok(()),
        }
        .context(name)
    }

    pub fn pace(&mut self, load: Load) -> Result<Pace> {
        Ok(match load {
            Load::InFlight(in_flight) => Pace::InFlight(in_flight),
            Load::Limit { of, part } => Pace::Rate(self.limit(of)? * part),
        })
    }

    /// Requests a second that the product whose limits count does at most in a workload. If that was not among what is
    /// wanted, it is measured now; an error for other products, whose own limit would be another rate.
    pub fn limit(&mut self, of: &'static str) -> Result<f64> {
        if self.known_limit(of).is_none() && self.has_limits() {
            self.run(workloads::by_name(of))?;
        }
        let limit = self.known_limit(of);
        limit.with_context(|| {
            let product = &self.results.limits.of;
            format!("no rate: {product} has no limit in '{of}'")
        })
    }

    pub fn known_limit(&self, of: &str) -> Option<f64> {
        let limits = &self.results.limits.requests_a_second;
        limits.get(of).copied()
    }

    /// Whether this is the product whose limits count.
    fn has_limits(&self) -> bool {
        self.results.runs[self.run_index].product == self.results.limits.of
    }

    /// Kept if it is of the product whose limits count, and the first that is measured.
    pub fn found_limit(&mut self, of: &str, requests_a_second: f64) {
        if !self.has_limits() {
            return;
        }
        let limits = &mut self.results.limits.requests_a_second;
        limits.entry(of.to_owned()).or_insert(requests_a_second);
    }

    /// Waits until the broker has come to rest and the page cache is written out.
    pub fn calm_down(&self) -> Result<()> {
        if let Some(pid) = self.target().pid {
            quieten(pid)?;
        }
        settle();
        Ok(())
    }

    /// What the broker's process keeps everything in, where it was started here.
    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// Where its logs are.
    pub fn data(&self) -> Option<PathBuf> {
        Some(self.folder()?.join(DATA))
    }

    /// Drops what the page cache has of the broker's files. False if its folder is not known.
    pub fn drop_page_cache(&self) -> Result<bool> {
        let Some(folder) = self.folder() else {
            return Ok(false);
        };
        nix::unistd::sync();
        for_each_file(folder, &mut |file| {
            posix_fadvise(file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?;
            Ok(())
        })?;
        Ok(true)
    }
}

/// Bytes that the files of a folder take on the disk.
pub fn disk_bytes(folder: &Path) -> Result<u64> {
    let mut blocks = 0;
    for_each_file(folder, &mut |file| {
        blocks += file.metadata()?.blocks();
        Ok(())
    })?;
    Ok(blocks * 512)
}

/// All files of a folder and of those in it; what is removed meanwhile is left out.
fn for_each_file(folder: &Path, visit: &mut impl FnMut(&File) -> Result<()>) -> Result<()> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Ok(());
    };
    for entry in entries {
        let entry = entry?;
        let Ok(kind) = entry.file_type() else {
            continue;
        };
        if kind.is_dir() {
            for_each_file(&entry.path(), visit)?;
        } else if kind.is_file()
            && let Ok(file) = File::open(entry.path())
        {
            visit(&file)?;
        }
    }
    Ok(())
}

/// Writes out what is dirty in the page cache, and lets the disk come to rest.
pub fn settle() {
    nix::unistd::sync();
    std::thread::sleep(Duration::from_millis(500));
}

/// Waits until a broker that got no requests has nothing left to do, at most half a minute. After the first records
/// of many partitions Kafka writes and syncs a small file for each.
pub fn quieten(pid: u32) -> Result<()> {
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

#[cfg(test)]
pub(super) mod tests {
    use super::super::results::tests::results;
    use super::workloads::SMALL_100_256;
    use super::*;

    /// Of one round of the quick suite, without products.
    pub fn settings() -> CompareSettings {
        CompareSettings {
            folder: PathBuf::new(),
            participants: Vec::new(),
            rounds: 1,
            seconds: 1,
            warm_up_seconds: 0,
            soak_minutes: 1,
            is_quick: true,
            only: Vec::new(),
            baseline: None,
            json: None,
        }
    }

    #[test]
    fn the_limit_of_another_product_is_not_used() {
        let settings = settings();
        let mut results = results(Vec::new());
        results.limits.of = "Apache Kafka".to_owned();
        let mut other = Session::new(&settings, &mut results, "Corelog", 0);
        other.found_limit(SMALL_100_256, 900.0);
        let error = other.limit(SMALL_100_256).unwrap_err().to_string();
        assert!(error.contains("Apache Kafka has no limit"), "{error}");

        let mut first = Session::new(&settings, &mut results, "Apache Kafka", 1);
        first.found_limit(SMALL_100_256, 500.0);
        let mut other = Session::new(&settings, &mut results, "Corelog", 1);
        assert_eq!(other.limit(SMALL_100_256).unwrap(), 500.0);
    }
}
