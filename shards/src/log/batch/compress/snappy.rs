//! Snappy, bare or in xerial's framing, decoded a little at a time.
//!
//! A bare block is as large as its batch, and the `snap` crate decodes a block in one go; this decoder
//! stops wherever it is told to.

/// What SnappyOutputStream of snappy-java puts in front: magic, version 1, readable by version 1.
pub const XERIAL_HEADER: [u8; 16] = [
    0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1,
];
const XERIAL_MAGIC_BYTES: usize = 8;

/// No element of the format says more: three bytes that copy 64.
const EXPANSION_MAX: usize = 22;
/// Short pieces are copied as one word, whatever their length, so there is always room for one.
const WORD: usize = 16;
/// No element copies more.
const COPY_BYTES_MAX: usize = 64;

pub struct SnappyReader<'a> {
    /// Blocks not yet begun.
    input: &'a [u8],
    framed: bool,
    block: Block<'a>,
    /// How much of the block's output was handed out.
    delivered: usize,
}

impl<'a> SnappyReader<'a> {
    pub fn new(input: &'a [u8]) -> Self {
        let framed = input.len() >= XERIAL_HEADER.len()
            && input.starts_with(&XERIAL_HEADER[..XERIAL_MAGIC_BYTES]);
        Self {
            input,
            framed,
            block: Block::default(),
            delivered: 0,
        }
    }

    pub fn read(&mut self, out: &mut [u8]) -> Result<usize, &'static str> {
        loop {
            let ready = self.block.output(self.delivered);
            if !ready.is_empty() {
                let count = ready.len().min(out.len());
                out[..count].copy_from_slice(&ready[..count]);
                self.delivered += count;
                return Ok(count);
            }
            if self.block.is_finished() {
                match self.next_block()? {
                    Some(block) => self.block.restart(block)?,
                    None => return Ok(0),
                }
                self.delivered = 0;
            } else {
                self.block.decode(self.delivered + out.len())?;
            }
        }
    }

    fn next_block(&mut self) -> Result<Option<&'a [u8]>, &'static str> {
        if self.input.is_empty() {
            return Ok(None);
        }
        if !self.framed {
            return Ok(Some(std::mem::take(&mut self.input)));
        }
        // Streams may follow each other, each with its header.
        while self.input.starts_with(&XERIAL_HEADER[..XERIAL_MAGIC_BYTES]) {
            self.input = self
                .input
                .get(XERIAL_HEADER.len()..)
                .ok_or("snappy header cut short")?;
        }
        if self.input.is_empty() {
            return Ok(None);
        }
        let (length, rest) = self
            .input
            .split_first_chunk()
            .ok_or("snappy block length cut short")?;
        let length = usize::try_from(i32::from_be_bytes(*length))
            .map_err(|_| "negative snappy block length")?;
        let (block, rest) = rest
            .split_at_checked(length)
            .ok_or("snappy block cut short")?;
        self.input = rest;
        Ok(Some(block))
    }
}

/// One block being decoded. All of its output stays, since later elements may copy from any of it.
#[derive(Default)]
struct Block<'a> {
    input: &'a [u8],
    /// Decoded bytes up to `produced`, then scratch.
    buffer: Vec<u8>,
    produced: usize,
    expected: usize,
    /// What is still missing of a literal that was begun.
    literal_left: usize,
}

