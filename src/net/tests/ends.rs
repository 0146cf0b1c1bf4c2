//! How connections end, and that nobody else notices.

use super::*;
use crate::protocol::testing::Random;

#[test]
fn what_cannot_be_served_closes_the_connection_after_what_came_before() {
    on_a_stage(roomy(), open_to_all(), |stage| async move {
        let mut version_unknown = request(TIMED, 1, 1, &[0, 0]).to_vec();
        version_unknown[7] = 9;
        let mut key_unknown = request(TIMED, 1, 1, &[0, 0]).to_vec();
        key_unknown[4..6].copy_from_slice(&5_i16.to_be_bytes());
        for bad in [
            version_unknown,
            key_unknown,
            request(ApiKey::Envelope, 0, 1, &[]).to_vec(),
            request(UNREADABLE, 0, 1, &[]).to_vec(),
            request(PANICS, 0, 1, &[]).to_vec(),
            (-1_i32).to_be_bytes().to_vec(),
            i32::MAX.to_be_bytes().to_vec(),
            vec![0; 8],
            vec![0, 0, 0, 1, 9],
            vec![0, 0, 0, 3, 0, 1, 0],
        ] {
            let is_panic = bad[..] == request(PANICS, 0, 1, &[])[..];
            let mut client = stage.client().await;
            client.send(timed_request(8, 0)).await;
            assert_eq!(client.answer().await.expect("an answer").0, 8);
            client
                .send([&produce_request(9, 3, 0)[..], &bad].concat())
                .await;
            client.send(timed_request(10, 0)).await;
            // A panic closes at once, anything else when what came before is answered.
            let last = client.answer().await.map(|(id, _)| id);
            assert!(last == Some(9) || (is_panic && last.is_none()), "{bad:?}");
            assert_eq!(client.answer().await, None);
        }
        stage.is_well().await;
        stage
            .until("all are gone", || stage.network.connections() == 0)
            .await;
    });
}

#[test]
fn whoever_has_sent_too_much_gets_the_last_replies() {
    on_a_stage(roomy(), open_to_all(), |stage| async move {
        let mut client = stage.client().await;
        let bad = (-1_i32).to_be_bytes();
        client
            .send([&produce_request(9, 50, 0)[..], &bad].concat())
            .await;
        stage
            .until("it has begun", || stage.engine.under_way.get() == 1)
            .await;
        // Nobody reads any more.
        client.send(vec![0; 20_000]).await;
        stage
            .until("it is gone", || stage.network.connections() == 0)
            .await;
        assert_eq!(client.answer().await.map(|(id, _)| id), Some(9));
        assert_eq!(client.answer().await, None);
    });
}

#[test]
fn whoever_may_be_sending_too_much_is_waited_for() {
    on_a_simulated_stage(roomy(), open_to_all(), |stage| async move {
        let mut client = stage.client().await;
        let bad = (-1_i32).to_be_bytes();
        client
            .send([&produce_request(9, 50, 0)[..], &bad].concat())
            .await;
        assert_eq!(client.answer().await.map(|(id, _)| id), Some(9));
        assert_eq!(client.answer().await, None);
        // What is on its way to the broker does no harm.
        assert_eq!(stage.network.connections(), 1);
        drop(client);
        stage
            .until("it is gone", || stage.network.connections() == 0)
            .await;
    });
}

#[test]
fn garbage_disturbs_nobody() {
    on_a_stage(roomy(), open_to_all(), |stage| async move {
        let mut random = Random::new(7);
        let mut neighbour = stage.client().await;
        for round in 0..200 {
            let mut client = stage.client().await;
            let mut bytes = random.bytes(300);
            if round % 2 == 0 {
                // A plausible length, so that the garbage is read as a request.
                let len = (bytes.len() as u32).to_be_bytes();
                bytes.splice(0..0, len);
            }
            client.send(bytes).await;
            neighbour.send(timed_request(round, 0)).await;
            assert_eq!(neighbour.answer().await.expect("an answer").0, round);
        }
        stage
            .until("all are gone", || stage.network.connections() == 1)
            .await;
    });
}

#[test]
fn an_error_that_cannot_be_told_closes() {
    on_a_stage(roomy(), open_to_all(), |stage| async move {
        let mut client = stage.client().await;
        client
            .send(
                [
                    produce_request(1, 0, 0),
                    produce_request(2, 0, 2),
                    produce_request(3, 0, 0),
                ]
                .concat(),
            )
            .await;
        assert_eq!(client.answer().await.expect("an answer").0, 1);
        assert_eq!(client.answer().await, None);
        stage.is_well().await;
    });
}

#[test]
fn a_client_that_vanishes_leaves_nothing_behind() {
    on_a_stage(roomy(), open_to_all(), |stage| async move {
        for _ in 0..20 {
            let mut client = stage.client().await;
            client
                .send([produce_request(1, 30, 0), timed_request(2, 0)].concat())
                .await;
            client.send(vec![0, 0, 200, 0, 1]).await;
        }
        stage
            .until("all are gone", || stage.network.connections() == 0)
            .await;
        stage
            .until("effects go on", || stage.engine.under_way.get() == 0)
            .await;
        assert_eq!(stage.network.shared.budget.used(), 0);
    });
}

