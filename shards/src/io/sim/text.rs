//! What happens in a world as text, a line for each event, so that a run can be read and two be compared.
//!
//! ```text
//! 0.001204 n0 s1 journal: write /data/journal/0001-0000.journal at 4096, 8192 bytes
//! ```
//!
//! Time since the world began in seconds, node, shard, task and what it does; what the world does itself has `world` in
//! place of the task. It costs nothing as long as nobody asks for it.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write as _};

use crate::io::time::Instant;

/// Names the file that the lines are added to. With more than one world at a time they are mixed.
const FILE: &str = "CORELOG_TRACE";

/// Where the lines go.
pub(super) enum Text {
    File(BufWriter<File>),
    Memory(String),
}

/// Who does something.
#[derive(Clone, Copy)]
pub(super) struct Actor {
    pub(super) node: usize,
    pub(super) shard: usize,
    pub(super) task: &'static str,
}

impl Text {
    /// What the environment asks for.
    pub(super) fn from_environment() -> Option<Text> {
        let path = std::env::var_os(FILE)?;
        let opened = OpenOptions::new().create(true).append(true).open(&path);
        let file = opened.unwrap_or_else(|error| panic!("{FILE}={}: {error}", path.display()));
        Some(Text::File(BufWriter::new(file)))
    }

    pub(super) fn add(&mut self, at: Instant, actor: Option<Actor>, event: &str) {
        let seconds = at.as_nanos() as f64 / 1e9;
        let mut line = format!("{seconds:.6} ");
        let written = match actor {
            Some(Actor { node, shard, task }) => {
                writeln!(line, "n{node} s{shard} {task}: {event}")
            }
            None => writeln!(line, "world: {event}"),
        };
        written.expect("a string takes it");
        match self {
            Text::File(file) => {
                let written = file.write_all(line.as_bytes());
                written.unwrap_or_else(|error| panic!("{FILE}: {error}"));
            }
            Text::Memory(text) => text.push_str(&line),
        }
    }
}
