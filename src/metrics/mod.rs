//! What the server counts, in one place: names, labels, and the text that Prometheus scrapes.
//!
//! Hits are counted per limit in plain atomics, which are read when somebody scrapes.

mod counters;
mod decisions;
mod domains;
mod export;
mod families;
mod front;
mod process;
mod rules;
mod series;
mod store;
mod tls;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use opentelemetry::metrics::Histogram;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use parking_lot::Mutex;

use crate::algorithm::Verdict;
use crate::engine::{Charge, Code, Matched, Outcome, Question};
use crate::otlp;
use crate::request::Request;
use crate::rules::{OnStoreFailure, RuleSet};
use decisions::Decisions;
use front::FrontCounts;
use rules::RuleCounts;
use series::AllSeries;

pub use counters::LimitCounters;
pub use front::{CutOff, Listener, OpenConnection, Pending, WaitingCalls};
pub use series::{DomainCounters, Series, Tally};
pub use store::StoreMetrics;
pub use tls::{Handshake, TlsCounts};

/// The most domains without rules that are told apart; their names come from requests.
const MAX_UNKNOWN_DOMAINS: usize = 100;

/// How often metrics are pushed unless settings say otherwise, in milliseconds; OpenTelemetry's own default.
const DEFAULT_PUSH_MS: u64 = 60_000;

/// Whether metrics are pushed as well as scraped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Whether they are pushed by OTLP.
    pub otlp: bool,
    /// How often, in milliseconds.
    pub otlp_interval_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { otlp: false, otlp_interval_ms: DEFAULT_PUSH_MS }
    }
}

/// Everything that is counted.
#[derive(Debug)]
pub struct Metrics {
    counts: Arc<Counts>,
    /// The times of decisions once more, for what pushes them.
    pushed_decision_s: Option<Histogram<f64>>,
    registry: prometheus::Registry,
    /// Keeps the instruments alive.
    provider: SdkMeterProvider,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Metrics {
    fn drop(&mut self) {
        if self.pushes() {
            // Dropped, the provider pushes once more and waits for it. After `stop` it does nothing. A server that
            // ends at once must not wait for a collector.
            let provider = self.provider.clone();
            std::thread::spawn(move || drop(provider.shutdown()));
        }
    }
}

/// The counts that are read at a scrape.
#[derive(Debug, Default)]
struct Counts {
    series: AllSeries,
    decisions: Decisions,
    front: FrontCounts,
    rules: RuleCounts,
    errors: AtomicU64,
    global_shadow: AtomicU64,
    unknown_domains: Mutex<HashMap<String, u64>>,
}

/// A number that is asked for at a scrape.
pub struct Gauge {
    /// Its name, with dots.
    pub name: &'static str,
    /// What it says.
    pub description: &'static str,
    /// How to read it.
    pub read: Box<dyn Fn() -> u64 + Send + Sync>,
}

impl std::fmt::Debug for Gauge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gauge").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Metrics {
    /// Nothing counted yet.
    #[must_use]
    pub fn new() -> Self {
        export::metrics(Arc::default())
    }

    /// The same, pushed by `exporter` every `interval_ms` milliseconds, as the metrics of `resource`.
    #[must_use]
    pub fn pushed(exporter: impl PushMetricExporter, interval_ms: u64, resource: Resource) -> Self {
        export::pushed(Arc::default(), export::reader(exporter, interval_ms), resource)
    }

    const fn pushes(&self) -> bool {
        self.pushed_decision_s.is_some()
    }

    /// Pushes what was counted since the last time, in bounded time, if metrics are pushed.
    pub async fn stop(&self) {
        if !self.pushes() {
            return;
        }
        let provider = self.provider.clone();
        otlp::finish("metrics", move |most| provider.shutdown_with_timeout(most)).await;
    }

    /// Shows a number from now on.
    pub fn show(&self, gauge: Gauge) {
        export::gauge(&self.provider, gauge);
    }

    /// The counts of the store, shown from now on.
    #[must_use]
    pub fn of_store(&self) -> StoreMetrics {
        export::store(&self.provider)
    }

    /// Shows the counts of all listeners that speak TLS from now on. To be called once.
    pub fn show_tls(&self, listeners: Vec<Arc<TlsCounts>>) {
        export::show_tls(&self.provider, listeners);
    }

    /// Shows how many requests wait to be sent to a shared store, and how many may, from now on.
    pub fn show_waiting(
        &self,
        waiting: impl Fn() -> usize + Send + Sync + 'static,
        max_waiting: impl Fn() -> usize + Send + Sync + 'static,
    ) {
        self.show(Gauge {
            name: "fluxlimit.store.max_waiting",
            description: "Requests that may wait to be sent to the store",
            read: Box::new(move || max_waiting() as u64),
        });
        self.show(Gauge {
            name: "fluxlimit.store.waiting",
            description: "Requests that wait to be sent to the store",
            read: Box::new(move || waiting() as u64),
        });
    }

    /// Where `rules` are counted. Limits and domains that were there before go on counting.
    #[must_use]
    pub fn follow(&self, rules: &Arc<RuleSet>) -> Tally {
        self.counts.rules.follow(rules);
        self.counts.series.follow(rules)
    }

