//! What is known of a store that is far away: its breaker, its metrics, and what the log says of it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::breaker::{Breaker, Change, Settings};
use crate::metrics::{Metrics, StoreMetrics};
use crate::store::{Observer, RoundTrip, StoreError};
use crate::time::Stopwatch;

/// How long after a line about one kind of failure there is no other, in milliseconds.
const LOG_MS: u64 = 1_000;

/// Hears how the exchanges with a store end, and says whether it is worth asking.
///
/// Only what the store itself did counts: a caller that went away is neither an answer nor a failure.
#[derive(Debug)]
pub struct StoreWatch {
    metrics: StoreMetrics,
    running: Stopwatch,
    breaker: Mutex<Breaker>,
    /// What the breaker says, for those who ask before each request.
    is_open: AtomicBool,
    opened: Notify,
    log: Mutex<Sampler>,
    /// What was seen last, and when.
    last_failure: Mutex<Option<(StoreError, Duration)>>,
}

/// The failure of a store that was seen last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastFailure {
    /// What the log says of it.
    pub error: StoreError,
    /// How long ago it was.
    pub ago: Duration,
}

impl StoreWatch {
    /// Nothing is known yet. `metrics` shows the store from now on, so there is one watch for each.
    #[must_use]
    pub fn new(metrics: &Metrics, settings: Settings) -> Self {
        Self {
            metrics: metrics.of_store(),
            running: Stopwatch::start(),
            breaker: Mutex::new(Breaker::new(settings)),
            is_open: AtomicBool::new(false),
            opened: Notify::new(),
            log: Mutex::default(),
            last_failure: Mutex::default(),
        }
    }

    /// The failure that was seen last; `None` if there was none.
    #[must_use]
    pub fn last_failure(&self) -> Option<LastFailure> {
        let (error, at) = self.last_failure.lock().clone()?;
        Some(LastFailure { error, ago: self.running.elapsed().saturating_sub(at) })
    }

    /// Whether the store is not to be asked.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Relaxed)
    }

    /// Waits until the store is not to be asked any more. For one waiter.
    pub async fn opened(&self) {
        self.opened.notified().await;
    }

    /// How long to wait before the next ping; `random` spreads those of many servers.
    #[must_use]
    pub fn wait(&self, random: u64) -> Duration {
        self.breaker.lock().wait(random)
    }

    /// A ping has ended, as its sender saw it. It may have been a round trip too; to count it twice is no harm.
    pub fn pinged(&self, answer: &Result<(), StoreError>) {
        self.metrics.set_answers(answer.is_ok());
        match answer {
            Ok(()) => self.report(None, Breaker::ping_answered),
            Err(error) => {
                self.say(error);
                self.report(Some(error), |breaker, now| breaker.ping_failed(now, error.is_outage()));
            }
        }
    }

    /// A request got no answer from the store, so a policy gives it.
    pub fn unanswered(&self, error: &StoreError) {
        self.metrics.unanswered(error);
        // The line about the breaker said it for all that follow.
        if *error != StoreError::BreakerOpen {
            self.say(error);
        }
    }

    fn report(
        &self,
        error: Option<&StoreError>,
        report: impl FnOnce(&mut Breaker, Duration) -> Option<Change>,
    ) {
        let mut breaker = self.breaker.lock();
        let Some(change) = report(&mut breaker, self.running.elapsed()) else { return };
        let is_open = breaker.is_open();
        self.is_open.store(is_open, Ordering::Relaxed);
        self.metrics.set_breaker_open(is_open);
        drop(breaker);
        match change {
            Change::Heard => tracing::info!("the store answers"),
            Change::Closed { after } => {
                let not_asked_ms = after.as_millis();
                tracing::info!(not_asked_ms, "the store answers again");
            }
            Change::Opened => {
                let error = error.map(tracing::field::display);
                tracing::warn!(
                    error,
                    "the store is only probed until it answers; `on_store_failure` decides"
                );
                self.opened.notify_one();
            }
        }
    }

    /// Logs a failure, unless one of its kind was logged just now.
    fn say(&self, error: &StoreError) {
        let now = self.running.elapsed();
        *self.last_failure.lock() = Some((error.clone(), now));
        let said = self.log.lock().take(error.kind(), now);
        if let Some(left_out) = said {
            tracing::warn!(%error, left_out, "the store failed");
        }
    }
}

impl Observer for StoreWatch {
    fn ended(&self, trip: &RoundTrip<'_>) {
        self.metrics.round_trip(trip);
        match trip.failure {
            Some(error) => {
                self.say(error);
                if error.is_outage() {
                    self.report(Some(error), Breaker::failed);
                } else {
                    // It refused, so it is there.
                    self.report(None, Breaker::answered);
                }
            }
            None => self.report(None, Breaker::answered),
        }
    }
}

