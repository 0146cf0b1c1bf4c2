//! What operators see over HTTP, beside a broker that works.

#[path = "harness/mod.rs"]
mod harness;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

use corelog_loadgen::batch::{self, Producer};
use corelog_loadgen::client::{
    self, Backoff, Client, PRODUCE_VERSION, produce_outcome, produce_request,
};
use corelog_loadgen::engine::{self, Settings};
use corelog_loadgen::measure::Judgement;
use corelog_loadgen::workload::{Load, Shape, named};
use harness::{Broker, http};
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::{FindCoordinatorRequest, GroupId, OffsetCommitRequest};
use kafka_protocol::protocol::StrBytes;

const HTTP: &str = "corelog.http.listener=127.0.0.1:0";

/// Where a broker says that it serves metrics, which it may do a moment after it answers clients.
fn http_address(broker: &Broker) -> SocketAddr {
    http_address_in(broker, 0)
}

/// The same, behind so many bytes of what it has printed.
fn http_address_in(broker: &Broker, from: usize) -> SocketAddr {
    loop {
        let log = broker.log().split_off(from);
        let line = log.lines().find_map(|line| line.split("http://").nth(1));
        let address = line.and_then(|line| line.strip_suffix("/metrics"));
        if let Some(address) = address {
            return address.parse().expect("an address");
        }
        assert!(
            !log.contains("ready"),
            "no address of the metrics in:\n{log}"
        );
        thread::sleep(Duration::from_millis(5));
    }
}

/// Status and body.
fn request(address: SocketAddr, head: &str) -> (u16, String) {
    http::request(address, head).expect("HTTP is served")
}

fn get(address: SocketAddr, path: &str) -> (u16, String) {
    request(address, &format!("GET {path}"))
}

/// Sums over all shards of what begins with this, labels included.
fn sum(metrics: &str, series: &str) -> f64 {
    let of_series = metrics.lines().filter(|line| line.starts_with(series));
    let values = of_series.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    values.sum()
}

