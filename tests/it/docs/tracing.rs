//! `docs/tracing.md`: its settings load, its Envoy traces, and it names what spans say.

use std::fs;

use fluxlimit::config::{Config, Flags};

use super::blocks::blocks;
use super::page;
use crate::support::{Certificates, Collector, Fluxlimit, RuleDirectory, Site};

const RULES: &str =
    "domain: edge\ndescriptors:\n- key: user\n  rate_limit: { unit: year, requests_per_unit: 9 }\n";

const BY_USER: &str = "[{ actions: [{ request_headers: { header_name: x-user, descriptor_key: user } }] }]";

#[test]
fn every_settings_example_loads() {
    let directory = tempfile::tempdir().unwrap();
    let certificates = Certificates::of("127.0.0.1".parse().unwrap());
    let (cert, key) = certificates.client();
    for (name, made) in [("ca.pem", certificates.ca()), ("client.pem", cert), ("client.key", key)] {
        fs::copy(made, directory.path().join(name)).unwrap();
    }
    let text = page("tracing");
    let examples: Vec<_> =
        blocks(&text).into_iter().filter(|block| block.text.starts_with("# fluxlimit.yaml\n")).collect();
    assert_eq!(examples.len(), 2);
    for example in examples {
        let path = directory.path().join("fluxlimit.yaml");
        fs::write(&path, format!("rules: [.]\n{}", example.text)).unwrap();
        let flags = Flags { config: Some(path), ..Flags::default() };
        let config =
            Config::load_with(&flags, []).unwrap_or_else(|error| panic!("{}: {error}", example.line));
        assert!(config.traces.otlp);
    }
}

#[tokio::test]
async fn envoy_and_the_server_are_in_one_trace_and_the_page_names_all_attributes() {
    let text = page("tracing");
    let collector = Collector::start().await;
    let rules = RuleDirectory::with(RULES);
    let setup = Fluxlimit::with_rules_at(rules.path()).setting("OTLP__ENDPOINT", &collector.grpc_url());
    let server = setup.setting("TRACES__OTLP", "true").setting("TRACES__VALUES", "true").start().await;
    let tracing = blocks(&text).into_iter().find(|block| block.text.starts_with("# tracing of")).unwrap();
    let site = Site::new("edge", server.grpc).route("/", BY_USER).traced(&tracing.text, collector.grpc);
    let mut envoy = site.start().await;
    assert_eq!(envoy.get("/", &[("x-user", b"alice")]).await.status, 200);
    let call = collector.span("envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit").await;
    let matching = collector.span("match").await;
    // Envoy exports every five seconds.
    let of_envoy = crate::support::eventually("the spans of Envoy", async || {
        let spans = collector.spans();
        spans.into_iter().find(|told| told.service == "envoy" && call.is_child_of(told))
    })
    .await;
    assert!(matching.is_child_of(&call));
    assert_eq!(of_envoy.span.trace_id, matching.span.trace_id);
    for told in [call, matching] {
        for attribute in told.span.attributes {
            assert!(
                text.contains(&format!("`{}`", attribute.key)),
                "the page does not name {}",
                attribute.key
            );
        }
    }
}
