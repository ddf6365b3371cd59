//! The rules in force: loaded at the start, and again whenever their files change.
//!
//! A bad edit changes nothing: the last good rules stay, and the log, a metric and the status say so.

mod changes;
mod status;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::health::Health;
use crate::limiter::Limiter;
use crate::metrics::Metrics;
use crate::rules::RuleSet;
use crate::rules::load::{LoadOptions, load};
use crate::rules::source::{Found, read_paths};
use crate::time::{Clock, SystemClock};
use crate::yaml::{Problem, Severity};

pub use status::{InForce, LastLoad, RuleFileFacts, Status};

/// The most limits that the log names one by one after a load, because they start fresh.
const MAX_FRESH_LINES: usize = 100;

/// How often files are read in a row until two readings agree. A file that changes faster than that goes on
/// changing, and is read when that is noticed, or polled.
const MAX_READINGS: usize = 10;

/// Which rules are loaded, and when again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Rule files, and directories of rule files.
    pub paths: Vec<PathBuf>,
    /// How they are read.
    pub options: LoadOptions,
    /// How long files have to be left alone before they are read, in milliseconds: an editor or a
    /// `ConfigMap` update changes several things in a row.
    pub debounce_ms: u64,
    /// How often files are read even if nothing was said to have changed, in milliseconds: not every file
    /// system tells of changes.
    pub poll_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { paths: Vec::new(), options: LoadOptions::default(), debounce_ms: 100, poll_ms: 10_000 }
    }
}

/// Loads rules into a limiter.
#[derive(Debug)]
pub struct Reloader {
    settings: Settings,
    limiter: Arc<Limiter>,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    /// What was read last, good or bad: the same again is not news.
    seen: Mutex<Option<Found>>,
    status: Mutex<Status>,
}

impl Reloader {
    /// Loads by `settings`; nothing is loaded yet.
    #[must_use]
    pub fn new(
        settings: Settings,
        limiter: Arc<Limiter>,
        metrics: Arc<Metrics>,
        health: Arc<Health>,
    ) -> Self {
        Self { settings, limiter, metrics, health, seen: Mutex::new(None), status: Mutex::default() }
    }

    /// What is in force, and what came of the last load.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status.lock().clone()
    }

    /// Takes the next load for news even if the files are the same: somebody asked, and wants to be told.
    pub fn forget(&self) {
        *self.seen.lock() = None;
    }

    /// Reads the files and puts their rules in force if they are good and new.
    ///
    /// Dropping the future does not interrupt it.
    pub async fn load(self: &Arc<Self>) {
        let reloader = self.clone();
        // On a thread of its own, since it waits for the disk.
        if let Err(error) = tokio::task::spawn_blocking(move || reloader.load_now()).await {
            tracing::error!(%error, "loading the rules failed");
            self.metrics.loaded(false);
            self.health.set_rules_errors(vec!["loading the rules failed; the log says why".to_owned()]);
        }
    }

    fn load_now(&self) {
        // Held while loading, so that two loads never overtake each other.
        let mut seen = self.seen.lock();
        tracing::debug!("reading the rule files");
        let found = read_paths(&self.settings.paths);
        if seen.as_ref() == Some(&found) {
            return;
        }
        let Some(found) = settled(found, || read_paths(&self.settings.paths)) else {
            tracing::debug!("the rule files are being written; they are read again when that is over");
            return;
        };
        let found = seen.insert(found);
        let mut unreadable = found.problems.clone();
        // A directory that is removed and made again is empty for a moment, and that must not lift all limits.
        let would_lift_all = found.sources.is_empty() && self.has_limits();
        if self.settings.options.strict || would_lift_all {
            for problem in &mut unreadable {
                problem.severity = Severity::Error;
            }
        }
        let loaded = load(&found.sources, &self.settings.options);
        let problems: Vec<Problem> = unreadable.into_iter().chain(loaded.problems).collect();
        let is_ok = !problems.iter().any(Problem::is_error);
        self.metrics.loaded(is_ok);
        problems.iter().for_each(report);
        self.status.lock().loaded(&found.sources, &problems, SystemClock.now());
        if is_ok {
            self.put(RuleSet::compile(&loaded.files));
        } else if self.limiter.rules().is_some() {
            tracing::error!("the rules have errors; the last good rules stay in force");
        } else {
            tracing::error!("the rules have errors; no request can be answered until they are mended");
        }
        let errors = problems.iter().filter(|problem| problem.is_error()).map(ToString::to_string);
        self.health.set_rules_errors(errors.collect());
    }

    fn has_limits(&self) -> bool {
        self.limiter.rules().is_some_and(|rules| !rules.limits().is_empty())
    }

    fn put(&self, rules: RuleSet) {
        if let Some(old) = self.limiter.rules() {
            let fresh = changes::started_fresh(&old, &rules);
            for rule in fresh.iter().take(MAX_FRESH_LINES) {
                tracing::info!(rule, "this limit starts fresh: its algorithm or period changed");
            }
            if fresh.len() > MAX_FRESH_LINES {
                tracing::info!(limits = fresh.len(), "so many limits start fresh in all");
            }
        }
        let (domains, limits) = (rules.domains().count(), rules.limits().len());
        self.limiter.put_rules(Arc::new(rules));
        self.health.set_rules_loaded(true);
        tracing::info!(domains, limits, "rules in force");
    }
}

/// The first reading that says the same as the one before it, `first` being the first; `None` if they change
/// all the time.
///
/// A file that somebody shortens between two reads of one reading seems to end early, and the beginning of a
/// rule file may well be a rule file, with fewer limits.
fn settled(first: Found, mut read: impl FnMut() -> Found) -> Option<Found> {
    let mut last = first;
    for _ in 0..MAX_READINGS {
        let next = read();
        if next == last {
            return Some(next);
        }
        last = next;
    }
    None
}

/// One line of the log per problem.
fn report(problem: &Problem) {
    let line = problem.to_string().replace("\n  hint: ", "; hint: ");
    match problem.severity {
        Severity::Error => tracing::error!("{line}"),
        Severity::Warning => tracing::warn!("{line}"),
    }
}
