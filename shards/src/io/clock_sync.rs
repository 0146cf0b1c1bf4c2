//! What the kernel says of its own clock.

use std::io;
use std::time::Duration;

/// How well the wall clock is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockSync {
    /// Whether something keeps it in step with other clocks, as NTP does.
    pub is_synchronised: bool,
    /// How wrong it may be, as far as the kernel knows.
    pub error_max: Duration,
}

/// Asks, and changes nothing. For set-up code.
#[allow(unsafe_code)]
pub fn clock_sync() -> io::Result<ClockSync> {
    // SAFETY: a plain struct of numbers, for which all zeros is what asks and changes nothing.
    let mut clock: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a live struct that the kernel fills in.
    let state = unsafe { libc::adjtimex(&mut clock) };
    if state < 0 {
        return Err(io::Error::last_os_error());
    }
    let micros = u64::try_from(clock.maxerror).unwrap_or(0);
    Ok(ClockSync {
        is_synchronised: state != libc::TIME_ERROR && clock.status & libc::STA_UNSYNC == 0,
        error_max: Duration::from_micros(micros),
    })
}
