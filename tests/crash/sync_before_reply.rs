//! No acknowledgement leaves before the records are on stable storage, as the kernel sees it.
//!
//! The kernel's trace holds what is asked of it through io_uring, what it completes, and each `sendmsg`. One client
//! sends one batch at a time. Between two replies on its connection there must be a write to the journal, long enough
//! for the batch, that completed, and through a descriptor with O_DSYNC or followed by a sync that completed too. The
//! same is asked of a topic that promises less, where the trace must not show it.
//!
//! Not seen here: whether the device keeps what it says it stored.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use bytes::Bytes;
use corelog_loadgen::batch::{self, Producer};
use corelog_loadgen::client::{self, Client, PRODUCE_VERSION};

use crate::harness::{Broker, Launch};
use crate::trace::{Event, Trace};
use crate::turn;

const REQUESTS: usize = 300;
/// Record sizes that differ in how the journal writes them: the longest are written and synced in two steps.
const RECORD_BYTES: [usize; 6] = [100, 3_000, 100, 9_000, 40_000, 100_000];
/// FSYNC, WRITE_FIXED and WRITE.
const DISK_OPERATIONS: &str = "opcode == 3 || opcode == 5 || opcode == 23";

#[test]
fn no_reply_before_the_sync() {
    turn::run("sync-before-reply", || {
        let broker = Broker::launch(Launch {
            arguments: &["--cores", "1"],
            ..Launch::default()
        });
        let mut client = Client::connect(broker.address()).expect("a connection");
        for durability in ["sync", "written"] {
            client
                .create_topic(durability, 1, &[("corelog.durability", durability)])
                .expect("a topic");
        }
        let connection = only_connection(&broker);

        let mut gaps = Vec::new();
        for durability in ["sync", "written"] {
            let events = [
                ("io_uring/io_uring_submit_req", DISK_OPERATIONS),
                ("io_uring/io_uring_file_get", ""),
                ("io_uring/io_uring_complete", "res >= 0"),
                ("syscalls/sys_enter_sendmsg", ""),
            ];
            let trace = Trace::start(&threads(&broker), &events)?;
            let asked: Vec<Asked> = (0..REQUESTS)
                .map(|n| {
                    let batch_bytes = produce(
                        &mut client,
                        durability,
                        RECORD_BYTES[n % RECORD_BYTES.len()],
                    );
                    Asked {
                        batch_bytes,
                        journal: journal_descriptors(&broker),
                    }
                })
                .collect();
            let events = trace.stop();
            gaps.push(outcomes(&events, connection, &asked));
        }
        let synced = |gaps: &[Outcome]| gaps.iter().filter(|it| it.is_synced).count();
        for (n, gap) in gaps[0].iter().enumerate() {
            assert!(gap.is_written, "reply {n} left before its write completed");
            assert!(gap.is_synced, "reply {n} left before its sync completed");
        }
        for (n, gap) in gaps[1].iter().enumerate() {
            assert!(gap.is_written, "reply {n} left before its write completed");
        }
        // When a file of the journal is begun, all are synced.
        assert!(
            synced(&gaps[1]) < REQUESTS / 4,
            "{} of {REQUESTS} replies to mere writes seem to follow a sync: the trace proves nothing",
            synced(&gaps[1])
        );
        Ok(())
    });
}

/// A request that got its reply.
struct Asked {
    batch_bytes: usize,
    /// Descriptors of the journal's active file, and whether each writes durably.
    journal: BTreeMap<u32, bool>,
}

/// What happened before a reply and after the one before it.
struct Outcome {
    is_written: bool,
    is_synced: bool,
}

fn produce(client: &mut Client, topic: &str, record_bytes: usize) -> usize {
    let record = vec![7; record_bytes];
    let batch = batch::encode(Producer::NONE, client::wall_ms(), [record.as_slice()]);
    let batch = Bytes::from(batch);
    let request = client::produce_request(topic, 0, -1, &batch);
    let reply = client.call(&request, PRODUCE_VERSION).expect("a reply");
    let (code, _) = client::produce_outcome(&reply).expect("an outcome");
    assert_eq!(code, 0, "{}", client::error_name(code));
    batch.len()
}

#[derive(Default)]
struct Operation {
    descriptor: Option<u32>,
    is_sync: bool,
    /// How many writes had completed since the last reply when this was submitted.
    writes_before: Option<usize>,
}

struct Write {
    bytes: usize,
    is_synced: bool,
}

