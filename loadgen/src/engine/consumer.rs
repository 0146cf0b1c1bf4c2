//! One consumer: its share of the partitions, read from where they ended when the run began, or, as a member of a group,
//! from where the group has committed.

use std::borrow::Cow;
use std::sync::Arc;

use anyhow::Result;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::{FetchResponse, TopicName};
use nix::sys::epoll::{Epoll, EpollEvent};

use super::Shared;
use super::asking::{Ask, Reply};
use super::session::Session;
use crate::batch::whole_batches;
use crate::client::error_name;
use crate::cluster::Cluster;
use crate::group::{Api, Membership, Told};
use crate::link::{self, Link};
use crate::measure::Recorder;
use crate::record::{Found, Stamp};
use crate::verify::{Line, Received};

pub(super) struct Consumer {
    /// Which set it belongs to.
    pub set: usize,
    /// The partitions it reads, in their order.
    pub positions: Vec<Position>,
    pub cluster: Arc<Cluster>,
    /// Replies to requests for an earlier share are of no use.
    pub links: Vec<Link<Ask>>,
    /// One for each link.
    pub readings: Vec<Reading>,
    /// Its part in a group; `None` if its partitions are assigned by hand.
    pub membership: Option<Membership>,
    /// Which state of the membership the positions are of.
    pub share: u64,
    /// When it began, as a member.
    began_ns: Option<u64>,
    /// What it got, for the verification.
    pub received: Received,
    /// Records so far.
    pub records: u64,
    /// Records that are left up to where its partitions are known to end.
    pub lag: u64,
    /// Where they end is known for good.
    has_ends: bool,
}

/// How far a partition has been read.
pub(super) struct Position {
    /// Which of all partitions.
    pub at: usize,
    /// Of the next record.
    pub offset: i64,
    /// Where it ends, as far as is known; once producers are done, for good.
    end: i64,
    /// Over which link it is read; `None` as long as it has no leader.
    pub link: Option<usize>,
}

/// What is read over a link.
#[derive(Default)]
pub(super) struct Reading {
    pub session: Session,
    /// How many partitions.
    count: usize,
    /// Positions that a broker has refused as out of range, by their number: it is asked where those logs start.
    pub out_of_range: Vec<usize>,
}

impl Position {
    /// Records that are left.
    fn lag(&self) -> u64 {
        (self.end - self.offset).max(0) as u64
    }
}

impl Consumer {
    /// Reads from these offsets on, each with the number of its partition, in their order.
    pub(super) fn new(set: usize, starts: Vec<(usize, i64)>) -> Self {
        Self {
            set,
            positions: starts
                .into_iter()
                .map(|(at, offset)| Position {
                    at,
                    offset,
                    end: offset,
                    link: None,
                })
                .collect(),
            cluster: Arc::default(),
            links: Vec::new(),
            readings: Vec::new(),
            membership: None,
            share: 0,
            began_ns: None,
            received: Received::default(),
            records: 0,
            lag: 0,
            has_ends: false,
        }
    }

    /// Gets its partitions as a member of a group.
    pub(super) fn member(set: usize, membership: Membership) -> Self {
        Self {
            membership: Some(membership),
            ..Self::new(set, Vec::new())
        }
    }

    /// Sees to it that each broker it needs is asked.
    pub(super) fn tick(
        &mut self,
        cluster: &Arc<Cluster>,
        shared: &Shared<'_>,
        recorder: &mut Recorder,
    ) {
        if !Arc::ptr_eq(&self.cluster, cluster) {
            self.follow_leaders(cluster, shared.workload.consumers.connections);
        }
        let now_ns = shared.clock.now_ns();
        if self.membership.is_some() {
            self.take_part(now_ns, shared, recorder);
        }
        for at in 0..self.links.len() {
            if self.links[at].is_overdue(now_ns) {
                self.fail(at, link::OVERDUE, now_ns, shared, recorder);
            }
            self.ask(at, shared, recorder);
        }
    }

