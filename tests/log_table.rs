//! The table of errors in tuning/README.md beside the sources: each line that it names is one that the program can say,
//! and each error that the program can say is in it.

use std::fs;
use std::path::{Path, PathBuf};

const TABLE: &str = "tuning/README.md";
/// The heading of the table.
const HEADING: &str = "## What the log says, and what to do";
/// What stands for anything in a line of the table.
const ANY: char = '…';

/// Errors in the sources that are not in the table, and why.
const OTHERS: &[(&str, &str)] = &[(
    "…",
    "a reply that cannot be encoded: the words are those of a request that cannot be decoded",
)];

/// The sources of the broker.
fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![root.join("src"), root.join("shards/src")];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder of the sources") {
            let path = entry.expect("a file of the sources").path();
            let name = path.file_name().and_then(|name| name.to_str());
            let name = name.expect("names are plain");
            if path.is_dir() {
                folders.push(path);
            } else if name.ends_with(".rs") && name != "tests.rs" {
                let text = fs::read_to_string(&path).expect("text");
                sources.push((path, joined(&text)));
            }
        }
    }
    sources
}

/// With literals that go over several lines on one.
fn joined(text: &str) -> String {
    let mut joined = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\\\n") {
        joined.push_str(before);
        rest = after.trim_start();
    }
    joined.push_str(rest);
    joined
}

/// The first string literal of a call, with what is filled in as [`ANY`].
fn literal(call: &str) -> Option<String> {
    let mut literals = Vec::new();
    let mut chars = call.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => {
                let mut text = String::new();
                while let Some(c) = chars.next() {
                    match c {
                        '"' => break,
                        '\\' => text.extend(chars.next()),
                        '{' => {
                            text.push(ANY);
                            chars.by_ref().find(|c| *c == '}')?;
                        }
                        c => text.push(c),
                    }
                }
                literals.push(text);
            }
            ';' => break,
            _ => {}
        }
    }
    // The message is the last one: names of fields are no literals, but values may be.
    literals.pop()
}

/// What is logged as an error, and where.
fn errors() -> Vec<(String, PathBuf)> {
    let mut errors = Vec::new();
    for (path, text) in sources() {
        for (at, call) in text.match_indices("tracing::error!(") {
            // To its closing parenthesis.
            let mut depth = 0;
            let rest = &text[at + call.len() - 1..];
            let end = rest.char_indices().find(|(_, c)| {
                depth += i32::from(*c == '(') - i32::from(*c == ')');
                depth == 0
            });
            let (end, _) = end.expect("it is closed");
            let said = literal(&rest[..end]);
            errors.push((said.expect("it has a message"), path.clone()));
        }
    }
    errors
}

/// The lines that the table names.
fn table() -> Vec<String> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(TABLE)).expect(TABLE);
    let (_, table) = text.split_once(HEADING).expect("the table");
    let rows = table.lines().filter(|line| line.starts_with("| "));
    let cells = rows.filter_map(|row| row.split(" | ").nth(1));
    let lines = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2).map(str::to_owned));
    lines.collect()
}

#[test]
fn each_line_of_the_table_is_one_that_can_be_said() {
    let sources = sources();
    let lines = table();
    assert!(lines.len() > 30, "{} lines", lines.len());
    for line in lines {
        let pieces: Vec<&str> = line.split(ANY).map(str::trim).collect();
        // All of it in one file.
        let is_said = |text: &String| pieces.iter().all(|piece| text.contains(piece));
        assert!(
            sources.iter().any(|(_, text)| is_said(text)),
            "nobody says {line:?}"
        );
    }
}

#[test]
fn each_error_is_in_the_table() {
    let (lines, errors) = (table(), errors());
    assert!(errors.len() > 20, "{} errors", errors.len());
    let mut missing = Vec::new();
    for (said, path) in &errors {
        let is_other = OTHERS.iter().any(|(other, _)| other == said);
        if !is_other && !lines.contains(said) {
            missing.push(format!("{}: {said}", path.display()));
        }
    }
    assert!(missing.is_empty(), "\n{}\n", missing.join("\n"));
    for (other, why) in OTHERS {
        let is_there = errors.iter().any(|(said, _)| said == other);
        assert!(is_there, "{other:?} ({why}) is not in the sources any more");
    }
}
