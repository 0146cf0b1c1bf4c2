//! Tasks, time, lanes, crashes and the network of a world.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::{Crash, Faults, NodeId, World};
use crate::io::{Io, Stop, lane};

const MS: Duration = Duration::from_millis(1);

fn world_with_a_node(seed: u64, faults: Faults) -> (World, NodeId) {
    let mut world = World::new(seed, faults);
    let node = world.add_node();
    world.start(node, 1, |_, _| async {});
    (world, node)
}

#[test]
fn time_passes_only_when_nothing_can_run() {
    let (mut world, node) = world_with_a_node(1, Faults::none());
    let start = world.now();
    let slept = world.block_on(node, |io| async move {
        let start = io.now();
        for _ in 0..1_000 {
            let _ = io.random_u64();
        }
        assert_eq!(io.now(), start);
        io.sleep(Duration::from_secs(3600)).await;
        io.now() - start
    });
    assert!(slept >= Duration::from_secs(3600));
    assert!(slept < Duration::from_secs(3601));
    world.run_for(5 * MS);
    assert_eq!(world.now() - start, slept + 5 * MS);
}

#[test]
fn yielding_lets_others_make_progress() {
    let (mut world, node) = world_with_a_node(2, Faults::none());
    world.block_on(node, |io| async move {
        let written = Rc::new(Cell::new(false));
        let (writer, flag) = (io.clone(), Rc::clone(&written));
        io.spawn("writer", async move {
            writer.write_small(Path::new("/file"), b"x").await.unwrap();
            flag.set(true);
        });
        while !written.get() {
            io.yield_now().await;
        }
    });
}

#[test]
fn the_seed_decides_the_order() {
    let order = |seed| {
        let (mut world, node) = world_with_a_node(seed, Faults::none());
        let order = Rc::new(RefCell::new(Vec::new()));
        for number in 0..8 {
            let order = Rc::clone(&order);
            world
                .io(node)
                .spawn("task", async move { order.borrow_mut().push(number) });
        }
        world.run_for(MS);
        order.take()
    };
    assert_eq!(order(5), order(5));
    assert!((0..10).any(|seed| order(seed) != order(seed + 100)));
}

/// Several tasks that write, read, sleep and talk.
fn busy_run(seed: u64) -> (u64, u64) {
    let mut world = World::new(seed, Faults::harsh());
    let server = world.add_node();
    let client = world.add_node();
    let serve = |io: Io, shard: usize| async move {
        let listener = io.listen("0.0.0.0:9092".parse().unwrap()).unwrap();
        let path = format!("/shard-{shard}");
        loop {
            let Ok((mut read, mut write, _)) = listener.accept().await else {
                continue;
            };
            let path = path.clone();
            let shard_io = io.clone();
            io.spawn_guarded("serve", async move {
                let mut buffer = BytesMut::new();
                while let Ok(1..) = read.read(&mut buffer, 4096).await {
                    let bytes = buffer.split().freeze();
                    let _ = shard_io.write_small(Path::new(&path), &bytes).await;
                    if write.write(&mut VecDeque::from([bytes])).await.is_err() {
                        break;
                    }
                }
            });
        }
    };
    world.start(server, 2, serve);
    let address = world.socket_address(server, 9092);
    world.start(client, 1, |io, _| async move {
        loop {
            io.sleep(MS).await;
            let Ok((mut read, mut write)) = io.connect(address).await else {
                continue;
            };
            let mut buffer = BytesMut::new();
            for length in 1..20 {
                let bytes = Bytes::from(vec![length as u8; length * 97]);
                if write.write(&mut VecDeque::from([bytes])).await.is_err() {
                    break;
                }
                if read.read(&mut buffer, 4096).await.is_err() {
                    break;
                }
            }
        }
    });
    for crash in [Crash::Kill, Crash::PowerLoss] {
        world.run_for(200 * MS);
        world.crash(server, crash);
        world.run_for(20 * MS);
        world.start(server, 2, serve);
    }
    world.cut(server, client);
    world.run_for(100 * MS);
    world.heal(server, client);
    world.run_for(100 * MS);
    (world.trace(), world.steps())
}

#[test]
fn a_seed_repeats_its_run() {
    let runs: Vec<_> = (0..5).map(busy_run).collect();
    let again: Vec<_> = (0..5).map(busy_run).collect();
    assert_eq!(runs, again);
    assert!(runs.iter().all(|&(_, steps)| steps > 1_000), "{runs:?}");
    let mut traces: Vec<_> = runs.iter().map(|&(trace, _)| trace).collect();
    traces.sort_unstable();
    traces.dedup();
    assert_eq!(traces.len(), 5);
}

