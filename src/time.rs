//! Time as the limits see it: whole milliseconds since the Unix epoch, read from a [`Clock`].
//!
//! This is the only file that reads a clock.
//! The system clock goes through libc for every reading, so a faked clock works.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// A reading of a clock: whole milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The reading `ms` milliseconds after the Unix epoch.
    #[must_use]
    pub const fn from_ms(ms: u64) -> Self {
        Self(ms)
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn ms(self) -> u64 {
        self.0
    }
}

/// Says what time it is.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// The present time. May run backwards; the arithmetic expects that.
    fn now(&self) -> Timestamp;
}

/// The machine's wall clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
    }
}

/// A reading of a monotonic clock: the time since a moment that means nothing else. For timers, never for limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    /// Nanoseconds; enough for 584 years.
    ns: u64,
}

const NS_PER_MS: u64 = 1_000_000;

impl Moment {
    /// The moment `ms` milliseconds after this one.
    #[must_use]
    pub const fn plus_ms(self, ms: u64) -> Self {
        Self { ns: self.ns.saturating_add(ms.saturating_mul(NS_PER_MS)) }
    }

    /// Whole milliseconds that have passed since `earlier`; 0 if it is later.
    #[must_use]
    pub const fn ms_since(self, earlier: Self) -> u64 {
        self.ns.saturating_sub(earlier.ns) / NS_PER_MS
    }
}

/// Says how much time has passed; never runs backwards.
pub trait Monotonic: Send + Sync + std::fmt::Debug {
    /// The present moment.
    fn moment(&self) -> Moment;
}

impl Monotonic for Stopwatch {
    fn moment(&self) -> Moment {
        Moment { ns: u64::try_from(self.elapsed().as_nanos()).unwrap_or(u64::MAX) }
    }
}

/// A clock that stands still until it is told to move, for tests and simulations.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicU64);

impl ManualClock {
    /// A clock that stands at `now`.
    #[must_use]
    pub const fn at(now: Timestamp) -> Self {
        Self(AtomicU64::new(now.0))
    }

    /// Puts the clock to `now`, which may lie in its past.
    pub fn set(&self, now: Timestamp) {
        self.0.store(now.0, Ordering::SeqCst);
    }

    /// Moves the clock forward by `ms` milliseconds.
    pub fn advance_ms(&self, ms: u64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

impl Monotonic for ManualClock {
    fn moment(&self) -> Moment {
        Moment { ns: self.now().ms().saturating_mul(NS_PER_MS) }
    }
}

/// Measures how long something took, on the monotonic clock. For metrics and timers, never for limits.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts measuring.
    #[must_use]
    pub fn start() -> Self {
        #[expect(clippy::disallowed_methods, reason = "the one place that reads the monotonic clock")]
        Self(Instant::now())
    }

    /// The time since the start.
    #[must_use]
    pub fn elapsed(&self) -> std::time::Duration {
        self.0.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let clock = ManualClock::at(Timestamp::from_ms(5));
        assert_eq!(clock.now().ms(), 5);
        clock.advance_ms(10);
        assert_eq!(clock.now().ms(), 15);
        clock.set(Timestamp::from_ms(3));
        assert_eq!(clock.now().ms(), 3);
    }

    #[test]
    fn the_system_clock_stands_after_2020() {
        assert!(SystemClock.now().ms() > 1_577_836_800_000);
    }
}
