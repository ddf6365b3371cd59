//! The gRPC front: `envoy.service.ratelimit.v3.RateLimitService`, health and reflection.
//!
//! It converts and decides nothing. `ShouldRateLimit` is served on HTTP/2 connections directly
//! (`connection` says why); only the rare calls go through tonic. This is the one module that names tonic or
//! prost.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

use crate::connections::{self, Bounds, Stop};
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
mod status;
mod stream;
pub mod wire;

use service::{Calls, Service};

/// Envoy opens one connection per worker thread and endpoint, so this is about a thousand Envoys.
const MAX_CONNECTIONS: usize = 16_384;

/// How long calls in flight may take to finish after the stop, in milliseconds. A decision takes a store
/// timeout at most, and Kubernetes waits 30 s for drain delay and stop together.
const STOP_MS: u64 = 10_000;

/// How long a client may take to send the preface of HTTP/2, in milliseconds.
const PREFACE_MS: u64 = 5_000;

/// Streams of one connection at once. hyper's 200 would make Envoy queue; what a stream holds is bounded
/// by [`frame`].
const MAX_STREAMS: u32 = 4_096;

/// Streams that the client reset before they were looked at. When many calls time out at once, Envoy
/// resets them all; with h2's default of 20 the connection would be closed for it. Never more than all
/// streams can be such, so an honest client never reaches it, and a hostile one is cut off there.
const MAX_RESET_STREAMS: usize = MAX_STREAMS as usize;

/// Bytes of headers of one call. Envoy sends less than 1 KiB; `grpc-timeout` and tracing fit.
const MAX_HEADER_BYTES: u32 = 16 * 1024;

/// Flow-control windows, in bytes: what a client may send before it is read. Messages are small, so a
/// stream needs no more than HTTP/2's default; a connection has many streams.
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;

/// An idle peer is asked for a sign of life this often, in milliseconds; one that is gone (a pulled
/// cable, a half-open stream) holds its connection no longer than both times together.
const KEEP_ALIVE_INTERVAL_MS: u64 = 30_000;
const KEEP_ALIVE_TIMEOUT_MS: u64 = 10_000;

/// The bounds of this listener unless settings say otherwise.
pub const DEFAULT_BOUNDS: Bounds = Bounds { connections: MAX_CONNECTIONS, stop_ms: STOP_MS };

/// Serves gRPC on `listener` until `stop`, then sends GOAWAY on every connection, finishes what is in
/// flight, and returns; at the latest after `bounds.stop_ms`.
pub async fn serve(
    listener: TcpListener,
    limiter: Arc<Limiter>,
    health: Arc<Health>,
    bounds: Bounds,
    stop: impl Future<Output = ()>,
) {
    let metrics = limiter.metrics().clone();
    metrics.set_max_connections(Listener::Grpc, bounds.connections);
    let service = Arc::new(Service::new(limiter, health));
    connections::serve(listener, bounds, stop, move |stream, stop| {
        let (open, calls) = (metrics.connected(Listener::Grpc), Calls::new(service.clone()));
        async move {
            greet_and_serve(stream, stop, calls).await;
            drop(open);
        }
    })
    .await;
}

async fn greet_and_serve(stream: TcpStream, stop: Stop, calls: Calls) {
    let greeted = tokio::select! {
        greeted = tokio::time::timeout(Duration::from_millis(PREFACE_MS), preface::read(stream)) => greeted,
        () = stop.clone().told() => return,
    };
    let Ok(Ok(Some(stream))) = greeted else {
        tracing::debug!("a client did not begin with the preface of HTTP/2");
        return;
    };
    if let Err(error) = connection::serve(stream, Arc::new(calls), stop.told()).await {
        tracing::debug!(%error, "a connection failed");
    }
}
