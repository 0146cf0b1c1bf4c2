use std::sync::Arc;
use std::sync::atomic::Ordering;

use kafka_protocol::ResponseError;

use super::broker::Broker;
use super::*;
use crate::engine::link::REQUEST_NS_MAX;

#[test]
fn what_was_due_while_the_buffer_was_full_is_intended_and_not_the_generators_lateness() {
    let ground = Ground::new(workload());
    let mut producer = ground.producer();
    let measurements = ground.measure(|recorder| {
        let nobody = Arc::new(cluster(None));
        // In time, until the buffer is full.
        let full_ns = 70_000_000;
        let shared = ground.at(full_ns, cluster(None));
        let wake_ns = producer.tick(&nobody, &shared, recorder);
        assert!((60..70).contains(&producer.unacknowledged));
        assert!(wake_ns > full_ns, "it does not wait for what has no room");
        let shared = ground.at(SECOND, cluster(None));
        producer.tick(&nobody, &shared, recorder);
        let shared = ground.at(10 * SECOND, cluster(None));
        producer.stop(2 * SECOND, &shared, recorder);
        recorder.stop(2 * SECOND);
        producer.give_up(shared.clock.now_ns(), recorder);
    });
    assert_eq!(measurements.intended, 2_000);
    assert_eq!(measurements.unsent, 2_000);
    assert_eq!(measurements.errors["due and never sent"], 2_000);
    // Each was up to ten seconds old when it was given up, and the last one at least eight.
    assert_eq!(measurements.produce_latency.len(), 2_000);
    assert!(measurements.produce_latency.min() >= 7 * SECOND);
    // Only those that had room can have been late by the generator.
    assert!((60..80).contains(&measurements.lateness.len()));
    assert!(measurements.lateness.max() < SECOND);
}

#[test]
fn what_is_due_until_the_stop_is_made() {
    let mut small = workload();
    small.records.sizes = Sizes::Fixed(100);
    let ground = Ground::new(small);
    let mut producer = ground.producer();
    let measurements = ground.measure(|recorder| {
        let shared = ground.at(2 * SECOND, cluster(None));
        producer.stop(2 * SECOND, &shared, recorder);
        assert_eq!(producer.unacknowledged, 2_000);
        let wake_ns = producer.tick(&Arc::new(cluster(None)), &shared, recorder);
        assert_eq!(
            producer.unacknowledged, 2_000,
            "no more after it: {wake_ns}"
        );
    });
    assert_eq!((measurements.intended, measurements.unsent), (2_000, 0));
}

#[test]
fn a_closed_loop_without_replies_asks_to_be_called_again_at_once() {
    let mut closed = workload();
    closed.load = Load::Max;
    closed.producers.acks = crate::workload::Acks::None;
    closed.records.sizes = Sizes::Fixed(100);
    let ground = Ground::new(closed);
    let broker = Broker::silent(1);
    let mut producer = ground.producer();
    ground.measure(|recorder| {
        let found = Arc::new(cluster(Some(broker.address)));
        let shared = ground.at(SECOND, cluster(None));
        // Until the connection is there, nothing leaves and the buffer is full.
        drive(&mut producer, &found, &shared, recorder, is_greeted);
        let wake_ns = producer.tick(&found, &shared, recorder);
        assert!(wake_ns <= shared.clock.now_ns(), "{wake_ns}");
        assert!(
            shared
                .produced_bytes
                .load(std::sync::atomic::Ordering::Relaxed)
                > 0
        );
    });
}

#[test]
fn a_request_without_a_reply_is_sent_again_and_in_the_end_given_up_record_by_record() {
    let mut small = workload();
    small.records.sizes = Sizes::Fixed(100);
    small.producers.linger = Duration::ZERO;
    let ground = Ground::new(small);
    let broker = Broker::silent(2);
    let mut producer = ground.producer();
    let measurements = ground.measure(|recorder| {
        let found = Arc::new(cluster(Some(broker.address)));
        let shared = ground.at(SECOND, cluster(None));
        drive(&mut producer, &found, &shared, recorder, |it| {
            it.in_flight() > 0
        });
        let made = producer.unacknowledged;
        let late = ground.at(2 * SECOND + REQUEST_NS_MAX, cluster(None));
        producer.stop(SECOND, &late, recorder);
        producer.tick(&found, &late, recorder);
        assert_eq!(producer.in_flight(), 0, "the connection is given up");
        assert!(producer.unacknowledged >= made, "and the records are not");
        let later = ground.at(200 * SECOND, cluster(None));
        producer.tick(&found, &later, recorder);
        assert_eq!(producer.unacknowledged, 0, "the delivery has its time");
    });
    assert_eq!(measurements.errors["no reply within 30 s"], 1);
    let given_up = measurements.errors["delivery timed out"];
    assert!(given_up >= 1_000, "{given_up}");
    assert!(measurements.unanswered > 0);
    assert_eq!(measurements.unanswered + measurements.unsent, given_up);
    assert_eq!(measurements.produce_latency.len(), given_up);
}

