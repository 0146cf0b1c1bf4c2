//! A bit of some file flips while the broker is down, after a stop in order or after a crash, when the journals hold
//! records that no segment has. What is read then is what was there, or an error, and that only where the bit has to do
//! with it. Where a journal has rotted the broker refuses to start, unless it is a torn end for all that anybody can
//! tell, or starts without what one of its groups held: of that, no partition has lost more than lay in it and behind
//! it. What the broker cannot start with at all it refuses to start with, and says what is damaged; that changes nothing:
//! once it is put right, all is there again.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use corelog_shards::io::Io;
use corelog_shards::journal::files::parse_slot_name;
use corelog_shards::journal::group::{Entries, EntryHead, EntryKind, HEADER_LEN};
use corelog_shards::log::batch::BatchIter;
use corelog_shards::log::checkpoint_name::SnapshotId;
use corelog_shards::log::segment_name::{FileKind, SegmentFile};
use corelog_shards::route::METADATA_TOPIC;
use kafka_protocol::messages::MetadataRequest;
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;

use super::fetcher::{Outcome, Terms, ask};
use super::model::Model;
use super::offsets::{EARLIEST, list};
use super::partition::Key;
use super::sim::Sim;
use crate::damage::{Group, Journal, JournalFile, unreadable};
use crate::wire::{Client, Lost};

/// A file of one of the folders' folders.
pub struct Stored {
    pub path: PathBuf,
    pub bytes: Vec<u8>,
}

/// What may be wrong for a bit that has flipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rot {
    /// Nobody needs it, or it is made anew.
    Nothing,
    /// What is in these offsets cannot be read.
    Segment(Key, Range<i64>),
    /// A group of a journal, and perhaps those behind it.
    Journal(Loss),
    /// The broker may refuse to start, since a segment of its metadata log is damaged.
    MetadataLog,
    /// It may do so since this is damaged, the newest snapshot of the metadata.
    Snapshot(PathBuf),
}

/// What goes with groups of a journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loss {
    /// Whether a later group says that the one that has rotted was on stable storage: then the broker refuses to start,
    /// and only that one is lost. Otherwise it looks like a torn end, and is cut off with all that follows.
    pub is_vouched_for: bool,
    /// Whether something of the metadata was in them: then no topic has to be there, and what is left of the metadata
    /// log may not go as far as its newest snapshot.
    pub has_metadata: bool,
    /// How far partitions are at least without them.
    pub ends: BTreeMap<Key, i64>,
    /// Partitions whose log start was in them.
    pub starts: BTreeSet<Key>,
    /// Partitions of which nothing is left in the journal.
    pub unknown: BTreeSet<Key>,
}

/// All that the broker has stored.
pub struct Disk {
    files: Vec<Stored>,
    journals: Vec<Journal>,
}

/// Where a bit is to flip.
#[derive(Clone, Debug)]
pub struct Place {
    pub path: PathBuf,
    pub at: u64,
    pub bit: u32,
    /// What is there as long as it has not flipped.
    byte: u8,
    pub rot: Rot,
}

impl Place {
    /// What is there once it has flipped.
    pub fn rotten(&self) -> u8 {
        self.byte ^ (1 << self.bit)
    }
}

impl Rot {
    /// Whether that is a reason not to start, and what is said is this one.
    pub fn is_named(&self, why: &str) -> bool {
        match self {
            Rot::Nothing | Rot::Segment(..) => false,
            Rot::Journal(loss) if loss.is_vouched_for => why.contains("groups are lost"),
            // What a snapshot of the metadata log goes on in may have been cut off, or that its beginning is gone.
            Rot::Journal(loss) => loss.has_metadata && (is_cut_short(why) || is_without_start(why)),
            Rot::MetadataLog => why.contains("the metadata log is damaged"),
            Rot::Snapshot(path) => {
                let damage = format!("{}: the snapshot cannot be used", path.display());
                why.contains(&damage)
            }
        }
    }
}

