//! Resolving regular expressions to topics: when, and step by step.
//!
//! All expressions of a group are resolved together, so that a change of many is one new group epoch: when a member
//! brings a new one, when topics were created, and after the refresh interval; but not again within ten seconds.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use corelog_shards::io::Instant;
use kafka_protocol::error::ResponseError;

use super::durable::Durable;
use super::held::resolved_bytes;
use super::member::Member;
use super::patterns::Pattern;
use super::subscriptions::Resolved;
use super::{ConsumerGroup, Rejection, rejection};
use crate::cluster::image::Image;
use crate::coordinator::Context;
use crate::coordinator::group::records::Record;

/// The least time between two refreshes of a group.
const REFRESH_INTERVAL_MIN_MS: i64 = 10_000;

/// What a heartbeat does to a member's regular expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RegexChange {
    None,
    /// To one that is to be resolved first.
    Unresolved {
        is_new: bool,
    },
    /// To none, or to one whose topics are known.
    Resolved,
}

impl Durable {
    /// Writes what follows for the expression that a member had, and checks the one it has now.
    pub fn change_regex(
        &self,
        before: &Member,
        after: &Member,
        records: &mut Vec<Record>,
    ) -> Result<RegexChange, Rejection> {
        if before.regex() == after.regex() {
            return Ok(RegexChange::None);
        }
        if let Some(dropped) = self.regex_dropped(before, after) {
            records.push(self.regex_record(dropped, None));
        }
        let Some(regex) = after.regex() else {
            return Ok(RegexChange::Resolved);
        };
        if self.subscriptions.subscribers_of(regex) == 0 {
            Pattern::new(regex).map_err(|error| {
                let text = format!(
                    "SubscribedTopicRegex `{regex}` is not a valid regular expression: {error}."
                );
                rejection(ResponseError::InvalidRegularExpression, text)
            })?;
            return Ok(RegexChange::Unresolved { is_new: true });
        }
        Ok(match self.subscriptions.resolved.contains_key(regex) {
            true => RegexChange::Resolved,
            false => RegexChange::Unresolved { is_new: false },
        })
    }

    /// The expression that nobody subscribes to any more after this change of a member.
    pub fn regex_dropped<'a>(&self, before: &'a Member, after: &Member) -> Option<&'a str> {
        let regex = before
            .regex()
            .filter(|regex| Some(*regex) != after.regex())?;
        (self.subscriptions.subscribers_of(regex) == 1).then_some(regex)
    }
}

impl ConsumerGroup {
    /// The refresh that a heartbeat gives cause for.
    pub(super) fn wants_refresh(
        &self,
        before: &Member,
        after: &Member,
        change: RegexChange,
        context: &Context<'_>,
    ) -> Option<Refresh> {
        let now = &self.durable.subscriptions;
        let is_new = change == RegexChange::Unresolved { is_new: true };
        if self.refresh.is_some() || !is_new && now.regexes.is_empty() {
            return None;
        }
        let last = now.resolved.values().next();
        let resolved_at_ms = last.map(|last| last.resolved_at_ms);
        let tried_at_ms = resolved_at_ms.max(self.refresh_refused_at_ms);
        let age_ms = tried_at_ms.map(|tried_at_ms| context.wall_ms.saturating_sub(tried_at_ms));
        if age_ms.is_some_and(|age_ms| (0..=REFRESH_INTERVAL_MIN_MS).contains(&age_ms)) {
            return None;
        }
        let interval_ms = context.config.groups.consumer.regex_refresh_interval;
        let interval_ms = interval_ms.as_millis();
        let is_old = |age_ms| u128::try_from(age_ms).is_ok_and(|age_ms| age_ms > interval_ms);
        let next = || now.with(before, after).regexes;
        let subscribed = match change {
            RegexChange::None => now.regexes.len(),
            _ => next().len(),
        };
        let is_due = is_new
            || subscribed != now.resolved.len()
            || last.map_or(0, |last| last.version) < self.topics_created_at
            || age_ms.is_none_or(is_old);
        (is_due && subscribed > 0).then(|| Refresh {
            due: context.now,
            version: context.image.last_offset,
            started_at_ms: context.wall_ms,
            scan: None,
            left: next().into_keys().rev().collect(),
            resolved: Vec::new(),
            found_bytes: 0,
        })
    }
}

/// Regular expressions on their way to topics, one after the other.
#[derive(Debug)]
pub(super) struct Refresh {
    /// When to go on with it: at once.
    pub due: Instant,
    /// Of the metadata at its beginning: topics that come later are a cause for the next one.
    version: i64,
    started_at_ms: i64,
    scan: Option<Scan>,
    /// Last first.
    left: Vec<String>,
    resolved: Vec<(String, Resolved)>,
    /// What these take.
    found_bytes: usize,
}

/// One expression on its way through all topics.
#[derive(Debug)]
struct Scan {
    regex: String,
    pattern: Pattern,
    matched: BTreeSet<String>,
    /// The next topic to look at, in the order of their names; the first one if there is none.
    next: Option<Arc<str>>,
}

impl Refresh {
    /// Goes on a little. Returns all that was found when there is no more to do.
    pub fn step(&mut self, image: &Image) -> Option<Vec<(String, Resolved)>> {
        let Some(scan) = &mut self.scan else {
            let Some(regex) = self.left.pop() else {
                return Some(self.take_found());
            };
            match Pattern::new(&regex) {
                Ok(pattern) => {
                    self.scan = Some(Scan {
                        regex,
                        pattern,
                        matched: BTreeSet::new(),
                        next: None,
                    });
                }
                // It was written by another broker, since here it would have been refused.
                Err(error) => {
                    tracing::warn!(
                        regex,
                        error,
                        "a regular expression is not valid and matches nothing"
                    );
                    self.finish(regex, BTreeSet::new());
                }
            }
            return None;
        };
        if scan.step(image) {
            let Scan { regex, matched, .. } = self.scan.take()?;
            self.finish(regex, matched);
        }
        None
    }

    fn finish(&mut self, regex: String, topics: BTreeSet<String>) {
        let resolved = Resolved {
            topics: Rc::new(topics),
            version: self.version,
            resolved_at_ms: self.started_at_ms,
        };
        self.found_bytes += resolved_bytes(&regex, &resolved);
        self.resolved.push((regex, resolved));
    }

    /// All that was found so far.
    pub fn take_found(&mut self) -> Vec<(String, Resolved)> {
        std::mem::take(&mut self.resolved)
    }

    /// What that takes in memory, in bytes.
    pub fn found_bytes(&self) -> usize {
        self.found_bytes
    }
}

impl Scan {
    /// Whether all topics have been looked at.
    fn step(&mut self, image: &Image) -> bool {
        let next = self.next.take();
        let mut topics = image.topics.iter_from(next.as_deref().unwrap_or(""));
        for topic in topics.by_ref().take(self.pattern.matches_per_step) {
            if self.pattern.matches(&topic.name) {
                self.matched.insert(topic.name.to_string());
            }
        }
        self.next = topics.next().map(|topic| topic.name.clone());
        self.next.is_none()
    }
}
