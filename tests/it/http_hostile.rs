//! The HTTP front under clients that are slow, that never read, or that hold every place.

use std::time::Duration;

use fluxlimit::connections::{Beyond, Bounds};
use fluxlimit::http::Settings;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::grpc_front::{PATIENCE, limiter};
use crate::http_front::Front;
use crate::metrics::assert_shown;

/// How long each client has for everything.
const TIMEOUT_MS: u64 = 1000;

async fn start(connections: usize) -> Front {
    let bounds = Bounds { connections, beyond: Beyond::Replaces, stop_ms: 0 };
    let settings = Settings { bounds, timeout_ms: TIMEOUT_MS, ..Settings::default() };
    Front::start_with(limiter().0, settings).await
}

async fn connect(front: &Front) -> TcpStream {
    TcpStream::connect(front.address).await.unwrap()
}

/// Waits for the server to close, and gives back how long that took.
async fn closed(mut stream: TcpStream) -> Duration {
    let begun = Instant::now();
    let mut rest = Vec::new();
    let closed = timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
    // An error is an end as well.
    drop(closed.expect("the server closes"));
    begun.elapsed()
}

/// The paused clock jumps ahead as soon as everybody waits.
#[tokio::test(start_paused = true)]
async fn a_connection_that_asks_nothing_is_closed() {
    let front = start(10).await;
    let (silent, mut idle) = (connect(&front).await, connect(&front).await);
    idle.write_all(b"GET /live HTTP/1.1\r\nhost: front\r\n\r\n").await.unwrap();
    let mut answer = [0; 12];
    idle.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    for stream in [silent, idle] {
        assert!(closed(stream).await <= Duration::from_millis(2 * TIMEOUT_MS));
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_that_comes_byte_by_byte_is_not_waited_for() {
    let front = start(10).await;
    let mut stream = connect(&front).await;
    let begun = Instant::now();
    let head = b"GET /live HTTP/1.1\r\nx-slow: ".iter().chain(std::iter::repeat(&b'x'));
    for byte in head {
        if begun.elapsed() > PATIENCE || stream.write_all(&[*byte]).await.is_err() {
            break;
        }
        sleep(Duration::from_millis(TIMEOUT_MS / 10)).await;
    }
    assert!(begun.elapsed() <= Duration::from_millis(2 * TIMEOUT_MS), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_reads_is_cut_off() {
    let front = start(10).await;
    let mut stream = connect(&front).await;
    let requests = b"GET /live HTTP/1.1\r\nhost: front\r\n\r\n".repeat(1000);
    let asking = async {
        // Until the server takes no more, since its answers are not taken either; then until it gives up.
        while stream.write_all(&requests).await.is_ok() {}
    };
    timeout(PATIENCE, asking).await.expect("the server closes");
}

#[tokio::test]
async fn probes_are_answered_while_others_hold_every_place() {
    let bounds = Bounds { connections: 20, beyond: Beyond::Replaces, stop_ms: 0 };
    // Nobody gives up a place by its own patience.
    let settings = Settings { bounds, timeout_ms: 3_600_000, ..Settings::default() };
    let front = Front::start_with(limiter().0, settings).await;
    let half_a_head = b"GET /ready HTTP/1.1\r\nho".to_vec();
    let half_a_body = b"POST /json HTTP/1.1\r\nhost: front\r\ncontent-length: 9\r\n\r\n{".to_vec();
    let never_reads = b"GET /metrics HTTP/1.1\r\nhost: front\r\n\r\n".repeat(100);
    let mut holding = Vec::new();
    for request in [Vec::new(), half_a_head, half_a_body, never_reads].iter().cycle().take(60) {
        let mut stream = connect(&front).await;
        // Whoever is cut off meanwhile has lost its place.
        drop(timeout(Duration::from_millis(1), stream.write_all(request)).await);
        holding.push(stream);
        if holding.len() % 10 == 0 {
            assert_eq!(front.ask("GET", "/live", "").await.status, 200);
        }
    }
}

#[tokio::test]
async fn large_bodies_are_bounded_together_and_small_ones_pass() {
    let settings = Settings { bodies_bytes: 100_000, ..Settings::default() };
    let (limiter, _, metrics) = limiter();
    let front = Front::start_with(limiter, settings).await;
    let body = " ".repeat(90_000);
    let head = format!("POST /json HTTP/1.1\r\nhost: front\r\ncontent-length: 90001\r\n\r\n{body}");
    let mut unfinished = connect(&front).await;
    unfinished.write_all(head.as_bytes()).await.unwrap();
    crate::support::eventually("the bound to be reached", async || {
        (front.ask("POST", "/json", &body).await.status == 503).then_some(())
    })
    .await;
    let overloaded = [("fluxlimit_requests_overloaded_total{listener=\"http\"}", 1.0)];
    assert_shown(&metrics, &overloaded);
    assert_eq!(front.ask("POST", "/json", "{}").await.status, 400);
    drop(unfinished);
    crate::support::eventually("room again", async || {
        (front.ask("POST", "/json", &body).await.status == 400).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_head_beyond_the_limit_is_refused() {
    let front = start(10).await;
    let mut stream = connect(&front).await;
    let head = format!("GET /live HTTP/1.1\r\nhost: front\r\nx: {}\r\n\r\n", "x".repeat(1 << 20));
    let _ = stream.write_all(head.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap();
    // The answer may be lost when the rest of the head meets a closed socket.
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 431 "));
    assert_eq!(front.ask("GET", "/live", "").await.status, 200);
}
