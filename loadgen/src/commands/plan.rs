//! `plan`: from a measured curve to nodes, cores, disks, network and memory.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow};
use clap::{Arg, ArgMatches, Command, FromArgMatches};
use corelog_loadgen::capacity::{INPUTS, Needs, plan};
use corelog_loadgen::limit::Curve;

use super::{Output, Outputs};

#[derive(clap::Args)]
pub struct Args {
    /// The curve of a node, as `find-limit --json` writes it
    #[arg(long, value_name = "FILE")]
    curve: PathBuf,
    /// Inputs by their names in TOML, over which those given here are laid
    #[arg(long, value_name = "FILE")]
    needs: Option<PathBuf>,
    /// Write the plan to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    inputs: Inputs,
}

/// A flag for each input.
#[derive(Default)]
struct Inputs(BTreeMap<String, String>);

impl clap::Args for Inputs {
    fn augment_args(command: Command) -> Command {
        command.args(INPUTS.iter().map(|input| {
            let default = input.default.map(|it| format!(", {it} if not given"));
            let (allowed, default) = (input.allowed(), default.unwrap_or_default());
            Arg::new(input.key)
                .long(input.key)
                .value_name("VALUE")
                .help(format!("{} [{allowed}{default}]", input.meaning))
                .help_heading("Inputs")
                .allow_negative_numbers(true)
        }))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Inputs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut inputs = Self::default();
        inputs.update_from_arg_matches(matches)?;
        Ok(inputs)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for input in INPUTS {
            if let Some(value) = matches.get_one::<String>(input.key) {
                self.0.insert(input.key.to_owned(), value.clone());
            }
        }
        Ok(())
    }
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let read = |path: &PathBuf| {
        fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))
    };
    let named = |path: &PathBuf| path.display().to_string();
    let curve = Curve::from_json(&read(&args.curve)?).with_context(|| named(&args.curve))?;
    let mut given = match &args.needs {
        Some(path) => Needs::texts_of_file(&read(path)?)
            .map_err(|faults| anyhow!(faults.join("\n")))
            .with_context(|| named(path))?,
        None => BTreeMap::new(),
    };
    given.extend(args.inputs.0.clone());
    let needs = Needs::read(&given).map_err(|faults| anyhow!(faults.join("\n")))?;
    let bill =
        plan(&needs, &curve).map_err(|refusals| anyhow!("no plan:\n{}", refusals.join("\n")))?;
    print!("{}", bill.to_text());
    let mut outputs = Outputs::default();
    outputs.write(&Output::open(&args.json)?, || bill.to_json());
    outputs.finish()?;
    Ok(ExitCode::SUCCESS)
}
