//! What several servers over one store have shown, and the sizes that follow from it.

use crate::outcome::{Outcome, Point};
use crate::row::{Plan, Row};
use crate::sizing::{BUSY, LOADS, MOST_POSTGRES_CORES, StoreCost, check, need};
use crate::tables::{thousands, whole};
use fluxlimit_load::store::Store;
use std::fmt::Write;

/// Both tables: what was measured, and the sizes.
pub(crate) fn text(rows: &[(&Row, Outcome)]) -> String {
    format!("{}\n{}\n{}", measured(rows), model(rows), sizes(rows))
}

fn points<'a>(rows: &'a [(&Row, Outcome)]) -> impl Iterator<Item = (&'a str, &'a [Point])> {
    rows.iter().filter_map(|(row, outcome)| match outcome {
        Outcome::Scaling(points) => Some((row.title, points.as_slice())),
        _ => None,
    })
}

fn measured(rows: &[(&Row, Outcome)]) -> String {
    let mut text = "\
| store | servers | in flight | thousand/s | requests in a batch | server, core µs | store, core µs | p99 µs |
|---|---|---|---|---|---|---|---|
"
    .to_owned();
    for (title, points) in points(rows) {
        for Point { servers, in_flight, batch, report } in points {
            let _ = writeln!(
                text,
                "| {title} | {servers} | {in_flight} | {} | {batch:.1} | {:.2} | {:.2} | {:.0} |",
                thousands(report.rate),
                report.server_us(),
                report.store_us(),
                report.p99_us,
            );
        }
    }
    text
}

/// What the store's core time is made of, and how well that foretells what it was not made from.
fn model(rows: &[(&Row, Outcome)]) -> String {
    let mut text = "\
| store | core µs of a decision | core µs of an exchange | with two servers: foretold, measured core µs |
|---|---|---|---|
"
    .to_owned();
    for (title, points) in points(rows) {
        let all: Vec<&Point> = points.iter().collect();
        let (each, exchange) = StoreCost::fit(&all).map_or(("–".to_owned(), "–".to_owned()), |cost| {
            (format!("{:.2}", cost.each_us), format!("{:.1}", cost.exchange_us))
        });
        let checked = check(points)
            .map_or("–".to_owned(), |(foretold, measured)| format!("{foretold:.2}, {measured:.2}"));
        let _ = writeln!(text, "| {title} | {each} | {exchange} | {checked} |");
    }
    text
}

fn sizes(rows: &[(&Row, Outcome)]) -> String {
    let of = |wanted: Store| {
        rows.iter().find_map(|(row, outcome)| match (&row.plan, outcome) {
            (Plan::Scaling { store }, Outcome::Scaling(points)) if *store == wanted => {
                Some(points.as_slice())
            }
            _ => None,
        })
    };
    let mut text =
        "| decisions/s | with Redis: server cores | Redis | with Postgres: server cores | Postgres |\n\
         |---|---|---|---|---|\n"
            .to_owned();
    for load in LOADS {
        let (redis_servers, redis) = redis(of(Store::Redis), of(Store::RedisCluster), load);
        let (postgres_servers, postgres) = postgres(of(Store::Postgres), load);
        let _ = writeln!(
            text,
            "| {} | {redis_servers} | {redis} | {postgres_servers} | {postgres} |",
            whole(load)
        );
    }
    let _ = writeln!(text, "\nCores are planned to be busy for {:.0} % of the time.", BUSY * 100.0);
    text
}

/// One Redis has one core for commands; beyond it, a cluster has as many nodes as it needs cores.
fn redis(one: Option<&[Point]>, cluster: Option<&[Point]>, load: f64) -> (String, String) {
    let unknown = || ("–".to_owned(), "–".to_owned());
    let Some(of_one) = one.and_then(|points| need(points, load)) else { return unknown() };
    if of_one.store_cores <= 1.0 {
        return (whole(of_one.server_cores), "one".to_owned());
    }
    let Some(of_cluster) = cluster.and_then(|points| need(points, load)) else { return unknown() };
    let nodes = of_cluster.store_cores.max(3.0);
    (whole(of_cluster.server_cores), format!("cluster of {}", whole(nodes)))
}

fn postgres(points: Option<&[Point]>, load: f64) -> (String, String) {
    let Some(need) = points.and_then(|points| need(points, load)) else {
        return ("–".to_owned(), "–".to_owned());
    };
    if need.store_cores > MOST_POSTGRES_CORES {
        return ("–".to_owned(), "no: take Redis".to_owned());
    }
    let plural = if need.store_cores > 1.0 { "s" } else { "" };
    (whole(need.server_cores), format!("one with {} core{plural}", whole(need.store_cores)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::ROWS;
    use fluxlimit_load::report::Report;

    fn outcome(store_us: f64) -> Outcome {
        let point = |servers: usize, batch: f64| {
            let rate = 100_000.0;
            let store_cores = (store_us + 10.0 / batch) * rate / 1e6;
            let report = Report { rate, server_cores: 0.5, store_cores, ..Report::default() };
            Point { servers, in_flight: 128, batch, report }
        };
        Outcome::Scaling(vec![point(1, 50.0), point(2, 20.0), point(4, 10.0)])
    }

    #[test]
    fn sizes_grow_from_one_redis_to_a_cluster_and_end_for_postgres() {
        let row = |name: &str| ROWS.iter().find(|row| row.name == name).expect("there is such a row");
        let rows = [
            (row("scaling-redis"), outcome(3.0)),
            (row("scaling-redis-cluster"), outcome(4.0)),
            (row("scaling-postgres"), outcome(20.0)),
        ];
        let text = text(&rows);
        assert!(text.contains("| one Redis | 2 | 128 | 100 | 20.0 | 5.00 | 3.50 | 0 |"), "{text}");
        assert!(text.contains("| one Redis | 3.00 | 10.0 | 3.50, 3.50 |"), "{text}");
        assert!(text.contains("| 10,000 | 2 | one | 2 | one with 1 core |"), "{text}");
        assert!(text.contains("| 100,000 | 2 | one | 2 | one with 5 cores |"), "{text}");
        assert!(text.contains("| 1,000,000 | 10 | cluster of 10 | – | no: take Redis |"), "{text}");
    }
}
