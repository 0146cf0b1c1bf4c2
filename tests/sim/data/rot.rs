//! A bit of some file flips while the broker is down. What is read then is what was there, or an error, and that only
//! where the file has to do with it. What the broker cannot start with it refuses to start with, and says so.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use corelog_shards::io::Io;
use corelog_shards::log::segment_name::{FileKind, SegmentFile};

use super::fetcher::{Outcome, Terms, ask};
use super::model::Model;
use super::offsets::{EARLIEST, list};
use super::partition::Key;
use super::sim::Sim;
use crate::wire::{Client, Lost};

/// A file, and where one of its bits is to flip.
#[derive(Clone, Debug)]
pub struct Stored {
    pub path: PathBuf,
    pub len: u64,
    /// Offsets of the segment that it belongs to.
    offsets: Option<Range<i64>>,
}

/// What may be wrong for that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rot {
    /// Nobody needs it, or it is made anew.
    Nothing,
    /// What is in these offsets cannot be read.
    Segment(Key, Range<i64>),
    /// The broker refuses to start, or starts without what was there if it is told to.
    Journal,
    /// The broker refuses to start.
    Metadata,
}

/// All files that are not empty, of the folders and those in them.
pub async fn files(io: Io, folders: Vec<String>) -> Vec<Stored> {
    let mut files = Vec::new();
    for folder in folders {
        for entry in io.list_dir(Path::new(&folder)).await.unwrap_or_default() {
            let dir = Path::new(&folder).join(&entry.name);
            if !entry.is_dir {
                continue;
            }
            let inside = io.list_dir(&dir).await.unwrap_or_default();
            let bases = inside
                .iter()
                .filter_map(|file| SegmentFile::parse(&file.name));
            let mut bases: Vec<i64> = bases.map(|file| file.base_offset).collect();
            bases.sort_unstable();
            for file in inside
                .into_iter()
                .filter(|file| !file.is_dir && file.len > 0)
            {
                let segment = SegmentFile::parse(&file.name);
                let segment = segment.filter(|file| file.kind == FileKind::Log && !file.deleted);
                let offsets = segment.map(|segment| {
                    let next = bases.iter().find(|base| **base > segment.base_offset);
                    segment.base_offset..next.copied().unwrap_or(i64::MAX)
                });
                files.push(Stored {
                    path: dir.join(&file.name),
                    len: file.len,
                    offsets,
                });
            }
        }
    }
    files
}

impl Stored {
    /// What may come of a flipped bit.
    pub fn rot(&self, model: &Model) -> Rot {
        let dir = self.path.parent().and_then(Path::file_name);
        let dir = dir.and_then(|name| name.to_str()).unwrap_or_default();
        if dir == "journal" {
            return Rot::Journal;
        }
        if dir.starts_with("__cluster_metadata") {
            return Rot::Metadata;
        }
        let key = dir.rsplit_once('-').and_then(|(name, index)| {
            let at = model
                .plan
                .topics
                .iter()
                .position(|topic| topic.name == name)?;
            Some(Key {
                topic: model.topics[at].id?,
                index: index.parse().ok()?,
            })
        });
        match (key, &self.offsets) {
            (Some(key), Some(offsets)) => Rot::Segment(key, offsets.clone()),
            _ => Rot::Nothing,
        }
    }
}

/// Reads partitions through, past what cannot be read.
pub async fn read_past(sim: &Sim, io: Io, keys: Vec<Key>, rot: Rot) -> Result<u64, Lost> {
    let mut client = sim.checker(io, "checker");
    let mut errors = 0;
    for key in keys {
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
        _ => panic!("{key:?} at {next} is told to be somewhere else"),
    }
}
