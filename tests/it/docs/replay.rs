//! Tables of requests and answers, replayed on a server with a clock of its own.
//!
//! ```text
//! at    request            hits  answer      left  seconds
//! 0.0s  tenant=a > user=b     2  OK             3  1
//! 0.5s  tenant=a + user=b     1  OVER_LIMIT   0 -  2 -
//! ```
//! Columns are apart by two spaces or more. `>` stands between entries, `+` between descriptors. `left` and
//! `seconds` are the remaining hits and the seconds of each descriptor; `-` is one without a limit.
//! The column `seconds` may be left out.

use std::sync::Arc;
use std::time::Duration;

use fluxlimit::engine::{Code, Decision, Status};
use fluxlimit::limiter::{Limiter, Settings};
use fluxlimit::metrics::Metrics;
use fluxlimit::request::{Descriptor, Entry, Override, Request};
use fluxlimit::rules::RuleSet;
use fluxlimit::rules::load::Loaded;
use fluxlimit::store::memory::{self, MemoryStore};
use fluxlimit::time::{ManualClock, Timestamp};

/// Where a table's clock starts: a time at which a second, minute, hour, day, week, month and year begin,
/// counted from the Unix epoch as windows are.
const START_MS: u64 = 42 * 365 * 86_400 * 1000;

/// A server in memory.
pub(super) struct Replay {
    limiter: Limiter,
    metrics: Arc<Metrics>,
    clock: Arc<ManualClock>,
}

impl Replay {
    pub(super) fn of(loaded: &Loaded) -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp::from_ms(START_MS)));
        let metrics = Arc::new(Metrics::new());
        let store = Arc::new(MemoryStore::new(memory::Settings::default(), clock.clone()));
        let settings = Settings { near_limit_ratio: 0.8, ..Settings::default() };
        let limiter = Limiter::new(store, metrics.clone(), settings);
        let replay = Self { limiter, metrics, clock };
        replay.put_rules(loaded);
        replay
    }

    pub(super) fn put_rules(&self, loaded: &Loaded) {
        assert!(loaded.is_ok(), "{:?}", loaded.problems);
        self.limiter.put_rules(Arc::new(RuleSet::compile(&loaded.files)));
    }

    /// How many lines a table has, and those that are answered otherwise.
    pub(super) fn table(&self, text: &str) -> (usize, Vec<String>) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let lines: Vec<&str> = text.lines().skip(1).filter(|line| !line.is_empty()).collect();
        let mut differences = Vec::new();
        for line in &lines {
            let columns: Vec<&str> =
                line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
            let [at, request, hits, expected @ ..] = &columns[..] else { panic!("`{line}` lacks columns") };
            self.clock.set(Timestamp::from_ms(START_MS + ms(at)));
            let request = self::request(self.domain().as_bytes(), request, hits);
            let decision =
                runtime.block_on(self.limiter.check(&request, Duration::MAX)).expect("memory answers");
            let answered = answer(&decision);
            if answered[..expected.len()] != *expected || expected.len() < 2 {
                differences.push(format!("{line}\n    is answered {}", answered.join("  ")));
            }
        }
        (lines.len(), differences)
    }

    /// The lines that `/metrics` does not have.
    pub(super) fn missing_metrics<'a>(&self, text: &'a str) -> Vec<&'a str> {
        let metrics = self.metrics.text();
        text.lines().filter(|wanted| !metrics.lines().any(|line| line == *wanted)).collect()
    }

    fn domain(&self) -> String {
        let rules = self.limiter.rules().expect("rules are loaded");
        rules.domains().next().expect("a file has a domain").to_owned()
    }
}

/// The milliseconds of `1.5s`, `2m`, `1h` and `3d`.
fn ms(text: &str) -> u64 {
    let (number, unit) = text.split_at(text.len() - 1);
    let unit_ms = match unit {
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => panic!("`{text}` is no time"),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = u32::try_from(fraction.len()).unwrap();
    let parse = |text: &str| text.parse::<u64>().expect("digits");
    parse(whole) * unit_ms + parse(fraction) * unit_ms / 10_u64.pow(digits)
}

/// `a=1 > b + c=2 (limit 5 per 2 minute)`, each with those hits.
fn request(domain: &[u8], text: &str, hits: &str) -> Request {
    let hits: i64 = hits.parse().unwrap_or_else(|_| panic!("`{hits}` is no number of hits"));
    let descriptors = text.split(" + ").map(|text| {
        let (entries, limit) = text.split_once(" (limit ").unwrap_or((text, ""));
        let entry = |text: &str| {
            let (key, value) = text.split_once('=').unwrap_or((text, ""));
            Entry::new(key.to_owned(), value.to_owned())
        };
        Descriptor {
            entries: entries.split(" > ").map(entry).collect(),
            limit: limit.strip_suffix(')').map(override_limit),
            hits_addend: Some(hits.unsigned_abs()),
            is_negative_hits: hits < 0,
        }
    });
    Request { domain: domain.to_vec().into(), descriptors: descriptors.collect(), hits_addend: 0 }
}

fn override_limit(text: &str) -> Override {
    let (count, unit) = text.split_once(" per ").expect("a count and a unit");
    let unit = fluxlimit::limit::Unit::from_name(unit).expect("one of the units");
    Override::new(count.parse().expect("a number"), unit.number(), None).expect("a period")
}

fn answer(decision: &Decision) -> [String; 3] {
    let code = match decision.code {
        Code::Ok => "OK",
        Code::OverLimit => "OVER_LIMIT",
    };
    let each = |told: fn(&Status) -> String| decision.statuses.iter().map(told).collect::<Vec<_>>().join(" ");
    let left = each(|status| match (&status.limit, status.remaining) {
        (Some(_), remaining) => remaining.to_string(),
        (None, u32::MAX) => "unlimited".to_owned(),
        (None, _) => "-".to_owned(),
    });
    let seconds = each(|status| status.reset_s.map_or("-".to_owned(), |reset_s| reset_s.to_string()));
    [code.to_owned(), left, seconds]
}
