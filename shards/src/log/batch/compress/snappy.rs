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
/// Room kept behind the output, so that short pieces are copied as one machine word pair.
const SLACK: usize = 16;
/// The output grows by at least this much, as bytes are really decoded.
const GROWTH_BYTES: usize = 64 * 1024;

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
}

impl<'a> Block<'a> {
    fn restart(&mut self, block: &'a [u8]) -> Result<(), &'static str> {
        let mut expected = 0usize;
        let mut at = 0;
        loop {
            let byte = *block.get(at).ok_or("snappy length cut short")?;
            if at == 5 {
                return Err("endless snappy length");
            }
            expected |= usize::from(byte & 0x7f) << (7 * at);
            at += 1;
            if byte < 0x80 {
                break;
            }
        }
        if expected > block.len() * EXPANSION_MAX {
            return Err("snappy block cannot hold what it claims");
        }
        self.input = &block[at..];
        self.produced = 0;
        self.expected = expected;
        if self.input.is_empty() && expected > 0 {
            return Err("snappy block cut short");
        }
        Ok(())
    }

    fn is_finished(&self) -> bool {
        self.input.is_empty()
    }

    fn output(&self, from: usize) -> &[u8] {
        &self.buffer[from..self.produced.max(from)]
    }

    /// Decodes until at least `enough` bytes are there, or the block ends.
    fn decode(&mut self, enough: usize) -> Result<(), &'static str> {
        const CUT_SHORT: &str = "snappy element cut short";
        while self.produced < enough && !self.input.is_empty() {
            let tag = self.input[0];
            let rest = &self.input[1..];
            let high = usize::from(tag >> 2);
            self.input = match tag & 3 {
                0 if high < 60 => self.literal(high + 1, rest)?,
                0 => {
                    let extra = high - 59;
                    let (bytes, rest) = rest.split_at_checked(extra).ok_or(CUT_SHORT)?;
                    self.literal(little_endian(bytes) + 1, rest)?
                }
                1 => {
                    let (low, rest) = rest.split_first().ok_or(CUT_SHORT)?;
                    self.copy(
                        usize::from(tag >> 5) << 8 | usize::from(*low),
                        (high & 7) + 4,
                    )?;
                    rest
                }
                kind => {
                    let (bytes, rest) = rest
                        .split_at_checked(if kind == 2 { 2 } else { 4 })
                        .ok_or(CUT_SHORT)?;
                    self.copy(little_endian(bytes), high + 1)?;
                    rest
                }
            };
        }
        if self.input.is_empty() && self.produced != self.expected {
            return Err("snappy block is shorter than it claims");
        }
        Ok(())
    }

    #[inline]
    fn literal(&mut self, length: usize, rest: &'a [u8]) -> Result<&'a [u8], &'static str> {
        let at = self.grow(length)?;
        match rest.first_chunk::<SLACK>() {
            Some(word) if length <= SLACK => self.buffer[at..at + SLACK].copy_from_slice(word),
            _ => {
                let literal = rest.get(..length).ok_or("snappy literal cut short")?;
                self.buffer[at..at + length].copy_from_slice(literal);
            }
        }
        Ok(&rest[length..])
    }

    #[inline]
    fn copy(&mut self, distance: usize, length: usize) -> Result<(), &'static str> {
        if distance == 0 || distance > self.produced {
            return Err("snappy copy from before the start");
        }
        let at = self.grow(length)?;
        let from = at - distance;
        if distance >= SLACK && length <= SLACK {
            self.buffer.copy_within(from..from + SLACK, at);
        } else if distance >= length {
            self.buffer.copy_within(from..from + length, at);
        } else {
            // The copy feeds on itself: a pattern of `distance` bytes, repeated.
            for index in 0..length {
                self.buffer[at + index] = self.buffer[from + index];
            }
        }
        Ok(())
    }

    /// Makes room for `length` more bytes, which the caller writes, and returns where they go.
    #[inline]
    fn grow(&mut self, length: usize) -> Result<usize, &'static str> {
        let at = self.produced;
        if length > self.expected - at {
            return Err("snappy block is longer than it claims");
        }
        self.produced += length;
        let needed = self.produced + SLACK;
        if needed > self.buffer.len() {
            let doubled = (self.buffer.len() * 2).max(needed + GROWTH_BYTES);
            self.buffer.resize(doubled.min(self.expected + SLACK), 0);
        }
        Ok(at)
    }
}

fn little_endian(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .rev()
        .fold(0, |value, byte| value << 8 | usize::from(*byte))
}
