//! Batches of records that can be told apart wherever they turn up.

use bytes::Bytes;
use corelog_shards::log::batch::{Batch, BatchBuilder, Codec, Records};
use uuid::Uuid;

/// Names a record: its batch in the order of the world, and its place there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tag {
    pub batch: u32,
    pub index: u32,
}

/// The header of each record that has its tag.
const TAG: &[u8] = b"tag";

impl Tag {
    fn bytes(self) -> [u8; 8] {
        (u64::from(self.batch) << 32 | u64::from(self.index)).to_be_bytes()
    }

    fn of(bytes: &[u8]) -> Option<Tag> {
        let number = u64::from_be_bytes(bytes.try_into().ok()?);
        Some(Tag {
            batch: (number >> 32) as u32,
            index: number as u32,
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
}

/// Who sends a batch that is to be stored once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    pub id: i64,
    pub epoch: i16,
    pub sequence: i32,
}

/// A batch that was made, and what is known of its way.
#[derive(Clone, Debug)]
pub struct Sent {
    pub topic: usize,
    pub partition: i32,
    /// The id of the topic that it was meant for.
    pub target: Uuid,
    /// Whether it was ever sent to the topic of that name, whichever it was.
    pub by_name: bool,
    pub records: Vec<Content>,
    pub timestamp: i64,
    /// How often the broker's clock had jumped when it was made.
    pub jumps: usize,
    pub identity: Option<Identity>,
    /// Batches of one stream keep their order if they were sent once, or are idempotent.
    pub stream: u64,
    pub attempts: u32,
    pub bytes: Bytes,
}

impl Sent {
    /// How often it may be there.
    pub fn copies_max(&self) -> u32 {
        match self.identity {
            Some(_) => self.attempts.min(1),
            None => self.attempts,
        }
    }

    /// How many bytes it takes at most where it is stored; as many as were sent, unless the broker compresses it anew.
    pub fn stored_bytes_max(&self, may_change: bool) -> u64 {
        let sent = self.bytes.len();
        if !may_change {
            return sent as u64;
        }
        let len = |field: &Option<Vec<u8>>| field.as_ref().map_or(0, Vec::len);
        let lens = self.records.iter().map(|record| {
            let framing = 40;
            len(&record.key) + len(&record.value) + framing
        });
        let plain: usize = lens.sum();
        // What does not compress grows by a sixth at most, and the frame.
        sent.max(200 + plain * 7 / 6) as u64
    }
}

/// The wire form of a batch.
pub fn encode(
    number: u32,
    records: &[Content],
    timestamp: i64,
    codec: Codec,
    identity: Option<Identity>,
) -> Bytes {
    let mut builder = BatchBuilder::new(codec).expect("a codec that there is");
    if let Some(it) = identity {
        builder = builder.producer(it.id, it.epoch, it.sequence);
    }
    for (index, record) in records.iter().enumerate() {
        let tag = Tag {
            batch: number,
            index: index as u32,
        };
        let (key, value) = (record.key.as_deref(), record.value.as_deref());
        let appended =
            builder.append_with_headers(timestamp, key, value, &[(TAG, Some(&tag.bytes()))]);
        appended.expect("appended");
    }
    Bytes::from(builder.finish().expect("built"))
}

/// A record as it was read.
#[derive(Debug)]
pub struct Found {
    pub offset: i64,
    pub timestamp: i64,
    pub tag: Tag,
    pub content: Content,
}

/// The records of a batch; panics at anything that no client of this world has made.
pub fn decode(batch: Batch<'_>) -> Vec<Found> {
    let mut records = Records::new(batch).expect("a known codec");
    let mut found = Vec::new();
    while let Some(record) = records.next().expect("a sound record") {
        let mut headers = record.headers;
        let tag = headers.find(|(name, _)| *name == TAG);
        let tag = tag.and_then(|(_, tag)| Tag::of(tag?)).expect("a tag");
        found.push(Found {
            offset: record.offset,
            timestamp: record.timestamp,
            tag,
            content: Content {
                key: record.key.map(<[u8]>::to_vec),
                value: record.value.map(<[u8]>::to_vec),
            },
        });
    }
    found
}
