//! What is counted of a store that is far away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Histogram, Meter};

use crate::store::{RoundTrip, StoreError};

/// Upper bounds of the histogram of round trips, in seconds: from a store on the same machine to one that
/// is given up.
const ROUND_TRIP_BOUNDS_S: [f64; 14] =
    [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0];

/// Upper bounds of the histogram of settlements that went together.
const SETTLEMENTS_BOUNDS: [f64; 11] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];

/// The counts of one store.
#[derive(Debug)]
pub struct StoreMetrics {
    counts: Arc<Counts>,
    round_trip_s: Histogram<f64>,
    settlements: Histogram<u64>,
}

#[derive(Debug, Default)]
struct Counts {
    /// Requests without an answer, by [`StoreError::KINDS`].
    errors: [AtomicU64; StoreError::KINDS.len()],
    breaker_open: AtomicBool,
    answers: AtomicBool,
}

impl StoreMetrics {
    /// Nothing counted yet; shown by `meter` from now on.
    pub(super) fn new(meter: &Meter) -> Self {
        let counts = Arc::new(Counts::default());
        let round_trip_s = meter
            .f64_histogram("fluxlimit.store.round_trip.duration")
            .with_unit("s")
            .with_description("Time of one exchange with the store, by how it ended")
            .with_boundaries(ROUND_TRIP_BOUNDS_S.to_vec())
            .build();
        let settlements = meter
            .u64_histogram("fluxlimit.store.round_trip.settlements")
            .with_description("Requests that one exchange with the store answered together")
            .with_boundaries(SETTLEMENTS_BOUNDS.to_vec())
            .build();
        let of = counts.clone();
        meter
            .u64_observable_counter("fluxlimit.store.errors")
            .with_description("Requests that the store did not answer, by the reason")
            .with_callback(move |observer| {
                for (kind, count) in StoreError::KINDS.iter().zip(&of.errors) {
                    observer.observe(count.load(Relaxed), &[KeyValue::new("kind", *kind)]);
                }
            })
            .build();
        let of = counts.clone();
        meter
            .u64_observable_gauge("fluxlimit.store.breaker_open")
            .with_description("1 while the store is only probed because it has been failing")
            .with_callback(move |observer| observer.observe(of.breaker_open.load(Relaxed).into(), &[]))
            .build();
        let of = counts.clone();
        meter
            .u64_observable_gauge("fluxlimit.store.answers")
            .with_description("1 if the store answered the last ping")
            .with_callback(move |observer| observer.observe(of.answers.load(Relaxed).into(), &[]))
            .build();
        Self { counts, round_trip_s, settlements }
    }

    /// Counts a request that the store did not answer.
    pub fn unanswered(&self, error: &StoreError) {
        if let Some(kind) = StoreError::KINDS.iter().position(|kind| *kind == error.kind()) {
            self.counts.errors[kind].fetch_add(1, Relaxed);
        }
    }

    /// Counts an exchange with the store. An attempt to connect carries no settlements, and its time is not
    /// that of a request.
    pub fn round_trip(&self, trip: &RoundTrip<'_>) {
        if trip.settlements == 0 {
            return;
        }
        let result = trip.failure.map_or("ok", StoreError::kind);
        self.round_trip_s.record(trip.took.as_secs_f64(), &[KeyValue::new("result", result)]);
        self.settlements.record(trip.settlements as u64, &[]);
    }

    /// Shows whether the store is only probed.
    pub fn set_breaker_open(&self, breaker_open: bool) {
        self.counts.breaker_open.store(breaker_open, Relaxed);
    }

    /// Shows whether the store answered the last ping.
    pub fn set_answers(&self, answers: bool) {
        self.counts.answers.store(answers, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Metrics, assert_shown};

    #[test]
    fn every_kind_of_failure_has_a_series_before_it_happens() {
        let reason = String::new;
        let all = [
            StoreError::Unavailable { reason: reason() },
            StoreError::TimedOut,
            StoreError::Lost { reason: reason() },
            StoreError::Refused { reason: reason() },
            StoreError::Unreadable { reason: reason() },
            StoreError::Overloaded,
            StoreError::BreakerOpen,
        ];
        let metrics = Metrics::new();
        let store = metrics.of_store();
        for error in &all {
            let series = format!("fluxlimit_store_errors_total{{kind=\"{}\"}}", error.kind());
            assert_shown(&metrics, &format!("{series} 0"));
            store.unanswered(error);
            assert_shown(&metrics, &format!("{series} 1"));
        }
    }

    #[test]
    fn an_attempt_to_connect_is_no_round_trip_of_requests() {
        let metrics = Metrics::new();
        let store = metrics.of_store();
        let took = std::time::Duration::from_millis(3);
        store.round_trip(&RoundTrip { took, settlements: 0, failure: Some(&StoreError::TimedOut) });
        assert!(!metrics.text().contains("timed_out\"} 1"), "{}", metrics.text());
        store.round_trip(&RoundTrip { took, settlements: 5, failure: None });
        assert_shown(&metrics, "fluxlimit_store_round_trip_duration_seconds_count{result=\"ok\"} 1");
        assert_shown(&metrics, "fluxlimit_store_round_trip_settlements_bucket{le=\"8\"} 1");
    }

    #[test]
    fn the_queue_is_shown_as_it_is() {
        let metrics = Metrics::new();
        metrics.show_waiting(|| 7, || 10);
        assert_shown(&metrics, "fluxlimit_store_waiting 7");
        assert_shown(&metrics, "fluxlimit_store_max_waiting 10");
    }
}
