//! What the client and the access log are told about a decision.

use super::{Stack, per_user};
use crate::support::eventually;
use std::ops::RangeInclusive;

const ALL_HEADERS: &str = "{ enable_x_ratelimit_headers: DRAFT_VERSION_03, enable_retry_after_header: true }";
const HOUR_S: u64 = 3600;
const DAY_S: u64 = 24 * HOUR_S;
/// How long a test may have been running when it looks at a duration.
const SLACK_S: u64 = 120;

/// A duration that was `seconds` when the test began.
fn about(seconds: u64) -> RangeInclusive<u64> {
    seconds - SLACK_S..=seconds
}

#[tokio::test]
async fn ratelimit_headers_tell_limit_remaining_and_reset() {
    let limit = "{ name: visitors, algorithm: token_bucket, requests_per_unit: 4, unit: day }";
    let mut stack = Stack::by_user(&per_user(limit), ALL_HEADERS).await;
    for used in 1..=4 {
        let allowed = stack.envoy.get("/", &[("x-user", b"alice")]).await;
        assert_eq!(allowed.status, 200);
        assert_eq!(allowed.header("x-ratelimit-limit"), Some(r#"4, 4;w=86400;name="visitors""#));
        assert_eq!(allowed.number("x-ratelimit-remaining"), 4 - used);
        // Four hits a day: each is paid off after six hours.
        assert!(about(used * DAY_S / 4).contains(&allowed.number("x-ratelimit-reset")), "{allowed:?}");
        assert_eq!(allowed.header("retry-after"), None);
    }
}

#[tokio::test]
async fn a_429_says_when_to_try_again() {
    let cases = [
        ("{ algorithm: token_bucket, requests_per_unit: 2, unit: day }", about(DAY_S / 2)),
        ("{ algorithm: leaky_bucket, requests_per_unit: 2, unit: day }", about(DAY_S / 2)),
        ("{ algorithm: sliding_window, requests_per_unit: 1, unit: hour }", about(HOUR_S)),
        // Its window ends at the full hour, wherever in the hour the test runs.
        ("{ algorithm: fixed_window, requests_per_unit: 1, unit: year }", 1..=365 * DAY_S),
    ];
    for (limit, expected_s) in cases {
        let mut stack = Stack::by_user(&per_user(limit), ALL_HEADERS).await;
        let statuses = stack.envoy.statuses(3, "/", &[("x-user", b"alice")]).await;
        assert_eq!(statuses.last(), Some(&429), "{limit}");
        let refused = stack.envoy.get("/", &[("x-user", b"alice")]).await;
        assert_eq!(refused.status, 429, "{limit}");
        assert!(expected_s.contains(&refused.number("retry-after")), "{limit}: {refused:?}");
        assert_eq!(refused.number("x-ratelimit-remaining"), 0, "{limit}");
    }
}

#[tokio::test]
async fn the_access_log_names_the_rule_that_decided() {
    let limit = "{ name: visitors, algorithm: token_bucket, requests_per_unit: 1, unit: day }";
    let mut stack = Stack::by_user(&per_user(limit), "{}").await;
    let user: [(&str, &[u8]); 1] = [("x-user", b"alice")];
    assert_eq!(stack.envoy.statuses(2, "/", &user).await, [200, 429]);
    let log = eventually("both requests in the access log", async || {
        Some(stack.envoy.access_log()).filter(|log| log.len() == 2)
    })
    .await;
    for (entry, (status, verdict)) in log.iter().zip([(200, "ok"), (429, "over_limit")]) {
        assert_eq!(entry["status"], status);
        let decided_by = &entry["decided_by"];
        assert_eq!(decided_by["domain"], "edge", "{entry}");
        assert_eq!(decided_by["name"], "visitors", "{entry}");
        assert_eq!(decided_by["remaining"].as_f64(), Some(0.0), "{entry}");
        assert_eq!(decided_by["verdict"], verdict, "{entry}");
        assert!(decided_by["rule"].as_str().is_some_and(|rule| rule.contains("user")), "{entry}");
    }
    assert_eq!(log[1]["flags"], "RL");
}
