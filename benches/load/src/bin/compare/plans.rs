//! How rows are measured in which servers take turns.

use crate::bench::{Bench, Contestant};
use crate::ceiling;
use crate::outcome::{Curve, Outcome};
use crate::row::{Load, Plan};
use crate::rules;
use crate::{envoy, footprint, scaling};
use fluxlimit_load::child::Failure;
use fluxlimit_load::options::Options;
use fluxlimit_load::server::{Server, Setup};
use fluxlimit_load::store::Store;
use fluxlimit_load::store::{self, Running};
use std::collections::BTreeMap;

/// So many keys and more are asked about once before the measurement, or it would be one of new keys.
const FILLED_FROM: usize = 100_000;
/// Offered loads of the plot, as parts of what the yardstick carries.
const OFFERED: [f64; 11] = [0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95];
/// What a server must answer of what is offered; with less, its latency only tells how long it was measured.
const CARRIED: f64 = 0.98;

/// Names of the two that every row compares.
pub(crate) const YARDSTICK: &str = "yardstick";
pub(crate) const OURS: &str = "fluxlimit";

/// Measures a row.
pub(crate) fn measure(bench: &Bench, plan: &Plan) -> Result<Outcome, Failure> {
    match plan {
        Plan::Rate { store, load } => rate(bench, *store, *load),
        Plan::Idle { store } => idle(bench, *store),
        Plan::HalfLoad => half_load(bench),
        Plan::Rules { count } => rule_counts(bench, bench.scaled(*count)),
        Plan::Threads => threads(bench),
        Plan::OneConnection => one_connection(bench),
        Plan::IdleMemory => footprint::idle(bench),
        Plan::KeyMemory { keys } => footprint::keys(bench, bench.scaled(*keys)),
        Plan::SlotMemory { keys, slots } => footprint::slots(bench, bench.scaled(*keys), *slots),
        Plan::Envoy => envoy::measure(bench),
        Plan::Scaling { store } => scaling::measure(bench, *store),
        Plan::Curve => curve(bench),
    }
}

/// A server of ours and what it is asked.
pub(crate) fn contestant(name: &str, server: &Server, options: Options, load: Load) -> Contestant {
    let options = Options { addr: vec![server.grpc], server_pid: vec![server.pid()], ..options };
    let keeps_counters = name != YARDSTICK;
    Contestant { name: name.to_owned(), options, may_refuse: load.is_refused(), keeps_counters }
}

/// The yardstick, ours over a store, and what runs elsewhere, all asked the same.
struct Beside {
    contestants: Vec<Contestant>,
    // Run until the row is over.
    _servers: [Server; 2],
    store: Running,
}

impl Beside {
    fn new(bench: &Bench, store: Store, load: Load) -> Result<Self, Failure> {
        let keys = if load.keys >= FILLED_FROM { bench.scaled(load.keys) } else { load.keys };
        let load = Load { keys, ..load };
        let store = store::start(store, &[bench.cores.load])?;
        let rules = rules::write_ours(bench.work.path())?;
        let (yardstick, ours) = (bench.yardstick()?, bench.ours(&rules, &store)?);
        let options = load.options();
        let of_ours = Options { store_pid: store.pids(), ..options.clone() };
        let mut contestants = vec![
            contestant(YARDSTICK, &yardstick, options.clone(), load),
            contestant(OURS, &ours, of_ours, load),
        ];
        contestants.extend(bench.cli.servers.iter().map(|foreign| Contestant {
            name: foreign.name.clone(),
            options: Options {
                addr: vec![foreign.address],
                server_pid: foreign.pid.into_iter().collect(),
                ..options.clone()
            },
            may_refuse: load.is_refused(),
            keeps_counters: true,
        }));
        if load.keys >= FILLED_FROM {
            for contestant in contestants.iter().filter(|contestant| contestant.keeps_counters) {
                eprintln!("  {}: {} keys that are there before", contestant.name, load.keys);
                Bench::fill(&contestant.options)?;
            }
            ours.holds(load.keys)?;
        }
        Ok(Self { contestants, _servers: [yardstick, ours], store })
    }

    /// All of them at a fixed rate.
    fn at_rate(&self, rate: f64) -> Vec<Contestant> {
        let at = |contestant: &Contestant| Contestant {
            options: Options { rate: Some(rate), ..contestant.options.clone() },
            ..contestant.clone()
        };
        self.contestants.iter().map(at).collect()
    }
}

