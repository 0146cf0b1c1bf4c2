//! Rebalances: members join, those who don't in time are left behind, and a new generation begins.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use corelog_shards::io::Instant;
use kafka_protocol::error::ResponseError;

use super::replies::{join_error, sync_error};
use super::{ClassicGroup, State};
use crate::coordinator::group::records::Record;
use crate::coordinator::{Context, Output};

/// How long static members are waited for at least when none of them has joined, however little
/// time they allow themselves: or nothing else would be done until their sessions end.
const WAIT_FOR_STATIC_MIN: Duration = Duration::from_secs(1);

/// When to go on without those who have not joined.
pub(super) struct JoinTimer {
    at: Instant,
    first: Option<FirstRebalance>,
}

/// The rebalance of a group that was empty waits for others to join although all that are known
/// have: each time that somebody new did, once more, up to the rebalance time-out.
struct FirstRebalance {
    delay: Duration,
    remaining: Duration,
    has_newcomer: bool,
}

impl ClassicGroup {
    /// Begins a rebalance, unless there is one: then ends it if all have joined.
    pub(super) fn rebalance(
        &mut self,
        reason: &str,
        context: &Context<'_>,
        out: &mut Output<Record>,
    ) {
        match self.state {
            State::PreparingRebalance => self.complete_join_if_all_joined(context, out),
            _ => self.prepare_rebalance(reason, context, out),
        }
    }

    /// Begins a rebalance.
    pub(super) fn prepare_rebalance(
        &mut self,
        reason: &str,
        context: &Context<'_>,
        out: &mut Output<Record>,
    ) {
        tracing::debug!(group = &*self.id, reason, "preparing to rebalance");
        if self.state == State::CompletingRebalance {
            self.refuse_syncs(ResponseError::RebalanceInProgress, context, out);
        }
        self.members.pending_syncs.clear();
        self.sync_deadline = None;
        let is_first = self.state == State::Empty;
        self.transition(State::PreparingRebalance, context);
        if is_first {
            let delay = context.config.groups.classic.initial_rebalance_delay;
            let first = FirstRebalance {
                delay,
                remaining: self.members.rebalance_timeout().saturating_sub(delay),
                has_newcomer: false,
            };
            self.allow_joins_for(delay, Some(first), context);
        } else if self.members.all_joined() {
            self.complete_join(context, out);
        } else {
            self.allow_joins_for(self.members.rebalance_timeout(), None, context);
        }
    }

    fn allow_joins_for(
        &mut self,
        time: Duration,
        first: Option<FirstRebalance>,
        context: &Context<'_>,
    ) {
        let at = context.now + time;
        self.join_timer = Some(JoinTimer { at, first });
        self.wake_by(at);
    }

    /// Somebody joins who was not in the group before.
    pub(super) fn note_newcomer(&mut self) {
        let timer = self.join_timer.as_mut();
        if let Some(first) = timer.and_then(|timer| timer.first.as_mut()) {
            first.has_newcomer = true;
        }
    }

    /// Ends the joining if nobody is missing. The first rebalance waits for more all the same.
    pub(super) fn complete_join_if_all_joined(
        &mut self,
        context: &Context<'_>,
        out: &mut Output<Record>,
    ) {
        let is_first = (self.join_timer.as_ref()).is_some_and(|timer| timer.first.is_some());
        if self.state == State::PreparingRebalance && !is_first && self.members.all_joined() {
            self.complete_join(context, out);
        }
    }

    /// Ends the joining: dynamic members that have not joined are out, static ones stay, and a
    /// generation begins with a leader that has joined. If only static members are left and none of
    /// them has joined, they are waited for once more, until their sessions end.
    pub(super) fn complete_join(&mut self, context: &Context<'_>, out: &mut Output<Record>) {
        self.join_timer = None;
        let late = |member: &super::member::Member| !member.awaits_join() && !member.is_static();
        for id in self.members.ids(late) {
            self.remove_member(&id, out);
        }
        if self.members.is_empty() {
            self.begin_generation(State::Empty, context);
            // Without it, the previous generation comes back after a restart, and times out.
            let _ = self.store(context, out);
        } else if self.members.elect_joined() {
            self.begin_generation(State::CompletingRebalance, context);
            self.answer_joins(context, out);
            let deadline = context.now + self.members.rebalance_timeout();
            self.sync_deadline = Some(deadline);
            self.wake_by(deadline);
        } else {
            let time = self.members.rebalance_timeout().max(WAIT_FOR_STATIC_MIN);
            self.allow_joins_for(time, None, context);
        }
    }

