//! What is counted of listeners and calls: connections, streams, and requests that nobody waited for to the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;

use super::Counts;

/// Who listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    /// The rate-limit protocol.
    Grpc,
    /// Health, metrics, `/json`.
    Http,
    /// What operators ask.
    Admin,
}

impl Listener {
    const ALL: [Self; 3] = [Self::Grpc, Self::Http, Self::Admin];

    /// Those that are asked for decisions.
    const DECIDING: [Self; 2] = [Self::Grpc, Self::Http];

    const fn name(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Http => "http",
            Self::Admin => "admin",
        }
    }
}

/// Why the caller of a request did not wait for what the rules say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CutOff {
    /// It reset its call, or closed its connection.
    Cancelled,
    /// The time that it gave was over: its message had not come, or the store had not answered.
    Deadline,
}

impl CutOff {
    const ALL: [Self; 2] = [Self::Cancelled, Self::Deadline];

    const fn name(self) -> &'static str {
        match self {
            Self::Cancelled => "cancelled",
            Self::Deadline => "deadline",
        }
    }
}

/// The counts of all listeners.
#[derive(Debug, Default)]
pub(super) struct FrontCounts {
    /// Connections that were accepted, and those that have ended, by [`Listener::ALL`].
    accepted: [AtomicU64; Listener::ALL.len()],
    ended: [AtomicU64; Listener::ALL.len()],
    /// The most at once; 0 while nobody listens.
    max_connections: [AtomicU64; Listener::ALL.len()],
    /// Calls that began to wait, and those that do no more.
    waiting: AtomicU64,
    waited: AtomicU64,
    /// By [`CutOff::ALL`].
    cut_off: [AtomicU64; CutOff::ALL.len()],
    /// By [`Listener::ALL`].
    overloaded: [AtomicU64; Listener::ALL.len()],
}

impl FrontCounts {
    pub(super) fn cut_off(&self, why: CutOff) {
        self.cut_off[why as usize].fetch_add(1, Relaxed);
    }

    pub(super) fn overloaded(&self, listener: Listener) {
        self.overloaded[listener as usize].fetch_add(1, Relaxed);
    }

    pub(super) fn set_max_connections(&self, listener: Listener, most: u64) {
        self.max_connections[listener as usize].store(most, Relaxed);
    }
}

/// A connection that is open; it is counted as ended when this is dropped.
#[derive(Debug)]
pub struct OpenConnection {
    counts: Arc<Counts>,
    listener: Listener,
}

impl OpenConnection {
    pub(super) fn new(counts: Arc<Counts>, listener: Listener) -> Self {
        counts.front.accepted[listener as usize].fetch_add(1, Relaxed);
        Self { counts, listener }
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.counts.front.ended[self.listener as usize].fetch_add(1, Relaxed);
    }
}

/// The calls of one connection that wait for something. A call that is answered at once never waits.
#[derive(Debug)]
pub struct WaitingCalls {
    counts: Arc<Counts>,
    now: u64,
}

impl WaitingCalls {
    pub(super) const fn new(counts: Arc<Counts>) -> Self {
        Self { counts, now: 0 }
    }

    /// Shows how many there are now. It costs nothing while that does not change.
    pub fn set(&mut self, now: usize) {
        let now = now as u64;
        if now > self.now {
            self.counts.front.waiting.fetch_add(now - self.now, Relaxed);
        } else if now < self.now {
            self.counts.front.waited.fetch_add(self.now - now, Relaxed);
        }
        self.now = now;
    }
}

impl Drop for WaitingCalls {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// A request whose caller is being waited for, or that waits for the store; dropped before [`Self::ended`], it
/// was cancelled.
#[derive(Debug)]
pub struct Pending<'a> {
    counts: &'a Counts,
    has_ended: bool,
}

impl<'a> Pending<'a> {
    pub(super) const fn new(counts: &'a Counts) -> Self {
        Self { counts, has_ended: false }
    }

    /// It got as far as it could.
    pub fn ended(mut self) {
        self.has_ended = true;
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if !self.has_ended && !std::thread::panicking() {
            self.counts.front.cut_off(CutOff::Cancelled);
        }
    }
}

