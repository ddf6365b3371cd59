//! Clients that open more than they finish, and Envoys that give up on many calls at once.

use bytes::Bytes;
use h2::client::SendRequest;
use tokio::net::TcpStream;

use super::{BY_USER, per_user};
use crate::grpc_front::{call, framed, head};
use crate::support::{Client, Envoy, Fluxlimit, RuleDirectory, Signal, Site, eventually};

const A_MILLION_A_DAY: &str = "{ unit: day, requests_per_unit: 1000000 }";

/// A server and an Envoy that says so if it gets no answer. Nothing that the server logs is lost.
async fn stack(options: &[&str]) -> (RuleDirectory, Fluxlimit, Envoy) {
    let rules = RuleDirectory::with(&per_user(A_MILLION_A_DAY));
    let setup = Fluxlimit::with_rules_at(rules.path()).setting("LOG__FILTER", "debug");
    let server = setup.start().await;
    let mut site = Site::new("edge", server.grpc).route("/", BY_USER).filter("failure_mode_deny: true");
    for option in options {
        site = site.filter(option);
    }
    let envoy = site.start().await;
    (rules, server, envoy)
}

async fn connect(server: &Fluxlimit) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(server.grpc).await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    // It ends with its sender, or when the server cuts it off.
    tokio::spawn(async move { drop(connection.await) });
    sender
}

#[tokio::test]
async fn two_thousand_resets_and_five_hundred_half_open_streams_cost_envoy_nothing() {
    let (_rules, server, mut envoy) = stack(&[]).await;
    let half_open = async {
        let mut sender = connect(&server).await;
        let mut streams = Vec::new();
        for _ in 0..500 {
            sender = sender.ready().await.unwrap();
            streams.push(sender.send_request(head().body(()).unwrap(), false).unwrap());
        }
        (sender, streams)
    };
    let (sender, _streams) = half_open.await;
    let mut resetting = connect(&server).await;
    for _ in 0..2_000 {
        resetting = resetting.ready().await.unwrap();
        let (_response, mut stream) = resetting.send_request(head().body(()).unwrap(), false).unwrap();
        stream.send_reset(h2::Reason::CANCEL);
    }
    assert_eq!(envoy.statuses(100, "/", &[("x-user", b"alice")]).await, [200; 100]);
    // Neither of the two was thrown out: both did what an Envoy may have to do.
    for sender in [&sender, &resetting] {
        assert_eq!(call(sender, head(), &framed(1)).await.unwrap().grpc().0, "0");
    }
}

/// Sends this many requests through Envoy at once and gives back how many were answered with each status.
async fn at_once(envoy: &Envoy, count: usize) -> Vec<u16> {
    let asking = (0..count).map(|_| {
        let mut client = Client::new(envoy.address);
        async move { client.get("/", &[("x-user", b"alice")]).await.expect("Envoy answers").status.as_u16() }
    });
    futures_util::future::join_all(asking).await
}

/// With h2's default of 20 the server would take 21 resets at once for an attack, and close the connection.
#[tokio::test]
async fn an_envoy_that_gives_up_on_many_calls_at_once_keeps_its_connection() {
    const CALLS: usize = 200;
    let (_rules, server, envoy) = stack(&["timeout: 1s"]).await;
    assert_eq!(at_once(&envoy, 1).await, [200]);
    server.process.signal(Signal::STOP);
    assert_eq!(at_once(&envoy, CALLS).await, [500; CALLS]);
    server.process.signal(Signal::CONT);
    eventually("Envoy to be answered", async || (at_once(&envoy, 1).await == [200]).then_some(())).await;
    assert_eq!(at_once(&envoy, CALLS).await, [200; CALLS]);
    assert_eq!(envoy.connections_so_far().await, Some(1));
    assert!(!server.process.output().contains("a connection failed"));
}
