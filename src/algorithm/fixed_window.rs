//! Fixed window: counts from zero in each window that is aligned to the Unix epoch, as the reference does.
//!
//! Simple and cheap, and up to twice the count can pass around the boundary of two windows.

use super::{Meter, too_far_ahead};
use crate::limit::{Limit, MAX_AMOUNT};
use crate::time::Timestamp;

/// State of a fixed window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FixedWindow {
    /// Start of the window, in milliseconds since the Unix epoch.
    pub start_ms: u64,
    /// Hits that were counted in it; above the count in debt.
    pub used: u64,
}

impl FixedWindow {
    const fn end_ms(&self, limit: &Limit) -> u64 {
        self.start_ms.saturating_add(limit.period_ms())
    }
}

impl Meter for FixedWindow {
    fn own_ms(&self, _: &Limit) -> u64 {
        self.start_ms
    }

    fn at(limit: &Limit, stored: Option<&Self>, now: Timestamp) -> Self {
        let start_ms = now.ms() - now.ms() % limit.period_ms();
        match stored {
            Some(stored) if too_far_ahead(limit, stored, now) => Self { start_ms, used: stored.used },
            Some(stored) if stored.start_ms >= start_ms => *stored,
            _ => Self { start_ms, used: 0 },
        }
    }

    fn allows(&self, limit: &Limit, hits: u64) -> bool {
        self.used + hits <= u64::from(limit.count())
    }

    fn take(&mut self, _: &Limit, hits: u64) {
        self.used = (self.used + hits).min(MAX_AMOUNT);
    }

    fn give_back(&mut self, _: &Limit, hits: u64) {
        self.used = self.used.saturating_sub(hits);
    }

    fn remaining(&self, limit: &Limit) -> u64 {
        u64::from(limit.count()).saturating_sub(self.used)
    }

    fn fits_at_ms(&self, limit: &Limit, hits: u64) -> Option<u64> {
        (hits <= u64::from(limit.count())).then_some(self.end_ms(limit))
    }

