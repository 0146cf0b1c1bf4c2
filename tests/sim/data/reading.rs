//! All that is left of a partition, compared with what is known of it.

use std::collections::BTreeMap;

use corelog_shards::io::Io;

use super::fetcher::{Outcome, Terms, ask};
use super::folders::check_folders;
use super::offsets::{EARLIEST, list};
use super::partition::Key;
use super::sim::Sim;
use crate::wire::{Client, Lost};

/// What becomes of what a partition should have, beyond what is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// A crash may have cost what was not promised.
    Crash,
    /// Everything has to be there.
    Nothing,
}

/// Reads partitions through. What was lost is forgotten, if it may be lost.
pub async fn read_all(sim: &Sim, io: Io, keys: Vec<Key>, after: After) -> Result<(), Lost> {
    let mut client = sim.checker(io, "checker");
    for key in keys {
        read_through(sim, &mut client, key, after).await?;
    }
    if after == After::Nothing {
        check_folders(sim, &mut client).await?;
    }
    Ok(())
}

async fn read_through(sim: &Sim, client: &mut Client, key: Key, after: After) -> Result<(), Lost> {
    let known = sim.model.borrow().floor(key);
    if after == After::Crash {
        sim.model.borrow_mut().partition(key).doubt();
    }
    let Some(mut next) = start(sim, client, key).await? else {
        return Ok(());
    };
    let end = loop {
        let positions = BTreeMap::from([(key, next)]);
        let mut outcomes = ask(sim, client, &positions, Terms::greedy()).await?;
        match outcomes.pop() {
            Some((_, Outcome::Read(to, end))) if to == next => {
                assert!(to >= end, "{key:?} has nothing at {to} below {end}");
                break end;
            }
            Some((_, Outcome::Read(to, _))) => next = to,
            // The start has moved on.
            Some((_, Outcome::OutOfRange)) => match start(sim, client, key).await? {
                Some(start) if start > next => next = start,
                Some(start) => panic!("{key:?} starts at {start}, and {next} is out of range"),
                None => return Ok(()),
            },
            _ if is_unsure(sim, key) => return Ok(()),
            _ => panic!("{key:?} cannot be read at {next}"),
        }
    };
    let mut model = sim.model.borrow_mut();
    match after {
        After::Nothing => {
            // What nobody is told of may still have come in.
            assert!(
                end >= known.end,
                "{key:?} ends at {end}, not at {}",
                known.end
            );
        }
        After::Crash => {
            let class = model.class(key);
            let recovered = model.partition(key).recovered(end, class);
            recovered.unwrap_or_else(|why| panic!("{key:?}: {why}"));
        }
    }
    Ok(())
}

/// Where a partition starts, if it is certain that it is there.
async fn start(sim: &Sim, client: &mut Client, key: Key) -> Result<Option<i64>, Lost> {
    match list(sim, client, key, EARLIEST).await? {
        Some(told) => Ok(Some(told.offset)),
        None if is_unsure(sim, key) => Ok(None),
        None => panic!("{key:?} does not say where it starts"),
    }
}

fn is_unsure(sim: &Sim, key: Key) -> bool {
    let model = sim.model.borrow();
    model.is_unsure(key, model.changes(key))
}
