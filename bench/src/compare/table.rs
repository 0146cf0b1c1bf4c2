//! The figures of all products side by side: medians, ratios with their spread, and what is wanted.

use std::fmt;

use super::results::{BARE_LOOP, Cell, ONE_CORE, OWN, Results, Row};
use super::spread::Spread;
use super::targets::{Wanted, wanted};
use crate::broker::KAFKA;

/// What is wanted of a figure of Corelog, and whether it is so; none where that cannot be told.
#[derive(Debug)]
pub struct Verdict {
    pub wanted: String,
    pub is_met: Option<bool>,
}

/// As Markdown, which a terminal shows well enough.
#[derive(Debug)]
pub struct Table<'a>(pub &'a Results);

impl Results {
    /// One for each thing that is wanted of it.
    pub fn verdicts(&self, rows: &[Row<'_>], row: &Row<'_>) -> Vec<Verdict> {
        let products = self.products();
        let place = |name: &str| products.iter().position(|product| *product == name);
        let Some(own) = place(OWN) else {
            return Vec::new();
        };
        let own_of = |row: &Row<'_>| Some(row.cells[own].spread()?.median);
        let ratio_to = |name: &str| {
            let other = &row.cells[place(name)?];
            Some(row.cells[own].ratio_to(other)?.median)
        };
        let verdict = |wanted| {
            let (text, value, is_met): (_, _, fn(f64, f64) -> bool) = match wanted {
                Wanted::OfKafkaMin(times) => {
                    let ratio = ratio_to(KAFKA).map(|ratio| ratio / times);
                    (format!(">= {times} x"), ratio, |value, one| value >= one)
                }
                Wanted::OfKafkaMax(times) => {
                    let ratio = ratio_to(KAFKA).map(|ratio| ratio / times);
                    (format!("<= {times} x"), ratio, |value, one| value <= one)
                }
                Wanted::Max(max) => {
                    let part = own_of(row).map(|own| own / max);
                    (format!("<= {max}"), part, |value, one| value <= one)
                }
                Wanted::Min(min) => {
                    let part = own_of(row).map(|own| own / min);
                    (format!(">= {min}"), part, |value, one| value >= one)
                }
                Wanted::PartOfBareLoopMin(part) => {
                    let ratio = ratio_to(BARE_LOOP).map(|ratio| ratio / part);
                    let text = format!(">= {part} x bare loop");
                    (text, ratio, |value, one| value >= one)
                }
                Wanted::OfOneCoreMax(times) => {
                    let ratio = ratio_to(ONE_CORE).map(|ratio| ratio / times);
                    let text = format!("<= {times} x on one core");
                    (text, ratio, |value, one| value <= one)
                }
                Wanted::OfWorkloadMax(other, times) => {
                    let same = |it: &&Row<'_>| it.workload == other && it.quantity == row.quantity;
                    let other_value = rows.iter().find(same).and_then(own_of);
                    let ratio = own_of(row).zip(other_value);
                    let ratio = ratio.map(|(own, other)| own / other / times);
                    let text = format!("<= {times} x '{other}'");
                    (text, ratio, |value, one| value <= one)
                }
            };
            Verdict {
                wanted: text,
                is_met: value.map(|value| is_met(value, 1.0)),
            }
        };
        wanted(row.workload, row.quantity).map(verdict).collect()
    }
}

impl fmt::Display for Table<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self.0.rows();
        let head = self.head();
        let mut workload = "";
        for row in &rows {
            if row.workload != workload {
                workload = row.workload;
                let same = rows.iter().filter(|row| row.workload == workload);
                let mut lines = vec![head.clone()];
                lines.extend(same.map(|row| self.line(&rows, row)));
                writeln!(out, "\n## {workload}\n")?;
                aligned(out, &lines)?;
            }
        }
        for failure in self.0.failures() {
            writeln!(out, "\nFAILED: {failure}")?;
        }
        Ok(())
    }
}

