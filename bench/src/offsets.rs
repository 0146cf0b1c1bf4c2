//! How long it takes until committed offsets can be read again after the broker was killed.

use std::fmt;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use corelog_loadgen::client::{Backoff, Client, topic_name};
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::{
    FindCoordinatorRequest, GroupId, OffsetCommitRequest, OffsetFetchRequest,
};
use kafka_protocol::protocol::StrBytes;
use serde_json::{Value, json};

use crate::broker::{Product, Site};
use crate::usage::ProcessUsage;

const TOPIC: &str = "read";
/// Offsets of a group, committed together.
const PARTITIONS: i32 = 100;
const CONNECTIONS: usize = 16;
const COMMIT_VERSION: i16 = 8;
const PATIENCE: Duration = Duration::from_secs(120);
/// Groups that are asked for: enough for each partition of `__consumer_offsets` to have one of them.
const ASKED: usize = 600;

pub struct OffsetsSettings {
    pub product: Product,
    pub folder: PathBuf,
    /// That are committed.
    pub offsets: usize,
    /// How often each is committed.
    pub rounds: usize,
    /// How often the broker is killed and started.
    pub starts: usize,
}

/// What one start took, from that of the process.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// Until it took connections.
    pub connected: Duration,
    /// Until offsets of all partitions could be read.
    pub loaded: Duration,
    /// Afterwards, in bytes.
    pub resident: u64,
}

pub struct OffsetsReport {
    pub commits: usize,
    pub committing: Duration,
    pub starts: Vec<Start>,
}

impl OffsetsReport {
    pub fn to_json(&self) -> Value {
        let starts = self.starts.iter().map(|start| {
            json!({
                "connected_ms": start.connected.as_millis() as u64,
                "loaded_ms": start.loaded.as_millis() as u64,
                "resident_bytes": start.resident,
            })
        });
        json!({
            "commits": self.commits,
            "committing_ms": self.committing.as_millis() as u64,
            "starts": starts.collect::<Vec<_>>(),
        })
    }
}

impl fmt::Display for OffsetsReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.committing.as_secs_f64();
        writeln!(f, "{} offsets committed in {seconds:.1} s", self.commits)?;
        for start in &self.starts {
            writeln!(
                f,
                "connected after {} ms, all offsets there after {} ms, {} MB resident",
                start.connected.as_millis(),
                start.loaded.as_millis(),
                start.resident / 1_000_000
            )?;
        }
        Ok(())
    }
}

/// Commits, kills, starts and asks. The folder must be empty or missing.
pub fn run(settings: &OffsetsSettings) -> Result<OffsetsReport> {
    let site = Site::prepare(settings.product.clone(), &settings.folder, &[])?;
    let groups = settings.offsets.div_ceil(PARTITIONS as usize);
    let mut broker = site.start()?;
    broker.eventually(PATIENCE, |client| {
        client.create_topic(TOPIC, PARTITIONS, &[])?;
        let keys = vec![group_id(0).0];
        let request = FindCoordinatorRequest::default().with_coordinator_keys(keys);
        let found = client.call(&request, 4)?;
        let code = found.coordinators[0].error_code;
        ensure!(code == 0, "no coordinator: error {code}");
        Ok(())
    })?;
    let begun = Instant::now();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..CONNECTIONS)
            .map(|at| {
                let own = (at..groups).step_by(CONNECTIONS);
                let addr = site.addr;
                scope.spawn(move || commit_all(Client::connect(addr)?, own, settings))
            })
            .collect();
        let mut outcomes = threads.into_iter().map(|thread| thread.join());
        outcomes.try_for_each(|outcome| outcome.expect("a thread that does not panic"))
    })?;
    let committing = begun.elapsed();
    let mut starts = Vec::new();
    for _ in 0..settings.starts {
        broker.kill9()?;
        let begun = Instant::now();
        broker = site.start()?;
        let mut client = broker.connect(PATIENCE)?;
        let connected = begun.elapsed();
        let asked = groups.min(ASKED);
        wait_for_offsets(&mut client, asked, settings.rounds as i64)?;
        starts.push(Start {
            connected,
            loaded: begun.elapsed(),
            resident: ProcessUsage::of(broker.pid())?.rss,
        });
    }
    broker.kill9()?;
    Ok(OffsetsReport {
        commits: groups * PARTITIONS as usize * settings.rounds,
        committing,
        starts,
    })
}

fn group_id(index: usize) -> GroupId {
    GroupId(StrBytes::from_string(format!("group-{index:06}")))
}

/// Commits offset `round` for all partitions of each group, round after round.
fn commit_all(
    mut client: Client,
    groups: impl Iterator<Item = usize> + Clone,
    settings: &OffsetsSettings,
) -> Result<()> {
    let mut backoff = Backoff::within(PATIENCE);
    for round in 1..=settings.rounds as i64 {
        for group in groups.clone() {
            let partitions = (0..PARTITIONS).map(|index| {
                OffsetCommitRequestPartition::default()
                    .with_partition_index(index)
                    .with_committed_offset(round)
            });
            let topic = OffsetCommitRequestTopic::default()
                .with_name(topic_name(TOPIC))
                .with_partitions(partitions.collect());
            let request = OffsetCommitRequest::default()
                .with_group_id(group_id(group))
                .with_topics(vec![topic]);
            loop {
                let reply = client.call(&request, COMMIT_VERSION)?;
                let mut partitions = reply.topics.iter().flat_map(|topic| &topic.partitions);
                match partitions.find(|partition| partition.error_code != 0) {
                    None => break,
                    // Its coordinator is being made.
                    Some(_) if round == 1 && backoff.wait() => {}
                    Some(refused) => anyhow::bail!("a commit: error {}", refused.error_code),
                }
            }
        }
    }
    Ok(())
}

/// Asks until all groups answer, with this offset.
fn wait_for_offsets(client: &mut Client, groups: usize, offset: i64) -> Result<()> {
    let ask = |group: &usize| {
        let topic = OffsetFetchRequestTopics::default()
            .with_name(topic_name(TOPIC))
            .with_partition_indexes(vec![PARTITIONS - 1]);
        OffsetFetchRequestGroup::default()
            .with_group_id(group_id(*group))
            .with_topics(Some(vec![topic]))
    };
    let mut left: Vec<usize> = (0..groups).collect();
    let deadline = Instant::now() + PATIENCE;
    while !left.is_empty() {
        ensure!(
            Instant::now() < deadline,
            "{} groups don't answer",
            left.len()
        );
        let request = OffsetFetchRequest::default().with_groups(left.iter().map(ask).collect());
        let reply = client.call(&request, COMMIT_VERSION)?;
        let mut rest = Vec::new();
        for (group, answer) in left.iter().zip(&reply.groups) {
            let partition = answer
                .topics
                .first()
                .and_then(|topic| topic.partitions.first());
            match answer.error_code {
                0 => {
                    let found = partition.context("an answer without its partition")?;
                    let found = found.committed_offset;
                    ensure!(
                        found == offset,
                        "group {group}: {found} in place of {offset}"
                    );
                }
                _ => rest.push(*group),
            }
        }
        left = rest;
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}
