//! The built server when its rule files change, are broken, or go away; `reload` tries the watcher alone.
//!
//! Nothing is polled here but once an hour, so what is noticed is noticed by an event or a signal.

use std::cell::Cell;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use envoy_types::pb::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use envoy_types::pb::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::Entry;
use envoy_types::pb::envoy::service::ratelimit::v3::RateLimitRequest;
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_service_client::RateLimitServiceClient;
use tonic::transport::Channel;

use crate::support::{Client, Fluxlimit, RuleDirectory, Signal, eventually};

const BAD: &str =
    "domain: edge\ndescriptors:\n- key: user\n  rate_limit: { unit: dya, requests_per_unit: 1 }\n";
const BAD_PLACE: &str = "edge.yaml:4:23: ";

/// A rule of so many a day for every user.
fn a_day(count: u32) -> String {
    format!(
        "domain: edge\ndescriptors:\n- key: user\n  rate_limit: {{ unit: day, requests_per_unit: {count} }}\n"
    )
}

async fn start(rules: &Path) -> Fluxlimit {
    let setup = Fluxlimit::with_rules_at(rules);
    setup.setting("RELOAD__POLL_MS", "3600000").setting("RELOAD__DEBOUNCE_MS", "10").start().await
}

/// Waits until rules of so many a day are in force.
async fn in_force(server: &Fluxlimit, count: u32) {
    let line = format!("requests_per_unit={count},");
    eventually(&line, async || server.page("/rlconfig").await.body.contains(&line).then_some(())).await;
}

async fn ready_says(server: &Fluxlimit, status: u16, text: &str) {
    let what = format!("/ready to be {status} with {text:?}");
    eventually(&what, async || {
        let page = server.page("/ready").await;
        (page.status == status && page.body.contains(text)).then_some(())
    })
    .await;
}

async fn ready_says_only_ok(server: &Fluxlimit) {
    eventually("nothing to complain of", async || (server.page("/ready").await.body == "OK\n").then_some(()))
        .await;
}

async fn grpc(server: &Fluxlimit) -> RateLimitServiceClient<Channel> {
    let endpoint = Channel::from_shared(format!("http://{}", server.grpc)).expect("an address is a URL");
    RateLimitServiceClient::new(endpoint.connect().await.expect("the gRPC front listens"))
}

fn question(user: &str) -> RateLimitRequest {
    let entry = Entry { key: "user".to_owned(), value: user.to_owned() };
    let descriptor = RateLimitDescriptor { entries: vec![entry], ..RateLimitDescriptor::default() };
    RateLimitRequest { domain: "edge".to_owned(), descriptors: vec![descriptor], hits_addend: 0 }
}

#[tokio::test]
async fn a_config_map_that_kubernetes_swaps_is_noticed() {
    // Not the temporary directory itself: the one above it is watched too, and others write there.
    let outer = tempfile::tempdir().unwrap();
    let mount = outer.path().join("mount");
    fs::create_dir(&mount).unwrap();
    let path = |name: &str| mount.join(name);
    let version = |name: &str, count| {
        fs::create_dir(path(name)).unwrap();
        fs::write(path(name).join("edge.yaml"), a_day(count)).unwrap();
    };
    version("..2026_01", 11);
    symlink("..2026_01", path("..data")).unwrap();
    symlink("..data/edge.yaml", path("edge.yaml")).unwrap();
    let server = start(&mount).await;
    in_force(&server, 11).await;
    // The order of the kubelet: the new directory, a link to it, the rename, the old directory.
    for (old, new, count) in [("..2026_01", "..2026_02", 12), ("..2026_02", "..2026_03", 13)] {
        version(new, count);
        symlink(new, path("..data_tmp")).unwrap();
        fs::rename(path("..data_tmp"), path("..data")).unwrap();
        fs::remove_dir_all(path(old)).unwrap();
        in_force(&server, count).await;
    }
}

#[tokio::test]
async fn a_single_rule_file_that_is_replaced_is_noticed_again_and_again() {
    let rules = RuleDirectory::with(&a_day(11));
    let server = start(&rules.path().join("edge.yaml")).await;
    for count in 12..15 {
        rules.write(&a_day(count));
        in_force(&server, count).await;
    }
    // Written in place, as some editors do.
    fs::write(rules.path().join("edge.yaml"), a_day(15)).unwrap();
    in_force(&server, 15).await;
}

