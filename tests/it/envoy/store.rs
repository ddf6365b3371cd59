//! Envoy in front of a server whose Redis hangs.

use super::{BY_USER, per_user};
use crate::support::{Envoy, Fluxlimit, Redis, RuleDirectory, Signal, Site, eventually};

/// Envoy, a server and its Redis; the order of the fields is the order in which they end.
struct Stack {
    envoy: Envoy,
    server: Fluxlimit,
    redis: Redis,
    _rules: RuleDirectory,
}

impl Stack {
    /// With a limit that nothing here exceeds. Without an answer Envoy lets everybody pass.
    async fn start(on_store_failure: &str, timeout: &str) -> Self {
        let limit = per_user("{ unit: day, requests_per_unit: 100000 }");
        let rules = RuleDirectory::with(&format!("on_store_failure: {on_store_failure}\n{limit}"));
        let redis = Redis::start().await;
        let server = Fluxlimit::with_rules_at(rules.path()).setting("STORE", &redis.url()).start().await;
        let site = Site::new("edge", server.grpc).route("/", BY_USER).filter("failure_mode_deny: false");
        let site = site.filter("enable_x_ratelimit_headers: DRAFT_VERSION_03");
        let envoy = site.filter(&format!("timeout: {timeout}")).start().await;
        let stack = Self { envoy, server, redis, _rules: rules };
        eventually("a server that is ready", async || {
            (stack.server.page("/ready").await.status == 200).then_some(())
        })
        .await;
        stack
    }

    async fn shows(&self, series: &str, value: u64) {
        eventually(series, async || (self.server.metric(series).await == Some(value)).then_some(())).await;
    }
}

#[tokio::test]
async fn a_domain_that_denies_is_refused_while_its_redis_hangs_and_passes_once_it_is_back() {
    let mut stack = Stack::start("deny", "10s").await;
    let user = [("x-user", b"alice".as_slice())];
    eventually("a decision of the store", async || {
        stack.envoy.get("/", &user).await.header("x-ratelimit-limit").map(drop)
    })
    .await;
    stack.redis.signal(Signal::STOP);
    let refused = stack.envoy.get("/", &user).await;
    assert_eq!((refused.status.as_u16(), refused.header("x-envoy-ratelimited")), (429, Some("true")));
    assert_eq!(refused.header("x-ratelimit-limit"), None, "nobody knows what is left");
    stack.shows("fluxlimit_store_breaker_open", 1).await;
    let ready = stack.server.page("/ready").await;
    assert_eq!(ready.status, 200);
    eventually("the state on the page", async || {
        stack.server.page("/ready").await.body.contains("does not answer").then_some(())
    })
    .await;
    stack.redis.signal(Signal::CONT);
    eventually("a decision of the store", async || {
        let answer = stack.envoy.get("/", &user).await;
        (answer.status == 200 && answer.header("x-ratelimit-limit").is_some()).then_some(())
    })
    .await;
    assert_eq!(stack.server.metric("fluxlimit_store_breaker_open").await, Some(0));
    let log = stack.server.process.output();
    assert_eq!(log.matches("the store is only probed").count(), 1, "{log}");
    assert_eq!(log.matches("the store answers again").count(), 1, "{log}");
}

/// Every caller gives up before the store's timeout, and still somebody has to notice that it is gone.
#[tokio::test]
async fn envoys_timeout_of_20_ms_does_not_hide_a_redis_that_hangs() {
    let mut stack = Stack::start("deny", "0.02s").await;
    stack.redis.signal(Signal::STOP);
    eventually("an open breaker", async || {
        stack.envoy.get("/", &[("x-user", b"alice")]).await;
        (stack.server.metric("fluxlimit_store_breaker_open").await == Some(1)).then_some(())
    })
    .await;
    eventually("an answer of the policy in time", async || {
        (stack.envoy.get("/", &[("x-user", b"alice")]).await.status == 429).then_some(())
    })
    .await;
}
