//! The suite of the stores, for a cluster: requests over several slots come to what one step comes to, as
//! long as nobody else asks.
//!
//! Unlike in [`crate::conformance`], the clock never runs back and states are compared as they are at the
//! present. What is booked and given back leaves a state whose time is that of the booking, where one step
//! would have written nothing; from then on both say the same.

use std::collections::HashMap;
use std::sync::Arc;

use fluxlimit::algorithm::State;
use fluxlimit::engine::{Key, Settlement, settle};
use fluxlimit::store::Store;
use fluxlimit::store::redis::cluster::ClusterStore;
use fluxlimit::time::{ManualClock, Timestamp};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::cluster::patient;
use crate::settlements::{Script, scripts};
use crate::steps::{START_MS, config};
use crate::support::{Cluster, Nobody};

const CASES: u32 = 400;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_agrees_with_the_engine() {
    let cluster = Cluster::start().await;
    let clock = Arc::new(ManualClock::default());
    let store = ClusterStore::with_clock(&patient(&cluster), Arc::new(Nobody), clock.clone());
    let handle = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || {
        let mut runner = TestRunner::new(ProptestConfig { cases: CASES, ..config() });
        let mut domains = 0;
        let ran = std::cell::RefCell::new(&mut domains);
        let run = runner.run(&scripts(), |script| {
            **ran.borrow_mut() += 1;
            let domain = format!("conformance-{}", ran.borrow());
            handle.block_on(run(&store, &clock, &script, &domain));
            Ok(())
        });
        run.unwrap_or_else(|failure| panic!("{failure}"));
    })
    .await
    .unwrap();
}

async fn run(store: &ClusterStore, clock: &ManualClock, script: &Script, domain: &str) {
    let keys = script.keys(domain);
    let mut states: HashMap<Key, State> = HashMap::new();
    let mut now_ms = START_MS;
    for (index, ask) in script.asks.iter().enumerate() {
        now_ms += ask.moves_ms.max(0).unsigned_abs();
        let now = Timestamp::from_ms(now_ms);
        clock.set(now);
        let mut settlement = script.settlement(domain, ask);
        if index % 3 == 0 {
            // What is expected changes the order of the steps and nothing else, also if it is wrong.
            settlement.expect_refusal(settlement.charges().len() - 1);
        }
        let expected = engine(&mut states, &settlement, now);
        let found = store.settle(&settlement).outcome().await.expect("the cluster answers");
        assert_eq!(found, expected, "outcome of ask {index}");
        for (key, limit) in &keys {
            let found = store.state(key).await.expect("the cluster answers");
            let present = |state: Option<&State>| State::at(limit, state, now);
            assert_eq!(present(found.as_ref()), present(states.get(key)), "{key:?} after ask {index}");
        }
    }
}

fn engine(
    states: &mut HashMap<Key, State>,
    settlement: &Settlement,
    now: Timestamp,
) -> fluxlimit::engine::Outcome {
    let stored: Vec<Option<&State>> = settlement.keys().map(|key| states.get(key)).collect();
    let (outcome, writes) = settle(settlement, now, &stored);
    for write in writes {
        states.insert(settlement.first_charge(write.slot).key.clone(), write.state);
    }
    outcome
}
