//! What is in force, and the log.

use serde_json::{Value as Json, json};

use super::{Operator, about};
use crate::support::{Fluxlimit, RuleDirectory, eventually};

const RULES: &str = "domain: edge\ndescriptors:\n- key: user\n  rate_limit: { name: per-user, unit: year, requests_per_unit: 1 }\n";

#[tokio::test]
async fn rules_in_force_say_where_they_come_from_and_a_bad_load_what_is_wrong() {
    let rules = RuleDirectory::with(RULES);
    let setup = Fluxlimit::with_rules_at(rules.path()).admin().setting("RELOAD__POLL_MS", "100");
    let mut server = setup.start().await;
    let operator = Operator { address: server.admin().await };
    let first = operator.get("/v1/rules").await;
    assert_eq!(
        (&first["generation"], &first["domains"], &first["limits"]),
        (&json!(1), &json!(1), &json!(1))
    );
    assert_eq!(first["files"][0]["name"], rules.path().join("edge.yaml").to_str().unwrap());
    assert_eq!(first["files"][0]["bytes"], RULES.len());
    let limits = operator.get("/v1/rules/limits").await;
    let limit = &limits["limits"][0];
    assert_eq!(
        (&limit["rule"], &limit["name"], &limit["unit"]),
        (&json!("user"), &json!("per-user"), &json!("year"))
    );

    rules.write(
        "domain: edge\ndescriptors:\n- key: user\n  rate_limit: { unit: minuet, requests_per_unit: 1 }\n",
    );
    let bad = eventually("a load that fails", async || {
        let last = operator.get("/v1/reload").await;
        (last["ok"] == false).then_some(last)
    })
    .await;
    let problem = &bad["problems"][0];
    assert_eq!((&problem["severity"], &problem["line"]), (&json!("error"), &json!(4)), "{bad}");
    assert_eq!(problem["path"], "descriptors[0].rate_limit.unit");
    assert!(problem["hint"].as_str().unwrap().contains("minute"), "{bad}");
    assert_eq!(operator.get("/v1/rules").await, first, "the last good rules stay");

    rules.write(&RULES.replace("requests_per_unit: 1", "requests_per_unit: 2"));
    let second = eventually("another generation", async || {
        let found = operator.get("/v1/rules").await;
        (found["generation"] == 2).then_some(found)
    })
    .await;
    assert_ne!(second["sha256"], first["sha256"]);
    assert_eq!(operator.get("/v1/reload").await["ok"], true);
}

#[tokio::test]
async fn the_log_level_is_changed_and_put_back_and_the_change_is_logged_whatever_it_is() {
    let rules = RuleDirectory::with(RULES);
    let setup =
        Fluxlimit::with_rules_at(rules.path()).admin().setting("LOG__FILTER", "error,fluxlimit::server=info");
    let mut server = setup.start().await;
    let operator = Operator { address: server.admin().await };
    let unreadable = "a request could not be read";
    let post_nonsense = async |server: &Fluxlimit| {
        let mut client = crate::support::Client::new(server.http);
        assert_eq!(client.post("/json", "nonsense").await.unwrap().status, 400);
    };
    post_nonsense(&server).await;
    let changed = operator.done("/v1/log-level", json!({ "filter": "fluxlimit::limiter=debug" })).await;
    let configured = "error,fluxlimit::server=info";
    assert_eq!(changed, json!({ "filter": "fluxlimit::limiter=debug", "configured": configured }));
    post_nonsense(&server).await;
    let log = server
        .process
        .output_with("the line of debug", |log| log.contains(unreadable).then(|| log.to_owned()))
        .await;
    assert_eq!(log.matches(unreadable).count(), 1, "{log}");
    assert!(log.contains("the log level was changed"), "{log}");
    assert!(log.contains("peer=127.0.0.1:"), "{log}");
    let back = operator.done("/v1/log-level", json!({ "filter": null })).await;
    assert_eq!(back["filter"], configured);
    post_nonsense(&server).await;
    operator.done("/v1/log-level", json!({ "filter": "off" })).await;
    let log = server
        .process
        .output_with("three changes", |log| {
            (log.matches("the log level was changed").count() == 3).then(|| log.to_owned())
        })
        .await;
    assert_eq!(log.matches(unreadable).count(), 1, "{log}");
}

