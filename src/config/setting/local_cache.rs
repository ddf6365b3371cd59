//! The settings of what is remembered of refusals in front of a shared store.

use super::{Setting, put, setting};

/// The most refusals that may be remembered: some hundred megabytes.
const MAX_KEYS: u64 = 1_000_000;

/// The settings of the local cache.
pub(super) const LOCAL_CACHE: &[Setting] = &[
    setting("local_cache.max_keys", |value, to| {
        let max_keys = value.u64_in(0..=MAX_KEYS).and_then(|keys| usize::try_from(keys).ok());
        put(&mut to.limiter.local_cache.max_keys, max_keys);
    }),
    setting("local_cache.skip_count_refused", |value, to| {
        put(&mut to.limiter.local_cache.skip_count_refused, value.bool());
    }),
];
