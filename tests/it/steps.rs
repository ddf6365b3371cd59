//! Random limits, random clocks and random hits, for the properties of the arithmetic.

use fluxlimit::algorithm::{
    FixedWindow, LeakyBucket, SlidingWindow, Slot, State, TokenBucket, Verdict, step,
};
use fluxlimit::limit::{Algorithm, Limit, LimitSpec, Unit};
use fluxlimit::time::Timestamp;
use proptest::prelude::*;

/// Where the clocks of random scripts start.
pub(crate) const START_MS: u64 = 1_700_000_000_000;

const MAX: i64 = 1 << 52;

/// Enough cases to find what is rare; `PROPTEST_CASES` asks for more. A failure is written down as a test of
/// its own, not as a seed.
pub(crate) fn config() -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig { cases: 4 * default.cases, failure_persistence: None, ..default }
}

/// One step of a script: the clock moves, then hits are asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Event {
    /// How far the clock moves; negative runs back.
    pub(crate) moves_ms: i64,
    /// Hits.
    pub(crate) hits: i64,
}

/// A key while a script runs on it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Key {
    pub(crate) now_ms: u64,
    pub(crate) stored: Option<State>,
}

impl Key {
    pub(crate) fn new() -> Self {
        Self { now_ms: START_MS, stored: None }
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_ms(self.now_ms)
    }

    /// Takes a step and stores what comes out.
    pub(crate) fn step(&mut self, limit: &Limit, event: Event) -> Verdict {
        self.now_ms = self.now_ms.saturating_add_signed(event.moves_ms);
        let (verdict, next) = step(limit, self.stored.as_ref(), self.now(), event.hits);
        self.stored = next.or(self.stored.take());
        verdict
    }

    pub(crate) fn run(&mut self, limit: &Limit, events: &[Event]) {
        for event in events {
            self.step(limit, *event);
        }
    }

    /// What `hits` would come to `after_ms` from now, without storing anything.
    pub(crate) fn peek(&self, limit: &Limit, after_ms: u64, hits: i64) -> Verdict {
        step(limit, self.stored.as_ref(), Timestamp::from_ms(self.now_ms.saturating_add(after_ms)), hits).0
    }
}

pub(crate) fn limit(spec: LimitSpec) -> Limit {
    Limit::new(spec).expect("the numbers of a test make sense")
}

fn periods() -> impl Strategy<Value = (Unit, u32)> {
    prop_oneof![
        4 => (Just(Unit::Second), 1..4u32),
        1 => Just((Unit::Minute, 1)),
        1 => Just((Unit::Hour, 24)),
        1 => Just((Unit::Month, 1)),
    ]
}

/// Limits of one algorithm, most of them small enough that scripts reach them.
pub(crate) fn limits_of(algorithm: Algorithm) -> impl Strategy<Value = Limit> {
    let count = prop_oneof![6 => 1..12u32, 2 => 50..90u32, 1 => Just(0), 1 => 1000..100_000u32];
    let burst = prop_oneof![2 => Just(None), 3 => (1..15u64).prop_map(Some)];
    (count, periods(), burst, any::<bool>()).prop_map(
        move |(count, (unit, unit_multiplier), burst, count_refused)| {
            let burst = burst.filter(|_| algorithm.is_bucket());
            limit(LimitSpec { algorithm, count, unit, unit_multiplier, burst, count_refused })
        },
    )
}

/// Limits of every algorithm.
pub(crate) fn limits() -> impl Strategy<Value = Limit> {
    proptest::sample::select(Algorithm::ALL.to_vec()).prop_flat_map(limits_of)
}

/// How a clock moves between two steps of a script on a limit of that period: it stops, goes on, jumps
/// ahead and runs back, a little and by more than is believed.
pub(crate) fn moves_ms(limit: &Limit) -> impl Strategy<Value = i64> + use<> {
    let period_ms = limit.period_ms().cast_signed();
    prop_oneof![
        3 => Just(0),
        6 => 0..=period_ms / 8,
        1 => Just(period_ms),
        2 => 0..=2 * period_ms,
        1 => period_ms..=5 * period_ms + 200_000,
        1 => -period_ms..=0,
        1 => -3 * period_ms - 200_000..=0,
    ]
}

/// Moves of a clock that never runs back.
pub(crate) fn forward_ms(limit: &Limit) -> impl Strategy<Value = i64> + use<> {
    moves_ms(limit).prop_map(|moves_ms| moves_ms.max(0))
}

/// Costs around the size of a limit, none of them negative.
pub(crate) fn costs(limit: &Limit) -> impl Strategy<Value = i64> + use<> {
    let capacity = limit.capacity().cast_signed();
    prop_oneof![6 => 1..=3i64, 1 => Just(0), 3 => 0..=capacity + 2, 1 => Just(capacity), 1 => Just(MAX)]
}

/// Costs, and hits that are given back.
pub(crate) fn hits(limit: &Limit) -> impl Strategy<Value = i64> + use<> {
    let capacity = limit.capacity().cast_signed();
    prop_oneof![5 => costs(limit), 1 => -3..0i64, 1 => -capacity - 2..=0]
}

/// A script of any steps.
pub(crate) fn script(limit: &Limit) -> impl Strategy<Value = Vec<Event>> + use<> {
    let event = (moves_ms(limit), hits(limit)).prop_map(|(moves_ms, hits)| Event { moves_ms, hits });
    prop::collection::vec(event, 0..25)
}

/// A script that gives nothing back.
pub(crate) fn asking_script(limit: &Limit) -> impl Strategy<Value = Vec<Event>> + use<> {
    let event = (moves_ms(limit), costs(limit)).prop_map(|(moves_ms, hits)| Event { moves_ms, hits });
    prop::collection::vec(event, 1..40)
}

/// A limit with something that is made for it.
pub(crate) fn with<S: Strategy>(
    limits: impl Strategy<Value = Limit>,
    make: impl Fn(&Limit) -> S + Clone + 'static,
) -> impl Strategy<Value = (Limit, S::Value)>
where
    S::Value: Clone,
{
    limits.prop_flat_map(move |limit| (Just(limit), make(&limit)))
}

/// Any state that a store could hold for a limit, whether or not the limit could have led to it.
pub(crate) fn states(algorithm: Algorithm) -> BoxedStrategy<State> {
    let times = || prop_oneof![any::<u64>(), START_MS - 200_000..START_MS + 200_000, Just(u64::MAX)];
    let amounts = || prop_oneof![0..20u64, 0..=1u64 << 52, Just(1u64 << 52)];
    match algorithm {
        Algorithm::TokenBucket => (-MAX..=MAX, times())
            .prop_map(|(level, at_tick)| State::TokenBucket(TokenBucket { level, at_tick }))
            .boxed(),
        Algorithm::LeakyBucket => (-MAX..=MAX, times())
            .prop_map(|(water, at_tick)| State::LeakyBucket(LeakyBucket { water, at_tick }))
            .boxed(),
        Algorithm::FixedWindow => (times(), amounts())
            .prop_map(|(start_ms, used)| State::FixedWindow(FixedWindow { start_ms, used }))
            .boxed(),
        Algorithm::SlidingWindow => (times(), prop::collection::vec((times(), amounts()), 0..70))
            .prop_map(|(at_ms, mut slots)| {
                slots.sort_unstable();
                let slots = slots.into_iter().filter(|(_, hits)| *hits > 0);
                let slots = slots.map(|(end_ms, hits)| Slot { end_ms, hits }).collect();
                State::SlidingWindow(SlidingWindow { at_ms, slots })
            })
            .boxed(),
    }
}
