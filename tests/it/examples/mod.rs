//! `examples/rules/`: every file loads without a warning and does what its comments promise.
//!
//! [`cases::CASES`] tells a story about each file, a line per step:
//!
//! ```text
//! 500ms  20x remote_address=10.0.0.1 -> ok, 0 left of per-address
//! ```
//!
//! When it is (since a full day), how often the request is sent (once, unless said), its descriptors with ` & `
//! between them, and what the last answer is; each of the answers has its first word. A descriptor is
//! `key=value,key=value`, then ` hits 5` if it costs that, then ` limit 3/hour` if it brings that limit.

mod cases;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cases::CASES;
use fluxlimit::engine::{Code, Decision, Status};
use fluxlimit::limit::Unit;
use fluxlimit::limiter::{Limiter, Settings};
use fluxlimit::metrics::Metrics;
use fluxlimit::request::{Descriptor, Entry, Override, Request};
use fluxlimit::rules::RuleSet;
use fluxlimit::rules::file::RuleFile;
use fluxlimit::rules::load::{LoadOptions, load};
use fluxlimit::rules::source::read_paths;
use fluxlimit::store::memory::{self, MemoryStore};
use fluxlimit::time::{ManualClock, Timestamp};

use crate::served::FULL_DAY_MS;

/// The folder of the rule files.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/rules")
}

/// The files in it by their names, without the extension.
pub(crate) fn names() -> BTreeSet<String> {
    let files = folder().read_dir().expect("the folder is there").map(|entry| entry.unwrap().path());
    files.map(|path| path.file_stem().unwrap().to_string_lossy().into_owned()).collect()
}

/// The rules at `path`, which have to be without a warning.
fn loaded(path: &Path) -> Vec<RuleFile> {
    let found = read_paths([path]);
    let loaded = load(&found.sources, &LoadOptions::default());
    let problems: Vec<String> =
        found.problems.iter().chain(&loaded.problems).map(ToString::to_string).collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    loaded.files
}

/// A server with one of the files, on a clock of its own.
struct Served {
    domain: String,
    limiter: Limiter,
    metrics: Arc<Metrics>,
    clock: Arc<ManualClock>,
}

impl Served {
    fn example(name: &str) -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp::from_ms(FULL_DAY_MS)));
        let metrics = Arc::new(Metrics::new());
        let store = Arc::new(MemoryStore::new(memory::Settings::default(), clock.clone()));
        let limiter = Limiter::new(store, metrics.clone(), Settings::default());
        let rules = RuleSet::compile(&loaded(&folder().join(format!("{name}.yaml"))));
        limiter.put_rules(Arc::new(rules));
        Self { domain: name.to_owned(), limiter, metrics, clock }
    }

    /// Does one step of a story and compares what comes out; the difference if there is one.
    fn step(&self, line: &str) -> Result<(), String> {
        let (asked, expected) = line.split_once("-> ").expect("a line has an arrow");
        let asked = asked.trim();
        let (at, asked) = asked.split_once(' ').expect("a line begins with a time");
        let asked = asked.trim();
        let (times, descriptors) = match asked.split_once("x ") {
            Some((times, rest)) if times.parse::<usize>().is_ok() => (times.parse().unwrap(), rest),
            _ => (1, asked),
        };
        self.clock.set(Timestamp::from_ms(FULL_DAY_MS + milliseconds(at)));
        let request = Request {
            domain: self.domain.clone().into(),
            descriptors: descriptors.split(" & ").map(descriptor).collect(),
            hits_addend: 0,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let answers: Vec<String> = (0..times)
            .map(|_| {
                told(&runtime.block_on(self.limiter.check(&request, Duration::MAX)).expect("a good request"))
            })
            .collect();
        let word = expected.split(',').next().unwrap_or_default();
        let as_told = answers.iter().all(|answer| answer.split(',').next() == Some(word));
        match answers.last() {
            Some(last) if as_told && last == expected => Ok(()),
            _ => Err(format!("{}: {line}\n  got {answers:?}", self.domain)),
        }
    }
}

fn milliseconds(text: &str) -> u64 {
    let split = text.find(|c: char| !c.is_ascii_digit()).expect("a time has a unit");
    let number: u64 = text[..split].parse().expect("a time is a number");
    match &text[split..] {
        "ms" => number,
        "s" => number * 1000,
        "m" => number * 60_000,
        "h" => number * 3_600_000,
        unit => panic!("unknown unit of time `{unit}`"),
    }
}

fn descriptor(text: &str) -> Descriptor {
    let (text, limit) = match text.split_once(" limit ") {
        Some((text, limit)) => (text, Some(limit)),
        None => (text, None),
    };
    let (entries, hits) = match text.split_once(" hits ") {
        Some((entries, hits)) => (entries, Some(hits.parse().expect("hits are a number"))),
        None => (text, None),
    };
    let entry = |text: &str| {
        let (key, value) = text.split_once('=').expect("an entry is key=value");
        Entry::new(key.to_owned(), value.to_owned())
    };
    let entries = entries.split(',').map(entry).collect();
    Descriptor { entries, limit: limit.map(limit_of), hits_addend: hits, is_negative_hits: false }
}

fn limit_of(text: &str) -> Override {
    let (count, unit) = text.split_once('/').expect("a limit is count/unit");
    let unit = Unit::from_name(unit).expect("a unit");
    Override::new(count.parse().expect("a count"), unit.number(), None).expect("a good limit")
}

/// A decision in words.
fn told(decision: &Decision) -> String {
    let statuses: Vec<String> = decision.statuses.iter().map(told_status).collect();
    format!("{}, {}", if decision.code == Code::Ok { "ok" } else { "refused" }, statuses.join(" & "))
}

fn told_status(status: &Status) -> String {
    let Some(limit) = &status.limit else {
        return (if status.remaining == u32::MAX { "unlimited" } else { "no limit" }).to_owned();
    };
    let numbers = format!("{}/{}", limit.requests_per_unit, limit.unit.name());
    let left = format!("{} left of {}", status.remaining, limit.name.as_deref().unwrap_or(&numbers));
    match (status.code, status.reset_s) {
        (Code::OverLimit, Some(reset_s)) => format!("{left} for {reset_s} s"),
        _ => left,
    }
}

#[test]
fn every_example_has_a_story_and_every_story_an_example() {
    let told: BTreeSet<String> = CASES.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(told, names());
}

#[test]
fn every_example_does_what_its_comments_promise() {
    let mut wrong = Vec::new();
    for (name, story) in CASES {
        let served = Served::example(name);
        let lines = story.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        wrong.extend(lines.filter_map(|line| served.step(line).err()));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_examples_load_together_each_with_the_domain_of_its_file_name() {
    let domains: BTreeSet<String> =
        RuleSet::compile(&loaded(&folder())).domains().map(str::to_owned).collect();
    assert_eq!(domains, names());
}

#[test]
fn the_shadow_example_measures_what_its_candidate_would_have_refused() {
    let served = Served::example("shadow");
    served.step("0s 5x user=alice -> ok, 0 left of enforced").unwrap();
    let text = served.metrics.text();
    let measured = text.lines().find(|line| {
        line.starts_with("fluxlimit_hits_shadow_mode_total{") && line.contains(r#"limit="candidate""#)
    });
    // Three of the five fit.
    assert_eq!(measured.and_then(|line| line.rsplit(' ').next()), Some("2"), "{text}");
}
