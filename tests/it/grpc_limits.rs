//! What a gRPC client may take, where settings say so, and how long its connection may live.

use bytes::Bytes;
use fluxlimit::connections::{Beyond, Bounds};
use fluxlimit::grpc::Settings;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::Code;

use crate::grpc_front::{Front, PATIENCE, call, framed, head, question};
use crate::metrics::assert_shown;

const OVERLOADED: &str = "fluxlimit_requests_overloaded_total{listener=\"grpc\"}";

#[tokio::test]
async fn a_message_beyond_the_limit_is_resource_exhausted_and_one_at_it_passes() {
    let front = Front::start_with(Settings { message_bytes: 2048, ..Settings::default() }).await;
    let mut client = front.client().await;
    let mut sized = question(1);
    let mut ask = async |bytes: usize| {
        let value = &mut sized.descriptors[0].entries[0].value;
        value.clear();
        // The length of the value is written in two bytes either way.
        *value = "v".repeat(1000);
        let rest = prost::Message::encoded_len(&sized) - 1000;
        sized.descriptors[0].entries[0].value = "v".repeat(bytes - rest);
        assert_eq!(prost::Message::encoded_len(&sized), bytes);
        client
            .should_rate_limit(sized.clone())
            .await
            .map_err(|status| (status.code(), status.message().to_owned()))
    };
    ask(2048).await.unwrap();
    let (code, message) = ask(2049).await.unwrap_err();
    assert_eq!(code, Code::ResourceExhausted);
    assert_eq!(message, "a message of 2049 bytes; expected at most 2048");
}

#[tokio::test]
async fn headers_beyond_the_limit_cost_their_call_only() {
    let front = Front::start_with(Settings { header_bytes: 1024, ..Settings::default() }).await;
    let sender = front.raw().await;
    let large = head().header("x-large", "x".repeat(1500));
    // An answer in HTTP, or a reset.
    if let Ok(answer) = call(&sender, large, &framed(1)).await {
        assert_eq!(answer.status, 431);
    }
    assert_eq!(call(&sender, head(), &framed(1)).await.unwrap().grpc().0, "0");
}

/// Everybody's bound is used up by one connection, which is refused more; another is answered all the same.
#[tokio::test]
async fn who_holds_too_many_unfinished_calls_is_refused_and_nobody_else() {
    let front = Front::start_with(Settings { unfinished_calls: 100, ..Settings::default() }).await;
    let mut greedy = front.raw().await;
    let mut open = Vec::new();
    for _ in 0..101 {
        greedy = greedy.ready().await.unwrap();
        open.push(greedy.send_request(head().body(()).unwrap(), false).unwrap());
    }
    let (responses, _streams): (Vec<_>, Vec<_>) = open.into_iter().unzip();
    let refused = futures_util::future::select_all(responses);
    let (answer, ..) = timeout(PATIENCE, refused).await.expect("one is refused");
    assert_eq!(answer.unwrap().headers()["grpc-status"], "8");
    assert_shown(&front.metrics, &[(OVERLOADED, 1.0)]);
    // In two pieces, so that it is unfinished for a while.
    let sender = front.raw().await;
    let (response, mut stream) =
        sender.clone().ready().await.unwrap().send_request(head().body(()).unwrap(), false).unwrap();
    let body = framed(1);
    stream.send_data(Bytes::copy_from_slice(&body[..3]), false).unwrap();
    assert_eq!(call(&sender, head(), &framed(1)).await.unwrap().grpc().0, "0");
    stream.send_data(Bytes::copy_from_slice(&body[3..]), true).unwrap();
    let mut answer = timeout(PATIENCE, response).await.unwrap().unwrap().into_body();
    while let Some(data) = answer.data().await {
        data.unwrap();
    }
    assert_eq!(answer.trailers().await.unwrap().unwrap()["grpc-status"], "0");
    assert_shown(&front.metrics, &[(OVERLOADED, 1.0)]);
}

/// Envoy behaves as this client does: it opens another connection for its next call.
#[tokio::test]
async fn an_old_connection_is_told_to_go_and_its_call_is_answered() {
    let settings = Settings { max_age_ms: 100, ..Settings::default() };
    let front = Front::start_with(settings).await;
    let stream = TcpStream::connect(front.address).await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let (response, mut stream) =
        sender.clone().ready().await.unwrap().send_request(head().body(()).unwrap(), false).unwrap();
    // The age is over when no more calls are taken.
    crate::support::eventually("the client to be told", async || {
        let Ok(mut sender) = sender.clone().ready().await else { return Some(()) };
        let Ok((response, _)) = sender.send_request(head().body(()).unwrap(), true) else { return Some(()) };
        response.await.err().map(drop)
    })
    .await;
    stream.send_data(Bytes::from(framed(1)), true).unwrap();
    assert_eq!(timeout(PATIENCE, response).await.unwrap().unwrap().status(), 200);
    drop(sender);
    timeout(PATIENCE, connection).await.expect("it ends").unwrap().ok();
    front.answers().await;
}

#[tokio::test]
async fn who_has_a_place_keeps_it_and_others_wait() {
    let bounds = Bounds { connections: 1, beyond: Beyond::Waits, stop_ms: 0 };
    let front = Front::start_with(Settings { bounds, ..Settings::default() }).await;
    let first = front.raw().await;
    assert_eq!(call(&first, head(), &framed(1)).await.unwrap().grpc().0, "0");
    let mut second = TcpStream::connect(front.address).await.unwrap();
    second.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    assert_eq!(call(&first, head(), &framed(1)).await.unwrap().grpc().0, "0");
    assert!(second.try_read(&mut [0; 1]).is_err());
    drop(first);
    let mut answer = [0; 12];
    timeout(PATIENCE, second.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(&answer, b"HTTP/1.1 505");
}

/// A client may go on to the end of its patience with pings and settings: each is answered before the next is read.
#[tokio::test]
async fn a_flood_of_settings_and_pings_harms_nobody_else() {
    const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    const PING: [u8; 17] = [0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    let front = Front::start().await;
    for frame in [&SETTINGS[..], &PING] {
        let mut stream = TcpStream::connect(front.address).await.unwrap();
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        stream.write_all(&SETTINGS).await.unwrap();
        let flood = frame.repeat(100_000);
        // It may be cut off, or be stopped by its own unread answers.
        let flooding = timeout(std::time::Duration::from_millis(500), stream.write_all(&flood));
        let (_, ()) = tokio::join!(flooding, front.answers());
    }
}
