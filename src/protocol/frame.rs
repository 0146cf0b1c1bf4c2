//! Cuts the bytes of a connection into frames: four bytes of length, then the request.
//!
//! Small frames are slices of the receive buffer: many of them come with one read and cost no copy.
//! A large frame gets a buffer of exactly its size, so that its records lie in one piece and pin
//! nothing else. Between frames nothing is held: an idle connection has no buffer.
//!
//! A claimed length is checked against the limit before anything is allocated. A frame whose bytes
//! are not all there and that is more than a few of them waits for [`FrameDecoder::begin`], by which
//! the caller says that it has accounted for its memory, or for the first part of it. Its buffer
//! grows with what is allowed, not with what is claimed.

use bytes::{Buf, Bytes, BytesMut};

const PREFIX_BYTES: usize = 4;
/// Frames above this get a buffer of their own.
const SMALL_FRAME_BYTES_MAX: usize = 64 * 1024;
/// Up to this a frame is just read: it fits what any read makes room for.
const UNANNOUNCED_BYTES_MAX: usize = RECEIVE_BYTES_MIN;
/// Room offered to the first read; doubled while reads fill it.
const RECEIVE_BYTES_MIN: usize = 4 * 1024;
const RECEIVE_BYTES_MAX: usize = 256 * 1024;

/// A length that no Kafka client sends. The connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameError {
    /// Zero or negative.
    NotPositive(i32),
    OverLimit {
        claimed: i32,
        limit: usize,
    },
}

impl std::fmt::Display for FrameError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            FrameError::NotPositive(claimed) => {
                write!(f, "a request claims a length of {claimed} bytes")
            }
            FrameError::OverLimit { claimed, limit } => write!(
                f,
                "a request claims a length of {claimed} bytes, over socket.request.max.bytes ({limit})"
            ),
        }
    }
}

impl std::error::Error for FrameError {}

/// What the bytes received so far hold at their front.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// A whole request, without its length prefix.
    Frame(Bytes),
    /// A frame of this many bytes is on its way. It needs [`FrameDecoder::begin`] before more of it
    /// may be read.
    Incoming(usize),
    /// All that was allowed of the frame in progress is there. It needs [`FrameDecoder::allow`]
    /// before more of it may be read.
    Full { allowed: usize, len: usize },
    /// More bytes are needed; at least this many before there is anything else to say.
    Missing(usize),
}

pub struct FrameDecoder {
    frame_bytes_max: usize,
    receive: BytesMut,
    receive_bytes: usize,
    /// The frame at the front of `receive` was allowed by `begin`.
    has_begun: bool,
    large: Option<Large>,
}

/// A large frame in progress. `body` has exactly room for what is allowed of it.
struct Large {
    body: BytesMut,
    allowed: usize,
    len: usize,
}

impl FrameDecoder {
    pub fn new(frame_bytes_max: usize) -> Self {
        Self {
            frame_bytes_max,
            receive: BytesMut::new(),
            receive_bytes: RECEIVE_BYTES_MIN,
            has_begun: false,
            large: None,
        }
    }

    pub fn next_frame(&mut self) -> Result<Next, FrameError> {
        if let Some(large) = &mut self.large {
            let (arrived, allowed, len) = (large.body.len(), large.allowed, large.len);
            if arrived < allowed {
                return Ok(Next::Missing(allowed - arrived));
            }
            if allowed < len {
                return Ok(Next::Full { allowed, len });
            }
            let mut body = self.large.take().expect("just seen").body;
            return Ok(Next::Frame(body.split().freeze()));
        }
        let Some(claimed) = self.receive.first_chunk::<PREFIX_BYTES>() else {
            return Ok(Next::Missing(PREFIX_BYTES - self.receive.len()));
        };
        let claimed = i32::from_be_bytes(*claimed);
        let len = match usize::try_from(claimed) {
            Err(_) | Ok(0) => return Err(FrameError::NotPositive(claimed)),
            Ok(len) if len > self.frame_bytes_max => {
                return Err(FrameError::OverLimit {
                    claimed,
                    limit: self.frame_bytes_max,
                });
            }
            Ok(len) => len,
        };
        let arrived = self.receive.len() - PREFIX_BYTES;
        if arrived >= len {
            self.has_begun = false;
            self.receive.advance(PREFIX_BYTES);
            return Ok(Next::Frame(self.receive.split_to(len).freeze()));
        }
        if len > UNANNOUNCED_BYTES_MAX && !self.has_begun {
            return Ok(Next::Incoming(len));
        }
        Ok(Next::Missing(len - arrived))
    }

