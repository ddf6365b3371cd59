//! What `fluxlimit probe` says about a server, as a container's health check asks it.

use std::net::TcpListener;

use crate::commands::Shell;
use crate::support::{Fluxlimit, RuleDirectory, Signal, eventually, free_address};

const RULES: &str =
    "domain: edge\ndescriptors: [{ key: user, rate_limit: { unit: day, requests_per_unit: 2 } }]\n";

#[tokio::test]
async fn a_server_that_is_ready_passes_the_probe() {
    let rules = RuleDirectory::with(RULES);
    let server = Fluxlimit::with_rules_at(rules.path()).start().await;
    server.ready().await;
    let address = server.http.to_string();
    let ran = Shell::with(&[]).run(&format!("probe --http {address}"));
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "OK\n"), "{}", ran.stderr);
    // The setting that the server could have got as well: all addresses.
    let everywhere = format!("0.0.0.0:{}", server.http.port());
    let ran = Shell::with(&[]).run_with("probe", &[("FLUXLIMIT_HTTP", &everywhere)]);
    assert_eq!(ran.code, Some(0), "{}", ran.told());
    let settings = format!("http: {address}\n");
    let ran = Shell::with(&[("fluxlimit.yaml", &settings)]).run("probe --config fluxlimit.yaml");
    assert_eq!(ran.code, Some(0), "{}", ran.told());
}

#[tokio::test]
async fn a_server_without_rules_is_alive_and_fails_the_probe() {
    let directory = tempfile::tempdir().unwrap();
    let server = Fluxlimit::with_rules_at(&directory.path().join("none.yaml")).start().await;
    let address = server.http.to_string();
    let ran = Shell::with(&[]).run(&format!("probe --http {address}"));
    assert_eq!(ran.code, Some(1), "{}", ran.told());
    assert!(ran.stdout.starts_with("no rules loaded yet\n"), "{}", ran.told());
    let ran = Shell::with(&[]).run(&format!("probe --live --http {address}"));
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "OK\n"), "{}", ran.told());
}

#[tokio::test]
async fn a_server_that_drains_fails_the_probe() {
    let rules = RuleDirectory::with(RULES);
    let setup = Fluxlimit::with_rules_at(rules.path()).setting("DRAIN_DELAY_MS", "60000");
    let server = setup.start().await;
    server.ready().await;
    server.process.signal(Signal::TERM);
    let line = format!("probe --http {}", server.http);
    eventually("a probe that fails", async || {
        let ran = Shell::with(&[]).run(&line);
        (ran.code == Some(1) && ran.stdout.starts_with("draining")).then_some(())
    })
    .await;
}

#[test]
fn who_does_not_answer_fails_the_probe_in_time() {
    // Accepts in the kernel, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let ran = Shell::with(&[]).run(&format!("probe --timeout-ms 50 --http {address}"));
    assert_eq!(ran.code, Some(1));
    assert_eq!(ran.stderr, format!("fluxlimit: {address} did not answer within 50 ms\n"));
    let nobody = free_address();
    let ran = Shell::with(&[]).run(&format!("probe --http {nobody}"));
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.starts_with(&format!("fluxlimit: nobody answers at {nobody}: ")), "{}", ran.stderr);
}
