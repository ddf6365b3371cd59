//! What the server counts, in one place: names, labels, and the text that Prometheus scrapes.
//!
//! Hits are counted per limit in plain atomics; OpenTelemetry reads them when somebody scrapes.

mod counters;
mod export;
mod series;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use opentelemetry::metrics::Histogram;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use parking_lot::Mutex;

use crate::engine::{Code, Matched, Miss, Outcome, Question};
use crate::rules::RuleSet;
use series::AllSeries;

pub use counters::LimitCounters;
pub use series::Series;

/// The most domains without rules that are told apart; their names come from requests.
const MAX_UNKNOWN_DOMAINS: usize = 100;

/// Everything that is counted.
#[derive(Debug)]
pub struct Metrics {
    counts: Arc<Counts>,
    decision_s: Histogram<f64>,
    registry: prometheus::Registry,
    /// Keeps the instruments alive.
    _provider: SdkMeterProvider,
}

/// The counts that are read at a scrape.
#[derive(Debug, Default)]
struct Counts {
    series: AllSeries,
    ok: AtomicU64,
    over_limit: AtomicU64,
    errors: AtomicU64,
    global_shadow: AtomicU64,
    loads: AtomicU64,
    failed_loads: AtomicU64,
    rules: AtomicU64,
    unmatched: Mutex<HashMap<(String, Miss), u64>>,
    gauges: Mutex<Vec<Gauge>>,
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
    /// Nothing counted yet; `gauges` are read whenever somebody scrapes.
    #[must_use]
    pub fn new(gauges: Vec<Gauge>) -> Self {
        let counts = Arc::new(Counts { gauges: Mutex::new(gauges), ..Counts::default() });
        export::metrics(counts)
    }

    /// Where the limits of `rules` are counted, by their index. Limits that were there before go on.
    #[must_use]
    pub fn follow(&self, rules: &RuleSet) -> Vec<Arc<Series>> {
        let limits = u64::try_from(rules.limits().len()).unwrap_or(u64::MAX);
        self.counts.rules.store(limits, Relaxed);
        self.counts.series.follow(rules)
    }

    /// Counts the charges of a request, held against the limits whose series are `series`.
    pub fn settled(
        &self,
        domain: &[u8],
        question: &Question<'_>,
        outcome: &Outcome,
        series: &[Arc<Series>],
        near_limit_ratio: f32,
    ) {
        let charges = question.settlement.charges().iter().zip(&outcome.verdicts);
        for (index, (charge, verdict)) in charges.enumerate() {
            let overridden;
            let own = if let Some(facts) = question.limits[index] {
                &series[facts.index]
            } else {
                overridden = self.counts.series.named(&String::from_utf8_lossy(domain), "override");
                &overridden
            };
            if let Some(path) = &question.metric_paths[index] {
                own.at(path).record(charge, verdict, near_limit_ratio);
            } else {
                own.counters().record(charge, verdict, near_limit_ratio);
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

    /// Counts the descriptors for which there was no limit.
    pub fn matched(&self, domain: &[u8], question: &Question<'_>) {
        for matched in &question.matched {
            if let Matched::Nothing(miss) = matched {
                self.unmatched(domain, *miss);
            }
        }
    }

    /// Counts an answer and how long it took.
    pub fn answered(&self, code: Code, took: Duration) {
        let counter = match code {
            Code::Ok => &self.counts.ok,
            Code::OverLimit => &self.counts.over_limit,
        };
        counter.fetch_add(1, Relaxed);
        self.decision_s.record(took.as_secs_f64(), &[]);
    }

    /// Counts a request that got no answer.
    pub fn failed(&self) {
        self.counts.errors.fetch_add(1, Relaxed);
    }

    /// Counts an attempt to load rules.
    pub fn loaded(&self, success: bool) {
        let counter = if success { &self.counts.loads } else { &self.counts.failed_loads };
        counter.fetch_add(1, Relaxed);
    }

    /// Everything in the text format of Prometheus.
    #[must_use]
    pub fn text(&self) -> String {
        export::text(&self.registry)
    }

    fn unmatched(&self, domain: &[u8], miss: Miss) {
        let mut unmatched = self.counts.unmatched.lock();
        let mut name = String::from_utf8_lossy(domain).into_owned();
        let unknown = unmatched.keys().filter(|(_, miss)| *miss == Miss::Domain).count();
        let known = unmatched.contains_key(&(name.clone(), miss));
        if miss == Miss::Domain && !known && unknown >= MAX_UNKNOWN_DOMAINS {
            "other".clone_into(&mut name);
        }
        *unmatched.entry((name, miss)).or_default() += 1;
    }
}
