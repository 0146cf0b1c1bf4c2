//! Who may send how much: the limits of a fetch given out to its partitions, in their order.
//!
//! Decided from sizes that were probed, before anything is read, so that all owners can read at the
//! same time. Kafka's rule: the first partition that has anything sends its first batch whatever the
//! limits are, so that a consumer gets past a batch larger than all of them; from then on limits
//! hold. A size from disk is an estimate, so a reply may be smaller than its limit, and larger by
//! no more than that first batch.

/// What one partition asks for and has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The most that the client wants of this partition.
    pub bytes_max: usize,
    /// What there is to read; zero for one that cannot be read.
    pub available: usize,
}

/// What one partition may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    pub bytes_max: usize,
    /// Its first batch goes out even if it is larger.
    pub at_least_one: bool,
}

impl Share {
    pub const NOTHING: Share = Share {
        bytes_max: 0,
        at_least_one: false,
    };

    pub fn is_nothing(&self) -> bool {
        *self == Self::NOTHING
    }
}

/// Gives out `limit` bytes; shares in the order of claims.
pub fn give_out(limit: usize, claims: impl Iterator<Item = Claim>) -> impl Iterator<Item = Share> {
    let mut left = limit;
    let mut at_least_one = true;
    claims.map(move |claim| {
        if claim.available == 0 {
            return Share::NOTHING;
        }
        let share = Share {
            bytes_max: claim.bytes_max.min(left),
            at_least_one: std::mem::take(&mut at_least_one),
        };
        let taken = match share.at_least_one {
            true => claim.available,
            false => claim.available.min(share.bytes_max),
        };
        left = left.saturating_sub(taken);
        share
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(limit: usize, claims: &[(usize, usize)]) -> Vec<(usize, bool)> {
        let claims = claims.iter().map(|(bytes_max, available)| Claim {
            bytes_max: *bytes_max,
            available: *available,
        });
        give_out(limit, claims)
            .map(|share| (share.bytes_max, share.at_least_one))
            .collect()
    }

    #[test]
    fn partitions_have_their_limit_while_there_is_room() {
        assert_eq!(
            shares(1000, &[(400, 300), (400, 400), (400, 400), (400, 9)]),
            [(400, true), (400, false), (300, false), (0, false)]
        );
    }

    #[test]
    fn the_first_that_has_something_sends_a_batch_whatever_the_limits_are() {
        assert_eq!(
            shares(10, &[(100, 0), (5, 700), (5, 700)]),
            [(0, false), (5, true), (0, false)]
        );
        assert_eq!(shares(0, &[(0, 700), (5, 700)]), [(0, true), (0, false)]);
    }

    #[test]
    fn what_is_empty_takes_nothing() {
        assert_eq!(shares(10, &[(5, 0), (5, 0)]), [(0, false), (0, false)]);
        assert_eq!(shares(10, &[]), []);
    }
}
