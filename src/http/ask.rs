//! `/json`: the question of `ShouldRateLimit` over plain HTTP.

use std::time::Duration;

use axum::body::{self, Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderValue, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tracing::Instrument;

use super::{Sources, answer, question, text};
use crate::engine::Code;
use crate::limiter::CheckError;
use crate::traces::CallSpan;

/// Where it is asked.
pub(super) const PATH: &str = "/json";

/// Largest body, in bytes; as for gRPC.
const MAX_BODY_BYTES: usize = 1024 * 1024;

/// How long a client may take to send the body, in milliseconds.
const BODY_MS: u64 = 10_000;

/// How long an answer may take, in milliseconds. Nobody has given a time, so the store's own counts.
const ANSWER_MS: u64 = 10_000;

/// Most characters of a reason; it may quote the request, which can be long.
const MAX_REASON_CHARS: usize = 300;

/// 200 if the request passes and 429 if not, with the answer as JSON; 400 for what is no request, 503 if
/// there is no answer. The reference says 400 to all failures and gives no reason.
pub(super) async fn ask(State(sources): State<Sources>, request: Request<Body>) -> Response {
    let tracer = sources.limiter.tracer();
    let span = tracer.and_then(|tracer| tracer.http(request.method(), PATH, request.headers()));
    let Some(span) = span else {
        return answer_to(&sources, request, None).await;
    };
    let response = answer_to(&sources, request, Some(&span)).instrument(span.log()).await;
    span.end_http(response.status().as_u16());
    response
}

async fn answer_to(sources: &Sources, request: Request<Body>, span: Option<&CallSpan>) -> Response {
    let body = match read(request.into_body()).await {
        Ok(body) => body,
        Err(refused) => {
            sources.limiter.count_unreadable(&"no body, or too large a one");
            return refused;
        }
    };
    let request = match question::parse(&body) {
        Ok(request) => request,
        Err(error) => {
            sources.limiter.count_unreadable(&error);
            return refuse(StatusCode::BAD_REQUEST, &error.to_string());
        }
    };
    let time_left = Duration::from_millis(ANSWER_MS);
    match sources.limiter.check_traced(&request, time_left, span).await {
        Ok(decision) => {
            let status = match decision.code {
                Code::Ok => StatusCode::OK,
                Code::OverLimit => StatusCode::TOO_MANY_REQUESTS,
            };
            let json = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
            (status, json, answer::write(&decision)).into_response()
        }
        Err(CheckError::Request(error)) => refuse(StatusCode::BAD_REQUEST, &error.in_full()),
        // The log has the cause; the client gets no detail of what stands behind this server.
        Err(CheckError::NoRules) => {
            refuse(StatusCode::SERVICE_UNAVAILABLE, "no rate limit configuration loaded")
        }
        Err(CheckError::Store(_)) => refuse(StatusCode::SERVICE_UNAVAILABLE, "rate limit store unavailable"),
    }
}

async fn read(body: Body) -> Result<Bytes, Response> {
    let read = body::to_bytes(body, MAX_BODY_BYTES);
    match tokio::time::timeout(Duration::from_millis(BODY_MS), read).await {
        Ok(Ok(body)) => Ok(body),
        // Beyond the limit, or cut off; who was cut off does not see the answer.
        Ok(Err(_)) => {
            let reason = format!("expected a body of at most {MAX_BODY_BYTES} bytes");
            Err(refuse(StatusCode::PAYLOAD_TOO_LARGE, &reason))
        }
        Err(_) => Err(refuse(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time")),
    }
}

fn refuse(status: StatusCode, reason: &str) -> Response {
    let title = status.canonical_reason().unwrap_or_default();
    let reason: String = reason.chars().take(MAX_REASON_CHARS).collect();
    text(status, format!("{title}: {reason}\n"))
}
