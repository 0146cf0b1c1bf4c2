//! The log: lines on stderr, written by a thread of its own so that no shard ever waits for a
//! terminal or a pipe. When that thread falls far behind, lines are lost rather than time.

use std::fmt;
use std::io::{IsTerminal, stderr};

use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::EnvFilter;

/// What is logged when nothing else is asked for.
const DEFAULT_FILTER: &str = "info";

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

/// Starts the log; lines go out until the guard is dropped. The filter is `--log`, else the
/// environment's CORELOG_LOG or RUST_LOG. Starts a thread: signals must be blocked before.
pub fn start(filter: Option<&str>) -> Result<WorkerGuard, FilterError> {
    let of_environment = || std::env::var("CORELOG_LOG").or_else(|_| std::env::var("RUST_LOG"));
    let filter = filter.map(str::to_owned).or_else(|| of_environment().ok());
    let filter = filter.filter(|filter| !filter.trim().is_empty());
    let filter = filter.unwrap_or_else(|| DEFAULT_FILTER.to_owned());
    let parsed = EnvFilter::try_new(&filter).map_err(|error| FilterError {
        filter,
        why: error.to_string(),
    })?;
    let (writer, guard) = tracing_appender::non_blocking(stderr());
    tracing_subscriber::fmt()
        .with_env_filter(parsed)
        .with_writer(writer)
        .with_ansi(stderr().is_terminal())
        .with_target(false)
        .init();
    Ok(guard)
}
