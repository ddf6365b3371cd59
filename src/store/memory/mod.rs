//! The embedded store: states in the memory of this process, in shards with a lock each.
//!
//! The shards of a settlement are locked in the order of their numbers, so that two settlements never wait
//! for each other in a circle. States that equal no state are swept. The number of keys is bounded, and a live state
//! is never evicted, since that would hand out a new burst: once a shard is full even after sweeping, the
//! new keys of a limit share that limit's one overflow key.

mod shard;

use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use foldhash::fast::RandomState;
use parking_lot::{Mutex, MutexGuard};
use smallvec::SmallVec;

use super::{Settling, Store, StoreError};
use crate::algorithm::State;
use crate::engine::{Charge, Key, Outcome, Settlement, Write, settle, settle_alone};
use crate::time::{Clock, Timestamp};
use shard::Shard;

/// The most shards: enough that threads rarely meet, few enough that one sweep is a short pause.
const MAX_SHARDS: usize = 256;

/// Fewest keys that are worth a shard of their own.
const MIN_KEYS_PER_SHARD: usize = 1024;

/// Settings of the memory store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// The most keys that are kept; at least 1. At about 150 bytes a key the default needs 150 MB.
    pub max_keys: usize,
    /// How often all keys are swept, in milliseconds; a part of them at a time.
    pub sweep_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { max_keys: 1_000_000, sweep_ms: 30_000 }
    }
}

/// Keeps states in memory.
#[derive(Debug)]
pub struct MemoryStore {
    clock: Arc<dyn Clock>,
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
    max_keys_per_shard: usize,
    next_to_sweep: AtomicUsize,
}

/// The locked shards of one settlement, in the order of their numbers.
type Locked<'a> = SmallVec<[(usize, MutexGuard<'a, Shard>); 2]>;

impl MemoryStore {
    /// An empty store that takes its time from `clock`.
    #[must_use]
    pub fn new(settings: Settings, clock: Arc<dyn Clock>) -> Self {
        let max_keys = settings.max_keys.max(1);
        // A power of two, so that a shard is chosen by some bits of the hash.
        let shards = (max_keys / MIN_KEYS_PER_SHARD).clamp(1, MAX_SHARDS).next_power_of_two();
        Self {
            clock,
            shards: (0..shards).map(|_| Mutex::default()).collect(),
            hasher: RandomState::default(),
            max_keys_per_shard: (max_keys / shards).max(1),
            next_to_sweep: AtomicUsize::new(0),
        }
    }

