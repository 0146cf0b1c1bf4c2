//! What is wrong with a workload, and where.

use std::fmt;

/// Where somebody gave a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A line of a file, counted from 1.
    Line {
        /// As it was named.
        file: String,
        /// Counted from 1.
        line: usize,
    },
    /// All of a file.
    File(String),
    /// On the command line.
    Flag,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where it is.
    pub place: Place,
    /// What was given there, and what may be.
    pub problem: String,
}

/// All that is wrong with a workload, in the order of the places. One line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Line { file, line } => write!(f, "{file}:{line}: {}", self.problem),
            Place::File(file) => write!(f, "{file}: {}", self.problem),
            Place::Flag => f.write_str(&self.problem),
        }
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, fault) in self.0.iter().enumerate() {
            if at > 0 {
                writeln!(f)?;
            }
            fault.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}
