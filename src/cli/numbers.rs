//! Limits in words.

use serde_json::{Value as Json, json};

use crate::limit::{Algorithm, Limit};

/// The numbers in short: `5 per 15 minutes, fixed_window`.
pub(super) fn line(limit: &Limit) -> String {
    let algorithm = limit.algorithm();
    let burst = match algorithm {
        _ if limit.count() == 0 || !algorithm.is_bucket() => String::new(),
        _ => format!(", burst {}", limit.capacity()),
    };
    // Of each algorithm the usual way goes without saying; that of a fixed window is the reference's.
    let is_window = algorithm == Algorithm::FixedWindow;
    let refused = match limit.count_refused() {
        true if !is_window => ", counts refused hits",
        false if is_window => ", refused hits are free",
        _ => "",
    };
    format!("{} per {}, {}{burst}{refused}", limit.count(), period(limit), algorithm.name())
}

/// The period: `minute`, `15 minutes`.
pub(super) fn period(limit: &Limit) -> String {
    match (limit.unit_multiplier(), limit.unit().name()) {
        (1, unit) => unit.to_owned(),
        (units, unit) => format!("{units} {unit}s"),
    }
}

/// What the limit means.
pub(super) fn meaning(limit: &Limit) -> String {
    let (count, capacity) = (limit.count(), limit.capacity());
    if count == 0 {
        return "refuses every hit, forever".to_owned();
    }
    let (period, hits) = (period(limit), hits(u64::from(count)));
    match limit.algorithm() {
        Algorithm::TokenBucket => format!(
            "{hits} per {period} on average; after a pause up to {capacity} at once, since the bucket holds {capacity}"
        ),
        Algorithm::LeakyBucket if capacity == 1 => {
            format!("{hits} per {period}, evenly spaced: one every {}, never two at once", spacing(limit))
        }
        Algorithm::LeakyBucket => format!(
            "{hits} per {period}, evenly spaced: one every {}, and at most {capacity} at once",
            spacing(limit)
        ),
        Algorithm::FixedWindow => format!(
            "{hits} in each {period} of the clock, then from zero again; around that moment twice as many can come"
        ),
        Algorithm::SlidingWindow => {
            format!("never more than {hits} in any {period}, wherever it starts")
        }
    }
}

/// What becomes of refused hits.
pub(super) fn refused(limit: &Limit) -> &'static str {
    match limit.algorithm() {
        _ if limit.count() == 0 => "every hit is one",
        _ if !limit.count_refused() => "cost nothing (`count_refused: false`)",
        Algorithm::FixedWindow => "count as well, until the next window begins (`count_refused: true`)",
        Algorithm::SlidingWindow => {
            "count as well, so who goes on asking stays refused (`count_refused: true`)"
        }
        Algorithm::TokenBucket | Algorithm::LeakyBucket => {
            "count as well, as a debt that is paid off first (`count_refused: true`)"
        }
    }
}

/// Why a cost can never pass, if it cannot.
pub(super) fn never(limit: &Limit, cost: u64) -> Option<String> {
    let capacity = limit.capacity();
    if limit.count() == 0 || cost <= capacity {
        return None;
    }
    let remedy = match limit.algorithm() {
        algorithm if algorithm.is_bucket() => format!("; write `burst: {cost}` or more"),
        _ => String::new(),
    };
    Some(format!("a cost of {cost} can never pass: at most {} at once{remedy}", hits(capacity)))
}

/// The limit for machines.
pub(super) fn json(limit: &Limit) -> Json {
    json!({
        "requests_per_unit": limit.count(),
        "unit": limit.unit().name(),
        "unit_multiplier": limit.unit_multiplier(),
        "period_s": limit.period_ms() / 1000,
        "algorithm": limit.algorithm().name(),
        "capacity": limit.capacity(),
        "count_refused": limit.count_refused(),
        "meaning": meaning(limit),
    })
}

/// `1 hit`, `2 hits`.
pub(super) fn hits(count: u64) -> String {
    if count == 1 { "1 hit".to_owned() } else { format!("{count} hits") }
}

/// The time between two hits of a leaky bucket, to the millisecond.
fn spacing(limit: &Limit) -> String {
    let (period_ms, count) = (limit.period_ms(), u64::from(limit.count()));
    let ms = period_ms / count.max(1);
    match ms {
        _ if period_ms % count.max(1) != 0 && ms < 10 => format!("{period_ms}/{count} ms"),
        ms if ms < 1000 => format!("{ms} ms"),
        ms => duration(ms.div_ceil(1000)),
    }
}

/// Seconds as people say them: `90 s`, `15 min`, `3 h`, `2 days`.
pub(super) fn duration(seconds: u64) -> String {
    match seconds {
        ..120 => format!("{seconds} s"),
        _ if seconds < 7200 => in_units(seconds, 60, "min", "s"),
        _ if seconds < 172_800 => in_units(seconds, 3600, "h", "min"),
        _ => in_units(seconds, 86_400, "days", "h"),
    }
}

fn in_units(seconds: u64, unit: u64, name: &str, smaller: &str) -> String {
    let rest = match smaller {
        "s" => seconds % unit,
        "min" => seconds % unit / 60,
        _ => seconds % unit / 3600,
    };
    let whole = seconds / unit;
    if rest == 0 { format!("{whole} {name}") } else { format!("{whole} {name} {rest} {smaller}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::{LimitSpec, Unit};

    fn limit(algorithm: Algorithm, count: u32, burst: Option<u64>) -> Limit {
        Limit::new(LimitSpec { burst, ..LimitSpec::new(algorithm, count, Unit::Second) }).unwrap()
    }

    #[test]
    fn a_limit_is_told_in_words() {
        let leaky = limit(Algorithm::LeakyBucket, 2, None);
        assert_eq!(line(&leaky), "2 per second, leaky_bucket, burst 1");
        assert_eq!(meaning(&leaky), "2 hits per second, evenly spaced: one every 500 ms, never two at once");
        assert_eq!(
            never(&leaky, 5).as_deref(),
            Some("a cost of 5 can never pass: at most 1 hit at once; write `burst: 5` or more")
        );
        assert_eq!(never(&leaky, 1), None);
        assert_eq!(never(&limit(Algorithm::TokenBucket, 0, None), 1), None);
    }

    #[test]
    fn seconds_are_said_as_people_say_them() {
        let said = [1, 90, 120, 150, 7200, 9000, 172_800, 180_000].map(duration);
        assert_eq!(said, ["1 s", "90 s", "2 min", "2 min 30 s", "2 h", "2 h 30 min", "2 days", "2 days 2 h"]);
    }
}
