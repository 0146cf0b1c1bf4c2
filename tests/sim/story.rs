//! What happened in a world, told when its run fails. Of requests only where one seed is replayed: there are many.

use std::cell::RefCell;
use std::rc::Rc;

use corelog_shards::io::Instant;

#[derive(Clone)]
pub struct Story {
    is_long: bool,
    lines: Rc<RefCell<Vec<String>>>,
}

impl Story {
    pub fn new() -> Story {
        Story {
            is_long: std::env::var_os("CORELOG_SEED").is_some(),
            lines: Rc::default(),
        }
    }

    /// Of a run that is one of many, to find out whether it fails.
    pub fn short() -> Story {
        Story {
            is_long: false,
            lines: Rc::default(),
        }
    }

    pub fn event(&self, now: Instant, event: String) {
        let at = now.as_nanos() as f64 / 1e9;
        self.lines.borrow_mut().push(format!("{at:.6} {event}"));
    }

    /// Something of which there is much.
    pub fn tell(&self, now: Instant, line: impl FnOnce() -> String) {
        if self.is_long {
            self.event(now, line());
        }
    }

    pub fn print(&self) {
        for line in self.lines.borrow().iter() {
            eprintln!("{line}");
        }
    }
}
