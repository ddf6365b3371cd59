//! The pauses between attempts to connect to a store.

use std::hash::BuildHasher;
use std::time::Duration;

use foldhash::fast::RandomState;

/// The pause after the first failure, in milliseconds, and the longest; it doubles in between.
const FIRST_MS: u64 = 50;
const LONGEST_MS: u64 = 2000;

/// How many attempts have failed in a row.
#[derive(Debug, Default)]
pub(super) struct Pause {
    failures: u32,
}

impl Pause {
    /// Whether the last attempt has failed.
    pub(super) const fn has_failed(&self) -> bool {
        self.failures > 0
    }

    /// Counts a failure. The pause after it: between a half and the whole of twice the one before, so that many
    /// servers do not come back in step.
    pub(super) fn next(&mut self) -> Duration {
        let whole_ms = (FIRST_MS << self.failures.min(16)).min(LONGEST_MS);
        self.failures = self.failures.saturating_add(1);
        // Each hasher has a seed of its own, which is all the chance that is needed.
        let chance = RandomState::default().hash_one(self.failures);
        Duration::from_millis(whole_ms / 2 + chance % (whole_ms / 2 + 1))
    }
}
