mod commits;
mod histories;
mod joins;
mod restores;
mod sessions;
mod statics;
mod syncs;

use std::time::Duration;

use bytes::Bytes;
use corelog_shards::io::{Slot, slot};
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, SyncGroupRequest, SyncGroupResponse,
};

use super::member::Terms;
use super::replies::text;
use super::*;
use crate::cluster::image::Image;
use crate::config::{BrokerConfig, Layers, Overrides};
use crate::coordinator::Replier;
use crate::coordinator::group::Caller;
use crate::coordinator::group::records::GroupMetadataValue;
use crate::coordinator::memory::StateMemory;
use crate::coordinator::metrics::CoordinatorMetrics;
use crate::lines::Lines;
use crate::protocol::testing::Random;

const SECOND: Duration = Duration::from_secs(1);
const SESSION: Duration = Duration::from_secs(10);
const REBALANCE: Duration = Duration::from_secs(60);
/// The initial rebalance delay.
const DELAY: Duration = Duration::from_secs(3);

/// A group, its clock and its log.
struct World {
    group: ClassicGroup,
    now: Instant,
    config: BrokerConfig,
    image: Image,
    record_bytes_max: usize,
    random: Random,
    memory: Rc<StateMemory>,
    log: Vec<Option<GroupMetadataValue>>,
}

/// What a member joins with.
#[derive(Clone)]
struct Ask {
    id: String,
    instance: Option<String>,
    protocols: Vec<(&'static str, Bytes)>,
    protocol_type: &'static str,
    session: Duration,
    rebalance: Duration,
    version: i16,
}

impl Ask {
    fn new() -> Self {
        Self {
            id: String::new(),
            instance: None,
            protocols: vec![("range", Bytes::from_static(b"any"))],
            protocol_type: "consumer",
            session: SESSION,
            rebalance: REBALANCE,
            version: 9,
        }
    }

    fn of(id: &str) -> Self {
        Self::new().id(id)
    }

    fn id(mut self, id: &str) -> Self {
        self.id = id.to_string();
        self
    }

    fn instance(mut self, instance: &str) -> Self {
        self.instance = Some(instance.to_string());
        self
    }

    fn knows(mut self, protocols: &[(&'static str, &[u8])]) -> Self {
        let owned = |(name, metadata): &(&'static str, &[u8])| (*name, metadata.to_vec().into());
        self.protocols = protocols.iter().map(owned).collect();
        self
    }

    fn version(mut self, version: i16) -> Self {
        self.version = version;
        self
    }
}

fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).expect("a short time")
}

fn error(code: i16) -> Option<ResponseError> {
    ResponseError::try_from_code(code)
}

/// The reply, which must be there.
fn joined(reply: &mut Slot<JoinGroupResponse>) -> JoinGroupResponse {
    reply.try_take().expect("the join is answered")
}

fn synced(reply: &mut Slot<SyncGroupResponse>) -> SyncGroupResponse {
    reply.try_take().expect("the sync is answered")
}

impl World {
    fn new() -> Self {
        Self::with(&[])
    }

    fn with(settings: &[(&str, &str)]) -> Self {
        let set = |(name, value): &(&str, &str)| (name.to_string(), value.to_string());
        let file: Overrides = settings.iter().map(set).collect();
        let mut world = Self {
            group: ClassicGroup::restore("group".into(), GroupMetadataValue::default()),
            now: Instant::default() + SECOND,
            config: BrokerConfig::resolve(Layers::of_file(&file)).expect("sound settings"),
            image: Image::empty("cluster"),
            record_bytes_max: 1 << 20,
            random: Random::new(1),
            memory: Rc::default(),
            log: Vec::new(),
        };
        world.group = world.run(|_, context, _| ClassicGroup::new("group".into(), context));
        world
    }

