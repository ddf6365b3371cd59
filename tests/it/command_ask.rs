//! What `fluxlimit ask` prints, against a server of ours.

use insta::assert_snapshot;

use crate::commands::{Ran, Shell};
use crate::support::{Fluxlimit, RuleDirectory};

const RULES: &str = "domain: shop
descriptors:
- key: remote_address
  metadata: {team: web}
  rate_limit: {name: per-address, algorithm: token_bucket, requests_per_unit: 2, unit: day}
- key: free
  rate_limit: {unlimited: true}
";

/// Times that depend on how fast the test runs are left out.
fn told(ran: &Ran, server: &str) -> String {
    let told = ran.told().replace(server, "SERVER");
    let marks = ["retry in ", "RateLimit-Reset  "];
    let lines = told.lines().map(|line| {
        let mark = marks.iter().find(|mark| line.contains(**mark));
        let parts = mark.and_then(|mark| Some((line.split_once(mark)?.0, mark)));
        parts.map_or(line.to_owned(), |(before, mark)| format!("{before}{mark}TIME")) + "\n"
    });
    lines.collect()
}

#[tokio::test]
async fn a_server_is_asked_and_its_decision_is_printed() {
    let rules = RuleDirectory::with(RULES);
    let setup = Fluxlimit::with_rules_at(rules.path());
    let setup = setup.setting("DYNAMIC_METADATA", "true").setting("RESPONSE_HEADERS", "reference");
    let server = setup.start().await;
    let address = server.grpc.to_string();
    let shell = Shell::with(&[]);
    let ask = |words: &str| {
        let ran = shell.run(&format!("ask --server {address} --domain shop {words}"));
        let code = ran.code;
        (code, told(&ran, &address))
    };
    let expect = |name: &str, words: &str, code: i32| {
        let (found, told) = ask(words);
        assert_eq!(found, Some(code), "{told}");
        assert_snapshot!(name, told);
    };
    expect("ask_ok", "remote_address=10.0.0.1", 0);
    expect("ask_json", "--json remote_address=10.0.0.2", 0);
    expect("ask_several", "free=x + nobody=y", 0);
    expect("ask_never_passes", "--hits 3 remote_address=10.0.0.3", 4);
    let (code, told) = ask("--limit 5/day --hits 2 session=1");
    assert!(code == Some(0) && told.contains("5 per day  3"), "{told}");
    assert_eq!(ask("--hits 2 remote_address=10.0.0.4").0, Some(0));
    expect("ask_over_limit", "remote_address=10.0.0.4", 4);
    assert_eq!(ask("--hits 2 --give-back remote_address=10.0.0.4").0, Some(0));
    assert_eq!(ask("remote_address=10.0.0.4").0, Some(0));
}

#[tokio::test]
async fn a_server_that_is_not_there_or_answers_an_error_is_told_in_one_line() {
    let shell = Shell::with(&[]);
    // Bound and not listened on, so nobody else can answer there.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap().to_string();
    let ran = shell.run(&format!("ask --server {address} --domain shop a=1"));
    assert_snapshot!("ask_unreachable", told(&ran, &address));
    assert_snapshot!("ask_bad_address", shell.run("ask --server nonsense --domain shop a=1").told());
    // Accepts and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let ran = shell.run(&format!("ask --server {address} --timeout-ms 50 --domain shop a=1"));
    assert_snapshot!("ask_late", told(&ran, &address));

    let rules = RuleDirectory::with("domain: [");
    let server = Fluxlimit::with_rules_at(rules.path()).start().await;
    let address = server.grpc.to_string();
    let ran = shell.run(&format!("ask --server {address} --domain shop a=1"));
    assert_snapshot!("ask_no_rules", told(&ran, &address));
}
