//! What `/metrics` shows beside the hits of limits, of which `counting` is, and what is made of it: the page
//! about it, queries, alerts and a dashboard.

mod bounds;
mod cut_off;
mod dashboard;
mod fleet;
mod front;
mod page;
mod queries;
mod rules;

use fluxlimit::metrics::Metrics;

/// The value of a series, labels included, as the page shows it.
pub(crate) fn shown(metrics: &Metrics, series: &str) -> Option<f64> {
    value(&metrics.text(), series)
}

/// Holds that the page has these series with these values.
#[track_caller]
pub(crate) fn assert_shown(metrics: &Metrics, expected: &[(&str, f64)]) {
    let text = metrics.text();
    for (series, expected) in expected {
        assert_eq!(value(&text, series), Some(*expected), "{series} in\n{text}");
    }
}

fn value(text: &str, series: &str) -> Option<f64> {
    let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
    Some(value.parse().expect("a number"))
}
