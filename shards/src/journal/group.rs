//! The bytes of a journal group: what one write makes durable.
//!
//! A group starts on a block of a journal file, the alignment of direct writes:
//!
//! ```text
//! header (72 bytes) | entry | entry | ... | zeros up to the next block
//! ```
//!
//! The header says which process run wrote the group, its number (one sequence over the life of the
//! journal), and the checksum of the group before it. Files are recycled, so a valid checksum alone
//! proves nothing: a group belongs to the log only if it continues the chain.
//!
//! `synced_through` is the newest group known to be on stable storage when this one was written. It
//! is what tells rot from a torn end: a broken group that a later group calls synced has rotted; a
//! broken group that nobody vouches for was never acknowledged as `sync` and is cut off.

use crc32c::{crc32c, crc32c_append};
use uuid::Uuid;

use crate::io::BLOCK;
use crate::mutation::{Mutation, is_on};
use crate::route::PartitionKey;

/// Bytes of a group's header.
pub const HEADER_LEN: usize = 72;
/// Bytes of an entry's header.
pub const ENTRY_HEADER_LEN: usize = 40;

const MAGIC: u32 = u32::from_be_bytes(*b"CLJ1");

/// Facts of one group, as its header holds them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupHeader {
    /// Which journal of the folder; one a shard.
    pub journal_id: u32,
    /// Sequence number of the file that holds the group.
    pub file_seq: u64,
    /// Random number of the process run that wrote it.
    pub run_id: u64,
    /// Position in the journal's one sequence of groups.
    pub number: u64,
    /// Newest group known to be on stable storage when this one was written.
    pub synced_through: u64,
    /// Checksum of the header of the group before it; 0 for the first of a run.
    pub previous: u32,
    /// Sequence number of the oldest file that recovery needs.
    pub oldest_needed: u64,
    /// Bytes of entries after the header.
    pub payload_len: u32,
    /// Checksum of these bytes.
    pub payload_crc: u32,
}

/// Why a block is no group that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupError {
    /// Zeros or something else: no group was written here.
    NoGroup,
    /// The header is there and its checksum does not match.
    Header,
    /// The header is sound and the entries are not all there or not what was written.
    Payload,
}

impl GroupHeader {
    /// Writes the header over the first bytes of `out`; returns its checksum, which the next group names.
    pub fn encode(&self, out: &mut [u8]) -> u32 {
        out[0..4].copy_from_slice(&MAGIC.to_be_bytes());
        out[4..8].copy_from_slice(&self.journal_id.to_be_bytes());
        out[8..16].copy_from_slice(&self.file_seq.to_be_bytes());
        out[16..24].copy_from_slice(&self.run_id.to_be_bytes());
        out[24..32].copy_from_slice(&self.number.to_be_bytes());
        out[32..40].copy_from_slice(&self.synced_through.to_be_bytes());
        out[40..44].copy_from_slice(&self.previous.to_be_bytes());
        out[44..48].copy_from_slice(&self.payload_len.to_be_bytes());
        out[48..52].copy_from_slice(&self.payload_crc.to_be_bytes());
        out[52..60].copy_from_slice(&self.oldest_needed.to_be_bytes());
        out[60..68].fill(0);
        let crc = crc32c(&out[..68]);
        out[68..72].copy_from_slice(&crc.to_be_bytes());
        crc
    }

    /// Reads a header and the checksum that the next group must name.
    pub fn decode(bytes: &[u8]) -> Result<(Self, u32), GroupError> {
        if bytes.len() < HEADER_LEN || be32(bytes, 0) != MAGIC {
            return Err(GroupError::NoGroup);
        }
        let crc = be32(bytes, 68);
        if crc32c(&bytes[..68]) != crc {
            return Err(GroupError::Header);
        }
        let header = Self {
            journal_id: be32(bytes, 4),
            file_seq: be64(bytes, 8),
            run_id: be64(bytes, 16),
            number: be64(bytes, 24),
            synced_through: be64(bytes, 32),
            previous: be32(bytes, 40),
            payload_len: be32(bytes, 44),
            payload_crc: be32(bytes, 48),
            oldest_needed: be64(bytes, 52),
        };
        Ok((header, crc))
    }

