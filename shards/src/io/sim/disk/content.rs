//! What one simulated file holds: what a reader sees now, and everything that a
//! power loss might leave of it.
//!
//! Every page has the content that is durable and, in order, those written since.
//! A sync makes the last one durable that was written before it. At a power loss
//! each 512-byte sector takes any of them, however late it was written. The length
//! has such a history of its own, of which a prefix survives, as in a journal of
//! metadata; cutting a file zeroes what was behind the cut if it survives.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::io::buffer::BLOCK;
use crate::io::random::Random;
use crate::io::sim::coverage::{Coverage, Fault};

/// What a device writes at once or not at all.
const SECTOR: usize = 512;

/// `None` is all zeros, which most of a prepared file is.
type Page = Option<Rc<[u8; BLOCK]>>;

#[derive(Default)]
pub(super) struct Content {
    pages: BTreeMap<u64, PageHistory>,
    /// Pages that have more than their durable content.
    unsynced: BTreeSet<u64>,
    len: u64,
    durable_len: LenChange,
    unsynced_lens: Vec<LenChange>,
    /// Writes that were given to the disk and have not completed.
    under_way: BTreeMap<u64, Write>,
    events: u64,
}

#[derive(Default)]
struct PageHistory {
    durable: Page,
    versions: Vec<Version>,
}

struct Version {
    page: Page,
    /// Place in the history of the file.
    event: u64,
    is_cut: bool,
    /// A sync of it failed: no later one will make it durable.
    is_doomed: bool,
}

#[derive(Clone, Copy, Default)]
struct LenChange {
    len: u64,
    event: u64,
    is_doomed: bool,
}

struct Write {
    position: u64,
    bytes: Rc<[u8]>,
}

/// How much of what was not durable survives a power loss.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mood {
    KeepsAll,
    LosesAll,
    TearsSectors,
}

impl Mood {
    pub(super) fn draw(random: &mut Random) -> Mood {
        match random.below(4) {
            0 => Mood::KeepsAll,
            1 => Mood::LosesAll,
            _ => Mood::TearsSectors,
        }
    }

    /// Which of `count` states, oldest first.
    fn choose(self, random: &mut Random, count: usize) -> usize {
        match self {
            Mood::KeepsAll => count - 1,
            Mood::LosesAll => 0,
            Mood::TearsSectors => random.below(count as u64) as usize,
        }
    }
}

impl PageHistory {
    fn current(&self) -> &Page {
        self.versions.last().map_or(&self.durable, |v| &v.page)
    }
}

fn page_of(bytes: &[u8]) -> Page {
    let page: &[u8; BLOCK] = bytes.try_into().expect("a whole page");
    (*page != [0; BLOCK]).then(|| Rc::new(*page))
}

fn bytes_of(page: &Page) -> &[u8; BLOCK] {
    page.as_deref().unwrap_or(&[0; BLOCK])
}

impl Content {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// A number that grows with each change: what a sync covers when it begins.
    pub(super) fn events(&self) -> u64 {
        self.events
    }

    fn next_event(&mut self) -> u64 {
        self.events += 1;
        self.events
    }

    /// Fills `into` from `position` on and returns how much the file had for it.
    pub(super) fn read(&self, position: u64, into: &mut [u8]) -> usize {
        let available = self.len.saturating_sub(position);
        let len = into
            .len()
            .min(usize::try_from(available).unwrap_or(usize::MAX));
        let mut done = 0;
        while done < len {
            let at = position + done as u64;
            let offset = (at % BLOCK as u64) as usize;
            let part = (BLOCK - offset).min(len - done);
            let target = &mut into[done..done + part];
            match self.pages.get(&(at / BLOCK as u64)) {
                Some(page) => {
                    target.copy_from_slice(&bytes_of(page.current())[offset..offset + part]);
                }
                None => target.fill(0),
            }
            done += part;
        }
        len
    }

