//! The other side: asks a server one question, as Envoy does.

use std::error::Error;
use std::io;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

use super::message::{RateLimitRequest, RateLimitResponse};
use super::service::SHOULD_RATE_LIMIT;
use super::{convert, status};
use crate::engine::Decision;
use crate::request::Request;
use crate::tls::Connector;

/// A server to ask.
#[derive(Debug)]
pub struct Server<'a> {
    /// HOST:PORT.
    pub address: &'a str,
    /// What shakes hands with it; `None` if it does not speak TLS.
    pub tls: Option<Connector>,
}

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

/// The decision of a server on one request.
///
/// # Errors
/// See [`AskError`].
pub async fn ask(server: &Server<'_>, request: &Request, timeout_ms: u64) -> Result<Decision, AskError> {
    let asking = ask_unbounded(server, request);
    let answer = tokio::time::timeout(Duration::from_millis(timeout_ms), asking).await;
    answer.unwrap_or_else(|_| Err(AskError::Late { server: server.address.to_owned(), timeout_ms }))
}

async fn ask_unbounded(server: &Server<'_>, request: &Request) -> Result<Decision, AskError> {
    let name = || server.address.to_owned();
    let endpoint = Endpoint::from_shared(format!("http://{}", server.address));
    let endpoint = endpoint.ok().filter(|endpoint| endpoint.uri().port().is_some());
    let endpoint = endpoint.ok_or_else(|| AskError::Address { server: name() })?;
    let channel = match &server.tls {
        None => endpoint.connect().await,
        Some(tls) => connect(endpoint, tls.clone()).await,
    };
    let unreachable = |error: &dyn Error| {
        let told = server.tls.as_ref().and_then(Connector::told).map(str::to_owned);
        AskError::Unreachable { server: name(), reason: told.unwrap_or_else(|| innermost(error)) }
    };
    let channel = channel.map_err(|error| unreachable(&error))?;
    let mut client = Grpc::new(channel);
    client.ready().await.map_err(|error| unreachable(&error))?;
    let codec: ProstCodec<RateLimitRequest, RateLimitResponse> = ProstCodec::default();
    let message = tonic::Request::new(convert::asked(request));
    let answer = client.unary(message, PathAndQuery::from_static(SHOULD_RATE_LIMIT), codec).await;
    let answer = answer.map_err(|status| match status.source() {
        // What the server says has no cause here. One that refuses a certificate says so after the handshake.
        Some(cause) => unreachable(cause),
        None => AskError::Failed {
            server: name(),
            code: status::name(status.code()).to_owned(),
            reason: status.message().to_owned(),
        },
    })?;
    convert::decision(answer.into_inner()).map_err(|reason| AskError::Nonsense { server: name(), reason })
}

/// A channel on one connection with TLS.
async fn connect(endpoint: Endpoint, tls: Connector) -> Result<Channel, tonic::transport::Error> {
    // The library connects to `http` without asking whether it is encrypted; requests are for `https`.
    let origin = endpoint.uri().to_string().replacen("http", "https", 1);
    let endpoint = match origin.parse() {
        Ok(origin) => endpoint.origin(origin),
        Err(_) => endpoint,
    };
    let connector = tower::service_fn(move |uri: http::Uri| {
        let tls = tls.clone();
        async move {
            let (host, port) = (uri.host().unwrap_or_default(), uri.port_u16().unwrap_or_default());
            let stream = TcpStream::connect((host.trim_matches(['[', ']']), port)).await?;
            stream.set_nodelay(true)?;
            Ok::<_, io::Error>(TokioIo::new(tls.connect(host, stream).await?))
        }
    });
    endpoint.connect_with_connector(connector).await
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
