//! What is remembered of refusals, for how long, and what makes it forgotten.

use std::sync::Arc;
use std::time::Duration;

use fluxlimit::engine::{Charge, Code, Group, Identity, Outcome, Settlement};
use fluxlimit::limit::{Algorithm, Limit, LimitSpec, Unit};
use fluxlimit::limiter::cache::{Asked, LocalCache, Settings};
use fluxlimit::limiter::{self, Limiter};
use fluxlimit::metrics::Metrics;
use fluxlimit::rules::RuleSet;
use fluxlimit::rules::load::{LoadOptions, Source, load};
use fluxlimit::store::Store;
use fluxlimit::store::memory::{self, MemoryStore};
use fluxlimit::time::{Clock, ManualClock, Timestamp};

use crate::fake_store::request;
use crate::far_store::FarStore;
use crate::steps::limit;

/// 10 a second, all at once at first; a hit comes back every 100 ms.
const BUCKET: LimitSpec = LimitSpec::new(Algorithm::TokenBucket, 10, Unit::Second);

/// 10 a day.
const DAY: LimitSpec = LimitSpec::new(Algorithm::FixedWindow, 10, Unit::Day);

const START_MS: u64 = 86_400_000 * 20_000;

/// A cache in front of a store, on one clock.
struct Site {
    clock: Arc<ManualClock>,
    store: MemoryStore,
    cache: LocalCache,
}

/// A settlement of one descriptor for each charge: which key, what it is held against, how many hits.
fn settlement(charges: &[(&str, LimitSpec, i64)]) -> Settlement {
    let groups = charges.iter().map(|_| Group { charges: 1, quota: false, tag: None }).collect();
    let charges = charges.iter().map(|(name, spec, hits)| {
        let limit: Limit = limit(*spec);
        let key = Identity::of(name.as_bytes(), 0).into_key(&limit, false);
        Charge { key, limit, hits: *hits, shadow: false, mark: false, limit_id: 0 }
    });
    Settlement::new(charges.collect(), groups)
}

impl Site {
    fn new(settings: Settings) -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp::from_ms(START_MS)));
        let store = MemoryStore::new(memory::Settings::default(), clock.clone());
        let cache = LocalCache::new(settings, clock.clone()).unwrap();
        Self { clock, store, cache }
    }

    async fn settle(&self, settlement: &Settlement) -> Outcome {
        self.store.settle(settlement).outcome().await.unwrap()
    }

    /// What comes of it, and whether from memory.
    async fn check(&self, mut settlement: Settlement) -> (Outcome, bool) {
        let refusal = self.cache.refusal(&settlement);
        match self.cache.ask(&mut settlement) {
            Asked::Refused(outcome) => {
                assert!(!self.cache.is_empty());
                assert_eq!(refusal, Some(outcome.clone()), "both ways to ask are told the same");
                (outcome, true)
            }
            Asked::Store(asking) => {
                assert_eq!(refusal, None);
                let outcome = self.settle(&settlement).await;
                asking.learn(&settlement, &outcome);
                (outcome, false)
            }
        }
    }

    /// Whether that is refused, and whether from memory.
    async fn ask(&self, charges: &[(&str, LimitSpec, i64)]) -> (bool, bool) {
        let (outcome, remembered) = self.check(settlement(charges)).await;
        (outcome.refused, remembered)
    }
}

impl Default for Site {
    fn default() -> Self {
        Self::new(Settings::default())
    }
}

const PASSES: (bool, bool) = (false, false);
const REFUSED: (bool, bool) = (true, false);
const REMEMBERED: (bool, bool) = (true, true);