    /// How many keys are kept now, those whose state is over but not swept yet included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    /// How many of them are overflow keys, each shared by the new keys of one limit.
    #[must_use]
    pub fn overflow_keys(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().overflows()).sum()
    }

    /// True if no key is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The most keys that are kept, overflow keys not counted.
    #[must_use]
    pub fn max_keys(&self) -> usize {
        self.max_keys_per_shard * self.shards.len()
    }

    /// How many shards there are: so many calls of [`Self::sweep_next`] go over all keys once.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.shards.len()
    }

    /// Removes the states of the next shard that equal no state. Shards take turns, so each call is a
    /// short pause for a small part of the keys.
    pub fn sweep_next(&self) {
        let shard = self.next_to_sweep.fetch_add(1, Ordering::Relaxed) % self.shards.len();
        self.shards[shard].lock().sweep(self.clock.now());
    }

    /// The state that is stored under a key, for tests.
    #[must_use]
    pub fn state(&self, key: &Key) -> Option<State> {
        let (hash, shard) = self.place(key);
        let shard = self.shards[shard].lock();
        shard.find(hash, key).map(|at| shard.state(at).clone())
    }

    fn place(&self, key: &Key) -> (u64, usize) {
        use std::hash::BuildHasher;
        let hash = self.hasher.hash_one(key.as_bytes());
        // The table uses the low bits for its buckets and the top seven for its tags.
        (hash, (hash >> 40) as usize & (self.shards.len() - 1))
    }

    fn apply(&self, asked: &Settlement) -> Outcome {
        if let Some(outcome) = asked.alone().and_then(|charge| self.apply_alone(asked, charge)) {
            return outcome;
        }
        let mut moved = None;
        loop {
            let settlement = moved.as_ref().unwrap_or(asked);
            let places: SmallVec<[(u64, usize); 2]> = settlement.keys().map(|key| self.place(key)).collect();
            let mut locked = self.lock(&places);
            // Read under the locks, so that time does not run backwards on a key because of a thread that
            // waits.
            let now = self.clock.now();
            let full = self.full_slots(settlement, &places, &mut locked, now);
            if !full.contains(&true) {
                let mut outcome = apply_locked(settlement, &places, &mut locked, now);
                if moved.is_some() {
                    outcome.overflowed = overflowed(settlement);
                }
                return outcome;
            }
            // The overflow keys live in other shards, and all locks are taken in order. Meanwhile other keys
            // may lose their room, so this goes on until all have a place; overflow keys always have one.
            let further = settlement.overflowed(|slot| full[slot]);
            drop(locked);
            moved = Some(further);
        }
    }

    /// Applies a settlement of one charge, for which there is one lock to take; `None` if its key is new and
    /// its shard is full.
    fn apply_alone(&self, settlement: &Settlement, charge: &Charge) -> Option<Outcome> {
        let (hash, number) = self.place(&charge.key);
        let mut shard = self.shards[number].lock();
        let now = self.clock.now();
        let found = shard.find(hash, &charge.key);
        if found.is_none() && shard.bounded() >= self.max_keys_per_shard {
            return None;
        }
        let stored = found.map(|at| shard.state(at));
        let (outcome, state) = settle_alone(settlement, charge, now, stored);
        if let Some(state) = state {
            let gone_at_ms = now.ms().saturating_add(outcome.verdicts[0].reset_after_ms);
            match found {
                Some(at) => shard.replace(at, state, gone_at_ms),
                None => shard.insert(hash, &charge.key, state, gone_at_ms),
            }
        }
        Some(outcome)
    }

    /// Which slots belong to new keys that do not fit, even after their shard was swept. Overflow keys are as
    /// many as there are limits, so they are kept beyond the bound.
    fn full_slots(
        &self,
        settlement: &Settlement,
        places: &[(u64, usize)],
        locked: &mut Locked<'_>,
        now: Timestamp,
    ) -> SmallVec<[bool; 2]> {
        let most = self.max_keys_per_shard;
        let is_new =
            |shard: &Shard, hash: u64, key: &Key| !key.is_overflow() && shard.find(hash, key).is_none();
        let mut is_tight = false;
        for (key, (hash, number)) in settlement.keys().zip(places) {
            let shard = shard_of(locked, *number);
            if shard.bounded() + places.len() > most && is_new(shard, *hash, key) {
                is_tight = true;
                shard.sweep_if_due(now);
            }
        }
        if !is_tight {
            return SmallVec::from_elem(false, places.len());
        }
        // Several new keys of one settlement may want the last places of one shard.
        let mut promised: SmallVec<[usize; 4]> = SmallVec::new();
        let slots = settlement.keys().zip(places).map(|(key, (hash, number))| {
            let shard = shard_of(locked, *number);
            if !is_new(shard, *hash, key) {
                return false;
            }
            let taken = shard.bounded() + promised.iter().filter(|of| *of == number).count();
            if taken < most {
                promised.push(*number);
            }
            taken >= most
        });
        slots.collect()
    }

    fn lock(&self, places: &[(u64, usize)]) -> Locked<'_> {
        let mut numbers: SmallVec<[usize; 2]> = places.iter().map(|(_, shard)| *shard).collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers.into_iter().map(|number| (number, self.shards[number].lock())).collect()
    }
}

impl Store for MemoryStore {
    fn settle(&self, settlement: &Settlement) -> Settling {
        Settling::Ready(Ok(self.apply(settlement)))
    }

    fn answers_at_once(&self) -> bool {
        true
    }

    fn ping(&self) -> Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send + '_>> {
        Box::pin(ready(Ok(())))
    }
}

/// The charges that are counted under an overflow key.
fn overflowed(settlement: &Settlement) -> SmallVec<[usize; 4]> {
    let charges = settlement.charges().iter().enumerate();
    charges.filter(|(_, charge)| charge.key.is_overflow()).map(|(index, _)| index).collect()
}

fn shard_of<'a>(locked: &'a mut Locked<'_>, number: usize) -> &'a mut Shard {
    let place = locked.binary_search_by_key(&number, |(number, _)| *number);
    &mut locked[place.expect("the shard of every key is locked")].1
}

fn apply_locked(
    settlement: &Settlement,
    places: &[(u64, usize)],
    locked: &mut Locked<'_>,
    now: Timestamp,
) -> Outcome {
    let guards: SmallVec<[usize; 2]> =
        places.iter().map(|(_, shard)| locked.partition_point(|(number, _)| number < shard)).collect();
    let found: SmallVec<[Option<usize>; 2]> = settlement
        .keys()
        .zip(places)
        .zip(&guards)
        .map(|((key, (hash, _)), guard)| locked[*guard].1.find(*hash, key))
        .collect();
    let stored: SmallVec<[Option<&State>; 2]> =
        found.iter().zip(&guards).map(|(at, guard)| at.map(|at| locked[*guard].1.state(at))).collect();
    let (outcome, writes) = settle(settlement, now, &stored);
    drop(stored);
    // What was found keeps its place only until something is inserted, so insertions come last.
    let (known, new): (SmallVec<[Write; 2]>, SmallVec<[Write; 2]>) =
        writes.into_iter().partition(|write| found[write.slot].is_some());
    for write in known.into_iter().chain(new) {
        let gone_at_ms = now.ms().saturating_add(write.reset_after_ms);
        let shard = &mut locked[guards[write.slot]].1;
        if let Some(at) = found[write.slot] {
            shard.replace(at, write.state, gone_at_ms);
        } else {
            let key = &settlement.first_charge(write.slot).key;
            shard.insert(places[write.slot].0, key, write.state, gone_at_ms);
        }
    }
    outcome
}
