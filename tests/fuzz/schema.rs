//! Bodies of requests, made by the schemas: the generated decoder of an API is given a buffer that has no bytes yet and
//! makes up each value when it is asked for. What it asked for, one field after the other, is the body, and where each
//! field lies is known.
//!
//! Lengths and counts are small here, strings are mostly words that mean something to the broker; extremes are put in
//! afterwards ([`crate::damage`]). What the decoder refuses (a null where there must be none) is drawn again, so that
//! what comes out is a body that the schema allows.

use std::ops::Range;

use bytes::{Buf, Bytes, BytesMut, TryGetError};
use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::Request;
use kafka_protocol::protocol::buf::ByteBuf;
use uuid::Uuid;

use crate::apis::{self, codec_version, has_ids, is_read_by_hand};
use crate::random::Random;
use crate::samples::{self, NOBODYS, TOPIC};

/// Once a body has so many bytes, its lists and strings come to their end.
const BODY_BYTES: u64 = 1_200;
/// Values that the schema refuses, one after the other.
const REFUSALS_MAX: usize = 200;

/// What a field looks like on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A boolean, a compact length, a tag or the number of tagged fields.
    Varint,
    I8,
    /// Maybe the length of a string.
    I16,
    /// Maybe the length of a list or of bytes.
    I32,
    I64,
    Uuid,
    /// The bytes that a length has announced.
    Content,
}

/// Where a field lies.
#[derive(Clone, Debug)]
pub struct Field {
    pub range: Range<usize>,
    pub kind: Kind,
}

/// A body and its fields, in their order.
#[derive(Clone, Debug, Default)]
pub struct Body {
    pub bytes: Vec<u8>,
    pub fields: Vec<Field>,
}

/// What an API's requests look like.
pub struct Schema {
    /// Makes a body of that version.
    pub make: fn(&Words, &mut Random, i16) -> Body,
    /// What a client would send that means the same. None if it can't be known.
    pub as_of_a_client: fn(&[u8], i16) -> Option<Vec<u8>>,
}

/// One for each API that is served, in their order.
pub static SCHEMAS: &[Schema] = apis::served!(schema);

const fn schema<T: Request>() -> Schema {
    Schema {
        make: make::<T>,
        as_of_a_client: |body, version| {
            if is_read_by_hand::<T>(version) || has_ids::<T>(version) {
                return None;
            }
            let version = codec_version::<T>(version);
            let mut read = Bytes::copy_from_slice(body);
            let request = T::decode(&mut read, version).ok()?;
            let mut written = BytesMut::new();
            request.encode(&mut written, version).ok()?;
            read.is_empty().then(|| written.into())
        },
    }
}

fn make<T: Request>(words: &Words, random: &mut Random, version: i16) -> Body {
    let mut maker = Maker {
        words,
        bytes_max: random.below(BODY_BYTES) as usize,
        random,
        records: if carries_records::<T>() { 5 } else { 2 },
        body: Body::default(),
        at: 0,
        is_refused: false,
        rest: None,
    };
    for _ in 0..REFUSALS_MAX {
        if T::decode(&mut maker, codec_version::<T>(version)).is_ok() {
            break;
        }
        maker.refuse();
    }
    let mut body = maker.body;
    if is_read_by_hand::<T>(version) {
        body.drop_transactional_id();
    }
    if has_ids::<T>(version) {
        // Fields lie elsewhere now.
        let bytes = apis::with_ids(&body.bytes, words.topic_id);
        body = Body {
            fields: Vec::new(),
            bytes: bytes.into(),
        };
    }
    body
}

/// Whether its bytes mean something by themselves: records, subscriptions, assignments.
fn carries_records<T: Request>() -> bool {
    [ApiKey::Produce, ApiKey::JoinGroup, ApiKey::SyncGroup]
        .map(|key| key as i16)
        .contains(&T::KEY)
}

impl Body {
    /// The first field of Produce, a length and maybe a text, which old versions don't have.
    fn drop_transactional_id(&mut self) {
        let is_named = self.bytes[..2] != [0xff; 2];
        let count = 1 + usize::from(is_named);
        let Some(end) = self.fields.get(count - 1).map(|field| field.range.end) else {
            return;
        };
        self.bytes.drain(..end);
        self.fields.drain(..count);
        for field in &mut self.fields {
            field.range = field.range.start - end..field.range.end - end;
        }
    }
}

/// What strings and bytes are made of.
pub struct Words {
    pub topic_id: Uuid,
    all: Vec<Bytes>,
}

/// Another topic, whose name comes up often.
pub const SHORT_TOPIC: &str = "t";