    /// Bytes of the file that the group takes, header and padding included.
    pub fn padded_len(&self) -> u64 {
        (HEADER_LEN as u64 + u64::from(self.payload_len)).next_multiple_of(BLOCK as u64)
    }

    /// Whether `payload` is what was written.
    pub fn check_payload(&self, payload: &[u8]) -> Result<(), GroupError> {
        let is_sound = || crc32c(payload) == self.payload_crc || is_on(Mutation::SkipGroupChecksum);
        if payload.len() == self.payload_len as usize && is_sound() {
            Ok(())
        } else {
            Err(GroupError::Payload)
        }
    }
}

/// What an entry does to its partition. 2 is kept for truncation, which replication will need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum EntryKind {
    /// Record batches at a position of a segment.
    Append = 1,
    /// A leader epoch begins.
    LeaderEpoch = 3,
    /// The log start offset moved.
    LogStart = 4,
    /// The partition was deleted.
    Drop = 5,
    /// The whole state, with what its segments do not hold yet. Entries before it are not needed.
    Checkpoint = 6,
    /// The partition is in another journal: this copy must not come back when that one is gone.
    Moved = 7,
}

impl EntryKind {
    fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Append,
            3 => Self::LeaderEpoch,
            4 => Self::LogStart,
            5 => Self::Drop,
            6 => Self::Checkpoint,
            7 => Self::Moved,
            _ => return None,
        })
    }
}

/// Which partition an entry concerns, in which placement. A topic made again has another id; a
/// partition that moved to another journal has a higher revision there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryHead {
    /// What the entry does.
    pub kind: EntryKind,
    /// The partition.
    pub key: PartitionKey,
    /// How often the partition has moved between journals.
    pub revision: u64,
}

/// Writes the header of an entry over the first bytes of `out`.
pub fn encode_entry(head: &EntryHead, body_len: usize, out: &mut [u8]) {
    out[0] = head.kind as u8;
    out[1..4].fill(0);
    out[4..8].copy_from_slice(&head.key.partition.to_be_bytes());
    out[8..24].copy_from_slice(head.key.topic.as_bytes());
    out[24..32].copy_from_slice(&head.revision.to_be_bytes());
    let len = u32::try_from(body_len).expect("an entry is far smaller than 4 GiB");
    out[32..36].copy_from_slice(&len.to_be_bytes());
    out[36..40].fill(0);
}

/// Walks the entries of a checked payload.
pub struct Entries<'a> {
    rest: &'a [u8],
}

/// The payload's checksum was right and yet it is no list of entries: a defect or another version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedEntry;

impl<'a> Entries<'a> {
    /// Entries of `payload`.
    pub fn new(payload: &'a [u8]) -> Self {
        Self { rest: payload }
    }

    fn take(&mut self) -> Option<(EntryHead, &'a [u8])> {
        let head = self.rest.get(..ENTRY_HEADER_LEN)?;
        let kind = EntryKind::from_byte(head[0])?;
        let partition = be32(head, 4) as i32;
        let topic = Uuid::from_bytes(head[8..24].try_into().ok()?);
        let revision = be64(head, 24);
        let len = be32(head, 32) as usize;
        let body = self.rest.get(ENTRY_HEADER_LEN..)?.get(..len)?;
        self.rest = &self.rest[ENTRY_HEADER_LEN + len..];
        let key = PartitionKey { topic, partition };
        Some((
            EntryHead {
                kind,
                key,
                revision,
            },
            body,
        ))
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<(EntryHead, &'a [u8]), MalformedEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let entry = self.take().ok_or(MalformedEntry);
        if entry.is_err() {
            self.rest = &[];
        }
        Some(entry)
    }
}

/// Checksum of a payload that is built piece by piece.
pub fn payload_crc(crc: u32, piece: &[u8]) -> u32 {
    crc32c_append(crc, piece)
}

pub(crate) fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

pub(crate) fn be64(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
