//! Each finding, in folders of its own.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::rc::Rc;

use bytes::Bytes;
use corelog_shards::journal::files::{adopted_path, list_path, slot_path};
use corelog_shards::journal::group::{
    ENTRY_HEADER_LEN, EntryHead, EntryKind, GroupHeader, HEADER_LEN, encode_entry, payload_crc,
};
use corelog_shards::log::Log;
use corelog_shards::log::batch::BatchBuilder;
use corelog_shards::log::snapshot::{self, UnfinishedMove};
use corelog_shards::route::PartitionKey;
use corelog_shards::shard::journal_dir;
use tempfile::TempDir;
use uuid::Uuid;

use super::process::Process;
use super::*;
use crate::cli::finding::finding;
use crate::cli::folders::look::look;
use crate::cli::start::{Prepared, StartArgs, prepare};

fn temp() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// Of a broker in `folder`, on free ports.
fn args(folder: &Path, overrides: &[&str]) -> DoctorArgs {
    let mut all = vec![
        format!("log.dirs={}", folder.join("data").display()),
        "listeners=PLAINTEXT://127.0.0.1:0".to_owned(),
        "corelog.journal.bytes=67108864".to_owned(),
        "corelog.http.listener=".to_owned(),
    ];
    all.extend(overrides.iter().map(|&text| text.to_owned()));
    DoctorArgs {
        config: BrokerArgs {
            overrides: all,
            ..BrokerArgs::default()
        },
        ..DoctorArgs::default()
    }
}

fn examined(folder: &Path, overrides: &[&str]) -> Report {
    examine(&args(folder, overrides), Path::new("/"))
}

/// The findings of an area that are not fine: their level, subject and what was found.
fn bad(report: &Report, area: &str) -> Vec<(&'static str, String)> {
    let of_area = report.0.iter().filter(|(name, _)| *name == area);
    let findings = of_area.flat_map(|(_, findings)| findings);
    let bad = findings.filter(|it| it.verdict != Verdict::Fine);
    let told = |it: &Finding| {
        if it.verdict != Verdict::Unknown {
            assert!(!it.remedy.is_empty(), "{it:?}");
        }
        (level(it.verdict), format!("{}: {}", it.setting, it.found))
    };
    bad.map(told).collect()
}

/// A broker that has taken its folders, and has no shards yet.
fn started(folder: &Path, overrides: &[&str]) -> Prepared {
    let start = StartArgs {
        config: args(folder, overrides).config,
        ..StartArgs::default()
    };
    prepare(&start).unwrap()
}

/// A folder that a broker has used.
fn used(folder: &Path, overrides: &[&str]) {
    drop(started(folder, overrides));
}

