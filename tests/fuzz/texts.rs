//! Files that people write: `server.properties`, and workloads of the load generator. Whatever is in them, they are taken
//! or it is said what is wrong with them.

use std::path::Path;

use clap::{Args, Command, FromArgMatches};
use corelog::config::{BrokerConfig, Layers, load};
use corelog_loadgen::workload::WorkloadArgs;

use crate::random::Random;

pub const PROPERTIES: &str = include_str!("corpus/server.properties");
pub const WORKLOAD: &str = include_str!("corpus/workload.toml");

/// Values that mean something else to whoever reads them.
const VALUES: &[&str] = &[
    "-2",
    "-1",
    "0",
    "1",
    "65536",
    "2147483647",
    "2147483648",
    "9223372036854775807",
    "-9223372036854775808",
    "99999999999999999999999",
    "1e400",
    "nan",
    "true",
    "",
    " ",
    "\\",
    "\\u00",
    "\\ud800",
    "[",
    "]]",
    "\"",
    "'''",
    "{a=1",
    ",,,",
    "a:b:c",
    "PLAINTEXT://:::9092,PLAINTEXT://:0",
    "1..0",
    "0..18446744073709551616",
    "zipf:0:0",
    "zipf:1:1e308",
    "1000000d",
    "-1s",
    "5 % of",
    "\u{0}",
    "\u{feff}",
    "ß\u{202e}",
];

/// Changes characters, lines and values.
pub fn damage(text: &str, random: &mut Random) -> Vec<u8> {
    let mut lines: Vec<Vec<u8>> = text.lines().map(|line| line.as_bytes().to_vec()).collect();
    for _ in 0..=random.below(6) {
        let at = random.below(lines.len() as u64) as usize;
        let other = random.below(lines.len() as u64) as usize;
        match random.below(9) {
            0 => drop(lines.remove(at)),
            1 => lines.insert(at, lines[other].clone()),
            2 => lines.swap(at, other),
            3..=5 => {
                let value = VALUES[random.below(VALUES.len() as u64) as usize];
                let end = lines[at].iter().position(|byte| *byte == b'=');
                lines[at].truncate(end.map_or(0, |end| end + 1));
                lines[at].extend(value.as_bytes());
            }
            6 => {
                // The value of another one.
                let value = lines[other].split(|byte| *byte == b'=').next_back();
                let value = value.unwrap_or_default().to_vec();
                let end = lines[at].iter().position(|byte| *byte == b'=');
                lines[at].truncate(end.map_or(0, |end| end + 1));
                lines[at].extend(value);
            }
            7 => {
                let long = 1 << random.below(14);
                lines[at].extend(std::iter::repeat_n(b'9', long));
            }
            _ => {
                let len = lines[at].len().max(1) as u64;
                if let Some(byte) = lines[at].get_mut(random.below(len) as usize) {
                    *byte ^= 1 << random.below(8);
                }
            }
        }
        if lines.is_empty() {
            lines.push(Vec::new());
        }
    }
    lines.join(&b'\n')
}

/// Whether a broker would take it.
pub fn is_taken_by_broker(text: &[u8]) -> bool {
    match load(text, &[]) {
        Ok(loaded) => {
            let _ = loaded.warnings();
            match BrokerConfig::resolve(Layers::of_file(&loaded.settings)) {
                Ok(_) => true,
                Err(why) => !assert_told(&why.to_string()),
            }
        }
        Err(why) => !assert_told(&why.to_string()),
    }
}

/// Whether the load generator would take it, as a file of this path.
pub fn is_taken_by_loadgen(path: &Path, text: &[u8]) -> bool {
    std::fs::write(path, text).expect("a file");
    let command = WorkloadArgs::augment_args(Command::new("fuzz"));
    let path = path.to_str().expect("a plain path");
    let matches = command.get_matches_from(["fuzz", "--workload", path]);
    let args = WorkloadArgs::from_arg_matches(&matches).expect("arguments");
    match args.resolve() {
        Ok(_) => true,
        Err(why) => !assert_told(&why.to_string()),
    }
}

fn assert_told(why: &str) -> bool {
    assert!(!why.trim().is_empty(), "it does not say what is wrong");
    true
}
