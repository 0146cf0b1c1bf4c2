//! Who the disk belongs to: while producers wait for the journal, cold reads take what is left of it.
//!
//! A disk serves what it is given side by side, and one reply can ask for tens of megabytes: without a
//! measure the journal's small writes wait for all of them. So beside producers a shard reads one small
//! chunk at a time, and leaves the disk alone for as long as that took.

use std::cell::Cell;
use std::io;
use std::time::Duration;

use super::ahead::CHUNK_BYTES_MAX;
use crate::io::{DmaBuffer, File, Instant, Io};
use crate::partition::Turn;

/// Producers are taken to go on for so long after an append.
const PRODUCING_FOR: Duration = Duration::from_millis(100);
/// Bytes of one read beside producers.
const SHARED_CHUNK_BYTES_MAX: usize = 256 << 10;

#[derive(Default)]
pub(crate) struct DiskShare {
    appended: Cell<Option<Instant>>,
    turn: Turn,
    /// Until when the disk is left alone.
    quiet_until: Cell<Option<Instant>>,
}

impl DiskShare {
    /// An append came in.
    pub fn note_append(&self, at: Instant) {
        self.appended.set(Some(at));
    }

    /// Whether producers wait for the disk at the moment.
    pub fn is_shared(&self, io: &Io) -> bool {
        let appended = self.appended.get();
        appended.is_some_and(|at| io.now().since(at) < PRODUCING_FOR)
    }

    /// Bytes that one read should have, unless a batch is larger.
    pub fn chunk_bytes_max(&self, io: &Io) -> usize {
        match self.is_shared(io) {
            true => SHARED_CHUNK_BYTES_MAX,
            false => CHUNK_BYTES_MAX,
        }
    }

    /// Reads from a segment, in its turn.
    pub async fn read(&self, io: &Io, file: &File, at: u64, len: usize) -> io::Result<DmaBuffer> {
        if !self.is_shared(io) {
            return file.read_at(at, len).await;
        }
        self.in_turn(io, file.read_at(at, len)).await
    }

    /// Writes what may take its time, in its turn.
    pub async fn write(
        &self,
        io: &Io,
        file: &File,
        buffer: DmaBuffer,
        len: usize,
        at: u64,
    ) -> (io::Result<()>, DmaBuffer) {
        if !self.is_shared(io) {
            return file.write_at(buffer, len, at).await;
        }
        self.in_turn(io, file.write_at(buffer, len, at)).await
    }

    async fn in_turn<T>(&self, io: &Io, work: impl Future<Output = T>) -> T {
        let _turn = self.turn.take().await;
        if let Some(until) = self.quiet_until.get() {
            io.sleep(until.since(io.now())).await;
        }
        let begun = io.now();
        let done = work.await;
        let ended = io.now();
        self.quiet_until.set(Some(ended + (ended - begun)));
        done
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::io::futures::join_all;
    use crate::io::sim::{Faults, World};
    use crate::io::{BLOCK, OpenMode};

    const READS: u32 = 8;

    async fn time_of_reads(share: &DiskShare, io: &Io, file: &File) -> Duration {
        let begun = io.now();
        let reads = (0..READS).map(|_| share.read(io, file, 0, BLOCK));
        for read in join_all(reads).await {
            assert_eq!(read.expect("read").len(), BLOCK);
        }
        io.now() - begun
    }

    #[test]
    fn beside_producers_reads_take_turns_and_leave_the_disk_alone_in_between() {
        let mut world = World::new(1, Faults::none());
        let node = world.add_node();
        world.start(node, 1, |_, _| async {});
        world.block_on(node, |io| async move {
            io.create_dir_all(Path::new("/data"))
                .await
                .expect("a folder");
            let file = io.open(Path::new("/data/0.log"), OpenMode::CREATE).await;
            let file = file.expect("a file");
            let (written, _) = file.write_at(io.buffer(BLOCK), BLOCK, 0).await;
            written.expect("written");
            let share = DiskShare::default();
            let alone = time_of_reads(&share, &io, &file).await;
            share.note_append(io.now());
            let beside = time_of_reads(&share, &io, &file).await;
            assert!(beside > READS * alone, "{beside:?}, alone {alone:?}");
            io.sleep(PRODUCING_FOR).await;
            let again = time_of_reads(&share, &io, &file).await;
            assert!(again < 2 * alone, "{again:?}, alone {alone:?}");
        });
    }
}
