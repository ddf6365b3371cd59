//! Rule files that change while they are watched, in every way that editors and Kubernetes change files.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fluxlimit::health::Health;
use fluxlimit::limiter::{Limiter, Settings as LimiterSettings};
use fluxlimit::metrics::Metrics;
use fluxlimit::reload::{Reloader, Settings};
use fluxlimit::store::memory::{self, MemoryStore};
use fluxlimit::time::SystemClock;
use tempfile::TempDir;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::support::eventually;

/// Longer than any test: what is noticed before was not polled.
const NEVER_MS: u64 = 3_600_000;

/// A rule file for the domain `d` whose one limit is `count` a day.
pub(crate) fn a_day(count: u32) -> String {
    format!("domain: d\ndescriptors:\n- key: user\n  rate_limit: {{unit: day, requests_per_unit: {count}}}\n")
}

/// A rule file with a mistake in its second line.
pub(crate) const BAD: &str = "domain: d\ndescripters: []\n";

/// Replaces a file in one step, so that nobody can read half of it.
pub(crate) fn put(file: &Path, text: &str) {
    let draft = file.with_extension("draft");
    fs::write(&draft, text).unwrap();
    fs::rename(&draft, file).unwrap();
}

/// Rules that are loaded in this process.
struct Rules {
    limiter: Arc<Limiter>,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    reloader: Arc<Reloader>,
}

impl Rules {
    fn of(path: &Path, poll_ms: u64) -> Self {
        let metrics = Arc::new(Metrics::new());
        let store = MemoryStore::new(memory::Settings::default(), Arc::new(SystemClock));
        let limiter = Arc::new(Limiter::new(Arc::new(store), metrics.clone(), LimiterSettings::default()));
        let health = Arc::new(Health::new());
        let paths = vec![path.to_owned()];
        let settings = Settings { paths, debounce_ms: 10, poll_ms, ..Settings::default() };
        let reloader = Arc::new(Reloader::new(settings, limiter.clone(), metrics.clone(), health.clone()));
        Self { limiter, metrics, health, reloader }
    }

    /// The counts of the limits in force.
    fn counts(&self) -> Option<Vec<u32>> {
        let rules = self.limiter.rules()?;
        Some(rules.limits().iter().filter_map(|info| Some(info.limit?.count())).collect())
    }

    async fn are(&self, counts: &[u32]) {
        let what = format!("limits of {counts:?}");
        eventually(&what, async || self.counts().filter(|found| found == counts).map(drop)).await;
    }

    async fn have_errors(&self, wanted: bool) -> Vec<String> {
        eventually("the status", async || {
            let errors = self.health.rules_errors();
            (errors.is_empty() != wanted).then_some(errors)
        })
        .await
    }

    fn loads(&self) -> (u64, u64) {
        loads(&self.metrics.text())
    }
}

/// How often rules were loaded, and how often in vain, says the page of metrics.
pub(crate) fn loads(metrics: &str) -> (u64, u64) {
    let count = |result: &str| {
        let name = format!("fluxlimit_rule_loads_total{{result=\"{result}\"}} ");
        metrics.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok()).unwrap_or_default()
    };
    (count("success"), count("error"))
}

/// Rules that are loaded again when their files change.
struct Watched {
    rules: Rules,
    asked: Arc<Notify>,
    watching: JoinHandle<()>,
}

impl Watched {
    fn start(path: &Path, poll_ms: u64) -> Self {
        let rules = Rules::of(path, poll_ms);
        let asked = Arc::new(Notify::new());
        let watching = tokio::spawn(rules.reloader.clone().watch(asked.clone()));
        Self { rules, asked, watching }
    }
}

impl std::ops::Deref for Watched {
    type Target = Rules;

