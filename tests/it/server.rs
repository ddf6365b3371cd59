//! The whole server in this process: start, answers, drain, stop.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use envoy_types::pb::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use envoy_types::pb::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::Entry;
use envoy_types::pb::envoy::service::ratelimit::v3::RateLimitRequest;
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_response::Code;
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_service_client::RateLimitServiceClient;
use fluxlimit::config::{Config, Flags};
use fluxlimit::server::{Orders, Server};
use tempfile::TempDir;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::reload::{BAD, a_day, loads, put};
use crate::support::{Client, eventually};

/// A server with one rule file, and all that can be told to it.
struct Running {
    grpc: SocketAddr,
    http: SocketAddr,
    file: PathBuf,
    /// `None` once it was told.
    stop: Option<oneshot::Sender<()>>,
    stop_now: Option<oneshot::Sender<()>>,
    reload: Arc<Notify>,
    ran: JoinHandle<()>,
    _directory: TempDir,
}

fn config(rules: &Path, environment: &[(&str, &str)]) -> Config {
    let flags = Flags {
        rules: vec![rules.to_owned()],
        grpc: Some("127.0.0.1:0".to_owned()),
        http: Some("127.0.0.1:0".to_owned()),
        ..Flags::default()
    };
    let environment = environment.iter().map(|(name, value)| ((*name).into(), (*value).into()));
    Config::load_with(&flags, environment).unwrap()
}

impl Running {
    async fn start(rules: &str, environment: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("rules.yaml");
        put(&file, rules);
        let server = Server::bind(config(directory.path(), environment)).await.unwrap();
        let (grpc, http) = server.addresses().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let (stop_now, stopped_now) = oneshot::channel::<()>();
        let reload = Arc::new(Notify::new());
        let orders = Orders { stop: told(stopped), stop_now: told(stopped_now), reload: reload.clone() };
        let ran = tokio::spawn(server.run(orders));
        let (stop, stop_now) = (Some(stop), Some(stop_now));
        Self { grpc, http, file, stop, stop_now, reload, ran, _directory: directory }
    }

    async fn client(&self) -> RateLimitServiceClient<Channel> {
        RateLimitServiceClient::connect(format!("http://{}", self.grpc)).await.unwrap()
    }

    async fn page(&self, path: &str) -> (u16, String) {
        let answer = Client::new(self.http).get(path, &[]).await.unwrap();
        (answer.status.as_u16(), answer.body)
    }

    async fn page_with(&self, path: &str, wanted: &str) -> u16 {
        eventually(wanted, async || {
            let (status, body) = self.page(path).await;
            body.contains(wanted).then_some(status)
        })
        .await
    }
}

/// Waits to be told; a sender that is dropped tells nothing.
async fn told(told: oneshot::Receiver<()>) {
    if told.await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn question(user: &str) -> RateLimitRequest {
    let entry = Entry { key: "user".to_owned(), value: user.to_owned() };
    let descriptor = RateLimitDescriptor { entries: vec![entry], ..RateLimitDescriptor::default() };
    RateLimitRequest { domain: "d".to_owned(), descriptors: vec![descriptor], hits_addend: 0 }
}

async fn ask(client: &mut RateLimitServiceClient<Channel>) -> Result<Code, tonic::Status> {
    Ok(client.should_rate_limit(question("alice")).await?.into_inner().overall_code())
}

#[tokio::test]
async fn a_server_without_good_rules_says_why_and_answers_once_they_are_mended() {
    let server = Running::start(BAD, &[]).await;
    let mut client = server.client().await;
    let status = ask(&mut client).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unavailable);
    assert_eq!(server.page("/live").await.0, 200);
    let (status, page) = server.page("/ready").await;
    assert_eq!(status, 503);
    assert!(page.starts_with("no rules loaded yet\n"), "{page}");
    assert!(page.contains(&format!("{}:2:1: descripters: unknown key", server.file.display())), "{page}");

    put(&server.file, &a_day(1));
    assert_eq!(server.page_with("/ready", "OK").await, 200);
    assert_eq!(ask(&mut client).await.unwrap(), Code::Ok);
    assert_eq!(ask(&mut client).await.unwrap(), Code::OverLimit);

    put(&server.file, BAD);
    // A server that has rules stays ready, and says what is wrong with the new ones.
    assert_eq!(server.page_with("/ready", "unknown key").await, 200);
    assert_eq!(ask(&mut client).await.unwrap(), Code::OverLimit);
}