    /// Does what its group wants of it.
    fn take_part(&mut self, now_ns: u64, shared: &Shared<'_>, recorder: &mut Recorder) {
        let Some(membership) = &mut self.membership else {
            return;
        };
        let began_ns = *self.began_ns.get_or_insert(now_ns);
        if shared.ends.get().is_some() && self.lag == 0 {
            membership.member.hurry();
        }
        let before = membership.member.adoptions();
        membership.tick(&self.cluster, now_ns, |told| {
            hear(told, now_ns, shared, recorder);
        });
        let member = &membership.member;
        match (before, member.adoptions()) {
            (0, 1..) => recorder.joined(now_ns, now_ns - began_ns),
            (before, after) if before < after => recorder.rebalanced(now_ns),
            _ => {}
        }
        if member.changes() == self.share {
            return;
        }
        self.share = member.changes();
        let ends = shared.ends.get();
        let mut held = std::mem::take(&mut self.positions).into_iter().peekable();
        for (at, offset) in member.readable() {
            while held.next_if(|it| it.at < at).is_some() {}
            let kept = held.next_if(|it| it.at == at && it.offset == offset);
            self.positions.push(kept.unwrap_or_else(|| {
                self.received.begin_anew(at as u32);
                let end = ends.map_or(offset, |ends| ends[at]);
                let link = None;
                Position {
                    at,
                    offset,
                    end,
                    link,
                }
            }));
        }
        self.lag = self.positions.iter().map(Position::lag).sum();
        let cluster = Arc::clone(&self.cluster);
        self.follow_leaders(&cluster, shared.workload.consumers.connections);
    }

    /// Commits and leaves its group; whether it has.
    pub(super) fn leave(&mut self) -> bool {
        self.membership.as_mut().is_none_or(|membership| {
            membership.member.leave();
            membership.member.is_gone()
        })
    }

    /// Something has come over a connection of its membership.
    pub(super) fn hear_group(
        &mut self,
        event: EpollEvent,
        epoll: &Epoll,
        buffer: &mut [u8],
        shared: &Shared<'_>,
        recorder: &mut Recorder,
    ) -> Result<()> {
        let now_ns = shared.clock.now_ns();
        let mut membership = self.membership.iter_mut();
        membership.try_for_each(|membership| {
            membership.happened(event, epoll, buffer, now_ns, |told| {
                hear(told, now_ns, shared, recorder);
            })
        })
    }

    /// Takes over what another look at the cluster has found.
    fn follow_leaders(&mut self, cluster: &Arc<Cluster>, connections: u32) {
        self.cluster = Arc::clone(cluster);
        link::complete(&mut self.links, cluster, connections);
        self.readings
            .resize_with(self.links.len(), Reading::default);
        for reading in &mut self.readings {
            reading.session.renew();
            reading.count = 0;
            // They are refused again, if they still are.
            reading.out_of_range.clear();
        }
        for (number, position) in self.positions.iter_mut().enumerate() {
            let leader = cluster.leaders[position.at];
            position.link = link::find(&self.links, leader, number);
            if let Some(link) = position.link {
                self.readings[link].count += 1;
            }
        }
    }

    fn ask(&mut self, link_at: usize, shared: &Shared<'_>, recorder: &mut Recorder) {
        let now_ns = shared.clock.now_ns();
        let link = &self.links[link_at];
        let in_flight = link.connection.as_ref().map(|it| it.in_flight());
        let is_busy = in_flight.is_some_and(|in_flight| in_flight > 0);
        if is_busy || now_ns < link.retry_ns || self.readings[link_at].count == 0 {
            return;
        }
        let link = &mut self.links[link_at];
        let opened = link.open(&self.cluster, now_ns, |why| {
            shared.lost_connection(now_ns, why, recorder);
        });
        if opened.is_none() {
            return;
        }
        let sent = match self.readings[link_at].out_of_range.is_empty() {
            true => self.fetch(link_at, now_ns, shared),
            false => self.ask_for_log_starts(link_at, now_ns, shared),
        };
        if let Err(error) = sent {
            self.disconnect(link_at, error, shared, recorder);
        }
    }

