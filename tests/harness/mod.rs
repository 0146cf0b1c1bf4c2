//! A broker of this build as a child process, for tests from outside.
//!
//! Each broker has a port and a folder of its own, listens on 127.0.0.1 alone, and is killed when the handle is dropped
//! or this process ends; a temporary folder goes with the handle. `kill9`, `stop` and `restart` keep port and folder, so
//! that clients which were connected find it again. Whatever the broker printed goes into the panic's message when it
//! doesn't start or stop.
//!
//! Not here: clients. The protocol is spoken only to see that a broker has started.

#![allow(
    dead_code,
    reason = "each test crate that includes this file uses a part of it"
)]

pub mod http;

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{LazyLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{self, Signal};
use nix::unistd::{Pid, getppid};
use tempfile::TempDir;

/// Bounds for what hangs, on a disk that has much else to do.
const START_MAX: Duration = Duration::from_secs(60);
const STOP_MAX: Duration = Duration::from_secs(120);
const LOG_MAX: Duration = Duration::from_secs(60);

/// How a broker is started; the default is an empty temporary folder and no overrides.
#[derive(Default)]
pub struct Launch<'a> {
    /// Properties, `name=value`.
    pub overrides: &'a [&'a str],
    /// Further arguments of `corelog start`.
    pub arguments: &'a [&'a str],
    /// The folder for `log.dirs`; it is left in place, unlike a temporary one.
    pub folder: Option<&'a Path>,
    /// Names of several folders for `log.dirs`, within a temporary one; the first is the one that
    /// [`Broker::folder`] tells.
    pub folders: &'a [&'a str],
    /// Whether what it prints goes into pipes that nobody reads.
    pub is_unread: bool,
    /// A program that replaces itself with the broker (`prlimit` and its like), and its arguments.
    pub under: &'a [&'a str],
}

pub struct Broker {
    child: Option<Child>,
    port: u16,
    folder: PathBuf,
    under: Vec<String>,
    arguments: Vec<String>,
    cores: Option<usize>,
    is_unread: bool,
    home: TempDir,
}

impl Broker {
    pub fn start(overrides: &[&str]) -> Broker {
        Broker::launch(Launch {
            overrides,
            ..Launch::default()
        })
    }

    pub fn launch(launch: Launch<'_>) -> Broker {
        let mut broker = Broker::prepare(launch);
        broker.restart();
        broker
    }

    /// One that does not run yet.
    pub fn prepare(launch: Launch<'_>) -> Broker {
        let home = tempfile::Builder::new()
            .prefix("broker-")
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .expect("a temporary folder");
        // One of its own is named as the default is: relative to where the broker is started.
        let named = launch.folder.unwrap_or(Path::new("./data"));
        let several = launch.folders.iter().map(|name| home.path().join(name));
        let several: Vec<PathBuf> = several.collect();
        let folder = several.first().cloned();
        let folder = folder.unwrap_or_else(|| home.path().join(named));
        let log_dirs = match several.is_empty() {
            true => named.display().to_string(),
            false => {
                let names = several.iter().map(|path| path.display().to_string());
                names.collect::<Vec<_>>().join(",")
            }
        };
        let port = free_port();
        let owned = |given: &[&str]| given.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>();
        let mut arguments = owned(launch.arguments);
        let own = [
            format!("listeners=PLAINTEXT://127.0.0.1:{port}"),
            format!("log.dirs={log_dirs}"),
        ];
        for property in own
            .iter()
            .map(String::as_str)
            .chain(launch.overrides.iter().copied())
        {
            arguments.extend(["--override".to_owned(), property.to_owned()]);
        }
        Broker {
            child: None,
            port,
            folder,
            under: owned(launch.under),
            arguments,
            cores: None,
            is_unread: launch.is_unread,
            home,
        }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// The address in the form that clients take.
    pub fn bootstrap(&self) -> String {
        self.address().to_string()
    }

    /// The folder given as `log.dirs`.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("a running broker").id()
    }

