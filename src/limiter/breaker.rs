//! Whether a store that has been failing is asked: a state machine without a clock, a lock or a timer.
//!
//! Closed, requests go to the store. After several failures in a row, or a second of nothing but failures, it
//! opens: requests are not sent, and only probes are, further and further apart. An answer to one of them
//! closes it. Times are given as what has passed since any fixed moment.

use std::time::Duration;

/// Nothing but failures for this long opens the breaker, however few they are: with little traffic the count
/// would take minutes. In milliseconds.
const FAILING_MS: u64 = 1_000;

/// A breaker that opens again within this time after it closed has not seen the end of the outage, so its
/// probes go on where they were. In milliseconds.
const REOPENED_MS: u64 = 10_000;

/// How often a store that answers is pinged, in milliseconds: an outage without traffic is noticed after two.
const PING_MS: u64 = 1_000;

/// When the breaker opens, and how often it probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// How many failures in a row open it; at least 1.
    pub failures: u32,
    /// The longest wait before the first probe, in milliseconds; doubled after each that fails.
    pub probe_ms: u64,
    /// The longest wait between two probes, in milliseconds.
    pub max_probe_ms: u64,
}

impl Default for Settings {
    /// Five failures are no accident. A restart of a store is over in about a second, so the first probes
    /// come soon; a store that stays away costs a probe every five seconds at most.
    fn default() -> Self {
        Self { failures: 5, probe_ms: 250, max_probe_ms: 5_000 }
    }
}

/// The breaker of one store.
#[derive(Debug)]
pub struct Breaker {
    settings: Settings,
    state: State,
    /// The longest wait before the next probe, in milliseconds.
    probe_ms: u64,
    /// When it closed after it had been open.
    closed_at: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The store has neither answered nor failed yet; requests are sent.
    Unheard,
    /// The store answers, or has failed `failures` times in a row, the first time at `since`.
    Closed { failures: u32, since: Duration },
    /// The store is only probed.
    Open { since: Duration },
}

/// What a report changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The store answered for the first time.
    Heard,
    /// The store is not asked any more.
    Opened,
    /// The store is asked again, after it was not for so long.
    Closed {
        /// How long the breaker was open.
        after: Duration,
    },
}

impl Breaker {
    /// The breaker of a store that has not been heard of.
    #[must_use]
    pub const fn new(settings: Settings) -> Self {
        Self { settings, state: State::Unheard, probe_ms: settings.probe_ms, closed_at: None }
    }

