//! A byte of a file has changed while the broker was down: it is found, told, and never served. What is around it is
//! there.

use std::fs;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use corelog_loadgen::client::{Backoff, Client};
use corelog_shards::io::BLOCK;
use corelog_shards::journal::group::{Entries, EntryKind, GroupHeader, HEADER_LEN};
use uuid::Uuid;

use crate::half_deleted::{
    DATA, FIRST_SEGMENT, SMALL, SMALL_RECORDS, assert_told_once, filled, verify,
};
use crate::harness::Broker;
use crate::records::{FLIPPED, append, client_code, fetch_at, flip, read, whole};
use crate::turn;

const BULK: &str = "bulk";
const RECORDS: i64 = 110;
/// Records of [`BULK_BYTES`] that a journal of 64 MiB has room for.
const IN_JOURNAL_MAX: i64 = 74;
/// These fill several groups, and are not in a segment yet.
const MORE_RECORDS: i64 = 8;
const BULK_BYTES: usize = 900_000;
/// One of the first segment, which is in no journal any more.
const ROTTEN: i64 = 7;
/// How the log says that a segment is not what was written.
const SEGMENT_ROT: &str = "a segment is damaged: readers of the damaged batches";
/// How the log says that something of a journal is lost.
const LOSS: &str = "the journal is damaged: what was on stable storage cannot be read any more";
/// What that cost a partition, or may have.
const HAS_LOST: &str =
    "a partition has lost records to the damage of a journal: from this offset on";
const MAY_LACK: &str =
    "a partition may have lost records to the damage of a journal: from this offset on";
const UNUSABLE_INDEX: &str = "a segment has no usable index";
const ASTRAY_INDEX: &str = "an index does not fit to its segment";
/// Offset and position, four bytes each.
const INDEX_ENTRY_BYTES: usize = 8;
/// Of a topic's id in `partition.metadata`, at its end.
const ID_LETTERS: usize = 22;
const OWNER_ROT: &str = "partition.metadata is damaged, and is written anew";
const JOURNAL_LIST: &str = ".journal-0000";
const LIST_ROT: &str =
    "the list of a journal's files is damaged: nobody will notice if one of them is missing";

/// Where a batch begins in a segment that begins with offset 0 and holds one record a batch.
fn position_of(segment: &Path, offset: i64) -> u64 {
    let file = fs::File::open(segment).expect("the segment");
    let mut position = 0;
    for due in 0..=offset {
        let mut head = [0; 12];
        file.read_exact_at(&mut head, position).expect("a batch");
        let base = i64::from_be_bytes(*head.first_chunk().expect("an offset"));
        assert_eq!(base, due);
        if due < offset {
            position += 12 + u64::from(u32::from_be_bytes(*head.last_chunk().expect("a length")));
        }
    }
    position
}

#[test]
fn a_rotten_batch_is_not_served_and_those_around_it_are() {
    turn::run("rotten-segment", || {
        let mut broker = filled();
        broker.kill9();
        let file = broker.folder().join(FIRST_SEGMENT);
        let at = position_of(&file, ROTTEN) + 5_000;
        flip(&file, at);
        broker.restart();
        let before = broker.log().len();
        let mut wanted = whole(RECORDS);
        wanted.insert(ROTTEN, Err(client_code::CORRUPT_MESSAGE));
        assert_eq!(read(broker.address(), BULK, RECORDS), wanted);
        let mut client = Client::connect(broker.address()).expect("a connection");
        for _ in 0..20 {
            assert_eq!(
                fetch_at(&mut client, BULK, ROTTEN).0,
                client_code::CORRUPT_MESSAGE
            );
        }
        assert_eq!(
            append(&mut client, BULK, 110..111, 1_000),
            RECORDS,
            "it goes on"
        );
        broker.stop();
        let said = broker.log().split_off(before);
        assert_told_once(&said, SEGMENT_ROT, FIRST_SEGMENT);
        assert_tells_rot(&said, &file, ROTTEN..ROTTEN + 1);
        flip(&file, at);
        broker.restart();
        verify(&broker);
        Ok(())
    });
}

