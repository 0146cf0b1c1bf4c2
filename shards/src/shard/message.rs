//! What shards ask of each other, and the types of the engine's answers.
//!
//! The owner of a partition has one handler for each request; a request for the shard it is already
//! on calls that handler directly. None of these messages can get lost while the process lives, and
//! with the process all of them do: clients see their connection close and send again.

use std::any::Any;
use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;

use super::Shard;
use crate::io::Instant;
use crate::log::aborted::AbortedTransaction;
use crate::log::batch::BatchHeader;
use crate::log::epochs::EpochEnd;
use crate::log::producer::ProducerError;
use crate::route::{PartitionKey, ShardId};

/// Something for the owner of a partition to do.
pub enum Request {
    /// Append batches, each to its partition. Answered when all of them are as durable as their
    /// topics ask for. The time is that of the wish.
    Append(Instant, Vec<Append>),
    /// Say how much there is to read; with a watch, tell that fetch of any news.
    Probe(Vec<ReadSpec>, Option<WatchId>),
    /// Read.
    Read(Vec<ReadSpec>),
    /// Anything that is rare: runs on the owner's shard.
    Run(Job),
}

/// The answer to a [`Request`], of the same name.
pub enum Reply {
    /// In the order of the request.
    Append(Acknowledged),
    /// In the order of the request.
    Probe(Vec<Result<Probe, ReadError>>),
    /// In the order of the request.
    Read(Vec<Result<ReadData, ReadError>>),
    /// What the job returned.
    Run(Box<dyn Any + Send>),
}

/// Work that runs on another shard and brings back its result.
pub type Job = Box<dyn FnOnce(Shard) -> Pin<Box<dyn Future<Output = Box<dyn Any + Send>>>> + Send>;

/// A fetch that waits on some shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WatchId {
    /// Where it waits.
    pub home: ShardId,
    /// Which of the fetches that wait there. Used again later: a wake may be for nothing.
    pub slot: u32,
}

/// One batch for one partition. It was checked already ([`crate::log::batch`]).
#[derive(Clone, Debug)]
pub struct Append {
    /// Where to.
    pub key: PartitionKey,
    /// Exactly one batch.
    pub batch: Bytes,
    /// The largest timestamp of its records, as the check found it.
    pub max_timestamp_ms: i64,
}

impl Append {
    /// A batch that this process made.
    ///
    /// Panics if it is none.
    pub fn own(key: PartitionKey, batch: Bytes) -> Self {
        let header = BatchHeader::parse(&batch).expect("a batch of one's own making is one");
        let max_timestamp_ms = header.max_timestamp();
        Self {
            key,
            batch,
            max_timestamp_ms,
        }
    }
}

/// What became of an append.
#[derive(Debug)]
pub struct Acknowledged {
    /// In the order of the batches.
    pub results: Vec<Result<Appended, AppendError>>,
    /// When the last of them was as durable as its topic asks for.
    pub at: Instant,
}

/// A batch was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Offset of its first record; that of the first copy for one that was sent again.
    pub base_offset: i64,
    /// The time it was stamped with, where the topic uses the broker's.
    pub log_append_time_ms: Option<i64>,
    /// First offset of the log.
    pub log_start_offset: i64,
}

/// Why a partition is not here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotHere {
    /// It was deleted, or never made.
    Unknown,
    /// It could not be opened.
    Unopened,
}

impl From<NotHere> for AppendError {
    fn from(why: NotHere) -> Self {
        match why {
            NotHere::Unknown => Self::UnknownPartition,
            NotHere::Unopened => Self::FolderOffline,
        }
    }
}

impl From<NotHere> for ReadError {
    fn from(why: NotHere) -> Self {
        match why {
            NotHere::Unknown => Self::UnknownPartition,
            NotHere::Unopened => Self::FolderOffline,
        }
    }
}

/// Why a batch was not appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppendError {
    /// This shard has no such partition: it was deleted, or never made.
    UnknownPartition,
    /// The idempotent producer's state says no.
    Producer(ProducerError),
    /// Larger than a journal file can take.
    TooLarge {
        /// The batch.
        bytes: usize,
        /// What is possible.
        bytes_max: usize,
    },
    /// The disk is full and what can wait for it does already.
    StorageFull,
    /// Writing failed, or the shard has stopped; nothing more will be acknowledged.
    StorageFailed,
    /// The partition's folder has failed, or could not be used when the partition was opened, or has lost the segment that
    /// is written.
    FolderOffline,
}

/// What to read.
#[derive(Clone, Debug)]
pub struct ReadSpec {
    /// Where from.
    pub key: PartitionKey,
    /// From this offset on.
    pub offset: i64,
    /// At most so many bytes of batches.
    pub bytes_max: usize,
    /// The first batch goes out even if it is larger.
    pub at_least_one: bool,
    /// The leader epoch that the reader believes in.
    pub current_leader_epoch: Option<i32>,
    /// The epoch of the last record it has.
    pub last_fetched_epoch: Option<i32>,
    /// Only up to the last stable offset.
    pub committed: bool,
}

/// What there is to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Bytes from the offset on, at most what was asked for, more or less.
    pub available: usize,
    /// Acknowledged records end here.
    pub high_watermark: i64,
    /// No open transaction before this.
    pub last_stable_offset: i64,
    /// First offset of the log.
    pub log_start_offset: i64,
    /// The reader's log and this one part here.
    pub diverging: Option<EpochEnd>,
}

/// What was read.
#[derive(Clone, Debug)]
pub struct ReadData {
    /// The state of the partition.
    pub probe: Probe,
    /// Whole batches.
    pub batches: Vec<Bytes>,
    /// Aborted transactions that these batches hold a part of, for a reader of committed records, in
    /// the order of their markers.
    pub aborted: Vec<AbortedTransaction>,
}

impl ReadData {
    /// No records.
    pub fn nothing(probe: Probe) -> Self {
        Self {
            probe,
            batches: Vec::new(),
            aborted: Vec::new(),
        }
    }
}

/// Why nothing can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// This shard has no such partition.
    UnknownPartition,
    /// Before the log's start or behind its end.
    OffsetOutOfRange,
    /// The reader's leader epoch is older than this partition's.
    FencedLeaderEpoch,
    /// The reader's leader epoch is newer than this partition's.
    UnknownLeaderEpoch,
    /// What is stored is not what was written.
    Corrupt,
    /// The disk says no.
    Storage,
    /// The partition's folder has failed, or could not be used when the partition was opened.
    FolderOffline,
}
