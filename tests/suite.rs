//! The benchmark suite from one end to the other, on Corelog alone.

use std::path::{Path, PathBuf};

use corelog_bench::broker::Product;
use corelog_bench::compare::{self, CompareSettings, Participant, Results, Table};

fn settings(folder: &Path, binary: &str, workload: &str) -> CompareSettings {
    CompareSettings {
        folder: folder.to_owned(),
        participants: vec![Participant::Started(Product::Corelog {
            binary: PathBuf::from(binary),
            cores: 1,
        })],
        rounds: 1,
        seconds: 1,
        warm_up_seconds: 0,
        soak_minutes: 1,
        is_quick: false,
        only: vec![workload.to_owned()],
        baseline: None,
        json: None,
    }
}

/// Of the first reading of a quantity.
fn value(results: &Results, quantity: &str) -> Option<f64> {
    let mut readings = results.runs.iter().flat_map(|run| &run.readings);
    readings.find(|reading| reading.quantity == quantity)?.value
}

#[test]
fn a_broker_that_ends_fails_its_workloads_and_not_the_run() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder on a disk");
    let settings = settings(folder.path(), "/bin/false", "1 KiB, 1 partition");
    let results = compare::run(&settings).expect("the suite comes to its end");
    let failures = results.failures();
    assert_eq!(failures.len(), 3, "{failures:?}");
    for failure in &failures {
        assert!(failure.contains("ended by itself"), "{failure}");
        assert!(Table(&results).to_string().contains(failure), "{failure}");
    }
}

#[test]
fn a_run_of_the_suite_is_kept_and_an_equal_one_has_no_regressions() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder on a disk");
    let file = folder.path().join("results.json");
    // The limit that it is a part of is measured as well.
    let settings = settings(
        folder.path(),
        env!("CARGO_BIN_EXE_corelog"),
        "1 KiB, 10 partitions, at 50 %",
    );
    let results = compare::run(&CompareSettings {
        json: Some(file.clone()),
        ..settings
    })
    .expect("the suite comes to its end");

    assert_eq!(results.failures(), Vec::<String>::new());
    let again = Results::read(&file).expect("it was written");
    assert!(compare::changes(&again, &results).is_empty());

    let table = Table(&again).to_string();
    let value = |quantity: &str| value(&again, quantity);
    for workload in [
        "1 KiB, 100 partitions, 256 in flight",
        "1 KiB, 10 partitions, at 50 %",
    ] {
        assert!(table.contains(workload), "{table}");
    }
    let limit = value("requests/s").expect("it is measured");
    assert_eq!(value("requests/s due"), Some(limit / 2.0));
    assert!(value("bytes to the journal a byte") > Some(1.0), "{table}");
    let mut inside = again.runs.iter().flat_map(|run| run.inside.values());
    let stages = inside.next().expect("Corelog tells of itself");
    assert!(
        stages.stages.iter().any(|stage| stage.stage == "write"),
        "{stages:?}"
    );
}

#[test]
fn a_broker_that_is_offered_more_than_it_takes_goes_on_and_recovers() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder on a disk");
    let binary = env!("CARGO_BIN_EXE_corelog");
    let results = compare::run(&settings(folder.path(), binary, "overload"))
        .expect("the suite comes to its end");

    assert_eq!(results.failures(), Vec::<String>::new());
    let value = |quantity: &str| value(&results, quantity).expect("it is measured");
    assert_eq!(
        value("requests/s due"),
        3.0 * value("requests/s at the limit")
    );
    // How much it takes says little on a machine that has other things to do: that it takes any is no matter of time.
    assert!(value("requests/s acknowledged in overload") > 0.0);
    assert!(value("s until all is acknowledged behind it") > 0.0);
    assert!(value("acknowledged in the second behind it, times the limit") > 0.0);
}

#[test]
fn attackers_get_through_beside_producers() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder on a disk");
    let binary = env!("CARGO_BIN_EXE_corelog");
    let results = compare::run(&settings(folder.path(), binary, "attackers"))
        .expect("the suite comes to its end");

    assert_eq!(results.failures(), Vec::<String>::new());
    let value = |quantity: &str| value(&results, quantity).expect("it is measured");
    for attack in [
        "pipelined tiny requests/s",
        "connections/s of one request",
        "requests/s whose replies nobody reads",
        "bytes/s that trickle in",
        "silent connections",
        "compression bombs/s",
    ] {
        assert!(value(attack) > 0.0, "{attack}");
    }
    // How much they cost says little on a machine that has other things to do.
    for attack in [
        "pipelined tiny requests",
        "a connection for each request",
        "replies that nobody reads",
        "requests that trickle in",
        "silent connections",
        "compression bombs",
    ] {
        assert!(value(&format!("p99 beside {attack}, times without")) > 0.0);
    }
}

#[test]
fn compaction_is_measured_up_to_where_the_broker_says_that_it_is_over() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder on a disk");
    let binary = env!("CARGO_BIN_EXE_corelog");
    let results = compare::run(&CompareSettings {
        is_quick: true,
        ..settings(folder.path(), binary, "compaction of keyed records")
    })
    .expect("the suite comes to its end");

    assert_eq!(results.failures(), Vec::<String>::new());
    assert!(value(&results, "MB/s compacted") > Some(0.0));
    // There are a tenth as many keys as records, and some are in the last segment only.
    let left = value(&results, "% of the bytes left").expect("it is measured");
    assert!((8.0..10.0).contains(&left), "{left} % left");
}
