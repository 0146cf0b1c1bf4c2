//! A chunk of memory that grows at its end under one writer while any number of
//! readers, on any core, hold slices of what is there already.
//!
//! Bytes below the length never change and never move, so a slice is a reference
//! count and not a copy. The memory lives as long as the last slice of it.

#![allow(unsafe_code)]

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;

use bytes::Bytes;

struct Chunk {
    memory: NonNull<u8>,
    layout: Layout,
}

// SAFETY: a chunk is plain memory. Only its one `AppendBuf` writes to it, and only
// past the bytes that slices were given out for; slices are only read. A slice
// reaches another thread through something that orders memory (a lane, a channel).
unsafe impl Send for Chunk {}
// SAFETY: as above.
unsafe impl Sync for Chunk {}

impl Drop for Chunk {
    fn drop(&mut self) {
        // SAFETY: allocated in `AppendBuf::new` with this layout, freed once.
        unsafe { dealloc(self.memory.as_ptr(), self.layout) }
    }
}

/// The writer of a chunk. See the module.
pub struct AppendBuf {
    chunk: Arc<Chunk>,
    len: usize,
}

impl AppendBuf {
    /// A chunk with room for `capacity` bytes, which must not be zero.
    pub fn new(capacity: usize) -> AppendBuf {
        assert!(capacity > 0, "a chunk needs room");
        let layout = Layout::array::<u8>(capacity).expect("a chunk fits the address space");
        // SAFETY: the layout's size is not zero.
        let memory = unsafe { alloc(layout) };
        let Some(memory) = NonNull::new(memory) else {
            handle_alloc_error(layout)
        };
        AppendBuf {
            chunk: Arc::new(Chunk { memory, layout }),
            len: 0,
        }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn capacity(&self) -> usize {
        self.chunk.layout.size()
    }

    pub fn remaining(&self) -> usize {
        self.capacity() - self.len
    }

    /// Copies `bytes` to the end. Panics if there is no room for them.
    pub fn append(&mut self, bytes: &[u8]) {
        assert!(
            bytes.len() <= self.remaining(),
            "{} bytes do not fit into the {} that remain",
            bytes.len(),
            self.remaining()
        );
        // SAFETY: the target lies inside the allocation, as just asserted. No slice
        // covers it, since slices end at `len`; `bytes`, being readable as a slice,
        // cannot overlap it either. `&mut self` excludes a second writer.
        unsafe {
            let target = self.chunk.memory.as_ptr().add(self.len);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), target, bytes.len());
        }
        self.len += bytes.len();
    }

    /// The bytes in `range` without copying them; keeps the whole chunk alive.
    pub fn slice(&self, range: Range<usize>) -> Bytes {
        assert!(
            range.start <= range.end && range.end <= self.len,
            "{range:?} is not within the {} bytes written",
            self.len
        );
        if range.is_empty() {
            return Bytes::new();
        }
        Bytes::from_owner(Written {
            chunk: Arc::clone(&self.chunk),
            range,
        })
    }
}

impl AsRef<[u8]> for AppendBuf {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: everything below `len` was written and is not written again.
        unsafe { std::slice::from_raw_parts(self.chunk.memory.as_ptr(), self.len) }
    }
}

/// Part of a chunk that was written before this value was made.
struct Written {
    chunk: Arc<Chunk>,
    range: Range<usize>,
}

impl AsRef<[u8]> for Written {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: `AppendBuf::slice` checked the range against what was written, and
        // those bytes are never written again.
        unsafe {
            let start = self.chunk.memory.as_ptr().add(self.range.start);
            std::slice::from_raw_parts(start, self.range.len())
        }
    }
}
