//! A gRPC front in this process, with a limiter that does what the domain says, and ways to call it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use envoy_types::pb::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use envoy_types::pb::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::Entry;
use envoy_types::pb::envoy::service::ratelimit::v3::RateLimitRequest;
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_response::Code;
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_service_client::RateLimitServiceClient;
use fluxlimit::check::{Check, CheckError};
use fluxlimit::engine::{self, Decision};
use fluxlimit::health::Health;
use fluxlimit::request::Request;
use h2::client::SendRequest;
use http::{HeaderMap, StatusCode};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tonic::transport::Channel;

/// Longest time that a test waits for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const SHOULD_RATE_LIMIT: &str = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";

/// Answers OK, except in the domains `slow` (waits to be released), `panic`, `no-rules` and `no-store`.
#[derive(Debug, Default)]
pub(crate) struct Limiter {
    pub(crate) waiting: Notify,
    pub(crate) release: Notify,
}

impl Check for Limiter {
    async fn check(&self, request: &Request) -> Result<Decision, CheckError> {
        request.check()?;
        match &request.domain[..] {
            b"slow" => {
                self.waiting.notify_one();
                self.release.notified().await;
            }
            b"panic" => panic!("the limiter is broken"),
            b"no-rules" => return Err(CheckError::NoRules),
            b"no-store" => return Err(CheckError::Store),
            _ => {}
        }
        let status = engine::Status { code: engine::Code::Ok, limit: None, remaining: 0, reset_s: None };
        Ok(Decision {
            code: engine::Code::Ok,
            statuses: request.descriptors.iter().map(|_| status.clone()).collect(),
            headers: Vec::new(),
            metadata: None,
        })
    }
}

/// A running front.
pub(crate) struct Front {
    pub(crate) address: SocketAddr,
    pub(crate) limiter: Arc<Limiter>,
    pub(crate) health: Arc<Health>,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<()>,
}

impl Front {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (limiter, health) = (Arc::new(Limiter::default()), Arc::new(Health::new()));
        let (stop, stopped) = oneshot::channel::<()>();
        let served = tokio::spawn(fluxlimit::grpc::serve(listener, limiter.clone(), health.clone(), async {
            drop(stopped.await);
        }));
        Self { address, limiter, health, stop: Some(stop), served }
    }

    /// Tells the front to stop, without waiting for it.
    pub(crate) fn tell_stop(&mut self) {
        self.stop.take().expect("told once").send(()).expect("it is running");
    }

    /// Waits until it has stopped.
    pub(crate) async fn stopped(self) {
        tokio::time::timeout(PATIENCE, self.served).await.expect("it stops").unwrap();
    }

    /// A client as Envoy's own types make it.
    pub(crate) async fn client(&self) -> RateLimitServiceClient<Channel> {
        RateLimitServiceClient::new(self.channel().await)
    }

    pub(crate) async fn channel(&self) -> Channel {
        let endpoint = Channel::from_shared(format!("http://{}", self.address)).unwrap();
        endpoint.timeout(PATIENCE).connect().await.unwrap()
    }

    /// A client that sends what it is told to.
    pub(crate) async fn raw(&self) -> SendRequest<Bytes> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (sender, connection) = h2::client::handshake(stream).await.unwrap();
        // It ends with its sender, or when the server cuts it off.
        tokio::spawn(async move { drop(connection.await) });
        sender
    }

    /// Holds that a good request is answered, on a new connection.
    pub(crate) async fn answers(&self) {
        let answer = self.client().await.should_rate_limit(question("edge", 1)).await.unwrap();
        assert_eq!(answer.into_inner().overall_code(), Code::Ok);
    }
}

/// A request with one descriptor of so many entries.
pub(crate) fn question(domain: &str, entries: usize) -> RateLimitRequest {
    let entry = |index| Entry { key: format!("k{index}"), value: "v".to_owned() };
    let descriptor =
        RateLimitDescriptor { entries: (0..entries).map(entry).collect(), ..RateLimitDescriptor::default() };
    RateLimitRequest { domain: domain.to_owned(), descriptors: vec![descriptor], hits_addend: 0 }
}

/// The bytes of a request, framed.
pub(crate) fn framed(domain: &str) -> Vec<u8> {
    let message = prost::Message::encode_to_vec(&question(domain, 1));
    let length = u32::try_from(message.len()).unwrap();
    [&[0], &length.to_be_bytes()[..], &message].concat()
}

/// The head of a call of `ShouldRateLimit`, as gRPC wants it.
pub(crate) fn head() -> http::request::Builder {
    http::Request::post(format!("http://front{SHOULD_RATE_LIMIT}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
}

/// What came back from a call.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// Headers and trailers together.
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// `grpc-status`, and `grpc-message` as it stands on the wire.
    pub(crate) fn grpc(&self) -> (&str, &str) {
        let text = |name| self.headers.get(name).map_or("", |value| value.to_str().unwrap());
        (text("grpc-status"), text("grpc-message"))
    }
}

/// Calls with that head and body.
pub(crate) async fn call(
    sender: &SendRequest<Bytes>,
    head: http::request::Builder,
    body: &[u8],
) -> Result<Answer, h2::Error> {
    let called = async {
        let mut sender = sender.clone().ready().await?;
        let (response, mut stream) = sender.send_request(head.body(()).unwrap(), body.is_empty())?;
        if !body.is_empty() {
            stream.send_data(Bytes::copy_from_slice(body), true)?;
        }
        let (parts, mut incoming) = response.await?.into_parts();
        let mut answer = Answer { status: parts.status, headers: parts.headers, body: Vec::new() };
        while let Some(data) = incoming.data().await {
            answer.body.extend_from_slice(&data?);
        }
        if let Some(trailers) = incoming.trailers().await? {
            answer.headers.extend(trailers);
        }
        Ok(answer)
    };
    tokio::time::timeout(PATIENCE, called).await.expect("an answer in time")
}