#[tokio::test]
async fn a_refusal_is_remembered_until_its_wait_is_over() {
    let site = Site::default();
    assert_eq!(site.ask(&[("a", BUCKET, 10)]).await, PASSES);
    assert_eq!(site.ask(&[("a", BUCKET, 3)]).await, REFUSED);
    site.clock.advance_ms(100);
    let (outcome, remembered) = site.check(settlement(&[("a", BUCKET, 3)])).await;
    assert!(remembered);
    let verdict = outcome.verdicts[0];
    assert_eq!((verdict.allowed, verdict.retry_after_ms, verdict.reset_after_ms), (false, Some(200), 900));
    site.clock.advance_ms(198);
    assert_eq!(site.ask(&[("a", BUCKET, 3)]).await, REMEMBERED);
    // A store whose clock shows whole milliseconds may admit it within the next one.
    site.clock.advance_ms(1);
    assert_eq!(site.ask(&[("a", BUCKET, 3)]).await, REFUSED);
    site.clock.advance_ms(1);
    assert_eq!(site.ask(&[("a", BUCKET, 3)]).await, PASSES);
}

#[tokio::test]
async fn a_refusal_is_remembered_for_a_second_at_most() {
    let site = Site::default();
    // One that waits until tomorrow, and one that never passes.
    for cost in [3, 11] {
        let key = cost.to_string();
        site.ask(&[(&key, DAY, 8)]).await;
        assert_eq!(site.ask(&[(&key, DAY, cost)]).await, REFUSED);
        site.clock.advance_ms(999);
        assert_eq!(site.ask(&[(&key, DAY, cost)]).await, REMEMBERED);
        site.clock.advance_ms(1);
        assert_eq!(site.ask(&[(&key, DAY, cost)]).await, REFUSED);
    }
}

#[tokio::test]
async fn as_many_hits_and_more_are_refused_and_fewer_are_asked_about() {
    let site = Site::default();
    site.ask(&[("a", DAY, 7)]).await;
    site.ask(&[("a", DAY, 5)]).await;
    let wait_ms = async |hits| site.check(settlement(&[("a", DAY, hits)])).await.0.verdicts[0].retry_after_ms;
    assert_eq!(site.ask(&[("a", DAY, 9)]).await, REMEMBERED);
    assert_eq!(wait_ms(9).await, Some(86_400_000));
    assert_eq!(wait_ms(11).await, None, "more than the limit never pass");
    assert_eq!(site.ask(&[("a", DAY, 0)]).await, PASSES);
    assert_eq!(site.ask(&[("a", DAY, 4)]).await, REFUSED);
    assert_eq!(site.ask(&[("a", DAY, 3)]).await, PASSES);
    // What was learnt last refuses most.
    assert_eq!(site.ask(&[("a", DAY, 1)]).await, REFUSED);
    assert_eq!(site.ask(&[("a", DAY, 2)]).await, REMEMBERED);
}

#[tokio::test]
async fn a_look_at_a_key_in_debt_is_remembered_and_refuses_everything() {
    let site = Site::default();
    let counts = LimitSpec { count_refused: true, ..DAY };
    site.ask(&[("a", counts, 11)]).await;
    // A cost of one says nothing of a look.
    assert_eq!(site.ask(&[("a", DAY, 1)]).await, REFUSED);
    assert_eq!(site.ask(&[("a", DAY, 0)]).await, REFUSED);
    assert_eq!(site.ask(&[("a", DAY, 0)]).await, REMEMBERED);
    assert_eq!(site.ask(&[("a", DAY, 1)]).await, REMEMBERED);
    // A look books nothing, whatever the limit counts.
    assert_eq!(site.ask(&[("a", counts, 0)]).await, REMEMBERED);
}

#[tokio::test]
async fn what_counts_when_refused_is_counted_in_the_store_unless_a_setting_says_otherwise() {
    let counts = LimitSpec { count_refused: true, ..DAY };
    for (skip_count_refused, expected) in [(false, REFUSED), (true, REMEMBERED)] {
        let site = Site::new(Settings { skip_count_refused, ..Settings::default() });
        site.ask(&[("a", counts, 11)]).await;
        assert_eq!(site.ask(&[("a", counts, 11)]).await, expected);
    }
    // A bucket of no size keeps nothing.
    let nothing = LimitSpec { count: 0, count_refused: true, ..BUCKET };
    let site = Site::default();
    assert_eq!(site.ask(&[("a", nothing, 1)]).await, REFUSED);
    assert_eq!(site.ask(&[("a", nothing, 1)]).await, REMEMBERED);
}

