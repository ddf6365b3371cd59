//! How decisions ended and how long they took: counted for each one, so as cheaply as can be.
//!
//! A histogram of OpenTelemetry takes a lock that all threads share for each value. Here threads count in stripes of
//! their own, each with a counter per bucket, and whoever scrapes adds them up.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Bucket, Histogram, Metric, MetricFamily, MetricType};

use crate::engine::Code;

/// Upper bounds of the buckets, in nanoseconds: from a decision in memory to Envoy's default timeout of 20 ms,
/// the default timeout of a store of 100 ms, and beyond.
const BOUNDS_NS: [u64; 17] = [
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    20_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
];

/// The name of the histogram as OpenTelemetry has it, and as Prometheus has it.
pub(super) const NAME: &str = "fluxlimit.decision.duration";
const PROMETHEUS_NAME: &str = "fluxlimit_decision_duration_seconds";

/// What it says.
pub(super) const DESCRIPTION: &str = "Time from a decoded request to its decision";

/// So many threads count without meeting.
const STRIPES: usize = 16;

/// Every decision.
#[derive(Debug, Default)]
pub(super) struct Decisions {
    stripes: [Stripe; STRIPES],
}

/// What some of the threads counted. Aligned, so that no two stripes share a cache line or a pair of them.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Stripe {
    ok: Buckets,
    over_limit: Buckets,
    sum_ns: AtomicU64,
}

/// Decisions by how long they took: by [`BOUNDS_NS`], and what took longer. How many there were is their sum, so that
/// each decision is one addition.
type Buckets = [AtomicU64; BOUNDS_NS.len() + 1];

/// The stripe of this thread.
fn own_stripe() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    const NONE: usize = usize::MAX;
    thread_local! {
        static OWN: Cell<usize> = const { Cell::new(NONE) };
    }
    OWN.with(|own| {
        if own.get() == NONE {
            own.set(NEXT.fetch_add(1, Relaxed) % STRIPES);
        }
        own.get()
    })
}

/// `duration` in nanoseconds. One of more than 584 years is cut.
fn ns(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1_000_000_000).saturating_add(duration.subsec_nanos().into())
}

#[expect(clippy::cast_precision_loss, reason = "metrics, not decisions")]
fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

/// The upper bounds of the buckets in seconds.
pub(super) fn bounds_s() -> Vec<f64> {
    BOUNDS_NS.into_iter().map(seconds).collect()
}

impl Decisions {
    pub(super) fn count(&self, code: Code, took: Duration) {
        let stripe = &self.stripes[own_stripe()];
        let buckets = match code {
            Code::Ok => &stripe.ok,
            Code::OverLimit => &stripe.over_limit,
        };
        let took_ns = ns(took);
        stripe.sum_ns.fetch_add(took_ns, Relaxed);
        buckets[BOUNDS_NS.partition_point(|bound_ns| *bound_ns < took_ns)].fetch_add(1, Relaxed);
    }

    pub(super) fn ok(&self) -> u64 {
        self.sum(|stripe| stripe.ok.iter())
    }

    pub(super) fn over_limit(&self) -> u64 {
        self.sum(|stripe| stripe.over_limit.iter())
    }

    fn sum<'a, C>(&'a self, counters: impl Fn(&'a Stripe) -> C) -> u64
    where
        C: IntoIterator<Item = &'a AtomicU64>,
    {
        let all = self.stripes.iter().flat_map(counters);
        all.map(|counter| counter.load(Relaxed)).fold(0, u64::wrapping_add)
    }

    /// The histogram of their times. The count is that of the buckets, so that they fit together while others
    /// go on counting.
    fn histogram(&self) -> Histogram {
        let mut count = 0;
        let mut buckets = Vec::with_capacity(BOUNDS_NS.len());
        for (index, bound) in bounds_s().into_iter().enumerate() {
            count += self.sum(|stripe| [&stripe.ok[index], &stripe.over_limit[index]]);
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(bound);
            bucket.set_cumulative_count(count);
            buckets.push(bucket);
        }
        count += self.sum(|stripe| [&stripe.ok[BOUNDS_NS.len()], &stripe.over_limit[BOUNDS_NS.len()]]);
        let mut histogram = Histogram::default();
        histogram.set_sample_sum(seconds(self.sum(|stripe| [&stripe.sum_ns])));
        histogram.set_sample_count(count);
        histogram.set_bucket(buckets);
        histogram
    }
}

/// Shows the times of decisions to whoever scrapes.
pub(super) struct Times {
    decisions: Arc<super::Counts>,
    desc: Desc,
}

impl Times {
    pub(super) fn new(counts: Arc<super::Counts>) -> Self {
        let desc = Desc::new(PROMETHEUS_NAME.to_owned(), DESCRIPTION.to_owned(), Vec::new(), HashMap::new());
        Self { decisions: counts, desc: desc.expect("the name is one of Prometheus's") }
    }
}

impl Collector for Times {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut metric = Metric::default();
        metric.set_histogram(self.decisions.decisions.histogram());
        let mut family = MetricFamily::default();
        family.set_name(PROMETHEUS_NAME.to_owned());
        family.set_help(DESCRIPTION.to_owned());
        family.set_field_type(MetricType::HISTOGRAM);
        family.set_metric(vec![metric]);
        vec![family]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_in_the_bucket_whose_bound_it_does_not_exceed() {
        let decisions = Decisions::default();
        for took_ns in [0, 5_000, 5_001, 1_000_000_000, 1_000_000_001] {
            decisions.count(Code::Ok, Duration::from_nanos(took_ns));
        }
        decisions.count(Code::OverLimit, Duration::MAX);
        let histogram = decisions.histogram();
        let counts: Vec<u64> = histogram.get_bucket().iter().map(Bucket::cumulative_count).collect();
        assert_eq!((counts[0], counts[1], counts[15], counts[16]), (2, 3, 3, 4));
        assert_eq!(histogram.get_sample_count(), 6);
        assert_eq!((decisions.ok(), decisions.over_limit()), (5, 1));
    }

    #[test]
    fn what_all_threads_counted_is_added_up() {
        let decisions = Decisions::default();
        std::thread::scope(|scope| {
            for _ in 0..2 * STRIPES {
                scope.spawn(|| {
                    for _ in 0..100 {
                        decisions.count(Code::Ok, Duration::from_millis(2));
                    }
                });
            }
        });
        let histogram = decisions.histogram();
        assert_eq!(histogram.get_sample_count(), 200 * STRIPES as u64);
        assert!((histogram.get_sample_sum() - 0.4 * 16.0).abs() < 1e-9, "{}", histogram.get_sample_sum());
    }
}