    /// One step of the machine, with what its runtime does around it.
    fn run<T>(
        &mut self,
        step: impl FnOnce(&mut ClassicGroup, &mut Context<'_>, &mut Output<Record>) -> T,
    ) -> T {
        let mut out = Output::default();
        let mut context = Context {
            now: self.now,
            wall_ms: (self.now.as_nanos() / 1_000_000) as i64,
            image: &self.image,
            config: &self.config,
            record_bytes_max: self.record_bytes_max,
            random_u64: &mut || self.random.draw(),
            metrics: &CoordinatorMetrics::default(),
            memory: &self.memory,
            lines: &Lines::default(),
        };
        let result = step(&mut self.group, &mut context, &mut out);
        let (held, counted) = self.group.members.count_held();
        assert_eq!(held, counted);
        let mut bytes = Vec::new();
        for record in out.records.drain(..) {
            let (key, value) = record.encode(&mut bytes).expect("only what fits is stored");
            assert!(key.len() + value.map_or(0, <[u8]>::len) <= self.record_bytes_max);
            let Ok(Record::GroupMetadata { value, .. }) = Record::decode(key, value) else {
                panic!("not a record of the group");
            };
            self.log.push(value.clone());
            if let Some(value) = value {
                self.group.apply(value);
            }
        }
        out.release();
        self.check();
        result
    }

    /// What always holds.
    fn check(&self) {
        let group = &self.group;
        let members = &group.members;
        assert_eq!(members.leader().is_some(), !members.is_empty());
        assert!((members.leader()).is_none_or(|leader| members.get(leader).is_some()));
        let awaiting = members.iter().filter(|member| member.awaits_join());
        assert_eq!(members.joining(), awaiting.count());
        for id in &members.pending_syncs {
            assert!(members.get(id).is_some());
        }
        let is_pending = |member: &member::Member| members.pending_joins.contains(&member.id);
        assert!(!members.iter().any(is_pending));
        let bytes = members.iter().map(|member| member.terms.bytes());
        assert_eq!(
            members.bytes_with("", &Terms::default()),
            bytes.sum::<usize>()
        );
        match group.state {
            State::Empty | State::Dead => assert!(members.is_empty()),
            State::PreparingRebalance => assert!(group.join_timer.is_some()),
            State::CompletingRebalance => assert!(group.sync_deadline.is_some()),
            State::Stable => assert!(!members.is_empty() && group.protocol.is_some()),
        }
        let waits = |member: &member::Member| member.awaits_join() || member.sync.is_some();
        if members.iter().any(waits) {
            assert!(group.next_deadline().is_some(), "nobody waits forever");
        }
        if !members.is_empty() {
            assert!(members.choose_protocol().is_some());
        }
    }

    /// Lets time go by; what becomes due is done in time.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.group.next_deadline().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.run(|group, context, out| group.expire(context, out));
        }
        self.now = end;
    }

    fn join(&mut self, ask: &Ask) -> Slot<JoinGroupResponse> {
        let protocols = ask.protocols.iter().map(|(name, metadata)| {
            JoinGroupRequestProtocol::default()
                .with_name(text(name))
                .with_metadata(metadata.clone())
        });
        let request = JoinGroupRequest::default()
            .with_group_id(text("group").into())
            .with_member_id(text(&ask.id))
            .with_group_instance_id(ask.instance.as_deref().map(text))
            .with_protocol_type(text(ask.protocol_type))
            .with_protocols(protocols.collect())
            .with_session_timeout_ms(millis(ask.session))
            .with_rebalance_timeout_ms(millis(ask.rebalance));
        let caller = Caller {
            client_id: "client".to_string(),
            client_host: "/127.0.0.1".to_string(),
            version: ask.version,
        };
        let (to, reply) = slot();
        let to = Replier(to);
        self.run(|group, context, out| group.join(request, &caller, to, context, out));
        reply
    }

    /// A dynamic member joins: with the id that it is given first.
    fn join_as_new(&mut self, ask: &Ask) -> (String, Slot<JoinGroupResponse>) {
        let answer = joined(&mut self.join(ask));
        assert_eq!(
            error(answer.error_code),
            Some(ResponseError::MemberIdRequired)
        );
        let id = answer.member_id.to_string();
        let reply = self.join(&ask.clone().id(&id));
        (id, reply)
    }

