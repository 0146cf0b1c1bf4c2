//! Who is in a classic group, and whom it waits for.
//!
//! Invariants: there is a leader exactly if there are members, and it is one of them; whoever has
//! still to sync is a member; whoever has still to join is none; at least one protocol is known to
//! all members.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use corelog_shards::io::Instant;
use kafka_protocol::messages::JoinGroupResponse;

use super::member::{Member, Protocol, Terms, millis};
use super::pending::PendingJoins;
use crate::coordinator::Replier;
use crate::coordinator::memory::tree_bytes;

#[derive(Default)]
pub(super) struct Members {
    by_id: BTreeMap<Rc<str>, Member>,
    static_ids: BTreeMap<Rc<str>, Rc<str>>,
    leader: Option<Rc<str>>,
    /// How many members know a protocol.
    supporters: BTreeMap<String, usize>,
    /// How many wait for the reply to a join.
    joining: usize,
    /// What the protocols of all members take, as they are told to the leader.
    bytes: usize,
    /// What all members take in memory, without their places.
    held_bytes: usize,
    /// Ids given to clients that were told to join again with them.
    pub pending_joins: PendingJoins,
    /// Members that have not asked for their assignment in this generation.
    pub pending_syncs: BTreeSet<Rc<str>>,
}

impl Members {
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    pub fn get(&self, id: &str) -> Option<&Member> {
        self.by_id.get(id)
    }

