//! Each fault by itself: what it does, that it passes, and that it is counted.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::io::random::Random;
use crate::io::sim::{Crash, Fault, Faults, Landmark, NodeId, World, coverage_of};
use crate::io::{BLOCK, Instant, Io, OpenMode, ReadHalf, WriteHalf};

const MS: Duration = Duration::from_millis(1);
const B: u64 = BLOCK as u64;

/// A world in which a client and a server have a connection, and both its ends: the client's first.
fn connected(faults: Faults) -> (World, [NodeId; 2], [(ReadHalf, WriteHalf); 2]) {
    let mut world = World::new(1, faults);
    let nodes @ [client, server] = [world.add_node(), world.add_node()];
    let accepted = Rc::new(RefCell::new(None));
    let slot = accepted.clone();
    world.start(server, 1, move |io, _| {
        let slot = slot.clone();
        async move {
            let listener = io.listen("0.0.0.0:9092".parse().unwrap()).unwrap();
            let (read, write, _) = listener.accept().await.unwrap();
            *slot.borrow_mut() = Some((read, write));
            io.sleep(Duration::from_secs(3600)).await;
        }
    });
    world.start(client, 1, |_, _| async {});
    let address = world.socket_address(server, 9092);
    let connecting = |io: Io| async move { io.connect(address).await.unwrap() };
    let ours = world.block_on(client, connecting);
    world.run_until(|| accepted.borrow().is_some());
    let theirs = accepted.take().expect("accepted");
    (world, nodes, [ours, theirs])
}

async fn send(write: &mut WriteHalf, bytes: &'static [u8]) -> std::io::Result<()> {
    let mut slices = VecDeque::from([Bytes::from_static(bytes)]);
    write.write(&mut slices).await
}

async fn receive(read: &mut ReadHalf) -> std::io::Result<Bytes> {
    let mut buffer = BytesMut::new();
    read.read(&mut buffer, 100).await?;
    Ok(buffer.freeze())
}

#[test]
fn a_half_closed_connection_carries_the_other_way() {
    let (mut world, [client, server], [ours, theirs]) = connected(Faults::none());
    world.half_close(client, server);
    world.block_on(server, |_| async move {
        let ((mut our_read, mut our_write), (mut read, mut write)) = (ours, theirs);
        assert_eq!(receive(&mut read).await.unwrap(), "");
        send(&mut write, b"still here").await.unwrap();
        assert_eq!(receive(&mut our_read).await.unwrap(), "still here");
        let refused = send(&mut our_write, b"too late").await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::BrokenPipe);
    });
    assert_eq!(world.coverage().fault(Fault::HalfClosed).times, 1);
}

#[test]
fn a_stalled_connection_goes_on_later_with_all_that_was_sent() {
    let (mut world, [client, server], [ours, theirs]) = connected(Faults::none());
    let ends = world.now() + 500 * MS;
    world.stall_connections(client, server, 500 * MS);
    world.block_on(client, move |io| async move {
        let ((mut our_read, mut our_write), (mut read, mut write)) = (ours, theirs);
        send(&mut our_write, b"there").await.unwrap();
        send(&mut write, b"back").await.unwrap();
        assert!(io.now() < ends, "the window takes it");
        assert_eq!(receive(&mut read).await.unwrap(), "there");
        assert!(io.now() >= ends);
        assert_eq!(receive(&mut our_read).await.unwrap(), "back");
    });
}

#[test]
fn connections_stall_by_chance_and_lose_nothing() {
    let stalling = Faults {
        network_stall: 0.2,
        network_stall_max: 100 * MS,
        network_piece_max: 100,
        ..Faults::none()
    };
    let (mut world, [client, _], [ours, theirs]) = connected(stalling);
    world.block_on(client, |io| async move {
        let ((our_read, mut our_write), (mut read, write)) = (ours, theirs);
        let sent: Vec<u8> = (0..5_000).map(|number| number as u8).collect();
        let mut slices = VecDeque::from([Bytes::from(sent.clone())]);
        io.spawn("send", async move {
            our_write.write(&mut slices).await.unwrap();
            our_write.shutdown().unwrap();
            drop(our_read);
        });
        let mut received = BytesMut::new();
        while read.read(&mut received, 1_000).await.unwrap() > 0 {}
        assert_eq!(received, sent);
        drop(write);
    });
    assert!(world.coverage().fault(Fault::Stalled).times > 3);
}

/// A node of two shards that count their turns.
fn counting(faults: Faults) -> (World, NodeId, [Rc<Cell<u64>>; 2]) {
    let mut world = World::new(2, faults);
    let node = world.add_node();
    let turns: [Rc<Cell<u64>>; 2] = Default::default();
    world.start(node, 2, |io, shard| {
        let turns = turns[shard].clone();
        async move {
            loop {
                turns.set(turns.get() + 1);
                io.sleep(MS).await;
            }
        }
    });
    (world, node, turns)
}

