//! What rows have shown, kept in a file for each, so that tables can be made of several runs.

use fluxlimit_load::child::Failure;
use fluxlimit_load::report::Report;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// What a row has shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Outcome {
    /// Servers measured in turn, round by round: what is compared with, what is compared, and others.
    Rounds { series: Vec<Series>, figures: BTreeMap<String, f64> },
    /// Numbers with names.
    Figures(BTreeMap<String, f64>),
    /// Several servers over one store.
    Scaling(Vec<Point>),
    /// Latencies over offered load.
    Curves(Vec<Curve>),
}

/// The rounds of one server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) rounds: Vec<Report>,
}

impl Series {
    /// The median of a figure over the rounds.
    pub(crate) fn median(&self, figure: impl Fn(&Report) -> f64) -> f64 {
        median(self.rounds.iter().map(figure).collect())
    }
}

/// Several servers over one store, at the round with the median rate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Point {
    pub(crate) servers: usize,
    /// Calls in flight in all.
    pub(crate) in_flight: usize,
    /// Requests in one exchange with the store.
    pub(crate) batch: f64,
    pub(crate) report: Report,
}

/// The latencies of one server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Curve {
    pub(crate) name: String,
    /// The offered rate, and what came of it.
    pub(crate) points: Vec<(f64, Report)>,
}

/// How a figure of one server relates to that of another: the median over the rounds, and the extremes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Ratio {
    pub(crate) median: f64,
    pub(crate) lowest: f64,
    pub(crate) highest: f64,
}

impl Ratio {
    /// Round by round, since a machine that is slow for a moment is slow for both.
    pub(crate) fn between(base: &Series, other: &Series, figure: impl Fn(&Report) -> f64) -> Option<Self> {
        let pairs = base.rounds.iter().zip(&other.rounds);
        let ratios: Vec<f64> = pairs.map(|(base, other)| figure(other) / figure(base)).collect();
        let lowest = ratios.iter().copied().reduce(f64::min)?;
        let highest = ratios.iter().copied().reduce(f64::max)?;
        Some(Self { median: median(ratios), lowest, highest })
    }
}

/// The middle value; the mean of two if there are two; 0 without any.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        count if count % 2 == 1 => values[count / 2],
        count => f64::midpoint(values[count / 2 - 1], values[count / 2]),
    }
}

/// A row's outcome, and under what conditions it came about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) row: String,
    pub(crate) conditions: String,
    pub(crate) outcome: Outcome,
}

/// The directory of outcomes.
#[derive(Debug)]
pub(crate) struct Results {
    directory: PathBuf,
    conditions: String,
}

impl Results {
    pub(crate) fn new(directory: &Path, conditions: String) -> Result<Self, Failure> {
        fs::create_dir_all(directory)?;
        Ok(Self { directory: directory.to_owned(), conditions })
    }

    fn file(&self, row: &str) -> PathBuf {
        self.directory.join(format!("{row}.json"))
    }

    /// What a row has shown under the same conditions.
    pub(crate) fn find(&self, row: &str) -> Result<Option<Outcome>, Failure> {
        let text = match fs::read_to_string(self.file(row)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            text => text?,
        };
        // Written by another version of this program: as good as nothing.
        let kept = serde_json::from_str::<Kept>(&text).ok();
        Ok(kept.filter(|kept| kept.conditions == self.conditions).map(|kept| kept.outcome))
    }

    /// Keeps what a row has shown; whole or not at all, also if the machine goes down meanwhile.
    pub(crate) fn keep(&self, row: &str, outcome: &Outcome) -> Result<(), Failure> {
        let conditions = self.conditions.clone();
        let kept = Kept { row: row.to_owned(), conditions, outcome: outcome.clone() };
        let aside = self.directory.join(format!("{row}.new"));
        fs::write(&aside, serde_json::to_string_pretty(&kept)?)?;
        Ok(fs::rename(aside, self.file(row))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(rates: &[f64]) -> Series {
        let rounds = rates.iter().map(|rate| Report { rate: *rate, ..Report::default() }).collect();
        Series { name: "x".to_owned(), rounds }
    }

    #[test]
    fn a_ratio_is_taken_within_a_round() {
        let (base, other) = (series(&[100.0, 50.0, 200.0]), series(&[80.0, 45.0, 100.0]));
        let ratio = Ratio::between(&base, &other, |report| report.rate).expect("there are rounds");
        assert_eq!(ratio, Ratio { median: 0.8, lowest: 0.5, highest: 0.9 });
        assert!((base.median(|report| report.rate) - 100.0).abs() < 1e-9);
        assert_eq!(Ratio::between(&base, &series(&[]), |report| report.rate), None);
    }

    #[test]
    fn a_median_is_in_the_middle() {
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median(vec![4.0, 1.0]) - 2.5).abs() < 1e-9);
        assert!(median(vec![]).abs() < 1e-9);
    }

    #[test]
    fn an_outcome_counts_only_under_its_conditions() {
        let directory = tempfile::tempdir().expect("a directory");
        let results =
            |conditions: &str| Results::new(directory.path(), conditions.to_owned()).expect("it is writable");
        let outcome = Outcome::Rounds { series: vec![series(&[1.0])], figures: BTreeMap::new() };
        results("a").keep("memory-1", &outcome).expect("it is writable");
        assert_eq!(results("a").find("memory-1").expect("it is readable"), Some(outcome));
        assert_eq!(results("b").find("memory-1").expect("it is readable"), None);
        assert_eq!(results("a").find("memory-2").expect("it is readable"), None);
    }
}
