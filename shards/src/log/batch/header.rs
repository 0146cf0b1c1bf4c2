//! The 61 bytes in front of every batch: a view to read them, fields to write them, and the patches an
//! append makes in place.

use std::fmt;

/// Bytes before the first record.
pub const HEADER_BYTES: usize = 61;
/// Base offset and length: what the length field does not count.
pub const LENGTH_PREFIX_BYTES: usize = 12;
/// Enough of a batch to know its offset, its size and its format.
pub const THROUGH_MAGIC_BYTES: usize = 17;
pub const MAGIC_V2: i8 = 2;

pub const NO_TIMESTAMP: i64 = -1;
pub const NO_PRODUCER_ID: i64 = -1;
pub const NO_PRODUCER_EPOCH: i16 = -1;
pub const NO_SEQUENCE: i32 = -1;
pub const NO_LEADER_EPOCH: i32 = -1;

const BASE_OFFSET: usize = 0;
pub(super) const LENGTH: usize = 8;
const LEADER_EPOCH: usize = 12;
pub(super) const MAGIC: usize = 16;
const CRC: usize = 17;
const ATTRIBUTES: usize = 21;
/// The CRC covers everything from here on.
pub(super) const CRC_FROM: usize = ATTRIBUTES;
const LAST_OFFSET_DELTA: usize = 23;
const BASE_TIMESTAMP: usize = 27;
const MAX_TIMESTAMP: usize = 35;
const PRODUCER_ID: usize = 43;
const PRODUCER_EPOCH: usize = 51;
const BASE_SEQUENCE: usize = 53;
const RECORD_COUNT: usize = 57;

/// Why bytes are not a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchError {
    /// The buffer ends inside the batch.
    Truncated {
        needed: usize,
        available: usize,
    },
    /// Another format version; 0 and 1 are the message sets of Kafka before 0.11.
    BadMagic {
        magic: i8,
    },
    /// The length field cannot be that of a batch.
    BadLength {
        length: i32,
    },
    BadCrc {
        stored: u32,
        computed: u32,
    },
}

impl fmt::Display for BatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { needed, available } => {
                write!(f, "batch is cut short: {available} of {needed} bytes")
            }
            Self::BadMagic { magic } => write!(f, "batch has magic {magic}, not {MAGIC_V2}"),
            Self::BadLength { length } => write!(f, "batch has an impossible length {length}"),
            Self::BadCrc { stored, computed } => {
                write!(
                    f,
                    "batch is corrupt: stored CRC {stored:#010x}, computed {computed:#010x}"
                )
            }
        }
    }
}

impl std::error::Error for BatchError {}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Compression {
    None = 0,
    Gzip = 1,
    Snappy = 2,
    Lz4 = 3,
    Zstd = 4,
}

impl Compression {
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    pub fn from_id(id: u8) -> Option<Self> {
        Self::ALL.get(usize::from(id)).copied()
    }

