//! The dashboard for Grafana and the alerts for Prometheus, as files.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::Prometheus;

/// A query of the dashboard with its variables filled in.
pub(super) struct Query {
    pub(super) text: String,
    /// Whether it always finds something where there is traffic; what marks an event does not.
    pub(super) finds_something: bool,
}

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

fn dashboard() -> Value {
    let text = fs::read_to_string(examples().join("grafana/fluxlimit.json")).expect("it is there");
    serde_json::from_str(&text).expect("it is JSON")
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().unwrap_or_else(|| panic!("no list {name} in {value}"))
}

/// Every query: of panels, of annotations, and of the variables.
pub(super) fn queries() -> Vec<Query> {
    let dashboard = dashboard();
    let of_panels = list(&dashboard, "panels").iter().filter(|panel| panel["type"] != "row");
    let of_panels = of_panels.flat_map(|panel| list(panel, "targets")).map(|target| (&target["expr"], true));
    let marks = list(&dashboard["annotations"], "list").iter().map(|mark| (&mark["expr"], false));
    let written = |(text, finds_something): (&Value, bool)| {
        let text = filled_in(text.as_str().expect("a query"));
        Query { text, finds_something }
    };
    let variables = list(&dashboard["templating"], "list").iter();
    let variables = variables.filter(|variable| variable["type"] == "query").map(|variable| {
        let definition = variable["definition"].as_str().expect("a definition");
        assert_eq!(variable["query"]["query"], definition);
        let inner = definition.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
        let (series, label) =
            inner.and_then(|inner| inner.rsplit_once(", ")).expect("label_values(series, label)");
        Query { text: format!("group by ({label}) ({})", filled_in(series)), finds_something: true }
    });
    of_panels.chain(marks).map(written).chain(variables).collect()
}

fn filled_in(query: &str) -> String {
    let query = query.replace("$__rate_interval", "1m").replace("$job", "fluxlimit");
    let query = query.replace("$instance", ".*").replace("$domain", ".*");
    assert!(!query.contains('$'), "a variable that the dashboard does not have: {query}");
    query
}

#[test]
fn the_dashboard_can_be_imported_anywhere() {
    let dashboard = dashboard();
    let variables = list(&dashboard["templating"], "list").iter().map(|variable| variable["name"].as_str());
    assert_eq!(
        variables.collect::<Vec<_>>(),
        [Some("datasource"), Some("job"), Some("instance"), Some("domain")]
    );
    let (mut ids, mut places) = (BTreeSet::new(), BTreeSet::new());
    for panel in list(&dashboard, "panels") {
        let title = &panel["title"];
        assert!(ids.insert(panel["id"].as_u64().expect("a number")), "{title} has another's id");
        let place = |side: &str| panel["gridPos"][side].as_u64().expect("a number");
        for (x, y) in (0..place("w")).flat_map(|x| (0..place("h")).map(move |y| (x, y))) {
            assert!(place("x") + x < 24, "{title} is wider than the dashboard");
            assert!(places.insert((place("x") + x, place("y") + y)), "{title} lies on another");
        }
        if panel["type"] != "row" {
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
            for target in list(panel, "targets") {
                assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
            }
        }
    }
}

#[test]
fn promtool_finds_no_mistake_and_every_alert_fires_when_it_should() {
    for arguments in [
        ["check", "config", "prometheus.yaml"],
        ["check", "rules", "alerts.yaml"],
        ["test", "rules", "alerts.test.yaml"],
    ] {
        let (is_content, said) = Prometheus::tool(&arguments);
        assert!(is_content, "{arguments:?}: {said}");
    }
}

#[test]
fn every_alert_is_tested_and_says_what_to_do() {
    let read =
        |name: &str| fs::read_to_string(examples().join("prometheus").join(name)).expect("it is there");
    let alerts: Value = serde_yaml::from_str(&read("alerts.yaml")).expect("it is YAML");
    let tests = read("alerts.test.yaml");
    let groups = list(&alerts, "groups").iter();
    let alerts: Vec<&Value> = groups.flat_map(|group| list(group, "rules")).collect();
    assert!(alerts.len() >= 20, "{}", alerts.len());
    for alert in alerts {
        let name = alert["alert"].as_str().expect("a name");
        assert!(tests.contains(&format!("\n  - name: {name}")), "nothing tests {name}");
        assert!(
            ["page", "ticket"].contains(&alert["labels"]["severity"].as_str().unwrap_or_default()),
            "{name}"
        );
        for annotation in ["summary", "description"] {
            assert!(alert["annotations"][annotation].is_string(), "{name} has no {annotation}");
        }
    }
}
