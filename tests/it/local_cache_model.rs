//! Random requests with the cache in front of a store, held against the store alone.

use std::collections::HashMap;
use std::sync::Arc;

use fluxlimit::algorithm::State;
use fluxlimit::engine::{Key, Outcome, Settlement, settle};
use fluxlimit::limiter::cache::{Asked, LocalCache, Settings};
use fluxlimit::time::{ManualClock, Timestamp};
use proptest::prelude::*;

use crate::settlements::{Script, requests};
use crate::steps::{START_MS, config};

/// Floods for each property.
const CASES: u32 = 400;

/// The pure engine on a map, and caches in front of it: one for each replica.
struct Site {
    clock: Arc<ManualClock>,
    states: HashMap<Key, State>,
    replicas: Vec<LocalCache>,
    /// How many questions were answered from memory.
    remembered: usize,
}

impl Site {
    fn new(replicas: usize) -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp::from_ms(START_MS)));
        let cache = |_| LocalCache::new(Settings::default(), clock.clone()).unwrap();
        Self { replicas: (0..replicas).map(cache).collect(), states: HashMap::new(), remembered: 0, clock }
    }

    /// What the store would answer now, and what it would keep.
    fn truth(&self, settlement: &Settlement, now: Timestamp) -> (Outcome, Vec<(Key, State)>) {
        let stored: Vec<Option<&State>> = settlement.keys().map(|key| self.states.get(key)).collect();
        let (outcome, writes) = settle(settlement, now, &stored);
        let writes = writes.into_iter();
        (
            outcome,
            writes.map(|write| (settlement.first_charge(write.slot).key.clone(), write.state)).collect(),
        )
    }

    /// What is answered, and what the store would have answered.
    fn ask(&mut self, replica: usize, mut settlement: Settlement, now: Timestamp) -> (Outcome, Outcome) {
        self.clock.set(now);
        let (truth, writes) = self.truth(&settlement, now);
        match self.replicas[replica].ask(&mut settlement) {
            Asked::Refused(outcome) => {
                self.remembered += 1;
                (outcome, truth)
            }
            Asked::Store(asking) => {
                asking.learn(&settlement, &truth);
                drop(asking);
                self.states.extend(writes);
                (truth.clone(), truth)
            }
        }
    }
}

/// Rules, a few requests on them that are made again and again, and by whom.
#[derive(Debug, Clone)]
struct Flood {
    script: Script,
    /// Which request is made, by which replica, and after how many milliseconds.
    turns: Vec<(usize, usize, u64)>,
}

fn floods() -> impl Strategy<Value = Flood> {
    let turns = prop::collection::vec((any::<usize>(), 0..2_usize, waits_ms()), 20..80);
    (requests(), turns).prop_flat_map(|(script, turns)| {
        let hits = prop::collection::vec(prop::collection::vec(0..16_usize, 5), script.asks.len());
        (Just(script), Just(turns), hits).prop_map(|(mut script, turns, hits)| {
            for (ask, hits) in script.asks.iter_mut().zip(hits) {
                ask.descriptors.truncate(2);
                for ((rule, of), choice) in ask.descriptors.iter_mut().zip(hits) {
                    let most = i64::try_from(script.rules[*rule].limits[0].0.capacity()).unwrap_or(i64::MAX);
                    let usual = [0, 1, 2, most / 2, most, most + 1, -1, -most];
                    *of = usual.get(choice).copied().unwrap_or(1);
                }
            }
            script.asks.truncate(4);
            Flood { script, turns }
        })
    })
}

/// Mostly so short that refusals are still known.
fn waits_ms() -> impl Strategy<Value = u64> {
    prop_oneof![2 => Just(0), 6 => 0..100_u64, 2 => 0..1500_u64]
}

impl Flood {
    /// Each request, who makes it, and when.
    fn requests(&self) -> impl Iterator<Item = (Settlement, usize, Timestamp)> {
        let mut now_ms = START_MS;
        self.turns.iter().map(move |(ask, replica, wait_ms)| {
            now_ms += wait_ms;
            let ask = &self.script.asks[ask % self.script.asks.len()];
            (self.script.settlement("cache", ask), *replica, Timestamp::from_ms(now_ms))
        })
    }
}

/// Runs so many floods, and says how often something was seen in them.
fn run(cases: u32, flood: impl Fn(&Flood) -> Result<usize, TestCaseError>) -> usize {
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig { cases, ..config() });
    let seen = std::cell::Cell::new(0);
    let run = runner.run(&floods(), |script| {
        seen.set(seen.get() + flood(&script)?);
        Ok(())
    });
    run.unwrap_or_else(|failure| panic!("{failure}"));
    seen.get()
}

/// What is answered in place of the truth: the same codes, and a wait that is not too long.
fn check_same(answered: &Outcome, truth: &Outcome) -> Result<(), TestCaseError> {
    prop_assert_eq!(answered.refused, truth.refused);
    for (answered, truth) in answered.verdicts.iter().zip(&truth.verdicts) {
        prop_assert_eq!(answered.allowed, truth.allowed);
        let wait_ms = answered.retry_after_ms.unwrap_or(u64::MAX);
        prop_assert!(wait_ms > 0 || answered.allowed);
        prop_assert!(wait_ms <= truth.retry_after_ms.unwrap_or(u64::MAX));
    }
    Ok(())
}

#[test]
fn one_server_answers_the_same_with_the_cache_as_without() {
    let remembered = run(CASES, |flood| {
        let mut site = Site::new(1);
        for (settlement, _, now) in flood.requests() {
            let (answered, truth) = site.ask(0, settlement, now);
            check_same(&answered, &truth)?;
        }
        Ok(site.remembered)
    });
    assert!(remembered > 100, "only {remembered} answers came from memory");
}

#[test]
fn of_two_servers_each_refuses_too_long_only_for_a_second_after_the_other_gave_back() {
    let wrong = run(CASES, |flood| {
        let mut site = Site::new(2);
        // For each key, when each replica gave back on it last.
        let mut given_back: HashMap<(Key, usize), u64> = HashMap::new();
        let mut wrong = 0;
        for (settlement, replica, now) in flood.requests() {
            let (answered, truth) = site.ask(replica, settlement.clone(), now);
            let excused = |key: &Key| {
                let at_ms = given_back.get(&(key.clone(), 1 - replica));
                at_ms.is_some_and(|at_ms| now.ms() - at_ms < 1000)
            };
            let verdicts = answered.verdicts.iter().zip(&truth.verdicts).zip(settlement.charges());
            let mut is_wrong = false;
            for ((answered, truth), charge) in verdicts {
                prop_assert!(truth.allowed || !answered.allowed, "admitted what is over the limit");
                prop_assert!(answered.allowed || !truth.allowed || excused(&charge.key), "refused too long");
                is_wrong |= answered.allowed != truth.allowed;
            }
            prop_assert!(is_wrong || answered.refused == truth.refused);
            wrong += usize::from(is_wrong);
            for charge in settlement.charges().iter().filter(|charge| charge.hits < 0) {
                given_back.insert((charge.key.clone(), replica), now.ms());
            }
        }
        Ok(wrong)
    });
    assert!(wrong > 0, "nothing was ever given back at the other server");
}
