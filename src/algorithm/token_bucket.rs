//! Token bucket: starts full, refills steadily, lets a burst through at once.
//!
//! The level is counted in units of hit × tick, so that one tick refills exactly `count` units and one hit
//! costs exactly `period_ticks` of them: no fraction is ever lost.

use super::{Meter, too_far_ahead};
use crate::limit::{Limit, MAX_AMOUNT};
use crate::time::Timestamp;

/// A bucket's debt is at most this many times the larger of its burst and count, in hits.
///
/// A cost that was booked late may be owed, but one absurd cost must not close a key for ever.
const MAX_DEBT_FACTOR: u64 = 100;

/// State of a token bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenBucket {
    /// What is left, in units of hit × tick; negative in debt.
    pub level: i64,
    /// When that was so, in ticks since the Unix epoch.
    pub at_tick: u64,
}

/// Level of an unused bucket.
pub(super) const fn full(limit: &Limit) -> i64 {
    (limit.capacity() * limit.period_ticks()).cast_signed()
}

fn lowest(limit: &Limit) -> i64 {
    let hits = limit.capacity().max(u64::from(limit.count())) * MAX_DEBT_FACTOR;
    -hits.saturating_mul(limit.period_ticks()).min(MAX_AMOUNT).cast_signed()
}

/// Ticks until `missing` more units have been refilled; `None` if they never are.
fn ticks_to_refill(limit: &Limit, missing: i64) -> Option<u64> {
    match u64::from(limit.count()) {
        _ if missing <= 0 => Some(0),
        0 => None,
        count => Some(missing.unsigned_abs().div_ceil(count)),
    }
}

impl TokenBucket {
    /// The reading, in milliseconds, at which `missing` more units have been refilled.
    fn refilled_at_ms(&self, limit: &Limit, missing: i64) -> Option<u64> {
        let ticks = ticks_to_refill(limit, missing)?;
        Some(self.at_tick.saturating_add(ticks).saturating_mul(limit.tick_ms()))
    }
}

impl Meter for TokenBucket {
    fn own_ms(&self, limit: &Limit) -> u64 {
        self.at_tick.saturating_mul(limit.tick_ms())
    }

    fn at(limit: &Limit, stored: Option<&Self>, now: Timestamp) -> Self {
        let full = full(limit);
        let now_tick = now.ms() / limit.tick_ms();
        let Some(stored) = stored else { return Self { level: full, at_tick: now_tick } };
        if too_far_ahead(limit, stored, now) {
            return Self { level: stored.level.min(full), at_tick: now_tick };
        }
        let at_tick = stored.at_tick.max(now_tick);
        let elapsed = at_tick - stored.at_tick;
        // Compared before it is multiplied: ticks × count of a long pause would overflow.
        let level = match ticks_to_refill(limit, full - stored.level) {
            Some(ticks) if elapsed >= ticks => full,
            _ => stored.level + (elapsed * u64::from(limit.count())).cast_signed(),
        };
        Self { level, at_tick }
    }

    fn allows(&self, limit: &Limit, hits: u64) -> bool {
        hits <= limit.capacity() && self.level >= (hits * limit.period_ticks()).cast_signed()
    }

    fn take(&mut self, limit: &Limit, hits: u64) {
        let lowest = lowest(limit);
        let most = (self.level - lowest).max(0).unsigned_abs() / limit.period_ticks();
        self.level = if hits > most {
            self.level.min(lowest)
        } else {
            self.level - (hits * limit.period_ticks()).cast_signed()
        };
    }

    fn give_back(&mut self, limit: &Limit, hits: u64) {
        let full = full(limit);
        let most = (full - self.level).unsigned_abs() / limit.period_ticks();
        self.level =
            if hits > most { full } else { self.level + (hits * limit.period_ticks()).cast_signed() };
    }

    fn remaining(&self, limit: &Limit) -> u64 {
        self.level.max(0).unsigned_abs() / limit.period_ticks()
    }

    fn fits_at_ms(&self, limit: &Limit, hits: u64) -> Option<u64> {
        if hits > limit.capacity() {
            return None;
        }
        self.refilled_at_ms(limit, (hits * limit.period_ticks()).cast_signed() - self.level)
    }

