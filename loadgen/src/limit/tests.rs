use std::time::Duration;

use super::*;
use crate::measure::{Collector, Plan};
use crate::report::{FlowFigures, limit as pages};
use crate::schedule::choice::Random;
use crate::workload::Consumers;

const RANGE: Range = Range {
    first: 1_000.0,
    least: 1.0,
    most: 1e8,
    precision: 0.05,
};
const MS: f64 = 1e6;

/// A broker whose latency grows without bound towards a rate, with a generator that can do so much.
struct Simulated {
    saturation: f64,
    generator: f64,
    /// How often a step is disturbed by something else.
    noise: f64,
    random: Random,
}

impl Simulated {
    fn new(saturation: f64, noise: f64, seed: u64) -> Self {
        Self {
            saturation,
            generator: f64::INFINITY,
            noise,
            random: Random::new(seed),
        }
    }

    /// At which p99 is so long.
    fn rate_at(&self, p99_ns: f64) -> f64 {
        self.saturation * (1.0 - MS / p99_ns)
    }

    fn run(&mut self, rate: f64) -> Figures {
        let plan = Plan::new(Duration::ZERO, Duration::from_secs(1));
        let measurements = Collector::new(plan, 0).finish(plan.end_ns(), plan.end_ns());
        let mut figures = Figures::of(&workload(), &measurements, None, Vec::new());
        let part = (rate / self.saturation).min(0.999);
        let mut p99 = MS / (1.0 - part) * (0.98 + 0.04 * self.random.unit());
        if self.random.unit() < self.noise {
            p99 += 50.0 * MS;
        }
        let produced = rate.min(self.saturation).min(self.generator);
        let flow = |records_per_s: f64| FlowFigures {
            records: (records_per_s * 60.0) as u64,
            records_per_s,
            bytes: (records_per_s * 6_000.0) as u64,
            bytes_per_s: records_per_s * 100.0,
        };
        (figures.intended, figures.produced) = (flow(rate), flow(produced));
        figures.produce_latency_ns = Latency {
            count: 1_000,
            p50: (p99 / 3.0) as u64,
            p99: p99 as u64,
            p999: (p99 * 2.0) as u64,
            max: (p99 * 3.0) as u64,
            ..Latency::default()
        };
        if rate > self.generator {
            figures.verdict.level = Level::Limit;
        }
        figures
    }
}

fn workload() -> Workload {
    Workload {
        consumers: Consumers {
            count: 0,
            ..Workload::default().consumers
        },
        ..Workload::default()
    }
}

fn settings(promise: &str) -> Settings {
    Settings {
        promise: promise.parse().unwrap(),
        range: RANGE,
        node: Node {
            count: 1.0,
            cores: 8.0,
            ..Node::default()
        },
        started_unix_ms: 1,
    }
}

fn search(broker: &mut Simulated, settings: &Settings) -> Curve {
    let mut steps = 0;
    let curve = find(
        &workload(),
        settings,
        |rate| Ok(Some(broker.run(rate))),
        |_| steps += 1,
    );
    assert!(steps < 100, "{steps} steps");
    curve.unwrap()
}

#[test]
fn the_limit_is_found_wherever_it_is_and_not_far_below_it() {
    for saturation in [50.0, 900.0, 1_000.0, 123_456.0, 5e7] {
        let mut broker = Simulated::new(saturation, 0.0, 1);
        let right = broker.rate_at(10.0 * MS);
        let curve = search(&mut broker, &settings("p99 < 10ms"));
        let found = curve.limit.unwrap().records_per_s;
        assert!(
            (0.92..=1.01).contains(&(found / right)),
            "{found} for {right}"
        );
        assert_eq!(curve.bound, Bound::Promise);
    }
}

