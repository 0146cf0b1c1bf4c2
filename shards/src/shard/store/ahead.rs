//! Reading ahead: what a sequential reader will ask for next is read while it is busy with what it has.
//!
//! At most [`CHUNKS_MAX`] chunks of [`CHUNK_BYTES_MAX`] are kept for each shard. Who finds no room reads
//! when asked: a chunk that is thrown away before it is used costs more than it gains. A reader that goes
//! away leaves one, which is forgotten after a while.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use rustc_hash::FxHashMap;

use super::SegmentKey;
use super::share::DiskShare;
use crate::io::{DmaBuffer, File, Instant, Io, Notify};
use crate::route::PartitionKey;

/// Bytes of one read ahead: what a consumer fetches of a partition by default.
pub(super) const CHUNK_BYTES_MAX: usize = 1 << 20;
const CHUNKS_MAX: usize = 16;
/// A chunk that nobody took for so long is forgotten when others need the room.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(2);

/// Where a chunk begins: a segment, and a position in its file.
type Place = (SegmentKey, u64);

#[derive(Default)]
pub(super) struct ReadAhead {
    chunks: RefCell<FxHashMap<Place, Rc<Chunk>>>,
}

struct Chunk {
    begun: Instant,
    bytes: RefCell<Option<DmaBuffer>>,
    is_done: Cell<bool>,
    done: Notify,
}

impl ReadAhead {
    /// Begins to read `len` bytes of a file, unless they are being read already.
    pub fn begin(&self, io: &Io, share: &Rc<DiskShare>, file: Rc<File>, place: Place, len: usize) {
        let mut chunks = self.chunks.borrow_mut();
        if chunks.contains_key(&place) {
            return;
        }
        let now = io.now();
        if chunks.len() >= CHUNKS_MAX {
            chunks.retain(|_, chunk| now.since(chunk.begun) < FORGOTTEN_AFTER);
        }
        if chunks.len() >= CHUNKS_MAX {
            return;
        }
        let chunk = Rc::new(Chunk {
            begun: now,
            bytes: RefCell::default(),
            is_done: Cell::new(false),
            done: Notify::new(),
        });
        chunks.insert(place, chunk.clone());
        let (reader, share) = (io.clone(), share.clone());
        io.spawn("read ahead", async move {
            // Whoever needs it reads again, and meets the error if it lasts.
            *chunk.bytes.borrow_mut() = share.read(&reader, &file, place.1, len).await.ok();
            chunk.is_done.set(true);
            chunk.done.notify_one();
        });
    }

    /// What was read ahead there, if anything was.
    pub async fn take(&self, place: Place) -> Option<DmaBuffer> {
        let chunk = self.chunks.borrow_mut().remove(&place)?;
        while !chunk.is_done.get() {
            chunk.done.notified().await;
        }
        chunk.bytes.take()
    }

    /// Forgets what belongs to a partition.
    pub fn forget(&self, key: PartitionKey) {
        let is_other = |((of, ..), _): &Place| *of != key;
        self.chunks.borrow_mut().retain(|place, _| is_other(place));
    }
}
