//! Components of `examples/kubernetes/`: what they add to a folder that is applied.

use std::ffi::OsString;
use std::fs;

use fluxlimit::config::{Config, Flags};
use serde_json::{Value, json};

use super::kubernetes::selects;
use super::rendered::{Rendered, text};
use super::{documents, read, repository};

/// A folder with a component, as docs/kubernetes.md puts them together.
pub(super) fn with_component(name: &str) -> Rendered {
    let page = read("docs/kubernetes.md");
    let component = format!("examples/kubernetes/{name}]");
    let kustomization = page.split("```yaml\n").find(|block| block.contains(&component));
    let kustomization = kustomization.expect("an example").split("```").next().unwrap();
    // Two levels down, and inside the repository, because kustomize takes relative paths only.
    let target = repository().join("target");
    fs::create_dir_all(&target).unwrap();
    let directory = tempfile::tempdir_in(target).unwrap();
    let file = directory.path().join("kustomization.yaml");
    fs::write(file, kustomization.replace("examples/", "../../examples/")).unwrap();
    Rendered::at(directory.path().to_str().unwrap())
}

#[test]
fn monitoring_scrapes_each_server_once() {
    let rendered = with_component("monitoring");
    let monitor = &rendered.one("ServiceMonitor", "fluxlimit")["spec"];
    assert_eq!(
        monitor["selector"]["matchExpressions"],
        json!([{ "key": "fluxlimit/headless", "operator": "Exists" }])
    );
    let scraped = rendered.all("Service").filter(|service| {
        let labels = &service["metadata"]["labels"];
        labels["fluxlimit/headless"].is_string() && selects(&monitor["selector"]["matchLabels"], labels)
    });
    let scraped: Vec<&Value> = scraped.collect();
    assert_eq!(scraped.len(), 1, "each Pod is to be scraped once");
    let port = &monitor["endpoints"][0]["port"];
    assert!(scraped[0]["spec"]["ports"].as_array().unwrap().iter().any(|other| &other["name"] == port));
}

#[test]
fn the_alerts_are_those_that_prometheus_was_shown() {
    let alerts = &documents(&read("examples/prometheus/alerts.yaml"))[0];
    let rendered = with_component("monitoring");
    assert_eq!(rendered.one("PrometheusRule", "fluxlimit")["spec"], *alerts);
    // They ask for a job of this name.
    let label = text(&rendered.one("ServiceMonitor", "fluxlimit")["spec"]["jobLabel"]);
    assert_eq!(rendered.one("Service", "fluxlimit-headless")["metadata"]["labels"][label], "fluxlimit");
}

#[test]
fn a_server_that_traces_may_reach_its_collector_and_still_its_store() {
    let (rendered, without) = (with_component("tracing"), Rendered::of("redis"));
    let egress = |rendered: &Rendered| {
        let policy = rendered.one("NetworkPolicy", "fluxlimit");
        policy["spec"]["egress"].as_array().unwrap().clone()
    };
    let (with, without) = (egress(&rendered), egress(&without));
    assert!(with.starts_with(&without) && with.len() > without.len(), "{with:?}");
    let (collector, names) = (&with[with.len() - 1], &with[with.len() - 2]);
    assert_eq!(*names, without[0]);
    let variable = |name: &str| {
        let variables = rendered.server()["env"].as_array().unwrap();
        let found = variables.iter().find(|variable| variable["name"] == name);
        text(&found.unwrap_or_else(|| panic!("no {name}"))["value"]).to_owned()
    };
    let namespace =
        text(&collector["to"][0]["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]);
    let port = &collector["ports"][0]["port"];
    assert_eq!(variable("FLUXLIMIT_OTLP__ENDPOINT"), format!("http://otel-collector.{namespace}:{port}"));
    // The settings are good, and both are on.
    let names = ["FLUXLIMIT_OTLP__ENDPOINT", "FLUXLIMIT_TRACES__OTLP", "FLUXLIMIT_METRICS__OTLP"];
    let settings = names.map(|name| (OsString::from(name), OsString::from(variable(name))));
    let flags = Flags { rules: vec!["rules".into()], ..Flags::default() };
    let config = Config::load_with(&flags, settings).unwrap();
    assert!(config.metrics.otlp && config.traces.otlp);
}