/// A line tells that these offsets of a segment cannot be read, with their place.
fn assert_tells_rot(said: &str, segment: &Path, offsets: Range<i64>) {
    let (position, end) = (
        position_of(segment, offsets.start),
        position_of(segment, offsets.end),
    );
    let words = [
        format!("position={position}"),
        format!("bytes={}", end - position),
        format!("offset={}", offsets.start),
        format!("goes_on_at={}", offsets.end),
    ];
    let words = words.each_ref().map(String::as_str);
    assert_eq!(told(said, SEGMENT_ROT, &words), 1, "{words:?}: {said}");
}

/// How many lines say this with all of these words.
fn told(said: &str, what: &str, words: &[&str]) -> usize {
    let lines = said.lines().filter(|line| line.contains(what));
    // A number may begin with another one.
    let has = |line: &str, word: &str| format!("{line} ").contains(&format!(" {word} "));
    let told = lines.filter(|line| words.iter().all(|word| has(line, word)));
    told.count()
}

#[test]
fn each_rotten_batch_of_a_segment_is_told_with_its_offsets() {
    turn::run("rotten-batches", || {
        let mut broker = filled();
        broker.kill9();
        let file = broker.folder().join(FIRST_SEGMENT);
        let place = |offset| position_of(&file, offset);
        let (record, length) = (place(3) + 5_000, place(ROTTEN) + 9);
        // Two batches with one record each, and the length of a third: where the next one is only the index says.
        for at in [record, place(4) + 5_000, length] {
            flip(&file, at);
        }
        broker.restart();
        let before = broker.log().len();
        let mut wanted = whole(RECORDS);
        for rotten in [3, 4, ROTTEN] {
            wanted.insert(rotten, Err(client_code::CORRUPT_MESSAGE));
        }
        for _ in 0..3 {
            assert_eq!(read(broker.address(), BULK, RECORDS), wanted);
        }
        broker.stop();
        let said = broker.log().split_off(before);
        assert_eq!(said.matches(SEGMENT_ROT).count(), 3, "{said}");
        flip(&file, length);
        for rotten in [3, 4, ROTTEN] {
            assert_tells_rot(&said, &file, rotten..rotten + 1);
        }
        Ok(())
    });
}

#[test]
fn a_rotten_index_misleads_nobody() {
    turn::run("rotten-index", || {
        let mut broker = filled();
        broker.stop();
        let dir = broker.folder().join("bulk-0");
        // One entry of the first index leads astray, the others are out of order.
        let mut bases: Vec<i64> = Vec::new();
        let mut astray = 0;
        for entry in fs::read_dir(&dir).expect("the partition") {
            let path = entry.expect("a file").path();
            let name = path.file_name().expect("a name").to_string_lossy();
            let Some(base) = name.strip_suffix(".index") else {
                continue;
            };
            let base = base.parse().expect("an offset");
            let entries = fs::read(&path).expect("an index");
            let middle = entries.len() / INDEX_ENTRY_BYTES / 2 * INDEX_ENTRY_BYTES;
            let Some(entry) = entries[middle..].first_chunk::<INDEX_ENTRY_BYTES>() else {
                continue;
            };
            if base == 0 {
                flip(&path, (middle + INDEX_ENTRY_BYTES - 1) as u64);
                let position = u32::from_be_bytes(*entry.last_chunk().expect("a position"));
                astray = position ^ u32::from(FLIPPED);
            } else {
                flip(&path, middle as u64);
                flip(&path.with_extension("timeindex"), 0);
                bases.push(base);
            }
        }
        assert!(astray > 0, "{bases:?}");
        let before = broker.log().len();
        broker.restart();
        let mut client = Client::connect(broker.address()).expect("a connection");
        for offset in (0..RECORDS).rev() {
            let (error, records) = fetch_at(&mut client, BULK, offset);
            assert!(error == 0 && !records.is_empty(), "{offset}: {error}");
        }
        verify(&broker);
        broker.stop();
        let said = broker.log().split_off(before);
        let of_bulk = "partition=bulk-0";
        bases.sort_unstable();
        for (at, base) in bases.iter().enumerate() {
            let words = [of_bulk, &format!("segment_base={base}")];
            let times = told(&said, UNUSABLE_INDEX, &words);
            // What the journal has is read from memory.
            let is_in_file = bases
                .get(at + 1)
                .is_some_and(|next| *next <= RECORDS - IN_JOURNAL_MAX);
            assert!(times == 1 || times == 0 && !is_in_file, "{words:?}: {said}");
        }
        let words = [of_bulk, "segment_base=0", &format!("position={astray}")];
        assert_eq!(told(&said, ASTRAY_INDEX, &words), 1, "{words:?}: {said}");
        Ok(())
    });
}

