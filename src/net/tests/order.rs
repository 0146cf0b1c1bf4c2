//! Requests in, replies out: cut anyhow, in order always.

use super::*;

#[test]
fn api_versions_is_answered_in_any_version() {
    on_a_stage(roomy(), open_to_all(), |stage| async move {
        let mut client = stage.client().await;
        client.send(request(ApiKey::ApiVersions, 0, 1, &[])).await;
        let (id, body) = client.answer().await.expect("an answer");
        assert_eq!(id, 1);
        assert_eq!(body[..2], [0, 0]);
        client
            .send(request(ApiKey::ApiVersions, 77, 2, b"from the future"))
            .await;
        let (id, body) = client.answer().await.expect("an answer");
        assert_eq!((id, &body[..2]), (2, &[0, 35][..]));
        // The connection goes on.
        client.send(request(ApiKey::ApiVersions, 2, 3, &[])).await;
        assert_eq!(client.answer().await.expect("an answer").0, 3);
    });
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    on_a_stage(roomy(), open_to_all(), |stage| async move {
        let mut client = stage.client().await;
        let mut all = BytesMut::new();
        for id in 0..2_000 {
            all.extend_from_slice(&match id % 3 {
                0 => produce_request(id, (id % 7) as u16, 0),
                1 => timed_request(id, 0),
                _ => produce_request(id, 0, 0),
            });
        }
        client.send(all).await;
        for id in 0..2_000 {
            assert_eq!(client.answer().await.expect("an answer").0, id);
        }
    });
}

#[test]
fn a_request_may_come_byte_by_byte() {
    on_a_stage(roomy(), open_to_all(), |stage| async move {
        let mut client = stage.client().await;
        for byte in timed_request(5, 0) {
            client.send(Bytes::from(vec![byte])).await;
            stage.io.sleep(Duration::from_micros(300)).await;
        }
        assert_eq!(client.answer().await.expect("an answer").0, 5);
    });
}

#[test]
fn large_requests_and_replies_pass_whole() {
    on_a_stage(roomy(), open_to_all(), |stage| async move {
        let mut client = stage.client().await;
        for (id, len) in [(1, 3_000_000_usize), (2, 70_000), (3, 9_000_000), (4, 1)] {
            let mut body = (len as u32).to_be_bytes().to_vec();
            body.resize(len + 4, 1);
            client.send(request(LARGE, 0, id, &body)).await;
            client.send(timed_request(-id, 0)).await;
            let (answered, reply) = client.answer().await.expect("an answer");
            assert_eq!(answered, id);
            // The header of this version has no tagged fields to follow.
            assert_eq!(
                reply.len() - reply.iter().take_while(|b| **b != 7).count(),
                len
            );
            assert_eq!(client.answer().await.expect("an answer").0, -id);
        }
    });
}

#[test]
fn produces_overlap_and_are_answered_in_order() {
    on_a_stage(roomy(), open_to_all(), |stage| async move {
        let mut client = stage.client().await;
        client
            .send([produce_request(1, 40, 0), produce_request(2, 1, 0)].concat())
            .await;
        assert_eq!(client.answer().await.expect("an answer").0, 1);
        assert_eq!(client.answer().await.expect("an answer").0, 2);
        assert_eq!(
            *stage.engine.events.borrow(),
            [
                (Event::Begin, 1),
                (Event::Begin, 2),
                (Event::Complete, 2),
                (Event::Complete, 1)
            ]
        );
    });
}

#[test]
fn other_requests_wait_for_the_effects_of_earlier_ones() {
    on_a_stage(roomy(), open_to_all(), |stage| async move {
        let mut client = stage.client().await;
        client
            .send(
                [
                    produce_request(1, 20, 0),
                    produce_request(2, 1, 0),
                    timed_request(3, 5),
                    produce_request(4, 0, 0),
                ]
                .concat(),
            )
            .await;
        for id in 1..=4 {
            assert_eq!(client.answer().await.expect("an answer").0, id);
        }
        let order: Vec<i32> = stage
            .engine
            .events
            .borrow()
            .iter()
            .filter(|(event, _)| *event == Event::Begin)
            .map(|(_, id)| *id)
            .collect();
        assert_eq!(order, [1, 2, 3, 4]);
        let events = stage.engine.events.borrow();
        let at = |wanted| events.iter().position(|event| *event == wanted);
        assert!(at((Event::Begin, 3)) > at((Event::Complete, 1)));
        assert!(at((Event::Begin, 4)) > at((Event::Complete, 3)));
    });
}

