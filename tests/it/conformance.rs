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
use fluxlimit::store::postgres::{self, PostgresStore};
use fluxlimit::store::redis::{self, RedisStore};
use fluxlimit::store::{Observer, RoundTrip, Store};
use fluxlimit::time::{ManualClock, Timestamp};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use tokio::runtime::Runtime;

use crate::settlements::{Script, scripts};
use crate::steps::{START_MS, config};
use crate::support::{Postgres, Redis};

/// A store under test, with its clock in our hands.
trait Subject {
    fn store(&self) -> &dyn Store;

    /// Puts the store's clock, which may stand still and run back.
    fn set_clock(&self, now: Timestamp);

    /// What is stored under a key; a state that equals no state may be there or not.
    async fn state(&self, key: &Key) -> Option<State>;
}

/// Runs `cases` random scripts on `subject`, each in a domain of its own.
fn conforms(runtime: &Runtime, subject: &impl Subject, cases: u32) {
    let mut runner = TestRunner::new(ProptestConfig { cases, ..config() });
    let run = runner.run(&scripts(), |script| runtime.block_on(run(subject, &script, &domain())));
    run.unwrap_or_else(|failure| panic!("{failure}"));
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// A name that nobody else has.
fn domain() -> String {
    static DOMAINS: AtomicUsize = AtomicUsize::new(0);
    format!("conformance-{}-{}", std::process::id(), DOMAINS.fetch_add(1, Ordering::Relaxed))
}

async fn run(subject: &impl Subject, script: &Script, domain: &str) -> Result<(), TestCaseError> {
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
        prop_assert_eq!(found, expected, "outcome of ask {}", index);
        for (key, limit) in &keys {
            let (found, expected) = (subject.state(key).await, engine.states.get(key).cloned());
            let (found, expected) = (live(found, limit, now), live(expected, limit, now));
            prop_assert_eq!(found, expected, "{:?} after ask {}", key, index);
        }
    }
    Ok(())
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

/// A Redis of its own, asked with the time of the test.
#[derive(Debug)]
struct Shared {
    clock: Arc<ManualClock>,
    store: RedisStore,
    _server: Redis,
}

impl Shared {
    async fn start() -> Self {
        Self::with_script(RedisStore::script()).await
    }

    async fn with_script(script: &str) -> Self {
        let server = Redis::start().await;
        let settings = redis::Settings::from_url(&server.url()).unwrap();
        // Nothing is asserted on how fast it is.
        let settings = redis::Settings { timeout_ms: 20_000, ..settings };
        let clock = Arc::new(ManualClock::default());
        let store = RedisStore::with_script(&settings, Arc::new(Nobody), Some(clock.clone()), script);
        Self { clock, store, _server: server }
    }
}

/// Hears nothing.
#[derive(Debug)]
struct Nobody;

impl Observer for Nobody {
    fn ended(&self, _: &RoundTrip<'_>) {}
}

impl Subject for Shared {
    fn store(&self) -> &dyn Store {
        &self.store
    }

    fn set_clock(&self, now: Timestamp) {
        self.clock.set(now);
    }

    async fn state(&self, key: &Key) -> Option<State> {
        self.store.state(key).await.expect("a state of this version")
    }
}

#[test]
fn the_redis_store_agrees_with_the_engine() {
    let runtime = runtime();
    let redis = runtime.block_on(Shared::start());
    conforms(&runtime, &redis, 2000);
}

#[derive(Debug)]
struct Remote {
    clock: Arc<ManualClock>,
    store: PostgresStore,
    _server: Postgres,
}

impl Remote {
    async fn start() -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp::from_ms(START_MS)));
        let server = Postgres::start().await;
        // One connection, so that settlements are applied in the order in which they are asked.
        let defaults = postgres::Settings::of(&server.url()).unwrap();
        let settings = postgres::Settings { connections: 1, timeout_ms: 10_000, ..defaults };
        let store = PostgresStore::with_clock(&settings, Arc::new(Nobody), clock.clone());
        Self { clock, store, _server: server }
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
    let runtime = runtime();
    let postgres = runtime.block_on(Remote::start());
    conforms(&runtime, &postgres, 300);
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
    let runtime = runtime();
    let postgres = runtime.block_on(Remote::start());
    let mut runner = TestRunner::new(ProptestConfig { cases: 100, ..config() });
    let run = runner.run(&scripts(), |script| {
        runtime.block_on(run_at_once(&postgres, &script, &domain()));
        Ok(())
    });
    run.unwrap_or_else(|failure| panic!("{failure}"));
}
