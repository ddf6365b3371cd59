//! What all rows need: servers on their core, and measurements in turn.

use crate::cli::Cli;
use crate::outcome::Series;
use fluxlimit_load::child::{Failure, Program, scratch};
use fluxlimit_load::options::{Options, Order};
use fluxlimit_load::process::allowed_cores;
use fluxlimit_load::report::Report;
use fluxlimit_load::run::run;
use fluxlimit_load::server::{self, Server, Setup};
use fluxlimit_load::store::Running;
use rustix::thread::{CpuSet, sched_setaffinity};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// More failed calls than this share of a measurement make it worthless.
const MOST_FAILED: f64 = 0.01;

/// How often a quick measurement is repeated that got no answer.
const QUICK_ATTEMPTS: usize = 20;

/// Filling is not measured, so many calls may be in flight: on a busy machine an exchange waits for its turn, however
/// much it carries.
const FILL_IN_FLIGHT: usize = 1_000;
const FILL_SECONDS: f64 = 1_200.0;

/// Which core has what.
#[derive(Debug, Clone)]
pub(crate) struct Cores {
    pub(crate) server: usize,
    pub(crate) load: usize,
    /// Both threads of a server that has two: the third core if there is one, else the generator's.
    pub(crate) two: Vec<usize>,
    /// Envoy's: the third if there is one, else the generator's.
    pub(crate) envoy: usize,
}

impl Cores {
    fn new(cli: &Cli, allowed: &[usize]) -> Result<Self, Failure> {
        let first = allowed.first().copied().ok_or("cannot tell which cores there are")?;
        let server = cli.server_core.unwrap_or(first);
        let second = allowed.iter().copied().find(|core| *core != server).unwrap_or(server);
        let load = cli.load_core.unwrap_or(second);
        let third = allowed.iter().copied().find(|core| *core != server && *core != load).unwrap_or(load);
        Ok(Self { server, load, two: vec![server, third], envoy: third })
    }
}

/// The context of a run.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) cli: Cli,
    pub(crate) cores: Cores,
    pub(crate) work: TempDir,
}

/// Somebody to measure, and what it is asked.
#[derive(Debug, Clone)]
pub(crate) struct Contestant {
    pub(crate) name: String,
    pub(crate) options: Options,
    /// Whether refusals are right.
    pub(crate) may_refuse: bool,
    /// Whether counters are kept, so that those of all keys have to be there before.
    pub(crate) keeps_counters: bool,
}

impl Bench {
    /// Takes the generator's core for this process; what it starts is put on another one where it has to be.
    pub(crate) fn new(cli: Cli) -> Result<Self, Failure> {
        let cores = Cores::new(&cli, &allowed_cores())?;
        let mut own = CpuSet::new();
        own.set(cores.load);
        sched_setaffinity(None, &own)?;
        Ok(Self { cli, cores, work: scratch()? })
    }

    pub(crate) fn rounds(&self) -> usize {
        if self.cli.quick { 1 } else { self.cli.rounds.max(1) }
    }

    pub(crate) fn seconds(&self) -> f64 {
        if self.cli.quick { 0.2 } else { self.cli.seconds }
    }

    fn warm_up(&self) -> f64 {
        (self.seconds() / 3.0).min(1.0)
    }

    /// A number of keys or rules, cut down where only the way is tried.
    pub(crate) fn scaled(&self, count: usize) -> usize {
        if self.cli.quick { count.min((count / 100).max(1000)) } else { count }
    }

    /// Where rule files are kept that others need as well.
    pub(crate) fn rules_directory(&self) -> PathBuf {
        self.cli.results.join("rules")
    }

    pub(crate) fn yardstick(&self) -> Result<Server, Failure> {
        let cores = [self.cores.server];
        let program = Program::new("yardstick", &self.cli.yardstick, &cores);
        Server::listening(program.start(self.work.path())?, false)
    }

    /// Starts a server and waits until it and its store are ready.
    pub(crate) fn fluxlimit(&self, setup: &Setup<'_>) -> Result<Server, Failure> {
        server::start(&self.cli.fluxlimit, setup, self.work.path())
    }

