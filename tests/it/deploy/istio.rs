//! `examples/istio/`: against the types of Istio, and patched into a real Envoy as Istio describes it.

use serde_json::{Value, json};

use super::rendered::{Rendered, text};
use super::{documents, gateway, read, repository, succeeds, tool, yaml_files};
use crate::support::{Envoy, Fluxlimit};

fn filters() -> Vec<Value> {
    ["filter", "actions"]
        .map(|name| documents(&read(&format!("examples/istio/{name}.yaml"))).swap_remove(0))
        .into()
}

#[test]
fn both_filters_fit_the_types_of_istio() {
    let mut files = yaml_files("examples/istio");
    files.retain(|file| !file.ends_with("kustomization.yaml"));
    assert_eq!(files.len(), 2);
    succeeds(tool("python").arg(repository().join("tests/it/deploy/crd.py")).args(files));
    assert_eq!(Rendered::at("examples/istio").objects.len(), 2);
}

/// Istio's name of a cluster: direction, port, subset, and the name of the Service.
#[test]
fn the_filter_asks_the_service_of_the_manifests() {
    let base = Rendered::of("base");
    let services: Vec<&Value> =
        base.all("Service").filter(|service| service["spec"]["clusterIP"].is_null()).collect();
    let [service] = services[..] else { panic!("one Service has an address") };
    let (name, namespace) = (text(&service["metadata"]["name"]), text(&service["metadata"]["namespace"]));
    let port =
        service["spec"]["ports"].as_array().unwrap().iter().find(|port| port["name"] == "grpc").unwrap();
    let host = format!("{name}.{namespace}.svc.cluster.local");
    let asked = asked();
    assert_eq!(asked["cluster_name"], format!("outbound|{}||{host}", port["port"]));
    assert_eq!(asked["authority"], host);
}

/// Whom the filter asks.
fn asked() -> Value {
    filters()[0]["spec"]["configPatches"][0]["patch"]["value"]["typed_config"]["rate_limit_service"]["grpc_service"]["envoy_grpc"].clone()
}

/// Does to a gateway's configuration what a patch says; only what the two files use is known.
fn apply(patch: &Value, manager: &mut Value) {
    assert_eq!(patch["match"]["context"], "GATEWAY");
    let value = patch["patch"]["value"].clone();
    match (text(&patch["applyTo"]), text(&patch["patch"]["operation"])) {
        ("HTTP_FILTER", "INSERT_BEFORE") => {
            let place = &patch["match"]["listener"]["filterChain"]["filter"];
            assert_eq!(place["name"], "envoy.filters.network.http_connection_manager");
            let filters = manager["http_filters"].as_array_mut().unwrap();
            let before = filters.iter().position(|filter| filter["name"] == place["subFilter"]["name"]);
            filters.insert(before.expect("the filter that it stands before"), value);
        }
        ("VIRTUAL_HOST", "MERGE") => {
            let vhost = &patch["match"]["routeConfiguration"]["vhost"];
            assert_eq!(vhost, &json!({ "route": { "action": "ANY" } }), "for all virtual hosts");
            for host in manager["route_config"]["virtual_hosts"].as_array_mut().unwrap() {
                host.as_object_mut().unwrap().extend(value.as_object().unwrap().clone());
            }
        }
        other => panic!("nothing is known about {other:?}"),
    }
}

/// The patched gateway, which asks `server`.
fn gateway(server: &Fluxlimit) -> Value {
    let mut gateway = gateway::without_limits();
    let mut cluster = gateway::rate_limit_cluster(server);
    cluster["name"] = asked()["cluster_name"].clone();
    cluster["load_assignment"]["cluster_name"] = cluster["name"].clone();
    // Istio checks no health.
    cluster.as_object_mut().unwrap().remove("health_checks");
    gateway::clusters(&mut gateway).push(cluster);
    let manager = gateway::manager(&mut gateway);
    for filter in filters() {
        for patch in filter["spec"]["configPatches"].as_array().unwrap() {
            apply(patch, manager);
        }
    }
    gateway::be_patient(manager);
    gateway
}

#[tokio::test]
async fn the_patched_gateway_limits_logins() {
    let server = Fluxlimit::with_rules_at(&repository().join("examples/kubernetes/base/rules")).start().await;
    server.ready().await;
    let mut envoy = Envoy::start(&gateway(&server).to_string()).await;
    gateway::limits_logins(&mut envoy).await;
}
