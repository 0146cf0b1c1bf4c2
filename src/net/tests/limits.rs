//! Limits: connections, silence, memory, clients that don't read.

use super::*;

#[test]
fn an_address_over_its_limit_is_closed_at_once() {
    let limits = ConnectionLimits {
        per_ip_overrides: vec![("127.0.0.1".to_owned(), 2)],
        ..open_to_all()
    };
    on_a_stage(roomy(), limits, |stage| async move {
        let mut first = stage.client().await;
        let _second = stage.client().await;
        first.send(timed_request(1, 0)).await;
        assert!(first.answer().await.is_some());
        let mut third = stage.client().await;
        third.send(timed_request(1, 0)).await;
        assert_eq!(third.answer().await, None);
        drop(first);
        stage
            .until("one is gone", || stage.network.connections() == 1)
            .await;
        stage.is_well().await;
    });
}

#[test]
fn over_the_total_a_connection_waits() {
    let limits = ConnectionLimits {
        connections_max: 1,
        ..open_to_all()
    };
    on_a_simulated_stage(roomy(), limits, |stage| async move {
        let mut first = stage.client().await;
        first.send(timed_request(1, 0)).await;
        assert!(first.answer().await.is_some());
        let mut second = stage.client().await;
        second.send(timed_request(2, 0)).await;
        stage.io.sleep(Duration::from_millis(150)).await;
        assert_eq!(stage.network.connections(), 1);
        drop(first);
        assert_eq!(second.answer().await.expect("an answer").0, 2);
    });
}

#[test]
fn a_protected_listener_is_open_when_all_is_taken_and_the_silent_make_room() {
    let limits = ConnectionLimits {
        connections_max: 2,
        ..open_to_all()
    };
    on_a_simulated_stage(roomy(), limits, |stage| async move {
        let mut silent = stage.client().await;
        let mut busy = stage.client().await;
        // Both have been seen, and one of them works for longer than it takes to be told to go.
        for client in [&mut silent, &mut busy] {
            client.send(timed_request(1, 0)).await;
            assert!(client.answer().await.is_some());
        }
        busy.send(timed_request(2, 1_500)).await;
        let between_brokers = stage
            .network
            .listen("INTERNAL", ([127, 0, 0, 1], 0).into(), true)
            .expect("a free port");
        let mut broker = Client::connect(&stage.io, between_brokers)
            .await
            .expect("it listens");
        broker.send(timed_request(3, 0)).await;
        assert_eq!(broker.answer().await.expect("an answer").0, 3);
        assert_eq!(silent.answer().await, None);
        assert_eq!(busy.answer().await.expect("an answer").0, 2);
        stage.io.sleep(Duration::from_millis(1_500)).await;
        assert_eq!(stage.network.connections(), 2);
    });
}

#[test]
fn a_lower_limit_closes_those_that_are_silent_for_longest() {
    on_a_simulated_stage(roomy(), open_to_all(), |stage| async move {
        let mut clients = Vec::new();
        for id in 0..3 {
            let mut client = stage.client().await;
            client.send(timed_request(id, 0)).await;
            assert!(client.answer().await.is_some());
            clients.push(client);
        }
        let mut active = clients.remove(0);
        active.send(timed_request(7, 2_500)).await;
        stage.io.sleep(Duration::from_millis(1_200)).await;
        stage.network.shared.admission.set_limits(ConnectionLimits {
            connections_max: 1,
            ..open_to_all()
        });
        for mut silent in clients {
            assert_eq!(silent.answer().await, None);
        }
        assert_eq!(active.answer().await.expect("an answer").0, 7);
        active.send(timed_request(8, 0)).await;
        assert_eq!(active.answer().await.expect("an answer").0, 8);
    });
}