#[test]
fn a_starved_shard_gets_no_turns_and_the_others_do() {
    let (mut world, node, turns) = counting(Faults::none());
    world.run_for(10 * MS);
    let before = turns.each_ref().map(|turns| turns.get());
    world.starve(node, 1, 50 * MS);
    world.run_for(40 * MS);
    let [first, second] = turns.each_ref().map(|turns| turns.get());
    assert!(first > before[0] + 20);
    assert_eq!(second, before[1]);
    world.run_for(40 * MS);
    assert!(turns[1].get() > before[1] + 10);
    assert_eq!(world.coverage().fault(Fault::Starved).times, 1);
}

#[test]
fn a_world_whose_tasks_are_all_starved_waits_for_their_turns() {
    let (mut world, node, turns) = counting(Faults::none());
    world.run_for(10 * MS);
    let before = turns[0].get();
    let ends = world.now() + 50 * MS;
    world.starve(node, 0, 50 * MS);
    world.starve(node, 1, 50 * MS);
    let counted = turns[0].clone();
    world.run_until(|| counted.get() > before);
    assert!(world.now() >= ends);
}

#[test]
fn shards_starve_by_chance() {
    let starving = Faults {
        starvation: 0.05,
        starvation_max: 100 * MS,
        ..Faults::none()
    };
    let (mut world, _, turns) = counting(starving);
    world.run_for(Duration::from_secs(5));
    assert!(world.coverage().fault(Fault::Starved).times > 5);
    for turns in &turns {
        assert!((50..3_000).contains(&turns.get()), "{}", turns.get());
    }
}

/// A node with an empty disk.
fn started(faults: Faults) -> (World, NodeId) {
    let mut world = World::new(3, faults);
    let node = world.add_node();
    world.start(node, 1, |_, _| async {});
    (world, node)
}

/// A file of so many blocks, written one by one; how many of them failed for want of room.
fn write_blocks(world: &mut World, node: NodeId, path: &'static str, blocks: u64) -> u64 {
    world.block_on(node, move |io| async move {
        let file = io.open(Path::new(path), OpenMode::CREATE).await.unwrap();
        let mut full = 0;
        for block in 0..blocks {
            let written = file.write_at(io.buffer(BLOCK), BLOCK, block * B).await.0;
            if let Err(error) = written {
                assert_eq!(error.raw_os_error(), Some(libc::ENOSPC));
                full += 1;
            }
            io.sleep(MS).await;
        }
        full
    })
}

#[test]
fn a_slow_node_takes_its_time() {
    let took = |times| {
        let (mut world, node) = started(Faults::none());
        world.slow_down(node, times);
        let before: Instant = world.now();
        world.block_on(node, |io| async move {
            let path = Path::new("/file");
            for _ in 0..20 {
                io.write_small(path, b"x").await.unwrap();
            }
        });
        world.now() - before
    };
    assert!(took(50) > 20 * took(1));
}

#[test]
fn a_disk_is_full_by_chance_and_has_room_again() {
    let filling = Faults {
        disk_full: 0.05,
        disk_full_lasts_max: 20 * MS,
        disk_fulls_max: 2,
        ..Faults::none()
    };
    let (mut world, node) = started(filling);
    let full = write_blocks(&mut world, node, "/file", 300);
    assert!((1..60).contains(&full), "{full}");
    assert_eq!(world.coverage().fault(Fault::DiskFull).times, full);
    assert_eq!(write_blocks(&mut world, node, "/other", 300), 0);
}

#[test]
fn what_could_not_be_read_by_chance_cannot_be_read_again_at_once() {
    let (mut world, node) = started(Faults::none());
    write_blocks(&mut world, node, "/file", 1);
    world.set_faults(Faults {
        read_error: 1.0,
        read_error_lasts_max: 100 * MS,
        read_errors_max: 1,
        ..Faults::none()
    });
    let failed = world.block_on(node, |io| async move {
        let file = io.open(Path::new("/file"), OpenMode::READ).await.unwrap();
        let mut failed = 0;
        while file.read_at(0, BLOCK).await.is_err() {
            failed += 1;
        }
        failed
    });
    assert!(failed > 1);
    assert_eq!(world.coverage().fault(Fault::ReadError).times, failed);
}