#[tokio::test]
async fn sighup_reads_what_no_event_tells_and_ends_nothing() {
    let mount = tempfile::tempdir().unwrap();
    let path = |name: &str| mount.path().join(name);
    for (version, count) in [("one", 11), ("two", 12)] {
        fs::create_dir_all(path(version).join("rules")).unwrap();
        fs::write(path(version).join("rules/edge.yaml"), a_day(count)).unwrap();
    }
    symlink("one", path("current")).unwrap();
    let mut server = start(&path("current/rules")).await;
    in_force(&server, 11).await;
    // Two levels above the rule file nothing is watched.
    symlink("two", path("next")).unwrap();
    fs::rename(path("next"), path("current")).unwrap();
    for _ in 0..3 {
        server.process.signal(Signal::HUP);
    }
    in_force(&server, 12).await;
    server.process.output_with("a line about the signal", |log| log.find("as asked").map(drop)).await;
    assert_eq!(server.ask("user", "alice").await.status, 200);
}

#[tokio::test]
async fn a_server_whose_rules_are_bad_starts_says_why_and_answers_once_they_are_mended() {
    let rules = RuleDirectory::with(BAD);
    let server = start(rules.path()).await;
    ready_says(&server, 503, "no rules loaded yet\n").await;
    let place = format!("{}/{BAD_PLACE}", rules.path().display());
    ready_says(&server, 503, &place).await;
    ready_says(&server, 503, "unknown unit `dya`").await;
    assert_eq!(server.page("/healthcheck").await.status, 500);
    assert_eq!(server.page("/live").await.status, 200);
    assert_eq!(server.ask("user", "alice").await.status, 503);
    let mut client = grpc(&server).await;
    let refused = client.should_rate_limit(question("alice")).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unavailable, "{refused}");
    rules.write(&a_day(11));
    ready_says(&server, 200, "OK\n").await;
    client.should_rate_limit(question("alice")).await.unwrap();
    ready_says_only_ok(&server).await;
}

