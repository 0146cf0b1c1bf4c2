//! Fetch: sizes first, then, if there is enough or the time is up, records.
//!
//! All partitions are probed wherever they live, and with the sizes it is decided here who may send
//! how much ([`crate::fetch::shares`]). A fetch that has not enough waits for news of its partitions
//! or for its time to be up; nothing is polled meanwhile. An error of a partition that was read, a
//! log that has parted from the reader's, or a topic that has another id since its session began ends
//! the wait at once; a topic that is not known does not, as in Kafka.
//!
//! The state of an incremental session lives on the shard that its id names. A fetch that came in
//! elsewhere asks there which partitions it is about, and in the end which of them are news; it waits
//! and reads where its connection is.
//!
//! Records are the slices the engine read; they are not copied here.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use corelog_shards::io::Landmark;
use corelog_shards::mutation::{Mutation, is_on};
use corelog_shards::route::PartitionKey;
use corelog_shards::shard::Shard;
use corelog_shards::shard::message::{Probe, ReadData, ReadError, ReadSpec};
use kafka_protocol::error::ResponseError;
use uuid::Uuid;

use super::view::{View, text};
use super::wait::Wait;
use super::{Context, Failure, Request, errors};
use crate::broker::Broker;
use crate::cluster::image::Image;
use crate::fetch::session::{self as fetch_session, SessionError};
use crate::fetch::sessions::{FINAL_EPOCH, INITIAL_EPOCH, NO_SESSION, home};
use crate::fetch::shares::{Claim, Share, give_out};
use crate::fetch::{Outcome, Wanted};
use crate::protocol::fetch::{
    AbortedTransaction, EpochEndOffset, FetchPartition, FetchPartitionResponse, FetchRequest,
    FetchResponse, FetchTopic, FetchTopicResponse,
};
use crate::protocol::reply::Reply;
use crate::protocol::{Isolation, LeaderIdAndEpoch, NodeEndpoint, TopicRef};

/// From this version on a client with an old leader epoch is told who leads.
const CURRENT_LEADER: i16 = 16;

/// From this version on topics have ids instead of names.
const TOPIC_IDS: i16 = 13;
type Results<T> = Vec<Result<T, ReadError>>;

/// What holds for all partitions of a fetch.
struct Terms {
    bytes_min: usize,
    bytes_max: usize,
    wait_max: Duration,
    committed: bool,
    is_follower: bool,
}

/// What becomes of the session once the fetch is answered.
enum Session {
    None,
    /// One begins if there is room.
    New,
    Known(i32, i32),
}

pub async fn handle(context: Rc<Context>, request: Request) -> Result<Reply, Failure> {
    let version = request.header.api_version;
    let fetch = FetchRequest::decode(&request.body, version)?;
    let response = respond(&context, fetch, version).await;
    let response = response.unwrap_or_else(|error| FetchResponse {
        error: Some(errors::of_session(error)),
        ..FetchResponse::default()
    });
    if let Some(error) = response.error {
        context.broker.metrics.fetch_errors.add(error);
    }
    Ok(response.encode(&request.header)?)
}

async fn respond(
    context: &Context,
    fetch: FetchRequest,
    version: i16,
) -> Result<FetchResponse, SessionError> {
    if Isolation::of(fetch.isolation_level).is_none() {
        return Ok(refuse(fetch.topics, ResponseError::UnknownServerError));
    }
    let broker = &context.broker;
    let terms = Terms::of(&fetch, broker);
    let (session, wanted) = enter_session(broker, fetch, version).await?;
    let mut partitions = fetch_all(context, &wanted, &terms).await;
    for error in partitions.iter().filter_map(|partition| partition.error) {
        broker.metrics.fetch_errors.add(error);
    }
    let mut response = FetchResponse::default();
    let mut told = vec![true; partitions.len()];
    match session {
        Session::None => {}
        Session::New => {
            response.session_id = begin_session(broker, version, &wanted, &partitions);
        }
        Session::Known(id, epoch) => {
            response.session_id = id;
            match leave_session(broker, (id, epoch), &wanted, &partitions).await {
                Ok(changed) => told = changed,
                Err(error) => {
                    response.error = Some(errors::of_session(error));
                    return Ok(response);
                }
            }
        }
    }
    if version >= CURRENT_LEADER {
        response.node_endpoints = tell_leaders(context, &wanted, &mut partitions);
    }
    let topics = wanted.into_iter().map(|wanted| wanted.topic);
    let all = topics.zip(partitions).zip(told);
    response.topics = by_topic(all.filter_map(|(partition, is_told)| is_told.then_some(partition)));
    Ok(response)
}

