//! The gRPC front under clients that are broken or mean harm: a clear error, and the next call is answered.

use bytes::Bytes;
use futures_util::TryFutureExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;

use crate::grpc_front::{Front, PANIC, PATIENCE, call, framed, head, question};
use crate::metrics::shown;

/// Sends `body` and holds what `grpc-status` and the start of `grpc-message` are.
async fn check(body: &[u8], code: &str, message: &str) {
    let front = Front::start().await;
    let sender = front.raw().await;
    let answer = call(&sender, head(), body).await.unwrap();
    let (found_code, found_message) = answer.grpc();
    assert_eq!((found_code, answer.status.as_u16()), (code, 200));
    assert!(found_message.starts_with(message), "{found_message}");
    assert_eq!(call(&sender, head(), &framed(1)).await.unwrap().grpc().0, "0");
}

#[tokio::test]
async fn broken_protobuf_is_an_invalid_argument() {
    check(&[0, 0, 0, 0, 4, 0xff, 0xff, 0xff, 0xff], "3", "not%20a%20RateLimitRequest").await;
    // A length that points far beyond the end.
    check(&[0, 0, 0, 0, 6, 0x0a, 0xff, 0xff, 0xff, 0xff, 0x07], "3", "not%20a%20RateLimitRequest").await;
}

#[tokio::test]
async fn a_broken_frame_says_what_is_wrong() {
    check(&[], "13", "the%20request%20ended%20without%20a%20message").await;
    check(&[0, 0], "13", "the%20request%20ended%203%20bytes%20before").await;
    check(&[0, 0, 0, 0, 9], "13", "the%20request%20ended%209%20bytes%20before").await;
    check(&[0, 0, 0, 0, 0, 0], "13", "1%20bytes%20after%20the%20end").await;
    check(&[2, 0, 0, 0, 0], "13", "unknown%20flags%202").await;
}

#[tokio::test]
async fn a_compressed_message_is_unimplemented() {
    check(&[1, 0, 0, 0, 0], "12", "the%20message%20is%20compressed").await;
}

#[tokio::test]
async fn ten_thousand_entries_are_refused() {
    let front = Front::start().await;
    let status = front.client().await.should_rate_limit(question(10_000)).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(status.message(), "10000 entries in descriptors[0]; expected at most 32");
    front.answers().await;
}

#[tokio::test]
async fn five_megabytes_are_refused_unread() {
    let front = Front::start().await;
    let mut client = front.client().await;
    let mut huge = question(1);
    huge.descriptors[0].entries[0].value = "v".repeat(5 << 20);
    let status = client.should_rate_limit(huge).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    client.should_rate_limit(question(1)).await.unwrap();
}

#[tokio::test]
async fn a_value_of_half_a_megabyte_passes() {
    let front = Front::start().await;
    let mut large = question(1);
    large.descriptors[0].entries[0].value = "v".repeat(1 << 19);
    front.client().await.should_rate_limit(large).await.unwrap();
}

#[tokio::test]
async fn unfinished_messages_are_bounded_by_connection() {
    let front = Front::start().await;
    let mut sender = front.raw().await;
    let mut open = Vec::new();
    // Each promises 1 MiB and stops one byte short of it.
    for _ in 0..6 {
        sender = sender.ready().await.unwrap();
        let (response, mut stream) = sender.send_request(head().body(()).unwrap(), false).unwrap();
        let unfinished = [&[0, 0, 0x10, 0, 0][..], &vec![0; (1 << 20) - 1]].concat();
        stream.send_data(Bytes::from(unfinished), false).unwrap();
        open.push((response, stream));
    }
    let (responses, _streams): (Vec<_>, Vec<_>) = open.into_iter().unzip();
    let refused = futures_util::future::select_all(responses);
    let (answer, ..) = tokio::time::timeout(PATIENCE, refused).await.expect("one is refused");
    assert_eq!(answer.unwrap().headers()["grpc-status"], "8");
    let counted = shown(&front.metrics, "fluxlimit_requests_overloaded_total{listener=\"grpc\"}");
    assert!(counted >= Some(1.0), "{counted:?} are counted");
    assert_eq!(call(&sender, head(), &framed(1)).await.unwrap().grpc().0, "0");
}

