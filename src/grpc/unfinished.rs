//! Calls whose message is not whole: how many there may be, and how much of their messages is held.
//!
//! A call costs a client a few bytes and the server some kilobytes for as long as it waits. Both bounds are
//! common to all connections, since one for each alone is no bound: 16,384 connections would hold 64 GiB. What a
//! connection holds of its own is let be, so that who fills the common bounds keeps nobody else out.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::frame::FrameError;
use super::settings::{OWN_UNFINISHED_BYTES, OWN_UNFINISHED_CALLS, Settings, UNFINISHED_MESSAGES};

/// What is held: of one connection, or of all.
#[derive(Debug, Default)]
pub(super) struct Sum {
    calls: AtomicUsize,
    bytes: AtomicUsize,
}

/// The unfinished calls of one connection.
#[derive(Debug)]
pub(super) struct Unfinished {
    own: Sum,
    all: Arc<Sum>,
    max_calls: usize,
    max_bytes: usize,
    max_message_bytes: usize,
}

/// What one call holds; given back when dropped.
#[derive(Debug)]
pub(super) struct Held<'a> {
    unfinished: &'a Unfinished,
    bytes: usize,
}

impl Unfinished {
    /// Those of a connection, within what `settings` allow `all`.
    pub(super) fn new(settings: &Settings, all: Arc<Sum>) -> Self {
        Self {
            own: Sum::default(),
            all,
            max_calls: settings.unfinished_calls,
            max_bytes: settings.unfinished_bytes,
            max_message_bytes: settings.message_bytes,
        }
    }

    /// The largest message, in bytes.
    pub(super) const fn max_message_bytes(&self) -> usize {
        self.max_message_bytes
    }

    /// Counts one more call.
    pub(super) fn begin(&self) -> Result<Held<'_>, FrameError> {
        let (own, all) = (self.own.calls.fetch_add(1, Relaxed), self.all.calls.fetch_add(1, Relaxed));
        let held = Held { unfinished: self, bytes: 0 };
        if own >= OWN_UNFINISHED_CALLS && all >= self.max_calls {
            return Err(FrameError::TooManyUnfinished);
        }
        Ok(held)
    }
}

impl Held<'_> {
    /// Counts what has arrived of the call's message.
    pub(super) fn add(&mut self, bytes: usize) -> Result<(), FrameError> {
        let Unfinished { own, all, max_bytes, max_message_bytes, .. } = self.unfinished;
        let own = own.bytes.fetch_add(bytes, Relaxed) + bytes;
        let all = all.bytes.fetch_add(bytes, Relaxed) + bytes;
        self.bytes += bytes;
        let is_too_much = own > max_message_bytes.saturating_mul(UNFINISHED_MESSAGES)
            || (own > OWN_UNFINISHED_BYTES && all > *max_bytes);
        if is_too_much { Err(FrameError::TooManyUnfinished) } else { Ok(()) }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        for sum in [&self.unfinished.own, &self.unfinished.all] {
            sum.calls.fetch_sub(1, Relaxed);
            sum.bytes.fetch_sub(self.bytes, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: fn() -> Settings =
        || Settings { unfinished_calls: 100, unfinished_bytes: 100_000, ..Settings::default() };

    fn connection(all: &Arc<Sum>) -> Unfinished {
        Unfinished::new(&SETTINGS(), all.clone())
    }

    #[test]
    fn a_connection_can_hold_only_so_many_unfinished_bytes() {
        let settings = Settings { unfinished_bytes: usize::MAX, ..SETTINGS() };
        let unfinished = Unfinished::new(&settings, Arc::default());
        let mut held: Vec<_> = (0..4).map(|_| unfinished.begin().unwrap()).collect();
        for held in &mut held {
            assert_eq!(held.add(settings.message_bytes), Ok(()));
        }
        assert_eq!(held[0].add(1), Err(FrameError::TooManyUnfinished));
        drop(held);
        assert_eq!(unfinished.own.bytes.load(Relaxed) + unfinished.all.bytes.load(Relaxed), 0);
    }

    #[test]
    fn who_fills_the_common_bound_of_calls_is_refused_and_nobody_else() {
        let all = Arc::default();
        let (greedy, modest) = (connection(&all), connection(&all));
        let held: Vec<_> = (0..100).map(|_| greedy.begin().unwrap()).collect();
        assert_eq!(greedy.begin().unwrap_err(), FrameError::TooManyUnfinished);
        let own: Vec<_> = (0..OWN_UNFINISHED_CALLS).map(|_| modest.begin().unwrap()).collect();
        assert_eq!(modest.begin().unwrap_err(), FrameError::TooManyUnfinished);
        drop((held, own));
        assert_eq!(all.calls.load(Relaxed), 0);
        assert!(greedy.begin().is_ok());
    }

    #[test]
    fn who_fills_the_common_bound_of_bytes_is_refused_and_nobody_else() {
        let all = Arc::default();
        let (greedy, modest) = (connection(&all), connection(&all));
        let (mut much, mut little) = (greedy.begin().unwrap(), modest.begin().unwrap());
        assert_eq!(much.add(100_000), Ok(()));
        assert_eq!(much.add(1), Err(FrameError::TooManyUnfinished));
        assert_eq!(little.add(OWN_UNFINISHED_BYTES), Ok(()));
        assert_eq!(little.add(1), Err(FrameError::TooManyUnfinished));
        drop((much, little));
        assert_eq!(all.bytes.load(Relaxed), 0);
    }
}
