//! `corelog-bench`: load and latency of any broker that speaks Kafka's protocol, and the comparison of two.

use std::fs;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Parser, Subcommand, ValueEnum};
use corelog_bench::broker::{Jars, Product};
use corelog_bench::compare::{self, CompareSettings};
use corelog_bench::fetch::{self, FetchSettings};
use corelog_bench::produce::{self, Pace, ProduceSettings};
use serde_json::Value;

#[derive(Parser)]
#[command(name = "corelog-bench", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Produce at a fixed number of requests in flight, or at a fixed rate
    Produce(Produce),
    /// Read a topic from its start
    Fetch(Fetch),
    /// Measure Apache Kafka and Corelog in turn, and print their figures side by side
    Compare(Compare),
}

#[derive(Args)]
struct Target {
    /// Address of the broker
    #[arg(long, default_value = "localhost:9092")]
    bootstrap: String,
    /// Process id of the broker on this machine, to report its CPU time and memory
    #[arg(long)]
    pid: Option<u32>,
    /// Topic; it is created if it is not there
    #[arg(long, default_value = "bench")]
    topic: String,
    /// Partitions of the topic
    #[arg(long, default_value_t = 1)]
    partitions: i32,
    /// Seconds that are measured
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Target {
    fn addr(&self) -> Result<SocketAddr> {
        let mut found = self
            .bootstrap
            .to_socket_addrs()
            .with_context(|| format!("--bootstrap {}: HOST:PORT is wanted", self.bootstrap))?
            .collect::<Vec<_>>();
        found.sort_by_key(SocketAddr::is_ipv6);
        found
            .first()
            .copied()
            .with_context(|| format!("--bootstrap {}: no such host", self.bootstrap))
    }

    fn print(&self, json: Value, text: impl std::fmt::Display) {
        if self.json {
            println!("{json:#}")
        } else {
            println!("{text}")
        }
    }
}

#[derive(Args)]
struct Produce {
    #[command(flatten)]
    target: Target,
    /// Bytes of records in each request, a whole number of records
    #[arg(long, default_value_t = 1_024)]
    request_bytes: usize,
    /// Bytes of each record's value
    #[arg(long, default_value_t = 1_024)]
    record_bytes: usize,
    /// When a request counts as done: 1, or -1 for all
    #[arg(long, default_value_t = -1, allow_negative_numbers = true)]
    acks: i16,
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// Threads of this client
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Requests in flight over all connections (closed loop)
    #[arg(long, default_value_t = 16, conflicts_with = "rate")]
    in_flight: usize,
    /// Requests a second, whatever the broker does (open loop)
    #[arg(long)]
    rate: Option<f64>,
    /// Seconds before anything counts
    #[arg(long, default_value_t = 3)]
    warm_up: u64,
}

impl Produce {
    fn run(&self) -> Result<()> {
        ensure!(
            self.record_bytes > 0 && self.request_bytes.is_multiple_of(self.record_bytes),
            "--request-bytes {}: a whole number of records of {} bytes is wanted",
            self.request_bytes,
            self.record_bytes
        );
        let report = produce::run(&ProduceSettings {
            addr: self.target.addr()?,
            topic: self.target.topic.clone(),
            partitions: self.target.partitions,
            records_a_request: self.request_bytes / self.record_bytes,
            record_bytes: self.record_bytes,
            acks: self.acks,
            connections: self.connections,
            threads: self.threads,
            pace: self.rate.map_or(Pace::InFlight(self.in_flight), Pace::Rate),
            warm_up: Duration::from_secs(self.warm_up),
            duration: Duration::from_secs(self.target.seconds),
            pid: self.target.pid,
        })?;
        self.target.print(report.json(), &report);
        Ok(())
    }
}

#[derive(Args)]
struct Fetch {
    #[command(flatten)]
    target: Target,
    #[arg(long, default_value_t = 1)]
    connections: usize,
    /// Limit of a reply's records
    #[arg(long, default_value_t = 50 << 20)]
    reply_bytes: i32,
    /// Limit of one partition's records in a reply
    #[arg(long, default_value_t = 1 << 20)]
    partition_bytes: i32,
}

impl Fetch {
    fn run(&self) -> Result<()> {
        let report = fetch::run(&FetchSettings {
            addr: self.target.addr()?,
            topic: self.target.topic.clone(),
            partitions: self.target.partitions,
            connections: self.connections,
            reply_bytes_max: self.reply_bytes,
            partition_bytes_max: self.partition_bytes,
            duration: Duration::from_secs(self.target.seconds),
            pid: self.target.pid,
        })?;
        self.target.print(report.json(), &report);
        Ok(())
    }
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum ProductName {
    Kafka,
    Corelog,
}

#[derive(Args)]
struct Compare {
    /// Where the brokers keep their data: a folder on the disk to be measured
    #[arg(long)]
    folder: PathBuf,
    /// Corelog's release binary; by default the one built beside this program
    #[arg(long)]
    corelog: Option<PathBuf>,
    /// Cores that Corelog uses
    #[arg(long, default_value_t = 2)]
    cores: usize,
    /// What is measured, in this order
    #[arg(long, value_delimiter = ',', default_value = "kafka,corelog")]
    products: Vec<ProductName>,
    /// Times that everything is measured; medians are printed
    #[arg(long, default_value_t = 1)]
    rounds: usize,
    /// Seconds measured for each workload
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Seconds of each workload before anything counts
    #[arg(long, default_value_t = 3)]
    warm_up: u64,
    /// Only workloads whose name has this in it; may be given several times
    #[arg(long)]
    only: Vec<String>,
    /// Also write the figures of all rounds to this file
    #[arg(long)]
    json: Option<PathBuf>,
}

impl Compare {
    fn run(&self) -> Result<()> {
        if self.products.is_empty() {
            bail!("--products: kafka, corelog or both");
        }
        let product = |name: &ProductName| -> Result<Product> {
            Ok(match name {
                ProductName::Kafka => Product::ApacheKafka(Jars::resolve()?),
                ProductName::Corelog => {
                    let binary = self
                        .corelog
                        .clone()
                        .map_or_else(compare::built_corelog, Ok)?;
                    Product::Corelog {
                        binary,
                        cores: self.cores,
                    }
                }
            })
        };
        let (table, json) = compare::run(&CompareSettings {
            folder: self.folder.clone(),
            products: self.products.iter().map(product).collect::<Result<_>>()?,
            rounds: self.rounds,
            seconds: self.seconds,
            warm_up_seconds: self.warm_up,
            only: self.only.clone(),
        })?;
        if let Some(file) = &self.json {
            fs::write(file, format!("{json:#}\n"))
                .with_context(|| format!("writing {}", file.display()))?;
        }
        println!("{table}");
        Ok(())
    }
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Produce(produce) => produce.run(),
        Command::Fetch(fetch) => fetch.run(),
        Command::Compare(compare) => compare.run(),
    }
}