    /// Allows the first `allowed` bytes of the frame at the front to be read, after
    /// [`Next::Incoming`]; all of them if it is a small one.
    pub fn begin(&mut self, len: usize, allowed: usize) {
        assert!(self.large.is_none() && self.receive.len() - PREFIX_BYTES < len);
        self.has_begun = true;
        if len > SMALL_FRAME_BYTES_MAX {
            self.receive.advance(PREFIX_BYTES);
            // What has arrived is held anyway.
            let allowed = allowed.max(self.receive.len()).min(len);
            let mut body = BytesMut::with_capacity(allowed);
            body.extend_from_slice(&self.receive);
            self.receive = BytesMut::new();
            self.has_begun = false;
            self.large = Some(Large { body, allowed, len });
        }
    }

    /// Allows so many more bytes of the frame in progress to be read, after [`Next::Full`].
    pub fn allow(&mut self, more: usize) {
        let large = self.large.as_mut().expect("a frame is in progress");
        large.allowed = (large.allowed + more).min(large.len);
        // By way of a vector: only that grows in place and by no more than it is told to.
        let mut body = Vec::from(std::mem::take(&mut large.body));
        body.reserve_exact(large.allowed - body.len());
        large.body = BytesMut::from(Bytes::from(body));
    }

    /// The buffer that the next read appends to, and for how many bytes it shall have room. To be
    /// followed by [`FrameDecoder::received`].
    pub fn buffer(&mut self) -> (&mut BytesMut, usize) {
        if let Some(large) = &mut self.large {
            let missing = large.allowed - large.body.len();
            return (&mut large.body, missing);
        }
        let wanted = match self.receive.first_chunk::<PREFIX_BYTES>() {
            // Room for the rest of a small frame in progress, wherever it has begun in the buffer.
            Some(claimed) => {
                let claimed = usize::try_from(i32::from_be_bytes(*claimed)).unwrap_or(0);
                PREFIX_BYTES + claimed.min(SMALL_FRAME_BYTES_MAX)
            }
            None => 0,
        };
        let room = wanted
            .max(self.receive_bytes)
            .saturating_sub(self.receive.len());
        (&mut self.receive, room.max(1))
    }

    /// Tells how many bytes the read appended; learns from it how much room to offer next time.
    pub fn received(&mut self, bytes: usize) {
        if let Some(large) = &mut self.large {
            // An allocator may round the room up: more may be there than was allowed, and what
            // follows the frame belongs to the next.
            large.allowed = large.allowed.max(large.body.len()).min(large.len);
            if large.body.len() > large.len {
                self.receive = large.body.split_off(large.len);
            }
        } else if bytes >= self.receive_bytes {
            self.receive_bytes = (self.receive_bytes * 2).min(RECEIVE_BYTES_MAX);
        } else if bytes < self.receive_bytes / 4 {
            self.receive_bytes = (self.receive_bytes / 2).max(RECEIVE_BYTES_MIN);
        }
    }

