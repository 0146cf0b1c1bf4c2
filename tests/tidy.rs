//! What the compiler does not check about the shape of the code: who may use what, and files without a reader.
//!
//! Works on text, with comments cut off where a rule is about code. Rules have their exceptions beside them, each with
//! its reason. Nothing here looks at a dependency or runs a tool.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Lines of code a file may have, its tests aside. Beyond that two rooms share one wall.
const CODE_LINES_MAX: usize = 700;

/// Folders of this repository that hold its text.
const ROOMS: &[&str] = &[
    ".ci", "src", "shards", "loadgen", "bench", "tests", "tuning",
];

/// Code that runs before there are shards or after they are gone, or that is no part of the broker: it may block.
const SET_UP: &[&str] = &[
    "src/cli/",
    "src/main.rs",
    // Kafka's mark of a clean stop: looked at before the shards, written after them.
    "src/serve.rs",
    "shards/src/runtime.rs",
    "loadgen/",
    "bench/",
];

/// The boundary: what everybody else goes through.
const BOUNDARY: &[&str] = &["shards/src/io/"];
/// What runs on a thread beside the shards.
const BESIDE: &[&str] = &["src/metrics/monitor.rs", "src/metrics/server.rs"];

/// Text that may stand only in certain places, and why.
struct Rule {
    text: &'static str,
    allowed: &'static [&'static [&'static str]],
    why: &'static str,
}

const RULES: &[Rule] = &[
    Rule {
        text: "glommio",
        allowed: &[BOUNDARY],
        why: "only the boundary knows the runtime, so that a simulated world can take its place",
    },
    Rule {
        text: "io_uring::",
        allowed: &[BOUNDARY],
        why: "only the boundary knows how files are read and written",
    },
    Rule {
        text: "unsafe ",
        allowed: &[BOUNDARY],
        why: "unsafe code lives at the boundary",
    },
    Rule {
        text: "Instant::now",
        allowed: &[BOUNDARY, SET_UP, BESIDE],
        why: "time is asked of the shard's `Io`",
    },
    Rule {
        text: "SystemTime::now",
        allowed: &[BOUNDARY, SET_UP],
        why: "time is asked of the shard's `Io`",
    },
    Rule {
        text: "std::fs",
        allowed: &[BOUNDARY, SET_UP],
        why: "a blocking call holds a whole shard",
    },
    Rule {
        text: "std::net::Tcp",
        allowed: &[BOUNDARY, SET_UP, BESIDE],
        why: "a blocking call holds a whole shard",
    },
    Rule {
        text: "thread::sleep",
        allowed: &[BOUNDARY, SET_UP],
        why: "a blocking call holds a whole shard",
    },
    Rule {
        text: "thread::spawn",
        allowed: &[BOUNDARY, SET_UP, BESIDE],
        why: "a shard is one thread, and there are no others",
    },
    Rule {
        text: "thread_local!",
        // What is switched on there is so for one simulated world, which is one thread.
        allowed: &[BOUNDARY, SET_UP, &["shards/src/mutation.rs"]],
        why: "in simulation many shards share one thread",
    },
    Rule {
        text: "collections::HashMap",
        allowed: &[SET_UP],
        why: "its order differs from run to run: a seed would not replay",
    },
    Rule {
        text: "collections::HashSet",
        allowed: &[SET_UP],
        why: "its order differs from run to run: a seed would not replay",
    },
    Rule {
        text: "kafka_protocol",
        allowed: &[&["src/", "bench/", "loadgen/"]],
        why: "the engine knows no wire type",
    },
    Rule {
        text: "allow(dead_code)",
        allowed: &[],
        why: "what has no user goes",
    },
];

#[test]
fn only_the_rooms_meant_for_it_use_it() {
    let mut broken = Vec::new();
    for (path, source) in sources().iter().filter(|(_, source)| !source.is_test) {
        for (number, line) in source.code() {
            for rule in RULES {
                let allowed = rule.allowed.concat();
                if line.contains(rule.text) && !allowed.iter().any(|room| path.starts_with(room)) {
                    broken.push(format!("{path}:{number}: {}: {}", rule.text, rule.why));
                }
            }
        }
    }
    assert_none(&broken);
}

#[test]
fn no_file_is_too_long() {
    let mut long = Vec::new();
    for (path, source) in sources().iter().filter(|(_, source)| !source.is_test) {
        let lines = source.code().count();
        if lines > CODE_LINES_MAX {
            long.push(format!("{path}: {lines} lines of code"));
        }
    }
    assert_none(&long);
}

#[test]
fn every_source_file_has_a_reader() {
    let read = sources();
    let unread = files()
        .into_iter()
        .filter(|path| path.ends_with(".rs") && !read.contains_key(path));
    assert_none(&unread.collect::<Vec<_>>());
}

#[test]
fn nothing_is_put_off_and_nothing_names_a_machine() {
    // In pieces, so that this file may be looked at as well.
    let words = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X"),
        concat!("/wo", "rk/"),
        concat!("/ho", "me/"),
        concat!("/ro", "ot/"),
    ];
    let mut found = Vec::new();
    for path in files() {
        // What is no text is a recorded file.
        let Ok(text) = fs::read_to_string(root().join(&path)) else {
            continue;
        };
        for (number, line) in text.lines().enumerate() {
            for word in words.iter().filter(|word| has_word(line, word)) {
                found.push(format!("{path}:{}: {word}", number + 1));
            }
        }
    }
    assert_none(&found);
}

