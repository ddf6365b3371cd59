//! When the whole machine stood still, which no server can help.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

const TICK: Duration = Duration::from_millis(50);
/// A tick that comes later than that is a stall. A busy machine makes it a little late.
const LATE: Duration = Duration::from_millis(500);
/// Calls are excused by stalls of so long in all: half of the time that a store has.
const ENOUGH: Duration = Duration::from_millis(2_500);
/// After a stall everybody wakes up at once, and this thread may be the last.
const PATIENCE: Duration = Duration::from_millis(500);

/// The times in which a thread that does nothing but look at the clock was not run.
#[derive(Debug, Default)]
pub(crate) struct Stalls(Mutex<Vec<(Instant, Instant)>>);

impl Stalls {
    /// Looks at the clock until it is told to stop.
    pub(crate) fn watch(&self, stop: &AtomicBool) {
        let mut last = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            sleep(TICK);
            let now = Instant::now();
            self.ticked(last, now);
            last = now;
        }
    }

    fn ticked(&self, last: Instant, now: Instant) {
        if now - last > LATE {
            self.lock().push((last, now));
        }
    }

    /// Whether a call stood still for so long that a store's time may have been over without it.
    pub(crate) fn excuse(&self, started: Instant, ended: Instant) -> bool {
        self.within(started, ended) >= ENOUGH || {
            sleep(PATIENCE);
            self.within(started, ended) >= ENOUGH
        }
    }

    /// How many there were, and how long the longest took.
    pub(crate) fn told(&self) -> (usize, Duration) {
        let stalls = self.lock();
        let longest = stalls.iter().map(|(from, until)| *until - *from).max();
        (stalls.len(), longest.unwrap_or_default())
    }

    fn within(&self, started: Instant, ended: Instant) -> Duration {
        let stalls = self.lock();
        let common = |(from, until): &(Instant, Instant)| {
            (*until).min(ended).saturating_duration_since((*from).max(started))
        };
        stalls.iter().map(common).sum()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(Instant, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[test]
fn a_call_is_excused_by_what_it_has_in_common_with_stalls() {
    let stalls = Stalls::default();
    let start = Instant::now();
    let at = |ms: u64| start + Duration::from_millis(ms);
    stalls.ticked(at(0), at(60));
    stalls.ticked(at(1_000), at(4_000));
    stalls.ticked(at(5_000), at(6_000));
    assert_eq!(stalls.told(), (2, Duration::from_secs(3)));
    assert!(stalls.excuse(at(900), at(4_100)) && stalls.excuse(at(2_000), at(5_500)));
    assert!(!stalls.excuse(at(2_000), at(4_400)), "two of the three seconds");
    assert!(!stalls.excuse(at(6_000), at(60_000)), "it came later");
}