/// The same error for all that was asked for.
fn refuse(topics: Vec<FetchTopic>, error: ResponseError) -> FetchResponse {
    let topics = topics.into_iter().map(|topic| {
        let indexes = topic.partitions.iter().map(|asked| asked.partition);
        FetchTopicResponse {
            topic: topic.topic,
            partitions: indexes
                .map(|index| FetchPartitionResponse::failed(index, error))
                .collect(),
        }
    });
    FetchResponse {
        error: Some(error),
        topics: topics.collect(),
        ..FetchResponse::default()
    }
}

/// Finds the session that a request belongs to, on whichever shard it is; the partitions to fetch.
async fn enter_session(
    broker: &Broker,
    fetch: FetchRequest,
    version: i16,
) -> Result<(Session, Vec<Wanted>), SessionError> {
    let (id, epoch) = (fetch.session_id, fetch.session_epoch);
    let has_topic_ids = version >= TOPIC_IDS;
    let mut wanted = Wanted::of_request(fetch.topics);
    let shard = &broker.shard;
    let home = home(id, shard.count());
    if epoch == INITIAL_EPOCH || epoch == FINAL_EPOCH {
        if id != NO_SESSION {
            let end = move |shard: Shard| async move {
                Broker::of(&shard).fetch_sessions.borrow_mut().end(id);
            };
            shard.run_on(home, end).await;
        }
        if epoch == FINAL_EPOCH {
            return Ok((Session::None, wanted));
        }
        let image = broker.image();
        for wanted in &mut wanted {
            wanted.note_name(|id| name_of(&image, id));
        }
        return Ok((Session::New, wanted));
    }
    Wanted::detach(&mut wanted);
    let forgotten = fetch.forgotten;
    let update = move |shard: Shard| async move {
        let broker = Broker::of(&shard);
        let mut sessions = broker.fetch_sessions.borrow_mut();
        let now = shard.io().now();
        let image = broker.image();
        let name_of = |id| name_of(&image, id);
        sessions.update(now, (id, epoch), has_topic_ids, wanted, &forgotten, name_of)
    };
    let wanted = shard.run_on(home, update).await?;
    let session = match wanted.is_empty() {
        true => Session::None,
        false => Session::Known(id, epoch),
    };
    Ok((session, wanted))
}

fn name_of(image: &Image, id: Uuid) -> Option<Arc<str>> {
    Some(image.topics.get(id)?.name.clone())
}

/// Begins a session on this shard, of what was just answered.
fn begin_session(
    broker: &Broker,
    version: i16,
    wanted: &[Wanted],
    partitions: &[FetchPartitionResponse],
) -> i32 {
    let session = || {
        let mut wanted = wanted.to_vec();
        Wanted::detach(&mut wanted);
        let outcomes = partitions.iter().map(outcome);
        fetch_session::Session::new(version >= TOPIC_IDS, wanted.into_iter().zip(outcomes))
    };
    let io = broker.shard.io();
    let mut sessions = broker.fetch_sessions.borrow_mut();
    let evicted = sessions.evicted();
    let id = sessions.begin(io.now(), || io.random_u64(), wanted.len(), session);
    if sessions.evicted() > evicted {
        io.reached(Landmark::FetchSessionEvicted);
    }
    id
}

