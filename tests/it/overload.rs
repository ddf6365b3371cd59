//! More requests than a shared store takes: those beyond the bound are answered at once, by the policy, on both ports.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use envoy_types::pb::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use envoy_types::pb::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::Entry;
use envoy_types::pb::envoy::service::ratelimit::v3::RateLimitRequest;
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_response::Code;
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_service_client::RateLimitServiceClient;
use tokio::task::JoinSet;

use crate::redis_faults::{decides_again, started};
use crate::support::{Client, Redis, Signal, eventually};

/// Requests on each port. What is under way to a Redis is 256 at most: 2 connections, 2 calls of 64.
const REQUESTS: u64 = 400;
const UNDER_WAY: u64 = 256;
const WAITING: u64 = 5;

const OVERLOADED: &str = r#"fluxlimit_store_errors_total{kind="overloaded"}"#;

fn question(user: u64) -> RateLimitRequest {
    let entry = Entry { key: "user".to_owned(), value: format!("grpc {user}") };
    let descriptor = RateLimitDescriptor { entries: vec![entry], ..RateLimitDescriptor::default() };
    RateLimitRequest { domain: "edge".to_owned(), descriptors: vec![descriptor], hits_addend: 0 }
}

#[tokio::test]
async fn requests_beyond_the_bound_get_the_policy_at_once_and_are_counted() {
    let redis = Redis::start().await;
    let waiting = WAITING.to_string();
    // Nothing is given up while the test looks.
    let settings =
        [("LIMITS__WAITING", &*waiting), ("ON_STORE_FAILURE", "deny"), ("STORE_TIMEOUT_MS", "10000")];
    let (_rules, server) = started(&redis.url(), &settings).await;
    decides_again(&server).await;
    redis.signal(Signal::STOP);
    let refused: Arc<[AtomicU64; 2]> = Arc::default();
    let mut asking = JoinSet::new();
    let client = RateLimitServiceClient::connect(format!("http://{}", server.grpc)).await.unwrap();
    for user in 0..REQUESTS {
        let (refused, http, mut client) = (refused.clone(), server.http, client.clone());
        asking.spawn(async move {
            let answer = client.should_rate_limit(question(user)).await.expect("an answer").into_inner();
            refused[0].fetch_add(u64::from(answer.overall_code() == Code::OverLimit), Ordering::Relaxed);
            let entry = serde_json::json!({ "key": "user", "value": format!("http {user}") });
            let question = serde_json::json!({ "domain": "edge", "descriptors": [{ "entries": [entry] }] });
            let answer = Client::new(http).post("/json", question.to_string()).await.expect("an answer");
            refused[1].fetch_add(u64::from(answer.status == 429), Ordering::Relaxed);
        });
    }
    // At most these wait, on either port or on both; all others are refused while Redis says nothing.
    let least = REQUESTS - UNDER_WAY - WAITING;
    eventually("answers by the policy", async || {
        (refused.iter().all(|refused| refused.load(Ordering::Relaxed) >= least)).then_some(())
    })
    .await;
    let counted = server.metric(OVERLOADED).await.unwrap();
    assert!(counted >= 2 * least, "{counted} are counted");
    let policy = r#"fluxlimit_store_policy_answers_total{domain="edge",policy="deny"}"#;
    assert!(server.metric(policy).await.unwrap() >= counted);
    redis.signal(Signal::CONT);
    while let Some(asked) = asking.join_next().await {
        asked.unwrap();
    }
    decides_again(&server).await;
    assert_eq!(server.metric("fluxlimit_store_waiting").await, Some(0));
}
