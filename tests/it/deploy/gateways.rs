//! `examples/envoy-gateway/` and `examples/contour/`: what can be seen of them without the control planes, whose
//! schemas no package has.

use std::process::Command;

use serde_json::{Value, json};

use super::rendered::{Rendered, text};
use super::{documents, gateway, read, repository, succeeds};
use crate::support::{Envoy, Fluxlimit, eventually};

const RULES: &str = "examples/kubernetes/base/rules";

/// Does what a JSON patch says; only `add` is known.
fn add(target: &mut Value, operation: &Value) {
    assert_eq!(operation["op"], "add");
    let (parent, last) = text(&operation["path"]).rsplit_once('/').expect("a path into it");
    let parent = target.pointer_mut(parent).unwrap_or_else(|| panic!("there is no {parent}"));
    match parent {
        Value::Array(items) => items.insert(last.parse().unwrap(), operation["value"].clone()),
        other => other[last] = operation["value"].clone(),
    }
}

#[tokio::test]
async fn the_patches_for_envoy_gateway_limit_logins() {
    let server = Fluxlimit::with_rules_at(&repository().join(RULES)).start().await;
    server.ready().await;
    let mut gateway = gateway::without_limits();
    let policy = documents(&read("examples/envoy-gateway/policy.yaml")).swap_remove(0);
    for patch in policy["spec"]["jsonPatches"].as_array().unwrap() {
        let operation = &patch["operation"];
        match text(&patch["type"]).rsplit('.').next().unwrap() {
            "Cluster" => {
                assert_eq!((&operation["op"], &operation["path"]), (&json!("add"), &json!("")));
                let mut cluster = operation["value"].clone();
                assert_eq!(cluster["name"], patch["name"]);
                let asked = gateway::address(&mut cluster);
                assert_eq!(text(&asked["address"]), headless_name());
                *asked = json!({ "address": "127.0.0.1", "port_value": server.grpc.port() });
                gateway::clusters(&mut gateway).push(cluster);
            }
            // Envoy Gateway's listener without TLS has no other chain.
            "Listener" => {
                let listener = &mut gateway["static_resources"]["listeners"][0];
                let mut patched = json!({ "default_filter_chain": listener["filter_chains"][0] });
                add(&mut patched, operation);
                listener["filter_chains"][0] = patched["default_filter_chain"].clone();
            }
            "RouteConfiguration" => add(&mut gateway::manager(&mut gateway)["route_config"], operation),
            other => panic!("nothing is known about {other}"),
        }
    }
    gateway::be_patient(gateway::manager(&mut gateway));
    let mut envoy = Envoy::start(&gateway.to_string()).await;
    eventually("the server to be healthy", async || envoy.healthy_servers().await.filter(|&n| n == 1)).await;
    gateway::limits_logins(&mut envoy).await;
}

fn headless_name() -> String {
    let base = Rendered::of("base");
    let service = &base.one("Service", "fluxlimit-headless")["metadata"];
    format!("{}.{}.svc.cluster.local", text(&service["name"]), text(&service["namespace"]))
}

#[test]
fn contour_is_told_of_the_service_of_the_manifests() {
    let objects = documents(&read("examples/contour/ratelimit.yaml"));
    let [extension, _] = &objects[..] else { panic!("two objects") };
    let base = Rendered::of("base");
    let service = base.all("Service").find(|service| service["spec"]["clusterIP"].is_null()).unwrap();
    assert_eq!(extension["metadata"]["namespace"], service["metadata"]["namespace"]);
    let named = &extension["spec"]["services"][0];
    assert_eq!(named["name"], service["metadata"]["name"]);
    assert_eq!(named["port"], 8081);
    // Without it Contour would speak HTTP/2 with TLS.
    assert_eq!(extension["spec"]["protocol"], "h2c");
    let page = read("examples/contour/README.md");
    let (namespace, name) = (text(&extension["metadata"]["namespace"]), text(&extension["metadata"]["name"]));
    assert!(page.contains(&format!("extensionService: {namespace}/{name}\n")));
}

/// The entries that Envoy makes of Contour's descriptor for somebody at an address.
fn entries(descriptor: &Value) -> Vec<String> {
    let entries = descriptor["entries"].as_array().unwrap().iter();
    let entry = |entry: &Value| {
        if entry["remoteAddress"].is_object() {
            return "remote_address=10.0.0.1".to_owned();
        }
        format!("{}={}", text(&entry["genericKey"]["key"]), text(&entry["genericKey"]["value"]))
    };
    entries.map(entry).collect()
}

#[test]
fn every_descriptor_for_contour_comes_to_a_limit() {
    let objects = documents(&read("examples/contour/ratelimit.yaml"));
    let proxy = &objects[1]["spec"];
    let policies = [&proxy["virtualhost"], &proxy["routes"][1]];
    for policy in policies.map(|place| &place["rateLimitPolicy"]["global"]) {
        for descriptor in policy["descriptors"].as_array().unwrap() {
            let mut explain = Command::new(env!("CARGO_BIN_EXE_fluxlimit"));
            explain.args(["explain", "--rules", RULES, "--domain", "edge"]).args(entries(descriptor));
            let said = succeeds(explain.current_dir(repository()));
            assert!(said.contains("limited by the rule"), "{said}");
        }
    }
}
