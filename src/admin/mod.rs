//! The admin listener: what is in force, how a key stands, resetting a key, the log. For operators alone.
//!
//! It is apart from the HTTP front because who reaches it can lift limits. It answers JSON, changes things only
//! when they are posted as JSON, and notes every change in the log with who made it.

mod access;
pub mod client;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod keys;
mod log;
mod pages;
mod settings;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{self, Body, Bytes};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router, middleware};
use serde_json::{Value as Json, json};
use tokio::net::{TcpListener, TcpStream};

use crate::connections::{self, Bounds, Place};
use crate::health::Health;
use crate::http;
use crate::limiter::{Limiter, StoreWatch};
use crate::metrics;
use crate::reload::Reloader;
use crate::telemetry::Log;
use crate::time::Timestamp;
use crate::tls::{Acceptor, Socket};
use access::Access;
pub use settings::{Address, DEFAULT_ADDRESS, Settings};

/// Largest body, in bytes: a request with as many descriptors and entries as there may be.
const MAX_BODY_BYTES: usize = 1024 * 1024;

/// How long a client may take to send the body, in milliseconds.
const BODY_MS: u64 = 10_000;

/// Most characters of a reason; it may quote the request, which can be long.
const MAX_REASON_CHARS: usize = 1_000;

/// What the listener shows and changes.
#[derive(Debug, Clone)]
pub struct Sources {
    /// Looks, and resets.
    pub limiter: Arc<Limiter>,
    /// Knows where the rules in force come from.
    pub reloader: Arc<Reloader>,
    /// Knows whether the store has answered.
    pub health: Arc<Health>,
    /// Knows the store's breaker.
    pub watch: Arc<StoreWatch>,
    /// The store, without passwords.
    pub store: Arc<str>,
    /// The log of this process.
    pub log: Log,
    /// Every setting, as it is shown.
    pub settings: Arc<Json>,
    /// When the server was started.
    pub started_at: Timestamp,
}

/// Who sent a request.
#[derive(Debug, Clone, Copy)]
struct Peer(Option<SocketAddr>);

/// A listener that is bound, and who may use it.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    access: Access,
    bounds: Bounds,
}

/// Why there is no admin listener.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address} for admin")]
    Address {
        /// The address.
        address: SocketAddr,
        /// What the operating system says.
        source: io::Error,
    },
    /// Nobody could use it, since the token cannot be read.
    #[error("no admin without its token: {0}")]
    Token(String),
}

impl Listener {
    /// Listens where the settings say, and shakes hands by `tls`; `None` if they want none, or if the default
    /// address is taken.
    ///
    /// # Errors
    /// See [`BindError`].
    pub async fn bind(settings: &Settings, tls: Option<Arc<Acceptor>>) -> Result<Option<Self>, BindError> {
        let Address::At(address) = settings.address else { return Ok(None) };
        let access = Access::new(settings.expected_token());
        access.token().await.map_err(BindError::Token)?;
        match TcpListener::bind(address).await {
            Ok(tcp) => {
                let socket = Socket { tcp, tls };
                Ok(Some(Self { socket, access, bounds: settings.bounds }))
            }
            Err(error) if address == DEFAULT_ADDRESS => {
                tracing::warn!(%error, %address, "no admin listener: its default address cannot be listened on");
                Ok(None)
            }
            Err(source) => Err(BindError::Address { address, source }),
        }
    }

    /// Where it listens, with the port that was chosen.
    ///
    /// # Errors
    /// The operating system does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.tcp.local_addr()
    }

    /// What shakes hands, if it speaks TLS.
    #[must_use]
    pub fn tls(&self) -> Option<&Arc<Acceptor>> {
        self.socket.tls.as_ref()
    }

    /// Serves until `stop`, then finishes what is in flight, in bounded time.
    pub async fn serve(self, sources: Sources, stop: impl Future<Output = ()>) {
        let metrics = sources.limiter.metrics().clone();
        metrics.set_max_connections(metrics::Listener::Admin, self.bounds.connections);
        let routes = routes(sources, self.access);
        let Socket { tcp, tls } = self.socket;
        let connection = move |stream: TcpStream, place: Place| {
            let peer = Peer(stream.peer_addr().ok());
            let open = metrics.connected(metrics::Listener::Admin);
            let (tls, routes) = (tls.clone(), routes.clone().layer(Extension(peer)));
            async move {
                http::protect_and_serve(stream, tls, place, http::DEFAULT_TIMEOUT_MS, routes).await;
                drop(open);
            }
        };
        connections::serve(tcp, self.bounds, stop, connection).await;
    }
}

fn routes(sources: Sources, access: Access) -> Router {
    Router::new()
        .route("/v1", get(pages::index))
        .route("/v1/version", get(pages::version))
        .route("/v1/rules", get(pages::rules))
        .route("/v1/rules/limits", get(pages::limits))
        .route("/v1/reload", get(pages::reload))
        .route("/v1/store", get(pages::store))
        .route("/v1/settings", get(pages::settings))
        .route("/v1/log-level", get(log::show).post(log::change))
        .route("/v1/look", post(keys::look))
        .route("/v1/reset", post(keys::reset))
        .fallback(async || error(StatusCode::NOT_FOUND, "there is no such page; GET /v1 lists them"))
        .method_not_allowed_fallback(async || {
            error(StatusCode::METHOD_NOT_ALLOWED, "this page takes another method; GET /v1 lists them")
        })
        .layer(middleware::from_fn_with_state(access, access::check))
        .with_state(sources)
}

/// An answer, indented for people.
fn answer(status: StatusCode, value: &Json) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (status, headers, format!("{value:#}\n")).into_response()
}

fn error(status: StatusCode, reason: &str) -> Response {
    let reason: String = reason.chars().take(MAX_REASON_CHARS).collect();
    answer(status, &json!({ "error": reason }))
}

async fn read(body: Body) -> Result<Bytes, Response> {
    let read = body::to_bytes(body, MAX_BODY_BYTES);
    match tokio::time::timeout(Duration::from_millis(BODY_MS), read).await {
        Ok(Ok(body)) => Ok(body),
        // Beyond the limit, or cut off; who was cut off does not see the answer.
        Ok(Err(_)) => {
            let reason = format!("expected a body of at most {MAX_BODY_BYTES} bytes");
            Err(error(StatusCode::PAYLOAD_TOO_LARGE, &reason))
        }
        Err(_) => Err(error(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time")),
    }
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(address) => address.fmt(f),
            None => f.write_str("somebody who has gone"),
        }
    }
}