/// Names of topics, groups, members, protocols, properties and their values.
const TEXTS: &[&str] = &[
    TOPIC,
    TOPIC,
    SHORT_TOPIC,
    NOBODYS,
    "g",
    "made",
    "group",
    "consumers",
    "simple",
    "member",
    "instance",
    "range",
    "uniform",
    "consumer",
    "1",
    "retention.ms",
    "max.message.bytes",
    "compression.type",
    "zstd",
    "cleanup.policy",
    "compact",
    "100000",
    "/data",
    "__consumer_offsets",
    "__cluster_metadata",
    "Stable",
    "hos.*",
    "((((((a*)*)*)*)*)*)*$",
];

impl Words {
    /// With a topic of this id.
    pub fn new(topic_id: Uuid) -> Words {
        let subscription = [0, 1, 0, 0, 0, 1, 0, 7].iter().chain(TOPIC.as_bytes());
        let subscription = subscription.chain(&[0, 0, 0, 0, 0, 0, 0, 0]);
        let mut all: Vec<Bytes> = TEXTS
            .iter()
            .map(|text| Bytes::from_static(text.as_bytes()))
            .collect();
        all.push(subscription.copied().collect());
        all.extend(samples::batches());
        Words { topic_id, all }
    }

    /// Lengths of records are as likely as all others together.
    fn any_len(&self, random: &mut Random) -> usize {
        self.all[random.below(self.all.len() as u64) as usize].len()
    }

    fn text_len(&self, random: &mut Random) -> usize {
        self.all[random.below(TEXTS.len() as u64) as usize].len()
    }

    fn of_len(&self, len: usize, random: &mut Random) -> Option<&Bytes> {
        let from = random.below(self.all.len() as u64) as usize;
        let (before, behind) = self.all.split_at(from);
        let mut all = behind.iter().chain(before);
        all.find(|word| word.len() == len)
    }
}

/// The buffer that makes up what is read from it.
struct Maker<'a> {
    words: &'a Words,
    random: &'a mut Random,
    body: Body,
    /// What the decoder has read in this attempt; what lies behind it is from the last one.
    at: usize,
    /// The value at the end was refused: the next one is what no decoder refuses.
    is_refused: bool,
    bytes_max: usize,
    /// Of sixteen small numbers, how many are as long as something that is in the words.
    records: u64,
    /// The second byte of a varint, while only the first has been read.
    rest: Option<u8>,
}

impl Maker<'_> {
    /// Begins anew: all that was read is read again, up to the last field, which is drawn again.
    fn refuse(&mut self) {
        if let Some(last) = self.body.fields.pop() {
            self.body.bytes.truncate(last.range.start);
        }
        self.is_refused = true;
        self.at = 0;
        self.rest = None;
    }

    fn is_full(&self) -> bool {
        self.body.bytes.len() >= self.bytes_max
    }

    /// What was made as a varint of two bytes was a boolean, if the second is never asked for.
    fn end_varint(&mut self) {
        if std::mem::take(&mut self.rest).is_some() && self.at + 1 == self.body.bytes.len() {
            self.body.bytes.truncate(self.at);
            if let Some(last) = self.body.fields.last_mut() {
                last.range.end = self.at;
            }
        }
    }

    /// The next `len` bytes, from the last attempt or made now.
    fn read(
        &mut self,
        len: usize,
        kind: Kind,
        make: impl FnOnce(&mut Self, bool) -> Vec<u8>,
    ) -> &[u8] {
        self.end_varint();
        if self.at == self.body.bytes.len() {
            let is_refused = std::mem::take(&mut self.is_refused);
            let made = make(self, is_refused);
            assert_eq!(made.len(), len);
            let start = self.at;
            self.body.bytes.extend(made);
            let range = start..start + len;
            self.body.fields.push(Field { range, kind });
        }
        let from = self.at;
        self.at += len;
        &self.body.bytes[from..self.at]
    }

    fn number<const N: usize>(
        &mut self,
        kind: Kind,
        draw: impl FnOnce(&mut Self, bool) -> i64,
    ) -> [u8; N] {
        let make = |maker: &mut Self, is_refused: bool| {
            let value = draw(maker, is_refused).to_be_bytes();
            value[8 - N..].to_vec()
        };
        let bytes = self.read(N, kind, make);
        bytes.try_into().expect("as many as asked for")
    }

    /// As a count, a length or a plain value: not large.
    fn small(&mut self, is_refused: bool) -> i64 {
        if is_refused || self.is_full() {
            return 0;
        }
        match self.random.below(16) {
            0 => -1,
            1 => 0,
            2 => self.random.below(60) as i64,
            n if n < 3 + self.records => self.words.any_len(self.random) as i64,
            n if n < 5 + self.records => self.words.text_len(self.random) as i64,
            _ => self.random.below(4) as i64,
        }
    }

    fn content(&mut self, len: usize) -> Bytes {
        let make = |maker: &mut Self, is_refused: bool| {
            if !is_refused && let Some(word) = maker.words.of_len(len, maker.random) {
                return word.to_vec();
            }
            // Short ones are often the same.
            let first = maker.random.below(26) as usize;
            (0..len)
                .map(|at| b'a' + ((first + at) % 26) as u8)
                .collect()
        };
        Bytes::copy_from_slice(self.read(len, Kind::Content, make))
    }
}

