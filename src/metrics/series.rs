//! Which limit counts where: series survive a reload, and their number is bounded.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use opentelemetry::KeyValue;
use parking_lot::Mutex;

use super::counters::LimitCounters;
use crate::engine::{Miss, Path};
use crate::rules::{LimitInfo, OnStoreFailure, RuleSet};

/// The most values that the metrics of one rule are told apart by; what comes after is counted as `other`.
///
/// Values come from clients, and each is a series in every scraper.
pub(super) const MAX_VALUES: usize = 1000;

/// The most bytes of a label that a client has a say in. Longer ones are cut, and what begins alike is
/// counted together: Envoy passes on headers of any length.
const MAX_LABEL_BYTES: usize = 512;

/// How many series are kept of rules that are gone, so that a rule which comes back goes on counting.
const MAX_RETIRED: usize = 10_000;

/// The labels of one series.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Labels {
    pub(super) domain: String,
    /// The way to the rule, or to what it counted.
    pub(super) rule: String,
    /// Which limit of the rule; empty unless it has several.
    pub(super) limit: String,
}

impl Labels {
    pub(super) fn of(info: &LimitInfo) -> Self {
        let limit = if info.in_list { info.label() } else { String::new() };
        Self { domain: info.domain.to_string(), rule: info.path.to_string(), limit }
    }

    /// As OpenTelemetry takes them.
    pub(super) fn attributes(self) -> Vec<KeyValue> {
        let mut attributes = vec![KeyValue::new("domain", self.domain), KeyValue::new("rule", self.rule)];
        if !self.limit.is_empty() {
            attributes.push(KeyValue::new("limit", self.limit));
        }
        attributes
    }
}

/// Every series of every limit, and of every domain that had rules.
#[derive(Debug, Default)]
pub(super) struct AllSeries {
    limits: Mutex<HashMap<Labels, Arc<Series>>>,
    domains: Mutex<HashMap<String, Arc<DomainCounters>>>,
}

/// Where the limits and domains of one rule set are counted, by their index.
#[derive(Debug)]
pub struct Tally {
    pub(super) limits: Vec<Arc<Series>>,
    pub(super) domains: Vec<Arc<DomainCounters>>,
}

/// What is counted per domain.
#[derive(Debug, Default)]
pub struct DomainCounters {
    /// Descriptors without a limit, by [`Miss::ALL`].
    misses: [AtomicU64; Miss::ALL.len()],
    /// Answers that a policy gave, by [`OnStoreFailure::ALL`].
    policy_answers: [AtomicU64; OnStoreFailure::ALL.len()],
    /// The limits that came with requests.
    overrides: Series,
}

impl DomainCounters {
    pub(super) fn count_miss(&self, miss: Miss) {
        self.misses[miss as usize].fetch_add(1, Relaxed);
    }

    /// How often each reason was met, if it was.
    pub(super) fn misses(&self) -> impl Iterator<Item = (Miss, u64)> + '_ {
        let counted = Miss::ALL.into_iter().zip(&self.misses);
        counted.map(|(miss, count)| (miss, count.load(Relaxed))).filter(|(_, count)| *count > 0)
    }

    pub(super) fn count_policy_answer(&self, policy: OnStoreFailure) {
        self.policy_answers[policy as usize].fetch_add(1, Relaxed);
    }

    /// How often each policy gave an answer, if it did.
    pub(super) fn policy_answers(&self) -> impl Iterator<Item = (OnStoreFailure, u64)> + '_ {
        let counted = OnStoreFailure::ALL.into_iter().zip(&self.policy_answers);
        counted.map(|(policy, count)| (policy, count.load(Relaxed))).filter(|(_, count)| *count > 0)
    }

    pub(super) fn overrides(&self) -> &Series {
        &self.overrides
    }
}