/// Which of the partitions are told to a client that knows the others to be as they were.
async fn leave_session(
    broker: &Broker,
    (id, epoch): (i32, i32),
    wanted: &[Wanted],
    partitions: &[FetchPartitionResponse],
) -> Result<Vec<bool>, SessionError> {
    let outcomes: Vec<_> = wanted
        .iter()
        .zip(partitions)
        .map(|(wanted, response)| (wanted.topic.clone(), response.partition, outcome(response)))
        .collect();
    let shard = &broker.shard;
    let answered = move |shard: Shard| async move {
        let broker = Broker::of(&shard);
        let mut sessions = broker.fetch_sessions.borrow_mut();
        sessions.answered((id, epoch), &outcomes)
    };
    shard.run_on(home(id, shard.count()), answered).await
}

fn outcome(response: &FetchPartitionResponse) -> Outcome {
    Outcome {
        high_watermark: response.high_watermark,
        log_start_offset: response.log_start_offset,
        has_records: !response.records.is_empty(),
        is_error: response.error.is_some(),
        is_diverging: response.diverging_epoch.is_some(),
    }
}

impl Terms {
    fn of(fetch: &FetchRequest, broker: &Broker) -> Self {
        let count = |number: i32| usize::try_from(number).unwrap_or(0);
        let limit = broker.config().fetch.response_bytes_max as usize;
        let bytes_max = count(fetch.max_bytes).min(limit);
        Self {
            bytes_min: count(fetch.min_bytes).min(bytes_max),
            bytes_max,
            wait_max: Duration::from_millis(count(fetch.max_wait_ms) as u64),
            committed: Isolation::of(fetch.isolation_level) == Some(Isolation::ReadCommitted),
            is_follower: fetch.replica_id >= 0,
        }
    }

    fn spec(&self, key: PartitionKey, params: &FetchPartition) -> ReadSpec {
        let known = |epoch: i32| (epoch >= 0).then_some(epoch);
        ReadSpec {
            key,
            offset: params.fetch_offset,
            bytes_max: self.bytes_max_of(params),
            at_least_one: false,
            current_leader_epoch: known(params.current_leader_epoch),
            last_fetched_epoch: known(params.last_fetched_epoch),
            committed: self.committed,
        }
    }

    fn bytes_max_of(&self, params: &FetchPartition) -> usize {
        let bytes_max = usize::try_from(params.partition_max_bytes).unwrap_or(0);
        bytes_max.min(self.bytes_max)
    }

    fn response(&self, index: i32, data: ReadData) -> FetchPartitionResponse {
        let ReadData {
            probe,
            batches,
            aborted,
        } = data;
        let aborted = aborted.into_iter().map(|transaction| AbortedTransaction {
            producer_id: transaction.producer_id,
            first_offset: transaction.first_offset,
        });
        FetchPartitionResponse {
            partition: index,
            error: None,
            high_watermark: probe.high_watermark,
            last_stable_offset: probe.last_stable_offset,
            log_start_offset: probe.log_start_offset,
            aborted_transactions: self.committed.then(|| aborted.collect()),
            preferred_read_replica: -1,
            diverging_epoch: probe.diverging.map(|end| EpochEndOffset {
                epoch: end.epoch,
                end_offset: end.end_offset,
            }),
            current_leader: None,
            records: batches,
        }
    }
}

