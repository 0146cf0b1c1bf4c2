//! Reading ahead: what a sequential reader will ask for next is read while it is busy with what it has.
//!
//! At most [`CHUNKS_MAX`] chunks of [`CHUNK_BYTES_MAX`] are kept for each shard; a reader that goes away
//! leaves one, which is forgotten when others need the room.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::recent::Recent;
use crate::io::{DmaBuffer, File, Io, Notify};
use crate::route::PartitionKey;

/// Bytes of one read ahead: what a consumer fetches of a partition by default.
pub(super) const CHUNK_BYTES_MAX: usize = 1 << 20;
const CHUNKS_MAX: usize = 16;

/// Where a chunk begins: a segment of a partition, and a position in its file.
type Place = (PartitionKey, i64, u64);

#[derive(Default)]
pub(super) struct ReadAhead {
    chunks: RefCell<Recent<Place, Rc<Chunk>>>,
}

#[derive(Default)]
struct Chunk {
    bytes: RefCell<Option<DmaBuffer>>,
    is_done: Cell<bool>,
    done: Notify,
}

impl ReadAhead {
    /// Begins to read `len` bytes of a file, unless they are being read already.
    pub fn begin(&self, io: &Io, file: Rc<File>, place: Place, len: usize) {
        let mut chunks = self.chunks.borrow_mut();
        if chunks.get(&place).is_some() {
            return;
        }
        let chunk = Rc::new(Chunk::default());
        chunks.put(place, chunk.clone(), CHUNKS_MAX);
        io.spawn("read ahead", async move {
            // Whoever needs it reads again, and meets the error if it lasts.
            *chunk.bytes.borrow_mut() = file.read_at(place.2, len).await.ok();
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
        self.chunks.borrow_mut().retain(|(of, ..)| *of != key);
    }
}
