//! A real file system without room: appends are refused, everything else goes on, and so do they when there is room.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use corelog_loadgen::batch::{self, Producer};
use corelog_loadgen::client::{self, Client, PRODUCE_VERSION, error_name};
use kafka_protocol::ResponseError;

use crate::harness::{Broker, Launch, free_port, http};
use crate::ledger::{Ledger, Place};
use crate::random::Random;
use crate::small_disk::SmallDisk;
use crate::stamp::{self, Stamp};
use crate::turn;

const DISK_MIB: u64 = 200;
const BALLAST_BYTES: usize = 48 << 20;
const TOPIC: &str = "filling";
const PARTITIONS: i32 = 3;
const RECORD_BYTES: usize = 100_000;
/// A start takes a file of the journal: more than it has.
const STARTS_MAX: usize = 10;
/// Far more than is needed: a bound, no measure.
const RESUME_MAX: Duration = Duration::from_secs(60);

#[test]
fn a_full_disk_refuses_and_recovers() {
    turn::run("full-disk", || {
        let disk = SmallDisk::new(DISK_MIB)?;
        let ballast = disk.path().join("ballast");
        fs::write(&ballast, vec![0; BALLAST_BYTES]).expect("room for the ballast");
        let mut broker = broker_on(&disk.path().join("data"));
        let mut filler = Filler::new(&broker);

        filler.fill();
        assert!(broker.is_running(), "{}", broker.log());
        filler.ledger.verify();
        // Refused again and again, rather than kept waiting.
        for _ in 0..50 {
            filler.append_somewhere();
        }
        filler.ledger.verify();

        // An end without warning, and a start without room.
        broker.kill9();
        broker.restart();
        filler.reconnect(&broker);
        filler.ledger.verify();

        fs::remove_file(&ballast).expect("the ballast");
        filler.until_there_is_room(&broker, &disk);
        broker.kill9();
        broker.restart();
        filler.reconnect(&broker);
        filler.ledger.verify();
        broker.stop();
        broker.restart();
        filler.ledger.verify();
        Ok(())
    });
}

#[test]
fn a_full_disk_does_not_hold_up_a_stop() {
    turn::run("full-disk-stop", || {
        let disk = SmallDisk::new(DISK_MIB)?;
        let ballast = disk.path().join("ballast");
        fs::write(&ballast, vec![0; BALLAST_BYTES]).expect("room for the ballast");
        let mut broker = broker_on(&disk.path().join("data"));
        let mut filler = Filler::new(&broker);
        filler.fill();
        // Within the bound of the harness.
        broker.stop();
        // It takes what room there is for the ends of segments, which may be the last.
        if !has_to_wait(&mut broker) {
            filler.reconnect(&broker);
            filler.ledger.verify();
            broker.stop();
            broker.spawn();
        }
        fs::remove_file(&ballast).expect("the ballast");
        broker.await_answer();
        filler.reconnect(&broker);
        filler.ledger.verify();
        assert_eq!(filler.append_somewhere(), 0, "there is room");
        broker.stop();
        Ok(())
    });
}

/// Each start after a crash goes on in another file of the journal. When there is none and no room for one, it waits.
#[test]
fn a_start_without_room_for_the_journal_waits_for_it() {
    turn::run("full-disk-start", || {
        let disk = SmallDisk::new(DISK_MIB)?;
        let ballast = disk.path().join("ballast");
        fs::write(&ballast, vec![0; BALLAST_BYTES]).expect("room for the ballast");
        let http_address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let mut broker = Broker::prepare(Launch {
            overrides: &[
                "corelog.journal.bytes=67108864",
                &format!("corelog.http.listener={http_address}"),
            ],
            arguments: &["--cores", "1"],
            folder: Some(&disk.path().join("data")),
            ..Launch::default()
        });
        broker.restart();
        let mut filler = Filler::new(&broker);
        filler.fill();
        let waits = (0..STARTS_MAX).any(|_| {
            broker.kill9();
            has_to_wait(&mut broker)
        });
        assert!(waits, "{STARTS_MAX} starts found room:\n{}", broker.log());
        assert!(broker.is_running(), "{}", broker.log());
        // It stays so, tells it now and then, and to those who ask.
        let printed = broker.log().len();
        broker.await_log(printed, "INFO recovering: ");
        let (status, said) = http::get(http_address, "/ready").expect("HTTP is served");
        assert_eq!(status, 503, "{said}");
        let words = ["recovering: ", "MiB of journals read", "partitions opened"];
        let has_all = words.iter().all(|word| said.contains(word));
        assert!(has_all, "{said}");
        fs::remove_file(&ballast).expect("the ballast");
        broker.await_answer();
        let (status, said) = http::get(http_address, "/ready").expect("HTTP is served");
        assert_eq!((status, &*said), (200, "ready\n"));
        filler.reconnect(&broker);
        filler.ledger.verify();
        filler.until_there_is_room(&broker, &disk);
        broker.kill9();
        broker.restart();
        filler.ledger.verify();
        Ok(())
    });
}

