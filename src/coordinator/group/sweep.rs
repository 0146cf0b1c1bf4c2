//! Sweeps: what has lasted long enough is forgotten.
//!
//! A sweep looks at every group, in the order of their names and at some of their offsets at a time, and forgets offsets
//! whose topic is gone and groups that are left with neither members nor offsets. At regular times it forgets offsets
//! that have been kept for as long as they were to be, too: not after a load, since consumers are to find them after the
//! broker has been away for long, and come back to their groups.
//!
//! One begins at regular times, after a load, and when topics are deleted. Topics that are deleted while one is under
//! way have another one follow it: a sweep never begins again before its end, so that none of its causes can keep the
//! others from their turn.
//!
//! | the group | its offsets are kept |
//! |---|---|
//! | is simple | since they were committed |
//! | is empty | since it is |
//! | is stable, with consumers whose topics are known | for these topics always, for others since they were committed |
//! | is of the consumer protocol | for topics that its members subscribe to always, for others since they were committed |
//! | is anything else | always |

use std::ops::Bound::{Excluded, Included, Unbounded};
use std::rc::Rc;
use std::time::Duration;

use corelog_shards::io::Instant;

use super::classic::{ClassicGroup, State};
use super::kind::Kind;
use super::offsets::{PartitionName, is_expired, is_orphan, tombstone};
use super::records::{OffsetCommitValue, Record};
use super::{Context, Group, Groups, Output};

/// Groups and offsets looked at in one step: some tens of microseconds.
const LOOKS_PER_STEP: usize = 500;

#[derive(Default)]
pub(super) struct Sweep {
    under_way: Option<UnderWay>,
    /// Topics have gone that the sweep under way may have missed.
    is_wanted: bool,
    /// When the next regular one is to begin, or go on being due while another is under way.
    regular_at: Option<Instant>,
}

/// A sweep between its first step and its last.
struct UnderWay {
    since: Instant,
    /// Whether offsets expire, and groups go that have had no offsets before: between two requests of its first member a
    /// group looks like one that is left over.
    is_regular: bool,
    place: Place,
}

/// How far a sweep has come.
enum Place {
    Start,
    Behind(Rc<str>),
    Inside {
        group: Rc<str>,
        /// Looked at last.
        offset: PartitionName,
        /// Whether offsets of the group were forgotten so far.
        has_forgotten: bool,
    },
}

impl Sweep {
    /// The log was read to its end: topics may have gone while nobody looked.
    pub(super) fn loaded(&mut self, now: Instant, interval: Duration) {
        self.regular_at = Some(now + interval);
        self.topics_gone(now);
    }

    pub(super) fn topics_gone(&mut self, now: Instant) {
        match self.under_way {
            Some(_) => self.is_wanted = true,
            None => self.begin(now),
        }
    }

    fn begin(&mut self, now: Instant) {
        self.is_wanted = false;
        self.under_way = Some(UnderWay {
            since: now,
            is_regular: self.regular_at.take_if(|at| *at <= now).is_some(),
            place: Place::Start,
        });
    }

    pub(super) fn due(&self) -> Option<Instant> {
        let under_way = self.under_way.as_ref().map(|sweep| sweep.since);
        under_way.or(self.regular_at)
    }

    /// Takes out the sweep that is to go on now, if there is one.
    fn take_due(&mut self, now: Instant) -> Option<UnderWay> {
        if self.under_way.is_none() && self.regular_at.is_some_and(|at| at <= now) {
            self.begin(now);
        }
        self.under_way.take()
    }

    fn end(&mut self, ended: UnderWay, now: Instant, interval: Duration) {
        if ended.is_regular {
            self.regular_at = Some(now + interval);
        }
        if self.is_wanted {
            self.begin(now);
        }
    }
}

impl Groups {
    /// Goes on with a sweep that is due.
    pub(super) fn sweep_on(&mut self, context: &Context<'_>, out: &mut Output<Record>) {
        let Some(mut sweep) = self.sweep.take_due(context.now) else {
            return;
        };
        let mut looks_left = LOOKS_PER_STEP;
        while looks_left > 0 {
            let from = match &sweep.place {
                Place::Start => Unbounded,
                Place::Behind(id) => Excluded(&**id),
                Place::Inside { group, .. } => Included(&**group),
            };
            let next = self.groups.range_mut::<str, _>((from, Unbounded)).next();
            let Some((id, group)) = next else {
                let interval = context.config.groups.offsets.retention_check_interval;
                return self.sweep.end(sweep, context.now, interval);
            };
            sweep.place = group.sweep(id, &sweep, &mut looks_left, context, out);
        }
        self.sweep.under_way = Some(sweep);
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
    /// Looks at the offsets of the group from where the sweep is on, and at the group itself if that is all of them.
    /// Where the sweep is then.
    fn sweep(
        &mut self,
        id: &Rc<str>,
        sweep: &UnderWay,
        looks_left: &mut usize,
        context: &Context<'_>,
        out: &mut Output<Record>,
    ) -> Place {
        let (seen, had_forgotten) = match &sweep.place {
            Place::Inside {
                group,
                offset,
                has_forgotten,
            } if group == id => (Some(offset), *has_forgotten),
            _ => (None, false),
        };
        *looks_left = looks_left.saturating_sub(1);
        let mut forgotten = 0;
        for (topic, partition, value) in self.offsets.iter_after(seen) {
            let has_expired = || sweep.is_regular && self.is_expired(topic, value, context);
            if is_orphan(value, topic, context.image) || has_expired() {
                out.records.push(tombstone(id, topic, partition));
                forgotten += 1;
            }
            *looks_left = looks_left.saturating_sub(1);
            if *looks_left == 0 {
                return Place::Inside {
                    group: id.clone(),
                    offset: (topic.to_owned(), partition),
                    has_forgotten: had_forgotten || forgotten > 0,
                };
            }
        }
        let has_nothing = forgotten == self.offsets.len();
        let may_go = has_nothing && (had_forgotten || forgotten > 0 || sweep.is_regular);
        if may_go && self.kind.is_empty() {
            self.kind.delete(context, out);
        }
        Place::Behind(id.clone())
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
