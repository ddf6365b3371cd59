//! `/v1/look` and `/v1/reset`: how the keys of a request stand, and making them unused.

use axum::Extension;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::pages::{merge, numbers};
use super::{Peer, Sources, answer, error, read};
use crate::http::question;
use crate::limiter::{CheckError, Counter, Inspected, Inspection, Which};
use crate::request::{Descriptor, Request};

/// Most characters of descriptors, and of names of keys, in the line of the log.
const MAX_LOGGED_CHARS: usize = 2_000;

/// Which limits are reset.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Chosen {
    limit: Option<String>,
}

pub(super) async fn look(State(sources): State<Sources>, body: Body) -> Response {
    let request = match request(body).await {
        Ok(request) => request,
        Err(refused) => return refused,
    };
    match sources.limiter.look(&request).await {
        Ok(found) => answer(StatusCode::OK, &inspection(&request, &found)),
        Err(problem) => failed(&problem),
    }
}

pub(super) async fn reset(
    State(sources): State<Sources>,
    Extension(peer): Extension<Peer>,
    chosen: Result<Query<Chosen>, QueryRejection>,
    body: Body,
) -> Response {
    let which = match chosen {
        Ok(Query(chosen)) => which(chosen.limit),
        Err(problem) => return error(StatusCode::BAD_REQUEST, &problem.body_text()),
    };
    let request = match request(body).await {
        Ok(request) => request,
        Err(refused) => return refused,
    };
    let domain = String::from_utf8_lossy(&request.domain);
    let found = match sources.limiter.reset(&request, &which).await {
        Ok(found) => found,
        Err(problem) => {
            let descriptors = logged(request.descriptors.iter().map(written));
            tracing::info!(%peer, ?domain, ?descriptors, %problem, "a reset failed");
            return failed(&problem);
        }
    };
    let keys: Vec<&Counter> = found.counters().filter(|counter| counter.reset).collect();
    if keys.is_empty() {
        let reason = if found.counters().next().is_none() {
            "no limit applies to this request, so there is no key to reset"
        } else {
            "no limit of this request has that number or name"
        };
        return error(StatusCode::NOT_FOUND, reason);
    }
    let descriptors = logged(request.descriptors.iter().map(written));
    let names = logged(keys.iter().map(|counter| counter.stored_as.escape_ascii().to_string()));
    tracing::info!(%peer, ?domain, ?descriptors, keys = keys.len(), %names, "keys were reset");
    answer(StatusCode::OK, &inspection(&request, &found))
}

async fn request(body: Body) -> Result<Request, Response> {
    let body = read(body).await?;
    let refused = |reason: &str| error(StatusCode::BAD_REQUEST, reason);
    let request = question::parse(&body).map_err(|problem| refused(&problem.to_string()))?;
    if request.descriptors.iter().any(|descriptor| descriptor.is_negative_hits) {
        return Err(refused("nothing is counted here, so nothing is given back: leave out `isNegativeHits`"));
    }
    Ok(request)
}

fn which(limit: Option<String>) -> Which {
    let Some(limit) = limit else { return Which::All };
    limit.parse().map_or(Which::Name(limit), Which::Number)
}

/// Operators see the cause, which never holds a password.
fn failed(problem: &CheckError) -> Response {
    match problem {
        CheckError::Request(problem) => error(StatusCode::BAD_REQUEST, &problem.in_full()),
        CheckError::NoRules => error(StatusCode::SERVICE_UNAVAILABLE, &problem.to_string()),
        CheckError::Store(problem) => error(StatusCode::SERVICE_UNAVAILABLE, &problem.to_string()),
    }
}

fn inspection(request: &Request, found: &Inspection) -> Json {
    let descriptors = request.descriptors.iter().zip(&found.descriptors);
    json!({
        "domain": String::from_utf8_lossy(&request.domain),
        "passes": found.passes,
        "descriptors": descriptors.map(|(asked, found)| descriptor(asked, found)).collect::<Vec<_>>(),
    })
}

fn descriptor(asked: &Descriptor, found: &Inspected) -> Json {
    let entries = asked.entries.iter().map(|entry| pair(&entry.key, &entry.value));
    let mut value = json!({ "entries": entries.collect::<Vec<_>>() });
    let more = match found {
        Inspected::Nothing(miss) => json!({ "match": "nothing", "reason": miss.name() }),
        Inspected::Exempt => json!({ "match": "rule_without_limit" }),
        Inspected::Unlimited => json!({ "match": "unlimited" }),
        Inspected::Limited { rule, quota, counters } => json!({
            "match": if rule.is_some() { "rule" } else { "override" },
            "rule": rule,
            "quota_mode": quota,
            "limits": counters.iter().enumerate().map(|(place, found)| counter(place, found)).collect::<Vec<_>>(),
        }),
    };
    merge(&mut value, more);
    value
}

fn counter(place: usize, found: &Counter) -> Json {
    let counted = found
        .key
        .counted()
        .map(|counted| counted.entries.iter().map(|(key, value)| pair(key, value)).collect::<Vec<_>>());
    let mut value = json!({
        "number": place + 1,
        "name": found.name.as_deref(),
        "shadow_mode": found.shadow,
        "hits": found.hits,
        "counted_as": counted,
        "overflow": found.key.is_overflow(),
        "stored_as": found.stored_as.escape_ascii().to_string(),
        "reset": found.reset,
        "readable": found.verdict.is_some(),
    });
    merge(&mut value, numbers(&found.limit));
    if let Some(verdict) = &found.verdict {
        let capacity = found.limit.capacity();
        merge(
            &mut value,
            json!({
                "allowed": verdict.allowed,
                "used": capacity.saturating_sub(verdict.remaining),
                "remaining": verdict.remaining,
                "retry_after_ms": verdict.retry_after_ms,
                "reset_after_ms": verdict.reset_after_ms,
            }),
        );
    }
    value
}

fn pair(key: &[u8], value: &[u8]) -> Json {
    json!({ "key": String::from_utf8_lossy(key), "value": String::from_utf8_lossy(value) })
}

fn written(descriptor: &Descriptor) -> String {
    let entry = |entry: &crate::request::Entry| {
        format!("{}={}", String::from_utf8_lossy(&entry.key), String::from_utf8_lossy(&entry.value))
    };
    descriptor.entries.iter().map(entry).collect::<Vec<_>>().join(" ")
}

/// Several texts as one that is not too long for a line.
fn logged(texts: impl Iterator<Item = String>) -> String {
    texts.collect::<Vec<_>>().join(" + ").chars().take(MAX_LOGGED_CHARS).collect()
}
