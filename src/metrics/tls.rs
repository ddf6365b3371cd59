//! What is counted of the listeners that speak TLS.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;

use crate::time::Timestamp;

/// How a handshake ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handshake {
    /// With a connection.
    Ok,
    /// The client's certificate is missing, expired, or of nobody that is known.
    BadCertificate,
    /// The client's certificate is good, but none of its names may connect.
    NotAllowed,
    /// The client does not accept this server's certificate, or whatever else it told.
    RefusedByClient,
    /// The client speaks no version of TLS, or nothing else, that is spoken here.
    Incompatible,
    /// The client does not speak TLS at all.
    NotTls,
    /// It took too long.
    TimedOut,
    /// The same, and it had to wait for a place among those that are worked on.
    Overloaded,
    /// The client was gone, or said what makes no sense.
    Broken,
}

impl Handshake {
    /// All of them, in the order of their counts.
    const ALL: [Self; 9] = [
        Self::Ok,
        Self::BadCertificate,
        Self::NotAllowed,
        Self::RefusedByClient,
        Self::Incompatible,
        Self::NotTls,
        Self::TimedOut,
        Self::Overloaded,
        Self::Broken,
    ];

    /// Its name in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::BadCertificate => "bad_certificate",
            Self::NotAllowed => "not_allowed",
            Self::RefusedByClient => "refused_by_client",
            Self::Incompatible => "incompatible",
            Self::NotTls => "not_tls",
            Self::TimedOut => "timed_out",
            Self::Overloaded => "overloaded",
            Self::Broken => "broken",
        }
    }
}

/// The counts of one listener.
#[derive(Debug)]
pub struct TlsCounts {
    listener: &'static str,
    /// In the order of [`Handshake::ALL`].
    handshakes: [AtomicU64; Handshake::ALL.len()],
    reloads: AtomicU64,
    failed_reloads: AtomicU64,
    is_failed: AtomicBool,
    expires_s: AtomicU64,
}

impl TlsCounts {
    /// Nothing counted yet; `listener` is what it is called.
    #[must_use]
    pub fn new(listener: &'static str) -> Self {
        Self {
            listener,
            handshakes: Default::default(),
            reloads: AtomicU64::new(0),
            failed_reloads: AtomicU64::new(0),
            is_failed: AtomicBool::new(false),
            expires_s: AtomicU64::new(0),
        }
    }

    /// Counts a handshake.
    pub fn ended(&self, handshake: Handshake) {
        self.handshakes[handshake as usize].fetch_add(1, Relaxed);
    }

    /// Counts an attempt to use other certificates.
    pub fn reloaded(&self, is_ok: bool) {
        let counter = if is_ok { &self.reloads } else { &self.failed_reloads };
        counter.fetch_add(1, Relaxed);
        self.is_failed.store(!is_ok, Relaxed);
    }

    /// Shows when the certificate in use expires.
    pub fn set_expiry(&self, expires: Timestamp) {
        self.expires_s.store(expires.ms() / 1_000, Relaxed);
    }
}

/// Shows the counts of `listeners` from now on.
pub(super) fn show(meter: &Meter, listeners: Vec<Arc<TlsCounts>>) {
    let listeners: Arc<[Arc<TlsCounts>]> = listeners.into();
    let of = listeners.clone();
    meter
        .u64_observable_counter("fluxlimit.tls.handshakes")
        .with_description("TLS handshakes with clients, by how they ended")
        .with_callback(move |observer| {
            for counts in &*of {
                for (kind, count) in Handshake::ALL.iter().zip(&counts.handshakes) {
                    let result = KeyValue::new("result", kind.name());
                    observer.observe(count.load(Relaxed), &[label(counts), result]);
                }
            }
        })
        .build();
    let of = listeners.clone();
    meter
        .u64_observable_counter("fluxlimit.tls.reloads")
        .with_description("Attempts to use certificates that have changed")
        .with_callback(move |observer| {
            for counts in &*of {
                for (result, count) in [("success", &counts.reloads), ("error", &counts.failed_reloads)] {
                    let result = KeyValue::new("result", result);
                    observer.observe(count.load(Relaxed), &[label(counts), result]);
                }
            }
        })
        .build();
    let of = listeners.clone();
    meter
        .u64_observable_gauge("fluxlimit.tls.reload_failed")
        .with_description("1 while the files hold certificates that cannot be used, and older ones are")
        .with_callback(move |observer| {
            for counts in &*of {
                observer.observe(counts.is_failed.load(Relaxed).into(), &[label(counts)]);
            }
        })
        .build();
    meter
        .u64_observable_gauge("fluxlimit.tls.certificate.expiry.timestamp")
        .with_unit("s")
        .with_description("When the certificate in use expires, in seconds since 1970")
        .with_callback(move |observer| {
            for counts in &*listeners {
                observer.observe(counts.expires_s.load(Relaxed), &[label(counts)]);
            }
        })
        .build();
}

fn label(counts: &TlsCounts) -> KeyValue {
    KeyValue::new("listener", counts.listener)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn every_listener_and_every_end_of_a_handshake_has_its_series() {
        let metrics = Metrics::new();
        let listeners: Vec<_> = ["grpc", "http"].map(|name| Arc::new(TlsCounts::new(name))).into();
        metrics.show_tls(listeners.clone());
        for (place, kind) in Handshake::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, place);
            listeners[1].ended(kind);
        }
        let text = metrics.text();
        for kind in Handshake::ALL {
            for (listener, count) in [("grpc", 0), ("http", 1)] {
                let name = kind.name();
                let line = format!(
                    "\nfluxlimit_tls_handshakes_total{{listener=\"{listener}\",result=\"{name}\"}} {count}\n"
                );
                assert!(text.contains(&line), "no {line} in:\n{text}");
            }
        }
    }

    #[test]
    fn a_good_reload_ends_the_alarm() {
        let metrics = Metrics::new();
        let counts = Arc::new(TlsCounts::new("grpc"));
        metrics.show_tls(vec![counts.clone()]);
        let shows = |line: &str| {
            let text = metrics.text();
            assert!(text.contains(&format!("\n{line}\n")), "no {line} in:\n{text}");
        };
        counts.set_expiry(Timestamp::from_ms(1_800_000_000_999));
        counts.reloaded(false);
        shows("fluxlimit_tls_reload_failed{listener=\"grpc\"} 1");
        counts.reloaded(true);
        shows("fluxlimit_tls_reload_failed{listener=\"grpc\"} 0");
        shows("fluxlimit_tls_reloads_total{listener=\"grpc\",result=\"error\"} 1");
        shows("fluxlimit_tls_reloads_total{listener=\"grpc\",result=\"success\"} 1");
        shows("fluxlimit_tls_certificate_expiry_timestamp_seconds{listener=\"grpc\"} 1800000000");
    }

    #[test]
    fn a_server_without_tls_shows_nothing_of_it() {
        assert!(!Metrics::new().text().contains("tls"));
    }
}
