//! The outcome of a search for the limit, for people.

use std::fmt::Write;

use super::format;
use super::html::Page;
use super::plots::Picture;
use super::svg::{Axis, Line, Plot};
use crate::limit::{Curve, Point, Rate, Step};

const COLUMNS: [&str; 8] = [
    "records/s",
    "MB/s",
    "p50",
    "p99",
    "p99.9",
    "max",
    "e2e p99",
    "promise",
];

/// As text: what was found, and the curve.
pub fn table(curve: &Curve) -> String {
    let mut text = String::new();
    for sentence in &curve.text {
        let _ = writeln!(text, "{sentence}");
    }
    text.push('\n');
    let mut row = |cells: &[String]| {
        let cells = cells.iter().map(|cell| format!("{cell:>12}"));
        let _ = writeln!(text, "{}", cells.collect::<String>());
    };
    row(&COLUMNS.map(str::to_owned));
    curve.points.iter().for_each(|point| row(&cells(point)));
    text.push_str("\nLatencies in ms, from due to acknowledged; e2e: to the consumer's hands.\n");
    text
}

/// A step as a line of progress.
pub fn step_line(number: usize, step: &Step) -> String {
    let purpose = format!("{:?}", step.purpose).to_lowercase();
    let outcome = match step.kept {
        true => "kept".to_owned(),
        false => format!("not kept: {}", step.why.join(", ")),
    };
    let by_generator = match step.is_by_generator() {
        true => " (the generator was the limit)",
        false => "",
    };
    format!(
        "step {number}  {purpose}  {} records/s  p50 {}  p99 {}  {outcome}{by_generator}",
        format::rate(step.records_per_s),
        format::time(step.produce_latency_ns.p50 as f64),
        format::time(step.produce_latency_ns.p99 as f64),
    )
}

/// As one page that needs no network.
pub fn page(curve: &Curve) -> String {
    let mut page = Page::begin(&format!("The limit under {}", curve.promise));
    for sentence in &curve.text {
        page.paragraph(sentence);
    }
    page.picture(&picture(curve));
    page.heading("Steps");
    let rows: Vec<Vec<String>> = curve.steps.iter().enumerate().map(step_cells).collect();
    let columns = [
        "step",
        "purpose",
        "records/s",
        "produced",
        "p50, ms",
        "p99, ms",
        "outcome",
    ];
    page.table("", &columns, &rows);
    page.heading("Measured on");
    let node = &curve.node;
    let known = |number: f64, unit: &str| match number {
        0.0 => "not told".to_owned(),
        number => format!("{}{unit}", format::digits(number)),
    };
    let said = |text: &str| match text {
        "" => "not told".to_owned(),
        text => text.to_owned(),
    };
    page.facts(&[
        vec!["brokers".into(), format::digits(node.count)],
        vec!["cores of each".into(), known(node.cores, "")],
        vec![
            "memory of each".into(),
            known(node.memory_bytes / 1e9, " GB"),
        ],
        vec!["disk of each".into(), said(&node.disk)],
        vec!["network of each".into(), said(&node.network)],
        vec![
            "replication factor".into(),
            format::digits(curve.load.replication_factor),
        ],
    ]);
    page.heading("Workload");
    page.workload(&curve.workload);
    page.end()
}

fn cells(point: &Point) -> Vec<String> {
    let latency = point.produce_latency_ns;
    let end_to_end = match point.end_to_end_latency_ns.count {
        0 => "-".to_owned(),
        _ => format::ms(point.end_to_end_latency_ns.p99),
    };
    let promise = match (point.kept, point.by_generator) {
        (true, _) => "kept",
        (false, true) => "generator",
        (false, false) => "broken",
    };
    vec![
        format::rate(point.rate.records_per_s),
        format::millions(point.rate.bytes_per_s),
        format::ms(latency.p50),
        format::ms(latency.p99),
        format::ms(latency.p999),
        format::ms(latency.max),
        end_to_end,
        promise.to_owned(),
    ]
}

fn step_cells((at, step): (usize, &Step)) -> Vec<String> {
    vec![
        (at + 1).to_string(),
        format!("{:?}", step.purpose).to_lowercase(),
        format::rate(step.records_per_s),
        format::rate(step.produced.records_per_s),
        format::ms(step.produce_latency_ns.p50),
        format::ms(step.produce_latency_ns.p99),
        match step.kept {
            true => "kept".to_owned(),
            false => step.why.join(", "),
        },
    ]
}

fn picture(curve: &Curve) -> Picture {
    type OfPoint = (&'static str, fn(&Point) -> u64);
    let kinds: [OfPoint; 4] = [
        ("produce p50", |point| point.produce_latency_ns.p50),
        ("produce p99", |point| point.produce_latency_ns.p99),
        ("produce p99.9", |point| point.produce_latency_ns.p999),
        ("end-to-end p99", |point| point.end_to_end_latency_ns.p99),
    ];
    let mut lines: Vec<Line> = kinds
        .iter()
        .enumerate()
        .map(|(at, (name, value))| Line {
            name: (*name).to_owned(),
            color: at,
            dash: at,
            points: curve
                .points
                .iter()
                .map(|point| {
                    (
                        point.rate.records_per_s,
                        Some(value(point)).filter(|ns| *ns > 0),
                    )
                })
                .map(|(x, y)| (x, y.map(|ns| ns as f64)))
                .collect(),
        })
        .filter(|line| line.points.iter().any(|(_, y)| y.is_some()))
        .collect();
    let values = || {
        let points = lines.iter().flat_map(|line| &line.points);
        points.filter_map(|(_, y)| *y)
    };
    let (min, max) = (
        values().fold(f64::INFINITY, f64::min),
        values().fold(0.0, f64::max),
    );
    let mut mark = |name: &str, rate: Option<Rate>, dash| {
        if let (Some(rate), true) = (rate, max > 0.0) {
            let x = rate.records_per_s;
            lines.push(Line {
                name: name.to_owned(),
                color: 4,
                dash,
                points: vec![(x, Some(min)), (x, Some(max))],
            });
        }
    };
    mark("limit", curve.limit, 0);
    mark("knee", curve.knee, 2);
    let last = curve.points.last();
    let furthest = last.map_or(1.0, |point| point.rate.records_per_s);
    Picture {
        plot: Plot {
            id: "limit",
            title: "Latency against rate",
            description: curve.text.join(" "),
            x: Axis::linear("records/s", furthest, format::short),
            y: Axis::log("latency", min.min(max), max, format::time),
            lines,
            shaded_to: 0.0,
        },
        columns: COLUMNS.map(str::to_owned).to_vec(),
        rows: curve.points.iter().map(cells).collect(),
    }
}
