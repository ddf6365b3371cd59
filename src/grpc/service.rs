//! Calls by path: `ShouldRateLimit` is answered here, health and reflection by tonic's services.

use std::convert::Infallible;
use std::future::{Future, ready};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::Either;
use http_body::Body;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use prost::Message;
use tonic::Status;
use tracing::Instrument;

use super::frame::{self, FrameError, Received, Reply, Unfinished};
use super::message::RateLimitRequest;
use super::others::Others;
use super::{convert, deadline, status};
use crate::engine::Decision;
use crate::health::Health;
use crate::limiter::{CheckError, Limiter};
use crate::request::RequestError;
use crate::traces::CallSpan;

/// The path of the one call that is asked for each request.
pub(super) const SHOULD_RATE_LIMIT: &str = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";

/// The same in traces, without the slash.
const METHOD: &str = SHOULD_RATE_LIMIT.split_at(1).1;

/// What a caller is told whose time is up.
const LATE: &str = "deadline exceeded";

/// What all connections share.
#[derive(Debug)]
pub(super) struct Service {
    limiter: Arc<Limiter>,
    others: Others,
}

/// One connection's view of the service.
#[derive(Debug)]
pub(super) struct Calls {
    service: Arc<Service>,
    unfinished: Unfinished,
}

impl Service {
    pub(super) fn new(limiter: Arc<Limiter>, health: Arc<Health>) -> Self {
        Self { limiter, others: Others::new(health) }
    }
}

impl Calls {
    pub(super) fn new(service: Arc<Service>) -> Self {
        Self { service, unfinished: Unfinished::default() }
    }

    /// The answer to one call. Failures of gRPC are answers too, so nothing can fail here.
    ///
    /// The future is moved several times on its way into the executor, so it holds an answer or a box: what
    /// can be told at once is told before there is a future.
    pub(super) fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> impl Future<Output = Result<Response<Reply>, Infallible>> + Send {
        if let Some(refused) = not_grpc(request.method(), request.headers()) {
            return Either::Left(ready(Ok(refused)));
        }
        let limit = deadline::of(request.headers());
        if request.uri().path() != SHOULD_RATE_LIMIT {
            return Either::Right(boxed(limit, async move { self.service.others.answer(request).await }));
        }
        if let Some(tracer) = self.service.limiter.tracer()
            && let Some(span) = tracer.rpc(METHOD, request.headers())
        {
            return Either::Right(self.answer_traced(request.into_body(), limit, span));
        }
        let mut body = request.into_body();
        let received = frame::received(&mut body);
        if let (Some(message), true) = (received.message(&body), self.service.limiter.answers_at_once()) {
            // Not in the stream's task yet, where a panic costs one stream: there it goes on.
            let answered = catch_unwind(AssertUnwindSafe(|| self.answer_now(message)));
            return match answered {
                Ok(answer) => Either::Left(ready(Ok(answer.unwrap_or_else(Status::into_http)))),
                Err(panic) => Either::Right(Box::pin(async move { resume_unwind(panic) })),
            };
        }
        Either::Right(Box::pin(async move {
            let answered = self.answer_later(received, body, limit, None).await;
            Ok(answered.unwrap_or_else(Status::into_http))
        }))
    }

    fn answer_now(&self, message: Result<Bytes, FrameError>) -> Result<Response<Reply>, Status> {
        let request = self.request(message)?;
        reply(self.service.limiter.check_at_once(&request))
    }

    /// Reads the message within `limit`, and has the decision made in what is left of it.
    async fn answer_later<B>(
        &self,
        received: Received,
        body: B,
        limit: Duration,
        span: Option<&CallSpan>,
    ) -> Result<Response<Reply>, Status>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let reading = pin!(frame::read(received, body, &self.unfinished));
        let Some((message, time_left)) = deadline::within(limit, reading).await else {
            self.service.limiter.count_unreadable(&"its message did not arrive in time");
            return Err(Status::deadline_exceeded(LATE));
        };
        let request = self.request(message)?;
        reply(match span {
            None => self.service.limiter.check(&request, time_left).await,
            Some(span) => self.service.limiter.check_traced(&request, time_left, span).await,
        })
    }

    /// The same of a call that is traced; apart, so that nothing of it is in the way of the others.
    #[cold]
    fn answer_traced(
        self: Arc<Self>,
        mut body: Incoming,
        limit: Duration,
        span: CallSpan,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Reply>, Infallible>> + Send>> {
        let received = frame::received(&mut body);
        let log = span.log();
        let answering = async move {
            let answered = self.answer_later(received, body, limit, Some(&span)).await;
            let (name, failure) = match &answered {
                Ok(_) => ("OK", None),
                Err(status) => (status::name(status.code()), status::failure(status)),
            };
            span.end_rpc(name, failure);
            Ok(answered.unwrap_or_else(Status::into_http))
        };
        Box::pin(answering.instrument(log))
    }

    /// The request that a message asks; one that cannot be read is counted.
    fn request(&self, message: Result<Bytes, FrameError>) -> Result<crate::request::Request, Status> {
        let request = message.map_err(Status::from).and_then(|message| {
            let message = RateLimitRequest::decode(message)
                .map_err(|error| Status::invalid_argument(format!("not a RateLimitRequest: {error}")))?;
            convert::request(message).map_err(|error| bad_request(&error))
        });
        request.inspect_err(|status| self.service.limiter.count_unreadable(&status.message()))
    }
}

