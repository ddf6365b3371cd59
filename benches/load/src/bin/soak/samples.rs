//! What a server holds, looked at again and again, and whether it grows.

use fluxlimit_load::process::{open_files, resident_bytes, threads};
use std::time::Duration;

const MIB: f64 = 1_048_576.0;

/// One look at a process.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sample {
    /// Since the start of the run.
    pub(crate) at: Duration,
    pub(crate) resident_bytes: f64,
    pub(crate) files: f64,
    pub(crate) threads: f64,
    /// Keys in the store, if it was asked this time.
    pub(crate) keys: Option<f64>,
}

impl Sample {
    /// Looks at a process; `None` if it is gone.
    pub(crate) fn take(at: Duration, pid: u32, keys: Option<f64>) -> Option<Self> {
        let resident_bytes = resident_bytes(pid)? as f64;
        let (files, threads) = (open_files(pid)? as f64, threads(pid)? as f64);
        Some(Self { at, resident_bytes, files, threads, keys })
    }

    pub(crate) fn resident_mib(&self) -> f64 {
        self.resident_bytes / MIB
    }
}

/// Something that must not grow: the median of the last fifth of a run may be above that of the second fifth by a
/// share and an amount, and no more. The first fifth is for whatever has to fill.
struct Flat {
    what: &'static str,
    value: fn(&Sample) -> Option<f64>,
    /// In what it is told, as a part of its own unit.
    unit: f64,
    share: f64,
    amount: f64,
}

const MEMORY: Flat = Flat {
    what: "MiB of resident memory",
    value: |sample| Some(sample.resident_bytes),
    unit: MIB,
    share: 0.10,
    amount: 8.0 * MIB,
};

/// Connections come and go.
const FILES: Flat =
    Flat { what: "open files", value: |sample| Some(sample.files), unit: 1.0, share: 0.0, amount: 8.0 };

/// Files are read in threads that stay for some seconds.
const THREADS: Flat =
    Flat { what: "threads", value: |sample| Some(sample.threads), unit: 1.0, share: 0.0, amount: 4.0 };

const KEYS: Flat =
    Flat { what: "keys", value: |sample| sample.keys, unit: 1.0, share: 0.15, amount: 1_000.0 };

/// What has grown. The number of keys becomes steady in long runs only.
pub(crate) fn growth(samples: &[Sample], is_long: bool) -> Vec<String> {
    let flat = [MEMORY, FILES, THREADS].into_iter().chain(is_long.then_some(KEYS));
    flat.filter_map(|flat| flat.growth(samples)).collect()
}

impl Flat {
    fn growth(&self, samples: &[Sample]) -> Option<String> {
        let median = |fifth: u32| median(of_fifth(samples, fifth).filter_map(self.value).collect());
        let (before, after) = (median(1)?, median(4)?);
        let most = before * (1.0 + self.share) + self.amount;
        let told = |value: f64| (value / self.unit * 10.0).round() / 10.0;
        (after > most).then(|| {
            let (before, after, most) = (told(before), told(after), told(most));
            format!(
                "{after} {} in the last fifth of the run, {before} in the second, at most {most} are flat",
                self.what
            )
        })
    }
}

/// The looks of a fifth of the run, of which there are 0 to 4.
pub(crate) fn of_fifth(samples: &[Sample], fifth: u32) -> impl Iterator<Item = &Sample> {
    let end = samples.last().map(|sample| sample.at).unwrap_or_default();
    let time = end * fifth / 5..=end * (fifth + 1) / 5;
    samples.iter().filter(move |sample| time.contains(&sample.at))
}

pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A hundred looks, one each second.
    fn samples(resident_mib: impl Fn(u64) -> f64, keys: impl Fn(u64) -> f64) -> Vec<Sample> {
        let sample = |second: u64| Sample {
            at: Duration::from_secs(second),
            resident_bytes: resident_mib(second) * MIB,
            files: 20.0,
            threads: 4.0 + (second / 90) as f64,
            keys: second.is_multiple_of(5).then(|| keys(second)),
        };
        (0..=100).map(sample).collect()
    }

    #[test]
    fn what_fills_in_the_first_fifth_and_wavers_is_flat() {
        let filled = samples(
            |second| 40.0 + second.min(18) as f64 + (second % 3) as f64,
            |second| 100.0 * second.min(20) as f64,
        );
        assert_eq!(growth(&filled, true), Vec::<String>::new());
    }

    #[test]
    fn a_slow_leak_is_told_with_its_figures() {
        let leaking = growth(&samples(|second| 40.0 + 0.25 * second as f64, |_| 5.0), true);
        assert_eq!(
            leaking,
            [
                "62.5 MiB of resident memory in the last fifth of the run, 47.5 in the second, at most 60.3 are flat"
            ]
        );
    }

    #[test]
    fn keys_that_only_come_are_told_in_a_long_run() {
        let coming = samples(|_| 40.0, |second| 100.0 * second as f64);
        assert_eq!(growth(&coming, false).len(), 0);
        assert!(growth(&coming, true)[0].starts_with("9000 keys"), "{:?}", growth(&coming, true));
    }

    #[test]
    fn a_process_that_is_gone_cannot_be_looked_at() {
        assert!(Sample::take(Duration::ZERO, std::process::id(), None).is_some());
        assert_eq!(Sample::take(Duration::ZERO, u32::MAX, None), None);
    }
}
