//! Who gets a 429, and when.

use super::{Stack, per_user};
use crate::support::eventually;
use rstest::rstest;

#[rstest]
#[case::token_bucket("{ algorithm: token_bucket, requests_per_unit: 5, unit: day }")]
#[case::leaky_bucket("{ algorithm: leaky_bucket, requests_per_unit: 5, unit: day, burst: 5 }")]
#[case::fixed_window("{ algorithm: fixed_window, requests_per_unit: 5, unit: year }")]
#[case::sliding_window("{ algorithm: sliding_window, requests_per_unit: 5, unit: day }")]
#[case::the_reference_form("{ requests_per_unit: 5, unit: year }")]
#[tokio::test]
async fn exactly_the_limit_passes(#[case] rate_limit: &str) {
    let mut envoy = Stack::by_user(&per_user(rate_limit), "{}").await;
    let envoy = &mut envoy.envoy;
    let alice: [(&str, &[u8]); 1] = [("x-user", b"alice")];
    assert_eq!(envoy.statuses(8, "/", &alice).await, [200, 200, 200, 200, 200, 429, 429, 429]);
    let bob: [(&str, &[u8]); 1] = [("x-user", b"bob")];
    assert_eq!(envoy.statuses(6, "/", &bob).await, [200, 200, 200, 200, 200, 429]);
    // A request without the header has no descriptor, so nothing counts it.
    assert_eq!(envoy.statuses(7, "/", &[]).await, [200; 7]);
}

#[tokio::test]
async fn the_tighter_of_two_limits_decides() {
    let rules = per_user(
        "[{ name: tight, algorithm: sliding_window, requests_per_unit: 2, unit: hour },
           { name: wide, algorithm: sliding_window, requests_per_unit: 9, unit: day }]",
    );
    let mut stack = Stack::by_user(&rules, "enable_x_ratelimit_headers: DRAFT_VERSION_03").await;
    let user: [(&str, &[u8]); 1] = [("x-user", b"alice")];
    assert_eq!(stack.envoy.statuses(3, "/", &user).await, [200, 200, 429]);
    let refused = stack.envoy.get("/", &user).await;
    assert_eq!(refused.header("x-ratelimit-limit"), Some(r#"2, 2;w=3600;name="tight""#));
}

#[tokio::test]
async fn a_shadow_limit_refuses_nobody() {
    let limit = "{ algorithm: token_bucket, requests_per_unit: 2, unit: day }\n  shadow_mode: true";
    let mut stack = Stack::by_user(&per_user(limit), "enable_x_ratelimit_headers: DRAFT_VERSION_03").await;
    let user: [(&str, &[u8]); 1] = [("x-user", b"alice")];
    assert_eq!(stack.envoy.statuses(5, "/", &user).await, [200; 5]);
    assert_eq!(stack.envoy.get("/", &user).await.number("x-ratelimit-remaining"), 0);
    eventually("the would-be refusals in the access log", async || {
        let log = stack.envoy.access_log();
        let is_shadow = |entry: &&serde_json::Value| entry["decided_by"]["verdict"] == "shadow_over_limit";
        (log.iter().filter(is_shadow).count() == 4).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_header_value_is_limited_whatever_its_bytes() {
    let rules = per_user("{ algorithm: fixed_window, requests_per_unit: 2, unit: year }");
    let mut stack = Stack::by_user(&rules, "{}").await;
    let long = vec![b'a'; 10_000];
    let differs_at_the_end = [&long[1..], b"b"].concat();
    // Neither is UTF-8, and both look the same where broken bytes are replaced.
    let values: [&[u8]; 4] = [b"caf\xe9", b"caf\xe8", &long, &differs_at_the_end];
    for value in values {
        let statuses = stack.envoy.statuses(4, "/", &[("x-user", value)]).await;
        assert_eq!(statuses, [200, 200, 429, 429], "a value of {} bytes", value.len());
    }
}

#[tokio::test]
async fn of_several_descriptors_the_refused_one_costs_the_others_nothing() {
    let rules = "
domain: edge
defaults: { algorithm: token_bucket }
descriptors:
- { key: user, rate_limit: { requests_per_unit: 3, unit: day } }
- { key: team, rate_limit: { requests_per_unit: 1, unit: day } }
";
    let both = "
- { actions: [{ request_headers: { header_name: x-user, descriptor_key: user } }] }
- { actions: [{ request_headers: { header_name: x-team, descriptor_key: team } }] }
";
    let mut stack = Stack::start(rules, |site| site.route("/", both)).await;
    let in_a_team: [(&str, &[u8]); 2] = [("x-user", b"alice"), ("x-team", b"red")];
    assert_eq!(stack.envoy.statuses(5, "/", &in_a_team).await, [200, 429, 429, 429, 429]);
    assert_eq!(stack.envoy.statuses(3, "/", &in_a_team[..1]).await, [200, 200, 429]);
}