#[test]
fn draining_answers_what_has_begun_and_takes_no_more() {
    on_a_simulated_stage(roomy(), open_to_all(), |stage| async move {
        let mut busy = stage.client().await;
        let mut silent = stage.client().await;
        let mut stuck = stage.client().await;
        busy.send([produce_request(1, 40, 0), produce_request(2, 40, 0)].concat())
            .await;
        silent.send(timed_request(7, 0)).await;
        stuck.send(timed_request(8, 60_000)).await;
        assert_eq!(silent.answer().await.expect("an answer").0, 7);
        stage
            .until("all have begun", || stage.engine.under_way.get() == 3)
            .await;
        let network = Rc::clone(&stage.network);
        let draining = stage.io.clone();
        let drained = draining.spawn("drain", async move {
            network.drain(Duration::from_millis(300)).await;
        });
        assert_eq!(silent.answer().await, None);
        assert_eq!(busy.answer().await.expect("an answer").0, 1);
        assert_eq!(busy.answer().await.expect("an answer").0, 2);
        assert_eq!(busy.answer().await, None);
        assert_eq!(stuck.answer().await, None);
        drained.await;
        assert_eq!(stage.network.connections(), 0);
        assert!(stage.io.connect(stage.address).await.is_err());
    });
}

#[test]
fn a_stop_does_not_wait_for_those_that_wait_for_news() {
    on_a_simulated_stage(roomy(), open_to_all(), |stage| async move {
        let mut clients = Vec::new();
        for id in 0..50 {
            let mut client = stage.client().await;
            client.send(request(WAITS, 0, id, &[])).await;
            clients.push(client);
        }
        stage
            .until("all wait", || stage.engine.under_way.get() == 50)
            .await;
        let begun = stage.io.now();
        stage.network.drain(Duration::from_secs(60)).await;
        assert!(stage.io.now() - begun < Duration::from_secs(10));
        for (id, client) in clients.iter_mut().enumerate() {
            let (answered, body) = client.answer().await.expect("what there is");
            assert_eq!((answered, &body[..]), (id as i32, &b"waited"[..]));
            assert_eq!(client.answer().await, None);
        }
    });
}

#[test]
fn nobody_waits_for_news_once_his_client_has_gone() {
    on_a_stage(roomy(), open_to_all(), |stage| async move {
        for _ in 0..20 {
            let mut client = stage.client().await;
            client.send(request(WAITS, 0, 1, &[])).await;
        }
        stage
            .until("all are gone", || {
                stage.network.connections() == 0 && stage.engine.events.borrow().len() == 40
            })
            .await;
        assert_eq!(stage.engine.under_way.get(), 0);
    });
}

#[test]
fn what_is_sent_behind_a_request_that_waits_is_not_lost() {
    on_a_simulated_stage(roomy(), open_to_all(), |stage| async move {
        let mut client = stage.client().await;
        client.send(request(WAITS, 0, 1, &[])).await;
        stage
            .until("it waits", || stage.engine.under_way.get() == 1)
            .await;
        client.send(timed_request(2, 0)).await;
        client.send(timed_request(3, 0)).await;
        stage.io.sleep(Duration::from_millis(50)).await;
        assert_eq!(stage.engine.under_way.get(), 1);
        // As a client does that has sent all it will.
        client.write.shutdown().expect("it is open");
        for id in 1..4 {
            assert_eq!(client.answer().await.expect("an answer").0, id);
        }
        assert_eq!(client.answer().await, None);
    });
}

#[test]
fn nobody_waits_for_more_with_so_much_behind_it_that_its_client_is_not_looked_at() {
    on_a_simulated_stage(roomy(), open_to_all(), |stage| async move {
        let mut client = stage.client().await;
        client.send(request(WAITS, 0, 1, &[])).await;
        stage
            .until("it waits", || stage.engine.under_way.get() == 1)
            .await;
        let begun = stage.io.now();
        for id in 2..8 {
            client.send(request(WAITS, 0, id, &[0; 1_000])).await;
        }
        assert_eq!(client.answer().await.expect("an answer").0, 1);
        // Not at once: it would ask again at once.
        assert!(stage.io.now() - begun >= Duration::from_millis(500));
        drop(client);
        stage
            .until("it is gone", || stage.network.connections() == 0)
            .await;
        assert_eq!(stage.engine.under_way.get(), 0);
    });
}

#[test]
fn who_waits_for_news_in_silence_for_too_long_is_answered_and_closed() {
    let limits = Limits {
        idle_max: Some(Duration::from_secs(1)),
        ..roomy()
    };
    on_a_simulated_stage(limits, open_to_all(), |stage| async move {
        let mut client = stage.client().await;
        client.send(request(WAITS, 0, 1, &[])).await;
        assert_eq!(client.answer().await.expect("an answer").0, 1);
        assert_eq!(client.answer().await, None);
    });
}
