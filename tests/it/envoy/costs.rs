//! Requests that cost more or less than one hit.

use super::{Stack, per_user};
use crate::support::{Envoy, Site, eventually};

const REMAINING: &str = "enable_x_ratelimit_headers: DRAFT_VERSION_03";

/// Routes that take the cost in `x-cost`, give it back, and only look.
fn priced(site: Site) -> Site {
    let by_user = "actions: [{ request_headers: { header_name: x-user, descriptor_key: user } }]";
    site.filter(REMAINING)
        .route_with_costs("/look", &format!("[{{ {by_user}, hits_addend: {{ number: 0 }} }}]"))
        .route_with_costs(
            "/refund",
            &format!("[{{ {by_user}, hits_addend: {{ format: '%REQ(x-cost)%', is_negative_hits: true }} }}]"),
        )
        .route_with_costs("/", &format!("[{{ {by_user}, hits_addend: {{ format: '%REQ(x-cost)%' }} }}]"))
}

/// Status and remaining hits after one request of this cost.
async fn pay(envoy: &mut Envoy, path: &str, cost: &str) -> (u16, u64) {
    let answer = envoy.get(path, &[("x-user", b"alice"), ("x-cost", cost.as_bytes())]).await;
    (answer.status.as_u16(), answer.number("x-ratelimit-remaining"))
}

#[tokio::test]
async fn a_header_can_say_what_a_request_costs() {
    let rules = per_user("{ algorithm: token_bucket, requests_per_unit: 10, unit: day }");
    let mut stack = Stack::start(&rules, priced).await;
    let envoy = &mut stack.envoy;
    assert_eq!(pay(envoy, "/", "7").await, (200, 3));
    // A refused cost takes nothing of what is left.
    assert_eq!(pay(envoy, "/", "4").await, (429, 3));
    assert_eq!(pay(envoy, "/look", "4").await, (200, 3));
    assert_eq!(pay(envoy, "/", "3").await, (200, 0));
    assert_eq!(pay(envoy, "/", "1").await, (429, 0));
    assert_eq!(pay(envoy, "/look", "1").await, (200, 0));
}

#[tokio::test]
async fn a_refund_makes_room_and_never_more_than_the_limit() {
    let rules = per_user("{ algorithm: fixed_window, requests_per_unit: 10, unit: year }");
    let mut stack = Stack::start(&rules, priced).await;
    let envoy = &mut stack.envoy;
    assert_eq!(pay(envoy, "/", "10").await, (200, 0));
    assert_eq!(pay(envoy, "/", "1").await, (429, 0));
    assert_eq!(pay(envoy, "/refund", "4").await, (200, 4));
    assert_eq!(pay(envoy, "/", "5").await, (429, 4));
    assert_eq!(pay(envoy, "/", "4").await, (200, 0));
    assert_eq!(pay(envoy, "/refund", "4000").await, (200, 10));
    assert_eq!(pay(envoy, "/", "11").await, (429, 10));
}

#[tokio::test]
async fn what_a_response_has_cost_is_charged_when_it_ends_even_beyond_the_limit() {
    let by_user = "actions: [{ request_headers: { header_name: x-user, descriptor_key: user } }]";
    let look_then_charge = format!(
        "- {{ {by_user}, hits_addend: {{ number: 0 }} }}
         - {{ {by_user}, hits_addend: {{ format: '%RESP(x-tokens)%' }}, apply_on_stream_done: true }}"
    )
    .replace("\n         ", "\n");
    let rules =
        per_user("{ algorithm: token_bucket, requests_per_unit: 100, unit: day, count_refused: true }");
    let mut stack = Stack::start(&rules, |site| {
        site.filter(REMAINING).upstream_echoes("x-tokens").route_with_costs("/", &look_then_charge)
    })
    .await;
    let envoy = &mut stack.envoy;
    // A response that cost nothing, so asking for the state does not change it.
    let look: [(&str, &[u8]); 2] = [("x-user", b"alice"), ("x-tokens", b"0")];
    let call = async |envoy: &mut Envoy, tokens: &[u8]| {
        envoy.get("/", &[("x-user", b"alice"), ("x-tokens", tokens)]).await.status.as_u16()
    };
    assert_eq!(call(envoy, b"40").await, 200);
    eventually("60 of 100 tokens to be left", async || {
        (envoy.get("/", &look).await.number("x-ratelimit-remaining") == 60).then_some(())
    })
    .await;
    // Nobody knew that it would cost so much; the debt keeps the next call out.
    assert_eq!(call(envoy, b"500").await, 200);
    eventually("the debt to refuse", async || (envoy.get("/", &look).await.status == 429).then_some(()))
        .await;
    let bob: [(&str, &[u8]); 2] = [("x-user", b"bob"), ("x-tokens", b"0")];
    assert_eq!(envoy.get("/", &bob).await.status, 200);
}
