//! The load generator against a real broker: what it verifies is what happened.

#[path = "harness/mod.rs"]
mod harness;

use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use corelog_loadgen::client::Client;
use corelog_loadgen::coordination::{Commits, Heartbeats, Settle, Until};
use corelog_loadgen::engine::{self, Conductor, Orders, Outcome, Part, Settings, Start};
use corelog_loadgen::fleet;
use corelog_loadgen::limit::{self, Curve, Range};
use corelog_loadgen::measure::Judgement;
use corelog_loadgen::report::Figures;
use corelog_loadgen::workload::{
    Acks, Assignor, Codec, GroupProtocol, Keys, Load, Shape, Sizes, Topics, Workload, named,
};
use harness::Broker;
use kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};
use kafka_protocol::messages::{DeleteRecordsRequest, TopicName};
use kafka_protocol::protocol::StrBytes;

/// A workload small enough for any machine.
fn light(name: &str) -> Workload {
    let mut workload = named("small-records").expect("it ships");
    workload.name = name.to_owned();
    workload.topics.name = name.to_owned();
    workload.topics.partitions = 5;
    workload.producers.count = 3;
    workload.consumers.count = 2;
    workload.consumers.fan_out = 1;
    workload.load = Load::Open(Shape::Poisson(2_000.0));
    workload.warm_up = Duration::from_millis(200);
    workload.duration = Duration::from_secs(2);
    workload.verify = true;
    workload
}

fn run(workload: &Workload, broker: &Broker) -> Outcome {
    let settings = Settings {
        bootstrap: vec![broker.address()],
        threads: 2,
    };
    let outcome = engine::run(workload, &settings, &AtomicBool::new(false), |_| {});
    outcome.expect("the run comes to its end")
}

/// Everything that was made has come out.
fn assert_whole(outcome: &Outcome, at_least: u64) {
    let found = outcome.verification.expect("it was asked for");
    assert_eq!(found.judgement(), Judgement::Whole, "{found:?}");
    assert_eq!(found.duplicated + found.reordered, 0, "{found:?}");
    assert!(found.acknowledged >= at_least, "{found:?}");
    assert_eq!(outcome.measurements.error_count(), 0);
}

#[test]
fn every_codec_and_every_kind_of_record_comes_out_as_it_went_in() {
    let broker = Broker::start(&[]);
    for codec in [
        Codec::None,
        Codec::Gzip,
        Codec::Snappy,
        Codec::Lz4,
        Codec::Zstd,
    ] {
        let mut workload = light(&format!("{codec:?}").to_lowercase());
        workload.producers.codec = codec;
        workload.producers.linger = Duration::from_millis(5);
        workload.records.keys = Keys::Zipf(1_000, 0.99);
        workload.records.sizes = Sizes::Range(40, 2_000);
        workload.records.compressibility = 0.5;
        workload.consumers.fan_out = 2;
        workload.duration = Duration::from_millis(500);
        assert_whole(&run(&workload, &broker), 500);
    }
}

#[test]
fn a_compacted_topic_takes_records_with_keys() {
    let broker = Broker::start(&[]);
    let mut workload = light("compacted");
    workload.records.keys = Keys::Uniform(1_000);
    let compact = ("cleanup.policy".to_owned(), "compact".to_owned());
    workload.topics.configs.extend([compact]);
    workload.duration = Duration::from_millis(500);
    // The active segment holds all of it, which is never compacted.
    assert_whole(&run(&workload, &broker), 500);
}

#[test]
fn a_closed_loop_and_a_backlog_are_read_to_their_end() {
    let broker = Broker::start(&[]);
    let mut workload = light("closed");
    workload.load = Load::Max;
    workload.producers.acks = Acks::Leader;
    workload.producers.idempotence = false;
    workload.topics.count = 2;
    workload.consumers.backlog_bytes = 1_000_000;
    workload.duration = Duration::from_millis(500);
    let outcome = run(&workload, &broker);
    let found = outcome.verification.expect("it was asked for");
    assert_eq!(found.judgement(), Judgement::Whole, "{found:?}");
    assert_eq!(found.duplicated + found.reordered, 0, "{found:?}");
    assert!(found.acknowledged > 0, "{found:?}");
}

