//! Latencies, counted from the moment at which a call was due.

use hdrhistogram::Histogram;

/// Right to three digits, up to a minute; what takes longer counts as a minute.
const LONGEST_NS: u64 = 60_000_000_000;
const DIGITS: u8 = 3;

/// How often each latency was seen.
#[derive(Debug, Clone)]
pub struct Latency(Histogram<u64>);

impl Default for Latency {
    fn default() -> Self {
        Self(Histogram::new_with_bounds(1, LONGEST_NS, DIGITS).expect("the bounds make sense"))
    }
}

impl Latency {
    /// Adds one value.
    pub fn record(&mut self, value_ns: u64) {
        self.0.saturating_record(value_ns);
    }

    /// The value that this share of the values does not exceed, in microseconds; 0 without values.
    #[must_use]
    pub fn quantile_us(&self, share: f64) -> f64 {
        self.0.value_at_quantile(share) as f64 / 1000.0
    }

    /// The largest value, in microseconds; 0 without values.
    #[must_use]
    pub fn max_us(&self) -> f64 {
        self.0.max() as f64 / 1000.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_split_the_values() {
        let mut latency = Latency::default();
        assert!(latency.quantile_us(0.5) < 0.001 && latency.max_us() < 0.001);
        for value_us in 1..=1000 {
            latency.record(value_us * 1000);
        }
        assert!((499.0..=501.0).contains(&latency.quantile_us(0.5)));
        assert!((989.0..=991.0).contains(&latency.quantile_us(0.99)));
        assert!((999.0..=1001.0).contains(&latency.max_us()));
    }

    #[test]
    fn a_stall_is_counted_and_not_lost() {
        let mut latency = Latency::default();
        latency.record(u64::MAX);
        assert!(latency.max_us() >= 59e6, "{}", latency.max_us());
    }
}
