//! Long loops, cut into turns: a request may name, and the metadata hold, hundreds of thousands of
//! things, and the core is nobody's own.

use std::collections::BTreeSet;

use corelog_shards::io::{Io, Slice};

pub struct Turns<'a> {
    io: &'a Io,
    slice: Slice,
}

impl<'a> Turns<'a> {
    pub fn on(io: &'a Io) -> Self {
        let slice = io.slice();
        Self { io, slice }
    }

    /// Ends a step of the loop: lets others have the core if this turn has been long enough.
    pub async fn step(&mut self) {
        if self.slice.is_over(self.io) {
            self.io.yield_now().await;
            self.slice = self.io.slice();
        }
    }

    /// The first of each of these, in their order.
    pub async fn distinct<T: Clone + Ord>(&mut self, items: Vec<T>) -> Vec<T> {
        let mut seen = BTreeSet::new();
        let mut first = Vec::with_capacity(items.len());
        for item in items {
            if seen.insert(item.clone()) {
                first.push(item);
            }
            self.step().await;
        }
        first
    }
}
