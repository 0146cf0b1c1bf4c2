//! One node of Apache Kafka from Maven's artifacts, in a temporary folder: it writes the segments that Corelog must read,
//! and is the yardstick for the suites themselves.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::harness::free_port;
use crate::subject::PROPERTIES;
use crate::tally::Missing;
use crate::toolchains;

const START_MAX: Duration = Duration::from_secs(90);
const STOP_MAX: Duration = Duration::from_secs(60);

pub struct ApacheKafka {
    child: Option<Child>,
    port: u16,
    home: TempDir,
    folder: PathBuf,
}

impl ApacheKafka {
    /// Formats a folder and starts a broker with its own controller in it.
    pub fn start() -> Result<ApacheKafka, Missing> {
        ApacheKafka::start_in(&["data"])
    }

    /// With these folders, in one that is made for it.
    pub fn start_in(folders: &[&str]) -> Result<ApacheKafka, Missing> {
        toolchains::java()?;
        let home = tempfile::Builder::new()
            .prefix("apache-kafka-")
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .expect("a temporary folder");
        let paths = folders.iter().map(|name| home.path().join(name));
        let log_dirs: Vec<String> = paths.map(|path| path.display().to_string()).collect();
        let folder = home.path().join(folders[0]);
        let (port, controller) = (free_port(), free_port());
        let properties = format!(
            "process.roles=broker,controller\n\
             node.id=1\n\
             controller.quorum.bootstrap.servers=127.0.0.1:{controller}\n\
             listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
             controller.listener.names=CONTROLLER\n\
             listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
             offsets.topic.replication.factor=1\n\
             transaction.state.log.replication.factor=1\n\
             transaction.state.log.min.isr=1\n\
             share.coordinator.state.topic.replication.factor=1\n\
             share.coordinator.state.topic.min.isr=1\n\
             log.dirs={}\n\
             {}\n",
            log_dirs.join(","),
            PROPERTIES.join("\n")
        );
        fs::write(home.path().join("server.properties"), properties).expect("the properties");
        let mut kafka = ApacheKafka {
            child: None,
            port,
            home,
            folder,
        };
        let id = "Q29yZWxvZ0NsaWVudFRlcw";
        let format = [
            "format",
            "--standalone",
            "-t",
            id,
            "-c",
            "server.properties",
        ];
        let status = kafka
            .java("kafka.tools.StorageTool", &format)
            .spawn()
            .and_then(|mut c| c.wait())
            .expect("java");
        assert!(
            status.success(),
            "Apache Kafka's folder could not be formatted:\n{}",
            kafka.log()
        );
        kafka.start_again();
        Ok(kafka)
    }

    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// On the same port and folder as before.
    pub fn start_again(&mut self) {
        let said_before = self.log().len();
        self.child = Some(
            self.java("kafka.Kafka", &["server.properties"])
                .spawn()
                .expect("java"),
        );
        let begin = Instant::now();
        while !self.log()[said_before..].contains("Kafka Server started") {
            let ended = self
                .child
                .as_mut()
                .expect("just started")
                .try_wait()
                .expect("its status");
            assert!(
                ended.is_none(),
                "Apache Kafka ended at its start:\n{}",
                self.log()
            );
            assert!(
                begin.elapsed() < START_MAX,
                "Apache Kafka does not start:\n{}",
                self.log()
            );
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// A clean stop.
    pub fn stop(&mut self) {
        self.end(Signal::SIGTERM);
    }

    pub fn kill9(&mut self) {
        self.end(Signal::SIGKILL);
    }

    fn end(&mut self, how: Signal) {
        let mut child = self.child.take().expect("a running Apache Kafka");
        let pid = i32::try_from(child.id()).expect("a process id");
        signal::kill(Pid::from_raw(pid), how).expect("a signal to Apache Kafka");
        let begin = Instant::now();
        while child.try_wait().expect("its status").is_none() {
            assert!(
                begin.elapsed() < STOP_MAX,
                "Apache Kafka does not stop:\n{}",
                self.log()
            );
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn java(&self, class: &str, arguments: &[&str]) -> Command {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_path())
            .expect("the log file");
        let classpath = &toolchains::java().expect("installed before").classpath;
        let mut command = Command::new("java");
        command
            .args([
                "-Xms512m",
                "-Xmx512m",
                "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            ])
            .arg("-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info")
            .args(["-cp", classpath, class])
            .args(arguments)
            .current_dir(self.home.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle of the log file"))
            .stderr(log);
        command
    }

    fn log_path(&self) -> PathBuf {
        self.home.path().join("kafka.log")
    }

    fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.log_path()).unwrap_or_default()).into_owned()
    }
}

impl Drop for ApacheKafka {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Already gone is as good.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
