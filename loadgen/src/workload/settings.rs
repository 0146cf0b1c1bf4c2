//! What a setting is: its key in a file, its flag, what it may be, and how it gets into a workload and out of it.
//!
//! The table of all settings is the one place that knows them. Files, flags, checks and the reference derive from it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::fault::{Fault, Faults, Place};
use super::table::SETTINGS;
use super::units::{TimeUnit, parse_number, parse_size, parse_time, show_size, show_time};
use super::{Workload, check};

/// Records a second.
pub(super) const RATE_MAX: f64 = 100_000_000.0;

/// One setting of a workload.
#[derive(Debug)]
pub struct Setting {
    /// In a file: its table and its name there with a dot between, or a name outside of all tables.
    pub key: &'static str,
    /// On the command line, without the dashes.
    pub flag: &'static str,
    /// What it does, in a sentence without its full stop.
    pub meaning: &'static str,
    pub(super) kind: Kind,
}

/// What a setting may be. All bounds are included.
#[derive(Debug)]
pub(super) enum Kind {
    Whole {
        least: i64,
        most: i64,
        get: fn(&Workload) -> i64,
        set: fn(&mut Workload, i64),
    },
    /// In bytes.
    Size {
        least: u64,
        most: u64,
        get: fn(&Workload) -> u64,
        set: fn(&mut Workload, u64),
    },
    Time {
        unit: TimeUnit,
        least: Duration,
        most: Duration,
        get: fn(&Workload) -> Duration,
        set: fn(&mut Workload, Duration),
    },
    Number {
        least: f64,
        most: f64,
        get: fn(&Workload) -> f64,
        set: fn(&mut Workload, f64),
    },
    Switch {
        get: fn(&Workload) -> bool,
        set: fn(&mut Workload, bool),
    },
    /// One of some words, by its place among them.
    Choice {
        words: &'static [&'static str],
        get: fn(&Workload) -> usize,
        set: fn(&mut Workload, usize),
    },
    /// With a grammar of its own.
    Form {
        /// Completes "must be".
        allowed: &'static str,
        /// Stands for the value in the help.
        value: &'static str,
        types: &'static [Type],
        read: fn(&mut Workload, &Input, &Path) -> Result<(), Refusal>,
        /// None if it does not apply to this workload.
        show: fn(&Workload) -> Option<Input>,
    },
}

/// Types of values in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Text,
    Whole,
    Float,
    Switch,
    List,
    Table,
}

/// A value as it was given, whatever its type was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Input {
    Text(String),
    /// From a list or, as `key=value`, from a table.
    List(Vec<String>),
}

/// Why a value is not taken.
#[derive(Debug)]
pub(super) enum Refusal {
    /// It is not what the setting allows.
    NotAllowed,
    /// The reason completes "key = value:".
    Because(String),
    /// The faults of a file that it names.
    Within(Vec<Fault>),
}

/// Values that were given together, in one file or on one command line.
#[derive(Clone, Debug, Default)]
pub(super) struct Layer {
    pub(super) given: Vec<Given>,
    /// What paths are relative to.
    pub(super) folder: PathBuf,
}

/// One value.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub(super) setting: &'static Setting,
    pub(super) input: Input,
    /// As it was written, for messages.
    pub(super) raw: String,
    pub(super) place: Place,
}

impl Input {
    /// The items of a list, or of a text with commas between them.
    pub(super) fn items(&self) -> Vec<String> {
        match self {
            Self::List(items) => items.clone(),
            Self::Text(text) => text.split(',').map(|item| item.trim().into()).collect(),
        }
    }

    /// None for a list.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::List(_) => None,
        }
    }
}

impl Setting {
    /// What it may be: completes "must be".
    pub fn allowed(&self) -> String {
        match &self.kind {
            Kind::Whole { least, most, .. } => format!("a whole number from {least} to {most}"),
            Kind::Size { least, most, .. } => {
                let (least, most) = (show_size(*least), show_size(*most));
                format!("a size from {least} to {most}, in bytes unless a unit is given")
            }
            Kind::Time {
                unit, least, most, ..
            } => {
                let (least, most) = (show_time(*least), show_time(*most));
                let unit = unit.name();
                format!("a time from {least} to {most}, in {unit} unless a unit is given")
            }
            Kind::Number { least, most, .. } => format!("a number from {least} to {most}"),
            Kind::Switch { .. } => "true or false".into(),
            Kind::Choice { words, .. } => format!("one of {}", words.join(", ")),
            Kind::Form { allowed, .. } => (*allowed).into(),
        }
    }

