//! Leaky bucket: hits are water that drains steadily; what would overflow is refused.
//!
//! It is the token bucket seen from the other side (water = full − level), so the arithmetic is that of
//! [`TokenBucket`]. With the default burst of 1, hits are spaced evenly, as nginx's `limit_req` does.
//! What is kept is the water: when the burst of a rule grows, hits that are already in stay in.

use super::{Meter, TokenBucket, token_bucket::full};
use crate::limit::Limit;
use crate::time::Timestamp;

/// State of a leaky bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeakyBucket {
    /// What has not drained yet, in units of hit × tick.
    pub water: i64,
    /// When that was so, in ticks since the Unix epoch.
    pub at_tick: u64,
}

impl LeakyBucket {
    fn from_bucket(limit: &Limit, bucket: TokenBucket) -> Self {
        Self { water: full(limit) - bucket.level, at_tick: bucket.at_tick }
    }

    fn bucket(self, limit: &Limit) -> TokenBucket {
        TokenBucket { level: full(limit) - self.water, at_tick: self.at_tick }
    }
}

impl Meter for LeakyBucket {
    fn own_ms(&self, limit: &Limit) -> u64 {
        self.bucket(limit).own_ms(limit)
    }

    fn at(limit: &Limit, stored: Option<&Self>, now: Timestamp) -> Self {
        let stored = stored.map(|stored| stored.bucket(limit));
        Self::from_bucket(limit, TokenBucket::at(limit, stored.as_ref(), now))
    }

    fn allows(&self, limit: &Limit, hits: u64) -> bool {
        self.bucket(limit).allows(limit, hits)
    }

    fn take(&mut self, limit: &Limit, hits: u64) {
        let mut bucket = self.bucket(limit);
        bucket.take(limit, hits);
        *self = Self::from_bucket(limit, bucket);
    }

    fn give_back(&mut self, limit: &Limit, hits: u64) {
        let mut bucket = self.bucket(limit);
        bucket.give_back(limit, hits);
        *self = Self::from_bucket(limit, bucket);
    }

    fn remaining(&self, limit: &Limit) -> u64 {
        self.bucket(limit).remaining(limit)
    }

    fn fits_at_ms(&self, limit: &Limit, hits: u64) -> Option<u64> {
        self.bucket(limit).fits_at_ms(limit, hits)
    }

