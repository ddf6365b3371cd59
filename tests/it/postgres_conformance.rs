//! The Postgres store against the engine: one settlement a batch, and several a batch.

use std::sync::Arc;

use fluxlimit::algorithm::State;
use fluxlimit::engine::{Key, Settlement};
use fluxlimit::store::Store;
use fluxlimit::store::postgres::{PostgresStore, Settings};
use fluxlimit::time::{ManualClock, Timestamp};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::conformance::{Engine, Subject, conforms, domain, live, runtime};
use crate::settlements::{Script, scripts};
use crate::steps::{START_MS, config};
use crate::support::{Nobody, Postgres};

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
        let defaults = Settings::of(&server.url()).unwrap();
        let settings = Settings { connections: 1, timeout_ms: 10_000, ..defaults };
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
