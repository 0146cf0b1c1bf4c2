//! The reference page of all properties, in Markdown, made from the table.

use std::fmt::Write;

use super::property::{Level, Property, Scope, Status};
use super::table;

/// The whole page.
pub fn markdown() -> String {
    let mut page = String::from(
        "# Configuration of Corelog\n\n\
         Every property of Apache Kafka 4.3 and Corelog's own. Broker properties stand in \
         `server.properties` or behind `--override`; those that are marked so can be changed \
         while the broker runs. Properties that have no effect are accepted and checked.\n",
    );
    page.push_str("\n## Topics\n");
    for row in table::topic().values().filter(|row| !row.internal) {
        describe(&mut page, row);
    }
    page.push_str("\n## Groups\n");
    for row in table::group().values() {
        describe(&mut page, row);
    }
    for family in table::BROKER_FAMILIES {
        heading(&mut page, family.title);
        for row in family.rows.iter().filter(|row| !row.internal) {
            describe(&mut page, row);
        }
    }
    page
}

/// What there is to know of one property, of the broker, of topics and of groups.
pub fn of_property(name: &str) -> Option<String> {
    let rows = [
        table::topic().get(name),
        table::group().get(name),
        table::broker().get(name),
    ];
    let mut text = String::new();
    for row in rows.into_iter().flatten() {
        describe(&mut text, row);
    }
    (!text.is_empty()).then(|| text.trim_start().to_owned())
}

fn heading(page: &mut String, title: &str) {
    line(page, format_args!("\n## {title}"));
}

fn describe(page: &mut String, row: &Property) {
    let level = match row.level {
        Level::Topic => " (topic)",
        Level::Group => " (group)",
        Level::Broker => "",
    };
    line(page, format_args!("\n### `{}`{level}\n", row.name));
    line(page, format_args!("{}\n", row.doc));
    let default = match row.default {
        None => "not set".to_owned(),
        Some("") => "empty".to_owned(),
        Some(text) => format!("`{text}`"),
    };
    let unit = match row.unit.name() {
        "" => String::new(),
        unit => format!(", in {unit}"),
    };
    let mut facts = format!("{}{unit}; default {default}", row.kind);
    let range = row.valid.to_string();
    if !range.is_empty() {
        facts += &format!("; valid: {range}");
    }
    if !row.synonyms.is_empty() {
        let names = row
            .synonyms
            .iter()
            .map(|synonym| format!("`{}`", synonym.name));
        let names: Vec<String> = names.collect();
        facts += &format!("; default of the broker: {}", names.join(", "));
    }
    facts += match (row.level, row.scope) {
        (Level::Topic | Level::Group, _) | (_, Scope::ReadOnly) => "",
        (_, Scope::PerBroker) => "; changes while running, per broker",
        (_, Scope::ClusterWide) => "; changes while running, per broker or for all",
        (_, Scope::RuntimeOnly) => "; set while running only",
    };
    facts += match row.status {
        Status::Honoured => "",
        Status::NotYet => "; **no effect yet**",
        Status::Moot => "; **no effect here**",
    };
    line(page, format_args!("{facts}."));
}

fn line(page: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String can't fail.
    let _ = writeln!(page, "{text}");
}
