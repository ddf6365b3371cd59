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
    fn at(limit: &Limit, stored: Option<&Self>, now: Timestamp) -> Self {
        let full = full(limit);
        let now_tick = now.ms() / limit.tick_ms();
        let Some(stored) = stored else { return Self { level: full, at_tick: now_tick } };
        if too_far_ahead(limit, stored.at_tick.saturating_mul(limit.tick_ms()), now) {
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
        match full(limit) - self.level {
            0 => 0,
            missing => self.refilled_at_ms(limit, missing).unwrap_or(u64::MAX),
        }
    }
}
