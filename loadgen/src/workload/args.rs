//! A workload from the command line.

use std::path::Path;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use super::fault::{Fault, Faults, Place};
use super::file;
use super::settings::{Given, Input, Layer, Setting, Type, lay};
use super::{NAMED, SETTINGS, Workload, named};

const WORKLOAD: &str = "workload";

/// `--workload NAME|FILE` and a flag for each setting, which is laid over it. To be flattened into other arguments.
#[derive(Clone, Debug, Default)]
pub struct WorkloadArgs {
    workload: Option<String>,
    flags: Layer,
}

impl WorkloadArgs {
    /// The workload that the arguments describe.
    ///
    /// A name that ships with the load generator is that workload, anything else a file. Everything that is wrong with
    /// the file and with the flags is found at once; what is wrong with them together only if there is nothing else.
    pub fn resolve(&self) -> Result<Workload, Faults> {
        let flags = self.flags.clone();
        let Some(workload) = &self.workload else {
            return lay(Workload::default(), &[flags], Vec::new());
        };
        if let Some(workload) = named(workload) {
            return lay(workload, &[flags], Vec::new());
        }
        let read = file::read(Path::new(workload)).map_err(|error| {
            let names: Vec<&str> = NAMED.iter().map(|named| named.name).collect();
            Faults(vec![Fault {
                place: Place::File(workload.clone()),
                problem: format!(
                    "is neither a workload file ({error}) nor one of {}",
                    names.join(", ")
                ),
            }])
        })?;
        lay(read.base, &[read.layer, flags], read.faults)
    }
}

impl Args for WorkloadArgs {
    fn augment_args(command: Command) -> Command {
        let workload = Arg::new(WORKLOAD)
            .long(WORKLOAD)
            .short('w')
            .value_name("NAME|FILE")
            .help("A named workload or a workload file, over which the other flags are laid")
            .help_heading("Workload");
        command.arg(workload).args(SETTINGS.iter().map(argument))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

fn argument(setting: &'static Setting) -> Arg {
    let argument = Arg::new(setting.key)
        .long(setting.flag)
        .value_name(setting.value_name())
        .help(format!("{} [{}]", setting.meaning, setting.allowed()))
        .help_heading("Workload");
    match setting.types() {
        // Alone it means true.
        [Type::Switch] => argument
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true"),
        [Type::Table] => argument.action(ArgAction::Append),
        _ => argument.allow_negative_numbers(true),
    }
}

impl FromArgMatches for WorkloadArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut args = Self::default();
        args.update_from_arg_matches(matches)?;
        Ok(args)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        if let Some(workload) = matches.get_one::<String>(WORKLOAD) {
            self.workload = Some(workload.clone());
        }
        for setting in SETTINGS {
            let Some(values) = matches.get_many::<String>(setting.key) else {
                continue;
            };
            let values: Vec<String> = values.cloned().collect();
            let raw = values.join(" ");
            let input = match setting.types() {
                [Type::Table] => Input::List(values),
                _ => Input::Text(raw.clone()),
            };
            self.flags
                .given
                .retain(|given| given.setting.key != setting.key);
            self.flags.given.push(Given {
                setting,
                input,
                raw,
                place: Place::Flag,
            });
        }
        Ok(())
    }
}
