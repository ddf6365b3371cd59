//! The pages for probes, scrapers and people.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::{Front, Sources, text};

/// `/healthcheck`: 200 `OK`, or 500 with no body, as the reference says it.
pub(super) async fn health_check(State(sources): State<Sources>) -> Response {
    match sources.health.readiness().check() {
        Ok(()) => text(StatusCode::OK, "OK"),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// `/live`: the process answers. A restart heals nothing that `/ready` reports, so it asks nothing else.
pub(super) async fn live() -> Response {
    text(StatusCode::OK, "OK\n")
}

/// `/ready`: whether this server should get traffic, and if not, why. A store that fails and what is
/// wrong with the rules that were read last follow either way: the server goes on with the policies and with
/// the last good rules.
pub(super) async fn ready(State(sources): State<Sources>) -> Response {
    let (status, mut page) = match sources.health.readiness().check() {
        Ok(()) => (StatusCode::OK, "OK\n".to_owned()),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    };
    if sources.health.is_store_failing() {
        page.push_str("the store does not answer; `on_store_failure` decides\n");
    }
    for error in sources.health.rules_errors() {
        page.push_str(&error);
        page.push('\n');
    }
    text(status, page)
}

/// `/metrics`, in Prometheus's text format.
pub(super) async fn metrics(State(front): State<Front>) -> Response {
    let content_type = "text/plain; version=0.0.4; charset=utf-8";
    let page = front.pages.page(move || front.sources.metrics.text()).await;
    page.map_or_else(IntoResponse::into_response, |page| {
        ([(header::CONTENT_TYPE, content_type)], page).into_response()
    })
}

/// `/rlconfig`: the rules in force, one line per limit; empty before the first are loaded.
pub(super) async fn rules(State(front): State<Front>) -> Response {
    let describe = move || front.sources.limiter.rules().map(|rules| rules.describe()).unwrap_or_default();
    let page = front.pages.page(describe).await;
    page.map_or_else(IntoResponse::into_response, |page| text(StatusCode::OK, page))
}

/// Writes a page that may have a line for each of 100,000 rules, on a thread where it delays no decision.
pub(crate) async fn apart<T: Send + 'static>(
    write: impl FnOnce() -> T + Send + 'static,
) -> Result<T, StatusCode> {
    tokio::task::spawn_blocking(write).await.map_err(|error| {
        tracing::error!(%error, "a page could not be written");
        StatusCode::INTERNAL_SERVER_ERROR
    })
}
