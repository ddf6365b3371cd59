//! The certificates of the listeners: read at the start, and again when they change.

use std::sync::Arc;

use tokio::sync::Notify;

use crate::config::{Config, ConfigError};
use crate::metrics::Metrics;
use crate::reload::{self, Certificates};
use crate::tls::{self, Acceptor, Protocol};

/// What protects gRPC's listener and HTTP's, in this order.
pub(super) fn open(config: &Config) -> Result<[Option<Arc<Acceptor>>; 2], ConfigError> {
    let grpc = Acceptor::open(config.grpc_tls.clone(), tls::GRPC, Protocol::Grpc);
    let http = Acceptor::open(config.http_tls.clone(), tls::HTTP, Protocol::Http);
    match (grpc, http) {
        (Ok(grpc), Ok(http)) => Ok([grpc, http]),
        (grpc, http) => {
            let mistakes = [grpc.err(), http.err()].into_iter().flatten().flatten();
            Err(mistakes.collect::<Vec<_>>().into())
        }
    }
}

/// Shows what is counted of `acceptors`, and says when their files are read again.
pub(super) fn watched(
    settings: &reload::Settings,
    metrics: &Metrics,
    acceptors: Vec<Arc<Acceptor>>,
) -> Certificates {
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
