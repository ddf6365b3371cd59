//! What all rows need: servers on their core, and measurements in turn.

use crate::child::{Child, Failure, Program, scratch};
use crate::cli::Cli;
use crate::http::{metric, page};
use crate::outcome::Series;
use crate::store::Running;
use fluxlimit_load::options::{Options, Order};
use fluxlimit_load::process::allowed_cores;
use fluxlimit_load::report::Report;
use fluxlimit_load::run::run;
use rustix::thread::{CpuSet, sched_setaffinity};
use std::fmt::Write;
use std::net::SocketAddr;
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

/// A server of ours, as it is to be started.
#[derive(Debug)]
pub(crate) struct Setup<'a> {
    pub(crate) cores: &'a [usize],
    pub(crate) rules: &'a Path,
    pub(crate) store: &'a str,
    pub(crate) settings: Vec<(&'static str, String)>,
}

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) grpc: SocketAddr,
    http: Option<SocketAddr>,
    child: Child,
}

impl Server {
    pub(crate) fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Fails unless so many keys are live: those whose limits are as if unused are swept away.
    pub(crate) fn holds(&self, keys: usize) -> Result<(), Failure> {
        let held = metric(&self.metrics()?, "fluxlimit_memory_keys");
        if held < keys as f64 {
            return Err(format!("only {held:.0} of {keys} keys are live").into());
        }
        Ok(())
    }

    /// Its metrics as Prometheus reads them.
    pub(crate) fn metrics(&self) -> Result<String, Failure> {
        let address = self.http.ok_or("this server has no metrics")?;
        Ok(page(address, "/metrics")?.1)
    }
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
        listening(program.start(self.work.path())?, false)
    }

    /// Starts a server and waits until it and its store are ready.
    pub(crate) fn fluxlimit(&self, setup: &Setup<'_>) -> Result<Server, Failure> {
        let mut program = Program::new("fluxlimit", &self.cli.fluxlimit, setup.cores).with(&[
            "serve",
            "--rules",
            setup.rules.to_str().ok_or("a path that is not UTF-8")?,
            "--store",
            setup.store,
            "--grpc",
            "127.0.0.1:0",
            "--http",
            "127.0.0.1:0",
        ]);
        program.environment.clone_from(&setup.settings);
        // Its default port is that of a server that somebody else may run here.
        program.environment.push(("FLUXLIMIT_ADMIN__ADDRESS", "off".to_owned()));
        let mut server = listening(program.start(self.work.path())?, true)?;
        let http = server.http;
        server.child.until(|_| page(http?, "/ready").ok().filter(|(status, _)| *status == 200))?;
        Ok(server)
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

/// Waits until a server says where it listens.
fn listening(mut child: Child, has_http: bool) -> Result<Server, Failure> {
    let (grpc, http) = child.until(|child| {
        let output = child.output();
        let http = address_in(&output, "listening http=");
        Some((address_in(&output, "listening grpc=")?, if has_http { Some(http?) } else { None }))
    })?;
    Ok(Server { grpc, http, child })
}

/// The address behind a word of a log.
fn address_in(log: &str, before: &str) -> Option<SocketAddr> {
    log.split_once(before)?.1.split_whitespace().next()?.parse().ok()
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

    #[test]
    fn an_address_is_found_in_a_log() {
        let log = "INFO listening grpc=127.0.0.1:81\nINFO listening http=127.0.0.1:80 x\n";
        assert_eq!(address_in(log, "listening http=").map(|address| address.port()), Some(80));
        assert_eq!(address_in("INFO", "listening http="), None);
    }
}
