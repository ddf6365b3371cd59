//! What requests are answered while the store is slow, away or broken, and in what time.

use std::time::Duration;

use fluxlimit::engine::Code;
use fluxlimit::limiter::{CheckError, Settings};
use fluxlimit::request::Override;
use fluxlimit::rules::{Modes, OnStoreFailure};
use fluxlimit::store::StoreError;
use tokio::time::Instant;

use crate::fake_store::{Mood, Site, request};

const RULES: &str = "domain: d
descriptors:
- {key: limited, rate_limit: {unit: day, requests_per_unit: 5}}
- {key: unlimited, rate_limit: {unlimited: true}}
- {key: exempt}
- {key: shadow, shadow_mode: true, rate_limit: {unit: day, requests_per_unit: 5}}
- key: both
  rate_limit: [{unit: day, requests_per_unit: 5}, {unit: hour, requests_per_unit: 5, shadow_mode: true}]
- {key: quota, quota_mode: true, rate_limit: {unit: day, requests_per_unit: 5}}
- key: quota_in_shadow
  quota_mode: true
  shadow_mode: true
  rate_limit: {unit: day, requests_per_unit: 5}
";

const LONG: Duration = Duration::from_secs(10);

fn settings(on_store_failure: OnStoreFailure) -> Settings {
    Settings { on_store_failure, ..Settings::default() }
}

fn failing(settings: Settings) -> Site {
    let site = Site::new(RULES, settings);
    site.store.become_(Mood::Fails(StoreError::Overloaded));
    site
}

/// What `policy` answers: `OK` or `OVER` for the whole, and a letter for each descriptor.
async fn answer(site: &Site, descriptors: &str, hits: i64) -> String {
    let decision = site.limiter.check(&request(descriptors, hits), LONG).await.unwrap();
    for status in &decision.statuses {
        assert_eq!((&status.limit, status.reset_s), (&None, None), "nobody knows any numbers");
    }
    assert!(decision.headers.is_empty() && decision.metadata.is_none());
    let over = |code| code == Code::OverLimit;
    let letters = decision.statuses.iter().map(|status| if over(status.code) { '-' } else { '+' });
    format!("{} {}", if over(decision.code) { "OVER" } else { "OK" }, letters.collect::<String>())
}

#[tokio::test]
async fn deny_refuses_what_the_store_could_have_refused_and_allow_nothing() {
    let (deny, allow) = (failing(settings(OnStoreFailure::Deny)), failing(settings(OnStoreFailure::Allow)));
    let check = async |descriptors, hits, expected: &str| {
        let case = format!("{hits} hits of {descriptors}");
        assert_eq!(answer(&deny, descriptors, hits).await, expected, "{case}");
        let all = "+".repeat(expected.split(' ').nth(1).unwrap().len());
        assert_eq!(answer(&allow, descriptors, hits).await, format!("OK {all}"), "{case}");
    };
    check("limited", 1, "OVER -").await;
    check("limited", 0, "OVER -").await;
    check("limited", -1, "OK +").await;
    check("shadow", 1, "OK +").await;
    check("both", 1, "OVER -").await;
    check("shadow unlimited exempt nothing limited", 1, "OVER ++++-").await;
    check("shadow unlimited exempt nothing", 1, "OK ++++").await;
    check("quota", 1, "OVER -").await;
    check("quota quota=y", 1, "OVER --").await;
    check("quota quota_in_shadow", 1, "OK -+").await;
    check("quota quota_in_shadow limited", 1, "OVER -+-").await;
}

#[tokio::test]
async fn a_limit_that_came_with_the_request_is_refused_like_any_other() {
    let site = failing(settings(OnStoreFailure::Deny));
    let mut request = request("anything", 1);
    request.descriptors[0].limit = Some(Override::new(5, 4, None).unwrap());
    assert_eq!(site.limiter.check(&request, LONG).await.unwrap().code, Code::OverLimit);
}

#[tokio::test]
async fn global_modes_hold_without_the_store() {
    let modes = Modes { global_shadow: true, global_quota: false };
    let shadow = failing(Settings { modes, ..settings(OnStoreFailure::Deny) });
    assert_eq!(answer(&shadow, "limited", 1).await, "OK -");
    let modes = Modes { global_shadow: false, global_quota: true };
    let quota = failing(Settings { modes, ..settings(OnStoreFailure::Deny) });
    assert_eq!(answer(&quota, "limited both", 1).await, "OVER --");
    assert_eq!(answer(&quota, "limited nothing", 1).await, "OK -+");
}

#[tokio::test]
async fn error_is_an_error_for_what_asks_the_store_and_for_nothing_else() {
    let site = failing(Settings::default());
    let error = site.limiter.check(&request("limited", 1), LONG).await.unwrap_err();
    assert_eq!(error, CheckError::Store(StoreError::Overloaded));
    assert_eq!(answer(&site, "unlimited exempt nothing", 1).await, "OK +++");
    assert_eq!(site.store.settled(), 1);
    assert!(site.shows("fluxlimit_store_errors_total{kind=\"overloaded\"} 1"));
    assert!(site.shows("fluxlimit_store_policy_answers_total{domain=\"d\",policy=\"error\"} 1"));
    assert!(site.shows("fluxlimit_decisions_total{code=\"error\"} 1"));
}

