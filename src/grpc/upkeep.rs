//! What a connection does by the clock: asks its client for a sign of life, and ends when it is old or idle.
//!
//! One timer serves all of it. It is looked at whenever the connection has something to do, which is often.

use std::hash::{BuildHasher, RandomState};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use h2::{Ping, PingPong};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use super::settings::Settings;

/// The clock of one connection.
pub(super) struct Upkeep {
    settings: Settings,
    pings: PingPong,
    timer: Pin<Box<Sleep>>,
    /// When the client is asked for a sign of life, or has to have given it.
    sign_at: Instant,
    is_asked: bool,
    /// When the client is told to go, or has to be gone.
    end_at: Option<Instant>,
    is_told: bool,
    /// When it is looked whether there were calls.
    idle_at: Option<Instant>,
    is_used: bool,
}

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// The client is to be told to open no more calls here.
    GoAway,
    /// The connection is to be cut off, and why.
    CutOff(Overdue),
}

/// What a client did not do in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Overdue {
    #[error("the client gave no sign of life for {timeout_ms} ms")]
    Silent { timeout_ms: u64 },
    #[error("the client was told to go and still had calls open after {grace_ms} ms")]
    Lingering { grace_ms: u64 },
}

impl Upkeep {
    pub(super) fn new(settings: Settings, pings: PingPong) -> Self {
        let set = |ms: u64| (ms > 0).then(|| after(ms));
        let mut upkeep = Self {
            settings,
            pings,
            timer: Box::pin(sleep(Duration::ZERO)),
            sign_at: after(settings.keep_alive_interval_ms),
            is_asked: false,
            end_at: set(spread(settings.max_age_ms, RandomState::new().hash_one(()))),
            is_told: false,
            idle_at: set(settings.max_idle_ms),
            is_used: false,
        };
        upkeep.set_timer();
        upkeep
    }

    /// Says that calls have arrived.
    pub(super) fn mark_used(&mut self) {
        self.is_used = true;
    }

    /// What is due, one after the other. `is_busy` says whether calls are open.
    pub(super) fn poll(&mut self, context: &mut Context<'_>, is_busy: bool) -> Poll<Due> {
        loop {
            // A broken connection is seen by whoever reads from it.
            if self.is_asked && self.pings.poll_pong(context).is_ready() {
                self.is_asked = false;
                self.sign_at = after(self.settings.keep_alive_interval_ms);
                self.set_timer();
            }
            ready!(self.timer.as_mut().poll(context));
            let due = self.due(self.timer.deadline(), is_busy);
            self.set_timer();
            if let Some(due) = due {
                return Poll::Ready(due);
            }
        }
    }

    fn due(&mut self, now: Instant, is_busy: bool) -> Option<Due> {
        let is_over = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if self.sign_at <= now {
            let timeout_ms = self.settings.keep_alive_timeout_ms;
            if self.is_asked {
                return Some(Due::CutOff(Overdue::Silent { timeout_ms }));
            }
            self.is_asked = self.pings.send_ping(Ping::opaque()).is_ok();
            self.sign_at = after(timeout_ms);
        }
        if is_over(self.idle_at) {
            self.idle_at = Some(after(self.settings.max_idle_ms));
            if !std::mem::take(&mut self.is_used) && !is_busy && !self.is_told {
                self.end_at = Some(now);
            }
        }
        if is_over(self.end_at) {
            let grace_ms = self.settings.max_age_grace_ms;
            if self.is_told {
                return Some(Due::CutOff(Overdue::Lingering { grace_ms }));
            }
            self.is_told = true;
            self.end_at = Some(after(grace_ms));
            return Some(Due::GoAway);
        }
        None
    }

    fn set_timer(&mut self) {
        let times = [self.end_at, self.idle_at].into_iter().flatten();
        self.timer.set(sleep_until(times.fold(self.sign_at, Instant::min)));
    }
}

fn after(ms: u64) -> Instant {
    sleep(Duration::from_millis(ms)).deadline()
}

/// A tenth more or less, by chance: connections that were opened together must not be opened again together.
fn spread(ms: u64, random: u64) -> u64 {
    ms - ms / 10 + random % (ms / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_spread_by_a_tenth() {
        assert_eq!((spread(1000, 0), spread(1000, 100), spread(1000, 200)), (900, 1000, 1100));
        assert_eq!(spread(1000, 201), 900);
        assert_eq!((spread(0, 7), spread(1, u64::MAX)), (0, 1));
    }
}
