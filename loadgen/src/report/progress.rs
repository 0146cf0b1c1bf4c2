//! Progress while a run goes on.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use super::format;
use crate::measure::Progress;

/// Elsewhere than on a terminal there is a line only so often.
const QUIET_EVERY: Duration = Duration::from_secs(10);

/// Progress in one line.
fn text(progress: &Progress) -> String {
    let latency = |ns: Option<u64>| ns.map_or("-".to_owned(), |ns| format::time(ns as f64));
    let mut line = format!(
        "{}  {} records/s  {} MB/s  p50 {}  p99 {}  errors {}",
        format::clock(progress.elapsed.as_secs()),
        format::rate(progress.records_per_s),
        format::digits(progress.bytes_per_s / 1e6),
        latency(progress.p50_ns),
        latency(progress.p99_ns),
        format::short(progress.errors as f64),
    );
    if let Some(lag) = progress.lag_records {
        line += &format!("  lag {}", format::short(lag as f64));
    }
    // The part of a second counts as a whole one, so that there is none left only at the end.
    let left = progress.whole.saturating_sub(progress.elapsed);
    line += &format!(
        "  {} left",
        format::clock(left.as_millis().div_ceil(1000) as u64)
    );
    line
}

/// Shows progress: on a terminal in one line that is written over and over, elsewhere in a line every 10 s.
#[derive(Debug)]
pub struct ProgressLine<W: Write> {
    to: W,
    is_terminal: bool,
    /// Whether the last line still has the cursor on it.
    is_open: bool,
    next_quiet: Duration,
}

impl ProgressLine<io::Stderr> {
    /// On standard error.
    pub fn stderr() -> Self {
        let stderr = io::stderr();
        let is_terminal = stderr.is_terminal();
        Self::new(stderr, is_terminal)
    }
}

impl<W: Write> ProgressLine<W> {
    /// On anything.
    pub fn new(to: W, is_terminal: bool) -> Self {
        Self {
            to,
            is_terminal,
            is_open: false,
            next_quiet: QUIET_EVERY,
        }
    }

    /// Shows how it goes now. May be called as often as one likes.
    pub fn update(&mut self, progress: &Progress) -> io::Result<()> {
        if self.is_terminal {
            // To the first column, over what was there, and away with what is left of it. A narrow terminal cuts the
            // line, since one that went on below could not be written over.
            write!(self.to, "\r\x1b[?7l{}\x1b[K\x1b[?7h", text(progress))?;
            self.is_open = true;
        } else if progress.elapsed >= self.next_quiet {
            writeln!(self.to, "{}", text(progress))?;
            let whole_periods = progress.elapsed.as_secs() / QUIET_EVERY.as_secs();
            self.next_quiet = QUIET_EVERY * (whole_periods as u32 + 1);
        }
        self.to.flush()
    }

    /// Takes the line away, so that other text can follow.
    pub fn clear(&mut self) -> io::Result<()> {
        if self.is_open {
            write!(self.to, "\r\x1b[K")?;
            self.is_open = false;
        }
        self.to.flush()
    }
}
