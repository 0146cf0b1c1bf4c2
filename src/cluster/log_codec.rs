//! Between metadata records and the batches of the `__cluster_metadata` log and of its snapshots.
//!
//! Each record is the value of one log record without a key; what one decision of the controller
//! makes goes into one batch, so that a torn log has all of it or nothing. Control batches (a new
//! leader, a snapshot's first and last) carry nothing for the image and are passed over.
//!
//! Pure functions over bytes. What comes from disk may be damaged: the answer is an error that names
//! the offset.

mod snapshot;

use std::fmt;

use corelog_shards::log::batch::control::ControlKind;
use corelog_shards::log::batch::walk::WalkError;
use corelog_shards::log::batch::{Batch, BatchBuilder, BatchError, BatchIter, Records};

use super::features::{METADATA_VERSION, MetadataVersion};
use super::image::{ReplayError, Replayer};
use super::records::{DecodeError, LeaderChangeMessage, Record, Voter, encode_control};

pub use snapshot::snapshot_batches;

/// What is wrong with the metadata log, and where.
#[derive(Clone, Debug, PartialEq)]
pub struct LogError {
    /// Of the record or batch at fault, or of what came last before it.
    pub offset: i64,
    pub fault: LogFault,
}

#[derive(Clone, Debug, PartialEq)]
pub enum LogFault {
    Batch(BatchError),
    Walk(WalkError),
    /// Batches are missing, or come again.
    Gap {
        expected: i64,
    },
    NoValue,
    Decode(DecodeError),
    Replay(ReplayError),
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "metadata log at offset {}: ", self.offset)?;
        match &self.fault {
            LogFault::Batch(error) => error.fmt(f),
            LogFault::Walk(error) => error.fmt(f),
            LogFault::Gap { expected } => write!(f, "offset {expected} was to come next"),
            LogFault::NoValue => f.write_str("a record without a value"),
            LogFault::Decode(error) => error.fmt(f),
            LogFault::Replay(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for LogError {}

/// Where and when a batch is written. The log stamps the base offset and the epoch again when it
/// appends; who writes a file of its own gives them here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchPlace {
    pub base_offset: i64,
    pub leader_epoch: i32,
    pub timestamp_ms: i64,
}

impl BatchPlace {
    fn builder(self) -> BatchBuilder {
        BatchBuilder::uncompressed().at(self.base_offset, self.leader_epoch)
    }
}

/// One batch of all `records`, of which there is at least one. A record that raises the metadata
/// version does so for those that follow it.
pub fn encode_batch(
    records: &[Record],
    mut metadata_version: MetadataVersion,
    place: BatchPlace,
) -> Vec<u8> {
    let mut batch = place.builder();
    let mut value = Vec::new();
    for record in records {
        if let Record::FeatureLevel(feature) = record
            && feature.name == METADATA_VERSION
        {
            metadata_version = MetadataVersion(feature.feature_level);
        }
        value.clear();
        record.encode(record.version_at(metadata_version), &mut value);
        append(&mut batch, place, None, &value);
    }
    finish(batch)
}

/// The batch that a quorum's new leader writes first.
pub fn encode_leader_change(leader_id: i32, voters: &[i32], place: BatchPlace) -> Vec<u8> {
    let voter = |voter_id: &i32| Voter {
        voter_id: *voter_id,
    };
    let message = LeaderChangeMessage {
        version: 0,
        leader_id,
        voters: voters.iter().map(voter).collect(),
        granting_voters: voters.iter().map(voter).collect(),
    };
    let value = encode_control(&message);
    control_batch(ControlKind::LeaderChange, &value, place)
}

fn control_batch(kind: ControlKind, value: &[u8], place: BatchPlace) -> Vec<u8> {
    let mut batch = place.builder().control();
    append(&mut batch, place, Some(&kind.key()), value);
    finish(batch)
}

fn append(batch: &mut BatchBuilder, place: BatchPlace, key: Option<&[u8]>, value: &[u8]) {
    batch
        .append(place.timestamp_ms, key, Some(value))
        .expect("without a codec nothing can fail");
}

fn finish(batch: BatchBuilder) -> Vec<u8> {
    batch.finish().expect("without a codec nothing can fail")
}

/// Replays all batches in `bytes`, after checking each one's CRC.
pub fn replay(bytes: &[u8], replayer: &mut Replayer) -> Result<(), LogError> {
    replay_all(bytes, replayer, false)
}

/// Replays all batches in `bytes` like [`replay`], each of which has to go on where the one before it
/// has ended.
pub fn replay_contiguous(bytes: &[u8], replayer: &mut Replayer) -> Result<(), LogError> {
    replay_all(bytes, replayer, true)
}

fn replay_all(
    bytes: &[u8],
    replayer: &mut Replayer,
    must_be_contiguous: bool,
) -> Result<(), LogError> {
    for batch in BatchIter::verifying(bytes) {
        let batch = batch.map_err(|error| damaged(error, replayer))?;
        match must_be_contiguous {
            true => replay_next(batch, replayer)?,
            false => replay_batch(batch, replayer)?,
        }
    }
    Ok(())
}

/// That what follows the last batch replayed is none.
pub fn damaged(error: BatchError, replayer: &Replayer) -> LogError {
    LogError {
        offset: replayer.image().last_offset,
        fault: LogFault::Batch(error),
    }
}

/// Replays one batch, whose CRC was checked before and which has to go on where the one before it has
/// ended.
pub fn replay_next(batch: Batch<'_>, replayer: &mut Replayer) -> Result<(), LogError> {
    let expected = replayer.image().last_offset + 1;
    if batch.base_offset() != expected {
        return Err(LogError {
            offset: batch.base_offset(),
            fault: LogFault::Gap { expected },
        });
    }
    replay_batch(batch, replayer)
}

/// Replays one batch, whose CRC was checked before.
pub fn replay_batch(batch: Batch<'_>, replayer: &mut Replayer) -> Result<(), LogError> {
    let epoch = batch.leader_epoch();
    for_each_record(batch, |offset, record| {
        replayer
            .replay(offset, epoch, &record)
            .map_err(LogFault::Replay)
    })?;
    // A control batch, or one whose last records are gone, moves the end as well.
    replayer.pass(batch.last_offset(), epoch);
    Ok(())
}

/// Decodes the metadata records of `batch` in turn; there are none in a control batch.
pub fn for_each_record(
    batch: Batch<'_>,
    mut each: impl FnMut(i64, Record) -> Result<(), LogFault>,
) -> Result<(), LogError> {
    if batch.is_control() {
        return Ok(());
    }
    let mut offset = batch.base_offset();
    let walk = |error, offset| LogError {
        offset,
        fault: LogFault::Walk(error),
    };
    let mut records = Records::new(batch).map_err(|error| walk(error, offset))?;
    while let Some(record) = records.next().map_err(|error| walk(error, offset))? {
        offset = record.offset;
        let value = record.value.ok_or(LogFault::NoValue);
        value
            .and_then(|value| Record::decode(value).map_err(LogFault::Decode))
            .and_then(|record| each(offset, record))
            .map_err(|fault| LogError { offset, fault })?;
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod testing;
#[cfg(test)]
mod tests;
