//! Settings with a grammar of their own: how their values are read and shown.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::settings::{Input, RATE_MAX, Refusal};
use super::units::{TimeUnit, parse_number, parse_size, parse_time, show_time};
use super::{Keys, Load, Shape, Sizes, Workload, trace};
use crate::record::STAMP_BYTES;

type Read = Result<(), Refusal>;

/// The slowest constant rate, in records a second.
const RATE_MIN: f64 = 0.001;
const STEPS_MAX: usize = 10_000;
const SIZE_MIN: u32 = STAMP_BYTES as u32;
const SIZE_MAX: u32 = 16 << 20;
const WEIGHTED_MAX: usize = 1_000;
const WEIGHT_MAX: f64 = 1e9;
const KEYS_MAX: u64 = 1_000_000_000_000;
const EXPONENT_MAX: f64 = 10.0;
const BURST_PERIOD_MIN: Duration = Duration::from_millis(1);
const BURST_PERIOD_MAX: Duration = Duration::from_secs(86_400);
/// Kafka's limit is 249: several topics need room for a number behind it.
const TOPIC_NAME_MAX: usize = 240;
const NAME_MAX: usize = 200;

const _: () = assert!(SIZE_MIN == 40, "the text of `SIZES` says so");

pub(super) const NAME: &str = "a text of 1 to 200 characters in one line";
pub(super) const TOPIC: &str =
    "1 to 240 letters, digits, dots, underscores and hyphens, and neither `.` nor `..`";
pub(super) const CONFIGS: &str = "names of topic properties with their values";
pub(super) const REPLICATION_FACTOR: &str =
    "a whole number from 1 to 32767, or -1 for the broker's default";
pub(super) const SIZES: &str = "a size from 40B to 16MiB such as `100`, a range such as `100..1KiB`, or up to 1000 sizes \
     with weights such as `100:9,10KiB:1`";
pub(super) const KEYS: &str = "`none`, `uniform:COUNT` or `zipf:COUNT:EXPONENT`, with a count from 1 to 1000000000000 and \
     an exponent from 0 to 10";
pub(super) const RATE: &str = "a number from 0.001 to 100000000";
pub(super) const RAMP: &str = "two numbers from 0 to 100000000 such as `100:10000`";
pub(super) const STEPS: &str = "1 to 10000 numbers from 0 to 100000000 such as `1000,2000,4000`";
pub(super) const BURSTS: &str = "BASE:PEAK:EVERY:LENGTH such as `1000:20000:10s:1s`: two numbers from 0 to 100000000, a \
     time from 1ms to 86400s, and a time from 1ms to the one before it";
pub(super) const TRACE: &str = "a file with a time and a rate in each line, or in a workload file also a list such as \
     `[\"0s:1000\", \"10s:5000\"]`";
pub(super) const MAX: &str = "true, or not given";
pub(super) const POISSON: &str = "true or false";

fn taken<T>(value: Option<T>, take: impl FnOnce(T)) -> Read {
    value.map(take).ok_or(Refusal::NotAllowed)
}

fn parse_rate(text: &str) -> Option<f64> {
    parse_number(text).filter(|rate| *rate <= RATE_MAX)
}

/// The parts of a text with colons between them, if there are so many.
fn parts<const N: usize>(text: &str) -> Option<[&str; N]> {
    let parts: Vec<&str> = text.split(':').map(str::trim).collect();
    parts.try_into().ok()
}

fn read_line(input: &Input, most: usize) -> Option<&str> {
    let fits = |text: &&str| {
        !text.is_empty() && text.chars().count() <= most && !text.chars().any(char::is_control)
    };
    input.text().filter(fits)
}

pub(super) fn read_name(workload: &mut Workload, input: &Input, _: &Path) -> Read {
    taken(read_line(input, NAME_MAX), |name| {
        workload.name = name.into()
    })
}

pub(super) fn read_topic(workload: &mut Workload, input: &Input, _: &Path) -> Read {
    let legal = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    let name = read_line(input, TOPIC_NAME_MAX)
        .filter(|name| name.chars().all(legal) && *name != "." && *name != "..");
    taken(name, |name| workload.topics.name = name.into())
}

pub(super) fn read_replication_factor(workload: &mut Workload, input: &Input, _: &Path) -> Read {
    let number = input.text().and_then(|text| text.parse().ok());
    let number = number.filter(|n: &i16| *n == -1 || *n >= 1);
    taken(number, |n| workload.topics.replication_factor = n)
}

