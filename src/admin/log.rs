//! `/v1/log-level`: which lines the log has.

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;

use super::{Peer, Sources, answer, error, read};
use crate::telemetry::{Filter, Log};

/// What is posted: a filter, or null for that of the settings.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    // Otherwise an absent field would be null.
    #[serde(deserialize_with = "Option::deserialize")]
    filter: Option<String>,
}

pub(super) async fn show(State(sources): State<Sources>) -> Response {
    shown(&sources.log)
}

pub(super) async fn change(
    State(sources): State<Sources>,
    Extension(peer): Extension<Peer>,
    body: Body,
) -> Response {
    let body = match read(body).await {
        Ok(body) => body,
        Err(refused) => return refused,
    };
    let asked: Change = match serde_json::from_slice(&body) {
        Ok(asked) => asked,
        Err(problem) => return error(StatusCode::BAD_REQUEST, &problem.to_string()),
    };
    let filter = match asked.filter.as_deref().map(Filter::parse).transpose() {
        Ok(filter) => filter.unwrap_or_else(|| sources.log.configured().clone()),
        Err(message) => return error(StatusCode::BAD_REQUEST, &message.to_string()),
    };
    let told = filter.to_string();
    let changed = sources.log.change(filter, module_path!(), |before| {
        tracing::info!(%peer, filter = ?told, before = ?before.to_string(), "the log level was changed");
    });
    match changed {
        Ok(()) => shown(&sources.log),
        Err(problem) => error(StatusCode::CONFLICT, &problem.to_string()),
    }
}

fn shown(log: &Log) -> Response {
    let (filter, configured) = (log.current().to_string(), log.configured().to_string());
    answer(StatusCode::OK, &json!({ "filter": filter, "configured": configured }))
}
