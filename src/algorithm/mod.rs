//! The arithmetic of the four algorithms: integers only, no clock, no lock, no failure.
//!
//! A stored [`State`] is first brought to the present ([`State::at`]); then it is asked
//! ([`State::allows`], [`State::remaining`], [`State::wait_ms`], [`State::reset_ms`]) and booked on
//! ([`State::book`]). [`step`] does all of it for one charge alone.
//!
//! To add an algorithm: a variant of [`Algorithm`] and of [`State`], a file with its `Meter`, and an arm
//! in `with_meter!` and in [`State::at`].

mod fixed_window;
mod leaky_bucket;
mod sliding_window;
#[cfg(test)]
mod table;
mod token_bucket;

pub use fixed_window::FixedWindow;
pub use leaky_bucket::LeakyBucket;
pub use sliding_window::{SlidingWindow, Slot};
pub use token_bucket::TokenBucket;

use crate::limit::{Algorithm, Limit};
use crate::time::Timestamp;

/// Longest duration that is ever answered or used as a lifetime: 10 years of 365 days.
pub const MAX_DURATION_MS: u64 = 10 * 365 * 86_400 * 1000;

/// How far a state may lie ahead of the clock, beyond one period, before the clock is believed instead.
///
/// A clock that ran ahead and was corrected must not lock a key for longer than this.
pub const MAX_AHEAD_MS: u64 = 60_000;

/// The few numbers that are stored under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Of a token bucket.
    TokenBucket(TokenBucket),
    /// Of a leaky bucket.
    LeakyBucket(LeakyBucket),
    /// Of a fixed window.
    FixedWindow(FixedWindow),
    /// Of a sliding window.
    SlidingWindow(SlidingWindow),
}

/// The answer for one charge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Whether the hits fit.
    pub allowed: bool,
    /// Hits that were left when the charge was tried.
    pub available: u64,
    /// Hits that are left after its turn.
    pub remaining: u64,
    /// Milliseconds from the clock reading until the same hits fit: refused one millisecond before,
    /// allowed at it. 0 if they fit now, `None` if they never can.
    pub retry_after_ms: Option<u64>,
    /// Milliseconds from the clock reading until the state equals no state.
    pub reset_after_ms: u64,
}

/// What an algorithm has to know of its own state. All amounts are hits; all functions are total.
trait Meter: Sized {
    /// The state's own time, in milliseconds since the Unix epoch.
    fn own_ms(&self, limit: &Limit) -> u64;

    /// The stored state, or none, brought to `now`; never to a time before its own.
    fn at(limit: &Limit, stored: Option<&Self>, now: Timestamp) -> Self;

    /// Whether `hits` (≥ 0) fit now.
    fn allows(&self, limit: &Limit, hits: u64) -> bool;

    /// Counts `hits`, whether they fit or not.
    fn take(&mut self, limit: &Limit, hits: u64);

    /// Gives `hits` back, never beyond unused.
    fn give_back(&mut self, limit: &Limit, hits: u64);

    /// Hits that are left.
    fn remaining(&self, limit: &Limit) -> u64;

    /// The reading of the clock, in milliseconds, from which on `hits` fit; `None` if never.
    fn fits_at_ms(&self, limit: &Limit, hits: u64) -> Option<u64>;

    /// The reading of the clock, in milliseconds, from which on this state equals no state.
    fn gone_at_ms(&self, limit: &Limit) -> u64;
}

macro_rules! with_meter {
    ($state:expr, $meter:ident => $result:expr) => {
        match $state {
            State::TokenBucket($meter) => $result,
            State::LeakyBucket($meter) => $result,
            State::FixedWindow($meter) => $result,
            State::SlidingWindow($meter) => $result,
        }
    };
}

impl State {
    /// The state of a key at `now`. A stored state of another algorithm counts as none: the algorithm is
    /// part of the key, so there is never one.
    #[must_use]
    pub fn at(limit: &Limit, stored: Option<&Self>, now: Timestamp) -> Self {
        macro_rules! bring {
            ($algorithm:ident) => {{
                let stored = match stored {
                    Some(State::$algorithm(meter)) => Some(meter),
                    _ => None,
                };
                State::$algorithm(Meter::at(limit, stored, now))
            }};
        }
        match limit.algorithm() {
            Algorithm::TokenBucket => bring!(TokenBucket),
            Algorithm::LeakyBucket => bring!(LeakyBucket),
            Algorithm::FixedWindow => bring!(FixedWindow),
            Algorithm::SlidingWindow => bring!(SlidingWindow),
        }
    }

