//! Killed under load, again and again: what was acknowledged is there, once, where it was.
//!
//! `CORELOG_CRASHES=200` kills more often; `CORELOG_CRASH_SEED` gives the seed, which decides the load and the pauses,
//! not what the kernel makes of them.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use corelog_loadgen::client::Client;

use crate::harness::Broker;
use crate::ledger::{Ledger, Place};
use crate::producer::{Order, Orders, Stop, Writer};
use crate::random::Random;
use crate::turn;

const CRASHES: u64 = 8;
/// The even ones write as a plain producer does, the odd ones idempotently.
const WRITERS: u32 = 4;
/// Name, partitions and properties.
type Topic = (&'static str, i32, &'static [(&'static str, &'static str)]);
const TOPICS: [Topic; 4] = [
    ("plain", 3, &[]),
    ("rolled", 2, &[("segment.bytes", "1048576")]),
    ("rolled-too", 1, &[("segment.bytes", "1500000")]),
    ("written", 2, &[("corelog.durability", "written")]),
];

fn is_idempotent(writer: u32) -> bool {
    writer % 2 == 1
}

#[test]
fn killed_under_load() {
    turn::run("killed-under-load", || {
        crashes();
        Ok(())
    });
}

fn crashes() {
    let seed = Random::seed_from("CORELOG_CRASH_SEED");
    println!("CORELOG_CRASH_SEED={seed}");
    let mut random = Random::new(seed);
    let mut left = std::env::var("CORELOG_CRASHES").map_or(CRASHES, |n| n.parse().expect("n"));
    while left > 0 {
        let crashes = left.min(CRASHES);
        one_life(crashes, &mut random);
        left -= crashes;
    }
}

/// A broker from its first start to its last stop, with so many crashes in between.
fn one_life(crashes: u64, random: &mut Random) {
    // The smallest journal, so that its files are used again within a run.
    let mut broker = Broker::start(&["corelog.journal.bytes=67108864"]);
    let addr = broker.address();
    let mut client = Client::connect(addr).expect("a connection");
    for (topic, partitions, configs) in TOPICS {
        client
            .create_topic(topic, partitions, configs)
            .expect("a topic");
    }
    let places = TOPICS.into_iter().flat_map(|(topic, partitions, _)| {
        (0..partitions).map(|partition| Place {
            topic: topic.to_owned(),
            partition,
        })
    });
    let ledger = Ledger::new(addr, places, is_idempotent);

    let orders = Orders::new();
    thread::scope(|scope| {
        let until = Stop(&orders);
        for writer in 0..WRITERS {
            let writer = Writer::new(writer, is_idempotent(writer), &ledger, random.next());
            scope.spawn(|| writer.run(addr, &orders));
        }
        scope.spawn(|| follow(&ledger, addr, &orders));
        for crash in 0..crashes {
            thread::sleep(Duration::from_millis(50 + random.below(500)));
            crash_and_restart(&mut broker, random);
            let up = Instant::now();
            // Everything is read each time: writers that went on would have the next reading take longer than this one.
            orders.give(Order::Pause);
            ledger.verify();
            orders.give(Order::Write);
            println!(
                "crash {crash}: all of {} records found in {:.1?}",
                ledger.acknowledged_records(),
                up.elapsed(),
            );
        }
        drop(until);
    });
    ledger.verify();
    broker.stop();
    broker.restart();
    ledger.verify();
    broker.stop();
}

fn crash_and_restart(broker: &mut Broker, random: &mut Random) {
    broker.kill9();
    while random.one_in(3) {
        // Again, while it recovers or just after.
        broker.spawn();
        let after = Duration::from_millis(random.below(150));
        thread::sleep(after);
        broker.kill9();
        println!("killed {after:.0?} after its start");
    }
    if random.one_in(2) {
        let cores = 1 + random.below(2) as usize;
        broker.set_cores(cores);
        println!("with {cores} cores from here on");
    }
    let begin = Instant::now();
    broker.restart();
    println!("up after {:.1?}", begin.elapsed());
}

/// A consumer of everything; what it has seen must stay, acknowledged to a producer or not.
fn follow(ledger: &Ledger, addr: std::net::SocketAddr, orders: &Orders) {
    while !orders.are(Order::Stop) {
        let Ok(mut client) = Client::connect(addr) else {
            thread::sleep(Duration::from_millis(2));
            continue;
        };
        let outcome = (0..)
            .take_while(|_| !orders.are(Order::Stop))
            .try_for_each(|_| {
                ledger
                    .places()
                    .try_for_each(|place| ledger.follow(&mut client, place))
            });
        if let Err(error) = outcome
            && !error.root_cause().is::<io::Error>()
        {
            panic!("the consumer: {error:#}");
        }
    }
}
