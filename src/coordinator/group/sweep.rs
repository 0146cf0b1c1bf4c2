//! Sweeps: what has lasted long enough is forgotten.
//!
//! A sweep looks at every group, some of them at a time, and forgets offsets whose topic is gone, offsets that have
//! been kept for as long as they were to be, and groups that are left with neither members nor offsets.
//!
//! | the group | its offsets are kept |
//! |---|---|
//! | is simple | since they were committed |
//! | is empty | since it is |
//! | is stable, with consumers whose topics are known | for these topics always, for others since they were committed |
//! | is of the consumer protocol | for topics that its members subscribe to always, for others since they were committed |
//! | is anything else | always |

use std::collections::BTreeSet;
use std::rc::Rc;

use corelog_shards::io::Instant;

use super::classic::{ClassicGroup, State};
use super::kind::Kind;
use super::offsets::{is_expired, is_orphan};
use super::records::{OffsetCommitValue, Record};
use super::{Context, Group, Groups, Output};

/// Offsets looked at in one step, more or less: some tens of microseconds.
const OFFSETS_PER_STEP: usize = 500;

/// Why all groups are looked at.
pub(super) enum Reason<'a> {
    /// It is time.
    Time,
    /// Topics may have gone while nobody looked.
    Loaded,
    /// Topics of these names are gone.
    Deleted(&'a [&'a str]),
}

#[derive(Default)]
pub(super) struct Sweep {
    /// Groups that are still to be looked at, in a sweep that is under way.
    rest: Option<Vec<Rc<str>>>,
    /// Names of topics that were deleted, for offsets that don't tell which topic of a name they are of.
    deleted: BTreeSet<String>,
    /// Whether groups go that have had no offsets before: between two requests of its first member a group looks like
    /// one that is left over.
    is_regular: bool,
    /// When the next step, or the next sweep, is to begin.
    due: Option<Instant>,
}

impl Sweep {
    /// Begins a sweep over all groups. One that is under way begins again.
    pub(super) fn begin(&mut self, groups: Vec<Rc<str>>, reason: Reason<'_>, now: Instant) {
        self.rest = Some(groups);
        self.due = Some(now);
        self.is_regular = matches!(reason, Reason::Time);
        if let Reason::Deleted(names) = reason {
            let names = names.iter().map(|name| (*name).to_owned());
            self.deleted.extend(names);
        }
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    fn is_over(&self, value: &OffsetCommitValue, topic: &str, context: &Context<'_>) -> bool {
        is_orphan(value, topic, context.image)
            || value.topic_id.is_nil() && self.deleted.contains(topic)
    }
}

impl Groups {
    /// Goes on with the sweep, if it is due.
    pub(super) fn sweep_on(&mut self, context: &Context<'_>, out: &mut Output<Record>) {
        if self.sweep.due.is_none_or(|due| due > context.now) {
            return;
        }
        if self.sweep.rest.is_none() {
            let groups = self.groups.keys().cloned().collect();
            self.sweep.begin(groups, Reason::Time, context.now);
        }
        let mut looked_at = 0;
        while looked_at < OFFSETS_PER_STEP {
            let Some(id) = self.sweep.rest.as_mut().and_then(Vec::pop) else {
                self.sweep.rest = None;
                self.sweep.deleted.clear();
                let interval = context.config.groups.offsets.retention_check_interval;
                self.sweep.due = Some(context.now + interval);
                return;
            };
            if let Some(group) = self.groups.get_mut(&id) {
                looked_at += 1 + group.offsets.len();
                group.sweep(&id, &self.sweep, context, out);
            }
        }
    }
}

/// Since when offsets count as unused.
#[derive(Clone, Copy)]
enum Retention {
    Never,
    FromCommit,
    /// Milliseconds since 1970.
    From(i64),
}

impl Group {
    fn sweep(&mut self, id: &str, sweep: &Sweep, context: &Context<'_>, out: &mut Output<Record>) {
        let before = out.records.len();
        let offsets = &self.offsets;
        let is_over = |topic: &str, value: &OffsetCommitValue| {
            sweep.is_over(value, topic, context) || self.is_expired(topic, value, context)
        };
        offsets.tombstones(id, is_over, &mut out.records);
        let gone = out.records.len() - before;
        let may_go = gone == offsets.len() && (gone > 0 || sweep.is_regular);
        if may_go && self.kind.is_empty() {
            self.kind.delete(context, out);
        }
    }

    fn is_expired(&self, topic: &str, value: &OffsetCommitValue, context: &Context<'_>) -> bool {
        let retention = match &self.kind {
            Kind::Classic(group) => retention(group),
            Kind::Consumer(_) => Retention::FromCommit,
        };
        let since_ms = match retention {
            Retention::Never => return false,
            Retention::FromCommit => value.commit_timestamp,
            Retention::From(ms) => ms,
        };
        let config = &context.config.groups.offsets;
        is_expired(value, since_ms, context.wall_ms, config) && !self.kind.is_subscribed_to(topic)
    }
}

fn retention(group: &ClassicGroup) -> Retention {
    let reads_known_topics = group.is_of_consumers() && group.subscribed_topics().is_some();
    match (group.protocol_type(), group.state()) {
        (None, _) => Retention::FromCommit,
        (Some(_), State::Empty) => match group.state_since_ms() {
            Some(ms) => Retention::From(ms),
            None => Retention::FromCommit,
        },
        (Some(_), State::Stable) if reads_known_topics => Retention::FromCommit,
        _ => Retention::Never,
    }
}
