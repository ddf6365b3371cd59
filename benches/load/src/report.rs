//! A measurement as numbers that are kept and printed.

use crate::run::Measured;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// One measurement.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Decisions a second.
    pub rate: f64,
    /// Latencies in microseconds.
    pub p50_us: f64,
    /// 90 of 100 are not above it.
    pub p90_us: f64,
    /// 99 of 100 are not above it.
    pub p99_us: f64,
    /// 999 of 1,000 are not above it.
    pub p999_us: f64,
    /// The largest.
    pub max_us: f64,
    /// Calls that were allowed.
    pub allowed: u64,
    /// Calls that were refused.
    pub refused: u64,
    /// Refused calls among the decided, 0 to 1.
    pub over_limit_share: f64,
    /// Calls without a decision.
    pub failed: u64,
    /// Why the first of them failed.
    pub first_failure: Option<String>,
    /// How long was measured.
    pub seconds: f64,
    /// Cores that the generator used.
    pub generator_cores: f64,
    /// Cores that the servers used.
    pub server_cores: f64,
    /// Cores that their store used.
    pub store_cores: f64,
}

impl Report {
    /// Core time of the servers for each decision, in microseconds.
    #[must_use]
    pub fn server_us(&self) -> f64 {
        per_decision(self.server_cores, self.rate)
    }

    /// Core time of the store for each decision, in microseconds.
    #[must_use]
    pub fn store_us(&self) -> f64 {
        per_decision(self.store_cores, self.rate)
    }
}

fn per_decision(cores: f64, rate: f64) -> f64 {
    if rate > 0.0 { cores * 1e6 / rate } else { 0.0 }
}

impl From<&Measured> for Report {
    fn from(measured: &Measured) -> Self {
        let seconds = measured.elapsed.as_secs_f64();
        let cores = |cpu: Duration| if seconds > 0.0 { cpu.as_secs_f64() / seconds } else { 0.0 };
        let decided = measured.allowed + measured.refused;
        Self {
            rate: measured.rate(),
            p50_us: measured.latency.quantile_us(0.5),
            p90_us: measured.latency.quantile_us(0.9),
            p99_us: measured.latency.quantile_us(0.99),
            p999_us: measured.latency.quantile_us(0.999),
            max_us: measured.latency.max_us(),
            allowed: measured.allowed,
            refused: measured.refused,
            over_limit_share: if decided > 0 { measured.refused as f64 / decided as f64 } else { 0.0 },
            failed: measured.failed,
            first_failure: measured.first_failure.map(str::to_owned),
            seconds,
            generator_cores: cores(measured.generator_cpu),
            server_cores: cores(measured.server_cpu),
            store_cores: cores(measured.store_cpu),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn core_time_is_told_for_each_decision() {
        let measured = Measured {
            allowed: 90_000,
            refused: 10_000,
            elapsed: Duration::from_secs(2),
            server_cpu: Duration::from_secs(1),
            ..Measured::default()
        };
        let report = Report::from(&measured);
        assert!((report.rate - 50_000.0).abs() < 1e-6);
        assert!((report.server_us() - 10.0).abs() < 1e-9);
        assert!((report.over_limit_share - 0.1).abs() < 1e-9);
    }

    #[test]
    fn a_measurement_without_an_answer_is_no_division_by_zero() {
        let report = Report::from(&Measured::default());
        assert!(report.rate.abs() < 1e-9 && report.server_us().abs() < 1e-9);
    }
}
