//! The tables of docs/performance.md.

use crate::outcome::{Outcome, Ratio, Series};
use crate::row::{Aim, Group, Plan, Row};
use crate::{plans, scaling_table};
use fluxlimit_load::report::Report;
use std::collections::BTreeMap;
use std::fmt::Write;

/// The text of a table, from all of its rows.
pub(crate) fn text(group: Group, rows: &[(&Row, Outcome)]) -> String {
    match group {
        Group::Memory | Group::Redis | Group::Postgres => rates(rows),
        Group::Latency => latencies(rows),
        Group::Cost => costs(rows),
        Group::Footprint => footprints(rows),
        Group::Envoy => rows.iter().map(|(_, outcome)| envoy(outcome)).collect(),
        Group::Scaling => scaling_table::text(rows),
        Group::Plot => {
            "![Latency over offered load: median and 99th percentile](img/latency.svg)\n".to_owned()
        }
    }
}

/// A whole number with commas: 1,234,567.
pub(crate) fn whole(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0.0 && digits != "0" { format!("-{text}") } else { text }
}

/// Thousands a second.
pub(crate) fn thousands(rate: f64) -> String {
    let thousands = rate / 1000.0;
    if thousands < 100.0 { format!("{thousands:.1}") } else { format!("{thousands:.0}") }
}

fn ratio(ratio: Option<Ratio>) -> String {
    let Some(Ratio { median, lowest, highest }) = ratio else { return String::new() };
    format!("{median:.2} ({lowest:.2}–{highest:.2})")
}

/// The aim, and whether a value reaches it, to the digits that are shown.
fn aim(aim: Option<Aim>, value: f64, digits: usize) -> String {
    let (sign, bound, is_met) = match aim {
        None => return String::new(),
        Some(Aim::AtLeast(bound)) => ("≥", bound, value >= bound),
        Some(Aim::AtMost(bound)) => ("≤", bound, value <= bound),
    };
    format!("{sign} {bound:.digits$}, {}", if is_met { "met" } else { "missed" })
}

/// The columns of a table that rates are in.
const RATES: &str = "\
| case | yardstick, thousand/s | fluxlimit, thousand/s | ratio | aim | p50 µs | p99 µs | p99.9 µs | core µs (yardstick) |
|---|---|---|---|---|---|---|---|---|
";

fn rates(rows: &[(&Row, Outcome)]) -> String {
    let mut text = RATES.to_owned();
    let mut notes = String::new();
    let mut others = String::new();
    for (row, outcome) in rows {
        let Outcome::Rounds { series, figures } = outcome else { continue };
        let [yardstick, ours, foreign @ ..] = series.as_slice() else { continue };
        let rate = |report: &Report| report.rate;
        let between = Ratio::between(yardstick, ours, rate);
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {:.0} | {:.0} | {:.0} | {:.2} ({:.2}) |",
            row.title,
            thousands(yardstick.median(rate)),
            thousands(ours.median(rate)),
            ratio(between),
            aim(row.aim, between.map_or(0.0, |ratio| ratio.median), 2),
            ours.median(|report| report.p50_us),
            ours.median(|report| report.p99_us),
            ours.median(|report| report.p999_us),
            ours.median(Report::server_us),
            yardstick.median(Report::server_us),
        );
        notes += &remarks(row, ours, figures);
        for other in foreign {
            let _ = writeln!(
                others,
                "| {} | {} | {} | {} | {:.0} | {:.0} |",
                other.name,
                row.title,
                thousands(other.median(rate)),
                ratio(Ratio::between(yardstick, other, rate)),
                other.median(|report| report.p50_us),
                other.median(|report| report.p99_us),
            );
        }
    }
    if !others.is_empty() {
        text += "\n| other server | case | thousand/s | ratio to the yardstick | p50 µs | p99 µs |\n|---|---|---|---|---|---|\n";
        text += &others;
    }
    if !notes.is_empty() {
        let _ = write!(text, "\n{notes}");
    }
    text
}

/// What does not fit into the columns, as a list.
fn remarks(row: &Row, ours: &Series, figures: &BTreeMap<String, f64>) -> String {
    let mut text = String::new();
    if let Some(rate) = figures.get("unbatched") {
        let is_redis = row.group == Group::Redis;
        let program = if is_redis { "redis-benchmark" } else { "pgbench" };
        let store_us = ours.median(Report::store_us);
        let _ = writeln!(
            text,
            "- {}: {} thousand/s by {program} with the same work unbatched; a decision takes {store_us:.1} µs of the store's core.",
            row.title,
            thousands(*rate),
        );
    }
    if matches!(row.plan, Plan::Rate { load, .. } if load.is_refused()) {
        let share = ours.median(|report| report.over_limit_share);
        let _ = writeln!(text, "- {}: {:.2} % of the requests were over limit.", row.title, share * 100.0);
    }
    let failed: u64 = ours.rounds.iter().map(|report| report.failed).sum();
    if failed > 0 {
        let _ = writeln!(text, "- {}: {} requests had no decision.", row.title, whole(failed as f64));
    }
    text
}

