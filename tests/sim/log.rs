//! What the broker logs as an error, such as a panic that cost one connection.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use tracing::Level;
use tracing::subscriber::with_default;

#[derive(Clone, Default)]
struct Errors(Arc<Mutex<Vec<u8>>>);

impl Write for Errors {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("one thread").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Runs the world of a seed, in which nobody must log an error.
pub fn without_errors<T>(seed: u64, run: impl FnOnce() -> T) -> T {
    let (outcome, logged) = with_errors(run);
    assert!(logged.is_empty(), "CORELOG_SEED={seed}: {logged}");
    outcome
}

/// Runs the world of a seed, in which errors have their reasons, but none is a panic.
pub fn without_panics<T>(seed: u64, run: impl FnOnce() -> T) -> T {
    let (outcome, logged) = with_errors(run);
    assert!(!logged.contains("panic"), "CORELOG_SEED={seed}: {logged}");
    outcome
}

/// Runs it, and tells what was logged as an error.
pub fn with_errors<T>(run: impl FnOnce() -> T) -> (T, String) {
    let errors = Errors::default();
    let to = errors.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(Level::ERROR)
        .with_ansi(false)
        .without_time()
        .with_writer(move || to.clone())
        .finish();
    let outcome = with_default(subscriber, run);
    let logged = errors.0.lock().expect("one thread");
    (outcome, String::from_utf8_lossy(&logged).into_owned())
}
