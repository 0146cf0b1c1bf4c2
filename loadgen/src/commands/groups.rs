//! `groups`: loads on the coordinators of groups alone.

use std::fmt::Display;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Subcommand, ValueEnum};
use corelog_loadgen::coordination::{Commits, Heartbeats, Settle, Until};
use corelog_loadgen::workload::{Assignor, GroupProtocol};
use serde::Serialize;

use super::{Brokers, Output, Outputs};

#[derive(Subcommand)]
pub enum Command {
    /// Commit offsets as fast as they are acknowledged, one commit on the way over each connection
    Commits(CommitsArgs),
    /// Say how long a group takes to settle at first, after a member joins and after one is killed
    Settle(SettleArgs),
    /// Keep many members alive that have nothing to do
    Heartbeats(HeartbeatsArgs),
}

#[derive(clap::Args)]
struct At {
    #[command(flatten)]
    brokers: Brokers,
    /// The topic that groups read or commit for, and what their names begin with; it is made if it is not there
    #[arg(long, value_name = "NAME", default_value = "loadgen-groups")]
    topic: String,
    /// Write the figures to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl At {
    fn print(&self, report: &(impl Display + Serialize)) -> Result<ExitCode> {
        println!("{report}");
        let json = Output::open(&self.json)?;
        let mut outputs = Outputs::default();
        let text = serde_json::to_string_pretty(report)?;
        outputs.write(&json, || text + "\n");
        outputs.finish()?;
        Ok(ExitCode::SUCCESS)
    }
}

#[derive(clap::Args)]
struct Kind {
    /// Which protocol members speak
    #[arg(long, value_enum, default_value = "classic")]
    group_protocol: Protocol,
    /// Who gets which partition
    #[arg(long, value_enum, default_value = "default")]
    assignor: AssignorName,
    /// Seconds that a member may say nothing: of classic members asked for, of the consumer protocol what the broker
    /// has as group.consumer.session.timeout.ms [default: 45; settle asks for 6 of the classic protocol]
    #[arg(long, value_name = "SECONDS")]
    session_timeout: Option<u64>,
}

impl Kind {
    fn protocol(&self) -> GroupProtocol {
        match self.group_protocol {
            Protocol::Classic => GroupProtocol::Classic,
            Protocol::Consumer => GroupProtocol::Consumer,
        }
    }

    fn assignor(&self) -> Assignor {
        match self.assignor {
            AssignorName::Default => Assignor::Default,
            AssignorName::Range => Assignor::Range,
            AssignorName::CooperativeSticky => Assignor::CooperativeSticky,
            AssignorName::Uniform => Assignor::Uniform,
        }
    }

    fn session_timeout(&self, classic: u64) -> Duration {
        let usual = match self.group_protocol {
            Protocol::Classic => classic,
            Protocol::Consumer => 45,
        };
        Duration::from_secs(self.session_timeout.unwrap_or(usual))
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum Protocol {
    Classic,
    Consumer,
}

#[derive(Clone, Copy, ValueEnum)]
enum AssignorName {
    Default,
    Range,
    CooperativeSticky,
    Uniform,
}

#[derive(clap::Args)]
pub struct CommitsArgs {
    #[command(flatten)]
    at: At,
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// Groups, which have no members
    #[arg(long, default_value_t = 100)]
    groups: usize,
    /// Partitions in each commit; the topic has as many
    #[arg(long, default_value_t = 10)]
    partitions: u32,
    /// Seconds before anything counts
    #[arg(long, default_value_t = 3)]
    warm_up: u64,
    /// Seconds that count
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// End once every group has committed so often, instead of after some time
    #[arg(long, conflicts_with_all = ["seconds", "warm_up"])]
    commits: Option<u64>,
}

#[derive(clap::Args)]
pub struct SettleArgs {
    #[command(flatten)]
    at: At,
    #[command(flatten)]
    kind: Kind,
    /// Members of the group, the last of which joins when the others have settled
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(2..=10_000))]
    members: u32,
    /// Partitions of the topic
    #[arg(long, default_value_t = 100)]
    partitions: u32,
}

#[derive(clap::Args)]
pub struct HeartbeatsArgs {
    #[command(flatten)]
    at: At,
    #[command(flatten)]
    kind: Kind,
    #[arg(long, default_value_t = 1_000)]
    groups: usize,
    /// Members of each group; the topic has as many partitions
    #[arg(long, default_value_t = 10)]
    members: usize,
    /// Seconds that count
    #[arg(long, default_value_t = 30)]
    seconds: u64,
}

pub fn run(command: &Command) -> Result<ExitCode> {
    match command {
        Command::Commits(args) => args.run(),
        Command::Settle(args) => args.run(),
        Command::Heartbeats(args) => args.run(),
    }
}

impl CommitsArgs {
    fn run(&self) -> Result<ExitCode> {
        let commits = Commits {
            topic: self.at.topic.clone(),
            connections: self.connections,
            groups: self.groups,
            partitions: self.partitions,
            until: match self.commits {
                Some(each) => Until::Commits(each),
                None => Until::Time {
                    warm_up: Duration::from_secs(self.warm_up),
                    duration: Duration::from_secs(self.seconds),
                },
            },
        };
        self.at.print(&commits.run(&self.at.brokers.addresses()?)?)
    }
}

impl SettleArgs {
    fn run(&self) -> Result<ExitCode> {
        let settle = Settle {
            topic: self.at.topic.clone(),
            partitions: self.partitions,
            members: self.members as usize,
            protocol: self.kind.protocol(),
            assignor: self.kind.assignor(),
            // The shortest that brokers allow by default.
            session_timeout: self.kind.session_timeout(6),
        };
        self.at.print(&settle.run(&self.at.brokers.addresses()?)?)
    }
}

impl HeartbeatsArgs {
    fn run(&self) -> Result<ExitCode> {
        let heartbeats = Heartbeats {
            topic: self.at.topic.clone(),
            groups: self.groups,
            members: self.members,
            protocol: self.kind.protocol(),
            assignor: self.kind.assignor(),
            session_timeout: self.kind.session_timeout(45),
        };
        let mut joined = heartbeats.join(&self.at.brokers.addresses()?)?;
        eprintln!("all have joined after {:.1} s", joined.took.as_secs_f64());
        let report = joined.measure(Duration::from_secs(self.seconds))?;
        joined.leave()?;
        self.at.print(&report)
    }
}
