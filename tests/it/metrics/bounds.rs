//! The number of series, whatever is asked.

use std::sync::Arc;
use std::time::Duration;

use fluxlimit::limiter::{Limiter, Settings};
use fluxlimit::metrics::Metrics;
use fluxlimit::request::{Descriptor, Entry, Override, Request};
use fluxlimit::rules::RuleSet;
use fluxlimit::rules::load::{LoadOptions, Source, load};
use fluxlimit::store::memory::{self, MemoryStore};
use fluxlimit::time::SystemClock;

use super::assert_shown;

/// Every way in which a value of a request can become a label.
const RULES: &str = "domain: d
descriptors:
- {key: plain, rate_limit: {unit: day, requests_per_unit: 5}}
- {key: detailed, detailed_metric: true, rate_limit: {unit: day, requests_per_unit: 5}}
- {key: valued, value_to_metric: true, rate_limit: {unit: day, requests_per_unit: 5}}
- {key: pattern, value: a*, detailed_metric: true, rate_limit: {unit: day, requests_per_unit: 5}}
- key: list
  detailed_metric: true
  rate_limit: [{unit: day, requests_per_unit: 5}, {unit: hour, requests_per_unit: 3}]
- key: outer
  value_to_metric: true
  descriptors:
  - {key: inner, detailed_metric: true, rate_limit: {unit: day, requests_per_unit: 5}}
";

/// Requests with values that were never asked before.
struct Flood {
    limiter: Limiter,
    metrics: Arc<Metrics>,
    asked: u64,
}

impl Flood {
    fn new() -> Self {
        // Fewer keys than are asked for, so that overflow keys are counted as well.
        let settings = memory::Settings { max_keys: 5_000, ..memory::Settings::default() };
        let store = Arc::new(MemoryStore::new(settings, Arc::new(SystemClock)));
        let metrics = Arc::new(Metrics::new());
        let limiter = Limiter::new(store, metrics.clone(), Settings::default());
        let source = Source { name: "rules.yaml".to_owned(), text: RULES.as_bytes().to_vec() };
        let loaded = load(&[source], &LoadOptions::default());
        limiter.put_rules(Arc::new(RuleSet::compile(&loaded.files)));
        Self { limiter, metrics, asked: 0 }
    }

    /// One request after another until there were `total`, each of another kind than the one before.
    fn run_until(&mut self, total: u64) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        while self.asked < total {
            self.asked += 1;
            let request = self.request();
            runtime.block_on(self.limiter.check(&request, Duration::MAX)).unwrap();
        }
    }

    fn request(&self) -> Request {
        // Far apart, with bytes of every kind, and some far too long.
        let mixed = self.asked.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let length = if self.asked.is_multiple_of(97) { 3_000 } else { 1 };
        let value = [&mixed.to_be_bytes()[..], &[b'x'].repeat(length)].concat();
        let pattern = [b"a", &value[..]].concat();
        let entry = |key: &[u8], value: &[u8]| Entry::new(key.to_vec(), value.to_vec());
        let of = |entries: Vec<Entry>| Descriptor { entries: entries.into(), ..Descriptor::default() };
        let one = |key: &str| of(vec![entry(key.as_bytes(), &value)]);
        let domain = if self.asked.is_multiple_of(5) { value.clone() } else { b"d".to_vec() };
        let overridden =
            Descriptor { limit: Some(Override::new(7, 4, None).unwrap()), ..of(vec![entry(&value, &value)]) };
        let descriptor = match self.asked % 8 {
            0 => one("plain"),
            1 => one("detailed"),
            2 => one("valued"),
            3 => of(vec![entry(b"pattern", &pattern)]),
            4 => one("list"),
            5 => of(vec![entry(b"outer", &value), entry(b"inner", &value)]),
            6 => of(vec![entry(&value, b"")]),
            _ => overridden,
        };
        Request { domain: domain.into(), descriptors: vec![descriptor].into(), hits_addend: 0 }
    }

    /// How many series there are, and the bytes of the page.
    fn page(&self) -> (usize, usize) {
        let text = self.metrics.text();
        (text.lines().filter(|line| !line.starts_with('#')).count(), text.len())
    }
}

#[test]
fn a_hundred_thousand_new_keys_domains_and_values_add_no_series_beyond_the_bounds() {
    let mut flood = Flood::new();
    flood.run_until(12_000);
    let (series, bytes) = flood.page();
    assert!(
        series > 50_000,
        "{series}: values of five rules, two limits of one, and overrides, nine counts each"
    );
    flood.run_until(100_000);
    let (now, bytes_now) = flood.page();
    assert_eq!(now, series);
    assert!(bytes_now < bytes + bytes / 10, "{bytes_now} of {bytes}: only numbers got longer");
    let rule = |rule: &str| format!("fluxlimit_label_values{{domain=\"d\",rule=\"{rule}\"}}");
    let values = [rule("detailed"), rule("valued"), rule("")].map(|series| (series, 1001.0));
    let values: Vec<_> = values.iter().map(|(series, value)| (series.as_str(), *value)).collect();
    assert_shown(&flood.metrics, &values);
    assert_shown(
        &flood.metrics,
        &[
            ("fluxlimit_max_label_values", 1000.0),
            ("fluxlimit_unknown_domains", 101.0),
            ("fluxlimit_max_unknown_domains", 100.0),
        ],
    );
}

#[test]
fn a_rule_that_tells_no_values_apart_shows_no_number_of_them() {
    let mut flood = Flood::new();
    flood.run_until(20);
    let text = flood.metrics.text();
    assert!(!text.contains("fluxlimit_label_values{domain=\"d\",rule=\"plain\"}"), "{text}");
}
