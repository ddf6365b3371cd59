//! A real Prometheus scrapes real servers: every query of the dashboard and of `docs/metrics.md` finds something,
//! and every alert can be evaluated.

use std::collections::BTreeSet;

use serde_json::Value;

use super::dashboard::{self, Query};
use super::fleet::Fleet;
use super::page;
use crate::support::{Prometheus, eventually};

/// The blocks of `docs/metrics.md` in Prometheus's language.
fn queries_of_the_page() -> Vec<String> {
    let page = page::text();
    let blocks = page.split("```promql\n").skip(1);
    blocks.map(|block| block.split("```").next().unwrap_or_default().to_owned()).collect()
}

/// The names of metrics in a query: words with one of our beginnings. A histogram is found by its parts.
fn names(query: &str) -> BTreeSet<&str> {
    let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words
        .filter(|word| word.starts_with("fluxlimit_") || word.starts_with("process_") || *word == "up")
        .collect()
}

/// Asks servers and Prometheus in turn until each query has found something.
async fn all_find(prometheus: &Prometheus, fleet: &Fleet, queries: &[String]) {
    let mut open: Vec<&String> = queries.iter().collect();
    // Twenty seconds for each step of the way, not for all of them.
    while !open.is_empty() {
        let before = open.len();
        let what = format!("samples of any of {open:#?}");
        let found = eventually(&what, async || {
            fleet.ask().await;
            let mut empty = Vec::new();
            for query in &open {
                let samples =
                    prometheus.query(query).await.unwrap_or_else(|error| panic!("{query}: {error}"));
                if samples.is_empty() {
                    empty.push(*query);
                }
            }
            (empty.len() < before).then_some(empty)
        });
        open = found.await;
    }
}

#[tokio::test]
async fn every_query_finds_something_and_every_alert_is_evaluated() {
    let fleet = Fleet::start().await;
    let prometheus = Prometheus::scraping(&fleet.servers().map(|server| server.http)).await;
    let dashboard = dashboard::queries();
    assert!(dashboard.len() > 50, "{}", dashboard.len());
    let with_samples = dashboard.iter().filter(|query| query.finds_something).map(|query| query.text.clone());
    let of_page = queries_of_the_page();
    assert!(of_page.len() > 7, "{}", of_page.len());
    let queries: Vec<String> = with_samples.chain(of_page).collect();
    all_find(&prometheus, &fleet, &queries).await;
    let known: BTreeSet<String> = prometheus.names().await.into_iter().collect();
    let of_alerts = evaluated(&prometheus).await;
    assert!(of_alerts.len() >= 20, "{}", of_alerts.len());
    for query in of_alerts.iter().chain(dashboard.iter().map(|Query { text, .. }| text)) {
        for name in names(query) {
            assert!(known.contains(name), "nothing shows {name}: {query}");
        }
    }
    let fired = prometheus.query("ALERTS{alertname=\"FluxlimitStoreAway\"}").await.unwrap();
    let instances: Vec<_> = fired.iter().map(|sample| &sample["metric"]["instance"]).collect();
    assert!(
        instances.contains(&&Value::from(fleet.lost.http.to_string())),
        "its store is not there: {fired:?}"
    );
    assert!(
        !instances.contains(&&Value::from(fleet.memory.http.to_string())),
        "it is its own store: {fired:?}"
    );
}

/// The queries of all alerts, once each has been evaluated without an error.
async fn evaluated(prometheus: &Prometheus) -> Vec<String> {
    eventually("every alert to be evaluated", async || {
        let groups = prometheus.api("rules").await.expect("it has rules");
        let rules = groups["groups"].as_array()?.iter().filter_map(|group| group["rules"].as_array());
        let rules: Vec<Value> = rules.flatten().cloned().collect();
        for rule in &rules {
            assert_ne!(rule["health"], "err", "{rule}");
        }
        let all = rules.iter().all(|rule| rule["health"] == "ok");
        let text = |rule: &Value| rule["query"].as_str().expect("a query").to_owned();
        all.then(|| rules.iter().map(text).collect())
    })
    .await
}

#[test]
fn names_of_metrics_are_found_in_a_query() {
    let query = "sum(rate(fluxlimit_a_total{x=\"up\"}[5m])) / (process_b + up{job=\"a\"}) - other_c";
    assert_eq!(names(query).into_iter().collect::<Vec<_>>(), ["fluxlimit_a_total", "process_b", "up"]);
}
