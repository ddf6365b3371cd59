//! What benches and the count of allocations ask, and by which rules.

use std::sync::Arc;

use bytes::Bytes;
use fluxlimit::limit::{Algorithm, Limit, LimitSpec, Unit};
use fluxlimit::limiter::{Limiter, Settings as LimiterSettings};
use fluxlimit::metrics::Metrics;
use fluxlimit::request::{Descriptor, Entry, Request};
use fluxlimit::rules::RuleSet;
use fluxlimit::rules::file::{Node, NodeLimit, NodeLimits, RuleFile};
use fluxlimit::store::memory::{MemoryStore, Settings};
use fluxlimit::time::SystemClock;
use fluxlimit::yaml::Position;

/// A limit that is never reached, so that every round books.
fn limit(algorithm: Algorithm) -> Limit {
    let burst = algorithm.is_bucket().then_some(1_000_000_000);
    let spec = LimitSpec { burst, ..LimitSpec::new(algorithm, 1_000_000_000, Unit::Hour) };
    Limit::new(spec).expect("a billion an hour fits")
}

/// As many rules as `count`, side by side, each for one tenant and any user of it.
pub(crate) fn rules(count: usize, algorithm: Algorithm) -> RuleSet {
    let node = |key: &str, value: String, limits: NodeLimits, children: Vec<Node>| Node {
        position: Position::START,
        key: key.to_owned(),
        value,
        limits,
        quota_mode: false,
        detailed_metric: false,
        value_to_metric: false,
        share_threshold: false,
        metadata: None,
        children,
    };
    let limited = || {
        let limit = NodeLimit {
            position: Position::START,
            limit: limit(algorithm),
            name: "per user".to_owned(),
            replaces: Vec::new(),
            shadow_mode: false,
        };
        NodeLimits::Limited { limits: vec![limit], is_list: false }
    };
    let tenants = (0..count).map(|tenant| {
        let user = node("user", String::new(), limited(), Vec::new());
        node("tenant", tenant.to_string(), NodeLimits::None, vec![user])
    });
    RuleSet::compile(&[RuleFile {
        name: "bench.yaml".to_owned(),
        domain: "bench".to_owned(),
        domain_at: Position::START,
        overrides_count_refused: None,
        on_store_failure: None,
        hash_tag: None,
        descriptors: tenants.collect(),
    }])
}

/// A request of one user of one tenant.
pub(crate) fn request(tenant: usize, user: usize) -> Request {
    let entries = [Entry::new("tenant", tenant.to_string()), Entry::new("user", user.to_string())];
    Request { domain: "bench".into(), descriptors: [Descriptor::of(entries)].into(), hits_addend: 1 }
}

/// The bytes of that request, as Envoy sends them: `RateLimitRequest` without gRPC's prefix.
pub(crate) fn message(tenant: usize, user: usize) -> Bytes {
    let field = |number: u8, content: &[u8]| {
        let length = u8::try_from(content.len()).expect("short parts");
        [&[number << 3 | 2, length][..], content].concat()
    };
    let entry = |key: &str, value: usize| {
        field(1, &[field(1, key.as_bytes()), field(2, value.to_string().as_bytes())].concat())
    };
    let descriptor = field(2, &[entry("tenant", tenant), entry("user", user)].concat());
    [field(1, b"bench"), descriptor, vec![3 << 3, 1]].concat().into()
}

/// A limiter with those rules, which counts in memory.
pub(crate) fn limiter(rules: RuleSet) -> Limiter {
    let store = Arc::new(MemoryStore::new(Settings::default(), Arc::new(SystemClock)));
    let limiter = Limiter::new(store, Arc::new(Metrics::new()), LimiterSettings::default());
    limiter.put_rules(Arc::new(rules));
    limiter
}

/// A whole call without its connection: the bytes of a message in, the framed bytes of the answer out.
pub(crate) fn call(limiter: &Limiter, message: &Bytes) -> Bytes {
    let request = fluxlimit::grpc::wire::request(message).expect("a request");
    let decision = limiter.check_at_once(&request).expect("memory answers at once").expect("a decision");
    fluxlimit::grpc::wire::framed(&decision)
}