    /// Everything the broker printed, over all its starts.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.log_path()).unwrap_or_default()).into_owned()
    }

    /// What it has printed behind the first so many bytes, once these words are there: a thread of its own writes it.
    pub fn await_log(&self, from: usize, words: &str) -> String {
        let begin = Instant::now();
        loop {
            let said = self.log().split_off(from);
            if said.contains(words) {
                return said;
            }
            assert!(begin.elapsed() < LOG_MAX, "no word of {words:?}:\n{said}");
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// The number of cores from the next start on.
    pub fn set_cores(&mut self, cores: usize) {
        if let Some(at) = self.arguments.iter().position(|it| it == "--cores") {
            self.arguments.drain(at..at + 2);
        }
        self.cores = Some(cores);
    }

    /// A property, `name=value`, from the next start on.
    pub fn set_property(&mut self, property: &str) {
        let argument = ["--override", property].map(str::to_owned);
        self.arguments.extend(argument);
    }

    /// Starts the broker (again) on the same port and folder; one that still runs is stopped first.
    pub fn restart(&mut self) {
        self.spawn();
        self.await_answer();
    }

    /// As [`Broker::restart`], without waiting until the broker answers.
    pub fn spawn(&mut self) {
        if self.child.is_some() {
            self.stop();
        }
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_path())
            .expect("the log file");
        let mut command = self.command(&["start"]);
        if let Some(cores) = self.cores {
            command.args(["--cores", &cores.to_string()]);
        }
        command
            .stdin(Stdio::null())
            .stdout(self.output(&log))
            .stderr(self.output(&log));
        let child = spawn_for_a_life(command);
        self.child = Some(child.expect("the broker's binary"));
    }

    /// One of the binary's commands, under the limits and with the configuration of the broker.
    fn command(&self, words: &[&str]) -> Command {
        let binary = [env!("CARGO_BIN_EXE_corelog")];
        let mut all = self.under.iter().map(String::as_str).chain(binary);
        let mut command = Command::new(all.next().expect("the binary at least"));
        // Tests run side by side: who wants metrics names a port.
        command
            .args(all)
            .args(words)
            .args(["--override", "corelog.http.listener="])
            .args(&self.arguments)
            .current_dir(self.home.path());
        command
    }

    fn output(&self, log: &File) -> Stdio {
        match self.is_unread {
            true => Stdio::piped(),
            false => log.try_clone().expect("another handle of it").into(),
        }
    }

    /// Waits until a broker that was spawned answers.
    pub fn await_answer(&mut self) {
        let begin = Instant::now();
        while !self.answers() {
            if let Some(status) = self.exited() {
                panic!("the broker ended at its start ({status}):\n{}", self.log());
            }
            assert!(
                begin.elapsed() < START_MAX,
                "the broker does not accept connections:\n{}",
                self.log()
            );
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Whether an ApiVersions request is answered. A connection alone says little: ports are tried before they are used.
    fn answers(&self) -> bool {
        let ask = || {
            let mut stream = TcpStream::connect(self.address())?;
            stream.set_read_timeout(Some(START_MAX))?;
            stream.write_all(&[0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xff])?;
            stream.read_exact(&mut [0; 8])
        };
        ask().is_ok()
    }

    /// SIGTERM, and waits for a clean end.
    pub fn stop(&mut self) {
        self.signal(Signal::SIGTERM);
        let status = self.await_end();
        assert!(
            status.success(),
            "the broker's stop was not clean ({status}):\n{}",
            self.log()
        );
    }

    /// What `corelog doctor` says of it: the exit status, and its findings as JSON.
    pub fn doctor(&self) -> (Option<i32>, String) {
        let output = self.command(&["doctor", "--json"]).output();
        let output = output.expect("the broker's binary");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code(), said)
    }

    /// Starts the broker, which is to end by itself: its exit status, and what it has said.
    pub fn spawn_to_end(&mut self) -> (Option<i32>, String) {
        let before = self.log().len();
        self.spawn();
        let status = self.await_end();
        (status.code(), self.log().split_off(before))
    }

    /// Waits until the process has ended by itself, and tells how.
    pub fn await_end(&mut self) -> ExitStatus {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.exited() {
                self.child = None;
                return status;
            }
            assert!(
                begin.elapsed() < STOP_MAX,
                "the broker does not end:\n{}",
                self.log()
            );
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// SIGKILL, and waits until the process is gone. A broker that had ended by itself is an error of the test.
    pub fn kill9(&mut self) {
        self.signal(Signal::SIGKILL);
        let status = self
            .child
            .take()
            .expect("a running broker")
            .wait()
            .expect("its status");
        assert_eq!(
            status.signal(),
            Some(Signal::SIGKILL as i32),
            "the broker had ended by itself:\n{}",
            self.log()
        );
    }

    /// Whether the process runs; false after a crash too.
    pub fn is_running(&mut self) -> bool {
        self.child.is_some() && self.exited().is_none()
    }

    /// The most memory that the process has held since it was started.
    pub fn memory_peak_bytes(&self) -> u64 {
        self.status_bytes("VmHWM:")
    }

    /// The memory that the process holds.
    pub fn memory_bytes(&self) -> u64 {
        self.status_bytes("VmRSS:")
    }

    fn status_bytes(&self, field: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()))
            .expect("the process's status");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(field))
            .expect(field);
        let kib: u64 = line
            .trim()
            .trim_end_matches(" kB")
            .parse()
            .expect("a number of kB");
        kib << 10
    }

    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).expect("a process id");
        signal::kill(Pid::from_raw(pid), signal).expect("a signal to the broker");
    }

    fn exited(&mut self) -> Option<ExitStatus> {
        self.child
            .as_mut()
            .expect("a running broker")
            .try_wait()
            .expect("its status")
    }

    fn log_path(&self) -> PathBuf {
        self.home.path().join("broker.log")
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Already gone is as good.
            let _ = child.kill();
            let _ = child.wait();
        }
        // Withheld by the test runner unless the test fails.
        println!("the broker of port {} printed:\n{}", self.port, self.log());
    }
}

