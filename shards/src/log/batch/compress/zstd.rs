//! Zstandard, with contexts that are used again.
//!
//! Making a context costs more than decompressing a small batch with it: more than 100 KiB are mapped and
//! touched anew each time.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use zstd::stream::raw::{Decoder, InBuffer, Operation, OutBuffer};

/// Contexts that wait for their next batch; a shard has one pool. A clone is the same pool.
#[derive(Clone, Default)]
pub struct DecoderPool {
    idle: Rc<RefCell<Vec<Decoder<'static>>>>,
}

impl DecoderPool {
    const IDLE_MAX: usize = 4;
    /// A context keeps the memory that its largest frame touched, so those of large ones are given up.
    const DECODED_BYTES_MAX: usize = 8 << 20;

    fn take(&self) -> io::Result<Decoder<'static>> {
        match self.idle.borrow_mut().pop() {
            Some(decoder) => Ok(decoder),
            None => Decoder::new(),
        }
    }

    fn give_back(&self, mut decoder: Decoder<'static>) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() < Self::IDLE_MAX && decoder.reinit().is_ok() {
            idle.push(decoder);
        }
    }
}

pub struct ZstdReader<'a> {
    input: &'a [u8],
    /// None only while it is dropped.
    decoder: Option<Decoder<'static>>,
    pool: DecoderPool,
    in_frame: bool,
    failed: bool,
    decoded_bytes: usize,
}

impl<'a> ZstdReader<'a> {
    pub fn new(input: &'a [u8], pool: &DecoderPool) -> io::Result<Self> {
        Ok(Self {
            input,
            decoder: Some(pool.take()?),
            pool: pool.clone(),
            in_frame: false,
            failed: false,
            decoded_bytes: 0,
        })
    }

    /// Frames may follow each other.
    pub fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let decoder = self.decoder.as_mut().expect("there until dropped");
        while self.in_frame || !self.input.is_empty() {
            let mut from = InBuffer::around(self.input);
            let mut to = OutBuffer::around(&mut *out);
            let result = decoder.run(&mut from, &mut to);
            let (consumed, count) = (from.pos(), to.pos());
            self.failed = result.is_err();
            self.in_frame = result? > 0;
            self.input = &self.input[consumed..];
            self.decoded_bytes += count;
            if count > 0 {
                return Ok(count);
            }
            if consumed == 0 {
                self.failed = true;
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(0)
    }
}

impl Drop for ZstdReader<'_> {
    fn drop(&mut self) {
        if let Some(decoder) = self.decoder.take()
            && !self.failed
            && self.decoded_bytes <= DecoderPool::DECODED_BYTES_MAX
        {
            self.pool.give_back(decoder);
        }
    }
}