/// Fetches each partition; results in their order.
async fn fetch_all(
    context: &Context,
    wanted: &[Wanted],
    terms: &Terms,
) -> Vec<FetchPartitionResponse> {
    let broker = &context.broker;
    let mut responses = Vec::with_capacity(wanted.len());
    let (mut places, mut specs) = (Vec::new(), Vec::new());
    let mut wait_max = terms.wait_max;
    // Not kept while the fetch waits: a change of the metadata would have to copy it.
    let image = broker.image();
    for (place, wanted) in wanted.iter().enumerate() {
        let error = match resolve(&image, wanted, terms) {
            Ok(key) => {
                places.push(place);
                specs.push(terms.spec(key, &wanted.params));
                // Until its result is there.
                ResponseError::UnknownServerError
            }
            Err(error) => {
                if error == ResponseError::InconsistentTopicId {
                    wait_max = Duration::ZERO;
                }
                error
            }
        };
        let failed = FetchPartitionResponse::failed(wanted.params.partition, error);
        responses.push(failed);
    }
    drop(image);
    if specs.is_empty() {
        return responses;
    }
    let (wait, bytes_min) = (&context.wait, terms.bytes_min);
    let (io, metrics) = (broker.shard.io(), &broker.metrics);
    let begun = io.now();
    let probes = wait_for_enough(wait, &broker.shard, &specs, bytes_min, wait_max).await;
    let waited = io.now();
    metrics.fetch_wait.record(waited - begun);
    let results = read(context, specs, probes, terms).await;
    metrics.fetch_read.record(io.now() - waited);
    for (place, result) in places.into_iter().zip(results) {
        let index = wanted[place].params.partition;
        responses[place] = match result {
            Ok(data) => terms.response(index, data),
            Err(error) => FetchPartitionResponse::failed(index, errors::of_read(error)),
        };
    }
    responses
}

/// Which partition a client means, if it can be fetched.
fn resolve(image: &Image, wanted: &Wanted, terms: &Terms) -> Result<PartitionKey, ResponseError> {
    let index = wanted.params.partition;
    let by_name = |name: &str| image.topics.by_name(name);
    let topic = match (&wanted.topic, &wanted.name) {
        (TopicRef::Name(name), _) => by_name(name),
        // One that was deleted, and perhaps created again, is looked for by its name.
        (TopicRef::Id(id), Some(name)) => image.topics.get(*id).or_else(|| by_name(name)),
        (TopicRef::Id(id), None) => {
            let topic = image.topics.get(*id);
            Some(topic.ok_or(ResponseError::UnknownTopicId)?)
        }
    };
    let topic = topic.filter(|topic| topic.partition(index).is_some());
    let topic = topic.ok_or(ResponseError::UnknownTopicOrPartition)?;
    let is_another = matches!(wanted.topic, TopicRef::Id(id) if id != topic.id);
    if is_another && !is_on(Mutation::MistakeRecreatedTopic) {
        return Err(ResponseError::InconsistentTopicId);
    }
    let key = PartitionKey {
        topic: topic.id,
        partition: index,
    };
    match (terms.is_follower, wanted.params.current_leader_epoch) {
        (false, _) => Ok(key),
        // Partitions have one replica, so nobody follows.
        (true, ..=-1) => Err(ResponseError::NotLeaderOrFollower),
        (true, _) => Err(ResponseError::UnknownLeaderEpoch),
    }
}

/// Probes until there is enough, something is wrong, or the time is up or the wait is over.
async fn wait_for_enough(
    wait: &Wait,
    shard: &Shard,
    specs: &[ReadSpec],
    bytes_min: usize,
    wait_max: Duration,
) -> Results<Probe> {
    let probes = shard.probe(specs, None).await;
    if wait_max.is_zero() || is_enough(&probes, bytes_min) {
        return probes;
    }
    let io = shard.io();
    let _waiting = io.within(Landmark::FetchWaits);
    let waiter = shard.waiter();
    let mut time_is_up = pin!(io.sleep(wait_max));
    loop {
        let probes = shard.probe(specs, Some(waiter.id())).await;
        if is_enough(&probes, bytes_min) {
            io.reached(Landmark::FetchWoken);
            return probes;
        }
        let mut news = pin!(waiter.news());
        let has_news = wait.for_more(poll_fn(|cx| match news.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(true),
            Poll::Pending => time_is_up.as_mut().poll(cx).map(|()| false),
        }));
        match has_news.await {
            Some(true) => {}
            Some(false) => {
                io.reached(Landmark::FetchTimedOut);
                return probes;
            }
            None => return probes,
        }
    }
}

fn is_enough(probes: &Results<Probe>, bytes_min: usize) -> bool {
    let mut bytes: usize = 0;
    for probe in probes {
        match probe {
            Ok(probe) if probe.diverging.is_none() => bytes = bytes.saturating_add(probe.available),
            Ok(_) | Err(_) => return true,
        }
    }
    bytes >= bytes_min
}

