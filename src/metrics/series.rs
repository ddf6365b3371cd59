//! Which limit counts where: series survive a reload, and their number is bounded.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::counters::LimitCounters;
use crate::engine::Path;
use crate::rules::{LimitInfo, RuleSet};

/// The most values that the metrics of one rule are told apart by; what comes after is counted as `other`.
///
/// Values come from clients, and each is a series in every scraper.
const MAX_VALUES: usize = 1000;

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
    fn of(info: &LimitInfo) -> Self {
        let limit = if info.in_list { info.label() } else { String::new() };
        Self { domain: info.domain.to_string(), rule: info.path.to_string(), limit }
    }
}

/// Every series of every limit.
#[derive(Debug, Default)]
pub(super) struct AllSeries(Mutex<HashMap<Labels, Arc<Series>>>);

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
        let mut path = path.to_string();
        if by_value.len() >= MAX_VALUES && !by_value.contains_key(&path) {
            "other".clone_into(&mut path);
        }
        by_value.entry(path).or_default().clone()
    }
}

impl AllSeries {
    /// The series of each limit of `rules`, by its index. A limit that was there before goes on counting.
    pub(super) fn follow(&self, rules: &RuleSet) -> Vec<Arc<Series>> {
        let mut all = self.0.lock();
        let followed: Vec<Arc<Series>> =
            rules.limits().iter().map(|info| all.entry(Labels::of(info)).or_default().clone()).collect();
        if all.len() > followed.len() + MAX_RETIRED {
            // Only this map and the list just made hold a series that is in force.
            all.retain(|_, series| Arc::strong_count(series) > 1);
        }
        followed
    }

    /// The series of one place that is no limit of the rule set, such as the overrides of a domain.
    pub(super) fn named(&self, domain: &str, rule: &str) -> Arc<Series> {
        let labels = Labels { domain: domain.to_owned(), rule: rule.to_owned(), limit: String::new() };
        self.0.lock().entry(labels).or_default().clone()
    }

    /// One count of every series in which something was counted. What has the same labels is added up: an
    /// override or a value may be named like a rule.
    pub(super) fn totals(&self, read: fn(&LimitCounters) -> u64) -> HashMap<Labels, u64> {
        let mut totals = HashMap::new();
        for (labels, series) in self.0.lock().iter() {
            if series.counters.is_used() {
                *totals.entry(labels.clone()).or_default() += read(&series.counters);
            }
            for (path, counters) in series.by_value.lock().iter() {
                let labels = Labels { rule: path.clone(), ..labels.clone() };
                *totals.entry(labels).or_default() += read(counters);
            }
        }
        totals
    }
}
