//! From what decisions cost to how many servers and stores carry a load.
//!
//! The model: a decision costs a server a fixed core time. It costs the store a fixed core time, and its part of
//! what an exchange costs however many decisions it carries. A core is planned to be busy for half of the time.

use crate::outcome::Point;

/// How busy a core may be: the other half is for bursts, and for the load of a replica that is away.
pub(crate) const BUSY: f64 = 0.5;
/// Decisions a second that are planned for.
pub(crate) const LOADS: [f64; 4] = [1e4, 1e5, 1e6, 1e7];
/// Cores up to which one Postgres is a reasonable answer.
pub(crate) const MOST_POSTGRES_CORES: f64 = 16.0;

/// How many times as large as another a batch has to be for the two to tell something.
const DIFFERENT: f64 = 1.5;

/// Core time of the store: `each_us` for a decision, `exchange_us` for an exchange, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct StoreCost {
    pub(crate) each_us: f64,
    pub(crate) exchange_us: f64,
}

impl StoreCost {
    /// The line through the measured points: core time of a decision over the part of an exchange that it has.
    pub(crate) fn fit(points: &[&Point]) -> Option<Self> {
        let pairs: Vec<(f64, f64)> = points
            .iter()
            .filter(|point| point.batch > 0.0)
            .map(|point| (1.0 / point.batch, point.report.store_us()))
            .collect();
        if pairs.is_empty() {
            return None;
        }
        let count = pairs.len() as f64;
        let mean = |value: fn(&(f64, f64)) -> f64| pairs.iter().map(value).sum::<f64>() / count;
        let (mean_part, mean_us) = (mean(|pair| pair.0), mean(|pair| pair.1));
        let spread: f64 = pairs.iter().map(|pair| (pair.0 - mean_part).powi(2)).sum();
        let (least, most) = pairs
            .iter()
            .fold((f64::MAX, 0.0_f64), |(least, most), (part, _)| (least.min(*part), most.max(*part)));
        if most < least * DIFFERENT {
            // Batches of one size tell nothing apart, as those of a cluster, whose keys rarely share a slot.
            return Some(Self { each_us: mean_us, exchange_us: 0.0 });
        }
        let slope = pairs.iter().map(|pair| (pair.0 - mean_part) * (pair.1 - mean_us)).sum::<f64>() / spread;
        // Neither costs less than nothing, whatever the noise of a measurement says.
        let exchange_us = slope.max(0.0);
        Some(Self { each_us: (mean_us - exchange_us * mean_part).max(0.0), exchange_us })
    }

    /// Core time of a decision in batches of this size, in microseconds.
    pub(crate) fn of_decision_us(&self, batch: f64) -> f64 {
        self.each_us + self.exchange_us / batch.max(1.0)
    }
}

/// What the model says about the measurement with two servers, made from the others: predicted and measured core
/// time of the store for a decision.
pub(crate) fn check(points: &[Point]) -> Option<(f64, f64)> {
    let (tested, others): (Vec<&Point>, Vec<&Point>) = points.iter().partition(|point| point.servers == 2);
    let tested = tested.first()?;
    Some((StoreCost::fit(&others)?.of_decision_us(tested.batch), tested.report.store_us()))
}

/// What a load needs of one kind of store.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Need {
    /// Cores of servers, at least 2: two replicas.
    pub(crate) server_cores: f64,
    /// Cores of the store.
    pub(crate) store_cores: f64,
}

/// The cost of the measurement with the most servers, whose batches are the smallest that many servers make.
pub(crate) fn need(points: &[Point], decisions_per_s: f64) -> Option<Need> {
    let busiest = points.iter().max_by_key(|point| point.servers)?;
    let all: Vec<&Point> = points.iter().collect();
    let store_us =
        StoreCost::fit(&all).map_or(busiest.report.store_us(), |cost| cost.of_decision_us(busiest.batch));
    let cores = |core_us: f64, least: f64| (decisions_per_s * core_us / 1e6 / BUSY).ceil().max(least);
    Some(Need { server_cores: cores(busiest.report.server_us(), 2.0), store_cores: cores(store_us, 1.0) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use fluxlimit_load::report::Report;

    /// A server costs 5 µs; the store 2 µs a decision and 40 µs an exchange.
    pub(crate) fn point(servers: usize, batch: f64) -> Point {
        let rate = 100_000.0;
        let store_us = 2.0 + 40.0 / batch;
        let report = Report {
            rate,
            server_cores: 5.0 * rate / 1e6,
            store_cores: store_us * rate / 1e6,
            ..Report::default()
        };
        Point { servers, in_flight: 128, batch, report }
    }

    fn points() -> Vec<Point> {
        vec![point(1, 40.0), point(2, 20.0), point(4, 10.0), point(1, 8.0)]
    }

    fn near(left: f64, right: f64) -> bool {
        (left - right).abs() < 1e-6
    }

    #[test]
    fn the_cost_of_an_exchange_is_told_from_that_of_a_decision() {
        let points = points();
        let cost = StoreCost::fit(&points.iter().collect::<Vec<_>>()).expect("they differ");
        assert!(near(cost.each_us, 2.0) && near(cost.exchange_us, 40.0), "{cost:?}");
        assert!(near(cost.of_decision_us(20.0), 4.0));
    }

    #[test]
    fn equal_batches_tell_nothing_apart() {
        let points = [point(1, 10.0), point(2, 10.1)];
        let cost = StoreCost::fit(&points.iter().collect::<Vec<_>>()).expect("there are points");
        assert!(near(cost.exchange_us, 0.0) && (cost.each_us - 6.0).abs() < 0.1, "{cost:?}");
        assert_eq!(StoreCost::fit(&[]), None);
    }

    #[test]
    fn the_model_foretells_a_point_that_it_has_not_seen() {
        let (predicted, measured) = check(&points()).expect("there are others");
        assert!(near(predicted, measured), "{predicted} {measured}");
    }

    #[test]
    fn half_of_each_core_stays_free() {
        // 1,000,000 a second: 5 s of servers and 6 s of the store in each second.
        let need = need(&points(), 1e6).expect("there are points");
        assert_eq!(need, Need { server_cores: 10.0, store_cores: 12.0 });
        let small = super::need(&points(), 1000.0).expect("there are points");
        assert_eq!(small, Need { server_cores: 2.0, store_cores: 1.0 });
    }
}
