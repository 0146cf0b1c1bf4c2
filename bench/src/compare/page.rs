//! The results as one HTML page: ratios as bars with their spread, where Corelog's requests spend their time, and all
//! figures. Nothing is loaded from elsewhere, and there is no script.

use std::fmt::Write;

use super::baseline::{Change, differences};
use super::results::{OWN, Results, Row};
use super::table::{Table, shown, with_ends};
use crate::metrics::{self, Stage};
use corelog_loadgen::report::html::{Page, escape};

const WIDTH: f64 = 760.0;
const LINE: f64 = 22.0;
const NAMES: f64 = 300.0;
const VALUES: f64 = 120.0;
/// Ratios are drawn between a fiftieth and fifty times.
const RATIO_MAX: f64 = 50.0;
/// Figures whose ratios are drawn; the others are in the tables.
const DRAWN: [&str; 6] = [
    "requests/s",
    "MB/s",
    "p99 ms",
    "end-to-end p99 ms",
    "CPU s/GB in",
    "CPU s/GB out",
];

/// The page of a run, beside an earlier one if there is one.
pub fn page(results: &Results, earlier: Option<(&Results, &[Change])>) -> String {
    let products = results.products();
    let mut page = Page::begin(&format!("Side by side: {}", products.join(", ")));
    page.paragraph(&results.machine.to_string());
    page.paragraph(&format!(
        "{} rounds, {} s a figure behind {} s of warm-up. Rates are parts of the limit of {}.",
        results.rounds, results.seconds, results.warm_up_seconds, results.limits.of
    ));
    if let Some((earlier, changes)) = earlier {
        page.heading("Changed beyond the noise of both runs");
        if let Some(differences) = differences(earlier, results) {
            page.paragraph(&differences);
        }
        let lines: Vec<Vec<String>> = changes.iter().map(|it| vec![it.to_string()]).collect();
        page.table("", &["change"], &lines);
    }
    let failures = results.failures();
    if !failures.is_empty() {
        page.heading("Failed");
        let lines: Vec<Vec<String>> = failures.into_iter().map(|it| vec![it]).collect();
        page.table("", &["workload, and why"], &lines);
    }
    let rows = results.rows();
    for quantity in DRAWN {
        if let Some(svg) = ratio_bars(&products, &rows, quantity) {
            page.heading(&format!("{quantity}, as ratios to {}", products[0]));
            page.figure(&svg, "Bars are medians, lines go from the lowest to the highest round. The scale is logarithmic.");
        }
    }
    let mut runs = vec![("this run", results)];
    runs.extend(earlier.map(|(earlier, _)| ("earlier run", earlier)));
    stages(&mut page, &runs);
    for workload in workloads(&rows) {
        page.heading(workload);
        figures(&mut page, results, &rows, workload);
    }
    page.end()
}

fn workloads<'a>(rows: &[Row<'a>]) -> Vec<&'a str> {
    let mut workloads: Vec<&str> = rows.iter().map(|row| row.workload).collect();
    workloads.dedup();
    workloads
}

