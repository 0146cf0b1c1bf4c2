//! A workload as a file in TOML, laid over a named workload (`based-on = "..."`) or the default one.
//!
//! ```toml
//! based-on = "firehose"
//! duration = "2m"
//!
//! [topics]
//! partitions = 24
//!
//! [topics.configs]
//! "retention.bytes" = 1000000000
//!
//! [producers]
//! compression-type = "lz4"
//!
//! [load]
//! rate = 5000
//! poisson = true
//! ```

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use super::fault::{Fault, Place};
use super::settings::{Given, Input, Layer, Type};
use super::{NAMED, SETTINGS, Workload, named};

/// Names the workload that a file is laid over.
const BASED_ON: &str = "based-on";

/// Of a value that a message repeats.
const RAW_MAX: usize = 60;

/// What a file says, not yet laid over what it is based on.
pub(super) struct Read {
    pub(super) base: Workload,
    pub(super) layer: Layer,
    pub(super) faults: Vec<Fault>,
}

pub(super) fn read(path: &Path) -> std::io::Result<Read> {
    let text = fs::read_to_string(path)?;
    Ok(parse(&text, path))
}

/// The text of a file of that path: paths in it are relative to its folder.
pub(super) fn parse(text: &str, path: &Path) -> Read {
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut reader = Reader {
        text,
        file: path.display().to_string(),
        base: None,
        given: Vec::new(),
        faults: Vec::new(),
    };
    reader.document(document.get_ref());

    // What the parser made up to go on after an error is not what anybody wrote.
    let broken: Vec<Fault> = errors
        .iter()
        .map(|error| reader.fault(error.span().unwrap_or(0..0), error.message().into()))
        .collect();
    reader
        .faults
        .retain(|fault| broken.iter().all(|error| error.place != fault.place));
    reader
        .given
        .retain(|given| broken.iter().all(|error| error.place != given.place));
    reader.faults.extend(broken);
    // The parser has them in the order of their names.
    reader.given.sort_by_key(|given| given.line());

    let mut base = reader.base.unwrap_or_default();
    if let Some(stem) = path.file_stem() {
        base.name = stem.to_string_lossy().into_owned();
    }
    Read {
        base,
        layer: Layer {
            given: reader.given,
            folder: path.parent().map(PathBuf::from).unwrap_or_default(),
        },
        faults: reader.faults,
    }
}

struct Reader<'a> {
    text: &'a str,
    file: String,
    base: Option<Workload>,
    given: Vec<Given>,
    faults: Vec<Fault>,
}

