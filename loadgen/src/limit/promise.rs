//! What latency is promised: `p99 < 10ms and end-to-end max < 1s`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::report::{Figures, Latency, time};
use crate::workload::units::{TimeUnit, parse_time, show_time};

/// How a promise is written, for messages.
pub const GRAMMAR: &str = "one or several of `[produce|end-to-end] p50|p90|p99|p99.9|max < TIME`, joined by `and`, each \
     with a time from 1us to 3600s and its unit, such as `p99 < 10ms and end-to-end max < 1s`";

const TIMES: std::ops::RangeInclusive<Duration> =
    Duration::from_micros(1)..=Duration::from_secs(3_600);

/// Latencies that are all to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promise {
    terms: Vec<Term>,
}

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    pub path: Path,
    pub part: Part,
    /// In nanoseconds; what reaches it breaks the promise.
    pub below_ns: u64,
}

/// From where to where: both begin when a record is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// To its acknowledgement.
    Produce,
    /// To the consumer's hands.
    EndToEnd,
}

/// How many of all records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Part {
    P50,
    P90,
    P99,
    P999,
    Max,
}

const PARTS: [(&str, Part); 5] = [
    ("p50", Part::P50),
    ("p90", Part::P90),
    ("p99", Part::P99),
    ("p99.9", Part::P999),
    ("max", Part::Max),
];

impl Promise {
    /// At least one.
    pub fn terms(&self) -> &[Term] {
        &self.terms
    }

    /// Whether it says something of consumers.
    pub fn needs_consumers(&self) -> bool {
        self.terms.iter().any(|term| term.path == Path::EndToEnd)
    }

    /// The terms that figures break, in words; none if they keep the promise.
    pub fn broken_by(&self, figures: &Figures) -> Vec<String> {
        let broken = |term: &Term| {
            let latency = term.path.latency(figures);
            let value_ns = term.part.of(&latency);
            if latency.count == 0 {
                Some(format!("{}: nothing was measured", term.name()))
            } else if value_ns >= term.below_ns {
                Some(format!("{} {}", term.name(), time(value_ns as f64)))
            } else {
                None
            }
        };
        self.terms.iter().filter_map(broken).collect()
    }
}

impl Term {
    /// Such as `produce p99`.
    pub fn name(&self) -> String {
        let part = PARTS.iter().find(|(_, part)| *part == self.part);
        format!("{} {}", self.path, part.expect("all stand there").0)
    }
}

impl Path {
    fn latency(self, figures: &Figures) -> Latency {
        match self {
            Self::Produce => figures.produce_latency_ns,
            Self::EndToEnd => figures.end_to_end_latency_ns,
        }
    }
}

impl Part {
    /// In nanoseconds.
    pub fn of(self, latency: &Latency) -> u64 {
        match self {
            Self::P50 => latency.p50,
            Self::P90 => latency.p90,
            Self::P99 => latency.p99,
            Self::P999 => latency.p999,
            Self::Max => latency.max,
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Produce => "produce",
            Self::EndToEnd => "end-to-end",
        })
    }
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, term) in self.terms.iter().enumerate() {
            let and = if at > 0 { " and " } else { "" };
            let below = show_time(Duration::from_nanos(term.below_ns));
            write!(f, "{and}{} < {below}", term.name())?;
        }
        Ok(())
    }
}

impl FromStr for Promise {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words = text.replace('<', " < ");
        let words: Vec<&str> = words.split_whitespace().collect();
        let terms = words.split(|word| *word == "and").map(|words| {
            term(words).ok_or_else(|| {
                let words = words.join(" ");
                format!("`{words}` is no promise: must be {GRAMMAR}")
            })
        });
        Ok(Self {
            terms: terms.collect::<Result<_, _>>()?,
        })
    }
}

fn term(words: &[&str]) -> Option<Term> {
    let (path, words) = match words {
        ["produce", rest @ ..] => (Path::Produce, rest),
        ["end-to-end", rest @ ..] => (Path::EndToEnd, rest),
        rest => (Path::Produce, rest),
    };
    let [part, "<", below @ ..] = words else {
        return None;
    };
    let (_, part) = PARTS.iter().find(|(name, _)| name == part)?;
    let below = below.concat();
    if !below.ends_with(|c: char| c.is_ascii_alphabetic()) {
        return None;
    }
    let below = parse_time(&below, TimeUnit::Milliseconds).filter(|time| TIMES.contains(time))?;
    Some(Term {
        path,
        part: *part,
        below_ns: below.as_nanos() as u64,
    })
}