/// Properties are added to those that are there.
pub(super) fn read_configs(workload: &mut Workload, input: &Input, _: &Path) -> Read {
    let Input::List(items) = input else {
        return Err(Refusal::NotAllowed);
    };
    let mut configs = BTreeMap::new();
    for item in items {
        match item.split_once('=') {
            Some((name, value)) if !name.trim().is_empty() => {
                configs.insert(name.trim().into(), value.into());
            }
            _ => return Err(Refusal::Because(format!("`{item}` must be NAME=VALUE"))),
        }
    }
    workload.topics.configs.extend(configs);
    Ok(())
}

pub(super) fn show_configs(workload: &Workload) -> Option<Input> {
    let configs = &workload.topics.configs;
    let items = configs
        .iter()
        .map(|(name, value)| format!("{name}={value}"));
    (!configs.is_empty()).then(|| Input::List(items.collect()))
}

pub(super) fn read_sizes(workload: &mut Workload, input: &Input, _: &Path) -> Read {
    taken(parse_sizes(input), |sizes| workload.records.sizes = sizes)
}

fn parse_sizes(input: &Input) -> Option<Sizes> {
    let size = |text: &str| {
        let bytes = u32::try_from(parse_size(text)?).ok()?;
        (SIZE_MIN..=SIZE_MAX).contains(&bytes).then_some(bytes)
    };
    let items = input.items();
    if let [one] = &items[..]
        && !one.contains(':')
    {
        return match one.split_once("..") {
            None => size(one).map(Sizes::Fixed),
            Some((least, most)) => {
                let (least, most) = (size(least)?, size(most)?);
                (least <= most).then_some(Sizes::Range(least, most))
            }
        };
    }
    let weighted = items.iter().map(|item| {
        let [bytes, weight] = parts(item)?;
        let weight = parse_number(weight)?;
        (weight > 0.0 && weight <= WEIGHT_MAX).then_some((size(bytes)?, weight))
    });
    let weighted: Vec<_> = weighted.collect::<Option<_>>()?;
    (1..=WEIGHTED_MAX)
        .contains(&weighted.len())
        .then_some(Sizes::Weighted(weighted))
}

pub(super) fn show_sizes(workload: &Workload) -> Option<Input> {
    Some(match &workload.records.sizes {
        Sizes::Fixed(bytes) => Input::Text(bytes.to_string()),
        Sizes::Range(least, most) => Input::Text(format!("{least}..{most}")),
        Sizes::Weighted(weighted) => {
            let items = weighted.iter();
            Input::List(items.map(|(b, weight)| format!("{b}:{weight}")).collect())
        }
    })
}

pub(super) fn read_keys(workload: &mut Workload, input: &Input, _: &Path) -> Read {
    let keys = input.text().and_then(parse_keys);
    taken(keys, |keys| workload.records.keys = keys)
}

fn parse_keys(text: &str) -> Option<Keys> {
    let count = |text: &str| {
        let count = text.parse().ok();
        count.filter(|count| (1..=KEYS_MAX).contains(count))
    };
    if text == "none" {
        Some(Keys::None)
    } else if let Some(["uniform", keys]) = parts(text) {
        count(keys).map(Keys::Uniform)
    } else if let Some(["zipf", keys, exponent]) = parts(text) {
        let exponent = parse_number(exponent).filter(|n| *n <= EXPONENT_MAX)?;
        Some(Keys::Zipf(count(keys)?, exponent))
    } else {
        None
    }
}

pub(super) fn show_keys(workload: &Workload) -> Option<Input> {
    Some(Input::Text(match workload.records.keys {
        Keys::None => "none".into(),
        Keys::Uniform(count) => format!("uniform:{count}"),
        Keys::Zipf(count, exponent) => format!("zipf:{count}:{exponent}"),
    }))
}

/// What was a Poisson process remains one.
pub(super) fn read_rate(workload: &mut Workload, input: &Input, _: &Path) -> Read {
    let rate = input.text().and_then(parse_rate).filter(|r| *r >= RATE_MIN);
    taken(rate, |rate| {
        workload.load = Load::Open(match workload.load {
            Load::Open(Shape::Poisson(_)) => Shape::Poisson(rate),
            _ => Shape::Constant(rate),
        });
    })
}

pub(super) fn show_rate(workload: &Workload) -> Option<Input> {
    match workload.load {
        Load::Open(Shape::Constant(rate) | Shape::Poisson(rate)) => {
            Some(Input::Text(rate.to_string()))
        }
        _ => None,
    }
}