    /// Bytes that have arrived and are no frame yet.
    pub fn buffered(&self) -> usize {
        let large = self.large.as_ref();
        self.receive.len() + large.map_or(0, |large| large.body.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(decoder: &mut FrameDecoder, mut bytes: &[u8], step: usize) -> Vec<Bytes> {
        let mut frames = Vec::new();
        loop {
            match decoder.next_frame().expect("lengths are valid") {
                Next::Frame(frame) => frames.push(frame),
                Next::Incoming(len) => decoder.begin(len, 1 + len / 7),
                Next::Full { allowed, len } => {
                    assert!(allowed < len);
                    decoder.allow(allowed);
                }
                Next::Missing(missing) => {
                    assert!(missing > 0);
                    if bytes.is_empty() {
                        return frames;
                    }
                    let (buffer, room) = decoder.buffer();
                    assert!(room > 0);
                    buffer.reserve(room);
                    let room = buffer.capacity() - buffer.len();
                    let (now, later) = bytes.split_at(room.min(step).min(bytes.len()));
                    buffer.extend_from_slice(now);
                    decoder.received(now.len());
                    bytes = later;
                }
            }
        }
    }

    #[test]
    fn frames_come_out_as_they_went_in_however_they_are_cut() {
        let lens = [
            1, 5, 4_000, 4_096, 65_536, 65_537, 300_000, 2, 1_000_000, 17, 70_000, 90_000,
        ];
        let mut stream = Vec::new();
        for (i, len) in lens.iter().enumerate() {
            stream.extend_from_slice(&(*len as i32).to_be_bytes());
            stream.extend(std::iter::repeat_n(i as u8, *len));
        }
        for step in [1, 3, 1_000, 65_536, usize::MAX] {
            let mut decoder = FrameDecoder::new(1_000_000);
            let frames = feed(&mut decoder, &stream, step);
            assert_eq!(frames.len(), lens.len());
            for (i, (frame, len)) in frames.iter().zip(lens).enumerate() {
                assert_eq!(frame.len(), len);
                assert!(frame.iter().all(|byte| *byte == i as u8));
            }
            assert_eq!(decoder.buffered(), 0);
        }
    }

    #[test]
    fn lengths_that_nobody_means_are_errors() {
        for (claimed, expected) in [
            (0, FrameError::NotPositive(0)),
            (-1, FrameError::NotPositive(-1)),
            (i32::MIN, FrameError::NotPositive(i32::MIN)),
            (
                101,
                FrameError::OverLimit {
                    claimed: 101,
                    limit: 100,
                },
            ),
            (
                i32::MAX,
                FrameError::OverLimit {
                    claimed: i32::MAX,
                    limit: 100,
                },
            ),
        ] {
            let mut decoder = FrameDecoder::new(100);
            feed_prefix(&mut decoder, claimed);
            assert_eq!(decoder.next_frame(), Err(expected));
        }
    }

    fn feed_prefix(decoder: &mut FrameDecoder, claimed: i32) {
        decoder
            .buffer()
            .0
            .extend_from_slice(&i32::to_be_bytes(claimed));
        decoder.received(4);
    }

    #[test]
    fn a_claim_costs_nothing_before_it_is_allowed() {
        let mut decoder = FrameDecoder::new(usize::MAX);
        feed_prefix(&mut decoder, i32::MAX);
        assert_eq!(decoder.next_frame(), Ok(Next::Incoming(i32::MAX as usize)));
        assert!(decoder.receive.capacity() <= RECEIVE_BYTES_MIN);
    }

    #[test]
    fn a_frame_costs_what_is_allowed_of_it() {
        let mut decoder = FrameDecoder::new(usize::MAX);
        feed_prefix(&mut decoder, 100 << 20);
        let len = 100 << 20;
        assert_eq!(decoder.next_frame(), Ok(Next::Incoming(len)));
        decoder.begin(len, 64 << 10);
        let held = |decoder: &FrameDecoder| {
            let large = decoder.large.as_ref().expect("in progress");
            decoder.receive.capacity() + large.body.capacity()
        };
        assert_eq!(held(&decoder), 64 << 10);
        assert_eq!(decoder.next_frame(), Ok(Next::Missing(64 << 10)));
        let (buffer, room) = decoder.buffer();
        buffer.extend_from_slice(&vec![0; room]);
        decoder.received(room);
        let allowed = 64 << 10;
        assert_eq!(decoder.next_frame(), Ok(Next::Full { allowed, len }));
        decoder.allow(allowed);
        assert_eq!(held(&decoder), 128 << 10);
    }

    #[test]
    fn only_frames_of_some_size_ask_to_begin() {
        let mut decoder = FrameDecoder::new(usize::MAX);
        feed_prefix(&mut decoder, 4_096);
        assert_eq!(decoder.next_frame(), Ok(Next::Missing(4_096)));
        let mut decoder = FrameDecoder::new(usize::MAX);
        feed_prefix(&mut decoder, 4_097);
        assert_eq!(decoder.next_frame(), Ok(Next::Incoming(4_097)));
        decoder.begin(4_097, 4_097);
        assert_eq!(decoder.next_frame(), Ok(Next::Missing(4_097)));
    }
}