/// Shows the counts of `counts` by `meter`.
pub(super) fn show(meter: &Meter, counts: &Arc<Counts>) {
    let of = counts.clone();
    by_listener(meter, "fluxlimit.connections", "Connections that are open", move |listener| {
        // Read in this order, so that the difference is never negative.
        let ended = of.front.ended[listener].load(Relaxed);
        of.front.accepted[listener].load(Relaxed).saturating_sub(ended)
    });
    let of = counts.clone();
    by_listener(
        meter,
        "fluxlimit.max_connections",
        "Connections that may be open at once",
        move |listener| of.front.max_connections[listener].load(Relaxed),
    );
    let of = counts.clone();
    meter
        .u64_observable_counter("fluxlimit.connections.accepted")
        .with_description("Connections that were accepted")
        .with_callback(move |observer| {
            for listener in Listener::ALL {
                let accepted = of.front.accepted[listener as usize].load(Relaxed);
                observer.observe(accepted, &[KeyValue::new("listener", listener.name())]);
            }
        })
        .build();
    let of = counts.clone();
    meter
        .u64_observable_gauge("fluxlimit.waiting_calls")
        .with_description("Calls over gRPC that wait: for their message, a store, or room to be answered")
        .with_callback(move |observer| {
            let waited = of.front.waited.load(Relaxed);
            observer.observe(of.front.waiting.load(Relaxed).saturating_sub(waited), &[]);
        })
        .build();
    let of = counts.clone();
    meter
        .u64_observable_counter("fluxlimit.requests.cut_off")
        .with_description("Requests whose caller did not wait for what the rules say, by the reason")
        .with_callback(move |observer| {
            for why in CutOff::ALL {
                let count = of.front.cut_off[why as usize].load(Relaxed);
                observer.observe(count, &[KeyValue::new("reason", why.name())]);
            }
        })
        .build();
    let of = counts.clone();
    meter
        .u64_observable_counter("fluxlimit.requests.overloaded")
        .with_description("Requests that were refused because too much of unfinished ones was held")
        .with_callback(move |observer| {
            for listener in Listener::DECIDING {
                let count = of.front.overloaded[listener as usize].load(Relaxed);
                observer.observe(count, &[KeyValue::new("listener", listener.name())]);
            }
        })
        .build();
}

fn by_listener(
    meter: &Meter,
    name: &'static str,
    description: &'static str,
    read: impl Fn(usize) -> u64 + Send + Sync + 'static,
) {
    meter
        .u64_observable_gauge(name)
        .with_description(description)
        .with_callback(move |observer| {
            for listener in Listener::ALL {
                observer.observe(read(listener as usize), &[KeyValue::new("listener", listener.name())]);
            }
        })
        .build();
}

#[cfg(test)]
mod tests {
    use crate::metrics::{CutOff, Listener, Metrics, assert_shown};

    #[test]
    fn a_connection_is_counted_until_it_ends() {
        let metrics = Metrics::new();
        let first = metrics.connected(Listener::Grpc);
        let second = metrics.connected(Listener::Grpc);
        assert_shown(&metrics, "fluxlimit_connections{listener=\"grpc\"} 2");
        assert_shown(&metrics, "fluxlimit_connections{listener=\"http\"} 0");
        drop((first, second));
        assert_shown(&metrics, "fluxlimit_connections{listener=\"grpc\"} 0");
        assert_shown(&metrics, "fluxlimit_connections_accepted_total{listener=\"grpc\"} 2");
    }

    #[test]
    fn calls_of_a_connection_that_ends_do_not_wait_any_more() {
        let metrics = Metrics::new();
        let (mut one, mut other) = (metrics.waiting_calls(), metrics.waiting_calls());
        one.set(5);
        one.set(3);
        other.set(4);
        assert_shown(&metrics, "fluxlimit_waiting_calls 7");
        drop(one);
        assert_shown(&metrics, "fluxlimit_waiting_calls 4");
    }

    #[test]
    fn requests_that_are_refused_for_want_of_room_are_told_apart_by_listener() {
        let metrics = Metrics::new();
        metrics.overloaded(Listener::Http);
        assert_shown(&metrics, "fluxlimit_requests_overloaded_total{listener=\"http\"} 1");
        assert_shown(&metrics, "fluxlimit_requests_overloaded_total{listener=\"grpc\"} 0");
        let of_admin = "fluxlimit_requests_overloaded_total{listener=\"admin\"}";
        assert!(!metrics.text().contains(of_admin), "it has no such bound");
    }

    #[test]
    fn a_request_that_did_not_end_was_cancelled() {
        let metrics = Metrics::new();
        metrics.pending().ended();
        assert_shown(&metrics, "fluxlimit_requests_cut_off_total{reason=\"cancelled\"} 0");
        drop(metrics.pending());
        metrics.cut_off(CutOff::Deadline);
        assert_shown(&metrics, "fluxlimit_requests_cut_off_total{reason=\"cancelled\"} 1");
        assert_shown(&metrics, "fluxlimit_requests_cut_off_total{reason=\"deadline\"} 1");
    }
}