impl Buf for Maker<'_> {
    fn remaining(&self) -> usize {
        usize::MAX / 2
    }

    fn chunk(&self) -> &[u8] {
        unreachable!("decoders ask for fields")
    }

    fn advance(&mut self, _: usize) {
        unreachable!("decoders ask for fields")
    }

    fn try_get_u8(&mut self) -> Result<u8, TryGetError> {
        if let Some(next) = self.rest.take() {
            self.at += 1;
            return Ok(next);
        }
        if self.at == self.body.bytes.len() {
            let is_plain = std::mem::take(&mut self.is_refused) || self.is_full();
            let value = match is_plain {
                true => 1,
                false => 1 + self.small(false),
            };
            let (low, high) = (value as u8, (value >> 7) as u8);
            match high {
                0 => self.body.bytes.push(low),
                _ => self.body.bytes.extend([low | 0x80, high]),
            }
            let range = self.at..self.body.bytes.len();
            let kind = Kind::Varint;
            self.body.fields.push(Field { range, kind });
        }
        let first = self.body.bytes[self.at];
        self.at += 1;
        if first >= 0x80 {
            self.rest = self.body.bytes.get(self.at).copied();
        }
        Ok(first)
    }

    fn try_get_i8(&mut self) -> Result<i8, TryGetError> {
        let bytes = self.number(Kind::I8, |maker, _| maker.random.below(8) as i64 - 1);
        Ok(i8::from_be_bytes(bytes))
    }

    fn try_get_i16(&mut self) -> Result<i16, TryGetError> {
        let bytes = self.number(Kind::I16, |maker, is_refused| maker.small(is_refused));
        Ok(i16::from_be_bytes(bytes))
    }

    fn try_get_u16(&mut self) -> Result<u16, TryGetError> {
        let bytes = self.number(Kind::I16, |maker, _| maker.random.next() as i64);
        Ok(u16::from_be_bytes(bytes))
    }

    fn try_get_i32(&mut self) -> Result<i32, TryGetError> {
        let bytes = self.number(Kind::I32, |maker, is_refused| maker.small(is_refused));
        Ok(i32::from_be_bytes(bytes))
    }

    fn try_get_u32(&mut self) -> Result<u32, TryGetError> {
        let bytes = self.number(Kind::I32, |maker, _| maker.random.next() as i64);
        Ok(u32::from_be_bytes(bytes))
    }

    fn try_get_i64(&mut self) -> Result<i64, TryGetError> {
        let draw = |maker: &mut Self, _| match maker.random.below(4) {
            0 => maker.random.next() as i64,
            _ => maker.random.below(12) as i64 - 6,
        };
        Ok(i64::from_be_bytes(self.number(Kind::I64, draw)))
    }

    fn try_get_f64(&mut self) -> Result<f64, TryGetError> {
        let bytes = self.number(Kind::I64, |maker, _| maker.random.next() as i64);
        Ok(f64::from_be_bytes(bytes))
    }

    /// Of UUIDs.
    fn try_copy_to_slice(&mut self, to: &mut [u8]) -> Result<(), TryGetError> {
        let len = to.len();
        let make = |maker: &mut Self, _| {
            let id = match maker.random.below(6) {
                0 => Uuid::nil(),
                1 => Uuid::max(),
                2 => Uuid::from_u128(maker.random.next().into()),
                _ => maker.words.topic_id,
            };
            id.as_bytes().iter().copied().cycle().take(len).collect()
        };
        to.copy_from_slice(self.read(len, Kind::Uuid, make));
        Ok(())
    }
}

impl ByteBuf for Maker<'_> {
    fn peek_bytes(&mut self, _: Range<usize>) -> Bytes {
        unreachable!("decoders of requests don't look ahead")
    }

    fn get_bytes(&mut self, size: usize) -> Bytes {
        self.content(size)
    }
}