    fn begin_generation(&mut self, state: State, context: &Context<'_>) {
        self.generation = self.generation.wrapping_add(1);
        self.protocol = self.members.choose_protocol();
        self.subscribed_topics = self.compute_subscribed_topics();
        self.transition(state, context);
    }

    fn answer_joins(&mut self, context: &Context<'_>, out: &mut Output<Record>) {
        for id in self.members.ids(|_| true) {
            if let Some(to) = self.members.take_join(&id) {
                out.reply(to, self.joined(&id));
            }
            if let Some(member) = self.members.get_mut(&id) {
                member.is_new = false;
            }
            self.renew_session(&id, context);
            self.members.pending_syncs.insert(id);
        }
    }

    /// Nobody gets an assignment in this generation; whoever waits for one is told why.
    pub(super) fn refuse_syncs(
        &mut self,
        error: ResponseError,
        context: &Context<'_>,
        out: &mut Output<Record>,
    ) {
        for id in self.members.ids(|_| true) {
            self.members.assign(&id, Bytes::new());
            let member = self.members.get_mut(&id);
            if let Some(to) = member.and_then(|member| member.sync.take()) {
                out.reply(to, sync_error(error));
                self.renew_session(&id, context);
            }
        }
    }

    /// Puts a member out, or one that was about to join. What it waits for is answered.
    pub(super) fn remove_member(&mut self, id: &str, out: &mut Output<Record>) {
        self.members.pending_joins.remove(id);
        let Some(member) = self.members.remove(id) else {
            return;
        };
        // It may still be there: then it joins anew.
        let error = ResponseError::UnknownMemberId;
        if let Some(to) = member.join {
            out.reply(to, join_error("", error));
        }
        if let Some(to) = member.sync {
            out.reply(to, sync_error(error));
        }
    }

    /// Does what is due by now.
    pub fn expire(&mut self, context: &Context<'_>, out: &mut Output<Record>) {
        self.expire_sessions(context, out);
        if (self.join_timer.as_ref()).is_some_and(|timer| timer.at <= context.now) {
            self.expire_join(context, out);
        }
        if self.sync_deadline.is_some_and(|at| at <= context.now) {
            self.expire_sync(context, out);
        }
        let join_deadline = self.join_timer.as_ref().map(|timer| timer.at);
        let deadlines = [
            self.members.earliest_deadline(),
            join_deadline,
            self.sync_deadline,
        ];
        self.wake = deadlines.into_iter().flatten().min();
    }

    fn expire_join(&mut self, context: &Context<'_>, out: &mut Output<Record>) {
        let longest = context.config.groups.classic.initial_rebalance_delay;
        match self.join_timer.take().and_then(|timer| timer.first) {
            Some(first) if first.has_newcomer && !first.remaining.is_zero() => {
                let delay = longest.min(first.remaining);
                let next = FirstRebalance {
                    delay,
                    remaining: first.remaining.saturating_sub(first.delay),
                    has_newcomer: false,
                };
                self.allow_joins_for(delay, Some(next), context);
            }
            _ => self.complete_join(context, out),
        }
    }

    /// Members that never synced are out.
    fn expire_sync(&mut self, context: &Context<'_>, out: &mut Output<Record>) {
        self.sync_deadline = None;
        let late: Vec<Rc<str>> = self.members.pending_syncs.iter().cloned().collect();
        for id in &late {
            self.remove_member(id, out);
        }
        if !late.is_empty() {
            self.prepare_rebalance("members have not synced", context, out);
        }
    }
}