    /// Gives a write to the disk. From now on a power loss may find any of it.
    pub(super) fn begin_write(&mut self, position: u64, bytes: Rc<[u8]>) -> u64 {
        let ticket = self.next_event();
        self.under_way.insert(ticket, Write { position, bytes });
        ticket
    }

    /// Completes the first `part` bytes of a write; the rest never happened.
    pub(super) fn complete_write(&mut self, ticket: u64, part: usize, is_durable: bool) {
        let Some(Write { position, bytes }) = self.under_way.remove(&ticket) else {
            return;
        };
        self.apply(position, &bytes[..part.min(bytes.len())], is_durable);
    }

    /// Writes bytes at any position, to be made durable later or at once.
    fn apply(&mut self, position: u64, bytes: &[u8], is_durable: bool) {
        let event = self.next_event();
        let mut done = 0;
        while done < bytes.len() {
            let at = position + done as u64;
            let offset = (at % BLOCK as u64) as usize;
            let part = (BLOCK - offset).min(bytes.len() - done);
            let number = at / BLOCK as u64;
            let history = self.pages.entry(number).or_default();
            let page = if part == BLOCK {
                page_of(&bytes[done..done + part])
            } else {
                let mut page = *bytes_of(history.current());
                page[offset..offset + part].copy_from_slice(&bytes[done..done + part]);
                page_of(&page)
            };
            if is_durable {
                history.durable = page;
                history.versions.clear();
                self.unsynced.remove(&number);
            } else {
                history.versions.push(Version {
                    page,
                    event,
                    is_cut: false,
                    is_doomed: false,
                });
                self.unsynced.insert(number);
            }
            done += part;
        }
        let end = position + bytes.len() as u64;
        if end > self.len {
            self.change_len(end, event);
        }
        if is_durable {
            self.sync_len(event);
        }
    }

    fn change_len(&mut self, len: u64, event: u64) {
        self.len = len;
        self.unsynced_lens.push(LenChange {
            len,
            event,
            is_doomed: false,
        });
    }

    /// Cuts the file, or extends it with zeros.
    pub(super) fn truncate(&mut self, len: u64) {
        let event = self.next_event();
        if len < self.len {
            let first = len / BLOCK as u64;
            let kept = (len % BLOCK as u64) as usize;
            for (&number, history) in self.pages.range_mut(first..) {
                let page = if number == first && kept > 0 {
                    let mut page = *bytes_of(history.current());
                    page[kept..].fill(0);
                    page_of(&page)
                } else {
                    None
                };
                history.versions.push(Version {
                    page,
                    event,
                    is_cut: true,
                    is_doomed: false,
                });
                self.unsynced.insert(number);
            }
        }
        if len != self.len {
            self.change_len(len, event);
        }
    }

    /// Makes durable what was there when the sync began.
    pub(super) fn sync(&mut self, covered: u64) {
        let Content {
            pages, unsynced, ..
        } = self;
        unsynced.retain(|number| {
            let history = pages.get_mut(number).expect("an unsynced page exists");
            let last = history
                .versions
                .iter()
                .rposition(|v| v.event <= covered && !v.is_doomed);
            if let Some(last) = last {
                let kept = history.versions.split_off(last + 1);
                let synced = std::mem::replace(&mut history.versions, kept);
                history.durable = synced.into_iter().last().and_then(|v| v.page);
            }
            !history.versions.is_empty()
        });
        self.sync_len(covered);
    }

    fn sync_len(&mut self, covered: u64) {
        let last = self
            .unsynced_lens
            .iter()
            .rposition(|change| change.event <= covered && !change.is_doomed);
        if let Some(last) = last {
            self.durable_len = self.unsynced_lens[last];
            self.unsynced_lens.drain(..=last);
        }
    }

    /// A sync that failed: what it covered may be lost whatever is synced later.
    pub(super) fn fail_sync(&mut self, covered: u64) {
        for number in &self.unsynced {
            let history = self.pages.get_mut(number).expect("an unsynced page exists");
            for version in &mut history.versions {
                version.is_doomed |= version.event <= covered;
            }
        }
        for change in &mut self.unsynced_lens {
            change.is_doomed |= change.event <= covered;
        }
    }

