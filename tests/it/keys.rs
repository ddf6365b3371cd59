//! What holds for one key under every algorithm.

use fluxlimit::algorithm::{MAX_DURATION_MS, State, step};
use fluxlimit::limit::{Algorithm, Limit, MAX_AMOUNT};
use fluxlimit::time::Timestamp;
use proptest::prelude::*;

use crate::steps::{Event, Key, START_MS, asking_script, costs, hits, limits, script, states, with};

/// `hits` are refused one millisecond before the wait that `key` was told, and allowed at it.
pub(crate) fn check_wait(limit: &Limit, key: &Key, hits: i64, wait_ms: Option<u64>) {
    match wait_ms {
        None => assert!(hits.unsigned_abs() > limit.capacity(), "{hits} could pass some day"),
        Some(MAX_DURATION_MS) => {}
        Some(wait_ms) => {
            assert!(hits.unsigned_abs() <= limit.capacity(), "{hits} can never pass");
            assert!(wait_ms > 0, "a refusal has a wait");
            assert!(!key.peek(limit, wait_ms - 1, hits).allowed, "passes before its wait of {wait_ms}");
            assert!(key.peek(limit, wait_ms, hits).allowed, "refused after its wait of {wait_ms}");
        }
    }
}

proptest! {
    #![proptest_config(crate::steps::config())]

    #[test]
    fn retry_after_is_exact(
        (limit, (script, asked, moves_ms)) in with(limits(), |limit| {
            (script(limit), costs(limit), crate::steps::moves_ms(limit))
        }),
    ) {
        let mut key = Key::new();
        key.run(&limit, &script);
        let verdict = key.step(&limit, Event { moves_ms, hits: asked });
        if verdict.allowed {
            prop_assert_eq!(verdict.retry_after_ms, Some(0));
        } else {
            check_wait(&limit, &key, asked, verdict.retry_after_ms);
        }
    }

    #[test]
    fn a_reset_key_equals_a_new_key(
        (limit, (before, asked, later)) in with(limits(), |limit| {
            let period_ms = limit.period_ms();
            let later = prop::collection::vec((0..3 * period_ms, hits(limit)), 1..12);
            (script(limit), hits(limit), later)
        }),
    ) {
        let mut key = Key::new();
        key.run(&limit, &before);
        let reset_after_ms = key.step(&limit, Event { moves_ms: 0, hits: asked }).reset_after_ms;
        prop_assume!(reset_after_ms < MAX_DURATION_MS);
        let reset_ms = key.now_ms + reset_after_ms;
        let mut new = Key::default();
        for (after_ms, hits) in later {
            (key.now_ms, new.now_ms) = (reset_ms + after_ms, reset_ms + after_ms);
            let event = Event { moves_ms: 0, hits };
            prop_assert_eq!(key.step(&limit, event), new.step(&limit, event));
        }
    }

    #[test]
    fn a_clock_that_runs_back_gives_nothing(
        (limit, (script, back_ms)) in with(limits(), |limit| {
            (script(limit), 0..4 * limit.period_ms() + 200_000)
        }),
    ) {
        let mut key = Key::new();
        key.run(&limit, &script);
        let at = |ms: u64| State::at(&limit, key.stored.as_ref(), Timestamp::from_ms(ms));
        let (now, earlier) = (at(key.now_ms), at(key.now_ms - back_ms));
        if key.stored.is_some() {
            prop_assert!(earlier.remaining(&limit) <= now.remaining(&limit));
            prop_assert!(now.allows(&limit, 0) || !earlier.allows(&limit, 0));
        }
    }

    #[test]
    fn a_refused_hit_or_a_look_writes_nothing(
        (limit, (script, asked)) in with(limits(), |limit| (script(limit), costs(limit))),
    ) {
        let mut key = Key::new();
        key.run(&limit, &script);
        let (verdict, written) = step(&limit, key.stored.as_ref(), key.now(), asked);
        let moved = key.stored.as_ref().is_some_and(|state| state.is_too_far_ahead(&limit, key.now()));
        if !moved && (asked == 0 || !verdict.allowed && !limit.count_refused()) {
            prop_assert_eq!(written, None);
        }
    }

    #[test]
    fn looking_changes_no_later_answer(
        (limit, script) in with(limits(), asking_script),
    ) {
        let (mut looked_at, mut plain) = (Key::new(), Key::new());
        for event in script {
            looked_at.step(&limit, Event { hits: 0, ..event });
            let expected = plain.step(&limit, event);
            prop_assert_eq!(looked_at.step(&limit, Event { moves_ms: 0, ..event }), expected);
        }
    }

    #[test]
    fn giving_back_never_goes_beyond_full(
        (limit, script) in with(limits(), script),
        back in prop_oneof![0..20i64, 0..=i64::MAX],
    ) {
        let mut key = Key::new();
        key.run(&limit, &script);
        let verdict = key.step(&limit, Event { moves_ms: 0, hits: -back });
        prop_assert!(verdict.allowed || back == 0);
        prop_assert!(verdict.remaining <= limit.capacity());
        let above = limit.capacity().cast_signed() + 1;
        prop_assert!(!key.peek(&limit, 0, above).allowed, "more than full was given back");
        match key.stored {
            Some(State::TokenBucket(bucket)) => {
                let full = limit.capacity() * limit.period_ticks();
                prop_assert!(bucket.level <= full.cast_signed());
            }
            Some(State::LeakyBucket(bucket)) => prop_assert!(bucket.water >= 0),
            _ => {}
        }
    }

    #[test]
    fn every_step_is_total(
        (limit, stored, now_ms) in (limits(), any::<bool>()).prop_flat_map(|(limit, own)| {
            let algorithm = if own { limit.algorithm() } else { Algorithm::FixedWindow };
            (Just(limit), prop::option::of(states(algorithm)), times())
        }),
        asked in prop_oneof![any::<i64>(), -(1i64 << 52)..=1 << 52, Just(i64::MIN), Just(i64::MAX)],
    ) {
        let (verdict, written) = step(&limit, stored.as_ref(), Timestamp::from_ms(now_ms), asked);
        prop_assert!(verdict.remaining <= limit.capacity());
        prop_assert!(verdict.retry_after_ms.unwrap_or(0) <= MAX_DURATION_MS);
        prop_assert!(verdict.reset_after_ms <= MAX_DURATION_MS);
        match written {
            Some(State::TokenBucket(bucket)) => prop_assert!(bucket.level.unsigned_abs() <= MAX_AMOUNT),
            Some(State::LeakyBucket(bucket)) => prop_assert!((0..=1 << 53).contains(&bucket.water)),
            Some(State::FixedWindow(window)) => prop_assert!(window.used <= MAX_AMOUNT),
            Some(State::SlidingWindow(window)) => {
                prop_assert!(window.slots.iter().all(|slot| (1..=MAX_AMOUNT).contains(&slot.hits)));
            }
            None => {}
        }
    }
}

fn times() -> impl Strategy<Value = u64> {
    prop_oneof![any::<u64>(), START_MS - 200_000..START_MS + 200_000, Just(0), Just(u64::MAX)]
}