fn rate(bench: &Bench, store: Store, load: Load) -> Result<Outcome, Failure> {
    let beside = Beside::new(bench, store, load)?;
    let series = bench.take_turns(&beside.contestants)?;
    let mut figures = BTreeMap::new();
    if load.descriptors == 1 && !load.is_refused() {
        let unbatched = match store {
            Store::Redis => Some(ceiling::of_redis(bench, &beside.store, load.keys)?),
            Store::Postgres => Some(ceiling::of_postgres(bench, &beside.store, load.keys)?),
            Store::Memory | Store::RedisCluster => None,
        };
        figures.extend(unbatched.map(|rate| ("unbatched".to_owned(), rate)));
    }
    Ok(Outcome::Rounds { series, figures })
}

fn idle(bench: &Bench, store: Store) -> Result<Outcome, Failure> {
    let load = Load { connections: 1, in_flight: 1, ..Load::users(10_000) };
    let beside = Beside::new(bench, store, load)?;
    let series = bench.take_turns(&beside.contestants)?;
    let mut figures = BTreeMap::new();
    if store == Store::Redis {
        figures.insert("round_trip_us".to_owned(), ceiling::redis_round_trip_us(bench, &beside.store)?);
    }
    Ok(Outcome::Rounds { series, figures })
}

fn half_load(bench: &Bench) -> Result<Outcome, Failure> {
    let beside = Beside::new(bench, Store::Memory, Load::users(10_000))?;
    let saturated = bench.measure(&beside.contestants[1])?;
    let rate = saturated.rate / 2.0;
    eprintln!("  saturated at {:.0}/s, measured at {rate:.0}/s", saturated.rate);
    let series = bench.take_turns(&beside.at_rate(rate))?;
    Ok(Outcome::Rounds { series, figures: BTreeMap::from([("offered".to_owned(), rate)]) })
}

fn rule_counts(bench: &Bench, count: usize) -> Result<Outcome, Failure> {
    let store = store::start(Store::Memory, &[])?;
    let load = Load::users(10_000);
    let one = bench.ours(&rules::write_many(bench.work.path(), 1)?, &store)?;
    let many = bench.ours(&rules::write_many(bench.work.path(), count)?, &store)?;
    let contestants = [
        contestant("one rule", &one, load.options(), load),
        contestant(&format!("{count} rules"), &many, load.options(), load),
    ];
    Ok(Outcome::Rounds { series: bench.take_turns(&contestants)?, figures: BTreeMap::new() })
}

/// A server with two threads.
fn two_threads(bench: &Bench, store: &Running) -> Result<Server, Failure> {
    let rules = rules::write_ours(bench.work.path())?;
    let settings = vec![("FLUXLIMIT_WORKER_THREADS", "2".to_owned())];
    bench.fluxlimit(&Setup { cores: &bench.cores.two, rules: &rules, store: &store.url, settings })
}

fn threads(bench: &Bench) -> Result<Outcome, Failure> {
    let store = store::start(Store::Memory, &[])?;
    let load = Load::users(10_000);
    let one = bench.ours(&rules::write_ours(bench.work.path())?, &store)?;
    let two = two_threads(bench, &store)?;
    let contestants = [
        contestant("one thread", &one, load.options(), load),
        contestant("two threads", &two, load.options(), load),
    ];
    Ok(Outcome::Rounds { series: bench.take_turns(&contestants)?, figures: BTreeMap::new() })
}

fn one_connection(bench: &Bench) -> Result<Outcome, Failure> {
    let store = store::start(Store::Redis, &[bench.cores.load])?;
    let server = two_threads(bench, &store)?;
    let load = Load::users(10_000);
    let alone = Load { connections: 1, in_flight: load.connections * load.in_flight, ..load };
    let contestants = [
        contestant("4 × 32", &server, load.options(), load),
        contestant("1 × 128", &server, alone.options(), alone),
    ];
    Ok(Outcome::Rounds { series: bench.take_turns(&contestants)?, figures: BTreeMap::new() })
}

fn curve(bench: &Bench) -> Result<Outcome, Failure> {
    let beside = Beside::new(bench, Store::Memory, Load::users(10_000))?;
    let most = bench.measure(&beside.contestants[0])?.rate;
    let new = |contestant: &Contestant| Curve { name: contestant.name.clone(), points: Vec::new() };
    let mut curves: Vec<Curve> = beside.contestants.iter().map(new).collect();
    let mut carries = vec![true; curves.len()];
    for offered in OFFERED.map(|part| part * most) {
        for (index, contestant) in beside.at_rate(offered).iter().enumerate() {
            // Beyond saturation a server is not asked again.
            if carries[index] {
                let report = bench.measure(contestant)?;
                eprintln!("  {offered:.0}/s: {} p99 {:.0} µs", contestant.name, report.p99_us);
                carries[index] = report.rate >= offered * CARRIED;
                if carries[index] || bench.cli.quick {
                    curves[index].points.push((offered, report));
                }
            }
        }
    }
    Ok(Outcome::Curves(curves))
}
