//! Reading: sizes first, bytes after, and waiting without polling.
//!
//! A fetch first *probes* all of its partitions, wherever they live; from the sizes its caller
//! decides who may send how much. Then it *reads*. A fetch that has not enough registers a watch
//! with the probe: the owner of a partition that moves on wakes it once, and it probes again.
//!
//! Copies of record bytes: none, from memory (slices of what is cached) or from disk (slices of the
//! buffer of the direct read), unless less than half of such a buffer is wanted.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;

use super::Shard;
use super::message::{Probe, ReadData, ReadError, ReadSpec, Reply, Request, WatchId};
use crate::io::futures::join_all;
use crate::io::{Notify, Slot, slot};
use crate::log::Found;
use crate::route::ShardId;

/// Partitions of one fetch that are read from disk at the same time.
const READS_AT_ONCE: usize = 8;

type Results<T> = Vec<Result<T, ReadError>>;
/// Results as far as they did not need a disk.
pub(super) type PartlyRead = Vec<Option<Result<ReadData, ReadError>>>;

/// Fetches that wait on this shard, by slot.
#[derive(Default)]
pub(super) struct Waiters {
    slots: RefCell<WaiterSlots>,
}

#[derive(Default)]
struct WaiterSlots {
    taken: Vec<Option<Rc<Notify>>>,
    free: Vec<u32>,
}

/// The right to be woken. Given back when dropped; a late wake then is for nothing.
pub struct Waiter {
    shard: Shard,
    id: WatchId,
    news: Rc<Notify>,
}

impl Waiter {
    /// What a probe has to name.
    pub fn id(&self) -> WatchId {
        self.id
    }

    /// Waits for news of any partition that was probed with this watch since the last news.
    pub async fn news(&self) {
        self.news.notified().await;
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut slots = self.shard.0.waiters.slots.borrow_mut();
        slots.taken[self.id.slot as usize] = None;
        slots.free.push(self.id.slot);
    }
}

impl Shard {
    /// A watch for one fetch.
    pub fn waiter(&self) -> Waiter {
        let news = Rc::new(Notify::new());
        let mut slots = self.0.waiters.slots.borrow_mut();
        let slot = slots.free.pop().unwrap_or_else(|| {
            slots.taken.push(None);
            slots.taken.len() as u32 - 1
        });
        slots.taken[slot as usize] = Some(news.clone());
        drop(slots);
        let id = WatchId {
            home: self.id(),
            slot,
        };
        Waiter {
            shard: self.clone(),
            id,
            news,
        }
    }

    /// Tells a fetch, here or elsewhere, that there is news.
    pub(super) fn wake(&self, watch: WatchId) {
        if watch.home != self.id() {
            self.0.mesh.wake(watch.home, watch);
            return;
        }
        let slots = self.0.waiters.slots.borrow();
        if let Some(Some(news)) = slots.taken.get(watch.slot as usize) {
            news.notify_one();
        }
    }

    /// How much there is to read of each; results in the order of `specs`.
    pub async fn probe(&self, specs: &[ReadSpec], watch: Option<WatchId>) -> Results<Probe> {
        let mut parts = Vec::new();
        for (owner, part) in self.deal(specs) {
            let slot = if owner == self.id() {
                ready(Reply::Probe(self.handle_probe(&part.specs, watch)))
            } else {
                self.0
                    .mesh
                    .request(owner, Request::Probe(part.specs, watch))
                    .await
            };
            parts.push((part.places, slot));
        }
        gather(specs.len(), parts, |reply| match reply {
            Reply::Probe(results) => results,
            _ => unreachable!("a probe is answered with sizes"),
        })
        .await
    }

    /// Reads each; results in the order of `specs`.
    pub async fn read(&self, specs: &[ReadSpec]) -> Results<ReadData> {
        let mut parts = Vec::new();
        let mut here = None;
        for (owner, part) in self.deal(specs) {
            if owner == self.id() {
                here = Some(part);
            } else {
                let slot = self.0.mesh.request(owner, Request::Read(part.specs)).await;
                parts.push((part.places, slot));
            }
        }
        if let Some(part) = here {
            let data = match self.read_from_memory(&part.specs) {
                Ok(data) => data,
                Err(partly) => self.read_the_rest(&part.specs, partly).await,
            };
            parts.push((part.places, ready(Reply::Read(data))));
        }
        gather(specs.len(), parts, |reply| match reply {
            Reply::Read(results) => results,
            _ => unreachable!("a read is answered with data"),
        })
        .await
    }

    /// Sorts reads by the shards that own their partitions.
    fn deal(&self, specs: &[ReadSpec]) -> impl Iterator<Item = (ShardId, Part)> + use<> {
        let mut parts: Vec<Part> = (0..self.count()).map(|_| Part::default()).collect();
        for (place, spec) in specs.iter().enumerate() {
            let part = &mut parts[self.owner(&spec.key)];
            part.places.push(place);
            part.specs.push(spec.clone());
        }
        let used = |(_, part): &(ShardId, Part)| !part.specs.is_empty();
        parts.into_iter().enumerate().filter(used)
    }