    fn deref(&self) -> &Rules {
        &self.rules
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

/// A `ConfigMap` as the kubelet mounts it: files are links into `..data`, which is a link to the present
/// version, and an update renames a new link over `..data`.
struct ConfigMap(TempDir);

impl ConfigMap {
    fn mount(text: &str) -> Self {
        let map = Self(tempfile::tempdir().unwrap());
        map.update("..2026_01", text);
        symlink("..data/edge.yaml", map.0.path().join("edge.yaml")).unwrap();
        map
    }

    fn update(&self, version: &str, text: &str) {
        let root = self.0.path();
        fs::create_dir(root.join(version)).unwrap();
        fs::write(root.join(version).join("edge.yaml"), text).unwrap();
        symlink(version, root.join("..data_tmp")).unwrap();
        fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
    }
}

#[tokio::test]
async fn a_config_map_that_is_swapped_is_noticed_by_its_directory_and_by_its_file() {
    for below in ["", "edge.yaml"] {
        let map = ConfigMap::mount(&a_day(1));
        let rules = Watched::start(&map.0.path().join(below), NEVER_MS);
        rules.are(&[1]).await;
        map.update("..2026_02", &a_day(2));
        rules.are(&[2]).await;
        map.update("..2026_03", BAD);
        rules.have_errors(true).await;
        map.update("..2026_04", &a_day(4));
        rules.are(&[4]).await;
    }
}

/// A way to change the files below a directory, and the counts that are in force afterwards.
type Change = (&'static str, fn(&Path), &'static [u32]);

const CHANGES: [Change; 7] = [
    ("written in place", |rules| fs::write(rules.join("a.yaml"), a_day(2)).unwrap(), &[2]),
    (
        "renamed over",
        |rules| {
            fs::write(rules.join(".a.yaml.swp"), a_day(3)).unwrap();
            fs::rename(rules.join(".a.yaml.swp"), rules.join("a.yaml")).unwrap();
        },
        &[3],
    ),
    (
        "one more",
        |rules| fs::write(rules.join("b.yml"), a_day(4).replace("domain: d", "domain: e")).unwrap(),
        &[3, 4],
    ),
    ("one less", |rules| fs::remove_file(rules.join("a.yaml")).unwrap(), &[4]),
    (
        "removed and made again",
        |rules| {
            fs::remove_file(rules.join("b.yml")).unwrap();
            fs::write(rules.join("b.yml"), a_day(5)).unwrap();
        },
        &[5],
    ),
    (
        "its directory replaced",
        |rules| {
            let (new, old) = (rules.with_file_name("new"), rules.with_file_name("old"));
            fs::create_dir(&new).unwrap();
            fs::write(new.join("a.yaml"), a_day(6)).unwrap();
            fs::rename(rules, old).unwrap();
            fs::rename(new, rules).unwrap();
        },
        &[6],
    ),
    ("written in the new directory", |rules| fs::write(rules.join("a.yaml"), a_day(7)).unwrap(), &[7]),
];

#[tokio::test]
async fn every_way_to_change_a_file_is_noticed() {
    let outer = tempfile::tempdir().unwrap();
    let directory = outer.path().join("rules");
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("a.yaml"), a_day(1)).unwrap();
    let rules = Watched::start(&directory, NEVER_MS);
    rules.are(&[1]).await;
    for (way, change, counts) in CHANGES {
        change(&directory);
        let what = format!("limits of {counts:?} after: {way}");
        eventually(&what, async || (rules.counts().as_deref() == Some(counts)).then_some(())).await;
    }
}

#[tokio::test]
async fn a_directory_that_comes_later_is_found() {
    let outer = tempfile::tempdir().unwrap();
    let directory = outer.path().join("rules");
    let rules = Watched::start(&directory, NEVER_MS);
    let errors = rules.have_errors(true).await;
    assert_eq!(errors, [format!("{}: there is no such file or directory", directory.display())]);
    assert!(!rules.health.readiness().rules_loaded);
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("a.yaml"), a_day(1)).unwrap();
    rules.are(&[1]).await;
    rules.have_errors(false).await;
    assert!(rules.health.readiness().rules_loaded);
}

