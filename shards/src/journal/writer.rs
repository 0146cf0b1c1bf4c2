//! The journal's task: takes what waits, writes it as one group, says what is durable.

use std::collections::VecDeque;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use super::chain::{Begun, Chain, Done, News, UnderWay};
use super::files::{
    Active, Handles, Slot, make_slot, open_slot, prepare_slot, slot_path, write_list,
};
use super::gather::{Batch, GROUP_BYTES_TARGET, Taken, padded_len};
use super::group::{EntryKind, GroupHeader, HEADER_LEN, encode_entry, payload_crc};
use super::room::usable_bytes;
use super::{GroupEvents, Journal, JournalConfig};
use crate::io::futures::{first_of, poll_once};
use crate::io::{BLOCK, DmaBuffer, Landmark, is_exhaustion};
use crate::mutation::{Mutation, is_on};

/// Buffers up to this size are kept for the next group.
const SPARE_BYTES_MAX: usize = 2 * GROUP_BYTES_TARGET;
/// Up to here a write that is durable at once is faster than a write and a sync, which the shard has to wake up for in
/// between.
const DURABLE_WRITE_BYTES_MAX: usize = 1 << 20;
/// Groups that may be under way to the disk at a time, if each is durable by itself. A disk does two in hardly more time
/// than one.
const UNDER_WAY_MAX: usize = 2;
/// A further group is begun beside one that is under way once it has this part of its bytes: smaller
/// ones cost more than they gain, and join the next one.
const FURTHER_PART: usize = 2;
/// How long to wait before trying again to make a file on a full disk.
const FULL_DISK_RETRY: Duration = Duration::from_secs(1);
/// How long to wait before trying again to open a file when there are no descriptors.
const EXHAUSTION_RETRY: Duration = Duration::from_millis(100);

/// A group that is ready for the disk.
struct Sealed {
    buffer: DmaBuffer,
    padded: usize,
    number: u64,
    handles: Handles,
    position: u64,
    begun: Begun,
}

impl Journal {
    /// The largest append that fits: a group must fit into a file.
    pub fn append_bytes_max(&self) -> usize {
        usable_bytes(self.config.file_bytes) as usize - 2 * BLOCK
    }

    /// Writes groups until [`Journal::close`] or a failure. One call for a journal.
    pub async fn run(self: Rc<Self>, events: Rc<dyn GroupEvents>) {
        self.write_groups(&*events).await;
        self.has_ended.set(true);
        self.end.notify_all();
        self.prepare.notify_one();
        self.carrying.notify_all();
    }

    /// Waits until [`Journal::run`] has finished.
    pub async fn ended(&self) {
        while !self.has_ended.get() {
            self.end.notified().await;
        }
    }

    async fn write_groups(&self, events: &dyn GroupEvents) {
        let next = self.files.borrow().next_group;
        let mut chain = Chain {
            previous: 0,
            under_way: VecDeque::new(),
            written: next.saturating_sub(1),
            synced: next.saturating_sub(1),
            synced_appends: 0,
            carried_through: self.pending.borrow().carried.taken,
            unsynced_appends: None,
            unsynced_carried: None,
            news: News::default(),
        };
        if let Err(error) = self.write_until_end(&mut chain, events).await {
            self.tell(&mut chain, events);
            {
                let mut pending = self.pending.borrow_mut();
                (pending.poisoned, pending.ended) = (true, true);
            }
            tracing::error!(
                journal = self.config.id,
                %error,
                "journal write failed: nothing is acknowledged from now on"
            );
            self.io.reached(Landmark::JournalFailed);
            events.failed(&error);
            return;
        }
        // What was only written becomes stable before a clean end.
        let synced = self.sync_active(&mut chain).await;
        self.tell(&mut chain, events);
        if let Err(error) = synced {
            tracing::error!(journal = self.config.id, %error, "the journal ends without a sync");
            events.failed(&error);
        } else if !self.pending.borrow().is_empty() {
            tracing::warn!(
                journal = self.config.id,
                "the disk is full: the journal ends without its newest entries, which nobody was told of"
            );
            self.io.reached(Landmark::JournalGaveUp);
            events.gave_up();
        }
    }

    async fn write_until_end(&self, chain: &mut Chain, events: &dyn GroupEvents) -> io::Result<()> {
        while let Some(batch) = self.next_batch(chain, events).await? {
            self.write_batch(batch, chain, events).await?;
        }
        self.complete_all(chain, events).await
    }

