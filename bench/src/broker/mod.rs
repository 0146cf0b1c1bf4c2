//! A broker as a process of this machine: Apache Kafka or Corelog, from the same `server.properties`.
//!
//! A [`Site`] is a folder and a port where a product may be started again and again; a [`Broker`] is its running
//! process. A broker that is dropped is killed, so that nothing is left running when a measurement or a test fails.

mod apache_kafka;

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

pub use apache_kafka::{Jars, VERSION as KAFKA_VERSION};

use crate::target::Target;
use corelog_loadgen::client::{Backoff, Client};

/// What [`Product::ApacheKafka`] is called.
pub const KAFKA: &str = "Apache Kafka";

/// Where a site's broker has its logs.
pub const DATA: &str = "data";

/// What can be started.
#[derive(Clone, Debug)]
pub enum Product {
    ApacheKafka(Jars),
    Corelog { binary: PathBuf, cores: usize },
}

impl Product {
    pub fn name(&self) -> &'static str {
        match self {
            Self::ApacheKafka(_) => KAFKA,
            Self::Corelog { .. } => "Corelog",
        }
    }
}

/// A folder prepared for one broker.
#[derive(Clone, Debug)]
pub struct Site {
    product: Product,
    folder: PathBuf,
    pub addr: SocketAddr,
    /// Where Corelog is to serve its metrics.
    http: SocketAddr,
    /// The limit of open files the broker gets, if not this process's own.
    pub open_files_max: Option<u64>,
}

impl Site {
    /// Makes the folder, which must be empty or missing, with a `server.properties` in it that has these properties
    /// beside what every broker here has; Kafka's log directory is formatted, too.
    pub fn prepare(product: Product, folder: &Path, properties: &[(&str, &str)]) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
        ensure!(
            fs::read_dir(folder)?.next().is_none(),
            "{} is not empty",
            folder.display()
        );
        let folder = folder.canonicalize()?;
        let [port, controller_port, http_port] = free_ports()?;
        let site = Self {
            product,
            folder,
            addr: (Ipv4Addr::LOCALHOST, port).into(),
            http: (Ipv4Addr::LOCALHOST, http_port).into(),
            open_files_max: None,
        };
        let mut text = server_properties(port, controller_port, &site.folder.join(DATA));
        for (name, value) in properties {
            text.push_str(&format!("{name}={value}\n"));
        }
        fs::write(site.properties(), text)?;
        if let Product::ApacheKafka(jars) = &site.product {
            jars.format(&site.properties())?;
        }
        Ok(site)
    }

    fn properties(&self) -> PathBuf {
        self.folder.join("server.properties")
    }

    fn output(&self) -> PathBuf {
        self.folder.join("output.log")
    }

    pub fn product(&self) -> &Product {
        &self.product
    }

    /// What the broker's process keeps everything in.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The same place for a product on another number of cores, if that has a number of them: two instead of one, one
    /// instead of several.
    pub fn on_other_cores(&self) -> Option<Self> {
        let Product::Corelog { binary, cores } = &self.product else {
            return None;
        };
        let product = Product::Corelog {
            binary: binary.clone(),
            cores: if *cores == 1 { 2 } else { 1 },
        };
        Some(Self {
            product,
            ..self.clone()
        })
    }

    /// Starts the broker's process and does not wait for it to be ready.
    pub fn start(&self) -> Result<Broker> {
        let (program, arguments) = match &self.product {
            Product::ApacheKafka(jars) => (
                PathBuf::from("java"),
                jars.broker_arguments(&self.properties()),
            ),
            Product::Corelog { binary, cores } => {
                let properties = self.properties().display().to_string();
                (
                    binary.clone(),
                    vec![
                        "start".into(),
                        properties,
                        "--cores".into(),
                        cores.to_string(),
                        "--override".into(),
                        format!("corelog.http.listener={}", self.http),
                    ],
                )
            }
        };
        let mut command = match self.open_files_max {
            None => Command::new(&program),
            Some(max) => {
                let mut shell = Command::new("sh");
                shell
                    .args(["-c", &format!("ulimit -n {max} && exec \"$0\" \"$@\"")])
                    .arg(&program);
                shell
            }
        };
        let output = File::options()
            .create(true)
            .append(true)
            .open(self.output())?;
        let child = command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        Ok(Broker {
            child,
            addr: self.addr,
            http: matches!(self.product, Product::Corelog { .. }).then_some(self.http),
            output: self.output(),
            product: self.product.name(),
            terminated: false,
        })
    }
}

