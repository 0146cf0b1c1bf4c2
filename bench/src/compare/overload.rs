//! More than a broker can take is offered to it: what it takes at most, then several times that by a timetable, then again
//! what it takes at most, behind the last acknowledgement of the overload, for which is told how long it took.
//!
//! Clients send as much as the broker reads, as producers do whose buffers are full: requests that are due while so many
//! wait are left out. What is acknowledged meanwhile should be what is acknowledged at the limit, and right behind it.

use std::time::Duration;

use anyhow::Result;

use super::figures::*;
use super::produce::{client_note, indented, settings_of};
use super::session::Session;
use super::workloads::{Load, Produce};
use crate::apart::Apart;
use crate::produce::{self as client, Pace, ProduceSettings};
use crate::report::ProduceReport;

const IN_FLIGHT: usize = 256;
const LIMIT: Produce = Produce {
    partitions: 100,
    records: 1,
    load: Load::InFlight(IN_FLIGHT),
    is_synced: false,
};
/// Of the limit behind the overload: a broker that has to recover first shows.
const BEHIND: Duration = Duration::from_secs(1);

pub fn run(session: &mut Session<'_>, name: &'static str, times: f64) -> Result<()> {
    let at_limit = ProduceSettings {
        counts_calls: false,
        ..settings_of(session, name, LIMIT, Pace::InFlight(IN_FLIGHT))
    };
    client::prepare(&at_limit)?;
    let apart = Apart::from(at_limit.target.pid)?;
    session.calm_down()?;
    let limit = load("at the limit", &at_limit)?;
    let offered = limit.requests_a_second * times;
    let overload = load(
        "overload",
        &ProduceSettings {
            pace: Pace::Offered(offered),
            ..at_limit.clone()
        },
    )?;
    let behind = load(
        "behind it",
        &ProduceSettings {
            warm_up: Duration::ZERO,
            duration: BEHIND,
            ..at_limit
        },
    )?;
    let of_limit = |report: &ProduceReport| report.requests_a_second / limit.requests_a_second;
    let note = match overload.left_out {
        0 => Some("not proven: all that was offered was taken"),
        _ => client_note(&overload).or(apart.note()),
    };
    for (quantity, value) in [
        (AT_LIMIT, limit.requests_a_second),
        (DUE, offered),
        (OVERLOADED, overload.requests_a_second),
        (OVERLOADED_TIMES, of_limit(&overload)),
        (DRAINED, overload.drain.as_secs_f64()),
        (BEHIND_TIMES, of_limit(&behind)),
    ] {
        session.push(Reading::new(name, quantity, value).noted(note));
    }
    if let Some(broker) = &overload.broker {
        session.state(name, RESIDENT, broker.rss as f64 / 1e6);
    }
    Ok(())
}

fn load(what: &str, settings: &ProduceSettings) -> Result<ProduceReport> {
    let report = client::load(settings)?;
    let (left_out, drain) = (report.left_out, report.drain);
    eprintln!(
        "  {what}, {left_out} requests left out, {drain:.1?} until the last reply:\n{}\n",
        indented(&report.to_string())
    );
    Ok(report)
}
