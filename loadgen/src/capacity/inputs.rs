//! What a team knows: the table of all inputs of a plan, read from flags and from a file.

use std::collections::BTreeMap;

use toml::de::{DeTable, DeValue};

use crate::limit::{GRAMMAR, Promise};
use crate::workload::units::{TimeUnit, parse_number, parse_size, parse_time};

/// One input.
#[derive(Debug)]
pub struct Input {
    /// In a file; on the command line with two dashes before it.
    pub key: &'static str,
    /// What it is, in a sentence without its full stop.
    pub meaning: &'static str,
    kind: Kind,
    /// As it would be given; `None` if it must be, or if the curve tells it.
    pub default: Option<&'static str>,
    set: fn(&mut Needs, f64),
}

/// What an input may be; bounds are included, as they would be given.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Number(f64, f64),
    Whole(f64, f64),
    Size(&'static str, &'static str),
    /// Bytes a second.
    Flow(&'static str, &'static str),
    /// Bits a second.
    Line(&'static str, &'static str),
    Time(&'static str, &'static str),
    Promise,
}

/// All inputs, in base units: bytes, seconds, bytes a second.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs)]
pub struct Needs {
    pub input: f64,
    pub fan_out: f64,
    pub record_size: Option<f64>,
    pub peak_factor: f64,
    pub retention: f64,
    pub replication_factor: f64,
    pub slo: Option<Promise>,
    pub headroom: f64,
    pub node_failures: f64,
    pub storage_overhead: f64,
    pub disk_size: f64,
    pub disks_per_node_max: f64,
    pub disk_fill_max: f64,
    pub disk_write: f64,
    pub write_amplification: f64,
    pub network: f64,
    pub network_fill_max: f64,
    pub tail_window: f64,
    pub memory_base: f64,
    /// Each input as it stands in the plan, and whether somebody gave it.
    pub stated: Vec<Stated>,
}

/// An input as it was given, or its default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stated {
    pub key: &'static str,
    pub value: String,
    pub is_given: bool,
}

/// The promise has its own reader.
const SLO: &str = "slo";

