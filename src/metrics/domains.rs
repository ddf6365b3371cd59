//! What is shown per domain, and per value of a label.

use opentelemetry::KeyValue;

use super::families::{Family, Kind};
use crate::engine::Miss;

/// The metrics of domains.
pub(super) fn families() -> impl Iterator<Item = Family> {
    let label_values = Family {
        name: "fluxlimit.label_values",
        description: "Values that the metrics of a rule are told apart by",
        kind: Kind::Gauge,
        read: Box::new(|counts, observe| {
            for (labels, values) in counts.series.values() {
                observe(values, &labels.attributes());
            }
        }),
    };
    let unmatched = Family {
        name: "fluxlimit.unmatched",
        description: "Descriptors that no limit applies to, by the reason",
        kind: Kind::Counter,
        read: Box::new(|counts, observe| {
            let mut count = |domain: &str, miss: Miss, count: u64| {
                let domain = KeyValue::new("domain", domain.to_owned());
                observe(count, &[domain, KeyValue::new("reason", miss.name())]);
            };
            counts.series.each_domain(|name, domain| {
                for (miss, misses) in domain.misses() {
                    count(name, miss, misses);
                }
            });
            for (name, misses) in counts.unknown_domains.lock().iter() {
                count(name, Miss::Domain, *misses);
            }
        }),
    };
    let policy_answers = Family {
        name: "fluxlimit.store.policy_answers",
        description: "Requests that `on_store_failure` answered, since the store did not",
        kind: Kind::Counter,
        read: Box::new(|counts, observe| {
            counts.series.each_domain(|name, domain| {
                for (policy, count) in domain.policy_answers() {
                    let domain = KeyValue::new("domain", name.to_owned());
                    observe(count, &[domain, KeyValue::new("policy", policy.name())]);
                }
            });
        }),
    };
    [label_values, unmatched, policy_answers].into_iter()
}
