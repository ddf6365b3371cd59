//! `examples/client.rs` against a running server, as its first lines say to run it.

use std::path::Path;
use std::process::Command;

use crate::examples::folder;
use crate::support::Fluxlimit;

/// Exit code and output of the client.
fn run(server: &str, arguments: &str) -> (Option<i32>, String) {
    let built = Path::new(env!("CARGO_BIN_EXE_fluxlimit")).with_file_name("examples").join("client");
    assert!(built.exists(), "there is no {}: run cargo build --examples", built.display());
    let mut client = Command::new(built);
    let ended = client.args(["--server", server]).args(arguments.split(' ')).output().expect("it starts");
    let said = [ended.stdout, ended.stderr].concat();
    (ended.status.code(), String::from_utf8(said).expect("it prints text"))
}

#[tokio::test]
async fn the_client_prints_decision_remaining_and_wait() {
    let server = Fluxlimit::with_rules_at(&folder()).start().await;
    let url = format!("http://{}", server.grpc);
    let first = "shadow: allowed\n  user=alice: 4 left of 5 per hour (enforced), as if unused in 3600 s\n";
    assert_eq!(run(&url, "shadow user=alice"), (Some(0), first.to_owned()));
    // Looking costs nothing.
    for _ in 0..2 {
        let (code, said) = run(&url, "shadow user=alice --hits 0");
        assert!(code == Some(0) && said.contains("4 left of 5 per hour"), "{code:?} {said}");
    }
    let (code, said) = run(&url, "shadow user=alice --hits 5");
    let refused = "shadow: refused\n  user=alice: 4 left of 5 per hour (enforced), try again in 3";
    assert!(code == Some(1) && said.starts_with(refused), "{code:?} {said}");
}

#[tokio::test]
async fn the_client_prints_a_line_for_each_descriptor() {
    let server = Fluxlimit::with_rules_at(&folder()).start().await;
    let url = format!("http://{}", server.grpc);
    let (code, said) = run(&url, "two-quotas tenant=a region=eu country=at,city=wien");
    let lines: Vec<&str> = said.lines().collect();
    let begins = [
        "two-quotas: allowed",
        "  tenant=a: 1 left of 2 per hour (own), ",
        "  region=eu: 2 left of 3 per hour (lent), ",
        "  country=at,city=wien: no limit",
    ];
    assert!(code == Some(0) && lines.len() == begins.len(), "{code:?} {said}");
    assert!(lines.iter().zip(begins).all(|(line, begin)| line.starts_with(begin)), "{said}");
}

#[tokio::test]
async fn the_client_says_why_there_is_no_answer() {
    let server = Fluxlimit::with_rules_at(&folder()).setting("DRAIN_DELAY_MS", "0").start().await;
    let url = format!("http://{}", server.grpc);
    let (code, said) = run(&url, "per-ip remote_address");
    assert!(code == Some(2) && said.contains("`remote_address` is not key=value"), "{code:?} {said}");
    assert!(server.stop().await.success());
    let (code, said) = run(&url, "per-ip remote_address=10.0.0.1");
    assert!(code == Some(2) && said.starts_with(&format!("no answer from {url}: ")), "{code:?} {said}");
}