    /// What stands for the value in the help.
    pub(super) fn value_name(&self) -> &'static str {
        match &self.kind {
            Kind::Whole { .. } => "N",
            Kind::Size { .. } => "SIZE",
            Kind::Time { .. } => "TIME",
            Kind::Number { .. } => "NUMBER",
            Kind::Switch { .. } => "BOOL",
            Kind::Choice { .. } => "WORD",
            Kind::Form { value, .. } => value,
        }
    }

    pub(super) fn types(&self) -> &'static [Type] {
        match &self.kind {
            Kind::Whole { .. } => &[Type::Whole],
            Kind::Size { .. } => &[Type::Whole, Type::Text],
            Kind::Time { .. } => &[Type::Whole, Type::Float, Type::Text],
            Kind::Number { .. } => &[Type::Whole, Type::Float],
            Kind::Switch { .. } => &[Type::Switch],
            Kind::Choice { .. } => &[Type::Text, Type::Whole],
            Kind::Form { types, .. } => types,
        }
    }

    /// Its value in the workload. None if it does not apply to it.
    pub(super) fn show(&self, workload: &Workload) -> Option<Input> {
        let text = match &self.kind {
            Kind::Whole { get, .. } => get(workload).to_string(),
            Kind::Size { get, .. } => show_size(get(workload)),
            Kind::Time { get, .. } => show_time(get(workload)),
            Kind::Number { get, .. } => get(workload).to_string(),
            Kind::Switch { get, .. } => get(workload).to_string(),
            Kind::Choice { words, get, .. } => words[get(workload)].into(),
            Kind::Form { show, .. } => return show(workload),
        };
        Some(Input::Text(text))
    }

    /// Whether it says when records are due, and so excludes the others that do.
    fn is_load(&self) -> bool {
        self.key.starts_with("load.") && self.key != "load.poisson"
    }

    fn read(&self, workload: &mut Workload, input: &Input, folder: &Path) -> Result<(), Refusal> {
        if let Kind::Form { read, .. } = &self.kind {
            return read(workload, input, folder);
        }
        let text = input.text().ok_or(Refusal::NotAllowed)?;
        self.read_text(workload, text).ok_or(Refusal::NotAllowed)
    }

    fn read_text(&self, workload: &mut Workload, text: &str) -> Option<()> {
        match &self.kind {
            Kind::Whole {
                least, most, set, ..
            } => {
                let number = text.parse().ok().filter(|n| (least..=most).contains(&n))?;
                set(workload, number);
            }
            Kind::Size {
                least, most, set, ..
            } => {
                let size = parse_size(text).filter(|n| (least..=most).contains(&n))?;
                set(workload, size);
            }
            Kind::Time {
                unit,
                least,
                most,
                set,
                ..
            } => {
                let time = parse_time(text, *unit).filter(|t| (least..=most).contains(&t))?;
                set(workload, time);
            }
            Kind::Number {
                least, most, set, ..
            } => {
                let number = parse_number(text).filter(|n| (least..=most).contains(&n))?;
                set(workload, number);
            }
            Kind::Switch { set, .. } => set(workload, text.parse().ok()?),
            Kind::Choice { words, set, .. } => {
                set(workload, words.iter().position(|word| *word == text)?);
            }
            Kind::Form { .. } => return None,
        }
        Some(())
    }
}

impl Given {
    /// Zero if it is in no line of a file.
    pub(super) fn line(&self) -> usize {
        match self.place {
            Place::Line { line, .. } => line,
            Place::File(_) | Place::Flag => 0,
        }
    }

    /// Something is wrong with it.
    pub(super) fn fault(&self, why: &str) -> Fault {
        let problem = match &self.place {
            Place::Flag => format!("--{} {}: {why}", self.setting.flag, self.raw),
            Place::Line { .. } | Place::File(_) => {
                format!("{} = {}: {why}", self.setting.key, self.raw)
            }
        };
        Fault {
            place: self.place.clone(),
            problem,
        }
    }

    /// It is not what its setting allows.
    pub(super) fn not_allowed(&self) -> Fault {
        self.fault(&format!("must be {}", self.setting.allowed()))
    }
}

/// Lays what was given over a workload, the later layer over the earlier one, and checks the whole. `faults` are those
/// that were found while the layers were read.
pub(super) fn lay(
    mut workload: Workload,
    layers: &[Layer],
    mut faults: Vec<Fault>,
) -> Result<Workload, Faults> {
    for layer in layers {
        lay_one(&mut workload, layer, &mut faults);
    }
    if faults.is_empty() {
        faults = check::conflicts(&workload)
            .into_iter()
            .map(|conflict| conflict.locate(layers))
            .collect();
    }
    if faults.is_empty() {
        return Ok(workload);
    }
    faults.sort_by(|a, b| order(a).cmp(&order(b)));
    Err(Faults(faults))
}

fn lay_one(workload: &mut Workload, layer: &Layer, faults: &mut Vec<Fault>) {
    let shapes = |given: &&Given| given.setting.is_load();
    if let Some(first) = layer.given.iter().find(shapes) {
        for second in layer.given.iter().filter(shapes).skip(1) {
            let name = match first.place {
                Place::Flag => format!("--{}", first.setting.flag),
                Place::Line { .. } | Place::File(_) => first.setting.key.into(),
            };
            faults.push(second.fault(&format!("only one load can be given, and {name} is one")));
        }
    }
    // In the order of the table: what refines another setting comes after it.
    for setting in SETTINGS {
        let same = |given: &&Given| std::ptr::eq(given.setting, setting);
        for given in layer.given.iter().filter(same) {
            match setting.read(workload, &given.input, &layer.folder) {
                Ok(()) => {}
                Err(Refusal::NotAllowed) => faults.push(given.not_allowed()),
                Err(Refusal::Because(why)) => faults.push(given.fault(&why)),
                Err(Refusal::Within(within)) => faults.extend(within),
            }
        }
    }
}

fn order(fault: &Fault) -> (u8, &str, usize) {
    match &fault.place {
        Place::File(file) => (0, file, 0),
        Place::Line { file, line } => (0, file, *line),
        Place::Flag => (1, "", 0),
    }
}