    /// The owner's half of a probe.
    pub(super) fn handle_probe(
        &self,
        specs: &[ReadSpec],
        watch: Option<WatchId>,
    ) -> Results<Probe> {
        let _unbroken = self.io().unbroken();
        let probe = |spec: &ReadSpec| {
            let partition = self.find(&spec.key)?;
            partition.probe(spec, watch)
        };
        specs.iter().map(probe).collect()
    }

    /// The owner's half of a read if all of it is in memory; otherwise what of it is, for
    /// [`Shard::read_the_rest`].
    pub(super) fn read_from_memory(
        &self,
        specs: &[ReadSpec],
    ) -> Result<Results<ReadData>, PartlyRead> {
        let read = specs
            .iter()
            .map(|spec| self.read_one_from_memory(spec).transpose());
        let partly: PartlyRead = read.collect();
        match partly.iter().all(Option::is_some) {
            true => Ok(partly.into_iter().flatten().collect()),
            false => Err(partly),
        }
    }

    fn read_one_from_memory(&self, spec: &ReadSpec) -> Result<Option<ReadData>, ReadError> {
        let _unbroken = self.io().unbroken();
        let partition = self.find(&spec.key)?;
        let probe = partition.probe(spec, None)?;
        if probe.available == 0 || probe.diverging.is_some() {
            return Ok(Some(ReadData::nothing(probe)));
        }
        let state = partition.state.borrow();
        let upper = state.readable_end(spec.committed);
        let found = state
            .log
            .find(spec.offset, spec.bytes_max, spec.at_least_one, upper);
        Ok(match found {
            Found::Memory(batches) => partition.aborted_among(spec, &batches).map(|aborted| {
                let bytes = bytes_of(&batches);
                partition.note_out(bytes);
                self.0.metrics.read_memory_bytes.add(bytes);
                ReadData {
                    probe,
                    batches,
                    aborted,
                }
            }),
            Found::Disk(_) => None,
        })
    }

    /// The owner's half of a read: what was not in memory.
    pub(super) async fn read_the_rest(
        &self,
        specs: &[ReadSpec],
        mut partly: PartlyRead,
    ) -> Results<ReadData> {
        let left = (0..specs.len()).filter(|at| partly[*at].is_none());
        let left: Vec<usize> = left.collect();
        for some in left.chunks(READS_AT_ONCE) {
            let reads = some.iter().map(|at| self.read_one_from_disk(&specs[*at]));
            for (at, read) in some.iter().zip(join_all(reads).await) {
                partly[*at] = Some(read);
            }
        }
        partly.into_iter().flatten().collect()
    }

    async fn read_one_from_disk(&self, spec: &ReadSpec) -> Result<ReadData, ReadError> {
        let partition = self.find(&spec.key)?;
        let probe = partition.probe(spec, None)?;
        let upper = partition.state.borrow().readable_end(spec.committed);
        let store = &self.0.store;
        let read = async {
            let batches = store.read(&partition, spec, upper).await?;
            let aborted = store.aborted_among(&partition, spec, &batches).await?;
            Ok((batches, aborted))
        };
        match read.await {
            Ok((batches, aborted)) => {
                let bytes = bytes_of(&batches);
                partition.note_out(bytes);
                self.0.metrics.read_disk_bytes.add(bytes);
                Ok(ReadData {
                    probe,
                    batches,
                    aborted,
                })
            }
            Err(error) => {
                // Meanwhile the records may have been deleted, and their files with them.
                partition.probe(spec, None)?;
                Err(error)
            }
        }
    }
}

fn bytes_of(batches: &[Bytes]) -> u64 {
    batches.iter().map(|batch| batch.len() as u64).sum()
}

/// What one owner is asked, and where its answers belong.
#[derive(Default)]
struct Part {
    places: Vec<usize>,
    specs: Vec<ReadSpec>,
}

fn ready(reply: Reply) -> Slot<Reply> {
    let (completer, slot) = slot();
    completer.complete(reply);
    slot
}

/// Waits for all parts and puts their results in order.
async fn gather<T>(
    total: usize,
    parts: Vec<(Vec<usize>, Slot<Reply>)>,
    unwrap: impl Fn(Reply) -> Results<T>,
) -> Results<T> {
    let mut results: Vec<Option<Result<T, ReadError>>> = (0..total).map(|_| None).collect();
    for (places, slot) in parts {
        let part = unwrap(slot.await.expect("a shard answers every request"));
        for (place, result) in places.into_iter().zip(part) {
            results[place] = Some(result);
        }
    }
    let whole = results.into_iter().collect::<Option<_>>();
    whole.expect("each partition has one owner, which answers")
}
