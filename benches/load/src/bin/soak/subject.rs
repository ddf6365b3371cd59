//! One server with its store, and what is done to and seen of both.

use crate::cli::{Cli, Plan};
use crate::client::Client;
use crate::outages::Outages;
use crate::rules::{FRESH_S, Policy, Rules};
use crate::samples::{Sample, growth};
use crate::stalls::Stalls;
use crate::tally::Tally;
use crate::traffic::{FRESH_SHARE, OTHER_KEYS};
use fluxlimit_load::child::{Failure, output_of};
use fluxlimit_load::pages::{metric, metric_where};
use fluxlimit_load::process::allowed_cores;
use fluxlimit_load::server::{self, Server, Setup};
use fluxlimit_load::store::{self, Running, Store};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How long a server waits for its store. It is long, so that a busy machine alone does not make an outage.
const STORE_TIMEOUT: Duration = Duration::from_secs(5);
/// In what time servers look at all of their keys.
const SWEEP: Duration = Duration::from_secs(20);
/// How long a counter stays after it matters: a minute in memory and in Postgres, two in Redis, which also removes
/// what is over in its own time.
const STAYS_S: f64 = 60.0;
const STAYS_IN_REDIS_S: f64 = 120.0;
/// Keys above what is expected are too many only beyond this share.
const KEYS_TO_SPARE: f64 = 1.3;

/// What all subjects have in common.
pub(crate) struct Bench<'a> {
    pub(crate) cli: &'a Cli,
    pub(crate) plan: &'a Plan,
    pub(crate) rules: &'a Rules,
    /// Where logs are kept.
    pub(crate) work: &'a Path,
    pub(crate) stalls: Arc<Stalls>,
}

/// A server, its store, its client's findings.
#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) name: &'static str,
    pub(crate) tally: Arc<Tally>,
    pub(crate) outages: Arc<Outages>,
    pub(crate) samples: Vec<Sample>,
    kind: Store,
    most_keys: f64,
    // Ended before its store.
    pub(crate) server: Server,
    pub(crate) store: Running,
}

impl Subject {
    pub(crate) fn start(kind: Store, bench: &Bench<'_>) -> Result<Self, Failure> {
        let Bench { cli, plan, rules, work, .. } = bench;
        let (name, stays_s) = match kind {
            Store::Memory => ("memory", STAYS_S),
            Store::Postgres => ("postgres", STAYS_S),
            Store::Redis | Store::RedisCluster => ("redis", STAYS_IN_REDIS_S),
        };
        let cores = allowed_cores();
        let store = store::start(kind, &cores)?;
        let ms = |duration: Duration| duration.as_millis().to_string();
        let settings = vec![
            ("FLUXLIMIT_STORE_TIMEOUT_MS", ms(STORE_TIMEOUT)),
            ("FLUXLIMIT_MAX_CONNECTION_AGE_MS", ms(plan.connection_age)),
            ("FLUXLIMIT_MEMORY__SWEEP_MS", ms(SWEEP)),
            ("FLUXLIMIT_POSTGRES__SWEEP_MS", ms(SWEEP)),
        ];
        let setup = Setup { cores: &cores, rules: rules.directory(), store: &store.url, settings };
        let logs = work.join(name);
        std::fs::create_dir(&logs)?;
        let server = server::start(&cli.fluxlimit, &setup, &logs)?;
        let lives_s = FRESH_S + stays_s + SWEEP.as_secs_f64();
        let most_keys = OTHER_KEYS + plan.rate * FRESH_SHARE * lives_s * KEYS_TO_SPARE;
        let outages = Arc::new(Outages::default());
        let tally = Arc::new(Tally::new(outages.clone(), bench.stalls.clone()));
        Ok(Self { name, tally, outages, samples: Vec::new(), kind, most_keys, server, store })
    }

    /// Whether its store can be away.
    pub(crate) fn has_store(&self) -> bool {
        self.kind != Store::Memory
    }

    pub(crate) fn client(&self, rate: f64) -> Client {
        Client { address: self.server.grpc, rate, tally: self.tally.clone() }
    }