impl Disk {
    /// Reads files, but for those that lie in the folders themselves, and empty ones.
    pub async fn read(io: Io, folders: Vec<String>, files: Vec<(PathBuf, u64)>) -> Disk {
        let folders: Vec<PathBuf> = folders.iter().map(PathBuf::from).collect();
        let is_inside = |path: &Path| {
            let above = path.parent().and_then(Path::parent);
            above.is_some_and(|above| folders.iter().any(|folder| folder == above))
        };
        let mut read = Vec::new();
        for (path, len) in files {
            if len > 0 && is_inside(&path) {
                let bytes = io.read_small(&path).await.expect("read");
                read.push(Stored { path, bytes });
            }
        }
        let mut journals: BTreeMap<_, Vec<JournalFile>> = BTreeMap::new();
        for file in read.iter().filter(|file| file.dir() == "journal") {
            if let Some((id, _)) = parse_slot_name(file.name()) {
                let journal = journals.entry((file.path.parent(), id)).or_default();
                journal.extend(JournalFile::parse(&file.path, &file.bytes));
            }
        }
        let journals = journals.into_values().map(Journal::new);
        let journals = journals.filter(|journal| !journal.groups.is_empty());
        let journals = journals.collect();
        Disk {
            files: read,
            journals,
        }
    }

    /// A place anywhere, in a group of a journal, or in a batch of a segment. `below` gives random numbers.
    pub fn draw(&self, model: &Model, mut below: impl FnMut(u64) -> u64) -> Place {
        let (path, at) = match below(4) {
            0 | 1 if !self.journals.is_empty() => self.draw_group(&mut below),
            2 => self.draw_batch(model, &mut below),
            _ => None,
        }
        .unwrap_or_else(|| {
            let file = &self.files[below(self.files.len() as u64) as usize];
            (&file.path, below(file.bytes.len() as u64))
        });
        Place {
            path: path.clone(),
            at,
            bit: below(8) as u32,
            byte: self.file(path).bytes[at as usize],
            rot: self.rot_at(model, path, at),
        }
    }

    fn draw_group(&self, below: &mut impl FnMut(u64) -> u64) -> Option<(&PathBuf, u64)> {
        const NEWEST: u64 = 3;
        let groups = &self.journals[below(self.journals.len() as u64) as usize].groups;
        let count = groups.len() as u64;
        // Only of the newest ones nobody says that they were on stable storage.
        let group = match below(2) {
            0 => below(count),
            _ => count - 1 - below(NEWEST.min(count)),
        };
        let group = &groups[group as usize];
        let Range { start, end } = group.range();
        let at = match below(2) {
            0 => below(HEADER_LEN as u64),
            _ => below(end - start),
        };
        Some((&group.path, start + at))
    }

    fn draw_batch(
        &self,
        model: &Model,
        below: &mut impl FnMut(u64) -> u64,
    ) -> Option<(&PathBuf, u64)> {
        let is_log = |file: &&Stored| file.segment(model).is_some();
        let segments: Vec<&Stored> = self.files.iter().filter(is_log).collect();
        let count = segments.len() as u64;
        let file = *segments.get(below(count.max(1)) as usize)?;
        let mut starts = vec![0];
        let mut batches = BatchIter::new(&file.bytes);
        while let Some(Ok(_)) = batches.next() {
            starts.push(batches.position() as u64);
        }
        let end = starts.pop()?;
        let start = *starts.get(below(starts.len().max(1) as u64) as usize)?;
        let next = starts.iter().find(|next| **next > start);
        let len = next.unwrap_or(&end) - start;
        let at = match below(2) {
            0 => below(len.min(61)),
            _ => below(len),
        };
        Some((&file.path, start + at))
    }

    fn file(&self, path: &Path) -> &Stored {
        let file = self.files.iter().find(|file| file.path == path);
        file.expect("one of them")
    }