/// Whether the word stands there by itself, not as a part of a longer one such as a checksum.
fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let is_outside = |c: Option<char>| !c.is_some_and(char::is_alphanumeric);
        is_outside(line[..at].chars().next_back())
            && (word.ends_with('/') || is_outside(line[at + word.len()..].chars().next()))
    })
}

#[test]
fn the_cutter_of_comments_knows_strings() {
    assert_eq!(without_comment("let a = 1; // one"), "let a = 1; ");
    assert_eq!(without_comment("//! all of it"), "");
    assert_eq!(
        without_comment(r#"open("http://a")"#),
        r#"open("http://a")"#
    );
    assert_eq!(without_comment(r#"split("//") // two"#), r#"split("//") "#);
}

fn assert_none(findings: &[String]) {
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

/// A file that the compiler reads.
struct Source {
    text: String,
    /// Compiled for tests and benches only.
    is_test: bool,
}

impl Source {
    /// Lines with something on them, without comments and without modules of tests.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let mut is_next_test = false;
        let mut is_in_tests = false;
        self.text.lines().enumerate().filter_map(move |(at, line)| {
            if is_in_tests {
                is_in_tests = line != "}";
                return None;
            }
            is_in_tests = is_next_test && line.starts_with("mod ") && line.ends_with('{');
            is_next_test = line == "#[cfg(test)]";
            let code = without_comment(line);
            (!is_in_tests && !code.trim().is_empty()).then_some((at + 1, code))
        })
    }
}

fn without_comment(line: &str) -> &str {
    let mut is_string = false;
    let mut before = ' ';
    for (at, c) in line.char_indices() {
        match c {
            '"' if before != '\\' && before != '\'' => is_string = !is_string,
            '/' if before == '/' && !is_string => return &line[..at - 1],
            _ => {}
        }
        before = c;
    }
    line
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files of the repository, as paths from its root; beside them others may lie there that are not its own.
fn files() -> Vec<String> {
    let mut folders: Vec<PathBuf> = ROOMS.iter().map(|room| root().join(room)).collect();
    let mut files = Vec::new();
    for entry in fs::read_dir(root()).expect("the repository") {
        let path = entry.expect("the repository").path();
        let ending = path.extension().and_then(|ending| ending.to_str());
        if matches!(ending, Some("md" | "toml")) {
            files.push(from_root(&path));
        }
    }
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the repository") {
            let path = entry.expect("a folder of the repository").path();
            let name = path.file_name().and_then(|name| name.to_str());
            if path.is_dir() {
                // What tools leave behind.
                if !matches!(name, Some("target" | "node_modules" | "__pycache__")) {
                    folders.push(path);
                }
            } else {
                files.push(from_root(&path));
            }
        }
    }
    files.sort();
    files
}

fn from_root(path: &Path) -> String {
    let path = path.strip_prefix(root()).expect("below the root");
    path.to_str().expect("names are plain").to_owned()
}

/// What the compiler reads: the roots of all crates, and what their `mod` declarations lead to.
fn sources() -> BTreeMap<String, Source> {
    let mut sources = BTreeMap::new();
    for path in files() {
        if let Some(is_test) = crate_root(&path) {
            follow(&root().join(path), true, is_test, &mut sources);
        }
    }
    sources
}

/// Whether a file is the root of a crate, and if so, whether of tests or benches.
fn crate_root(path: &str) -> Option<bool> {
    let package = ["shards/", "loadgen/", "bench/"].iter();
    let inner = package.fold(path, |path, name| path.strip_prefix(name).unwrap_or(path));
    let parts: Vec<&str> = inner.split('/').collect();
    match parts.as_slice() {
        ["src", "lib.rs" | "main.rs"] | ["src", "bin", _] | ["build.rs"] => Some(false),
        ["tests" | "benches", name] if name.ends_with(".rs") => Some(true),
        ["tests" | "benches", _, "main.rs"] => Some(true),
        _ => None,
    }
}

fn follow(path: &Path, is_root: bool, is_test: bool, sources: &mut BTreeMap<String, Source>) {
    let Ok(text) = fs::read_to_string(path) else {
        return;
    };
    let folder = path.parent().expect("a file is in a folder");
    let stem = path.file_stem().expect("a file has a name");
    let inner = match is_root || stem == "mod" {
        true => folder.to_owned(),
        false => folder.join(stem),
    };
    // Attributes of the declaration that comes next.
    let mut given_path = None;
    let mut is_next_test = false;
    for line in text.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix("#[path = \"") {
            given_path = rest.split('"').next().map(|given| folder.join(given));
        } else if line.starts_with("#[cfg(") {
            is_next_test |= line.contains("test");
        } else if let Some(name) = module(line) {
            let is_test = is_test || is_next_test;
            let beside = inner.join(format!("{name}.rs"));
            let below = inner.join(name).join("mod.rs");
            for candidate in given_path.take().into_iter().chain([beside, below]) {
                follow(&candidate, false, is_test, sources);
            }
            is_next_test = false;
        } else if !line.starts_with("#[") && !line.starts_with("//") {
            is_next_test = false;
            given_path = None;
        }
    }
    let source = sources
        .entry(from_root(path))
        .or_insert(Source { text, is_test });
    source.is_test &= is_test;
}

/// The name in a declaration of a module in a file of its own.
fn module(line: &str) -> Option<&str> {
    let (before, name) = line.strip_suffix(';')?.split_once("mod ")?;
    let is_visibility = before.is_empty() || before.starts_with("pub");
    (is_visibility && name.chars().all(|c| c.is_alphanumeric() || c == '_')).then_some(name)
}