    pub fn id(self) -> u8 {
        self as u8
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampType {
    /// Records carry the producer's timestamps.
    CreateTime,
    /// Every record of the batch has the batch's max timestamp, set by the leader.
    LogAppendTime,
}

/// The attributes field: bits 0-2 codec, 3 timestamp type, 4 transactional, 5 control, 6 delete horizon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Attributes(u16);

impl Attributes {
    const CODEC: u16 = 0x07;
    const LOG_APPEND_TIME: u16 = 0x08;
    const TRANSACTIONAL: u16 = 0x10;
    const CONTROL: u16 = 0x20;
    const DELETE_HORIZON: u16 = 0x40;
    const KNOWN: u16 = 0x7f;

    pub fn from_bits(bits: u16) -> Self {
        Self(bits)
    }

    pub fn bits(self) -> u16 {
        self.0
    }

    /// None for the ids 5 to 7, which no codec has.
    pub fn compression(self) -> Option<Compression> {
        Compression::from_id(self.compression_id())
    }

    pub fn compression_id(self) -> u8 {
        (self.0 & Self::CODEC) as u8
    }

    pub fn timestamp_type(self) -> TimestampType {
        if self.0 & Self::LOG_APPEND_TIME == 0 {
            TimestampType::CreateTime
        } else {
            TimestampType::LogAppendTime
        }
    }

    pub fn is_transactional(self) -> bool {
        self.0 & Self::TRANSACTIONAL != 0
    }

    pub fn is_control(self) -> bool {
        self.0 & Self::CONTROL != 0
    }

    /// Whether the base timestamp says instead until when tombstones and markers are kept (KIP-534).
    pub fn has_delete_horizon(self) -> bool {
        self.0 & Self::DELETE_HORIZON != 0
    }

    pub fn with_compression(self, compression: Compression) -> Self {
        Self(self.0 & !Self::CODEC | u16::from(compression.id()))
    }

    pub fn with_timestamp_type(self, kind: TimestampType) -> Self {
        self.with(Self::LOG_APPEND_TIME, kind == TimestampType::LogAppendTime)
    }

    pub fn with_transactional(self, on: bool) -> Self {
        self.with(Self::TRANSACTIONAL, on)
    }

    pub fn with_control(self, on: bool) -> Self {
        self.with(Self::CONTROL, on)
    }

    pub fn with_delete_horizon(self, on: bool) -> Self {
        self.with(Self::DELETE_HORIZON, on)
    }

    fn with(self, bit: u16, on: bool) -> Self {
        Self(if on { self.0 | bit } else { self.0 & !bit })
    }
}

/// The header as plain values, for those who write batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderFields {
    pub base_offset: i64,
    pub leader_epoch: i32,
    pub attributes: Attributes,
    pub last_offset_delta: i32,
    pub base_timestamp: i64,
    pub max_timestamp: i64,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    pub record_count: i32,
}

impl HeaderFields {
    /// Writes the header over the first bytes of `batch`, whose records are already in place.
    ///
    /// Panics when `batch` is shorter than a header or longer than a length field can say.
    pub fn write(&self, batch: &mut [u8]) {
        let length =
            i32::try_from(batch.len() - LENGTH_PREFIX_BYTES).expect("batch fits its length field");
        put(batch, BASE_OFFSET, self.base_offset.to_be_bytes());
        put(batch, LENGTH, length.to_be_bytes());
        put(batch, LEADER_EPOCH, self.leader_epoch.to_be_bytes());
        put(batch, MAGIC, MAGIC_V2.to_be_bytes());
        put(batch, ATTRIBUTES, self.attributes.bits().to_be_bytes());
        put(
            batch,
            LAST_OFFSET_DELTA,
            self.last_offset_delta.to_be_bytes(),
        );
        put(batch, BASE_TIMESTAMP, self.base_timestamp.to_be_bytes());
        put(batch, MAX_TIMESTAMP, self.max_timestamp.to_be_bytes());
        put(batch, PRODUCER_ID, self.producer_id.to_be_bytes());
        put(batch, PRODUCER_EPOCH, self.producer_epoch.to_be_bytes());
        put(batch, BASE_SEQUENCE, self.base_sequence.to_be_bytes());
        put(batch, RECORD_COUNT, self.record_count.to_be_bytes());
        put_crc(batch);
    }
}

/// A view of a header. Says nothing about the records behind it, nor about the CRC.
#[derive(Clone, Copy)]
pub struct BatchHeader<'a> {
    bytes: &'a [u8; HEADER_BYTES],
}

impl<'a> BatchHeader<'a> {
    /// The header at the front of `bytes`, of which only the header need be there.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BatchError> {
        let truncated = |needed| BatchError::Truncated {
            needed,
            available: bytes.len(),
        };
        if bytes.len() < THROUGH_MAGIC_BYTES {
            return Err(truncated(HEADER_BYTES));
        }
        // The magic has its place in every version, so an old message set is told from garbage.
        let magic = bytes[MAGIC] as i8;
        if magic != MAGIC_V2 {
            return Err(BatchError::BadMagic { magic });
        }
        let header = bytes.first_chunk().ok_or_else(|| truncated(HEADER_BYTES))?;
        let view = Self { bytes: header };
        let length = view.length();
        match usize::try_from(length) {
            Ok(n) if n >= HEADER_BYTES - LENGTH_PREFIX_BYTES => Ok(view),
            _ => Err(BatchError::BadLength { length }),
        }
    }

    pub fn base_offset(&self) -> i64 {
        i64::from_be_bytes(get(self.bytes, BASE_OFFSET))
    }

    fn length(&self) -> i32 {
        i32::from_be_bytes(get(self.bytes, LENGTH))
    }

    /// The whole batch, this header included.
    pub fn size_bytes(&self) -> usize {
        self.length() as usize + LENGTH_PREFIX_BYTES
    }

    pub fn leader_epoch(&self) -> i32 {
        i32::from_be_bytes(get(self.bytes, LEADER_EPOCH))
    }

    pub fn crc(&self) -> u32 {
        u32::from_be_bytes(get(self.bytes, CRC))
    }

    pub fn attributes(&self) -> Attributes {
        Attributes(u16::from_be_bytes(get(self.bytes, ATTRIBUTES)))
    }

    /// None when the codec's id is unknown.
    pub fn compression(&self) -> Option<Compression> {
        self.attributes().compression()
    }

    pub fn timestamp_type(&self) -> TimestampType {
        self.attributes().timestamp_type()
    }

    pub fn is_transactional(&self) -> bool {
        self.attributes().is_transactional()
    }

    pub fn is_control(&self) -> bool {
        self.attributes().is_control()
    }

    pub fn last_offset_delta(&self) -> i32 {
        i32::from_be_bytes(get(self.bytes, LAST_OFFSET_DELTA))
    }

    pub fn last_offset(&self) -> i64 {
        self.base_offset()
            .saturating_add(self.last_offset_delta().into())
    }

    /// Where the log goes on behind this batch.
    pub fn next_offset(&self) -> i64 {
        self.last_offset().saturating_add(1)
    }

    pub fn base_timestamp(&self) -> i64 {
        i64::from_be_bytes(get(self.bytes, BASE_TIMESTAMP))
    }

    /// Until when compaction keeps the tombstones and markers of the batch; none before it has seen them.
    pub fn delete_horizon_ms(&self) -> Option<i64> {
        let has_one = self.attributes().has_delete_horizon();
        has_one.then(|| self.base_timestamp())
    }

    pub fn max_timestamp(&self) -> i64 {
        i64::from_be_bytes(get(self.bytes, MAX_TIMESTAMP))
    }

    /// [`NO_PRODUCER_ID`] for a producer that is neither idempotent nor transactional.
    pub fn producer_id(&self) -> i64 {
        i64::from_be_bytes(get(self.bytes, PRODUCER_ID))
    }

    pub fn has_producer_id(&self) -> bool {
        self.producer_id() > NO_PRODUCER_ID
    }

    pub fn producer_epoch(&self) -> i16 {
        i16::from_be_bytes(get(self.bytes, PRODUCER_EPOCH))
    }

    pub fn base_sequence(&self) -> i32 {
        i32::from_be_bytes(get(self.bytes, BASE_SEQUENCE))
    }

    /// Sequence number of the last record; [`NO_SEQUENCE`] without sequences.
    pub fn last_sequence(&self) -> i32 {
        match self.base_sequence() {
            NO_SEQUENCE => NO_SEQUENCE,
            base => add_to_sequence(base, self.last_offset_delta()),
        }
    }

    pub fn record_count(&self) -> i32 {
        i32::from_be_bytes(get(self.bytes, RECORD_COUNT))
    }

    pub fn fields(&self) -> HeaderFields {
        HeaderFields {
            base_offset: self.base_offset(),
            leader_epoch: self.leader_epoch(),
            attributes: self.attributes(),
            last_offset_delta: self.last_offset_delta(),
            base_timestamp: self.base_timestamp(),
            max_timestamp: self.max_timestamp(),
            producer_id: self.producer_id(),
            producer_epoch: self.producer_epoch(),
            base_sequence: self.base_sequence(),
            record_count: self.record_count(),
        }
    }
}

