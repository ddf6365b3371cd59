//! Who may ask, and what is refused.

use std::fs;

use hyper::Method;
use serde_json::{Value as Json, json};

use super::{Operator, about};
use crate::support::{Answer, Client, Fluxlimit, RuleDirectory};

const RULES: &str =
    "domain: edge\ndescriptors:\n- key: user\n  rate_limit: { unit: year, requests_per_unit: 1 }\n";

const JSON: (&str, &[u8]) = ("content-type", b"application/json");

fn error(answer: &Answer) -> String {
    let body: Json = serde_json::from_str(&answer.body).unwrap();
    body["error"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn without_the_token_nothing_is_shown_or_changed() {
    let rules = RuleDirectory::with(RULES);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    fs::write(&file, "first\n").unwrap();
    let setup = Fluxlimit::with_rules_at(rules.path()).admin();
    let mut server = setup.setting("ADMIN__TOKEN_FILE", file.to_str().unwrap()).start().await;
    let operator = Operator { address: server.admin().await };
    let ask = async |token: Option<&[u8]>, method: Method, page: &str| {
        let mut headers = vec![JSON];
        headers.extend(token.map(|token| ("authorization", token)));
        operator.send(method, page, &headers, about("user", "anna").to_string()).await
    };
    assert_eq!(
        (server.ask("user", "anna").await.status, server.ask("user", "anna").await.status.as_u16()),
        (200.try_into().unwrap(), 429)
    );
    for (method, page) in [
        (Method::GET, "/v1"),
        (Method::GET, "/v1/settings"),
        (Method::POST, "/v1/look"),
        (Method::POST, "/v1/reset"),
        (Method::POST, "/v1/log-level"),
        (Method::GET, "/nothing"),
    ] {
        for token in
            [None, Some(&b"Bearer second"[..]), Some(b"first"), Some(b"Basic first"), Some(b"Bearer ")]
        {
            let answer = ask(token, method.clone(), page).await;
            assert_eq!(answer.status, 401, "{page} {token:?}");
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
            assert!(!answer.body.contains("first"), "{answer:?}");
        }
    }
    assert_eq!(server.ask("user", "anna").await.status, 429, "nothing was reset");
    assert_eq!(ask(Some(b"Bearer first"), Method::POST, "/v1/reset").await.status, 200);
    assert_eq!(server.ask("user", "anna").await.status, 200);

    // A token that was changed counts from the next request on.
    fs::write(&file, "second").unwrap();
    assert_eq!(ask(Some(b"Bearer first"), Method::POST, "/v1/reset").await.status, 401);
    assert_eq!(ask(Some(b"Bearer second"), Method::POST, "/v1/reset").await.status, 200);
    // One that cannot be read lets nobody in.
    for broken in [Some(""), None] {
        broken.map_or_else(|| fs::remove_file(&file).unwrap(), |text| fs::write(&file, text).unwrap());
        assert_eq!(ask(Some(b"Bearer "), Method::POST, "/v1/reset").await.status, 503);
        assert_eq!(ask(None, Method::GET, "/v1").await.status, 503);
    }
}

#[tokio::test]
async fn with_a_token_any_host_may_be_named() {
    let rules = RuleDirectory::with(RULES);
    let setup = Fluxlimit::with_rules_at(rules.path()).admin();
    let mut server = setup.setting("ADMIN__TOKEN", "12345").start().await;
    let operator = Operator { address: server.admin().await };
    let headers: [(&str, &[u8]); 3] =
        [("authorization", b"Bearer 12345"), ("host", b"limits.test"), ("origin", b"https://limits.test")];
    let answer = operator.send(Method::GET, "/v1/settings", &headers, String::new()).await;
    assert_eq!(answer.status, 200);
    let settings: Json = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(
        settings["settings"]["admin.token"],
        json!({ "value": "(hidden)", "source": "FLUXLIMIT_ADMIN__TOKEN" })
    );
}

#[tokio::test]
async fn a_page_in_a_browser_may_not_ask() {
    let rules = RuleDirectory::with(RULES);
    let mut server = Fluxlimit::with_rules_at(rules.path()).admin().start().await;
    let operator = Operator { address: server.admin().await };
    let body = || about("user", "anna").to_string();
    server.ask("user", "anna").await;
    let port = operator.address.port();
    for host in [format!("localhost:{port}"), "127.0.0.1".to_owned(), "[::1]:1".to_owned()] {
        let headers = [("host", host.as_bytes()), JSON];
        assert_eq!(operator.send(Method::POST, "/v1/look", &headers, body()).await.status, 200, "{host}");
    }
    for host in ["evil.test", "localhost.evil.test", "evil.test:6070", ""] {
        let headers = [("host", host.as_bytes()), JSON];
        let answer = operator.send(Method::POST, "/v1/reset", &headers, body()).await;
        assert_eq!(answer.status, 403, "{host}");
    }
    let from_page: [(&str, &[u8]); 2] = [("origin", b"http://localhost"), JSON];
    assert_eq!(operator.send(Method::POST, "/v1/reset", &from_page, body()).await.status, 403);
    // What a form can post without asking the listener before.
    for content in
        ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/jsonp"]
    {
        let headers = [("content-type", content.as_bytes())];
        assert_eq!(operator.send(Method::POST, "/v1/reset", &headers, body()).await.status, 415, "{content}");
    }
    assert_eq!(operator.send(Method::POST, "/v1/reset", &[], body()).await.status, 415);
    assert_eq!(operator.send(Method::GET, "/v1/reset", &[JSON], body()).await.status, 405);
    assert_eq!(server.ask("user", "anna").await.status, 429, "nothing was reset");
    let exact: [(&str, &[u8]); 1] = [("content-type", b"Application/JSON; charset=utf-8")];
    assert_eq!(operator.send(Method::POST, "/v1/reset", &exact, body()).await.status, 200);
}

#[tokio::test]
async fn hostile_bodies_are_refused_and_the_listener_goes_on() {
    let rules = RuleDirectory::with(RULES);
    let mut server = Fluxlimit::with_rules_at(rules.path()).admin().start().await;
    let operator = Operator { address: server.admin().await };
    let deep = "[".repeat(100_000);
    let many =
        json!({ "domain": "edge", "descriptors": vec![json!({"entries": [{"key": "a"}]}); 100] }).to_string();
    let mut giving = about("user", "anna");
    giving["descriptors"][0]["isNegativeHits"] = true.into();
    let giving = giving.to_string();
    let bodies =
        ["", "null", "[]", "{", "{\"domain\": 1}", "{\"domain\": \"edge\"}", "\u{0}", &deep, &many, &giving];
    for page in ["/v1/look", "/v1/reset", "/v1/reset?limit=1"] {
        for body in bodies {
            let answer = operator.send(Method::POST, page, &[JSON], body.to_owned()).await;
            assert_eq!(answer.status, 400, "{page} {body:.50}");
            assert!(error(&answer).chars().count() <= 1000);
        }
        let large = " ".repeat((1 << 20) + 1);
        assert_eq!(operator.send(Method::POST, page, &[JSON], large).await.status, 413);
    }
    let queries = ["/v1/reset?limits=1", "/v1/reset?limit=1&limit=2", "/v1/reset?limit=%ff%"];
    for page in queries {
        let answer = operator.send(Method::POST, page, &[JSON], about("user", "x").to_string()).await;
        assert!([400, 404].contains(&answer.status.as_u16()), "{page}: {answer:?}");
    }
    for body in [
        "{}",
        "null",
        "{\"filter\": 1}",
        "{\"filter\": \"debgu\"}",
        "{\"filter\": \"info\", \"x\": 1}",
        &deep,
    ] {
        let answer = operator.send(Method::POST, "/v1/log-level", &[JSON], body.to_owned()).await;
        assert_eq!(answer.status, 400, "{body:.50}");
    }
    let long = json!({ "filter": "info,".repeat(10_000) }).to_string();
    assert_eq!(operator.send(Method::POST, "/v1/log-level", &[JSON], long).await.status, 400);
    assert_eq!(operator.get("/v1/log-level").await["filter"], "info");
}

#[tokio::test]
async fn an_address_that_others_reach_needs_a_token_or_a_word() {
    let rules = RuleDirectory::with(RULES);
    let path = rules.path().to_str().unwrap();
    let arguments = ["serve", "--rules", path, "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"];
    let told = async |settings: &[(&str, &str)]| {
        let environment: Vec<(String, String)> = settings
            .iter()
            .map(|(name, value)| (format!("FLUXLIMIT_ADMIN__{name}"), (*value).to_owned()))
            .collect();
        let (status, output) = Fluxlimit::run(&arguments, &environment).await;
        assert_eq!(status.code(), Some(1), "{output}");
        output
    };
    let output = told(&[("ADDRESS", "0.0.0.0:0")]).await;
    assert!(
        output.contains("admin.address: others than this machine reach `0.0.0.0:0`, and there is no token"),
        "{output}"
    );
    assert!(output.contains("hint: `admin.without_token: true`"), "{output}");
    let output = told(&[("ADDRESS", "0.0.0.0:0"), ("TOKEN", "a"), ("TOKEN_FILE", "/b")]).await;
    assert!(output.contains("admin.token_file: there is an `admin.token` as well"), "{output}");
    let output = told(&[("TOKEN_FILE", "/nowhere")]).await;
    assert!(
        output.contains("no admin without its token: the token file `/nowhere` cannot be read"),
        "{output}"
    );
    let output = told(&[("ADDRESS", "localhost:1")]).await;
    assert!(output.contains("expected ADDRESS:PORT such as"), "{output}");
    for settings in [[("ADMIN__TOKEN", "a"); 1], [("ADMIN__WITHOUT_TOKEN", "true")]] {
        let setup = Fluxlimit::with_rules_at(rules.path()).setting("ADMIN__ADDRESS", "0.0.0.0:0");
        let mut server = setup.setting(settings[0].0, settings[0].1).start().await;
        let port = server.admin().await.port();
        let answer =
            Client::new(([127, 0, 0, 1], port).into()).get("/v1", &[("host", b"127.0.0.1")]).await.unwrap();
        assert_eq!(answer.status.as_u16(), if settings[0].0 == "ADMIN__TOKEN" { 401 } else { 200 });
    }
}

#[tokio::test]
async fn pages_of_the_http_listener_can_be_switched_off() {
    let rules = RuleDirectory::with(RULES);
    let server = Fluxlimit::with_rules_at(rules.path()).start().await;
    assert_eq!(
        (server.page("/rlconfig").await.status, server.ask("user", "a").await.status),
        (200.try_into().unwrap(), 200.try_into().unwrap())
    );
    let setup = Fluxlimit::with_rules_at(rules.path()).setting("ENDPOINTS__JSON", "false");
    let server = setup.setting("ENDPOINTS__RLCONFIG", "false").start().await;
    assert_eq!(server.page("/rlconfig").await.status, 404);
    assert_eq!(server.ask("user", "a").await.status, 404);
    assert_eq!(server.page("/ready").await.status, 200);
}