/// Starts the broker until it is ready or says that it lacks room.
fn has_to_wait(broker: &mut Broker) -> bool {
    let printed = broker.log().len();
    broker.spawn();
    let begin = Instant::now();
    loop {
        let log = broker.log();
        if log[printed..].contains("INFO ready") {
            return false;
        }
        let waits = ["cannot make a journal file", "the start waits for room"];
        if waits.iter().any(|what| log[printed..].contains(what)) {
            return true;
        }
        assert!(broker.is_running(), "the start failed:\n{log}");
        assert!(begin.elapsed() < RESUME_MAX, "the start hangs:\n{log}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn broker_on(folder: &Path) -> Broker {
    Broker::launch(Launch {
        overrides: &["corelog.journal.bytes=67108864"],
        arguments: &["--cores", "1"],
        folder: Some(folder),
        ..Launch::default()
    })
}

/// An idempotent producer that sends what was refused again.
struct Filler {
    client: Client,
    producer: (i64, i16),
    next: [u64; PARTITIONS as usize],
    refused: [Option<Bytes>; PARTITIONS as usize],
    partition: usize,
    random: Random,
    ledger: Ledger,
}

impl Filler {
    fn new(broker: &Broker) -> Filler {
        let mut client = Client::connect(broker.address()).expect("a connection");
        client
            .create_topic(TOPIC, PARTITIONS, &[("segment.bytes", "8388608")])
            .expect("a topic");
        let places = (0..PARTITIONS).map(|partition| Place {
            topic: TOPIC.to_owned(),
            partition,
        });
        Filler {
            producer: client.init_producer_id().expect("a producer id"),
            client,
            next: [0; PARTITIONS as usize],
            refused: [const { None }; PARTITIONS as usize],
            partition: 0,
            random: Random::new(1),
            ledger: Ledger::new(broker.address(), places, |_| true),
        }
    }

    fn reconnect(&mut self, broker: &Broker) {
        self.client = Client::connect(broker.address()).expect("a connection");
    }

    /// Appends until each partition refuses.
    fn fill(&mut self) {
        let appends_max = (DISK_MIB << 20) as usize / RECORD_BYTES * 2;
        for _ in 0..appends_max {
            self.append_somewhere();
            if self.refused.iter().all(Option::is_some) {
                return;
            }
        }
        panic!("{appends_max} appends fit on the disk");
    }

    /// Appends until that is possible again, and goes on being so: what is left of the journal takes one now and then
    /// before the broker has found that the disk has room.
    fn until_there_is_room(&mut self, broker: &Broker, disk: &SmallDisk) {
        const IN_A_ROW: usize = 50;
        let begin = Instant::now();
        let mut taken = 0;
        while taken < IN_A_ROW {
            if self.append_somewhere() == 0 {
                taken += 1;
                continue;
            }
            taken = 0;
            assert!(
                begin.elapsed() < RESUME_MAX,
                "writing does not go on with {} bytes free:\n{}",
                disk.free_bytes(),
                broker.log()
            );
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// The error code of one more append: 0, or that the disk is full.
    fn append_somewhere(&mut self) -> i16 {
        let at = self.partition;
        self.partition = (at + 1) % self.next.len();
        let first = Stamp {
            writer: 0,
            sequence: self.next[at],
        };
        let batch = match self.refused[at].take() {
            Some(batch) => batch,
            None => {
                let record = stamp::write(first, RECORD_BYTES, &mut self.random);
                let producer = Producer {
                    id: self.producer.0,
                    epoch: self.producer.1,
                    base_sequence: first.sequence as i32,
                };
                batch::encode(producer, client::wall_ms(), [record.as_slice()]).into()
            }
        };
        let request = client::produce_request(TOPIC, at as i32, -1, &batch);
        let reply = self.client.call(&request, PRODUCE_VERSION);
        // A request that hangs ends as a time-out of the client.
        let reply = reply.expect("an answer");
        let (code, base_offset) = client::produce_outcome(&reply).expect("an outcome");
        if code == 0 {
            let place = Place {
                topic: TOPIC.to_owned(),
                partition: at as i32,
            };
            self.ledger.acknowledge(&place, base_offset, first, 1);
            self.next[at] += 1;
        } else {
            let full = ResponseError::KafkaStorageError.code();
            assert_eq!(code, full, "{}", error_name(code));
            self.refused[at] = Some(batch);
        }
        code
    }
}