#[test]
fn what_clients_did_is_what_the_metrics_say() {
    let broker = Broker::start(&[HTTP]);
    let address = http_address(&broker);
    assert_eq!(get(address, "/ready"), (200, "ready\n".to_owned()));
    assert_eq!(get(address, "/live"), (200, "live\n".to_owned()));

    let mut workload = named("small-records").expect("it ships");
    workload.topics.name = "measured".to_owned();
    workload.topics.partitions = 4;
    workload.consumers.count = 1;
    workload.consumers.fan_out = 1;
    workload.load = Load::Open(Shape::Poisson(2_000.0));
    workload.warm_up = Duration::ZERO;
    workload.duration = Duration::from_secs(1);
    workload.verify = true;
    let settings = Settings {
        bootstrap: vec![broker.address()],
        threads: 1,
    };
    let outcome = engine::run(&workload, &settings, &AtomicBool::new(false), |_| {});
    let outcome = outcome.expect("the run comes to its end");
    let found = outcome.verification.expect("it was asked for");
    assert_eq!(found.judgement(), Judgement::Whole, "{found:?}");
    assert!(found.acknowledged > 0, "{found:?}");

    let (status, metrics) = get(address, "/metrics");
    assert_eq!(status, 200);
    let records = r#"corelog_topic_records_in_total{topic="measured"}"#;
    let records = sum(&metrics, records);
    // The generator marks where it begins with records of its own.
    assert!(records >= found.acknowledged as f64, "{records}, {found:?}");
    let bytes_in = sum(
        &metrics,
        r#"corelog_topic_bytes_in_total{topic="measured"}"#,
    );
    let bytes_out = sum(
        &metrics,
        r#"corelog_topic_bytes_out_total{topic="measured"}"#,
    );
    assert_eq!(bytes_out, sum(&metrics, "corelog_read_bytes_total"));
    assert!(bytes_in > 0.0 && bytes_out > 0.0, "{bytes_in} {bytes_out}");
    assert_eq!(
        bytes_in,
        sum(&metrics, r#"corelog_topic_size_bytes{topic="measured"}"#)
    );
    // Each group that was written holds what waited for it, and that every produced batch did.
    let appends = sum(&metrics, "corelog_journal_appends_total");
    let queued: f64 = metrics
        .lines()
        .filter(|line| line.starts_with("corelog_request_stage_seconds_count"))
        .filter(|line| line.contains(r#"stage="queue""#))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum();
    assert_eq!(appends, queued);
    assert!(sum(&metrics, "corelog_journal_bytes_total") > bytes_in);

    let (status, partitions) = get(address, "/metrics/partitions");
    assert_eq!(status, 200);
    let ends = r#"corelog_partition_log_end_offset{topic="measured""#;
    assert_eq!(sum(&partitions, ends), records);
}

#[test]
fn a_start_tells_how_much_there_was_to_do() {
    let mut broker = Broker::start(&[HTTP]);
    let mut client = Client::connect(broker.address()).expect("a connection");
    client.create_topic("t", 3, &[]).expect("a topic");
    let batch = batch::encode(Producer::NONE, client::wall_ms(), [b"one".as_slice()]);
    let request = produce_request("t", 0, -1, &batch.into());
    let reply = client.call(&request, PRODUCE_VERSION).expect("a reply");
    assert_eq!(produce_outcome(&reply).expect("an outcome").0, 0);
    broker.kill9();
    let before = broker.log().len();
    broker.restart();
    let address = http_address_in(&broker, before);
    let (_, metrics) = get(address, "/metrics");
    let of = |series: &str| sum(&metrics, &format!("corelog_recovery_{series} "));
    assert!(of("journal_bytes") > 0.0, "{metrics}");
    assert_eq!(of("journal_read_bytes"), of("journal_bytes"));
    assert_eq!((of("partitions"), of("partitions_opened")), (3.0, 3.0));
    assert_eq!(of("seconds_left"), 0.0);
}

#[test]
fn each_series_has_a_help_and_a_type_and_stands_once() {
    let broker = Broker::start(&[HTTP]);
    let address = http_address(&broker);
    let mut client = Client::connect(broker.address()).expect("a connection");
    client.create_topic("measured", 2, &[]).expect("a topic");
    commit(&mut client, "group", "measured", 2, 1);
    for path in ["/metrics", "/metrics/partitions", "/metrics/groups"] {
        let (status, body) = get(address, path);
        assert_eq!(status, 200);
        let mut kinds = BTreeMap::new();
        let mut helped = Vec::new();
        let mut seen = Vec::new();
        for line in body.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, text) = help.split_once(' ').expect("a text");
                assert!(!text.is_empty());
                helped.push(name);
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').expect("a kind");
                assert!(kinds.insert(name, kind).is_none(), "{name} twice");
            } else {
                let (series, value) = line.rsplit_once(' ').expect("a value");
                assert!(value.parse::<f64>().is_ok(), "{line}");
                seen.push(series);
            }
        }
        for series in &seen {
            let name = series.split('{').next().expect("a name");
            let of_histogram = ["_bucket", "_sum", "_count"].iter().any(|end| {
                name.strip_suffix(end)
                    .is_some_and(|base| kinds.get(base) == Some(&"histogram"))
            });
            assert!(of_histogram || kinds.contains_key(name), "{series}");
        }
        assert!(!kinds.is_empty(), "{path}");
        helped.sort_unstable();
        assert!(kinds.keys().eq(&helped), "{kinds:?} {helped:?}");
        let all = seen.len();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), all);
    }
}

