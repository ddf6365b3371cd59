//! What `fluxlimit check` prints.

use insta::assert_snapshot;
use serde_json::Value as Json;

use crate::commands::Shell;

const GOOD: &str = "domain: edge
on_store_failure: deny
hash_tag: remote_address
descriptors:
- key: remote_address
  rate_limit: {name: per-address, algorithm: token_bucket, requests_per_unit: 20, unit: second, burst: 50}
- key: remote_address
  value: 127.0.0.9
  rate_limit: {unlimited: true}
- key: action
  value: login
  descriptors:
  - key: remote_address
    shadow_mode: true
    rate_limit: {name: attempts, requests_per_unit: 5, unit: minute, unit_multiplier: 15}
- key: path
  value: /api/*
  share_threshold: true
  quota_mode: true
  rate_limit:
  - {requests_per_unit: 10, unit: second}
  - {requests_per_unit: 1000, unit: hour, algorithm: sliding_window, replaces: [{name: per-address}]}
- key: path
  value: /health
";

const BAD: &str = "domain: edge
descriptors:
- key: a
  rate_limit: {unit: minuet, requests_per_units: 5}
- kye: b
- key: c
  shadow_mode: true
";

const DOUBTFUL: &str = "domain: edge\ndescriptors:\n- key: a\n  rate_limit: {unit: day}\n";

#[test]
fn a_good_file_is_listed() {
    let shell = Shell::with(&[("edge.yaml", GOOD), ("empty/x.yml", "domain: nothing\n")]);
    assert_snapshot!(shell.run("check edge.yaml empty").told());
}

#[test]
fn every_error_of_every_file_is_told() {
    let shell = Shell::with(&[("edge.yaml", BAD), ("other.yaml", "[")]);
    assert_snapshot!(shell.run("check edge.yaml other.yaml missing.yaml").told());
}

#[test]
fn warnings_let_a_file_pass_unless_strict() {
    let shell = Shell::with(&[("edge.yaml", DOUBTFUL)]);
    assert_snapshot!("warnings_pass", shell.run("check edge.yaml").told());
    assert_snapshot!("warnings_are_errors_when_strict", shell.run("check --strict edge.yaml").told());
}

#[test]
fn domains_are_merged_if_asked_for_on_the_line_or_in_the_settings() {
    let part = |key: &str| format!("domain: edge\ndescriptors: [{{key: {key}}}]\n");
    let (one, two) = (part("a"), part("b"));
    let settings = "rules: [rules]\nmerge_domains: true\ndefaults: {algorithm: token_bucket}\n";
    let shell = Shell::with(&[("rules/1.yaml", &one), ("rules/2.yaml", &two), ("fluxlimit.yaml", settings)]);
    assert_eq!(shell.run("check rules").code, Some(1));
    assert_eq!(shell.run("check rules --merge-domains").code, Some(0));
    assert_eq!(shell.run("check rules --config fluxlimit.yaml").code, Some(0));
}

#[test]
fn machines_get_json() {
    let shell = Shell::with(&[("edge.yaml", GOOD), ("bad.yaml", BAD)]);
    assert_snapshot!("json_of_a_good_file", shell.run("check --json edge.yaml").told());
    assert_snapshot!("json_of_a_bad_file", shell.run("check --json bad.yaml").told());
}

#[test]
fn what_a_change_does_is_told_rule_by_rule() {
    let old = "domain: edge
descriptors:
- {key: looser, rate_limit: {requests_per_unit: 5, unit: second}}
- {key: tighter, rate_limit: {requests_per_unit: 5, unit: second, algorithm: token_bucket, burst: 9}}
- {key: both, rate_limit: {requests_per_unit: 10, unit: second}}
- {key: algorithm, rate_limit: {requests_per_unit: 5, unit: second}}
- {key: gone, rate_limit: {requests_per_unit: 5, unit: second}}
- {key: tried, shadow_mode: true, rate_limit: {requests_per_unit: 5, unit: second, name: a}}
- {key: freed, rate_limit: {requests_per_unit: 5, unit: second}}
- {key: shared, value: a*, share_threshold: true, rate_limit: {requests_per_unit: 5, unit: second}}
- {key: same, rate_limit: {requests_per_unit: 5, unit: second}}
";
    let new = "domain: edge
descriptors:
- {key: looser, rate_limit: {requests_per_unit: 50, unit: second}}
- {key: tighter, rate_limit: {requests_per_unit: 5, unit: second, algorithm: token_bucket, burst: 8}}
- {key: both, rate_limit: {requests_per_unit: 100, unit: minute}}
- {key: algorithm, rate_limit: {requests_per_unit: 5, unit: second, algorithm: sliding_window, count_refused: true}}
- {key: tried, quota_mode: true, rate_limit: {requests_per_unit: 5, unit: second, name: b}}
- {key: freed, rate_limit: {unlimited: true}}
- {key: shared, value: a*, rate_limit: {requests_per_unit: 5, unit: second}}
- {key: same, rate_limit: {requests_per_unit: 5, unit: second}}
- {key: fresh, rate_limit: {requests_per_unit: 5, unit: second}}
";
    let shell = Shell::with(&[("old.yaml", old), ("new.yaml", new), ("bad.yaml", BAD)]);
    assert_snapshot!("changes", shell.run("check new.yaml --against old.yaml").told());
    assert_snapshot!("no_changes", shell.run("check new.yaml --against new.yaml").told());
    assert_eq!(shell.run("check new.yaml --against bad.yaml").code, Some(1));
    let json: Json =
        serde_json::from_str(&shell.run("check --json new.yaml --against old.yaml").stdout).unwrap();
    let effects: Vec<_> =
        json["changes"].as_array().unwrap().iter().map(|change| change["effects"].to_string()).collect();
    assert_eq!(effects.len(), 9, "{effects:?}");
    assert_eq!(effects[0], "[\"loosened\"]");
    assert_eq!(json["changes"][0]["before"]["requests_per_unit"], 5);
}
