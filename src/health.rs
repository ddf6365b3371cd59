//! Whether this server should get traffic: one state, shown by `/ready`, `/healthcheck` and gRPC health.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::watch;

/// Most errors of a failed load that are told; the log has all.
const MAX_RULES_ERRORS: usize = 20;

/// The shared state of health. Starts as not ready: no rules, and a store that was never heard of.
#[derive(Debug)]
pub struct Health {
    readiness: watch::Sender<Readiness>,
    /// What was wrong with the rules when they were read last; empty if they are in force.
    rules_errors: Mutex<Vec<String>>,
    /// Whether the store is not asked because it has been failing.
    store_failing: AtomicBool,
}

/// What has to be true before this server gets traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Readiness {
    /// Rules were loaded once; a bad reload keeps the last good ones, so this stays true.
    pub rules_loaded: bool,
    /// The store has answered.
    pub store_answered: bool,
    /// The server is about to stop.
    pub draining: bool,
}

/// Why a server should get no traffic; the text is the one line that `/ready` answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotReady {
    /// The server is about to stop.
    #[error("draining: this server is about to stop")]
    Draining,
    /// There are no rules yet.
    #[error("no rules loaded yet")]
    NoRules,
    /// The store has not answered.
    #[error("the store has not answered")]
    NoStore,
}

impl Readiness {
    /// Whether all of it is true.
    ///
    /// # Errors
    /// The first reason why not.
    pub const fn check(self) -> Result<(), NotReady> {
        if self.draining {
            Err(NotReady::Draining)
        } else if !self.rules_loaded {
            Err(NotReady::NoRules)
        } else if !self.store_answered {
            Err(NotReady::NoStore)
        } else {
            Ok(())
        }
    }
}

impl Health {
    /// A state in which nothing is ready.
    #[must_use]
    pub fn new() -> Self {
        Self {
            readiness: watch::Sender::new(Readiness::default()),
            rules_errors: Mutex::default(),
            store_failing: AtomicBool::new(false),
        }
    }

    /// Says whether rules are loaded.
    pub fn set_rules_loaded(&self, rules_loaded: bool) {
        self.change(|readiness| readiness.rules_loaded = rules_loaded);
    }

    /// Says what was wrong with the rules when they were read last: nothing if they are in force now.
    pub fn set_rules_errors(&self, errors: Vec<String>) {
        let more = errors.len().saturating_sub(MAX_RULES_ERRORS);
        let mut errors: Vec<String> = errors.into_iter().take(MAX_RULES_ERRORS).collect();
        if more > 0 {
            errors.push(format!("{more} more errors are in the log"));
        }
        *self.rules_errors.lock() = errors;
    }

    /// What was wrong with the rules when they were read last.
    #[must_use]
    pub fn rules_errors(&self) -> Vec<String> {
        self.rules_errors.lock().clone()
    }

    /// Says whether the store answers. Setting it back to false is for `ready_follows_store` only.
    pub fn set_store_answered(&self, store_answered: bool) {
        self.change(|readiness| readiness.store_answered = store_answered);
    }

    /// Says whether the store is not asked because it has been failing.
    pub fn set_store_failing(&self, store_failing: bool) {
        self.store_failing.store(store_failing, Ordering::Relaxed);
    }

    /// Whether the store is not asked because it has been failing.
    #[must_use]
    pub fn is_store_failing(&self) -> bool {
        self.store_failing.load(Ordering::Relaxed)
    }

    /// The server is about to stop; there is no way back.
    pub fn drain(&self) {
        self.change(|readiness| readiness.draining = true);
    }

    /// The present state.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        *self.readiness.borrow()
    }

    /// The present state and every change after it.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Readiness> {
        self.readiness.subscribe()
    }

    /// Wakes watchers only if something is different now.
    fn change(&self, change: impl FnOnce(&mut Readiness)) {
        self.readiness.send_if_modified(|readiness| {
            let before = *readiness;
            change(readiness);
            *readiness != before
        });
    }
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_means_rules_and_a_store_and_no_end_in_sight() {
        let health = Health::new();
        assert_eq!(health.readiness().check(), Err(NotReady::NoRules));
        health.set_rules_loaded(true);
        assert_eq!(health.readiness().check(), Err(NotReady::NoStore));
        health.set_store_answered(true);
        assert_eq!(health.readiness().check(), Ok(()));
        health.drain();
        assert_eq!(health.readiness().check(), Err(NotReady::Draining));
    }

    #[test]
    fn watchers_hear_of_changes_only() {
        let health = Health::new();
        let mut watch = health.watch();
        health.set_rules_loaded(false);
        assert!(!watch.has_changed().unwrap());
        health.set_rules_loaded(true);
        assert!(watch.has_changed().unwrap());
        assert!(watch.borrow_and_update().rules_loaded);
    }
}
