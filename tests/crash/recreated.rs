//! Topics that come and go while the broker is killed: those whose creation was acknowledged are there with their
//! records, those whose deletion was acknowledged stay away, and so do their folders.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};
use bytes::Bytes;
use corelog_loadgen::batch::{self, Producer};
use corelog_loadgen::client::{
    self, Backoff, Client, PRODUCE_VERSION, error_name, is_retriable, produce_outcome,
    produce_request,
};

use crate::harness::Broker;
use crate::ledger::{Place, read_some};
use crate::random::Random;
use crate::stamp::{self, Stamp};
use crate::turn;

const NAMES: usize = 6;
const CRASHES: u64 = 12;
/// Small enough that most partitions have a folder.
const CONFIGS: [(&str, &str); 1] = [("segment.bytes", "1048576")];
const FILLER_BYTES_MAX: u64 = 8_000;
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    Gone,
    Exists,
    /// A change was asked for and not acknowledged.
    Undecided,
}

/// What is known of a name, and of the topic that had it last.
struct Named {
    place: Place,
    presence: Presence,
    /// How many topics have had this name.
    generation: u32,
    sent: u64,
    acknowledged: u64,
}

impl Named {
    /// Makes the topic, deletes it or appends to it.
    fn change(&mut self, client: &mut Client, random: &mut Random) -> Result<()> {
        match self.presence {
            Presence::Gone => {
                self.generation += 1;
                (self.sent, self.acknowledged) = (0, 0);
                self.presence = Presence::Undecided;
                client.create_topic(&self.place.topic, 1, &CONFIGS)?;
                self.presence = Presence::Exists;
            }
            Presence::Exists if random.one_in(4) => {
                self.presence = Presence::Undecided;
                client.delete_topic(&self.place.topic)?;
                self.presence = Presence::Gone;
            }
            Presence::Exists => self.append(client, random)?,
            Presence::Undecided => unreachable!("a start decides"),
        }
        Ok(())
    }

    fn append(&mut self, client: &mut Client, random: &mut Random) -> Result<()> {
        let count = 1 + random.below(8);
        let records: Vec<Vec<u8>> = (self.sent..self.sent + count)
            .map(|sequence| {
                let filler_bytes = random.below(FILLER_BYTES_MAX) as usize;
                stamp::write(self.stamp(sequence), filler_bytes, random)
            })
            .collect();
        let values = records.iter().map(Vec::as_slice);
        let batch = Bytes::from(batch::encode(Producer::NONE, client::wall_ms(), values));
        let request = produce_request(&self.place.topic, 0, -1, &batch);
        self.sent += count;
        let mut backoff = Backoff::within(PATIENCE);
        loop {
            let reply = client.call(&request, PRODUCE_VERSION)?;
            match produce_outcome(&reply)? {
                (0, _) => break,
                (code, _) if is_retriable(code) && backoff.wait() => {}
                (code, _) => bail!("an append was refused: {}", error_name(code)),
            }
        }
        self.acknowledged = self.sent;
        Ok(())
    }

    /// Panics unless the topic is there or not as it was said to be, with all that was acknowledged. From then on
    /// what was found counts.
    fn verify(&mut self, client: &mut Client) {
        let name = self.place.topic.clone();
        let reply = client.metadata(std::slice::from_ref(&name));
        let found = match reply.expect("a reply").topics[0].error_code {
            0 => Presence::Exists,
            UNKNOWN_TOPIC_OR_PARTITION => Presence::Gone,
            code => panic!("{name}: {}", error_name(code)),
        };
        if self.presence != Presence::Undecided {
            assert_eq!(found, self.presence, "{name}");
        }
        self.presence = found;
        if found == Presence::Gone {
            return;
        }
        let mut rows = Vec::new();
        let mut backoff = Backoff::within(PATIENCE);
        loop {
            let from = rows.len() as i64;
            let end = read_some(client, &self.place, from, &mut rows).expect("records");
            if rows.len() as i64 >= end {
                break;
            }
            // Only where nothing came there is something to wait for.
            let has_come = rows.len() as i64 > from;
            assert!(has_come || backoff.wait(), "{name}: {from} of {end}");
        }
        let count = rows.len() as u64;
        let known = self.acknowledged..=self.sent;
        assert!(known.contains(&count), "{name}: {count} of {known:?}");
        for (sequence, (_, stamp)) in (0..).zip(rows) {
            assert_eq!(stamp, self.stamp(sequence), "{name}");
        }
        (self.sent, self.acknowledged) = (count, count);
    }

    fn stamp(&self, sequence: u64) -> Stamp {
        Stamp {
            writer: self.generation,
            sequence,
        }
    }
}

/// Makes and deletes topics and appends to them, until the broker is killed.
fn change_until_killed(broker: SocketAddr, names: &mut [Named], random: &mut Random) {
    let Ok(mut client) = Client::connect(broker) else {
        return;
    };
    let error = loop {
        let name = random.below(NAMES as u64) as usize;
        if let Err(error) = names[name].change(&mut client, random) {
            break error;
        }
    };
    assert!(error.root_cause().is::<io::Error>(), "{error:#}");
}

/// Folders of partitions that clients have made, and what became of them.
fn folders(broker: &Broker) -> Vec<String> {
    let entries = fs::read_dir(broker.folder()).expect("the data folder");
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    let names = names.map(|name| name.into_string().expect("text"));
    names.filter(|name| name.starts_with("name")).collect()
}

#[test]
fn topics_come_and_go_while_the_broker_is_killed() {
    turn::run("topics-come-and-go", || {
        let seed = Random::seed_from("CORELOG_CRASH_SEED");
        println!("CORELOG_CRASH_SEED={seed}");
        let mut random = Random::new(seed);
        let crashes = std::env::var("CORELOG_CRASHES").map_or(CRASHES, |n| n.parse().expect("n"));
        let mut broker = Broker::start(&[
            "corelog.journal.bytes=67108864",
            "log.segment.delete.delay.ms=0",
        ]);
        let mut names: Vec<Named> = (0..NAMES)
            .map(|name| Named {
                place: Place {
                    topic: format!("name{name}"),
                    partition: 0,
                },
                presence: Presence::Gone,
                generation: 0,
                sent: 0,
                acknowledged: 0,
            })
            .collect();
        for crash in 0..crashes {
            let address = broker.address();
            thread::scope(|scope| {
                scope.spawn(|| change_until_killed(address, &mut names, &mut random));
                let pause = 20 + (seed.wrapping_mul(crash + 1) >> 33) % 400;
                thread::sleep(Duration::from_millis(pause));
                broker.kill9();
            });
            broker.set_cores(1 + random.below(2) as usize);
            broker.restart();
            let mut client = Client::connect(address).expect("a connection");
            for named in &mut names {
                named.verify(&mut client);
            }
            let folders = folders(&broker);
            let is_stray = |folder: &&String| folder.ends_with("-stray");
            assert_eq!(folders.iter().find(is_stray), None, "crash {crash}");
        }
        broker.stop();
        broker.restart();
        let mut client = Client::connect(broker.address()).expect("a connection");
        for named in &mut names {
            named.verify(&mut client);
        }
        let is_known = |folder: &String| {
            let mut known = names.iter().filter(|it| it.presence == Presence::Exists);
            known.any(|it| *folder == format!("{}-0", it.place.topic))
        };
        // What was set aside goes in the background.
        let mut backoff = Backoff::within(PATIENCE);
        while !folders(&broker).iter().all(is_known) {
            assert!(backoff.wait(), "{:?}", folders(&broker));
        }
        broker.stop();
        Ok(())
    });
}
