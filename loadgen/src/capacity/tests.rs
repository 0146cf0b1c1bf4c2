use std::collections::BTreeMap;

use super::*;
use crate::limit::{Bound, Curve, Load, Node, Point, Rate};
use crate::report::Latency;

const MS: u64 = 1_000_000;

/// One node that kept `p99 < 10ms` at 100,000 records of 1,000 bytes a second, read twice; with half of that p99 is
/// 4 ms.
fn curve() -> Curve {
    let rate = |records_per_s: f64| Rate {
        records_per_s,
        bytes_per_s: records_per_s * 1_000.0,
    };
    let point = |records_per_s, p99_ms, kept| Point {
        rate: rate(records_per_s),
        produced: rate(records_per_s),
        produce_latency_ns: Latency {
            count: 1_000,
            p99: p99_ms * MS,
            max: 3 * p99_ms * MS,
            ..Latency::default()
        },
        end_to_end_latency_ns: Latency::default(),
        kept,
        by_generator: false,
    };
    let json = serde_json::json!({
        "kind": "corelog-loadgen limit", "format": 2, "generator": "1", "started_unix_ms": 1,
        "promise": "produce p99 < 10ms", "hold_s": 60.0, "settle_s": 5.0, "precision": 0.05, "limit": null,
        "bound": "promise", "knee": null, "text": [], "points": [], "steps": [], "workload": {},
        "load": { "record_bytes": 1000.0, "wire_record_bytes": 1000.0, "fan_out": 2.0, "replication_factor": 1.0, "partitions": 12.0 },
        "node": { "count": 1.0, "cores": 8.0, "memory_bytes": 64e9, "disk": "", "network": "", "is_shared": false },
        "hosts": [],
    });
    Curve {
        limit: Some(rate(100_000.0)),
        points: vec![
            point(50_000.0, 4, true),
            point(100_000.0, 9, true),
            point(110_000.0, 30, false),
        ],
        ..Curve::from_json(&json.to_string()).unwrap()
    }
}

fn needs(given: &[(&str, &str)]) -> Result<Needs, Vec<String>> {
    let given = given
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    Needs::read(&given.collect::<BTreeMap<_, _>>())
}

fn bill(given: &[(&str, &str)]) -> Bill {
    plan(&needs(given).unwrap(), &curve()).unwrap()
}

fn refusal(given: &[(&str, &str)], curve: &Curve) -> String {
    plan(&needs(given).unwrap(), curve).unwrap_err().join("\n")
}

#[test]
fn a_plan_worked_by_hand() {
    let bill = bill(&[
        ("in", "50MB/s"),
        ("fan-out", "3"),
        ("peak-factor", "3"),
        ("retention", "7d"),
        ("replication-factor", "3"),
        ("headroom", "0.4"),
    ]);
    // At the peak 150 MB/s come in: 450 MB/s are appended, and 150 * (3 + 2) = 750 MB/s are read. A node appends
    // 100 * 0.6 = 60 MB/s and reads 200 * 0.6 = 120 MB/s: 7.5 and 6.25 nodes, so 8, and one may fail.
    assert_eq!(
        (bill.nodes, bill.binding_resource.as_str()),
        (9, "appended bytes")
    );
    let nodes = |resource: &str| {
        let demand = bill
            .demands
            .iter()
            .find(|demand| demand.resource == resource);
        demand.unwrap().nodes
    };
    assert_eq!((nodes("appended records"), nodes("read bytes")), (9, 8));
    // 750 MB/s out over 10 Gbit/s * 0.7 = 875 MB/s.
    assert_eq!(
        (nodes("network"), nodes("replicas"), nodes("quorum")),
        (2, 3, 3)
    );
    // 50 MB/s * 604,800 s * 3 * 1.1 = 99.792 TB; a node has room for 4 * 8 * 0.8 = 25.6 TB.
    assert!((bill.stored_bytes / 1e12 - 99.792).abs() < 1e-9);
    assert_eq!(nodes("disk space"), 4);
    // 99.792 / 9 = 11.09 TB on disks with room for 3.2 TB: 4. Written are 450 / 8 * 2.2 = 123.75 MB/s.
    assert_eq!((bill.node.disks, bill.disks), (4, 36));
    assert!((bill.node.disk_written_bytes_per_s - 123.75e6).abs() < 1.0);
    assert_eq!((bill.node.cores, bill.cores), (Some(8), Some(72)));
    // 4 GiB and a minute of 56.25 MB/s.
    assert!((bill.node.memory_bytes - (4.0 * 1_073_741_824.0 + 3.375e9)).abs() < 1.0);
    assert!((bill.node.network_out_bytes_per_s - 93.75e6).abs() < 1.0);
}

