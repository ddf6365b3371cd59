//! The gRPC front as honest clients see it.

use std::time::Duration;

use envoy_types::pb::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use envoy_types::pb::envoy::service::ratelimit::v3::RateLimitRequest;
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_response::{self, DescriptorStatus};
use futures_util::stream::{self, StreamExt};
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::grpc_front::{DOWN, Front, PATIENCE, SLOW, call, framed, head, question};

#[tokio::test]
async fn a_request_is_answered_with_a_status_for_each_descriptor() {
    let front = Front::start().await;
    let mut request = question(1);
    request.descriptors.push(RateLimitDescriptor::default());
    let answer = front.client().await.should_rate_limit(request).await.unwrap().into_inner();
    assert_eq!(answer.overall_code(), rate_limit_response::Code::Ok);
    let limit = answer.statuses[0].current_limit.as_ref().unwrap();
    assert_eq!((limit.requests_per_unit, limit.unit), (1000, 4));
    assert_eq!(answer.statuses[0].limit_remaining, 999);
    let unlimited = DescriptorStatus { code: 1, ..DescriptorStatus::default() };
    assert_eq!(answer.statuses[1..], [unlimited]);
}

#[tokio::test]
async fn hits_over_the_limit_are_refused() {
    let front = Front::start().await;
    let mut client = front.client().await;
    let mut ask = async |hits_addend| {
        let request = RateLimitRequest { hits_addend, ..question(1) };
        client.should_rate_limit(request).await.unwrap().into_inner().overall_code()
    };
    assert_eq!(ask(1000).await, rate_limit_response::Code::Ok);
    assert_eq!(ask(1).await, rate_limit_response::Code::OverLimit);
}

#[tokio::test]
async fn a_request_without_an_answer_is_an_error_that_hides_what_is_behind() {
    let front = Front::start().await;
    let mut client = front.client().await;
    let mut check = async |request, code, message| {
        let status = client.should_rate_limit(request).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (code, message));
    };
    let nowhere = RateLimitRequest { domain: String::new(), ..question(1) };
    check(nowhere, Code::InvalidArgument, "rate limit domain must not be empty").await;
    let mut unitless = question(1);
    unitless.descriptors[0].limit.as_mut().unwrap().unit = 0;
    let message = "unknown unit 0 in the limit of a descriptor; expected 1 (second) to 7 (week)";
    check(unitless, Code::InvalidArgument, message).await;
    let down = RateLimitRequest { hits_addend: DOWN, ..question(1) };
    check(down, Code::Unavailable, "rate limit store unavailable").await;
}

#[tokio::test]
async fn many_calls_at_once_are_all_answered() {
    let front = Front::start().await;
    let client = front.client().await;
    let calls = (0..500).map(|_| {
        let mut client = client.clone();
        async move { client.should_rate_limit(question(3)).await }
    });
    let answers = futures_util::future::join_all(calls).await;
    assert!(answers.iter().all(Result::is_ok));
}

#[tokio::test]
async fn a_store_that_is_late_is_answered_for_before_the_caller_gives_up() {
    let front = Front::start().await;
    let sender = front.raw().await;
    let answer = call(&sender, head().header("grpc-timeout", "20m"), &framed(SLOW)).await.unwrap();
    assert_eq!(
        answer.grpc(),
        ("14", "rate%20limit%20store%20unavailable"),
        "UNAVAILABLE: the policy `error`"
    );
    // A deadline in the past does not refuse an answer that needs no waiting.
    let answer = call(&sender, head().header("grpc-timeout", "0n"), &framed(1)).await.unwrap();
    assert_eq!(answer.grpc().0, "0");
}

#[tokio::test]
async fn a_call_whose_message_never_comes_ends_and_is_counted() {
    let front = Front::start().await;
    let mut sender = front.raw().await.ready().await.unwrap();
    let head = head().header("grpc-timeout", "20m").body(()).unwrap();
    let (response, _stream) = sender.send_request(head, false).unwrap();
    let answer = tokio::time::timeout(PATIENCE, response).await.unwrap().unwrap();
    assert_eq!(answer.headers()["grpc-status"], "4", "DEADLINE_EXCEEDED");
    let text = front.metrics.text();
    assert!(text.contains("fluxlimit_decisions_total{code=\"error\"} 1"), "{text}");
}

