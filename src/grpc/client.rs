//! The other side: asks a server one question, as Envoy does.

use std::error::Error;
use std::time::Duration;

use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Endpoint;
use tonic_prost::ProstCodec;

use super::message::{RateLimitRequest, RateLimitResponse};
use super::service::SHOULD_RATE_LIMIT;
use super::{convert, status};
use crate::engine::Decision;
use crate::request::Request;

/// Why there is no decision.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The address makes no sense.
    #[error("`{server}` is no address; expected HOST:PORT")]
    Address {
        /// As it was given.
        server: String,
    },
    /// Nobody answers there.
    #[error("cannot reach a rate-limit server at {server}: {reason}")]
    Unreachable {
        /// As it was given.
        server: String,
        /// The innermost cause.
        reason: String,
    },
    /// The server took too long.
    #[error("{server} did not answer within {timeout_ms} ms")]
    Late {
        /// As it was given.
        server: String,
        /// How long was waited, in milliseconds.
        timeout_ms: u64,
    },
    /// The server answered with an error of gRPC. Without `failure_mode_deny` Envoy lets the request pass then.
    #[error("{server} answers {code}: {reason}")]
    Failed {
        /// As it was given.
        server: String,
        /// The name of the status.
        code: String,
        /// Its message.
        reason: String,
    },
    /// The server answered what no rate-limit server may.
    #[error("{server} answers what makes no sense: {reason}")]
    Nonsense {
        /// As it was given.
        server: String,
        /// What is wrong.
        reason: String,
    },
}

/// The decision of the server at `HOST:PORT` on one request.
///
/// # Errors
/// See [`AskError`].
pub async fn ask(server: &str, request: &Request, timeout_ms: u64) -> Result<Decision, AskError> {
    let asking = ask_unbounded(server, request);
    let answer = tokio::time::timeout(Duration::from_millis(timeout_ms), asking).await;
    answer.unwrap_or_else(|_| Err(AskError::Late { server: server.to_owned(), timeout_ms }))
}

async fn ask_unbounded(server: &str, request: &Request) -> Result<Decision, AskError> {
    let name = || server.to_owned();
    let endpoint = Endpoint::from_shared(format!("http://{server}"));
    let endpoint = endpoint.ok().filter(|endpoint| endpoint.uri().port().is_some());
    let endpoint = endpoint.ok_or_else(|| AskError::Address { server: name() })?;
    let channel = endpoint
        .connect()
        .await
        .map_err(|error| AskError::Unreachable { server: name(), reason: innermost(&error) })?;
    let mut client = Grpc::new(channel);
    client
        .ready()
        .await
        .map_err(|error| AskError::Unreachable { server: name(), reason: innermost(&error) })?;
    let codec: ProstCodec<RateLimitRequest, RateLimitResponse> = ProstCodec::default();
    let message = tonic::Request::new(convert::asked(request));
    let answer = client.unary(message, PathAndQuery::from_static(SHOULD_RATE_LIMIT), codec).await;
    let answer = answer.map_err(|status| AskError::Failed {
        server: name(),
        code: status::name(status.code()).to_owned(),
        reason: status.message().to_owned(),
    })?;
    convert::decision(answer.into_inner()).map_err(|reason| AskError::Nonsense { server: name(), reason })
}

fn innermost(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    // Without the number that only some systems know.
    let text = cause.to_string().to_lowercase();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}