    fn gone_at_ms(&self, limit: &Limit) -> u64 {
        // Not before the bucket's own time, even if it is full: a hit would refill from there on.
        self.refilled_at_ms(limit, full(limit) - self.level).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::super::table::{NEVER, NO, YES, check, check_from, limit};
    use super::*;
    use crate::limit::{Algorithm, LimitSpec, Unit};

    const SPEC: LimitSpec = LimitSpec::new(Algorithm::TokenBucket, 10, Unit::Second);

    #[expect(clippy::unnecessary_wraps, reason = "compared with what a table returns")]
    fn bucket(level: i64, at_tick: u64) -> Option<State> {
        Some(State::TokenBucket(TokenBucket { level, at_tick }))
    }

    #[test]
    fn starts_full_and_refills_steadily() {
        let rows = [
            (1000, 0, YES, 10, 0, 0),
            (1000, 10, YES, 0, 0, 1000),
            (1000, 1, NO, 0, 100, 1000),
            (1099, 1, NO, 0, 1, 901),
            (1100, 1, YES, 0, 0, 1000),
            (1350, 2, YES, 0, 0, 950),
            (1350, 8, NO, 0, 750, 950),
            (9000, 3, YES, 7, 0, 300),
        ];
        check(&limit(SPEC), &rows);
    }

    #[test]
    fn no_fraction_of_a_hit_is_lost() {
        // 3 a second: a hit takes 333⅓ ms.
        let spec = LimitSpec { count: 3, ..SPEC };
        let rows = [
            (0, 3, YES, 0, 0, 1000),
            (333, 1, NO, 0, 1, 667),
            (334, 1, YES, 0, 0, 1000),
            (667, 1, YES, 0, 0, 1000),
            (1000, 1, YES, 0, 0, 1000),
        ];
        check(&limit(spec), &rows);
    }

    #[test]
    fn burst_is_the_size_of_the_bucket_and_count_its_rate() {
        let rows = [(0, 25, YES, 0, 0, 2500), (0, 10, NO, 0, 1000, 2500), (2500, 25, YES, 0, 0, 2500)];
        check(&limit(LimitSpec { burst: Some(25), ..SPEC }), &rows);
        let rows = [(0, 3, NO, 2, NEVER, 0), (0, 2, YES, 0, 0, 200), (0, 1, NO, 0, 100, 200)];
        check(&limit(LimitSpec { burst: Some(2), ..SPEC }), &rows);
    }

    #[test]
    fn a_cost_above_the_burst_never_passes() {
        check(&limit(SPEC), &[(0, 11, NO, 10, NEVER, 0), (0, 10, YES, 0, 0, 1000)]);
    }

    #[test]
    fn a_refused_hit_is_not_booked() {
        let stored = check(&limit(SPEC), &[(0, 8, YES, 2, 0, 800), (100, 5, NO, 3, 200, 700)]);
        assert_eq!(stored, bucket(2000, 0));
    }

    #[test]
    fn from_one_day_on_a_tick_is_a_second() {
        let hours = LimitSpec { count: 23, unit: Unit::Hour, unit_multiplier: 23, ..SPEC };
        // An hour a hit, to the millisecond.
        let rows = [(0, 23, YES, 0, 0, 82_800_000), (3_599_999, 1, NO, 0, 1, 79_200_001)];
        check(&limit(hours), &rows);
        let days = LimitSpec { count: 24, unit: Unit::Day, ..SPEC };
        // Time within a second does not count, so the hit of 1999 ms is one of second 1.
        let rows = [
            (1999, 24, YES, 0, 0, 86_399_001),
            (1999, 1, NO, 0, 3_599_001, 86_399_001),
            (3_600_999, 1, NO, 0, 1, 82_800_001),
            (3_601_000, 1, YES, 0, 0, 86_400_000),
        ];
        check(&limit(days), &rows);
    }

    #[test]
    fn a_count_of_zero_refuses_every_hit_and_stores_nothing() {
        for burst in [None, Some(5)] {
            let spec = LimitSpec { count: 0, burst, count_refused: true, ..SPEC };
            let rows = [(0, 0, YES, 0, 0, 0), (0, 1, NO, 0, NEVER, 0), (9, -1, YES, 0, 0, 0)];
            assert_eq!(check(&limit(spec), &rows), None);
        }
    }

    #[test]
    fn looking_is_allowed_at_the_limit_and_refused_in_debt() {
        let spec = LimitSpec { count_refused: true, ..SPEC };
        let rows = [
            (0, 10, YES, 0, 0, 1000),
            (0, 0, YES, 0, 0, 1000),
            (0, 5, NO, 0, 1000, 1500),
            (0, 0, NO, 0, 500, 1500),
            (499, 0, NO, 0, 1, 1001),
            (500, 0, YES, 0, 0, 1000),
        ];
        check(&limit(spec), &rows);
    }

    #[test]
    fn a_look_stores_nothing() {
        assert_eq!(check(&limit(SPEC), &[(5, 0, YES, 10, 0, 0)]), None);
    }

    #[test]
    fn giving_back_never_goes_beyond_full() {
        let rows = [
            (0, 4, YES, 6, 0, 400),
            (0, -3, YES, 9, 0, 100),
            (0, -3, YES, 10, 0, 0),
            (0, 11, NO, 10, NEVER, 0),
            (0, 10, YES, 0, 0, 1000),
            (0, i64::MIN, YES, 10, 0, 0),
        ];
        check(&limit(SPEC), &rows);
        // Not to a whole hit, but to full.
        let stored = check(&limit(SPEC), &[(0, 1, YES, 9, 0, 100), (50, -1, YES, 10, 0, 0)]);
        assert_eq!(stored, bucket(10_000, 50));
    }

    #[test]
    fn a_refused_hit_that_counts_puts_the_bucket_into_debt() {
        let spec = LimitSpec { count_refused: true, ..SPEC };
        let rows = [
            (0, 8, YES, 2, 0, 800),
            // The wait is taken after the booking.
            (0, 5, NO, 0, 800, 1300),
            (300, 1, NO, 0, 200, 1100),
            (499, 1, NO, 0, 101, 1001),
            (600, 1, YES, 0, 0, 1000),
        ];
        check(&limit(spec), &rows);
    }

    #[test]
    fn debt_is_at_most_a_hundred_times_the_bucket() {
        let spec = LimitSpec { count_refused: true, ..SPEC };
        let stored = check(&limit(spec), &[(0, 10, YES, 0, 0, 1000), (0, 5000, NO, 0, NEVER, 101_000)]);
        assert_eq!(stored, bucket(-100 * 10 * 1000, 0));
        // More does not deepen it, and an amount that overflows any product does not either.
        check_from(
            stored,
            &limit(spec),
            &[(0, 1 << 52, NO, 0, NEVER, 101_000), (0, 1, NO, 0, 100_100, 101_000)],
        );
        // The larger of burst and count is what is multiplied.
        let spec = LimitSpec { burst: Some(30), ..spec };
        check(&limit(spec), &[(0, 1 << 52, NO, 0, NEVER, 303_000)]);
    }

    #[test]
    fn debt_is_at_most_2_52_units() {
        // 2^52 units are 1,737,504 hits here, far less than a hundred buckets.
        let spec = LimitSpec { count: 1_000_000_000, unit: Unit::Month, count_refused: true, ..SPEC };
        let stored = check(&limit(spec), &[(0, 1 << 52, NO, 0, NEVER, 7_095_600_000)]);
        assert_eq!(stored, bucket(-(1 << 52), 0));
    }

    #[test]
    fn a_clock_that_runs_back_is_clamped_and_durations_count_from_it() {
        let rows = [
            (10_000, 10, YES, 0, 0, 1000),
            (9_000, 1, NO, 0, 1100, 2000),
            (10_099, 1, NO, 0, 1, 901),
            (10_100, 1, YES, 0, 0, 1000),
        ];
        check(&limit(SPEC), &rows);
    }

    #[test]
    fn a_full_bucket_ahead_of_the_clock_equals_none_only_once_the_clock_has_caught_up() {
        // Bug: it said 0, but a hit on it refills from its own time on, later than that of a new key.
        let rows = [(10_000, 10, YES, 0, 0, 1000), (9_000, -10, YES, 10, 0, 1000)];
        check(&limit(SPEC), &rows);
    }

    #[test]
    fn a_state_more_than_a_period_and_a_minute_ahead_comes_back_with_its_level() {
        let ahead = |ms: u64| bucket(0, 1_000_000 + 1000 + 60_000 + ms);
        // Just not too far: the key waits for its own time.
        check_from(ahead(0), &limit(SPEC), &[(1_000_000, 1, NO, 0, 61_100, 62_000)]);
        let rows = [(1_000_000, 1, NO, 0, 100, 1000), (1_000_100, 1, YES, 0, 0, 1000)];
        let stored = check_from(ahead(1), &limit(SPEC), &rows);
        assert_eq!(stored, bucket(0, 1_000_100));
    }

    #[test]
    fn a_changed_count_or_burst_keeps_the_level() {
        let half = check(&limit(SPEC), &[(0, 5, YES, 5, 0, 500)]);
        check_from(half.clone(), &limit(LimitSpec { count: 20, ..SPEC }), &[(0, 0, YES, 5, 0, 750)]);
        // What is above the new size is cut.
        check_from(half, &limit(LimitSpec { count: 2, ..SPEC }), &[(0, 0, YES, 2, 0, 0)]);
    }

    #[test]
    fn durations_are_at_most_ten_years() {
        const TEN_YEARS_MS: u64 = 315_360_000_000;
        let spec = LimitSpec { count: 1, unit: Unit::Year, unit_multiplier: 100, ..SPEC };
        check(&limit(spec), &[(0, 1, YES, 0, 0, TEN_YEARS_MS), (0, 1, NO, 0, TEN_YEARS_MS, TEN_YEARS_MS)]);
    }
}
