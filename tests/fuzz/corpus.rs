//! Frames that are kept: for each API in its oldest and its newest version, those that the broker took in ways of their
//! own. One on a line: key, version and the request from its header on, in hexadecimal.
//!
//! A frame that found something belongs here, too, under a comment that says what.

use std::collections::BTreeMap;

use crate::apis::APIS;
use crate::frames::Frame;

const KEPT: &str = include_str!("corpus/frames.txt");
/// Longer ones are not kept.
const FRAME_BYTES_MAX: usize = 160;
const CORRELATION_AT: usize = 4;

/// The frames of the corpus, numbered from `first_id`.
pub fn kept(first_id: i32) -> Vec<Frame> {
    let lines = KEPT
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    (first_id..)
        .zip(lines)
        .map(|(id, line)| read(id, line))
        .collect()
}

fn read(id: i32, line: &str) -> Frame {
    let mut words = line.split(' ');
    let mut word = || words.next().unwrap_or_else(|| panic!("cut short: {line}"));
    let (key, version) = (number(word()), number(word()));
    let hex = word();
    let digits = (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16));
    let mut request: Vec<u8> = digits.map(|byte| byte.expect("hexadecimal")).collect();
    request[CORRELATION_AT..CORRELATION_AT + 4].copy_from_slice(&id.to_be_bytes());
    let is_as_named = request[..4] == [key.to_be_bytes(), version.to_be_bytes()].concat();
    let api = APIS.iter().find(|api| api.key == key && is_as_named);
    Frame::new(key, version, &request, api, false)
}

fn number(word: &str) -> i16 {
    word.parse().unwrap_or_else(|_| panic!("no number: {word}"))
}

/// Frames, one for each way to be taken: by API, version, and about how long the reply is (none where it was closed).
#[derive(Default)]
pub struct Collection {
    frames: BTreeMap<(i16, i16, u32), Vec<u8>>,
}

impl Collection {
    pub fn see(&mut self, frame: &Frame, reply_bytes: usize) {
        let way = (
            frame.key,
            frame.version,
            usize::BITS - reply_bytes.leading_zeros(),
        );
        if frame.bytes.len() > FRAME_BYTES_MAX || frame.api.is_none() {
            return;
        }
        let is_shorter = |kept: &Vec<u8>| frame.bytes.len() - 4 < kept.len();
        if self.frames.get(&way).is_none_or(is_shorter) {
            self.frames.insert(way, frame.bytes[4..].to_vec());
        }
    }

    /// As the corpus is written.
    pub fn text(&self) -> String {
        let line = |((key, version, _), request): (&(i16, i16, u32), &Vec<u8>)| {
            let hex: String = request.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{key} {version} {hex}\n")
        };
        let mut text = String::new();
        for key in self
            .frames
            .keys()
            .map(|(key, ..)| *key)
            .collect::<std::collections::BTreeSet<_>>()
        {
            let of_key = || self.frames.iter().filter(move |((it, ..), _)| *it == key);
            let versions = of_key().map(|((_, version, _), _)| *version);
            let ends = [versions.clone().min(), versions.max()].map(Option::unwrap_or_default);
            text.extend(
                of_key()
                    .filter(|((_, version, _), _)| ends.contains(version))
                    .map(line),
            );
        }
        text
    }
}