/// Starts a process that is killed when this one ends, however it does: where a test aborts, no handle is dropped.
#[allow(
    unsafe_code,
    reason = "what is done between fork and exec is unsafe by its interface"
)]
fn spawn_for_a_life(mut command: Command) -> io::Result<Child> {
    type Order = (Command, mpsc::Sender<io::Result<Child>>);
    // The kernel kills it when the thread ends that has started it: this one does so with the process.
    static SPAWNER: LazyLock<mpsc::Sender<Order>> = LazyLock::new(|| {
        let (sender, orders) = mpsc::channel::<Order>();
        thread::spawn(move || {
            for (mut command, told) in orders {
                // Who has asked waits for it.
                let _ = told.send(command.spawn());
            }
        });
        sender
    });
    let parent = Pid::this();
    let bind = move || {
        set_pdeathsig(Signal::SIGKILL)?;
        // It may have ended before that.
        match getppid() == parent {
            true => Ok(()),
            false => Err(io::ErrorKind::NotFound.into()),
        }
    };
    // SAFETY: two system calls, which neither allocate nor take a lock.
    unsafe { command.pre_exec(bind) };
    let (told, child) = mpsc::channel();
    SPAWNER.send((command, told)).expect("it never ends");
    child.recv().expect("it never ends")
}

/// A port below those that the kernel hands to outgoing connections, so that no client takes it between now and the
/// broker's start, or while the broker is down.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let process = (std::process::id() % 400) as u16;
    for _ in 0..400 {
        let step = NEXT.fetch_add(1, Ordering::Relaxed) % 400;
        let port = 20_000 + (process * 29 + step) % 12_000;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no free port");
}
