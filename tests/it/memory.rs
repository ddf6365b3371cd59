//! The memory store: many threads, sweeping, the bound on keys.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fluxlimit::algorithm::State;
use fluxlimit::engine::{Charge, Group, Identity, Key, Outcome, Settlement};
use fluxlimit::limit::{Algorithm, Limit, LimitSpec, Unit};
use fluxlimit::store::memory::{MemoryStore, Settings};
use fluxlimit::store::{Settling, Store};
use fluxlimit::time::{ManualClock, Timestamp};

use crate::steps::{START_MS, limit};

/// A store of at most `max_keys` and the clock that it runs on.
fn store(max_keys: usize) -> (MemoryStore, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::at(Timestamp::from_ms(START_MS)));
    (MemoryStore::new(Settings { max_keys, ..Settings::default() }, clock.clone()), clock)
}

fn per_hour(algorithm: Algorithm, count: u32) -> Limit {
    limit(LimitSpec::new(algorithm, count, Unit::Hour))
}

fn key(name: usize, limit: &Limit) -> Key {
    let mut identity = Identity::of(b"d", 0);
    identity.entry(b"name", name.to_string().as_bytes());
    identity.into_key(limit, false)
}

/// One hit on each of those names, all held against one limit of a rule.
fn hit_each(names: &[usize], limit: &Limit) -> Settlement {
    let charges = names.iter().map(|name| Charge {
        key: key(*name, limit),
        limit: *limit,
        hits: 1,
        shadow: false,
        mark: false,
        limit_id: 7,
    });
    let groups = names.iter().map(|_| Group { charges: 1, quota: false, tag: None });
    Settlement::new(charges.collect(), groups.collect())
}

fn settle(store: &MemoryStore, settlement: &Settlement) -> Outcome {
    match store.settle(settlement) {
        Settling::Ready(outcome) => outcome.expect("memory always answers"),
        Settling::Later(_) => unreachable!("memory never waits"),
    }
}

/// How many requests pass of those that `threads` threads send, each `requests` times the names that
/// `names` gives to its thread and round.
fn admitted(
    store: &MemoryStore,
    limit: &Limit,
    (threads, requests): (usize, usize),
    names: impl Fn(usize, usize) -> Vec<usize> + Sync,
) -> u64 {
    let passed = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (passed, names) = (&passed, &names);
            scope.spawn(move || {
                for round in 0..requests {
                    let outcome = settle(store, &hit_each(&names(thread, round), limit));
                    passed.fetch_add(u64::from(!outcome.refused), Ordering::Relaxed);
                }
            });
        }
    });
    passed.into_inner()
}

#[test]
fn many_threads_are_admitted_exactly_the_limit() {
    for algorithm in Algorithm::ALL {
        let spec = LimitSpec::new(algorithm, 1000, Unit::Hour);
        let burst = algorithm.is_bucket().then_some(1000);
        let (store, _) = store(100_000);
        // Odd threads ask for the keys in the opposite order, so careless locks would block each other.
        let passed = admitted(&store, &limit(LimitSpec { burst, ..spec }), (8, 500), |thread, _| {
            if thread % 2 == 0 { vec![1, 2, 3, 4, 5] } else { vec![5, 4, 3, 2, 1] }
        });
        assert_eq!(passed, 1000, "{algorithm:?}");
    }
}

#[test]
fn a_request_that_one_key_refuses_takes_nothing_from_its_other_keys() {
    let (store, _) = store(100_000);
    let limit = per_hour(Algorithm::FixedWindow, 100);
    // Every request hits key 0, and one of eight others.
    let passed = admitted(&store, &limit, (8, 100), |thread, _| vec![thread + 1, 0]);
    assert_eq!(passed, 100);
    let used = |name: usize| match store.state(&key(name, &limit)) {
        Some(State::FixedWindow(window)) => window.used,
        _ => 0,
    };
    assert_eq!((used(0), (1..=8).map(used).sum::<u64>()), (100, 100));
}

#[test]
fn what_equals_no_state_is_swept_and_what_lives_stays() {
    let (store, clock) = store(10_000);
    let (second, hour) =
        (limit(LimitSpec::new(Algorithm::FixedWindow, 5, Unit::Second)), per_hour(Algorithm::FixedWindow, 5));
    let sweep = || (0..store.shards()).for_each(|_| store.sweep_next());
    for name in 0..1000 {
        settle(&store, &hit_each(&[name], &second));
        settle(&store, &hit_each(&[name], &hour));
    }
    // A minute of slack, because clocks may run back a little.
    clock.advance_ms(60_999);
    sweep();
    assert_eq!(store.len(), 2000);
    clock.advance_ms(1);
    sweep();
    assert_eq!(store.len(), 1000);
    assert!((0..1000).all(|name| store.state(&key(name, &hour)).is_some()));
}