    fn rot_at(&self, model: &Model, path: &Path, at: u64) -> Rot {
        let (all, file) = (self.files.iter(), self.file(path));
        if file.dir() == "journal" {
            return self.loss_at(path, at).map_or(Rot::Nothing, Rot::Journal);
        }
        if file.dir().starts_with("__cluster_metadata") {
            return self.rot_of_metadata(file);
        }
        let Some((key, base)) = file.segment(model) else {
            return Rot::Nothing;
        };
        let beside = all.filter(|other| other.path.parent() == path.parent());
        let named = beside.filter_map(|other| Some((SegmentFile::parse(other.name())?, other)));
        let later = named.clone().filter(|(its, _)| its.base_offset > base);
        let end = later.map(|(its, _)| its.base_offset).min();
        let index = SegmentFile::new(base, FileKind::OffsetIndex);
        let index = named.clone().find(|(its, _)| *its == index);
        // The index of the segment that is written is in memory, and may have other entries than a file.
        let index = index.filter(|_| end.is_some());
        let index = index.map_or(&[][..], |(_, index)| &index.bytes);
        // Nothing may be left of the segments before it.
        let earlier = named
            .clone()
            .filter(|(its, _)| its.kind == FileKind::Log && !its.deleted && its.base_offset < base);
        let begins = earlier.map(|(_, file)| file.records_end()).max();
        let segment = begins.unwrap_or(0)..end.unwrap_or(i64::MAX);
        let lost = unreadable(&file.bytes, index, at, segment);
        Rot::Segment(key, lost)
    }

    /// What may be wrong for a bit of a file in the metadata log's folder.
    fn rot_of_metadata(&self, file: &Stored) -> Rot {
        if let Some(snapshot) = SnapshotId::parse(file.name()) {
            let beside = self.files.iter();
            let beside = beside.filter(|other| other.path.parent() == file.path.parent());
            let newest = beside
                .filter_map(|other| SnapshotId::parse(other.name()))
                .max();
            return match newest == Some(snapshot) {
                true => Rot::Snapshot(file.path.clone()),
                false => Rot::Nothing,
            };
        }
        match SegmentFile::parse(file.name()) {
            Some(its) if its.kind == FileKind::Log && !its.deleted => Rot::MetadataLog,
            _ => Rot::Nothing,
        }
    }

    /// What goes with the group that has this byte, if there is one.
    fn loss_at(&self, path: &Path, at: u64) -> Option<Loss> {
        let holds = |group: &Group| group.path == path && group.range().contains(&at);
        let mut journals = self.journals.iter();
        let (journal, at) =
            journals.find_map(|journal| Some((journal, journal.groups.iter().position(holds)?)))?;
        let (groups, is_vouched_for) = (&journal.groups, journal.vouches_for(at));
        let lost = match is_vouched_for {
            true => &groups[at..=at],
            false => &groups[at..],
        };
        let mut loss = Loss {
            is_vouched_for,
            ..Loss::default()
        };
        for group in lost {
            for entry in Entries::new(&group.payload) {
                let (head, body) = entry.expect("an entry");
                if head.key.topic == METADATA_TOPIC {
                    loss.has_metadata = true;
                    continue;
                }
                let key = Key {
                    topic: head.key.topic,
                    index: head.key.partition,
                };
                let end = match head.kind {
                    EntryKind::Append => {
                        let base = body[16..].first_chunk().expect("a batch");
                        i64::from_be_bytes(*base)
                    }
                    EntryKind::Checkpoint => {
                        let before = groups[..at].iter().flat_map(|group| {
                            Entries::new(&group.payload).map(|entry| entry.expect("an entry"))
                        });
                        let ends = [EntryKind::Checkpoint, EntryKind::Moved, EntryKind::Drop];
                        let its = before
                            .filter(|(its, _)| its.key == head.key && ends.contains(&its.kind));
                        let is_old = |(its, older): (EntryHead, &[u8])| {
                            its.kind == EntryKind::Checkpoint
                                && its.revision == head.revision
                                && folder_of(older) == folder_of(body)
                        };
                        if its.last().is_some_and(is_old) {
                            // The older one and what came behind it say the same.
                            continue;
                        }
                        // Its partition is put together from what lies in its folder.
                        loss.unknown.insert(key);
                        0
                    }
                    EntryKind::LogStart => {
                        loss.starts.insert(key);
                        continue;
                    }
                    _ => continue,
                };
                let known = loss.ends.entry(key).or_insert(end);
                *known = end.min(*known);
            }
        }
        Some(loss)
    }
}

/// Where a checkpoint says that its partition is: the name of its own folder, and the id of the one that holds that.
fn folder_of(checkpoint: &[u8]) -> &[u8] {
    let name_len = u16::from_be_bytes([checkpoint[1], checkpoint[2]]);
    &checkpoint[1..3 + usize::from(name_len) + 16]
}

