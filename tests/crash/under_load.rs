//! The load generator's own verification while the broker is killed, stands still, or is stopped in order: what it was
//! told is stored comes out once, in order and unchanged.
//!
//! Each fault hits a broker that has just been seen to take records. `CORELOG_KILLS=1000` kills more often;
//! `CORELOG_CRASH_SEED` gives the seed of the pauses.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use corelog_loadgen::client::{Backoff, Client};
use corelog_loadgen::engine::{self, Settings};
use corelog_loadgen::measure::Judgement;
use corelog_loadgen::workload::{Acks, Load, Shape, Sizes, Workload, named};
use nix::sys::signal::Signal;

use crate::harness::Broker;
use crate::random::Random;
use crate::turn;

const KILLS: u64 = 20;
const STANDSTILLS: u64 = 4;
const STOPS: u64 = 3;
const PARTITIONS: u32 = 6;
/// A standstill that clients notice.
const STANDSTILL_MS_MIN: u64 = 200;
/// Longer than any test: the load ends when the faults do.
const DURATION: Duration = Duration::from_secs(24 * 3600);
/// A load that has made no progress within this time never will.
const PATIENCE: Duration = Duration::from_secs(120);

fn workload(name: &str) -> Workload {
    let mut workload = named("small-records").expect("it ships");
    workload.name = name.to_owned();
    workload.topics.name = name.to_owned();
    workload.topics.partitions = PARTITIONS;
    workload.producers.count = 3;
    workload.producers.idempotence = true;
    workload.producers.acks = Acks::All;
    workload.consumers.count = 2;
    workload.consumers.fan_out = 1;
    workload.records.sizes = Sizes::Range(100, 2_000);
    workload.load = Load::Open(Shape::Poisson(1_500.0));
    workload.warm_up = Duration::ZERO;
    workload.duration = DURATION;
    workload.verify = true;
    workload
}

/// Does something to the broker while it is under load, and has everything verified after it.
fn under_load(name: &str, mut broker: Broker, faults: impl FnOnce(&mut Broker, &mut Random)) {
    let seed = Random::seed_from("CORELOG_CRASH_SEED");
    println!("CORELOG_CRASH_SEED={seed}");
    let workload = workload(name);
    let settings = Settings {
        bootstrap: vec![broker.address()],
        threads: 2,
    };
    let (sender, begun) = mpsc::channel();
    let stop = AtomicBool::new(false);
    let (load, its_stop) = (&workload, &stop);
    let outcome = thread::scope(|scope| {
        // Takes the sender with it: where the load ends without any progress, nobody waits for that.
        let running = scope.spawn(move || {
            engine::run(load, &settings, its_stop, |progress| {
                if progress.records_per_s > 0.0 {
                    // Nobody listens after the first time.
                    let _ = sender.send(());
                }
            })
        });
        // Lets the load end when a check has failed in here.
        let _until = Until(&stop);
        let has_begun = begun.recv_timeout(PATIENCE);
        if has_begun.is_ok() {
            faults(&mut broker, &mut Random::new(seed));
        }
        stop.store(true, Ordering::Relaxed);
        let outcome = running.join().expect("no panic").expect("it goes on");
        has_begun.expect("there is progress");
        outcome
    });
    let found = outcome.verification.expect("it was asked for");
    assert_eq!(found.judgement(), Judgement::Whole, "{found:?}");
    assert_eq!(found.duplicated + found.reordered, 0, "{found:?}");
    assert!(found.acknowledged > 0, "{found:?}");
    println!(
        "{} records acknowledged, all of them found",
        found.acknowledged
    );
    broker.stop();
}

struct Until<'a>(&'a AtomicBool);

impl Drop for Until<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn pause(random: &mut Random, max_ms: u64) {
    thread::sleep(Duration::from_millis(random.below(max_ms)));
}

/// Waits until the broker has stored more of this load than it had.
fn await_progress(broker: &Broker, name: &str) {
    let records = || -> anyhow::Result<i64> {
        let mut client = Client::connect(broker.address())?;
        Ok(client.end_offsets(name, PARTITIONS as i32)?.iter().sum())
    };
    let (mut backoff, mut before) = (Backoff::within(PATIENCE), None);
    loop {
        // One that has just started may not know yet.
        let now = records().ok();
        if before.is_some() && now > before {
            return;
        }
        before = before.or(now);
        assert!(
            backoff.wait(),
            "no progress from {before:?} on: {}",
            broker.log()
        );
    }
}

#[test]
fn killed_at_random_moments() {
    turn::run("killed-under-generated-load", || {
        let kills = std::env::var("CORELOG_KILLS").map_or(KILLS, |n| n.parse().expect("a number"));
        let broker = Broker::start(&["corelog.journal.bytes=67108864"]);
        under_load("killed", broker, |broker, random| {
            let mut starts_killed = 0;
            for _ in 0..kills {
                await_progress(broker, "killed");
                pause(random, 400);
                broker.kill9();
                while random.one_in(4) {
                    // Again, while it recovers or just after.
                    broker.spawn();
                    pause(random, 150);
                    broker.kill9();
                    starts_killed += 1;
                }
                if random.one_in(4) {
                    broker.set_cores(1 + random.below(2) as usize);
                }
                broker.restart();
            }
            await_progress(broker, "killed");
            println!("{kills} kills under load survived, and {starts_killed} of a start");
        });
        Ok(())
    });
}

#[test]
fn standing_still_and_going_on() {
    turn::run("standing-still", || {
        let broker = Broker::start(&[]);
        under_load("still", broker, |broker, random| {
            for _ in 0..STANDSTILLS {
                await_progress(broker, "still");
                pause(random, 300);
                broker.signal(Signal::SIGSTOP);
                thread::sleep(Duration::from_millis(STANDSTILL_MS_MIN));
                pause(random, 1_500);
                broker.signal(Signal::SIGCONT);
            }
            await_progress(broker, "still");
            assert!(broker.is_running(), "{}", broker.log());
        });
        Ok(())
    });
}

#[test]
fn stopped_in_order_and_started_again() {
    turn::run("stopped-under-load", || {
        let broker = Broker::start(&[]);
        under_load("stopped", broker, |broker, random| {
            for _ in 0..STOPS {
                await_progress(broker, "stopped");
                pause(random, 400);
                broker.stop();
                let mark = broker.folder().join(".kafka_cleanshutdown");
                assert!(mark.exists(), "{}", broker.log());
                broker.restart();
                assert!(!mark.exists(), "from now on a crash is one");
            }
        });
        Ok(())
    });
}