    /// Makes files ahead of need, in the background; ends with the journal: while that is closed, what is
    /// queued and what makes room for it may still need a file.
    pub async fn prepare_files(self: Rc<Self>, events: Rc<dyn GroupEvents>) {
        while !self.has_closed() {
            let JournalConfig {
                files_max,
                file_bytes,
                ..
            } = self.config;
            let wanted = self.files.borrow().to_prepare(files_max, file_bytes);
            let Some((slot, len)) = wanted else {
                if std::mem::take(&mut self.files.borrow_mut().full) {
                    events.disk_full(false);
                }
                self.prepare.notified().await;
                continue;
            };
            let path = slot_path(&self.config.dir, self.config.id, slot.number);
            let making = self.io.within(Landmark::JournalFileMade);
            let prepared = async {
                if slot.len == 0 {
                    make_slot(&self.io, &path).await?;
                }
                self.list_slot(slot).await?;
                prepare_slot(&self.io, &path, slot, len).await?;
                open_slot(&self.io, &path).await
            };
            let prepared = prepared.await;
            drop(making);
            match prepared {
                Ok(handles) => {
                    let mut files = self.files.borrow_mut();
                    files.prepared(Slot { len, ..slot }, handles);
                    let was_full = std::mem::take(&mut files.full);
                    drop(files);
                    if was_full {
                        events.disk_full(false);
                    }
                    self.room.notify_one();
                }
                Err(error) => {
                    let is_full = error.raw_os_error() == Some(libc::ENOSPC);
                    let was_full = std::mem::replace(&mut self.files.borrow_mut().full, is_full);
                    if is_full != was_full || !is_full {
                        tracing::warn!(journal = self.config.id, %error, "cannot make a journal file");
                        events.disk_full(is_full);
                    }
                    self.room.notify_one();
                    let retry = pin!(self.io.sleep(FULL_DISK_RETRY));
                    first_of(retry, pin!(self.prepare.notified())).await;
                }
            }
        }
    }

    /// Notes a slot that has a name: from now on a start misses it.
    async fn list_slot(&self, slot: Slot) -> io::Result<()> {
        let listed = {
            let files = self.files.borrow();
            let mut listed = files.listed.clone();
            if !listed.insert(slot.number) && !files.is_list_due {
                return Ok(());
            }
            listed
        };
        let (dir, id) = (&self.config.dir, self.config.id);
        write_list(&self.io, dir, id, &listed).await?;
        let mut files = self.files.borrow_mut();
        files.listed = listed;
        files.is_list_due = false;
        Ok(())
    }

    /// Waits until there is something to write and room for it; `None` ends the journal.
    ///
    /// Requests that came in while the last group was written go into the next one, and that is given
    /// to the disk before those who wait for the last one are told: their replies are sent while the
    /// disk works.
    async fn next_batch(
        &self,
        chain: &mut Chain,
        events: &dyn GroupEvents,
    ) -> io::Result<Option<Batch>> {
        let mut flush_due = false;
        loop {
            self.complete_finished(chain).await?;
            if !chain.news.is_empty() {
                self.io.after_ready_tasks().await;
            }
            self.ask_for_reclaim(events);
            let mut is_lazy = false;
            if self.may_begin(chain) {
                match self.take_batch(flush_due) {
                    Taken::Batch(batch) => return Ok(Some(batch)),
                    Taken::End => return Ok(None),
                    Taken::Nothing { is_lazy: lazy } => is_lazy = lazy,
                }
            }
            if !chain.news.is_empty() {
                // What is told may free a file.
                self.tell(chain, events);
                continue;
            }
            if chain.under_way.is_empty() {
                if chain.unsynced_appends.is_some() && self.is_sync_wanted(chain) {
                    self.sync_active(chain).await?;
                    continue;
                }
                if self.lengthen_next_if_too_short() {
                    // The one behind it may be long enough.
                    continue;
                }
                self.ask_for_further_file();
                if self.gives_up() {
                    return Ok(None);
                }
            }
            if is_lazy {
                let timer = pin!(self.io.sleep(self.memory_flush.get()));
                flush_due = first_of(timer, pin!(self.work.notified())).await;
            } else if chain.under_way.is_empty() {
                if !self.pending.borrow().is_empty() {
                    self.io.reached(Landmark::JournalWaits);
                    // However many files are free: they may be short ones.
                    self.ask_for_oldest(events);
                }
                first_of(pin!(self.room.notified()), pin!(self.work.notified())).await;
            } else if chain.under_way.len() < UNDER_WAY_MAX {
                let finished = pin!(chain.oldest_finished());
                first_of(finished, pin!(self.work.notified())).await;
            } else {
                chain.oldest_finished().await;
            }
        }
    }

