//! The certificates of the listeners: read at the start, and again when they change.

use std::sync::Arc;

use tokio::sync::Notify;

use crate::config::{Config, ConfigError};
use crate::metrics::Metrics;
use crate::reload::{self, Certificates};
use crate::tls::{self, Acceptor, Protocol};

/// What protects gRPC's listener, HTTP's and that of operators, in this order.
pub(super) fn open(config: &Config) -> Result<[Option<Arc<Acceptor>>; 3], ConfigError> {
    let mut mistakes = Vec::new();
    let all = [
        (&config.grpc_tls, tls::GRPC, Protocol::Grpc),
        (&config.http_tls, tls::HTTP, Protocol::Http),
        (&config.admin_tls, tls::ADMIN, Protocol::Http),
    ];
    let opened = all.map(|(settings, names, protocol)| {
        Acceptor::open(settings.clone(), names, protocol).unwrap_or_else(|found| {
            mistakes.extend(found);
            None
        })
    });
    if mistakes.is_empty() { Ok(opened) } else { Err(mistakes.into()) }
}

/// Shows what is counted of `acceptors`, and says when their files are read again.
pub(super) fn watched(
    settings: &reload::Settings,
    metrics: &Metrics,
    acceptors: [Option<&Arc<Acceptor>>; 3],
) -> Certificates {
    let acceptors: Vec<_> = acceptors.into_iter().flatten().cloned().collect();
    metrics.show_tls(acceptors.iter().map(|acceptor| acceptor.counts()).collect());
    Certificates { acceptors, debounce_ms: settings.debounce_ms, poll_ms: settings.poll_ms }
}

/// Hands what `asked` is told on to both.
pub(super) async fn both(asked: Arc<Notify>, rules: Arc<Notify>, certificates: Arc<Notify>) {
    loop {
        asked.notified().await;
        rules.notify_one();
        certificates.notify_one();
    }
}