/// Once producers are done, records vanish from both partitions before a consumer may begin.
fn run_behind_deleted(workload: &Workload, broker: &Broker, before_offset: i64) -> Outcome {
    let bootstrap = [broker.address()];
    let settings = Settings {
        bootstrap: bootstrap.to_vec(),
        threads: 2,
    };
    let preparation = engine::prepare(workload, &bootstrap).expect("a topic");
    let mut conductor = Conductor::new(workload, &bootstrap, preparation.run);
    let mut are_deleted = false;
    let part = engine::run_part(
        workload,
        &settings,
        &preparation,
        Part::WHOLE,
        Start::now,
        |status| {
            if status.are_producers_done && !are_deleted {
                let mut client = Client::connect(broker.address()).expect("it listens");
                delete_records(&mut client, &workload.topics, before_offset);
                are_deleted = true;
            }
            Orders {
                may_consume: are_deleted,
                ..conductor.conduct(&[&status], false).clone()
            }
        },
    );
    Outcome::of(workload, vec![part.expect("the run comes to its end")])
}

fn delete_records(client: &mut Client, topics: &Topics, before_offset: i64) {
    let partitions = (0..topics.partitions as i32).map(|index| {
        DeleteRecordsPartition::default()
            .with_partition_index(index)
            .with_offset(before_offset)
    });
    let topic = DeleteRecordsTopic::default()
        .with_name(TopicName(StrBytes::from_string(topics.name.clone())))
        .with_partitions(partitions.collect());
    let request = DeleteRecordsRequest::default()
        .with_topics(vec![topic])
        .with_timeout_ms(30_000);
    let reply = client.call(&request, 2).expect("an answer");
    let codes = reply.topics.iter().flat_map(|topic| &topic.partitions);
    assert!(codes.clone().count() == topics.partitions as usize);
    assert!(codes.into_iter().all(|it| it.error_code == 0), "{reply:?}");
}

#[test]
fn consumers_go_on_behind_records_that_were_deleted_before_they_were_read() {
    let broker = Broker::start(&[]);
    let mut alone = light("deleted");
    alone.topics.partitions = 2;
    alone.load = Load::Open(Shape::Constant(2_000.0));
    alone.duration = Duration::from_millis(800);
    // None may begin before it is told to.
    alone.consumers.backlog_bytes = u64::MAX;
    let mut group = alone.clone();
    group.topics.name = "deleted-group".to_owned();
    group.consumers.group.protocol = Some(GroupProtocol::Classic);
    for workload in [alone, group] {
        // Where consumers begin there is the record that came before the run.
        let outcome = run_behind_deleted(&workload, &broker, 1 + 300);
        let found = outcome.verification.expect("it was asked for");
        assert_eq!((found.acknowledged, found.received), (2_000, 1_400));
        assert_eq!((found.deleted, found.lost, found.unread), (600, 0, 0));
        assert_eq!(found.judgement(), Judgement::Unread);
        assert_eq!(outcome.measurements.skipped, 600);
        assert_eq!(outcome.measurements.error_count(), 0);
    }
}

#[test]
fn every_record_of_the_timetable_is_made_and_acknowledged() {
    let broker = Broker::start(&[]);
    let mut workload = light("whole");
    // The last one of each producer is due in the last moment.
    workload.load = Load::Open(Shape::Constant(1_500.0));
    workload.warm_up = Duration::from_millis(500);
    workload.duration = Duration::from_secs(1);
    let outcome = run(&workload, &broker);
    assert_eq!(outcome.measurements.intended, 1_500);
    assert_eq!(outcome.measurements.produce_latency.len(), 1_500);
    let found = outcome.verification.expect("it was asked for");
    assert_eq!(found.acknowledged, 2_250);
}