    /// Whether somebody waits for the sync of appends that are not synced.
    fn is_sync_wanted(&self, chain: &Chain) -> bool {
        self.pending.borrow().sync_wanted > chain.synced_appends
    }

    /// Whether a group may be begun: none is under way, or there is enough for a further small one
    /// that goes where the last one went.
    fn may_begin(&self, chain: &Chain) -> bool {
        let Some(newest) = chain.under_way.back() else {
            return true;
        };
        let pending = self.pending.borrow();
        let bytes = pending.appends.bytes;
        chain.under_way.len() < UNDER_WAY_MAX
            && pending.urgent
            && pending.carried.entries.is_empty()
            && bytes >= newest.payload_len / FURTHER_PART
            && padded_len(bytes) <= DURABLE_WRITE_BYTES_MAX
            && padded_len(bytes) as u64 <= self.room_here()
            && self.files.borrow().released.is_empty()
    }

    /// Ends a journal that is being closed and whose entries find no room.
    fn gives_up(&self) -> bool {
        let mut pending = self.pending.borrow_mut();
        // What is gathered may make room, but not behind a checkpoint that has none: who waits for that may hold what
        // the others wait for.
        let may_make_room = pending.is_gathering && pending.hurried <= pending.carried.taken;
        let finds_no_room = pending.hopeless || (self.files.borrow().full && !may_make_room);
        pending.ended |= pending.closing && finds_no_room;
        pending.ended
    }

    async fn write_batch(
        &self,
        batch: Batch,
        chain: &mut Chain,
        events: &dyn GroupEvents,
    ) -> io::Result<()> {
        if self.may_overlap(&batch, chain) {
            return self.begin(batch, chain, events).await;
        }
        self.complete_all(chain, events).await?;
        if !self.has_space_for(&batch) {
            self.rotate(chain).await?;
        }
        let publishes = self.files.borrow().released.len();
        let sealed = self.seal(&batch, chain);
        let Sealed {
            handles,
            position,
            begun,
            ..
        } = sealed;
        let all_before_synced = chain.synced == chain.written;
        // The first group of a file tells recovery which files are needed, so it is always synced
        // before another one follows.
        let sync = batch.needs_sync || position == 0 || publishes > 0 || self.is_sync_wanted(chain);
        let durable_write = sync
            && sealed.padded <= DURABLE_WRITE_BYTES_MAX
            // A write that is durable by itself says nothing of unsynced ones before it.
            && all_before_synced;
        let file = if durable_write {
            &handles.durable
        } else {
            &handles.plain
        };
        let is_written = self.io.within(Landmark::GroupWritten);
        let mut writing = pin!(file.write_at(sealed.buffer, sealed.padded, position));
        let outcome = match poll_once(writing.as_mut()).await {
            Some(outcome) => outcome,
            None => {
                self.tell_while_it_is_written(chain, events).await;
                writing.await
            }
        };
        drop(is_written);
        self.written(outcome, (sealed.number, batch.done(), begun), chain)?;
        chain.carried_through = batch.carried_through;
        if sync && !durable_write {
            // Who asked for no more than the write need not wait for the sync.
            self.tell(chain, events);
            let written_at = self.io.now();
            let is_synced = self.io.within(Landmark::GroupSynced);
            handles.plain.sync().await?;
            drop(is_synced);
            let took = self.io.now() - written_at;
            self.metrics.syncs.record(took);
            self.metrics.append_sync.record_many(took, begun.appends);
        }
        if sync {
            chain.completed();
        }
        if publishes > 0 {
            self.io.reached(Landmark::FilesPublished);
            let file_bytes = self.config.file_bytes;
            self.files.borrow_mut().reuse(publishes, file_bytes);
            self.prepare.notify_one();
            self.room.notify_one();
        }
        Ok(())
    }

    /// Whether the group may be on its way together with others: nothing but itself has to be made
    /// durable, in the file that the others are in, and nothing has to be synced before it.
    fn may_overlap(&self, batch: &Batch, chain: &Chain) -> bool {
        let files = self.files.borrow();
        batch.needs_sync
            && batch.padded_len() <= DURABLE_WRITE_BYTES_MAX
            && chain.synced == chain.written
            && files.released.is_empty()
            && files
                .active
                .as_ref()
                .is_some_and(|active| active.position > 0)
            && self.has_space_for(batch)
    }

