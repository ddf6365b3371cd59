//! Whether a server whose Redis is away gets traffic: as `ready_follows_store` says, for all who ask.

use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::redis_faults::started;
use crate::support::{Fluxlimit, Redis, eventually};

/// What `/ready`, `/healthcheck` and gRPC health say.
async fn says(server: &Fluxlimit) -> (u16, u16, ServingStatus) {
    let channel = Channel::from_shared(format!("http://{}", server.grpc)).unwrap().connect().await.unwrap();
    let mut health = HealthClient::new(channel);
    let status = health.check(HealthCheckRequest::default()).await.unwrap().into_inner().status();
    let (ready, check) = (server.page("/ready").await, server.page("/healthcheck").await);
    (ready.status.as_u16(), check.status.as_u16(), status)
}

const READY: (u16, u16, ServingStatus) = (200, 200, ServingStatus::Serving);
const NOT_READY: (u16, u16, ServingStatus) = (503, 500, ServingStatus::NotServing);

async fn becomes(server: &Fluxlimit, expected: (u16, u16, ServingStatus)) {
    eventually("another readiness", async || (says(server).await == expected).then_some(())).await;
}

/// Waits until the server has seen the outage, and says what it is then.
async fn during_an_outage(follows: &str) -> (Redis, Fluxlimit) {
    let mut redis = Redis::start().await;
    let settings = [("READY_FOLLOWS_STORE", follows), ("BREAKER__MAX_PROBE_MS", "250")];
    let (_rules, server) = started(&redis.url(), &settings).await;
    becomes(&server, READY).await;
    redis.kill();
    eventually("the outage to be seen", async || {
        (server.metric("fluxlimit_store_breaker_open").await == Some(1)).then_some(())
    })
    .await;
    (redis, server)
}

#[tokio::test]
async fn readiness_follows_a_redis_outage_if_it_is_told_to() {
    let (mut redis, server) = during_an_outage("true").await;
    becomes(&server, NOT_READY).await;
    assert_eq!(server.page("/live").await.status, 200);
    redis.start_again().await;
    becomes(&server, READY).await;
}

#[tokio::test]
async fn readiness_outlives_a_redis_outage_unless_it_is_told_to_follow() {
    let (_redis, server) = during_an_outage("false").await;
    let page = eventually("a page that names the outage", async || {
        Some(server.page("/ready").await.body).filter(|page| page.contains("the store does not answer"))
    })
    .await;
    assert!(page.starts_with("OK\n"), "{page}");
    assert_eq!(says(&server).await, READY);
}

#[tokio::test]
async fn a_server_whose_redis_was_never_there_is_not_ready_either_way() {
    for follows in ["true", "false"] {
        let mut redis = Redis::stopped(crate::support::free_address(), &[]);
        let settings = [("READY_FOLLOWS_STORE", follows), ("BREAKER__MAX_PROBE_MS", "250")];
        let (_rules, server) = started(&redis.url(), &settings).await;
        assert_eq!(says(&server).await, NOT_READY);
        redis.start_again().await;
        becomes(&server, READY).await;
    }
}
