//! The journal's files: made once, zeroed in the background, then recycled.
//!
//! A file is a *slot* (its name) and, each time it is put to use, a new sequence number (in the
//! groups it holds). Slots are allocated before they are zeroed, so that a first start can write at
//! once; a file that was written once costs no metadata on later syncs.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::Ticket;
use crate::io::{File, Io, OpenMode};

/// Bytes zeroed by one write.
const ZERO_CHUNK: usize = 1 << 20;

/// One file of the journal, opened in both ways of writing.
#[derive(Clone)]
pub struct Handles {
    /// Writes that are made durable by a sync of their own.
    pub plain: Rc<File>,
    /// Writes that are durable when they complete.
    pub durable: Rc<File>,
}

/// The file that is being written.
pub struct Active {
    /// Which file.
    pub slot: u32,
    /// Its place in the order of use.
    pub seq: u64,
    /// Open files.
    pub handles: Handles,
    /// Where the next group goes.
    pub position: u64,
}

/// A full file that recovery may need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Which file.
    pub slot: u32,
    /// Its place in the order of use.
    pub seq: u64,
    /// The newest carried ticket in it or before it.
    pub carried_through: Ticket,
}

/// Which files there are and what they are used for.
#[derive(Default)]
pub struct Files {
    /// How many slots exist on disk.
    pub made: u32,
    /// Slots that may be written anew.
    pub ready: VecDeque<u32>,
    /// Slots that hold nothing needed any more, which no group on stable storage says yet. Were one
    /// written anew before, recovery could take what is left of it for a damaged part of the log.
    pub released: VecDeque<u32>,
    /// Full files, oldest first.
    pub closed: VecDeque<Closed>,
    /// The file in use.
    pub active: Option<Active>,
    /// Sequence number of the next file put to use.
    pub next_seq: u64,
    /// Number of the next group.
    pub next_group: u64,
    /// Whether the last attempt to make a file failed.
    pub full: bool,
}

impl Files {
    /// Files that are free or may still be made.
    pub fn free_or_unmade(&self, files_max: usize) -> usize {
        let unmade = if self.full {
            0
        } else {
            files_max.saturating_sub(self.made as usize)
        };
        self.ready.len() + self.released.len() + unmade
    }

    /// Frees the files that no anchor after `anchors_through` needs; whether there were any.
    pub fn release(&mut self, anchors_through: Ticket) -> bool {
        let before = self.released.len();
        while let Some(oldest) = self.closed.front() {
            if oldest.carried_through > anchors_through {
                break;
            }
            self.released.push_back(oldest.slot);
            self.closed.pop_front();
        }
        self.released.len() > before
    }

    /// A synced group says that the first `count` released slots are not needed.
    pub fn reuse(&mut self, count: usize) {
        let slots = self.released.drain(..count);
        self.ready.extend(slots);
    }

    /// Puts the active file away and takes the next free one; the caller opens it.
    pub fn take_ready(&mut self, carried_through: Ticket) -> Option<(u32, u64)> {
        let slot = self.ready.pop_front()?;
        if let Some(active) = self.active.take() {
            self.closed.push_back(Closed {
                slot: active.slot,
                seq: active.seq,
                carried_through,
            });
        }
        let seq = self.next_seq;
        self.next_seq += 1;
        Some((slot, seq))
    }
}

/// Name of a journal's file.
pub fn slot_path(dir: &Path, journal_id: u32, slot: u32) -> PathBuf {
    dir.join(format!("{journal_id:04}-{slot:04}.journal"))
}

/// Journal id and slot of a file name that [`slot_path`] made.
pub fn parse_slot_name(name: &str) -> Option<(u32, u32)> {
    let (id, slot) = name.strip_suffix(".journal")?.split_once('-')?;
    Some((id.parse().ok()?, slot.parse().ok()?))
}

/// Opens a slot for writing groups.
pub async fn open_slot(io: &Io, path: &Path) -> io::Result<Handles> {
    let how = OpenMode {
        write: true,
        ..OpenMode::default()
    };
    let plain = Rc::new(io.open(path, how).await?);
    let how = OpenMode {
        sync_on_write: true,
        ..how
    };
    let durable = Rc::new(io.open(path, how).await?);
    Ok(Handles { plain, durable })
}

/// Makes a slot whose blocks are reserved, so that writing it cannot fail for want of room.
pub async fn make_slot(io: &Io, path: &Path, file_bytes: u64) -> io::Result<()> {
    let how = OpenMode {
        write: true,
        create: true,
        ..OpenMode::default()
    };
    let file = io.open(path, how).await?;
    let made = async {
        file.allocate(file_bytes).await?;
        file.sync().await
    };
    let made = made.await;
    let made = file.close().await.and(made);
    if made.is_err() {
        // What was reserved so far goes back; if even that fails, the next attempt reuses the file.
        let _ = io.remove_file(path).await;
    }
    if let (Ok(()), Some(dir)) = (&made, path.parent()) {
        io.sync_dir(dir).await?;
    }
    made
}

/// Writes every block of a slot once.
pub async fn zero_slot(io: &Io, path: &Path, file_bytes: u64) -> io::Result<()> {
    let how = OpenMode {
        write: true,
        ..OpenMode::default()
    };
    let file = io.open(path, how).await?;
    let mut buffer = io.buffer(ZERO_CHUNK);
    buffer.fill(0);
    let mut position = 0;
    let mut result = Ok(());
    while position < file_bytes && result.is_ok() {
        let len = ZERO_CHUNK.min((file_bytes - position) as usize);
        (result, buffer) = file.write_at(buffer, len, position).await;
        position += len as u64;
    }
    if result.is_ok() {
        result = file.sync().await;
    }
    file.close().await.and(result)
}
