//! Reading a journal after a stop, clean or not.
//!
//! Groups are read in the order of their files, then of their numbers, as long as the chain holds, and
//! of each file no further than to the group that the next file begins with. Where the chain breaks there
//! are three cases:
//!
//! - the next file goes on with the number expected here: the writer rotated, or a new run began
//!   behind a torn end. Nothing is wrong.
//! - no later group says that the broken one was on stable storage: the end of the log, torn or not.
//!   A few groups are on their way to the disk at a time, so a sound one may lie behind. All of it is
//!   cut off.
//! - a later group says that the broken one was on stable storage, or the next file begins with a
//!   later number: the block has rotted. Recovery reports what is missing, as far as it was on stable
//!   storage, and goes on behind it; the caller decides what to make of that.
//!
//! Nothing is written here but the newest groups, again, where they are, and at most one block of a group
//! that is cut off. Time and memory are bounded
//! by the journal's size; what a group claims is never allocated before it is bounded by its file.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};

use self::reader::Reader;
use super::Ticket;
use super::files::{
    Closed, Files, Slot, list_path, parse_adopted_name, parse_list_name, parse_slot_name,
    read_list, slot_path,
};
use super::group::{Entries, EntryHead, EntryKind, GroupError, GroupHeader};
use crate::io::{BLOCK, DirEntry, Io, Landmark, OpenMode, align_down};
use crate::mutation::{Mutation, is_on};

mod reader;

/// Groups that were on stable storage and cannot be read any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rot {
    /// Where the first of them is.
    pub path: PathBuf,
    /// Its position in that file.
    pub position: u64,
    /// Numbers of the groups that are lost.
    pub groups: std::ops::Range<u64>,
}

/// What recovery found.
pub struct Scanned {
    /// The files, ready for a [`super::Journal`].
    pub files: Files,
    /// Carried tickets given in what was read.
    pub carried: Ticket,
    /// Groups read.
    pub groups: u64,
    /// Damage that is no torn end.
    pub rot: Vec<Rot>,
    /// Files that were there and are not any more.
    pub missing: Vec<PathBuf>,
    /// Why the list of the files cannot be read, if it cannot: then none of them is missed.
    pub unread_list: Option<(PathBuf, io::Error)>,
}

/// Why a journal cannot be read.
#[derive(Debug)]
pub enum RecoveryError {
    /// The disk says no.
    Io(PathBuf, io::Error),
    /// A sound group holds what no version of this program wrote.
    Malformed(PathBuf, u64),
}

impl std::fmt::Display for RecoveryError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Malformed(path, at) => {
                write!(
                    f,
                    "{}: the group at {at} holds an unknown entry",
                    path.display()
                )
            }
        }
    }
}

impl std::error::Error for RecoveryError {}

/// One entry, as handed to the caller in the order of the log.
pub struct Found<'a> {
    /// What it does and to which partition.
    pub head: EntryHead,
    /// Its body.
    pub body: &'a [u8],
    /// The newest carried ticket up to here: where the partition is anchored, for a checkpoint.
    pub carried: Ticket,
    /// In how many places groups before this one are lost: it may not fit to what was found.
    pub rotten_places: usize,
    /// Bytes of the needed files up to its group.
    pub read_bytes: u64,
    /// Bytes of all needed files.
    pub needed_bytes: u64,
}

impl Found<'_> {
    /// Whether groups before this entry are lost.
    pub fn is_behind_rot(&self) -> bool {
        self.rotten_places > 0
    }
}

/// Journal ids that have files in `dir`, or had some: the folder above, which has these entries, lists them. Not those of
/// which only the rest is there, because all of it is in other journals.
pub async fn journals_in(io: &Io, dir: &Path, above: &[DirEntry]) -> io::Result<Vec<u32>> {
    let entries = match io.list_dir(dir).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        listed => listed?,
    };
    let mut ids: Vec<u32> = entries
        .iter()
        .filter_map(|entry| parse_slot_name(&entry.name))
        .map(|(id, _)| id)
        .collect();
    let names = above.iter().map(|entry| &entry.name);
    ids.extend(names.filter_map(|name| parse_list_name(name)));
    let adopted = entries.iter().map(|entry| parse_adopted_name(&entry.name));
    let adopted: Vec<u32> = adopted.flatten().collect();
    ids.retain(|id| !adopted.contains(id));
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