#[test]
fn requests_without_reply_leave_no_gap() {
    on_a_stage(roomy(), open_to_all(), |stage| async move {
        let mut client = stage.client().await;
        client
            .send(
                [
                    produce_request(1, 5, 1),
                    produce_request(2, 0, 0),
                    produce_request(3, 0, 1),
                    timed_request(4, 0),
                ]
                .concat(),
            )
            .await;
        assert_eq!(client.answer().await.expect("an answer").0, 2);
        assert_eq!(client.answer().await.expect("an answer").0, 4);
        assert_eq!(stage.engine.events.borrow().len(), 8);
    });
}

#[test]
fn the_wait_for_its_turn_is_a_part_of_a_request_s_way_to_its_handler() {
    on_a_stage(roomy(), open_to_all(), |stage| async move {
        let mut client = stage.client().await;
        client
            .send([produce_request(1, 100, 0), timed_request(2, 0)].concat())
            .await;
        for id in 1..3 {
            assert_eq!(client.answer().await.expect("an answer").0, id);
        }
        let metrics = &stage.network.shared.metrics;
        let frame = metrics.api(TIMED).frame.snapshot();
        assert_eq!(frame.count(), 1);
        assert!(
            frame.sum() >= Duration::from_millis(90),
            "{:?}",
            frame.sum()
        );
    });
}

#[test]
fn connections_share_how_many_requests_overlap_on_a_core() {
    const ALL: usize = 1_024;
    on_a_stage(roomy(), open_to_all(), |stage| async move {
        let (mut busy, mut other) = (stage.client().await, stage.client().await);
        other.send(produce_request(1, 1_000, 0)).await;
        let many = 2..2 + ALL as i32;
        let requests: Vec<_> = many.clone().map(|id| produce_request(id, 100, 0)).collect();
        let requests = requests.concat();
        let under_way_max = &stage.engine.under_way_max;
        for expected in [1 + ALL / 2, ALL] {
            busy.send(requests.clone()).await;
            for id in many.clone() {
                assert_eq!(busy.answer().await.expect("an answer").0, id);
            }
            assert_eq!(under_way_max.get(), expected);
            if expected < ALL {
                assert_eq!(other.answer().await.expect("an answer").0, 1);
            }
        }
    });
}

#[test]
fn a_full_connection_goes_on_once_half_is_answered_and_its_replies_leave_together() {
    const ALL: i32 = 1_024;
    on_a_simulated_stage(roomy(), open_to_all(), |stage| async move {
        let mut client = stage.client().await;
        // When all of the first have begun, sixteen of them are done each millisecond.
        let requests = (1..=ALL).map(|id| produce_request(id, 500 + (id as u16 - 1) / 16, 0));
        let further = (1..=100).map(|id| produce_request(ALL + id, 1_000, 0));
        let requests: Vec<_> = requests.chain(further).collect();
        client.send(requests.concat()).await;
        let events = &stage.engine.events;
        for id in 1..=ALL + 100 {
            assert_eq!(client.answer().await.expect("an answer").0, id);
            if id <= ALL / 2 {
                let done = |(event, _): &&(Event, i32)| *event == Event::Complete;
                let done = events.borrow().iter().filter(done).count();
                let group = (id as usize).next_multiple_of(32);
                assert!((group..group + 32).contains(&done), "{id}: {done}");
            }
        }
        let events = events.borrow();
        let next = (Event::Begin, ALL + 1);
        let before = events.iter().take_while(|event| **event != next);
        let begun = before
            .clone()
            .filter(|(event, _)| *event == Event::Begin)
            .count();
        assert_eq!((begun, before.count() - begun), (1_024, 512));
    });
}

#[test]
fn a_reply_of_a_full_connection_does_not_wait_for_those_that_take_long() {
    on_a_simulated_stage(roomy(), open_to_all(), |stage| async move {
        let mut client = stage.client().await;
        let long = (2..=1_100).map(|id| produce_request(id, 60_000, 0));
        let requests: Vec<_> = std::iter::once(produce_request(1, 500, 0))
            .chain(long)
            .collect();
        let sent = stage.io.now();
        client.send(requests.concat()).await;
        assert_eq!(client.answer().await.expect("an answer").0, 1);
        assert_eq!(stage.engine.under_way.get(), 1_023);
        assert!(stage.io.now() - sent < Duration::from_secs(1));
    });
}
