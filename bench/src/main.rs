//! `corelog-bench`: load and latency of any broker that speaks Kafka's protocol, and the comparison of two.

use std::fs;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Args, Parser, Subcommand, ValueEnum};
use corelog_bench::broker::{Jars, Product};
use corelog_bench::compare::{self, CompareSettings, Participant, Results, Table};
use corelog_bench::fetch::{self, FetchSettings};
use corelog_bench::offsets::{self, OffsetsSettings};
use corelog_bench::produce::{self, Pace, ProduceSettings};
use corelog_bench::roofline::{self, ServeSettings};
use corelog_bench::target::Target;
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
    /// Commit offsets, kill the broker, and see how long it takes until they can be read again
    Offsets(Offsets),
    /// Measure Apache Kafka and Corelog in turn, and print their figures side by side
    Compare(Box<Compare>),
    /// What this machine allows at most: a bare loop of socket, checksum and durable write, the disk, the loopback
    Roofline(Roofline),
    /// The server of the bare loop
    #[command(hide = true)]
    BareLoop(BareLoop),
}

#[derive(Args)]
struct At {
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

impl At {
    fn target(&self) -> Result<Target> {
        Ok(Target {
            addr: resolve("--bootstrap", &self.bootstrap)?,
            pid: self.pid,
            http: None,
        })
    }

    fn print(&self, json: Value, text: impl std::fmt::Display) {
        if self.json {
            println!("{json:#}")
        } else {
            println!("{text}")
        }
    }
}

/// The address of HOST:PORT, of version 4 if there are both.
fn resolve(flag: &str, text: &str) -> Result<SocketAddr> {
    let mut found = text
        .to_socket_addrs()
        .with_context(|| format!("{flag} {text}: HOST:PORT is wanted"))?
        .collect::<Vec<_>>();
    found.sort_by_key(SocketAddr::is_ipv6);
    found
        .first()
        .copied()
        .with_context(|| format!("{flag} {text}: no such host"))
}

#[derive(Args)]
struct Produce {
    #[command(flatten)]
    target: At,
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
            target: self.target.target()?,
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
            topic_configs: &[],
            counts_calls: false,
        })?;
        self.target.print(report.json(), &report);
        Ok(())
    }
}

#[derive(Args)]
struct Fetch {
    #[command(flatten)]
    target: At,
    #[arg(long, default_value_t = 1)]
    connections: usize,
    /// Limit of a reply's records
    #[arg(long, default_value_t = 50 << 20)]
    reply_bytes: i32,
    /// Limit of one partition's records in a reply
    #[arg(long, default_value_t = 1 << 20)]
    partition_bytes: i32,
    /// Megabytes a second at which all connections together read; no limit without it
    #[arg(long)]
    mb_a_second_max: Option<f64>,
}

impl Fetch {
    fn run(&self) -> Result<()> {
        let report = fetch::run(&FetchSettings {
            target: self.target.target()?,
            topic: self.target.topic.clone(),
            partitions: self.target.partitions,
            connections: self.connections,
            reply_bytes_max: self.reply_bytes,
            partition_bytes_max: self.partition_bytes,
            duration: Duration::from_secs(self.target.seconds),
            is_once: false,
            mb_a_second_max: self.mb_a_second_max,
        })?;
        self.target.print(report.json(), &report);
        Ok(())
    }
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum ProductName {
    Kafka,
    Corelog,
    CorelogOneCore,
    Roofline,
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
    /// What is measured, in this order; ratios are to the first
    #[arg(long, value_delimiter = ',', default_value = "kafka,corelog,roofline")]
    products: Vec<ProductName>,
    /// Another broker that takes part: HOST:PORT where it runs already
    #[arg(long)]
    against: Option<String>,
    /// Process id of that broker on this machine; without it, what it uses is not measured
    #[arg(long, requires = "against")]
    against_pid: Option<u32>,
    /// A few workloads, two short rounds: four to five minutes
    #[arg(long)]
    quick: bool,
    /// All workloads, two rounds: an hour and a quarter. The default
    #[arg(long, conflicts_with = "quick")]
    full: bool,
    /// Times that everything is measured
    #[arg(long, default_value_t = 2)]
    rounds: usize,
    /// Seconds measured for each workload [default: 2 if --quick, else 4]
    #[arg(long)]
    seconds: Option<u64>,
    /// Seconds of each workload before anything counts [default: 1 if --quick, else 2]
    #[arg(long)]
    warm_up: Option<u64>,
    /// Minutes of the soak, which is run only where --only names it
    #[arg(long, default_value_t = 20)]
    soak_minutes: u64,
    /// Only workloads whose name has this in it; may be given several times. A name that there is not shows all
    #[arg(long)]
    only: Vec<String>,
    /// The JSON of an earlier run, whose rates are used again: what changed beyond the noise is named
    #[arg(long)]
    baseline: Option<PathBuf>,
    /// Also write everything to this file
    #[arg(long)]
    json: Option<PathBuf>,
    /// Also draw it as a page that needs nothing else
    #[arg(long)]
    html: Option<PathBuf>,
}

impl Compare {
    fn run(&self) -> Result<()> {
        let (seconds, warm_up) = if self.quick { (2, 1) } else { (4, 2) };
        let baseline = self.baseline.as_deref().map(Results::read).transpose()?;
        if let Some(file) = &self.html {
            // Rather found out now than after an hour.
            fs::write(file, "").with_context(|| format!("writing {}", file.display()))?;
        }
        let results = compare::run(&CompareSettings {
            folder: self.folder.clone(),
            participants: self.participants()?,
            rounds: self.rounds,
            seconds: self.seconds.unwrap_or(seconds),
            warm_up_seconds: self.warm_up.unwrap_or(warm_up),
            soak_minutes: self.soak_minutes,
            is_quick: self.quick,
            only: self.only.clone(),
            baseline: baseline.clone(),
            json: self.json.clone(),
        })?;
        println!("{}\n{}", results.machine, Table(&results));
        let changes = baseline
            .as_ref()
            .map(|baseline| (baseline, compare::changes(baseline, &results)));
        if let Some(file) = &self.html {
            let earlier = changes
                .as_ref()
                .map(|(baseline, changes)| (*baseline, changes.as_slice()));
            fs::write(file, compare::page(&results, earlier))
                .with_context(|| format!("writing {}", file.display()))?;
        }
        if let Some((baseline, changes)) = &changes {
            match baseline.rounds.min(results.rounds) {
                1 => {
                    println!("nothing is compared: the noise of a run with one round is not known")
                }
                _ => println!(
                    "{} figures changed beyond the noise of both runs",
                    changes.len()
                ),
            }
            if let Some(differences) = compare::differences(baseline, &results) {
                println!("{differences}");
            }
            changes.iter().for_each(|change| println!("{change}"));
        }
        let failures = results.failures();
        ensure!(failures.is_empty(), "{} workloads failed", failures.len());
        Ok(())
    }