#[test]
fn silent_connections_are_closed_and_working_ones_are_not() {
    let limits = Limits {
        idle_max: Some(Duration::from_secs(1)),
        ..roomy()
    };
    on_a_simulated_stage(limits, open_to_all(), |stage| async move {
        let mut silent = stage.client().await;
        let mut half = stage.client().await;
        half.send(vec![0, 0]).await;
        let mut waiting = stage.client().await;
        waiting.send(timed_request(3, 3_500)).await;
        let begun = stage.io.now();
        assert_eq!(silent.answer().await, None);
        assert_eq!(half.answer().await, None);
        assert!(stage.io.now() - begun >= Duration::from_secs(1));
        assert_eq!(waiting.answer().await.expect("an answer").0, 3);
    });
}

#[test]
fn memory_over_the_budget_is_not_read() {
    let limits = Limits {
        request_memory_bytes: 1 << 20,
        ..roomy()
    };
    on_a_simulated_stage(limits, open_to_all(), |stage| async move {
        // Holds more than half of the budget until it is answered.
        let mut body = 100_u16.to_be_bytes().to_vec();
        body.resize(700_000, 0);
        let mut clients = Vec::new();
        for id in 0..4 {
            let mut client = stage.client().await;
            client.send(request(TIMED, 1, id, &body)).await;
            clients.push(client);
        }
        for (id, client) in clients.iter_mut().enumerate() {
            assert_eq!(client.answer().await.expect("an answer").0, id as i32);
        }
        // One more than fits may be read.
        assert!(stage.engine.under_way_max.get() <= 2);
        // Larger than the whole budget, alone.
        body.resize(3 << 20, 0);
        clients[0].send(request(TIMED, 1, 9, &body)).await;
        assert_eq!(clients[0].answer().await.expect("an answer").0, 9);
        assert_eq!(stage.network.shared.budget.used(), 0);
    });
}

#[test]
fn a_client_that_reads_nothing_is_not_served_without_end() {
    on_a_stage(roomy(), open_to_all(), |stage| async move {
        let mut client = stage.client().await;
        let body = (400_000_u32).to_be_bytes();
        for id in 0..200 {
            client.send(request(LARGE, 0, id, &body)).await;
        }
        stage.io.sleep(Duration::from_millis(300)).await;
        let begun = stage.engine.events.borrow().len() / 2;
        // What the sockets' buffers hold, and a few more.
        assert!(begun < 100, "{begun} were worked on");
        for id in 0..200 {
            assert_eq!(client.answer().await.expect("an answer").0, id);
        }
    });
}

#[test]
fn produces_under_way_are_bounded() {
    on_a_stage(roomy(), open_to_all(), |stage| async move {
        let mut client = stage.client().await;
        let mut body = vec![0, 20, 0];
        body.resize(2 << 20, 0);
        for id in 0..20 {
            client.send(request(ApiKey::Produce, 3, id, &body)).await;
        }
        for id in 0..20 {
            assert_eq!(client.answer().await.expect("an answer").0, id);
        }
        assert!(stage.engine.under_way_max.get() <= 8);
    });
}

/// The length prefix of a request that never comes.
fn claim(bytes: u32) -> Bytes {
    Bytes::copy_from_slice(&bytes.to_be_bytes())
}

#[test]
fn claims_that_nothing_follows_disturb_nobody() {
    on_a_simulated_stage(roomy(), open_to_all(), |stage| async move {
        let mut silent = Vec::new();
        for _ in 0..100 {
            let mut client = stage.client().await;
            client.send(claim(10 << 20)).await;
            silent.push(client);
        }
        stage
            .until("all are known", || stage.network.connections() == 100)
            .await;
        let begun = stage.io.now();
        let mut client = stage.client().await;
        for id in 0..10 {
            let mut body = vec![0, 0];
            body.resize(5 << 20, 0);
            client.send(request(TIMED, 1, id, &body)).await;
            assert_eq!(client.answer().await.expect("an answer").0, id);
        }
        assert!(stage.io.now() - begun < Duration::from_secs(5));
        assert_eq!(stage.network.connections(), 101);
    });
}

