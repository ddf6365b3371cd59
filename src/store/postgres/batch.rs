//! Settlements that are applied in one transaction: their keys in order, and the pure `settle` on their states.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use smallvec::SmallVec;

use super::state;
use crate::algorithm::State;
use crate::engine::{Outcome, Settlement, settle};
use crate::store::StoreError;
use crate::time::Timestamp;

/// How long a row is kept after its state equals no state, in milliseconds: a clock that is set back a little
/// finds it still there.
pub(super) const SLACK_MS: u64 = 60_000;

/// Settlements, and the different keys of all of them in order.
pub(super) struct Batch<'a> {
    settlements: &'a [Settlement],
    keys: Vec<&'a [u8]>,
    /// For each settlement, where the key of each of its slots stands among `keys`.
    places: Vec<SmallVec<[usize; 2]>>,
}

/// What is known of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Known {
    /// There is no row.
    Nothing,
    /// There is a row without a state: somebody made it so that it can be locked.
    Empty,
    /// A state.
    State(State),
    /// A row that cannot be read.
    Unreadable(String),
}

/// What came out.
#[derive(Debug, Default)]
pub(super) struct Applied<'a> {
    /// One for each settlement, in order.
    pub(super) outcomes: Vec<Result<Outcome, StoreError>>,
    /// Rows of keys that had none.
    pub(super) inserts: Rows<'a>,
    /// Rows in the place of others.
    pub(super) updates: Rows<'a>,
}

/// Rows to write, in the order of their keys.
#[derive(Debug, Default)]
pub(super) struct Rows<'a> {
    pub(super) keys: Vec<&'a [u8]>,
    pub(super) states: Vec<Vec<u8>>,
    pub(super) expire_at_ms: Vec<i64>,
}

impl<'a> Batch<'a> {
    /// A batch of those settlements, in the order in which they came.
    pub(super) fn new(settlements: &'a [Settlement]) -> Self {
        let mut found: HashMap<&[u8], usize, RandomState> = HashMap::default();
        let mut keys: Vec<&[u8]> = Vec::with_capacity(settlements.len());
        let mut places: Vec<SmallVec<[usize; 2]>> = Vec::with_capacity(settlements.len());
        for settlement in settlements {
            let numbers = settlement.keys().map(|key| {
                *found.entry(key.as_bytes()).or_insert_with_key(|key| {
                    keys.push(key);
                    keys.len() - 1
                })
            });
            places.push(numbers.collect());
        }
        let mut order: Vec<usize> = (0..keys.len()).collect();
        order.sort_unstable_by_key(|number| keys[*number]);
        let mut ranks = vec![0; keys.len()];
        for (rank, number) in order.iter().enumerate() {
            ranks[*number] = rank;
        }
        for place in places.iter_mut().flatten() {
            *place = ranks[*place];
        }
        let keys = order.iter().map(|number| keys[*number]).collect();
        Self { settlements, keys, places }
    }

    /// The different keys, in order.
    pub(super) fn keys(&self) -> &[&'a [u8]] {
        &self.keys
    }

    /// Applies the settlements in their order at `now`, to rows that are locked.
    pub(super) fn apply<'r>(
        &self,
        now: Timestamp,
        rows: impl Iterator<Item = (&'r [u8], &'r [u8])>,
    ) -> Applied<'a> {
        let mut known = vec![Known::Nothing; self.keys.len()];
        for (key, bytes) in rows {
            // The server was asked for these keys only.
            if let Ok(place) = self.keys.binary_search(&key) {
                known[place] = read(bytes);
            }
        }
        let has_row: Vec<bool> = known.iter().map(|known| *known != Known::Nothing).collect();
        let mut deadlines: Vec<Option<u64>> = vec![None; known.len()];
        let outcomes = self.settlements.iter().zip(&self.places).map(|(settlement, places)| {
            if settlement.resets {
                for place in places {
                    // Whatever it holds, readable or not. What has no row needs none.
                    if known[*place] != Known::Nothing {
                        known[*place] = Known::Empty;
                        deadlines[*place] = Some(now.ms().saturating_add(SLACK_MS));
                    }
                }
                return Ok(Outcome::default());
            }
            let mut stored: SmallVec<[Option<&State>; 2]> = SmallVec::with_capacity(places.len());
            for place in places {
                match &known[*place] {
                    Known::Nothing | Known::Empty => stored.push(None),
                    Known::State(state) => stored.push(Some(state)),
                    Known::Unreadable(reason) => {
                        return Err(StoreError::Unreadable { reason: reason.clone() });
                    }
                }
            }
            let (outcome, writes) = settle(settlement, now, &stored);
            drop(stored);
            for write in writes {
                let place = places[write.slot];
                known[place] = Known::State(write.state);
                let gone_at_ms = now.ms().saturating_add(write.reset_after_ms);
                deadlines[place] = Some(gone_at_ms.saturating_add(SLACK_MS));
            }
            Ok(outcome)
        });
        let mut applied = Applied { outcomes: outcomes.collect(), ..Applied::default() };
        for (place, known) in known.iter().enumerate() {
            let Some(deadline_ms) = deadlines[place] else { continue };
            let state = if let Known::State(state) = known { Some(state) } else { None };
            let rows = if has_row[place] { &mut applied.updates } else { &mut applied.inserts };
            rows.push(self.keys[place], state, deadline_ms);
        }
        applied
    }
}

fn read(bytes: &[u8]) -> Known {
    if bytes.is_empty() {
        return Known::Empty;
    }
    match state::decode(bytes) {
        Ok(state) => Known::State(state),
        Err(reason) => Known::Unreadable(reason),
    }
}

impl<'a> Rows<'a> {
    /// Rows without a state for those keys, for as long as it takes to come back and lock them.
    pub(super) fn empty(keys: &[&'a [u8]], now: Timestamp) -> Self {
        let deadline_ms = column(now.ms().saturating_add(SLACK_MS));
        Self {
            keys: keys.to_vec(),
            states: vec![Vec::new(); keys.len()],
            expire_at_ms: vec![deadline_ms; keys.len()],
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> u64 {
        self.keys.len() as u64
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Adds a row; `None` writes one without a state.
    fn push(&mut self, key: &'a [u8], state: Option<&State>, deadline_ms: u64) {
        let mut bytes = Vec::with_capacity(24);
        if let Some(state) = state {
            state::encode(state, &mut bytes);
        }
        self.keys.push(key);
        self.states.push(bytes);
        self.expire_at_ms.push(column(deadline_ms));
    }
}

/// A time as the column keeps it.
pub(super) fn column(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}
