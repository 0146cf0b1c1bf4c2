//! The newest offset of each key in a part of a log, within a bound of memory.
//!
//! Keys are known by a hash of 128 bits that begins with a secret of this map: two keys that meet would cost a
//! record, so nobody may be able to make some that do.

use std::hash::{DefaultHasher, Hasher};

use crate::mutation::{Mutation, is_on};

/// Hash of the key and offset + 1; all zeros where there is nothing.
type Slot = [u64; 3];
const SLOT_BYTES: usize = size_of::<Slot>();
/// Part of the slots that are used at most: with more, looking for one takes long.
const FILL_PERCENT: usize = 90;

/// Keys and offsets.
pub struct OffsetMap {
    slots: Vec<Slot>,
    used: usize,
    secrets: [u64; 2],
    latest: i64,
}

/// No key is taken any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl OffsetMap {
    /// A map for up to `keys` keys, in at most `bytes_max` bytes. It takes memory as it fills.
    pub fn new(keys: u64, bytes_max: usize, secrets: [u64; 2]) -> Self {
        let needed = keys.saturating_mul(100) / FILL_PERCENT as u64 + 2;
        let slots = usize::try_from(needed).unwrap_or(usize::MAX);
        Self {
            slots: vec![[0; 3]; slots.min(bytes_max / SLOT_BYTES).max(2)],
            used: 0,
            secrets,
            latest: -1,
        }
    }

    /// Notes a record. One whose key is there already always finds room.
    pub fn put(&mut self, key: &[u8], offset: i64) -> Result<(), Full> {
        let hash = self.hash(key);
        let at = self.slot_of(hash);
        let is_new = self.slots[at][2] == 0;
        if is_new && (self.used + 1) * 100 > self.slots.len() * FILL_PERCENT {
            return Err(Full);
        }
        self.used += usize::from(is_new);
        let beyond = u64::from(is_on(Mutation::CompactNewest));
        self.slots[at] = [hash[0], hash[1], offset as u64 + 1 + beyond];
        Ok(())
    }

    /// The newest offset of a key.
    pub fn get(&self, key: &[u8]) -> Option<i64> {
        let [.., after] = self.slots[self.slot_of(self.hash(key))];
        after.checked_sub(1).map(|offset| offset as i64)
    }

    /// Everything up to this offset was noted.
    pub fn note_all_through(&mut self, offset: i64) {
        self.latest = offset;
    }

    /// Through this offset everything is known; -1 for nothing at all.
    pub fn latest(&self) -> i64 {
        self.latest
    }

    /// Memory that it may come to.
    pub fn bytes(&self) -> usize {
        self.slots.len() * SLOT_BYTES
    }

    /// Keys that it holds.
    pub fn len(&self) -> usize {
        self.used
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    fn hash(&self, key: &[u8]) -> [u64; 2] {
        self.secrets.map(|secret| {
            let mut hasher = DefaultHasher::new();
            hasher.write_u64(secret);
            hasher.write_u64(!secret);
            hasher.write(key);
            hasher.finish()
        })
    }

    /// Where this hash is, or would be.
    fn slot_of(&self, hash: [u64; 2]) -> usize {
        let slots = self.slots.len();
        let mut at = (hash[0] % slots as u64) as usize;
        // Some slots are always free, so this ends.
        while self.slots[at][2] != 0 && self.slots[at][..2] != hash {
            at = (at + 1) % slots;
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_the_newest_offset_of_each_key() {
        let mut map = OffsetMap::new(100, usize::MAX, [1, 2]);
        for offset in 0..300_i64 {
            let key = (offset % 100).to_be_bytes();
            map.put(&key, offset).expect("there is room");
        }
        assert_eq!(map.len(), 100);
        for key in 0..100_i64 {
            assert_eq!(map.get(&key.to_be_bytes()), Some(200 + key));
        }
        assert_eq!(map.get(b"another"), None);
        assert_eq!(map.get(b""), None);
    }

    #[test]
    fn a_full_one_takes_no_new_key_but_newer_offsets() {
        let mut map = OffsetMap::new(u64::MAX, 20 * SLOT_BYTES, [1, 2]);
        let taken = (0..30_i64).take_while(|key| map.put(&key.to_be_bytes(), *key).is_ok());
        assert_eq!(taken.count(), 18);
        assert_eq!(map.put(b"new", 100), Err(Full));
        assert_eq!(map.put(&3_i64.to_be_bytes(), 101), Ok(()));
        assert_eq!(map.get(&3_i64.to_be_bytes()), Some(101));
    }
}