#[test]
fn those_that_stall_are_closed_once_others_wait_for_their_memory() {
    let limits = Limits {
        request_memory_bytes: 1 << 20,
        ..roomy()
    };
    on_a_simulated_stage(limits, open_to_all(), |stage| async move {
        let mut stalled = Vec::new();
        for _ in 0..20 {
            let mut client = stage.client().await;
            client.send(claim(10 << 20)).await;
            client.send(vec![0; 10_000]).await;
            stalled.push(client);
        }
        stage
            .until("memory is short", || stage.network.shared.budget.is_short())
            .await;
        let begun = stage.io.now();
        let mut client = stage.client().await;
        let mut body = vec![0, 0];
        body.resize(5 << 20, 0);
        client.send(request(TIMED, 1, 1, &body)).await;
        assert_eq!(client.answer().await.expect("an answer").0, 1);
        assert!(stage.io.now() - begun < Duration::from_secs(15));
    });
}

#[test]
fn large_requests_that_come_at_once_all_come_to_their_end() {
    let limits = Limits {
        request_memory_bytes: 1 << 20,
        ..roomy()
    };
    on_a_stage(limits, open_to_all(), |stage| async move {
        let mut body = vec![0, 0];
        body.resize(3 << 20, 0);
        let whole = request(TIMED, 1, 7, &body);
        let mut clients = Vec::new();
        for _ in 0..12 {
            clients.push(stage.client().await);
        }
        let sending: Vec<_> = clients
            .into_iter()
            .map(|mut client| {
                let whole = whole.clone();
                stage.io.spawn("client", async move {
                    for _ in 0..3 {
                        client.send(whole.clone()).await;
                        assert_eq!(client.answer().await.expect("an answer").0, 7);
                    }
                })
            })
            .collect();
        for client in sending {
            client.await;
        }
        assert_eq!(stage.network.shared.budget.used(), 0);
    });
}

#[test]
fn replies_that_nobody_takes_are_bounded_and_do_not_last() {
    let limits = Limits {
        reply_memory_bytes: 16 << 20,
        ..roomy()
    };
    on_a_stage(limits, open_to_all(), |stage| async move {
        let budget = &stage.network.shared.reply_budget;
        let mut deaf = Vec::new();
        for id in 0..16 {
            let mut client = stage.client().await;
            let wanted = (50_u32 << 20).to_be_bytes();
            // The sockets' buffers take some.
            for _ in 0..20 {
                client.send(request(BOUNDED, 0, id, &wanted)).await;
            }
            deaf.push(client);
        }
        stage.until("memory is short", || budget.is_short()).await;
        assert!(budget.used() <= 16 << 20);
        let mut client = stage.client().await;
        let wanted = (5_u32 << 20).to_be_bytes();
        client.send(request(BOUNDED, 0, 1, &wanted)).await;
        // In its turn: those before it that take nothing are closed.
        assert!(client.answer().await.expect("an answer").1.len() > 500_000);
    });
}

#[test]
fn a_request_that_waits_for_its_own_client_does_not_keep_its_memory() {
    let limits = Limits {
        request_memory_bytes: 1 << 20,
        ..roomy()
    };
    on_a_stage(limits, open_to_all(), |stage| async move {
        let mut body = vec![0, 0];
        body.resize(3 << 20, 0);
        let mut deaf = stage.client().await;
        let wanted = (40_u32 << 20).to_be_bytes();
        deaf.send(request(LARGE, 0, 1, &wanted)).await;
        deaf.send(request(TIMED, 1, 2, &body)).await;
        stage
            .until("it is there", || {
                stage.network.shared.budget.used() > 3 << 20
            })
            .await;
        let mut client = stage.client().await;
        client.send(request(TIMED, 1, 3, &body)).await;
        assert_eq!(client.answer().await.expect("an answer").0, 3);
        assert_eq!(stage.network.connections(), 1);
    });
}
