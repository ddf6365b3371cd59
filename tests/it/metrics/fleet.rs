//! Servers on each kind of store with some of everything behind them, so that every metric is there.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use crate::support::{Certificates, Client, Fluxlimit, Postgres, Redis, RuleDirectory, free_address};

const RULES: &str = "domain: edge
on_store_failure: allow
descriptors:
- {key: user, detailed_metric: true, rate_limit: {algorithm: token_bucket, unit: second, requests_per_unit: 5}}
- {key: path, value: /login, rate_limit: {unit: day, requests_per_unit: 3}}
- {key: trial, shadow_mode: true, rate_limit: {unit: day, requests_per_unit: 1}}
- key: list
  detailed_metric: true
  rate_limit: [{name: fast, algorithm: token_bucket, unit: second, requests_per_unit: 2}, {unit: day, requests_per_unit: 9}]
";

/// The servers.
pub(super) struct Fleet {
    /// Its port of gRPC speaks TLS.
    pub(super) memory: Fluxlimit,
    pub(super) redis: Fluxlimit,
    pub(super) postgres: Fluxlimit,
    /// Its store is not there.
    pub(super) lost: Fluxlimit,
    _stores: (Redis, Postgres),
    _rules: RuleDirectory,
    _certificates: Certificates,
}

impl Fleet {
    /// All of them, ready as far as they can be.
    pub(super) async fn start() -> Self {
        let (redis, postgres) = tokio::join!(Redis::start(), Postgres::start());
        let rules = RuleDirectory::with(RULES);
        let on = |store: &str| Fluxlimit::with_rules_at(rules.path()).setting("STORE", store);
        let certificates = Certificates::of(Ipv4Addr::LOCALHOST.into());
        let (cert_file, key_file) = certificates.server();
        let memory = on("memory")
            .setting("GRPC_TLS__CERT_FILE", &cert_file.display().to_string())
            .setting("GRPC_TLS__KEY_FILE", &key_file.display().to_string());
        let nowhere = format!("redis://{}", free_address());
        let fleet = Self {
            memory: memory.start().await,
            redis: on(&redis.url()).start().await,
            postgres: on(&postgres.url()).start().await,
            lost: on(&nowhere).start().await,
            _stores: (redis, postgres),
            _rules: rules,
            _certificates: certificates,
        };
        for server in [&fleet.memory, &fleet.redis, &fleet.postgres] {
            server.ready().await;
        }
        fleet
    }

    /// Every server.
    pub(super) const fn servers(&self) -> [&Fluxlimit; 4] {
        [&self.memory, &self.redis, &self.postgres, &self.lost]
    }

    /// Asks each server some of everything.
    pub(super) async fn ask(&self) {
        for server in self.servers() {
            for question in questions() {
                Client::new(server.http).post("/json", question.to_string()).await.expect("an answer");
            }
        }
    }
}

fn questions() -> [Value; 6] {
    let one = |key: &str, value: &str| json!({ "entries": [{ "key": key, "value": value }] });
    let edge = |descriptor: Value| json!({ "domain": "edge", "descriptors": [descriptor] });
    let mut give_back = one("user", "alice");
    give_back["hitsAddend"] = json!(1);
    give_back["isNegativeHits"] = json!(true);
    [
        edge(one("user", "alice")),
        edge(one("path", "/login")),
        edge(one("list", "x")),
        json!({ "domain": "edge", "descriptors": [one("trial", "x"), one("nothing", "x")] }),
        edge(give_back),
        json!({ "domain": "elsewhere", "descriptors": [one("user", "alice")] }),
    ]
}