#[test]
fn a_rotten_journal_is_refused_and_no_torn_end() {
    turn::run("rotten-journal", || {
        let mut broker = filled();
        let topics = [BULK, SMALL].map(str::to_owned);
        let ids = |broker: &Broker| {
            let mut client = Client::connect(broker.address()).expect("a connection");
            let told = client.metadata(&topics).expect("metadata").topics;
            let of = |name: &str| {
                told.iter()
                    .find(|it| it.name.as_ref().is_some_and(|it| it.as_str() == name))
            };
            [BULK, SMALL].map(|name| of(name).expect("the topic").topic_id)
        };
        let ids = ids(&broker);
        broker.kill9();
        let damage = Damage::choose(&broker, ids[0]);
        damage.flip(&broker);
        let (status, said) = broker.spawn_to_end();
        assert_eq!(status, Some(DATA), "{said}");
        damage.assert_told(&said);
        let last = said.lines().last().unwrap_or_default();
        let name = damage.file.file_name().expect("a name").to_string_lossy();
        let cost = format!(
            "{name} is damaged at {}: 1 groups are lost;",
            damage.position
        );
        for word in [&*cost, "corelog.recovery.on.rot=continue"] {
            assert!(last.contains(word), "{word}: {said}");
        }
        // As it was, nothing is lost: what a crash tears is no rot, and was cut off without a word of damage.
        flip(&damage.file, damage.at);
        let before = broker.log().len();
        broker.restart();
        verify(&broker);
        assert!(!broker.log().split_off(before).contains("damaged"));

        // Without what is lost, if somebody wants that. What the start has found may be in segments by now.
        let mut client = Client::connect(broker.address()).expect("a connection");
        let more = RECORDS as u64..(RECORDS + MORE_RECORDS) as u64;
        append(&mut client, BULK, more, BULK_BYTES);
        broker.kill9();
        let damage = Damage::choose(&broker, ids[0]);
        damage.flip(&broker);
        broker.set_property("corelog.recovery.on.rot=continue");
        let before = broker.log().len();
        broker.restart();
        let said = broker.await_log(before, "INFO ready");
        damage.assert_told(&said);
        let mut client = Client::connect(broker.address()).expect("a connection");
        let mut end_of = |topic| client.end_offsets(topic, 1).expect("an end")[0];
        let ends = [end_of(BULK), end_of(SMALL)];
        let written = [RECORDS + MORE_RECORDS, SMALL_RECORDS as i64];
        for (at, (end, written)) in ends.into_iter().zip(written).enumerate() {
            let least = damage.first_offset(ids[at]).unwrap_or(written);
            assert!(
                (least..=written).contains(&end),
                "{end} of {written}, from {least} on it may be lost"
            );
            let partition = format!("partition=\"{}-0\"", [BULK, SMALL][at]);
            let from = format!("offset={end}");
            let through = format!("lost_through={}", written - 1);
            let has_lost = told(&said, HAS_LOST, &[&partition, &from, &through]);
            let may_lack = told(&said, MAY_LACK, &[&partition, &from]);
            match end < written {
                true => assert_eq!(has_lost + may_lack, 1, "{partition} {end}: {said}"),
                false => assert!(has_lost == 0 && may_lack <= 1, "{partition}: {said}"),
            }
            let all = told(&said, HAS_LOST, &[&partition]) + told(&said, MAY_LACK, &[&partition]);
            assert_eq!(all, has_lost + may_lack, "{partition} {end}: {said}");
        }
        let all = |broker: &Broker| {
            assert_eq!(read(broker.address(), BULK, ends[0]), whole(ends[0]));
            assert_eq!(read(broker.address(), SMALL, ends[1]), whole(ends[1]));
        };
        all(&broker);
        broker.kill9();
        broker.set_property("corelog.recovery.on.rot=refuse");
        broker.restart();
        // The loss is over.
        all(&broker);
        Ok(())
    });
}