#[tokio::test]
async fn the_rule_file_counts_before_the_settings() {
    let check = async |of_file: &str, of_settings, expected: Option<Code>| {
        let site = Site::new(&format!("{of_file}\n{RULES}"), settings(of_settings));
        site.store.become_(Mood::Fails(StoreError::Overloaded));
        let answered = site.limiter.check(&request("limited", 1), LONG).await;
        assert_eq!(answered.map(|decision| decision.code).ok(), expected, "{of_file} {of_settings:?}");
    };
    check("on_store_failure: deny", OnStoreFailure::Allow, Some(Code::OverLimit)).await;
    check("on_store_failure: allow", OnStoreFailure::Deny, Some(Code::Ok)).await;
    check("on_store_failure: error", OnStoreFailure::Deny, None).await;
    check("", OnStoreFailure::Deny, Some(Code::OverLimit)).await;
    check("", OnStoreFailure::Error, None).await;
}

#[tokio::test]
async fn what_the_policy_answers_is_counted_by_domain() {
    let site = failing(settings(OnStoreFailure::Deny));
    answer(&site, "limited", 1).await;
    answer(&site, "limited", -1).await;
    assert!(site.shows("fluxlimit_store_policy_answers_total{domain=\"d\",policy=\"deny\"} 2"));
    assert!(site.shows("fluxlimit_decisions_total{code=\"over_limit\"} 1"));
    assert!(site.shows("fluxlimit_decisions_total{code=\"ok\"} 1"));
}

#[tokio::test(start_paused = true)]
async fn a_black_holed_store_is_answered_for_before_the_caller_gives_up() {
    let site = Site::new(RULES, settings(OnStoreFailure::Deny));
    site.watch.pinged(&Ok(()));
    site.store.become_(Mood::Silent);
    let check = async |time_left_ms: u64, expected_ms: std::ops::RangeInclusive<u128>| {
        let asked = Instant::now();
        let decision = site.limiter.check(&request("limited", 1), Duration::from_millis(time_left_ms)).await;
        assert_eq!(decision.unwrap().code, Code::OverLimit);
        let took_ms = asked.elapsed().as_millis();
        assert!(expected_ms.contains(&took_ms), "{took_ms} ms of {time_left_ms}");
    };
    // The clock of the test moves in whole milliseconds, and a timer may be late by one.
    check(20, 18..=19).await;
    check(2, 1..=2).await;
    check(0, 0..=1).await;
    check(90, 85..=86).await;
    check(10_000, 100..=101).await;
}

#[tokio::test(start_paused = true)]
async fn callers_that_give_up_are_no_failures_of_the_store() {
    let site = Site::new(RULES, settings(OnStoreFailure::Allow));
    site.watch.pinged(&Ok(()));
    site.store.become_(Mood::Silent);
    // All of them before the first exchange ends.
    for _ in 0..4 {
        site.limiter.check(&request("limited", 1), Duration::from_millis(20)).await.unwrap();
    }
    assert!(site.shows("fluxlimit_store_errors_total{kind=\"timed_out\"} 4"));
    assert!(!site.watch.is_open());
    assert!(site.shows("fluxlimit_store_breaker_open 0"));
    // The store's own report is what counts.
    site.limiter.check(&request("limited", 1), Duration::from_millis(5)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(site.watch.is_open());
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_leaves_nothing_behind() {
    let site = Site::new(RULES, settings(OnStoreFailure::Deny));
    site.store.become_(Mood::Silent);
    let request = request("limited", 1);
    let call = tokio::time::timeout(Duration::from_millis(3), site.limiter.check(&request, LONG));
    assert!(call.await.is_err(), "it was still waiting");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(site.store.unwanted(), 1, "its store call saw that nobody waits");
    assert!(!site.metrics.text().contains("policy=\"deny\""), "nobody was answered");
    assert!(site.shows("fluxlimit_decisions_total{code=\"over_limit\"} 0"));
}

#[tokio::test]
async fn a_store_whose_task_panics_is_answered_for() {
    let site = Site::new(RULES, Settings::default());
    site.store.become_(Mood::Panics);
    let error = site.limiter.check(&request("limited", 1), LONG).await.unwrap_err();
    assert!(matches!(error, CheckError::Store(StoreError::Unavailable { .. })), "{error:?}");
    site.store.become_(Mood::Answers);
    assert_eq!(site.limiter.check(&request("limited", 1), LONG).await.unwrap().code, Code::Ok);
}

#[tokio::test]
async fn a_store_that_is_not_asked_is_answered_for_at_once() {
    let site = Site::new(RULES, settings(OnStoreFailure::Deny));
    site.watch.pinged(&Err(StoreError::TimedOut));
    assert_eq!(answer(&site, "limited", 1).await, "OVER -");
    assert_eq!(site.store.settled(), 0);
    assert!(site.shows("fluxlimit_store_errors_total{kind=\"breaker_open\"} 1"));
}