/// All inputs.
pub static INPUTS: &[Input] = &[
    Input {
        key: "in",
        meaning: "What all producers send together on the average, as it goes over the network, compressed if it is",
        kind: Kind::Flow("1kB/s", "1TB/s"),
        default: None,
        set: |needs, value| needs.input = value,
    },
    Input {
        key: "fan-out",
        meaning: "How often each record is read",
        kind: Kind::Number(0.0, 1_000.0),
        default: Some("1"),
        set: |needs, value| needs.fan_out = value,
    },
    Input {
        key: "record-size",
        meaning: "Mean length of a record; that of the curve if not given",
        kind: Kind::Size("1B", "16MiB"),
        default: None,
        set: |needs, value| needs.record_size = Some(value),
    },
    Input {
        key: "peak-factor",
        meaning: "How many times the average comes in the busiest minutes",
        kind: Kind::Number(1.0, 100.0),
        default: Some("2"),
        set: |needs, value| needs.peak_factor = value,
    },
    Input {
        key: "retention",
        meaning: "How long records are kept",
        kind: Kind::Time("1m", "3650d"),
        default: Some("7d"),
        set: |needs, value| needs.retention = value,
    },
    Input {
        key: "replication-factor",
        meaning: "Replicas of each partition",
        kind: Kind::Whole(1.0, 15.0),
        default: Some("3"),
        set: |needs, value| needs.replication_factor = value,
    },
    Input {
        key: SLO,
        meaning: "The promise of latency; that of the curve if not given",
        kind: Kind::Promise,
        default: None,
        set: |_, _| {},
    },
    Input {
        key: "headroom",
        meaning: "Part of what a node can do that stays free at the peak",
        kind: Kind::Number(0.0, 0.9),
        default: Some("0.3"),
        set: |needs, value| needs.headroom = value,
    },
    Input {
        key: "node-failures",
        meaning: "So many nodes may fail at the peak, and the others keep the promise",
        kind: Kind::Whole(0.0, 10.0),
        default: Some("1"),
        set: |needs, value| needs.node_failures = value,
    },
    Input {
        key: "storage-overhead",
        meaning: "Bytes on disk for each byte kept: indexes, and segments that are not deleted yet",
        kind: Kind::Number(1.0, 5.0),
        default: Some("1.1"),
        set: |needs, value| needs.storage_overhead = value,
    },
    Input {
        key: "disk-size",
        meaning: "Size of a disk",
        kind: Kind::Size("10GB", "1000TB"),
        default: Some("4TB"),
        set: |needs, value| needs.disk_size = value,
    },
    Input {
        key: "disks-per-node-max",
        meaning: "So many disks go into a node",
        kind: Kind::Whole(1.0, 100.0),
        default: Some("8"),
        set: |needs, value| needs.disks_per_node_max = value,
    },
    Input {
        key: "disk-fill-max",
        meaning: "Part of a disk that may be full",
        kind: Kind::Number(0.1, 0.95),
        default: Some("0.8"),
        set: |needs, value| needs.disk_fill_max = value,
    },
    Input {
        key: "disk-write",
        meaning: "What a disk writes for long",
        kind: Kind::Flow("1MB/s", "100GB/s"),
        default: Some("500MB/s"),
        set: |needs, value| needs.disk_write = value,
    },
    Input {
        key: "write-amplification",
        meaning: "Bytes written to disk for each byte appended",
        kind: Kind::Number(1.0, 10.0),
        default: Some("2.2"),
        set: |needs, value| needs.write_amplification = value,
    },
    Input {
        key: "network",
        meaning: "Of a node, in each direction",
        kind: Kind::Line("10Mbit/s", "1Tbit/s"),
        default: Some("10Gbit/s"),
        set: |needs, value| needs.network = value,
    },
    Input {
        key: "network-fill-max",
        meaning: "Part of the network that may be used",
        kind: Kind::Number(0.1, 0.95),
        default: Some("0.7"),
        set: |needs, value| needs.network_fill_max = value,
    },
    Input {
        key: "tail-window",
        meaning: "How far consumers may be behind and still read from memory",
        kind: Kind::Time("0s", "1h"),
        default: Some("60s"),
        set: |needs, value| needs.tail_window = value,
    },
    Input {
        key: "memory-base",
        meaning: "Memory of a node for all but what consumers read from it",
        kind: Kind::Size("256MiB", "1TiB"),
        default: Some("4GiB"),
        set: |needs, value| needs.memory_base = value,
    },
];

impl Input {
    /// What it may be: completes "must be".
    pub fn allowed(&self) -> String {
        match self.kind {
            Kind::Number(least, most) => format!("a number from {least} to {most}"),
            Kind::Whole(least, most) => format!("a whole number from {least} to {most}"),
            Kind::Size(least, most) => format!("a size from {least} to {most}"),
            Kind::Flow(least, most) => format!("bytes a second from {least} to {most}"),
            Kind::Line(least, most) => format!("bits a second from {least} to {most}"),
            Kind::Time(least, most) => format!("a time from {least} to {most}, with its unit"),
            Kind::Promise => GRAMMAR.to_owned(),
        }
    }