#[test]
fn noise_does_not_lead_the_search_astray() {
    let mut off = 0;
    for seed in 0..100 {
        let mut broker = Simulated::new(40_000.0, 0.15, seed);
        let right = broker.rate_at(10.0 * MS);
        let curve = search(&mut broker, &settings("p99 < 10ms"));
        let found = curve.limit.unwrap().records_per_s;
        assert!(found <= right * 1.01, "seed {seed}: {found} for {right}");
        off += u32::from(found < right * 0.85);
    }
    // Two tries of three are disturbed in 6 of 100 rates, and twice in a row in 4 of 1,000.
    assert!(off <= 5, "{off} of 100 searches ended far below the limit");
}

#[test]
fn a_failed_step_is_tried_again_before_it_is_believed() {
    let mut tried = Vec::new();
    let mut search = Search::new(RANGE);
    for shown in [Shown::Kept, Shown::Broken, Shown::Kept, Shown::Kept] {
        tried.push(search.next_rate().unwrap());
        search.record(shown);
    }
    assert_eq!(
        tried,
        [
            (1_000.0, Purpose::Expand),
            (2_000.0, Purpose::Expand),
            (2_000.0, Purpose::Repeat),
            (2_000.0, Purpose::Repeat),
        ]
    );
    assert_eq!(search.next_rate(), Some((4_000.0, Purpose::Expand)));
}

#[test]
fn a_rate_that_broke_the_promise_by_chance_is_looked_at_again() {
    let mut search = Search::new(RANGE);
    let mut disturbed = 2;
    while let Some((rate, _)) = search.next_rate() {
        // The promise holds up to 5,000, and 2,000 is disturbed at first.
        let is_disturbed = rate == 2_000.0 && disturbed > 0;
        disturbed -= u32::from(is_disturbed);
        search.record(match rate <= 5_000.0 && !is_disturbed {
            true => Shown::Kept,
            false => Shown::Broken,
        });
    }
    let limit = search.limit().unwrap();
    assert!((4_750.0..=5_000.0).contains(&limit), "{limit}");
    assert_eq!(search.bound(), Bound::Promise);
}

#[test]
fn the_curve_says_of_each_rate_what_the_search_found() {
    let mut broker = Simulated::new(1e6, 0.0, 1);
    let mut disturbed = 2;
    let run = |rate| {
        let mut figures = broker.run(rate);
        if rate == 2_000.0 && disturbed > 0 {
            disturbed -= 1;
            figures.produce_latency_ns.p99 = (50.0 * MS) as u64;
        }
        Ok(Some(figures))
    };
    let curve = find(&workload(), &settings("p99 < 10ms"), run, |_| {}).unwrap();
    let limit = curve.limit.unwrap().records_per_s;
    assert!(limit > 2_000.0);
    for point in &curve.points {
        let rate = point.rate.records_per_s;
        assert_eq!(point.kept, rate <= limit, "{rate} of {limit}");
    }
}

#[test]
fn a_limit_that_does_not_hold_again_is_none() {
    let mut search = Search::new(RANGE);
    // 1,000 holds, 2,000 does not, and all between hold once.
    let mut between = 0;
    while let Some((rate, purpose)) = search.next_rate() {
        let is_between = rate > 1_000.0 && rate < 2_000.0;
        between += u32::from(is_between);
        search.record(match purpose {
            Purpose::Confirm | Purpose::Recheck | Purpose::Repeat if is_between => Shown::Broken,
            _ if rate < 2_000.0 => Shown::Kept,
            _ => Shown::Broken,
        });
        assert!(between < 200, "the search has an end");
    }
    let limit = search.limit().unwrap();
    assert!((1_000.0..1_055.0).contains(&limit), "{limit}");
}

#[test]
fn a_generator_that_is_the_limit_is_named_and_the_broker_is_not() {
    let mut broker = Simulated::new(1e6, 0.0, 1);
    broker.generator = 20_000.0;
    let curve = search(&mut broker, &settings("p99 < 10ms"));
    assert_eq!(curve.bound, Bound::Generator);
    let found = curve.limit.unwrap().records_per_s;
    assert!((18_500.0..=20_500.0).contains(&found), "{found}");
    let text = curve.text.join(" ");
    assert!(
        text.contains("The generator was the limit above that"),
        "{text}"
    );
}

