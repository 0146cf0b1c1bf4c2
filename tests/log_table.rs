//! The table of faults in tuning/README.md beside the sources: each line that it names is one that the program can say,
//! and each error and warning that the program can say is in it, or in a list here that says why it is not.

use std::fs;
use std::path::{Path, PathBuf};

use kafka_protocol::ResponseError;

const TABLE: &str = "tuning/README.md";
/// The heading of the table.
const HEADING: &str = "## What the log says, and what to do";
/// What stands for anything in a line of the table.
const ANY: char = '…';

/// Errors and warnings that are not in the table, by the reason.
const OTHERS: &[(&str, &[&str])] = &[
    (
        "words that are made elsewhere, where the table has them",
        &["…"],
    ),
    (
        "tells of a setting or a client, not of a fault, and says itself what it means",
        &[
            "… shards share … cores: start with --cores …",
            "a consumer group cannot become a classic one",
            "a group is too large for a record",
            "a regular expression is not valid and matches nothing",
            "a regular expression matches more topics than a record can hold and is taken to match none",
            "a segment has records of the future: retention.ms does not delete it, nor what is behind it",
            "cannot be created automatically",
            "max.connections.per.ip.overrides: unknown host",
            "offsets of transactions that have no end are not committed",
            "stored settings cannot be used; the old ones stay",
            "too many to be created automatically",
            "topics cannot be created automatically",
            "…: ending at once",
        ],
    ),
    (
        "goes on with more or with less, as README.md describes",
        &[
            "a checkpoint is longer than a journal file: the files become longer than corelog.journal.bytes says",
            "can't accept an HTTP connection: …",
            "cannot serve metrics",
            "no metrics are served: …",
            "the checkpoints of all partitions take more than a journal file: one more is made; set a larger \
             corelog.journal.bytes",
        ],
    ),
    (
        "follows a line of the table, of the same fault",
        &[
            "cannot be described",
            "cannot make a journal file",
            "the coordinator of this partition begins anew to load after a pause",
            "a write of the coordinator takes long: who waits for it is told to ask again",
            "the disk is full: the journal ends without its newest entries, which nobody was told of",
        ],
    ),
    (
        "is tried again by itself or at the next start, and what was acknowledged does not depend on it",
        &[
            "a checkpoint is damaged, all of the log is read",
            "cannot compact a log: it is tried again now and then",
            "cannot finish what compaction has begun",
            "cannot list the files of a journal",
            "cannot look for old segments",
            "cannot make a snapshot of the metadata for now",
            "cannot mark the stop as clean",
            "cannot remove a file",
            "cannot remove a folder that was set aside",
            "cannot remove a partition's folder",
            "cannot remove a segment",
            "cannot remove a snapshot of the metadata",
            "cannot remove a snapshot of the metadata for now",
            "cannot remove old segments",
            "cannot remove segments for now",
            "cannot remove the copy of a partition",
            "cannot remove the folder of a partition that has moved",
            "cannot remove what is left of old snapshots of the metadata",
            "cannot set a folder aside",
            "cannot shorten the metadata log for now",
            "cannot write the end of a segment; the journal has it",
            "cannot write the index of aborted transactions",
            "cut a segment at its last sound batch",
            "the checkpoint of a coordinator is not of its log",
            "there is no new checkpoint of a coordinator",
        ],
    ),
];

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
                let code = text.split("\n#[cfg(test)]\nmod tests {").next();
                sources.push((path, joined(code.unwrap_or_default())));
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

/// The string literals of code, with what is filled in as [`ANY`].
fn literals(code: &str) -> Vec<String> {
    let mut literals = Vec::new();
    let mut rest = code;
    while let Some(c) = rest.chars().next() {
        let skipped = ["'\"'", "'\\\"'", "r#", "r\"", "//"].into_iter();
        match skipped.clone().find(|start| rest.starts_with(start)) {
            Some("//") => rest = rest.find('\n').map_or("", |end| &rest[end..]),
            // Raw ones are no messages.
            Some("r\"") => rest = rest[2..].split_once('"').map_or("", |(_, after)| after),
            Some("r#") if rest.starts_with("r#\"") => {
                rest = rest[3..].split_once("\"#").map_or("", |(_, after)| after);
            }
            Some(quote) => rest = &rest[quote.len()..],
            None if c == '"' => {
                let (text, after) = literal(&rest[1..]);
                literals.push(text);
                rest = after;
            }
            None => rest = &rest[c.len_utf8()..],
        }
    }
    literals
}

