//! What is told of the rules in force: since when, and the numbers of each limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;
use parking_lot::Mutex;

use super::Counts;
use super::families::{Family, Kind, Observe};
use super::series::Labels;
use crate::limit::Limit;
use crate::rules::RuleSet;
use crate::time::{Clock, SystemClock};

/// The rules in force and how they came.
#[derive(Debug, Default)]
pub(super) struct RuleCounts {
    in_force: Mutex<Option<Arc<RuleSet>>>,
    /// How many rule sets have been put in force.
    generation: AtomicU64,
    /// Milliseconds since 1970; 0 if never.
    loaded_at_ms: AtomicU64,
    failed_at_ms: AtomicU64,
    loads: AtomicU64,
    failed_loads: AtomicU64,
    is_last_load_good: AtomicBool,
}

impl RuleCounts {
    /// An attempt to load rules has ended.
    pub(super) fn loaded(&self, success: bool) {
        let counter = if success { &self.loads } else { &self.failed_loads };
        counter.fetch_add(1, Relaxed);
        self.is_last_load_good.store(success, Relaxed);
        if !success {
            self.failed_at_ms.store(SystemClock.now().ms(), Relaxed);
        }
    }

    /// `rules` are in force from now on.
    pub(super) fn follow(&self, rules: &Arc<RuleSet>) {
        *self.in_force.lock() = Some(rules.clone());
        self.generation.fetch_add(1, Relaxed);
        self.loaded_at_ms.store(SystemClock.now().ms(), Relaxed);
    }

    /// Not held while somebody looks at them: there may be 100,000 limits.
    fn in_force(&self) -> Option<Arc<RuleSet>> {
        self.in_force.lock().clone()
    }
}

/// Shows the rules of `counts` by `meter`.
pub(super) fn show(meter: &Meter, counts: &Arc<Counts>) {
    loads(meter, counts);
    let of = counts.clone();
    meter
        .u64_observable_gauge("fluxlimit.limits")
        .with_description("Limits in force")
        .with_callback(move |observer| {
            let limits = of.rules.in_force().map_or(0, |rules| rules.limits().len());
            observer.observe(limits as u64, &[]);
        })
        .build();
}

/// The metrics of the numbers of each limit.
pub(super) fn families() -> impl Iterator<Item = Family> {
    let hits =
        each_limit("fluxlimit.limit.hits", Kind::Gauge, "Hits that a limit admits in one period", |limit| {
            Some(limit.count().into())
        });
    let period = each_limit("fluxlimit.limit.period", Kind::Seconds, "Period of a limit", |limit| {
        Some(limit.period_ms() / 1000)
    });
    let burst = "Hits that a bucket admits at once when it is full";
    let burst = each_limit("fluxlimit.limit.burst_hits", Kind::Gauge, burst, |limit| {
        limit.algorithm().is_bucket().then_some(limit.capacity())
    });
    [hits, period, burst].into_iter()
}

fn loads(meter: &Meter, counts: &Arc<Counts>) {
    let of = counts.clone();
    meter
        .u64_observable_counter("fluxlimit.rule_loads")
        .with_description("Attempts to load the rules")
        .with_callback(move |observer| {
            for (result, count) in [("success", &of.rules.loads), ("error", &of.rules.failed_loads)] {
                observer.observe(count.load(Relaxed), &[KeyValue::new("result", result)]);
            }
        })
        .build();
    gauge(
        meter,
        counts,
        "fluxlimit.rules.generation",
        "Rule sets that have been put in force since the start",
        |rules| rules.generation.load(Relaxed),
    );
    gauge(
        meter,
        counts,
        "fluxlimit.rules.last_load_successful",
        "1 if the rules that were read last are good; else the ones before them stay in force",
        |rules| rules.is_last_load_good.load(Relaxed).into(),
    );
    timestamp(
        meter,
        counts,
        "fluxlimit.rules.loaded_timestamp",
        "When the rules in force were loaded, in seconds since 1970; 0 before the first",
        |rules| &rules.loaded_at_ms,
    );
    timestamp(
        meter,
        counts,
        "fluxlimit.rules.failed_timestamp",
        "When rules could not be loaded the last time, in seconds since 1970; 0 if never",
        |rules| &rules.failed_at_ms,
    );
}

fn gauge(
    meter: &Meter,
    counts: &Arc<Counts>,
    name: &'static str,
    description: &'static str,
    read: fn(&RuleCounts) -> u64,
) {
    let of = counts.clone();
    meter
        .u64_observable_gauge(name)
        .with_description(description)
        .with_callback(move |observer| observer.observe(read(&of.rules), &[]))
        .build();
}

fn timestamp(
    meter: &Meter,
    counts: &Arc<Counts>,
    name: &'static str,
    description: &'static str,
    read: fn(&RuleCounts) -> &AtomicU64,
) {
    let of = counts.clone();
    meter
        .f64_observable_gauge(name)
        .with_unit("s")
        .with_description(description)
        .with_callback(move |observer| observer.observe(seconds(read(&of.rules).load(Relaxed)), &[]))
        .build();
}

/// A number of each limit in force that has it.
fn each_limit(
    name: &'static str,
    kind: Kind,
    description: &'static str,
    number: fn(&Limit) -> Option<u64>,
) -> Family {
    let read = move |counts: &Counts, observe: Observe<'_>| {
        let Some(rules) = counts.rules.in_force() else { return };
        for info in rules.limits() {
            if let Some((limit, value)) = info.limit.and_then(|limit| Some((limit, number(&limit)?))) {
                let mut attributes = Labels::of(info).attributes();
                attributes.push(KeyValue::new("algorithm", limit.algorithm().name()));
                observe(value, &attributes);
            }
        }
    };
    Family { name, description, kind, read: Box::new(read) }
}

#[expect(clippy::cast_precision_loss, reason = "exact for 285,000 years")]
fn seconds(ms: u64) -> f64 {
    ms as f64 / 1e3
}
