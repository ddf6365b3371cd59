//! A store that goes away and comes back: the breaker, the probes and readiness.

use std::sync::Arc;
use std::time::Duration;

use fluxlimit::engine::Code;
use fluxlimit::limiter::Settings;
use fluxlimit::rules::OnStoreFailure;
use fluxlimit::store::StoreError;

use crate::fake_store::{Mood, Site, request};
use crate::support::eventually;

const RULES: &str = "domain: d
descriptors: [{key: limited, rate_limit: {unit: day, requests_per_unit: 1000000}}]
";

/// A site whose store is pinged, and answers or not from the start.
fn supervised(mood: Mood, ready_follows_store: bool) -> Arc<Site> {
    let settings = Settings { on_store_failure: OnStoreFailure::Deny, ..Settings::default() };
    let site = Arc::new(Site::new(RULES, settings));
    site.store.become_(mood);
    let supervisor = site.supervisor(ready_follows_store);
    tokio::spawn(async move { supervisor.run().await });
    site
}

impl Site {
    async fn ask(&self) -> Code {
        let time_left = Duration::from_secs(10);
        self.limiter.check(&request("limited", 1), time_left).await.unwrap().code
    }

    fn is_ready(&self) -> bool {
        self.health.readiness().check().is_ok()
    }

    async fn becomes_ready(&self) {
        eventually("a ready server", async || self.is_ready().then_some(())).await;
    }

    async fn opens(&self) {
        eventually("an open breaker", async || {
            self.ask().await;
            self.watch.is_open().then_some(())
        })
        .await;
    }

    async fn closes(&self) {
        eventually("a closed breaker", async || (!self.watch.is_open()).then_some(())).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_breaker_keeps_requests_from_a_dead_store_until_it_answers_a_probe() {
    let site = supervised(Mood::Answers, false);
    site.becomes_ready().await;
    assert_eq!(site.ask().await, Code::Ok);
    for mood in [Mood::Silent, Mood::Fails(StoreError::Lost { reason: "reset".to_owned() }), Mood::Silent] {
        site.store.become_(mood);
        site.opens().await;
        let (settled, pinged) = (site.store.settled(), site.store.pinged());
        for _ in 0..100 {
            assert_eq!(site.ask().await, Code::OverLimit);
        }
        tokio::time::sleep(Duration::from_mins(1)).await;
        assert_eq!(site.store.settled(), settled);
        let probes = site.store.pinged() - pinged;
        assert!((12..=40).contains(&probes), "{probes} probes in a minute, five seconds apart at most");
        site.store.become_(Mood::Answers);
        site.closes().await;
        assert_eq!(site.ask().await, Code::Ok);
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_noticed_without_any_request() {
    let site = supervised(Mood::Answers, false);
    site.becomes_ready().await;
    site.store.become_(Mood::Fails(StoreError::Unavailable { reason: "refused".to_owned() }));
    eventually("the metric", async || site.shows("fluxlimit_store_answers 0").then_some(())).await;
    site.store.become_(Mood::Answers);
    eventually("the metric", async || site.shows("fluxlimit_store_answers 1").then_some(())).await;
    assert_eq!(site.store.settled(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_server_is_ready_when_its_store_answers_for_the_first_time() {
    for mood in [Mood::Silent, Mood::Panics, Mood::Fails(StoreError::Refused { reason: "auth".to_owned() })] {
        let site = supervised(mood.clone(), false);
        tokio::time::sleep(Duration::from_mins(1)).await;
        assert!(!site.is_ready(), "{mood:?}");
        assert!(site.store.pinged() > 10, "{mood:?}: it is asked again");
        site.ask().await;
        site.store.become_(Mood::Answers);
        site.becomes_ready().await;
        assert_eq!(site.ask().await, Code::Ok);
    }
}

#[tokio::test(start_paused = true)]
async fn readiness_follows_an_outage_only_where_it_is_told_to() {
    for follows in [false, true] {
        let site = supervised(Mood::Answers, follows);
        site.becomes_ready().await;
        site.store.become_(Mood::Silent);
        site.opens().await;
        eventually("the state", async || site.health.is_store_failing().then_some(())).await;
        assert_eq!(site.is_ready(), !follows);
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(site.is_ready(), !follows);
        site.store.become_(Mood::Answers);
        site.becomes_ready().await;
        eventually("the state", async || (!site.health.is_store_failing()).then_some(())).await;
    }
}