fn latencies(rows: &[(&Row, Outcome)]) -> String {
    let mut text = "\
| case | requests/s | yardstick: p50, p99, p99.9 µs | fluxlimit: p50, p99, p99.9 µs | ratio | aim |
|---|---|---|---|---|---|
"
    .to_owned();
    let mut notes = String::new();
    for (row, outcome) in rows {
        let Outcome::Rounds { series, figures } = outcome else { continue };
        let [yardstick, ours, others @ ..] = series.as_slice() else { continue };
        let is_half = matches!(row.plan, Plan::HalfLoad);
        let compared = move |report: &Report| if is_half { report.p99_us } else { report.p50_us };
        let between = Ratio::between(yardstick, ours, compared);
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} of {} | {} |",
            row.title,
            whole(ours.median(|report| report.rate)),
            quantiles(yardstick),
            quantiles(ours),
            ratio(between),
            if is_half { "p99" } else { "p50" },
            aim(row.aim, between.map_or(0.0, |ratio| ratio.median), 2),
        );
        for other in others {
            let _ = writeln!(notes, "- {}: {} has {} µs.", row.title, other.name, quantiles(other));
        }
        if let Some(round_trip_us) = figures.get("round_trip_us") {
            let p50_us = |series: &Series| series.median(|report| report.p50_us);
            let over_us = p50_us(ours) - p50_us(yardstick) - round_trip_us;
            let _ = writeln!(
                notes,
                "- {}: the script alone takes redis-benchmark {round_trip_us:.0} µs, so {over_us:.0} µs are above the yardstick and one round trip (aim {}).",
                row.title,
                aim(Some(Aim::AtMost(100.0)), over_us, 0),
            );
        }
    }
    if notes.is_empty() { text } else { format!("{text}\n{notes}") }
}

fn quantiles(series: &Series) -> String {
    let [p50, p99, p999] = [
        series.median(|report| report.p50_us),
        series.median(|report| report.p99_us),
        series.median(|report| report.p999_us),
    ];
    format!("{p50:.0}, {p99:.0}, {p999:.0}")
}

fn costs(rows: &[(&Row, Outcome)]) -> String {
    let mut text = "| what | before | after | ratio | aim |\n|---|---|---|---|---|\n".to_owned();
    for (row, outcome) in rows {
        let Outcome::Rounds { series, .. } = outcome else { continue };
        let [before, after] = series.as_slice() else { continue };
        let is_time = matches!(row.plan, Plan::Threads);
        let figure = move |report: &Report| if is_time { report.server_us() } else { report.rate };
        let shown = |series: &Series| {
            let value = series.median(figure);
            if is_time { format!("{value:.2} µs") } else { format!("{} thousand/s", thousands(value)) }
        };
        let between = Ratio::between(before, after, figure);
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} |",
            row.title,
            shown(before),
            shown(after),
            ratio(between),
            aim(row.aim, between.map_or(0.0, |ratio| ratio.median), 2),
        );
    }
    text
}

fn footprints(rows: &[(&Row, Outcome)]) -> String {
    let mut text = "| resident memory | figure | aim |\n|---|---|---|\n".to_owned();
    for (row, outcome) in rows {
        let Outcome::Figures(figures) = outcome else { continue };
        let value = figures.get("value").copied().unwrap_or_default();
        let keys = figures.get("keys").map(|keys| format!(" ({} keys", whole(*keys)));
        let slots = figures.get("slots").map(|slots| format!(", {slots:.0} slots each"));
        let detail = keys.map(|keys| format!("{keys}{})", slots.unwrap_or_default())).unwrap_or_default();
        let _ = writeln!(text, "| {}{detail} | {value:.0} | {} |", row.title, aim(row.aim, value, 0));
    }
    text
}

