//! Requests whose caller gave up, told apart by how: over gRPC, with a store that does not answer.

use std::sync::Arc;
use std::time::Duration;

use fluxlimit::engine::Code;
use fluxlimit::limiter::Settings;
use fluxlimit::rules::OnStoreFailure;

use super::assert_shown;
use crate::fake_store::{Mood, Site, request};
use crate::support::eventually;

const RULES: &str = "domain: d\ndescriptors:\n- {key: a, rate_limit: {unit: day, requests_per_unit: 5}}\n";

fn silent() -> Site {
    let settings = Settings { on_store_failure: OnStoreFailure::Deny, ..Settings::default() };
    let site = Site::new(RULES, settings);
    site.store.become_(Mood::Silent);
    site
}

#[track_caller]
fn assert_cut_off(site: &Site, cancelled: f64, deadline: f64) {
    let expected = [
        ("fluxlimit_requests_cut_off_total{reason=\"cancelled\"}", cancelled),
        ("fluxlimit_requests_cut_off_total{reason=\"deadline\"}", deadline),
    ];
    assert_shown(&site.metrics, &expected);
}

#[tokio::test(start_paused = true)]
async fn a_caller_whose_time_is_over_is_told_from_a_store_that_is_slow() {
    let site = silent();
    // As long as the store itself may take: its failure, and not the caller's.
    let decision = site.limiter.check(&request("a", 1), Duration::from_secs(10)).await;
    assert_eq!(decision.unwrap().code, Code::OverLimit);
    assert_cut_off(&site, 0.0, 0.0);
    let decision = site.limiter.check(&request("a", 1), Duration::from_millis(20)).await;
    assert_eq!(decision.unwrap().code, Code::OverLimit);
    assert_cut_off(&site, 0.0, 1.0);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_away_is_counted_once_and_one_that_waits_never() {
    let site = silent();
    let asked = request("a", 1);
    let call =
        tokio::time::timeout(Duration::from_millis(3), site.limiter.check(&asked, Duration::from_secs(10)));
    assert!(call.await.is_err(), "it was still waiting");
    assert_cut_off(&site, 1.0, 0.0);
    site.store.become_(Mood::Answers);
    site.limiter.check(&asked, Duration::from_secs(10)).await.unwrap();
    assert_cut_off(&site, 1.0, 0.0);
}

#[tokio::test]
async fn a_task_that_is_aborted_is_a_caller_that_goes_away() {
    let site = Arc::new(silent());
    let of_task = site.clone();
    let task = tokio::spawn(async move {
        let asked = request("a", 1);
        of_task.limiter.check(&asked, Duration::from_secs(10)).await
    });
    eventually("a question to the store", async || (site.store.settled() == 1).then_some(())).await;
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    assert_cut_off(&site, 1.0, 0.0);
}
