//! Connections, calls and callers that give up, at a front that listens.

use bytes::Bytes;
use fluxlimit::metrics::Metrics;
use h2::Reason;
use tokio::net::TcpStream;

use super::shown;
use crate::grpc_front::{Front, SLOW, framed, head};
use crate::support::{Fluxlimit, RuleDirectory, eventually};

const OPEN: &str = "fluxlimit_connections{listener=\"grpc\"}";
const WAITING: &str = "fluxlimit_waiting_calls";
const CANCELLED: &str = "fluxlimit_requests_cut_off_total{reason=\"cancelled\"}";
const DEADLINE: &str = "fluxlimit_requests_cut_off_total{reason=\"deadline\"}";

async fn becomes(metrics: &Metrics, series: &str, value: f64) {
    let what = format!("{series} {value}");
    eventually(&what, async || (shown(metrics, series) == Some(value)).then_some(())).await;
}

#[tokio::test]
async fn connections_and_waiting_calls_are_shown_while_they_last() {
    let front = Front::start().await;
    becomes(&front.metrics, "fluxlimit_max_connections{listener=\"grpc\"}", 16_384.0).await;
    let (first, second) = (front.raw().await, front.raw().await);
    becomes(&front.metrics, OPEN, 2.0).await;
    // One whose message never comes, and one that waits for the store.
    let mut first = first.ready().await.unwrap();
    let unfinished = first.send_request(head().body(()).unwrap(), false).unwrap();
    becomes(&front.metrics, WAITING, 1.0).await;
    let mut second = second.ready().await.unwrap();
    let (response, mut stream) = second.send_request(head().body(()).unwrap(), false).unwrap();
    stream.send_data(Bytes::from(framed(SLOW)), true).unwrap();
    becomes(&front.metrics, WAITING, 2.0).await;
    front.store.release.notify_one();
    response.await.unwrap();
    becomes(&front.metrics, WAITING, 1.0).await;
    drop((first, second, stream, unfinished));
    becomes(&front.metrics, OPEN, 0.0).await;
    becomes(&front.metrics, WAITING, 0.0).await;
    assert_eq!(shown(&front.metrics, "fluxlimit_connections_accepted_total{listener=\"grpc\"}"), Some(2.0));
}

#[tokio::test]
async fn a_reset_and_a_deadline_are_told_apart_while_a_message_is_waited_for() {
    let front = Front::start().await;
    let mut sender = front.raw().await.ready().await.unwrap();
    let late = head().header("grpc-timeout", "20m").body(()).unwrap();
    let (response, _stream) = sender.send_request(late, false).unwrap();
    assert_eq!(response.await.unwrap().headers()["grpc-status"], "4", "DEADLINE_EXCEEDED");
    assert_eq!((shown(&front.metrics, CANCELLED), shown(&front.metrics, DEADLINE)), (Some(0.0), Some(1.0)));
    let mut sender = sender.ready().await.unwrap();
    let (_response, mut stream) = sender.send_request(head().body(()).unwrap(), false).unwrap();
    becomes(&front.metrics, WAITING, 1.0).await;
    stream.send_reset(Reason::CANCEL);
    becomes(&front.metrics, CANCELLED, 1.0).await;
    assert_eq!(shown(&front.metrics, DEADLINE), Some(1.0));
}

#[tokio::test]
async fn calls_of_a_connection_that_breaks_are_cancelled() {
    let front = Front::start().await;
    let mut sender = front.raw().await.ready().await.unwrap();
    let (response, mut stream) = sender.send_request(head().body(()).unwrap(), false).unwrap();
    stream.send_data(Bytes::from(framed(SLOW)), true).unwrap();
    front.store.waiting.notified().await;
    drop((sender, response, stream));
    becomes(&front.metrics, CANCELLED, 1.0).await;
    becomes(&front.metrics, WAITING, 0.0).await;
}

#[tokio::test]
async fn a_call_that_is_answered_was_not_cut_off() {
    let front = Front::start().await;
    front.answers().await;
    let mut sender = front.raw().await.ready().await.unwrap();
    let (response, mut stream) = sender.send_request(head().body(()).unwrap(), false).unwrap();
    stream.send_data(Bytes::from(framed(SLOW)), true).unwrap();
    front.store.waiting.notified().await;
    front.store.release.notify_one();
    response.await.unwrap();
    becomes(&front.metrics, WAITING, 0.0).await;
    assert_eq!((shown(&front.metrics, CANCELLED), shown(&front.metrics, DEADLINE)), (Some(0.0), Some(0.0)));
}

#[tokio::test]
async fn connections_to_every_listener_are_told_apart() {
    let rules = RuleDirectory::with("domain: edge\ndescriptors: []\n");
    let mut server = Fluxlimit::with_rules_at(rules.path()).admin().start().await;
    let (admin, http) = (server.admin().await, server.http);
    let _open = (TcpStream::connect(admin).await.unwrap(), TcpStream::connect(http).await.unwrap());
    // The scraper's own is another one.
    for (listener, open) in [("admin", 1), ("http", 2), ("grpc", 0)] {
        let series = format!("fluxlimit_connections{{listener=\"{listener}\"}}");
        let what = format!("{series} {open}");
        eventually(&what, async || (server.metric(&series).await? == open).then_some(())).await;
    }
}