fn assert_none(found: &[(&'static str, String)], words: &str) {
    assert!(
        !found.iter().any(|(_, text)| text.contains(words)),
        "{words}: {found:?}"
    );
}

fn assert_one(found: &[(&'static str, String)], level: &str, words: &str) {
    let matching = found
        .iter()
        .filter(|(of, text)| *of == level && text.contains(words));
    assert_eq!(matching.count(), 1, "{level} {words}: {found:?}");
}

#[test]
fn a_folder_that_is_not_there_yet_is_no_problem() {
    let folder = temp();
    let report = examined(folder.path(), &[]);
    assert_one(&bad(&report, "folders"), "note", "not there yet");
    assert_one(&bad(&report, "broker"), "note", "no broker runs");
    assert!(!folder.path().join("data").exists(), "nothing is made");
    fs::write(folder.path().join("file"), "no folder").unwrap();
    let below = format!("log.dirs={}", folder.path().join("file/data").display());
    let report = examined(folder.path(), &[&below]);
    assert_one(&bad(&report, "folders"), "problem", "file");
}

#[test]
fn a_folder_in_use_is_fine_and_one_left_without_a_stop_is_noted() {
    let folder = temp();
    let prepared = started(folder.path(), &[]);
    let report = examined(folder.path(), &[]);
    assert_eq!(bad(&report, "folders"), []);
    // It does not listen before its shards do.
    assert_one(&bad(&report, "broker"), "warning", "broker at");
    drop(prepared);
    fs::create_dir_all(folder.path().join("data/journal")).unwrap();
    fs::create_dir_all(folder.path().join("data/__cluster_metadata-0")).unwrap();
    let report = examined(folder.path(), &[]);
    assert_one(&bad(&report, "folders"), "note", "ended without a stop");
    fs::write(folder.path().join("data/.kafka_cleanshutdown"), "").unwrap();
    let report = examined(folder.path(), &[]);
    assert_eq!(bad(&report, "folders"), []);
}

#[test]
fn what_is_missing_in_a_folder_is_a_problem() {
    let folder = temp();
    used(folder.path(), &[]);
    let data = folder.path().join("data");
    fs::create_dir(data.join("topic-0")).unwrap();
    let report = examined(folder.path(), &[]);
    assert_one(&bad(&report, "folders"), "problem", "metadata log");
    fs::remove_file(data.join("meta.properties")).unwrap();
    let report = examined(folder.path(), &[]);
    assert_one(&bad(&report, "folders"), "problem", "no meta.properties");
}

#[test]
fn a_folder_of_another_node_or_a_copy_is_a_problem() {
    let folder = temp();
    used(folder.path(), &[]);
    let report = examined(folder.path(), &["node.id=7"]);
    assert_one(&bad(&report, "folders"), "problem", "node.id=7");
    let copy = folder.path().join("copy");
    fs::create_dir(&copy).unwrap();
    fs::copy(
        folder.path().join("data/meta.properties"),
        copy.join("meta.properties"),
    )
    .unwrap();
    let both = format!("log.dirs={0}/data,{0}/copy", folder.path().display());
    let report = examined(folder.path(), &[&both]);
    assert_one(
        &bad(&report, "folders"),
        "problem",
        "Duplicate directory ID",
    );
    assert_one(&bad(&report, "folders"), "note", "same device");
}

#[test]
fn a_damaged_snapshot_and_stray_partitions_are_warnings() {
    let folder = temp();
    used(folder.path(), &[]);
    let data = folder.path().join("data");
    let log = data.join("__cluster_metadata-0");
    fs::create_dir(&log).unwrap();
    let name = "00000000000000000009-0000000001.checkpoint.damaged";
    fs::write(log.join(name), "x").unwrap();
    fs::create_dir(data.join(format!("t-0.{}-stray", "0".repeat(32)))).unwrap();
    let report = examined(folder.path(), &[]);
    assert_one(&bad(&report, "folders"), "warning", "found damaged");
    assert_one(&bad(&report, "folders"), "warning", "stray partitions");
}

#[test]
fn a_journal_that_does_not_fit_is_a_problem() {
    let folder = temp();
    used(folder.path(), &[]);
    let mut many = args(folder.path(), &["corelog.journal.bytes=1073741824"]);
    many.config.cores = Some(u16::MAX);
    let report = examine(&many, Path::new("/"));
    assert_one(&bad(&report, "folders"), "problem", "the journals take");
}

#[test]
fn the_configuration_is_read_as_by_a_start() {
    let folder = temp();
    let report = examined(folder.path(), &["no.such.property=1"]);
    assert_one(
        &bad(&report, "configuration"),
        "warning",
        "no.such.property",
    );
    let report = examined(folder.path(), &["num.partitions=none"]);
    assert_one(&bad(&report, "configuration"), "problem", "num.partitions");
    let areas: Vec<_> = report.0.iter().map(|(area, _)| *area).collect();
    assert_eq!(areas, ["configuration", "host", "clock"]);
    let report = examined(
        folder.path(),
        &["listeners=PLAINTEXT://no.such.host.invalid:9092"],
    );
    assert_one(&bad(&report, "configuration"), "problem", "listener");
    let open = [
        "listeners=PLAINTEXT://:0",
        "advertised.listeners=PLAINTEXT://localhost:9092",
    ];
    let report = examined(folder.path(), &open);
    assert_one(&bad(&report, "configuration"), "warning", "loopback");
    let mut unreadable = args(folder.path(), &[]);
    unreadable.config.file = Some(folder.path().join("none.properties"));
    let report = examine(&unreadable, Path::new("/"));
    assert_one(&bad(&report, "configuration"), "problem", "none.properties");
}

/// Somebody listens where the broker should, takes one connection and lets go of it.
fn assert_told_of_one_that_listens(folder: &Path, words: &str) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let there = format!("listeners=PLAINTEXT://{}", listener.local_addr().unwrap());
    let clone = listener.try_clone().unwrap();
    let accepting = std::thread::spawn(move || drop(clone.accept()));
    let report = examined(folder, &[&there]);
    accepting.join().unwrap();
    assert_one(&bad(&report, "broker"), "problem", words);
}

#[test]
fn what_listens_where_a_broker_should_is_a_problem_unless_it_is_the_broker() {
    let folder = temp();
    assert_told_of_one_that_listens(folder.path(), "another process listens here");
    // With a broker that has taken the folders it may be that one, which does not answer.
    let _prepared = started(folder.path(), &[]);
    assert_told_of_one_that_listens(folder.path(), "ApiVersions is not answered");
}

#[test]
fn health_is_asked_of_a_broker_that_runs_and_of_nobody_else() {
    let folder = temp();
    used(folder.path(), &[]);
    let others = TcpListener::bind("127.0.0.1:0").unwrap();
    let http = format!(
        "corelog.http.listener=127.0.0.1:{}",
        others.local_addr().unwrap().port()
    );
    let report = examined(folder.path(), &[&http]);
    assert_none(&bad(&report, "broker"), "health");
    drop(others);
    let _prepared = started(folder.path(), &[]);
    let report = examined(folder.path(), &[&http]);
    assert_one(&bad(&report, "broker"), "warning", "no answer");
}

#[test]
fn the_process_that_has_taken_a_folder_is_found() {
    let folder = temp();
    let root = Path::new("/");
    let data = folder.path().join("data");
    let prepared = started(folder.path(), &[]);
    let process = Process::with_lock(root, &data).unwrap();
    assert_eq!(process.pid, std::process::id());
    assert!(process.limit("Max open files").is_some());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    assert_eq!(process.listens_on(port), Some(true));
    drop((prepared, listener));
    assert_eq!(process.listens_on(port), None);
    assert!(Process::with_lock(root, &data).is_none());
}

#[test]
fn the_journals_of_the_metadata_log_may_be_in_another_folder_of_its_device() {
    let folder = temp();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let overrides = [
        format!("log.dirs={},{}", at("a"), at("b")),
        format!("metadata.log.dir={}", at("b")),
    ];
    let overrides = overrides.each_ref().map(String::as_str);
    used(folder.path(), &overrides);
    fs::create_dir(folder.path().join("b/topic-0")).unwrap();
    let report = examined(folder.path(), &overrides);
    assert_one(&bad(&report, "folders"), "problem", "metadata log");
    fs::create_dir_all(folder.path().join("a/journal/some")).unwrap();
    let report = examined(folder.path(), &overrides);
    assert_none(&bad(&report, "folders"), "metadata log");
}

#[test]
fn what_is_found_in_journals_while_a_broker_starts_is_not_told() {
    let folder = temp();
    used(folder.path(), &[]);
    let folders = [folder.path().join("data")];
    let damaged = || vec![finding("journal", "damaged", Verdict::Needed, "restore it")];
    let verdicts = |found: Vec<Finding>| -> Vec<Verdict> {
        let verdicts = found.iter().map(|it| it.verdict);
        verdicts.collect()
    };
    let found = journals::unless_started(&folders, damaged);
    assert_eq!(verdicts(found), [Verdict::Needed]);
    let mut prepared = None;
    let found = journals::unless_started(&folders, || {
        prepared = Some(started(folder.path(), &[]));
        damaged()
    });
    assert_eq!(verdicts(found), [Verdict::Unknown]);
    drop(prepared);
    // It has ended again by now.
    let found = journals::unless_started(&folders, || {
        let dir = journal_dir(&folders[0]);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("0000-0000.journal"), "").unwrap();
        damaged()
    });
    assert_eq!(verdicts(found), [Verdict::Unknown]);
}

/// Writes a journal of one group.
fn write_journal(data: &Path, entries: &[(EntryKind, Vec<u8>)]) {
    let key = PartitionKey {
        topic: Uuid::from_u128(7),
        partition: 0,
    };
    let mut payload = Vec::new();
    for (kind, body) in entries {
        let head = EntryHead {
            kind: *kind,
            key,
            revision: 0,
        };
        let at = payload.len();
        payload.resize(at + ENTRY_HEADER_LEN, 0);
        encode_entry(&head, body.len(), &mut payload[at..]);
        payload.extend(body);
    }
    let header = GroupHeader {
        journal_id: 0,
        file_seq: 0,
        run_id: 1,
        number: 1,
        synced_through: 0,
        previous: 0,
        oldest_needed: 0,
        payload_len: payload.len() as u32,
        payload_crc: payload_crc(0, &payload),
    };
    let mut group = vec![0; header.padded_len() as usize];
    header.encode(&mut group);
    group[HEADER_LEN..][..payload.len()].copy_from_slice(&payload);
    let dir = journal_dir(data);
    fs::create_dir_all(&dir).unwrap();
    fs::write(slot_path(&dir, 0, 0), group).unwrap();
}

/// A checkpoint of partition `t-0` in a data folder, with a batch that is in a file as far as this says.
fn checkpoint(folder: Uuid, is_settled: bool, unfinished_move: &UnfinishedMove) -> Vec<u8> {
    let mut log = Log::new(Rc::default());
    let mut batch = BatchBuilder::uncompressed().at(0, 0);
    batch.append(1, None, Some(b"value")).unwrap();
    let batch = Bytes::from(batch.finish().unwrap());
    log.append(&batch, 1, 0, 0).unwrap();
    if is_settled {
        log.segment_mut(0).unwrap().settled = batch.len() as u64;
    }
    let facts = snapshot::Facts {
        dir: "t-0",
        folder,
        unfinished_move,
        leader_epoch: 0,
    };
    snapshot::encode(&facts, &log).concat()
}

#[test]
fn the_folder_of_a_partition_that_a_journal_names_must_be_there() {
    let folder = temp();
    used(folder.path(), &[]);
    let data = folder.path().join("data");
    let id = look(&data).unwrap().unwrap().id().unwrap();
    let rests = UnfinishedMove::default();
    let settled = || (EntryKind::Checkpoint, checkpoint(id, true, &rests));
    let told = |entries: &[(EntryKind, Vec<u8>)]| {
        write_journal(&data, entries);
        let report = examined(folder.path(), &[]);
        let whole = report
            .findings()
            .any(|it| it.found.ends_with("groups are whole"));
        assert!(whole, "{:?}", bad(&report, "folders"));
        bad(&report, "folders")
    };
    let words = "folders of partitions that are missing";
    assert_one(&told(&[settled()]), "problem", words);
    // Nothing of it is in a file yet; it is in a folder that is not there; it was deleted.
    let others = [
        checkpoint(id, false, &rests),
        checkpoint(Uuid::from_u128(8), true, &rests),
    ];
    for body in others {
        assert_none(&told(&[(EntryKind::Checkpoint, body)]), words);
    }
    let dropped = || (EntryKind::Drop, b"t-0".to_vec());
    assert_none(&told(&[settled(), dropped()]), words);
    assert_one(&told(&[settled(), dropped(), settled()]), "problem", words);
    // It has moved there, and has its name or not yet.
    let future = Uuid::from_u128(9);
    let moves = UnfinishedMove {
        future: Some(future),
        left: Vec::new(),
    };
    let moved = || (EntryKind::Checkpoint, checkpoint(id, true, &moves));
    assert_one(&told(&[moved()]), "problem", words);
    let before = data.join(format!("t-0.{}-future", future.simple()));
    fs::create_dir(&before).unwrap();
    assert_none(&told(&[moved()]), words);
    assert_one(&told(&[settled()]), "problem", words);
    fs::rename(before, data.join("t-0")).unwrap();
    assert_none(&told(&[moved()]), words);
    assert_none(&told(&[settled()]), words);
}

/// Its partitions are in other journals by now.
#[test]
fn a_journal_that_is_being_removed_is_not_missed() {
    let folder = temp();
    used(folder.path(), &[]);
    let data = folder.path().join("data");
    let dir = journal_dir(&data);
    fs::create_dir_all(&dir).unwrap();
    let slots = "0000\n0001\n";
    let list = format!("{slots}crc32c {:08x}\n", crc32c::crc32c(slots.as_bytes()));
    fs::write(list_path(&dir, 3), list).unwrap();
    let words = "files are missing";
    assert_one(
        &bad(&examined(folder.path(), &[]), "folders"),
        "problem",
        words,
    );
    fs::write(adopted_path(&dir, 3), "").unwrap();
    assert_none(&bad(&examined(folder.path(), &[]), "folders"), words);
}

#[test]
fn json_says_the_same_as_text() {
    let folder = temp();
    let report = examined(folder.path(), &["num.partitions=none"]);
    let (mut text, mut json) = (Vec::new(), Vec::new());
    report.print(&mut text).unwrap();
    report.print_json(&mut json).unwrap();
    let text = String::from_utf8(text).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(json["problems"], report.count(Verdict::Needed));
    let findings = json["findings"].as_array().unwrap();
    assert_eq!(findings.len(), report.findings().count());
    for finding in findings {
        let line = format!(
            "{}: {}",
            finding["subject"].as_str().unwrap(),
            finding["found"].as_str().unwrap()
        );
        assert!(text.contains(&line), "{line}");
    }
    let mut out = Vec::new();
    assert!(!run(&args(folder.path(), &["num.partitions=none"]), &mut out).unwrap());
}
