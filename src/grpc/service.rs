//! Calls by path: `ShouldRateLimit` is answered here, health and reflection by tonic's services.

use std::any::Any;
use std::future::{Future, poll_fn, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http_body::Body;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use tonic::Status;
use tracing::Instrument;

use super::connection::Waiting;
use super::frame::{self, FrameError, Received, Reply};
use super::others::{self, Others};
use super::settings::Settings;
use super::stream::{self, Answer, Incoming};
use super::unfinished::{self, Unfinished};
use super::wire::{self, UnreadableRequest};
use super::{deadline, status};
use crate::engine::Decision;
use crate::health::Health;
use crate::limiter::{CheckError, Limiter};
use crate::metrics::{CutOff, Listener, WaitingCalls};
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
    settings: Settings,
    /// What all connections hold of calls whose message is not whole.
    unfinished: Arc<unfinished::Sum>,
}

/// One connection's view of the service.
#[derive(Debug)]
pub(super) struct Calls {
    service: Arc<Service>,
    unfinished: Unfinished,
}

/// A call of `ShouldRateLimit` whose message is here, or is known to be none.
pub(super) struct Asked {
    message: Result<Bytes, FrameError>,
    limit: Duration,
    respond: SendResponse<Bytes>,
    body: Incoming,
}

/// A call with its answer.
pub(super) struct Answered {
    /// With its prefix.
    message: Bytes,
    respond: SendResponse<Bytes>,
    /// Let go with the call: h2 then has work to do.
    _body: Incoming,
}

/// A call that has begun.
pub(super) enum Begun {
    Asked(Asked),
    Waits(Waiting),
}

/// A call that has been decided, if it could be at once.
pub(super) enum Decided {
    Answered(Answered),
    Waits(Waiting),
    /// It is over without an answer.
    Failed,
}

/// What can be said of a call whose message is here.
enum Now {
    /// The answer, with its prefix.
    Message(Bytes),
    Error(Status),
    /// The store has to be asked first.
    Undecided(crate::request::Request),
}

impl Service {
    pub(super) fn new(limiter: Arc<Limiter>, health: Arc<Health>, settings: Settings) -> Self {
        Self { limiter, others: Others::new(health), settings, unfinished: Arc::default() }
    }
}

impl Answered {
    pub(super) fn send(mut self) {
        ended(stream::send_message(&mut self.respond, self.message));
    }
}

impl Calls {
    pub(super) fn new(service: Arc<Service>) -> Self {
        let unfinished = Unfinished::new(&service.settings, service.unfinished.clone());
        Self { service, unfinished }
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.service.settings
    }

    /// Counts those of its calls that wait.
    pub(super) fn waiting(&self) -> WaitingCalls {
        self.service.limiter.metrics().waiting_calls()
    }

    /// Begins one call: reads what is here of it. One whose message is not, or which asks something else, goes on
    /// in a future. Failures of gRPC are answers too, so nothing can fail here.
    pub(super) fn begin(
        self: &Arc<Self>,
        request: Request<RecvStream>,
        respond: SendResponse<Bytes>,
    ) -> Begun {
        if let Some(refused) = not_grpc(request.method(), request.headers()) {
            return Begun::Waits(later(respond, ready(Answer::Whole(refused))));
        }
        let limit = deadline::of(request.headers());
        if request.uri().path() != SHOULD_RATE_LIMIT {
            let (calls, request) = (self.clone(), others::request(request));
            return Begun::Waits(later(respond, async move { calls.answer_other(request, limit).await }));
        }
        if let Some(tracer) = self.service.limiter.tracer()
            && let Some(span) = tracer.rpc(METHOD, request.headers())
        {
            let body = Incoming::new(request.into_body());
            return Begun::Waits(answer_traced(self.clone(), body, limit, span, respond));
        }
        let mut body = Incoming::new(request.into_body());
        let received = frame::received(&mut body);
        if let Some(message) = received.message(&body, self.unfinished.max_message_bytes()) {
            return Begun::Asked(Asked { message, limit, respond, body });
        }
        let calls = self.clone();
        Begun::Waits(later(
            respond,
            async move { calls.answer_later(received, body, limit, None).await.into() },
        ))
    }

    /// Decides one call. What a store has to be asked for goes on in a future.
    pub(super) fn decide(&self, asked: Asked) -> Decided {
        let Asked { message, limit, mut respond, body } = asked;
        // A panic costs its own call, not its neighbours.
        match catch_unwind(AssertUnwindSafe(|| self.answer_now(message))) {
            Ok(Now::Message(message)) => Decided::Answered(Answered { message, respond, _body: body }),
            Ok(Now::Error(status)) => Decided::Waits(later(respond, ready(Err(status).into()))),
            Ok(Now::Undecided(request)) => {
                let service = self.service.clone();
                Decided::Waits(later(respond, async move {
                    encoded(service.limiter.check(&request, limit).await).into()
                }))
            }
            Err(panic) => {
                panicked(panic.as_ref());
                respond.send_reset(Reason::INTERNAL_ERROR);
                Decided::Failed
            }
        }
    }

