//! What is posted to the admin listener, by operators and by whoever got that far.

use std::collections::HashSet;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::body::{self, Body};
use axum::http::{Request, StatusCode, Uri, header};
use axum::{Extension, Router};
use serde_json::Value as Json;
use tokio::runtime::{Builder, Runtime};
use tower::ServiceExt;

use super::{Access, MAX_REASON_CHARS, Peer, Sources, routes};
use crate::health::Health;
use crate::http::question;
use crate::limiter::{Limiter, Settings, StoreWatch, breaker};
use crate::metrics::Metrics;
use crate::reload::{Reloader, Settings as ReloadSettings};
use crate::rules::RuleSet;
use crate::rules::load::{LoadOptions, Source, load};
use crate::store::memory::{self, MemoryStore};
use crate::telemetry::{Filter, Log};
use crate::time::{ManualClock, Timestamp};

/// One of everything that an answer can tell.
const RULES: &str = "domain: d
descriptors:
- {key: window, rate_limit: {unit: day, requests_per_unit: 5}}
- {key: bucket, rate_limit: {algorithm: token_bucket, unit: second, requests_per_unit: 5}}
- {key: debt, rate_limit: {algorithm: leaky_bucket, unit: second, requests_per_unit: 5, count_refused: true}}
- {key: slots, shadow_mode: true, rate_limit: {algorithm: sliding_window, unit: minute, requests_per_unit: 5}}
- {key: shared, value: a*, share_threshold: true, rate_limit: {unit: day, requests_per_unit: 5}}
- {key: free, rate_limit: {unlimited: true}}
- {key: quota, quota_mode: true, rate_limit: {unit: day, requests_per_unit: 5}}
- key: list
  rate_limit: [{name: fast, unit: second, requests_per_unit: 2}, {name: '2', unit: day, requests_per_unit: 9}]
  descriptors:
  - {key: inner, rate_limit: {unit: hour, requests_per_unit: 1}}
";

/// So few that keys overflow.
const MAX_KEYS: usize = 4;

static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_current_thread().enable_time().build().expect("a runtime"));

/// Its metrics have instruments that live for ever, so there is one for all inputs.
static METRICS: LazyLock<Arc<Metrics>> = LazyLock::new(Arc::default);

static WATCH: LazyLock<Arc<StoreWatch>> =
    LazyLock::new(|| Arc::new(StoreWatch::new(&METRICS, breaker::Settings::default())));

/// A line and a body. The line begins with `l`, `r` or anything else, for a look, a reset, or a change of the log;
/// what follows a `?` is the query.
pub(crate) fn post(data: &[u8]) {
    let (line, body) = halves(data, b'\n');
    let (page, query) = halves(line, b'?');
    let site = Site::new();
    match page.first() {
        Some(b'l') => site.look(query, body),
        Some(b'r') => site.reset(query, body),
        _ => site.change_log(query, body),
    }
}

fn halves(data: &[u8], end: u8) -> (&[u8], &[u8]) {
    match data.iter().position(|byte| *byte == end) {
        Some(place) => (&data[..place], &data[place + 1..]),
        None => (data, &[]),
    }
}

/// A listener without its socket. Time stands still.
struct Site {
    limiter: Arc<Limiter>,
    routes: Router,
}

/// What an answer tells of one counter.
#[derive(Debug, PartialEq)]
struct Told {
    stored_as: String,
    used: Json,
    reset: bool,
}