#[tokio::test]
async fn other_numbers_on_the_same_key_are_another_refusal() {
    let site = Site::default();
    site.ask(&[("a", DAY, 10)]).await;
    site.ask(&[("a", DAY, 1)]).await;
    let wider = LimitSpec { count: 100, ..DAY };
    assert_eq!(site.ask(&[("a", wider, 50)]).await, PASSES);
    assert_eq!(site.ask(&[("a", wider, 60)]).await, REFUSED);
    assert_eq!(site.ask(&[("a", wider, 60)]).await, REMEMBERED);
    assert_eq!(site.ask(&[("a", DAY, 1)]).await, REMEMBERED);
    let larger = LimitSpec { burst: Some(20), ..BUCKET };
    site.ask(&[("b", BUCKET, 10)]).await;
    site.ask(&[("b", BUCKET, 1)]).await;
    let (_, remembered) = site.check(settlement(&[("b", larger, 1)])).await;
    assert!(!remembered);
}

#[tokio::test]
async fn a_request_is_refused_from_memory_only_if_all_its_charges_are() {
    let site = Site::default();
    for key in ["a", "b"] {
        site.ask(&[(key, DAY, 10)]).await;
        site.ask(&[(key, DAY, 1)]).await;
    }
    assert_eq!(site.ask(&[("a", DAY, 1), ("b", DAY, 1)]).await, REMEMBERED);
    assert_eq!(site.ask(&[("a", DAY, 1), ("c", DAY, 1)]).await, REFUSED);
    // The store hears what is known.
    let mut partly = settlement(&[("c", DAY, 1), ("a", DAY, 1), ("b", DAY, 0)]);
    assert!(matches!(site.cache.ask(&mut partly), Asked::Store(_)));
    let expected: Vec<bool> = (0..3).map(|charge| partly.expects_refusal(charge)).collect();
    assert_eq!(expected, [false, true, false]);
    let mut nothing = settlement(&[]);
    assert!(matches!(site.cache.ask(&mut nothing), Asked::Store(_)));
}

#[tokio::test]
async fn a_request_that_nothing_can_refuse_passes_from_memory() {
    let site = Site::default();
    site.ask(&[("a", DAY, 10)]).await;
    site.ask(&[("a", DAY, 1)]).await;
    let mut global_shadow = settlement(&[("a", DAY, 1)]);
    global_shadow.global_shadow = true;
    let (outcome, remembered) = site.check(global_shadow).await;
    assert_eq!((outcome.refused, remembered, outcome.verdicts[0].allowed), (false, true, false));
    let mut elsewhere = settlement(&[("a", DAY, 1)]);
    (elsewhere.global_shadow, elsewhere.refused) = (true, true);
    assert!(site.check(elsewhere).await.0.refused);
}

#[tokio::test]
async fn what_only_the_same_request_used_up_is_not_remembered() {
    let site = Site::default();
    assert_eq!(site.ask(&[("a", DAY, 6), ("a", DAY, 6)]).await, REFUSED);
    assert_eq!(site.ask(&[("a", DAY, 6)]).await, PASSES);
}

#[tokio::test]
async fn hits_that_are_given_back_here_are_there_at_once() {
    let site = Site::default();
    site.ask(&[("a", DAY, 10)]).await;
    site.ask(&[("a", DAY, 1)]).await;
    site.ask(&[("a", DAY, -1)]).await;
    assert_eq!(site.ask(&[("a", DAY, 1)]).await, PASSES);
    // Under whichever numbers it was refused, and by a request that is itself refused.
    let narrower = LimitSpec { count: 9, ..DAY };
    site.ask(&[("a", narrower, 1)]).await;
    site.ask(&[("b", DAY, 11), ("a", DAY, -4)]).await;
    assert_eq!(site.ask(&[("a", narrower, 1)]).await, PASSES);
}

