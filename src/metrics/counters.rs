//! What is counted per limit.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::families::{Family, Kind};
use crate::algorithm::Verdict;
use crate::engine::Charge;

/// The counts of one limit, in hits. The first five mean what they mean in the reference.
#[derive(Debug, Default)]
pub struct LimitCounters {
    /// Those of requests beyond the limit: with those within it, all that were asked for. So most requests need one
    /// addition only.
    refused: AtomicU64,
    within_limit: AtomicU64,
    near_limit: AtomicU64,
    over_limit: AtomicU64,
    shadow_mode: AtomicU64,
    above_burst: AtomicU64,
    given_back: AtomicU64,
    overflow_key: AtomicU64,
    local_cache: AtomicU64,
}

/// One of the counts: its metric name, what it says, and how to read it.
struct Count {
    name: &'static str,
    description: &'static str,
    read: fn(&LimitCounters) -> u64,
}

/// Every count of a limit.
const COUNTS: [Count; 9] = [
    Count {
        name: "fluxlimit.hits",
        description: "Hits that were asked for",
        read: |counters| counters.asked(),
    },
    Count {
        name: "fluxlimit.hits.within_limit",
        description: "Hits that fitted into the limit",
        read: |counters| counters.within_limit.load(Relaxed),
    },
    Count {
        name: "fluxlimit.hits.near_limit",
        description: "Hits beyond `near_limit_ratio` of the limit that still fitted",
        read: |counters| counters.near_limit.load(Relaxed),
    },
    Count {
        name: "fluxlimit.hits.over_limit",
        description: "Hits beyond the limit",
        read: |counters| counters.over_limit.load(Relaxed),
    },
    Count {
        name: "fluxlimit.hits.shadow_mode",
        description: "Hits beyond a limit that only measures",
        read: |counters| counters.shadow_mode.load(Relaxed),
    },
    Count {
        name: "fluxlimit.hits.above_burst",
        description: "Hits of requests that ask for more than the limit can ever admit at once",
        read: |counters| counters.above_burst.load(Relaxed),
    },
    Count {
        name: "fluxlimit.hits.given_back",
        description: "Hits that were given back",
        read: |counters| counters.given_back.load(Relaxed),
    },
    Count {
        name: "fluxlimit.hits.overflow_key",
        description: "Hits of new keys that shared one counter because the store was full",
        read: |counters| counters.overflow_key.load(Relaxed),
    },
    Count {
        name: "fluxlimit.hits.over_limit.local_cache",
        description: "Hits beyond the limit that were refused without asking the store",
        read: |counters| counters.local_cache.load(Relaxed),
    },
];

/// The metrics of limits: one for each count.
pub(super) fn families() -> impl Iterator<Item = Family> {
    COUNTS.into_iter().map(|Count { name, description, read }| Family {
        name,
        description,
        kind: Kind::Counter,
        read: Box::new(move |counts, observe| {
            for (labels, total) in counts.series.totals(read) {
                observe(total, &labels.attributes());
            }
        }),
    })
}

impl LimitCounters {
    /// Counts one charge with its verdict.
    pub(super) fn record(&self, charge: &Charge, verdict: &Verdict, near_limit_ratio: f32) {
        let hits = charge.hits.unsigned_abs();
        if charge.hits <= 0 {
            self.given_back.fetch_add(hits, Relaxed);
            return;
        }
        let capacity = charge.limit.capacity();
        let near = near_threshold(capacity, near_limit_ratio);
        let before = capacity.saturating_sub(verdict.available);
        if verdict.allowed {
            self.within_limit.fetch_add(hits, Relaxed);
            let after = before.saturating_add(hits);
            if after > near {
                self.near_limit.fetch_add(if before >= near { hits } else { after - near }, Relaxed);
            }
            return;
        }
        self.refused.fetch_add(hits, Relaxed);
        let mut over = hits;
        if charge.limit.count_refused() && verdict.available > 0 {
            // What still fitted was near the limit, not over it; it was booked all the same.
            over = hits.saturating_sub(verdict.available);
            self.near_limit.fetch_add(capacity - before.max(near).min(capacity), Relaxed);
        }
        self.record_over(charge, verdict, over);
    }