/// Which lines are written: one of a kind at a time.
#[derive(Debug, Default)]
struct Sampler(HashMap<&'static str, Sampled>);

#[derive(Debug)]
struct Sampled {
    at: Duration,
    left_out: u64,
}

impl Sampler {
    /// Whether a line of that kind is written now, and if so how many were left out before it.
    fn take(&mut self, kind: &'static str, now: Duration) -> Option<u64> {
        let Some(sampled) = self.0.get_mut(kind) else {
            self.0.insert(kind, Sampled { at: now, left_out: 0 });
            return Some(0);
        };
        if now.saturating_sub(sampled.at) < Duration::from_millis(LOG_MS) {
            sampled.left_out += 1;
            return None;
        }
        sampled.at = now;
        Some(std::mem::take(&mut sampled.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch() -> StoreWatch {
        StoreWatch::new(&Metrics::new(), Settings::default())
    }

    fn lost() -> StoreError {
        StoreError::Lost { reason: "reset by peer".to_owned() }
    }

    fn trip(failure: Option<&StoreError>) -> RoundTrip<'_> {
        RoundTrip { took: Duration::from_millis(1), settlements: 3, failure }
    }

    #[test]
    fn only_failures_to_reach_the_store_open_the_breaker() {
        let reason = "NOPERM".to_owned();
        let there = [
            StoreError::Refused { reason: reason.clone() },
            StoreError::Unreadable { reason: reason.clone() },
            StoreError::Overloaded,
        ];
        for error in there {
            let watch = watch();
            watch.pinged(&Ok(()));
            for _ in 0..4 {
                watch.ended(&trip(Some(&lost())));
            }
            watch.ended(&trip(Some(&error)));
            assert!(!watch.is_open(), "{error}");
        }
        for error in [lost(), StoreError::TimedOut, StoreError::Unavailable { reason }] {
            let watch = watch();
            watch.pinged(&Ok(()));
            for _ in 0..5 {
                watch.ended(&trip(Some(&error)));
            }
            assert!(watch.is_open(), "{error}");
        }
    }

    #[test]
    fn requests_without_an_answer_are_counted_and_are_no_failures_of_the_store() {
        let metrics = Metrics::new();
        let watch = StoreWatch::new(&metrics, Settings::default());
        for _ in 0..100 {
            watch.unanswered(&StoreError::TimedOut);
        }
        assert!(!watch.is_open());
        let text = metrics.text();
        assert!(text.contains("fluxlimit_store_errors_total{kind=\"timed_out\"} 100\n"), "{text}");
        assert!(text.contains("fluxlimit_store_errors_total{kind=\"breaker_open\"} 0\n"), "{text}");
    }

    #[test]
    fn metrics_show_whether_the_store_answers_and_what_its_round_trips_took() {
        let metrics = Metrics::new();
        let watch = StoreWatch::new(&metrics, Settings::default());
        let check = |lines: &[&str]| {
            let text = metrics.text();
            for line in lines {
                assert!(text.contains(&format!("{line}\n")), "no {line} in:\n{text}");
            }
        };
        check(&["fluxlimit_store_answers 0", "fluxlimit_store_breaker_open 0"]);
        watch.pinged(&Ok(()));
        watch.ended(&trip(None));
        for _ in 0..5 {
            watch.ended(&trip(Some(&StoreError::TimedOut)));
        }
        check(&[
            "fluxlimit_store_answers 1",
            "fluxlimit_store_breaker_open 1",
            "fluxlimit_store_round_trip_duration_seconds_count{result=\"ok\"} 1",
            "fluxlimit_store_round_trip_duration_seconds_count{result=\"timed_out\"} 5",
            "fluxlimit_store_round_trip_settlements_sum 18",
        ]);
        watch.pinged(&Err(StoreError::TimedOut));
        check(&["fluxlimit_store_answers 0"]);
        watch.pinged(&Ok(()));
        check(&["fluxlimit_store_answers 1", "fluxlimit_store_breaker_open 0"]);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_hears_when_the_breaker_opens() {
        let watch = watch();
        let opened = tokio::time::timeout(Duration::from_secs(1), watch.opened());
        assert!(opened.await.is_err());
        watch.pinged(&Err(lost()));
        watch.opened().await;
        assert!(watch.is_open());
    }

    #[test]
    fn one_line_of_a_kind_is_written_in_a_second() {
        let mut log = Sampler::default();
        let at = Duration::from_millis;
        assert_eq!(log.take("lost", at(0)), Some(0));
        assert_eq!(log.take("lost", at(1)), None);
        assert_eq!(log.take("timed_out", at(1)), Some(0));
        assert_eq!(log.take("lost", at(999)), None);
        assert_eq!(log.take("lost", at(1000)), Some(2));
        assert_eq!(log.take("lost", at(1500)), None);
        assert_eq!(log.take("lost", at(9000)), Some(1));
    }
}