#[test]
fn a_topic_that_is_there_is_not_taken_for_another_one() {
    let broker = Broker::start(&[]);
    let mut client = Client::connect(broker.address()).expect("it listens");
    client.create_topic("there", 2, &[]).expect("a topic");
    client.create_topic("there", 2, &[]).expect("the same");
    let refused = client.create_topic("there", 3, &[]).expect_err("another");
    let text = refused.to_string();
    assert!(
        text.contains("exists with 2 partitions, 3 wanted"),
        "{text}"
    );

    let mut workload = light("there");
    let refused = limit::refuse_existing(&mut client, &workload).expect_err("it is not ours");
    assert!(
        refused.to_string().contains("topic there exists"),
        "{refused}"
    );
    workload.topics.name = "not-there".to_owned();
    limit::refuse_existing(&mut client, &workload).expect("there is none");
}

#[test]
fn several_connections_of_each_client_carry_everything_once_and_in_order() {
    let broker = Broker::start(&[]);
    let mut workload = light("connections");
    workload.topics.count = 2;
    workload.producers.connections = 3;
    workload.consumers.connections = 2;
    assert_whole(&run(&workload, &broker), 2_000);
}

/// Kills the broker once there is progress, and starts it again while the load goes on.
fn run_across_a_kill(broker: &mut Broker, workload: Workload) -> Outcome {
    let settings = Settings {
        bootstrap: vec![broker.address()],
        threads: 2,
    };
    let (sender, acknowledged) = mpsc::channel();
    let running = thread::spawn(move || {
        engine::run(&workload, &settings, &AtomicBool::new(false), |progress| {
            if progress.records_per_s > 0.0 {
                let _ = sender.send(());
            }
        })
    });
    acknowledged.recv().expect("there is progress");
    broker.kill9();
    broker.restart();
    running.join().expect("no panic").expect("it goes on")
}

#[test]
fn a_broker_that_is_killed_and_starts_again_loses_nothing_and_the_report_says_so() {
    let mut broker = Broker::start(&[]);
    let mut workload = light("killed");
    workload.producers.idempotence = true;
    workload.producers.acks = Acks::All;
    workload.duration = Duration::from_secs(4);
    let outcome = run_across_a_kill(&mut broker, workload);
    let found = outcome.verification.expect("it was asked for");
    assert_eq!(found.judgement(), Judgement::Whole, "{found:?}");
    assert!(found.acknowledged >= 8_000, "{found:?}");
    assert!(
        outcome.measurements.error_count() > 0,
        "connections were lost"
    );
}

#[test]
fn a_search_for_the_limit_ends_with_a_curve_of_what_the_broker_did() {
    let broker = Broker::start(&[]);
    let mut workload = light("limit");
    workload.warm_up = Duration::from_millis(100);
    workload.duration = Duration::from_millis(400);
    let settings = limit::Settings {
        // Nothing but the bound of the rate ends this one, however slow the machine is.
        promise: "max < 1h".parse().expect("a promise"),
        range: Range {
            first: 500.0,
            least: 100.0,
            most: 1_000.0,
            precision: 0.5,
        },
        node: limit::Node {
            count: 1.0,
            ..limit::Node::default()
        },
        started_unix_ms: 1,
    };
    let step = |rate| {
        let workload = limit::at_rate(&workload, &settings.promise, rate).expect("it has a rate");
        let outcome = run(&workload, &broker);
        Ok(Some(Figures::of(
            &workload,
            &outcome.measurements,
            outcome.verification,
            Vec::new(),
        )))
    };
    let curve = limit::find(&workload, &settings, step, |_| {}).expect("it comes to its end");
    assert!(curve.points.len() >= 3, "{:?}", curve.points);
    assert!(curve.steps.iter().all(|step| step.produced.records > 0));
    let read = Curve::from_json(&curve.to_json()).expect("it is whole");
    assert_eq!(read.points, curve.points);
}

/// An agent that serves until it is dropped.
struct Agent {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    serving: Option<JoinHandle<anyhow::Result<()>>>,
}

impl Agent {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it has one");
        let stop = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&stop);
        let serving = thread::spawn(move || fleet::serve(&listener, 1, &is_over, |_| {}));
        Self {
            address,
            stop,
            serving: Some(serving),
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.serving.take().map(JoinHandle::join);
    }
}

/// The only way to an agent, for one connection, until it is cut.
struct Line {
    address: SocketAddr,
    ends: Arc<Mutex<Vec<TcpStream>>>,
}

