//! Long work in slices: a machine of this folder does as much as its budget allows and is then called
//! again, so that its caller can let others have the core in between.

/// How much one call may do, in nanoseconds as estimated from the bytes and records handled; nothing
/// here looks at a clock. A step ends soon after its budget, not before doing something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    left_ps: i64,
}

impl Budget {
    /// As long as a core may be held.
    pub const SLICE: Self = Self::of_us(100);

    /// Panics when it is nothing: a machine could not move with that.
    pub const fn of_us(us: u32) -> Self {
        assert!(us > 0);
        Self {
            left_ps: us as i64 * 1_000_000,
        }
    }

    pub fn is_spent(self) -> bool {
        self.left_ps <= 0
    }

    /// How many things of this price are still in it, one at least.
    pub fn affordable(self, ps_each: u32) -> usize {
        usize::try_from(self.left_ps / i64::from(ps_each))
            .unwrap_or(0)
            .max(1)
    }

    pub fn spend(&mut self, count: usize, ps_each: u32) {
        let cost = i64::try_from(count)
            .unwrap_or(i64::MAX)
            .saturating_mul(ps_each.into());
        self.left_ps = self.left_ps.saturating_sub(cost);
    }
}

/// Where a machine stands after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Progress<T> {
    /// Call again.
    Pending,
    /// Finished; the machine is not to be called any more.
    Done(T),
}
