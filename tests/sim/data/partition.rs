//! What is known of one partition from outside, and what it has promised.
//!
//! A record is *pinned* to its offset once an acknowledgement or a reader has told where it is. From then on nothing
//! else may be found there, and it nowhere else, as long as the class of its topic promises that it stays: `sync`
//! whatever happens, `written` unless the power fails, `memory` until the process ends. What a crash may have cost is
//! found out by reading all that is left: that must be what was there, up to some point behind all promises.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use corelog_shards::io::sim::Crash;
use corelog_shards::journal::Durability;
use uuid::Uuid;

use super::batches::Tag;

/// A partition of one topic, not of another one of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    pub topic: Uuid,
    pub index: i32,
}

#[derive(Debug)]
pub struct Partition {
    /// Place of its topic in the plan.
    pub topic: usize,
    /// Whether records may go for which there are newer ones of the same key.
    pub is_compacted: bool,
    /// The weakest class since it was read through.
    pub class: Durability,
    /// It is being deleted, and there was a crash: nothing is promised until it is gone.
    pub is_doomed: bool,
    /// By offset.
    pins: BTreeMap<i64, Tag>,
    places: BTreeMap<Tag, Vec<i64>>,
    /// Records that a reader has not found where they were.
    missing: BTreeSet<i64>,
    /// By stream, batch and record: where they are.
    streams: BTreeMap<u64, BTreeMap<Tag, i64>>,
    /// Where the acknowledged, the read and what a high watermark was told of end.
    pub known_end: i64,
    /// The same, as far as it outlives a kill, and a loss of power.
    promised: [i64; 2],
    /// What the crashes since it was read through must have left.
    survives: i64,
    /// A log start that was told, and one that was promised.
    pub start_known: i64,
    pub start_promised: i64,
    /// The furthest that it was asked to be moved to.
    pub start_asked: i64,
}

/// What a client knows when it asks: what it is told must not be less.
#[derive(Clone, Copy, Debug)]
pub struct Floor {
    pub end: i64,
    pub start: i64,
}

impl Partition {
    pub fn new(topic: usize, class: Durability) -> Partition {
        Partition {
            topic,
            is_compacted: false,
            is_doomed: false,
            class,
            pins: BTreeMap::new(),
            missing: BTreeSet::new(),
            places: BTreeMap::new(),
            streams: BTreeMap::new(),
            known_end: 0,
            promised: [0; 2],
            survives: i64::MAX,
            start_known: 0,
            start_promised: 0,
            start_asked: 0,
        }
    }

    pub fn floor(&self) -> Floor {
        if self.is_doomed {
            return Floor { end: 0, start: 0 };
        }
        Floor {
            end: self.known_end,
            start: self.start_known,
        }
    }

    /// A record is at an offset. `copies_max` is how often it may be there, `stream` what keeps its order.
    pub fn pin(
        &mut self,
        offset: i64,
        tag: Tag,
        copies_max: u32,
        stream: Option<u64>,
    ) -> Result<(), String> {
        if self.is_doomed {
            return Ok(());
        }
        match self.pins.get(&offset) {
            Some(known) if *known == tag => return Ok(()),
            Some(known) => return Err(format!("{tag:?} is at {offset}, where {known:?} was")),
            None => {}
        }
        self.pins.insert(offset, tag);
        let places = self.places.entry(tag).or_default();
        places.push(offset);
        if places.len() > copies_max as usize {
            return Err(format!(
                "{tag:?} was sent {copies_max} times and is at {places:?}"
            ));
        }
        if let Some(stream) = stream {
            let stream = self.streams.entry(stream).or_default();
            let before = stream.range(..tag).next_back();
            let after = stream.range(tag..).next();
            let is_in_order = before.is_none_or(|(_, before)| *before < offset)
                && after.is_none_or(|(_, after)| offset < *after);
            if !is_in_order {
                return Err(format!(
                    "{tag:?} at {offset} is between {before:?} and {after:?}"
                ));
            }
            stream.insert(tag, offset);
        }
        Ok(())
    }

    /// All below is there, and stays as the class promises.
    pub fn note_end(&mut self, end: i64) {
        self.known_end = self.known_end.max(end);
        for how in self.covered() {
            let promised = &mut self.promised[*how as usize];
            *promised = (*promised).max(end);
        }
    }