#[test]
fn no_more_keys_are_kept_than_the_bound_and_one_overflow_key_per_limit() {
    let (store, _) = store(3000);
    let limit = per_hour(Algorithm::FixedWindow, 5);
    for name in 0..10_000 {
        settle(&store, &hit_each(&[name], &limit));
    }
    assert_eq!((store.max_keys(), store.len()), (3000, 3001));
}

#[test]
fn several_new_keys_of_one_request_do_not_break_the_bound() {
    // Bug: each of them was let in because there was room for one.
    let (store, _) = store(3);
    let limit = per_hour(Algorithm::FixedWindow, 5);
    let outcome = settle(&store, &hit_each(&[1, 2, 3, 4, 5], &limit));
    assert_eq!((store.len(), outcome.overflowed.as_slice()), (4, &[3, 4][..]));
}

#[test]
fn many_threads_do_not_break_the_bound() {
    let (store, _) = store(2048);
    let limit = per_hour(Algorithm::FixedWindow, 50_000);
    admitted(&store, &limit, (4, 1000), |thread, round| {
        (0..3).map(|place| thread * 10_000 + round * 3 + place).collect()
    });
    assert_eq!(store.len(), store.max_keys() + 1);
}

#[test]
fn a_live_state_is_never_evicted_and_the_new_keys_of_a_limit_share_its_count() {
    let (store, _) = store(2);
    let limit = per_hour(Algorithm::FixedWindow, 3);
    settle(&store, &hit_each(&[1, 2], &limit));
    let new = |name: usize| {
        let outcome = settle(&store, &hit_each(&[name], &limit));
        (!outcome.refused, outcome.overflowed.to_vec())
    };
    let (overflowed, passed): (Vec<_>, Vec<_>) = (3..9).map(new).map(|(a, b)| (b, a)).unzip();
    assert_eq!(passed, [true, true, true, false, false, false]);
    assert!(overflowed.iter().all(|charges| charges == &[0]));
    // Those that were there go on counting on their own.
    assert_eq!(new(1), (true, vec![]));
    assert_eq!((settle(&store, &hit_each(&[1, 2], &limit)).refused, store.len()), (false, 3));
}

#[test]
fn overflow_keys_take_no_room_from_others() {
    // Bug: a limit's overflow key, kept alive by its own traffic, kept the place of a key for ever.
    let (store, clock) = store(1);
    let limits = [Algorithm::FixedWindow, Algorithm::SlidingWindow].map(|algorithm| per_hour(algorithm, 9));
    settle(&store, &hit_each(&[1], &limit(LimitSpec::new(Algorithm::FixedWindow, 5, Unit::Second))));
    for limit in &limits {
        assert_eq!(settle(&store, &hit_each(&[2], limit)).overflowed.as_slice(), [0]);
    }
    clock.advance_ms(120_000);
    assert!(settle(&store, &hit_each(&[3], &limits[0])).overflowed.is_empty());
    assert_eq!(store.len(), 3);
}

#[test]
fn a_full_store_takes_new_keys_again_once_old_ones_are_gone() {
    let (store, clock) = store(2);
    let limit = limit(LimitSpec::new(Algorithm::FixedWindow, 3, Unit::Second));
    settle(&store, &hit_each(&[1, 2], &limit));
    assert_eq!(settle(&store, &hit_each(&[3], &limit)).overflowed.as_slice(), [0]);
    clock.advance_ms(62_000);
    assert!(settle(&store, &hit_each(&[3, 4], &limit)).overflowed.is_empty());
}

#[test]
fn a_shard_may_grow_while_one_settlement_inserts_and_updates() {
    // All keys in one shard, half of them known: the table moves between the writes.
    let (store, _) = store(1024);
    assert_eq!(store.shards(), 1);
    let limit = per_hour(Algorithm::FixedWindow, 1000);
    let mut hits = 0;
    for width in [1, 2, 4, 8, 16, 32, 64] {
        let names: Vec<usize> = (0..width).rev().collect();
        settle(&store, &hit_each(&names, &limit));
        hits += 1;
        let State::FixedWindow(oldest) = store.state(&key(0, &limit)).unwrap() else { unreachable!() };
        assert_eq!((oldest.used, store.len()), (hits, width));
    }
}