#[tokio::test]
async fn a_bad_edit_keeps_the_last_good_rules_and_shows_in_log_metric_and_status() {
    let rules = RuleDirectory::with(&a_day(11));
    let mut server = start(rules.path()).await;
    let errors = r#"fluxlimit_rule_loads_total{result="error"}"#;
    assert_eq!(server.metric(errors).await, Some(0));
    rules.write(BAD);
    ready_says(&server, 200, BAD_PLACE).await;
    assert_eq!(server.metric(errors).await, Some(1));
    server.process.output_with("the log", |log| log.find(BAD_PLACE).map(drop)).await;
    server.process.output_with("what it means", |log| log.find("the last good rules stay").map(drop)).await;
    in_force(&server, 11).await;
    assert_eq!(server.ask("user", "alice").await.status, 200);
    rules.write(&a_day(12));
    in_force(&server, 12).await;
    eventually("nothing to complain of", async || (server.page("/ready").await.body == "OK\n").then_some(()))
        .await;
    assert_eq!(server.metric(errors).await, Some(1));
    assert_eq!(server.metric(r#"fluxlimit_rule_loads_total{result="success"}"#).await, Some(2));
}

#[tokio::test]
async fn a_new_count_keeps_what_was_counted_and_a_new_period_starts_fresh_and_says_so() {
    let rules = RuleDirectory::with(&a_day(2));
    let mut server = start(rules.path()).await;
    let ask = async |times: usize| {
        let mut statuses = Vec::new();
        for _ in 0..times {
            statuses.push(server.ask("user", "alice").await.status.as_u16());
        }
        statuses
    };
    assert_eq!(ask(2).await, [200, 200]);
    rules.write(&a_day(3));
    in_force(&server, 3).await;
    assert_eq!(ask(2).await, [200, 429]);
    let hits = r#"fluxlimit_hits_total{domain="edge",rule="user"}"#;
    assert_eq!(server.metric(hits).await, Some(4));
    assert!(!server.process.output().contains("starts fresh"));
    rules.write(&a_day(4).replace("unit: day", "unit: year"));
    in_force(&server, 4).await;
    let line =
        |log: &str| log.lines().any(|line| line.contains("starts fresh") && line.contains("edge: user"));
    server.process.output_with("a line about the rule", |log| line(log).then_some(())).await;
    let ask = async || server.ask("user", "alice").await.status.as_u16();
    assert_eq!([ask().await, ask().await, ask().await, ask().await, ask().await], [200, 200, 200, 200, 429]);
    // Counters go on, whatever became of the state.
    assert_eq!(server.metric(hits).await, Some(9));
}

#[tokio::test]
async fn a_directory_that_is_removed_keeps_its_rules_and_is_read_when_it_is_back() {
    let rules = RuleDirectory::with(&a_day(11));
    let server = start(rules.path()).await;
    in_force(&server, 11).await;
    for count in [12, 13] {
        // In one step, so that the directory is never there and empty.
        fs::rename(rules.path(), rules.path().with_extension("away")).unwrap();
        fs::remove_dir_all(rules.path().with_extension("away")).unwrap();
        ready_says(&server, 200, "rules: there is no such file or directory").await;
        in_force(&server, count - 1).await;
        // Complete before it appears, as somebody does who moves rules into place.
        let next = rules.path().with_extension("next");
        fs::create_dir(&next).unwrap();
        fs::write(next.join("edge.yaml"), a_day(count)).unwrap();
        fs::rename(next, rules.path()).unwrap();
        in_force(&server, count).await;
    }
    // A watch that went with its directory is no news for an operator.
    assert!(!server.process.output().contains("notify"), "the log should not speak of watches");
    // The new directory is watched like the old one.
    rules.write(&a_day(14));
    in_force(&server, 14).await;
}

#[tokio::test]
async fn files_that_cannot_be_read_are_named_and_change_nothing() {
    let rules = RuleDirectory::with(&a_day(11));
    let server = start(rules.path()).await;
    let other = rules.path().join("other.yaml");
    let check = async |reason: &str| {
        ready_says(&server, 200, &format!("{}: {reason}", other.display())).await;
        in_force(&server, 11).await;
        fs::remove_file(&other).unwrap();
        ready_says_only_ok(&server).await;
    };
    symlink("nowhere", &other).unwrap();
    check("there is no such file or directory").await;
    symlink("other.yaml", &other).unwrap();
    check("cannot be read: ").await;
    let listener = std::os::unix::net::UnixListener::bind(&other).unwrap();
    check("cannot be read: not a regular file").await;
    drop(listener);
}

#[tokio::test]
async fn a_storm_of_edits_costs_no_request_and_the_last_good_one_counts() {
    const EDITS: u32 = 400;
    let rules = RuleDirectory::with(&a_day(1_000_000));
    let server = start(rules.path()).await;
    let (mut client, mut front) = (grpc(&server).await, Client::new(server.http));
    let (asked, is_over) = (Cell::new(0), Cell::new(false));
    let asking = async {
        while !is_over.get() {
            let answer = client.should_rate_limit(question("alice")).await.expect("an answer").into_inner();
            assert_eq!(answer.overall_code, 1, "{answer:?}");
            assert!(answer.statuses[0].current_limit.is_some(), "{answer:?}");
            assert_eq!(front.get("/healthcheck", &[]).await.expect("an answer").status, 200);
            asked.set(asked.get() + 1);
        }
    };
    let editing = async {
        for edit in 0..EDITS {
            rules.write(&if edit % 2 == 0 { BAD.to_owned() } else { a_day(1_000_000 + edit) });
            // So that requests meet every state of the file.
            let before = asked.get();
            eventually("an answer", async || (asked.get() > before).then_some(())).await;
        }
        in_force(&server, 1_000_000 + EDITS - 1).await;
        is_over.set(true);
    };
    tokio::join!(asking, editing);
    let failed = server.metric(r#"fluxlimit_rule_loads_total{result="error"}"#).await;
    assert!(failed.is_some_and(|failed| failed > 0), "no bad edit was ever read: {failed:?}");
    ready_says_only_ok(&server).await;
}
