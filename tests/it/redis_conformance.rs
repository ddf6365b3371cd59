//! The script against the engine: one settlement a call, several a call, and what was booked given back.
//!
//! That the suite would notice a mistake is shown by planting some, one at a time: see [`MISTAKES`].

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fluxlimit::algorithm::State;
use fluxlimit::engine::Key;
use fluxlimit::limit::Limit;
use fluxlimit::store::redis::{RedisStore, Settings};
use fluxlimit::store::{Observer, RoundTrip, Settling, Store};
use fluxlimit::time::{ManualClock, Timestamp};
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use tokio::runtime::Runtime;

use crate::conformance::{Engine, Subject, answered, conforms, domain, live, run, runtime};
use crate::settlements::{Ask, Script, scripts};
use crate::steps::{START_MS, config};
use crate::support::Redis;

/// A store on a Redis, asked with the time of the test.
#[derive(Debug)]
struct Shared {
    clock: Arc<ManualClock>,
    store: RedisStore,
    calls: Arc<Calls>,
}

impl Shared {
    fn new(server: &Redis, script: &str) -> Self {
        let settings = Settings::from_url(&format!("redis://{}", server.address())).unwrap();
        // Nothing is asserted on how fast it is.
        let settings = Settings { timeout_ms: 20_000, ..settings };
        let (clock, calls) = (Arc::new(ManualClock::default()), Arc::new(Calls::default()));
        let store = RedisStore::with_script(&settings, calls.clone(), Some(clock.clone()), script);
        Self { clock, store, calls }
    }
}

/// Hears how many settlements went together.
#[derive(Debug, Default)]
struct Calls {
    largest: AtomicUsize,
}

impl Observer for Calls {
    fn ended(&self, trip: &RoundTrip<'_>) {
        self.largest.fetch_max(trip.settlements, Ordering::Relaxed);
    }
}

impl Subject for Shared {
    fn store(&self) -> &dyn Store {
        &self.store
    }

    fn set_clock(&self, now: Timestamp) {
        self.clock.set(now);
    }

    async fn state(&self, key: &Key) -> Option<State> {
        self.store.state(key).await.unwrap_or_else(|error| panic!("{key:?}: {error}"))
    }
}

/// Settles all requests of the script in calls of several, each call as of one time.
async fn run_in_batches(subject: &Shared, script: &Script, domain: &str) -> Result<(), TestCaseError> {
    let mut engine = Engine::default();
    let mut now_ms = START_MS;
    for together in script.asks.chunks(5) {
        now_ms = now_ms.saturating_add_signed(together[0].moves_ms);
        let now = Timestamp::from_ms(now_ms);
        subject.set_clock(now);
        let settlements: Vec<_> = together.iter().map(|ask| script.settlement(domain, ask)).collect();
        // On one thread nothing is sent before the first wait.
        let waiting: Vec<Settling> = settlements.iter().map(|one| subject.store.settle(one)).collect();
        for (settlement, waiting) in settlements.iter().zip(waiting) {
            prop_assert_eq!(answered(waiting).await?, engine.settle(settlement, now));
        }
        for (key, limit) in &script.keys(domain) {
            let found = live(subject.state(key).await, limit, now);
            prop_assert_eq!(found, live(engine.states.get(key).cloned(), limit, now), "{:?}", key);
        }
    }
    Ok(())
}

