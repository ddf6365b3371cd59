//! `/json`: the question of `ShouldRateLimit` over plain HTTP.

use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use tracing::Instrument;

use super::held::Held;
use super::{Front, Settings, answer, question, text};
use crate::engine::Code;
use crate::limiter::CheckError;
use crate::metrics::Listener;
use crate::traces::CallSpan;

/// Where it is asked.
pub(super) const PATH: &str = "/json";

/// How long an answer may take, in milliseconds. Nobody has given a time, so the store's own counts.
const ANSWER_MS: u64 = 10_000;

/// Most characters of a reason; it may quote the request, which can be long.
const MAX_REASON_CHARS: usize = 300;

/// 200 if the request passes and 429 if not, with the answer as JSON; 400 for what is no request, 503 if
/// there is no answer. The reference says 400 to all failures and gives no reason.
pub(super) async fn ask(State(front): State<Front>, request: Request<Body>) -> Response {
    let tracer = front.sources.limiter.tracer();
    let span = tracer.and_then(|tracer| tracer.http(front.scheme, PATH, &request));
    let Some(span) = span else {
        return answer_to(&front, request, None).await;
    };
    let response = answer_to(&front, request, Some(&span)).instrument(span.log()).await;
    span.end_http(response.status().as_u16());
    response
}

async fn answer_to(front: &Front, request: Request<Body>, span: Option<&CallSpan>) -> Response {
    let sources = &front.sources;
    // What is made of a body is about as large, so it counts until the end.
    let mut held = front.bodies.begin();
    let body = match read(request.into_body(), front, &mut held).await {
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

async fn read(mut body: Body, front: &Front, held: &mut Held<'_>) -> Result<Vec<u8>, Response> {
    let settings = front.settings;
    let mut read = Vec::new();
    let reading = async {
        while let Some(frame) = body.frame().await {
            // Cut off; who was cut off does not see the answer.
            let frame = frame.map_err(|_| too_large(settings))?;
            let Ok(data) = frame.into_data() else { continue };
            if read.len() + data.len() > settings.body_bytes {
                return Err(too_large(settings));
            }
            if !held.add(data.len()) {
                front.sources.limiter.metrics().overloaded(Listener::Http);
                let reason = "too many large bodies at once";
                return Err(refuse(StatusCode::SERVICE_UNAVAILABLE, reason));
            }
            read.extend_from_slice(&data);
        }
        Ok(())
    };
    match tokio::time::timeout(Duration::from_millis(settings.timeout_ms), reading).await {
        Ok(Ok(())) => Ok(read),
        Ok(Err(refused)) => Err(refused),
        Err(_) => Err(refuse(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time")),
    }
}

fn too_large(settings: Settings) -> Response {
    let reason = format!("expected a body of at most {} bytes", settings.body_bytes);
    refuse(StatusCode::PAYLOAD_TOO_LARGE, &reason)
}

fn refuse(status: StatusCode, reason: &str) -> Response {
    let title = status.canonical_reason().unwrap_or_default();
    let reason: String = reason.chars().take(MAX_REASON_CHARS).collect();
    text(status, format!("{title}: {reason}\n"))
}