    /// Has the disk begin with a group that is durable by itself.
    async fn begin(
        &self,
        batch: Batch,
        chain: &mut Chain,
        events: &dyn GroupEvents,
    ) -> io::Result<()> {
        let Sealed {
            buffer,
            padded,
            number,
            handles,
            position,
            begun,
        } = self.seal(&batch, chain);
        let is_written = self.io.within(Landmark::GroupWritten);
        let write = async move {
            let _is_written = is_written;
            handles.durable.write_at(buffer, padded, position).await
        };
        chain.carried_through = batch.carried_through;
        chain.under_way.push_back(UnderWay {
            write: Box::pin(write),
            outcome: None,
            number,
            payload_len: batch.payload_len,
            done: batch.done(),
            begun,
        });
        if chain.under_way.len() > 1 {
            self.io.reached(Landmark::GroupsOverlap);
        }
        let newest = chain.under_way.back_mut().expect("pushed just now");
        poll_once(pin!(newest.finished())).await;
        self.tell_while_it_is_written(chain, events).await;
        Ok(())
    }

    /// Numbers and encodes the next group.
    fn seal(&self, batch: &Batch, chain: &mut Chain) -> Sealed {
        let padded = batch.padded_len();
        self.pending.borrow_mut().unplaced_bytes = 0;
        let (header, handles, position) = {
            let mut files = self.files.borrow_mut();
            let number = files.next_group;
            files.next_group += 1;
            let oldest = files.closed.front().map(|oldest| oldest.seq);
            let active = files.active.as_mut().expect("there is a file with room");
            let position = active.position;
            active.position += padded as u64;
            let header = GroupHeader {
                journal_id: self.config.id,
                file_seq: active.seq,
                run_id: self.run_id,
                number,
                synced_through: chain.synced,
                previous: chain.previous,
                oldest_needed: oldest.unwrap_or(active.seq),
                payload_len: batch.payload_len as u32,
                payload_crc: 0,
            };
            (header, active.handles.clone(), position)
        };
        let (buffer, crc) = self.encode(header, batch, padded);
        chain.previous = crc;
        Sealed {
            buffer,
            padded,
            number: header.number,
            handles,
            position,
            begun: self.note_begun(batch, padded),
        }
    }

    /// Counts a group that is given to the disk now.
    fn note_begun(&self, batch: &Batch, padded: usize) -> Begun {
        let metrics = &self.metrics;
        let at = self.io.now();
        metrics.groups.add(1);
        metrics.group_bytes.add(padded as u64);
        metrics.checkpoints.add(batch.carried);
        // What is told of partitions beside their batches keeps nobody waiting.
        let mut appends = 0;
        for entry in &batch.entries[batch.carried as usize..] {
            if entry.head.kind == EntryKind::Append {
                metrics.append_queue.record(at - entry.queued);
                appends += 1;
            }
        }
        metrics.appends.add(appends);
        Begun { at, appends }
    }

    /// Tells the shard what was completed before, once the kernel was given what was begun just
    /// now.
    async fn tell_while_it_is_written(&self, chain: &mut Chain, events: &dyn GroupEvents) {
        if !chain.news.is_empty() {
            self.io.yield_now().await;
            self.tell(chain, events);
        }
    }

    /// Takes note that a group was written.
    fn written(
        &self,
        (written, buffer): (io::Result<()>, DmaBuffer),
        (number, done, begun): (u64, Done, Begun),
        chain: &mut Chain,
    ) -> io::Result<()> {
        if !is_on(Mutation::IgnoreFailedWrite) {
            written?;
        }
        let took = self.io.now() - begun.at;
        self.metrics.writes.record(took);
        self.metrics.append_write.record_many(took, begun.appends);
        if buffer.len() <= SPARE_BYTES_MAX {
            let mut spares = self.spares.borrow_mut();
            if spares.len() < UNDER_WAY_MAX {
                spares.push(buffer);
            }
        }
        chain.written = number;
        chain.unsynced_appends = done.appends.or(chain.unsynced_appends);
        chain.unsynced_carried = done.carried.or(chain.unsynced_carried);
        chain.news.written = done.appends.or(chain.news.written);
        Ok(())
    }

    /// Takes note of the groups that the disk has finished, in their order.
    async fn complete_finished(&self, chain: &mut Chain) -> io::Result<()> {
        while poll_once(pin!(chain.oldest_finished())).await.is_some() {
            self.complete_oldest(chain)?;
        }
        Ok(())
    }

