//! Changing the rules and stopping servers while requests arrive.

use super::{BY_USER, per_user};
use crate::support::{Client, Fluxlimit, RuleDirectory, Signal, Site, eventually, own_loopback_address};
use std::net::SocketAddr;

const ALICE: [(&str, &[u8]); 1] = [("x-user", b"alice")];

fn day_limit(count: u32) -> String {
    per_user(&format!("{{ algorithm: sliding_window, requests_per_unit: {count}, unit: day }}"))
}

#[tokio::test]
async fn a_changed_rule_file_counts_on_from_where_the_old_one_was() {
    let rules = RuleDirectory::with(&day_limit(2));
    let server = Fluxlimit::with_rules_at(rules.path()).start().await;
    let mut envoy = Site::new("edge", server.grpc).route("/", BY_USER).start().await;
    assert_eq!(envoy.statuses(3, "/", &ALICE).await, [200, 200, 429]);
    // Not a reason to end, whether or not there is anything to read.
    server.process.signal(Signal::HUP);
    rules.write(&day_limit(4));
    // What is refused costs nothing, so asking until the new rules answer does not change the count.
    eventually("the higher limit to count", async || {
        (envoy.get("/", &ALICE).await.status == 200).then_some(())
    })
    .await;
    assert_eq!(envoy.statuses(3, "/", &ALICE).await, [200, 429, 429]);
}

#[tokio::test]
async fn a_bad_edit_is_named_in_the_log_and_changes_nothing() {
    let rules = RuleDirectory::with(&day_limit(2));
    let mut server = Fluxlimit::with_rules_at(rules.path()).start().await;
    let mut envoy = Site::new("edge", server.grpc).route("/", BY_USER).start().await;
    assert_eq!(envoy.statuses(1, "/", &ALICE).await, [200]);
    rules.write(&day_limit(4).replace("unit: day", "unit: dya"));
    server
        .process
        .output_with("the place of the mistake", |log| {
            log.lines().find(|line| line.contains("edge.yaml:4:") && line.contains("`dya`")).map(drop)
        })
        .await;
    assert_eq!(envoy.statuses(3, "/", &ALICE).await, [200, 429, 429]);
    rules.write(&day_limit(3));
    eventually("the corrected file to count", async || {
        (envoy.get("/", &ALICE).await.status == 200).then_some(())
    })
    .await;
    assert_eq!(envoy.get("/", &ALICE).await.status, 429);
}

/// A server at an address that is still free when it starts again.
async fn start_at(rules: &RuleDirectory, address: SocketAddr, drain_delay_ms: &str) -> Fluxlimit {
    let setup = Fluxlimit::with_rules_at(rules.path()).grpc(address);
    setup.setting("DRAIN_DELAY_MS", drain_delay_ms).start().await
}

#[tokio::test]
async fn with_failure_mode_deny_requests_fail_while_the_server_is_away() {
    let rules = RuleDirectory::with(&day_limit(2));
    let server = start_at(&rules, (own_loopback_address(), 0).into(), "0").await;
    let address = server.grpc;
    let site = Site::new("edge", address).route("/", BY_USER).filter("failure_mode_deny: true");
    let mut envoy = site.start().await;
    assert_eq!(envoy.statuses(3, "/", &ALICE).await, [200, 200, 429]);
    assert!(server.stop().await.success());
    assert_eq!(envoy.statuses(3, "/", &ALICE).await, [500; 3]);
    let _server = start_at(&rules, address, "0").await;
    // Envoy connects again when a request needs it; what it cannot ask about is not counted.
    eventually("Envoy to reach the new server", async || {
        (envoy.get("/", &ALICE).await.status == 200).then_some(())
    })
    .await;
    // The memory store has started empty.
    assert_eq!(envoy.statuses(3, "/", &ALICE).await, [200, 429, 429]);
}

#[tokio::test]
async fn without_failure_mode_deny_requests_pass_while_the_server_is_away() {
    let rules = RuleDirectory::with(&day_limit(2));
    let server = start_at(&rules, (own_loopback_address(), 0).into(), "0").await;
    let address = server.grpc;
    let mut envoy = Site::new("edge", address).route("/", BY_USER).start().await;
    assert_eq!(envoy.statuses(3, "/", &ALICE).await, [200, 200, 429]);
    assert!(server.stop().await.success());
    assert_eq!(envoy.statuses(3, "/", &ALICE).await, [200; 3]);
    let _server = start_at(&rules, address, "0").await;
    eventually("the new server to refuse", async || {
        (envoy.get("/", &ALICE).await.status == 429).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_stopping_server_says_so_and_answers_until_it_is_told_again() {
    let rules = RuleDirectory::with(&day_limit(2));
    let setup = Fluxlimit::with_rules_at(rules.path()).setting("DRAIN_DELAY_MS", "600000");
    let mut server = setup.start().await;
    let mut envoy = Site::new("edge", server.grpc).route("/", BY_USER).start().await;
    let mut front = Client::new(server.http);
    eventually("readiness", async || (front.get("/ready", &[]).await.ok()?.status == 200).then_some(()))
        .await;
    server.process.signal(Signal::TERM);
    eventually("unreadiness", async || (front.get("/ready", &[]).await.ok()?.status == 503).then_some(()))
        .await;
    assert_eq!(envoy.statuses(3, "/", &ALICE).await, [200, 200, 429]);
    server.process.signal(Signal::TERM);
    server.process.exit().await;
}
