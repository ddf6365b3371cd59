//! What `examples/rules/` says to write on Envoy's side.

use crate::examples::{folder, names};
use crate::support::{Fluxlimit, Site};

/// The `rate_limits` in the comments of a rule file: the lines from there on that are indented as deep.
fn rate_limits(name: &str) -> String {
    let text = std::fs::read_to_string(folder().join(format!("{name}.yaml"))).expect("it is there");
    let comments = text.lines().skip_while(|line| *line != "#   rate_limits:").skip(1);
    let list: Vec<&str> = comments.map_while(|line| line.strip_prefix("#     ")).collect();
    assert!(!list.is_empty(), "{name} does not say what to write on Envoy's side");
    list.join("\n")
}

#[tokio::test]
async fn with_what_an_example_says_envoy_asks_for_its_rules() {
    let server = Fluxlimit::with_rules_at(&folder()).start().await;
    let site = Site::new("none", server.grpc).filter("enable_x_ratelimit_headers: DRAFT_VERSION_03");
    let site = names()
        .iter()
        .fold(site, |site, name| site.route_in_domain(&format!("/{name}"), name, &rate_limits(name)));
    let mut envoy = site.upstream_echoes("x-tokens").start().await;
    // What some example or other looks at.
    let headers: [(&str, &[u8]); 8] = [
        ("x-plan", b"pro"),
        ("x-tenant", b"acme"),
        ("x-api-key", b"k"),
        ("x-cost", b"1"),
        ("x-tokens", b"1"),
        ("x-login-account", b"alice"),
        ("x-user", b"alice"),
        ("x-region", b"eu"),
    ];
    let limits = [
        ("ban", "ban-until-quiet"),
        ("catch-all", "everything-else"),
        ("cost-by-header", "units"),
        ("exempt-paths", "per-path-and-address"),
        ("llm-tokens", "tokens"),
        ("login-brute-force", "attempts-per-account"),
        ("override", "default"),
        ("per-ip", "per-address"),
        ("several-limits", "per-second"),
        ("shadow", "enforced"),
        ("tenant-tiers", "pro"),
        ("two-quotas", "lent"),
    ];
    assert!(names().iter().eq(limits.map(|(name, _)| name).iter()), "an example without its limit here");
    for (name, limit) in limits {
        let answer = envoy.get(&format!("/{name}?a=query"), &headers).await;
        assert_eq!(answer.status, 200, "{name}");
        let told = answer.header("x-ratelimit-limit").unwrap_or_default();
        assert!(told.contains(&format!(r#"name="{limit}""#)), "{name}: {answer:?}");
    }
}