    pub fn get_mut(&mut self, id: &str) -> Option<&mut Member> {
        self.by_id.get_mut(id)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Member> {
        self.by_id.values()
    }

    /// The ids of the members that are as asked.
    pub fn ids(&self, mut which: impl FnMut(&Member) -> bool) -> Vec<Rc<str>> {
        let chosen = self.by_id.values().filter(|member| which(member));
        chosen.map(|member| Rc::clone(&member.id)).collect()
    }

    /// The id that a static member has at present.
    pub fn static_id(&self, instance_id: &str) -> Option<&Rc<str>> {
        self.static_ids.get(instance_id)
    }

    pub fn leader(&self) -> Option<&Rc<str>> {
        self.leader.as_ref()
    }

    pub fn is_leader(&self, id: &str) -> bool {
        self.leader.as_deref() == Some(id)
    }

    /// Adds a member, which leads if there is no other.
    pub fn add(&mut self, member: Member) {
        self.pending_joins.remove(&member.id);
        self.leader.get_or_insert_with(|| Rc::clone(&member.id));
        if let Some(instance_id) = &member.instance_id {
            let (instance_id, id) = (Rc::clone(instance_id), Rc::clone(&member.id));
            self.static_ids.insert(instance_id, id);
        }
        self.joining += usize::from(member.awaits_join());
        count(&mut self.supporters, &member.terms.protocols);
        self.bytes += member.terms.bytes();
        self.held_bytes += held_by(&member);
        self.by_id.insert(Rc::clone(&member.id), member);
    }

    /// Removes a member; another one leads if it did.
    pub fn remove(&mut self, id: &str) -> Option<Member> {
        let member = self.by_id.remove(id)?;
        uncount(&mut self.supporters, &member.terms.protocols);
        self.bytes -= member.terms.bytes();
        self.held_bytes -= held_by(&member);
        self.joining -= usize::from(member.awaits_join());
        self.pending_syncs.remove(id);
        if let Some(instance_id) = &member.instance_id {
            self.static_ids.remove(instance_id);
        }
        if self.is_leader(id) {
            self.leader = self.by_id.keys().next().cloned();
        }
        Some(member)
    }

    /// Gives a member other terms, and says what the old ones were.
    pub fn update(&mut self, id: &str, terms: Terms) -> Option<Terms> {
        let member = self.by_id.get_mut(id)?;
        uncount(&mut self.supporters, &member.terms.protocols);
        count(&mut self.supporters, &terms.protocols);
        self.bytes = self.bytes - member.terms.bytes() + terms.bytes();
        self.held_bytes -= held_by(member);
        let before = std::mem::replace(&mut member.terms, terms);
        self.held_bytes += held_by(member);
        Some(before)
    }

    /// Gives a static member another id, which its client learns with the reply to a join. It leads,
    /// and owes a sync, under that one if it did before.
    pub fn rename(&mut self, old: &str, new: Rc<str>) {
        let Some(mut member) = self.by_id.remove(old) else {
            return;
        };
        if self.is_leader(old) {
            self.leader = Some(Rc::clone(&new));
        }
        if self.pending_syncs.remove(old) {
            self.pending_syncs.insert(Rc::clone(&new));
        }
        if let Some(instance_id) = &member.instance_id {
            let (instance_id, id) = (Rc::clone(instance_id), Rc::clone(&new));
            self.static_ids.insert(instance_id, id);
        }
        self.held_bytes -= held_by(&member);
        member.id = Rc::clone(&new);
        member.is_new = false;
        self.held_bytes += held_by(&member);
        self.by_id.insert(new, member);
    }

    /// Gives a member an assignment; an empty one is none.
    pub fn assign(&mut self, id: &str, assignment: Bytes) {
        if let Some(member) = self.by_id.get_mut(id) {
            self.held_bytes = self.held_bytes - member.assignment.len() + assignment.len();
            member.assignment = assignment;
        }
    }

    /// What members, and clients that may become some, take in memory, in bytes.
    pub fn held_bytes(&self) -> usize {
        let places = tree_bytes::<Rc<str>, Member>(self.len());
        self.held_bytes + places + self.pending_joins.held_bytes()
    }

    /// What members take, without their places, counted anew.
    #[cfg(test)]
    pub fn count_held(&self) -> (usize, usize) {
        (self.held_bytes, self.iter().map(held_by).sum())
    }

    /// What they would take more if one of them, which may be new, took so many bytes beside its assignment.
    pub fn growth_with(&self, id: &str, bytes: usize) -> usize {
        let (before, places) = match self.get(id) {
            Some(member) => (member.bytes(), self.len()),
            None => (0, self.len() + 1),
        };
        let new_places = tree_bytes::<Rc<str>, Member>(places);
        let old_places = tree_bytes::<Rc<str>, Member>(self.len());
        (bytes + new_places - old_places).saturating_sub(before)
    }

    /// What all assignments take, in bytes.
    pub fn assigned_bytes(&self) -> usize {
        self.iter().map(|member| member.assignment.len()).sum()
    }

    /// Makes a member wait for the reply to its join. Returns what it has waited for so far.
    pub fn await_join(
        &mut self,
        id: &str,
        to: Replier<JoinGroupResponse>,
    ) -> Option<Replier<JoinGroupResponse>> {
        let older = self.by_id.get_mut(id)?.join.replace(to);
        self.joining += usize::from(older.is_none());
        older
    }

    /// Where the reply to a member's join goes, if it waits for one; it doesn't any more then.
    pub fn take_join(&mut self, id: &str) -> Option<Replier<JoinGroupResponse>> {
        let to = self.by_id.get_mut(id)?.join.take();
        self.joining -= usize::from(to.is_some());
        to
    }

    /// What the protocols of all members would take if one of them had these terms.
    pub fn bytes_with(&self, id: &str, terms: &Terms) -> usize {
        let before = self.get(id).map_or(0, |member| member.terms.bytes());
        self.bytes - before + terms.bytes()
    }

    /// How many wait for the reply to a join.
    pub fn joining(&self) -> usize {
        self.joining
    }

    /// Whether nobody is missing: every member waits, and no client is about to come back.
    pub fn all_joined(&self) -> bool {
        self.joining == self.len() && self.pending_joins.is_empty()
    }

    /// Makes sure that somebody leads who takes part in this rebalance. False if nobody does.
    pub fn elect_joined(&mut self) -> bool {
        let joined = |id: &Rc<str>| self.by_id.get(id).is_some_and(Member::awaits_join);
        if !self.leader.as_ref().is_some_and(joined) {
            let Some(elected) = self.by_id.values().find(|member| member.awaits_join()) else {
                return false;
            };
            self.leader = Some(Rc::clone(&elected.id));
        }
        true
    }

    /// The longest that a member allows for a rebalance.
    pub fn rebalance_timeout(&self) -> Duration {
        let longest_ms = self.iter().map(|member| member.terms.rebalance_timeout_ms);
        millis(longest_ms.max().unwrap_or(0))
    }

    /// Whether all members know one of these protocols.
    pub fn support(&self, protocols: &[Protocol]) -> bool {
        let supporters = |name| self.supporters.get(name).copied().unwrap_or(0);
        protocols
            .iter()
            .any(|protocol| supporters(&protocol.name) == self.len())
    }

    /// The protocol that most members like best among those that all of them know; the first by
    /// name if there are several. None without members.
    pub fn choose_protocol(&self) -> Option<String> {
        let known_to_all =
            |protocol: &&Protocol| self.supporters.get(&protocol.name).copied() == Some(self.len());
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for member in self.iter() {
            if let Some(choice) = member.terms.protocols.iter().find(known_to_all) {
                *votes.entry(&choice.name).or_default() += 1;
            }
        }
        let most = votes.values().copied().max()?;
        let chosen = votes.iter().find(|(_, votes)| **votes == most);
        chosen.map(|(name, _)| name.to_string())
    }

    /// Sets who leads, as far as it is a member.
    pub fn set_leader(&mut self, id: &str) {
        if let Some((id, _)) = self.by_id.get_key_value(id) {
            self.leader = Some(Rc::clone(id));
        }
    }

    /// The earliest end of a session, of members and of those who have still to join.
    pub fn earliest_deadline(&self) -> Option<Instant> {
        let members = self.iter().filter_map(|member| member.deadline);
        members.chain(self.pending_joins.earliest()).min()
    }
}

/// What a member takes in memory, without its place.
fn held_by(member: &Member) -> usize {
    member.bytes() + member.assignment.len()
}

fn count(supporters: &mut BTreeMap<String, usize>, protocols: &[Protocol]) {
    for protocol in protocols {
        match supporters.get_mut(&protocol.name) {
            Some(known) => *known += 1,
            None => drop(supporters.insert(protocol.name.clone(), 1)),
        }
    }
}

fn uncount(supporters: &mut BTreeMap<String, usize>, protocols: &[Protocol]) {
    for protocol in protocols {
        if let Some(known) = supporters.get_mut(&protocol.name) {
            *known -= 1;
            if *known == 0 {
                supporters.remove(&protocol.name);
            }
        }
    }
}