    fn covered(&self) -> &'static [Crash] {
        match self.class {
            Durability::Sync => &[Crash::Kill, Crash::PowerLoss],
            Durability::Written => &[Crash::Kill],
            Durability::Memory => &[],
        }
    }

    /// The log was told to start there.
    pub fn note_start(&mut self, start: i64) {
        self.start_known = self.start_known.max(start);
    }

    /// Whether that is told for the first time, and nobody has asked for it.
    pub fn is_start_news(&self, start: i64) -> bool {
        start > self.start_excused() && !self.is_doomed
    }

    /// Up to where nothing has to be, as far as was told or asked.
    pub fn start_excused(&self) -> i64 {
        self.start_asked.max(self.start_known)
    }

    /// The log starts there, whatever happens.
    pub fn promise_start(&mut self, start: i64) {
        self.start_known = self.start_known.max(start);
        self.start_promised = self.start_promised.max(start);
    }

    pub fn crash(&mut self, how: Crash) {
        self.survives = self.survives.min(self.promised[how as usize]);
        self.start_known = self.start_promised;
    }

    /// What was on stable storage behind an offset is not any more.
    pub fn lose(&mut self, end: i64) {
        self.survives = self.survives.min(end);
        // No log starts behind its end.
        self.start_known = self.start_known.min(end);
        self.start_promised = self.start_promised.min(end);
    }

    /// The log start is what it was before.
    pub fn lose_start(&mut self) {
        self.start_promised = 0;
        self.start_known = 0;
    }

    /// Everything is on stable storage.
    pub fn stopped(&mut self) {
        self.promised = [self.known_end; 2];
        self.start_promised = self.start_known;
    }

    /// Whether a crash may have cost something.
    pub fn is_doubtful(&self) -> bool {
        self.survives < self.known_end
    }

    /// From now on no more is expected than what crashes must have left.
    pub fn doubt(&mut self) {
        self.survives = self.survives.min(self.known_end);
        self.known_end = self.survives;
    }

    /// It was read through from its start to its end, in doubt, and all pins below the end were found.
    pub fn recovered(&mut self, end: i64, class: Durability) -> Result<(), String> {
        if end < self.survives {
            return Err(format!("it ends at {end}, {} was promised", self.survives));
        }
        let lost = self.pins.split_off(&end);
        for (offset, tag) in lost {
            if let Some(places) = self.places.get_mut(&tag) {
                places.retain(|place| *place != offset);
            }
            for stream in self.streams.values_mut() {
                if stream.get(&tag) == Some(&offset) {
                    stream.remove(&tag);
                }
            }
        }
        self.missing.split_off(&end);
        self.survives = i64::MAX;
        self.known_end = end;
        self.class = class;
        for promised in &mut self.promised {
            *promised = (*promised).min(end);
        }
        self.note_end(end);
        Ok(())
    }

    /// These were read between two offsets, and nothing else.
    pub fn note_found(&mut self, from: i64, to: i64, found: &BTreeSet<i64>) {
        let known = self
            .pins
            .range(from..to.max(from))
            .map(|(offset, _)| *offset);
        self.missing
            .extend(known.filter(|offset| !found.contains(offset)));
    }

    /// Records that were there and are not any more, and all those known behind each.
    pub fn missing(&self) -> impl Iterator<Item = (Tag, impl Iterator<Item = Tag>)> {
        self.missing.iter().map(|offset| {
            let later = self.pins.range(offset + 1..);
            (self.pins[offset], later.map(|(_, tag)| *tag))
        })
    }

    /// Records known to be between two offsets, in their order.
    pub fn known_in(&self, offsets: Range<i64>) -> impl DoubleEndedIterator<Item = (i64, Tag)> {
        let end = offsets.end.max(offsets.start);
        let known = self.pins.range(offsets.start..end);
        known.map(|(offset, tag)| (*offset, *tag))
    }

    /// In how many places below an offset a record is known to be.
    pub fn places_below(&self, tag: Tag, offset: i64) -> usize {
        let places = self.places.get(&tag).into_iter().flatten();
        places.filter(|place| **place < offset).count()
    }

    /// Whether it is known where a record is.
    pub fn has(&self, tag: Tag) -> bool {
        self.places
            .get(&tag)
            .is_some_and(|places| !places.is_empty())
    }
}
