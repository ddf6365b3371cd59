//! A gateway as a control plane makes it, without limits, for the patches of examples to be put in.

use serde_json::{Value, json};

use super::{documents, read};
use crate::support::{Envoy, Fluxlimit};

/// `envoy/envoy.yaml` on free ports, with one route for everything and nothing of rate limits.
pub(super) fn without_limits() -> Value {
    let mut gateway = documents(&read("envoy/envoy.yaml")).swap_remove(0);
    gateway["admin"]["address"]["socket_address"]["port_value"] = json!(0);
    gateway["static_resources"]["listeners"][0]["address"]["socket_address"]["port_value"] = json!(0);
    clusters(&mut gateway).retain(|cluster| cluster["name"] != "fluxlimit");
    let manager = manager(&mut gateway);
    let filters = manager["http_filters"].as_array_mut().expect("a list");
    filters.retain(|filter| filter["name"] == "envoy.filters.http.router");
    manager["route_config"]["virtual_hosts"][0]["routes"] =
        json!([{ "match": { "prefix": "/" }, "route": { "cluster": "demo_upstream" } }]);
    gateway
}

pub(super) fn clusters(gateway: &mut Value) -> &mut Vec<Value> {
    gateway["static_resources"]["clusters"].as_array_mut().expect("a list")
}

/// What serves HTTP in the listener of the site.
pub(super) fn manager(gateway: &mut Value) -> &mut Value {
    &mut gateway["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
}

/// The cluster of the sample, which reaches `server`.
pub(super) fn rate_limit_cluster(server: &Fluxlimit) -> Value {
    let mut sample = documents(&read("envoy/envoy.yaml")).swap_remove(0);
    let mut cluster =
        clusters(&mut sample).iter().find(|cluster| cluster["name"] == "fluxlimit").unwrap().clone();
    *address(&mut cluster) = json!({ "address": "127.0.0.1", "port_value": server.grpc.port() });
    cluster
}

/// Where the only endpoint of a cluster is.
pub(super) fn address(cluster: &mut Value) -> &mut Value {
    let endpoint = &mut cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"];
    &mut endpoint["address"]["socket_address"]
}

/// The deadline of the examples suits production, not the busiest moment of a test run.
pub(super) fn be_patient(manager: &mut Value) {
    let filter = &mut manager["http_filters"][0];
    assert_eq!(filter["name"], "envoy.filters.http.ratelimit", "the first filter");
    filter["typed_config"]["timeout"] = json!("10s");
}

/// Five logins pass, the sixth does not, and other pages are counted apart.
pub(super) async fn limits_logins(envoy: &mut Envoy) {
    assert_eq!(envoy.statuses(6, "/login", &[]).await, [200, 200, 200, 200, 200, 429]);
    let other = envoy.get("/", &[]).await;
    assert_eq!(other.status, 200);
    assert!(other.header("x-ratelimit-limit").is_some(), "it was not counted");
}
