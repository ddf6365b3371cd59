//! Calls by path: `ShouldRateLimit` is answered here, health and reflection by tonic's services.

use std::convert::Infallible;
use std::future::{Future, ready};
use std::pin::pin;
use std::sync::Arc;

use futures_util::future::Either;
use http_body::Body;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use prost::Message;
use tonic::Status;

use super::frame::{self, Reply, Unfinished};
use super::message::RateLimitRequest;
use super::others::Others;
use super::{convert, deadline};
use crate::health::Health;
use crate::limiter::{CheckError, Limiter};
use crate::request::RequestError;

const SHOULD_RATE_LIMIT: &str = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";

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
    /// The future is moved into the executor for every call, so it holds no more than it needs: what can be
    /// told from the head alone is told before there is one, and the rare calls are boxed.
    pub(super) fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> impl Future<Output = Result<Response<Reply>, Infallible>> + Send {
        let limit = deadline::of(request.headers());
        if let Some(refused) = not_grpc(request.method(), request.headers()) {
            return Either::Right(Either::Left(ready(Ok(refused))));
        }
        if request.uri().path() == SHOULD_RATE_LIMIT {
            let body = request.into_body();
            return Either::Left(async move {
                let call = pin!(self.should_rate_limit(body));
                Ok(in_time(deadline::within(limit, call).await))
            });
        }
        Either::Right(Either::Right(Box::pin(async move {
            let call = pin!(self.service.others.answer(request));
            Ok(in_time(deadline::within(limit, call).await))
        })))
    }

    async fn read<B>(&self, body: B) -> Result<crate::request::Request, Status>
    where
        B: Body<Data = bytes::Bytes> + Unpin,
    {
        let bytes = frame::read(body, &self.unfinished).await?;
        let message = RateLimitRequest::decode(bytes)
            .map_err(|error| Status::invalid_argument(format!("not a RateLimitRequest: {error}")))?;
        convert::request(message).map_err(|error| bad_request(&error))
    }

    async fn should_rate_limit<B>(&self, body: B) -> Result<Response<Reply>, Status>
    where
        B: Body<Data = bytes::Bytes> + Unpin,
    {
        let request = self.read(body).await.inspect_err(|status| {
            self.service.limiter.count_unreadable(&status.message());
        })?;
        let decision = self.service.limiter.check(&request).await.map_err(|error| no_answer(&error))?;
        let mut response = Response::new(Reply::Message(frame::encode(&convert::response(decision))?));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        Ok(response)
    }
}

/// The answer of a call that ended, or of one whose time is up.
fn in_time(answer: Option<Result<Response<Reply>, Status>>) -> Response<Reply> {
    let answer = answer.unwrap_or_else(|| Err(Status::deadline_exceeded("deadline exceeded")));
    answer.unwrap_or_else(Status::into_http)
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
