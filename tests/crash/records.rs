//! One partition that a test writes and reads by itself: one record a batch, each telling which one it is.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use corelog_bench::fetch::{self, Limits};
use corelog_loadgen::batch::{self, Producer, whole_batches};
use corelog_loadgen::client::{
    self, Backoff, Client, FETCH_VERSION, PRODUCE_VERSION, is_retriable, produce_outcome,
    produce_request,
};

use crate::random::Random;
use crate::stamp::{self, Stamp};

const WRITER: u32 = 1;
const LIMITS: Limits = Limits {
    reply_bytes: 4 << 20,
    partition_bytes: 4 << 20,
    wait: Duration::from_millis(20),
};
/// A broker that has just started may ask to be asked again, for so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// Sequences of the records by offset, or the error that a reader gets there.
pub type Read = BTreeMap<i64, Result<u64, i16>>;

/// Appends records of these sequences, each of so many bytes. Gives the offset of the last.
pub fn append(
    client: &mut Client,
    topic: &str,
    sequences: std::ops::Range<u64>,
    bytes: usize,
) -> i64 {
    let mut last = -1;
    for sequence in sequences {
        let mut random = Random::new(sequence);
        let stamp = Stamp {
            writer: WRITER,
            sequence,
        };
        let record = stamp::write(stamp, bytes, &mut random);
        let batch = batch::encode(Producer::NONE, client::wall_ms(), [record.as_slice()]);
        let request = produce_request(topic, 0, -1, &Bytes::from(batch));
        let mut backoff = Backoff::within(PATIENCE);
        last = loop {
            let reply = client.call(&request, PRODUCE_VERSION).expect("a reply");
            match produce_outcome(&reply).expect("an outcome") {
                (0, offset) => break offset,
                (code, _) if is_retriable(code) && backoff.wait() => {}
                (code, _) => panic!("{topic}: {}", client::error_name(code)),
            }
        };
    }
    last
}

/// Reads from the first offset to below `end`, past what gives an error. Panics if a record is not what was written.
pub fn read(address: SocketAddr, topic: &str, end: i64) -> Read {
    let mut client = Client::connect(address).expect("a connection");
    let mut found = Read::new();
    let mut from = 0;
    while from < end {
        let (error, records) = fetch_at(&mut client, topic, from);
        if error != 0 {
            found.insert(from, Err(error));
            from += 1;
            continue;
        }
        let before = from;
        for batch in whole_batches(&records) {
            let each = batch.records(|offset, value| {
                let (_, stamp) = stamp::read(value).expect("a record is as it was written");
                assert_eq!(stamp.writer, WRITER);
                if offset < end {
                    found.insert(offset, Ok(stamp.sequence));
                }
                from = offset + 1;
                Ok(())
            });
            each.expect("a batch is as it was written");
        }
        assert!(from > before, "nothing at {from} of {end}");
    }
    found
}

/// One answer that does not ask to be asked again: its error and its records.
pub fn fetch_at(client: &mut Client, topic: &str, from: i64) -> (i16, Bytes) {
    let request = fetch::request(topic, [(0, from)], LIMITS);
    let mut backoff = Backoff::within(PATIENCE);
    loop {
        let reply = client.call(&request, FETCH_VERSION).expect("a reply");
        let mut partitions = reply.responses.into_iter().flat_map(|it| it.partitions);
        let partition = partitions.next().expect("the partition asked for");
        let is_final = !is_retriable(partition.error_code) || is_of_storage(partition.error_code);
        if is_final || !backoff.wait() {
            return (partition.error_code, partition.records.unwrap_or_default());
        }
    }
}

/// Clients ask again, and the disk says the same.
fn is_of_storage(code: i16) -> bool {
    [
        client_code::CORRUPT_MESSAGE,
        client_code::KAFKA_STORAGE_ERROR,
    ]
    .contains(&code)
}

/// What clients are told.
pub mod client_code {
    pub const CORRUPT_MESSAGE: i16 = 2;
    pub const KAFKA_STORAGE_ERROR: i16 = 56;
}

/// Offsets and sequences from 0 to below `end`, as they are when nothing is lost.
pub fn whole(end: i64) -> Read {
    (0..end).map(|offset| (offset, Ok(offset as u64))).collect()
}

/// The bit of a byte that [`flip`] changes.
pub const FLIPPED: u8 = 0x10;

/// Changes one byte of a file; a second time changes it back.
pub fn flip(file: &Path, at: u64) {
    use std::os::unix::fs::FileExt;
    let opened = std::fs::File::options().read(true).write(true).open(file);
    let file = opened.expect("the file");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("it is that long");
    byte[0] ^= FLIPPED;
    file.write_all_at(&byte, at).expect("it is written");
    file.sync_all().expect("it is synced");
}