fn envoy(outcome: &Outcome) -> String {
    let Outcome::Figures(figures) = outcome else { return String::new() };
    let figure = |name: &str| figures.get(name).copied().unwrap_or_default();
    let rows = [
        ("Envoy's own saturation, requests/s", whole(figure("saturation"))),
        ("offered, answered, requests/s", format!("{}, {}", whole(figure("offered")), whole(figure("rate")))),
        (
            "latency through Envoy: p50, p99, p99.9, max, µs",
            ["p50_us", "p99_us", "p999_us", "max_us"].map(|name| whole(figure(name))).join(", "),
        ),
        ("`ratelimit.ok`", whole(figure("ok"))),
        ("`ratelimit.error` (aim 0)", whole(figure("error"))),
        ("answers other than 200", whole(figure("not_200"))),
    ];
    let mut text = "| what | figure |\n|---|---|\n".to_owned();
    for (what, figure) in rows {
        let _ = writeln!(text, "| {what} | {figure} |");
    }
    text
}

/// Where and how the rows of a table were measured, for the line below it.
pub(crate) fn caption(rounds: usize, seconds: f64) -> String {
    format!(
        "Medians of {rounds} rounds of {seconds} s, in turn with the {}; in parentheses the extremes.",
        plans::YARDSTICK
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::ROWS;

    fn row(name: &str) -> &'static Row {
        ROWS.iter().find(|row| row.name == name).expect("there is such a row")
    }

    fn series(name: &str, rate: f64, p50_us: f64) -> Series {
        let report = Report { rate, p50_us, p99_us: p50_us * 2.0, server_cores: 1.0, ..Report::default() };
        Series { name: name.to_owned(), rounds: vec![report] }
    }

    fn rounds(series: Vec<Series>, figures: &[(&str, f64)]) -> Outcome {
        let figures = figures.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        Outcome::Rounds { series, figures }
    }

    #[test]
    fn numbers_are_readable() {
        assert_eq!(
            [0.0, 999.4, 1000.0, 1_234_567.0, -1234.0, -0.2].map(whole),
            ["0", "999", "1,000", "1,234,567", "-1,234", "0"]
        );
        assert_eq!([4_040.0, 99_940.0, 311_200.0].map(thousands), ["4.0", "99.9", "311"]);
    }

    #[test]
    fn a_row_tells_both_rates_their_ratio_and_its_aim() {
        let both = vec![series("yardstick", 300_000.0, 100.0), series("fluxlimit", 240_000.0, 120.0)];
        let text = text(Group::Memory, &[(row("memory-1"), rounds(both, &[]))]);
        let expected =
            "| one key | 300 | 240 | 0.80 (0.80–0.80) | ≥ 0.90, missed | 120 | 240 | 0 | 4.17 (3.33) |";
        assert_eq!(text.lines().nth(2), Some(expected));
        assert!(!text.contains("other server"));
        assert_eq!(aim(Some(Aim::AtLeast(0.9)), 0.9, 2), "≥ 0.90, met");
        assert_eq!(aim(None, 0.1, 2), "");
    }

    #[test]
    fn another_server_has_a_table_of_its_own() {
        let three = vec![
            series("yardstick", 300_000.0, 100.0),
            series("fluxlimit", 150_000.0, 120.0),
            series("go", 30_000.0, 900.0),
        ];
        let text = text(Group::Redis, &[(row("redis-1"), rounds(three, &[("unbatched", 75_000.0)]))]);
        assert!(text.contains("| go | one key | 30.0 | 0.10 (0.10–0.10) | 900 | 1800 |"), "{text}");
        assert!(text.contains("75.0 thousand/s by redis-benchmark"), "{text}");
    }

    #[test]
    fn an_idle_redis_is_compared_with_one_round_trip() {
        let both = vec![series("yardstick", 1.0, 64.0), series("fluxlimit", 1.0, 175.0)];
        let text = text(Group::Latency, &[(row("latency-redis"), rounds(both, &[("round_trip_us", 71.0)]))]);
        assert!(
            text.contains("so 40 µs are above the yardstick and one round trip (aim ≤ 100, met)"),
            "{text}"
        );
    }

    #[test]
    fn costs_and_footprints_are_told_with_their_aims() {
        let both = vec![series("one thread", 100_000.0, 1.0), series("two threads", 125_000.0, 1.0)];
        let costs = text(Group::Cost, &[(row("threads"), rounds(both, &[]))]);
        assert!(costs.contains("| 10.00 µs | 8.00 µs | 0.80 (0.80–0.80) | ≤ 1.10, met |"), "{costs}");
        let figures = BTreeMap::from([("value".to_owned(), 151.4), ("keys".to_owned(), 1e7)]);
        let memory = text(Group::Footprint, &[(row("footprint-keys"), Outcome::Figures(figures))]);
        assert!(memory.contains("(10,000,000 keys) | 151 | ≤ 150, missed |"), "{memory}");
    }
}
