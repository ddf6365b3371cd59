//! The commands that ask the admin listener, as somebody new runs them.

use insta::assert_snapshot;
use serde_json::Value as Json;

use super::Operator;
use crate::commands::{Ran, Shell};
use crate::support::{Fluxlimit, RuleDirectory};

const RULES: &str = "domain: shop
descriptors:
- key: user
  rate_limit:
  - {name: burst, algorithm: token_bucket, requests_per_unit: 2, unit: day}
  - {name: per-year, algorithm: sliding_window, requests_per_unit: 9, unit: year}
- key: free
  rate_limit: {unlimited: true}
";

/// Times that depend on how fast the test runs are left out.
fn told(ran: &Ran, address: &str) -> String {
    let told = ran.told().replace(address, "ADMIN");
    let marks = ["retry in ", "as if unused in "];
    let lines = told.lines().map(|line| {
        let mark = marks.iter().find(|mark| line.contains(**mark));
        let Some((before, mark, after)) = mark.and_then(|mark| {
            let (before, after) = line.split_once(mark)?;
            Some((before, mark, after))
        }) else {
            return format!("{line}\n");
        };
        let rest = if after.ends_with("reset") { "  reset" } else { "" };
        format!("{before}{mark}TIME{rest}\n")
    });
    lines.collect()
}

#[tokio::test]
async fn a_customer_is_looked_at_and_let_in_again() {
    let rules = RuleDirectory::with(RULES);
    let mut server = Fluxlimit::with_rules_at(rules.path()).admin().start().await;
    let (grpc, admin) = (server.grpc.to_string(), server.admin().await.to_string());
    let shell = Shell::with(&[]);
    let ask = |words: &str| shell.run(&format!("ask --server {grpc} --domain shop {words}")).code;
    let expect = |name: &str, words: &str, code: i32| {
        let ran = shell.run(&format!("ask --admin {admin} --domain shop {words}"));
        assert_eq!(ran.code, Some(code), "{}", ran.told());
        assert_snapshot!(name, told(&ran, &admin));
    };
    assert_eq!((ask("user=anna"), ask("user=anna"), ask("user=anna")), (Some(0), Some(0), Some(4)));
    expect("look_refused", "--look user=anna", 4);
    expect("look_nobody", "--look nobody=x + free=y", 3);
    expect("look_unused", "--look user=bert", 0);
    expect("reset_one", "--reset --only burst user=anna", 0);
    assert_eq!(ask("user=anna"), Some(0));
    expect("reset_all", "--reset user=anna", 0);
    expect("reset_nothing", "--reset nobody=x", 3);
    let ran = shell.run(&format!("ask --look --json --admin {admin} --domain shop user=anna"));
    let found: Json = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(found["descriptors"][0]["limits"][1]["remaining"], 9);
    let ran =
        shell.run(&format!("ask --look --admin {admin} --domain shop --limit 5/minute --hits 6 session=1"));
    assert_eq!(ran.code, Some(4), "{}", ran.told());
    assert!(ran.stdout.contains("5 per minute"), "{}", ran.told());
}

#[tokio::test]
async fn the_log_level_is_shown_changed_and_put_back() {
    let rules = RuleDirectory::with(RULES);
    let mut server = Fluxlimit::with_rules_at(rules.path()).admin().start().await;
    let admin = server.admin().await;
    let shell = Shell::with(&[]);
    let run = |words: &str| {
        let ran = shell.run(&format!("log-level --admin {admin} {words}"));
        (ran.code, ran.stdout)
    };
    assert_eq!(run(""), (Some(0), "info, as the settings say\n".to_owned()));
    assert_eq!(
        run("warn,fluxlimit=debug"),
        (Some(0), "warn,fluxlimit=debug; the settings say info\n".to_owned())
    );
    assert_eq!(Operator { address: admin }.get("/v1/log-level").await["filter"], "warn,fluxlimit=debug");
    assert_eq!(run("--reset"), (Some(0), "info, as the settings say\n".to_owned()));
    let ran = shell.run(&format!("log-level --admin {admin} debgu"));
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("did you mean `debug`?"), "{}", ran.stderr);
}

#[tokio::test]
async fn a_token_comes_from_its_file_and_mistakes_are_told_in_one_line() {
    let rules = RuleDirectory::with(RULES);
    let setup = Fluxlimit::with_rules_at(rules.path()).admin().setting("ADMIN__TOKEN", "secret");
    let mut server = setup.start().await;
    let admin = server.admin().await.to_string();
    let shell = Shell::with(&[("token", "secret\n"), ("wrong", "other")]);
    let look = |server: &str, words: &str| {
        shell.run(&format!("ask --look --admin {server} {words} --domain shop user=x"))
    };
    assert_eq!(look(&admin, "--token-file token").code, Some(0));
    let expect = |name: &str, ran: &Ran, address: &str| {
        assert_eq!(ran.code, Some(1), "{}", ran.told());
        assert_snapshot!(name, told(ran, address));
    };
    expect("admin_no_token", &look(&admin, ""), &admin);
    expect("admin_wrong_token", &look(&admin, "--token-file wrong"), &admin);
    expect("admin_no_token_file", &look(&admin, "--token-file nowhere"), &admin);
    let http = server.http.to_string();
    expect("admin_wrong_port", &look(&http, ""), &http);
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let nobody = socket.local_addr().unwrap().to_string();
    expect("admin_unreachable", &look(&nobody, ""), &nobody);
    for usage in ["--reset", "--give-back", "--only 1", "--server localhost:1"] {
        assert_eq!(look(&admin, usage).code, Some(2), "{usage}");
    }
}