    /// Ours over a store, on the server's core.
    pub(crate) fn ours(&self, rules: &Path, store: &Running) -> Result<Server, Failure> {
        let cores = [self.cores.server];
        // Twelve million keys are no bound for ten.
        let settings = vec![("FLUXLIMIT_MEMORY__MAX_KEYS", "12000000".to_owned())];
        self.fluxlimit(&Setup { cores: &cores, rules, store: &store.url, settings })
    }

    /// One measurement.
    pub(crate) fn measure(&self, contestant: &Contestant) -> Result<Report, Failure> {
        let (duration, warm_up) = (self.seconds(), self.warm_up());
        let options = Options { duration, warm_up, ..contestant.options.clone() };
        let once = || run(&options).map(|measured| Report::from(&measured));
        let once = || once().map_err(|error| format!("{}: {error}", contestant.name));
        let mut report = once()?;
        // A busy machine may need longer for the first answer than a quick measurement takes.
        for _ in 0..QUICK_ATTEMPTS {
            if !self.cli.quick || report.allowed + report.refused > 0 {
                break;
            }
            report = once()?;
        }
        self.check(contestant, &report)?;
        Ok(report)
    }

    fn check(&self, contestant: &Contestant, report: &Report) -> Result<(), Failure> {
        let Contestant { name, may_refuse, .. } = contestant;
        let decided = report.allowed + report.refused;
        // On a machine that does much else, a store may take longer than its server waits.
        let is_failing = report.failed as f64 > decided as f64 * MOST_FAILED && !self.cli.quick;
        if decided == 0 || is_failing {
            let reason = report.first_failure.as_deref().unwrap_or("no answer");
            return Err(format!("{name}: {} of {decided} calls failed: {reason}", report.failed).into());
        }
        if report.refused > 0 && !may_refuse {
            return Err(format!("{name} refused {} calls that no limit refuses", report.refused).into());
        }
        Ok(())
    }

    /// Asks once about each key, so that all counters are there.
    pub(crate) fn fill(options: &Options) -> Result<Report, Failure> {
        let (calls, duration, warm_up) = (Some(options.keys as u64), FILL_SECONDS, 0.0);
        let (order, in_flight) = (Order::Sequential, FILL_IN_FLIGHT);
        let fill = Options { calls, duration, warm_up, order, in_flight, ..options.clone() };
        let report = Report::from(&run(&fill)?);
        let asked = report.allowed + report.refused;
        if asked < options.keys as u64 {
            let reason = report.first_failure.as_deref().unwrap_or("it took too long");
            return Err(format!("only {asked} of {} keys could be filled: {reason}", options.keys).into());
        }
        Ok(report)
    }

    /// Measures servers in turn, as many rounds as were asked for.
    pub(crate) fn take_turns(&self, contestants: &[Contestant]) -> Result<Vec<Series>, Failure> {
        let new = |contestant: &Contestant| Series { name: contestant.name.clone(), rounds: Vec::new() };
        let mut series: Vec<Series> = contestants.iter().map(new).collect();
        for round in 0..self.rounds() {
            let mut told = format!("  round {} of {}:", round + 1, self.rounds());
            for (contestant, series) in contestants.iter().zip(&mut series) {
                let report = self.measure(contestant)?;
                let Report { rate, p99_us, .. } = report;
                let _ = write!(told, " {} {rate:.0}/s p99 {p99_us:.0} µs;", contestant.name);
                series.rounds.push(report);
            }
            eprintln!("{}", told.trim_end_matches(';'));
        }
        Ok(series)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[test]
    fn cores_are_shared_only_where_there_are_too_few() {
        let cores = |arguments: &[&str], allowed: &[usize]| {
            let cores = Cores::new(&Cli::parse_from([&["compare"], arguments].concat()), allowed);
            cores.map(|cores| (cores.server, cores.load, cores.two, cores.envoy)).expect("there are some")
        };
        assert_eq!(cores(&[], &[0, 1]), (0, 1, vec![0, 1], 1));
        assert_eq!(cores(&[], &[2, 3, 6]), (2, 3, vec![2, 6], 6));
        assert_eq!(cores(&[], &[0]), (0, 0, vec![0, 0], 0));
        assert_eq!(cores(&["--server-core", "1"], &[0, 1]), (1, 0, vec![1, 0], 0));
    }
}
