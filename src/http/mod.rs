//! The HTTP front: health, metrics, the rules in force, and `/json`, which asks as gRPC does.
//!
//! Paths and answers are those of the reference where it has them. It is the sibling of `grpc` and, like
//! it, decides nothing.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};

use crate::connections::{self, Bounds, Stop};
use crate::health::Health;
use crate::limiter::Limiter;
use crate::metrics::{Listener, Metrics};

mod answer;
mod ask;
pub(crate) mod pages;
pub(crate) mod question;

/// Probes, a scraper and somebody with curl: far fewer than this.
const MAX_CONNECTIONS: usize = 1_024;

/// How long requests in flight may take to finish after the stop, in milliseconds; as for gRPC.
const STOP_MS: u64 = 10_000;

/// How long a client may take to send the head of a request, in milliseconds, and how long an idle
/// connection is kept.
const HEAD_MS: u64 = 30_000;

/// Bytes that a connection reads ahead; the head of a request must fit.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// What the pages show.
#[derive(Debug, Clone)]
pub struct Sources {
    /// Answers `/json`, and has the rules for `/rlconfig`.
    pub limiter: Arc<Limiter>,
    /// The text of `/metrics`.
    pub metrics: Arc<Metrics>,
    /// What `/ready` and `/healthcheck` say.
    pub health: Arc<Health>,
    /// Which pages there are.
    pub endpoints: Endpoints,
}

/// The pages that need not be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoints {
    /// Whether there is `/json`.
    pub json: bool,
    /// Whether there is `/rlconfig`.
    pub rlconfig: bool,
}

impl Default for Endpoints {
    /// All of them, as in the reference.
    fn default() -> Self {
        Self { json: true, rlconfig: true }
    }
}

/// The bounds of this listener unless settings say otherwise.
pub const DEFAULT_BOUNDS: Bounds = Bounds { connections: MAX_CONNECTIONS, stop_ms: STOP_MS };

/// Serves HTTP/1 on `listener` until `stop`, then finishes what is in flight and returns; at the latest
/// after `bounds.stop_ms`.
pub async fn serve(listener: TcpListener, sources: Sources, bounds: Bounds, stop: impl Future<Output = ()>) {
    let metrics = sources.metrics.clone();
    metrics.set_max_connections(Listener::Http, bounds.connections);
    let routes = routes(sources);
    connections::serve(listener, bounds, stop, move |stream, stop| {
        let (open, routes) = (metrics.connected(Listener::Http), routes.clone());
        async move {
            connection(stream, stop, routes).await;
            drop(open);
        }
    })
    .await;
}

/// Every path takes any method and must be exact, as in the reference.
fn routes(sources: Sources) -> Router {
    let mut routes = Router::new()
        .route("/healthcheck", any(pages::health_check))
        .route("/live", any(pages::live))
        .route("/ready", any(pages::ready))
        .route("/metrics", any(pages::metrics));
    if sources.endpoints.json {
        routes = routes.route(ask::PATH, any(ask::ask));
    }
    if sources.endpoints.rlconfig {
        routes = routes.route("/rlconfig", any(pages::rules));
    }
    routes.fallback(async || text(StatusCode::NOT_FOUND, "404 page not found\n")).with_state(sources)
}

/// Serves one connection until it ends, or until the stop and what is then in flight.
pub(crate) async fn connection(stream: TcpStream, stop: Stop, routes: Router) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(HEAD_MS))
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.told() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection failed");
    }
}

/// An answer in plain text. Browsers must not take it for anything else: it may quote the request.
fn text(status: StatusCode, text: impl Into<String>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    (status, headers, text.into()).into_response()
}
