//! A run against an earlier one: what changed by more than the noise of both.

use std::fmt;

use serde::Serialize;

use super::figures::Better;
use super::results::Results;
use super::spread::Spread;

/// A figure that is not what it was.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    pub product: String,
    pub workload: String,
    pub quantity: String,
    pub is_worse: bool,
    pub before: Spread,
    pub now: Spread,
}

/// All changes, the worse ones first. Figures that only one of both has are none.
pub fn changes(before: &Results, now: &Results) -> Vec<Change> {
    let (old_products, products) = (before.products(), now.products());
    let old_rows = before.rows();
    let mut changes = Vec::new();
    for row in now.rows() {
        let same = old_rows
            .iter()
            .find(|old| (old.workload, old.quantity) == (row.workload, row.quantity));
        let Some(old) = same.filter(|_| row.better != Better::Neither) else {
            continue;
        };
        for (product, cell) in products.iter().zip(&row.cells) {
            let old_cell = old_products.iter().position(|it| it == product);
            let old_spread = old_cell.and_then(|at| old.cells[at].spread());
            let Some((before, now)) = old_spread.zip(cell.spread()) else {
                continue;
            };
            if now.is_apart_from(&before) {
                let is_more = now.median > before.median;
                changes.push(Change {
                    product: (*product).to_owned(),
                    workload: row.workload.to_owned(),
                    quantity: row.quantity.to_owned(),
                    is_worse: is_more == (row.better == Better::Less),
                    before,
                    now,
                });
            }
        }
    }
    changes.sort_by_key(|change| !change.is_worse);
    changes
}

/// A sentence on what else differs between two runs, which changes may come from; none if nothing does.
pub fn differences(before: &Results, now: &Results) -> Option<String> {
    let host = |results: &Results| {
        let host = &results.machine.host;
        (host.cpu_model.clone(), host.cores, host.memory_bytes)
    };
    let disk = |results: &Results| {
        let machine = &results.machine;
        (machine.disk.clone(), machine.file_system.clone())
    };
    let durations = |results: &Results| (results.seconds, results.warm_up_seconds);
    let differing = [
        ("machine", host(before) != host(now)),
        ("disk", disk(before) != disk(now)),
        ("durations", durations(before) != durations(now)),
    ];
    let names = differing.iter().filter(|(_, differs)| *differs);
    let names: Vec<&str> = names.map(|(name, _)| *name).collect();
    (!names.is_empty()).then(|| {
        format!(
            "The baseline is of another kind ({} differ), which changes may come from.",
            names.join(", ")
        )
    })
}

impl fmt::Display for Change {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.is_worse {
            true => "REGRESSION",
            false => "better",
        };
        let shown = super::table::shown;
        write!(
            out,
            "{word}: {}, {}: {} was {} ({} to {}), is {} ({} to {})",
            self.product,
            self.workload,
            self.quantity,
            shown(self.before.median),
            shown(self.before.min),
            shown(self.before.max),
            shown(self.now.median),
            shown(self.now.min),
            shown(self.now.max),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::results::tests::{results, run};
    use super::*;

    #[test]
    fn regressions_beyond_the_noise_are_named_and_others_are_not() {
        let before = results(vec![
            run(
                "Corelog",
                0,
                &[("rate", 1150.0), ("late", 2.0), ("gone", 500.0)],
            ),
            run("Corelog", 1, &[("rate", 1200.0), ("late", 2.2)]),
        ]);
        let now = results(vec![
            run(
                "Corelog",
                0,
                &[("rate", 800.0), ("late", 1.0), ("new", 300.0)],
            ),
            run("Corelog", 1, &[("rate", 850.0), ("late", 1.1)]),
        ]);
        let found = changes(&before, &now);
        let [worse, better] = found.as_slice() else {
            panic!("{found:?}")
        };
        assert!(worse.is_worse && worse.workload == "rate", "{worse}");
        assert!(!better.is_worse && better.workload == "late", "{better}");
        assert_eq!(
            worse.to_string(),
            "REGRESSION: Corelog, rate: requests/s was 1175 (1150 to 1200), is 825 (800 to 850)"
        );
        assert_eq!(changes(&before, &before), []);
    }

    #[test]
    fn a_baseline_of_another_kind_is_told() {
        let before = results(Vec::new());
        assert_eq!(differences(&before, &before), None);
        let mut now = before.clone();
        now.machine.disk = "another".to_owned();
        now.seconds += 1;
        let text = differences(&before, &now).unwrap();
        assert!(text.contains("(disk, durations differ)"), "{text}");
    }
}
