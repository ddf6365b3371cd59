//! Sliding window: never more than the count in any window of one period, wherever it starts.
//!
//! The hits of the last period are kept in at most about 64 slots. A hit is recorded at the *end* of its
//! slot, so rounding refuses for at most one slot longer and never admits more.

use super::{Meter, too_far_ahead};
use crate::limit::{Limit, MAX_AMOUNT};
use crate::time::Timestamp;

/// How many slots one period is divided into, at most, once hits cannot be kept one by one.
const SLOTS: u64 = 64;

/// State of a sliding window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlidingWindow {
    /// The state's own time, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Hits of the last period, oldest first; no slot is empty.
    pub slots: Vec<Slot>,
}

/// Hits that count until one period after `end_ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// Last millisecond of the slot, since the Unix epoch.
    pub end_ms: u64,
    /// Hits in it; at least 1.
    pub hits: u64,
}

/// Width of a new slot, in milliseconds: exact while the hits that can be recorded fit into the slots.
const fn width_ms(limit: &Limit) -> u64 {
    if limit.count() as u64 <= SLOTS && !limit.count_refused() {
        1
    } else {
        limit.period_ms().div_ceil(SLOTS)
    }
}

impl SlidingWindow {
    fn used(&self) -> u64 {
        self.slots.iter().map(|slot| slot.hits).sum::<u64>().min(MAX_AMOUNT)
    }
}

impl Meter for SlidingWindow {
    fn own_ms(&self, _: &Limit) -> u64 {
        self.at_ms
    }

    fn at(limit: &Limit, stored: Option<&Self>, now: Timestamp) -> Self {
        let Some(stored) = stored else { return Self { at_ms: now.ms(), slots: Vec::new() } };
        if too_far_ahead(limit, stored, now) {
            let hits = stored.used();
            let slots = if hits > 0 { vec![Slot { end_ms: now.ms(), hits }] } else { Vec::new() };
            return Self { at_ms: now.ms(), slots };
        }
        let at_ms = stored.at_ms.max(now.ms());
        let kept = stored.slots.iter().filter(|slot| slot.end_ms.saturating_add(limit.period_ms()) > at_ms);
        Self { at_ms, slots: kept.copied().collect() }
    }

    fn allows(&self, limit: &Limit, hits: u64) -> bool {
        self.used() + hits <= u64::from(limit.count())
    }

    fn take(&mut self, limit: &Limit, hits: u64) {
        let room = MAX_AMOUNT - self.used();
        let hits = hits.min(room);
        if hits == 0 {
            return;
        }
        let width_ms = width_ms(limit);
        let end_ms = (self.at_ms / width_ms).saturating_add(1).saturating_mul(width_ms) - 1;
        match self.slots.last_mut() {
            Some(newest) if newest.end_ms >= end_ms => newest.hits += hits,
            _ => self.slots.push(Slot { end_ms, hits }),
        }
    }

    /// The oldest hits go first: what stays recorded is then never older than what is true, so no window can
    /// go over, whichever hit the caller meant.
    fn give_back(&mut self, _: &Limit, hits: u64) {
        let mut left = hits;
        for slot in &mut self.slots {
            let given = slot.hits.min(left);
            slot.hits -= given;
            left -= given;
        }
        self.slots.retain(|slot| slot.hits > 0);
    }

    fn remaining(&self, limit: &Limit) -> u64 {
        u64::from(limit.count()).saturating_sub(self.used())
    }

    fn fits_at_ms(&self, limit: &Limit, hits: u64) -> Option<u64> {
        let allowed = u64::from(limit.count()).checked_sub(hits)?;
        let mut used = self.used();
        let mut leaving = self.slots.iter();
        let mut at_ms = self.at_ms;
        while used > allowed {
            let slot = leaving.next()?;
            used = used.saturating_sub(slot.hits);
            at_ms = slot.end_ms.saturating_add(limit.period_ms());
        }
        Some(at_ms)
    }

