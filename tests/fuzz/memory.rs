//! What each thread allocates. A world is one thread, so this is what a broker holds, with its clients and its disk.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, counted.
pub struct Counting;

thread_local! {
    static COUNTS: Cell<Counts> = const {
        Cell::new(Counts {
            held: 0,
            held_max: 0,
            largest: 0,
        })
    };
}

/// In bytes.
#[derive(Clone, Copy, Debug)]
pub struct Counts {
    /// Less than zero where another thread's allocations were freed here.
    pub held: isize,
    /// The most since it was last asked for.
    pub held_max: isize,
    /// The largest allocation since it was last asked for.
    pub largest: usize,
}

/// The counts of this thread. Maxima begin anew.
pub fn take() -> Counts {
    let counts = COUNTS.get();
    COUNTS.set(Counts {
        held: counts.held,
        held_max: counts.held,
        largest: 0,
    });
    counts
}

fn count(allocated: usize, freed: usize) {
    // A thread that ends may allocate when its counts are gone.
    let _ = COUNTS.try_with(|counts| {
        let Counts {
            held,
            held_max,
            largest,
        } = counts.get();
        let held = held + allocated as isize - freed as isize;
        counts.set(Counts {
            held,
            held_max: held_max.max(held),
            largest: largest.max(allocated),
        });
    });
}

#[expect(unsafe_code, reason = "an allocator is unsafe by its interface")]
// SAFETY: everything is passed to the system's allocator as it is. The counts are plain numbers of this thread that
// allocate nothing and have no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: the caller's promise is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: the caller's promise is the same.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(0, layout.size());
        // SAFETY: the caller's promise is the same.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size, layout.size());
        // SAFETY: the caller's promise is the same.
        unsafe { System.realloc(pointer, layout, size) }
    }
}