    /// Reads what a broker has sent, by way of a buffer that is lent to it.
    pub(super) fn receive(
        &mut self,
        link_at: usize,
        buffer: &mut [u8],
        shared: &Shared<'_>,
        recorder: &mut Recorder,
    ) {
        loop {
            let Some(connection) = &mut self.links[link_at].connection else {
                return;
            };
            let received = connection.receive(buffer);
            let reply = connection
                .next_reply_by(|ask: &Ask, version, body| ask.query.decode(version, body));
            match reply {
                Ok(Some((Ask { share, .. }, reply))) => {
                    let is_of_use = share == self.share;
                    match reply {
                        Reply::Fetch(reply) => {
                            self.take(link_at, is_of_use, &reply, shared, recorder);
                        }
                        Reply::LogStarts(reply) if is_of_use => {
                            self.take_log_starts(link_at, &reply, shared, recorder);
                        }
                        Reply::LogStarts(_) => {}
                    }
                }
                Ok(None) => {}
                Err(error) => return self.disconnect(link_at, error, shared, recorder),
            }
            match received {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => return self.disconnect(link_at, error, shared, recorder),
            }
        }
    }

    fn take(
        &mut self,
        link_at: usize,
        is_of_use: bool,
        reply: &FetchResponse,
        shared: &Shared<'_>,
        recorder: &mut Recorder,
    ) {
        let now_ns = shared.clock.now_ns();
        let session = &mut self.readings[link_at].session;
        session.answered(reply.error_code, reply.session_id);
        if reply.error_code != 0 {
            recorder.error(now_ns, error_name(reply.error_code));
            self.links[link_at].retry_ns = link::retry_ns(now_ns);
        }
        if !is_of_use {
            return;
        }
        let mut near = 0;
        for topic in &reply.responses {
            let TopicName(name) = &topic.topic;
            let Some(number) = self.cluster.topic_number(name, topic.topic_id, near) else {
                continue;
            };
            near = number;
            for partition in &topic.partitions {
                let position = self.position(number, partition.partition_index, shared);
                let Some(position) = position else {
                    continue;
                };
                if partition.error_code == ResponseError::OffsetOutOfRange.code() {
                    self.readings[link_at].out_of_range.push(position);
                } else if partition.error_code != 0 {
                    self.refused(link_at, partition.error_code, now_ns, shared, recorder);
                } else if self.read(link_at, position, partition, now_ns, shared, recorder) {
                    self.readings[link_at].session.moved(position);
                }
            }
        }
    }

    /// The number of its position in a partition, if it has one.
    pub(super) fn position(
        &self,
        topic_number: usize,
        partition: i32,
        shared: &Shared<'_>,
    ) -> Option<usize> {
        let at = shared.place_number(topic_number, partition)?;
        self.positions.binary_search_by_key(&at, |it| it.at).ok()
    }

    /// A broker does not give what was asked of a partition: it is asked again a little later.
    pub(super) fn refused(
        &mut self,
        link_at: usize,
        error_code: i16,
        now_ns: u64,
        shared: &Shared<'_>,
        recorder: &mut Recorder,
    ) {
        recorder.error(now_ns, error_name(error_code));
        shared.directory.want_another_look();
        self.links[link_at].retry_ns = link::retry_ns(now_ns);
    }