    /// Whether this stored state lies so far ahead of the clock that [`State::at`] moves it back to `now`.
    ///
    /// Such a state is to be stored again whatever is booked on it, or it would be found where it was: a key
    /// that refuses books nothing, so it would stay locked for as long as the clock was wrong.
    #[must_use]
    pub fn is_too_far_ahead(&self, limit: &Limit, now: Timestamp) -> bool {
        with_meter!(self, meter => too_far_ahead(limit, meter, now))
    }

    /// Whether `hits` may be charged now. Looking (0) is refused in debt; giving back is always allowed.
    #[must_use]
    pub fn allows(&self, limit: &Limit, hits: i64) -> bool {
        hits < 0 || with_meter!(self, meter => meter.allows(limit, hits.unsigned_abs()))
    }

    /// Counts `hits` whether they fit or not; negative hits are given back.
    pub fn book(&mut self, limit: &Limit, hits: i64) {
        let amount = hits.unsigned_abs();
        if hits < 0 {
            with_meter!(self, meter => meter.give_back(limit, amount));
        } else {
            with_meter!(self, meter => meter.take(limit, amount));
        }
    }

    /// Hits that are left.
    #[must_use]
    pub fn remaining(&self, limit: &Limit) -> u64 {
        with_meter!(self, meter => meter.remaining(limit))
    }

    /// Milliseconds from `clock` until `hits` fit; `None` if they never can.
    #[must_use]
    pub fn wait_ms(&self, limit: &Limit, clock: Timestamp, hits: i64) -> Option<u64> {
        if self.allows(limit, hits) {
            return Some(0);
        }
        let fits_at_ms = with_meter!(self, meter => meter.fits_at_ms(limit, hits.unsigned_abs()));
        fits_at_ms.map(|at_ms| until_ms(at_ms, clock))
    }

    /// Milliseconds from `clock` until this state equals no state, so that it need not be kept.
    #[must_use]
    pub fn reset_ms(&self, limit: &Limit, clock: Timestamp) -> u64 {
        until_ms(with_meter!(self, meter => meter.gone_at_ms(limit)), clock)
    }
}

/// One charge on one state, alone: the verdict, and the state to store if anything was booked or moved back.
#[must_use]
pub fn step(limit: &Limit, stored: Option<&State>, now: Timestamp, hits: i64) -> (Verdict, Option<State>) {
    let mut state = State::at(limit, stored, now);
    let available = state.remaining(limit);
    let allowed = state.allows(limit, hits);
    let books = keeps_state(limit) && hits != 0 && (allowed || limit.count_refused());
    if books {
        state.book(limit, hits);
    }
    let verdict = Verdict {
        allowed,
        available,
        remaining: state.remaining(limit),
        retry_after_ms: if allowed { Some(0) } else { state.wait_ms(limit, now, hits) },
        reset_after_ms: state.reset_ms(limit, now),
    };
    let moved = keeps_state(limit) && stored.is_some_and(|stored| stored.is_too_far_ahead(limit, now));
    (verdict, (books || moved).then_some(state))
}

/// False for a bucket of size 0, which is always both empty and full: there is nothing to store.
#[must_use]
pub const fn keeps_state(limit: &Limit) -> bool {
    limit.capacity() > 0 || !limit.algorithm().is_bucket()
}

fn until_ms(at_ms: u64, clock: Timestamp) -> u64 {
    at_ms.saturating_sub(clock.ms()).min(MAX_DURATION_MS)
}

/// Whether a state lies so far ahead of the clock that the clock is believed.
fn too_far_ahead(limit: &Limit, stored: &impl Meter, now: Timestamp) -> bool {
    stored.own_ms(limit) > now.ms().saturating_add(limit.period_ms() + MAX_AHEAD_MS)
}
