//! What the two buckets promise: no interval admits more than burst + rate × length.

use fluxlimit::limit::{Algorithm, Limit};
use proptest::prelude::*;

use crate::steps::{Event, Key, asking_script, limits_of, script, with};

/// Runs `script` on `key`: in every stretch of it, what was admitted is at most a burst and what the forward
/// moves of the clock refill, in whole ticks. A clock that stops or runs back adds nothing to that.
fn check_intervals(limit: &Limit, key: &mut Key, script: &[Event]) {
    let (count, period) = (u128::from(limit.count()), u128::from(limit.period_ticks()));
    let burst_units = u128::from(limit.capacity()) * period;
    // For each stretch that ends now: what may still be admitted in it, in units of hit × tick. Only the
    // smallest matters.
    let mut room_units = burst_units;
    for event in script {
        let before_tick = key.now_ms / limit.tick_ms();
        let verdict = key.step(limit, *event);
        let ticks = (key.now_ms / limit.tick_ms()).saturating_sub(before_tick);
        room_units = (room_units + u128::from(ticks) * count).min(burst_units);
        if verdict.allowed {
            let admitted_units = u128::from(event.hits.unsigned_abs()) * period;
            assert!(admitted_units <= room_units, "{event:?} admits more than burst + rate × length");
            room_units -= admitted_units;
        }
    }
}

fn buckets() -> impl Strategy<Value = Limit> {
    prop_oneof![limits_of(Algorithm::TokenBucket), limits_of(Algorithm::LeakyBucket)]
}

proptest! {
    #![proptest_config(crate::steps::config())]

    #[test]
    fn no_interval_admits_more_than_burst_and_rate(
        (limit, (before, script)) in with(buckets(), |limit| (script(limit), asking_script(limit))),
    ) {
        let mut key = Key::new();
        key.run(&limit, &before);
        check_intervals(&limit, &mut key, &script);
    }

    /// With a clock that only goes on, a token bucket admits whatever a bucket of rational numbers would.
    #[test]
    fn a_bucket_admits_all_that_fits(
        (limit, script) in with(buckets(), asking_script),
    ) {
        let (count, period) = (i128::from(limit.count()), i128::from(limit.period_ticks()));
        let full_units = i128::from(limit.capacity()) * period;
        let mut key = Key::new();
        let mut level_units = full_units;
        for event in script {
            let before_tick = key.now_ms / limit.tick_ms();
            let verdict = key.step(&limit, Event { moves_ms: event.moves_ms.max(0), ..event });
            let ticks = key.now_ms / limit.tick_ms() - before_tick;
            level_units = (level_units + i128::from(ticks) * count).min(full_units);
            let asked_units = i128::from(event.hits) * period;
            prop_assert_eq!(verdict.allowed, asked_units <= level_units);
            if (verdict.allowed || limit.count_refused()) && limit.capacity() > 0 {
                let largest = i128::from(limit.capacity().max(u64::from(limit.count())));
                let lowest_units = -(100 * largest * period).min(1 << 52);
                level_units = (level_units - asked_units).max(lowest_units);
            }
            prop_assert_eq!(i128::from(verdict.remaining), level_units.max(0) / period);
        }
    }
}