impl Line {
    fn to(agent: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it has one");
        let ends = Arc::new(Mutex::new(Vec::new()));
        let known = Arc::clone(&ends);
        thread::spawn(move || -> std::io::Result<()> {
            let near = listener.accept()?.0;
            let far = TcpStream::connect(agent)?;
            let both = [near.try_clone()?, far.try_clone()?];
            known.lock().expect("nobody panics here").extend(both);
            let there = (near.try_clone()?, far.try_clone()?);
            thread::spawn(move || std::io::copy(&mut &there.0, &mut &there.1));
            std::io::copy(&mut &far, &mut &near)?;
            Ok(())
        });
        Self { address, ends }
    }

    fn cut(&self) {
        for end in self.ends.lock().expect("nobody panics here").iter() {
            let _ = end.shutdown(Shutdown::Both);
        }
    }
}

#[test]
fn two_agents_make_one_load_and_find_each_others_records() {
    let broker = Broker::start(&[]);
    let agents = [Agent::start(), Agent::start()];
    let addresses = agents.each_ref().map(|agent| agent.address);
    let mut workload = light("agents");
    workload.consumers.fan_out = 2;
    workload.consumers.backlog_bytes = 50_000;
    let stop = AtomicBool::new(false);
    // An agent serves one coordinator after the other.
    for _ in 0..2 {
        let mut seen = 0.0_f64;
        let bootstrap = [broker.address()];
        let ran = fleet::run(&workload, &bootstrap, &addresses, &stop, |progress| {
            seen = seen.max(progress.records_per_s);
        })
        .expect("it comes to its end");
        assert_eq!((ran.lost, ran.hosts.len()), (Vec::new(), 2));
        assert_whole(&ran.outcome, 3_000);
        assert!(seen > 0.0, "there was progress");
        let measurements = ran.outcome.measurements;
        let found = ran.outcome.verification.expect("it was asked for");
        // Each of two sets of consumers read everything, on whichever machine it was made.
        assert_eq!(found.received, 2 * found.acknowledged);
        assert!(measurements.produce_latency.len() > 3_000);
        for address in addresses {
            let is_there = |name: &str| name.ends_with(&address.to_string());
            assert!(
                measurements
                    .threads
                    .iter()
                    .any(|thread| is_there(&thread.name))
            );
        }
    }
}

/// The same, read by two groups of two members.
fn grouped(name: &str, assignor: Assignor) -> Workload {
    let mut workload = light(name);
    workload.consumers.fan_out = 2;
    workload.consumers.group.protocol = Some(GroupProtocol::Classic);
    workload.consumers.group.assignor = assignor;
    workload.consumers.group.commit_interval = Duration::from_millis(200);
    workload
}

/// Members join one after the other, and so rebalances happen.
const NO_DELAY: &str = "group.initial.rebalance.delay.ms=0";

/// Each group has got everything at least once.
fn assert_delivered(outcome: &Outcome, at_least: u64) {
    let found = outcome.verification.expect("it was asked for");
    assert_eq!(found.judgement(), Judgement::Whole, "{found:?}");
    assert!(found.acknowledged >= at_least, "{found:?}");
    let again = found.received - found.redelivered;
    assert_eq!(again, 2 * found.acknowledged, "{found:?}");
    let measurements = &outcome.measurements;
    assert!(!measurements.first_assignment.is_empty());
    assert!(!measurements.commit_latency.is_empty());
}

#[test]
fn groups_get_everything_at_least_once() {
    let broker = Broker::start(&[
        NO_DELAY,
        "group.consumer.min.heartbeat.interval.ms=100",
        "group.consumer.heartbeat.interval.ms=100",
    ]);
    for (protocol, assignor) in [
        (GroupProtocol::Classic, Assignor::Range),
        (GroupProtocol::Classic, Assignor::CooperativeSticky),
        (GroupProtocol::Consumer, Assignor::Uniform),
    ] {
        let name = format!("groups-{assignor:?}").to_lowercase();
        let mut workload = grouped(&name, assignor);
        workload.consumers.group.protocol = Some(protocol);
        let outcome = run(&workload, &broker);
        assert_delivered(&outcome, 3_000);
        assert_eq!(outcome.measurements.error_count(), 0);
    }
}