#[tokio::test]
async fn a_refusal_that_was_under_way_while_hits_were_given_back_is_not_remembered() {
    let site = Site::default();
    let (mut refused, mut gives_back) = (settlement(&[("a", DAY, 1)]), settlement(&[("a", DAY, -5)]));
    let passes_now = async || site.ask(&[("a", DAY, 1)]).await == PASSES;
    // Asked before the give-back was sent, heard after it was answered.
    site.ask(&[("a", DAY, 10)]).await;
    let Asked::Store(early) = site.cache.ask(&mut refused) else { panic!("nothing is known") };
    let outcome = site.settle(&refused).await;
    site.ask(&[("a", DAY, -5)]).await;
    early.learn(&refused, &outcome);
    assert!(passes_now().await);
    // Asked after the give-back was sent and heard before it was answered, or after.
    for heard_after in [false, true] {
        site.ask(&[("a", DAY, 4)]).await;
        let Asked::Store(giving) = site.cache.ask(&mut gives_back) else { panic!("it gives back") };
        let Asked::Store(asking) = site.cache.ask(&mut refused) else { panic!("nothing is known") };
        let outcome = site.settle(&refused).await;
        assert!(outcome.refused);
        let given = site.settle(&gives_back).await;
        if !heard_after {
            asking.learn(&refused, &outcome);
            assert_eq!(site.ask(&[("a", DAY, 1)]).await, REMEMBERED, "nobody knows better yet");
        }
        giving.learn(&gives_back, &given);
        drop(giving);
        if heard_after {
            asking.learn(&refused, &outcome);
        }
        assert!(passes_now().await, "heard after: {heard_after}");
    }
}

#[tokio::test]
async fn a_give_back_that_nobody_waits_for_any_more_is_forgotten_about_as_well() {
    let site = Site::default();
    site.ask(&[("a", DAY, 10)]).await;
    let mut gives_back = settlement(&[("a", DAY, -5)]);
    let Asked::Store(giving) = site.cache.ask(&mut gives_back) else { panic!("it gives back") };
    assert_eq!(site.ask(&[("a", DAY, 1)]).await, REFUSED);
    site.settle(&gives_back).await;
    drop(giving);
    assert_eq!(site.ask(&[("a", DAY, 1)]).await, PASSES);
}

#[tokio::test]
async fn the_cache_is_bounded_and_can_be_switched_off() {
    let clock = Arc::new(ManualClock::default());
    let off = Settings { max_keys: 0, ..Settings::default() };
    assert!(LocalCache::new(off, clock).is_none());
    let site = Site::new(Settings { max_keys: 100, ..Settings::default() });
    let names: Vec<String> = (0..1000).map(|name| name.to_string()).collect();
    for name in &names {
        site.ask(&[(name, DAY, 11)]).await;
    }
    let mut remembered = 0;
    for name in &names {
        let known = site.cache.ask(&mut settlement(&[(name, DAY, 11)]));
        remembered += usize::from(matches!(known, Asked::Refused(_)));
    }
    assert!((50..=150).contains(&remembered), "{remembered}");
}

const RULES: &str = "domain: d
descriptors:
- {key: a, rate_limit: {algorithm: token_bucket, requests_per_unit: 1, unit: day}}
- {key: s, shadow_mode: true, rate_limit: {algorithm: token_bucket, requests_per_unit: 1, unit: day}}
";

/// A limiter on a store of that kind, and the store's clock.
fn limiter(store: &Arc<impl Store + 'static>, clock: &Arc<ManualClock>) -> (Limiter, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::new());
    let mut limiter = Limiter::new(store.clone(), metrics.clone(), limiter::Settings::default());
    if !store.answers_at_once() {
        limiter = limiter.with_cache(LocalCache::new(Settings::default(), clock.clone()));
    }
    let source = Source { name: "rules.yaml".to_owned(), text: RULES.as_bytes().to_vec() };
    limiter.put_rules(Arc::new(RuleSet::compile(&load(&[source], &LoadOptions::default()).files)));
    (limiter, metrics)
}