impl Stored {
    fn name(&self) -> &str {
        let name = self.path.file_name().and_then(|name| name.to_str());
        name.expect("a name")
    }

    /// The name of the folder it is in.
    fn dir(&self) -> &str {
        let dir = self.path.parent().and_then(Path::file_name);
        dir.and_then(|name| name.to_str()).expect("a name")
    }

    /// Where its last batch ends.
    fn records_end(&self) -> i64 {
        let (mut batches, mut end) = (BatchIter::new(&self.bytes), 0);
        while let Some(Ok(batch)) = batches.next() {
            end = batch.next_offset();
        }
        end
    }

    /// Whose segment it is, if it is one, and where that begins.
    fn segment(&self, model: &Model) -> Option<(Key, i64)> {
        let segment = SegmentFile::parse(self.name())?;
        let is_read = segment.kind == FileKind::Log && !segment.deleted;
        let (name, index) = self.dir().rsplit_once('-')?;
        let mut topics = model.plan.topics.iter();
        let at = topics.position(|topic| topic.name == name)?;
        let key = Key {
            topic: model.topics[at].id?,
            index: index.parse().ok()?,
        };
        is_read.then_some((key, segment.base_offset))
    }
}

/// Whether a start is refused since the metadata log has lost what its newest snapshot goes on in.
pub fn is_cut_short(why: &str) -> bool {
    why.contains("the metadata log beside it only to")
}

/// Whether a start is refused since the metadata log has lost that its oldest segments are gone.
fn is_without_start(why: &str) -> bool {
    why.contains("restore the segments that are missing")
}

/// The partitions of all topics that are known.
pub async fn known(sim: &Sim, io: Io) -> Result<BTreeSet<Key>, Lost> {
    let mut client = sim.checker(io, "checker");
    let request = |_| MetadataRequest::default().with_topics(None);
    let reply = client.ask(10..=13, request).await?;
    let keys = |topic: MetadataResponseTopic| {
        let partitions = topic.partitions.into_iter();
        partitions.map(move |partition| Key {
            topic: topic.topic_id,
            index: partition.partition_index,
        })
    };
    Ok(reply.topics.into_iter().flat_map(keys).collect())
}

/// Reads partitions through, past what cannot be read. How often that was so.
pub async fn read_past(sim: &Sim, io: Io, keys: Vec<Key>, rot: Rot) -> Result<u64, Lost> {
    let mut client = sim.checker(io, "checker");
    let mut errors = 0;
    for key in keys {
        sim.model.borrow_mut().partition(key).doubt();
        let known = sim.model.borrow().floor(key);
        let Some(start) = list(sim, &mut client, key, EARLIEST).await? else {
            panic!("{key:?} does not say where it starts");
        };
        let mut next = start.offset;
        while next < known.end {
            let Some(to) = read_on(sim, &mut client, key, next).await? else {
                let is_its = matches!(&rot, Rot::Segment(its, offsets)
                    if *its == key && offsets.contains(&next));
                assert!(is_its, "{key:?} at {next} cannot be read for {rot:?}");
                errors += 1;
                next += 1;
                continue;
            };
            assert!(
                to > next,
                "{key:?} has nothing at {next} below {}",
                known.end
            );
            next = to;
        }
    }
    Ok(errors)
}

/// Where to go on; `None` if what is there has rotted.
async fn read_on(sim: &Sim, client: &mut Client, key: Key, next: i64) -> Result<Option<i64>, Lost> {
    let positions = BTreeMap::from([(key, next)]);
    let mut outcomes = ask(sim, client, &positions, Terms::greedy()).await?;
    match outcomes.pop() {
        Some((_, Outcome::Read(to, _))) => Ok(Some(to)),
        Some((_, Outcome::Corrupt)) => Ok(None),
        // The start has moved on.
        Some((_, Outcome::OutOfRange)) => {
            let start = list(sim, client, key, EARLIEST).await?;
            Ok(Some(start.expect("it has not failed").offset))
        }
        _ => panic!("{key:?} at {next} is told to be somewhere else"),
    }
}
