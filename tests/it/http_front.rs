//! The HTTP front: pages, `/json`, and clients that are slow or send too much.

use std::net::SocketAddr;
use std::sync::Arc;

use fluxlimit::health::Health;
use fluxlimit::http::{Endpoints, Sources};
use fluxlimit::limiter::{Limiter, Settings};
use fluxlimit::metrics::Metrics;
use fluxlimit::store::memory::{self, MemoryStore};
use fluxlimit::time::SystemClock;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::grpc_front::{DOWN, PATIENCE, limiter};

pub(crate) struct Front {
    pub(crate) address: SocketAddr,
    pub(crate) health: Arc<Health>,
    stop: oneshot::Sender<()>,
    served: JoinHandle<()>,
}

/// What came back, read until the server closed.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Front {
    pub(crate) async fn start(limiter: Arc<Limiter>) -> Self {
        Self::start_with(limiter, fluxlimit::http::Settings::default()).await
    }

    pub(crate) async fn start_with(limiter: Arc<Limiter>, settings: fluxlimit::http::Settings) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let health = Arc::new(Health::new());
        let sources = Sources {
            limiter,
            metrics: Arc::new(Metrics::new()),
            health: health.clone(),
            endpoints: Endpoints::default(),
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let served = tokio::spawn(fluxlimit::http::serve(listener, sources, settings, async {
            drop(stopped.await);
        }));
        Self { address, health, stop, served }
    }

    pub(crate) async fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: front\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        self.send(request.as_bytes()).await
    }

    async fn send(&self, request: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // The server may answer and close before it has read all.
        let _ = stream.write_all(request).await;
        let mut text = Vec::new();
        let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut text));
        let _ = read.await.expect("an answer in time");
        let text = String::from_utf8(text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head: head.to_owned(), body: body.to_owned() }
    }

    async fn json(&self, body: &Value) -> (u16, Value) {
        let answer = self.ask("POST", "/json", &body.to_string()).await;
        assert!(answer.head.contains("content-type: application/json"), "{}", answer.head);
        (answer.status, serde_json::from_str(&answer.body).unwrap())
    }
}

/// A request of so many hits against a limit of 2 a day.
fn question(hits: u32) -> Value {
    json!({
        "domain": "edge",
        "hitsAddend": hits,
        "descriptors": [{
            "entries": [{"key": "k", "value": "a"}],
            "limit": {"requestsPerUnit": 2, "unit": "DAY"},
        }],
    })
}

#[tokio::test]
async fn json_is_200_while_it_passes_and_429_over_the_limit() {
    let front = Front::start(limiter().0).await;
    for (status, code, remaining) in [(200, "OK", 1), (200, "OK", 0), (429, "OVER_LIMIT", 0)] {
        let (found, mut reply) = front.json(&question(1)).await;
        assert_eq!(found, status);
        let reset = reply["statuses"][0]["durationUntilReset"].take();
        assert!(reset.as_str().unwrap().ends_with('s'), "{reset}");
        let limit = json!({"requestsPerUnit": 2, "unit": "DAY", "name": ""});
        let expected = json!({"overallCode": code, "statuses": [
            {"code": code, "currentLimit": limit, "limitRemaining": remaining, "durationUntilReset": null}
        ]});
        assert_eq!(reply, expected);
    }
}

#[tokio::test]
async fn json_takes_any_method_and_one_path() {
    let front = Front::start(limiter().0).await;
    let mut body = question(1);
    body["descriptors"][0]["limit"]["requestsPerUnit"] = 100.into();
    let body = body.to_string();
    for method in ["PUT", "DELETE", "GET", "PATCH"] {
        assert_eq!(front.ask(method, "/json", &body).await.status, 200, "{method}");
    }
    assert_eq!(front.ask("POST", "/json?x=1", &body).await.status, 200);
    for path in ["/json/", "/JSON", "/", "/healthcheck/", "/stats"] {
        let answer = front.ask("POST", path, &body).await;
        assert_eq!((answer.status, answer.body.as_str()), (404, "404 page not found\n"), "{path}");
        assert!(answer.head.contains("content-type: text/plain; charset=utf-8"), "{}", answer.head);
    }
}

