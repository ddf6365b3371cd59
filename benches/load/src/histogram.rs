//! A histogram with 128 buckets per power of two, so every value is right to 0.8 %.

const BITS: u32 = 7;
const PER_POWER: u64 = 1 << BITS;

/// Counts of durations in nanoseconds.
#[derive(Debug)]
pub struct Histogram {
    buckets: Vec<u64>,
    count: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: vec![0; (65 - BITS as usize) << BITS], count: 0 }
    }
}

impl Histogram {
    /// Adds one value.
    pub fn record(&mut self, value_ns: u64) {
        self.buckets[bucket(value_ns)] += 1;
        self.count += 1;
    }

    /// Forgets all values.
    pub fn clear(&mut self) {
        self.buckets.fill(0);
        self.count = 0;
    }

    /// The value that this share of the values does not exceed, in microseconds; 0 without values.
    #[must_use]
    pub fn quantile_us(&self, share: f64) -> f64 {
        let wanted = self.count as f64 * share;
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen > 0 && seen as f64 >= wanted {
                return middle(index) as f64 / 1000.0;
            }
        }
        0.0
    }
}

fn bucket(value: u64) -> usize {
    if value < PER_POWER {
        return value as usize;
    }
    let power = value.ilog2() - BITS;
    ((power as usize + 1) << BITS) + ((value >> power) & (PER_POWER - 1)) as usize
}

fn middle(bucket: usize) -> u64 {
    let within = bucket as u64 & (PER_POWER - 1);
    match bucket >> BITS {
        0 => within,
        power => ((PER_POWER + within) << (power - 1)) + (1 << (power - 1)) / 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_near_its_values() {
        for value in [0, 1, 127, 128, 129, 255, 256, 1000, 123_456, 9_999_999_999, u64::MAX] {
            let difference = middle(bucket(value)).abs_diff(value) as f64;
            assert!(difference <= value as f64 * 0.008, "{value} became {}", middle(bucket(value)));
        }
    }

    #[test]
    fn quantiles_split_the_values() {
        let mut histogram = Histogram::default();
        assert!(histogram.quantile_us(0.5) < 0.001);
        for value_us in 1..=1000 {
            histogram.record(value_us * 1000);
        }
        assert!((495.0..=505.0).contains(&histogram.quantile_us(0.5)));
        assert!((985.0..=1000.0).contains(&histogram.quantile_us(0.99)));
    }
}
