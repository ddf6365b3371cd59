//! The instruments, and how they become text.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Meter, MeterProvider};
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::reader::MetricReader;
use opentelemetry_sdk::metrics::{MeterProviderBuilder, PeriodicReader, SdkMeterProvider, Stream};
use prometheus::{Encoder, TextEncoder};

use super::counters::COUNTS;
use super::{Counts, Gauge, Metrics, StoreMetrics, TlsCounts, tls};
use crate::engine::Miss;

/// The name of our instruments among those of libraries; it is not exported.
const SCOPE: &str = "fluxlimit";

/// The most series of one instrument. What becomes a series is bounded where it is counted; this only lifts
/// the default of 2,000, above which all are thrown together.
const MAX_SERIES: usize = 1_000_000;

/// Upper bounds of the histogram of decision times, in seconds: from a decision in memory to Envoy's default
/// timeout of 20 ms and beyond.
const DECISION_BOUNDS_S: [f64; 14] = [
    0.000_005, 0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.02,
    0.05, 0.1,
];

/// What pushes metrics from time to time.
pub(super) fn reader(exporter: impl PushMetricExporter, interval_ms: u64) -> impl MetricReader {
    PeriodicReader::builder(exporter).with_interval(Duration::from_millis(interval_ms)).build()
}

/// The instruments of `counts`, shown by whatever readers `with` adds to that of Prometheus.
pub(super) fn metrics(
    counts: Arc<Counts>,
    with: impl FnOnce(MeterProviderBuilder) -> MeterProviderBuilder,
) -> Metrics {
    let registry = prometheus::Registry::new();
    let exporter = opentelemetry_prometheus::exporter()
        .with_registry(registry.clone())
        .scope_info_enabled(false)
        .without_target_info()
        .build()
        .expect("a new registry has no collector that could clash");
    let provider = SdkMeterProvider::builder()
        .with_reader(exporter)
        .with_view(|_: &_| Stream::builder().with_cardinality_limit(MAX_SERIES).build().ok());
    let provider = with(provider).build();
    let meter = provider.meter(SCOPE);
    let decision_s = meter
        .f64_histogram("fluxlimit.decision.duration")
        .with_unit("s")
        .with_description("Time from a decoded request to its decision")
        .with_boundaries(DECISION_BOUNDS_S.to_vec())
        .build();
    limits(&meter, &counts);
    decisions(&meter, &counts);
    unmatched(&meter, &counts);
    policy_answers(&meter, &counts);
    Metrics { counts, decision_s, registry, provider, pushes: false }
}

pub(super) fn text(registry: &prometheus::Registry) -> String {
    let mut text = Vec::new();
    match TextEncoder::new().encode(&registry.gather(), &mut text) {
        Ok(()) => String::from_utf8_lossy(&text).into_owned(),
        Err(error) => format!("# cannot encode the metrics: {error}\n"),
    }
}

fn limits(meter: &Meter, counts: &Arc<Counts>) {
    for count in COUNTS {
        let counts = counts.clone();
        meter
            .u64_observable_counter(count.name)
            .with_description(count.description)
            .with_callback(move |observer| {
                for (labels, total) in counts.series.totals(count.read) {
                    let mut attributes =
                        vec![KeyValue::new("domain", labels.domain), KeyValue::new("rule", labels.rule)];
                    if !labels.limit.is_empty() {
                        attributes.push(KeyValue::new("limit", labels.limit));
                    }
                    observer.observe(total, &attributes);
                }
            })
            .build();
    }
}

fn decisions(meter: &Meter, counts: &Arc<Counts>) {
    let of = counts.clone();
    meter
        .u64_observable_counter("fluxlimit.decisions")
        .with_description("Requests by how they were answered")
        .with_callback(move |observer| {
            let answers = [("ok", &of.ok), ("over_limit", &of.over_limit), ("error", &of.errors)];
            for (code, count) in answers {
                observer.observe(count.load(Relaxed), &[KeyValue::new("code", code)]);
            }
        })
        .build();
    let of = counts.clone();
    meter
        .u64_observable_counter("fluxlimit.global_shadow")
        .with_description("Requests that only the global shadow mode let pass")
        .with_callback(move |observer| observer.observe(of.global_shadow.load(Relaxed), &[]))
        .build();
    let of = counts.clone();
    meter
        .u64_observable_counter("fluxlimit.rule_loads")
        .with_description("Attempts to load the rules")
        .with_callback(move |observer| {
            for (result, count) in [("success", &of.loads), ("error", &of.failed_loads)] {
                observer.observe(count.load(Relaxed), &[KeyValue::new("result", result)]);
            }
        })
        .build();
    let of = counts.clone();
    meter
        .u64_observable_gauge("fluxlimit.limits")
        .with_description("Limits in force")
        .with_callback(move |observer| observer.observe(of.rules.load(Relaxed), &[]))
        .build();
}

fn unmatched(meter: &Meter, counts: &Arc<Counts>) {
    let of = counts.clone();
    meter
        .u64_observable_counter("fluxlimit.unmatched")
        .with_description("Descriptors that no limit applies to, by the reason")
        .with_callback(move |observer| {
            let observe = |domain: &str, miss: Miss, count: u64| {
                let domain = KeyValue::new("domain", domain.to_owned());
                observer.observe(count, &[domain, KeyValue::new("reason", miss.name())]);
            };
            of.series.each_domain(|name, domain| {
                for (miss, count) in domain.misses() {
                    observe(name, miss, count);
                }
            });
            for (name, count) in of.unknown_domains.lock().iter() {
                observe(name, Miss::Domain, *count);
            }
        })
        .build();
}

fn policy_answers(meter: &Meter, counts: &Arc<Counts>) {
    let of = counts.clone();
    meter
        .u64_observable_counter("fluxlimit.store.policy_answers")
        .with_description("Requests that `on_store_failure` answered, since the store did not")
        .with_callback(move |observer| {
            of.series.each_domain(|name, domain| {
                for (policy, count) in domain.policy_answers() {
                    let domain = KeyValue::new("domain", name.to_owned());
                    observer.observe(count, &[domain, KeyValue::new("policy", policy.name())]);
                }
            });
        })
        .build();
}

pub(super) fn store(provider: &SdkMeterProvider) -> StoreMetrics {
    StoreMetrics::new(&provider.meter(SCOPE))
}

pub(super) fn show_tls(provider: &SdkMeterProvider, listeners: Vec<Arc<TlsCounts>>) {
    tls::show(&provider.meter(SCOPE), listeners);
}

pub(super) fn gauge(provider: &SdkMeterProvider, gauge: Gauge) {
    provider
        .meter(SCOPE)
        .u64_observable_gauge(gauge.name)
        .with_description(gauge.description)
        .with_callback(move |observer| observer.observe((gauge.read)(), &[]))
        .build();
}