/// What had completed before each reply.
fn outcomes(events: &[Event], connection: u32, asked: &[Asked]) -> Vec<Outcome> {
    let mut running: BTreeMap<(&str, &str), Operation> = BTreeMap::new();
    let mut writes: Vec<Write> = Vec::new();
    let mut outcomes = Vec::new();
    let number = |event: &Event, name: &str, radix| {
        let text = event.field(name);
        u32::from_str_radix(text.trim_start_matches("0x"), radix).expect("a number")
    };
    for event in events {
        match event.name.as_str() {
            "io_uring_submit_req" => {
                let id = (event.field("ring"), event.field("req"));
                let operation = running.entry(id).or_default();
                operation.is_sync = event.field("opcode") == "FSYNC";
                operation.writes_before = Some(writes.len());
            }
            "io_uring_file_get" => {
                let id = (event.field("ring"), event.field("req"));
                running.entry(id).or_default().descriptor = Some(number(event, "fd", 10));
            }
            "io_uring_complete" => {
                let id = (event.field("ring"), event.field("req"));
                let Some(done) = running.remove(&id) else {
                    continue;
                };
                let journal = asked.get(outcomes.len()).map(|asked| &asked.journal);
                let is_durable = done
                    .descriptor
                    .and_then(|descriptor| journal?.get(&descriptor));
                let (Some(&is_durable), Some(writes_before)) = (is_durable, done.writes_before)
                else {
                    continue;
                };
                if done.is_sync {
                    writes[..writes_before]
                        .iter_mut()
                        .for_each(|write| write.is_synced = true);
                } else {
                    writes.push(Write {
                        bytes: number(event, "result", 10) as usize,
                        is_synced: is_durable,
                    });
                }
            }
            "sys_sendmsg" if number(event, "fd", 16) == connection => {
                let batch_bytes = asked[outcomes.len()].batch_bytes;
                let mut long_enough = writes.iter().filter(|write| write.bytes >= batch_bytes);
                outcomes.push(Outcome {
                    is_written: long_enough.clone().next().is_some(),
                    is_synced: long_enough.any(|write| write.is_synced),
                });
                writes.clear();
                // What runs on says nothing of a request that comes only now.
                running.clear();
            }
            _ => {}
        }
    }
    assert_eq!(outcomes.len(), asked.len(), "a `sendmsg` for each reply");
    outcomes
}

fn threads(broker: &Broker) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{}/task", broker.pid())).expect("its threads");
    tasks
        .map(|task| {
            let name = task.expect("a thread").file_name();
            name.to_string_lossy().parse().expect("a number")
        })
        .collect()
}

/// What the broker has open: number and what it is.
fn descriptors(broker: &Broker) -> Vec<(u32, String)> {
    let folder = format!("/proc/{}/fd", broker.pid());
    fs::read_dir(folder)
        .expect("its descriptors")
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            // One that was closed just now.
            let target = fs::read_link(&path).ok()?;
            let number = path.file_name()?.to_str()?.parse().ok()?;
            Some((number, target.to_string_lossy().into_owned()))
        })
        .collect()
}

fn journal_descriptors(broker: &Broker) -> BTreeMap<u32, bool> {
    descriptors(broker)
        .into_iter()
        .filter(|(_, target)| Path::new(target).extension() == Some("journal".as_ref()))
        .filter_map(|(number, _)| {
            let info = format!("/proc/{}/fdinfo/{number}", broker.pid());
            let info = fs::read_to_string(info).ok()?;
            let flags = info.lines().find_map(|line| line.strip_prefix("flags:"))?;
            let flags = i32::from_str_radix(flags.trim(), 8).expect("octal flags");
            Some((number, flags & libc::O_DSYNC != 0))
        })
        .collect()
}

/// The broker's end of its only connection.
fn only_connection(broker: &Broker) -> u32 {
    let table = fs::read_to_string("/proc/net/tcp").expect("the connections");
    let local = format!(":{:04X}", broker.port());
    let inodes: Vec<String> = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        // Its own address, the other, and its state: established.
        .filter(|words| words[1].ends_with(&local) && words[3] == "01")
        .map(|words| format!("socket:[{}]", words[9]))
        .collect();
    let [inode] = inodes.as_slice() else {
        panic!("{} connections", inodes.len())
    };
    let of_it = descriptors(broker);
    let found = of_it.iter().find(|(_, target)| target == inode);
    found.expect("the broker's end").0
}