    /// Waits for all groups that are under way.
    async fn complete_all(&self, chain: &mut Chain, events: &dyn GroupEvents) -> io::Result<()> {
        while !chain.under_way.is_empty() {
            chain.oldest_finished().await;
            self.complete_oldest(chain)?;
            self.tell(chain, events);
        }
        Ok(())
    }

    fn complete_oldest(&self, chain: &mut Chain) -> io::Result<()> {
        let oldest = chain.under_way.pop_front().expect("one has finished");
        let outcome = oldest.outcome.expect("it has finished");
        self.written(outcome, (oldest.number, oldest.done, oldest.begun), chain)?;
        chain.completed();
        Ok(())
    }

    fn encode(&self, mut header: GroupHeader, batch: &Batch, padded: usize) -> (DmaBuffer, u32) {
        let spare = self.spares.borrow_mut().pop();
        let spare = spare.filter(|spare| spare.len() >= padded);
        let mut buffer = spare.unwrap_or_else(|| self.io.buffer(padded.next_power_of_two()));
        let mut at = HEADER_LEN;
        for entry in &batch.entries {
            encode_entry(&entry.head, entry.body_len(), &mut buffer[at..]);
            at += super::group::ENTRY_HEADER_LEN;
            for piece in std::iter::once(entry.inline.as_slice())
                .chain(entry.body.slices().iter().map(|b| &b[..]))
            {
                buffer[at..at + piece.len()].copy_from_slice(piece);
                at += piece.len();
            }
        }
        buffer[at..padded].fill(0);
        header.payload_crc = payload_crc(0, &buffer[HEADER_LEN..at]);
        let crc = header.encode(&mut buffer);
        (buffer, crc)
    }

    /// Whether the active file can take the batch. Its last block is kept for a group without entries,
    /// which only says which files are needed: writing that must always be possible.
    fn has_space_for(&self, batch: &Batch) -> bool {
        let files = self.files.borrow();
        files.active.as_ref().is_some_and(|active| {
            let limit = match batch.entries.is_empty() {
                true => active.slot.len,
                false => usable_bytes(active.slot.len),
            };
            active.position + batch.padded_len() as u64 <= limit
        })
    }

    /// Goes on in the next file.
    async fn rotate(&self, chain: &mut Chain) -> io::Result<()> {
        self.sync_active(chain).await?;
        let (slot, seq) = {
            let mut files = self.files.borrow_mut();
            let next = files.ready.pop_front();
            files.next_seq += 1;
            let slot = next.expect("a batch is only taken when a file has room for it");
            (slot, files.next_seq - 1)
        };
        if seq > u64::from(slot.number) {
            self.io.reached(Landmark::JournalWrapped);
        }
        let handles = self.open_handles(slot).await?;
        let next = Active {
            slot,
            seq,
            handles,
            position: 0,
        };
        let mut files = self.files.borrow_mut();
        files.rotate(next, chain.carried_through);
        self.prepare.notify_one();
        Ok(())
    }

    /// The open file of a slot; one that recovery found is opened now.
    async fn open_handles(&self, slot: Slot) -> io::Result<Handles> {
        if let Some(open) = self.files.borrow().open.get(&slot.number) {
            return Ok(open.clone());
        }
        let path = slot_path(&self.config.dir, self.config.id, slot.number);
        let mut is_told = false;
        let handles = loop {
            match open_slot(&self.io, &path).await {
                Err(error) if is_exhaustion(&error) => {
                    if !std::mem::replace(&mut is_told, true) {
                        tracing::error!(journal = self.config.id, %error, "cannot open a journal file yet");
                    }
                    self.io.sleep(EXHAUSTION_RETRY).await;
                }
                opened => break opened?,
            }
        };
        let mut files = self.files.borrow_mut();
        files.open.insert(slot.number, handles.clone());
        Ok(handles)
    }

    /// Tells the shard what was completed.
    fn tell(&self, chain: &mut Chain, events: &dyn GroupEvents) {
        let news = std::mem::take(&mut chain.news);
        if let Some(through) = news.written {
            events.written(through);
        }
        if let Some(through) = news.synced {
            events.synced(through);
        }
        if let Some(through) = news.carried {
            self.carried_synced.set(through);
            events.carried(through);
        }
    }

    async fn sync_active(&self, chain: &mut Chain) -> io::Result<()> {
        if chain.synced == chain.written {
            return Ok(());
        }
        let handles = self
            .files
            .borrow()
            .active
            .as_ref()
            .map(|active| active.handles.clone());
        if let Some(handles) = handles {
            handles.plain.sync().await?;
            chain.completed();
        }
        Ok(())
    }
}
