//! Rules, store and metrics together: a request in, a decision out.

use std::sync::Arc;

use arc_swap::ArcSwapOption;

use crate::engine::{AnswerSettings, Decision, Outcome, Question, answer};
use crate::metrics::{Metrics, Tally};
use crate::request::{Request, RequestError};
use crate::rules::{Modes, RuleSet};
use crate::store::{Settling, Store, StoreError};
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
    tally: Tally,
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
        let tally = self.metrics.follow(&rules);
        self.active.store(Some(Arc::new(Active { rules, tally })));
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
        // What a decision needs on its way is a few kilobytes. On the stack they cost nothing; in this
        // future they would be in the future of every call, which is moved several times.
        if self.store.answers_at_once() {
            return self.check_at_once(request);
        }
        Box::pin(self.check_waiting(request)).await
    }

    /// Counts a request that a front could not read, so that it never came to [`Self::check`]. For Envoy it
    /// got no answer, like any other error.
    pub fn count_unreadable(&self, reason: &dyn std::fmt::Display) {
        tracing::debug!(%reason, "a request could not be read");
        self.metrics.failed();
    }

    /// Whether [`Self::check_at_once`] may be used.
    #[must_use]
    pub fn answers_at_once(&self) -> bool {
        self.store.answers_at_once()
    }

    /// Decides on one request without waiting, with a store that answers at once.
    ///
    /// # Errors
    /// See [`CheckError`].
    pub fn check_at_once(&self, request: &Request) -> Result<Decision, CheckError> {
        let watch = Stopwatch::start();
        let decided = self.active(request).and_then(|active| {
            let question = active.rules.question(request, self.settings.modes);
            let outcome = match self.settle(&question) {
                Settling::Ready(outcome) => outcome?,
                Settling::Later(_) => unreachable!("the store said that it answers at once"),
            };
            Ok(self.answer(&active, request, &question, &outcome))
        });
        self.count(&watch, decided)
    }

    async fn check_waiting(&self, request: &Request) -> Result<Decision, CheckError> {
        let watch = Stopwatch::start();
        let decided = async {
            let active = self.active(request)?;
            let question = active.rules.question(request, self.settings.modes);
            let outcome = self.settle(&question).outcome().await?;
            Ok(self.answer(&active, request, &question, &outcome))
        };
        self.count(&watch, decided.await)
    }

    fn active(&self, request: &Request) -> Result<Arc<Active>, CheckError> {
        request.check()?;
        self.active.load_full().ok_or(CheckError::NoRules)
    }

    /// Asks the store, if there is anything to ask.
    fn settle(&self, question: &Question<'_>) -> Settling {
        if question.settlement.is_empty() {
            return Settling::Ready(Ok(Outcome::default()));
        }
        self.store.settle(&question.settlement)
    }

    fn answer(
        &self,
        active: &Active,
        request: &Request,
        question: &Question<'_>,
        outcome: &Outcome,
    ) -> Decision {
        let ratio = self.settings.near_limit_ratio;
        self.metrics.settled(&active.tally, request, question, outcome, ratio);
        answer(request, question, outcome, &self.settings.answer)
    }

    fn count(
        &self,
        watch: &Stopwatch,
        decided: Result<Decision, CheckError>,
    ) -> Result<Decision, CheckError> {
        match &decided {
            Ok(decision) => self.metrics.answered(decision.code, watch.elapsed()),
            Err(_) => self.metrics.failed(),
        }
        decided
    }
}
