//! The report as one HTML page: plots drawn in it, nothing loaded from elsewhere, no script.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::figures::Figures;
use super::plots::{Picture, Run, pictures};
pub use super::svg::escape;
use super::{format, table, workload};
use crate::measure::Level;

const STYLE: &str = "\
:root { color-scheme: light dark; --back: #fff; --text: #1b1f24; --faint: #59636e; --grid: #dde1e6; --shade: #f0f2f4;
  --c0: #0067a5; --c1: #b84c00; --c2: #00785a; --c3: #a34a83; --c4: #6b5b00;
  --good: #12663c; --fair: #8a5a00; --bad: #b3261e; }
@media (prefers-color-scheme: dark) {
  :root { --back: #14171a; --text: #e6e9ec; --faint: #a3adb8; --grid: #343a41; --shade: #1f2429;
    --c0: #6cb8f0; --c1: #f2a14a; --c2: #45cfa3; --c3: #e79cca; --c4: #d9c84f;
    --good: #5fd39a; --fair: #f0b95b; --bad: #ff8a80; }
}
body { margin: 0 auto; max-width: 62rem; padding: 1.5rem 1rem 4rem; background: var(--back); color: var(--text);
  font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .3rem; } h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; }
p.when, figcaption { color: var(--faint); }
.kept, .passed { color: var(--good); } .disturbed { color: var(--fair); } .limit, .failed { color: var(--bad); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .8rem; border-bottom: 1px solid var(--grid); text-align: right; vertical-align: top; }
th:first-child, td:first-child, table.facts td { text-align: left; }
caption { text-align: left; color: var(--faint); }
figure { margin: 1rem 0 2rem; } svg { width: 100%; height: auto; }
svg text { font-size: 12px; fill: var(--text); } svg text.small { font-size: 11px; fill: var(--faint); }
.grid { stroke: var(--grid); fill: none; } .frame { stroke: var(--faint); fill: none; }
.shade { fill: var(--shade); }
.line { fill: none; stroke-width: 1.8; stroke-linejoin: round; stroke-linecap: round; }
.c0 { stroke: var(--c0); } .c1 { stroke: var(--c1); } .c2 { stroke: var(--c2); } .c3 { stroke: var(--c3); }
.c4 { stroke: var(--c4); }
.d1 { stroke-dasharray: 7 4; } .d2 { stroke-dasharray: 2 4; } .d3 { stroke-dasharray: 9 4 2 4; }
";

/// The page of one run.
pub fn page(figures: &Figures) -> String {
    let run = Run { name: "", figures };
    let title = format!("Load on a broker: {}", figures.name());
    let mut page = Page::begin(&title);
    page.when(figures);
    page.verdict(figures);
    page.heading("Throughput and latency");
    page.flows(&[run]);
    page.latencies(&[run]);
    page.plots(&[run]);
    page.run_details(figures);
    page.end()
}

/// Two runs over each other, under the names that they are to have.
pub fn comparison(one: (&str, &Figures), other: (&str, &Figures)) -> String {
    let runs = [one, other].map(|(name, figures)| Run { name, figures });
    let title = format!("{} and {}: {}", one.0, other.0, one.1.name());
    let mut page = Page::begin(&title);
    page.heading("Both runs");
    page.ratios(runs);
    page.plots(&runs);
    for run in runs {
        page.heading(run.name);
        page.when(run.figures);
        page.verdict(run.figures);
        page.run_details(run.figures);
    }
    page.end()
}

/// A page that is being written.
/// A page as it grows.
#[derive(Debug)]
pub struct Page(String);

