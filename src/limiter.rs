//! Rules, store and metrics together: a request in, a decision out.

use std::sync::Arc;

use arc_swap::ArcSwapOption;

use crate::engine::{AnswerSettings, Decision, Outcome, answer};
use crate::metrics::{Metrics, Series};
use crate::request::{Request, RequestError};
use crate::rules::{Modes, RuleSet};
use crate::store::{Store, StoreError};
use crate::time::Stopwatch;

/// Answers requests by the rules in force.
#[derive(Debug)]
pub struct Limiter {
    active: ArcSwapOption<Active>,
    store: Arc<dyn Store>,
    metrics: Arc<Metrics>,
    settings: Settings,
}

/// How the limiter answers.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Settings {
    /// What an answer carries beside its statuses.
    pub answer: AnswerSettings,
    /// Modes of the whole server.
    pub modes: Modes,
    /// From which share of a limit on a hit counts as near it, in metrics.
    pub near_limit_ratio: f32,
}

/// The rules in force and where their limits are counted.
#[derive(Debug)]
struct Active {
    rules: Arc<RuleSet>,
    series: Vec<Arc<Series>>,
}

/// Why a request got no decision.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// The request makes no sense; an operator's mistake.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// No rules have been loaded yet.
    #[error("no rate limit configuration loaded")]
    NoRules,
    /// The store did not answer.
    #[error("the rate limit store did not answer")]
    Store(#[from] StoreError),
}

impl Limiter {
    /// A limiter without rules: it answers [`CheckError::NoRules`] until [`Self::put_rules`].
    #[must_use]
    pub fn new(store: Arc<dyn Store>, metrics: Arc<Metrics>, settings: Settings) -> Self {
        Self { active: ArcSwapOption::empty(), store, metrics, settings }
    }

    /// Puts `rules` in force. Requests that are being answered finish under the rules they began with.
    pub fn put_rules(&self, rules: Arc<RuleSet>) {
        let series = self.metrics.follow(&rules);
        self.active.store(Some(Arc::new(Active { rules, series })));
    }

    /// The rules in force; `None` before the first have been loaded.
    #[must_use]
    pub fn rules(&self) -> Option<Arc<RuleSet>> {
        self.active.load().as_ref().map(|active| active.rules.clone())
    }

    /// Decides on one request.
    ///
    /// Dropping the future leaves the request charged whole or not at all.
    ///
    /// # Errors
    /// See [`CheckError`].
    pub async fn check(&self, request: &Request) -> Result<Decision, CheckError> {
        let watch = Stopwatch::start();
        let decided = self.decide(request).await;
        match &decided {
            Ok(decision) => self.metrics.answered(decision.code, watch.elapsed()),
            Err(_) => self.metrics.failed(),
        }
        decided
    }

    async fn decide(&self, request: &Request) -> Result<Decision, CheckError> {
        request.check()?;
        let active = self.active.load_full().ok_or(CheckError::NoRules)?;
        let question = active.rules.question(request, self.settings.modes);
        self.metrics.matched(&request.domain, &question);
        let outcome = if question.settlement.is_empty() {
            Outcome::default()
        } else {
            self.store.settle(&question.settlement).outcome().await?
        };
        let ratio = self.settings.near_limit_ratio;
        self.metrics.settled(&request.domain, &question, &outcome, &active.series, ratio);
        Ok(answer(request, &question, &outcome, &self.settings.answer))
    }
}
