//! The built program: its command line, its settings, and that each of them does what it says.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::support::{Client, Fluxlimit, Process, RuleDirectory, Signal, eventually};

fn environment<const N: usize>(variables: [(&str, &str); N]) -> Vec<(String, String)> {
    variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

/// Two a day for every user, and for every tenant.
const TWO_A_DAY: &str = "\
domain: edge
descriptors:
- { key: user, rate_limit: { unit: day, requests_per_unit: 2 } }
- { key: tenant, rate_limit: { unit: day, requests_per_unit: 2 } }
";

/// A server of those rules with one setting.
async fn with_setting(name: &str, value: &str) -> (RuleDirectory, Fluxlimit) {
    let rules = RuleDirectory::with(TWO_A_DAY);
    let server = Fluxlimit::with_rules_at(rules.path()).setting(name, value).start().await;
    assert_eq!(server.page("/ready").await.status, 200);
    // Both, because a directory that is being removed is an empty one for a moment: no rules.
    (rules, server)
}

/// The answer to one descriptor of one entry, as status and JSON.
async fn ask(server: &Fluxlimit, key: &str) -> (u16, Value) {
    let answer = server.ask(key, "alice").await;
    (answer.status.as_u16(), serde_json::from_str(&answer.body).expect("an answer in JSON"))
}

#[tokio::test]
async fn what_the_command_line_cannot_mean_is_a_usage_error() {
    for arguments in [&["serve", "--storee", "memory"][..], &["sevre"], &["serve", "--rules"], &[]] {
        let (status, output) = Fluxlimit::run(arguments, &[]).await;
        assert_eq!(status.code(), Some(2), "{arguments:?}: {output}");
        assert!(output.contains("--help") || output.contains("Usage: fluxlimit"), "{output}");
    }
    let (_, output) = Fluxlimit::run(&["serve", "--storee", "memory"], &[]).await;
    assert!(output.contains("'--store'"), "it should say what was meant: {output}");
}

#[tokio::test]
async fn the_version_is_that_of_the_crate() {
    let (status, output) = Fluxlimit::run(&["--version"], &[]).await;
    assert!(status.success());
    assert_eq!(output, concat!("fluxlimit ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[tokio::test]
async fn every_mistake_of_every_source_is_told_before_the_program_ends() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("fluxlimit.yaml");
    fs::write(&file, "grpc: nowhere\nmemory:\n  max_kyes: 5\n").unwrap();
    let file = file.to_str().unwrap();
    let variables = [("FLUXLIMIT_DRAIN_DELAY_MS", "soon"), ("FLUXLIMIT_STOER", "memory")];
    let (status, output) =
        Fluxlimit::run(&["serve", "--config", file, "--http", "80"], &environment(variables)).await;
    assert_eq!(status.code(), Some(1), "{output}");
    for said in [
        &format!("{file}:1:7: grpc: `nowhere` is no address"),
        &format!("{file}:3:3: memory.max_kyes: unknown key `max_kyes`"),
        "FLUXLIMIT_DRAIN_DELAY_MS: wrong type",
        "FLUXLIMIT_STOER: unknown variable",
        "did you mean `FLUXLIMIT_STORE`?",
        "--http: `80` is no address",
    ] {
        assert!(output.contains(said), "not said: {said}\n{output}");
    }
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let arguments = ["serve", "--rules", "nowhere", "--http", "127.0.0.1:0", "--grpc", &address];
    let (status, output) = Fluxlimit::run(&arguments, &[]).await;
    assert_eq!(status.code(), Some(1), "{output}");
    assert!(output.contains(&format!("cannot listen on {address} for grpc: ")), "{output}");
}

#[tokio::test]
async fn the_variables_that_others_script_against_are_enough_to_start() {
    let (one, two) = (RuleDirectory::with(TWO_A_DAY), RuleDirectory::with("domain: other\n"));
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("fluxlimit.yaml");
    fs::write(&file, "dynamic_metadata: true\n").unwrap();
    let rules = format!("{}:{}", one.path().display(), two.path().join("edge.yaml").display());
    let variables = [
        ("FLUXLIMIT_CONFIG", file.to_str().unwrap()),
        ("FLUXLIMIT_RULES", &rules),
        ("FLUXLIMIT_STORE", "memory"),
        ("FLUXLIMIT_GRPC", "127.0.0.1:0"),
        ("FLUXLIMIT_HTTP", "127.0.0.1:0"),
    ];
    let server = Fluxlimit::start(&["serve"], &environment(variables)).await;
    let (status, answer) = ask(&server, "user").await;
    assert_eq!(status, 200);
    assert!(answer["dynamicMetadata"].is_object(), "{answer}");
    assert!(server.process.output().contains("domains=2"));
}

#[tokio::test]
async fn response_headers_come_in_the_style_that_is_set() {
    let check = async |style: &str, allowed: &[&str], refused: &[&str]| {
        let (_rules, server) = with_setting("RESPONSE_HEADERS", style).await;
        for expected in [allowed, allowed, refused] {
            let (_, answer) = ask(&server, "user").await;
            let headers = answer["responseHeadersToAdd"].as_array().cloned().unwrap_or_default();
            let names: Vec<&str> = headers.iter().filter_map(|header| header["key"].as_str()).collect();
            assert_eq!(names, expected, "{style}: {answer}");
        }
    };
    let reference = ["RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"];
    let ietf = ["RateLimit-Policy", "RateLimit"];
    let refused = [&ietf[..], &["Retry-After"]].concat();
    check("off", &[], &[]).await;
    check("reference", &reference, &reference).await;
    check("ietf", &ietf, &refused).await;
    check("both", &[&reference[..], &ietf].concat(), &[&reference[..], &refused].concat()).await;
}

#[tokio::test]
async fn global_shadow_mode_refuses_nobody_and_says_whom_it_would_have() {
    let (_rules, server) = with_setting("GLOBAL_SHADOW_MODE", "true").await;
    for _ in 0..2 {
        assert_eq!(ask(&server, "user").await.0, 200);
    }
    let (status, answer) = ask(&server, "user").await;
    assert_eq!(status, 200);
    assert_eq!(answer["overallCode"], "OK");
    assert_eq!(answer["statuses"][0]["code"], "OVER_LIMIT");
    assert_eq!(server.metric("fluxlimit_global_shadow_total").await, Some(1));
    assert_eq!(server.metric(r#"fluxlimit_hits_over_limit_total{domain="edge",rule="user"}"#).await, Some(1));
}

#[tokio::test]
async fn global_quota_mode_refuses_only_what_every_descriptor_refuses() {
    for (mode, expected) in [("false", 429), ("true", 200)] {
        let (_rules, server) = with_setting("GLOBAL_QUOTA_MODE", mode).await;
        for _ in 0..2 {
            assert_eq!(ask(&server, "user").await.0, 200);
        }
        let mut client = Client::new(server.http);
        let mut both = async || {
            let entry = |key| json!({ "entries": [{ "key": key, "value": "alice" }] });
            let question = json!({ "domain": "edge", "descriptors": [entry("user"), entry("tenant")] });
            client.post("/json", question.to_string()).await.unwrap().status.as_u16()
        };
        assert_eq!([both().await, both().await], [expected; 2], "{mode}");
        // Now the tenant has had its two as well, if it was let pass.
        assert_eq!(both().await, 429, "{mode}");
    }
}

#[tokio::test]
async fn dynamic_metadata_says_which_rule_decided() {
    let (_rules, server) = with_setting("DYNAMIC_METADATA", "true").await;
    for _ in 0..2 {
        ask(&server, "user").await;
    }
    let (status, answer) = ask(&server, "user").await;
    assert_eq!(status, 429);
    let decided_by = &answer["dynamicMetadata"]["decided_by"];
    assert_eq!((&decided_by["domain"], &decided_by["rule"]), (&json!("edge"), &json!("user")), "{answer}");
    let (_rules, server) = with_setting("DYNAMIC_METADATA", "false").await;
    assert_eq!(ask(&server, "user").await.1.get("dynamicMetadata"), None);
}

#[tokio::test]
async fn the_near_limit_ratio_decides_what_is_near() {
    for (ratio, near) in [("0.5", 1), ("1", 0)] {
        let (_rules, server) = with_setting("NEAR_LIMIT_RATIO", ratio).await;
        for _ in 0..2 {
            assert_eq!(ask(&server, "user").await.0, 200);
        }
        let series = r#"fluxlimit_hits_near_limit_total{domain="edge",rule="user"}"#;
        assert_eq!(server.metric(series).await, Some(near), "{ratio}");
    }
}

#[tokio::test]
async fn a_domain_in_two_files_is_an_error_unless_domains_are_merged() {
    let rules = RuleDirectory::with(TWO_A_DAY);
    let more =
        "domain: edge\ndescriptors:\n- { key: path, rate_limit: { unit: day, requests_per_unit: 1 } }\n";
    fs::write(rules.path().join("more.yaml"), more).unwrap();
    let setup = Fluxlimit::with_rules_at(rules.path());
    let page = setup.clone().start().await.page("/ready").await;
    assert_eq!(page.status, 503);
    assert!(page.body.contains("more.yaml:1:9: domain: the domain `edge` has another file"), "{}", page.body);
    let server = setup.setting("MERGE_DOMAINS", "true").start().await;
    assert_eq!(server.page("/ready").await.body, "OK\n");
    assert_eq!([ask(&server, "path").await.0, ask(&server, "path").await.0], [200, 429]);
    assert_eq!(ask(&server, "user").await.0, 200);
}

#[tokio::test]
async fn the_bound_on_keys_holds_and_newcomers_share_one_counter() {
    const MAX_KEYS: u64 = 10;
    let (_rules, server) = with_setting("MEMORY__MAX_KEYS", &MAX_KEYS.to_string()).await;
    assert_eq!(server.metric("fluxlimit_memory_max_keys").await, Some(MAX_KEYS));
    let mut refused = 0;
    for user in 0..50 {
        let status = server.ask("user", &format!("user-{user}")).await.status;
        refused += u64::from(status == 429);
    }
    // Ten have a counter of their own, two of the others share what one user gets.
    assert_eq!(refused, 50 - MAX_KEYS - 2);
    let series = r#"fluxlimit_hits_overflow_key_total{domain="edge",rule="user"}"#;
    assert_eq!(server.metric(series).await, Some(50 - MAX_KEYS));
    let keys = server.metric("fluxlimit_memory_keys").await.expect("a gauge");
    assert!((MAX_KEYS..=MAX_KEYS + 1).contains(&keys), "{keys} keys");
    // Who was there first is not slowed down by those who came later.
    assert_eq!(server.ask("user", "user-0").await.status, 200);
}

/// Envoy passes on whatever a header holds; a thousand values of a megabyte would fill the memory.
#[tokio::test]
async fn no_label_of_a_metric_is_as_long_as_a_client_likes() {
    let rules = RuleDirectory::with(
        "domain: edge\ndescriptors:\n\
         - { key: user, value_to_metric: true, rate_limit: { unit: day, requests_per_unit: 100 } }\n",
    );
    let server = Fluxlimit::with_rules_at(rules.path()).start().await;
    let long = "ü".repeat(200_000);
    assert_eq!(server.ask("user", &long).await.status, 200);
    assert_eq!(server.ask("user", "short").await.status, 200);
    let limit = json!({ "requestsPerUnit": 1, "unit": "DAY" });
    let entries = [json!({ "key": "a", "value": long })];
    let question = json!({ "domain": "edge", "descriptors": [{ "entries": entries, "limit": limit }] });
    let elsewhere = json!({ "domain": long, "descriptors": [{ "entries": entries }] });
    for question in [question, elsewhere] {
        let asked = Client::new(server.http).post("/json", question.to_string()).await.unwrap();
        assert_eq!(asked.status, 200);
    }
    let page = server.page("/metrics").await.body;
    for name in [r#"rule="user=üü"#, r#"rule="a=üü"#, r#"domain="üü"#, r#"rule="user=short""#] {
        assert!(page.contains(name), "{name} is not counted");
    }
    let longest = page.lines().map(str::len).max();
    assert!(longest < Some(1000), "a line of {longest:?} bytes");
}

#[tokio::test]
async fn the_log_is_json_when_it_should_be_and_as_quiet_as_it_should_be() {
    let (_rules, server) = with_setting("LOG__FORMAT", "json").await;
    let log = server.process.output();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert!(lines.iter().any(|line| line["message"] == "rules in force" && line["domains"] == 1), "{log}");
}

#[tokio::test]
async fn a_server_without_its_rule_file_waits_for_it() {
    let directory = tempfile::tempdir().unwrap();
    let server = Fluxlimit::with_rules_at(&directory.path().join("later/edge.yaml"))
        .setting("RELOAD__POLL_MS", "100")
        .start()
        .await;
    let page = server.page("/ready").await;
    assert_eq!(page.status, 503);
    assert!(page.body.contains("edge.yaml: there is no such file or directory"), "{}", page.body);
    fs::create_dir(directory.path().join("later")).unwrap();
    fs::write(directory.path().join("later/edge.yaml"), TWO_A_DAY).unwrap();
    eventually("readiness", async || (server.page("/ready").await.status == 200).then_some(())).await;
}

/// It takes seconds to read the largest file, and the log says when that begins.
#[tokio::test]
async fn a_server_that_is_still_reading_its_rules_stops_when_told() {
    let text = format!("domain: d\ndescriptors: [{}]\n", "{},".repeat(5_000_000));
    let rules = RuleDirectory::with(&text);
    let program = Path::new(env!("CARGO_BIN_EXE_fluxlimit"));
    let arguments = ["serve", "--rules", rules.path().to_str().unwrap(), "--grpc", "127.0.0.1:0"];
    let arguments = [&arguments[..], &["--http", "127.0.0.1:0"]].concat();
    let environment = environment([("FLUXLIMIT_LOG__FILTER", "debug")]);
    let mut server = Process::start("fluxlimit", program, &arguments, &environment);
    let reads = |log: &str| log.contains("reading the rule files").then_some(());
    server.output_with("the rules to be read", reads).await;
    server.signal(Signal::TERM);
    let (status, output) = server.finished().await;
    assert!(status.success(), "{status}");
    assert!(!output.contains("listening"), "it had read them all: {output}");
}

#[tokio::test]
async fn a_low_soft_limit_of_open_files_does_not_bound_connections() {
    let rules = RuleDirectory::with(TWO_A_DAY);
    let program = env!("CARGO_BIN_EXE_fluxlimit");
    let path = rules.path().display();
    let command = format!(
        "ulimit -Sn 256 && exec {program} serve --rules {path} --grpc 127.0.0.1:0 --http 127.0.0.1:0"
    );
    let variables = environment([
        ("FLUXLIMIT_ADMIN__ADDRESS", "off"),
        ("FLUXLIMIT_LOG__FILTER", "debug"),
        ("NO_COLOR", "1"),
    ]);
    let process = Process::start("fluxlimit", Path::new("/bin/sh"), &["-c", &command], &variables);
    let server = Fluxlimit::started(process).await;
    let mut open = Vec::new();
    for _ in 0..300 {
        open.push(TcpStream::connect(server.grpc).await.unwrap());
    }
    eventually("300 connections", async || {
        let open = server.metric("fluxlimit_connections{listener=\"grpc\"}").await;
        (open == Some(300)).then_some(())
    })
    .await;
    let log = server.process.output();
    assert!(log.contains("more files may be open from=256 to="), "{log}");
}

/// Each instrument of a metric once took 2 MB when it was made.
#[tokio::test]
async fn an_idle_server_takes_less_than_16_mib() {
    let (_rules, server) = with_setting("NEAR_LIMIT_RATIO", "0.5").await;
    let (status, _) = ask(&server, "user").await;
    assert_eq!(status, 200);
    // A scrape makes a series of everything.
    server.metric("fluxlimit_limits").await;
    let own_kib = server.process.own_memory_kib();
    assert!(own_kib < 16 << 10, "{own_kib} KiB");
}