/// A byte in a group of a journal of which a later one says that it was stored.
struct Damage {
    file: PathBuf,
    at: u64,
    /// Where the group begins.
    position: usize,
    /// Entries of the group.
    payload: Vec<u8>,
}

impl Damage {
    /// In the middle of the groups that a start has to read and that hold nothing but records, some of them of this topic.
    fn choose(broker: &Broker, topic: Uuid) -> Damage {
        let files = fs::read_dir(broker.folder().join("journal")).expect("the journal");
        let groups = files.flat_map(|file| groups_in(&file.expect("a file").path()));
        let mut groups: Vec<_> = groups.collect();
        let newest = groups.iter().map(|(header, _)| header);
        let newest = newest.max_by_key(|header| header.number);
        let newest = *newest.expect("a group");
        groups.retain(|(header, damage)| {
            let is_needed = header.file_seq >= newest.oldest_needed;
            let is_stored =
                header.run_id == newest.run_id && header.number <= newest.synced_through;
            let mut entries = Entries::new(&damage.payload);
            let is_append =
                entries.all(|entry| entry.expect("an entry").0.kind == EntryKind::Append);
            is_needed && is_stored && is_append && damage.first_offset(topic).is_some()
        });
        assert!(!groups.is_empty(), "no group to damage");
        let chosen = groups.len() / 2;
        groups.swap_remove(chosen).1
    }

    /// The offset of the first record of a partition of this topic in the group.
    fn first_offset(&self, topic: Uuid) -> Option<i64> {
        let entries = Entries::new(&self.payload).map(|entry| entry.expect("an entry"));
        let its = entries.filter(|(head, _)| head.key.topic == topic);
        // Behind where they are in the segment.
        let offset = |body: &[u8]| *body[16..].first_chunk().expect("a batch");
        its.map(|(_, body)| i64::from_be_bytes(offset(body))).min()
    }

    /// One line tells that this group is lost, and no other.
    fn assert_told(&self, said: &str) {
        let name = self.file.file_name().expect("a name").to_string_lossy();
        assert_told_once(said, LOSS, &name);
        let words = [&*format!("position={}", self.position), "lost_groups=1"];
        assert_eq!(told(said, LOSS, &words), 1, "{words:?}: {said}");
    }

    /// Changes the byte, which `corelog doctor` finds.
    fn flip(&self, broker: &Broker) {
        flip(&self.file, self.at);
        let (status, said) = broker.doctor();
        assert_eq!(status, Some(1), "{said}");
        assert!(said.contains("damaged: "), "{said}");
    }
}

/// The groups of the newest run in a file of a journal, as far as they are sound.
fn groups_in(path: &Path) -> Vec<(GroupHeader, Damage)> {
    let bytes = fs::read(path).expect("a file of the journal");
    let mut groups: Vec<(GroupHeader, Damage)> = Vec::new();
    let mut position = 0;
    while let Some(block) = bytes.get(position..position + BLOCK)
        && let Ok((header, _)) = GroupHeader::decode(block)
        && let Some(payload) = bytes[position + HEADER_LEN..].get(..header.payload_len as usize)
        && header.check_payload(payload).is_ok()
        && groups.last().is_none_or(|(last, _)| {
            (last.run_id, last.number + 1) == (header.run_id, header.number)
        })
    {
        let damage = Damage {
            file: path.to_owned(),
            at: (position + HEADER_LEN + payload.len() / 2) as u64,
            position,
            payload: payload.to_vec(),
        };
        groups.push((header, damage));
        position += header.padded_len() as usize;
    }
    groups
}

