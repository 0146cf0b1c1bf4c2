//! Memory for direct I/O: aligned to 4 KiB. What a read brought may be handed to other shards.

use std::alloc::{Layout, alloc, alloc_zeroed, dealloc, handle_alloc_error};
use std::ops::{Deref, DerefMut, Range};
use std::ptr::NonNull;

use bytes::Bytes;

/// What positions and lengths of direct I/O are multiples of.
pub const BLOCK: usize = 4096;

/// `len` rounded up to whole blocks.
pub const fn align_up(len: u64) -> u64 {
    len.next_multiple_of(BLOCK as u64)
}

/// `len` rounded down to whole blocks.
pub const fn align_down(len: u64) -> u64 {
    len - len % BLOCK as u64
}

/// A buffer to write from, or what a read brought.
pub struct DmaBuffer {
    start: NonNull<u8>,
    layout: Layout,
    /// Bytes that are initialised, from the start on.
    len: usize,
}

// SAFETY: it alone owns its memory, and changes it only by `&mut self`.
#[allow(unsafe_code)]
unsafe impl Send for DmaBuffer {}
// SAFETY: as above.
#[allow(unsafe_code)]
unsafe impl Sync for DmaBuffer {}

#[allow(unsafe_code)]
impl DmaBuffer {
    pub(super) fn zeroed(len: usize) -> DmaBuffer {
        // SAFETY: `allocated` never asks for nothing.
        DmaBuffer::allocated(len, len, |layout| unsafe { alloc_zeroed(layout) })
    }

    /// Without bytes yet, and with room for a read of up to `capacity`.
    pub(super) fn for_read(capacity: usize) -> DmaBuffer {
        // SAFETY: `allocated` never asks for nothing.
        DmaBuffer::allocated(capacity, 0, |layout| unsafe { alloc(layout) })
    }

    fn allocated(capacity: usize, len: usize, allocate: fn(Layout) -> *mut u8) -> DmaBuffer {
        let layout = Layout::from_size_align(capacity, BLOCK);
        let layout = layout.expect("a buffer fits the address space");
        let start = match capacity {
            0 => NonNull::dangling(),
            _ => NonNull::new(allocate(layout)).unwrap_or_else(|| handle_alloc_error(layout)),
        };
        DmaBuffer { start, layout, len }
    }

    /// Where a read puts its bytes.
    pub(super) fn as_room(&mut self) -> (*mut u8, usize) {
        (self.start.as_ptr(), self.layout.size())
    }

    /// A part of it, which keeps the whole, unless that is more than twice as much.
    pub fn into_bytes(self, part: Range<usize>) -> Bytes {
        if self.layout.size() > 2 * part.len() {
            return Bytes::copy_from_slice(&self[part]);
        }
        Bytes::from_owner(self).slice(part)
    }

    /// # Safety
    /// The first `len` bytes of the room were written.
    pub(super) unsafe fn has_read(&mut self, len: usize) {
        debug_assert!(len <= self.layout.size());
        self.len = len;
    }
}

#[allow(unsafe_code)]
impl Deref for DmaBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `start` points to `len` initialised bytes of ours.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl AsRef<[u8]> for DmaBuffer {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

#[allow(unsafe_code)]
impl DerefMut for DmaBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `&mut self` makes it the only access.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

#[allow(unsafe_code)]
impl Drop for DmaBuffer {
    fn drop(&mut self) {
        if self.layout.size() > 0 {
            // SAFETY: allocated with this layout, freed once.
            unsafe { dealloc(self.start.as_ptr(), self.layout) }
        }
    }
}
