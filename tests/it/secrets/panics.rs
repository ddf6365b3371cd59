//! A panic over something that holds secrets: what it prints, and what the log says of it.

use std::future::Future;
use std::io::{self, Write};
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_service_client::RateLimitServiceClient;
use fluxlimit::config::{Config, Flags, StoreKind};
use fluxlimit::engine::Settlement;
use fluxlimit::grpc;
use fluxlimit::health::Health;
use fluxlimit::limiter::{Limiter, Settings};
use fluxlimit::metrics::Metrics;
use fluxlimit::rules::RuleSet;
use fluxlimit::rules::load::{LoadOptions, Source, load};
use fluxlimit::store::postgres::PostgresStore;
use fluxlimit::store::redis::cluster::ClusterStore;
use fluxlimit::store::redis::{Form, RedisStore};
use fluxlimit::store::{Settling, Store, StoreError};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tracing_subscriber::fmt::MakeWriter;

use super::settings::STORES;
use super::{RULES, SECRET, holds_no_secret};
use crate::grpc_front::question;
use crate::http_front;
use crate::support::{Nobody, eventually};

/// What was written somewhere.
#[derive(Debug, Clone, Default)]
struct Written(Arc<Mutex<String>>);

impl Written {
    fn text(&self) -> String {
        self.0.lock().unwrap().clone()
    }
}

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().push_str(&String::from_utf8_lossy(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Written {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// Panics over all that it knows, with the message of an `expect` in the wrong place.
#[derive(Debug)]
struct Broken {
    config: Config,
    store: Arc<dyn Store>,
}

impl Store for Broken {
    fn settle(&self, _: &Settlement) -> Settling {
        panic!("a store that works: {:?}", (&self.config, &self.store))
    }

    fn ping(&self) -> Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send + '_>> {
        self.store.ping()
    }
}

/// A limiter of such a store, with a secret at every place where its settings can have one.
fn broken(url: &str) -> Arc<Limiter> {
    let environment = [
        ("FLUXLIMIT_ADMIN__TOKEN", SECRET),
        ("FLUXLIMIT_OTLP__HEADERS", "authorization=Bearer%20Tr0ub4dor"),
        ("FLUXLIMIT_TRACES__OTLP", "true"),
    ];
    let flags = Flags { rules: vec!["rules".into()], store: Some(url.to_owned()), ..Flags::default() };
    let environment = environment.map(|(name, value)| (name.into(), value.into()));
    let config = Config::load_with(&flags, environment).unwrap();
    let store: Arc<dyn Store> = match config.store {
        StoreKind::Postgres => Arc::new(PostgresStore::new(&config.postgres, Arc::new(Nobody))),
        StoreKind::Redis if matches!(config.redis.form, Form::Cluster(_)) => {
            Arc::new(ClusterStore::new(&config.redis, Arc::new(Nobody)))
        }
        StoreKind::Redis => Arc::new(RedisStore::new(&config.redis, Arc::new(Nobody))),
        StoreKind::Memory => unreachable!("it has no secrets"),
    };
    let store = Arc::new(Broken { config, store });
    let limiter = Limiter::new(store, Arc::new(Metrics::new()), Settings::default());
    let source = Source { name: "edge.yaml".to_owned(), text: RULES.as_bytes().to_vec() };
    let loaded = load(&[source], &LoadOptions::default());
    limiter.put_rules(Arc::new(RuleSet::compile(&loaded.files)));
    Arc::new(limiter)
}

/// Asks it over gRPC; its call ends without an answer.
async fn ask_by_grpc(limiter: Arc<Limiter>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let health = Arc::new(Health::new());
    let served = grpc::serve(listener, limiter, health, grpc::Settings::default(), std::future::pending());
    let serving = tokio::spawn(served);
    let mut client = RateLimitServiceClient::connect(format!("http://{address}")).await.unwrap();
    let refused = client.should_rate_limit(question(1)).await.unwrap_err();
    holds_no_secret("the answer", &format!("{refused:?}"));
    serving.abort();
}

/// Asks it over HTTP; its connection ends without an answer.
async fn ask_by_http(limiter: Arc<Limiter>) {
    let front = http_front::Front::start(limiter).await;
    let body = json!({ "domain": "edge", "descriptors": [{ "entries": [{ "key": "user", "value": "x" }] }] });
    let body = body.to_string();
    let mut stream = TcpStream::connect(front.address).await.unwrap();
    let head = format!("POST /json HTTP/1.1\r\nhost: front\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // Cut off is as good.
    drop(stream.read_to_end(&mut answer).await);
    assert_eq!(String::from_utf8_lossy(&answer), "");
}

/// On one thread, so that its log is that of all tasks.
#[tokio::test]
async fn a_panic_over_what_holds_secrets_prints_and_logs_none() {
    let (printed, log) = (Written::default(), Written::default());
    let (of_hook, print) = (printed.clone(), std::panic::take_hook());
    std::panic::set_hook(Box::new(move |panic| {
        writeln!(of_hook.clone(), "{panic}").unwrap();
        print(panic);
    }));
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(log.clone());
    let _logging = tracing::subscriber::set_default(subscriber.with_ansi(false).finish());
    for (place, store) in STORES.into_iter().enumerate() {
        let limiter = broken(store);
        ask_by_grpc(limiter.clone()).await;
        ask_by_http(limiter).await;
        let logged = |what: &str| log.text().matches(what).count() > place;
        eventually("lines about both", async || {
            (logged("a call ended in a panic") && logged("a connection ended in a panic")).then_some(())
        })
        .await;
    }
    let printed = printed.text();
    assert_eq!(printed.matches("a store that works: (Config {").count(), 2 * STORES.len(), "{printed}");
    assert!(printed.contains("(hidden)") && log.text().contains("(hidden)"), "{printed}");
    holds_no_secret("a panic", &printed);
    holds_no_secret("the log", &log.text());
}