#[test]
fn the_binding_resource_is_the_one_that_asks_for_most() {
    for (given, nodes, resource) in [
        (vec![("in", "1MB/s")], 3, "replicas"),
        (
            vec![
                ("in", "1MB/s"),
                ("replication-factor", "1"),
                ("node-failures", "2"),
            ],
            5,
            "quorum",
        ),
        (
            vec![("in", "10MB/s"), ("retention", "365d")],
            41,
            "disk space",
        ),
        (vec![("in", "10MB/s"), ("fan-out", "41")], 8, "read bytes"),
        (
            vec![("in", "10MB/s"), ("fan-out", "41"), ("network", "1Gbit/s")],
            11,
            "network",
        ),
        (
            vec![("in", "10MB/s"), ("record-size", "250B")],
            5,
            "appended records",
        ),
        (
            vec![
                ("in", "20MB/s"),
                ("disk-write", "10MB/s"),
                ("disks-per-node-max", "2"),
            ],
            15,
            "disk writes",
        ),
    ] {
        let bill = bill(&given);
        assert_eq!(
            (bill.nodes, bill.binding_resource.as_str()),
            (nodes, resource),
            "{given:?}"
        );
    }
}

#[test]
fn a_tighter_promise_takes_the_rate_that_was_seen_to_keep_it() {
    let loose = bill(&[("in", "100MB/s")]);
    let tight = bill(&[("in", "100MB/s"), ("slo", "p99 < 5ms")]);
    assert_eq!((loose.nodes, tight.nodes), (10, 19));
    // A looser one is not known to be kept by more.
    assert_eq!(bill(&[("in", "100MB/s"), ("slo", "p99 < 1s")]).nodes, 10);
}

#[test]
fn what_the_curve_does_not_say_is_refused_with_what_to_measure() {
    let all = curve();
    for (given, reason) in [
        (
            ("slo", "p99 < 1ms"),
            "the lowest produce p99 was 4 ms; measure with --slo",
        ),
        (
            ("slo", "end-to-end p99 < 1s"),
            "no measured rate kept end-to-end p99 < 1s: the lowest end-to-end p99 was nothing",
        ),
        (("record-size", "10kB"), "believed from 250 to 4000"),
        (("replication-factor", "4"), "believed up to 3"),
        (("in", "5GB/s"), "is believed up to 50"),
    ] {
        let refusal = refusal(&[("in", "10MB/s"), given], &all);
        assert!(refusal.contains(reason), "{given:?}: {refusal}");
    }
    let unread = Curve {
        load: Load {
            fan_out: 0.0,
            ..all.load
        },
        ..all.clone()
    };
    assert!(refusal(&[("in", "10MB/s")], &unread).contains("without anybody who reads"));
    let none = Curve { limit: None, ..all };
    assert!(refusal(&[("in", "10MB/s")], &none).contains("no rate that kept its promise"));
}

#[test]
fn doubts_of_the_measurement_are_told_with_the_plan() {
    let told = |curve: &Curve| {
        plan(&needs(&[("in", "10MB/s")]).unwrap(), curve)
            .unwrap()
            .beyond
            .join(" ")
    };
    assert!(told(&curve()).contains("3 replicas was not measured"));
    let doubtful = Curve {
        bound: Bound::Generator,
        node: Node {
            cores: 0.0,
            is_shared: true,
            memory_bytes: 1e9,
            ..curve().node
        },
        ..curve()
    };
    let told = told(&doubtful);
    for doubt in [
        "generator was the limit",
        "Nobody told the cores",
        "used a part of its cores",
        "has 1.0 GB",
    ] {
        assert!(told.contains(doubt), "{told}");
    }
}