/// A string literal behind its first quote, and what is behind its last one.
fn literal(code: &str) -> (String, &str) {
    let mut text = String::new();
    let mut chars = code.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => break,
            '\\' => text.extend(chars.next()),
            '{' => {
                text.push(ANY);
                // One that is not closed is no place to fill in.
                let rest = chars.as_str();
                let end = rest.find(['}', '"']).unwrap_or(rest.len());
                chars = rest[end..]
                    .strip_prefix('}')
                    .unwrap_or(&rest[end..])
                    .chars();
            }
            c => text.push(c),
        }
    }
    (text, chars.as_str())
}

/// What is logged by calls of a macro, and where.
fn said_by(name: &str) -> Vec<(String, PathBuf)> {
    said_by_those(name, |_| true)
}

/// What is logged at a level by calls that clients could repeat.
fn said_in_turn(level: &str) -> Vec<(String, PathBuf)> {
    let is_level = |call: &str| call.split(',').any(|part| part.trim() == level);
    said_by_those("lines::say!", is_level)
}

/// What is logged by those calls of a macro that are as asked, and where.
fn said_by_those(name: &str, is_meant: impl Fn(&str) -> bool) -> Vec<(String, PathBuf)> {
    let mut all = Vec::new();
    for (path, text) in sources() {
        for (at, call) in text.match_indices(name) {
            // To its closing parenthesis.
            let mut depth = 0;
            let rest = &text[at + call.len()..];
            let end = rest.char_indices().find(|(_, c)| {
                depth += i32::from(*c == '(') - i32::from(*c == ')');
                depth == 0
            });
            let (end, _) = end.expect("it is closed");
            if !is_meant(&rest[..end]) {
                continue;
            }
            // The message is the last one: names of fields are no literals, but values may be.
            let said = literals(&rest[..end]).pop();
            all.push((said.expect("it has a message"), path.clone()));
        }
    }
    all
}

/// Whether a literal is what a line of the table stands for: all of its pieces, in their order, from the beginning to
/// the end.
fn stands_for(line: &str, said: &str) -> bool {
    let Some((first, others)) = line.split_once(ANY) else {
        return line == said;
    };
    let Some(mut rest) = said.strip_prefix(first) else {
        return false;
    };
    let mut pieces: Vec<&str> = others.split(ANY).collect();
    let last = pieces.pop().expect("a piece at least");
    for piece in pieces {
        match rest.split_once(piece) {
            Some((_, behind)) => rest = behind,
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// What is quoted in a column of the table: 1 are the lines of the log, 2 is what clients get.
fn quoted(column: usize) -> Vec<String> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(TABLE)).expect(TABLE);
    let (_, table) = text.split_once(HEADING).expect("the table");
    let rows = table.lines().filter(|line| line.starts_with("| "));
    let cells = rows.filter_map(|row| row.split(" | ").nth(column));
    let quoted = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2).map(str::to_owned));
    quoted.collect()
}

/// The lines that the table names.
fn table() -> Vec<String> {
    quoted(1)
}

/// The names of Kafka's error codes, in its own spelling.
fn error_codes() -> Vec<String> {
    let codes = (-1..1_000).filter_map(ResponseError::try_from_code);
    let known = codes.filter(|code| !matches!(code, ResponseError::Unknown(_)));
    known
        .map(|code| in_capitals(&format!("{code:?}")))
        .collect()
}

/// `InThisSpelling` in that of Kafka, which is `IN_THIS_SPELLING`.
fn in_capitals(name: &str) -> String {
    let mut capitals = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !capitals.is_empty() {
            capitals.push('_');
        }
        capitals.push(c.to_ascii_uppercase());
    }
    capitals
}

/// The error codes that faults are mapped to, by the function that does. What the controller refuses says itself why.
fn mapped() -> Vec<(String, String)> {
    let sources = sources();
    let source = sources
        .iter()
        .find(|(path, _)| path.ends_with("api/errors.rs"));
    let (_, code) = source.expect("the mapping");
    let mut mapped = Vec::new();
    for function in code.split("\npub fn ").skip(1) {
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let name = function.split(|c| !is_part(c)).next().unwrap_or_default();
        if name == "of_control" {
            continue;
        }
        for rest in function.split("ResponseError::").skip(1) {
            let code = rest.split(|c| !is_part(c)).next().unwrap_or_default();
            mapped.push((name.to_owned(), in_capitals(code)));
        }
    }
    mapped
}