async fn code(limiter: &Limiter, descriptors: &str, hits: i64) -> Code {
    let request = request(descriptors, hits);
    // As the gRPC front does.
    let decided = match limiter.check_at_once(&request) {
        Some(decided) => decided,
        None => limiter.check(&request, Duration::from_mins(1)).await,
    };
    decided.unwrap().code
}

#[tokio::test]
async fn a_flood_reaches_the_store_about_once_a_second_for_each_key() {
    const KEYS: usize = 20;
    let clock = Arc::new(ManualClock::at(Timestamp::from_ms(START_MS)));
    let store = MemoryStore::new(memory::Settings::default(), clock.clone());
    let store = Arc::new(FarStore::new(store));
    let (limiter, metrics) = limiter(&store, &clock);
    for turn in 0..100_000 {
        // Five seconds of it.
        clock.advance_ms(u64::from(turn % 20 == 0));
        let passes = turn < KEYS;
        let expected = if passes { Code::Ok } else { Code::OverLimit };
        assert_eq!(code(&limiter, &format!("a=k{}", turn % KEYS), 1).await, expected);
    }
    // Each first hit passes; then a refusal for each begun second.
    let most = KEYS * (1 + 6);
    assert!(store.asked() <= most, "asked {} times", store.asked());
    let counted = |name: &str| {
        let line = format!("fluxlimit_hits_{name}_total{{domain=\"d\",rule=\"a\"}} ");
        let text = metrics.text();
        let value = text.lines().find_map(|found| found.strip_prefix(&line)).map(str::parse::<usize>);
        value.unwrap_or_else(|| panic!("no {line} in {text}")).unwrap()
    };
    assert_eq!(counted("over_limit"), 100_000 - KEYS);
    assert_eq!(counted("over_limit_local_cache"), 100_000 - store.asked());
}

#[tokio::test]
async fn a_remembered_refusal_of_a_rule_that_only_measures_passes_and_is_counted() {
    let clock = Arc::new(ManualClock::at(Timestamp::from_ms(START_MS)));
    let store = MemoryStore::new(memory::Settings::default(), clock.clone());
    let store = Arc::new(FarStore::new(store));
    let (limiter, metrics) = limiter(&store, &clock);
    for _ in 0..4 {
        assert_eq!(code(&limiter, "s", 1).await, Code::Ok);
    }
    assert_eq!(store.asked(), 2);
    let text = metrics.text();
    for (name, hits) in [("", 4), ("_over_limit", 3), ("_shadow_mode", 3), ("_over_limit_local_cache", 2)] {
        let line = format!("fluxlimit_hits{name}_total{{domain=\"d\",rule=\"s\"}} {hits}\n");
        assert!(text.contains(&line), "no {line} in {text}");
    }
    // Beside one that allows, the store is asked.
    assert_eq!(code(&limiter, "s a", 1).await, Code::Ok);
    assert_eq!(store.asked(), 3);
}

#[tokio::test]
async fn the_memory_store_has_no_cache_in_front() {
    let clock = Arc::new(ManualClock::at(Timestamp::from_ms(START_MS)));
    let store = Arc::new(MemoryStore::new(memory::Settings::default(), clock.clone()));
    let (limiter, metrics) = limiter(&store, &clock);
    for expected in [Code::Ok, Code::OverLimit, Code::OverLimit] {
        assert_eq!(code(&limiter, "a", 1).await, expected);
    }
    assert!(
        metrics.text().contains("fluxlimit_hits_over_limit_local_cache_total{domain=\"d\",rule=\"a\"} 0\n")
    );
    assert_eq!(clock.now().ms(), START_MS);
}