    /// Reads the records of one partition; whether the position has moved.
    pub(super) fn read(
        &mut self,
        link_at: usize,
        position: usize,
        partition: &PartitionData,
        now_ns: u64,
        shared: &Shared<'_>,
        recorder: &mut Recorder,
    ) -> bool {
        self.lag -= self.positions[position].lag();
        if !self.has_ends {
            // Where it is not told it is negative.
            let end = &mut self.positions[position].end;
            *end = partition.high_watermark.max(*end);
        }
        let Position { at, offset, .. } = &mut self.positions[position];
        let before = *offset;
        let mut batches = whole_batches(partition.records.as_deref().unwrap_or(&[]));
        for batch in &mut batches {
            let mut next = (*offset).max(batch.base_offset());
            let read = batch.records(|record_offset, value| {
                // A batch may begin before the offset that was asked for.
                if record_offset < *offset {
                    return Ok(());
                }
                next = record_offset + 1;
                self.records += 1;
                match Stamp::decode(value) {
                    Found::Sound(stamp)
                        if stamp.run == shared.run && stamp.partition != *at as u32 =>
                    {
                        self.received.corrupted += 1;
                    }
                    Found::Sound(stamp) if stamp.run == shared.run => {
                        let due_ns = shared.clock.since_start(stamp.intended_ns);
                        let latency_ns = now_ns.saturating_sub(due_ns);
                        recorder.consumed(now_ns, latency_ns, 1, value.len() as u64);
                        if shared.workload.verify {
                            let line = Line {
                                producer: stamp.producer,
                                partition: *at as u32,
                            };
                            self.received.insert(line, stamp.sequence);
                        }
                    }
                    Found::Corrupted => self.received.corrupted += 1,
                    Found::Sound(_) | Found::Foreign => self.received.unknown += 1,
                }
                Ok(())
            });
            let mut after = batch.last_offset().saturating_add(1);
            if let Err(error) = read {
                recorder.error(now_ns, error.to_string());
                // All of it that was not read, if it can be believed how much that is.
                after = after.min(partition.high_watermark).max(next + 1);
                self.received.corrupted += (after - next) as u64;
            }
            *offset = after.max(*offset);
        }
        if let Some(length) = batches.impossible_length() {
            recorder.error(now_ns, format!("a batch whose length is {length}"));
            self.links[link_at].retry_ns = link::retry_ns(now_ns);
            // It cannot be read past, and will come again.
            self.received.damaged.insert(*at as u32);
        }
        let has_moved = *offset != before;
        self.moved(position);
        has_moved
    }

    /// What follows from where a position is now, whose lag is not counted at this moment.
    fn moved(&mut self, position: usize) {
        let Position { at, offset, .. } = self.positions[position];
        self.received.reach(at as u32, offset);
        if let Some(membership) = &mut self.membership {
            membership.member.moved(at, offset);
        }
        self.lag += self.positions[position].lag();
    }

    /// What comes before that offset of a partition is gone; how many records it has not read of it.
    pub(super) fn skip_to(&mut self, position: usize, start: i64) -> u64 {
        self.lag -= self.positions[position].lag();
        let Position { at, offset, .. } = &mut self.positions[position];
        let skipped = *offset as u64..start.max(*offset) as u64;
        self.received.skip(*at as u32, skipped.clone());
        *offset = skipped.end as i64;
        self.moved(position);
        skipped.end - skipped.start
    }

    /// Producers are done: it has to go on up to these ends, one for each of all partitions.
    pub(super) fn go_up_to(&mut self, ends: &[i64]) {
        if !std::mem::replace(&mut self.has_ends, true) {
            for position in &mut self.positions {
                position.end = ends[position.at];
            }
            self.lag = self.positions.iter().map(Position::lag).sum();
        }
    }

    fn disconnect(
        &mut self,
        link_at: usize,
        error: anyhow::Error,
        shared: &Shared<'_>,
        recorder: &mut Recorder,
    ) {
        let now_ns = shared.clock.now_ns();
        self.fail(link_at, link::reason(&error), now_ns, shared, recorder);
    }

    fn fail(
        &mut self,
        link_at: usize,
        why: impl Into<Cow<'static, str>>,
        now_ns: u64,
        shared: &Shared<'_>,
        recorder: &mut Recorder,
    ) {
        self.links[link_at].fail(now_ns);
        shared.lost_connection(now_ns, why, recorder);
        self.readings[link_at].session.renew();
    }
}

/// Counts what a member has to tell.
fn hear(told: Told, now_ns: u64, shared: &Shared<'_>, recorder: &mut Recorder) {
    match told {
        Told::Disconnected(why) => shared.lost_connection(now_ns, why, recorder),
        Told::Refused(code) => recorder.error(now_ns, error_name(code)),
        Told::Answered(Api::OffsetCommit, latency_ns) => recorder.committed(now_ns, latency_ns),
        Told::Answered(..) => {}
    }
}