    fn of(key: &str) -> Result<&'static Self, String> {
        let found = INPUTS.iter().find(|input| input.key == key);
        found.ok_or_else(|| {
            let keys: Vec<&str> = INPUTS.iter().map(|input| input.key).collect();
            format!("unknown key {key}: must be one of {}", keys.join(", "))
        })
    }

    /// Takes over a value, or says why not.
    fn set(&self, needs: &mut Needs, value: &str) -> Result<(), String> {
        let refusal = || format!("{} = {value}: must be {}", self.key, self.allowed());
        match self.kind {
            Kind::Promise => needs.slo = Some(value.parse().map_err(|_| refusal())?),
            _ => (self.set)(needs, self.read(value).ok_or_else(refusal)?),
        }
        Ok(())
    }

    fn read(&self, text: &str) -> Option<f64> {
        let within = |read: fn(&str) -> Option<f64>, least, most| {
            let range = read(least)?..=read(most)?;
            read(text).filter(|number| range.contains(number))
        };
        match self.kind {
            Kind::Number(least, most) => {
                parse_number(text).filter(|number| (least..=most).contains(number))
            }
            Kind::Whole(least, most) => parse_number(text)
                .filter(|number| number.fract() == 0.0 && (least..=most).contains(number)),
            Kind::Size(least, most) => within(size, least, most),
            Kind::Flow(least, most) => within(flow, least, most),
            Kind::Line(least, most) => within(line, least, most),
            Kind::Time(least, most) => within(time, least, most),
            Kind::Promise => None,
        }
    }
}

fn size(text: &str) -> Option<f64> {
    parse_size(text).map(|bytes| bytes as f64)
}

/// `50MB/s`; the `/s` may be left out.
fn flow(text: &str) -> Option<f64> {
    size(text.strip_suffix("/s").unwrap_or(text))
}

/// `10Gbit/s`, in bytes a second; the `/s` may be left out.
fn line(text: &str) -> Option<f64> {
    let bits = text
        .strip_suffix("/s")
        .unwrap_or(text)
        .strip_suffix("bit")?;
    Some(size(&format!("{bits}B"))? / 8.0)
}

fn time(text: &str) -> Option<f64> {
    let has_unit = text.ends_with(|c: char| c.is_ascii_alphabetic());
    let time = parse_time(text, TimeUnit::Seconds).filter(|_| has_unit)?;
    Some(time.as_secs_f64())
}

impl Needs {
    /// From texts by key; all that is wrong with them at once.
    pub fn read(given: &BTreeMap<String, String>) -> Result<Self, Vec<String>> {
        let mut needs = Self::default();
        let unknown = given.keys().filter_map(|key| Input::of(key).err());
        let mut faults: Vec<String> = unknown.collect();
        for input in INPUTS {
            let text = given.get(input.key).map(String::as_str);
            let Some(value) = text.or(input.default) else {
                if input.key == INPUTS[0].key {
                    let (key, allowed) = (input.key, input.allowed());
                    faults.push(format!("{key} must be given: {allowed}"));
                }
                continue;
            };
            let value = value.trim();
            faults.extend(input.set(&mut needs, value).err());
            needs.stated.push(Stated {
                key: input.key,
                value: value.to_owned(),
                is_given: text.is_some(),
            });
        }
        if faults.is_empty() {
            Ok(needs)
        } else {
            Err(faults)
        }
    }

    /// The keys and values of a file in TOML, as texts; all that is wrong with it, each with its line.
    pub fn texts_of_file(text: &str) -> Result<BTreeMap<String, String>, Vec<String>> {
        let table = DeTable::parse(text).map_err(|error| vec![error.to_string()])?;
        let (mut texts, mut faults) = (BTreeMap::new(), Vec::new());
        for (key, value) in table.into_inner() {
            let line = 1 + text[..key.span().start].matches('\n').count();
            let key = key.into_inner().into_owned();
            let value = match value.into_inner() {
                DeValue::String(text) => Ok(text.into_owned()),
                DeValue::Integer(number) => Ok(number.to_string()),
                DeValue::Float(number) => Ok(number.to_string()),
                _ => Err(format!("{key}: must be a number or a text")),
            };
            let checked = value.and_then(|value| {
                Input::of(&key)?.set(&mut Self::default(), value.trim())?;
                Ok(value)
            });
            match checked {
                Ok(value) => drop(texts.insert(key, value)),
                Err(fault) => faults.push((line, format!("line {line}: {fault}"))),
            }
        }
        faults.sort();
        match faults.is_empty() {
            true => Ok(texts),
            false => Err(faults.into_iter().map(|(_, fault)| fault).collect()),
        }
    }
}
