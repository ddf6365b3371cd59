//! Asks servers over every kind of store for a long time, while rules change and stores are killed.
//!
//! Every answer is held against the limit that gives it, or, while a store is away, against the policy of its domain.
//! Memory, open files, threads and keys must become steady.

mod cli;
mod client;
mod outages;
mod reloads;
mod restarts;
mod rules;
mod samples;
mod stalls;
mod subject;
mod table;
mod tally;
mod traffic;

use clap::Parser;
use cli::{Cli, Plan};
use fluxlimit_load::child::{Failure, scratch};
use fluxlimit_load::store::Store;
use reloads::Reloads;
use restarts::Restarts;
use rules::Rules;
use stalls::Stalls;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};
use subject::{Bench, Subject};

const STORES: [Store; 3] = [Store::Memory, Store::Redis, Store::Postgres];
const TICK: Duration = Duration::from_millis(250);
/// Keys are counted that often; a store does it for each of them.
const KEYS_EVERY: Duration = Duration::from_secs(10);
/// An outage that begins later than that before the end would make the run longer.
const OUTAGES_END: Duration = Duration::from_secs(15);

fn main() -> ExitCode {
    let cli = Cli::parse();
    match soak(&cli) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("soak: {failure}");
            ExitCode::from(2)
        }
    }
}

/// Runs to the end or to the first complaint; whether there was none.
fn soak(cli: &Cli) -> Result<bool, Failure> {
    let plan = Plan::new(cli);
    let work = scratch()?;
    let rules = Rules::write(work.path().join("rules"))?;
    let stalls = Arc::new(Stalls::default());
    let bench = Bench { cli, plan: &plan, rules: &rules, work: work.path(), stalls: stalls.clone() };
    let start = |kind: Store| Subject::start(kind, &bench);
    let mut subjects = STORES.into_iter().map(start).collect::<Result<Vec<_>, _>>()?;
    println!("{} calls a second to each of {} servers for {:?}", plan.rate, subjects.len(), plan.length);
    let mut reloads = Reloads::new(rules, plan.reload_every);
    let stop = AtomicBool::new(false);
    let directed = thread::scope(|scope| {
        for subject in &subjects {
            let client = subject.client(plan.rate);
            let stop = &stop;
            scope.spawn(move || client.run(stop));
        }
        scope.spawn(|| stalls.watch(&stop));
        let directed = direct(&plan, &mut subjects, &mut reloads);
        stop.store(true, Ordering::Relaxed);
        directed
    });
    directed?;
    let is_good = !has_complaints(&subjects);
    if is_good {
        for subject in &subjects {
            subject.conclude(plan.is_long)?;
        }
    }
    table::summary(&subjects, &reloads, &stalls);
    Ok(!has_complaints(&subjects))
}

fn has_complaints(subjects: &[Subject]) -> bool {
    subjects.iter().any(|subject| !subject.tally.counts().complaints.is_empty())
}

/// Changes rules, kills stores and looks at servers, until the time is over or there is a complaint.
///
/// All of it is one thread, since what it starts ends with it.
fn direct(plan: &Plan, subjects: &mut [Subject], reloads: &mut Reloads) -> Result<(), Failure> {
    let began = Instant::now();
    let last_outage = plan.length.saturating_sub(OUTAGES_END);
    let mut turn = 0;
    let mut restarts: Vec<Restarts> = subjects
        .iter()
        .map(|subject| {
            let until = if subject.has_store() { plan.first_outage(turn) } else { Duration::MAX };
            turn += u32::from(subject.has_store());
            Restarts::Up { until }
        })
        .collect();
    let (mut sample_at, mut keys_at, mut table_at) = (Duration::ZERO, KEYS_EVERY / 2, plan.table_every);
    loop {
        let now = began.elapsed();
        for (subject, restarts) in subjects.iter_mut().zip(&mut restarts) {
            if let Err(failure) = restarts.tick(subject, plan, now, last_outage) {
                subject.complain(failure);
            }
        }
        if !reloads.is_idle() || now < plan.length {
            reloads.tick(subjects, now, plan.reload_every)?;
        }
        if now >= sample_at {
            for (subject, restarts) in subjects.iter_mut().zip(&restarts) {
                if let Err(failure) = subject.look(now, now >= keys_at && restarts.is_up()) {
                    subject.complain(failure);
                }
            }
            sample_at = now + plan.sample_every;
            keys_at = if now >= keys_at { now + KEYS_EVERY } else { keys_at };
        }
        if now >= table_at {
            table::print(subjects, reloads, now);
            table_at += plan.table_every;
        }
        let is_over = now >= plan.length && reloads.is_idle() && restarts.iter().all(|one| one.is_up());
        if is_over || has_complaints(subjects) {
            return Ok(());
        }
        sleep(TICK);
    }
}