#[test]
fn bounds_of_the_rate_are_kept_and_told() {
    let mut at_most = settings("p99 < 10ms");
    at_most.range.most = 5_000.0;
    let curve = search(&mut Simulated::new(1e6, 0.0, 1), &at_most);
    assert_eq!(
        (curve.bound, curve.limit.unwrap().records_per_s),
        (Bound::Most, 5_000.0)
    );

    let mut at_least = settings("p99 < 500us");
    at_least.range.least = 100.0;
    let curve = search(&mut Simulated::new(1e6, 0.0, 1), &at_least);
    assert_eq!((curve.bound, curve.limit), (Bound::Nothing, None));
    assert!(curve.text.join(" ").contains("Not even 100 records/s"));
}

#[test]
fn a_search_that_is_interrupted_keeps_what_it_has() {
    let mut broker = Simulated::new(1e6, 0.0, 1);
    let mut left = 3;
    let run = |rate| {
        left -= 1;
        Ok((left >= 0).then(|| broker.run(rate)))
    };
    let curve = find(&workload(), &settings("p99 < 10ms"), run, |_| {}).unwrap();
    assert_eq!(curve.bound, Bound::Interrupted);
    assert_eq!(curve.limit.unwrap().records_per_s, 4_000.0);
    assert!(curve.text.join(" ").contains("ended early"));
}

#[test]
fn the_curve_has_its_knee_where_it_bends_and_comes_back_from_json() {
    let mut broker = Simulated::new(100_000.0, 0.0, 1);
    let curve = search(&mut broker, &settings("p99 < 10ms"));
    let knee = curve.knee.expect("it bends").records_per_s;
    assert!((50_000.0..100_000.0).contains(&knee), "{knee}");
    let rates: Vec<f64> = curve
        .points
        .iter()
        .map(|it| it.rate.records_per_s)
        .collect();
    assert!(rates.is_sorted() && rates.len() >= 8, "{rates:?}");
    assert_eq!(Curve::from_json(&curve.to_json()).unwrap(), curve);

    let page = pages::page(&curve);
    assert!(page.contains("<svg") && page.contains("knee") && !page.contains("http"));
    let table = pages::table(&curve);
    assert!(
        table.contains("kept produce p99 &lt; 10ms") || table.contains("kept produce p99 < 10ms")
    );
}

#[test]
fn a_disturbed_step_makes_no_knee() {
    let curve = search(&mut Simulated::new(1e5, 0.0, 1), &settings("p99 < 10ms"));
    let p99 = |point: &curve::Point| point.produce_latency_ns.p99;
    let mut points = curve.points.clone();
    points[1].produce_latency_ns.p99 *= 100;
    assert_eq!(curve::knee(&points, p99), curve.knee);
    // As many times the lowest in the middle, and nothing behind it.
    for (point, p99_ms) in points.iter_mut().zip([40, 30, 185, 40]) {
        point.produce_latency_ns.p99 = p99_ms * 1_000_000;
    }
    for point in &mut points[4..] {
        point.produce_latency_ns.p99 = 20_000_000;
    }
    assert_eq!(curve::knee(&points, p99), None);
}

#[test]
fn damaged_curves_are_refused() {
    let curve = search(&mut Simulated::new(1e5, 0.0, 1), &settings("p99 < 10ms"));
    let text = curve.to_json();
    let refused = |text: &str| format!("{:#}", Curve::from_json(text).unwrap_err());
    assert!(refused("").contains("damaged"));
    assert!(refused(&text[..text.len() / 2]).contains("damaged"));
    assert!(refused("{\"kind\": 5}").contains("is no curve of find-limit"));
    let other = text.replace("corelog-loadgen limit", "something else");
    assert!(refused(&other).contains("something else"));
    let mut reordered = curve.clone();
    reordered.points.reverse();
    assert!(refused(&reordered.to_json()).contains("order"));
    let mut empty = curve.clone();
    empty.load.record_bytes = -1.0;
    assert!(refused(&empty.to_json()).contains("not possible"));
    let mut zero = curve;
    zero.limit = Some(Rate::default());
    assert!(refused(&zero.to_json()).contains("limit"));
}