impl Table<'_> {
    /// What is in the columns of a line.
    pub fn head(&self) -> Vec<String> {
        let products = self.0.products();
        let mut head = vec!["figure".to_owned()];
        for (at, product) in products.iter().enumerate() {
            head.push((*product).to_owned());
            if at > 0 {
                head.push(format!("/ {} (min..max)", products[0]));
            }
        }
        head.extend(["wanted".to_owned(), "remarks".to_owned()]);
        head
    }

    /// One figure of all products.
    pub fn line(&self, rows: &[Row<'_>], row: &Row<'_>) -> Vec<String> {
        let mut line = vec![row.quantity.to_owned()];
        for (at, cell) in row.cells.iter().enumerate() {
            line.push(cell.spread().map(|it| shown(it.median)).unwrap_or_default());
            if at > 0 {
                let ratio = cell.ratio_to(&row.cells[0]);
                line.push(ratio.map(with_ends).unwrap_or_default());
            }
        }
        let verdicts = self.0.verdicts(rows, row).into_iter().map(|verdict| {
            let met = verdict
                .is_met
                .map(|met| if met { ": met" } else { ": MISSED" });
            format!("{}{}", verdict.wanted, met.unwrap_or_default())
        });
        line.push(verdicts.collect::<Vec<_>>().join(", "));
        let products = self.0.products();
        let notes = products.iter().zip(&row.cells).filter_map(note);
        line.push(notes.collect::<Vec<_>>().join("; "));
        line
    }
}

fn note((product, cell): (&&str, &Cell)) -> Option<String> {
    Some(format!("{product}: {}", cell.note.as_ref()?))
}

/// The median, and between which values it lies.
pub fn with_ends(spread: Spread) -> String {
    let Spread {
        median, min, max, ..
    } = spread;
    match min < max {
        true => format!("{median:.2} ({min:.2}..{max:.2})"),
        false => format!("{median:.2}"),
    }
}

fn aligned(out: &mut fmt::Formatter<'_>, lines: &[Vec<String>]) -> fmt::Result {
    let columns = lines[0].len();
    let width = |column: usize| {
        let cells = lines.iter().map(|line| line[column].chars().count());
        cells.max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for (index, line) in lines.iter().enumerate() {
        for (cell, width) in line.iter().zip(&widths) {
            write!(out, "| {cell:width$} ")?;
        }
        writeln!(out, "|")?;
        if index == 0 {
            let dashes = widths.iter().map(|width| "-".repeat(width + 2));
            writeln!(out, "|{}|", dashes.collect::<Vec<_>>().join("|"))?;
        }
    }
    Ok(())
}

/// Three digits, or whole numbers where there are more.
pub fn shown(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::results::tests::{results, run};
    use super::super::workloads::{HALF_10, HALF_1000, LARGE_100, SMALL_100_16, SMALL_HALF};
    use super::*;
    use crate::compare::figures::{MEGABYTES, Reading};

    #[test]
    fn medians_ratios_and_verdicts_are_in_the_table() {
        let mut bare = run(BARE_LOOP, 0, &[]);
        bare.readings
            .push(Reading::new(LARGE_100, MEGABYTES, 1000.0));
        let mut own = run(OWN, 0, &[(SMALL_100_16, 2500.0), (SMALL_HALF, 2.0)]);
        own.readings.push(Reading::new(LARGE_100, MEGABYTES, 600.0));
        let results = results(vec![
            run(
                "Apache Kafka",
                0,
                &[(SMALL_100_16, 1000.0), (SMALL_HALF, 10.0)],
            ),
            own,
            bare,
            run("Apache Kafka", 1, &[(SMALL_100_16, 1000.0)]),
            run(
                OWN,
                1,
                &[(SMALL_100_16, 3700.0), (HALF_10, 1.0), (HALF_1000, 1.4)],
            ),
        ]);
        let text = Table(&results).to_string();
        let line = |start: &str, at: usize| {
            let mut lines = text.lines().filter(|line| line.starts_with(start));
            lines.nth(at).unwrap_or_else(|| panic!("{text}"))
        };
        assert!(
            line("| requests/s", 0).contains("3.10 (2.50..3.70)"),
            "{text}"
        );
        assert!(line("| requests/s", 0).contains(">= 3 x: met"), "{text}");
        assert!(line("| p99 ms", 0).contains("<= 0.3 x: met"), "{text}");
        let megabytes = line("| MB/s", 0);
        assert!(
            megabytes.contains(">= 3 x, >= 0.7 x bare loop: MISSED"),
            "{text}"
        );
        assert!(line("| p99 ms", 2).contains("MISSED"), "{text}");
    }

    #[test]
    fn targets_against_kafka_are_not_judged_against_another_product() {
        let figures = |rate| [(SMALL_100_16, rate)];
        let judged = |first: &str| {
            let results = results(vec![
                run(first, 0, &figures(1000.0)),
                run(OWN, 0, &figures(5000.0)),
            ]);
            let rows = results.rows();
            results.verdicts(&rows, &rows[0])[0].is_met
        };
        assert_eq!(judged("Apache Kafka"), Some(true));
        assert_eq!(judged("127.0.0.1:9092"), None);
    }
}