#[tokio::test]
async fn what_is_no_request_is_400_and_says_why() {
    let front = Front::start(limiter().0).await;
    let check = async |body: &str, reason: &str| {
        let answer = front.ask("POST", "/json", body).await;
        assert_eq!((answer.status, answer.body), (400, format!("Bad Request: {reason}\n")));
    };
    check("", "EOF while parsing a value at line 1 column 0").await;
    check("{}", "rate limit domain must not be empty").await;
    check(r#"{"domain": "d"}"#, "rate limit descriptor list must not be empty").await;
    let entries = vec![json!({"key": "k"}); 10_000];
    let many = json!({"domain": "d", "descriptors": [{"entries": entries}]}).to_string();
    check(&many, "10000 entries in descriptors[0]; expected at most 32").await;
    let long = front.ask("POST", "/json", &format!("{{\"{}\": 1}}", "x".repeat(100_000))).await;
    assert_eq!(long.status, 400);
    assert!(long.body.len() < 400, "{}", long.body.len());
}

#[tokio::test]
async fn without_an_answer_it_is_503_and_hides_what_is_behind() {
    let front = Front::start(limiter().0).await;
    let answer = front.ask("POST", "/json", &question(DOWN).to_string()).await;
    let expected = "Service Unavailable: rate limit store unavailable\n";
    assert_eq!((answer.status, answer.body.as_str()), (503, expected));
}

#[tokio::test]
async fn without_rules_json_is_503_and_rlconfig_is_empty() {
    let store = MemoryStore::new(memory::Settings::default(), Arc::new(SystemClock));
    let metrics = Arc::new(Metrics::new());
    let front = Front::start(Arc::new(Limiter::new(Arc::new(store), metrics, Settings::default()))).await;
    let answer = front.ask("POST", "/json", &question(1).to_string()).await;
    let expected = "Service Unavailable: no rate limit configuration loaded\n";
    assert_eq!((answer.status, answer.body.as_str()), (503, expected));
    let answer = front.ask("GET", "/rlconfig", "").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
}

#[tokio::test]
async fn probes_follow_readiness_and_liveness_does_not() {
    let front = Front::start(limiter().0).await;
    let check = async |path: &str, status: u16, body: &str| {
        let answer = front.ask("GET", path, "").await;
        assert_eq!((answer.status, answer.body.as_str()), (status, body), "{path}");
    };
    check("/live", 200, "OK\n").await;
    check("/ready", 503, "no rules loaded yet\n").await;
    check("/healthcheck", 500, "").await;
    front.health.set_rules_loaded(true);
    check("/ready", 503, "the store has not answered\n").await;
    front.health.set_store_answered(true);
    check("/ready", 200, "OK\n").await;
    front.health.set_store_failing(true);
    check("/ready", 200, "OK\nthe store does not answer; `on_store_failure` decides\n").await;
    front.health.set_store_failing(false);
    check("/ready", 200, "OK\n").await;
    check("/healthcheck", 200, "OK").await;
    assert_eq!(front.ask("POST", "/healthcheck", "").await.status, 200);
    front.health.drain();
    check("/ready", 503, "draining: this server is about to stop\n").await;
    check("/healthcheck", 500, "").await;
    check("/live", 200, "OK\n").await;
}

#[tokio::test]
async fn metrics_are_in_prometheus_text() {
    let front = Front::start(limiter().0).await;
    let answer = front.ask("GET", "/metrics", "").await;
    assert_eq!(answer.status, 200);
    assert!(answer.head.contains("content-type: text/plain; version=0.0.4"), "{}", answer.head);
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused() {
    let front = Front::start(limiter().0).await;
    let answer = front.ask("POST", "/json", &" ".repeat(2 << 20)).await;
    assert_eq!(answer.status, 413);
    assert_eq!(front.json(&question(1)).await.0, 200);
}

/// The paused clock jumps ahead as soon as everybody waits.
#[tokio::test(start_paused = true)]
async fn slow_clients_are_not_waited_for_for_ever() {
    let front = Front::start(limiter().0).await;
    let mut stream = TcpStream::connect(front.address).await.unwrap();
    stream.write_all(b"POST /json HTTP/1.1\r\nhost: fr").await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let head = "POST /json HTTP/1.1\r\nhost: front\r\ncontent-length: 5\r\n\r\n{";
    let mut stream = TcpStream::connect(front.address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
}

#[tokio::test]
async fn a_stop_closes_idle_connections() {
    let front = Front::start(limiter().0).await;
    let mut stream = TcpStream::connect(front.address).await.unwrap();
    stream.write_all(b"GET /live HTTP/1.1\r\nhost: front\r\n\r\n").await.unwrap();
    let mut first = [0; 12];
    stream.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    front.stop.send(()).unwrap();
    tokio::time::timeout(PATIENCE, front.served).await.expect("it stops").unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
}