pub(super) fn read_poisson(workload: &mut Workload, input: &Input, _: &Path) -> Read {
    let poisson = input.text().and_then(|text| text.parse().ok());
    let poisson: bool = poisson.ok_or(Refusal::NotAllowed)?;
    match (&workload.load, poisson) {
        (Load::Open(Shape::Constant(rate) | Shape::Poisson(rate)), true) => {
            workload.load = Load::Open(Shape::Poisson(*rate));
        }
        (Load::Open(Shape::Poisson(rate)), false) => {
            workload.load = Load::Open(Shape::Constant(*rate));
        }
        (_, true) => {
            return Err(Refusal::Because(
                "only a constant rate can be made random".into(),
            ));
        }
        (_, false) => {}
    }
    Ok(())
}

pub(super) fn show_poisson(workload: &Workload) -> Option<Input> {
    let poisson = matches!(workload.load, Load::Open(Shape::Poisson(_)));
    poisson.then(|| Input::Text("true".into()))
}

pub(super) fn read_ramp(workload: &mut Workload, input: &Input, _: &Path) -> Read {
    let ramp = input.text().and_then(|text| {
        let [from, to] = parts(text)?;
        Some(Shape::Ramp(parse_rate(from)?, parse_rate(to)?))
    });
    taken(ramp, |ramp| workload.load = Load::Open(ramp))
}

pub(super) fn show_ramp(workload: &Workload) -> Option<Input> {
    match workload.load {
        Load::Open(Shape::Ramp(from, to)) => Some(Input::Text(format!("{from}:{to}"))),
        _ => None,
    }
}

pub(super) fn read_steps(workload: &mut Workload, input: &Input, _: &Path) -> Read {
    let items = input.items();
    let rates: Option<Vec<f64>> = items.iter().map(|item| parse_rate(item)).collect();
    let rates = rates.filter(|rates| (1..=STEPS_MAX).contains(&rates.len()));
    taken(rates, |rates| {
        workload.load = Load::Open(Shape::Steps(rates));
    })
}

pub(super) fn show_steps(workload: &Workload) -> Option<Input> {
    match &workload.load {
        Load::Open(Shape::Steps(rates)) => {
            Some(Input::List(rates.iter().map(f64::to_string).collect()))
        }
        _ => None,
    }
}

pub(super) fn read_bursts(workload: &mut Workload, input: &Input, _: &Path) -> Read {
    let bursts = input.text().and_then(|text| {
        let [base, peak, every, length] = parts(text)?;
        let every = parse_time(every, TimeUnit::Seconds)
            .filter(|every| (BURST_PERIOD_MIN..=BURST_PERIOD_MAX).contains(every))?;
        let length = parse_time(length, TimeUnit::Seconds)
            .filter(|length| (BURST_PERIOD_MIN..=every).contains(length))?;
        Some(Shape::Bursts {
            base: parse_rate(base)?,
            peak: parse_rate(peak)?,
            every,
            length,
        })
    });
    taken(bursts, |bursts| workload.load = Load::Open(bursts))
}

pub(super) fn show_bursts(workload: &Workload) -> Option<Input> {
    match &workload.load {
        Load::Open(Shape::Bursts {
            base,
            peak,
            every,
            length,
        }) => {
            let (every, length) = (show_time(*every), show_time(*length));
            Some(Input::Text(format!("{base}:{peak}:{every}:{length}")))
        }
        _ => None,
    }
}

/// A text is the path of a file, a list is the trace itself.
pub(super) fn read_trace(workload: &mut Workload, input: &Input, folder: &Path) -> Read {
    let points = match input {
        Input::Text(path) => trace::read(&folder.join(path)).map_err(Refusal::Within)?,
        Input::List(points) => trace::parse(points).map_err(Refusal::Because)?,
    };
    workload.load = Load::Open(Shape::Trace(points));
    Ok(())
}

pub(super) fn show_trace(workload: &Workload) -> Option<Input> {
    match &workload.load {
        Load::Open(Shape::Trace(points)) => {
            let items = points.iter();
            let items = items.map(|(time, rate)| format!("{}:{rate}", show_time(*time)));
            Some(Input::List(items.collect()))
        }
        _ => None,
    }
}

/// To end it, another load is given.
pub(super) fn read_max(workload: &mut Workload, input: &Input, _: &Path) -> Read {
    let max = input.text().filter(|text| *text == "true");
    taken(max, |_| workload.load = Load::Max)
}

pub(super) fn show_max(workload: &Workload) -> Option<Input> {
    (workload.load == Load::Max).then(|| Input::Text("true".into()))
}