impl Page {
    /// With its title, which is its first heading.
    pub fn begin(title: &str) -> Self {
        let title = escape(title);
        Self(format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
             <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n"
        ))
    }

    /// The whole page.
    pub fn end(mut self) -> String {
        self.0.push_str("</main>\n</body>\n</html>\n");
        self.0
    }

    /// Of a section.
    pub fn heading(&mut self, text: &str) {
        let _ = writeln!(self.0, "<h2>{}</h2>", escape(text));
    }

    fn when(&mut self, figures: &Figures) {
        let cut_short = match figures.is_cut_short() {
            true => format!(" of {:.1} s planned (ended early)", figures.planned_s),
            false => String::new(),
        };
        let _ = writeln!(
            self.0,
            "<p class=\"when\">{}. {:.1} s measured{cut_short} after {:.1} s of warm-up; corelog-loadgen {}.</p>",
            utc(figures.started_unix_ms),
            figures.measured_s,
            figures.warm_up_s,
            escape(&figures.generator),
        );
    }

    fn verdict(&mut self, figures: &Figures) {
        let (class, word) = match figures.verdict.level {
            Level::Kept => ("kept", "The generator kept up."),
            Level::Disturbed => ("disturbed", "The generator was disturbed."),
            Level::Limit => ("limit", "The generator was the limit."),
        };
        let text = escape(&figures.verdict.to_string());
        let _ = writeln!(
            self.0,
            "<p><strong class=\"{class}\">{word}</strong> {text}</p>"
        );
        if let Some(verification) = &figures.verification {
            let class = if verification.is_clean() {
                "passed"
            } else {
                "failed"
            };
            let text = escape(&table::verification_line(verification));
            let _ = writeln!(
                self.0,
                "<p>Verification <strong class=\"{class}\">{text}</strong></p>"
            );
        }
    }

    fn flows(&mut self, runs: &[Run<'_>]) {
        let mut rows = Vec::new();
        for (name, flow) in runs.iter().flat_map(|run| table::flows(run.figures)) {
            let megabytes = match flow.bytes {
                0 => "-".to_owned(),
                _ => format::millions(flow.bytes_per_s),
            };
            let (rate, records) = (
                format::rate(flow.records_per_s),
                format::count(flow.records),
            );
            rows.push(vec![name.to_owned(), rate, megabytes, records]);
        }
        self.table("", &["throughput", "records/s", "MB/s", "records"], &rows);
    }

    fn latencies(&mut self, runs: &[Run<'_>]) {
        let mut rows = Vec::new();
        for (name, latency) in runs.iter().flat_map(|run| table::latencies(run.figures)) {
            let mut row = vec![name.to_owned()];
            row.extend(table::columns(latency));
            rows.push(row);
        }
        let columns = ["latency, ms", "p50", "p90", "p99", "p99.9", "p99.99", "max"];
        self.table("", &columns, &rows);
    }

    /// Each figure of both runs, and by how much the second one's is that of the first.
    fn ratios(&mut self, [one, other]: [Run<'_>; 2]) {
        type Figure = (&'static str, fn(&Figures) -> f64, fn(f64) -> String);
        let ms: fn(f64) -> String = |ns| format::ms(ns as u64);
        let all: [Figure; 12] = [
            (
                "produced, records/s",
                |f| f.produced.records_per_s,
                format::rate,
            ),
            (
                "produced, MB/s",
                |f| f.produced.bytes_per_s,
                format::millions,
            ),
            (
                "consumed, records/s",
                |f| f.consumed.records_per_s,
                format::rate,
            ),
            (
                "consumed, MB/s",
                |f| f.consumed.bytes_per_s,
                format::millions,
            ),
            ("produce p50, ms", |f| f.produce_latency_ns.p50 as f64, ms),
            ("produce p99, ms", |f| f.produce_latency_ns.p99 as f64, ms),
            (
                "produce p99.9, ms",
                |f| f.produce_latency_ns.p999 as f64,
                ms,
            ),
            ("produce max, ms", |f| f.produce_latency_ns.max as f64, ms),
            (
                "end-to-end p50, ms",
                |f| f.end_to_end_latency_ns.p50 as f64,
                ms,
            ),
            (
                "end-to-end p99, ms",
                |f| f.end_to_end_latency_ns.p99 as f64,
                ms,
            ),
            (
                "end-to-end p99.9, ms",
                |f| f.end_to_end_latency_ns.p999 as f64,
                ms,
            ),
            (
                "end-to-end max, ms",
                |f| f.end_to_end_latency_ns.max as f64,
                ms,
            ),
        ];
        let mut rows = Vec::new();
        for (name, value, text) in all {
            let (first, second) = (value(one.figures), value(other.figures));
            let ratio = match first > 0.0 && second > 0.0 {
                true => format!("{:.2}", second / first),
                false => "-".to_owned(),
            };
            rows.push(vec![name.to_owned(), text(first), text(second), ratio]);
        }
        let ratio = format!("{} / {}", other.name, one.name);
        self.table("", &["figure", one.name, other.name, &ratio], &rows);
    }

    fn plots(&mut self, runs: &[Run<'_>]) {
        for picture in pictures(runs) {
            self.picture(&picture);
        }
    }

    /// A plot, and its table behind a fold.
    pub(super) fn picture(&mut self, picture: &Picture) {
        let Picture {
            plot,
            columns,
            rows,
        } = picture;
        self.heading(plot.title);
        let _ = write!(
            self.0,
            "<figure>\n{}<figcaption>{}</figcaption>\n<details>\n<summary>As a table</summary>\n",
            plot.svg(),
            escape(&plot.description)
        );
        let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
        self.table(plot.title, &columns, rows);
        self.0.push_str("</details>\n</figure>\n");
    }

    /// A drawing, which is an SVG element, with what it says.
    pub fn figure(&mut self, svg: &str, caption: &str) {
        let caption = escape(caption);
        let _ = writeln!(
            self.0,
            "<figure>\n{svg}<figcaption>{caption}</figcaption>\n</figure>"
        );
    }

    /// Plain text.
    pub fn paragraph(&mut self, text: &str) {
        let _ = writeln!(self.0, "<p>{}</p>", escape(text));
    }

    /// What was run, by names with units.
    pub(super) fn workload(&mut self, values: &BTreeMap<String, serde_json::Value>) {
        let rows: Vec<_> = values
            .iter()
            .map(|(name, value)| vec![name.clone(), workload::text(value)])
            .collect();
        self.facts(&rows);
    }

    /// What is no plot: records' fate, errors, workload, machines, threads.
    fn run_details(&mut self, figures: &Figures) {
        self.heading("Records and errors");
        let facts = table::facts(figures)
            .into_iter()
            .filter(|(name, _)| *name != "verdict");
        let rows: Vec<_> = facts
            .map(|(name, value)| vec![name.to_owned(), value])
            .collect();
        self.facts(&rows);

        self.heading("Workload");
        self.workload(&figures.workload);

        self.heading("Machines of the generator");
        let rows: Vec<Vec<String>> = figures
            .hosts
            .iter()
            .map(|host| {
                let gigabytes = format::digits(host.memory_bytes as f64 / 1e9);
                let cores = format!("{} ({} usable)", host.cores, host.cores_usable);
                let (name, kernel) = (host.name.clone(), host.kernel.clone());
                vec![name, host.cpu_model.clone(), cores, gigabytes, kernel]
            })
            .collect();
        self.table(
            "",
            &["name", "processor", "cores", "memory, GB", "kernel"],
            &rows,
        );

        let rows: Vec<Vec<String>> = figures
            .threads
            .iter()
            .map(|thread| {
                let full = format!("{} of {} s", thread.full_seconds, thread.seconds);
                let (ran, waited) = (thread.ran_share, thread.waited_share);
                vec![
                    thread.name.clone(),
                    format::percent(ran),
                    format::percent(waited),
                    format::rate(thread.wake_ups_per_s),
                    full,
                ]
            })
            .collect();
        self.table(
            "",
            &[
                "thread",
                "ran",
                "waited for a core",
                "wake-ups/s",
                "full core",
            ],
            &rows,
        );
    }

    pub(super) fn facts(&mut self, rows: &[Vec<String>]) {
        self.0
            .push_str("<div class=\"wide\"><table class=\"facts\">\n<tbody>\n");
        for row in rows {
            let _ = write!(self.0, "<tr><th scope=\"row\">{}</th>", escape(&row[0]));
            for cell in &row[1..] {
                let _ = write!(self.0, "<td>{}</td>", escape(cell));
            }
            self.0.push_str("</tr>\n");
        }
        self.0.push_str("</tbody>\n</table></div>\n");
    }

    /// Nothing if there are no rows.
    pub fn table(&mut self, caption: &str, columns: &[&str], rows: &[Vec<String>]) {
        if rows.is_empty() {
            return;
        }
        self.0.push_str("<div class=\"wide\"><table>\n");
        if !caption.is_empty() {
            let _ = writeln!(self.0, "<caption>{}</caption>", escape(caption));
        }
        self.0.push_str("<thead>\n<tr>");
        for column in columns {
            let _ = write!(self.0, "<th scope=\"col\">{}</th>", escape(column));
        }
        self.0.push_str("</tr>\n</thead>\n<tbody>\n");
        for row in rows {
            self.0.push_str("<tr>");
            for cell in row {
                let _ = write!(self.0, "<td>{}</td>", escape(cell));
            }
            self.0.push_str("</tr>\n");
        }
        self.0.push_str("</tbody>\n</table></div>\n");
    }
}

/// Milliseconds since 1970 as a date and a time.
fn utc(unix_ms: u64) -> String {
    let (days, seconds) = (unix_ms / 86_400_000, unix_ms / 1000 % 86_400);
    // From days to a date in the calendar of years that begin in March, whose leap day is their last.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

#[cfg(test)]
mod tests {
    use super::utc;

    #[test]
    fn dates_are_of_the_calendar() {
        for (unix_ms, date) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_400_000, "2000-02-29 00:00:00 UTC"),
            (951_868_799_999, "2000-02-29 23:59:59 UTC"),
            (951_868_800_000, "2000-03-01 00:00:00 UTC"),
            (1_767_225_599_000, "2025-12-31 23:59:59 UTC"),
            (1_767_225_600_000, "2026-01-01 00:00:00 UTC"),
        ] {
            assert_eq!(utc(unix_ms), date);
        }
    }
}