#[test]
fn what_is_in_flight_at_the_end_is_unanswered() {
    let mut small = workload();
    small.records.sizes = Sizes::Fixed(100);
    small.producers.linger = Duration::ZERO;
    let ground = Ground::new(small);
    let broker = Broker::silent(1);
    let mut producer = ground.producer();
    let measurements = ground.measure(|recorder| {
        let found = Arc::new(cluster(Some(broker.address)));
        let shared = ground.at(SECOND, cluster(None));
        drive(&mut producer, &found, &shared, recorder, |it| {
            it.in_flight() > 0
        });
        producer.stop(2 * SECOND, &ground.at(2 * SECOND, cluster(None)), recorder);
        let shared = ground.at(40 * SECOND, cluster(None));
        producer.give_up(shared.clock.now_ns(), recorder);
        assert_eq!(producer.unacknowledged, 0);
        producer.tick(&found, &shared, recorder);
        assert_eq!(producer.in_flight(), 0, "it sends nothing after that");
    });
    assert_eq!(measurements.intended, 2_000);
    assert_eq!(measurements.unanswered + measurements.unsent, 2_000);
    assert!(measurements.unanswered > 0);
    assert_eq!(
        measurements.errors["never answered"],
        measurements.unanswered
    );
    assert_eq!(measurements.produce_latency.len(), 2_000);
}

#[test]
fn behind_a_batch_that_was_given_up_a_partition_goes_on_in_the_next_epoch() {
    // The second batch is too large.
    let mut batches = 0;
    let mut expected = (3, 0);
    let broker = Broker::answering(move |batch| {
        batches += 1;
        match batches {
            2 => ResponseError::MessageTooLarge.code(),
            _ => append(batch, &mut expected),
        }
    });
    let (measurements, acknowledged) = produce_all(&broker);
    let refused = measurements.errors["MessageTooLarge (10)"];
    assert!((1..200).contains(&refused), "one batch: {refused}");
    assert_eq!(acknowledged + refused, 2_000);
    // Nothing but those and what was in flight behind them.
    assert_eq!(measurements.errors.len(), 2, "{:?}", measurements.errors);
}

#[test]
fn behind_batches_that_the_broker_acknowledged_and_lost_a_partition_goes_on_in_the_next_epoch() {
    let mut batches = 0;
    let mut expected = (3, 0);
    let broker = Broker::answering(move |batch| {
        batches += 1;
        if batches == 3 {
            expected.1 = 0;
        }
        append(batch, &mut expected)
    });
    let (measurements, acknowledged) = produce_all(&broker);
    assert_eq!(acknowledged, 2_000);
    let names: Vec<_> = measurements.errors.keys().collect();
    assert_eq!(names, ["OutOfOrderSequenceNumber (45)"]);
}

/// What a broker answers that knows the epoch and the sequence with which a batch has to begin.
fn append(batch: &[u8], expected: &mut (i16, i32)) -> i16 {
    let epoch = i16::from_be_bytes(batch[51..53].try_into().unwrap());
    let sequence = i32::from_be_bytes(batch[53..57].try_into().unwrap());
    let count = i32::from_be_bytes(batch[57..61].try_into().unwrap());
    let whole = crate::batch::whole_batches(batch).next().unwrap();
    whole.records(|_, _| Ok(())).expect("its checksum is right");
    match (epoch, sequence) {
        found if found == *expected || found == (expected.0 + 1, 0) => {
            *expected = (epoch, sequence + count);
            0
        }
        _ => ResponseError::OutOfOrderSequenceNumber.code(),
    }
}

/// Sends 2,000 records of an idempotent producer in epoch 3, and tells how many were acknowledged.
fn produce_all(broker: &Broker) -> (Measurements, u64) {
    let mut idempotent = workload();
    idempotent.records.sizes = Sizes::Fixed(100);
    idempotent.producers.idempotence = true;
    let mut ground = Ground::new(idempotent);
    ground.preparation.producer_ids = vec![(7, 3)];
    let mut producer = ground.producer();
    let mut acknowledged = 0;
    let measurements = ground.measure(|recorder| {
        let found = Arc::new(cluster(Some(broker.address)));
        let shared = ground.at(2 * SECOND, cluster(None));
        producer.stop(2 * SECOND, &shared, recorder);
        drive(&mut producer, &found, &shared, recorder, |it| {
            it.unacknowledged == 0
        });
        acknowledged = shared.produced_bytes.load(Ordering::Relaxed) / 100;
    });
    (measurements, acknowledged)
}

fn is_greeted(producer: &Producer<'_>) -> bool {
    let mut links = producer.links.iter();
    links.any(|link| link.connection.as_ref().is_some_and(|it| it.is_greeted()))
}

/// Sends and takes in what has come, as a worker does, until it is as it should be. That it takes a minute is a failure.
fn drive(
    producer: &mut Producer<'_>,
    found: &Arc<Cluster>,
    shared: &Shared<'_>,
    recorder: &mut Recorder,
    is_done: fn(&Producer<'_>) -> bool,
) {
    let mut backoff = Backoff::within(Duration::from_secs(60));
    while !is_done(producer) {
        producer.tick(found, shared, recorder);
        for link_at in 0..producer.links.len() {
            if let Some(connection) = &mut producer.links[link_at].connection {
                connection.is_blocked = false;
                let _ = connection.flush();
            }
            producer.receive(link_at, &mut [0; 1_000], shared, recorder);
        }
        assert!(backoff.wait(), "the broker does not get to it");
    }
}

impl Producer<'_> {
    fn in_flight(&self) -> usize {
        let connections = self.links.iter().filter_map(|it| it.connection.as_ref());
        connections.map(|it| it.in_flight()).sum()
    }
}