/// Reads journal `id`, handing each entry to `visit`.
pub async fn scan(
    io: &Io,
    dir: &Path,
    id: u32,
    visit: impl FnMut(Found<'_>) -> Result<(), ()>,
) -> Result<Scanned, RecoveryError> {
    let (scanned, unvouched) = read(io, dir, id, visit).await?;
    if !is_on(Mutation::TrustUnvouchedGroups) {
        secure(io, unvouched).await?;
    }
    Ok(scanned)
}

/// Reads journal `id` as [`scan`] does, and writes nothing.
pub async fn inspect(
    io: &Io,
    dir: &Path,
    id: u32,
    visit: impl FnMut(Found<'_>) -> Result<(), ()>,
) -> Result<Scanned, RecoveryError> {
    let (scanned, _) = read(io, dir, id, visit).await?;
    Ok(scanned)
}

async fn read(
    io: &Io,
    dir: &Path,
    id: u32,
    mut visit: impl FnMut(Found<'_>) -> Result<(), ()>,
) -> Result<(Scanned, VecDeque<Unvouched>), RecoveryError> {
    // The last run may have ended before it had made a file's name durable.
    let (mut found, mut free) = match io.sync_dir(dir).await {
        Ok(()) => list_files(io, dir, id).await?,
        // All of them may be missing.
        Err(error) if error.kind() == io::ErrorKind::NotFound => (Vec::new(), Vec::new()),
        Err(error) => return Err(RecoveryError::Io(dir.to_owned(), error)),
    };
    let there = found.iter().map(|file| &file.slot).chain(&free);
    let there: BTreeSet<u32> = there.map(|slot| slot.number).collect();
    let (listed, unread_list) = match read_list(io, dir, id).await {
        Ok(listed) => (listed, None),
        Err(error) => (BTreeSet::new(), Some((list_path(dir, id), error))),
    };
    let missing: Vec<u32> = listed.difference(&there).copied().collect();
    found.sort_unstable_by_key(|file| file.first.file_seq);
    let slots = found.iter().map(|file| &file.slot).chain(&free);
    let numbers: BTreeSet<u32> = slots
        .filter(|slot| slot.len > 0)
        .map(|slot| slot.number)
        .collect();
    let made = numbers.last().map_or(0, |newest| newest + 1);
    // Files that were free hold nothing that is needed, written again in part or not at all.
    let statement = match found.last() {
        Some(newest) => Some(newest_statement(io, newest).await?),
        None => None,
    };
    let oldest_needed = statement.as_ref().map_or(0, |newest| newest.oldest_needed);
    let needed = found.split_off(found.partition_point(|file| file.first.file_seq < oldest_needed));
    free.extend(found.iter().map(|file| file.slot));
    let found = needed;
    let mut scan = Scan {
        io,
        carried: 0,
        expected: found.first().map(FoundFile::begins),
        previous: None,
        groups: 0,
        oldest_needed: 0,
        rot: Vec::new(),
        unvouched: VecDeque::new(),
        read_bytes: 0,
        needed_bytes: found.iter().map(|file| file.slot.len).sum(),
    };
    let mut files = Files {
        made,
        blank: (0..made)
            .filter(|number| !numbers.contains(number))
            .collect(),
        is_list_due: listed != there,
        listed: there,
        next_seq: found.last().map_or(0, |file| file.first.file_seq + 1),
        ..Files::default()
    };
    files.unproven = free.into_iter().filter(|slot| slot.len > 0).collect();
    if let Some(oldest) = found.first()
        && oldest.first.file_seq > oldest_needed
    {
        // The file before it is there, and no header in it can be read.
        let begins = oldest.begins();
        scan.report(oldest, 0, begins.saturating_sub(1)..begins);
    }
    for at in 0..found.len() {
        let before = (scan.groups, scan.rot.len());
        scan.file(&found[at], found.get(at + 1), &mut visit).await?;
        scan.read_bytes += found[at].slot.len;
        if (scan.groups, scan.rot.len()) == before && !is_on(Mutation::KeepCutOffFile) {
            // All of it was cut off and may vanish at a power loss: were it said to be needed, the next
            // start would take that for damage.
            io.reached(Landmark::FileCutOff);
            files.released.push_back(found[at].slot);
            continue;
        }
        files.closed.push_back(Closed {
            slot: found[at].slot,
            seq: found[at].first.file_seq,
            carried_through: scan.carried,
        });
    }
    // Where only a group that was cut off says that files are free, they may be written anew no sooner than
    // that is on stable storage: were it lost then, they would be needed again.
    if let Some(statement) = statement
        && statement.oldest_needed > scan.oldest_needed
    {
        scan.unvouched.push_back(statement.said_by);
    }
    files.next_group = scan.expected.unwrap_or(1);
    let scanned = Scanned {
        files,
        carried: scan.carried,
        groups: scan.groups,
        rot: scan.rot,
        missing: missing
            .into_iter()
            .map(|number| slot_path(dir, id, number))
            .collect(),
        unread_list,
    };
    Ok((scanned, scan.unvouched))
}

/// Makes the newest groups durable: the last run may have ended between a write and its sync, or
/// because that sync failed. They are written again, since after a failed sync another one says
/// nothing of what was written before.
async fn secure(io: &Io, unvouched: VecDeque<Unvouched>) -> Result<(), RecoveryError> {
    for group in unvouched {
        io.reached(Landmark::GroupSecured);
        let again = async {
            let how = OpenMode {
                sync_on_write: true,
                ..OpenMode::READ_WRITE
            };
            let file = io.open(&group.path, how).await?;
            let bytes = file.read_at(group.position, group.len as usize).await?;
            let len = bytes.len();
            file.write_at(bytes, len, group.position).await.0?;
            file.close().await
        };
        again
            .await
            .map_err(|error| RecoveryError::Io(group.path.clone(), error))?;
    }
    Ok(())
}

struct FoundFile {
    slot: Slot,
    path: PathBuf,
    /// The first header that can be read, and where it is: at 0 unless the first block has rotted.
    first: GroupHeader,
    first_at: u64,
}

impl FoundFile {
    fn is_whole_at_start(&self) -> bool {
        self.first_at == 0
    }

    /// Number of the first group: the one before the first that can be read, or an older one still,
    /// where the first block has rotted.
    fn begins(&self) -> u64 {
        self.first.number - u64::from(!self.is_whole_at_start())
    }

    /// Whether a header that was found somewhere in the file was put there when the file was used
    /// last, and by this program: records may hold anything, a copy of a journal as well.
    fn holds(&self, header: &GroupHeader) -> bool {
        (header.journal_id, header.file_seq, header.run_id)
            == (
                self.first.journal_id,
                self.first.file_seq,
                self.first.run_id,
            )
    }
}

/// What a group says of the oldest file that is needed.
struct Statement {
    oldest_needed: u64,
    /// The block with its header.
    said_by: Unvouched,
}

/// What the newest file says of the oldest that is needed: its last group knows best. True even of
/// groups that are to be cut off, since they only tell what was on stable storage before.
async fn newest_statement(io: &Io, newest: &FoundFile) -> Result<Statement, RecoveryError> {
    let mut reader = Reader::open(io, &newest.path, newest.slot.len).await?;
    let said = |header: &GroupHeader, position| Statement {
        oldest_needed: header.oldest_needed,
        said_by: Unvouched {
            number: header.number,
            path: newest.path.clone(),
            position,
            len: BLOCK as u64,
        },
    };
    let mut found = said(&newest.first, newest.first_at);
    let mut position = newest.first_at;
    let mut slice = io.slice();
    while position + BLOCK as u64 <= newest.slot.len {
        let bytes = reader.ensure(position, BLOCK as u64).await?;
        if let Ok((header, _)) = GroupHeader::decode(bytes)
            && newest.holds(&header)
            && header.oldest_needed > found.oldest_needed
        {
            found = said(&header, position);
        }
        position += BLOCK as u64;
        if slice.is_over(io) {
            io.yield_now().await;
            slice = io.slice();
        }
    }
    reader.close().await?;
    Ok(found)
}

/// The journal's files that hold groups, and the slots that hold none.
async fn list_files(
    io: &Io,
    dir: &Path,
    id: u32,
) -> Result<(Vec<FoundFile>, Vec<Slot>), RecoveryError> {
    let at_dir = |error| RecoveryError::Io(dir.to_owned(), error);
    let mut slots: Vec<Slot> = io
        .list_dir(dir)
        .await
        .map_err(at_dir)?
        .iter()
        .filter_map(|entry| {
            let (found_id, number) = parse_slot_name(&entry.name)?;
            let len = align_down(entry.len);
            (found_id == id).then_some(Slot { number, len })
        })
        .collect();
    slots.sort_unstable_by_key(|slot| slot.number);
    let (mut found, mut blank) = (Vec::new(), Vec::new());
    for slot in slots {
        let path = slot_path(dir, id, slot.number);
        let mut reader = Reader::open(io, &path, slot.len).await?;
        match reader.first_group(id).await? {
            Some((first_at, first)) => found.push(FoundFile {
                slot,
                path,
                first,
                first_at,
            }),
            None => blank.push(slot),
        }
        reader.close().await?;
    }
    Ok((found, blank))
}

struct Scan<'a> {
    io: &'a Io,
    carried: Ticket,
    /// Number of the next group.
    expected: Option<u64>,
    /// Run of the group before, and the checksum that the next of the same run must name.
    previous: Option<(u64, u32)>,
    groups: u64,
    /// The oldest file that is needed, as those groups say that belong to the log.
    oldest_needed: u64,
    rot: Vec<Rot>,
    /// The newest groups, as far as none vouches for them.
    unvouched: VecDeque<Unvouched>,
    /// Bytes of the files before this one, and of all.
    read_bytes: u64,
    needed_bytes: u64,
}

struct Unvouched {
    number: u64,
    path: PathBuf,
    position: u64,
    len: u64,
}

/// What lies behind a group that has rotted.
struct Ahead {
    /// Number of the first group that is not lost with it, whether it is sound or torn.
    lost_to: u64,
    /// Place of that group, if it is a sound one of its file.
    resume: Option<u64>,
}

impl Scan<'_> {
    async fn file(
        &mut self,
        file: &FoundFile,
        next: Option<&FoundFile>,
        visit: &mut impl FnMut(Found<'_>) -> Result<(), ()>,
    ) -> Result<(), RecoveryError> {
        let mut reader = Reader::open(self.io, &file.path, file.slot.len).await?;
        let mut position = 0;
        let mut slice = self.io.slice();
        while position + BLOCK as u64 <= file.slot.len {
            let expected = self.expected.expect("a file was found");
            let goes_on = |next: &FoundFile| next.is_whole_at_start() && next.begins() == expected;
            // Whatever lies here with that number was cut off by the run that began the next file.
            if next.is_some_and(goes_on) && !is_on(Mutation::ReuseStaleGroups) {
                break;
            }
            let group = reader.group(position).await?;
            if matches!(group, Err(GroupError::Header | GroupError::Payload)) {
                self.io.reached(Landmark::GroupTorn);
            }
            let sound = group.and_then(|(header, crc)| {
                let goes_on = self.continues(&header, file);
                if !goes_on {
                    self.io.reached(Landmark::GroupStale);
                }
                goes_on.then_some((header, crc)).ok_or(GroupError::NoGroup)
            });
            let Ok((header, crc)) = sound else {
                let Some(ahead) = self.look_ahead(&mut reader, file, position, next).await? else {
                    break;
                };
                self.report(file, position, expected..ahead.lost_to);
                let Some(resume) = ahead.resume else {
                    break;
                };
                position = resume;
                continue;
            };
            let payload = reader.payload(position, &header);
            for entry in Entries::new(payload) {
                let malformed = || RecoveryError::Malformed(file.path.clone(), position);
                let (head, body) = entry.map_err(|_| malformed())?;
                if head.kind == EntryKind::Checkpoint {
                    self.carried += 1;
                }
                visit(Found {
                    head,
                    body,
                    carried: self.carried,
                    rotten_places: self.rot.len(),
                    read_bytes: self.read_bytes + position,
                    needed_bytes: self.needed_bytes,
                })
                .map_err(|()| malformed())?;
            }
            self.note_unvouched(&header, &file.path, position);
            self.groups += 1;
            self.oldest_needed = self.oldest_needed.max(header.oldest_needed);
            self.previous = Some((header.run_id, crc));
            self.expected = Some(header.number + 1);
            position += header.padded_len();
            if slice.is_over(self.io) {
                self.io.yield_now().await;
                slice = self.io.slice();
            }
        }
        reader.close().await
    }

    /// Remembers groups of which no later one says that they are on stable storage.
    fn note_unvouched(&mut self, header: &GroupHeader, path: &Path, position: u64) {
        while self
            .unvouched
            .front()
            .is_some_and(|oldest| oldest.number <= header.synced_through)
        {
            self.unvouched.pop_front();
        }
        self.unvouched.push_back(Unvouched {
            number: header.number,
            path: path.to_owned(),
            position,
            len: header.padded_len(),
        });
    }

    fn continues(&self, header: &GroupHeader, file: &FoundFile) -> bool {
        let chained = match self.previous {
            Some((run, crc)) if run == header.run_id => header.previous == crc,
            // The first group of a run, or the first one that is still there.
            _ => true,
        };
        let is_of_this_use = file.holds(header) && chained || is_on(Mutation::ReuseStaleGroups);
        is_of_this_use && Some(header.number) == self.expected
    }

    /// What is lost with the broken group at `position`, if a later one of this file, or the file behind it, vouches for
    /// it. A sound header is enough for that.
    async fn look_ahead(
        &self,
        reader: &mut Reader,
        file: &FoundFile,
        position: u64,
        next: Option<&FoundFile>,
    ) -> Result<Option<Ahead>, RecoveryError> {
        if is_on(Mutation::MistakeRotForTear) {
            return Ok(None);
        }
        let expected = self.expected.expect("a file was found");
        // A file is synced before the next one is begun, as far as that one goes on from it.
        let next_begins = next.map(FoundFile::begins);
        let whole_next = next.filter(|next| next.is_whole_at_start());
        let mut synced_through = whole_next.map_or(0, |next| next.begins().saturating_sub(1));
        let mut resume = None;
        let mut at = position;
        let mut slice = self.io.slice();
        while at + BLOCK as u64 <= file.slot.len {
            let mut step = BLOCK as u64;
            if let Ok((header, _)) = GroupHeader::decode(reader.ensure(at, BLOCK as u64).await?)
                && file.holds(&header)
                && header.number > expected
                // What a torn end has cut off stays where it was.
                && next_begins.is_none_or(|begins| header.number < begins)
            {
                synced_through = synced_through.max(header.synced_through.min(header.number - 1));
                if reader.group(at).await?.is_ok() {
                    resume.get_or_insert((at, header.number));
                    step = header.padded_len();
                }
                if resume.is_some_and(|(_, number)| number <= synced_through + 1) {
                    break;
                }
            }
            at += step;
            if slice.is_over(self.io) {
                self.io.yield_now().await;
                slice = self.io.slice();
            }
        }
        if let Some((_, number)) = resume
            && is_on(Mutation::MistakeTearForRot)
        {
            synced_through = number - 1;
        }
        // The first group that nobody vouches for: torn, or sound where all before it were on stable storage.
        let torn = expected.max(synced_through + 1);
        let (resume, cut_off) = match resume {
            Some((_, number)) if number > torn => (None, resume),
            _ => (resume, None),
        };
        if let Some((at, number)) = cut_off {
            self.io.reached(Landmark::GroupBehindTear);
            tracing::warn!(
                file = %file.path.display(),
                "group {torn} is torn, and group {number} behind it, at {at}, is cut off with it"
            );
        }
        Ok((torn > expected).then(|| Ahead {
            lost_to: resume.map_or(torn, |(_, number)| number),
            resume: resume.map(|(at, _)| at),
        }))
    }

    /// Notes a loss; the chain goes on behind it.
    fn report(&mut self, file: &FoundFile, position: u64, groups: std::ops::Range<u64>) {
        tracing::error!(
            file = %file.path.display(),
            position,
            lost_groups = groups.end - groups.start,
            "the journal is damaged: what was on stable storage cannot be read any more"
        );
        self.io.reached(Landmark::JournalRotten);
        self.expected = Some(groups.end);
        self.previous = None;
        self.rot.push(Rot {
            path: file.path.clone(),
            position,
            groups,
        });
    }
}