/// The counts of one limit, and of the values that it is told apart by.
#[derive(Debug, Default)]
pub struct Series {
    counters: LimitCounters,
    by_value: Mutex<HashMap<String, Arc<LimitCounters>>>,
}

impl Series {
    /// The counts of the limit itself.
    pub(super) fn counters(&self) -> &LimitCounters {
        &self.counters
    }

    /// The counts of one path below the rule, or of `other`.
    pub(super) fn at(&self, path: &Path) -> Arc<LimitCounters> {
        let mut by_value = self.by_value.lock();
        let mut path = label(path.to_string());
        if by_value.len() >= MAX_VALUES && !by_value.contains_key(&path) {
            "other".clone_into(&mut path);
        }
        by_value.entry(path).or_default().clone()
    }

    /// How many values it is told apart by.
    fn values(&self) -> u64 {
        self.by_value.lock().len() as u64
    }

    fn add_to(&self, totals: &mut HashMap<Labels, u64>, labels: &Labels, read: fn(&LimitCounters) -> u64) {
        if self.counters.is_used() {
            *totals.entry(labels.clone()).or_default() += read(&self.counters);
        }
        for (path, counters) in self.by_value.lock().iter() {
            let labels = Labels { rule: path.clone(), ..labels.clone() };
            *totals.entry(labels).or_default() += read(counters);
        }
    }
}

/// `text` as the value of a label, cut if it is too long.
pub(super) fn label(mut text: String) -> String {
    if text.len() > MAX_LABEL_BYTES {
        text.truncate(text.floor_char_boundary(MAX_LABEL_BYTES));
        text.push('…');
    }
    text
}

impl AllSeries {
    /// Where `rules` are counted. What was there before goes on counting.
    pub(super) fn follow(&self, rules: &RuleSet) -> Tally {
        let mut all = self.limits.lock();
        let limits: Vec<Arc<Series>> =
            rules.limits().iter().map(|info| all.entry(Labels::of(info)).or_default().clone()).collect();
        if all.len() > limits.len() + MAX_RETIRED {
            // Only this map and the list just made hold a series that is in force.
            all.retain(|_, series| Arc::strong_count(series) > 1);
        }
        let mut known = self.domains.lock();
        let domains: Vec<Arc<DomainCounters>> =
            rules.domains().map(|name| known.entry(name.to_owned()).or_default().clone()).collect();
        if known.len() > domains.len() + MAX_RETIRED {
            known.retain(|_, domain| Arc::strong_count(domain) > 1);
        }
        Tally { limits, domains }
    }

    /// One count of every series in which something was counted. What has the same labels is added up: an
    /// override or a value may be named like a rule.
    pub(super) fn totals(&self, read: fn(&LimitCounters) -> u64) -> HashMap<Labels, u64> {
        let mut totals = HashMap::new();
        for (labels, series) in self.limits.lock().iter() {
            series.add_to(&mut totals, labels, read);
        }
        for (domain, counters) in self.domains.lock().iter() {
            let labels = Labels { domain: domain.clone(), rule: String::new(), limit: String::new() };
            counters.overrides.add_to(&mut totals, &labels, read);
        }
        totals
    }

    /// How many values each series is told apart by, of those that are told apart at all; overrides without a
    /// rule.
    pub(super) fn values(&self) -> HashMap<Labels, u64> {
        let mut values = HashMap::new();
        for (labels, series) in self.limits.lock().iter() {
            values.insert(labels.clone(), series.values());
        }
        for (domain, counters) in self.domains.lock().iter() {
            let labels = Labels { domain: domain.clone(), rule: String::new(), limit: String::new() };
            values.insert(labels, counters.overrides.values());
        }
        values.retain(|_, values| *values > 0);
        values
    }

    /// Calls `visit` with every domain that had rules.
    pub(super) fn each_domain(&self, mut visit: impl FnMut(&str, &DomainCounters)) {
        for (name, domain) in self.domains.lock().iter() {
            visit(name, domain);
        }
    }
}
