//! The command `corelog-loadgen`.
//!
//! | exit status | meaning |
//! |---|---|
//! | 0 | all went well |
//! | 1 | it could not be done; the message says why |
//! | 2 | what came out is not what was acknowledged, or arguments were wrong |
//! | 3 | no rate kept the promise |
//! | 4 | an agent was lost on the way; there are results of the others |
//! | 5 | not all that was acknowledged could be read: brokers did not answer up to the end, or deleted records before they were read, by retention or on request |

mod commands;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use commands::{agent, find_limit, groups, plan, run};
use corelog_loadgen::workload::reference;

/// Loads any broker that speaks the Kafka protocol, and says what it did
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a workload against a broker
    Run(Box<run::Args>),
    /// Find the highest rate at which a broker keeps a promise of latency
    FindLimit(Box<find_limit::Args>),
    /// Load the coordinators of groups alone
    #[command(subcommand)]
    Groups(groups::Command),
    /// Make a part of the load of another machine's `run` or `find-limit`
    Agent(Box<agent::Args>),
    /// Say which cluster is needed, from what a team knows and a curve that was measured
    Plan(Box<plan::Args>),
    /// Describe the named workloads and all settings of a workload, as Markdown
    Workloads,
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Run(args) => run::run(&args),
        Command::FindLimit(args) => find_limit::run(&args),
        Command::Groups(command) => groups::run(&command),
        Command::Agent(args) => agent::run(&args),
        Command::Plan(args) => plan::run(&args),
        Command::Workloads => {
            print!("{}", reference());
            Ok(ExitCode::SUCCESS)
        }
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("corelog-loadgen: {error:#}");
        ExitCode::FAILURE
    })
}