impl Reader<'_> {
    fn document(&mut self, document: &DeTable<'_>) {
        for (key, value) in document {
            let name = key.get_ref().as_ref();
            if name == BASED_ON {
                self.based_on(key.span(), value);
            } else if keys_of(name).next().is_some() {
                match value.get_ref() {
                    DeValue::Table(table) => self.table(name, table),
                    _ => {
                        let raw = self.raw(value.span());
                        let problem = format!("{name} = {raw}: must be a table, `[{name}]`");
                        self.refuse(key.span(), problem);
                    }
                }
            } else {
                self.setting("", key.span(), name, value);
            }
        }
    }

    fn based_on(&mut self, key: Range<usize>, value: &Spanned<DeValue<'_>>) {
        self.base = value.get_ref().as_str().and_then(named);
        if self.base.is_none() {
            let raw = self.raw(value.span());
            let names: Vec<&str> = NAMED.iter().map(|named| named.name).collect();
            let names = names.join(", ");
            self.refuse(key, format!("{BASED_ON} = {raw}: must be one of {names}"));
        }
    }

    fn table(&mut self, table: &str, entries: &DeTable<'_>) {
        for (key, value) in entries {
            self.setting(table, key.span(), key.get_ref(), value);
        }
    }

    fn setting(
        &mut self,
        table: &str,
        key: Range<usize>,
        name: &str,
        value: &Spanned<DeValue<'_>>,
    ) {
        let full = match table {
            "" => name.to_owned(),
            table => format!("{table}.{name}"),
        };
        let Some(setting) = SETTINGS.iter().find(|setting| setting.key == full) else {
            let known = match table {
                "" => {
                    let tables = [
                        "[topics]",
                        "[producers]",
                        "[consumers]",
                        "[records]",
                        "[load]",
                    ];
                    let keys = std::iter::once(BASED_ON).chain(keys_of(""));
                    keys.chain(tables).collect::<Vec<_>>()
                }
                table => keys_of(table).collect(),
            };
            let known = known.join(", ");
            self.refuse(key, format!("unknown key {full}: must be one of {known}"));
            return;
        };
        let input = input(value.get_ref(), setting.types());
        let given = Given {
            setting,
            raw: self.raw(value.span()),
            place: self.place(key),
            input: input.clone().unwrap_or(Input::List(Vec::new())),
        };
        match input {
            Some(_) => self.given.push(given),
            None => self.faults.push(given.not_allowed()),
        }
    }

    /// A part of the file as it is written, not too much of it.
    fn raw(&self, span: Range<usize>) -> String {
        let raw = self.text.get(span).unwrap_or_default();
        let line = raw.lines().next().unwrap_or_default();
        if line.len() == raw.len() && line.chars().count() <= RAW_MAX {
            return line.into();
        }
        let beginning: String = line.chars().take(RAW_MAX).collect();
        format!("{beginning}...")
    }

    fn place(&self, span: Range<usize>) -> Place {
        let before = &self.text.as_bytes()[..span.start.min(self.text.len())];
        Place::Line {
            file: self.file.clone(),
            line: 1 + before.iter().filter(|byte| **byte == b'\n').count(),
        }
    }

    fn fault(&self, span: Range<usize>, problem: String) -> Fault {
        Fault {
            place: self.place(span),
            problem,
        }
    }

    fn refuse(&mut self, span: Range<usize>, problem: String) {
        let fault = self.fault(span, problem);
        self.faults.push(fault);
    }
}

/// Names of the settings in a table of a file, or of those outside of all tables.
fn keys_of(table: &str) -> impl Iterator<Item = &'static str> {
    SETTINGS.iter().filter_map(move |setting| {
        let (of, name) = setting.key.split_once('.').unwrap_or(("", setting.key));
        (of == table).then_some(name)
    })
}

/// None if the value is not of one of these types.
fn input(value: &DeValue<'_>, types: &[Type]) -> Option<Input> {
    let (kind, input) = match value {
        DeValue::Array(items) => {
            let items = items.iter().map(|item| scalar(item.get_ref()));
            let items: Option<Vec<_>> = items.map(|item| Some(item?.1)).collect();
            (Type::List, Input::List(items?))
        }
        DeValue::Table(table) => {
            let mut items = Vec::new();
            flatten("", table, &mut items)?;
            (Type::Table, Input::List(items))
        }
        value => {
            let (kind, text) = scalar(value)?;
            (kind, Input::Text(text))
        }
    };
    types.contains(&kind).then_some(input)
}

fn scalar(value: &DeValue<'_>) -> Option<(Type, String)> {
    Some(match value {
        DeValue::String(text) => (Type::Text, text.as_ref().into()),
        DeValue::Integer(number) => (Type::Whole, decimal(number)),
        DeValue::Float(number) => (Type::Float, number.to_string()),
        DeValue::Boolean(on) => (Type::Switch, on.to_string()),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => return None,
    })
}

/// As it is written if it is too large for any setting.
fn decimal(number: &DeInteger<'_>) -> String {
    match i64::from_str_radix(number.as_str(), number.radix()) {
        Ok(number) => number.to_string(),
        Err(_) => number.to_string(),
    }
}

/// Names with dots need no quotes: `retention.ms` is a table in a table.
fn flatten(before: &str, table: &DeTable<'_>, items: &mut Vec<String>) -> Option<()> {
    for (key, value) in table {
        let name = format!("{before}{}", key.get_ref());
        match value.get_ref() {
            DeValue::Table(inner) => flatten(&format!("{name}."), inner, items)?,
            value => items.push(format!("{name}={}", scalar(value)?.1)),
        }
    }
    Some(())
}
