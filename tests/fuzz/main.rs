//! Fuzzers of what comes from outside, in the simulated world, where a broker takes as many frames as a core can make.
//!
//! Frames: bodies of every API and version that is served, made by the schemas ([`schema`]), damaged ([`damage`]), and
//! sent by several clients at once to a whole broker, beside one client that does nothing wrong ([`clients`]). For each
//! frame the broker must answer in order with a reply of that version, or close that connection; a frame that is as the
//! schema says is answered. The well-behaved client never notices. No error is logged, which a panic that cost one
//! connection would be. No allocation is larger than what some frame brought, and all that is held stays bounded
//! ([`memory`]).
//!
//! Files: what a broker finds in its folder ([`files`]), and what people write ([`texts`]).
//!
//! `corpus/frames.txt` is sent first, and worlds that have failed once ([`KEPT_SEEDS`]) are run again.
//! `CORELOG_FUZZ_FRAMES=100000000` sends more, with `CORELOG_FUZZ_THREADS` threads; `CORELOG_SEEDS=1000` damages more
//! folders and texts. `CORELOG_SEED=17` replays one world.

mod clients;
mod corpus;
mod damage;
mod files;
mod frames;
mod memory;
mod schema;
mod texts;

#[expect(dead_code, reason = "others use the rest")]
#[path = "../protocol/apis.rs"]
mod apis;
#[path = "../sim/log.rs"]
mod log;
#[path = "../sim/node.rs"]
mod node;
#[expect(dead_code, reason = "others use the rest")]
#[path = "../crash/random.rs"]
mod random;
#[path = "../protocol/samples.rs"]
mod samples;
#[expect(dead_code, reason = "others use the rest")]
#[path = "../sim/story.rs"]
mod story;
#[expect(dead_code, reason = "others use the rest")]
#[path = "../sim/wire.rs"]
mod wire;

#[global_allocator]
static ALLOCATOR: memory::Counting = memory::Counting;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use corelog_shards::io::sim::seeds;

use clients::{Outcome, Sent};
use corpus::Collection;
use random::Random;

/// Without a word from the environment.
const FRAMES: u64 = 40_000;
/// What a broker remembers of frames (topics, groups, records) begins anew with each world.
const FRAMES_OF_WORLD: u64 = 4_000;
/// Worlds of frames that have failed once. What made them fail has tests of its own, since a seed gives other frames when
/// those are made in another way.
const KEPT_SEEDS: [u64; 3] = [
    // A request that changes more than a file of the journal takes was answered as if the disk had failed.
    612, 5_983,
    // A fetch that waited, and so much behind it that nobody saw its client go.
    11_283,
];
const FOLDERS: u64 = 8;
const TEXTS: u64 = 1_500;
/// A text is a few dozen kilobytes at most.
const TEXT_ALLOCATION_MAX: usize = 1 << 20;

fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{variable}={text}: no number")),
        Err(_) => default,
    }
}

#[test]
fn kept_frames_are_answered_or_closed() {
    let frames = corpus::kept(1);
    let count = frames.len() as u64;
    let outcome = clients::run(0, Sent::Corpus(frames), None);
    println!("{outcome:?}");
    assert_eq!(outcome.answered + outcome.closed + outcome.waiting, count);
}

#[test]
fn kept_seeds_fail_no_more() {
    for seed in KEPT_SEEDS {
        let outcome = clients::run(seed, Sent::Made(FRAMES_OF_WORLD), None);
        println!("{seed}: {outcome}");
        assert!(outcome.frames >= FRAMES_OF_WORLD, "{seed}: {outcome}");
    }
}

#[test]
fn frames_of_every_api_are_answered_or_closed_and_disturb_nobody() {
    let frames = number("CORELOG_FUZZ_FRAMES", FRAMES);
    let threads = number("CORELOG_FUZZ_THREADS", 2);
    let seeds = seeds(frames.div_ceil(FRAMES_OF_WORLD));
    let begun = Instant::now();
    let next = AtomicU64::new(seeds.start);
    let all = Mutex::new(Outcome::default());
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let outcome = clients::run(seed, Sent::Made(FRAMES_OF_WORLD), None);
                    let mut all = all.lock().expect("nobody panics with it");
                    all.add(outcome);
                    if (seed + 1).is_multiple_of(1_000) {
                        eprintln!("{all}, {:.0} frames/s", all.rate(begun.elapsed()));
                    }
                }
            });
        }
    });
    let all = all.into_inner().expect("nobody panics with it");
    println!("{all}, {:.0} frames/s", all.rate(begun.elapsed()));
    assert!(
        all.answered > all.frames / 4 && all.closed > all.frames / 100,
        "{all}"
    );
}

#[test]
fn damaged_folders_are_served_as_far_as_they_can_be_vouched_for_or_refused() {
    let mut all = files::Outcome::default();
    let seeds = seeds(FOLDERS);
    let count = seeds.end - seeds.start;
    for seed in seeds {
        let outcome = files::run(seed);
        all.served += outcome.served;
        all.refused += outcome.refused;
        all.read += outcome.read;
        all.held_bytes_max = all.held_bytes_max.max(outcome.held_bytes_max);
        all.largest_bytes = all.largest_bytes.max(outcome.largest_bytes);
    }
    println!("{all:?}");
    let has_all = all.served > 0 && all.refused > 0 && all.read > 0;
    assert!(count < FOLDERS || has_all, "{all:?}");
}

#[test]
fn damaged_texts_are_taken_or_it_is_said_what_is_wrong() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("workload.toml");
    assert!(texts::is_taken_by_broker(texts::PROPERTIES.as_bytes()));
    assert!(texts::is_taken_by_loadgen(
        &path,
        texts::WORKLOAD.as_bytes()
    ));
    let seeds = seeds(TEXTS);
    let count = seeds.end - seeds.start;
    let mut taken = 0;
    for seed in seeds {
        let mut random = Random::new(seed);
        let properties = texts::damage(texts::PROPERTIES, &mut random);
        let workload = texts::damage(texts::WORKLOAD, &mut random);
        taken += u64::from(texts::is_taken_by_broker(&properties));
        taken += u64::from(texts::is_taken_by_loadgen(&path, &workload));
        let largest = memory::take().largest;
        assert!(
            largest < TEXT_ALLOCATION_MAX,
            "CORELOG_SEED={seed}: {largest} bytes at once"
        );
    }
    println!("{taken} of {} taken", 2 * count);
    assert!(count < TEXTS || (1..2 * count).contains(&taken));
}

#[test]
#[ignore = "prints a corpus, to take from what is worth keeping"]
fn collect_a_corpus() {
    let mut collection = Collection::default();
    for seed in seeds(number("CORELOG_FUZZ_FRAMES", FRAMES).div_ceil(FRAMES_OF_WORLD)) {
        clients::run(seed, Sent::Made(FRAMES_OF_WORLD), Some(&mut collection));
    }
    print!("{}", collection.text());
}
