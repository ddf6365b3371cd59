//! Which limit a request is held against: one that it brings, one of a pattern, one of several quotas.

use super::{Stack, per_user};

const REMAINING: &str = "enable_x_ratelimit_headers: DRAFT_VERSION_03";
const ALICE: (&str, &[u8]) = ("x-user", b"alice");

/// Puts a limit a year where a filter that knows the customer would put it; `x-limit` says how much.
const LIMIT_FROM_HEADER: &str = r#"
function envoy_on_request(handle)
  local count = handle:headers():get("x-limit")
  if count then
    local limit = { requests_per_unit = tonumber(count), unit = "YEAR" }
    handle:streamInfo():dynamicMetadata():set("customer", "limit", limit)
  end
end
"#;

#[tokio::test]
async fn a_limit_from_dynamic_metadata_takes_the_place_of_the_rule() {
    let by_user = "
- actions: [{ request_headers: { header_name: x-user, descriptor_key: user } }]
  limit: { dynamic_metadata: { metadata_key: { key: customer, path: [{ key: limit }] } } }
";
    // Refused hits of an override are not counted either, since the file says so.
    let rules = per_user("{ name: ours, algorithm: fixed_window, requests_per_unit: 2, unit: year }")
        + "defaults: { count_refused: false }\n";
    let mut stack =
        Stack::start(&rules, |site| site.script(LIMIT_FROM_HEADER).route("/", by_user).filter(REMAINING))
            .await;
    let envoy = &mut stack.envoy;
    // Without one, the rule.
    assert_eq!(envoy.statuses(3, "/", &[("x-user", b"bob")]).await, [200, 200, 429]);
    let five = [ALICE, ("x-limit", b"5")];
    let first = envoy.get("/", &five).await;
    assert_eq!(first.header("x-ratelimit-limit"), Some("5, 5;w=31536000"));
    assert_eq!(first.number("x-ratelimit-remaining"), 4);
    assert_eq!(envoy.statuses(6, "/", &five).await, [200, 200, 200, 200, 429, 429]);
    // Another limit for the same user goes on from the same count.
    assert_eq!(envoy.statuses(3, "/", &[ALICE, ("x-limit", b"7")]).await, [200, 200, 429]);
    // And so does the rule, which counts what has the same entries and period.
    let by_rule = envoy.get("/", &[ALICE]).await;
    assert_eq!(by_rule.status, 429);
    assert_eq!(by_rule.header("x-ratelimit-limit"), Some(r#"2, 2;w=31536000;name="ours""#));
}

#[tokio::test]
async fn a_star_in_a_value_limits_each_path_or_all_that_match() {
    let rules = r#"
domain: edge
defaults: { algorithm: token_bucket }
descriptors:
- { key: path, value: /report, rate_limit: { name: report, requests_per_unit: 1, unit: day } }
- { key: path, value: "/api/*", rate_limit: { name: api, requests_per_unit: 2, unit: day } }
- key: path
  value: "/files/*.zip"
  share_threshold: true
  rate_limit: { name: archives, requests_per_unit: 2, unit: day }
- { key: path, value: "*", share_threshold: true, rate_limit: { name: rest, requests_per_unit: 3, unit: day } }
"#;
    // The header `:path` would have the query string with it.
    let by_path = r#"
- actions:
    - extension:
        name: envoy.rate_limit_descriptors.expr
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.rate_limit_descriptors.expr.v3.Descriptor
          descriptor_key: path
          text: request.url_path
"#;
    let mut stack = Stack::start(rules, |site| site.route("/", by_path).filter(REMAINING)).await;
    let cases: [(&str, u16, &str); 14] = [
        ("/report", 200, "report"),
        ("/report?again", 429, "report"),
        ("/api/users", 200, "api"),
        ("/api/users?page=2", 200, "api"),
        ("/api/users?page=3", 429, "api"),
        ("/api/orders", 200, "api"),
        ("/files/a.zip", 200, "archives"),
        ("/files/deep/b.zip", 200, "archives"),
        ("/files/c.zip", 429, "archives"),
        ("/files/a.txt", 200, "rest"),
        ("/", 200, "rest"),
        ("/report/", 200, "rest"),
        ("/never-seen", 429, "rest"),
        ("/api", 429, "rest"),
    ];
    for (path, status, limit) in cases {
        let answer = stack.envoy.get(path, &[]).await;
        assert_eq!(answer.status, status, "{path}");
        let told = answer.header("x-ratelimit-limit").unwrap_or_default();
        assert!(told.contains(&format!(r#"name="{limit}""#)), "{path}: {told}");
    }
}

#[tokio::test]
async fn a_request_passes_while_one_of_its_quotas_does() {
    let rules = "
domain: edge
defaults: { algorithm: token_bucket }
descriptors:
- { key: user, quota_mode: true, rate_limit: { requests_per_unit: 2, unit: day } }
- { key: team, quota_mode: true, rate_limit: { requests_per_unit: 3, unit: day } }
- { key: site, value: all, rate_limit: { requests_per_unit: 5, unit: day } }
";
    let all = "
- { actions: [{ request_headers: { header_name: x-user, descriptor_key: user } }] }
- { actions: [{ request_headers: { header_name: x-team, descriptor_key: team } }] }
- { actions: [{ request_headers: { header_name: x-site, descriptor_key: site } }] }
";
    let mut stack = Stack::start(rules, |site| site.route("/", all)).await;
    let red = ("x-team", b"red".as_slice());
    // The third lives from the team alone; then neither has anything.
    assert_eq!(stack.envoy.statuses(5, "/", &[ALICE, red]).await, [200, 200, 200, 429, 429]);
    // Bob has two of his own, whatever his team has.
    let bob = ("x-user", b"bob".as_slice());
    assert_eq!(stack.envoy.statuses(3, "/", &[bob, red]).await, [200, 200, 429]);
    // A lone quota is enforced like any limit.
    assert_eq!(stack.envoy.statuses(3, "/", &[("x-user", b"carol")]).await, [200, 200, 429]);
    // What is no quota refuses all the same.
    let everywhere = ("x-site", b"all".as_slice());
    let blue = ("x-team", b"blue".as_slice());
    assert_eq!(stack.envoy.statuses(6, "/", &[everywhere]).await, [200, 200, 200, 200, 200, 429]);
    assert_eq!(stack.envoy.statuses(2, "/", &[blue, everywhere]).await, [429, 429]);
}
