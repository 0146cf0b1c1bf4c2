//! A fetch session: the broker remembers what a consumer reads from it, so that each request names only the
//! partitions whose offset has changed (KIP-227).
//!
//! | state | request | on success | on an error of the session or a lost connection |
//! |---|---|---|---|
//! | new | epoch 0, all partitions; closes the old session, if any | going on, if the broker gave an id | new |
//! | going on | its epoch, changed partitions | going on, next epoch | new |
//!
//! A change of leaders makes it new as well, which is simpler than to take partitions out of it, and rare.

use kafka_protocol::ResponseError;

/// Fetch knows sessions from this version on.
const VERSION_MIN: i16 = 7;
/// Says that there is no session and none is wanted.
const NO_SESSION: i32 = -1;

#[derive(Debug, Default)]
pub(super) struct Session {
    /// Zero if the broker has none.
    id: i32,
    /// Of the next request; zero asks for a new session.
    epoch: i32,
    /// Since the last request, the leaders have changed.
    is_outdated: bool,
    /// Positions with an offset that the broker has not been told, by their number.
    changed: Vec<usize>,
}

/// What a request is to hold.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    All,
    /// These positions.
    Changed(Vec<usize>),
}

impl Session {
    /// The id, the epoch and the content of the next request.
    pub(super) fn next_request(&mut self, version: i16) -> (i32, i32, Asked) {
        self.is_outdated = false;
        let changed = std::mem::take(&mut self.changed);
        match self.epoch {
            _ if version < VERSION_MIN => (0, NO_SESSION, Asked::All),
            0 => (self.id, 0, Asked::All),
            epoch => (self.id, epoch, Asked::Changed(changed)),
        }
    }

    /// A reply has come.
    pub(super) fn answered(&mut self, error_code: i16, id: i32) {
        if error_code == ResponseError::FetchSessionIdNotFound.code() {
            *self = Self::default();
        } else if error_code != 0 || self.is_outdated {
            self.renew();
        } else if id == 0 {
            // It has no room for another session.
            (self.id, self.epoch) = (0, 0);
        } else {
            self.id = id;
            self.epoch = match self.epoch {
                i32::MAX => 1,
                epoch => epoch + 1,
            };
        }
    }

    /// A position has another offset.
    pub(super) fn moved(&mut self, position: usize) {
        self.changed.push(position);
    }

    /// What the broker remembers is not right any more: the next request says everything again.
    pub(super) fn renew(&mut self) {
        self.epoch = 0;
        self.is_outdated = true;
        self.changed.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERSION: i16 = 12;

    #[test]
    fn only_the_first_request_of_a_session_names_all_partitions() {
        let mut session = Session::default();
        assert_eq!(session.next_request(VERSION), (0, 0, Asked::All));
        session.answered(0, 7);
        session.moved(3);
        let changed = Asked::Changed(vec![3]);
        assert_eq!(session.next_request(VERSION), (7, 1, changed));
        session.answered(0, 7);
        let nothing = Asked::Changed(Vec::new());
        assert_eq!(session.next_request(VERSION), (7, 2, nothing));
        session.epoch = i32::MAX;
        session.answered(0, 7);
        assert_eq!(session.epoch, 1);
    }

    #[test]
    fn a_session_that_is_lost_or_outdated_begins_again() {
        let going_on = || {
            let mut session = Session::default();
            session.next_request(VERSION);
            session.answered(0, 7);
            session.next_request(VERSION);
            session
        };
        let mut session = going_on();
        session.answered(ResponseError::FetchSessionIdNotFound.code(), 0);
        assert_eq!(session.next_request(VERSION), (0, 0, Asked::All));

        let mut session = going_on();
        session.answered(ResponseError::InvalidFetchSessionEpoch.code(), 0);
        assert_eq!(session.next_request(VERSION), (7, 0, Asked::All));

        // Leaders change while a request is on its way.
        let mut session = going_on();
        session.renew();
        session.answered(0, 7);
        assert_eq!(session.next_request(VERSION), (7, 0, Asked::All));
        session.answered(0, 8);
        assert_eq!(session.next_request(VERSION).1, 1);
    }

    #[test]
    fn without_sessions_everything_is_named_each_time() {
        let mut session = Session::default();
        session.next_request(VERSION);
        session.answered(0, 0);
        assert_eq!(session.next_request(VERSION), (0, 0, Asked::All));
        assert_eq!(session.next_request(6), (0, -1, Asked::All));
    }
}
