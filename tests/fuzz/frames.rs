//! Frames one after the other, from a seed: which API, which version, which body, how it is damaged.

use std::collections::VecDeque;
use std::rc::Rc;

use bytes::{BufMut, Bytes};
use kafka_protocol::messages::ApiKey;

use crate::apis::{self, APIS, Api};
use crate::damage::damage;
use crate::random::Random;
use crate::schema::{Body, SCHEMAS, Words};

/// One frame of so many is not damaged.
const SOUND_IN: u64 = 2;
/// One of so many has a damaged header, one an API or version that nobody serves.
const BAD_HEADER_IN: u64 = 40;
const UNSERVED_IN: u64 = 400;
/// One of so many bodies is not made, but taken from those that other tests send.
const SAMPLE_IN: u64 = 8;
/// Bodies that are remembered to take pieces of.
const OTHERS_MAX: usize = 64;

/// One frame of so many is of these, which have the most behind them.
const OFTEN_IN: u64 = 4;
const OFTEN: [ApiKey; 6] = [
    ApiKey::Produce,
    ApiKey::Fetch,
    ApiKey::JoinGroup,
    ApiKey::SyncGroup,
    ApiKey::OffsetCommit,
    ApiKey::ConsumerGroupHeartbeat,
];

/// A request, and what may become of it.
pub struct Frame {
    pub key: i16,
    pub version: i16,
    /// With the length in front.
    pub bytes: Bytes,
    /// Of [`APIS`]; none if nobody can know what a reply looks like.
    pub api: Option<&'static Api>,
    /// The schema allows it, so it has to be answered.
    pub is_sound: bool,
    pub wants_no_reply: bool,
}

/// Versions that are served, in the order of [`APIS`].
pub type Versions = Vec<(i16, i16)>;

pub struct Frames {
    random: Random,
    words: Rc<Words>,
    versions: Rc<Versions>,
    others: VecDeque<Vec<u8>>,
}

impl Frames {
    pub fn new(seed: u64, words: Rc<Words>, versions: Rc<Versions>, others: Vec<Vec<u8>>) -> Self {
        Self {
            random: Random::new(seed),
            words,
            versions,
            others: others.into(),
        }
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.random.below(end)
    }

    pub fn next(&mut self, correlation: i32) -> Frame {
        let random = &mut self.random;
        let mut at = random.below(APIS.len() as u64) as usize;
        if random.one_in(OFTEN_IN) {
            let key = OFTEN[random.below(OFTEN.len() as u64) as usize] as i16;
            let place = APIS.iter().position(|api| api.key == key);
            at = place.expect("it is served");
        }
        let (api, (min, max)) = (&APIS[at], self.versions[at]);
        let version = min + random.below((max - min + 1) as u64) as i16;
        let mut body = match random.one_in(SAMPLE_IN) {
            true => {
                let samples = (api.samples)(version, self.words.topic_id);
                Body {
                    bytes: samples[random.below(samples.len() as u64) as usize].to_vec(),
                    fields: Vec::new(),
                }
            }
            false => (SCHEMAS[at].make)(&self.words, random, version),
        };
        let mut is_sound = random.one_in(SOUND_IN);
        if is_sound {
            match (SCHEMAS[at].as_of_a_client)(&body.bytes, version) {
                Some(bytes) => body.bytes = bytes,
                None => is_sound = false,
            }
        } else {
            let others = self.others.make_contiguous();
            damage(&mut body, others, random);
        }
        let header_version = (api.header_version)(version);
        let mut request = apis::request(api.key, version, header_version, correlation, &body.bytes);
        if self.others.len() == OTHERS_MAX {
            self.others.pop_front();
        }
        self.others.push_back(body.bytes);
        let mut known = Some(api);
        if random.one_in(BAD_HEADER_IN) {
            is_sound = false;
            let from = apis::AFTER_CORRELATION;
            let mut rest = Body {
                bytes: request.split_off(from),
                fields: Vec::new(),
            };
            damage(&mut rest, &[], random);
            request.extend(rest.bytes);
        } else if random.one_in(UNSERVED_IN) {
            (is_sound, known) = (false, None);
            let field = 2 * random.below(2) as usize;
            request[field..field + 2].copy_from_slice(&(random.next() as i16).to_be_bytes());
        }
        Frame::new(api.key, version, &request, known, is_sound)
    }
}

impl Frame {
    pub fn new(
        key: i16,
        version: i16,
        request: &[u8],
        api: Option<&'static Api>,
        is_sound: bool,
    ) -> Frame {
        let mut bytes = Vec::with_capacity(request.len() + 4);
        bytes.put_u32(request.len() as u32);
        bytes.extend(request);
        let bytes = Bytes::from(bytes);
        Frame {
            key,
            version,
            wants_no_reply: apis::wants_no_reply(&bytes.slice(4..)),
            bytes,
            api,
            is_sound,
        }
    }
}
