//! The built server when somebody gives it a rule file that is meant to break it.

use std::fmt::Write;
use std::fs;

use crate::support::{Fluxlimit, RuleDirectory, eventually};

const GOOD: &str =
    "domain: edge\ndescriptors:\n- { key: user, rate_limit: { unit: day, requests_per_unit: 1000000 } }\n";

/// The most that reading one of these files may add to the memory that the process ever held, in KiB.
/// The largest file that is read at all has 16 MiB.
const MAX_GROWTH_KIB: u64 = 200 * 1024;

/// Adds a file with `text` to the good one and holds that `reason`, a place in the file and what is wrong
/// there, is told, that little memory was needed, and that the server goes on by the good rules.
async fn check(text: &[u8], reason: &str) {
    let rules = RuleDirectory::with(GOOD);
    let server = Fluxlimit::with_rules_at(rules.path()).setting("RELOAD__DEBOUNCE_MS", "10").start().await;
    let before_kib = server.process.peak_memory_kib();
    fs::write(rules.path().join("hostile.yaml"), text).unwrap();
    let expected = format!("hostile.yaml:{reason}");
    eventually(&expected, async || {
        assert_eq!(server.ask("user", "alice").await.status, 200);
        let page = server.page("/ready").await;
        assert_eq!(page.status, 200);
        page.body.contains(&expected).then_some(())
    })
    .await;
    let growth_kib = server.process.peak_memory_kib() - before_kib;
    assert!(growth_kib < MAX_GROWTH_KIB, "{growth_kib} KiB for {} bytes", text.len());
    fs::write(rules.path().join("hostile.yaml"), "domain: mended\n").unwrap();
    eventually("the mended file to be in force", async || {
        (server.page("/ready").await.body == "OK\n").then_some(())
    })
    .await;
}

#[tokio::test]
async fn aliases_that_multiply_are_stopped() {
    let mut text = String::from("domain: bomb\ndescriptors:\n- &a0 { key: a }\n");
    for level in 1..12 {
        let ninefold = vec![format!("*a{}", level - 1); 9].join(", ");
        writeln!(text, "- &a{level} {{ key: k{level}, descriptors: [{ninefold}] }}").unwrap();
    }
    check(text.as_bytes(), "9:42: the aliases of this file copy too much").await;
}

#[tokio::test]
async fn merges_of_merges_do_not_multiply() {
    let mut text = String::from("domain: bomb\ndescriptors:\n- &a0 { key: a }\n");
    for level in 1..40 {
        let twice = vec![format!("*a{}", level - 1); 2].join(", ");
        writeln!(text, "- &a{level} {{ <<: [{twice}], key: k{level}, unit{level}: x }}").unwrap();
    }
    check(text.as_bytes(), "4:34: descriptors[1].unit1: unknown key `unit1`").await;
}

#[tokio::test]
async fn a_million_open_brackets_are_stopped() {
    let text = [&b"domain: deep\ndescriptors: "[..], &vec![b'['; 1_000_000]].concat();
    check(&text, "2:142: this is nested too deep; expected at most 128 levels").await;
}

#[tokio::test]
async fn bytes_that_are_not_utf8_are_shown_their_place() {
    check(b"domain: d\ndescriptors:\n- key: \"\xff\xfe\"\n", "3:9: this is not UTF-8").await;
}

#[tokio::test]
async fn a_file_of_more_than_sixteen_mebibytes_is_not_read() {
    check(&vec![b'#'; (16 << 20) + 1], " cannot be read: larger than 16777216 bytes").await;
}

#[tokio::test]
async fn a_value_that_fills_the_largest_file_is_carried_to_its_error() {
    let text = [&b"domain: d\ndescriptors:\n- kye: "[..], &vec![b'x'; (16 << 20) - 100]].concat();
    check(&text, "3:3: descriptors[0].kye: unknown key `kye`").await;
}