#[test]
fn a_bit_of_a_file_flips() {
    let (mut world, node) = started(Faults::none());
    write_blocks(&mut world, node, "/a.log", 2);
    write_blocks(&mut world, node, "/a.index", 1);
    let files = world.files(node);
    let paths: Vec<_> = files
        .iter()
        .map(|(path, len)| (path.to_str().unwrap(), *len))
        .collect();
    assert_eq!(paths, [("/a.index", B), ("/a.log", 2 * B)]);
    world.crash(node, Crash::Kill);
    let path = Path::new("/a.log");
    world.rot(node, path, B + 7, 3).expect("it is there");
    assert!(world.rot(node, path, 2 * B, 3).is_err());
    assert!(world.rot(node, Path::new("/none"), 0, 3).is_err());
    world.start(node, 1, |_, _| async {});
    let found = world.block_on(node, |io| async move { io.read_small(path).await.unwrap() });
    let mut expected = vec![0; 2 * BLOCK];
    expected[BLOCK + 7] = 1 << 3;
    assert_eq!(found, expected);
    assert_eq!(world.coverage().fault(Fault::Rot).times, 1);
}

#[test]
fn what_strikes_nobody_is_not_counted() {
    let (mut world, [client, server], ends) = connected(Faults::none());
    let third = world.add_node();
    world.half_close(client, third);
    world.stall_connections(third, server, MS);
    world.reset_connections(client, client);
    world.starve(server, 1, MS);
    world.starve(third, 0, MS);
    let faults = [
        Fault::HalfClosed,
        Fault::Stalled,
        Fault::ConnectionReset,
        Fault::Starved,
    ];
    for fault in faults {
        assert_eq!(world.coverage().fault(fault).times, 0, "{fault:?}");
    }
    world.reset_connections(server, client);
    assert_eq!(world.coverage().fault(Fault::ConnectionReset).times, 1);
    drop(ends);
}

#[test]
fn a_swarm_has_each_kind_in_some_seeds_and_not_in_others() {
    let drawn: Vec<Faults> = (0..50)
        .map(|seed| Faults::swarm(&mut Random::from_seed(seed)))
        .collect();
    let rates: [fn(&Faults) -> f64; 6] = [
        |faults| faults.disk_stall,
        |faults| faults.disk_full,
        |faults| faults.network_reset,
        |faults| faults.network_stall,
        |faults| faults.starvation,
        |faults| faults.slice_over,
    ];
    for rate in rates {
        let with = drawn.iter().filter(|faults| rate(faults) > 0.0).count();
        assert!((10..40).contains(&with), "{with}");
    }
}

#[test]
fn what_was_reached_is_counted_and_where_nodes_ended() {
    let its = coverage_of(|| {
        let (mut world, node) = started(Faults::none());
        world.io(node).spawn("settle", {
            let io = world.io(node);
            async move {
                io.reached(Landmark::SegmentRolled);
                io.reached(Landmark::SegmentRolled);
                drop(io.within(Landmark::Swapping));
                let _settling = io.within(Landmark::Settling);
                io.sleep(MS).await;
                io.reached(Landmark::SegmentMade);
            }
        });
        assert!(world.run_until_reached(Landmark::Settling, 1_000));
        assert!(!world.run_until_reached(Landmark::Settling, 0));
        world.crash(node, Crash::PowerLoss);
        drop(world);
        drop(World::new(4, Faults::none()));
    });
    let of = |landmark| {
        let count = its.landmark(landmark);
        (count.times, count.worlds, count.ended_within)
    };
    assert_eq!(of(Landmark::SegmentRolled), (2, 1, 0));
    assert_eq!(of(Landmark::Swapping), (1, 1, 0));
    assert_eq!(of(Landmark::Settling), (1, 1, 1));
    assert_eq!(of(Landmark::SegmentMade), (0, 0, 0));
    assert_eq!(its.fault(Fault::PowerLoss).worlds, 1);
    let table = its.to_string();
    assert!(table.contains("in 2 worlds"), "{table}");
    assert!(table.contains("never: Kill, "), "{table}");
}

/// A run in which several kinds of things happen, as text.
fn told(seed: u64) -> String {
    let mut world = World::new(seed, Faults::swarm(&mut Random::from_seed(seed)));
    world.keep_text();
    let node = world.add_node();
    world.start(node, 2, |io, shard| async move {
        let path = format!("/shard-{shard}");
        while io.write_small(Path::new(&path), b"x").await.is_ok() {
            io.sleep(MS).await;
        }
    });
    world.run_for(20 * MS);
    world.crash(node, Crash::PowerLoss);
    world.text()
}

#[test]
fn a_seed_tells_the_same_twice_and_others_tell_otherwise() {
    for seed in 0..3 {
        let text = told(seed);
        assert_eq!(text, told(seed));
        assert_ne!(text, told(seed + 1));
    }
    let text = told(0);
    for part in [
        "world: starts node 0 with 2 shards\n",
        "n0 s1 main: write /shard-1.tmp at 0, 1 bytes\n",
        "n0 s0 main: rename /shard-0.tmp to /shard-0\n",
        "n0 s0 main: sync directory /\n",
        "world: fault: PowerLoss\n",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}
