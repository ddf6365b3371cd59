//! The numbers of a limit, checked once: after [`Limit::new`] no code asks whether they make sense.

mod unit;

use unit::DAY_S;
pub use unit::Unit;

/// Largest amount that is kept exactly anywhere: Rust integers, Lua doubles and Postgres `bigint`
/// agree up to twice this, so one addition of two such amounts is still exact.
pub const MAX_AMOUNT: u64 = 1 << 52;

/// Longest period of a limit: 100 years of 365 days, in seconds.
pub const MAX_PERIOD_S: u64 = 100 * 365 * DAY_S;

/// How hits are held against the count of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// Starts full, refills steadily, lets a burst through at once.
    TokenBucket,
    /// Drains steadily; with the default burst of 1 it spaces hits evenly.
    LeakyBucket,
    /// Counts from zero in each window that is aligned to the Unix epoch.
    FixedWindow,
    /// Never more than the count in any window of one period, wherever it starts.
    SlidingWindow,
}

impl Algorithm {
    /// Every algorithm, in the order in which the documentation lists them.
    pub const ALL: [Self; 4] = [Self::TokenBucket, Self::LeakyBucket, Self::FixedWindow, Self::SlidingWindow];

    /// The name in rule files, metrics and messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TokenBucket => "token_bucket",
            Self::LeakyBucket => "leaky_bucket",
            Self::FixedWindow => "fixed_window",
            Self::SlidingWindow => "sliding_window",
        }
    }

    /// The algorithm of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    /// True for the algorithms that have a `burst`.
    #[must_use]
    pub const fn is_bucket(self) -> bool {
        matches!(self, Self::TokenBucket | Self::LeakyBucket)
    }
}

/// A limit as somebody wrote it, before it is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitSpec {
    /// How hits are held against `count`.
    pub algorithm: Algorithm,
    /// Hits per period; 0 refuses every hit.
    pub count: u32,
    /// Unit of the period.
    pub unit: Unit,
    /// How many units make one period; at least 1.
    pub unit_multiplier: u32,
    /// Size of the bucket, in hits; buckets only. `None` is the algorithm's default.
    pub burst: Option<u64>,
    /// Whether a refused hit is booked as well.
    pub count_refused: bool,
}

impl LimitSpec {
    /// `count` per `unit` with every other number at its default.
    #[must_use]
    pub const fn new(algorithm: Algorithm, count: u32, unit: Unit) -> Self {
        Self { algorithm, count, unit, unit_multiplier: 1, burst: None, count_refused: false }
    }
}

/// Why the numbers of a limit make no sense together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// `unit_multiplier` is 0.
    #[error("`unit_multiplier` is 0; expected at least 1")]
    NoMultiplier,
    /// The period is longer than [`MAX_PERIOD_S`].
    #[error("a period of {unit_multiplier} {}s is too long; expected at most 100 years", unit.name())]
    PeriodTooLong {
        /// Unit as written.
        unit: Unit,
        /// Multiplier as written.
        unit_multiplier: u32,
    },
    /// A window has no `burst`.
    #[error("`burst` has no meaning for `{}`; expected it only with `token_bucket` or `leaky_bucket`", algorithm.name())]
    BurstWithoutBucket {
        /// Algorithm as written.
        algorithm: Algorithm,
    },
    /// `burst` is 0.
    #[error("`burst` is 0; expected at least 1")]
    NoBurst,
    /// A bucket whose arithmetic would not be exact.
    #[error(
        "{largest} hits in a bucket of {unit_multiplier} {}(s) are too many to count exactly; expected at most {most}{}",
        unit.name(),
        fitting.map_or(String::new(), |unit| format!(" (the same rate per {} would fit)", unit.name()))
    )]
    BucketTooLarge {
        /// The larger of count and burst.
        largest: u64,
        /// The most that this period can hold.
        most: u64,
        /// Unit as written.
        unit: Unit,
        /// Multiplier as written.
        unit_multiplier: u32,
        /// The largest shorter unit at which the same rate and burst can be counted.
        fitting: Option<Unit>,
    },
}

/// A limit: so many hits per period, held by one algorithm.
///
/// Invariants: the period is 1 s to 100 years; the capacity is 0 exactly if the count is; for a bucket
/// `max(count, capacity) × period_ticks ≤ 2^52`, so that its arithmetic is exact everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Limit {
    algorithm: Algorithm,
    unit: Unit,
    count_refused: bool,
    unit_multiplier: u32,
    count: u32,
    burst: u64,
    period_ms: u64,
}

impl Limit {
    /// Checks the numbers and completes them with their defaults.
    ///
    /// # Errors
    /// See [`LimitError`].
    pub fn new(spec: LimitSpec) -> Result<Self, LimitError> {
        let LimitSpec { algorithm, count, unit, unit_multiplier, burst, count_refused } = spec;
        if unit_multiplier == 0 {
            return Err(LimitError::NoMultiplier);
        }
        let period_s = unit.seconds() * u64::from(unit_multiplier);
        if period_s > MAX_PERIOD_S {
            return Err(LimitError::PeriodTooLong { unit, unit_multiplier });
        }
        if burst.is_some() && !algorithm.is_bucket() {
            return Err(LimitError::BurstWithoutBucket { algorithm });
        }
        if burst == Some(0) {
            return Err(LimitError::NoBurst);
        }
        let burst = match algorithm {
            // A limit of 0 refuses every hit, whatever its burst.
            _ if count == 0 => 0,
            Algorithm::TokenBucket => burst.unwrap_or(u64::from(count)),
            Algorithm::LeakyBucket => burst.unwrap_or(1),
            Algorithm::FixedWindow | Algorithm::SlidingWindow => u64::from(count),
        };
        let limit = Self {
            algorithm,
            unit,
            count_refused,
            unit_multiplier,
            count,
            burst,
            period_ms: period_s * 1000,
        };
        let largest = burst.max(u64::from(count));
        let most = MAX_AMOUNT / limit.period_ticks();
        if algorithm.is_bucket() && largest > most {
            let fitting = shorter_unit_that_fits(spec);
            return Err(LimitError::BucketTooLarge { largest, most, unit, unit_multiplier, fitting });
        }
        Ok(limit)
    }