#[test]
fn each_error_code_that_a_fault_is_mapped_to_is_in_the_table() {
    let mapped = mapped();
    for function in [
        "of_append",
        "of_read",
        "of_rejection",
        "of_session",
        "of_refusal",
    ] {
        let is_read = mapped.iter().any(|(name, _)| name == function);
        assert!(is_read, "{function}: {mapped:?}");
    }
    let told = quoted(2);
    for (function, code) in mapped {
        assert!(
            told.contains(&code),
            "{code} of {function} is not in the table"
        );
    }
}

#[test]
fn each_error_code_of_the_table_is_one_of_kafka() {
    let known = error_codes();
    assert!(known.len() > 100, "{known:?}");
    let is_name = |text: &String| text.chars().all(|c| c.is_ascii_uppercase() || c == '_');
    let named: Vec<String> = quoted(2).into_iter().filter(is_name).collect();
    assert!(named.len() > 15, "{named:?}");
    for name in named {
        assert!(known.contains(&name), "Kafka has no error {name}");
    }
}

#[test]
fn each_line_of_the_table_is_one_that_can_be_said() {
    let sources = sources();
    let said: Vec<String> = sources
        .iter()
        .flat_map(|(_, text)| literals(text))
        .collect();
    let lines = table();
    assert!(lines.len() > 30, "{} lines", lines.len());
    for line in lines {
        let is_said = said.iter().any(|said| stands_for(&line, said));
        assert!(is_said, "nobody says {line:?}");
    }
}

/// Those that are said and in neither list.
fn untold(said: &[(String, PathBuf)]) -> Vec<String> {
    let lines = table();
    let others: Vec<&str> = OTHERS
        .iter()
        .flat_map(|(_, lines)| *lines)
        .copied()
        .collect();
    let is_told = |said: &String| lines.contains(said) || others.contains(&said.as_str());
    let untold = said.iter().filter(|(said, _)| !is_told(said));
    untold
        .map(|(said, path)| format!("{}: {said}", path.display()))
        .collect()
}

#[test]
fn each_error_warning_and_closing_is_in_the_table_or_said_why_not() {
    let (errors, warnings) = (said_by("tracing::error!"), said_by("tracing::warn!"));
    assert!(errors.len() > 20, "{} errors", errors.len());
    assert!(warnings.len() > 20, "{} warnings", warnings.len());
    let closings = [said_by("tracing::info!"), said_in_turn("info")].concat();
    let closings = closings.into_iter();
    let closings: Vec<_> = closings
        .filter(|(said, _)| said.starts_with("closed:"))
        .collect();
    assert!(closings.len() > 1, "{} closings", closings.len());
    let in_turn = [said_in_turn("error"), said_in_turn("warn")].concat();
    assert!(in_turn.len() > 10, "{} in turn", in_turn.len());
    let all = [errors, warnings, in_turn, closings].concat();
    let untold = untold(&all);
    assert!(untold.is_empty(), "\n{}\n", untold.join("\n"));
    for (why, others) in OTHERS {
        for other in *others {
            let is_there = all.iter().any(|(said, _)| said == other);
            assert!(is_there, "{other:?} ({why}) is not in the sources any more");
        }
    }
}

#[test]
fn a_line_stands_for_what_has_its_pieces_in_their_order() {
    assert!(stands_for(
        "a … is torn, and … too",
        "a … is torn, and … too"
    ));
    assert!(stands_for(
        "only … files: …",
        "only … files: raise the limit"
    ));
    assert!(!stands_for(
        "a … is torn, and … too",
        "a … too is torn, and …"
    ));
    assert!(!stands_for("cannot write", "cannot write a segment"));
    assert!(!stands_for(
        "cannot … a segment",
        "cannot write a segment now"
    ));
    let code =
        "say(\"{one} of \\\"two\\\"\"); // \"not\"\nif c == '\"' { say(r#\"a \" b\"#, \"last\") }";
    assert_eq!(literals(code), ["… of \"two\"", "last"]);
}