    /// Counts one charge that was refused without asking the store: nothing of it is near the limit, since
    /// nothing is booked.
    pub(super) fn record_remembered(&self, charge: &Charge, verdict: &Verdict) {
        let hits = charge.hits.max(0).unsigned_abs();
        self.refused.fetch_add(hits, Relaxed);
        self.local_cache.fetch_add(hits, Relaxed);
        self.record_over(charge, verdict, hits);
    }

    fn record_over(&self, charge: &Charge, verdict: &Verdict, over: u64) {
        self.over_limit.fetch_add(over, Relaxed);
        if charge.shadow {
            self.shadow_mode.fetch_add(over, Relaxed);
        }
        if verdict.retry_after_ms.is_none() {
            self.above_burst.fetch_add(charge.hits.max(0).unsigned_abs(), Relaxed);
        }
    }

    pub(super) fn record_overflow(&self, charge: &Charge) {
        self.overflow_key.fetch_add(charge.hits.max(0).unsigned_abs(), Relaxed);
    }

    fn asked(&self) -> u64 {
        self.within_limit.load(Relaxed).wrapping_add(self.refused.load(Relaxed))
    }

    /// Whether anything has been counted.
    pub(super) fn is_used(&self) -> bool {
        self.asked() > 0 || self.given_back.load(Relaxed) > 0
    }
}

/// Hits beyond which a limit is near: in 32-bit floats, as the reference computes it, so that the counts
/// are the same.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "metrics, not decisions"
)]
fn near_threshold(capacity: u64, ratio: f32) -> u64 {
    f64::from(capacity as f32 * ratio).floor() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::algorithm::step;
    use crate::engine::Identity;
    use crate::limit::{Algorithm, Limit, LimitSpec, Unit};
    use crate::time::Timestamp;

    /// Hits within, near and over the limit of 10 per day, and in shadow mode.
    fn counted(hits: &[i64], count_refused: bool, shadow: bool) -> [u64; 5] {
        let spec = LimitSpec { count_refused, ..LimitSpec::new(Algorithm::FixedWindow, 10, Unit::Day) };
        let limit = Limit::new(spec).unwrap();
        let (counters, mut state) = (LimitCounters::default(), None);
        for hits in hits {
            let (verdict, next) = step(&limit, state.as_ref(), Timestamp::from_ms(0), *hits);
            state = next.or(state);
            let key = Identity::of(b"d", 0).into_key(&limit, false);
            let charge = Charge { key, limit, hits: *hits, shadow, mark: false, limit_id: 0 };
            counters.record(&charge, &verdict, 0.8);
        }
        let read = |index: usize| (COUNTS[index].read)(&counters);
        [read(1), read(2), read(3), read(4), read(5)]
    }

    #[test]
    fn hits_are_within_near_and_over_as_in_the_reference() {
        assert_eq!(counted(&[8], true, false), [8, 0, 0, 0, 0]);
        assert_eq!(counted(&[9], true, false), [9, 1, 0, 0, 0]);
        assert_eq!(counted(&[8, 2], true, false), [10, 2, 0, 0, 0]);
        assert_eq!(counted(&[25], true, false), [0, 2, 15, 0, 25]);
        assert_eq!(counted(&[8, 5, 1], true, false), [8, 2, 4, 0, 0]);
        assert_eq!(counted(&[8, 5], true, true), [8, 2, 3, 3, 0]);
    }

    #[test]
    fn a_refused_hit_that_is_not_counted_is_over_the_limit_as_a_whole() {
        assert_eq!(counted(&[8, 5, 2], false, false), [10, 2, 5, 0, 0]);
    }
}