#[test]
fn a_rotten_snapshot_of_the_metadata_is_passed_over() {
    turn::run("rotten-snapshot", || {
        let mut broker = Broker::start(&[
            "corelog.journal.bytes=67108864",
            "metadata.log.max.record.bytes.between.snapshots=1",
        ]);
        let mut client = Client::connect(broker.address()).expect("a connection");
        let topics = ["a", "b", "c"];
        for topic in topics {
            client.create_topic(topic, 1, &[]).expect("a topic");
            append(&mut client, topic, 0..5, 100);
        }
        let log = broker.folder().join("__cluster_metadata-0");
        let mut backoff = Backoff::within(std::time::Duration::from_secs(30));
        let newest = loop {
            match newest_snapshot(&log) {
                Some(found) => break found,
                None => assert!(backoff.wait(), "no snapshot:\n{}", broker.log()),
            }
        };
        broker.kill9();
        let newest = newest_snapshot(&log).unwrap_or(newest);
        let len = fs::metadata(&newest).expect("its length").len();
        flip(&newest, len / 2);
        let before = broker.log().len();
        broker.restart();
        for topic in topics {
            assert_eq!(read(broker.address(), topic, 5), whole(5));
        }
        let name = newest
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        broker.stop();
        let said = broker.log().split_off(before);
        assert_told_once(&said, "a snapshot of the metadata is passed over", &name);
        // It is kept for whoever wants to look at it, and no start meets it again.
        let aside = format!("{name}.damaged");
        assert_told_once(
            &said,
            "a damaged snapshot of the metadata is set aside",
            &aside,
        );
        assert!(log.join(&aside).exists(), "{aside}");
        let before = broker.log().len();
        broker.restart();
        broker.stop();
        let said = broker.log().split_off(before);
        assert!(!said.contains("snapshot of the metadata is"), "{said}");
        Ok(())
    });
}

#[test]
fn rot_in_what_says_whose_a_folder_is_is_refused_and_named() {
    turn::run("rotten-identity", || {
        let mut broker = filled();
        broker.stop();
        let file = broker.folder().join("meta.properties");
        let text = fs::read_to_string(&file).expect("its text");
        for (name, why) in [
            ("version=", "Unknown meta.properties version number"),
            ("node.id=", "node.id=! is not valid"),
        ] {
            let at = text.find(name).expect(name) + name.len();
            flip(&file, at as u64);
            let (status, said) = broker.spawn_to_end();
            assert_eq!(status, Some(DATA), "{said}");
            let last = said.lines().last().unwrap_or_default();
            for word in ["/meta.properties: ", why, "Restore the file"] {
                assert!(last.contains(word), "{word}: {said}");
            }
            flip(&file, at as u64);
        }
        broker.restart();
        verify(&broker);
        Ok(())
    });
}

#[test]
fn what_is_written_anew_is_told_with_its_place() {
    turn::run("rotten-notes", || {
        let mut broker = filled();
        broker.stop();
        let owner = broker.folder().join("bulk-0/partition.metadata");
        let text = fs::read(&owner).expect("whose folder it is");
        // One that gives another id, and with it another topic.
        let is_letter = |at: &usize| {
            let both = [text[*at], text[*at] ^ FLIPPED];
            both.iter().all(u8::is_ascii_alphabetic)
        };
        let in_id = (text.len() - ID_LETTERS..text.len()).find(is_letter);
        let list = broker.folder().join(JOURNAL_LIST);
        for (file, at, what, place) in [
            (&owner, 0, OWNER_ROT, "bulk-0"),
            (&owner, in_id.expect("a letter"), OWNER_ROT, "bulk-0"),
            (&list, 0, LIST_ROT, JOURNAL_LIST),
        ] {
            let whole = fs::read(file).expect("the file");
            flip(file, at as u64);
            let before = broker.log().len();
            broker.restart();
            let mut client = Client::connect(broker.address()).expect("a connection");
            append(&mut client, BULK, 0..1, 100);
            verify(&broker);
            broker.stop();
            let said = broker.log().split_off(before);
            assert_told_once(&said, what, place);
            assert!(fs::read(file).expect("the file") == whole, "{what} at {at}");
        }
        Ok(())
    });
}

fn newest_snapshot(log: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(log).ok()?;
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    paths
        .filter(|path| path.extension().is_some_and(|it| it == "checkpoint"))
        .max()
}