#[test]
fn inputs_are_refused_with_their_ranges_all_at_once() {
    let faults = needs(&[
        ("fan-out", "-1"),
        ("headroom", "1"),
        ("retention", "7"),
        ("network", "10GB"),
        ("replication-factor", "2.5"),
        ("slo", "p99"),
        ("disk-sise", "4TB"),
        ("peak-factor", "nan"),
    ])
    .unwrap_err();
    let text = faults.join("\n");
    for part in [
        "in must be given: bytes a second from 1kB/s to 1TB/s",
        "fan-out = -1: must be a number from 0 to 1000",
        "headroom = 1: must be a number from 0 to 0.9",
        "retention = 7: must be a time from 1m to 3650d, with its unit",
        "network = 10GB: must be bits a second from 10Mbit/s to 1Tbit/s",
        "replication-factor = 2.5: must be a whole number from 1 to 15",
        "slo = p99: must be one or several of",
        "unknown key disk-sise: must be one of in, fan-out",
        "peak-factor = nan: must be a number from 1 to 100",
    ] {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
    assert_eq!(faults.len(), 9);
}

#[test]
fn every_default_is_allowed_and_a_file_says_the_same_as_flags() {
    let file = "in = \"50MB/s\"\nfan-out = 3\nheadroom = 0.4\n";
    let from_file = Needs::read(&Needs::texts_of_file(file).unwrap()).unwrap();
    let from_flags = needs(&[("in", "50MB/s"), ("fan-out", "3"), ("headroom", "0.4")]).unwrap();
    assert_eq!(from_file, from_flags);
    let refused = |text: &str| Needs::texts_of_file(text).unwrap_err();
    assert_eq!(
        refused("in = [5]"),
        ["line 1: in: must be a number or a text"]
    );
    assert!(refused("in = ")[0].contains("line 1"));
    let faults = refused("in = \"50MB/s\"\nfan-out = -1\n\ndisk-sise = 5\nslo = \"p99\"\n");
    for (fault, begin) in faults.iter().zip([
        "line 2: fan-out = -1: must be",
        "line 4: unknown key disk-sise",
        "line 5: slo = p99: must be",
    ]) {
        assert!(fault.starts_with(begin), "{fault}");
    }
    assert_eq!(faults.len(), 3);
}

#[test]
fn the_text_names_what_is_assumed_and_the_json_comes_back() {
    let bill = bill(&[("in", "50MB/s"), ("fan-out", "3")]);
    let text = bill.to_text();
    for part in [
        "is the binding resource",
        "given  fan-out: 3",
        "default  headroom: 0.3",
        "measured  rate at the promise: 100000 records/s, 100.00 MB/s over the network on 1 node(s)",
        "assumed  hardware: each node is as the measured one",
        "Beyond what was measured",
    ] {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
    assert_eq!(serde_json::from_str::<Bill>(&bill.to_json()).unwrap(), bill);
}

#[test]
fn a_curve_of_compressed_records_is_reckoned_as_they_went_over_the_network() {
    let given = needs(&[("in", "30MB/s"), ("replication-factor", "1")]).unwrap();
    let plain = plan(&given, &curve()).unwrap();
    // The same rate of records took a quarter of the network and of the disks.
    let mut compressed = curve();
    compressed.load.wire_record_bytes = 250.0;
    let compressed = plan(&given, &compressed).unwrap();
    assert_eq!(
        compressed.node.appended_bytes_per_s * (compressed.nodes - 1) as f64,
        60e6
    );
    assert!(compressed.nodes > plain.nodes, "{} nodes", compressed.nodes);
    let records = |bill: &Bill| bill.node.appended_records_per_s * (bill.nodes - 1) as f64;
    assert!((records(&compressed) / records(&plain) - 4.0).abs() < 1e-9);
}