fn figures(page: &mut Page, results: &Results, rows: &[Row<'_>], workload: &str) {
    let table = Table(results);
    let of_workload = rows.iter().filter(|row| row.workload == workload);
    let lines: Vec<_> = of_workload.map(|row| table.line(rows, row)).collect();
    let head = table.head();
    let columns: Vec<&str> = head.iter().map(String::as_str).collect();
    page.table("", &columns, &lines);
}

/// One bar for each workload and each product behind the first. None if no two products have the figure.
fn ratio_bars(products: &[&str], rows: &[Row<'_>], quantity: &str) -> Option<String> {
    let mut bars = Vec::new();
    for row in rows.iter().filter(|row| row.quantity == quantity) {
        for (at, cell) in row.cells.iter().enumerate().skip(1) {
            if let Some(ratio) = cell.ratio_to(&row.cells[0]) {
                bars.push((format!("{} ({})", row.workload, products[at]), at, ratio));
            }
        }
    }
    if bars.is_empty() {
        return None;
    }
    let place = |ratio: f64| {
        let part = ratio.clamp(1.0 / RATIO_MAX, RATIO_MAX).ln() / RATIO_MAX.ln();
        NAMES + (part + 1.0) / 2.0 * (WIDTH - NAMES - VALUES)
    };
    let height = LINE * (bars.len() + 1) as f64;
    let one = place(1.0);
    let mut svg = begin(height, &format!("{quantity}: ratios to {}", products[0]));
    let _ = writeln!(
        svg,
        "<path class=\"frame\" d=\"M{one:.1} 0V{height}\"/>\n<text x=\"{one:.1}\" y=\"{:.1}\" text-anchor=\"middle\">1</text>",
        height - 6.0
    );
    for (line, (name, at, ratio)) in bars.iter().enumerate() {
        let (top, end) = (line as f64 * LINE, place(ratio.median));
        let middle = top + LINE / 2.0;
        label(&mut svg, top, name, &with_ends(*ratio));
        let (from, to) = (place(ratio.min), place(ratio.max));
        let _ = writeln!(
            svg,
            "<path class=\"line c{}\" stroke-width=\"10\" style=\"stroke-width:10;stroke-linecap:butt\" d=\"M{one:.1} {middle:.1}H{end:.1}\"/>\n\
             <path class=\"frame\" d=\"M{from:.1} {middle:.1}H{to:.1}M{from:.1} {:.1}v8M{to:.1} {:.1}v8\"/>",
            at - 1,
            middle - 4.0,
            middle - 4.0,
        );
    }
    svg.push_str("</svg>\n");
    Some(svg)
}

/// Means of all stages of Corelog's requests, workload by workload, in all runs, each over all its rounds.
fn stages(page: &mut Page, runs: &[(&str, &Results)]) {
    let rows = runs[0].1.rows();
    for workload in workloads(&rows) {
        let of_run = |results: &Results| {
            let rounds = results.runs.iter().filter(|run| run.product == OWN);
            metrics::stages_of_all(rounds.filter_map(|run| run.inside.get(workload)))
        };
        let of_runs: Vec<(&str, Vec<Stage>)> = runs
            .iter()
            .map(|(name, results)| (*name, of_run(results)))
            .collect();
        let all: Vec<(&str, &Stage)> = of_runs
            .iter()
            .flat_map(|(name, stages)| stages.iter().map(|stage| (*name, stage)))
            .collect();
        if all.is_empty() {
            continue;
        }
        page.heading(&format!("Where requests spend their time: {workload}"));
        page.figure(&stage_bars(runs, &all), "Bars are means over all rounds.");
        let lines: Vec<Vec<String>> = all
            .iter()
            .map(|(name, stage)| {
                let (mean, p99) = (shown(stage.mean_us), shown(stage.p99_us));
                let step = format!("{} {}", stage.api, stage.stage);
                vec![step, (*name).to_owned(), stage.count.to_string(), mean, p99]
            })
            .collect();
        page.table(
            "",
            &["stage", "run", "count", "mean, us", "p99, us, at most"],
            &lines,
        );
    }
}

fn stage_bars(runs: &[(&str, &Results)], stages: &[(&str, &Stage)]) -> String {
    let most = stages
        .iter()
        .map(|(_, stage)| stage.mean_us)
        .fold(0.0, f64::max);
    let height = LINE * stages.len() as f64;
    let mut svg = begin(height, "Mean of each stage in microseconds");
    for (line, (name, stage)) in stages.iter().enumerate() {
        let top = line as f64 * LINE;
        let run = runs.iter().position(|run| run.0 == *name).unwrap_or(0);
        let width = stage.mean_us / most * (WIDTH - NAMES - VALUES);
        let text = format!("{} {} ({name})", stage.api, stage.stage);
        label(
            &mut svg,
            top,
            &text,
            &format!("{} us", shown(stage.mean_us)),
        );
        let _ = writeln!(
            svg,
            "<path class=\"line c{run}\" style=\"stroke-width:10;stroke-linecap:butt\" d=\"M{NAMES} {:.1}h{width:.1}\"/>",
            top + LINE / 2.0
        );
    }
    svg.push_str("</svg>\n");
    svg
}

fn begin(height: f64, title: &str) -> String {
    format!(
        "<svg role=\"img\" viewBox=\"0 0 {WIDTH} {height}\">\n<title>{}</title>\n",
        escape(title)
    )
}

fn label(svg: &mut String, top: f64, name: &str, value: &str) {
    let base = top + LINE / 2.0 + 4.0;
    let _ = writeln!(
        svg,
        "<text x=\"0\" y=\"{base:.1}\">{}</text>\n<text x=\"{WIDTH}\" y=\"{base:.1}\" text-anchor=\"end\">{}</text>",
        escape(name),
        escape(value)
    );
}

#[cfg(test)]
mod tests {
    use super::super::results::tests::{results, run};
    use super::*;
    use crate::metrics::Inside;

    #[test]
    fn the_page_draws_ratios_and_stages_and_says_what_changed() {
        let own = |round, count, mean_us| {
            let mut own = run(OWN, round, &[("rate", 3000.0), ("late", 2.0)]);
            let stage = Stage {
                api: "Produce".to_owned(),
                stage: "write".to_owned(),
                count,
                mean_us,
                p99_us: 4.0 * mean_us,
            };
            let inside = Inside {
                stages: vec![stage],
                ..Inside::default()
            };
            own.inside.insert("rate".to_owned(), inside);
            own
        };
        let kafka = run("Apache <Kafka>", 0, &[("rate", 1000.0), ("late", 10.0)]);
        let now = results(vec![kafka, own(0, 700, 120.0), own(1, 100, 600.0)]);
        let text = page(&now, Some((&now, &[])));
        assert_eq!(text.matches("<svg").count(), text.matches("</svg>").count());
        assert_eq!(
            text.matches("<svg").count(),
            3,
            "two kinds of ratios, one of stages"
        );
        assert!(text.contains("Apache &lt;Kafka&gt;") && !text.contains("<Kafka>"));
        for part in [
            "3.00",
            "0.20",
            "Produce write (this run)",
            "Produce write (earlier run)",
            // Of both rounds: all of them, their mean, and no less than their p99.
            "800",
            "180",
            "2400",
        ] {
            assert!(text.contains(part), "{part}");
        }
        assert!(!text.contains("http"), "nothing is loaded from elsewhere");
    }
}