impl<'a> Block<'a> {
    fn restart(&mut self, block: &'a [u8]) -> Result<(), &'static str> {
        let (expected, input) = read_length(block)?;
        if expected > block.len() * EXPANSION_MAX {
            return Err("snappy block cannot hold what it claims");
        }
        self.input = input;
        self.produced = 0;
        self.expected = expected;
        self.literal_left = 0;
        Ok(())
    }

    fn is_finished(&self) -> bool {
        self.input.is_empty() && self.produced == self.expected
    }

    fn output(&self, from: usize) -> &[u8] {
        &self.buffer[from..self.produced.max(from)]
    }

    /// Decodes until at least `enough` bytes are there, or the block ends.
    fn decode(&mut self, enough: usize) -> Result<(), &'static str> {
        const CUT_SHORT: &str = "snappy block cut short";
        const TOO_LONG: &str = "snappy block is longer than it claims";
        let enough = enough.min(self.expected);
        self.make_room(enough);
        let (buffer, mut input, mut at) = (&mut self.buffer[..], self.input, self.produced);
        if at == self.expected {
            return Err(TOO_LONG);
        }
        while at < enough {
            if self.literal_left > 0 {
                let count = self.literal_left.min(enough - at);
                let (literal, rest) = input.split_at_checked(count).ok_or(CUT_SHORT)?;
                buffer[at..at + count].copy_from_slice(literal);
                self.literal_left -= count;
                input = rest;
                at += count;
                continue;
            }
            let (tag, rest) = input.split_first().ok_or(CUT_SHORT)?;
            let high = usize::from(tag >> 2);
            let (length, distance) = match tag & 3 {
                0 => {
                    let extra = high.saturating_sub(59);
                    let (bytes, rest) = rest.split_at_checked(extra).ok_or(CUT_SHORT)?;
                    let length = if extra == 0 {
                        high
                    } else {
                        little_endian(bytes)
                    } + 1;
                    if length > self.expected - at {
                        return Err(TOO_LONG);
                    }
                    match rest.first_chunk::<WORD>() {
                        Some(word) if length <= WORD => {
                            buffer[at..at + WORD].copy_from_slice(word);
                            input = &rest[length..];
                            at += length;
                        }
                        _ => {
                            self.literal_left = length;
                            input = rest;
                        }
                    }
                    continue;
                }
                1 => {
                    let (low, rest) = rest.split_first().ok_or(CUT_SHORT)?;
                    input = rest;
                    (
                        (high & 7) + 4,
                        usize::from(tag >> 5) << 8 | usize::from(*low),
                    )
                }
                2 => {
                    let (bytes, rest) = rest.split_first_chunk().ok_or(CUT_SHORT)?;
                    input = rest;
                    (high + 1, u16::from_le_bytes(*bytes).into())
                }
                _ => {
                    let (bytes, rest) = rest.split_first_chunk().ok_or(CUT_SHORT)?;
                    input = rest;
                    (high + 1, u32::from_le_bytes(*bytes) as usize)
                }
            };
            if distance == 0 || distance > at {
                return Err("snappy copy from before the start");
            }
            if length > self.expected - at {
                return Err(TOO_LONG);
            }
            copy(buffer, at, distance, length);
            at += length;
        }
        (self.input, self.produced) = (input, at);
        Ok(())
    }

    /// For as many bytes as are about to be decoded, never for as many as are claimed.
    fn make_room(&mut self, enough: usize) {
        let needed = enough + COPY_BYTES_MAX + WORD;
        if needed > self.buffer.len() {
            let doubled = needed.max(self.buffer.len() * 2);
            let all = self.expected + COPY_BYTES_MAX + WORD;
            self.buffer.resize(doubled.min(all), 0);
        }
    }
}

/// Repeats the `length` bytes that begin `distance` before `at`; there is room for a word more.
#[inline]
fn copy(buffer: &mut [u8], at: usize, distance: usize, length: usize) {
    let from = at - distance;
    if distance >= WORD {
        let buffer = &mut buffer[from..at + length + WORD];
        for done in (0..length).step_by(WORD) {
            buffer.copy_within(done..done + WORD, distance + done);
        }
    } else {
        // The copy feeds on itself: a pattern of `distance` bytes, repeated.
        let buffer = &mut buffer[from..at + length];
        for index in distance..distance + length {
            buffer[index] = buffer[index - distance];
        }
    }
}

/// A block begins with the length it has when decompressed.
fn read_length(block: &[u8]) -> Result<(usize, &[u8]), &'static str> {
    let mut length = 0;
    for (index, byte) in block.iter().take(5).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * index);
        if *byte < 0x80 {
            return Ok((length, &block[index + 1..]));
        }
    }
    Err("endless snappy length")
}

fn little_endian(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .rev()
        .fold(0, |value, byte| value << 8 | usize::from(*byte))
}
