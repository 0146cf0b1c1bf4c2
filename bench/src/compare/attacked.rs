//! Producers at a rate, alone and beside clients that mean harm.
//!
//! The attackers run on the machine that the broker and the producers run on, and go as fast as they are let.

use anyhow::Result;

use super::figures::*;
use super::produce::{client_note, indented, settings_of};
use super::session::Session;
use super::workloads::{Load, Produce};
use crate::attack::{self, Attack, Victim};
use crate::produce::{self as client, Pace};

const ATTACKS: [(Attack, Quantity, Quantity); 3] = [
    (Attack::Pipelined, P99_PIPELINED_TIMES, PIPELINED),
    (Attack::Connections, P99_CONNECTIONS_TIMES, CONNECTIONS),
    (Attack::Unread, P99_UNREAD_TIMES, UNREAD),
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
    let victim = Victim {
        addr: settings.target.addr,
        full_topic: &full_topic,
    };
    attack::prepare(victim)?;

    session.calm_down()?;
    let before = client::load(&settings)?;
    let mut beside = Vec::new();
    for (attack, times, sent) in ATTACKS {
        session.calm_down()?;
        let (report, requests) = attack.beside(victim, || client::load(&settings));
        let report = report?;
        eprintln!(
            "  {attack:?}, {requests} requests:\n{}\n",
            indented(&report.to_string())
        );
        let a_second = requests as f64 / (settings.warm_up + settings.duration).as_secs_f64();
        beside.push((report, times, sent, a_second));
    }
    session.calm_down()?;
    let without = [before, client::load(&settings)?];

    let alone = without.iter().map(|report| report.latency_ms(0.99));
    let alone = alone.sum::<f64>() / without.len() as f64;
    session.state(name, DUE, rate);
    let note = without.iter().find_map(client_note);
    session.push(Reading::new(name, P99, alone).noted(note));
    for (report, times, sent, a_second) in beside {
        let note = match a_second > 0.0 {
            true => client_note(&report),
            false => Some("not proven: the attackers got nowhere"),
        };
        let reading = Reading::new(name, times, report.latency_ms(0.99) / alone);
        session.push(reading.noted(note));
        session.state(name, sent, a_second);
    }
    Ok(())
}
