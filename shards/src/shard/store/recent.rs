//! A bounded map that forgets what was not used for longest.

use rustc_hash::FxHashMap;

pub(super) struct Recent<K, V> {
    entries: FxHashMap<K, (u64, V)>,
    clock: u64,
}

impl<K, V> Default for Recent<K, V> {
    fn default() -> Self {
        Self {
            entries: FxHashMap::default(),
            clock: 0,
        }
    }
}

impl<K: std::hash::Hash + Eq + Copy, V> Recent<K, V> {
    pub fn get(&mut self, key: &K) -> Option<&V> {
        self.get_mut(key).map(|value| &*value)
    }

    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.clock += 1;
        let (used, value) = self.entries.get_mut(key)?;
        *used = self.clock;
        Some(value)
    }

    /// Keeps at most `max`; makes room by forgetting an eighth at a time.
    pub fn put(&mut self, key: K, value: V, max: usize) {
        if self.entries.len() >= max {
            let mut uses: Vec<u64> = self.entries.values().map(|(used, _)| *used).collect();
            let cut = uses.len() / 8;
            let (_, oldest_kept, _) = uses.select_nth_unstable(cut);
            let oldest_kept = *oldest_kept;
            self.entries.retain(|_, (used, _)| *used > oldest_kept);
        }
        self.clock += 1;
        self.entries.insert(key, (self.clock, value));
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn retain(&mut self, keep: impl Fn(&K) -> bool) {
        self.entries.retain(|key, _| keep(key));
    }
}
