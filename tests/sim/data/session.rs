//! Incremental fetch sessions (KIP-227), as Java's clients use them: only what has changed is asked for, and only what
//! is news is told. What a reply is silent about must not have changed.

use std::collections::BTreeMap;

use kafka_protocol::error::ParseResponseErrorCode;
use kafka_protocol::messages::TopicName;
use kafka_protocol::messages::fetch_request::ForgottenTopic;

use super::TOPIC_IDS;
use super::fetcher::{Outcome, Terms, asked, exchange, note_all, request};
use super::partition::Key;
use super::plan::Feature;
use super::sim::Sim;
use crate::wire::{Client, Lost, text};

/// From this version on there are sessions.
const VERSION_MIN: i16 = 7;

#[derive(Debug)]
pub struct Session {
    id: i32,
    epoch: i32,
    /// The start of the broker in which it began.
    run: u32,
    /// Whether it names topics by their ids: that stays so.
    has_ids: bool,
    /// Where the broker knows the client to be, and what high watermark it has told it.
    known: BTreeMap<Key, (i64, Option<i64>)>,
}

/// One fetch in a session, which begins with it if there is none.
pub async fn ask_in_session(
    sim: &Sim,
    client: &mut Client,
    positions: &BTreeMap<Key, i64>,
    mut terms: Terms,
    session: &mut Option<Session>,
) -> Result<Vec<(Key, Outcome)>, Lost> {
    let (low, high) = match session.as_ref().map(|session| session.has_ids) {
        // Of a name that another topic has taken, it is not known which one was told of.
        None if sim.has(Feature::Deletion) => (TOPIC_IDS, i16::MAX),
        None => (VERSION_MIN, i16::MAX),
        Some(true) => (TOPIC_IDS, i16::MAX),
        Some(false) => (VERSION_MIN, TOPIC_IDS - 1),
    };
    terms.version = terms.version.clamp(low, high);
    let (id, epoch) = match session {
        // Now and then it begins anew, and the other one ends.
        Some(session) if client.below(20) > 0 => (session.id, session.epoch),
        Some(session) => (session.id, 0),
        None => (0, 0),
    };
    let all = asked(sim, positions);
    if epoch == 0 {
        let request = request(sim, &all, terms)
            .with_session_id(id)
            .with_session_epoch(0);
        *session = None;
        let reply = exchange(sim, client, &request, terms).await?;
        assert_eq!(reply.error_code.err(), None);
        let outcomes = note_all(sim, &all, &reply, terms);
        assert_eq!(
            outcomes.len(),
            all.len(),
            "all partitions are told at first"
        );
        if reply.session_id != 0 {
            let mut begun = Session {
                id: reply.session_id,
                epoch: 1,
                run: sim.model.borrow().run,
                has_ids: terms.version >= TOPIC_IDS,
                known: BTreeMap::new(),
            };
            begun.note(positions, &outcomes);
            *session = Some(begun);
        }
        return Ok(outcomes);
    }
    let its = session.as_mut().expect("it was seen just now");
    let mut changed = asked(sim, positions);
    changed.retain(|key, asked| its.known.get(key).is_none_or(|(at, _)| *at != asked.offset));
    let forgotten: Vec<Key> = its.known.keys().copied().collect();
    let forgotten = forgotten
        .into_iter()
        .filter(|key| !positions.contains_key(key));
    let forgotten: Vec<Key> = forgotten.collect();
    let request = request(sim, &changed, terms)
        .with_session_id(id)
        .with_session_epoch(epoch)
        .with_forgotten_topics_data(forget(sim, &forgotten, terms));
    let reply = exchange(sim, client, &request, terms).await?;
    if let Some(error) = reply.error_code.err() {
        let is_of_old = its.run != sim.model.borrow().run;
        assert!(is_of_old, "session {its:?}: {error:?}");
        *session = None;
        return Ok(Vec::new());
    }
    let outcomes = note_all(sim, &all, &reply, terms);
    for key in forgotten {
        its.known.remove(&key);
    }
    let model = sim.model.borrow();
    for (key, asked) in &all {
        let is_told = outcomes.iter().any(|(told, _)| told == key);
        if is_told || model.is_unsure(*key, asked.changes) {
            continue;
        }
        let told = its.known.get(key).and_then(|(_, end)| *end);
        assert!(
            told.is_some_and(|end| end >= asked.floor.end),
            "{key:?}: silence about {} after {told:?}",
            asked.floor.end
        );
    }
    drop(model);
    its.note(positions, &outcomes);
    its.epoch += 1;
    Ok(outcomes)
}

impl Session {
    /// What the broker knows of the client after a reply.
    fn note(&mut self, positions: &BTreeMap<Key, i64>, outcomes: &[(Key, Outcome)]) {
        for (key, position) in positions {
            self.known.entry(*key).or_insert((*position, None)).0 = *position;
        }
        for (key, outcome) in outcomes {
            if let Some((_, told)) = self.known.get_mut(key) {
                *told = match outcome {
                    Outcome::Read(_, end) => Some(*end),
                    Outcome::OutOfRange | Outcome::Corrupt | Outcome::Gone => None,
                };
            }
        }
    }
}

fn forget(sim: &Sim, keys: &[Key], terms: Terms) -> Vec<ForgottenTopic> {
    let model = sim.model.borrow();
    let forgotten = keys.iter().map(|key| {
        let name = model.plan.topics[model.partitions[key].topic].name;
        let topic = ForgottenTopic::default().with_partitions(vec![key.index]);
        match terms.version {
            TOPIC_IDS.. => topic.with_topic_id(key.topic),
            _ => topic.with_topic(TopicName(text(name))),
        }
    });
    forgotten.collect()
}
