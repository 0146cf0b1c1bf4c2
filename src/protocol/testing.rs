//! What the tests of the codecs share: a seeded source of randomness and damage.

use bytes::{Buf, Bytes};
use kafka_protocol::messages::ResponseHeader;
use kafka_protocol::protocol::Decodable;

use super::header::RequestHeader;
use super::reply::Reply;

/// xorshift64*: small, seeded, good enough to damage messages.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn draw(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.draw() >> 16) as usize % limit
    }

    /// Up to `len_max` bytes.
    pub fn bytes(&mut self, len_max: usize) -> Vec<u8> {
        let len = self.below(len_max + 1);
        (0..len).map(|_| self.draw() as u8).collect()
    }

    /// A copy with a few bytes changed, removed, added or cut off.
    pub fn damaged(&mut self, message: &[u8]) -> Bytes {
        let mut bytes = message.to_vec();
        for _ in 0..1 + self.below(4) {
            if bytes.is_empty() {
                break;
            }
            let at = self.below(bytes.len());
            match self.below(6) {
                0 => bytes.truncate(at),
                1 => {
                    bytes.remove(at);
                }
                2 => bytes.insert(at, self.draw() as u8),
                3 => bytes[at] = 0xff,
                4 => {
                    for byte in bytes.iter_mut().skip(at).take(5) {
                        *byte = [0x7f, 0xff][self.0 as usize & 1];
                    }
                }
                _ => bytes[at] ^= 1 << self.below(8),
            }
        }
        Bytes::from(bytes)
    }
}

/// The body of a reply, once its length prefix and header have been checked.
pub fn reply_body(request: &RequestHeader, reply: &Reply) -> Bytes {
    let mut frame = reply.to_bytes();
    assert_eq!(frame.len(), reply.len());
    assert_eq!(frame.get_i32() as usize, frame.len());
    let version = request.api_key.response_header_version(request.api_version);
    let header = ResponseHeader::decode(&mut frame, version).expect("a reply has a header");
    assert_eq!(header.correlation_id, request.correlation_id);
    frame
}
