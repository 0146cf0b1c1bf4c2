//! Each finding, in folders of its own.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::cli::start::prepare;

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
        overrides: all,
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

/// A folder that a broker has used.
fn used(folder: &Path, overrides: &[&str]) {
    let start = StartArgs {
        overrides: args(folder, overrides).overrides,
        ..StartArgs::default()
    };
    drop(prepare(&start).unwrap());
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
    let start = StartArgs {
        overrides: args(folder.path(), &[]).overrides,
        ..StartArgs::default()
    };
    let prepared = prepare(&start).unwrap();
    let report = examined(folder.path(), &[]);
    assert!(
        bad(&report, "folders").is_empty(),
        "{:?}",
        bad(&report, "folders")
    );
    // It does not listen before its shards do.
    assert_one(&bad(&report, "broker"), "warning", "broker at");
    drop(prepared);
    fs::create_dir_all(folder.path().join("data/journal")).unwrap();
    fs::create_dir_all(folder.path().join("data/__cluster_metadata-0")).unwrap();
    let report = examined(folder.path(), &[]);
    assert_one(&bad(&report, "folders"), "note", "ended without a stop");
    fs::write(folder.path().join("data/.kafka_cleanshutdown"), "").unwrap();
    let report = examined(folder.path(), &[]);
    assert!(
        bad(&report, "folders").is_empty(),
        "{:?}",
        bad(&report, "folders")
    );
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
    many.cores = Some(u16::MAX);
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
    unreadable.file = Some(folder.path().join("none.properties"));
    let report = examine(&unreadable, Path::new("/"));
    assert_one(&bad(&report, "configuration"), "problem", "none.properties");
}

#[test]
fn what_listens_and_is_no_broker_is_a_problem() {
    let folder = temp();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let closing = std::thread::spawn(move || drop(listener.accept()));
    let report = examined(
        folder.path(),
        &[&format!("listeners=PLAINTEXT://{address}")],
    );
    closing.join().unwrap();
    assert_one(
        &bad(&report, "broker"),
        "problem",
        "ApiVersions is not answered",
    );
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