    fn gone_at_ms(&self, limit: &Limit) -> u64 {
        self.bucket(limit).gone_at_ms(limit)
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::super::table::{NEVER, NO, YES, check, check_from, limit};
    use super::*;
    use crate::limit::{Algorithm, LimitSpec, Unit};

    const SPEC: LimitSpec = LimitSpec::new(Algorithm::LeakyBucket, 10, Unit::Second);

    #[expect(clippy::unnecessary_wraps, reason = "compared with what a table returns")]
    fn bucket(water: i64, at_tick: u64) -> Option<State> {
        Some(State::LeakyBucket(LeakyBucket { water, at_tick }))
    }

    #[test]
    fn spaces_hits_evenly_by_default() {
        let rows = [
            (0, 0, YES, 1, 0, 0),
            (0, 1, YES, 0, 0, 100),
            (0, 1, NO, 0, 100, 100),
            (99, 1, NO, 0, 1, 1),
            (100, 1, YES, 0, 0, 100),
            (5000, 1, YES, 0, 0, 100),
            (5000, 1, NO, 0, 100, 100),
        ];
        check(&limit(SPEC), &rows);
    }

    #[test]
    fn a_cost_above_the_default_burst_of_one_never_passes() {
        check(&limit(SPEC), &[(0, 2, NO, 1, NEVER, 0), (0, 1, YES, 0, 0, 100)]);
    }

    #[test]
    fn burst_is_how_much_it_holds() {
        let spec = LimitSpec { burst: Some(4), ..SPEC };
        let rows = [
            (0, 3, YES, 1, 0, 300),
            (0, 2, NO, 1, 100, 300),
            (50, 1, YES, 0, 0, 350),
            (350, 1, YES, 2, 0, 150),
            (350, 4, NO, 2, 150, 150),
            (350, 5, NO, 2, NEVER, 150),
        ];
        assert_eq!(check(&limit(spec), &rows), bucket(1500, 350));
    }

    #[test]
    fn a_count_of_zero_refuses_every_hit_and_stores_nothing() {
        let spec = LimitSpec { count: 0, burst: Some(5), count_refused: true, ..SPEC };
        let rows = [(0, 0, YES, 0, 0, 0), (0, 1, NO, 0, NEVER, 0), (9, -1, YES, 0, 0, 0)];
        assert_eq!(check(&limit(spec), &rows), None);
    }

    #[test]
    fn looking_is_allowed_at_the_limit_and_refused_in_debt() {
        let spec = LimitSpec { count_refused: true, ..SPEC };
        let rows = [
            (0, 1, YES, 0, 0, 100),
            (0, 0, YES, 0, 0, 100),
            (0, 1, NO, 0, 200, 200),
            (0, 0, NO, 0, 100, 200),
            (100, 0, YES, 0, 0, 100),
        ];
        check(&limit(spec), &rows);
    }

    #[test]
    fn giving_back_never_goes_beyond_empty() {
        let spec = LimitSpec { burst: Some(4), ..SPEC };
        let rows = [(0, 3, YES, 1, 0, 300), (0, -1, YES, 2, 0, 200), (0, -9, YES, 4, 0, 0)];
        assert_eq!(check(&limit(spec), &rows), bucket(0, 0));
    }

    #[test]
    fn debt_is_at_most_a_hundred_times_the_larger_of_burst_and_count() {
        let spec = LimitSpec { count_refused: true, ..SPEC };
        let stored = check(&limit(spec), &[(0, 1 << 52, NO, 0, NEVER, 100_100)]);
        // 1,000 hits below a bucket of one.
        assert_eq!(stored, bucket(1_001_000, 0));
        check_from(stored, &limit(spec), &[(0, i64::MAX, NO, 0, NEVER, 100_100)]);
    }

    #[test]
    fn a_clock_that_runs_back_is_clamped_and_durations_count_from_it() {
        let rows = [(10_000, 1, YES, 0, 0, 100), (9000, 1, NO, 0, 1100, 1100), (10_100, 1, YES, 0, 0, 100)];
        check(&limit(SPEC), &rows);
        check(&limit(SPEC), &[(10_000, 1, YES, 0, 0, 100), (9000, -1, YES, 1, 0, 1000)]);
    }

    #[test]
    fn a_state_more_than_a_period_and_a_minute_ahead_comes_back_with_its_water() {
        let ahead = |ms: u64| bucket(1000, 1_000_000 + 1000 + 60_000 + ms);
        check_from(ahead(0), &limit(SPEC), &[(1_000_000, 1, NO, 0, 61_100, 61_100)]);
        let stored = check_from(ahead(1), &limit(SPEC), &[(1_000_000, 1, NO, 0, 100, 100)]);
        assert_eq!(stored, bucket(1000, 1_000_000));
    }

    #[test]
    fn a_changed_count_or_burst_keeps_the_water() {
        let spec = LimitSpec { burst: Some(4), ..SPEC };
        let filled = check(&limit(spec), &[(0, 3, YES, 1, 0, 300)]);
        check_from(filled.clone(), &limit(LimitSpec { burst: Some(10), ..spec }), &[(0, 0, YES, 7, 0, 300)]);
        check_from(filled.clone(), &limit(LimitSpec { count: 20, ..spec }), &[(0, 0, YES, 1, 0, 150)]);
        // A smaller bucket holds less than is in it: that is debt.
        check_from(filled, &limit(SPEC), &[(0, 0, NO, 0, 200, 300), (200, 0, YES, 0, 0, 100)]);
    }

    #[test]
    fn from_one_day_on_a_tick_is_a_second() {
        let spec = LimitSpec { count: 24, unit: Unit::Day, ..SPEC };
        let rows = [
            (1999, 1, YES, 0, 0, 3_599_001),
            (3_600_999, 1, NO, 0, 1, 1),
            (3_601_000, 1, YES, 0, 0, 3_600_000),
        ];
        check(&limit(spec), &rows);
    }
}
