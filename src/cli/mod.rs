//! The command line: one file per command, and what a start needs before there are shards.
//!
//! All of it is set-up code: it runs on the main thread before any executor, and may block.

pub mod addresses;
pub mod config;
pub mod doctor;
mod finding;
mod folders;
mod host;
pub mod logging;
pub mod start;
pub mod status;
pub mod tune;

#[cfg(test)]
mod tests;

use clap::{Parser, Subcommand};

pub use addresses::{AddressError, BoundListener};
pub use folders::{DataFolder, DataFolders, FolderError};
pub use host::HostError;

/// A durable streaming broker that speaks the Kafka protocol.
#[derive(Debug, Parser)]
#[command(
    name = "corelog",
    version,
    about,
    after_help = "`corelog start` is enough to begin: it listens on localhost:9092 and keeps its \
                  data in ./corelog-data."
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Start(start::StartArgs),
    Config(config::ConfigArgs),
    Doctor(doctor::DoctorArgs),
    Tune(tune::TuneArgs),
}