    fn gone_at_ms(&self, limit: &Limit) -> u64 {
        // Not before the state's own time, even if it is empty: a hit would be recorded there.
        self.slots.last().map_or(self.at_ms, |newest| newest.end_ms.saturating_add(limit.period_ms()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::super::table::{NEVER, NO, YES, check, check_from, limit};
    use super::*;
    use crate::limit::{Algorithm, LimitSpec, Unit};

    const SPEC: LimitSpec = LimitSpec::new(Algorithm::SlidingWindow, 10, Unit::Second);
    /// Too many to be kept one by one: slots of ⌈1000 / 64⌉ = 16 ms.
    const WIDE: LimitSpec = LimitSpec { count: 65, ..SPEC };

    #[expect(clippy::unnecessary_wraps, reason = "compared with what a table returns")]
    fn window(at_ms: u64, slots: &[(u64, u64)]) -> Option<State> {
        let slots = slots.iter().map(|(end_ms, hits)| Slot { end_ms: *end_ms, hits: *hits }).collect();
        Some(State::SlidingWindow(SlidingWindow { at_ms, slots }))
    }

    #[test]
    fn admits_the_count_in_any_window_of_one_period() {
        let rows = [
            (0, 0, YES, 10, 0, 0),
            (500, 6, YES, 4, 0, 1000),
            (900, 4, YES, 0, 0, 1000),
            (1000, 1, NO, 0, 500, 900),
            (1499, 1, NO, 0, 1, 401),
            (1500, 6, YES, 0, 0, 1000),
            (1500, 5, NO, 0, 1000, 1000),
            (1900, 4, YES, 0, 0, 1000),
        ];
        check(&limit(SPEC), &rows);
    }

    #[test]
    fn the_wait_is_until_enough_hits_have_left() {
        let rows = [
            (0, 3, YES, 7, 0, 1000),
            (100, 3, YES, 4, 0, 1000),
            (200, 3, YES, 1, 0, 1000),
            (300, 2, NO, 1, 700, 900),
            (300, 5, NO, 1, 800, 900),
            (300, 8, NO, 1, 900, 900),
            (300, 11, NO, 1, NEVER, 900),
        ];
        check(&limit(SPEC), &rows);
    }

    #[test]
    fn up_to_64_hits_are_kept_to_the_millisecond() {
        let rows = [(7, 64, YES, 0, 0, 1000), (1006, 1, NO, 0, 1, 1), (1007, 64, YES, 0, 0, 1000)];
        let stored = check(&limit(LimitSpec { count: 64, ..SPEC }), &rows);
        assert_eq!(stored, window(1007, &[(1007, 64)]));
    }

    #[test]
    fn more_hits_are_kept_in_slots_that_round_up() {
        // The hits of 7 ms are recorded at 15 ms, the end of their slot.
        let rows = [
            (7, 60, YES, 5, 0, 1008),
            (15, 5, YES, 0, 0, 1000),
            (1014, 1, NO, 0, 1, 1),
            (1015, 65, YES, 0, 0, 1008),
        ];
        assert_eq!(check(&limit(WIDE), &rows), window(1015, &[(1023, 65)]));
    }

    #[test]
    fn refused_hits_that_count_need_wide_slots() {
        let spec = LimitSpec { count_refused: true, ..SPEC };
        let stored = check(&limit(spec), &[(0, 8, YES, 2, 0, 1015)]);
        assert_eq!(stored, window(0, &[(15, 8)]));
        check_from(stored, &limit(spec), &[(0, 3, NO, 0, 1015, 1015), (500, 1, NO, 0, 515, 1011)]);
    }

    #[test]
    fn slots_are_at_most_about_64_wide_or_narrow() {
        for spec in [WIDE, LimitSpec { count: 64, ..SPEC }, LimitSpec { count_refused: true, ..SPEC }] {
            let mut stored = None;
            for at_ms in 0..3000 {
                let now = Timestamp::from_ms(at_ms);
                stored = super::super::step(&limit(spec), stored.as_ref(), now, 1).1.or(stored);
            }
            let Some(State::SlidingWindow(window)) = stored else { panic!("hits were booked") };
            assert!(window.slots.len() <= 66, "{} slots", window.slots.len());
        }
    }

    #[test]
    fn a_reload_between_widths_keeps_the_slots() {
        let narrow = LimitSpec { count: 64, ..SPEC };
        let wide = check(&limit(WIDE), &[(0, 30, YES, 35, 0, 1015)]);
        // A narrow hit joins the wide slot that ends after it.
        let joined = check_from(wide, &limit(narrow), &[(3, 4, YES, 30, 0, 1012), (16, 1, YES, 29, 0, 1000)]);
        assert_eq!(joined, window(16, &[(15, 34), (16, 1)]));
        let back = check_from(joined, &limit(WIDE), &[(20, 1, YES, 29, 0, 1011)]);
        assert_eq!(back, window(20, &[(15, 34), (16, 1), (31, 1)]));
    }

    #[test]
    fn a_count_of_zero_refuses_every_hit() {
        let spec = LimitSpec { count: 0, ..SPEC };
        assert_eq!(check(&limit(spec), &[(0, 0, YES, 0, 0, 0), (0, 1, NO, 0, NEVER, 0)]), None);
    }

    #[test]
    fn looking_is_allowed_at_the_limit_and_refused_in_debt() {
        let spec = LimitSpec { count_refused: true, ..SPEC };
        let rows = [
            (0, 10, YES, 0, 0, 1015),
            (0, 0, YES, 0, 0, 1015),
            (100, 1, NO, 0, 915, 1011),
            (100, 0, NO, 0, 915, 1011),
            (1015, 0, YES, 9, 0, 96),
        ];
        check(&limit(spec), &rows);
    }

    #[test]
    fn the_oldest_hits_are_given_back_first() {
        let rows = [
            (0, 3, YES, 7, 0, 1000),
            (100, 3, YES, 4, 0, 1000),
            (200, -4, YES, 8, 0, 900),
            (200, -9, YES, 10, 0, 0),
        ];
        assert_eq!(check(&limit(SPEC), &rows[..3]), window(200, &[(100, 2)]));
        assert_eq!(check(&limit(SPEC), &rows), window(200, &[]));
    }

    #[test]
    fn giving_back_the_newest_first_would_admit_four_of_three() {
        // Bug of an earlier model: hits of 0 and 900 ms, one given back. Were it the one of 900 that is no
        // longer recorded while the caller meant that of 0, three more passed at 1000, beside that of 900.
        let spec = LimitSpec { count: 3, ..SPEC };
        let rows = [
            (0, 2, YES, 1, 0, 1000),
            (900, 1, YES, 0, 0, 1000),
            (950, -1, YES, 1, 0, 950),
            (1000, 3, NO, 2, 900, 900),
            (1000, 2, YES, 0, 0, 1000),
        ];
        check(&limit(spec), &rows);
    }

    #[test]
    fn what_is_used_stops_at_2_52() {
        let spec = LimitSpec { count_refused: true, ..SPEC };
        let rows =
            [(0, 1 << 52, NO, 0, NEVER, 1015), (500, 1 << 52, NO, 0, NEVER, 515), (500, 1, NO, 0, 515, 515)];
        assert_eq!(check(&limit(spec), &rows), window(500, &[(15, 1 << 52)]));
    }

    #[test]
    fn a_clock_that_runs_back_is_clamped_and_durations_count_from_it() {
        let rows = [(5000, 4, YES, 6, 0, 1000), (4500, 6, YES, 0, 0, 1500), (4500, 1, NO, 0, 1500, 1500)];
        assert_eq!(check(&limit(SPEC), &rows), window(5000, &[(5000, 10)]));
    }

    #[test]
    fn an_empty_window_ahead_of_the_clock_equals_none_only_once_the_clock_has_caught_up() {
        // Bug: it said 0, but a hit on it is recorded at its own time, later than that on a new key.
        check(&limit(SPEC), &[(5000, 4, YES, 6, 0, 1000), (4500, -4, YES, 10, 0, 500)]);
    }

    #[test]
    fn a_state_more_than_a_period_and_a_minute_ahead_becomes_one_slot_of_now() {
        let ahead = |ms: u64| window(62_000 + ms, &[(61_500 + ms, 4), (62_000 + ms, 5)]);
        check_from(ahead(0), &limit(SPEC), &[(1000, 2, NO, 1, 61_500, 62_000)]);
        let stored = check_from(ahead(1), &limit(SPEC), &[(1000, 2, NO, 1, 1000, 1000)]);
        // Bug: it was stored only with a booking, so a refused key was locked until the wrong time came.
        assert_eq!(stored, window(1000, &[(1000, 9)]));
    }

    #[test]
    fn a_changed_count_keeps_what_is_used() {
        let used = check(&limit(SPEC), &[(0, 8, YES, 2, 0, 1000)]);
        check_from(used.clone(), &limit(LimitSpec { count: 20, ..SPEC }), &[(0, 12, YES, 0, 0, 1000)]);
        check_from(used, &limit(LimitSpec { count: 5, ..SPEC }), &[(1, 0, NO, 0, 999, 999)]);
    }

    #[test]
    fn durations_are_at_most_ten_years() {
        const TEN_YEARS_MS: u64 = 315_360_000_000;
        let spec = LimitSpec { unit: Unit::Year, unit_multiplier: 100, ..SPEC };
        check(&limit(spec), &[(0, 10, YES, 0, 0, TEN_YEARS_MS), (0, 1, NO, 0, TEN_YEARS_MS, TEN_YEARS_MS)]);
    }
}
