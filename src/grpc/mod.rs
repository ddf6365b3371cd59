//! The gRPC front: `envoy.service.ratelimit.v3.RateLimitService`, health and reflection.
//!
//! It converts and decides nothing. `ShouldRateLimit` is served on HTTP/2 connections directly
//! (`connection` says why); only the rare calls go through tonic. This is the one module that names tonic or
//! prost.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::connections::{self, Place};
use crate::health::Health;
use crate::limiter::Limiter;
use crate::metrics::Listener;
use crate::tls::{Acceptor, Socket};

mod burst;
pub mod client;
mod connection;
mod convert;
mod deadline;
mod frame;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod health;
pub mod message;
mod others;
mod preface;
mod service;
mod settings;
mod status;
mod stream;
mod unfinished;
mod upkeep;
pub mod wire;

use service::{Calls, Service};
pub use settings::Settings;

/// How long a client may take to send the preface of HTTP/2, in milliseconds.
const PREFACE_MS: u64 = 5_000;

/// Serves gRPC on `socket` until `stop`, then sends GOAWAY on every connection, finishes what is in
/// flight, and returns; at the latest after `settings.bounds.stop_ms`.
pub async fn serve(
    socket: impl Into<Socket>,
    limiter: Arc<Limiter>,
    health: Arc<Health>,
    settings: Settings,
    stop: impl Future<Output = ()>,
) {
    let metrics = limiter.metrics().clone();
    metrics.set_max_connections(Listener::Grpc, settings.bounds.connections);
    let service = Arc::new(Service::new(limiter, health, settings));
    let Socket { tcp, tls } = socket.into();
    connections::serve(tcp, settings.bounds, stop, move |stream, place| {
        let (open, calls) = (metrics.connected(Listener::Grpc), Calls::new(service.clone()));
        let tls = tls.clone();
        async move {
            protect_and_serve(stream, tls, place, calls).await;
            drop(open);
        }
    })
    .await;
}

async fn protect_and_serve(stream: TcpStream, tls: Option<Arc<Acceptor>>, place: Place, calls: Calls) {
    let Some(tls) = tls else { return greet_and_serve(stream, place, calls).await };
    if let Some(stream) = tls.accept(stream, place.clone().stopped()).await {
        // In a box, so that the task of a plain connection is no larger for it.
        Box::pin(greet_and_serve(stream, place, calls)).await;
    }
}

async fn greet_and_serve(stream: impl AsyncRead + AsyncWrite + Unpin, place: Place, calls: Calls) {
    let greeted = tokio::select! {
        greeted = tokio::time::timeout(Duration::from_millis(PREFACE_MS), preface::read(stream)) => greeted,
        () = place.clone().stopped() => return,
    };
    let Ok(Ok(Some(stream))) = greeted else {
        tracing::debug!("a client did not begin with the preface of HTTP/2");
        return;
    };
    if let Err(error) = connection::serve(stream, Arc::new(calls), place.stopped()).await {
        tracing::debug!(%error, "a connection failed");
    }
}
