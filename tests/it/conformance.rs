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
use fluxlimit::store::memory::{self, MemoryStore};
use fluxlimit::store::postgres::{self, PostgresStore};
use fluxlimit::store::{Observer, RoundTrip, Store};
use fluxlimit::time::{ManualClock, Timestamp};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::settlements::{Script, scripts};
use crate::steps::{START_MS, config};
use crate::support::Postgres;

/// A store under test, with its clock in our hands.
trait Subject {
    fn store(&self) -> &dyn Store;

    /// Puts the store's clock, which may stand still and run back.
    fn set_clock(&self, now: Timestamp);

    /// What is stored under a key; a state that equals no state may be there or not.
    async fn state(&self, key: &Key) -> Option<State>;
}

/// Runs `cases` random scripts on `subject`, each in a domain of its own.
fn conforms(subject: &impl Subject, cases: u32) {
    conforms_by(subject, cases, &run);
}

fn conforms_by<S: Subject>(subject: &S, cases: u32, run: &impl AsyncFn(&S, &Script, &str)) {
    static DOMAINS: AtomicUsize = AtomicUsize::new(0);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut runner = TestRunner::new(ProptestConfig { cases, ..config() });
    let ran = runner.run(&scripts(), |script| {
        let domain =
            format!("conformance-{}-{}", std::process::id(), DOMAINS.fetch_add(1, Ordering::Relaxed));
        runtime.block_on(run(subject, &script, &domain));
        Ok(())
    });
    ran.unwrap_or_else(|failure| panic!("{failure}"));
}

async fn run(subject: &impl Subject, script: &Script, domain: &str) {
    let keys = script.keys(domain);
    let mut engine = Engine::default();
    let mut now_ms = START_MS;
    for (index, ask) in script.asks.iter().enumerate() {
        now_ms = now_ms.saturating_add_signed(ask.moves_ms);
        let now = Timestamp::from_ms(now_ms);
        subject.set_clock(now);
        let settlement = script.settlement(domain, ask);
        let expected = engine.settle(&settlement, now);
        let found = subject.store().settle(&settlement).outcome().await.expect("the store answers");
        assert_eq!(found, expected, "outcome of ask {index}");
        for (key, limit) in &keys {
            let (found, expected) = (subject.state(key).await, engine.states.get(key).cloned());
            assert_eq!(live(found, limit, now), live(expected, limit, now), "{key:?} after ask {index}");
        }
    }
}

fn live(state: Option<State>, limit: &Limit, now: Timestamp) -> Option<State> {
    state.filter(|state| state.reset_ms(limit, now) > 0)
}

/// What a store should be: the pure `settle` on a map.
#[derive(Default)]
struct Engine {
    states: HashMap<Key, State>,
}

impl Engine {
    fn settle(&mut self, settlement: &Settlement, now: Timestamp) -> Outcome {
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
        Self { store: MemoryStore::new(memory::Settings::default(), clock.clone()), clock }
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
    conforms(&Memory::new(), 1000);
}

/// Hears nothing.
#[derive(Debug)]
struct Deaf;

impl Observer for Deaf {
    fn ended(&self, _: &RoundTrip<'_>) {}
}

#[derive(Debug)]
struct Remote {
    clock: Arc<ManualClock>,
    store: PostgresStore,
    _server: Postgres,
    /// Where the tasks of the store run.
    _runtime: tokio::runtime::Runtime,
}

impl Remote {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let clock = Arc::new(ManualClock::at(Timestamp::from_ms(START_MS)));
        let server = runtime.block_on(Postgres::start());
        // One connection, so that settlements are applied in the order in which they are asked.
        let defaults = postgres::Settings::of(&server.url()).unwrap();
        let settings = postgres::Settings { connections: 1, timeout_ms: 10_000, ..defaults };
        let store =
            runtime.block_on(async { PostgresStore::with_clock(&settings, Arc::new(Deaf), clock.clone()) });
        Self { clock, store, _server: server, _runtime: runtime }
    }
}

impl Subject for Remote {
    fn store(&self) -> &dyn Store {
        &self.store
    }

    fn set_clock(&self, now: Timestamp) {
        self.clock.set(now);
    }

    async fn state(&self, key: &Key) -> Option<State> {
        self.store.state(key).await.expect("the database answers")
    }
}

#[test]
fn the_postgres_store_agrees_with_the_engine() {
    conforms(&Remote::new(), 300);
}

/// All requests of a script at once, so that they go together.
async fn run_at_once(subject: &impl Subject, script: &Script, domain: &str) {
    let now = Timestamp::from_ms(START_MS);
    subject.set_clock(now);
    let mut engine = Engine::default();
    let settlements: Vec<Settlement> = script.asks.iter().map(|ask| script.settlement(domain, ask)).collect();
    let asked: Vec<_> = settlements.iter().map(|settlement| subject.store().settle(settlement)).collect();
    for (index, (settlement, asked)) in settlements.iter().zip(asked).enumerate() {
        let found = asked.outcome().await.expect("the store answers");
        assert_eq!(found, engine.settle(settlement, now), "outcome of ask {index}");
    }
    for (key, limit) in &script.keys(domain) {
        let (found, expected) = (subject.state(key).await, engine.states.get(key).cloned());
        assert_eq!(live(found, limit, now), live(expected, limit, now), "{key:?}");
    }
}

#[test]
fn requests_that_go_to_postgres_together_are_applied_one_after_the_other() {
    conforms_by(&Remote::new(), 100, &run_at_once);
}