    fn participants(&self) -> Result<Vec<Participant>> {
        let binary = || self.corelog.clone().map_or_else(compare::built_corelog, Ok);
        let product = |name: &ProductName| -> Result<Participant> {
            Ok(match name {
                ProductName::Kafka => Participant::Started(Product::ApacheKafka(Jars::resolve()?)),
                ProductName::Corelog => Participant::Started(Product::Corelog {
                    binary: binary()?,
                    cores: self.cores,
                }),
                ProductName::CorelogOneCore => Participant::OnOneCore(binary()?),
                ProductName::Roofline => Participant::BareLoop,
            })
        };
        let mut participants: Vec<_> = self.products.iter().map(product).collect::<Result<_>>()?;
        if let Some(against) = &self.against {
            participants.push(Participant::Running(Target {
                addr: resolve("--against", against)?,
                pid: self.against_pid,
                http: None,
            }));
        }
        Ok(participants)
    }
}

#[derive(Args)]
struct Offsets {
    /// An empty or missing folder for the broker
    #[arg(long)]
    folder: PathBuf,
    /// Offsets that are committed
    #[arg(long, default_value_t = 1_000_000)]
    offsets: usize,
    /// How often each is committed
    #[arg(long, default_value_t = 1)]
    rounds: usize,
    /// How often the broker is killed and started
    #[arg(long, default_value_t = 3)]
    starts: usize,
    /// Measure Apache Kafka in place of Corelog
    #[arg(long)]
    kafka: bool,
    /// The binary of Corelog; by default the one built beside this
    #[arg(long)]
    corelog: Option<PathBuf>,
    /// Cores of Corelog
    #[arg(long, default_value_t = 2)]
    cores: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Offsets {
    fn run(self) -> Result<()> {
        let product = match self.kafka {
            true => Product::ApacheKafka(Jars::resolve()?),
            false => Product::Corelog {
                binary: self.corelog.map_or_else(compare::built_corelog, Ok)?,
                cores: self.cores,
            },
        };
        let report = offsets::run(&OffsetsSettings {
            product,
            folder: self.folder,
            offsets: self.offsets,
            rounds: self.rounds,
            starts: self.starts,
        })?;
        match self.json {
            true => println!("{:#}", report.to_json()),
            false => print!("{report}"),
        }
        Ok(())
    }
}

#[derive(Args)]
struct Roofline {
    /// A folder on the disk to be measured
    #[arg(long)]
    folder: PathBuf,
    /// Seconds of each part
    #[arg(long, default_value_t = 3)]
    seconds: u64,
}

impl Roofline {
    fn run(&self) -> Result<()> {
        fs::create_dir_all(&self.folder)
            .with_context(|| format!("creating {}", self.folder.display()))?;
        println!(
            "{}",
            roofline::Roofline::measure(&self.folder, self.seconds)?
        );
        Ok(())
    }
}

#[derive(Args)]
struct BareLoop {
    #[arg(long)]
    folder: PathBuf,
    #[arg(long)]
    topic: String,
    #[arg(long)]
    connections: usize,
    #[arg(long)]
    threads: usize,
}

impl BareLoop {
    fn run(self) -> Result<()> {
        roofline::serve(&ServeSettings {
            folder: self.folder,
            topic: self.topic,
            connections: self.connections,
            threads: self.threads,
        })
    }
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Produce(produce) => produce.run(),
        Command::Fetch(fetch) => fetch.run(),
        Command::Offsets(offsets) => offsets.run(),
        Command::Compare(compare) => compare.run(),
        Command::Roofline(roofline) => roofline.run(),
        Command::BareLoop(bare_loop) => bare_loop.run(),
    }
}