#[test]
fn strange_requests_and_silent_clients_disturb_nobody() {
    let broker = Broker::start(&[HTTP]);
    let address = http_address(&broker);
    assert_eq!(get(address, "/nothing").0, 404);
    assert_eq!(request(address, "POST /metrics").0, 405);
    assert_eq!(request(address, "HEAD /metrics"), (200, String::new()));
    let mut garbage = TcpStream::connect(address).expect("HTTP is served");
    garbage.write_all(&[0xff; 4096]).expect("it is read");
    let mut reply = Vec::new();
    // Closed, whether or not it is told why.
    let _ = garbage.read_to_end(&mut reply);
    // As many as are served at a time, and more.
    let silent: Vec<TcpStream> = (0..100)
        .map(|_| TcpStream::connect(address).expect("the kernel accepts"))
        .collect();
    let producer = Client::connect(broker.address());
    assert!(producer.is_ok(), "clients of the broker feel nothing");
    assert_eq!(get(address, "/live").0, 200);
    drop(silent);
    assert_eq!(get(address, "/ready").0, 200);
}

#[test]
fn only_batches_are_counted_as_appends() {
    let broker = Broker::start(&[HTTP]);
    let address = http_address(&broker);
    let mut client = Client::connect(broker.address()).expect("a connection");
    let appends = || {
        let (_, metrics) = get(address, "/metrics");
        sum(&metrics, "corelog_journal_appends_total")
    };
    client.create_topic("measured", 3, &[]).expect("a topic");
    for partition in 0..3 {
        let value = std::iter::once(&b"value"[..]);
        let batch = batch::encode(Producer::NONE, client::wall_ms(), value);
        let request = produce_request("measured", partition, -1, &batch.into());
        let reply = client.call(&request, PRODUCE_VERSION).expect("a reply");
        let outcome = produce_outcome(&reply).expect("it is well-formed");
        assert_eq!(outcome.0, 0);
    }
    let before = appends();
    client.delete_topic("measured").expect("it is deleted");
    // What the controller has decided is one batch; that partitions are gone is none.
    assert_eq!(appends() - before, 1.0);
}

/// Commits the same offset of these partitions for a group, once it has a coordinator.
fn commit(client: &mut Client, group: &str, topic: &str, partitions: i32, offset: i64) {
    let partitions = (0..partitions).map(|partition| {
        OffsetCommitRequestPartition::default()
            .with_partition_index(partition)
            .with_committed_offset(offset)
    });
    let topic = OffsetCommitRequestTopic::default()
        .with_name(client::topic_name(topic))
        .with_partitions(partitions.collect());
    let group = StrBytes::from_string(group.to_owned());
    let find = FindCoordinatorRequest::default().with_coordinator_keys(vec![group.clone()]);
    let request = OffsetCommitRequest::default()
        .with_group_id(GroupId(group))
        .with_topics(vec![topic]);
    let mut backoff = Backoff::within(http::PATIENCE);
    loop {
        client.call(&find, 4).expect("a reply");
        let reply = client.call(&request, 8).expect("a reply");
        let mut codes = reply.topics[0].partitions.iter();
        if codes.all(|partition| partition.error_code == 0) {
            return;
        }
        assert!(backoff.wait(), "no coordinator: {reply:?}");
    }
}

