//! Rules, store and metrics together: a request in, a decision out, in time and whatever the store does.

pub mod breaker;
pub mod cache;
mod inspect;
mod policy;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;

use crate::engine::{AnswerSettings, Decision, Outcome, Question, Settlement, answer};
use crate::metrics::{CutOff, Metrics, Tally};
use crate::request::{Request, RequestError};
use crate::rules::{Modes, OnStoreFailure, RuleSet};
use crate::store::queue::Ticket;
use crate::store::{Settling, Store, StoreError};
use crate::time::Stopwatch;
use crate::traces::{CallSpan, Tracer};
use cache::{Asked, LocalCache};
pub use inspect::{Counter, Inspected, Inspection, Which};
pub use watch::{LastFailure, StoreWatch};

/// How long a request waits for its store unless settings say otherwise, in milliseconds: ten times what a
/// busy store in the same network takes.
pub const DEFAULT_STORE_TIMEOUT_MS: u64 = 100;

/// What an answer needs on its way to a caller whose own timer runs: a tenth of the time that it gave, but at
/// least the first and at most the second, in milliseconds. A policy's answer that comes after it is none.
const MARGIN_MS: (u64, u64) = (1, 5);

/// Answers requests by the rules in force.
#[derive(Debug)]
pub struct Limiter {
    active: ArcSwapOption<Active>,
    store: Arc<dyn Store>,
    metrics: Arc<Metrics>,
    settings: Settings,
    /// Says whether the store is worth asking; `None` for one that is always asked.
    watch: Option<Arc<StoreWatch>>,
    /// Remembers what was refused; `None` for a store that answers at once.
    cache: Option<LocalCache>,
    /// Traces requests; `None`: none is traced.
    tracer: Option<Arc<Tracer>>,
}

