//! Spans of stores that are far away.

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;

use super::{RPC, Traced, question, sampled};
use crate::support::{Postgres, Redis, Signal, Told, eventually};

/// Asks for many users at once, and gives the spans named `name`, each below the span of its call.
async fn many_at_once(traced: &Traced, name: &str) -> Vec<Told> {
    traced.server.ready().await;
    let client = traced.client().await;
    let calls = (0..200).map(|user| {
        let mut client = client.clone();
        async move { client.should_rate_limit(question(&user.to_string(), Some(&sampled()))).await }
    });
    for answer in futures_util::future::join_all(calls).await {
        answer.unwrap();
    }
    let asking = traced.collector.wait_for(200, name).await;
    let calls = traced.collector.wait_for(200, RPC).await;
    assert!(asking.iter().all(|asking| calls.iter().any(|call| asking.is_child_of(call))));
    assert!(asking.iter().all(|asking| asking.span.kind == SpanKind::Client as i32));
    let waited =
        |asking: &Told| asking.attribute("fluxlimit.store.waited_us").unwrap().parse::<u64>().unwrap();
    assert!(asking.iter().map(waited).max().unwrap() < 20_000_000);
    asking
}

/// The largest size of a batch that a span tells; those of one tell none.
fn largest_batch(asking: &[Told]) -> u64 {
    let sizes = asking.iter().filter_map(|asking| asking.attribute("db.operation.batch.size"));
    let sizes: Vec<u64> = sizes.map(|size| size.parse().unwrap()).collect();
    assert!(sizes.iter().all(|size| *size > 1), "{sizes:?}");
    sizes.into_iter().max().unwrap_or(1)
}

#[tokio::test]
async fn a_request_to_redis_has_a_span_that_says_how_many_went_together() {
    let redis = Redis::start().await;
    let (url, address) = (format!("{}/3", redis.url()), redis.address());
    let traced = Traced::with(&[("STORE", &url), ("STORE_TIMEOUT_MS", "10000")]).await;
    let asking = many_at_once(&traced, &format!("EVALSHA {address}")).await;
    let told = ["db.system.name", "db.namespace", "db.operation.name", "server.address", "server.port"];
    let told = told.map(|name| asking[0].attribute(name).unwrap());
    assert_eq!(told, ["redis", "3", "EVALSHA", &address.ip().to_string(), &address.port().to_string()]);
    assert!((2..=64).contains(&largest_batch(&asking)), "{}", largest_batch(&asking));
}

#[tokio::test]
async fn a_request_to_postgres_has_a_span_that_names_its_table() {
    let postgres = Postgres::start().await;
    let url = postgres.url();
    let traced = Traced::with(&[("STORE", &url), ("STORE_TIMEOUT_MS", "10000")]).await;
    let asking = many_at_once(&traced, "TRANSACTION fluxlimit").await;
    let told = ["db.system.name", "db.namespace", "db.collection.name", "server.address", "server.port"];
    let told = told.map(|name| asking[0].attribute(name).unwrap());
    let (host, port) = (postgres.address().ip().to_string(), postgres.address().port().to_string());
    assert_eq!(told, ["postgresql", "postgres|public", "fluxlimit", &host, &port]);
    assert!(largest_batch(&asking) > 1);
}

#[tokio::test]
async fn what_is_refused_from_memory_asks_no_store() {
    let redis = Redis::start().await;
    let settings =
        [("STORE", &*redis.url()), ("STORE_TIMEOUT_MS", "10000"), ("DEFAULTS__ALGORITHM", "token_bucket")];
    let traced = Traced::with(&settings).await;
    traced.server.ready().await;
    let remembered = eventually("a refusal from memory", async || {
        traced.ask("alice", Some(&sampled())).await;
        let mut calls = traced.collector.spans();
        calls.retain(|call| call.attribute("fluxlimit.answered_by").as_deref() == Some("local_cache"));
        calls.pop()
    })
    .await;
    assert_eq!(remembered.attribute("fluxlimit.code").as_deref(), Some("over_limit"));
    let spans = traced.collector.spans();
    assert!(!spans.iter().any(|told| told.is_child_of(&remembered) && told.span.name != "match"));
}

#[tokio::test]
async fn a_store_that_hangs_is_an_error_in_its_span() {
    let redis = Redis::start().await;
    let traced = Traced::with(&[("STORE", &*redis.url()), ("STORE_TIMEOUT_MS", "200")]).await;
    traced.server.ready().await;
    redis.signal(Signal::STOP);
    let asked = traced.client().await.should_rate_limit(question("alice", Some(&sampled()))).await;
    assert_eq!(asked.unwrap_err().code(), tonic::Code::Unavailable);
    let asking = traced.collector.span(&format!("EVALSHA {}", redis.address())).await;
    assert_eq!(asking.attribute("error.type").as_deref(), Some("timed_out"));
    let call = traced.collector.span(RPC).await;
    let told = ["fluxlimit.answered_by", "rpc.response.status_code", "error.type"];
    let told = told.map(|name| call.attribute(name).unwrap());
    assert_eq!(told, ["on_store_failure", "UNAVAILABLE", "UNAVAILABLE"]);
    redis.signal(Signal::CONT);
}

#[tokio::test]
async fn a_caller_that_goes_away_is_told() {
    let redis = Redis::start().await;
    let traced = Traced::with(&[("STORE", &*redis.url()), ("STORE_TIMEOUT_MS", "10000")]).await;
    traced.server.ready().await;
    redis.signal(Signal::STOP);
    let mut client = traced.client().await;
    // Whether the call has reached the server cannot be seen from here, so it is made again.
    let call = eventually("a call that was given up", async || {
        let asked = client.should_rate_limit(question("alice", Some(&sampled())));
        let given_up = tokio::time::timeout(std::time::Duration::from_millis(100), asked).await;
        assert!(given_up.is_err());
        let mut calls = traced.collector.spans();
        calls.retain(|call| call.span.name == RPC);
        calls.pop()
    })
    .await;
    assert_eq!(call.attribute("fluxlimit.ended").as_deref(), Some("cancelled"));
    redis.signal(Signal::CONT);
}
