//! The snippets of `docs/envoy.md`, put into `envoy/envoy.yaml` and shown to Envoy.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use super::blocks::{Block, blocks};
use super::{page, root};
use crate::support::{Envoy, Fluxlimit, eventually};

/// The sample configuration with an upstream named `service`, every port free and a short access log.
fn base() -> Value {
    let text = fs::read_to_string(root().join("envoy/envoy.yaml")).expect("it is there");
    let mut base: Value = serde_yaml::from_str(&text).expect("it is YAML");
    let mut service = base["static_resources"]["clusters"][0].clone();
    service["name"] = json!("service");
    service["load_assignment"]["cluster_name"] = json!("service");
    list(&mut base["static_resources"]["clusters"]).push(service);
    base["admin"]["address"]["socket_address"]["port_value"] = json!(0);
    base["static_resources"]["listeners"][0]["address"]["socket_address"]["port_value"] = json!(0);
    base
}

fn list(value: &mut Value) -> &mut Vec<Value> {
    value.as_array_mut().expect("a list")
}

fn manager(bootstrap: &mut Value) -> &mut Value {
    &mut bootstrap["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
}

/// Puts the items of a snippet where its first line says, before or instead of what is there.
fn insert(bootstrap: &mut Value, snippet: &str) {
    let items: Vec<Value> =
        serde_yaml::from_str(snippet).unwrap_or_else(|error| panic!("{error}: {snippet}"));
    let place = snippet.lines().next().unwrap_or_default();
    let target = match place {
        "# in a route" => &mut manager(bootstrap)["route_config"]["virtual_hosts"][0]["routes"],
        "# in http_filters" => &mut manager(bootstrap)["http_filters"],
        "# in access_log" => &mut manager(bootstrap)["access_log"],
        "# in clusters" => &mut bootstrap["static_resources"]["clusters"],
        other => panic!("`{other}` is no place"),
    };
    let is_same = |old: &Value| items.iter().any(|new| !new["name"].is_null() && new["name"] == old["name"]);
    list(target).retain(|old| !is_same(old));
    list(target).splice(0..0, items);
}

fn is_snippet(block: &Block<'_>) -> bool {
    block.language == "yaml" && block.text.starts_with("# in ")
}

#[test]
fn envoy_accepts_every_snippet() {
    let text = page("envoy");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("envoy.yaml");
    let mut all = base();
    let snippets: Vec<_> = blocks(&text).into_iter().filter(is_snippet).collect();
    assert!(snippets.len() > 8, "only {} snippets", snippets.len());
    for block in snippets {
        insert(&mut all, &block.text);
        fs::write(&path, all.to_string()).unwrap();
        let checked = Command::new(Envoy::program())
            .args(["--mode", "validate", "--log-level", "warning", "--config-path"])
            .arg(&path)
            .output()
            .expect("Envoy can be started");
        let said = String::from_utf8_lossy(&checked.stderr);
        assert!(checked.status.success(), "docs/envoy.md:{}: {said}", block.line);
        assert!(!said.to_lowercase().contains("deprecated"), "docs/envoy.md:{}: {said}", block.line);
    }
}

/// One request of the page, and the descriptors that Envoy makes of it.
struct Sample {
    line: usize,
    path: String,
    headers: Vec<(String, String)>,
    descriptors: Vec<String>,
}

fn samples(block: &Block<'_>) -> Vec<Sample> {
    let requests = block.text.split("\n\n").filter(|text| text.starts_with("GET "));
    let sample = |text: &str| {
        let (head, rest) = text.split_once('\n').unwrap_or((text, ""));
        let mut parts = head.split("  ");
        let path = parts.next().and_then(|part| part.strip_prefix("GET ")).expect("checked");
        let header = |part: &str| part.split_once(": ").map(|(name, value)| (name.into(), value.into()));
        Sample {
            line: block.line,
            path: path.to_owned(),
            headers: parts.filter_map(header).collect(),
            descriptors: rest.lines().map(str::to_owned).collect(),
        }
    };
    requests.map(sample).collect()
}

/// A descriptor of the dynamic metadata as the page writes it.
fn told(descriptor: &Value) -> String {
    let entries = descriptor["entries"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let entries = entries.collect::<Vec<_>>().join(" > ");
    let limit = descriptor["limit"].as_str().map(|limit| format!(" (limit {limit})"));
    let hits = descriptor["hitsAddend"].as_f64().map(|hits| format!(" (hits {hits})"));
    [Some(entries), limit, hits].into_iter().flatten().collect()
}

#[tokio::test]
async fn envoy_sends_the_descriptors_that_the_page_says() {
    let setup = Fluxlimit::with_rules_at(&root().join("config/rules"));
    let server = setup.setting("DYNAMIC_METADATA", "true").start().await;
    let text = page("envoy");
    let mut bootstrap = base();
    let mut all = Vec::new();
    for block in blocks(&text) {
        let is_elsewhere = block.text.contains("# in clusters") || block.text.contains("# in access_log");
        // The page's filter has a timeout for production, not for the busiest moment of a test run.
        if is_snippet(&block) && !is_elsewhere && !block.text.contains("v3.RateLimit\n") {
            insert(&mut bootstrap, &block.text);
        }
        all.extend(samples(&block));
    }
    let clusters = list(&mut bootstrap["static_resources"]["clusters"]);
    let cluster = clusters.iter_mut().find(|cluster| cluster["name"] == "fluxlimit").expect("it has one");
    cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]
        ["port_value"] = json!(server.grpc.port());
    let manager = manager(&mut bootstrap);
    for filter in list(&mut manager["http_filters"]) {
        if filter["name"] == "envoy.filters.http.ratelimit" {
            filter["typed_config"]["timeout"] = json!("10s");
        }
    }
    manager["access_log"][0]["typed_config"]["log_format"] = json!({ "json_format": {
        "descriptors": "%DYNAMIC_METADATA(envoy.filters.http.ratelimit:descriptors)%",
    } });
    let mut envoy = Envoy::start(&bootstrap.to_string()).await;
    eventually("the server to be healthy", async || envoy.healthy_servers().await.filter(|&n| n == 1)).await;
    assert!(all.len() > 4, "only {} samples", all.len());
    for (index, sample) in all.iter().enumerate() {
        let headers: Vec<(&str, &[u8])> =
            sample.headers.iter().map(|(name, value)| (&**name, value.as_bytes())).collect();
        assert_ne!(envoy.get(&sample.path, &headers).await.status, 404, "{}", sample.path);
        let log = eventually("its line in the access log", async || {
            Some(envoy.access_log()).filter(|log| log.len() > index)
        })
        .await;
        let sent: Vec<String> =
            log[index]["descriptors"].as_array().into_iter().flatten().map(told).collect();
        assert_eq!(sent, sample.descriptors, "docs/envoy.md:{}: GET {}", sample.line, sample.path);
    }
}
