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
    fn at(limit: &Limit, stored: Option<&Self>, now: Timestamp) -> Self {
        let Some(stored) = stored else { return Self { at_ms: now.ms(), slots: Vec::new() } };
        if too_far_ahead(limit, stored.at_ms, now) {
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
        self.slots.last().map_or(0, |newest| newest.end_ms.saturating_add(limit.period_ms()))
    }
}