#[tokio::test]
async fn who_does_not_speak_grpc_is_told_in_http() {
    let front = Front::start().await;
    let sender = front.raw().await;
    let json = http::Request::post("http://front/json").header("content-type", "application/json");
    let answer = call(&sender, json, b"{}").await.unwrap();
    assert_eq!(answer.status, 415);
    assert!(answer.body.starts_with(b"this port speaks gRPC"));
    let get = http::Request::get("http://front/").header("content-type", "application/grpc");
    assert_eq!(call(&sender, get, b"").await.unwrap().status, 405);
    let unknown = http::Request::post("http://front/a.B/C").header("content-type", "application/grpc");
    assert_eq!(call(&sender, unknown, &[0; 5]).await.unwrap().grpc().0, "12");
}

#[tokio::test]
async fn http1_gets_a_short_answer_and_the_connection_ends() {
    let front = Front::start().await;
    let mut stream = TcpStream::connect(front.address).await.unwrap();
    stream.write_all(b"GET /healthcheck HTTP/1.1\r\nhost: front\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 505 "), "{answer}");
    front.answers().await;
}

/// The paused clock jumps ahead as soon as everybody waits.
#[tokio::test(start_paused = true)]
async fn a_client_that_says_nothing_is_cut_off() {
    let front = Front::start().await;
    for greeting in [&b""[..], b"PRI * HTTP/2.0"] {
        let mut stream = TcpStream::connect(front.address).await.unwrap();
        stream.write_all(greeting).await.unwrap();
        assert_eq!(stream.read(&mut [0; 1]).await.unwrap_or(0), 0);
    }
}

/// The paused clock jumps ahead as soon as everybody waits.
#[tokio::test(start_paused = true)]
async fn a_message_that_never_comes_is_not_waited_for_for_ever() {
    let front = Front::start().await;
    let mut sender = front.raw().await.ready().await.unwrap();
    let (response, _stream) = sender.send_request(head().body(()).unwrap(), false).unwrap();
    assert_eq!(response.await.unwrap().headers()["grpc-status"], "4");
}

#[tokio::test]
async fn half_open_streams_leave_room_for_others() {
    let front = Front::start().await;
    let mut sender = front.raw().await;
    let mut half_open = Vec::new();
    for _ in 0..1000 {
        sender = sender.ready().await.unwrap();
        half_open.push(sender.send_request(head().body(()).unwrap(), false).unwrap());
    }
    assert_eq!(call(&sender, head(), &framed(1)).await.unwrap().grpc().0, "0");
    front.answers().await;
}

#[tokio::test]
async fn a_burst_on_all_streams_is_answered() {
    let front = Front::start().await;
    let stream = TcpStream::connect(front.address).await.unwrap();
    // The client has the same bound.
    let client = h2::client::Builder::new().data_frame_budget(8 * 1024 * 1024).handshake(stream).await;
    let (sender, connection) = client.unwrap();
    tokio::spawn(connection);
    front.answers().await;
    let body = framed(1);
    let calls = (0..4_000).map(|_| call(&sender, head(), &body).map_ok(|answer| answer.grpc().0 == "0"));
    let answers = futures_util::future::try_join_all(calls).await.unwrap();
    assert!(answers.into_iter().all(|is_ok| is_ok));
}

#[tokio::test]
async fn a_burst_of_resets_is_what_envoy_sends_when_calls_time_out() {
    let front = Front::start().await;
    let mut sender = front.raw().await;
    for _ in 0..2000 {
        sender = sender.ready().await.unwrap();
        let (_response, mut stream) = sender.send_request(head().body(()).unwrap(), false).unwrap();
        stream.send_reset(h2::Reason::CANCEL);
    }
    assert_eq!(call(&sender, head(), &framed(1)).await.unwrap().grpc().0, "0");
}

#[tokio::test]
async fn an_endless_storm_of_resets_harms_nobody_else() {
    let front = Front::start().await;
    let mut sender = front.raw().await;
    for _ in 0..20_000 {
        // Being cut off is a fair end.
        let Ok(ready) = sender.ready().await else { break };
        sender = ready;
        let Ok((_response, mut stream)) = sender.send_request(head().body(()).unwrap(), false) else { break };
        stream.send_reset(h2::Reason::CANCEL);
        tokio::task::yield_now().await;
    }
    front.answers().await;
}

#[tokio::test]
async fn a_panic_ends_its_own_stream_only() {
    let front = Front::start().await;
    let sender = front.raw().await;
    assert!(call(&sender, head(), &framed(PANIC)).await.is_err());
    assert_eq!(call(&sender, head(), &framed(1)).await.unwrap().grpc().0, "0");
}
