//! One shard of the memory store: a table of states by key.

use hashbrown::HashTable;

use crate::algorithm::State;
use crate::engine::Key;
use crate::time::Timestamp;

/// How long a state is kept after it equals no state, as every store does: clocks may run back a little.
const SLACK_MS: u64 = 60_000;

/// How often a full shard is swept at most, so that a flood of new keys does not sweep with each of them.
const SWEEP_EVERY_MS: u64 = 100;

/// Some of the keys of a store.
#[derive(Debug, Default)]
pub(super) struct Shard {
    table: HashTable<Entry>,
    /// How many of the keys are overflow keys, which do not count against the bound.
    overflows: usize,
    swept_at_ms: u64,
}

#[derive(Debug)]
struct Entry {
    key: Key,
    state: State,
    hash: u64,
    /// From this reading of the clock on, in milliseconds, the state equals no state.
    gone_at_ms: u64,
}

impl Shard {
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// How many keys count against the bound.
    pub(super) fn bounded(&self) -> usize {
        self.table.len() - self.overflows
    }

    /// How many keys do not.
    pub(super) fn overflows(&self) -> usize {
        self.overflows
    }

    /// Where a key is, until the next insertion or sweep.
    pub(super) fn find(&self, hash: u64, key: &Key) -> Option<usize> {
        self.table.find_bucket_index(hash, |entry| entry.key == *key)
    }

    pub(super) fn state(&self, at: usize) -> &State {
        &self.entry(at).state
    }

    pub(super) fn replace(&mut self, at: usize, state: State, gone_at_ms: u64) {
        let entry = self.table.get_bucket_mut(at).expect("found under the same lock");
        entry.state = state;
        entry.gone_at_ms = gone_at_ms;
    }

    pub(super) fn insert(&mut self, hash: u64, key: &Key, state: State, gone_at_ms: u64) {
        self.overflows += usize::from(key.is_overflow());
        let entry = Entry { key: key.clone(), state, hash, gone_at_ms };
        self.table.insert_unique(hash, entry, |entry| entry.hash);
    }

    /// Removes what equals no state, and gives memory back once most of it is unused.
    pub(super) fn sweep(&mut self, now: Timestamp) {
        let overflows = &mut self.overflows;
        self.table.retain(|entry| {
            let stays = entry.gone_at_ms.saturating_add(SLACK_MS) > now.ms();
            *overflows -= usize::from(!stays && entry.key.is_overflow());
            stays
        });
        if self.table.len() < self.table.capacity() / 4 {
            self.table.shrink_to(self.table.len() * 2, |entry| entry.hash);
        }
    }

    /// Sweeps unless that was done just now.
    pub(super) fn sweep_if_due(&mut self, now: Timestamp) {
        if now.ms().abs_diff(self.swept_at_ms) >= SWEEP_EVERY_MS {
            self.swept_at_ms = now.ms();
            self.sweep(now);
        }
    }

    fn entry(&self, at: usize) -> &Entry {
        self.table.get_bucket(at).expect("found under the same lock")
    }
}