impl Site {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp::from_ms(1_700_000_000_000)));
        let settings = memory::Settings { max_keys: MAX_KEYS, ..memory::Settings::default() };
        let store = Arc::new(MemoryStore::new(settings, clock));
        let limiter = Arc::new(Limiter::new(store, METRICS.clone(), Settings::default()));
        let source = Source { name: "rules.yaml".to_owned(), text: RULES.as_bytes().to_vec() };
        let loaded = load(&[source], &LoadOptions::default());
        assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
        limiter.put_rules(Arc::new(RuleSet::compile(&loaded.files)));
        let health = Arc::new(Health::new());
        let reloader =
            Reloader::new(ReloadSettings::default(), limiter.clone(), METRICS.clone(), health.clone());
        let sources = Sources {
            limiter: limiter.clone(),
            reloader: Arc::new(reloader),
            health,
            watch: WATCH.clone(),
            store: "memory".into(),
            log: Log::of_others(),
            settings: Arc::default(),
            started_at: Timestamp::from_ms(0),
        };
        Self { limiter, routes: routes(sources, Access::new(None)).layer(Extension(Peer(None))) }
    }

    /// The answer of a page, which is JSON whatever it is; `None` if the query can stand in no URL.
    fn ask(&self, page: &str, query: &[u8], body: &[u8]) -> Option<(StatusCode, Json)> {
        let uri = Uri::try_from([page.as_bytes(), b"?", query].concat()).ok()?;
        let request = Request::post(uri)
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body.to_vec()))
            .ok()?;
        let (status, text) = RUNTIME.block_on(async {
            let answer = self.routes.clone().oneshot(request).await.unwrap_or_else(|never| match never {});
            let status = answer.status();
            (status, body::to_bytes(answer.into_body(), usize::MAX).await.expect("it is all there"))
        });
        let answer: Json = serde_json::from_slice(&text).expect("an answer is JSON");
        if status != StatusCode::OK {
            let reason = answer["error"].as_str().expect("a reason");
            assert!(!reason.is_empty() && reason.chars().count() <= MAX_REASON_CHARS, "{reason}");
        }
        Some((status, answer))
    }

    /// A look changes nothing, so a second one tells the same.
    fn look(&self, query: &[u8], body: &[u8]) {
        self.count(body);
        let Some((status, answer)) = self.ask("/v1/look", query, body) else { return };
        assert!([StatusCode::OK, StatusCode::BAD_REQUEST].contains(&status), "{status}");
        assert_eq!(self.ask("/v1/look", query, body), Some((status, answer.clone())));
        if status == StatusCode::OK {
            let request = question::parse(body).expect("it was read");
            let descriptors = answer["descriptors"].as_array().map_or(0, Vec::len);
            assert_eq!(descriptors, request.descriptors.len());
        }
    }

    /// After a reset the keys that it names are unused, and all others as they were.
    fn reset(&self, query: &[u8], body: &[u8]) {
        self.count(body);
        let before = self.ask("/v1/look", b"", body);
        let Some((status, answer)) = self.ask("/v1/reset", query, body) else { return };
        let known = [StatusCode::OK, StatusCode::BAD_REQUEST, StatusCode::NOT_FOUND];
        assert!(known.contains(&status), "{status}");
        let after = self.ask("/v1/look", b"", body);
        if status != StatusCode::OK {
            assert_eq!(before, after);
            return;
        }
        let (Some((_, before)), Some((_, after))) = (before, after) else { panic!("nothing to reset") };
        let resets = told(&answer);
        let keys: HashSet<&str> =
            resets.iter().filter(|told| told.reset).map(|told| told.stored_as.as_str()).collect();
        assert!(!keys.is_empty(), "{answer}");
        for (before, after) in told(&before).iter().zip(&told(&after)) {
            if keys.contains(before.stored_as.as_str()) {
                assert_eq!(after.used, 0, "{before:?} {after:?}");
            } else {
                assert_eq!(before, after);
            }
        }
    }

    /// The log of a test is not ours to change, so a good filter is a conflict. It means what it says.
    fn change_log(&self, query: &[u8], body: &[u8]) {
        let Some((status, answer)) = self.ask("/v1/log-level", query, body) else { return };
        if status == StatusCode::CONFLICT {
            let asked: Json = serde_json::from_slice(body).expect("it was read");
            if let Some(text) = asked["filter"].as_str() {
                let filter = Filter::parse(text).expect("it was taken");
                assert_eq!(filter.to_string(), text);
            }
        } else {
            assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
        }
    }

    /// Counts the request of a body, if it is one, so that there is something to see.
    fn count(&self, body: &[u8]) {
        if let Ok(request) = question::parse(body) {
            // What makes no sense is refused.
            drop(RUNTIME.block_on(self.limiter.check(&request, Duration::MAX)));
        }
    }
}

/// Every counter that an answer tells of.
fn told(answer: &Json) -> Vec<Told> {
    let list = |value: &Json| value.as_array().cloned().unwrap_or_default();
    let counters = list(&answer["descriptors"]).into_iter().flat_map(|found| list(&found["limits"]));
    let told = |counter: Json| Told {
        stored_as: counter["stored_as"].as_str().expect("a name").to_owned(),
        used: counter["used"].clone(),
        reset: counter["reset"].as_bool().expect("yes or no"),
    };
    counters.map(told).collect()
}
