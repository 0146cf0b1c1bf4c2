//! In the simulated world: whatever the network does to connections, replies come in order, effects
//! happen in order, and nothing is left behind.

use std::future::{pending, poll_fn};
use std::pin::pin;
use std::task::Poll;

use corelog_shards::io::sim::{Faults, NodeId, World, seeds};

use super::*;

const SEEDS: u64 = 1_000;
const CLIENTS: i32 = 6;
const BURSTS: usize = 4;
const BURST_MAX: usize = 12;
/// Ids of a client's requests begin at its number times this.
const IDS: i32 = 1_000;
const PORT: u16 = 9092;

#[test]
fn whatever_the_network_does_all_is_in_order_and_nothing_stays() {
    let mut answered = 0;
    for seed in seeds(SEEDS) {
        answered += run(seed);
    }
    assert!(answered > 0);
}

/// Returns how many replies clients got.
fn run(seed: u64) -> usize {
    let faults = match seed % 3 {
        0 => Faults::none(),
        _ => Faults {
            network_reset: 0.01,
            // The broker's disk is not what is tested here.
            read_errors_max: 0,
            disk_errors_max: 0,
            ..Faults::harsh()
        },
    };
    let mut world = World::new(seed, faults);
    let (server, client) = (world.add_node(), world.add_node());
    let address = world.socket_address(server, PORT);
    let (network, engine) = serve(&mut world, server);
    world.start(client, 1, |_, _| async {});

    let (done, answered) = start_clients(&world, client, address);
    let cut = world.random_below(3) == 0;
    if cut {
        world.run_for(Duration::from_millis(5));
        world.reset_connections(server, client);
    }
    world.run_until(|| done.get() == CLIENTS);
    world.run_until(|| network.connections() == 0 && engine.under_way.get() == 0);
    assert_eq!(network.shared.budget.used(), 0);
    assert_effects_in_order(&engine.events.borrow());
    answered.get()
}

/// Starts a network on a node.
fn serve(world: &mut World, server: NodeId) -> (Rc<Network>, Rc<Engine>) {
    let serving = Rc::new(RefCell::new(None));
    let address = world.socket_address(server, PORT);
    let started = Rc::clone(&serving);
    world.start(server, 1, move |io, _| {
        let started = Rc::clone(&started);
        async move {
            let engine = Engine::begin(io.clone());
            let limits = Limits {
                // A handful of the larger requests.
                request_memory_bytes: 200_000,
                ..roomy()
            };
            let network = network(&io, Path::new("/data"), limits, open_to_all()).await;
            network
                .listen("PLAINTEXT", address, false)
                .expect("a free port");
            *started.borrow_mut() = Some((network, engine));
            pending::<()>().await;
        }
    });
    world.run_until(|| serving.borrow().is_some());
    serving.take().expect("just seen")
}

#[test]
fn whoever_sends_much_at_once_lets_others_have_their_turn() {
    const REQUESTS: i32 = 4_000;
    /// In simulation a slice is over after one request of ten.
    const AT_A_STRETCH_MAX: usize = 300;
    let faults = Faults {
        network_window: (1 << 20, 1 << 20),
        ..Faults::none()
    };
    let mut world = World::new(0, faults);
    let (server, client) = (world.add_node(), world.add_node());
    let address = world.socket_address(server, PORT);
    let (_network, engine) = serve(&mut world, server);
    world.start(client, 1, |_, _| async {});
    let io = world.io(client);
    world.io(client).spawn("client", async move {
        let mut client = Client::connect(&io, address).await.expect("it listens");
        let mut all = BytesMut::new();
        for id in 0..REQUESTS {
            all.extend_from_slice(&request(LARGE, 0, id, &[0, 0, 0, 1]));
        }
        client.send(all).await;
        while client.answer().await.is_some() {}
    });
    let handled = || engine.events.borrow().len() / 2;
    run_in_turns(&mut world, REQUESTS as usize, AT_A_STRETCH_MAX, handled);
}

/// Runs until so many are done. Panics if too many of them are in one turn of a task.
fn run_in_turns(
    world: &mut World,
    count: usize,
    at_a_stretch_max: usize,
    done: impl Fn() -> usize,
) {
    while done() < count {
        let before = done();
        assert!(world.step(), "some are left over");
        let at_a_stretch = done() - before;
        assert!(
            at_a_stretch < at_a_stretch_max,
            "{at_a_stretch} in one turn"
        );
    }
}

