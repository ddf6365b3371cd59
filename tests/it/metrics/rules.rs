//! What is told of the rules in force, and what survives when they change.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fluxlimit::health::Health;
use fluxlimit::limiter::{Limiter, Settings as LimiterSettings};
use fluxlimit::metrics::Metrics;
use fluxlimit::reload::{Reloader, Settings};
use fluxlimit::store::memory::{self, MemoryStore};
use fluxlimit::time::{Clock, SystemClock};

use super::{assert_shown, shown};
use crate::fake_store::request;

const RULES: &str = "domain: d
descriptors:
- {key: window, rate_limit: {unit: hour, requests_per_unit: 5}}
- {key: bucket, rate_limit: {algorithm: token_bucket, unit: second, unit_multiplier: 30, requests_per_unit: 10, burst: 40}}
- {key: free, rate_limit: {unlimited: true}}
- key: list
  rate_limit: [{name: fast, unit: second, requests_per_unit: 2}, {unit: day, requests_per_unit: 9}]
";

/// Rules in a file, and who loads them.
struct Loaded {
    file: tempfile::NamedTempFile,
    limiter: Arc<Limiter>,
    metrics: Arc<Metrics>,
    reloader: Arc<Reloader>,
}

impl Loaded {
    async fn of(rules: &str) -> Self {
        let file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
        let metrics = Arc::new(Metrics::new());
        let store = MemoryStore::new(memory::Settings::default(), Arc::new(SystemClock));
        let limiter = Arc::new(Limiter::new(Arc::new(store), metrics.clone(), LimiterSettings::default()));
        let settings = Settings { paths: vec![file.path().to_owned()], ..Settings::default() };
        let health = Arc::new(Health::new());
        let reloader = Arc::new(Reloader::new(settings, limiter.clone(), metrics.clone(), health));
        let loaded = Self { file, limiter, metrics, reloader };
        loaded.load(rules).await;
        loaded
    }

    async fn load(&self, rules: &str) {
        let path: &Path = self.file.path();
        fs::write(path, rules).unwrap();
        self.reloader.load().await;
    }

    async fn ask(&self, descriptors: &str) {
        self.limiter.check(&request(descriptors, 1), Duration::MAX).await.unwrap();
    }
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds of this century are exact")]
fn now_s() -> f64 {
    SystemClock.now().ms() as f64 / 1e3
}

#[tokio::test]
async fn the_numbers_of_every_limit_in_force_are_shown_and_of_no_other() {
    let loaded = Loaded::of(RULES).await;
    let expected = [
        ("fluxlimit_limit_hits{algorithm=\"fixed_window\",domain=\"d\",rule=\"window\"}", 5.0),
        ("fluxlimit_limit_period_seconds{algorithm=\"fixed_window\",domain=\"d\",rule=\"window\"}", 3600.0),
        ("fluxlimit_limit_hits{algorithm=\"token_bucket\",domain=\"d\",rule=\"bucket\"}", 10.0),
        ("fluxlimit_limit_period_seconds{algorithm=\"token_bucket\",domain=\"d\",rule=\"bucket\"}", 30.0),
        ("fluxlimit_limit_burst_hits{algorithm=\"token_bucket\",domain=\"d\",rule=\"bucket\"}", 40.0),
        ("fluxlimit_limit_hits{algorithm=\"fixed_window\",domain=\"d\",limit=\"fast\",rule=\"list\"}", 2.0),
        (
            "fluxlimit_limit_hits{algorithm=\"fixed_window\",domain=\"d\",limit=\"9/1d/fixed_window\",rule=\"list\"}",
            9.0,
        ),
        ("fluxlimit_limits", 5.0),
    ];
    assert_shown(&loaded.metrics, &expected);
    let text = loaded.metrics.text();
    assert!(!text.contains("rule=\"free\""), "an unlimited rule has no numbers: {text}");
    assert_eq!(text.matches("\nfluxlimit_limit_burst_hits{").count(), 1, "windows have no burst: {text}");
    loaded
        .load("domain: d\ndescriptors:\n- {key: window, rate_limit: {unit: day, requests_per_unit: 7}}\n")
        .await;
    assert_shown(
        &loaded.metrics,
        &[
            ("fluxlimit_limit_hits{algorithm=\"fixed_window\",domain=\"d\",rule=\"window\"}", 7.0),
            ("fluxlimit_limits", 1.0),
        ],
    );
    assert!(!loaded.metrics.text().contains("rule=\"bucket\""));
}

#[tokio::test]
async fn the_age_of_the_rules_and_their_last_failure_are_shown() {
    let before_s = now_s();
    let loaded = Loaded::of(RULES).await;
    let time = |name| shown(&loaded.metrics, name).unwrap();
    let first_s = time("fluxlimit_rules_loaded_timestamp_seconds");
    assert!((before_s..=now_s()).contains(&first_s), "{first_s}");
    let good = [
        ("fluxlimit_rules_generation", 1.0),
        ("fluxlimit_rules_last_load_successful", 1.0),
        ("fluxlimit_rules_failed_timestamp_seconds", 0.0),
    ];
    assert_shown(&loaded.metrics, &good);
    loaded.load("domain: d\ndescripters: []\n").await;
    let bad = [("fluxlimit_rules_generation", 1.0), ("fluxlimit_rules_last_load_successful", 0.0)];
    assert_shown(&loaded.metrics, &bad);
    assert_shown(&loaded.metrics, &[("fluxlimit_rules_loaded_timestamp_seconds", first_s)]);
    assert!((first_s..=now_s()).contains(&time("fluxlimit_rules_failed_timestamp_seconds")));
    loaded.load(&RULES.replace("requests_per_unit: 5", "requests_per_unit: 6")).await;
    let mended = [("fluxlimit_rules_generation", 2.0), ("fluxlimit_rules_last_load_successful", 1.0)];
    assert_shown(&loaded.metrics, &mended);
    assert!(time("fluxlimit_rules_loaded_timestamp_seconds") >= first_s);
}

#[tokio::test]
async fn counts_survive_a_reload_and_a_rule_that_was_away() {
    let loaded = Loaded::of(RULES).await;
    loaded.ask("window nothing").await;
    let kept = [
        ("fluxlimit_hits_total{domain=\"d\",rule=\"window\"}", 1.0),
        ("fluxlimit_unmatched_total{domain=\"d\",reason=\"no_such_key\"}", 1.0),
        ("fluxlimit_decisions_total{code=\"ok\"}", 1.0),
        ("fluxlimit_decision_duration_seconds_count", 1.0),
    ];
    assert_shown(&loaded.metrics, &kept);
    loaded.load("domain: d\ndescriptors: []\n").await;
    assert_shown(&loaded.metrics, &kept);
    loaded.load(&RULES.replace("unit: hour", "unit: day")).await;
    loaded.ask("window").await;
    assert_shown(&loaded.metrics, &[("fluxlimit_hits_total{domain=\"d\",rule=\"window\"}", 2.0)]);
}