#[tokio::test]
async fn te_trailers_is_not_required() {
    let front = Front::start().await;
    let mut head = head();
    head.headers_mut().unwrap().remove("te");
    let answer = call(&front.raw().await, head, &framed(1)).await.unwrap();
    assert_eq!(answer.grpc().0, "0");
    assert_eq!(answer.headers["content-type"], "application/grpc");
}

#[tokio::test]
async fn health_follows_readiness() {
    let front = Front::start().await;
    let mut client = HealthClient::new(front.channel().await);
    let mut check = async |service: &str| {
        let request = HealthCheckRequest { service: service.to_owned() };
        client.check(request).await.map(|answer| answer.into_inner().status())
    };
    assert_eq!(check("").await.unwrap(), ServingStatus::NotServing);
    front.health.set_rules_loaded(true);
    front.health.set_store_answered(true);
    for service in ["", "ratelimit", "envoy.service.ratelimit.v3.RateLimitService"] {
        assert_eq!(check(service).await.unwrap(), ServingStatus::Serving);
    }
    assert_eq!(check("other").await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn reflection_shows_the_services() {
    let front = Front::start().await;
    let mut client = ServerReflectionClient::new(front.channel().await);
    let ask = |request| ServerReflectionRequest { host: String::new(), message_request: Some(request) };
    let symbol = "envoy.service.ratelimit.v3.RateLimitService.ShouldRateLimit";
    let questions = stream::iter([
        ask(MessageRequest::ListServices(String::new())),
        ask(MessageRequest::FileContainingSymbol(symbol.to_owned())),
    ]);
    let mut answers = client.server_reflection_info(questions).await.unwrap().into_inner();
    let listed = answers.next().await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(listed) = listed else { panic!("{listed:?}") };
    let mut names: Vec<_> = listed.service.into_iter().map(|service| service.name).collect();
    names.sort();
    let expected = [
        "envoy.service.ratelimit.v3.RateLimitService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
    ];
    assert_eq!(names, expected);
    let file = answers.next().await.unwrap().unwrap().message_response.unwrap();
    assert!(matches!(file, MessageResponse::FileDescriptorResponse(_)), "{file:?}");
}

#[tokio::test]
async fn a_stop_finishes_what_is_in_flight() {
    let mut front = Front::start().await;
    let mut client = front.client().await;
    let slow = RateLimitRequest { hits_addend: SLOW, ..question(1) };
    let answer = tokio::spawn(async move { client.should_rate_limit(slow).await });
    tokio::time::timeout(PATIENCE, front.store.waiting.notified()).await.unwrap();
    front.tell_stop();
    // The listener is closed first.
    let closed = async {
        while tokio::net::TcpStream::connect(front.address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, closed).await.unwrap();
    front.store.release.notify_one();
    answer.await.unwrap().unwrap();
    front.stopped().await;
}

#[tokio::test]
async fn an_open_health_watch_does_not_hold_the_stop() {
    let mut front = Front::start().await;
    let mut client = HealthClient::new(front.channel().await);
    let mut watch = client.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(watch.next().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    front.health.drain();
    front.tell_stop();
    assert_eq!(watch.next().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    assert!(watch.next().await.is_none());
    front.stopped().await;
}

/// Without `failure_mode_deny` each of them is a free pass, so somebody has to see how many there are.
#[tokio::test]
async fn a_request_that_cannot_be_read_is_counted_as_an_error() {
    let front = Front::start().await;
    let mut request = question(1);
    request.descriptors[0].limit.as_mut().unwrap().unit = 99;
    let error = front.client().await.should_rate_limit(request).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    let text = front.metrics.text();
    assert!(text.contains("fluxlimit_decisions_total{code=\"error\"} 1"), "{text}");
}
