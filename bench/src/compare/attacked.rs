//! Producers at a rate, alone and beside clients that mean harm.
//!
//! The attackers run on the machine that the broker and the producers run on, and go as fast as they are let: off the
//! broker's cores where there are others, and behind the producers.

use anyhow::Result;

use super::figures::*;
use super::produce::{client_note, indented, settings_of};
use super::session::Session;
use super::workloads::{Load, Produce};
use crate::apart::Apart;
use crate::attack::{self, Attack, Victim};
use crate::produce::{self as client, Pace};

/// Each with what producers feel of it, and with what it comes to.
const ATTACKS: [(Attack, Quantity, Quantity); 6] = [
    (Attack::Pipelined, P99_PIPELINED_TIMES, PIPELINED),
    (Attack::Connections, P99_CONNECTIONS_TIMES, CONNECTIONS),
    (Attack::Unread, P99_UNREAD_TIMES, UNREAD),
    (Attack::Trickling, P99_TRICKLING_TIMES, TRICKLING),
    (Attack::Silent, P99_SILENT_TIMES, SILENT),
    (Attack::Bombs, P99_BOMBS_TIMES, BOMBS),
];

pub fn run(
    session: &mut Session<'_>,
    name: &'static str,
    of: &'static str,
    part: f64,
) -> Result<()> {
    let rate = session.limit(of)? * part;
    let produce = Produce {
        partitions: 100,
        records: 1,
        load: Load::Limit { of, part },
        is_synced: false,
    };
    let mut settings = settings_of(session, name, produce, Pace::Rate(rate));
    settings.counts_calls = false;
    client::prepare(&settings)?;
    let full_topic = session.topic("full");
    let bombs = attack::bombs();
    let victim = Victim {
        addr: settings.target.addr,
        full_topic: &full_topic,
        bombs: &bombs,
    };
    attack::prepare(victim)?;

    let apart = Apart::from(settings.target.pid)?;
    let alone = |session: &mut Session<'_>| {
        session.calm_down()?;
        let report = client::load(&settings)?;
        eprintln!("  Alone:\n{}\n", indented(&report.to_string()));
        anyhow::Ok(report)
    };
    let before = alone(session)?;
    let mut beside = Vec::new();
    for (attack, times, sent) in ATTACKS {
        session.calm_down()?;
        let (report, count) = attack.beside(victim, || client::load(&settings));
        let report = report?;
        eprintln!(
            "  {attack:?}, {count} times:\n{}\n",
            indented(&report.to_string())
        );
        let reached = match attack {
            Attack::Silent => count as f64,
            _ => count as f64 / (settings.warm_up + settings.duration).as_secs_f64(),
        };
        beside.push((report, times, sent, reached));
    }
    let without = [before, alone(session)?];

    let alone = without.iter().map(|report| report.latency_ms(0.99));
    let alone = alone.sum::<f64>() / without.len() as f64;
    session.state(name, DUE, rate);
    let note = without.iter().find_map(client_note).or(apart.note());
    session.push(Reading::new(name, P99, alone).noted(note));
    for (report, times, sent, reached) in beside {
        let note = match reached > 0.0 {
            true => client_note(&report).or(apart.note()),
            false => Some("not proven: the attackers got nowhere"),
        };
        let reading = Reading::new(name, times, report.latency_ms(0.99) / alone);
        session.push(reading.noted(note));
        session.state(name, sent, reached);
    }
    Ok(())
}
