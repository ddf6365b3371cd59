//! The HTTP front: health, metrics, the rules in force, and `/json`, which asks as gRPC does.
//!
//! Paths and answers are those of the reference where it has them. It is the sibling of `grpc` and, like
//! it, decides nothing.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::FromRef;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tower::ServiceExt;

use crate::connections::{self, Place};
use crate::health::Health;
use crate::limiter::Limiter;
use crate::metrics::{Listener, Metrics};
use crate::tls::{Acceptor, Socket};

mod answer;
mod ask;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod held;
pub(crate) mod pages;
mod patient;
pub(crate) mod question;
mod settings;

use held::{Bodies, Pages};
use patient::Patient;
pub(crate) use settings::DEFAULT_TIMEOUT_MS;
pub use settings::Settings;

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

/// What the handlers work with.
#[derive(Debug, Clone)]
struct Front {
    sources: Sources,
    settings: Settings,
    bodies: Arc<Bodies>,
    pages: Pages,
    /// What URLs of this front begin with.
    scheme: &'static str,
}

impl FromRef<Front> for Sources {
    fn from_ref(front: &Front) -> Self {
        front.sources.clone()
    }
}

/// Serves HTTP/1 on `socket` until `stop`, then finishes what is in flight and returns; at the latest
/// after `settings.bounds.stop_ms`.
pub async fn serve(
    socket: impl Into<Socket>,
    sources: Sources,
    settings: Settings,
    stop: impl Future<Output = ()>,
) {
    let metrics = sources.metrics.clone();
    metrics.set_max_connections(Listener::Http, settings.bounds.connections);
    let bodies = Arc::new(Bodies::new(settings.bodies_bytes));
    let Socket { tcp, tls } = socket.into();
    let scheme = if tls.is_some() { "https" } else { "http" };
    let routes = routes(Front { sources, settings, bodies, pages: Pages::new(), scheme });
    connections::serve(tcp, settings.bounds, stop, move |stream, place| {
        let (open, routes, tls) = (metrics.connected(Listener::Http), routes.clone(), tls.clone());
        async move {
            protect_and_serve(stream, tls, place, settings.timeout_ms, routes).await;
            drop(open);
        }
    })
    .await;
}

/// Every path takes any method and must be exact, as in the reference.
fn routes(front: Front) -> Router {
    let mut routes = Router::new()
        .route("/healthcheck", any(pages::health_check))
        .route("/live", any(pages::live))
        .route("/ready", any(pages::ready))
        .route("/metrics", any(pages::metrics));
    if front.sources.endpoints.json {
        routes = routes.route(ask::PATH, any(ask::ask));
    }
    if front.sources.endpoints.rlconfig {
        routes = routes.route("/rlconfig", any(pages::rules));
    }
    routes.fallback(async || text(StatusCode::NOT_FOUND, "404 page not found\n")).with_state(front)
}

/// Serves one connection until it ends, or until the stop and what is then in flight; shakes hands first where
/// there is TLS. `timeout_ms` milliseconds is what its client has for each head and to take each answer.
pub(crate) async fn protect_and_serve(
    stream: TcpStream,
    tls: Option<Arc<Acceptor>>,
    place: Place,
    timeout_ms: u64,
    routes: Router,
) {
    let Some(tls) = tls else { return connection(stream, place, timeout_ms, routes).await };
    if let Some(stream) = tls.accept(stream, place.clone().stopped()).await {
        // In a box, so that the task of a plain connection is no larger for it.
        Box::pin(connection(stream, place, timeout_ms, routes)).await;
    }
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    place: Place,
    timeout_ms: u64,
    routes: Router,
) {
    let io = TokioIo::new(Patient::new(stream, place.clone(), timeout_ms));
    let used = place.clone();
    let answer = service_fn(move |request: Request<Incoming>| {
        used.mark_used();
        routes.clone().oneshot(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // Also how long an idle connection is kept.
        .header_read_timeout(Duration::from_millis(timeout_ms))
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(io, answer);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = place.stopped() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection failed");
    }
}

/// An answer in plain text. Browsers must not take it for anything else: it may quote the request.
fn text(status: StatusCode, text: impl Into<Body>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    (status, headers, text.into()).into_response()
}
