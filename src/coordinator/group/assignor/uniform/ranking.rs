//! Members by load, to give to the least loaded and take from the most loaded without sorting anew each time.
//!
//! Two bands of equally loaded members, one at each end of the sorted members:
//!
//! ```text
//!            ^
//!            |              [  ##]#   members left out
//!  load      |            ##[####]#
//!            | [##  ]#######[####]#
//!            | [####]#######[####]#
//!            +--------------------->
//!               low          high
//! ```
//!
//! Those of the low band are named in turn, each to get one partition; once all of them did, the band has risen by one
//! and takes in the members that it now is level with. Those of the high band are named in turn from the right, each to
//! give one partition; then the band sinks by one and takes in members as well.

/// Members sorted by load, with the bands of those that were named so far.
pub struct Ranking {
    members: Vec<usize>,
    /// The low band ends before this place.
    low_end: usize,
    /// The load of the low band before its members get their next partition.
    low_level: i64,
    low_next: usize,
    high_start: usize,
    /// The high band ends before this place. After it come the members that were left out.
    high_end: usize,
    /// The load of the high band before its members give their next partition.
    high_level: i64,
    /// The place after that of the member to be named next.
    high_next: usize,
}

impl Ranking {
    /// Of at least one member. `load` has the partitions of each member, by place; so do all other functions want it.
    pub fn new(members: &[usize], load: &[i64]) -> Self {
        let mut members = members.to_vec();
        members.sort_unstable_by_key(|&member| (load[member], member));
        let count = members.len();
        Self {
            low_end: 0,
            low_level: load[members[0]] - 1,
            low_next: 0,
            high_start: count,
            high_end: count,
            high_level: load[members[count - 1]] + 1,
            high_next: count,
            members,
        }
    }

    /// The member that shall get the next partition.
    pub fn least_loaded(&mut self, load: &[i64]) -> usize {
        if self.low_next >= self.low_end {
            self.low_level += 1;
            let above = self.members[self.low_end..].iter();
            let level = above.take_while(|&&member| load[member] == self.low_level);
            self.low_end += level.count();
            self.low_next = 0;
        }
        let member = self.members[self.low_next];
        self.low_next += 1;
        member
    }

    /// The member that shall give the next partition, unless all were left out.
    pub fn most_loaded(&mut self, load: &[i64]) -> Option<usize> {
        if self.high_next <= self.high_start {
            let below = &self.members[..self.high_start];
            let is_empty = self.high_end == self.high_start;
            self.high_level = match below.last() {
                Some(&highest) if is_empty => load[highest],
                _ => self.high_level - 1,
            };
            let below = below.iter().rev();
            let level = below.take_while(|&&member| load[member] == self.high_level);
            self.high_start -= level.count();
            self.high_next = self.high_end;
        }
        self.high_next = self.high_next.checked_sub(1)?;
        Some(self.members[self.high_next])
    }

    /// Never names the most loaded member again that was named last: it has nothing to give.
    pub fn leave_out(&mut self) {
        self.high_end -= 1;
        self.members.swap(self.high_next, self.high_end);
    }

    /// Whether moving a partition between the members that were named last would not better the balance.
    pub fn is_level(&self) -> bool {
        self.high_level - self.low_level <= 1
    }
}
