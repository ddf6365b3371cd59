//! A gRPC front in this process, with a limiter that does what the domain says, and ways to call it.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use envoy_types::pb::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use envoy_types::pb::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::{
    Entry, RateLimitOverride,
};
use envoy_types::pb::envoy::service::ratelimit::v3::RateLimitRequest;
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_response::Code;
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_service_client::RateLimitServiceClient;
use fluxlimit::engine::Settlement;
use fluxlimit::health::Health;
use fluxlimit::limiter::{Limiter, Settings};
use fluxlimit::metrics::Metrics;
use fluxlimit::rules::RuleSet;
use fluxlimit::rules::file::RuleFile;
use fluxlimit::store::memory::{self, MemoryStore};
use fluxlimit::store::queue::Reply;
use fluxlimit::store::{Settling, Store, StoreError};
use fluxlimit::time::SystemClock;
use fluxlimit::yaml::Position;
use h2::client::SendRequest;
use http::{HeaderMap, StatusCode};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tonic::transport::Channel;

/// Longest time that a test waits for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const SHOULD_RATE_LIMIT: &str = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";

/// Hits of a request that make the store misbehave.
pub(crate) const SLOW: u32 = 1001;
pub(crate) const PANIC: u32 = 1002;
pub(crate) const DOWN: u32 = 1003;

/// Answers as the memory store does, except for hits of [`SLOW`] (waits to be released), [`PANIC`] and
/// [`DOWN`].
#[derive(Debug)]
pub(crate) struct MoodyStore {
    pub(crate) waiting: Arc<Notify>,
    pub(crate) release: Arc<Notify>,
    memory: Arc<MemoryStore>,
}

impl Store for MoodyStore {
    fn settle(&self, settlement: &Settlement) -> Settling {
        match u32::try_from(settlement.charges()[0].hits) {
            Ok(SLOW) => {
                let (reply, ticket) = Reply::new();
                let (waiting, release) = (self.waiting.clone(), self.release.clone());
                let (memory, settlement) = (self.memory.clone(), settlement.clone());
                tokio::spawn(async move {
                    waiting.notify_one();
                    release.notified().await;
                    reply.send(memory.settle(&settlement).outcome().await);
                });
                Settling::Later(ticket)
            }
            Ok(PANIC) => panic!("the store is broken"),
            Ok(DOWN) => {
                let reason = "connection refused by 10.1.2.3".to_owned();
                Settling::Ready(Err(StoreError::Unavailable { reason }))
            }
            _ => self.memory.settle(settlement),
        }
    }

    fn ping(&self) -> Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send + '_>> {
        self.memory.ping()
    }
}

/// A limiter on that store. Its one domain, `edge`, has no rules: requests bring their limits.
pub(crate) fn limiter() -> (Arc<Limiter>, Arc<MoodyStore>, Arc<Metrics>) {
    let memory = MemoryStore::new(memory::Settings::default(), Arc::new(SystemClock));
    let store =
        Arc::new(MoodyStore { waiting: Arc::default(), release: Arc::default(), memory: Arc::new(memory) });
    let metrics = Arc::new(Metrics::new());
    let limiter = Limiter::new(store.clone(), metrics.clone(), Settings::default());
    let file = RuleFile {
        name: "edge.yaml".to_owned(),
        domain: "edge".to_owned(),
        domain_at: Position { line: 1, column: 1 },
        overrides_count_refused: None,
        on_store_failure: None,
        hash_tag: None,
        descriptors: Vec::new(),
    };
    limiter.put_rules(Arc::new(RuleSet::compile(&[file])));
    (Arc::new(limiter), store, metrics)
}

/// A running front.
pub(crate) struct Front {
    pub(crate) address: SocketAddr,
    pub(crate) store: Arc<MoodyStore>,
    pub(crate) health: Arc<Health>,
    pub(crate) metrics: Arc<Metrics>,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<()>,
}

impl Front {
    pub(crate) async fn start() -> Self {
        Self::start_with(fluxlimit::grpc::Settings::default()).await
    }

    pub(crate) async fn start_with(settings: fluxlimit::grpc::Settings) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let ((limiter, store, metrics), health) = (limiter(), Arc::new(Health::new()));
        let (stop, stopped) = oneshot::channel::<()>();
        let served =
            tokio::spawn(fluxlimit::grpc::serve(listener, limiter, health.clone(), settings, async {
                drop(stopped.await);
            }));
        Self { address, store, health, metrics, stop: Some(stop), served }
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
        let answer = self.client().await.should_rate_limit(question(1)).await.unwrap();
        assert_eq!(answer.into_inner().overall_code(), Code::Ok);
    }
}

/// A request with one descriptor of so many entries, and a limit of 1,000 a day.
pub(crate) fn question(entries: usize) -> RateLimitRequest {
    let entry = |index| Entry { key: format!("k{index}"), value: "v".to_owned() };
    let descriptor = RateLimitDescriptor {
        entries: (0..entries).map(entry).collect(),
        limit: Some(RateLimitOverride { requests_per_unit: 1000, unit: 4 }),
        ..RateLimitDescriptor::default()
    };
    RateLimitRequest { domain: "edge".to_owned(), descriptors: vec![descriptor], hits_addend: 0 }
}

/// The bytes of a request of so many hits, framed.
pub(crate) fn framed(hits: u32) -> Vec<u8> {
    let message = prost::Message::encode_to_vec(&RateLimitRequest { hits_addend: hits, ..question(1) });
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
