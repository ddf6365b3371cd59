//! The instruments, and how they become text.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Meter, MeterProvider};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::reader::MetricReader;
use opentelemetry_sdk::metrics::{MeterProviderBuilder, PeriodicReader, SdkMeterProvider, Stream};
use prometheus::{Encoder, TextEncoder};

use super::decisions::{self, Times};
use super::families::{self, Families};
use super::series::MAX_VALUES;
use super::{
    Counts, Gauge, MAX_UNKNOWN_DOMAINS, Metrics, StoreMetrics, TlsCounts, front, process, rules, tls,
};

/// The name of our instruments among those of libraries; it is not exported.
const SCOPE: &str = "fluxlimit";

/// The most series of one instrument that is pushed. What becomes a series is bounded where it is counted; this only
/// lifts the default of 2,000, above which all are thrown together.
const MAX_SERIES: usize = 1_000_000;

/// What pushes metrics from time to time.
pub(super) fn reader(exporter: impl PushMetricExporter, interval_ms: u64) -> impl MetricReader {
    PeriodicReader::builder(exporter).with_interval(Duration::from_millis(interval_ms)).build()
}

/// The instruments of `counts`, shown to whoever scrapes.
pub(super) fn metrics(counts: Arc<Counts>) -> Metrics {
    let (registry, provider) = provider();
    let provider = provider.build();
    registry.register(Box::new(Times::new(counts.clone()))).expect("nothing else has its name");
    registry.register(Box::new(Families::new(counts.clone()))).expect("nothing else has their names");
    instruments(counts, registry, provider)
}

/// The same, pushed by `reader` as well, as the metrics of `resource`.
///
/// What is pushed comes from OpenTelemetry's instruments alone, and they have no histogram that is read when it is
/// needed. So here each decision is recorded with one of theirs, which costs more. Those with many series reserve
/// room for the most that there may be: about 30 MB.
pub(super) fn pushed(counts: Arc<Counts>, reader: impl MetricReader, resource: Resource) -> Metrics {
    let (registry, provider) = provider();
    let provider = provider
        .with_view(|_: &_| Stream::builder().with_cardinality_limit(MAX_SERIES).build().ok())
        .with_reader(reader)
        .with_resource(resource)
        .build();
    families::instruments(&provider.meter(SCOPE), &counts);
    let decision_s = provider
        .meter(SCOPE)
        .f64_histogram(decisions::NAME)
        .with_unit("s")
        .with_description(decisions::DESCRIPTION)
        .with_boundaries(decisions::bounds_s())
        .build();
    let mut metrics = instruments(counts, registry, provider);
    metrics.pushed_decision_s = Some(decision_s);
    metrics
}

/// A provider that Prometheus reads from, through the registry.
fn provider() -> (prometheus::Registry, MeterProviderBuilder) {
    let registry = prometheus::Registry::new();
    let exporter = opentelemetry_prometheus::exporter()
        .with_registry(registry.clone())
        .scope_info_enabled(false)
        .without_target_info()
        .build()
        .expect("a new registry has no collector that could clash");
    (registry, SdkMeterProvider::builder().with_reader(exporter))
}

fn instruments(counts: Arc<Counts>, registry: prometheus::Registry, provider: SdkMeterProvider) -> Metrics {
    let meter = provider.meter(SCOPE);
    label_values(&meter, &counts);
    answers(&meter, &counts);
    front::show(&meter, &counts);
    process::show(&meter);
    rules::show(&meter, &counts);
    build_info(&meter);
    Metrics { counts, pushed_decision_s: None, registry, provider }
}

pub(super) fn text(registry: &prometheus::Registry) -> String {
    let mut text = Vec::new();
    match TextEncoder::new().encode(&registry.gather(), &mut text) {
        Ok(()) => String::from_utf8_lossy(&text).into_owned(),
        Err(error) => format!("# cannot encode the metrics: {error}\n"),
    }
}

/// How near the labels that come from requests are to their bounds.
fn label_values(meter: &Meter, counts: &Arc<Counts>) {
    let of = counts.clone();
    meter
        .u64_observable_gauge("fluxlimit.unknown_domains")
        .with_description("Domains without rules that the metrics tell apart")
        .with_callback(move |observer| observer.observe(of.unknown_domains.lock().len() as u64, &[]))
        .build();
    let bounds = [
        (
            "fluxlimit.max_label_values",
            "Values that the metrics of a rule are told apart by at most",
            MAX_VALUES,
        ),
        (
            "fluxlimit.max_unknown_domains",
            "Domains without rules that the metrics tell apart at most",
            MAX_UNKNOWN_DOMAINS,
        ),
    ];
    for (name, description, bound) in bounds {
        meter
            .u64_observable_gauge(name)
            .with_description(description)
            .with_callback(move |observer| observer.observe(bound as u64, &[]))
            .build();
    }
}

fn answers(meter: &Meter, counts: &Arc<Counts>) {
    let of = counts.clone();
    meter
        .u64_observable_counter("fluxlimit.decisions")
        .with_description("Requests by how they were answered")
        .with_callback(move |observer| {
            let (ok, over_limit) = (of.decisions.ok(), of.decisions.over_limit());
            for (code, count) in [("ok", ok), ("over_limit", over_limit), ("error", of.errors.load(Relaxed))]
            {
                observer.observe(count, &[KeyValue::new("code", code)]);
            }
        })
        .build();
    let of = counts.clone();
    meter
        .u64_observable_counter("fluxlimit.global_shadow")
        .with_description("Requests that only the global shadow mode let pass")
        .with_callback(move |observer| observer.observe(of.global_shadow.load(Relaxed), &[]))
        .build();
}

fn build_info(meter: &Meter) {
    meter
        .u64_observable_gauge("fluxlimit.build_info")
        .with_description("1, with the version as a label")
        .with_callback(|observer| {
            observer.observe(1, &[KeyValue::new("version", env!("CARGO_PKG_VERSION"))]);
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