/// Reads what was probed, within the limits and as memory allows.
async fn read(
    context: &Context,
    mut specs: Vec<ReadSpec>,
    probes: Results<Probe>,
    terms: &Terms,
) -> Results<ReadData> {
    let memory = &context.reply_memory;
    let limit = probes.iter().flatten().map(|probe| probe.available);
    let limit = limit.fold(0, usize::saturating_add).min(terms.bytes_max);
    let shares: Vec<_> = match context.wait.unless_over(memory.reserve(limit)).await {
        Some(limit) => give_out(limit, claims(&specs, &probes)).collect(),
        None => vec![Share::NOTHING; specs.len()],
    };
    for (spec, share) in specs.iter_mut().zip(&shares) {
        spec.bytes_max = share.bytes_max;
        spec.at_least_one = share.at_least_one;
    }
    let mut is_read = shares.iter().map(|share| !share.is_nothing());
    specs.retain(|_| is_read.next().expect("a share for each"));
    let read = context.broker.shard.read(&specs).await;
    let slices = read.iter().flatten().flat_map(|data| &data.batches);
    memory.settle(slices.map(Bytes::len).sum());
    let mut read = read.into_iter();
    let result = |(probe, share): (Result<Probe, _>, _)| {
        if Share::is_nothing(share) {
            return probe.map(ReadData::nothing);
        }
        read.next().expect("a result for each that was read")
    };
    probes.into_iter().zip(&shares).map(result).collect()
}

fn claims(specs: &[ReadSpec], probes: &Results<Probe>) -> impl Iterator<Item = Claim> {
    specs.iter().zip(probes).map(|(spec, probe)| Claim {
        bytes_max: spec.bytes_max,
        available: probe.as_ref().map_or(0, |probe| probe.available),
    })
}

/// Adds the leader to where a client has an old epoch; returns where these leaders live.
fn tell_leaders(
    context: &Context,
    wanted: &[Wanted],
    partitions: &mut [FetchPartitionResponse],
) -> Vec<NodeEndpoint> {
    let image = context.broker.image();
    let view = View {
        image: &image,
        listener: &context.listener,
    };
    let mut nodes = BTreeMap::new();
    for (wanted, response) in wanted.iter().zip(partitions) {
        if !matches!(
            response.error,
            Some(ResponseError::NotLeaderOrFollower | ResponseError::FencedLeaderEpoch)
        ) {
            continue;
        }
        let topic = match &wanted.topic {
            TopicRef::Name(name) => image.topics.by_name(name),
            TopicRef::Id(id) => image.topics.get(*id),
        };
        let Some(partition) = topic.and_then(|topic| topic.partition(response.partition)) else {
            continue;
        };
        response.current_leader = Some(LeaderIdAndEpoch {
            leader_id: partition.leader,
            leader_epoch: partition.leader_epoch,
        });
        if let Some(endpoint) = endpoint(view, partition.leader) {
            nodes.insert(partition.leader, endpoint);
        }
    }
    nodes.into_values().collect()
}

fn endpoint(view: View<'_>, node_id: i32) -> Option<NodeEndpoint> {
    let (broker, endpoint) = view.broker(node_id)?;
    Some(NodeEndpoint {
        node_id,
        host: text(&endpoint.host),
        port: endpoint.port.into(),
        rack: broker.rack.as_deref().map(text),
    })
}

/// Puts together what follows each other and is of one topic, as Kafka does: in a session that has
/// gone round, a topic may come more than once.
fn by_topic(
    partitions: impl Iterator<Item = (TopicRef, FetchPartitionResponse)>,
) -> Vec<FetchTopicResponse> {
    let mut grouped: Vec<FetchTopicResponse> = Vec::new();
    for (topic, partition) in partitions {
        match grouped.last_mut() {
            Some(last) if last.topic == topic => last.partitions.push(partition),
            _ => grouped.push(FetchTopicResponse {
                topic,
                partitions: vec![partition],
            }),
        }
    }
    grouped
}

#[cfg(test)]
mod tests;
