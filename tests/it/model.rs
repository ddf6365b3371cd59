//! The request policy, written down a second time from the words of the design and as slowly as it reads,
//! and held against the engine.

use std::collections::HashMap;

use fluxlimit::algorithm::{State, Verdict, keeps_state, step};
use fluxlimit::engine::{Charge, Key, Settlement, settle};
use fluxlimit::time::Timestamp;
use proptest::prelude::*;

use crate::keys::check_wait;
use crate::settlements::requests;
use crate::steps::{self, START_MS};

type States = HashMap<Key, State>;

/// Whether the request is refused, the verdict of each charge, and the states afterwards.
fn policy(settlement: &Settlement, now: Timestamp, stored: &States) -> (bool, Vec<Verdict>, States) {
    let charges = settlement.charges();
    // First, each charge is tried on what the allowed and the `count_refused` charges before it left.
    let mut tried = stored.clone();
    let trials: Vec<Verdict> = charges
        .iter()
        .map(|charge| {
            let (verdict, next) = step(&charge.limit, tried.get(&charge.key), now, charge.hits);
            tried.extend(next.map(|next| (charge.key.clone(), next)));
            verdict
        })
        .collect();
    let groups: Vec<_> = settlement.groups().collect();
    let descriptor_refused: Vec<bool> = groups
        .iter()
        .map(|(_, range)| range.clone().any(|index| !trials[index].allowed && !charges[index].shadow))
        .collect();
    let of = |quota: bool| -> Vec<bool> {
        let groups = groups.iter().zip(&descriptor_refused);
        groups.filter(|((group, _), _)| group.quota == quota).map(|(_, refused)| *refused).collect()
    };
    let (enforced, quotas) = (of(false), of(true));
    let quota_refuses =
        !quotas.is_empty() && quotas.iter().all(|refused| *refused) && !settlement.quota_passes;
    let over = enforced.contains(&true) || quota_refuses;
    let refused = settlement.refused || (over && !settlement.global_shadow);

    // Then, from what was stored, what is owed is booked.
    let mut states = stored.clone();
    let mut unpaid: HashMap<&Key, i64> = HashMap::new();
    let mut verdicts = Vec::new();
    for ((_, range), descriptor_refused) in groups.iter().zip(&descriptor_refused) {
        for index in range.clone() {
            let charge = &charges[index];
            let pays = !refused && (settlement.global_shadow || !descriptor_refused);
            let owed = charge.hits < 0 || charge.limit.count_refused() || (pays && trials[index].allowed);
            if owed {
                book(charge, now, &mut states);
            }
            let state = State::at(&charge.limit, states.get(&charge.key), now);
            let unpaid = unpaid.entry(&charge.key).or_default();
            let retry_after_ms = state.wait_ms(&charge.limit, now, charge.hits + *unpaid);
            *unpaid += if owed { 0 } else { charge.hits };
            verdicts.push(Verdict {
                allowed: trials[index].allowed,
                available: trials[index].available,
                remaining: state.remaining(&charge.limit),
                retry_after_ms: if trials[index].allowed { Some(0) } else { retry_after_ms },
                reset_after_ms: state.reset_ms(&charge.limit, now),
            });
        }
    }
    (refused, verdicts, states)
}

fn book(charge: &Charge, now: Timestamp, states: &mut States) {
    if charge.hits == 0 || !keeps_state(&charge.limit) {
        return;
    }
    let mut state = State::at(&charge.limit, states.get(&charge.key), now);
    state.book(&charge.limit, charge.hits);
    states.insert(charge.key.clone(), state);
}

/// Applies the engine's writes, and says which keys they are of.
fn apply(settlement: &Settlement, now: Timestamp, states: &mut States) -> (bool, Vec<Verdict>, Vec<Key>) {
    let stored: Vec<Option<&State>> = settlement.keys().map(|key| states.get(key)).collect();
    let (outcome, writes) = settle(settlement, now, &stored);
    let mut written = Vec::new();
    for write in writes {
        let charge = settlement.first_charge(write.slot);
        assert_eq!(write.reset_after_ms, write.state.reset_ms(&charge.limit, now));
        states.insert(charge.key.clone(), write.state);
        written.push(charge.key.clone());
    }
    (outcome.refused, outcome.verdicts.to_vec(), written)
}