/// Settles every second request as it is, gives back what it booked, and expects what a refused request leaves.
async fn run_undone(subject: &Shared, script: &Script, domain: &str) -> Result<(), TestCaseError> {
    let mut engine = Engine::default();
    let mut now_ms = START_MS;
    for (index, ask) in script.asks.iter().enumerate() {
        now_ms = now_ms.saturating_add_signed(ask.moves_ms);
        let now = Timestamp::from_ms(now_ms);
        subject.set_clock(now);
        let undone = index % 2 == 1;
        let settlement = script.settlement(domain, ask);
        if undone {
            let undoing = subject.store.settle_and_undo(&settlement).await;
            undoing.map_err(|error| TestCaseError::fail(error.to_string()))?;
        } else {
            answered(subject.store.settle(&settlement)).await?;
        }
        engine
            .settle(&script.settlement(domain, &Ask { refused: ask.refused || undone, ..ask.clone() }), now);
        for (key, limit) in &script.keys(domain) {
            let found = subject.state(key).await;
            let expected = engine.states.get(key);
            prop_assert_eq!(brought(found.as_ref(), limit, now), brought(expected, limit, now), "{:?}", key);
            // It has been written now, which shows once the clock runs back.
            engine.states.extend(found.map(|found| (key.clone(), found)));
        }
    }
    Ok(())
}

/// A state as it is at `now`: giving back what was booked leaves a state that equals the one before, and says so
/// as of now.
fn brought(state: Option<&State>, limit: &Limit, now: Timestamp) -> Option<State> {
    live(Some(State::at(limit, state, now)), limit, now)
}

fn on_a_redis(property: impl Fn(&Runtime, &Shared)) {
    let runtime = runtime();
    let server = runtime.block_on(Redis::start());
    let subject = {
        let _inside = runtime.enter();
        Shared::new(&server, RedisStore::script())
    };
    property(&runtime, &subject);
}

#[test]
fn the_redis_store_agrees_with_the_engine() {
    on_a_redis(|runtime, subject| conforms(runtime, subject, 1500));
}

#[test]
fn several_settlements_in_one_call_agree_with_the_engine_one_after_another() {
    on_a_redis(|runtime, subject| {
        let mut runner = TestRunner::new(ProptestConfig { cases: 700, ..config() });
        let ran =
            runner.run(&scripts(), |script| runtime.block_on(run_in_batches(subject, &script, &domain())));
        ran.unwrap_or_else(|failure| panic!("{failure}"));
        assert_eq!(subject.calls.largest.load(Ordering::Relaxed), 5, "they went together");
    });
}

#[test]
fn giving_back_what_was_booked_leaves_what_a_refused_request_leaves() {
    on_a_redis(|runtime, subject| {
        let mut runner = TestRunner::new(ProptestConfig { cases: 500, ..config() });
        let ran = runner.run(&scripts(), |script| runtime.block_on(run_undone(subject, &script, &domain())));
        ran.unwrap_or_else(|failure| panic!("{failure}"));
    });
}

#[test]
fn every_planted_mistake_is_noticed() {
    let runtime = runtime();
    let server = runtime.block_on(Redis::start());
    let mut missed = Vec::new();
    for (good, bad) in MISTAKES {
        assert!(RedisStore::script().contains(good), "the script has no `{good}`");
        let subject = {
            let _inside = runtime.enter();
            Shared::new(&server, &RedisStore::script().replacen(good, bad, 1))
        };
        let noticed = differs(|script, domain| runtime.block_on(run(&subject, script, domain)))
            || differs(|script, domain| runtime.block_on(run_in_batches(&subject, script, domain)))
            || differs(|script, domain| runtime.block_on(run_undone(&subject, script, domain)));
        if !noticed {
            missed.push(format!("`{bad}` in place of `{good}`"));
        }
    }
    assert!(missed.is_empty(), "not noticed: {}", missed.join("; "));
}

