//! One member of a group of real clients, and what it has said.
//!
//! `member.py`, `member.js` and `GroupMember.java` say which partitions they gain and lose, and what they have processed
//! before they commit it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

const LEAVE_MAX: Duration = Duration::from_secs(90);

/// A member that is a process.
pub struct Member {
    child: Child,
    log: PathBuf,
}

impl Member {
    /// What another one of the same name has said stays in the log.
    pub fn start(mut command: Command, log: PathBuf) -> Member {
        let file = File::options().create(true).append(true).open(&log);
        let file = file.expect("the member's log");
        let errors = file.try_clone().expect("a second handle of the log");
        let child = command
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(errors)
            .spawn()
            .expect("the member's program");
        Member { child, log }
    }

    pub fn log(&self) -> &Path {
        &self.log
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("a process id");
        // One that has ended shows by what it did not say.
        let _ = signal::kill(Pid::from_raw(pid), signal);
    }

    /// Has it leave, and waits until it has.
    pub fn leave(mut self) {
        self.signal(Signal::SIGTERM);
        let begin = Instant::now();
        while begin.elapsed() < LEAVE_MAX {
            if self
                .child
                .try_wait()
                .expect("the member's status")
                .is_some()
            {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn kill9(mut self) {
        self.signal(Signal::SIGKILL);
        self.child.wait().expect("the member's status");
        // The one that comes back owns nothing yet.
        let log = File::options().append(true).open(&self.log);
        let mut log = log.expect("the member's log");
        log.write_all(b"\nowns\n").expect("written");
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // Already gone is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a member has said.
#[derive(Default)]
pub struct Story {
    pub owned: BTreeSet<i32>,
    pub processed: BTreeSet<(i32, i64)>,
    /// The first thing that must not be.
    pub wrong: Option<String>,
    tenures: Vec<Tenure>,
}

/// A partition was the member's, from the moment that it was told so to the one at which it was about to give it up.
struct Tenure {
    partition: i32,
    from_ns: u64,
    /// The end of time for one that the member still has.
    until_ns: u64,
}

impl Story {
    pub fn told_in(log: &Path) -> Story {
        // One that has not begun yet has said nothing.
        Story::of(&String::from_utf8_lossy(&fs::read(log).unwrap_or_default()))
    }

    fn of(said: &str) -> Story {
        let mut story = Story::default();
        let mut next: BTreeMap<i32, i64> = BTreeMap::new();
        for line in said.lines() {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            let numbers = || rest.split(' ').filter_map(|number| number.parse().ok());
            match word {
                "owns" | "gained" => {
                    if word == "owns" {
                        story.owned.clear();
                        story.forfeit(|_| true);
                    }
                    for partition in numbers() {
                        story.owned.insert(partition);
                        next.remove(&partition);
                        story.begin(partition, said_at(rest));
                    }
                }
                "lost" | "forfeited" => {
                    for partition in numbers() {
                        story.owned.remove(&partition);
                        match word {
                            "lost" => story.end(partition, said_at(rest)),
                            _ => story.forfeit(|lost| lost == partition),
                        }
                    }
                }
                _ => {
                    // What a client prints of its connections is not a record; nor is what a killed one cut off.
                    let (Ok(partition), Ok(offset)) = (word.parse(), rest.parse()) else {
                        continue;
                    };
                    let expected = next.insert(partition, offset + 1);
                    if expected.is_some_and(|expected| expected != offset) {
                        let wrong = format!("{line} where {expected:?} was next");
                        story.wrong.get_or_insert(wrong);
                    }
                    story.processed.insert((partition, offset));
                }
            }
        }
        story
    }

    /// A client that doesn't say when says too little.
    fn begin(&mut self, partition: i32, at_ns: Option<u64>) {
        self.tenures.extend(at_ns.map(|from_ns| Tenure {
            partition,
            from_ns,
            until_ns: u64::MAX,
        }));
    }

    fn end(&mut self, partition: i32, at_ns: Option<u64>) {
        for tenure in &mut self.tenures {
            if tenure.partition == partition && tenure.until_ns == u64::MAX {
                tenure.until_ns = at_ns.unwrap_or(u64::MAX);
            }
        }
    }

    /// The member learns late that it was thrown out, or is killed: nobody knows when others could own what it did.
    fn forfeit(&mut self, is_lost: impl Fn(i32) -> bool) {
        self.tenures
            .retain(|tenure| tenure.until_ns != u64::MAX || !is_lost(tenure.partition));
    }
}

/// Reads `0 3 @123`.
fn said_at(rest: &str) -> Option<u64> {
    rest.rsplit_once('@')?.1.parse().ok()
}

/// A partition that two members owned at once.
pub fn owned_twice(stories: &[Story]) -> Option<String> {
    let tenures = stories.iter().flat_map(|story| &story.tenures);
    let mut tenures: Vec<&Tenure> = tenures.collect();
    tenures.sort_by_key(|tenure| (tenure.partition, tenure.from_ns));
    let mut pairs = tenures.windows(2);
    let (first, second) = pairs
        .find(|pair| pair[0].partition == pair[1].partition && pair[1].from_ns < pair[0].until_ns)
        .map(|pair| (pair[0], pair[1]))?;
    Some(format!(
        "partition {} had a second owner at {} ns, the first had it from {} to {} ns",
        first.partition, second.from_ns, first.from_ns, first.until_ns
    ))
}

/// Whether each of these members owns something, and each of the partitions is owned once.
pub fn has_settled<'l>(logs: impl Iterator<Item = &'l Path>, partitions: i32) -> bool {
    let shares: Vec<_> = logs.map(|log| Story::told_in(log).owned).collect();
    let owners: usize = shares.iter().map(BTreeSet::len).sum();
    shares.iter().all(|share| !share.is_empty())
        && owners == partitions as usize
        && shares.iter().flatten().collect::<BTreeSet<_>>().len() == owners
}

#[test]
fn two_owners_at_once_are_found() {
    let twice = |said: &[&str]| {
        let stories: Vec<_> = said.iter().map(|said| Story::of(said)).collect();
        owned_twice(&stories).is_some()
    };
    assert!(!twice(&[
        "gained 0 1 @10\nlost 0 1 @20",
        "gained 1 @20\nlost 1 @30\ngained 1 @40"
    ]));
    assert!(!twice(&["gained 0 @10\nforfeited 0 @90", "gained 0 @20"]));
    assert!(!twice(&["gained 0 @10\nowns\n", "gained 0 @20"]));
    assert!(twice(&["gained 0 1 @10\nlost 0 1 @20", "gained 1 @19"]));
    assert!(twice(&["gained 0 @10", "gained 0 @20"]));
}