/// A state that lies too far ahead of the clock is moved back and stored whatever is booked.
fn move_back(settlement: &Settlement, now: Timestamp, states: &mut States) {
    for charge in settlement.charges() {
        let stored = states.get(&charge.key);
        let ahead = stored.is_some_and(|state| state.is_too_far_ahead(&charge.limit, now));
        if ahead && keeps_state(&charge.limit) {
            let moved = State::at(&charge.limit, stored, now);
            states.insert(charge.key.clone(), moved);
        }
    }
}

proptest! {
    #![proptest_config(steps::config())]

    #[test]
    fn the_engine_does_what_the_policy_says(script in requests()) {
        let (mut states, mut now_ms) = (States::new(), START_MS);
        for ask in &script.asks {
            now_ms = now_ms.saturating_add_signed(ask.moves_ms);
            let now = Timestamp::from_ms(now_ms);
            let settlement = script.settlement("d", ask);
            move_back(&settlement, now, &mut states);
            let (refused, verdicts, expected) = policy(&settlement, now, &states);
            let (found_refused, found, _) = apply(&settlement, now, &mut states);
            prop_assert_eq!((found_refused, found), (refused, verdicts));
            prop_assert_eq!(&states, &expected);
        }
    }

    /// The same key twice in one request: for its hits and the unpaid hits before them.
    #[test]
    fn retry_after_is_exact_within_a_request(script in requests()) {
        let (mut states, mut now_ms) = (States::new(), START_MS);
        for ask in &script.asks {
            now_ms = now_ms.saturating_add_signed(ask.moves_ms);
            let now = Timestamp::from_ms(now_ms);
            let settlement = script.settlement("d", ask);
            let (refused, verdicts, _) = apply(&settlement, now, &mut states);
            if !refused || settlement.refused {
                continue;
            }
            let charges = settlement.charges();
            for (index, (charge, verdict)) in charges.iter().zip(&verdicts).enumerate() {
                // With a later booking on the same key, its own wait is no longer the whole of it.
                let same = |other: &&Charge| other.key == charge.key && other.hits != 0;
                let books = |other: &&Charge| other.hits < 0 || other.limit.count_refused();
                if verdict.allowed || charges[index + 1..].iter().filter(same).any(|other| books(&other)) {
                    continue;
                }
                let before = charges[..index].iter().filter(same).filter(|other| !books(other));
                let hits = charge.hits + before.map(|other| other.hits).sum::<i64>();
                let key = steps::Key { now_ms, stored: states.get(&charge.key).cloned() };
                check_wait(&charge.limit, &key, hits, verdict.retry_after_ms);
            }
        }
    }

    #[test]
    fn a_request_is_charged_whole_or_not_at_all(script in requests()) {
        let (mut states, mut now_ms) = (States::new(), START_MS);
        for ask in &script.asks {
            now_ms = now_ms.saturating_add_signed(ask.moves_ms);
            let now = Timestamp::from_ms(now_ms);
            let settlement = script.settlement("d", ask);
            move_back(&settlement, now, &mut states);
            let (refused, verdicts, written) = apply(&settlement, now, &mut states);
            let charges = settlement.charges();
            if refused {
                let owing = charges.iter().filter(|charge| charge.hits < 0 || charge.limit.count_refused());
                let owing: Vec<&Key> = owing.map(|charge| &charge.key).collect();
                prop_assert!(written.iter().all(|key| owing.contains(&key)), "a refused request costs");
            } else if verdicts.iter().all(|verdict| verdict.allowed) {
                let paying = charges.iter().filter(|charge| charge.hits != 0 && keeps_state(&charge.limit));
                prop_assert!(paying.into_iter().all(|charge| written.contains(&charge.key)), "a free hit");
            }
        }
    }
}
