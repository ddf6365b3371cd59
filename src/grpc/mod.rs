//! The gRPC front: `envoy.service.ratelimit.v3.RateLimitService`, health and reflection.
//!
//! It converts and decides nothing. `ShouldRateLimit` is served on HTTP/2 connections directly
//! (`connection` says why); only the rare calls go through tonic. This is the one module that names tonic or
//! prost.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

use crate::connections::{self, Place};
use crate::health::Health;
use crate::limiter::Limiter;
use crate::metrics::Listener;

pub mod client;
mod connection;
mod convert;
mod deadline;
mod frame;
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

/// Serves gRPC on `listener` until `stop`, then sends GOAWAY on every connection, finishes what is in
/// flight, and returns; at the latest
/// after `settings.bounds.stop_ms`.
pub async fn serve(
    listener: TcpListener,
    limiter: Arc<Limiter>,
    health: Arc<Health>,
    settings: Settings,
    stop: impl Future<Output = ()>,
) {
    let metrics = limiter.metrics().clone();
    metrics.set_max_connections(Listener::Grpc, settings.bounds.connections);
    let service = Arc::new(Service::new(limiter, health, settings));
    connections::serve(listener, settings.bounds, stop, move |stream, place| {
        let (open, calls) = (metrics.connected(Listener::Grpc), Calls::new(service.clone()));
        async move {
            greet_and_serve(stream, place, calls).await;
            drop(open);
        }
    })
    .await;
}

async fn greet_and_serve(stream: TcpStream, place: Place, calls: Calls) {
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
