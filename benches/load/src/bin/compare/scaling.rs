//! Several servers over one store: what a decision costs them and it.

use crate::bench::{Bench, Contestant};
use crate::outcome::{Outcome, Point};
use crate::plans::OURS;
use crate::row::Load;
use crate::rules;
use fluxlimit_load::child::Failure;
use fluxlimit_load::options::Options;
use fluxlimit_load::pages::metric;
use fluxlimit_load::server::Server;
use fluxlimit_load::store;
use fluxlimit_load::store::Store;

/// Servers, and calls in flight on each of four connections: the last with a quarter of the calls, so smaller
/// batches.
const POINTS: [(usize, usize); 4] = [(1, 32), (2, 32), (4, 32), (1, 8)];

/// All servers share the server's core, since few machines that measure have more; core time is what is taken from
/// it, not rates.
pub(crate) fn measure(bench: &Bench, kind: Store) -> Result<Outcome, Failure> {
    let store = store::start(kind, &[bench.cores.load])?;
    let rules = rules::write_ours(bench.work.path())?;
    let most = POINTS.iter().map(|(servers, _)| *servers).max().unwrap_or_default();
    let servers = (0..most).map(|_| bench.ours(&rules, &store)).collect::<Result<Vec<_>, _>>()?;
    let mut points = Vec::new();
    for (count, in_flight) in POINTS {
        let load = Load { in_flight, ..Load::users(10_000) };
        let used = &servers[..count];
        let options = Options {
            addr: used.iter().map(|server| server.grpc).collect(),
            server_pid: used.iter().map(Server::pid).collect(),
            store_pid: store.pids(),
            ..load.options()
        };
        let contestant =
            Contestant { name: OURS.to_owned(), options, may_refuse: false, keeps_counters: true };
        points.push(point(bench, used, &contestant)?);
    }
    Ok(Outcome::Scaling(points))
}

fn point(bench: &Bench, servers: &[Server], contestant: &Contestant) -> Result<Point, Failure> {
    let mut rounds = Vec::new();
    for _ in 0..bench.rounds() {
        let before = exchanges(servers)?;
        let report = bench.measure(contestant)?;
        let after = exchanges(servers)?;
        rounds.push(((after.0 - before.0) / (after.1 - before.1).max(1.0), report));
    }
    rounds.sort_by(|left, right| left.1.rate.total_cmp(&right.1.rate));
    let (batch, report) = rounds.swap_remove((rounds.len() - 1) / 2);
    let in_flight = contestant.options.connections * contestant.options.in_flight;
    eprintln!("  {} servers, {in_flight} in flight: {:.0}/s, {batch:.1} a batch", servers.len(), report.rate);
    Ok(Point { servers: servers.len(), in_flight, batch, report })
}

/// Requests that went to the store so far, and in how many exchanges.
fn exchanges(servers: &[Server]) -> Result<(f64, f64), Failure> {
    let mut sums = (0.0, 0.0);
    for server in servers {
        let text = server.metrics()?;
        sums.0 += metric(&text, "fluxlimit_store_round_trip_settlements_sum");
        sums.1 += metric(&text, "fluxlimit_store_round_trip_settlements_count");
    }
    Ok(sums)
}