#[tokio::test]
async fn a_draining_server_is_not_ready_and_answers_until_it_closes() {
    // Longer than the test: only the order to stop at once ends it.
    let mut server = Running::start(&a_day(2), &[("FLUXLIMIT_DRAIN_DELAY_MS", "3600000")]).await;
    let mut client = server.client().await;
    let channel = Channel::from_shared(format!("http://{}", server.grpc)).unwrap().connect().await.unwrap();
    let mut health = HealthClient::new(channel);
    let mut health =
        async || health.check(HealthCheckRequest::default()).await.unwrap().into_inner().status();
    assert_eq!(health().await, ServingStatus::Serving);
    server.stop.take().unwrap().send(()).unwrap();
    assert_eq!(server.page_with("/ready", "draining").await, 503);
    assert_eq!(health().await, ServingStatus::NotServing);
    assert_eq!(server.page("/live").await.0, 200);
    assert_eq!(ask(&mut client).await.unwrap(), Code::Ok);
    assert_eq!(ask(&mut server.client().await).await.unwrap(), Code::Ok);
    assert_eq!(ask(&mut client).await.unwrap(), Code::OverLimit);
    server.stop_now.take().unwrap().send(()).unwrap();
    server.ran.await.unwrap();
}

#[tokio::test]
async fn a_server_that_has_stopped_listens_no_more() {
    let mut server = Running::start(&a_day(1), &[("FLUXLIMIT_DRAIN_DELAY_MS", "0")]).await;
    let mut client = server.client().await;
    assert_eq!(ask(&mut client).await.unwrap(), Code::Ok);
    server.stop.take().unwrap().send(()).unwrap();
    server.ran.await.unwrap();
    assert!(ask(&mut client).await.is_err());
    for address in [server.grpc, server.http] {
        assert!(tokio::net::TcpStream::connect(address).await.is_err());
    }
}

#[tokio::test]
async fn an_address_that_is_taken_is_named() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let mut config = config(Path::new("rules"), &[]);
    config.http = address;
    let error = Server::bind(config).await.unwrap_err();
    assert_eq!(error.to_string(), format!("cannot listen on {address} for http"));
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("in use"));
}

#[tokio::test]
async fn metrics_tell_how_full_the_store_is() {
    let server = Running::start(&a_day(1), &[("FLUXLIMIT_MEMORY__MAX_KEYS", "1000")]).await;
    let mut client = server.client().await;
    for user in ["alice", "bob", "alice"] {
        client.should_rate_limit(question(user)).await.unwrap();
    }
    let (_, page) = server.page("/metrics").await;
    assert!(page.contains("\nfluxlimit_memory_keys 2\n"), "{page}");
    assert!(page.contains("\nfluxlimit_memory_max_keys 1000\n"), "{page}");
}

/// Clients that ask without pause; whatever is not an OK by a limit is kept.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Vec<String>>>,
}

impl Load {
    async fn start(server: &Running) -> Self {
        let (stop, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let mut clients = Vec::new();
        for number in 0..4 {
            let (stop, answered, mut client) = (stop.clone(), answered.clone(), server.client().await);
            clients.push(tokio::spawn(async move {
                let mut failures = Vec::new();
                let question = question(&format!("user-{number}"));
                while !stop.load(Ordering::Relaxed) {
                    match client.should_rate_limit(question.clone()).await {
                        // A limit in the answer: no moment passes without rules.
                        Ok(answer)
                            if answer.get_ref().overall_code() == Code::Ok
                                && answer.get_ref().statuses[0].current_limit.is_some() => {}
                        other => failures.push(format!("{other:?}")),
                    }
                    answered.fetch_add(1, Ordering::Relaxed);
                }
                failures
            }));
        }
        Self { stop, answered, clients }
    }

    /// Waits for this many more answers.
    async fn more(&self, count: u64) {
        let target = self.answered.load(Ordering::Relaxed) + count;
        eventually("answers", async || (self.answered.load(Ordering::Relaxed) >= target).then_some(())).await;
    }

    async fn failures(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        let mut failures = Vec::new();
        for client in self.clients {
            failures.extend(client.await.unwrap());
        }
        failures
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn edits_in_a_storm_cost_no_request_under_load() {
    const EDITS: u32 = 400;
    let plenty = 1_000_000_000;
    let server = Running::start(&a_day(plenty), &[("FLUXLIMIT_RELOAD__DEBOUNCE_MS", "1")]).await;
    let load = Load::start(&server).await;
    for edit in 1..=EDITS {
        match edit % 4 {
            0 => put(&server.file, BAD),
            1 => put(&server.file, &a_day(plenty + edit)),
            // Half of a file, as an editor that writes in place leaves it for a moment.
            2 => std::fs::write(&server.file, &a_day(plenty)[..40]).unwrap(),
            _ => server.reload.notify_one(),
        }
        load.more(5).await;
    }
    put(&server.file, &a_day(plenty + EDITS + 1));
    server.page_with("/rlconfig", &format!("requests_per_unit={}", plenty + EDITS + 1)).await;
    let failures = load.failures().await;
    assert!(failures.is_empty(), "{} failed; the first: {}", failures.len(), failures[0]);
    let (good, bad) = loads(&server.page("/metrics").await.1);
    assert!(good >= 20 && bad >= 20, "{good} good and {bad} bad loads are no storm");
}
