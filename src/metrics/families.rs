//! The metrics that have a series for each limit or each domain: as many as the rules say.
//!
//! An instrument of OpenTelemetry reserves room for the most series that it may have when it is made, and keeps each
//! series that it ever saw, twice. So these are made when somebody scrapes, and are instruments only for those who
//! have them pushed, which nothing else can do.

use std::collections::HashMap;
use std::sync::Arc;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{AsyncInstrument, Meter};
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

use super::{Counts, counters, domains, rules};

/// What a metric's series are handed to, one by one.
pub(super) type Observe<'a> = &'a mut dyn FnMut(u64, &[KeyValue]);

type Read = dyn Fn(&Counts, Observe<'_>) + Send + Sync;

/// One metric.
pub(super) struct Family {
    /// Its name as OpenTelemetry has it.
    pub(super) name: &'static str,
    pub(super) description: &'static str,
    pub(super) kind: Kind,
    /// Reads all series.
    pub(super) read: Box<Read>,
}

/// What becomes of a number over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It only grows.
    Counter,
    Gauge,
    /// A gauge of seconds.
    Seconds,
}

impl Family {
    /// Its name as Prometheus has it: as OpenTelemetry's exporter makes it.
    fn prometheus_name(&self) -> String {
        let suffix = match self.kind {
            Kind::Counter => "_total",
            Kind::Gauge => "",
            Kind::Seconds => "_seconds",
        };
        self.name.replace('.', "_") + suffix
    }

    fn metric(&self, value: u64, labels: &[KeyValue]) -> Metric {
        let mut metric = Metric::default();
        metric.set_label(labels.iter().map(label_pair).collect());
        #[expect(clippy::cast_precision_loss, reason = "Prometheus has floats only")]
        let value = value as f64;
        if self.kind == Kind::Counter {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        metric
    }

    fn collect(&self, counts: &Counts) -> MetricFamily {
        let is_counter = self.kind == Kind::Counter;
        // Different rules may read alike, and a page with one series twice is refused as a whole.
        let mut values: HashMap<Vec<KeyValue>, u64> = HashMap::new();
        (self.read)(counts, &mut |value, labels| {
            let mut labels = labels.to_vec();
            labels.sort_unstable_by(|one, other| one.key.cmp(&other.key));
            let shown = values.entry(labels).or_default();
            *shown = if is_counter { shown.saturating_add(value) } else { value };
        });
        let metrics = values.iter().map(|(labels, value)| self.metric(*value, labels)).collect();
        let mut family = MetricFamily::default();
        family.set_name(self.prometheus_name());
        family.set_help(self.description.to_owned());
        family.set_field_type(if is_counter { MetricType::COUNTER } else { MetricType::GAUGE });
        family.set_metric(metrics);
        family
    }

    fn instrument(self, meter: &Meter, counts: Arc<Counts>) {
        let Self { name, description, kind, read } = self;
        let show = move |observer: &dyn AsyncInstrument<u64>| {
            read(&counts, &mut |value, labels| observer.observe(value, labels));
        };
        if kind == Kind::Counter {
            meter.u64_observable_counter(name).with_description(description).with_callback(show).build();
            return;
        }
        let unit = if kind == Kind::Seconds { "s" } else { "" };
        let gauge = meter.u64_observable_gauge(name).with_description(description).with_unit(unit);
        gauge.with_callback(show).build();
    }
}

fn label_pair(label: &KeyValue) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(label.key.as_str().to_owned());
    pair.set_value(label.value.as_str().into_owned());
    pair
}

/// All of them.
fn all() -> impl Iterator<Item = Family> {
    counters::families().chain(domains::families()).chain(rules::families())
}

/// Shows them as instruments of `meter`.
pub(super) fn instruments(meter: &Meter, counts: &Arc<Counts>) {
    for family in all() {
        family.instrument(meter, counts.clone());
    }
}

/// Shows them to whoever scrapes.
pub(super) struct Families {
    counts: Arc<Counts>,
    families: Vec<(Family, Desc)>,
}

impl Families {
    pub(super) fn new(counts: Arc<Counts>) -> Self {
        let families = all().map(|family| {
            let (name, help) = (family.prometheus_name(), family.description.to_owned());
            let desc = Desc::new(name, help, Vec::new(), HashMap::new());
            (family, desc.expect("the name is one of Prometheus's"))
        });
        Self { counts, families: families.collect() }
    }
}

impl Collector for Families {
    fn desc(&self) -> Vec<&Desc> {
        self.families.iter().map(|(_, desc)| desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.families.iter().map(|(family, _)| family.collect(&self.counts)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A family of two series that have the same labels, in another order.
    fn twice(kind: Kind) -> MetricFamily {
        let family = Family {
            name: "fluxlimit.some.thing",
            description: "Something",
            kind,
            read: Box::new(|_, observe| {
                let (domain, rule) = (KeyValue::new("domain", "d"), KeyValue::new("rule", "a > b"));
                observe(2, &[domain.clone(), rule.clone()]);
                observe(3, &[rule, domain]);
            }),
        };
        family.collect(&Counts::default())
    }

    /// A page with one series twice would be refused as a whole.
    #[test]
    fn rules_that_read_alike_share_a_series() {
        let counters = twice(Kind::Counter);
        assert_eq!(counters.name(), "fluxlimit_some_thing_total");
        let [metric] = counters.get_metric() else { panic!("{counters:?}") };
        assert!((metric.get_counter().get_value() - 5.0).abs() < f64::EPSILON, "{metric:?}");
        let gauges = twice(Kind::Seconds);
        assert_eq!(gauges.name(), "fluxlimit_some_thing_seconds");
        let [metric] = gauges.get_metric() else { panic!("{gauges:?}") };
        assert!((metric.get_gauge().get_value() - 3.0).abs() < f64::EPSILON, "{metric:?}");
    }
}
