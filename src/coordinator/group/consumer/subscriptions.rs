//! What the members of a group subscribe to, counted.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::member::Member;
use crate::cluster::image::Topic;
use crate::coordinator::group::assignor::{self, Assignor, Uniform};

/// Derived from members and from what regular expressions were resolved to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Subscriptions {
    /// Topics, each with the number of members that name it plus the number of regular expressions that match it.
    pub topics: BTreeMap<String, usize>,
    /// Regular expressions, each with the number of members that subscribe to it.
    pub regexes: BTreeMap<String, usize>,
    /// Those of the regular expressions that were resolved.
    pub resolved: BTreeMap<String, Resolved>,
    /// Assignors, each with the number of members that ask for it.
    pub assignors: BTreeMap<String, usize>,
}

/// The topics that a regular expression stood for.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Resolved {
    pub topics: Rc<BTreeSet<String>>,
    /// The offset of the metadata it was resolved with.
    pub version: i64,
    /// Milliseconds since 1970.
    pub resolved_at_ms: i64,
}

impl Subscriptions {
    pub fn add(&mut self, member: &Member) {
        member
            .subscribed_topics
            .iter()
            .for_each(|topic| add(&mut self.topics, topic));
        member
            .regex()
            .into_iter()
            .for_each(|regex| add(&mut self.regexes, regex));
        member
            .assignor
            .iter()
            .for_each(|name| add(&mut self.assignors, name));
    }

    pub fn remove(&mut self, member: &Member) {
        member
            .subscribed_topics
            .iter()
            .for_each(|topic| remove(&mut self.topics, topic));
        member
            .regex()
            .into_iter()
            .for_each(|regex| remove(&mut self.regexes, regex));
        member
            .assignor
            .iter()
            .for_each(|name| remove(&mut self.assignors, name));
    }

    /// With one member in place of another. Neither needs to be there before.
    pub fn with(&self, old: &Member, new: &Member) -> Self {
        let mut next = self.clone();
        next.remove(old);
        next.add(new);
        next
    }

    pub fn resolve(&mut self, regex: String, resolved: Resolved) {
        self.forget_resolved(&regex);
        resolved
            .topics
            .iter()
            .for_each(|topic| add(&mut self.topics, topic));
        self.resolved.insert(regex, resolved);
    }

    pub fn forget_resolved(&mut self, regex: &str) {
        if let Some(resolved) = self.resolved.remove(regex) {
            resolved
                .topics
                .iter()
                .for_each(|topic| remove(&mut self.topics, topic));
        }
    }

    /// How many members subscribe to a regular expression.
    pub fn subscribers_of(&self, regex: &str) -> usize {
        self.regexes.get(regex).copied().unwrap_or(0)
    }

    /// The assignor that most members ask for; of several the first configured one, which also is that of groups that
    /// ask for none.
    pub fn preferred_assignor(&self, configured: &[String]) -> &'static dyn Assignor {
        let known = configured.iter().filter_map(|name| assignor::by_name(name));
        let votes = |assignor: &&dyn Assignor| self.assignors.get(assignor.name());
        // Of equal ones `max_by_key` takes the last.
        let known: Vec<_> = known.collect();
        known
            .into_iter()
            .rev()
            .max_by_key(votes)
            .unwrap_or(&Uniform)
    }

    /// Whether a member subscribes to a topic, as far as its regular expression is resolved.
    pub fn includes(&self, member: &Member, topic: &Topic) -> bool {
        let matched = || self.resolved.get(member.regex()?);
        member.subscribed_topics.contains(&*topic.name)
            || matched().is_some_and(|resolved| resolved.topics.contains(&*topic.name))
    }
}

fn add(counts: &mut BTreeMap<String, usize>, name: &str) {
    match counts.get_mut(name) {
        Some(count) => *count += 1,
        None => _ = counts.insert(name.to_owned(), 1),
    }
}

fn remove(counts: &mut BTreeMap<String, usize>, name: &str) {
    match counts.get_mut(name) {
        Some(count) if *count > 1 => *count -= 1,
        _ => _ = counts.remove(name),
    }
}
