//! Rows about resident memory.

use crate::bench::Bench;
use crate::outcome::Outcome;
use crate::row::Load;
use crate::rules;
use fluxlimit_load::child::{Failure, root};
use fluxlimit_load::options::Options;
use fluxlimit_load::process::{allowed_cores, resident_bytes};
use fluxlimit_load::server::{Server, Setup};
use fluxlimit_load::store;
use fluxlimit_load::store::Store;
use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long a server is left alone before it counts as idle.
const SETTLED: Duration = Duration::from_secs(2);
/// The sliding window of the rules, and longer than one of its slots, which are at most 64.
const WINDOW: Duration = Duration::from_mins(5);
const SLOT: Duration = Duration::from_secs(5);
const SLOT_BYTES: f64 = 16.0;

fn resident(server: &Server) -> Result<f64, Failure> {
    Ok(resident_bytes(server.pid()).ok_or("the server is gone")? as f64)
}

fn figure(name: &str, value: f64) -> (String, f64) {
    (name.to_owned(), value)
}

/// As people start it: with the sample rules, on all cores.
pub(crate) fn idle(bench: &Bench) -> Result<Outcome, Failure> {
    let all = [bench.cores.two.as_slice(), &allowed_cores()].concat();
    let rules = root().join("config/rules");
    let setup = Setup { cores: &all, rules: &rules, store: "memory", settings: Vec::new() };
    let server = bench.fluxlimit(&setup)?;
    sleep(SETTLED);
    Ok(Outcome::Figures(BTreeMap::from([figure("value", resident(&server)? / 1e6)])))
}

/// What many keys add to it, for each.
pub(crate) fn keys(bench: &Bench, keys: usize) -> Result<Outcome, Failure> {
    let store = store::start(Store::Memory, &[])?;
    let server = bench.ours(&rules::write_ours(bench.work.path())?, &store)?;
    let options = options(&server, "lasting", keys);
    // What connections and the first requests need is none of the keys'.
    Bench::fill(&Options { keys: 1000, ..options.clone() })?;
    let before = resident(&server)?;
    Bench::fill(&options)?;
    server.holds(keys)?;
    let each = (resident(&server)? - before) / keys as f64;
    eprintln!("  {keys} keys: {each:.0} bytes each, with their text");
    let text = rules::key_text_bytes("lasting") as f64;
    let figures = [figure("value", each - text), figure("keys", keys as f64), figure("text", text)];
    Ok(Outcome::Figures(BTreeMap::from(figures)))
}

/// The same where each key has several slots.
pub(crate) fn slots(bench: &Bench, keys: usize, slots: usize) -> Result<Outcome, Failure> {
    let store = store::start(Store::Memory, &[])?;
    let server = bench.ours(&rules::write_ours(bench.work.path())?, &store)?;
    let options = options(&server, "sliding", keys);
    // Other keys, whose slots are few.
    Bench::fill(&Options { keys: 1000, tenant: "acme".to_owned(), ..options.clone() })?;
    let before = resident(&server)?;
    let began = Instant::now();
    let slots = if bench.cli.quick { slots.min(2) } else { slots };
    for _ in 0..slots {
        let started = Instant::now();
        Bench::fill(&options)?;
        // Each key is hit again a pass later, which has to be another slot.
        sleep(SLOT.saturating_sub(started.elapsed()));
    }
    server.holds(keys)?;
    if began.elapsed() > WINDOW {
        return Err("the machine is too slow: the first slots are over".into());
    }
    let each = (resident(&server)? - before) / keys as f64;
    eprintln!("  {keys} keys with {slots} slots: {each:.0} bytes each, with their text");
    let text = rules::key_text_bytes("sliding") as f64;
    let beyond = each - text - SLOT_BYTES * slots as f64;
    let figures = [("value", beyond), ("keys", keys as f64), ("text", text), ("slots", slots as f64)];
    Ok(Outcome::Figures(figures.into_iter().map(|(name, value)| figure(name, value)).collect()))
}

fn options(server: &Server, tenant: &str, keys: usize) -> Options {
    let load = Load::users(keys);
    Options { addr: vec![server.grpc], tenant: tenant.to_owned(), ..load.options() }
}
