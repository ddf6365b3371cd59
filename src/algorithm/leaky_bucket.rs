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
