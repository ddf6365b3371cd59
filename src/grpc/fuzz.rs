//! Calls from anybody.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use envoy_types::pb::envoy::service::ratelimit::v3 as theirs;
use prost::Message;

use super::message::{RateLimitRequest, RateLimitResponse};
use super::wire::{self, UnreadableRequest};
use super::{convert, deadline};
use crate::limiter::{Limiter, Settings};
use crate::metrics::Metrics;
use crate::rules::RuleSet;
use crate::rules::load::{LoadOptions, Source, load};
use crate::store::memory::{self, MemoryStore};
use crate::time::{ManualClock, Timestamp};

/// A bit of everything.
const RULES: &str = "
domain: d
descriptors:
- {key: k, rate_limit: [{unit: second, requests_per_unit: 3}, {unit: hour, requests_per_unit: 5, algorithm: token_bucket}]}
- {key: k, value: v, rate_limit: {unit: minute, requests_per_unit: 2, algorithm: sliding_window, name: n}}
- {key: k, value: a*, share_threshold: true, rate_limit: {unit: day, requests_per_unit: 1, algorithm: leaky_bucket}}
- {key: u, rate_limit: {unlimited: true}, descriptors: [{key: w, detailed_metric: true, rate_limit: {unit: year, requests_per_unit: 0}}]}
- {key: q, quota_mode: true, rate_limit: {unit: week, requests_per_unit: 4, replaces: [{name: n}]}}
- {key: s, shadow_mode: true, value_to_metric: true, rate_limit: {unit: month, requests_per_unit: 1}}
";

/// Decides with those rules, and keeps few keys, so that the bound is met as well.
static LIMITER: LazyLock<Limiter> = LazyLock::new(|| {
    let clock = ManualClock::at(Timestamp::from_ms(1_700_000_000_000));
    let settings = memory::Settings { max_keys: 100, ..memory::Settings::default() };
    let store = MemoryStore::new(settings, Arc::new(clock));
    let limiter = Limiter::new(Arc::new(store), Arc::new(Metrics::new()), Settings::default());
    let source = Source { name: "f".to_owned(), text: RULES.as_bytes().to_vec() };
    let loaded = load(&[source], &LoadOptions::default());
    assert!(loaded.is_ok(), "{:?}", loaded.problems);
    limiter.put_rules(Arc::new(RuleSet::compile(&loaded.files)));
    limiter
});

/// The bytes of a `RateLimitRequest`: read as the messages of prost and of Envoy's API read them, and answered with
/// what those can read.
pub(crate) fn request(data: &[u8]) {
    let bytes = Bytes::copy_from_slice(data);
    let read = wire::request(&bytes);
    let message = RateLimitRequest::decode(bytes.clone());
    if let (Ok(ours), Ok(theirs)) = (&message, theirs::RateLimitRequest::decode(data)) {
        same(ours, &theirs);
    }
    match (&read, &message) {
        (Ok(read), Ok(message)) => assert_eq!(convert::asked(read), told(message.clone())),
        // What makes no sense is told before the rest is read.
        (Err(UnreadableRequest::Senseless(_)), _) | (Err(UnreadableRequest::Malformed(_)), Err(_)) => {}
        _ => panic!("{read:?} {message:?}"),
    }
    let Ok(request) = read else { return };
    let again = wire::request(&convert::asked(&request).encode_to_vec().into());
    assert_eq!(again.as_ref(), Ok(&request));
    if request.check().is_err() {
        return;
    }
    let decision = LIMITER.check_at_once(&request).expect("memory answers at once").expect("a good request");
    assert_eq!(decision.statuses.len(), request.descriptors.len());
    let framed = wire::framed(&decision);
    let theirs = theirs::RateLimitResponse::decode(&framed[5..]).expect("Envoy can read an answer");
    // UNKNOWN would let the request pass.
    assert_ne!(theirs.overall_code, 0);
    assert_eq!(theirs.statuses.len(), decision.statuses.len());
    let ours = RateLimitResponse::decode(&framed[5..]).expect("our client can read an answer");
    assert_eq!(convert::decision(ours), Ok(decision));
}

/// The message as we would send it: a multiplier of 1 is not sent.
fn told(mut message: RateLimitRequest) -> RateLimitRequest {
    for limit in message.descriptors.iter_mut().filter_map(|descriptor| descriptor.limit.as_mut()) {
        limit.unit_multiplier = limit.unit_multiplier.filter(|multiplier| *multiplier != 1);
    }
    message
}

fn same(ours: &RateLimitRequest, theirs: &theirs::RateLimitRequest) {
    assert_eq!(ours.domain, theirs.domain.as_bytes());
    assert_eq!(ours.hits_addend, theirs.hits_addend);
    assert_eq!(ours.descriptors.len(), theirs.descriptors.len());
    for (ours, theirs) in ours.descriptors.iter().zip(&theirs.descriptors) {
        let limit = |requests_per_unit, unit| (requests_per_unit, unit);
        assert_eq!(
            ours.limit.map(|ours| limit(ours.requests_per_unit, ours.unit)),
            theirs.limit.as_ref().map(|theirs| limit(theirs.requests_per_unit, theirs.unit))
        );
        assert_eq!(ours.hits_addend, theirs.hits_addend.as_ref().map(|hits| hits.value));
        assert_eq!(ours.is_negative_hits, theirs.is_negative_hits);
        assert_eq!(ours.entries.len(), theirs.entries.len());
        for (ours, theirs) in ours.entries.iter().zip(&theirs.entries) {
            assert_eq!((&*ours.key, &*ours.value), (theirs.key.as_bytes(), theirs.value.as_bytes()));
        }
    }
}

/// A `grpc-timeout`: no value makes a call wait longer than it may.
pub(crate) fn timeout(data: &[u8]) {
    let Ok(value) = hyper::header::HeaderValue::from_bytes(data) else { return };
    let headers =
        hyper::HeaderMap::from_iter([(hyper::header::HeaderName::from_static("grpc-timeout"), value)]);
    assert!(deadline::of(&headers) <= Duration::from_secs(10));
}