#[test]
fn a_crash_drops_all_tasks_of_its_node_alone() {
    let mut world = World::new(3, Faults::none());
    let (first, second) = (world.add_node(), world.add_node());
    let counts: [Rc<Cell<u32>>; 2] = Default::default();
    for (node, count) in [first, second].into_iter().zip(&counts) {
        let count = Rc::clone(count);
        world.start(node, 2, move |io, _| {
            let count = Rc::clone(&count);
            async move {
                loop {
                    count.set(count.get() + 1);
                    io.sleep(MS).await;
                }
            }
        });
    }
    world.run_for(10 * MS);
    let before = counts.each_ref().map(|count| count.get());
    assert!(before.iter().all(|&count| count >= 16), "{before:?}");
    world.crash(first, Crash::Kill);
    assert!(!world.is_up(first) && world.is_up(second));
    assert_eq!(Rc::strong_count(&counts[0]), 1);
    world.run_for(10 * MS);
    assert_eq!(counts[0].get(), before[0]);
    assert!(counts[1].get() > before[1]);
    world.start(first, 1, |_, _| async {});
}

#[test]
fn handles_of_a_crashed_node_are_dead() {
    let (mut world, node) = world_with_a_node(4, Faults::none());
    let stale = world.io(node);
    world.crash(node, Crash::Kill);
    world.start(node, 1, |_, _| async {});
    world.block_on(node, |_| async move {
        assert!(stale.read_small(Path::new("/file")).await.is_err());
        assert!(stale.listen("0.0.0.0:1".parse().unwrap()).is_err());
        let task = stale.spawn("never", async { panic!("it must not run") });
        task.await;
    });
}

#[test]
#[should_panic(expected = "everything waits")]
fn a_deadlock_is_found() {
    let (mut world, node) = world_with_a_node(5, Faults::none());
    world.block_on(node, |_| std::future::pending::<()>());
}

#[test]
#[should_panic(expected = "on purpose")]
fn a_panic_of_an_engine_task_ends_the_run() {
    let (mut world, node) = world_with_a_node(6, Faults::none());
    world
        .io(node)
        .spawn("broken", async { panic!("on purpose") });
    world.run_for(MS);
}

#[test]
fn wall_clocks_jump_and_the_monotonic_one_does_not() {
    let (mut world, node) = world_with_a_node(7, Faults::none());
    let io = world.io(node);
    let (wall, now) = (io.wall_ms(), io.now());
    world.jump_wall_clock(node, -3_600_000);
    assert_eq!(io.wall_ms(), wall - 3_600_000);
    assert_eq!(io.now(), now);
    world.run_for(5 * MS);
    assert_eq!(io.wall_ms(), wall - 3_600_000 + 5);
}

#[test]
fn shards_talk_over_lanes() {
    for seed in 0..20 {
        let mut world = World::new(seed, Faults::none());
        let node = world.add_node();
        let (to_second, from_first) = lane::<u32>(4);
        let (to_first, from_second) = lane::<u32>(4);
        let ends = RefCell::new([Some((to_second, from_second)), Some((to_first, from_first))]);
        let done = Rc::new(Cell::new(false));
        let flag = Rc::clone(&done);
        world.start(node, 2, move |io, shard| {
            let (sender, receiver) = ends.borrow_mut()[shard].take().unwrap();
            let done = Rc::clone(&flag);
            async move {
                let (sender, receiver) = (sender.connect(&io), receiver.connect(&io));
                let (sender, mut receiver) = (sender.await, receiver.await);
                if shard == 0 {
                    for number in 0..100 {
                        let mut message = number;
                        while let Err(back) = sender.try_send(message) {
                            message = back;
                            io.yield_now().await;
                        }
                    }
                    assert_eq!(receiver.recv().await, Some(100));
                    drop(sender);
                    assert_eq!(receiver.recv().await, None);
                    done.set(true);
                } else {
                    for number in 0..100 {
                        assert_eq!(receiver.recv().await, Some(number));
                    }
                    assert_eq!(receiver.try_recv(), None);
                    sender.try_send(100).unwrap();
                    assert_eq!(receiver.recv().await, None);
                }
            }
        });
        world.run_until(|| done.get());
    }
}

#[test]
fn stopping_is_heard_in_simulation() {
    let (mut world, node) = world_with_a_node(8, Faults::none());
    let stop = Stop::new();
    let waiting = stop.clone();
    let task = world
        .io(node)
        .spawn("waits", async move { waiting.requested().await });
    world.run_for(MS);
    assert!(!task.is_done());
    stop.request();
    world.run_for(MS);
    assert!(task.is_done());
}