#[test]
fn many_who_connect_at_once_let_others_have_their_turn() {
    /// As many as the simulated kernel lets wait.
    const CONNECTIONS: usize = 128;
    /// In simulation a slice is over after one connection of ten.
    const AT_A_STRETCH_MAX: usize = 100;
    let mut world = World::new(0, Faults::none());
    let (server, client) = (world.add_node(), world.add_node());
    let address = world.socket_address(server, PORT);
    let (network, _engine) = serve(&mut world, server);
    world.start(client, 1, |_, _| async {});
    // All of them wait by the time that it looks again.
    world.starve(server, 0, Duration::from_secs(10));
    for _ in 0..CONNECTIONS {
        let io = world.io(client);
        world.io(client).spawn("client", async move {
            let _connection = io.connect(address).await.expect("it listens");
            pending::<()>().await;
        });
    }
    run_in_turns(&mut world, CONNECTIONS, AT_A_STRETCH_MAX, || {
        network.connections()
    });
}

fn start_clients(
    world: &World,
    node: NodeId,
    address: SocketAddr,
) -> (Rc<Cell<i32>>, Rc<Cell<usize>>) {
    let done = Rc::new(Cell::new(0));
    let answered = Rc::new(Cell::new(0));
    for number in 0..CLIENTS {
        let io = world.io(node);
        let (done, answered) = (Rc::clone(&done), Rc::clone(&answered));
        world.io(node).spawn("client", async move {
            act(&io, address, number * IDS, &answered).await;
            done.set(done.get() + 1);
        });
    }
    (done, answered)
}

/// Sends bursts of requests and expects their replies, as long as the connection lives.
async fn act(io: &Io, address: SocketAddr, first_id: i32, answered: &Cell<usize>) {
    let Ok(mut client) = Client::connect(io, address).await else {
        return;
    };
    let below = |limit: usize| io.random_u64() as usize % limit;
    let mut id = first_id;
    for _ in 0..BURSTS {
        let mut burst = BytesMut::new();
        let mut expected = Vec::new();
        for _ in 0..1 + below(BURST_MAX) {
            let delay_ms = below(4) as u16;
            let next = match below(8) {
                0 => timed_request(id, delay_ms),
                1 => {
                    let mut body = (below(5_000) as u32).to_be_bytes().to_vec();
                    body.resize(4 + below(90_000), 0);
                    request(LARGE, 0, id, &body)
                }
                2 => {
                    burst.extend_from_slice(&produce_request(id, delay_ms, 1));
                    id += 1;
                    produce_request(id, delay_ms, 0)
                }
                _ => produce_request(id, delay_ms, 0),
            };
            burst.extend_from_slice(&next);
            expected.push(id);
            id += 1;
        }
        if below(10) == 0 {
            // Goes away in the middle of a request.
            let half = burst.len() - 1 - below(burst.len().min(50));
            let half = burst.split_to(half).freeze();
            exchange(&mut client, half, &expected, answered, Until::Sent).await;
            return;
        }
        if !exchange(
            &mut client,
            burst.freeze(),
            &expected,
            answered,
            Until::Answered,
        )
        .await
        {
            return;
        }
    }
    if below(2) == 0 {
        client.send(vec![0xff; 4 + below(40)]).await;
        client.answer().await;
    }
}

/// When a client has had enough of an exchange.
#[derive(Clone, Copy, PartialEq)]
enum Until {
    Sent,
    Answered,
}

/// Sends and reads at once, as clients do: one that only sends is not read from, in the end. False
/// if the connection is lost.
async fn exchange(
    client: &mut Client,
    burst: Bytes,
    expected: &[i32],
    answered: &Cell<usize>,
    until: Until,
) -> bool {
    let Client {
        read,
        write,
        decoder,
    } = client;
    let mut slices = VecDeque::from([burst]);
    let mut sending = pin!(write.write(&mut slices));
    let mut receiving = pin!(async {
        for expected in expected {
            match next_answer(read, decoder).await {
                Some((id, _)) => assert_eq!(id, *expected),
                None => return false,
            }
            answered.set(answered.get() + 1);
        }
        true
    });
    let mut is_sending = true;
    poll_fn(|cx| {
        is_sending = is_sending && sending.as_mut().poll(cx).is_pending();
        match receiving.as_mut().poll(cx) {
            Poll::Pending if until == Until::Sent && !is_sending => Poll::Ready(true),
            received => received,
        }
    })
    .await
}

fn assert_effects_in_order(events: &[(Event, i32)]) {
    let begun = |client: i32| {
        let of_client = move |id: &i32| id / IDS == client;
        events
            .iter()
            .filter(|(event, _)| *event == Event::Begin)
            .map(|(_, id)| *id)
            .filter(of_client)
    };
    for client in 0..CLIENTS {
        assert!(begun(client).is_sorted(), "requests begin in their order");
        assert!(
            begun(client)
                .enumerate()
                .all(|(i, id)| id == client * IDS + i as i32),
            "none is skipped or served twice"
        );
    }
}