    /// Whether requests are kept from the store.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        matches!(self.state, State::Open { .. })
    }

    /// The store answered a request. Only probes close the breaker: what was sent before it opened says
    /// nothing about now.
    pub fn answered(&mut self, now: Duration) -> Option<Change> {
        let change = match self.state {
            State::Open { .. } => return None,
            State::Unheard => Some(Change::Heard),
            State::Closed { .. } => None,
        };
        self.state = State::Closed { failures: 0, since: now };
        change
    }

    /// The store was out of reach for a request or a connection. One that never answered has nothing to lose.
    pub fn failed(&mut self, now: Duration) -> Option<Change> {
        let (failures, since) = match self.state {
            State::Open { .. } => return None,
            State::Unheard => return Some(self.open(now)),
            State::Closed { failures: 0, .. } => (1, now),
            State::Closed { failures, since } => (failures.saturating_add(1), since),
        };
        let failing = now.saturating_sub(since);
        if failures >= self.settings.failures || failing >= Duration::from_millis(FAILING_MS) {
            return Some(self.open(now));
        }
        self.state = State::Closed { failures, since };
        None
    }

    /// The store answered a ping.
    pub fn ping_answered(&mut self, now: Duration) -> Option<Change> {
        let State::Open { since } = self.state else { return self.answered(now) };
        self.state = State::Closed { failures: 0, since: now };
        self.closed_at = Some(now);
        Some(Change::Closed { after: now.saturating_sub(since) })
    }

    /// A ping failed; `is_outage` says whether the store was out of reach.
    pub fn ping_failed(&mut self, now: Duration, is_outage: bool) -> Option<Change> {
        match self.state {
            State::Open { .. } => self.wait_longer(),
            _ if is_outage => return self.failed(now),
            State::Unheard => self.wait_longer(),
            State::Closed { .. } => {}
        }
        None
    }

    /// How long to wait before the next ping. While the store does not answer, `random` spreads the pings
    /// of many servers over the second half of the wait.
    #[must_use]
    pub const fn wait(&self, random: u64) -> Duration {
        if matches!(self.state, State::Closed { .. }) {
            return Duration::from_millis(PING_MS);
        }
        let half_ms = self.probe_ms / 2;
        Duration::from_millis(self.probe_ms - random % (half_ms + 1))
    }

    fn open(&mut self, now: Duration) -> Change {
        let reopened = Duration::from_millis(REOPENED_MS);
        if self.closed_at.is_some_and(|closed_at| now.saturating_sub(closed_at) < reopened) {
            self.wait_longer();
        } else {
            self.probe_ms = self.settings.probe_ms;
        }
        self.state = State::Open { since: now };
        Change::Opened
    }

    fn wait_longer(&mut self) {
        let longest_ms = self.settings.max_probe_ms.max(self.settings.probe_ms);
        self.probe_ms = self.probe_ms.saturating_mul(2).min(longest_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// A breaker whose store has answered at the time 0.
    fn closed() -> Breaker {
        let mut breaker = Breaker::new(Settings::default());
        assert_eq!(breaker.answered(ms(0)), Some(Change::Heard));
        breaker
    }

    fn open_at(breaker: &mut Breaker, now: Duration) {
        let opened = (0..5).filter_map(|_| breaker.failed(now)).collect::<Vec<_>>();
        assert_eq!(opened, [Change::Opened]);
    }

    #[test]
    fn the_fifth_failure_in_a_row_opens_it() {
        let mut breaker = closed();
        for _ in 0..4 {
            assert_eq!(breaker.failed(ms(10)), None);
        }
        assert_eq!(breaker.answered(ms(11)), None);
        for _ in 0..4 {
            assert_eq!(breaker.failed(ms(12)), None);
        }
        assert!(!breaker.is_open(), "an answer between them breaks the row");
        assert_eq!(breaker.failed(ms(12)), Some(Change::Opened));
        assert!(breaker.is_open());
        assert_eq!(breaker.failed(ms(13)), None, "it opens once");
    }

    #[test]
    fn a_second_of_nothing_but_failures_opens_it() {
        let mut breaker = closed();
        assert_eq!(breaker.failed(ms(5000)), None, "a long silence before is no failure");
        assert_eq!(breaker.failed(ms(5999)), None);
        assert_eq!(breaker.failed(ms(6000)), Some(Change::Opened));
    }

    #[test]
    fn a_store_that_never_answered_is_not_asked_after_the_first_failure() {
        let mut breaker = Breaker::new(Settings::default());
        assert!(!breaker.is_open(), "it may answer");
        assert_eq!(breaker.ping_failed(ms(0), true), Some(Change::Opened));
    }

    #[test]
    fn only_a_ping_closes_it() {
        let mut breaker = closed();
        open_at(&mut breaker, ms(0));
        assert_eq!(breaker.answered(ms(100)), None, "a late answer says nothing about now");
        assert!(breaker.is_open());
        assert_eq!(breaker.ping_failed(ms(200), false), None, "a store that refuses pings is not well");
        assert!(breaker.is_open());
        assert_eq!(breaker.ping_answered(ms(400)), Some(Change::Closed { after: ms(400) }));
        assert!(!breaker.is_open());
    }

    #[test]
    fn probes_come_further_and_further_apart() {
        let mut breaker = closed();
        assert_eq!(breaker.wait(7), ms(1000));
        open_at(&mut breaker, ms(0));
        let mut waits = Vec::new();
        for _ in 0..7 {
            waits.push(breaker.wait(0).as_millis());
            breaker.ping_failed(ms(1), true);
        }
        assert_eq!(waits, [250, 500, 1000, 2000, 4000, 5000, 5000]);
    }

    #[test]
    fn the_waits_of_many_servers_are_spread_over_their_second_half() {
        let mut breaker = closed();
        open_at(&mut breaker, ms(0));
        let waits: Vec<_> = (0..1000).map(|random| breaker.wait(random)).collect();
        assert_eq!(waits.iter().min(), Some(&ms(125)));
        assert_eq!(waits.iter().max(), Some(&ms(250)));
        let once = Breaker::new(Settings { probe_ms: 1, ..Settings::default() });
        assert_eq!(once.wait(u64::MAX), ms(1), "a wait is never nothing");
    }

    #[test]
    fn a_breaker_that_opens_again_soon_goes_on_waiting_longer() {
        let check = |well_ms: u64, expected_ms: u64| {
            let mut breaker = closed();
            open_at(&mut breaker, ms(0));
            breaker.ping_failed(ms(1), true);
            breaker.ping_answered(ms(2));
            open_at(&mut breaker, ms(2 + well_ms));
            assert_eq!(breaker.wait(0), ms(expected_ms), "well for {well_ms} ms");
        };
        check(9_999, 1000);
        check(10_000, 250);
    }

    #[test]
    fn a_store_that_refuses_pings_from_the_start_is_pinged_less_and_asked() {
        let mut breaker = Breaker::new(Settings::default());
        assert_eq!(breaker.ping_failed(ms(0), false), None);
        assert_eq!(breaker.wait(0), ms(500));
        assert!(!breaker.is_open());
        assert_eq!(breaker.ping_answered(ms(1)), Some(Change::Heard));
    }
}
