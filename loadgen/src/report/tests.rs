use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

use super::*;
use crate::measure::histogram::{self, Histogram};
use crate::measure::{Collector, Measurements, Plan, Verification};
use crate::workload::{
    Acks, Codec, Consumers, Keys, Load, Producers, Records, Shape, Sizes, Topics, Workload,
};

const MS: u64 = 1_000_000;

fn workload() -> Workload {
    Workload {
        name: "small <records> & more".to_owned(),
        topics: Topics {
            name: "load".to_owned(),
            count: 1,
            partitions: 12,
            replication_factor: -1,
            configs: BTreeMap::from([("retention.ms".to_owned(), "60000".to_owned())]),
        },
        producers: Producers {
            count: 2,
            acks: Acks::All,
            idempotence: true,
            connections: 1,
            in_flight: 5,
            batch_bytes: 16_384,
            linger: Duration::from_millis(5),
            codec: Codec::None,
        },
        consumers: Consumers {
            count: 1,
            fan_out: 2,
            connections: 1,
            backlog_bytes: 0,
        },
        records: Records {
            sizes: Sizes::Fixed(100),
            keys: Keys::Zipf(1_000, 1.1),
            compressibility: 0.5,
        },
        load: Load::Open(Shape::Constant(1_000.0)),
        warm_up: Duration::from_secs(2),
        duration: Duration::from_secs(20),
        verify: true,
        seed: 1,
    }
}

/// 1,000 records a second for 22 s, acknowledged in 0.2 to 20 ms times `slowness`, consumed by two sets 1 ms later.
fn measurements(slowness: u64) -> Measurements {
    let plan = Plan::new(Duration::from_secs(2), Duration::from_secs(20));
    let mut collector = Collector::new(plan, 0);
    let mut recorder = collector.recorder("worker-0");
    for number in 0..22_000_u64 {
        let at_ns = number * MS;
        let latency_ns = (200_000 + number * 7_919 % 19_800_000 / (1 + number % 50)) * slowness;
        recorder.intended(at_ns);
        recorder.late(at_ns, number % 100 * 1_000);
        recorder.produced(at_ns, latency_ns, 1, 100);
        recorder.consumed(at_ns, latency_ns + MS, 2, 200);
        recorder.lag(at_ns, number % 977);
    }
    recorder.error(21_999 * MS, "REQUEST_TIMED_OUT");
    recorder.error(21_999 * MS, "connection lost");
    recorder.error(21_999 * MS, "connection lost");
    drop(recorder);
    collector.finish(plan.end_ns(), plan.end_ns() + 50 * MS)
}

fn figures(slowness: u64) -> Figures {
    let verification = Verification {
        acknowledged: 22_000,
        received: 44_000,
        ..Verification::default()
    };
    let measurements = measurements(slowness);
    Figures::of(
        &workload(),
        &measurements,
        Some(verification),
        vec![Host::here()],
    )
}

#[test]
fn the_table_tells_the_figures() {
    let text = table::write(&figures(1));
    for (line, parts) in [
        (
            "small <records> & more:",
            "20.0 s measured after 2.0 s of warm-up",
        ),
        ("intended", "1,000 - 20,000"),
        ("produced", "1,000 0.10 20,000"),
        ("consumed", "2,000 0.20 40,000"),
        ("latency, ms", "p50 p90 p99 p99.9 p99.99 max"),
        ("errors", "3 (REQUEST_TIMED_OUT 1, connection lost 2)"),
        ("lag", "505 records at the end, 505 at the most"),
        (
            "verification",
            "passed: 22,000 acknowledged, 44,000 received, 0 lost, 0 duplicated, 0 reordered, 0 corrupted, 0 unknown",
        ),
        (
            "verdict",
            "The generator kept its schedule: requests left up to 0.099 ms late (p99 0.098 ms).",
        ),
    ] {
        let found = text.lines().find_map(|found| found.strip_prefix(line));
        let found = found.unwrap_or_else(|| panic!("no {line} in\n{text}"));
        let words: Vec<&str> = found.split_whitespace().collect();
        assert!(words.join(" ").starts_with(parts), "{line}: {words:?}");
    }
}

#[test]
fn a_closed_loop_says_what_its_latency_is_worth() {
    let told = |load| {
        let mut workload = workload();
        workload.load = load;
        let figures = Figures::of(&workload, &measurements(1), None, Vec::new());
        table::write(&figures).contains("closed loop   no timetable: latency counts from")
    };
    assert!(told(Load::Max));
    assert!(!told(workload().load));
}

