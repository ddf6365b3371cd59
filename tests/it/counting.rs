//! What is counted of decisions, through the limiter.

use std::sync::Arc;
use std::time::Duration;

use fluxlimit::limiter::{Limiter, Settings};
use fluxlimit::metrics::Metrics;
use fluxlimit::rules::file::Node;
use fluxlimit::rules::{Modes, RuleSet};
use fluxlimit::store::memory::{self, MemoryStore};
use fluxlimit::time::{ManualClock, Timestamp};

use crate::served::request;
use crate::steps::START_MS;
use crate::trees::{NodeExt, NodeLimitExt, file, node, per_hour};

/// After those requests, the metrics have those lines.
#[track_caller]
fn check(tree: Vec<Node>, modes: Modes, asked: &[&str], lines: &[&str]) {
    let clock = Arc::new(ManualClock::at(Timestamp::from_ms(START_MS)));
    let store = Arc::new(MemoryStore::new(memory::Settings::default(), clock));
    let metrics = Arc::new(Metrics::new());
    let settings = Settings { modes, near_limit_ratio: 0.8, ..Settings::default() };
    let limiter = Limiter::new(store, metrics.clone(), settings);
    limiter.put_rules(Arc::new(RuleSet::compile(&[file("d", tree)])));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for asked in asked {
        runtime.block_on(limiter.check(&request(asked), Duration::MAX)).unwrap();
    }
    let text = metrics.text();
    for line in lines {
        assert!(text.lines().any(|found| found == *line), "no `{line}` in\n{text}");
    }
}

#[test]
fn global_shadow_counts_only_what_would_have_been_refused() {
    let modes = Modes { global_shadow: true, global_quota: false };
    let tree = || {
        vec![
            node("s", "").limited(per_hour(0).shadow()),
            node("q", "").limited(per_hour(0)).quota(),
            node("p", "").limited(per_hour(9)).quota(),
            node("a", "").limited(per_hour(0)),
        ]
    };
    // Bug: a limit that only measures and one quota of two were counted as well.
    check(tree(), modes, &["s", "q / p"], &["fluxlimit_global_shadow_total 0"]);
    check(tree(), modes, &["a", "q", "p"], &["fluxlimit_global_shadow_total 2"]);
}

#[test]
fn a_descriptor_without_a_limit_is_counted_with_its_reason() {
    let tree = vec![node("a", "x").limited(per_hour(1)), node("deep", "").with(vec![node("b", "")])];
    let line = |reason: &str| format!("fluxlimit_unmatched_total{{domain=\"d\",reason=\"{reason}\"}} 1");
    let lines = ["value_not_listed", "deeper_entry_missing", "no_such_key"].map(line);
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    check(tree, Modes::default(), &["a / deep", "none"], &lines);
}

#[test]
fn a_cost_that_can_never_pass_is_counted() {
    let tree = vec![node("a", "").limited(per_hour(5))];
    let asked = ["a 6", "a 5", "a 1", "a -2"];
    let lines = [
        "fluxlimit_hits_above_burst_total{domain=\"d\",rule=\"a\"} 6",
        "fluxlimit_hits_over_limit_total{domain=\"d\",rule=\"a\"} 7",
        "fluxlimit_hits_within_limit_total{domain=\"d\",rule=\"a\"} 5",
        "fluxlimit_hits_given_back_total{domain=\"d\",rule=\"a\"} 2",
        "fluxlimit_hits_total{domain=\"d\",rule=\"a\"} 12",
    ];
    check(tree, Modes::default(), &asked, &lines);
}