    fn gone_at_ms(&self, limit: &Limit) -> u64 {
        self.end_ms(limit)
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::super::table::{NEVER, NO, YES, check, check_from, limit};
    use super::*;
    use crate::limit::{Algorithm, LimitSpec, Unit};

    const SPEC: LimitSpec = LimitSpec::new(Algorithm::FixedWindow, 10, Unit::Second);

    #[expect(clippy::unnecessary_wraps, reason = "compared with what a table returns")]
    fn window(start_ms: u64, used: u64) -> Option<State> {
        Some(State::FixedWindow(FixedWindow { start_ms, used }))
    }

    #[test]
    fn counts_from_zero_in_each_window_of_the_epoch() {
        let rows = [
            (1000, 0, YES, 10, 0, 1000),
            (1900, 7, YES, 3, 0, 100),
            (1900, 4, NO, 3, 100, 100),
            (1999, 3, YES, 0, 0, 1),
            (1999, 1, NO, 0, 1, 1),
            (2000, 10, YES, 0, 0, 1000),
        ];
        assert_eq!(check(&limit(SPEC), &rows), window(2000, 10));
    }

    #[test]
    fn a_cost_above_the_count_never_passes() {
        check(&limit(SPEC), &[(300, 11, NO, 10, NEVER, 700), (300, 10, YES, 0, 0, 700)]);
    }

    #[test]
    fn weeks_start_on_thursday_and_a_multiplied_unit_is_one_window() {
        const DAY_MS: u64 = 86_400_000;
        let weeks = LimitSpec { unit: Unit::Week, ..SPEC };
        check(&limit(weeks), &[(8 * DAY_MS, 1, YES, 9, 0, 6 * DAY_MS)]);
        let half_minutes = LimitSpec { unit_multiplier: 30, ..SPEC };
        check(&limit(half_minutes), &[(31_000, 1, YES, 9, 0, 29_000)]);
    }

    #[test]
    fn a_count_of_zero_refuses_every_hit() {
        let spec = LimitSpec { count: 0, ..SPEC };
        let rows = [(0, 0, YES, 0, 0, 1000), (0, 1, NO, 0, NEVER, 1000), (5000, 1, NO, 0, NEVER, 1000)];
        assert_eq!(check(&limit(spec), &rows), None);
    }

    #[test]
    fn the_largest_count_of_the_reference_is_exact() {
        let spec = LimitSpec { count: u32::MAX, unit: Unit::Year, ..SPEC };
        let year_ms = 31_536_000_000;
        let count = i64::from(u32::MAX);
        let rows = [
            (0, count, YES, 0, 0, year_ms),
            (0, 1, NO, 0, year_ms, year_ms),
            (0, count + 1, NO, 0, NEVER, year_ms),
        ];
        check(&limit(spec), &rows);
    }

    #[test]
    fn looking_is_allowed_at_the_limit_and_refused_in_debt() {
        let spec = LimitSpec { count_refused: true, ..SPEC };
        let rows = [
            (0, 10, YES, 0, 0, 1000),
            (0, 0, YES, 0, 0, 1000),
            (0, 1, NO, 0, 1000, 1000),
            (250, 0, NO, 0, 750, 750),
            (1000, 0, YES, 10, 0, 1000),
        ];
        check(&limit(spec), &rows);
    }

    #[test]
    fn giving_back_never_goes_below_zero_used() {
        let rows = [(0, 4, YES, 6, 0, 1000), (0, -3, YES, 9, 0, 1000), (0, -3, YES, 10, 0, 1000)];
        assert_eq!(check(&limit(SPEC), &rows), window(0, 0));
        // In a later window it is a gift to nobody: there is nothing to give back.
        check(&limit(SPEC), &[(0, 4, YES, 6, 0, 1000), (1000, -4, YES, 10, 0, 1000)]);
    }

    #[test]
    fn what_is_used_stops_at_2_52() {
        let spec = LimitSpec { count_refused: true, ..SPEC };
        let rows = [
            (0, 1 << 52, NO, 0, NEVER, 1000),
            (0, 1 << 52, NO, 0, NEVER, 1000),
            (0, i64::MAX, NO, 0, NEVER, 1000),
        ];
        assert_eq!(check(&limit(spec), &rows), window(0, 1 << 52));
        // What is owed in one window is forgotten in the next, as in the reference.
        check_from(window(0, 1 << 52), &limit(spec), &[(1000, 10, YES, 0, 0, 1000)]);
    }

    #[test]
    fn a_clock_that_runs_back_stays_in_the_later_window() {
        let rows = [(5000, 10, YES, 0, 0, 1000), (4900, 1, NO, 0, 1100, 1100), (6000, 1, YES, 9, 0, 1000)];
        check(&limit(SPEC), &rows);
    }

    #[test]
    fn a_window_more_than_a_period_and_a_minute_ahead_becomes_the_current_one() {
        let ahead = |ms: u64| window(62_000 + ms, 9);
        check_from(ahead(0), &limit(SPEC), &[(1000, 2, NO, 1, 62_000, 62_000)]);
        let stored = check_from(ahead(1), &limit(SPEC), &[(1000, 2, NO, 1, 1000, 1000)]);
        // Bug: it was stored only with a booking, so a refused key was locked until the wrong time came.
        assert_eq!(stored, window(1000, 9));
        check_from(stored, &limit(SPEC), &[(2000, 10, YES, 0, 0, 1000)]);
    }

    #[test]
    fn a_changed_count_keeps_what_is_used() {
        let used = check(&limit(SPEC), &[(0, 8, YES, 2, 0, 1000)]);
        check_from(used.clone(), &limit(LimitSpec { count: 20, ..SPEC }), &[(0, 12, YES, 0, 0, 1000)]);
        check_from(used, &limit(LimitSpec { count: 5, ..SPEC }), &[(0, 0, NO, 0, 1000, 1000)]);
    }

    #[test]
    fn durations_are_at_most_ten_years() {
        const TEN_YEARS_MS: u64 = 315_360_000_000;
        let spec = LimitSpec { unit: Unit::Year, unit_multiplier: 100, ..SPEC };
        check(&limit(spec), &[(0, 10, YES, 0, 0, TEN_YEARS_MS), (0, 1, NO, 0, TEN_YEARS_MS, TEN_YEARS_MS)]);
    }
}
