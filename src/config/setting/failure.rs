//! The settings of what happens when a shared store is slow, or away.

use super::{MAX_WAIT_MS, Setting, put, setting};
use crate::rules::OnStoreFailure;

/// The longest that a request may wait for its store, in milliseconds. Nobody who asks Envoy waits longer.
const MAX_STORE_TIMEOUT_MS: u64 = 10_000;

/// The most requests that may wait to be sent: some hundred megabytes.
const MAX_WAITING: u64 = 1_000_000;

/// The settings of all shared stores.
pub(super) const FAILURE: &[Setting] = &[
    setting("store_timeout_ms", |value, to| {
        if let Some(timeout_ms) = value.u64_in(1..=MAX_STORE_TIMEOUT_MS) {
            // For what the store does, and for how long a request waits for it.
            to.store_timeout_ms = timeout_ms;
            to.limiter.store_timeout_ms = timeout_ms;
        }
    }),
    setting("on_store_failure", |value, to| {
        let policies = OnStoreFailure::ALL.map(|policy| (policy.name(), policy));
        put(&mut to.limiter.on_store_failure, value.choice(&policies));
    }),
    setting("ready_follows_store", |value, to| put(&mut to.ready_follows_store, value.bool())),
    setting("limits.waiting", |value, to| {
        let waiting = value.u64_in(1..=MAX_WAITING).and_then(|waiting| usize::try_from(waiting).ok());
        put(&mut to.max_waiting, waiting);
    }),
    setting("breaker.failures", |value, to| {
        let failures = value.u64_in(1..=1_000_000).and_then(|failures| u32::try_from(failures).ok());
        put(&mut to.breaker.failures, failures);
    }),
    setting("breaker.probe_ms", |value, to| {
        put(&mut to.breaker.probe_ms, value.u64_in(10..=MAX_WAIT_MS));
    }),
    setting("breaker.max_probe_ms", |value, to| {
        put(&mut to.breaker.max_probe_ms, value.u64_in(10..=MAX_WAIT_MS));
    }),
];
