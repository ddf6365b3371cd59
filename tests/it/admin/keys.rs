//! How keys stand, and resetting them, with every store.

use serde_json::{Value as Json, json};

use super::{Operator, about};
use crate::support::{Cluster, Fluxlimit, Postgres, Redis, RuleDirectory};

const RULES: &str = "domain: edge
descriptors:
- key: user
  rate_limit:
  - {name: burst, algorithm: token_bucket, requests_per_unit: 2, unit: day}
  - {name: total, algorithm: sliding_window, requests_per_unit: 9, unit: day}
- key: tokens
  rate_limit: {requests_per_unit: 3, unit: year}
- key: path
  value: /api/*
  share_threshold: true
  rate_limit: {algorithm: leaky_bucket, requests_per_unit: 1, unit: day}
- key: single
  rate_limit: {algorithm: token_bucket, requests_per_unit: 2, unit: day}
- key: free
  rate_limit: {unlimited: true}
";

/// A server with that store and the rules above.
async fn served(settings: &[(&str, &str)]) -> (Fluxlimit, Operator, RuleDirectory) {
    let rules = RuleDirectory::with(RULES);
    let setup = Fluxlimit::with_rules_at(rules.path()).admin().setting("STORE_TIMEOUT_MS", "10000");
    let setup = settings.iter().fold(setup, |setup, (name, value)| setup.setting(name, value));
    let mut server = setup.start().await;
    server.ready().await;
    let operator = Operator { address: server.admin().await };
    (server, operator, rules)
}

fn limits(answer: &Json) -> &[Json] {
    answer["descriptors"][0]["limits"].as_array().unwrap()
}

fn column(answer: &Json, name: &str) -> Vec<Json> {
    limits(answer).iter().map(|limit| limit[name].clone()).collect()
}

async fn status(server: &Fluxlimit, key: &str, value: &str) -> u16 {
    server.ask(key, value).await.status.as_u16()
}

/// What every store has to do.
async fn check(settings: &[(&str, &str)]) {
    let (server, operator, _rules) = served(settings).await;
    let anna = about("user", "anna");

    let fresh = operator.done("/v1/look", anna.clone()).await;
    assert_eq!(fresh["passes"], true);
    assert_eq!(column(&fresh, "used"), [0, 0]);
    assert_eq!(column(&fresh, "reset_after_ms"), [0, 0]);
    assert_eq!(column(&fresh, "algorithm"), ["token_bucket", "sliding_window"]);

    let codes = [status(&server, "user", "anna").await, status(&server, "user", "anna").await];
    assert_eq!((codes, status(&server, "user", "anna").await), ([200, 200], 429));
    // Looking ten times changes nothing but the time.
    let mut seen = Vec::new();
    for _ in 0..10 {
        let found = operator.done("/v1/look", anna.clone()).await;
        seen.push((found["passes"].clone(), column(&found, "used"), column(&found, "remaining")));
    }
    seen.dedup();
    assert_eq!(seen, [(json!(false), vec![json!(2), json!(2)], vec![json!(0), json!(7)])]);
    let found = operator.done("/v1/look", anna.clone()).await;
    assert_eq!(found["descriptors"][0]["rule"], "user");
    assert_eq!(column(&found, "allowed"), [false, true]);
    assert!(limits(&found)[0]["retry_after_ms"].as_u64().unwrap() > 10_000_000, "{found}");

    // Of one limit alone, by its name and by its number.
    let reset = operator.done("/v1/reset?limit=burst", anna.clone()).await;
    assert_eq!(column(&reset, "reset"), [true, false]);
    assert_eq!(column(&reset, "used"), [2, 2], "as it was before");
    assert_eq!(column(&operator.done("/v1/look", anna.clone()).await, "used"), [0, 2]);
    let codes = [status(&server, "user", "anna").await, status(&server, "user", "anna").await];
    assert_eq!(
        (codes, status(&server, "user", "anna").await),
        ([200, 200], 429),
        "one more limit and no more"
    );
    operator.done("/v1/reset?limit=2", anna.clone()).await;
    assert_eq!(column(&operator.done("/v1/look", anna.clone()).await, "used"), [2, 0]);

    // Of all limits; nobody else is touched.
    status(&server, "user", "bert").await;
    let reset = operator.done("/v1/reset", anna.clone()).await;
    assert_eq!(column(&reset, "reset"), [true, true]);
    assert_eq!(column(&operator.done("/v1/look", anna).await, "used"), [0, 0]);
    assert_eq!(column(&operator.done("/v1/look", about("user", "bert")).await, "used"), [1, 1]);

    counted_refusals(&server, &operator).await;
    shared_values(&server, &operator).await;
    several_descriptors(&server, &operator).await;
}

/// A limit that counts what it refuses is looked at without counting, also when it refuses; a cost is asked about.
async fn counted_refusals(server: &Fluxlimit, operator: &Operator) {
    for expected in [200, 200, 200, 429] {
        assert_eq!(status(server, "tokens", "x").await, expected);
    }
    let look = || operator.done("/v1/look", about("tokens", "x"));
    let first = look().await;
    assert_eq!((&first["passes"], column(&first, "remaining")), (&json!(false), vec![json!(0)]));
    assert_eq!(column(&first, "count_refused"), [true]);
    operator.done("/v1/reset", about("tokens", "x")).await;
    let mut cost = about("tokens", "x");
    cost["hitsAddend"] = 4.into();
    let costly = operator.done("/v1/look", cost.clone()).await;
    assert_eq!((&costly["passes"], column(&costly, "used")), (&json!(false), vec![json!(0)]));
    assert_eq!(column(&costly, "retry_after_ms"), [Json::Null], "it never fits");
    assert_eq!(column(&operator.done("/v1/look", cost).await, "used"), [0], "a refused look is not counted");
}

/// The key of a shared value is that of its pattern, and the answer says so.
async fn shared_values(server: &Fluxlimit, operator: &Operator) {
    assert_eq!((status(server, "path", "/api/1").await, status(server, "path", "/api/2").await), (200, 429));
    let reset = operator.done("/v1/reset", about("path", "/api/2")).await;
    assert_eq!(limits(&reset)[0]["counted_as"], json!([{ "key": "path", "value": "/api/*" }]));
    assert_eq!((status(server, "path", "/api/3").await, status(server, "path", "/api/2").await), (200, 429));
}

/// A request over several slots of a cluster, and descriptors without a limit.
async fn several_descriptors(server: &Fluxlimit, operator: &Operator) {
    let descriptor = |key: &str, value: &str| json!({ "entries": [{ "key": key, "value": value }] });
    let names: Vec<String> = (0..8).map(|name| format!("several-{name}")).collect();
    let mut descriptors: Vec<Json> = names.iter().map(|name| descriptor("user", name)).collect();
    descriptors.extend([descriptor("free", "x"), descriptor("nobody", "x")]);
    let request = json!({ "domain": "edge", "descriptors": descriptors });
    for name in &names {
        assert_eq!(status(server, "user", name).await, 200);
    }
    let used = async |operator: &Operator| {
        let found = operator.done("/v1/look", request.clone()).await;
        let of = |at: usize| found["descriptors"][at]["limits"][0]["used"].as_u64().unwrap();
        let rest = (found["descriptors"][8]["match"].clone(), found["descriptors"][9]["reason"].clone());
        assert_eq!(rest, (json!("unlimited"), json!("no_such_key")));
        (0..8).map(of).sum::<u64>()
    };
    assert_eq!(used(operator).await, 8);
    operator.done("/v1/reset", request.clone()).await;
    assert_eq!(used(operator).await, 0);
}

#[tokio::test]
async fn keys_in_memory_can_be_looked_at_and_reset() {
    check(&[]).await;
}

#[tokio::test]
async fn keys_in_redis_can_be_looked_at_and_reset() {
    let redis = Redis::start().await;
    check(&[("STORE", &redis.url())]).await;
}

#[tokio::test]
async fn keys_in_a_redis_cluster_can_be_looked_at_and_reset() {
    let cluster = Cluster::start().await;
    check(&[("STORE", &format!("redis+cluster://{}", cluster.addresses()))]).await;
}

#[tokio::test]
async fn keys_in_postgres_can_be_looked_at_and_reset() {
    let postgres = Postgres::start().await;
    check(&[("STORE", &postgres.url())]).await;
}

#[tokio::test]
async fn a_key_without_room_of_its_own_is_reset_where_it_is_counted() {
    let (server, operator, _rules) = served(&[("MEMORY__MAX_KEYS", "1")]).await;
    assert_eq!(status(&server, "tokens", "first").await, 200);
    for (name, expected) in [("b", 200), ("c", 200), ("d", 200), ("e", 429)] {
        assert_eq!(status(&server, "tokens", name).await, expected);
    }
    let found = operator.done("/v1/look", about("tokens", "f")).await;
    assert_eq!((column(&found, "overflow"), column(&found, "used")), (vec![json!(true)], vec![json!(3)]));
    let reset = operator.done("/v1/reset", about("tokens", "e")).await;
    assert_eq!(
        (column(&reset, "overflow"), column(&reset, "counted_as")),
        (vec![json!(true)], vec![Json::Null])
    );
    assert_eq!(status(&server, "tokens", "e").await, 200);
    let first = operator.done("/v1/look", about("tokens", "first")).await;
    assert_eq!((column(&first, "overflow"), column(&first, "used")), (vec![json!(false)], vec![json!(1)]));
}

#[tokio::test]
async fn a_key_that_cannot_be_read_is_found_by_its_name_and_reset() {
    let redis = Redis::start().await;
    let (server, operator, _rules) = served(&[("STORE", &redis.url())]).await;
    assert_eq!(status(&server, "tokens", "x").await, 200);
    let found = operator.done("/v1/look", about("tokens", "x")).await;
    let stored: Vec<Vec<u8>> = redis.ask(&["KEYS", "*"]).await.unwrap();
    let stored: Vec<String> = stored.iter().map(|key| key.escape_ascii().to_string()).collect();
    assert_eq!(limits(&found)[0]["stored_as"], stored[0]);
    // What another version may have left there.
    let script =
        "for _, key in ipairs(redis.call('KEYS', '*')) do redis.call('SET', key, '\\9') end return 1";
    let _: i64 = redis.ask(&["EVAL", script, "0"]).await.unwrap();
    let (code, answer) = operator.post("/v1/look", about("tokens", "x")).await;
    assert!(code == 503 && answer["error"].as_str().unwrap().contains("another version"), "{answer}");
    assert_eq!(status(&server, "tokens", "x").await, 503);
    let reset = operator.done("/v1/reset", about("tokens", "x")).await;
    assert_eq!(
        (column(&reset, "readable"), column(&reset, "reset")),
        (vec![json!(false)], vec![json!(true)])
    );
    assert_eq!(status(&server, "tokens", "x").await, 200);
}

#[tokio::test]
async fn a_reset_that_finds_no_limit_or_no_store_says_so() {
    let mut redis = Redis::start().await;
    let (server, operator, _rules) =
        served(&[("STORE", &redis.url()), ("STORE_TIMEOUT_MS", "300"), ("BREAKER__PROBE_MS", "10")]).await;
    let error = async |page: &str, body: Json| {
        let (code, answer) = operator.post(page, body).await;
        (code, answer["error"].as_str().unwrap().to_owned())
    };
    let none = "no limit applies to this request, so there is no key to reset".to_owned();
    assert_eq!(error("/v1/reset", about("free", "x")).await, (404, none));
    let none = "no limit of this request has that number or name".to_owned();
    assert_eq!(error("/v1/reset?limit=0", about("user", "x")).await, (404, none.clone()));
    assert_eq!(error("/v1/reset?limit=none", about("user", "x")).await, (404, none));
    redis.kill();
    let (code, text) = error("/v1/reset", about("user", "x")).await;
    assert!(code == 503 && text.contains("store"), "{text}");
    let store = crate::support::eventually("an open breaker", async || {
        let store = operator.get("/v1/store").await;
        (store["breaker"] == "open").then_some(store)
    })
    .await;
    assert!(store["last_error"]["message"].is_string(), "{store}");
    redis.start_again().await;
    crate::support::eventually("a closed breaker", async || {
        (operator.get("/v1/store").await["breaker"] == "closed").then_some(())
    })
    .await;
    operator.done("/v1/reset", about("user", "x")).await;
    drop(server);
}

#[tokio::test]
async fn what_was_remembered_of_a_key_is_forgotten_with_it() {
    let redis = Redis::start().await;
    let (server, operator, _rules) = served(&[("STORE", &redis.url())]).await;
    for _ in 0..20 {
        for expected in [200, 200, 429, 429] {
            assert_eq!(status(&server, "single", "anna").await, expected);
        }
        operator.done("/v1/reset", about("single", "anna")).await;
    }
}
