//! The memory that the state of a shard's coordinators takes: counted as it changes, so that what would be too much is
//! refused before it is taken over.
//!
//! Each part of the state has its claim, which is given back when the part goes, however it goes. What a log says is
//! never refused, so a load may take more than the limit; then nothing is let in until enough has gone.
//!
//! What something takes is an estimate from above: nodes of trees are taken to be half empty, and a text to have an
//! allocation of its own.

use std::cell::Cell;
use std::mem::size_of;
use std::rc::Rc;

/// Something is small if it takes no more than this part of the limit. What is small may use all of the limit, the
/// rest no more than three quarters of it: who takes much does not keep out everybody else.
const SMALL_PART: usize = 1024;

/// What a text takes beside its letters, in bytes.
pub const TEXT_OVERHEAD_BYTES: usize = 16;

/// What the coordinators of a shard hold.
#[derive(Debug, Default)]
pub struct StateMemory {
    used_bytes: Cell<usize>,
}

impl StateMemory {
    /// In bytes.
    pub fn used(&self) -> usize {
        self.used_bytes.get()
    }

    /// Whether something that takes `held` bytes may take so many more, all within `limit`.
    pub fn has_room(&self, limit: usize, held: usize, more: usize) -> bool {
        let is_small = held.saturating_add(more) <= limit / SMALL_PART;
        let limit = match is_small {
            true => limit,
            false => limit - limit / 4,
        };
        self.used().saturating_add(more) <= limit
    }
}

/// What one part of the state takes. Given back when it is dropped.
#[derive(Debug)]
pub struct Claim {
    bytes: usize,
    memory: Rc<StateMemory>,
}

impl Claim {
    /// A claim on nothing so far.
    pub fn on(memory: &Rc<StateMemory>) -> Self {
        Self {
            bytes: 0,
            memory: Rc::clone(memory),
        }
    }

    /// It takes so many bytes from now on.
    pub fn set(&mut self, bytes: usize) {
        let others = self.memory.used() - self.bytes;
        self.memory.used_bytes.set(others + bytes);
        self.bytes = bytes;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// What a tree of so many entries takes at most, in bytes, without what the entries refer to.
pub const fn tree_bytes<K, V>(len: usize) -> usize {
    // A leaf has room for eleven.
    let places = match len {
        0 => 0,
        1..6 => 12,
        _ => 2 * len,
    };
    places * (size_of::<K>() + size_of::<V>())
}

/// What a text takes, in bytes.
pub const fn text_bytes(text: &str) -> usize {
    TEXT_OVERHEAD_BYTES + text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_is_given_back() {
        let memory = Rc::new(StateMemory::default());
        let (mut one, mut other) = (Claim::on(&memory), Claim::on(&memory));
        one.set(100);
        other.set(50);
        one.set(20);
        assert_eq!(memory.used(), 70);
        drop(one);
        assert_eq!(memory.used(), 50);
        drop(other);
        assert_eq!(memory.used(), 0);
    }

    #[test]
    fn a_quarter_is_left_to_what_is_small() {
        const LIMIT: usize = 4 << 20;
        let memory = Rc::new(StateMemory::default());
        let mut large = Claim::on(&memory);
        assert!(memory.has_room(LIMIT, 0, 3 << 20));
        assert!(!memory.has_room(LIMIT, 0, (3 << 20) + 1));
        large.set(3 << 20);
        assert!(!memory.has_room(LIMIT, 3 << 20, 1));
        assert!(memory.has_room(LIMIT, 0, 4 << 10));
        assert!(!memory.has_room(LIMIT, 1, 4 << 10));
        let mut small = Claim::on(&memory);
        small.set(1 << 20);
        assert!(!memory.has_room(LIMIT, 0, 1));
        assert!(memory.has_room(LIMIT, 0, 0));
        assert!(!memory.has_room(LIMIT, usize::MAX, usize::MAX));
    }
}
