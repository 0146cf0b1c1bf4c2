//! The timetable of one producer, which goes on while there is no room for what is due.

use crate::measure::Recorder;
use crate::schedule::Schedule;

/// Which record is to be made next, and which ones wait for room. It takes no memory for those that wait.
pub(super) struct Timetable {
    next: Cursor,
    waiting: Option<Waiting>,
}

/// A place in the schedule.
#[derive(Clone)]
struct Cursor {
    schedule: Schedule,
    /// The next record's time, in nanoseconds since the start; `None` at the end.
    due_ns: Option<u64>,
}

/// Records that were due while there was no room.
struct Waiting {
    count: u64,
    /// Behind the last of them.
    after: Cursor,
}

/// A record that is to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    pub due_ns: u64,
    /// There was no room for it when it was due.
    pub has_waited: bool,
}

impl Timetable {
    pub(super) fn new(mut schedule: Schedule) -> Self {
        let due_ns = schedule.next();
        Self {
            next: Cursor { schedule, due_ns },
            waiting: None,
        }
    }

    /// The next record if it is due by `until_ns`. Counts it as intended.
    pub(super) fn take(&mut self, until_ns: u64, recorder: &mut Recorder) -> Option<Due> {
        let due_ns = self.next.take(until_ns)?;
        let has_waited = self.waiting.is_some();
        match &mut self.waiting {
            None => recorder.intended(due_ns),
            Some(waiting) if waiting.count > 1 => waiting.count -= 1,
            Some(_) => self.waiting = None,
        }
        Some(Due { due_ns, has_waited })
    }

    /// There is no room, or was none until now: what is due by `until_ns` is intended, and waits.
    pub(super) fn wait(&mut self, until_ns: u64, recorder: &mut Recorder) {
        let mut waiting = self.waiting.take().unwrap_or_else(|| Waiting {
            count: 0,
            after: self.next.clone(),
        });
        while let Some(due_ns) = waiting.after.take(until_ns) {
            recorder.intended(due_ns);
            waiting.count += 1;
        }
        self.waiting = Some(waiting).filter(|waiting| waiting.count > 0);
    }

    /// Whether records wait for room.
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// When the next record is due that is not waiting for room already.
    pub(super) fn due_ns(&self) -> Option<u64> {
        match &self.waiting {
            Some(waiting) => waiting.after.due_ns,
            None => self.next.due_ns,
        }
    }
}

impl Cursor {
    fn take(&mut self, until_ns: u64) -> Option<u64> {
        let due_ns = self.due_ns.filter(|due_ns| *due_ns <= until_ns)?;
        self.due_ns = self.schedule.next();
        Some(due_ns)
    }
}