    /// Counts what a request asked and what came of it, where the rules that it was asked under are counted.
    pub fn settled(
        &self,
        tally: &Tally,
        request: &Request,
        question: &Question<'_>,
        outcome: &Outcome,
        near_limit_ratio: f32,
    ) {
        self.count(tally, request, question, outcome, |counters, charge, verdict| {
            counters.record(charge, verdict, near_limit_ratio);
        });
    }

    /// The same of a request that was refused without asking the store.
    pub fn remembered(&self, tally: &Tally, request: &Request, question: &Question<'_>, outcome: &Outcome) {
        self.count(tally, request, question, outcome, LimitCounters::record_remembered);
    }

    fn count(
        &self,
        tally: &Tally,
        request: &Request,
        question: &Question<'_>,
        outcome: &Outcome,
        record: impl Fn(&LimitCounters, &Charge, &Verdict),
    ) {
        let domain = question.domain.map(|index| &*tally.domains[index]);
        for matched in &question.matched {
            match (matched, domain) {
                (Matched::Nothing(miss), Some(domain)) => domain.count_miss(*miss),
                (Matched::Nothing(_), None) => self.count_unknown_domain(&request.domain),
                _ => {}
            }
        }
        let charges = question.settlement.charges().iter().zip(&outcome.verdicts);
        for (index, (charge, verdict)) in charges.enumerate() {
            let own = match (question.limits[index], domain) {
                (Some(facts), _) => &tally.limits[facts.index],
                (None, Some(domain)) => domain.overrides(),
                // Charges come of a domain's rules.
                (None, None) => continue,
            };
            if let Some(path) = &question.metric_paths[index] {
                record(&own.at(path), charge, verdict);
            } else {
                record(own.counters(), charge, verdict);
            }
            if outcome.overflowed.contains(&index) {
                own.counters().record_overflow(charge);
            }
        }
        let settlement = &question.settlement;
        let allowed = |index: usize| outcome.verdicts[index].allowed;
        if settlement.global_shadow && settlement.refuses(&settlement.refused_groups(allowed)) {
            self.counts.global_shadow.fetch_add(1, Relaxed);
        }
    }

    /// Counts an answer and how long it took.
    pub fn answered(&self, code: Code, took: Duration) {
        self.counts.decisions.count(code, took);
        if let Some(decision_s) = &self.pushed_decision_s {
            decision_s.record(took.as_secs_f64(), &[]);
        }
    }

    /// Counts a request that got no answer.
    pub fn failed(&self) {
        self.counts.errors.fetch_add(1, Relaxed);
    }

    /// Counts a request that the store did not answer, where the rules that it was asked under are counted:
    /// `policy` gave the answer.
    pub fn policy_answered(&self, tally: &Tally, question: &Question<'_>, policy: OnStoreFailure) {
        // Only a domain's rules have limits to ask a store about.
        if let Some(domain) = question.domain {
            tally.domains[domain].count_policy_answer(policy);
        }
    }

    /// Counts an attempt to load rules.
    pub fn loaded(&self, success: bool) {
        self.counts.rules.loaded(success);
    }

    /// Counts a connection to a listener as open, until what is returned is dropped.
    #[must_use]
    pub fn connected(&self, listener: Listener) -> OpenConnection {
        OpenConnection::new(self.counts.clone(), listener)
    }

    /// Shows how many connections to a listener may be open at once.
    pub fn set_max_connections(&self, listener: Listener, most: usize) {
        self.counts.front.set_max_connections(listener, most as u64);
    }

    /// Counts the calls of a connection that wait.
    #[must_use]
    pub fn waiting_calls(&self) -> WaitingCalls {
        WaitingCalls::new(self.counts.clone())
    }

    /// Counts a request as cancelled, unless it comes to its end.
    #[must_use]
    pub fn pending(&self) -> Pending<'_> {
        Pending::new(&self.counts)
    }

    /// Counts a request whose caller did not wait for what the rules say.
    pub fn cut_off(&self, why: CutOff) {
        self.counts.front.cut_off(why);
    }

    /// Counts a request that a listener refused because it held too much of unfinished ones.
    pub fn overloaded(&self, listener: Listener) {
        self.counts.front.overloaded(listener);
    }

    /// Everything in the text format of Prometheus.
    #[must_use]
    pub fn text(&self) -> String {
        export::text(&self.registry)
    }

    fn count_unknown_domain(&self, domain: &[u8]) {
        let mut unknown = self.counts.unknown_domains.lock();
        let mut name = series::label(String::from_utf8_lossy(domain).into_owned());
        if unknown.len() >= MAX_UNKNOWN_DOMAINS && !unknown.contains_key(&name) {
            "other".clone_into(&mut name);
        }
        *unknown.entry(name).or_default() += 1;
    }
}

/// Fails unless what is scraped has that line.
#[cfg(test)]
fn assert_shown(metrics: &Metrics, line: &str) {
    let text = metrics.text();
    assert!(text.contains(&format!("\n{line}\n")), "no {line} in:\n{text}");
}
