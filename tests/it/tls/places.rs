//! Handshakes that take long: they end, and keep nobody out.

use std::sync::Arc;

use rustls::ClientConnection;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{ENVOY, Site, connect, trusting};
use crate::grpc_front::PATIENCE;
use crate::support::eventually;

/// The first message of a client.
fn hello(site: &Site) -> Vec<u8> {
    let config = Arc::new(trusting(&site.authority.pem, None));
    let mut client = ClientConnection::new(config, ServerName::try_from("127.0.0.1").unwrap()).unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    hello
}

#[tokio::test]
async fn clients_that_have_not_begun_hold_no_place() {
    let site =
        Site::start(&[("GRPC_TLS__MAX_HANDSHAKES", "1"), ("GRPC_TLS__HANDSHAKE_TIMEOUT_MS", "3600000")])
            .await;
    let hello = hello(&site);
    let mut waiting = Vec::new();
    for begun in [&[][..], &hello[..1], &hello[..hello.len() - 1]] {
        let mut stream = TcpStream::connect(site.server.grpc).await.unwrap();
        stream.write_all(begun).await.unwrap();
        waiting.push(stream);
    }
    eventually("the connections", async || {
        let open = site.server.metric("fluxlimit_connections{listener=\"grpc\"}").await;
        (open == Some(3)).then_some(())
    })
    .await;
    let pair = site.authority.issue(&[ENVOY]);
    let client = site.client(Some(&pair));
    let connecting = connect(&client, site.server.grpc);
    tokio::time::timeout(PATIENCE, connecting).await.expect("it finds a place").unwrap();
}

#[tokio::test]
async fn a_handshake_that_never_ends_is_ended_and_gives_up_its_place() {
    let site =
        Site::start(&[("GRPC_TLS__MAX_HANDSHAKES", "1"), ("GRPC_TLS__HANDSHAKE_TIMEOUT_MS", "500")]).await;
    let mut silent = TcpStream::connect(site.server.grpc).await.unwrap();
    let mut stalled = TcpStream::connect(site.server.grpc).await.unwrap();
    stalled.write_all(&hello(&site)).await.unwrap();
    // The server has answered, so the place is taken.
    tokio::time::timeout(PATIENCE, stalled.read_exact(&mut [0; 1])).await.expect("an answer").unwrap();
    let pair = site.authority.issue(&[ENVOY]);
    let client = site.client(Some(&pair));
    // Whoever waits for a place waits no longer than for the rest, so one attempt may not be enough.
    eventually("the place", async || connect(&client, site.server.grpc).await.ok()).await;
    for stream in [&mut silent, &mut stalled] {
        // Cut off, with or without a last word.
        let _ = stream.read_to_end(&mut Vec::new()).await;
    }
    eventually("both to be counted", async || (site.counted("timed_out").await == 2).then_some(())).await;
}

#[tokio::test]
async fn a_client_that_finds_no_place_in_time_is_counted_as_overload() {
    let mut site =
        Site::start(&[("GRPC_TLS__MAX_HANDSHAKES", "1"), ("GRPC_TLS__HANDSHAKE_TIMEOUT_MS", "1000")]).await;
    let hello = hello(&site);
    let mut stalled = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(site.server.grpc).await.unwrap();
        stream.write_all(&hello).await.unwrap();
        stalled.push(stream);
    }
    eventually("both ends", async || {
        let counts = (site.counted("timed_out").await, site.counted("overloaded").await);
        (counts == (1, 1)).then_some(())
    })
    .await;
    site.server
        .process
        .output_with("the bound", |log| log.contains("for 1 others were worked on").then_some(()))
        .await;
}

#[tokio::test]
async fn a_handshake_does_not_hold_up_the_stop() {
    let site = Site::start(&[
        ("GRPC_TLS__HANDSHAKE_TIMEOUT_MS", "3600000"),
        ("DRAIN_DELAY_MS", "0"),
        ("STOP_GRACE_MS", "3600000"),
    ])
    .await;
    let mut stalled = TcpStream::connect(site.server.grpc).await.unwrap();
    stalled.write_all(&hello(&site)).await.unwrap();
    stalled.read_exact(&mut [0; 1]).await.unwrap();
    assert!(site.server.stop().await.success());
}