#[derive(Debug)]
pub struct Broker {
    child: Child,
    pub addr: SocketAddr,
    http: Option<SocketAddr>,
    output: PathBuf,
    product: &'static str,
    terminated: bool,
}

impl Broker {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn target(&self) -> Target {
        Target {
            addr: self.addr,
            pid: Some(self.pid()),
            http: self.http,
        }
    }

    /// Connects as soon as the broker accepts; fails at once when its process ends.
    pub fn connect(&mut self, patience: Duration) -> Result<Client> {
        let mut backoff = Backoff::within(patience);
        loop {
            match Client::connect(self.addr) {
                Ok(client) => return Ok(client),
                Err(error) => {
                    self.check_running()?;
                    if !backoff.wait() {
                        bail!(
                            "{} does not accept connections after {patience:?}: {error}",
                            self.product
                        );
                    }
                }
            }
        }
    }

    /// Repeats `attempt` on fresh connections until it succeeds, for what fails while a broker starts: refused and
    /// closed connections, and errors that a client would try again.
    pub fn eventually<T>(
        &mut self,
        patience: Duration,
        mut attempt: impl FnMut(&mut Client) -> Result<T>,
    ) -> Result<T> {
        let deadline = Instant::now() + patience;
        let mut backoff = Backoff::within(patience);
        loop {
            let mut client = self.connect(deadline.saturating_duration_since(Instant::now()))?;
            match attempt(&mut client) {
                Ok(value) => return Ok(value),
                Err(error) => {
                    self.check_running()?;
                    if !backoff.wait() {
                        return Err(error);
                    }
                }
            }
        }
    }

    /// An error with the end of its output when the process has ended.
    pub fn check_running(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            let output = fs::read_to_string(&self.output).unwrap_or_default();
            let lines: Vec<&str> = output.lines().collect();
            let last = lines[lines.len().saturating_sub(20)..].join("\n");
            bail!(
                "{} ended by itself ({status}); the end of its output:\n{last}",
                self.product
            );
        }
        Ok(())
    }

    /// Ends it at once, as a crash of the process would. One that has ended by itself is an error, unless it was
    /// asked to stop.
    pub fn kill9(mut self) -> Result<()> {
        if !self.terminated {
            self.check_running()?;
        }
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks it to stop.
    pub fn terminate(&mut self) -> Result<()> {
        self.check_running()?;
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM)?;
        self.terminated = true;
        Ok(())
    }

    /// Asks it to stop and waits until it has.
    pub fn stop(mut self, patience: Duration) -> Result<()> {
        self.terminate()?;
        let mut backoff = Backoff::within(patience);
        while self.child.try_wait()?.is_none() {
            ensure!(
                backoff.wait(),
                "{} does not stop within {patience:?}",
                self.product
            );
        }
        Ok(())
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Fails only where the process has ended and been waited for already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Ports that nothing uses at the moment, below those that the kernel gives to outgoing connections: while a broker
/// is down, a client that tries again and again could otherwise be given its port, and talk to itself.
fn free_ports() -> Result<[u16; 3]> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = std::process::id() % 10_000;
    let free = std::iter::from_fn(|| Some(NEXT.fetch_add(1, Ordering::Relaxed)))
        .take(10_000)
        .map(|step| 20_000 + ((first + u32::from(step)) % 10_000) as u16)
        .filter(|&port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok());
    let found: Vec<u16> = free.take(3).collect();
    found
        .try_into()
        .map_err(|_| anyhow!("no free port from 20000 to 29999"))
}

/// A single node with everything else at its default.
fn server_properties(port: u16, controller_port: u16, data: &Path) -> String {
    format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{port}\n\
         controller.listener.names=CONTROLLER\n\
         listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
         controller.quorum.bootstrap.servers=127.0.0.1:{controller_port}\n\
         log.dirs={}\n\
         offsets.topic.replication.factor=1\n\
         transaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\n\
         share.coordinator.state.topic.replication.factor=1\n\
         share.coordinator.state.topic.min.isr=1\n",
        data.display()
    )
}