/// Whether a property fails on the same scripts in every run, so that what is noticed once always is.
fn differs(property: impl Fn(&Script, &str) -> Result<(), TestCaseError>) -> bool {
    let config = ProptestConfig { cases: 400, max_shrink_iters: 0, ..config() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    runner.run(&scripts(), |script| property(&script, &domain())).is_err()
}

/// Mistakes, each of which the properties above must notice: what stands in the script, and what is put in its
/// place. They are of the arithmetic, of the request policy, of what a call keeps for its later works, and of
/// giving back.
const MISTAKES: [(&str, &str); 49] = [
    ("period_ms < 86400000 and 1 or 1000", "1"),
    ("full = capacity * period_ticks", "full = count * period_ticks"),
    ("algorithm == LEAKY_BUCKET and full - held or held", "held"),
    (
        "if own * tick_ms > now + period_ms + MAX_AHEAD_MS",
        "if own * tick_ms > now + period_ms + 2 * MAX_AHEAD_MS",
    ),
    ("return now_tick, level < full and level or full, true", "return now_tick, full, true"),
    ("if own >= now_tick then return own, level", "if own >= now_tick then return now_tick, level"),
    ("if refilled >= full - level then return now_tick, full end", ""),
    ("return start_ms, held, true end", "return start_ms, 0, true end"),
    ("return start_ms, held, true end", "return start_ms, held end"),
    ("if own >= start_ms then return own, held end", "if own == start_ms then return own, held end"),
    ("last = 2, used = used }, true", "last = 2, used = used }"),
    ("{ now, used, first", "{ own, used, first"),
    ("held[first] + period_ms <= at_ms", "held[first] + period_ms < at_ms"),
    ("used = used - held[first + 1]", "used = used - 1"),
    ("local at_ms = own > now and own or now", "local at_ms = now"),
    ("return held + hits <= count end", "return held + hits < count end"),
    ("return held.used + hits <= count", "return held.used + hits <= count + 1"),
    ("* MAX_DEBT_FACTOR * period_ticks", "* 2 * MAX_DEBT_FACTOR * period_ticks"),
    ("(capacity > count and capacity or count)", "capacity"),
    ("if hits > room then hits = room end", ""),
    ("count > SLOTS or count_refused", "count > SLOTS"),
    ("math.ceil(period_ms / SLOTS)", "math.floor(period_ms / SLOTS)"),
    ("held[last - 1] >= end_ms", "held[last - 1] > end_ms"),
    ("if given > full - held then return full end", ""),
    ("return held > hits and held - hits or 0", "return held - hits"),
    ("if given == of_slot then first = first + 2 end", ""),
    (
        "return held > 0 and (held - held % period_ticks) / period_ticks or 0",
        "return (held - held % period_ticks) / period_ticks",
    ),
    ("if rest > 0 then ticks = ticks + 1 end", ""),
    (
        "used, at_ms, slot = used - held[slot + 1], held[slot] + period_ms, slot + 2",
        "used, at_ms, slot = 0, held[held.last - 1] + period_ms, slot",
    ),
    ("return ms < MAX_DURATION_MS and ms or MAX_DURATION_MS", "return ms"),
    (
        "return until_ms(held.last > held.first and held[held.last - 1] + period_ms or own)",
        "return until_ms(own + period_ms)",
    ),
    ("local books = hits ~= 0 and (fits or count_refused)", "local books = hits ~= 0 and fits"),
    ("books or (moved and keeps_state)", "books"),
    ("if repeats and (fits or count_refused)", "if repeats and fits"),
    ("if not fits and shadow_at[index] == 0 then", "if not fits then"),
    ("and not quota_passes)", ")"),
    ("refused or (over and not global_shadow)", "refused or over"),
    ("(not group_refused[group] or global_shadow)", "not group_refused[group]"),
    (
        "local owed = hits < 0 or count_refused or (fits and passes)",
        "local owed = count_refused or (fits and passes)",
    ),
    ("hits + before)", "hits)"),
    ("tried[id] = copy(state)", "tried[id] = state"),
    ("if not keep_ms[id] then written[#written + 1] = id end", "written[1] = id"),
    ("names[total] = total, total, key", "names[total] = nil, total, key"),
    ("if algorithm == LEAKY_BUCKET then held = full - held end", ""),
    ("algorithm == FIXED_WINDOW and own[id] == where", "false"),
    ("if held[slot] == where then", "if held[slot] ~= where then"),
    ("raw[id], problem[id], expires_ms[id] = false, nil, nil", "expires_ms[id] = nil"),
    ("if raw[id] or problem[id] or own_of[id] then", "if raw[id] then"),
    ("write(id, 0, held, reset_ms(0, held))", "write(id, now, held, reset_ms(now, held))"),
];