/// A server that sends back what it receives, and a node to connect from.
fn echo_world(seed: u64, faults: Faults) -> (World, NodeId, NodeId) {
    let mut world = World::new(seed, faults);
    let (server, client) = (world.add_node(), world.add_node());
    world.start(server, 2, |io, _| async move {
        let listener = io.listen("[::]:9092".parse().unwrap()).unwrap();
        while let Ok((mut read, mut write, _)) = listener.accept().await {
            io.spawn_guarded("echo", async move {
                let mut buffer = BytesMut::new();
                while let Ok(1..) = read.read(&mut buffer, 4096).await {
                    let mut slices = VecDeque::from([buffer.split().freeze()]);
                    if write.write(&mut slices).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    world.start(client, 1, |_, _| async {});
    (world, server, client)
}

#[test]
fn connections_carry_bytes_in_order() {
    for seed in 0..20 {
        let faults = Faults {
            network_reset: 0.0,
            ..Faults::harsh()
        };
        let (mut world, server, client) = echo_world(seed, faults);
        let address = world.socket_address(server, 9092);
        world.block_on(client, move |io| async move {
            let (mut read, mut write) = io.connect(address).await.unwrap();
            let sent: Vec<u8> = (0..100_000u32).map(|i| (i % 251) as u8).collect();
            let mut slices: VecDeque<Bytes> = sent
                .chunks(777)
                .map(|chunk| Bytes::from(chunk.to_vec()))
                .collect();
            io.spawn("send", async move {
                write.write(&mut slices).await.unwrap();
                write.shutdown().unwrap();
            });
            let mut received = BytesMut::new();
            while read.read(&mut received, 1_000).await.unwrap() > 0 {}
            assert_eq!(received, sent);
        });
    }
}

#[test]
fn a_writer_waits_for_a_reader_that_does_not_read() {
    let (mut world, server, client) = {
        let mut world = World::new(9, Faults::none());
        let (server, client) = (world.add_node(), world.add_node());
        world.start(server, 1, |io, _| async move {
            let listener = io.listen("0.0.0.0:9092".parse().unwrap()).unwrap();
            let held = listener.accept().await;
            io.sleep(Duration::from_secs(100)).await;
            drop(held);
        });
        world.start(client, 1, |_, _| async {});
        (world, server, client)
    };
    let address = world.socket_address(server, 9092);
    world.block_on(client, move |io| async move {
        let (_read, mut write) = io.connect(address).await.unwrap();
        let mut slices = VecDeque::from([Bytes::from(vec![0; 1 << 20])]);
        let error = write.write(&mut slices).await.unwrap_err();
        assert!(!slices.is_empty());
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    });
}

#[test]
fn nobody_listens_nobody_answers() {
    let (mut world, server, client) = echo_world(10, Faults::none());
    let (open, closed) = (
        world.socket_address(server, 9092),
        world.socket_address(server, 9093),
    );
    world.block_on(client, move |io| async move {
        let refused = io.connect(closed).await.err().unwrap();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        let loopback = io.connect("127.0.0.1:9092".parse().unwrap()).await;
        assert_eq!(loopback.err().unwrap().kind(), ErrorKind::ConnectionRefused);
    });
    world.cut(server, client);
    world.block_on(client, move |io| async move {
        let cut_off = io.connect(open).await.err().unwrap();
        assert_eq!(cut_off.kind(), ErrorKind::TimedOut);
    });
}

#[test]
fn a_cut_delays_and_a_crash_resets() {
    let (mut world, server, client) = echo_world(11, Faults::none());
    let address = world.socket_address(server, 9092);
    let heard: Rc<RefCell<Vec<String>>> = Rc::default();
    let log = Rc::clone(&heard);
    let io = world.io(client);
    world.io(client).spawn("talk", async move {
        let (mut read, mut write) = io.connect(address).await.unwrap();
        let mut buffer = BytesMut::new();
        let hello = Bytes::from_static(b"hello");
        write.write(&mut VecDeque::from([hello])).await.unwrap();
        loop {
            match read.read(&mut buffer, 4096).await {
                Ok(read) => log.borrow_mut().push(format!("{read}")),
                Err(error) => {
                    log.borrow_mut().push(error.kind().to_string());
                    break;
                }
            }
        }
    });
    world.run_for(Duration::from_micros(200));
    world.cut(server, client);
    world.run_for(Duration::from_secs(5));
    world.heal(server, client);
    world.run_for(5 * MS);
    assert_eq!(*heard.borrow(), ["5"]);
    world.crash(server, Crash::Kill);
    world.run_for(5 * MS);
    assert_eq!(*heard.borrow(), ["5", "connection reset"]);
}
