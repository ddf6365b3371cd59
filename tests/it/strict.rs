//! Several servers whose clocks disagree, one store, real load: what is admitted is exactly the limit.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use envoy_types::pb::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use envoy_types::pb::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::Entry;
use envoy_types::pb::envoy::service::ratelimit::v3::RateLimitRequest;
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_response::Code;
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_service_client::RateLimitServiceClient;
use fluxlimit::time::{Clock, SystemClock};
use tonic::transport::Channel;

use crate::support::{Fluxlimit, RuleDirectory};

/// How far the clocks of the servers are off, in seconds.
const SKEWS_S: [i64; 4] = [-30, 30, -15, 0];
const CALLERS_PER_SERVER: usize = 6;

/// What is asked for: the keys of the descriptors of one request, its hits, how often by each caller, and how
/// many requests pass in all.
struct Load {
    keys: &'static [&'static str],
    hits: u32,
    asks_per_caller: usize,
    admitted: u64,
}

/// Beyond their limits by half or more. The pairs share two limits in opposite orders.
const LOADS: [Load; 6] = [
    Load { keys: &["token"], hits: 1, asks_per_caller: 25, admitted: 300 },
    Load { keys: &["leaky"], hits: 2, asks_per_caller: 13, admitted: 150 },
    Load { keys: &["fixed"], hits: 1, asks_per_caller: 25, admitted: 300 },
    Load { keys: &["sliding"], hits: 3, asks_per_caller: 10, admitted: 100 },
    Load { keys: &["narrow", "wide"], hits: 1, asks_per_caller: 10, admitted: 0 },
    Load { keys: &["wide", "narrow"], hits: 1, asks_per_caller: 10, admitted: 0 },
];

/// What passes of both kinds of pairs together, and then of what is left of the wide limit: a refused pair
/// has cost it nothing.
const PAIRS_ADMITTED: u64 = 200;
const WIDE_LEFT: u64 = 50;

/// Starts servers on the store at `url`, with clocks that disagree, asks all of them at once for more than
/// the limits allow, and holds that exactly the limits are admitted. `settings` are those of the store.
pub(crate) async fn admits_exactly_the_limits(url: &str, settings: &[(&str, &str)]) {
    let rules = RuleDirectory::with(&rules(window_s(SystemClock.now().ms() / 1000)));
    let mut servers = Vec::new();
    for skew_s in SKEWS_S {
        let mut setup = Fluxlimit::with_rules_at(rules.path())
            .setting("STORE", url)
            // A machine that is busy with other tests must not turn answers into timeouts.
            .setting("STORE_TIMEOUT_MS", "10000");
        for (name, value) in settings {
            setup = setup.setting(name, value);
        }
        servers.push(setup.clock_off_by(skew_s, &libfaketime()).start().await);
    }
    for server in &servers {
        server.ready().await;
    }
    let admitted: Arc<[AtomicU64]> = LOADS.iter().map(|_| AtomicU64::new(0)).collect();
    let mut callers = Vec::new();
    for server in &servers {
        let client = client(server).await;
        for caller in 0..CALLERS_PER_SERVER {
            callers.push(tokio::spawn(call(client.clone(), caller, admitted.clone())));
        }
    }
    for caller in callers {
        caller.await.expect("every request is answered");
    }
    let found: Vec<u64> = admitted.iter().map(|count| count.load(Relaxed)).collect();
    let expected: Vec<u64> = LOADS.iter().map(|load| load.admitted).collect();
    assert_eq!(found[..4], expected[..4], "token, leaky, fixed, sliding");
    assert_eq!(found[4] + found[5], PAIRS_ADMITTED, "pairs in both orders: {found:?}");
    let mut left = 0;
    let mut client = client(&servers[0]).await;
    while ask(&mut client, &["wide"], 1).await == Code::Ok {
        left += 1;
    }
    assert_eq!(left, WIDE_LEFT, "refused pairs cost nothing");
}

async fn client(server: &Fluxlimit) -> RateLimitServiceClient<Channel> {
    RateLimitServiceClient::connect(format!("http://{}", server.grpc)).await.expect("it listens")
}

/// Asks for everything in turn, each caller beginning at another place.
async fn call(mut client: RateLimitServiceClient<Channel>, caller: usize, admitted: Arc<[AtomicU64]>) {
    let most = LOADS.iter().map(|load| load.asks_per_caller).max().unwrap_or_default();
    for round in 0..most {
        for place in 0..LOADS.len() {
            let index = (place + caller) % LOADS.len();
            let load = &LOADS[index];
            if round < load.asks_per_caller && ask(&mut client, load.keys, load.hits).await == Code::Ok {
                admitted[index].fetch_add(1, Relaxed);
            }
        }
    }
}

async fn ask(client: &mut RateLimitServiceClient<Channel>, keys: &[&str], hits: u32) -> Code {
    let descriptor = |key: &&str| RateLimitDescriptor {
        entries: vec![Entry { key: (*key).to_owned(), value: "v".to_owned() }],
        ..RateLimitDescriptor::default()
    };
    let request = RateLimitRequest {
        domain: "edge".to_owned(),
        descriptors: keys.iter().map(descriptor).collect(),
        hits_addend: hits,
    };
    let answer = client.should_rate_limit(request).await.expect("the store answers");
    answer.into_inner().overall_code()
}

/// Limits that give nothing back while the test runs: a twelfth of a hit a second, windows of `window_s`.
fn rules(window_s: u64) -> String {
    let window = |name: &str, algorithm: &str, count: u32| {
        format!(
            "- key: {name}\n  rate_limit: {{ algorithm: {algorithm}, unit: second, unit_multiplier: {window_s}, \
             requests_per_unit: {count} }}\n"
        )
    };
    let fixed = window("fixed", "fixed_window", 300);
    let sliding = window("sliding", "sliding_window", 300);
    let wide = window("wide", "sliding_window", 250);
    format!(
        "domain: edge\ndescriptors:\n\
         - key: token\n  rate_limit: {{ algorithm: token_bucket, unit: hour, requests_per_unit: 300 }}\n\
         - key: leaky\n  rate_limit: {{ algorithm: leaky_bucket, unit: hour, requests_per_unit: 300, burst: 300 }}\n\
         - key: narrow\n  rate_limit: {{ algorithm: token_bucket, unit: day, requests_per_unit: 200 }}\n\
         {fixed}{sliding}{wide}"
    )
}

/// A period whose present window has begun long enough ago to be the same for the whole test, and so short
/// ago that a server whose clock is 30 seconds late believes itself in the window before.
fn window_s(now_s: u64) -> u64 {
    (80..400).find(|period_s| (3..20).contains(&(now_s % period_s))).expect("one of 320 periods fits")
}

fn libfaketime() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib").expect("a Linux").flatten().map(|entry| entry.path());
    let mut found = folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1"));
    found.find(|path| path.exists()).expect("libfaketime is installed; .ci/setup does that")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_servers_with_wrong_clocks_on_one_redis_admit_exactly_the_limits_under_load() {
    let redis = crate::support::Redis::start().await;
    admits_exactly_the_limits(&redis.url(), &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_servers_with_wrong_clocks_on_one_postgres_admit_exactly_the_limits_under_load() {
    let postgres = crate::support::Postgres::start().await;
    admits_exactly_the_limits(&postgres.url(), &[("POSTGRES__SWEEP_MS", "1000")]).await;
}
