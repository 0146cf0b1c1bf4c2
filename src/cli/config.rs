//! `corelog config`: the reference of all properties.

use std::fmt;
use std::io::{self, ErrorKind, Write};

use clap::Args;

use crate::config::reference;

/// Print what can be configured, as Markdown
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// Only these properties, for example `retention.ms`
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
}

/// Why the reference could not be printed.
#[derive(Debug)]
pub enum ConfigCommandError {
    Unknown(String),
    Output(io::Error),
}

impl fmt::Display for ConfigCommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigCommandError::Unknown(name) => {
                write!(
                    f,
                    "there is no property {name}: `corelog config` lists them all"
                )
            }
            ConfigCommandError::Output(error) => write!(f, "can't write: {error}"),
        }
    }
}

pub fn run(args: &ConfigArgs, out: &mut impl Write) -> Result<(), ConfigCommandError> {
    let describe = |name: &String| {
        let property = reference::of_property(name);
        property.ok_or_else(|| ConfigCommandError::Unknown(name.clone()))
    };
    let text = match args.names.as_slice() {
        [] => reference::markdown(),
        names => names
            .iter()
            .map(describe)
            .collect::<Result<Vec<_>, _>>()?
            .join("\n"),
    };
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // The reader, `head` perhaps, has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome.map_err(ConfigCommandError::Output),
    }
}