    pub(crate) fn complain(&self, complaint: impl std::fmt::Display) {
        self.tally.complain(complaint.to_string());
    }

    /// Looks at the process, at its readiness, and, if `with_keys`, at how many keys there are. Only a store that is
    /// there can be asked for its keys.
    pub(crate) fn look(&mut self, at: Duration, with_keys: bool) -> Result<(), Failure> {
        let keys = if with_keys { self.keys()? } else { None };
        let Some(sample) = Sample::take(at, self.server.pid(), keys) else {
            return Err(format!("the server is gone:\n{}", last_lines(&self.server.log())).into());
        };
        self.samples.push(sample);
        if let Some(keys) = keys.filter(|keys| *keys > self.most_keys) {
            self.complain(format!("{keys:.0} keys, where at most {:.0} can be live", self.most_keys));
        }
        let (status, text) = self.server.page("/ready")?;
        if status != 200 {
            self.complain(format!("/ready answers {status}: {text}"));
        }
        Ok(())
    }

    fn keys(&self) -> Result<Option<f64>, Failure> {
        let port = self.store.ports.first().map(ToString::to_string).unwrap_or_default();
        let text = match self.kind {
            Store::Memory => return Ok(Some(metric(&self.server.metrics()?, "fluxlimit_memory_keys"))),
            Store::Postgres => {
                output_of("psql", &[self.store.url.as_str(), "-Atc", "SELECT count(*) FROM fluxlimit"])?
            }
            Store::Redis | Store::RedisCluster => output_of("redis-cli", &["-p", &port, "dbsize"])?,
        };
        let number = text.trim().parse().map_err(|_| format!("no number of keys: {text}"))?;
        Ok(Some(number))
    }

    /// What can only be told at the end, when nothing is asked any more.
    pub(crate) fn conclude(&self, is_long: bool) -> Result<(), Failure> {
        for growth in growth(&self.samples, is_long) {
            self.complain(growth);
        }
        let metrics = self.server.metrics()?;
        let counts = self.tally.counts();
        for (code, count) in
            [("ok", counts.allowed), ("over_limit", counts.refused), ("error", counts.errors)]
        {
            let counted = metric_where(&metrics, "fluxlimit_decisions_total", &format!("code=\"{code}\""));
            if (counted - count as f64).abs() > 0.5 {
                self.complain(format!("{count} answers were `{code}`, but it counts {counted:.0}"));
            }
        }
        for (what, most) in [
            ("fluxlimit_unknown_domains", "fluxlimit_max_unknown_domains"),
            ("fluxlimit_label_values", "fluxlimit_max_label_values"),
        ] {
            // One more is `other`.
            let (largest, most) = (largest(&metrics, what), metric(&metrics, most) + 1.0);
            if largest > most {
                self.complain(format!("{what} is {largest:.0}, and {most:.0} at most"));
            }
        }
        if metric(&metrics, "fluxlimit_memory_overflow_keys") > 0.0 {
            self.complain("the memory store was full");
        }
        for (kind, [allowed, refused]) in [("Limited", counts.limited), ("Changing", counts.changing)] {
            if allowed == 0 || refused == 0 {
                self.complain(format!(
                    "of kind {kind}, {allowed} were allowed and {refused} refused; both should be"
                ));
            }
        }
        for policy in Policy::ALL.iter().filter(|_| self.outages.over() > 0) {
            let label = format!("policy=\"{}\"", policy.name());
            if metric_where(&metrics, "fluxlimit_store_policy_answers_total", &label) < 0.5 {
                self.complain(format!(
                    "in {} outages, `{}` answered nothing",
                    self.outages.over(),
                    policy.name()
                ));
            }
        }
        if let Some(line) = self.server.log().lines().find(|line| line.contains("panic")) {
            self.complain(format!("it panicked: {line}"));
        }
        Ok(())
    }
}

/// The largest of the series of a metric; 0 without one.
fn largest(text: &str, name: &str) -> f64 {
    text.lines().map(|line| metric(line, name)).fold(0.0, f64::max)
}

pub(crate) fn last_lines(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