#[test]
fn table_and_json_tell_the_same() {
    let figures = figures(1);
    let text = table::write(&figures);
    let json: serde_json::Value = serde_json::from_str(&json::write(&figures)).unwrap();
    for (line, name) in [
        ("produce ", "produce_latency_ns"),
        ("end-to-end", "end_to_end_latency_ns"),
        ("left late", "lateness_ns"),
    ] {
        let cells = text
            .lines()
            .find_map(|found| found.strip_prefix(line))
            .unwrap();
        let cells: Vec<&str> = cells.split_whitespace().collect();
        let fields = ["p50", "p90", "p99", "p999", "p9999", "max"];
        let of_json = fields.map(|field| {
            let ns = json[name][field].as_u64().unwrap();
            format!("{:.3}", ns as f64 / 1e6)
        });
        assert_eq!(cells, of_json);
    }
    assert_eq!(json["produced"]["records"], 20_000);
    assert_eq!(json["produced"]["records_per_s"], 1_000.0);
    assert_eq!(json["errors"]["by_name"]["connection lost"], 2);
    assert_eq!(json["verification"]["acknowledged"], 22_000);
    assert_eq!(json["verdict"]["level"], "kept");
    assert_eq!(json["workload"]["topics.partitions"], 12);
    assert_eq!(json["seconds"].as_array().unwrap().len(), 22);
}

#[test]
fn json_comes_back_as_it_was() {
    let figures = figures(1);
    assert_eq!(
        serde_json::from_str::<Figures>(&json::write(&figures)).unwrap(),
        figures
    );
}

#[test]
fn the_log_of_histograms_adds_up_to_the_whole() {
    let measurements = measurements(1);
    let mut log = Vec::new();
    hlog::write(&measurements, &mut log).unwrap();
    let mut sums: BTreeMap<String, Histogram> = BTreeMap::new();
    let mut starts = Vec::new();
    let mut headers = 0;
    for entry in IntervalLogIterator::new(&log) {
        match entry.expect("each line is of the format") {
            LogEntry::StartTime(_) | LogEntry::BaseTime(_) => headers += 1,
            LogEntry::Interval(interval) => {
                let tag = interval.tag().expect("each has a tag").as_str().to_owned();
                let text = interval.encoded_histogram();
                let bytes =
                    base64::Engine::decode(&base64::engine::general_purpose::STANDARD, text);
                let part: Histogram = Deserializer::new()
                    .deserialize(&mut &*bytes.unwrap())
                    .unwrap();
                assert_eq!(interval.max(), (part.max() as f64 / 1e3).round() / 1e3);
                if tag == hlog::PRODUCE {
                    starts.push(interval.start_timestamp().as_secs());
                    assert_eq!(interval.duration(), Duration::from_secs(1));
                }
                sums.entry(tag)
                    .or_insert_with(histogram::empty)
                    .add(&part)
                    .unwrap();
            }
        }
    }
    assert_eq!(headers, 2);
    assert_eq!(starts, (2..22).collect::<Vec<_>>());
    assert_eq!(sums[hlog::PRODUCE], measurements.produce_latency);
    assert_eq!(sums[hlog::END_TO_END], measurements.end_to_end_latency);
    assert!(
        String::from_utf8(log)
            .unwrap()
            .contains("#[Histogram log format version 1.3]\n")
    );
}

/// Names of all elements, in the order in which they begin; fails if they do not end in the right order.
fn elements(page: &str) -> Vec<String> {
    let mut open: Vec<String> = Vec::new();
    let mut all = Vec::new();
    let mut rest = page
        .strip_prefix("<!DOCTYPE html>")
        .expect("a page of HTML");
    while let Some(at) = rest.find('<') {
        let end = at + rest[at..].find('>').expect("a tag ends");
        let (text, tag) = (&rest[..at], &rest[at + 1..end]);
        assert!(!text.contains('>'), "{text}");
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name));
            continue;
        }
        let name = tag.split([' ', '/']).next().unwrap().to_owned();
        if !tag.ends_with('/') {
            open.push(name.clone());
        }
        all.push(name);
    }
    assert!(open.is_empty(), "{open:?}");
    all
}

fn count(elements: &[String], name: &str) -> usize {
    elements.iter().filter(|element| *element == name).count()
}

fn assert_stands_alone(page: &str) {
    for text in [
        "http:", "https:", "//", "<script", "src=", "url(", "@import", "NaN", "inf",
    ] {
        assert!(!page.contains(text), "{text}");
    }
    let ids: Vec<&str> = page
        .split(" id=\"")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap())
        .collect();
    let mut unique = ids.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(ids.len(), unique.len(), "{ids:?}");
}

