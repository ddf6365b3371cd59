//! What is in force.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value as Json, json};

use super::{Sources, answer};
use crate::http::pages::apart;
use crate::rules::LimitInfo;
use crate::yaml::Problem;

/// Every page and what it is for.
const PAGES: [(&str, &str); 12] = [
    ("GET /v1", "this list"),
    ("GET /v1/version", "the version of the server"),
    ("GET /v1/rules", "where the rules in force come from"),
    ("GET /v1/rules/limits", "every limit in force"),
    ("GET /v1/reload", "what came of the last load of rules, and its errors"),
    ("GET /v1/store", "the store, and whether it answers"),
    ("GET /v1/settings", "every setting, with secrets hidden"),
    ("GET /v1/log-level", "which lines the log has"),
    ("POST /v1/log-level", "changes that: {\"filter\": \"debug\"}; null for the filter of the settings"),
    ("POST /v1/look", "how the keys of a request stand; the body is that of /json"),
    ("POST /v1/reset", "makes the keys of a request unused; the body is that of /json"),
    ("POST /v1/reset?limit=N", "the same of one limit of each descriptor, by its number from 1 or its name"),
];

pub(super) async fn index() -> Response {
    let pages = PAGES.iter().map(|(page, purpose)| ((*page).to_owned(), (*purpose).into()));
    answer(StatusCode::OK, &json!({ "pages": pages.collect::<serde_json::Map<_, _>>() }))
}

pub(super) async fn version(State(sources): State<Sources>) -> Response {
    let build = if cfg!(debug_assertions) { "debug" } else { "release" };
    let platform = format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS);
    let value = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "build": build,
        "platform": platform,
        "started_at_ms": sources.started_at.ms(),
    });
    answer(StatusCode::OK, &value)
}

pub(super) async fn rules(State(sources): State<Sources>) -> Response {
    let Some(found) = sources.reloader.status().in_force else {
        return answer(StatusCode::OK, &json!({ "generation": 0 }));
    };
    let rules = sources.limiter.rules();
    let files = found
        .files
        .iter()
        .map(|file| json!({ "name": file.name, "bytes": file.bytes, "sha256": file.sha256 }));
    let value = json!({
        "generation": found.generation,
        "loaded_at_ms": found.loaded_at.ms(),
        "sha256": found.sha256,
        "files": files.collect::<Vec<_>>(),
        "domains": rules.as_ref().map_or(0, |rules| rules.domains().count()),
        "limits": rules.as_ref().map_or(0, |rules| rules.limits().len()),
    });
    answer(StatusCode::OK, &value)
}

/// Maybe 100,000, so it is written where it delays no decision.
pub(super) async fn limits(State(sources): State<Sources>) -> Response {
    let written = apart(move || {
        let rules = sources.limiter.rules();
        let limits = rules.iter().flat_map(|rules| rules.limits()).map(limit);
        json!({ "limits": limits.collect::<Vec<_>>() }).to_string()
    });
    match written.await {
        Ok(text) => {
            let mut response = answer(StatusCode::OK, &Json::Null);
            *response.body_mut() = text.into();
            response.headers_mut().remove(axum::http::header::CONTENT_LENGTH);
            response
        }
        Err(status) => status.into_response(),
    }
}

fn limit(info: &LimitInfo) -> Json {
    let mut value = json!({
        "domain": info.domain,
        "rule": info.path.to_string(),
        "name": (!info.name.is_empty()).then_some(&info.name),
        "unlimited": info.limit.is_none(),
        "shadow_mode": info.shadow_mode,
        "quota_mode": info.quota_mode,
    });
    if let Some(limit) = &info.limit {
        merge(&mut value, numbers(limit));
    }
    value
}

/// The numbers of a limit.
pub(super) fn numbers(limit: &crate::limit::Limit) -> Json {
    json!({
        "algorithm": limit.algorithm().name(),
        "requests_per_unit": limit.count(),
        "unit": limit.unit().name(),
        "unit_multiplier": limit.unit_multiplier(),
        "capacity": limit.capacity(),
        "count_refused": limit.count_refused(),
    })
}

/// Adds the fields of one object to another.
pub(super) fn merge(value: &mut Json, more: Json) {
    if let (Json::Object(value), Json::Object(more)) = (value, more) {
        value.extend(more);
    }
}

pub(super) async fn reload(State(sources): State<Sources>) -> Response {
    let Some(last) = sources.reloader.status().last else {
        return answer(StatusCode::OK, &json!({ "at_ms": null, "ok": null, "problems": [] }));
    };
    let value = json!({
        "at_ms": last.at.ms(),
        "ok": last.is_ok,
        "problems": last.problems.iter().map(problem).collect::<Vec<_>>(),
        "problems_left_out": last.problems_left_out,
    });
    answer(StatusCode::OK, &value)
}

fn problem(problem: &Problem) -> Json {
    let message = &problem.message;
    json!({
        "severity": problem.severity.name(),
        "file": &*problem.file,
        "line": problem.position.map(|position| position.line),
        "column": problem.position.map(|position| position.column),
        "path": problem.path,
        "message": message.statement,
        "found": message.found,
        "expected": message.expected,
        "hint": message.hint,
        "text": problem.to_string(),
    })
}

pub(super) async fn store(State(sources): State<Sources>) -> Response {
    let last = sources.watch.last_failure().map(|last| {
        let ms_ago = u64::try_from(last.ago.as_millis()).unwrap_or(u64::MAX);
        json!({ "kind": last.error.kind(), "message": last.error.to_string(), "ms_ago": ms_ago })
    });
    let value = json!({
        "store": &*sources.store,
        "has_answered": sources.health.readiness().store_answered,
        "breaker": if sources.watch.is_open() { "open" } else { "closed" },
        "last_error": last,
    });
    answer(StatusCode::OK, &value)
}

pub(super) async fn settings(State(sources): State<Sources>) -> Response {
    answer(StatusCode::OK, &sources.settings)
}