impl fmt::Debug for BatchHeader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fields().fmt(f)
    }
}

/// Sequence numbers run from 0 to `i32::MAX` and then start again at 0.
pub fn add_to_sequence(base: i32, increment: i32) -> i32 {
    base.checked_add(increment)
        .unwrap_or_else(|| increment - (i32::MAX - base) - 1)
}

/// What an append writes into a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub base_offset: i64,
    pub leader_epoch: i32,
    pub timestamp_type: TimestampType,
    pub max_timestamp: i64,
}

impl Stamp {
    /// Stamps the batch that `batch` is, no more and no less. The CRC is computed again only when one of
    /// the fields under it changes, which is rare with `CreateTime`.
    ///
    /// Panics when `batch` is shorter than a header.
    pub fn apply(&self, batch: &mut [u8]) {
        let (header, records) = batch.split_first_chunk_mut().expect("a whole batch");
        self.apply_apart(header, records);
    }

    /// The stamped header of a batch that cannot be written to, because others share its bytes: what goes
    /// to the log is this header followed by the batch's bytes from [`HEADER_BYTES`] on.
    ///
    /// Panics when `batch` is shorter than a header.
    pub fn header_for(&self, batch: &[u8]) -> [u8; HEADER_BYTES] {
        let (header, records) = batch.split_first_chunk().expect("a whole batch");
        let mut header = *header;
        self.apply_apart(&mut header, records);
        header
    }

    fn apply_apart(&self, header: &mut [u8; HEADER_BYTES], records: &[u8]) {
        put(header, BASE_OFFSET, self.base_offset.to_be_bytes());
        put(header, LEADER_EPOCH, self.leader_epoch.to_be_bytes());
        let before = BatchHeader { bytes: header };
        if before.timestamp_type() == self.timestamp_type
            && before.max_timestamp() == self.max_timestamp
        {
            return;
        }
        // Bits that mean nothing are dropped here and kept otherwise, as Kafka does.
        let known = Attributes(before.attributes().0 & Attributes::KNOWN);
        let attributes = known.with_timestamp_type(self.timestamp_type);
        put(header, ATTRIBUTES, attributes.bits().to_be_bytes());
        put(header, MAX_TIMESTAMP, self.max_timestamp.to_be_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(&header[CRC_FROM..]), records);
        put(header, CRC, crc.to_be_bytes());
    }
}

/// The CRC that the batch `batch` should carry. Panics when it is shorter than a header.
pub fn crc_of(batch: &[u8]) -> u32 {
    crc32c::crc32c(&batch[CRC_FROM..])
}

fn put_crc(batch: &mut [u8]) {
    let crc = crc_of(batch);
    put(batch, CRC, crc.to_be_bytes());
}

fn get<const N: usize>(bytes: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("a field of the header")
}

fn put<const N: usize>(bytes: &mut [u8], at: usize, field: [u8; N]) {
    bytes[at..at + N].copy_from_slice(&field);
}
