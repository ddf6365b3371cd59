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
    fn at(limit: &Limit, stored: Option<&Self>, now: Timestamp) -> Self {
        let start_ms = now.ms() - now.ms() % limit.period_ms();
        match stored {
            Some(stored) if too_far_ahead(limit, stored.start_ms, now) => {
                Self { start_ms, used: stored.used }
            }
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