fn reply(decided: Result<Decision, CheckError>) -> Result<Response<Reply>, Status> {
    let decision = decided.map_err(|error| no_answer(&error))?;
    let mut response = Response::new(Reply::Message(frame::encode(&convert::response(decision))?));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    Ok(response)
}

/// A call that takes at most `limit`.
fn boxed(
    limit: Duration,
    call: impl Future<Output = Result<Response<Reply>, Status>> + Send + 'static,
) -> Pin<Box<dyn Future<Output = Result<Response<Reply>, Infallible>> + Send>> {
    Box::pin(async move {
        let answered = deadline::within(limit, pin!(call)).await;
        let answer = answered.map_or_else(|| Err(Status::deadline_exceeded(LATE)), |(answer, _)| answer);
        Ok(answer.unwrap_or_else(Status::into_http))
    })
}

/// What a client is told that does not speak gRPC; `None` if it does.
fn not_grpc(method: &Method, headers: &HeaderMap) -> Option<Response<Reply>> {
    if !is_grpc(headers.get(CONTENT_TYPE)) {
        let text = "this port speaks gRPC; expected content-type application/grpc\n";
        return Some(plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, text));
    }
    if method != Method::POST {
        let mut refused = plain(StatusCode::METHOD_NOT_ALLOWED, "this port speaks gRPC; expected POST\n");
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return Some(refused);
    }
    None
}

/// `application/grpc` and `application/grpc+proto`, with or without parameters. Messages in another
/// format (`+json`) or framing (`-web`) would be misread.
fn is_grpc(content_type: Option<&HeaderValue>) -> bool {
    let Some(rest) = content_type.and_then(|value| value.as_bytes().strip_prefix(b"application/grpc")) else {
        return false;
    };
    let rest = rest.strip_prefix(b"+proto").unwrap_or(rest).trim_ascii_start();
    rest.is_empty() || rest.starts_with(b";")
}

fn plain(status: StatusCode, text: &'static str) -> Response<Reply> {
    let mut response = Response::new(Reply::Text(text));
    *response.status_mut() = status;
    let content_type = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

fn bad_request(error: &RequestError) -> Status {
    Status::invalid_argument(error.in_full())
}

/// What the client is told when there is no answer. The log has the cause; the client gets no detail of
/// what stands behind this server.
fn no_answer(error: &CheckError) -> Status {
    match error {
        CheckError::Request(error) => bad_request(error),
        CheckError::NoRules => Status::unavailable("no rate limit configuration loaded"),
        CheckError::Store(_) => Status::unavailable("rate limit store unavailable"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_grpc_with_protobuf_is_grpc() {
        let check = |text: &'static str, expected| {
            assert_eq!(is_grpc(Some(&HeaderValue::from_static(text))), expected, "{text}");
        };
        check("application/grpc", true);
        check("application/grpc+proto", true);
        check("application/grpc; charset=utf-8", true);
        check("application/grpc+proto;x=1", true);
        check("application/grpc+json", false);
        check("application/grpc-web", false);
        check("application/grpc-web+proto", false);
        check("application/json", false);
        check("", false);
        assert!(!is_grpc(None));
    }

    #[test]
    fn a_bad_override_says_why() {
        let status = bad_request(&RequestError::BadOverride(crate::limit::LimitError::NoMultiplier));
        assert_eq!(status.code(), tonic::Code::InvalidArgument);
        assert_eq!(
            status.message(),
            "bad limit in a descriptor: `unit_multiplier` is 0; expected at least 1"
        );
    }
}