    /// The process is gone: writes under way end where the seed says.
    pub(super) fn kill(&mut self, random: &mut Random, counts: &mut Coverage) {
        for ticket in self.shuffled_writes(random) {
            counts.inject(Fault::WriteInterrupted);
            let pages = self.under_way[&ticket].bytes.len() / BLOCK;
            let part = match random.below(3) {
                0 => 0,
                1 => random.between(0, pages as u64) as usize * BLOCK,
                _ => pages * BLOCK,
            };
            self.complete_write(ticket, part, false);
        }
    }

    fn shuffled_writes(&self, random: &mut Random) -> Vec<u64> {
        let mut tickets: Vec<u64> = self.under_way.keys().copied().collect();
        for last in (1..tickets.len()).rev() {
            tickets.swap(last, random.below(last as u64 + 1) as usize);
        }
        tickets
    }

    /// The power is gone: whatever is not durable is kept, lost or torn.
    pub(super) fn lose_power(&mut self, mood: Mood, random: &mut Random, counts: &mut Coverage) {
        for ticket in self.shuffled_writes(random) {
            counts.inject(Fault::WriteInterrupted);
            self.complete_write(ticket, usize::MAX, false);
        }
        let mut lens = vec![self.durable_len];
        lens.append(&mut self.unsynced_lens);
        let len = lens[mood.choose(random, lens.len())];
        for number in std::mem::take(&mut self.unsynced) {
            let history = self
                .pages
                .get_mut(&number)
                .expect("an unsynced page exists");
            counts.inject(Fault::WriteUnsynced);
            if history.settle(mood, len.event, random) {
                counts.inject(Fault::PageTorn);
            }
        }
        self.len = len.len;
        self.durable_len = len;
        self.forget_behind_end();
    }

    /// Nothing is left of what lies behind the end, should the file grow again.
    fn forget_behind_end(&mut self) {
        let first = self.len / BLOCK as u64;
        let kept = (self.len % BLOCK as u64) as usize;
        let mut behind = self.pages.split_off(&first);
        if kept > 0
            && let Some(mut history) = behind.remove(&first)
        {
            let mut page = *bytes_of(&history.durable);
            page[kept..].fill(0);
            history.durable = page_of(&page);
            self.pages.insert(first, history);
        }
    }

    /// Flips one bit, on the disk itself and for every reader.
    pub(super) fn rot(&mut self, position: u64, bit: u32) {
        let history = self.pages.entry(position / BLOCK as u64).or_default();
        let offset = (position % BLOCK as u64) as usize;
        let flip = |page: &mut Page| {
            let mut bytes = *bytes_of(page);
            bytes[offset] ^= 1 << (bit % 8);
            *page = page_of(&bytes);
        };
        flip(&mut history.durable);
        for version in &mut history.versions {
            flip(&mut version.page);
        }
    }
}

impl PageHistory {
    /// Leaves one content: a mix, sector by sector, of those that were possible,
    /// given that cuts up to `last_cut` have survived and later ones have not. Whether it is of several.
    fn settle(&mut self, mood: Mood, last_cut: u64, random: &mut Random) -> bool {
        let versions = std::mem::take(&mut self.versions);
        let mut states = vec![self.durable.take()];
        for version in versions {
            if !version.is_cut {
                states.push(version.page);
            } else if version.event <= last_cut {
                states.clear();
                states.push(version.page);
            }
        }
        if states.len() == 1 {
            self.durable = states.pop().flatten();
            return false;
        }
        let mut bytes = [0; BLOCK];
        let mut taken = BTreeSet::new();
        for (sector, target) in bytes.chunks_exact_mut(SECTOR).enumerate() {
            let place = mood.choose(random, states.len());
            taken.insert(place);
            let chosen = &states[place];
            let from = sector * SECTOR;
            target.copy_from_slice(&bytes_of(chosen)[from..from + SECTOR]);
        }
        self.durable = page_of(&bytes);
        taken.len() > 1
    }
}