    async fn answer_other(&self, request: Request<Incoming>, limit: Duration) -> Answer {
        match deadline::within(limit, pin!(self.service.others.answer(request))).await {
            Some((Ok(answer), _)) => Answer::Whole(answer),
            Some((Err(status), _)) => Err(status).into(),
            None => Err(Status::deadline_exceeded(LATE)).into(),
        }
    }

    fn answer_now(&self, message: Result<Bytes, FrameError>) -> Now {
        let request = match self.request(message) {
            Ok(request) => request,
            Err(status) => return Now::Error(status),
        };
        match self.service.limiter.check_at_once(&request).map(encoded) {
            Some(Ok(message)) => Now::Message(message),
            Some(Err(status)) => Now::Error(status),
            None => Now::Undecided(request),
        }
    }

    /// Reads the message within `limit`, and has the decision made in what is left of it.
    async fn answer_later<B>(
        &self,
        received: Received,
        body: B,
        limit: Duration,
        span: Option<&CallSpan>,
    ) -> Result<Bytes, Status>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let reading = pin!(frame::read(received, body, &self.unfinished));
        let metrics = self.service.limiter.metrics();
        let pending = metrics.pending();
        let read = deadline::within(limit, reading).await;
        if !matches!(read, Some((Err(FrameError::CutOff), _))) {
            pending.ended();
        }
        let Some((message, time_left)) = read else {
            metrics.cut_off(CutOff::Deadline);
            self.service.limiter.count_unreadable(&"its message did not arrive in time");
            return Err(Status::deadline_exceeded(LATE));
        };
        if message == Err(FrameError::TooManyUnfinished) {
            metrics.overloaded(Listener::Grpc);
        }
        let request = self.request(message)?;
        encoded(self.service.limiter.check_traced(&request, time_left, span).await)
    }

    /// The request that a message asks; one that cannot be read is counted.
    fn request(&self, message: Result<Bytes, FrameError>) -> Result<crate::request::Request, Status> {
        let request = message.map_err(Status::from).and_then(|message| {
            wire::request(&message).map_err(|error| match error {
                UnreadableRequest::Senseless(error) => bad_request(&error),
                UnreadableRequest::Malformed(_) => Status::invalid_argument(error.to_string()),
            })
        });
        request.inspect_err(|status| self.service.limiter.count_unreadable(&status.message()))
    }
}

fn encoded(decided: Result<Decision, CheckError>) -> Result<Bytes, Status> {
    match decided {
        Ok(decision) => Ok(wire::framed(&decision)),
        Err(error) => Err(no_answer(&error)),
    }
}

/// Answers a call that is traced; apart, so that nothing of it is in the way of the others.
#[cold]
fn answer_traced(
    calls: Arc<Calls>,
    mut body: Incoming,
    limit: Duration,
    span: CallSpan,
    respond: SendResponse<Bytes>,
) -> Waiting {
    let received = frame::received(&mut body);
    let log = span.log();
    let answering = async move {
        let answered = calls.answer_later(received, body, limit, Some(&span)).await;
        let (name, failure) = match &answered {
            Ok(_) => ("OK", None),
            Err(status) => (status::name(status.code()), status::failure(status)),
        };
        span.end_rpc(name, failure);
        answered.into()
    };
    later(respond, answering.instrument(log))
}

/// Sends the answer that a call comes to, unless the client resets the call before: then nobody waits.
fn later(mut respond: SendResponse<Bytes>, answer: impl Future<Output = Answer> + Send + 'static) -> Waiting {
    let answered = async move {
        let answer = {
            let mut answer = pin!(answer);
            poll_fn(|context| match answer.as_mut().poll(context) {
                Poll::Ready(answer) => Poll::Ready(Some(answer)),
                Poll::Pending => respond.poll_reset(context).map(|_| None),
            })
            .await
        };
        if let Some(answer) = answer {
            ended(stream::send(&mut respond, answer).await);
        }
    };
    Box::pin(AssertUnwindSafe(answered).catch_unwind().map(|ended| {
        if let Err(panic) = ended {
            panicked(panic.as_ref());
        }
    }))
}

/// A client that is gone before its answer is nothing to worry about.
fn ended(sent: Result<(), h2::Error>) {
    if let Err(error) = sent {
        tracing::debug!(%error, "an answer was not taken");
    }
}

fn panicked(panic: &(dyn Any + Send)) {
    let text = panic.downcast_ref::<&str>().copied();
    let message = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
    tracing::error!(message, "a call ended in a panic");
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
