//! What a broker has said so far, and whether it still says so.
//!
//! A partition's ledger holds every record that a reader has seen, by offset, every acknowledgement, and the highest
//! end of the log. [`Ledger::verify`] reads the partition anew from its first offset and compares.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use corelog_bench::fetch::{self, Limits};
use corelog_loadgen::batch::whole_batches;
use corelog_loadgen::client::{Backoff, Client, FETCH_VERSION, error_name, is_retriable};

use crate::stamp::{self, Stamp};

const LIMITS: Limits = Limits {
    reply_bytes: 8 << 20,
    partition_bytes: 8 << 20,
    wait: Duration::from_millis(20),
};
/// A broker that has just started may ask to be asked again, for so long.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub topic: String,
    pub partition: i32,
}

/// A record as it was seen: its checksum and what it says it is.
pub type Row = (u32, Stamp);

struct Acknowledged {
    base_offset: i64,
    first: Stamp,
    count: u64,
}

#[derive(Default)]
struct Known {
    /// By offset, from 0.
    seen: Vec<Row>,
    acknowledged: Vec<Acknowledged>,
    end_max: i64,
}

pub struct Ledger {
    addr: SocketAddr,
    places: BTreeMap<Place, Mutex<Known>>,
    /// Writers whose records must be there exactly once and in order.
    idempotent: fn(u32) -> bool,
}

impl Ledger {
    pub fn new(
        addr: SocketAddr,
        places: impl IntoIterator<Item = Place>,
        idempotent: fn(u32) -> bool,
    ) -> Ledger {
        let places = places.into_iter().map(|place| (place, Mutex::default()));
        Ledger {
            addr,
            places: places.collect(),
            idempotent,
        }
    }

    pub fn places(&self) -> impl Iterator<Item = &Place> {
        self.places.keys()
    }

    /// A batch was acknowledged: its records begin with `first`.
    pub fn acknowledge(&self, place: &Place, base_offset: i64, first: Stamp, count: u64) {
        let mut known = self.known(place);
        known.end_max = known.end_max.max(base_offset + count as i64);
        known.acknowledged.push(Acknowledged {
            base_offset,
            first,
            count,
        });
    }

    pub fn acknowledged_records(&self) -> u64 {
        let of_one = |place| {
            let known = self.known(place);
            known.acknowledged.iter().map(|it| it.count).sum::<u64>()
        };
        self.places().map(of_one).sum()
    }

    /// Reads what came since, as a consumer does.
    pub fn follow(&self, client: &mut Client, place: &Place) -> Result<()> {
        let from = self.known(place).seen.len();
        let mut new = Vec::new();
        let end = read_some(client, place, from as i64, &mut new)?;
        let mut known = self.known(place);
        known.end_max = known.end_max.max(end);
        // Another reader may have been faster.
        let overlap = known.seen.len() - from;
        let mut both = known.seen[from..].iter().zip(&new);
        ensure!(
            both.all(|(a, b)| a == b),
            "two readers saw different records from offset {from} on"
        );
        known.seen.extend(new.into_iter().skip(overlap));
        Ok(())
    }

    /// Panics unless everything that was acknowledged or seen is where it was, as it was.
    pub fn verify(&self) {
        let mut client = Client::connect(self.addr).expect("the broker accepts connections");
        for place in self.places.keys() {
            self.verify_one(&mut client, place)
                .with_context(|| format!("{}-{}", place.topic, place.partition))
                .unwrap_or_else(|error| panic!("{error:#}"));
        }
    }

    fn verify_one(&self, client: &mut Client, place: &Place) -> Result<()> {
        // Producers may go on: what they get acknowledged from here on is looked at the next time.
        let (acknowledged, end_max) = {
            let known = self.known(place);
            (known.acknowledged.len(), known.end_max)
        };
        let mut rows = Vec::new();
        let mut backoff = Backoff::within(PATIENCE);
        loop {
            let had = rows.len();
            let end = read_some(client, place, had as i64, &mut rows)?;
            ensure!(
                end >= end_max,
                "the log ends at {end}, and had ended at {end_max}"
            );
            if rows.len() as i64 >= end {
                break;
            }
            ensure!(
                rows.len() > had || backoff.wait(),
                "nothing to read at {had} of {end}"
            );
        }
        self.check_once_and_in_order(&rows)?;
        let mut known = self.known(place);
        // A reader may be further than this by now.
        for (offset, (row, before)) in rows.iter().zip(&known.seen).enumerate() {
            ensure!(
                row == before,
                "offset {offset} was {before:?} and is {row:?}"
            );
        }
        for ack in &known.acknowledged[..acknowledged] {
            for n in 0..ack.count {
                let offset = ack.base_offset as u64 + n;
                let wanted = Stamp {
                    sequence: ack.first.sequence + n,
                    ..ack.first
                };
                let found = rows.get(offset as usize).map(|(_, stamp)| *stamp);
                ensure!(
                    found == Some(wanted),
                    "acknowledged at offset {offset}: {wanted:?}; found: {found:?}"
                );
            }
        }
        known.end_max = known.end_max.max(rows.len() as i64);
        if rows.len() > known.seen.len() {
            known.seen = rows;
        }
        Ok(())
    }

    fn check_once_and_in_order(&self, rows: &[Row]) -> Result<()> {
        let mut due: BTreeMap<u32, u64> = BTreeMap::new();
        for (offset, (_, stamp)) in rows.iter().enumerate() {
            if (self.idempotent)(stamp.writer) {
                let due = due.entry(stamp.writer).or_default();
                ensure!(
                    stamp.sequence == *due,
                    "offset {offset} holds {stamp:?} where sequence {due} was due"
                );
                *due += 1;
            }
        }
        Ok(())
    }

    fn known(&self, place: &Place) -> std::sync::MutexGuard<'_, Known> {
        let known = self.places.get(place).expect("a place of this ledger");
        known
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// One fetch: adds the records from an offset on, which must follow each other, and gives the high watermark.
pub fn read_some(
    client: &mut Client,
    place: &Place,
    from: i64,
    rows: &mut Vec<Row>,
) -> Result<i64> {
    let request = fetch::request(&place.topic, [(place.partition, from)], LIMITS);
    let mut backoff = Backoff::within(PATIENCE);
    let reply = loop {
        let reply = client.call(&request, FETCH_VERSION)?;
        let mut partitions = reply.responses.into_iter().flat_map(|it| it.partitions);
        let partition = partitions
            .next()
            .context("a reply without the partition asked for")?;
        match partition.error_code {
            0 => break partition,
            code if is_retriable(code) && backoff.wait() => {}
            code => bail!("fetch at {from}: {}", error_name(code)),
        }
    };
    let mut due = from;
    for batch in whole_batches(&reply.records.unwrap_or_default()) {
        batch.records(|offset, value| {
            // A batch is given whole, also what lies before the offset asked for.
            if offset < due && due == from {
                return Ok(());
            }
            ensure!(offset == due, "offset {offset} where {due} was due");
            let row = stamp::read(value)
                .with_context(|| format!("the record at offset {offset} was changed"))?;
            rows.push(row);
            due += 1;
            Ok(())
        })?;
    }
    ensure!(
        due <= reply.high_watermark,
        "records up to {due} past the high watermark {}",
        reply.high_watermark
    );
    Ok(reply.high_watermark)
}