/// How the limiter answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// What an answer carries beside its statuses.
    pub answer: AnswerSettings,
    /// Modes of the whole server.
    pub modes: Modes,
    /// From which share of a limit on a hit counts as near it, in metrics.
    pub near_limit_ratio: f32,
    /// How long a request waits for the store, in milliseconds.
    pub store_timeout_ms: u64,
    /// What a request is answered without the store, where its rule files do not say it.
    pub on_store_failure: OnStoreFailure,
    /// What is remembered of refusals, for a store that is far away.
    pub local_cache: cache::Settings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            answer: AnswerSettings::default(),
            modes: Modes::default(),
            near_limit_ratio: 0.0,
            store_timeout_ms: DEFAULT_STORE_TIMEOUT_MS,
            on_store_failure: OnStoreFailure::default(),
            local_cache: cache::Settings::default(),
        }
    }
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
        // In memory, asking is as cheap as remembering.
        let cache = (!store.answers_at_once())
            .then(|| LocalCache::new(settings.local_cache, Arc::new(Stopwatch::start())));
        let cache = cache.flatten();
        Self { active: ArcSwapOption::empty(), store, metrics, settings, watch: None, cache, tracer: None }
    }

    /// The same with another cache, such as one whose clock is in somebody's hands.
    #[must_use]
    pub fn with_cache(self, cache: Option<LocalCache>) -> Self {
        Self { cache, ..self }
    }

    /// The same with a watch on its store, which is not asked while `watch` says so.
    #[must_use]
    pub fn with_watch(self, watch: Arc<StoreWatch>) -> Self {
        Self { watch: Some(watch), ..self }
    }

    /// The same, with requests traced by `tracer`.
    #[must_use]
    pub fn with_tracer(self, tracer: Option<Arc<Tracer>>) -> Self {
        Self { tracer, ..self }
    }

    /// What says which requests are traced; `None`: none is.
    #[must_use]
    pub const fn tracer(&self) -> Option<&Arc<Tracer>> {
        self.tracer.as_ref()
    }

    /// Where its decisions are counted.
    #[must_use]
    pub const fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
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

    /// Decides on one request, in the time that its caller has left or that the store may take, whichever is
    /// less. A store that does not answer until then goes on alone: the caller gets what `on_store_failure`
    /// says. A little of `time_left` is kept for the way back.
    ///
    /// Dropping the future leaves the request charged whole or not at all.
    ///
    /// # Errors
    /// See [`CheckError`].
    pub async fn check(&self, request: &Request, time_left: Duration) -> Result<Decision, CheckError> {
        // What a decision needs on its way is a few kilobytes. On the stack they cost nothing; in this
        // future they would be in the future of every call, which is moved several times.
        if self.store.answers_at_once() {
            return self.check_here(request);
        }
        Box::pin(self.check_waiting(request, time_left, None)).await
    }

    /// The same of a request that may be traced: `span` learns what is done for it.
    ///
    /// # Errors
    /// See [`CheckError`].
    pub async fn check_traced(
        &self,
        request: &Request,
        time_left: Duration,
        span: Option<&CallSpan>,
    ) -> Result<Decision, CheckError> {
        let Some(span) = span else { return self.check(request, time_left).await };
        let decided = Box::pin(self.check_waiting(request, time_left, Some(span))).await;
        decided.inspect(|decision| span.decided(decision))
    }

    /// Counts a request that a front could not read, so that it never came to [`Self::check`]. For Envoy it
    /// got no answer, like any other error.
    pub fn count_unreadable(&self, reason: &dyn std::fmt::Display) {
        tracing::debug!(%reason, "a request could not be read");
        self.metrics.failed();
    }

    /// Decides on one request without waiting, if that can be. `None` if the store has to be waited for: then
    /// nothing has been asked or counted yet, and [`Self::check`] decides.
    ///
    /// # Errors
    /// See [`CheckError`].
    pub fn check_at_once(&self, request: &Request) -> Option<Result<Decision, CheckError>> {
        if self.store.answers_at_once() {
            return Some(self.check_here(request));
        }
        let cache = self.cache.as_ref().filter(|cache| !cache.is_empty())?;
        let watch = Stopwatch::start();
        let active = self.active(request).ok()?;
        let question = active.rules.question(request, self.settings.modes);
        let outcome = cache.refusal(&question.settlement)?;
        let decision = self.answer_remembered(&active, request, &question, &outcome);
        Some(self.count(&watch, Ok(decision)))
    }

    /// Decides with a store that answers at once.
    fn check_here(&self, request: &Request) -> Result<Decision, CheckError> {
        let watch = Stopwatch::start();
        // Looked at, not cloned: nothing waits while it is held.
        let active = self.active.load();
        let decided = in_force(request, active.as_ref()).and_then(|active| {
            let question = active.rules.question(request, self.settings.modes);
            let outcome = match self.ask_store(&question.settlement) {
                Settling::Ready(outcome) => outcome,
                Settling::Later(_) => unreachable!("the store said that it answers at once"),
            };
            self.answer(active, request, &question, outcome)
        });
        self.count(&watch, decided)
    }

    async fn check_waiting(
        &self,
        request: &Request,
        time_left: Duration,
        span: Option<&CallSpan>,
    ) -> Result<Decision, CheckError> {
        let watch = Stopwatch::start();
        let decided = async {
            let active = self.active(request)?;
            let matching = || active.rules.question(request, self.settings.modes);
            let mut question = match span {
                None => matching(),
                Some(span) => span.matching(request, matching),
            };
            let asking = match self.cache.as_ref().map(|cache| cache.ask(&mut question.settlement)) {
                Some(Asked::Refused(outcome)) => {
                    span.inspect(|span| span.remembered());
                    return Ok(self.answer_remembered(&active, request, &question, &outcome));
                }
                Some(Asked::Store(asking)) => Some(asking),
                None => None,
            };
            let outcome = match self.ask_store(&question.settlement) {
                Settling::Ready(outcome) => outcome,
                Settling::Later(ticket) => self.wait(ticket, time_left, span).await,
            };
            if let (Some(span), Err(error)) = (span, &outcome) {
                span.unanswered(error);
            }
            if let (Some(asking), Ok(outcome)) = (&asking, &outcome) {
                asking.learn(&question.settlement, outcome);
            }
            self.answer(&active, request, &question, outcome)
        };
        self.count(&watch, decided.await)
    }

    /// Waits for the store's answer as long as the request may. Dropped before that, it was cancelled.
    async fn wait(
        &self,
        ticket: Ticket,
        time_left: Duration,
        span: Option<&CallSpan>,
    ) -> Result<Outcome, StoreError> {
        let pending = self.metrics.pending();
        let patience = self.patience(time_left);
        let outcome = wait(ticket, patience, span).await;
        // The store's own report would have come later.
        if patience < self.store_timeout() && outcome == Err(StoreError::TimedOut) {
            self.metrics.cut_off(CutOff::Deadline);
        }
        pending.ended();
        outcome
    }

    fn active(&self, request: &Request) -> Result<Arc<Active>, CheckError> {
        in_force(request, self.active.load().as_ref()).cloned()
    }

    /// How long a request may wait for the store.
    fn patience(&self, time_left: Duration) -> Duration {
        let (least, most) = (Duration::from_millis(MARGIN_MS.0), Duration::from_millis(MARGIN_MS.1));
        let of_caller = time_left.saturating_sub((time_left / 10).clamp(least, most));
        of_caller.min(self.store_timeout())
    }

    const fn store_timeout(&self) -> Duration {
        Duration::from_millis(self.settings.store_timeout_ms)
    }

    /// Asks the store, if there is anything to ask and it is worth it.
    fn ask_store(&self, settlement: &Settlement) -> Settling {
        if settlement.is_empty() {
            return Settling::Ready(Ok(Outcome::default()));
        }
        if self.watch.as_ref().is_some_and(|watch| watch.is_open()) {
            return Settling::Ready(Err(StoreError::BreakerOpen));
        }
        self.store.settle(settlement)
    }

    fn answer(
        &self,
        active: &Active,
        request: &Request,
        question: &Question<'_>,
        outcome: Result<Outcome, StoreError>,
    ) -> Result<Decision, CheckError> {
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(error) => return self.answer_without_store(active, question, error),
        };
        let ratio = self.settings.near_limit_ratio;
        self.metrics.settled(&active.tally, request, question, &outcome, ratio);
        Ok(answer(request, question, &outcome, &self.settings.answer))
    }

    /// The answer to what is refused without asking the store.
    fn answer_remembered(
        &self,
        active: &Active,
        request: &Request,
        question: &Question<'_>,
        outcome: &Outcome,
    ) -> Decision {
        self.metrics.remembered(&active.tally, request, question, outcome);
        answer(request, question, outcome, &self.settings.answer)
    }

    #[cold]
    fn answer_without_store(
        &self,
        active: &Active,
        question: &Question<'_>,
        error: StoreError,
    ) -> Result<Decision, CheckError> {
        if let Some(watch) = &self.watch {
            watch.unanswered(&error);
        }
        let of_domain = question.domain.and_then(|domain| active.rules.on_store_failure(domain));
        let policy = of_domain.unwrap_or(self.settings.on_store_failure);
        self.metrics.policy_answered(&active.tally, question, policy);
        policy::decide(policy, question).ok_or(CheckError::Store(error))
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

/// The rules that a request that makes sense is asked under.
fn in_force<'a>(request: &Request, active: Option<&'a Arc<Active>>) -> Result<&'a Arc<Active>, CheckError> {
    request.check()?;
    active.ok_or(CheckError::NoRules)
}

/// Waits for a store's answer, in a span of its own if the request is traced.
async fn wait(ticket: Ticket, patience: Duration, span: Option<&CallSpan>) -> Result<Outcome, StoreError> {
    let Some(span) = span else {
        return tokio::time::timeout(patience, ticket).await.unwrap_or(Err(StoreError::TimedOut));
    };
    let asking = span.asking();
    let replied = tokio::time::timeout(patience, ticket.replied()).await;
    let (outcome, exchange) = replied.unwrap_or((Err(StoreError::TimedOut), None));
    asking.end(&outcome, exchange.as_ref());
    outcome
}