#[tokio::test]
async fn a_reset_is_logged_with_who_and_what_and_no_byte_of_a_client_breaks_the_line() {
    let rules = RuleDirectory::with(RULES);
    let mut server = Fluxlimit::with_rules_at(rules.path()).admin().start().await;
    let operator = Operator { address: server.admin().await };
    operator.done("/v1/reset", about("user", "anna\n2026-01-01 ERROR forged \u{1b}[31m")).await;
    let log = server
        .process
        .output_with("the line", |log| log.contains("keys were reset").then(|| log.to_owned()))
        .await;
    let line = log.lines().find(|line| line.contains("keys were reset")).unwrap();
    assert!(
        line.contains("peer=127.0.0.1:") && line.contains("domain=\"edge\"") && line.contains("anna\\n2026"),
        "{line}"
    );
    assert!(
        !log.contains('\u{1b}') && !log.lines().any(|line| line.starts_with("2026-01-01 ERROR")),
        "{log}"
    );
}

#[tokio::test]
async fn settings_are_shown_with_their_source_and_without_secrets() {
    let rules = RuleDirectory::with(RULES);
    let secret = "hunter2";
    let setup = Fluxlimit::with_rules_at(rules.path()).admin();
    let setup = setup
        .setting("STORE", "redis://user:hunter2@127.0.0.1:1")
        .setting("POSTGRES__PASSWORD", secret)
        .setting("OTLP__HEADERS", "authorization=hunter2")
        .setting("DRAIN_DELAY_MS", "7");
    let mut server = setup.start().await;
    let operator = Operator { address: server.admin().await };
    let found = operator.get("/v1/settings").await;
    assert!(!found.to_string().contains(secret), "{found}");
    let settings = &found["settings"];
    assert_eq!(settings["drain_delay_ms"], json!({ "value": 7, "source": "FLUXLIMIT_DRAIN_DELAY_MS" }));
    assert_eq!(settings["memory.max_keys"], json!({ "value": 1_000_000, "source": "default" }));
    assert_eq!(settings["redis.password_file"], json!({ "value": null, "source": "default" }));
    assert_eq!(settings["postgres.password"]["value"], "(hidden)");
    assert_eq!(
        (&settings["admin.without_token"]["value"], &settings["response_headers"]["value"]),
        (&json!(false), &json!("off"))
    );
    assert_eq!(settings["grpc"]["source"], "--grpc");
    assert!(settings["store"]["value"].as_str().unwrap().contains("127.0.0.1:1"), "{found}");
    let store = operator.get("/v1/store").await;
    assert!(!store.to_string().contains(secret), "{store}");
    assert_eq!(store["has_answered"], false);
}

#[tokio::test]
async fn the_index_names_every_page_and_the_version_is_told() {
    let rules = RuleDirectory::with(RULES);
    let mut server = Fluxlimit::with_rules_at(rules.path()).admin().start().await;
    let operator = Operator { address: server.admin().await };
    let pages = operator.get("/v1").await;
    let Json::Object(pages) = &pages["pages"] else { panic!("{pages}") };
    let pages_got = pages.keys().filter_map(|page| page.strip_prefix("GET "));
    for page in pages_got.collect::<Vec<_>>() {
        operator.get(page).await;
    }
    let explained = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/admin.md")).unwrap();
    for page in pages.keys() {
        assert!(explained.contains(&format!("`{page}`")), "docs/admin.md does not explain `{page}`");
    }
    let version = operator.get("/v1/version").await;
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(operator.get("/v1/store").await["store"], "memory");
}
