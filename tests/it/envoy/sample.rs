//! `envoy/envoy.yaml` and `config/rules/`: what a new user runs first.

use super::{in_the_repository, with_replaced};
use crate::support::{Envoy, Fluxlimit, eventually};
use std::process::Command;

#[test]
fn envoy_accepts_the_sample_configuration() {
    let checked = Command::new(Envoy::program())
        .args(["--mode", "validate", "--config-path"])
        .arg(in_the_repository("envoy/envoy.yaml"))
        .output()
        .expect("Envoy can be started");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}

/// The sample Envoy with its fixed ports replaced, in front of a server with the sample rules.
async fn start_the_sample() -> (Envoy, Fluxlimit) {
    let setup = Fluxlimit::with_rules_at(&in_the_repository("config/rules"));
    let server = setup.setting("DYNAMIC_METADATA", "true").start().await;
    let text = with_replaced(
        "envoy/envoy.yaml",
        &[
            ("port_value: 10000", "port_value: 0"),
            ("port_value: 9901", "port_value: 0"),
            ("port_value: 8081", &format!("port_value: {}", server.grpc.port())),
            // It suits production, not the busiest moment of a test run.
            ("timeout: 0.1s", "timeout: 10s"),
        ],
    );
    let envoy = Envoy::start(&text).await;
    eventually("the server to be healthy", async || envoy.healthy_servers().await.filter(|&n| n == 1)).await;
    (envoy, server)
}

#[tokio::test]
async fn the_sixth_login_of_the_sample_is_refused() {
    let (mut envoy, _server) = start_the_sample().await;
    // A window may end while the test runs, so five or more pass; five in a row after that cannot.
    let mut passed = 0;
    while envoy.get("/login", &[]).await.status == 200 {
        passed += 1;
        assert!(passed <= 10, "{passed} logins passed");
    }
    assert!(passed >= 5, "only {passed} logins passed");
    assert_eq!(envoy.get("/search", &[]).await.status, 200);
    eventually("the log line of the refusal", async || {
        let output = envoy.process.output();
        output.lines().find(|line| line.starts_with("GET /login 429")).map(str::to_owned)
    })
    .await;
}

#[tokio::test]
async fn an_invented_address_does_not_get_past_the_sample() {
    // Bug: every x-forwarded-for was believed, and had five logins of its own.
    let (mut envoy, _server) = start_the_sample().await;
    let mut passed = 0;
    for attempt in 0..20 {
        let invented = format!("203.0.113.{attempt}");
        let answer = envoy.get("/login", &[("x-forwarded-for", invented.as_bytes())]).await;
        passed += usize::from(answer.status == 200);
    }
    // A window may end meanwhile.
    assert!((5..=10).contains(&passed), "{passed} logins passed");
}

#[tokio::test]
async fn the_sample_limits_a_tenant_by_its_plan() {
    let (mut envoy, _server) = start_the_sample().await;
    let first = envoy.get("/api/things", &[("x-tenant", b"initech")]).await;
    assert_eq!(first.status, 200);
    assert_eq!(first.number("x-ratelimit-remaining"), 9);
    let paying = envoy.get("/api/things", &[("x-tenant", b"acme")]).await;
    assert_eq!(paying.number("x-ratelimit-remaining"), 99);
}

#[tokio::test]
async fn the_sample_charges_tokens_when_a_response_ends() {
    let (mut envoy, _server) = start_the_sample().await;
    let tenant: (&str, &[u8]) = ("x-tenant", b"initech");
    assert_eq!(envoy.get("/v1/chat", &[tenant, ("x-tokens", b"2000000")]).await.status, 200);
    eventually("the debt to refuse", async || {
        (envoy.get("/v1/chat", &[tenant, ("x-tokens", b"0")]).await.status == 429).then_some(())
    })
    .await;
}
