//! The log: lines on stderr, written by a thread of its own so that no shard ever waits for a
//! terminal or a pipe. When that thread falls far behind, lines are lost rather than time: they are
//! counted, and the log says how many once it goes on.

use std::fmt;
use std::io::{self, IsTerminal, Write, stderr};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

/// What is logged when nothing else is asked for.
const DEFAULT_FILTER: &str = "info";

/// Lines that wait to be written.
const LINES_MAX: usize = 16_384;
/// How long the end of the process may wait for whoever reads its log.
const LAST_WORDS_MAX: Duration = Duration::from_secs(2);

/// The log of this process.
static LOG: Mutex<Option<WorkerGuard>> = Mutex::new(None);
static LOST: OnceLock<ErrorCounter> = OnceLock::new();

/// A filter that is none.
#[derive(Debug)]
pub struct FilterError {
    filter: String,
    why: String,
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FilterError { filter, why } = self;
        write!(
            f,
            "log filter {filter:?}: {why}. Examples: debug, or warn,corelog::api=trace"
        )
    }
}

/// Starts the log; lines go out until [`finish`]. The filter is `--log`, else the
/// environment's CORELOG_LOG or RUST_LOG. Starts a thread: signals must be blocked before.
pub fn start(filter: Option<&str>) -> Result<(), FilterError> {
    let of_environment = || std::env::var("CORELOG_LOG").or_else(|_| std::env::var("RUST_LOG"));
    let filter = filter.map(str::to_owned).or_else(|| of_environment().ok());
    let filter = filter.filter(|filter| !filter.trim().is_empty());
    let filter = filter.unwrap_or_else(|| DEFAULT_FILTER.to_owned());
    let parsed = EnvFilter::try_new(&filter).map_err(|error| FilterError {
        filter,
        why: error.to_string(),
    })?;
    let (writer, guard) = never_waiting(stderr(), LINES_MAX);
    // Set once, since there is one log.
    let _ = LOST.set(writer.error_counter());
    tracing_subscriber::fmt()
        .with_env_filter(parsed)
        .with_writer(writer)
        .with_ansi(stderr().is_terminal())
        .with_target(false)
        .init();
    *LOG.lock().unwrap_or_else(PoisonError::into_inner) = Some(guard);
    Ok(())
}

/// Lines of the log that were lost, since nobody read it.
pub fn lost_lines() -> u64 {
    LOST.get().map_or(0, |lost| lost.dropped_lines() as u64)
}

/// Writes what waits to be written, unless nobody reads it.
pub fn finish() {
    let log = LOG.lock().unwrap_or_else(PoisonError::into_inner).take();
    bounded(move || drop(log));
}

/// The end of the log, and a line behind it, unless nobody reads them.
pub fn say_last(line: &str) {
    finish();
    let line = line.to_owned();
    // A closed stderr is no reason to end otherwise than meant.
    bounded(move || drop(writeln!(stderr(), "{line}")));
}

fn bounded(work: impl FnOnce() + Send + 'static) {
    let (done, end) = channel();
    thread::spawn(move || {
        work();
        // Nobody waits any more for what took too long.
        let _ = done.send(());
    });
    // Nor does anybody go on waiting.
    let _ = end.recv_timeout(LAST_WORDS_MAX);
}

/// A writer that keeps so many lines for whoever reads `out`, and loses further ones.
fn never_waiting<W: Write + Send + 'static>(
    out: W,
    lines_max: usize,
) -> (NonBlocking, WorkerGuard) {
    let lost = Arc::<OnceLock<ErrorCounter>>::default();
    let telling = Telling {
        out,
        lost: lost.clone(),
        told: 0,
    };
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(lines_max)
        .lossy(true)
        .thread_name("log")
        .finish(telling);
    // Set once, just here.
    let _ = lost.set(writer.error_counter());
    (writer, guard)
}

/// Says before a line how many lines were lost since the last one that it said so.
struct Telling<W> {
    out: W,
    lost: Arc<OnceLock<ErrorCounter>>,
    told: usize,
}

impl<W: Write> Write for Telling<W> {
    /// Of a whole line.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let lost = self.lost.get().map_or(0, ErrorCounter::dropped_lines);
        if lost > self.told {
            let news = lost - self.told;
            writeln!(
                self.out,
                "{news} lines of the log were lost: nobody read it for too long"
            )?;
            self.told = lost;
        }
        self.out.write_all(line)?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender};

    use super::*;

    /// Takes a line whenever it is let.
    struct Stalled {
        may: Receiver<()>,
        taken: Sender<String>,
    }

    impl Write for Stalled {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.may.recv().map_err(io::Error::other)?;
            let text = String::from_utf8_lossy(line).into_owned();
            self.taken.send(text).map_err(io::Error::other)?;
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_log_that_nobody_reads_loses_lines_and_says_how_many() {
        let (allow, may) = channel();
        let (taken, read) = channel();
        let (mut writer, guard) = never_waiting(Stalled { may, taken }, 2);
        // One may be in the writing thread's hands already, two wait, and the rest is lost: none of
        // these writes waits.
        for n in 0..10 {
            writer.write_all(format!("line {n}").as_bytes()).unwrap();
        }
        let lost = writer.error_counter().dropped_lines();
        assert!((7..=8).contains(&lost), "{lost}");
        for _ in 0..100 {
            // It ends when the lines do.
            let _ = allow.send(());
        }
        drop((writer, guard));
        let said: Vec<String> = read.try_iter().collect();
        let told = format!("{lost} lines of the log were lost: nobody read it for too long\n");
        assert_eq!(said.concat().matches("were lost").count(), 1, "{said:?}");
        assert!(said.concat().contains(&told), "{said:?}");
        assert_eq!(
            said.concat().matches("line ").count(),
            10 - lost,
            "{said:?}"
        );
    }
}
