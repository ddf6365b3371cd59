//! The suite that every store has to pass: random scripts give the same outcomes and leave the same states
//! as the pure engine.
//!
//! A new store is one [`Subject`] and one line in a test below.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fluxlimit::algorithm::State;
use fluxlimit::engine::{Key, Outcome, Settlement, settle};
use fluxlimit::limit::Limit;
use fluxlimit::store::memory::{MemoryStore, Settings};
use fluxlimit::store::{Settling, Store};
use fluxlimit::time::{ManualClock, Timestamp};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use tokio::runtime::Runtime;

use crate::settlements::{Script, scripts};
use crate::steps::{START_MS, config};

/// A store under test, with its clock in our hands.
pub(crate) trait Subject {
    fn store(&self) -> &dyn Store;

    /// Puts the store's clock, which may stand still and run back.
    fn set_clock(&self, now: Timestamp);

    /// What is stored under a key; a state that equals no state may be there or not.
    async fn state(&self, key: &Key) -> Option<State>;
}

/// Runs `cases` random scripts on `subject`, each in a domain of its own.
pub(crate) fn conforms(runtime: &Runtime, subject: &impl Subject, cases: u32) {
    let mut runner = TestRunner::new(ProptestConfig { cases, ..config() });
    let run = runner.run(&scripts(), |script| runtime.block_on(run(subject, &script, &domain())));
    run.unwrap_or_else(|failure| panic!("{failure}"));
}

pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// A name that nobody else has.
pub(crate) fn domain() -> String {
    static DOMAINS: AtomicUsize = AtomicUsize::new(0);
    format!("conformance-{}-{}", std::process::id(), DOMAINS.fetch_add(1, Ordering::Relaxed))
}

pub(crate) async fn run(subject: &impl Subject, script: &Script, domain: &str) -> Result<(), TestCaseError> {
    let keys = script.keys(domain);
    let mut engine = Engine::default();
    let mut now_ms = START_MS;
    for (index, ask) in script.asks.iter().enumerate() {
        now_ms = now_ms.saturating_add_signed(ask.moves_ms);
        let now = Timestamp::from_ms(now_ms);
        subject.set_clock(now);
        let settlement = script.settlement(domain, ask);
        let expected = engine.settle(&settlement, now);
        let found = answered(subject.store().settle(&settlement)).await?;
        prop_assert_eq!(found, expected, "outcome of ask {}", index);
        for (key, limit) in &keys {
            let (found, expected) = (subject.state(key).await, engine.states.get(key).cloned());
            let (found, expected) = (live(found, limit, now), live(expected, limit, now));
            prop_assert_eq!(found, expected, "{:?} after ask {}", key, index);
        }
    }
    Ok(())
}

pub(crate) async fn answered(settling: Settling) -> Result<Outcome, TestCaseError> {
    settling.outcome().await.map_err(|error| TestCaseError::fail(format!("no answer: {error}")))
}

pub(crate) fn live(state: Option<State>, limit: &Limit, now: Timestamp) -> Option<State> {
    state.filter(|state| state.reset_ms(limit, now) > 0)
}

/// What a store should be: the pure `settle` on a map.
#[derive(Default)]
pub(crate) struct Engine {
    pub(crate) states: HashMap<Key, State>,
}

impl Engine {
    pub(crate) fn settle(&mut self, settlement: &Settlement, now: Timestamp) -> Outcome {
        let stored: Vec<Option<&State>> = settlement.keys().map(|key| self.states.get(key)).collect();
        let (outcome, writes) = settle(settlement, now, &stored);
        for write in writes {
            self.states.insert(settlement.first_charge(write.slot).key.clone(), write.state);
        }
        outcome
    }
}

#[derive(Debug)]
struct Memory {
    clock: Arc<ManualClock>,
    store: MemoryStore,
}

impl Memory {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::default());
        Self { store: MemoryStore::new(Settings::default(), clock.clone()), clock }
    }
}

impl Subject for Memory {
    fn store(&self) -> &dyn Store {
        &self.store
    }

    fn set_clock(&self, now: Timestamp) {
        self.clock.set(now);
    }

    async fn state(&self, key: &Key) -> Option<State> {
        self.store.state(key)
    }
}

#[test]
fn the_memory_store_agrees_with_the_engine() {
    conforms(&runtime(), &Memory::new(), 1000);
}