#[tokio::test]
async fn a_file_behind_a_link_to_elsewhere_is_polled() {
    let (outer, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let target: PathBuf = elsewhere.path().join("rules.yaml");
    fs::write(&target, a_day(1)).unwrap();
    symlink(&target, outer.path().join("a.yaml")).unwrap();
    let rules = Watched::start(outer.path(), 20);
    rules.are(&[1]).await;
    fs::write(&target, a_day(2)).unwrap();
    rules.are(&[2]).await;
}

#[tokio::test]
async fn a_bad_edit_keeps_the_last_good_rules_and_shows_where_it_is_bad() {
    let outer = tempfile::tempdir().unwrap();
    let file = outer.path().join("a.yaml");
    put(&file, &a_day(1));
    let rules = Watched::start(&file, NEVER_MS);
    rules.are(&[1]).await;
    put(&file, BAD);
    let errors = rules.have_errors(true).await;
    let expected = format!("{}:2:1: descripters: unknown key `descripters`", file.display());
    assert!(errors[0].starts_with(&expected), "{errors:?}");
    assert_eq!(rules.counts(), Some(vec![1]));
    assert!(rules.health.readiness().rules_loaded);
    assert_eq!(rules.loads(), (1, 1));
    put(&file, &a_day(3));
    rules.are(&[3]).await;
    rules.have_errors(false).await;
    assert_eq!(rules.loads(), (2, 1));
}

#[tokio::test]
async fn the_same_content_is_loaded_again_only_when_somebody_asks() {
    let outer = tempfile::tempdir().unwrap();
    let file = outer.path().join("a.yaml");
    let rules = Rules::of(outer.path(), NEVER_MS);
    let loads_of = async |text: &str| {
        put(&file, text);
        rules.reloader.load().await;
        rules.loads()
    };
    assert_eq!(loads_of(&a_day(1)).await, (1, 0));
    assert_eq!(loads_of(&a_day(1)).await, (1, 0));
    assert_eq!(loads_of(BAD).await, (1, 1));
    assert_eq!(loads_of(BAD).await, (1, 1));
    rules.reloader.forget();
    assert_eq!(loads_of(BAD).await, (1, 2));
    assert_eq!(loads_of(&a_day(1)).await, (2, 2));
}

#[tokio::test]
async fn who_asks_is_told_again_what_is_bad() {
    let outer = tempfile::tempdir().unwrap();
    put(&outer.path().join("a.yaml"), BAD);
    let watched = Watched::start(outer.path(), NEVER_MS);
    watched.have_errors(true).await;
    watched.asked.notify_one();
    eventually("one more load", async || (watched.loads() == (0, 2)).then_some(())).await;
}

/// The bug: reading came upon a file that was emptied to be written anew, took what it had for the whole, and
/// for a moment there were no limits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_written_in_place_is_never_taken_for_its_beginning() {
    let outer = tempfile::tempdir().unwrap();
    let file = outer.path().join("a.yaml");
    put(&file, &a_day(1));
    let rules = Rules::of(&file, NEVER_MS);
    rules.reloader.load().await;
    let writing = tokio::task::spawn_blocking(move || {
        (2..5000).for_each(|count| fs::write(&file, a_day(count)).unwrap());
    });
    while !writing.is_finished() {
        rules.reloader.load().await;
        assert_eq!(rules.counts().unwrap().len(), 1);
    }
    writing.await.unwrap();
}

/// The bug: a directory that was removed and made again had no rules for a moment, and nobody had a limit.
#[tokio::test]
async fn a_directory_without_any_file_left_keeps_the_last_good_rules() {
    let outer = tempfile::tempdir().unwrap();
    let directory = outer.path().join("rules");
    fs::create_dir(&directory).unwrap();
    put(&directory.join("a.yaml"), &a_day(1));
    let rules = Rules::of(&directory, NEVER_MS);
    rules.reloader.load().await;
    fs::remove_file(directory.join("a.yaml")).unwrap();
    rules.reloader.load().await;
    assert_eq!(rules.counts().unwrap().len(), 1);
    put(&directory.join("a.yaml"), "domain: d");
    rules.reloader.load().await;
    assert_eq!(rules.counts().unwrap().len(), 0, "a file that says so lifts all limits");
}