#[test]
fn how_far_groups_are_behind_is_what_they_committed_beside_the_ends_of_the_logs() {
    let broker = Broker::start(&[HTTP, "offsets.topic.num.partitions=4"]);
    let address = http_address(&broker);
    let nothing = get(address, "/metrics/groups");
    assert!(nothing.1.lines().all(|line| line.starts_with('#')));
    assert_eq!((nothing.0, nothing.1.lines().count()), (200, 6));
    let mut client = Client::connect(broker.address()).expect("a connection");
    client.create_topic("read", 2, &[]).expect("a topic");
    client.create_topic("gone", 1, &[]).expect("a topic");
    let value = std::iter::repeat_n(&b"value"[..], 7);
    let batch = batch::encode(Producer::NONE, client::wall_ms(), value);
    let request = produce_request("read", 1, -1, &batch.into());
    let reply = client.call(&request, PRODUCE_VERSION).expect("a reply");
    assert_eq!(produce_outcome(&reply).expect("it is well-formed").0, 0);
    let strange = "a \"strange\" name + 1\\";
    commit(&mut client, "ahead", "read", 2, 9);
    commit(&mut client, strange, "read", 2, 3);
    commit(&mut client, "ahead", "gone", 1, 1);

    let (status, all) = get(address, "/metrics/groups");
    assert_eq!(status, 200);
    for line in [
        r#"corelog_group_committed_offset{group="ahead",topic="read",partition="1"} 9"#,
        r#"corelog_group_log_end_offset{group="ahead",topic="read",partition="1"} 7"#,
        r#"corelog_group_lag{group="ahead",topic="read",partition="1"} -2"#,
        r#"corelog_group_lag{group="ahead",topic="read",partition="0"} -9"#,
        r#"corelog_group_lag{group="ahead",topic="gone",partition="0"} -1"#,
        r#"corelog_group_lag{group="a \"strange\" name + 1\\",topic="read",partition="1"} 4"#,
    ] {
        assert!(all.lines().any(|found| found == line), "{line} in\n{all}");
    }
    assert_eq!(all.lines().count(), 3 * (2 + 5));
    // Coordinators that nobody has asked yet may still be loading.
    let mut backoff = Backoff::within(http::PATIENCE);
    let metrics = loop {
        let (_, metrics) = get(address, "/metrics");
        let states = "corelog_group_coordinator_partitions{";
        let states = metrics.lines().filter(|line| line.starts_with(states));
        let active = states.filter(|line| line.contains(r#"state="active""#));
        if sum(&active.collect::<Vec<_>>().join("\n"), "") == 4.0 {
            break metrics;
        }
        assert!(backoff.wait(), "{metrics}");
    };
    for (series, value) in [
        ("corelog_group_offset_commits_total", 5.0),
        ("corelog_group_offsets{", 5.0),
        ("corelog_groups{", 2.0),
        ("corelog_group_coordinator_load_seconds_count", 4.0),
        ("corelog_group_coordinator_write_seconds_count", 3.0),
        ("corelog_group_coordinator_reply_wait_seconds_count", 3.0),
    ] {
        assert_eq!(sum(&metrics, series), value, "{series}");
    }

    let (status, one) = get(
        address,
        "/metrics/groups?group=a%20%22strange%22+name%20%2b+1%5C",
    );
    assert_eq!(status, 200);
    let of_group = |line: &&str| line.starts_with('#') || line.contains("strange");
    assert!(all.lines().filter(of_group).eq(one.lines()));
    assert_eq!(get(address, "/metrics/groups?group=nobody"), nothing);
    for query in ["group", "groups=x", "group=%", "group=%zz", "group=%ff"] {
        let path = format!("/metrics/groups?{query}");
        assert_eq!(get(address, &path).0, 400, "{query}");
    }
}

#[test]
fn lags_of_many_partitions_are_told_once_each() {
    const GROUPS: i64 = 30;
    const PARTITIONS: i32 = 700;
    let broker = Broker::start(&[HTTP, "offsets.topic.num.partitions=3"]);
    let mut client = Client::connect(broker.address()).expect("a connection");
    client
        .create_topic("read", PARTITIONS, &[])
        .expect("a topic");
    for group in 0..GROUPS {
        commit(
            &mut client,
            &format!("group-{group}"),
            "read",
            PARTITIONS,
            group,
        );
    }
    let (status, lags) = get(http_address(&broker), "/metrics/groups");
    assert_eq!(status, 200);
    let mut told: Vec<&str> = lags.lines().collect();
    assert_eq!(told.len(), 3 * (2 + GROUPS as usize * PARTITIONS as usize));
    told.sort_unstable();
    told.dedup();
    assert_eq!(told.len(), 3 * (2 + GROUPS as usize * PARTITIONS as usize));
    for group in 0..GROUPS {
        let series = format!(r#"corelog_group_committed_offset{{group="group-{group}","#);
        assert_eq!(sum(&lags, &series), (group * i64::from(PARTITIONS)) as f64);
    }
}
