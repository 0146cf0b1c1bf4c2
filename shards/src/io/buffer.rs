//! Memory for direct I/O: aligned to 4 KiB, owned by one shard.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use ::glommio::io::{DmaBuffer as GlommioBuffer, ReadResult};

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

/// A buffer to write from, or what a read brought. Stays on its shard.
pub struct DmaBuffer {
    storage: Storage,
}

pub(super) enum Storage {
    Glommio(GlommioBuffer),
    Read(ReadResult),
    Memory(Memory),
}

impl DmaBuffer {
    pub(super) fn from_glommio(buffer: GlommioBuffer) -> DmaBuffer {
        DmaBuffer {
            storage: Storage::Glommio(buffer),
        }
    }

    pub(super) fn from_read(read: ReadResult) -> DmaBuffer {
        DmaBuffer {
            storage: Storage::Read(read),
        }
    }

    pub(super) fn from_memory(memory: Memory) -> DmaBuffer {
        DmaBuffer {
            storage: Storage::Memory(memory),
        }
    }

    pub(super) fn into_storage(self) -> Storage {
        self.storage
    }
}

impl Deref for DmaBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.storage {
            Storage::Glommio(buffer) => buffer.as_bytes(),
            Storage::Read(read) => read,
            Storage::Memory(memory) => memory.as_slice(),
        }
    }
}

impl DerefMut for DmaBuffer {
    /// Copies first if the bytes are those of a read, which glommio gives out for
    /// reading alone.
    fn deref_mut(&mut self) -> &mut [u8] {
        if let Storage::Read(read) = &self.storage {
            let mut copy = ::glommio::allocate_dma_buffer(read.len());
            copy.as_bytes_mut().copy_from_slice(read);
            self.storage = Storage::Glommio(copy);
        }
        match &mut self.storage {
            Storage::Glommio(buffer) => buffer.as_bytes_mut(),
            Storage::Read(_) => unreachable!("replaced by a copy above"),
            Storage::Memory(memory) => memory.as_mut_slice(),
        }
    }
}

/// Aligned memory from the allocator, for the simulated disk.
pub(super) struct Memory {
    start: NonNull<u8>,
    layout: Layout,
}

#[allow(unsafe_code)]
impl Memory {
    pub(super) fn zeroed(len: usize) -> Memory {
        let layout = Layout::from_size_align(len, BLOCK).expect("a buffer fits the address space");
        if len == 0 {
            return Memory {
                start: NonNull::dangling(),
                layout,
            };
        }
        // SAFETY: the layout's size is not zero.
        let start = unsafe { alloc_zeroed(layout) };
        let Some(start) = NonNull::new(start) else {
            handle_alloc_error(layout)
        };
        Memory { start, layout }
    }

    fn as_slice(&self) -> &[u8] {
        // SAFETY: `start` points to `layout.size()` initialised bytes of ours.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.layout.size()) }
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `&mut self` makes it the only access.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.layout.size()) }
    }
}

#[allow(unsafe_code)]
impl Drop for Memory {
    fn drop(&mut self) {
        if self.layout.size() > 0 {
            // SAFETY: allocated in `zeroed` with this layout, freed once.
            unsafe { dealloc(self.start.as_ptr(), self.layout) }
        }
    }
}