    /// How hits are held against the count.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Hits per period.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// Unit of the period, as written.
    #[must_use]
    pub const fn unit(&self) -> Unit {
        self.unit
    }

    /// How many units make one period.
    #[must_use]
    pub const fn unit_multiplier(&self) -> u32 {
        self.unit_multiplier
    }

    /// Whether a refused hit is booked as well.
    #[must_use]
    pub const fn count_refused(&self) -> bool {
        self.count_refused
    }

    /// The same limit, which counts refused hits as that says. It is no part of a key.
    #[must_use]
    pub const fn counting_refused(self, count_refused: bool) -> Self {
        Self { count_refused, ..self }
    }

    /// Length of the period in milliseconds.
    #[must_use]
    pub const fn period_ms(&self) -> u64 {
        self.period_ms
    }

    /// The most hits that an unused key admits at once: the burst of a bucket, the count of a window.
    #[must_use]
    pub const fn capacity(&self) -> u64 {
        self.burst
    }

    /// Length of one tick of a bucket, in milliseconds: 1 for periods below one day, 1000 from one day on.
    ///
    /// It depends on the period alone, so state keeps its meaning when the count changes.
    #[must_use]
    pub const fn tick_ms(&self) -> u64 {
        if self.period_ms < DAY_S * 1000 { 1 } else { 1000 }
    }

    /// Length of the period in ticks.
    #[must_use]
    pub const fn period_ticks(&self) -> u64 {
        self.period_ms / self.tick_ms()
    }
}

fn shorter_unit_that_fits(spec: LimitSpec) -> Option<Unit> {
    let shorter = Unit::ALL.into_iter().rev().filter(|unit| *unit < spec.unit);
    shorter.into_iter().find(|unit| {
        let count = u64::from(spec.count) * unit.seconds() / spec.unit.seconds();
        // The rate must survive the change: 5 a year is not a whole number of hits a day.
        u32::try_from(count)
            .is_ok_and(|count| count > 0 && Limit::new(LimitSpec { count, unit: *unit, ..spec }).is_ok())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(count: u32, unit: Unit) -> LimitSpec {
        LimitSpec::new(Algorithm::TokenBucket, count, unit)
    }

    #[test]
    fn a_monthly_quota_of_a_billion_tokens_fits() {
        assert!(Limit::new(bucket(1_000_000_000, Unit::Month)).is_ok());
    }

    #[test]
    fn a_bucket_too_large_to_be_exact_is_refused_and_names_a_unit_that_fits() {
        let error = Limit::new(bucket(4_000_000_000, Unit::Year)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "4000000000 hits in a bucket of 1 year(s) are too many to count exactly; \
             expected at most 142808207 (the same rate per month would fit)"
        );
    }

    #[test]
    fn a_window_takes_every_count_of_the_reference() {
        for unit in Unit::ALL {
            for algorithm in [Algorithm::FixedWindow, Algorithm::SlidingWindow] {
                assert!(Limit::new(LimitSpec::new(algorithm, u32::MAX, unit)).is_ok());
            }
        }
    }

    #[test]
    fn bursts_have_the_defaults_of_their_algorithm() {
        let capacity = |algorithm, burst| {
            Limit::new(LimitSpec { burst, ..LimitSpec::new(algorithm, 10, Unit::Second) })
                .map(|limit| limit.capacity())
        };
        assert_eq!(capacity(Algorithm::TokenBucket, None), Ok(10));
        assert_eq!(capacity(Algorithm::LeakyBucket, None), Ok(1));
        assert_eq!(capacity(Algorithm::LeakyBucket, Some(4)), Ok(4));
        assert_eq!(capacity(Algorithm::FixedWindow, None), Ok(10));
        assert_eq!(capacity(Algorithm::TokenBucket, Some(0)), Err(LimitError::NoBurst));
        assert!(matches!(
            capacity(Algorithm::SlidingWindow, Some(1)),
            Err(LimitError::BurstWithoutBucket { .. })
        ));
    }

    #[test]
    fn periods_run_from_one_second_to_a_hundred_years() {
        let period = |unit, unit_multiplier| {
            Limit::new(LimitSpec { unit_multiplier, ..LimitSpec::new(Algorithm::FixedWindow, 1, unit) })
                .map(|limit| limit.period_ms())
        };
        assert_eq!(period(Unit::Second, 30), Ok(30_000));
        assert_eq!(period(Unit::Year, 100), Ok(3_153_600_000_000));
        assert_eq!(period(Unit::Second, 0), Err(LimitError::NoMultiplier));
        assert!(matches!(period(Unit::Year, 101), Err(LimitError::PeriodTooLong { .. })));
    }

    #[test]
    fn ticks_are_seconds_from_one_day_on() {
        let ticks = |unit, unit_multiplier| {
            let limit = Limit::new(LimitSpec { unit_multiplier, ..bucket(1, unit) }).unwrap();
            (limit.tick_ms(), limit.period_ticks())
        };
        assert_eq!(ticks(Unit::Hour, 23), (1, 82_800_000));
        assert_eq!(ticks(Unit::Hour, 24), (1000, 86_400));
    }
}