#[test]
fn the_page_is_well_formed_and_stands_alone() {
    let page = html::page(&figures(1));
    let elements = elements(&page);
    assert_stands_alone(&page);
    assert_eq!(count(&elements, "svg"), 7);
    for in_each in ["figure", "figcaption", "details", "desc"] {
        assert_eq!(count(&elements, in_each), 7, "{in_each}");
    }
    // Each plot's, and the page's.
    assert_eq!(count(&elements, "title"), 8);
    assert!(page.contains("small &lt;records&gt; &amp; more"));
    assert!(page.contains("prefers-color-scheme: dark"));
}

#[test]
fn a_run_without_anything_still_gives_a_page() {
    let plan = Plan::new(Duration::ZERO, Duration::from_secs(1));
    let nothing = Collector::new(plan, 0).finish(0, 0);
    let figures = Figures::of(&workload(), &nothing, None, Vec::new());
    let page = html::page(&figures);
    elements(&page);
    assert_stands_alone(&page);
    assert!(table::write(&figures).contains("0.0 s of 0:01 measured"));
    assert_eq!(
        serde_json::from_str::<Figures>(&json::write(&figures)).unwrap(),
        figures
    );
}

#[test]
fn hours_are_drawn_in_few_points() {
    let mut figures = figures(1);
    let second = figures.seconds[5].clone();
    figures.seconds = (0..20_000)
        .map(|at| Second {
            start_s: f64::from(at),
            ..second.clone()
        })
        .collect();
    let page = html::page(&figures);
    elements(&page);
    assert!(page.len() < 400_000, "{}", page.len());
}

#[test]
fn a_machine_is_read_from_the_kernels_text() {
    let cpuinfo = "processor\t: 0\nmodel name\t: Some CPU @ 2.1GHz\n\nprocessor\t: 1\nmodel name\t: Some CPU @ 2.1GHz\n";
    let host = Host::from_text(cpuinfo, "MemTotal:        8000000 kB\nMemFree: 1 kB\n");
    assert_eq!(
        (host.cpu_model.as_str(), host.cores),
        ("Some CPU @ 2.1GHz", 2)
    );
    assert_eq!(host.memory_bytes, 8_192_000_000);
    assert!(Host::here().cores_usable > 0);
}

#[test]
fn a_terminal_has_one_line_and_a_file_one_every_ten_seconds() {
    let progress = |ms: u64| Progress {
        elapsed: Duration::from_millis(ms),
        whole: Duration::from_secs(70),
        records_per_s: 123_456.0,
        bytes_per_s: 12_345_600.0,
        p50_ns: Some(412_000),
        p99_ns: None,
        errors: 3,
        lag_records: Some(1_500),
    };
    let shown = |is_terminal: bool| {
        let mut text = Vec::new();
        let mut line = ProgressLine::new(&mut text, is_terminal);
        for ms in (0..=35_000).step_by(500) {
            line.update(&progress(ms)).unwrap();
        }
        line.clear().unwrap();
        String::from_utf8(text).unwrap()
    };
    let file = shown(false);
    let first =
        "0:10  123,456 records/s  12.3 MB/s  p50 412 µs  p99 -  errors 3  lag 1.5 k  1:00 left";
    assert_eq!(file.lines().next(), Some(first));
    assert_eq!(file.lines().count(), 3);
    assert!(!file.contains('\x1b'));
    let terminal = shown(true);
    assert!(!terminal.contains('\n') && terminal.ends_with("\r\x1b[K"));
    assert_eq!(terminal.matches(" left").count(), 71);
}

#[test]
fn numbers_are_written_for_people() {
    assert_eq!(
        [0, 999, 1_000, 1_234_567].map(format::count),
        ["0", "999", "1,000", "1,234,567"]
    );
    let times = [1.0, 1_500.0, 412_345.0, 2e6, 1.25e10].map(format::time);
    assert_eq!(times, ["1 ns", "1.5 µs", "412 µs", "2 ms", "12.5 s"]);
    assert_eq!(
        [0.5, 0.99, 0.9999].map(format::percentile),
        ["50 %", "99 %", "99.99 %"]
    );
    assert_eq!([59, 3_723].map(format::clock), ["0:59", "1:02:03"]);
    assert_eq!(
        [100.0, 1e4, 2.5e6].map(format::short),
        ["100", "10 k", "2.5 M"]
    );
}
