//! All that a run of the suite found, as it is kept, and its figures side by side.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::figures::{Better, Reading};
use super::spread::Spread;
use crate::machine::Machine;
use crate::metrics::Inside;

/// Raised when an older file can no longer be compared with.
const FORMAT: u32 = 1;
/// The product that states the machine's own limits, beside the brokers.
pub const BARE_LOOP: &str = "bare loop";
/// Corelog on one core, beside itself on more.
pub const ONE_CORE: &str = "Corelog, one core";
/// The one whose targets are looked at.
pub const OWN: &str = "Corelog";

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Results {
    pub format: u32,
    pub made_unix_ms: i64,
    pub machine: Machine,
    pub rounds: usize,
    pub seconds: u64,
    pub warm_up_seconds: u64,
    pub limits: Limits,
    pub runs: Vec<Run>,
}

/// Requests a second that a product did at most, by workload. Open loops run at parts of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// The product.
    pub of: String,
    pub requests_a_second: BTreeMap<String, f64>,
}

/// One product in one round.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Run {
    pub product: String,
    pub round: usize,
    pub readings: Vec<Reading>,
    /// What the broker says of itself, by workload.
    pub inside: BTreeMap<String, Inside>,
    /// Why it could not be brought to an end, by workload.
    #[serde(default)]
    pub failures: BTreeMap<String, String>,
}

/// One figure of all products.
#[derive(Debug)]
pub struct Row<'a> {
    pub workload: &'a str,
    pub quantity: &'a str,
    pub better: Better,
    /// By product, in the order of [`Results::products`].
    pub cells: Vec<Cell>,
}

/// One figure of one product.
#[derive(Debug, Default, PartialEq)]
pub struct Cell {
    /// By round; none where it was not measured.
    pub values: Vec<Option<f64>>,
    /// One of the rounds had something to say.
    pub note: Option<String>,
}

impl Cell {
    pub fn spread(&self) -> Option<Spread> {
        Spread::of(self.values.iter().copied().flatten())
    }

    /// How many times that of another product, round by round.
    pub fn ratio_to(&self, other: &Self) -> Option<Spread> {
        let pairs = self.values.iter().zip(&other.values);
        let ratios = pairs.filter_map(|(own, other)| Some((*own)? / (*other)?));
        Spread::of(ratios.filter(|ratio| ratio.is_finite()))
    }
}

impl Results {
    pub fn new(machine: Machine, rounds: usize, seconds: u64, warm_up_seconds: u64) -> Self {
        Self {
            format: FORMAT,
            made_unix_ms: corelog_loadgen::client::wall_ms(),
            machine,
            rounds,
            seconds,
            warm_up_seconds,
            limits: Limits::default(),
            runs: Vec::new(),
        }
    }

    /// As JSON.
    pub fn write(&self, file: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        fs::write(file, format!("{text}\n")).with_context(|| format!("writing {}", file.display()))
    }

    pub fn read(file: &Path) -> Result<Self> {
        let text =
            fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
        let results: Self = serde_json::from_str(&text)
            .with_context(|| format!("{} is not of a run of the suite", file.display()))?;
        ensure!(
            results.format == FORMAT,
            "{} is in format {}, and only {FORMAT} can be compared with",
            file.display(),
            results.format
        );
        Ok(results)
    }

    /// Names in the order in which they were measured, the bare loop last.
    pub fn products(&self) -> Vec<&str> {
        let mut products: Vec<&str> = Vec::new();
        for run in &self.runs {
            if !products.contains(&run.product.as_str()) {
                products.push(&run.product);
            }
        }
        products.sort_by_key(|product| *product == BARE_LOOP);
        products
    }

    /// A line for each workload of a product that failed in a round.
    pub fn failures(&self) -> Vec<String> {
        let of_run = |run: &Run| {
            let failures = run.failures.iter();
            let (product, round) = (run.product.clone(), run.round + 1);
            let line = |(workload, why)| format!("{product}, round {round}, {workload}: {why}");
            failures.map(line).collect::<Vec<_>>()
        };
        self.runs.iter().flat_map(of_run).collect()
    }

    pub fn rows(&self) -> Vec<Row<'_>> {
        let products = self.products();
        let mut rows: Vec<Row<'_>> = Vec::new();
        for run in &self.runs {
            let column = products.iter().position(|it| *it == run.product);
            let column = column.expect("all products are in the list");
            for reading in &run.readings {
                let is_same = |row: &Row<'_>| {
                    (row.workload, row.quantity) == (&reading.workload, &reading.quantity)
                };
                let at = rows.iter().position(is_same).unwrap_or_else(|| {
                    rows.push(Row {
                        workload: &reading.workload,
                        quantity: &reading.quantity,
                        better: reading.better,
                        cells: products.iter().map(|_| Cell::default()).collect(),
                    });
                    rows.len() - 1
                });
                let cell = &mut rows[at].cells[column];
                cell.values
                    .resize(cell.values.len().max(run.round + 1), None);
                cell.values[run.round] = reading.value;
                cell.note = cell.note.take().or_else(|| reading.note.clone());
            }
        }
        // Products differ in what they have, but all go through the workloads in one order.
        let mut workloads: Vec<&str> = Vec::new();
        for row in &rows {
            if !workloads.contains(&row.workload) {
                workloads.push(row.workload);
            }
        }
        rows.sort_by_key(|row| workloads.iter().position(|it| *it == row.workload));
        rows
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::figures::{P99, REQUESTS};
    use super::*;

    /// A run with these figures of workloads, requests/s if they are high, else p99 ms.
    pub fn run(product: &str, round: usize, figures: &[(&str, f64)]) -> Run {
        let readings = figures.iter().map(|(workload, value)| match value {
            100.0.. => Reading::new(workload, REQUESTS, *value),
            _ => Reading::new(workload, P99, *value),
        });
        Run {
            product: product.to_owned(),
            round,
            readings: readings.collect(),
            ..Run::default()
        }
    }

    pub fn results(runs: Vec<Run>) -> Results {
        Results {
            runs,
            ..Results::new(Machine::default(), 2, 1, 0)
        }
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        let results = results(vec![
            run("Apache Kafka", 0, &[("w", 100.0), ("l", 4.0)]),
            run(BARE_LOOP, 0, &[("w", 900.0)]),
            run("Corelog", 0, &[("w", 300.0)]),
            run("Corelog", 1, &[("w", 500.0), ("l", 1.0)]),
            run("Apache Kafka", 1, &[("w", 125.0)]),
        ]);
        assert_eq!(results.products(), ["Apache Kafka", "Corelog", BARE_LOOP]);
        let rows = results.rows();
        let [rate, latency] = rows.as_slice() else {
            panic!("{rows:?}")
        };
        let ratio = rate.cells[1].ratio_to(&rate.cells[0]).unwrap();
        assert_eq!((ratio.median, ratio.min, ratio.max), (3.5, 3.0, 4.0));
        assert_eq!(latency.cells[1].ratio_to(&latency.cells[0]), None);
        assert_eq!(latency.cells[2], Cell::default());
    }

    #[test]
    fn results_are_kept_and_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("results.json");
        let mut results = results(vec![run("Corelog", 0, &[("w", 300.0)])]);
        results.write(&file).unwrap();
        let again = Results::read(&file).unwrap();
        assert_eq!(again.runs[0].readings, results.runs[0].readings);

        results.format += 1;
        results.write(&file).unwrap();
        let error = Results::read(&file).unwrap_err().to_string();
        assert!(error.contains("format 2"), "{error}");
        assert!(Results::read(&folder.path().join("none")).is_err());
    }
}
