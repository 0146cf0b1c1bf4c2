//! The clock: retention, timestamps and the expiry of producers go by it.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use corelog_shards::io::{ClockSync, clock_sync};

use crate::cli::finding::{Finding, Verdict, finding};
use crate::cluster::driver::METADATA_DIR;
use crate::config::BrokerConfig;

/// 2020-01-01: no broker has run before.
const PAST_S: u64 = 1_577_836_800;
/// How far files may be ahead of the clock.
const AHEAD_MAX: Duration = Duration::from_secs(60);
/// An error of the clock from which on timestamps of several hosts tell little. What the kernel tells grows by half a
/// millisecond a second, and systemd-timesyncd asks as seldom as every 34 minutes.
const ERROR_MAX: Duration = Duration::from_secs(4);

pub(super) fn examine() -> Vec<Finding> {
    vec![date(SystemTime::now()), synchronised(clock_sync())]
}

/// Whether what was written last is of the past.
pub(super) fn of_folders(config: &BrokerConfig) -> Vec<Finding> {
    let log = config.storage.metadata_log_dir.join(METADATA_DIR);
    match newest_change(&log) {
        Some(newest) => vec![change(newest, SystemTime::now())],
        None => Vec::new(),
    }
}

fn date(now: SystemTime) -> Finding {
    let setting = "date";
    let since = now
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let remedy =
        "records get this time, and retention goes by it: set the clock before the broker starts";
    match since < PAST_S {
        true => finding(setting, "before 2020", Verdict::Needed, remedy),
        false => finding(setting, format!("{since} s since 1970"), Verdict::Fine, ""),
    }
}

fn synchronised(clock: std::io::Result<ClockSync>) -> Finding {
    let setting = "time synchronisation (NTP)";
    let remedy = "timestamps drift away from those of clients and other hosts, and retention with them: run chrony \
                  (with rtcsync: without it the kernel is not told) or systemd-timesyncd";
    match clock {
        Err(error) => finding(setting, error.to_string(), Verdict::Unknown, ""),
        Ok(clock) if !clock.is_synchronised => finding(
            setting,
            "the kernel's clock is not synchronised",
            Verdict::Advice,
            remedy,
        ),
        Ok(clock) if clock.error_max > ERROR_MAX => {
            let found = format!("synchronised, with an error of up to {:?}", clock.error_max);
            finding(setting, found, Verdict::Advice, remedy)
        }
        Ok(clock) => {
            let found = format!("synchronised, to {:?} at most", clock.error_max);
            finding(setting, found, Verdict::Fine, "")
        }
    }
}

/// Of the files in a folder.
fn newest_change(folder: &Path) -> Option<SystemTime> {
    let entries = fs::read_dir(folder).ok()?;
    let changed = entries.filter_map(|entry| entry.ok()?.metadata().ok()?.modified().ok());
    changed.max()
}

fn change(newest: SystemTime, now: SystemTime) -> Finding {
    let setting = "clock beside the data";
    match newest.duration_since(now) {
        Ok(ahead) if ahead > AHEAD_MAX => {
            let found = format!(
                "the metadata log was written {} s in the future",
                ahead.as_secs()
            );
            let remedy = "the clock was set back, or was ahead when it was written: set it right; what was written \
                          ahead is kept by retention for so much longer";
            finding(setting, found, Verdict::Advice, remedy)
        }
        _ => finding(
            setting,
            "what was written is of the past",
            Verdict::Fine,
            "",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_of_long_ago_is_a_problem_and_one_set_back_a_warning() {
        assert_eq!(date(UNIX_EPOCH).verdict, Verdict::Needed);
        let now = SystemTime::now();
        assert_eq!(date(now).verdict, Verdict::Fine);
        let hour = Duration::from_secs(3600);
        assert_eq!(change(now + hour, now).verdict, Verdict::Advice);
        assert_eq!(change(now - hour, now).verdict, Verdict::Fine);
    }

    #[test]
    fn a_clock_that_nobody_keeps_is_a_warning() {
        let of = |is_synchronised, error_max| {
            let sync = ClockSync {
                is_synchronised,
                error_max,
            };
            synchronised(Ok(sync)).verdict
        };
        let little = Duration::from_millis(3);
        assert_eq!(of(true, little), Verdict::Fine);
        // After the longest pause of systemd-timesyncd.
        assert_eq!(of(true, Duration::from_millis(1_100)), Verdict::Fine);
        assert_eq!(of(false, little), Verdict::Advice);
        assert_eq!(of(true, Duration::from_secs(5)), Verdict::Advice);
        let unknown = std::io::ErrorKind::PermissionDenied.into();
        assert_eq!(synchronised(Err(unknown)).verdict, Verdict::Unknown);
        // It says something here.
        examine();
    }
}
