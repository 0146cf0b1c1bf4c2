//! What the kernel does, in its own order: a trace through tracefs.
//!
//! An instance of its own, so that nothing else which traces is disturbed. Events are numbered over all cores, which
//! gives an order and no times. Only the threads that it is given are traced, and the kernel's workers for their rings.

use std::fs;
use std::io;
use std::path::PathBuf;

use crate::turn::NotHere;

const INSTANCES: &str = "/sys/kernel/tracing/instances";
const BUFFER_KIB: &str = "16384";

pub struct Trace {
    folder: PathBuf,
}

/// One line of a trace.
#[derive(Debug)]
pub struct Event {
    pub name: String,
    fields: String,
}

impl Event {
    fn parse(line: &str) -> Option<Event> {
        // `comm-thread [core] flags number: name: field value, field value`, of system calls
        // `sys_name(field: value, field: value)`.
        let (_, rest) = line.split_once("] ")?;
        let (_, what) = rest.split_once(": ")?;
        let (name, fields) = what.split_once([':', '('])?;
        Some(Event {
            name: name.to_owned(),
            fields: fields.trim_end_matches(')').to_owned(),
        })
    }

    /// The word after this one.
    pub fn field(&self, name: &str) -> &str {
        let found = self.fields.split(", ").find_map(|field| {
            let (found, value) = field.trim().split_once([' ', ':'])?;
            (found == name).then_some(value.trim())
        });
        let value = found.unwrap_or_else(|| panic!("{name} in {self:?}"));
        value.split(' ').next().unwrap_or(value)
    }
}

impl Trace {
    /// Begins to trace these events, each with a filter in the kernel's language or an empty one.
    pub fn start(threads: &[u32], events: &[(&str, &str)]) -> Result<Trace, NotHere> {
        let folder = PathBuf::from(INSTANCES).join(format!("corelog-{}", std::process::id()));
        let not_here = |error: io::Error| NotHere(format!("{}: {error}", folder.display()));
        fs::create_dir(&folder).map_err(not_here)?;
        let trace = Trace { folder };
        let whose = threads.iter().map(|thread| {
            // A worker is named after the thread for which it was started.
            format!("common_pid == {thread} || comm == \"iou-wrk-{thread}\"")
        });
        let whose = whose.collect::<Vec<_>>().join(" || ");
        let set_up = || {
            trace.write("trace_clock", "counter")?;
            trace.write("buffer_size_kb", BUFFER_KIB)?;
            for (event, filter) in events {
                let filter = match *filter {
                    "" => whose.clone(),
                    filter => format!("({filter}) && ({whose})"),
                };
                trace.write(&format!("events/{event}/filter"), &filter)?;
                trace.write(&format!("events/{event}/enable"), "1")?;
            }
            Ok(())
        };
        set_up().map_err(|what: String| NotHere(format!("tracing: {what}")))?;
        Ok(trace)
    }

    /// Ends the trace and gives its events in their order. None was lost.
    pub fn stop(self) -> Vec<Event> {
        self.write("tracing_on", "0").expect("a trace that runs");
        for core in fs::read_dir(self.folder.join("per_cpu")).expect("the cores' buffers") {
            let stats = core.expect("a core's buffer").path().join("stats");
            let stats = fs::read_to_string(stats).expect("a core's counts");
            let lost = |line: &&str| {
                ["overrun: ", "commit overrun: ", "dropped events: "]
                    .iter()
                    .any(|name| line.strip_prefix(name).is_some_and(|n| n.trim() != "0"))
            };
            assert_eq!(stats.lines().find(lost), None, "events were lost");
        }
        let text = fs::read(self.folder.join("trace")).expect("the trace");
        String::from_utf8_lossy(&text)
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| Event::parse(line).unwrap_or_else(|| panic!("unknown: {line}")))
            .collect()
    }

    fn write(&self, name: &str, value: &str) -> Result<(), String> {
        fs::write(self.folder.join(name), value).map_err(|error| format!("{name}: {error}"))
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir(&self.folder) {
            println!("{} stays: {error}", self.folder.display());
        }
    }
}