#[test]
fn groups_go_on_behind_a_kill_of_their_coordinator() {
    let mut broker = Broker::start(&[NO_DELAY]);
    let mut workload = grouped("groups-killed", Assignor::CooperativeSticky);
    workload.duration = Duration::from_secs(4);
    let outcome = run_across_a_kill(&mut broker, workload);
    assert_delivered(&outcome, 8_000);
}

#[test]
fn groups_spread_over_two_agents() {
    let broker = Broker::start(&[NO_DELAY]);
    let agents = [Agent::start(), Agent::start()];
    let addresses = agents.each_ref().map(|agent| agent.address);
    let workload = grouped("groups-agents", Assignor::Range);
    let stop = AtomicBool::new(false);
    let ran = fleet::run(&workload, &[broker.address()], &addresses, &stop, |_| {})
        .expect("it comes to its end");
    assert_eq!(ran.lost, Vec::new());
    assert_delivered(&ran.outcome, 3_000);
}

#[test]
fn coordinators_take_loads_of_their_own() {
    let broker = Broker::start(&[
        NO_DELAY,
        "group.min.session.timeout.ms=300",
        "group.consumer.min.session.timeout.ms=300",
        "group.consumer.session.timeout.ms=1500",
        "group.consumer.min.heartbeat.interval.ms=50",
        "group.consumer.heartbeat.interval.ms=200",
    ]);
    let bootstrap = [broker.address()];
    let commits = Commits {
        topic: "commits".to_owned(),
        connections: 3,
        groups: 7,
        partitions: 4,
        until: Until::Commits(5),
    };
    let report = commits.run(&bootstrap).expect("it comes to its end");
    assert_eq!((report.commits, report.failures.0.len()), (35, 0));
    let mut client = Client::connect(broker.address()).expect("it listens");
    let committed = client.committed(&commits.group(6), &["commits".to_owned()], 4);
    assert_eq!(committed.expect("it tells"), [4; 4]);

    for (protocol, assignor) in [
        (GroupProtocol::Classic, Assignor::CooperativeSticky),
        (GroupProtocol::Consumer, Assignor::Default),
    ] {
        let settle = Settle {
            topic: "settle".to_owned(),
            partitions: 6,
            members: 3,
            protocol,
            assignor,
            session_timeout: Duration::from_millis(1_500),
        };
        let report = settle.run(&bootstrap).expect("it comes to its end");
        assert!(report.kill_s > 0.0 && report.join_s > 0.0, "{report}");

        let heartbeats = Heartbeats {
            topic: "heartbeats".to_owned(),
            // More members than connect at once.
            groups: 40,
            members: 2,
            protocol,
            assignor,
            session_timeout: Duration::from_secs(2),
        };
        let mut joined = heartbeats.join(&bootstrap).expect("they join");
        let report = joined.measure(Duration::from_secs(1)).expect("they go on");
        joined.leave().expect("they leave");
        assert!(report.heartbeats > 0, "{report}");
    }
}

#[test]
fn an_agent_that_vanishes_ends_the_run_of_the_others_and_is_named() {
    let broker = Broker::start(&[]);
    let staying = Agent::start();
    let vanishing = Agent::start();
    let line = Line::to(vanishing.address);
    let addresses = [staying.address, line.address];
    let gone = line.address.to_string();
    let mut workload = light("vanishing");
    // Long enough that only the loss can end it.
    workload.duration = Duration::from_secs(3_600);
    let bootstrap = [broker.address()];
    let stop = AtomicBool::new(false);
    let ran = fleet::run(&workload, &bootstrap, &addresses, &stop, |progress| {
        if progress.records_per_s > 0.0 {
            line.cut();
        }
    })
    .expect("the other one comes to its end");
    let [lost] = ran.lost.as_slice() else {
        panic!("{:?}", ran.lost)
    };
    assert_eq!(lost.agent, gone);
    assert!(ran.outcome.verification.is_none(), "a part of it is gone");
    assert!(ran.outcome.measurements.produced.records > 0);
}