    fn sync(
        &mut self,
        id: &str,
        generation: i32,
        assignments: &[(&str, &str)],
    ) -> Slot<SyncGroupResponse> {
        self.sync_with(sync_request(id, generation, assignments))
    }

    fn sync_with(&mut self, request: SyncGroupRequest) -> Slot<SyncGroupResponse> {
        let (to, reply) = slot();
        let to = Replier(to);
        self.run(|group, context, out| group.sync(request, to, context, out));
        reply
    }

    fn heartbeat(&mut self, id: &str, generation: i32) -> Option<ResponseError> {
        let request = HeartbeatRequest::default()
            .with_member_id(text(id))
            .with_generation_id(generation);
        self.run(|group, context, _| group.heartbeat(&request, context).err())
    }

    /// The errors of the members, one by one.
    fn leave(&mut self, members: &[(&str, Option<&str>)]) -> Vec<Option<ResponseError>> {
        let identity = |(id, instance): &(&str, Option<&str>)| {
            MemberIdentity::default()
                .with_member_id(text(id))
                .with_group_instance_id(instance.map(text))
        };
        let members = members.iter().map(identity).collect();
        let responses = self.run(|group, context, out| group.leave(members, context, out));
        let errors = responses.iter().map(|response| error(response.error_code));
        errors.collect()
    }

    /// A stable group of dynamic members; the leader is the first.
    fn stable(&mut self, members: usize) -> Vec<String> {
        let asks = vec![Ask::new(); members];
        self.stable_of(&asks)
    }

    fn stable_of(&mut self, asks: &[Ask]) -> Vec<String> {
        let mut replies = Vec::new();
        for ask in asks {
            replies.push(match ask.instance {
                Some(_) => self.join(ask),
                None => self.join_as_new(ask).1,
            });
        }
        self.await_generation();
        let mut answers: Vec<_> = replies.iter_mut().map(joined).collect();
        assert!(answers.iter().all(|answer| answer.error_code == 0));
        answers.sort_by_key(|answer| answer.member_id != answer.leader);
        let ids: Vec<_> = (answers.iter())
            .map(|answer| answer.member_id.to_string())
            .collect();
        self.sync_all(&ids, answers[0].generation_id);
        ids
    }

    /// Lets time go by until the first rebalance is over, and no longer.
    fn await_generation(&mut self) {
        while self.group.state() == State::PreparingRebalance {
            let due = self.group.next_deadline().expect("rebalances end");
            self.pass(due.since(self.now));
        }
    }

    /// The leader, which is the first, assigns each member its place.
    fn sync_all(&mut self, ids: &[String], generation: i32) {
        let places: Vec<_> = (0..ids.len()).map(|place| place.to_string()).collect();
        let assignments: Vec<_> = (ids.iter().zip(&places))
            .map(|(id, place)| (id.as_str(), place.as_str()))
            .collect();
        for (id, place) in &assignments {
            let mut reply = self.sync(id, generation, &assignments);
            assert_eq!(synced(&mut reply).assignment, place.as_bytes());
        }
        assert_eq!(self.group.state(), State::Stable);
    }

    /// The group as it comes back from its log.
    fn restored(&self) -> ClassicGroup {
        let last = self.log.last().expect("a record").clone();
        ClassicGroup::restore("group".into(), last.expect("the group is not deleted"))
    }
}

fn sync_request(id: &str, generation: i32, assignments: &[(&str, &str)]) -> SyncGroupRequest {
    let assignment = |(id, assignment): &(&str, &str)| {
        SyncGroupRequestAssignment::default()
            .with_member_id(text(id))
            .with_assignment(Bytes::from(assignment.to_string()))
    };
    SyncGroupRequest::default()
        .with_member_id(text(id))
        .with_generation_id(generation)
        .with_assignments(assignments.iter().map(assignment).collect())
}