#[test]
fn a_rate_that_is_not_reached_is_not_kept_and_chance_is_no_reason() {
    let promise: Promise = "p99 < 10s".parse().unwrap();
    let why = |intended: u64, produced: u64| {
        let mut figures = Simulated::new(1e9, 0.0, 1).run(1_000.0);
        (figures.intended.records, figures.produced.records) = (intended, produced);
        broken_by(&workload(), &promise, &figures).join(" ")
    };
    assert_eq!(why(60_000, 59_500), "");
    assert!(why(60_000, 57_000).contains("were acknowledged"));
    // A few records on their way at the end are much of a slow load.
    assert_eq!(why(60, 50), "");
    assert!(why(60, 20).contains("were acknowledged"));
}

#[test]
fn promises_are_read_as_they_are_written() {
    for (text, shown) in [
        ("p99 < 10ms", "produce p99 < 10ms"),
        ("p99.9<1.5s", "produce p99.9 < 1500ms"),
        (
            "end-to-end max < 1 h and produce p50 < 200us",
            "end-to-end max < 3600s and produce p50 < 200us",
        ),
    ] {
        let promise: Promise = text.parse().unwrap();
        assert_eq!(promise.to_string(), shown);
        assert_eq!(shown.parse(), Ok(promise));
    }
}

#[test]
fn what_is_no_promise_is_refused_with_what_would_be() {
    for text in [
        "",
        "p99",
        "p99 <",
        "p99 < 10",
        "p98 < 10ms",
        "p99 > 10ms",
        "p99 <= 10ms",
        "p99 < 10 parsecs",
        "p99 < -1ms",
        "p99 < 0ms",
        "p99 < 2h",
        "p99 < nanms",
        "fetch p99 < 10ms",
        "p99 < 10ms and",
        "and p99 < 10ms",
        "p99 < 10ms or p50 < 1ms",
        "p99 < 10ms p50 < 1ms",
        "p99 << 10ms",
    ] {
        let refusal = text.parse::<Promise>().expect_err(text);
        assert!(refusal.contains("must be one or several of"), "{refusal}");
    }
}

#[test]
fn only_workloads_with_a_steady_rate_have_a_limit() {
    let promise: Promise = "end-to-end p99 < 10ms".parse().unwrap();
    assert!(
        at_rate(&workload(), &promise, 5.0)
            .unwrap_err()
            .contains("consumer")
    );
    let mut steady = Workload::default();
    let at_five = at_rate(&steady, &promise, 5.0).unwrap();
    assert_eq!(at_five.load, WorkloadLoad::Open(Shape::Constant(5.0)));
    steady.load = WorkloadLoad::Open(Shape::Ramp(1.0, 2.0));
    assert!(
        at_rate(&steady, &promise, 5.0)
            .unwrap_err()
            .contains("no ramp")
    );
    steady.load = WorkloadLoad::Max;
    steady.consumers.backlog_bytes = 1;
    assert!(
        at_rate(&steady, &promise, 5.0)
            .unwrap_err()
            .contains("no backlog")
    );
}

#[test]
fn a_step_in_which_nothing_was_acknowledged_has_its_place_in_the_curve() {
    let mut broker = Simulated::new(1e5, 0.0, 1);
    let run = |rate| {
        let mut figures = broker.run(rate);
        if rate > 50_000.0 {
            figures.produced = FlowFigures::default();
        }
        figures.produced_wire_bytes = figures.produced.bytes / 5;
        Ok(Some(figures))
    };
    let curve = find(&workload(), &settings("p99 < 10ms"), run, |_| {}).unwrap();
    assert!(
        curve
            .points
            .iter()
            .any(|point| point.produced.records_per_s == 0.0)
    );
    assert_eq!(Curve::from_json(&curve.to_json()).unwrap(), curve);
    assert!((curve.load.wire_record_bytes - 20.0).abs() < 0.001);
}
