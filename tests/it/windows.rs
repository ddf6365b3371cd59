//! What the two windows promise, held against logs of single hits.

use fluxlimit::limit::{Algorithm, Limit};
use proptest::prelude::*;

use crate::steps::{Event, Key, asking_script, forward_ms, hits, limits_of, script, with};

/// Hits with their times, as nobody could afford to store them.
#[derive(Debug, Default)]
struct Log(Vec<(u64, i64)>);

impl Log {
    /// Hits of the period that ends at `now_ms`, its start excluded.
    fn used(&self, limit: &Limit, now_ms: u64) -> i64 {
        self.of_last_period(limit, now_ms).map(|index| self.0[index].1).sum()
    }

    fn of_last_period(&self, limit: &Limit, now_ms: u64) -> impl DoubleEndedIterator<Item = usize> {
        let period_ms = limit.period_ms();
        (0..self.0.len()).filter(move |index| self.0[*index].0 + period_ms > now_ms)
    }

    fn give_back_oldest(&mut self, limit: &Limit, now_ms: u64, mut hits: i64) {
        for index in self.of_last_period(limit, now_ms).collect::<Vec<_>>() {
            let given = self.0[index].1.min(hits);
            self.0[index].1 -= given;
            hits -= given;
        }
    }
}

fn sliding() -> impl Strategy<Value = Limit> {
    limits_of(Algorithm::SlidingWindow)
}

fn is_exact(limit: &Limit) -> bool {
    limit.count() <= 64 && !limit.count_refused()
}

proptest! {
    #![proptest_config(crate::steps::config())]

    /// A stretch of a script in which the clock moves forward by less than one period in all admits at most
    /// the count, however often it stops or runs back.
    #[test]
    fn no_sliding_window_admits_more_than_the_count(
        (limit, (before, script)) in with(sliding(), |limit| (script(limit), asking_script(limit))),
    ) {
        let mut key = Key::new();
        key.run(&limit, &before);
        let mut forward_ms = 0;
        let mut admitted = Log::default();
        for event in script {
            forward_ms += event.moves_ms.max(0).unsigned_abs();
            if key.step(&limit, event).allowed {
                admitted.0.push((forward_ms, event.hits));
                let used = admitted.used(&limit, forward_ms);
                prop_assert!(used <= i64::from(limit.count()), "{used} of {}", limit.count());
            }
        }
    }

    #[test]
    fn a_small_sliding_window_equals_a_log_of_its_hits(
        (limit, script) in with(sliding().prop_filter("kept one by one", is_exact), |limit| {
            prop::collection::vec((forward_ms(limit), hits(limit)), 1..60)
        }),
    ) {
        let (mut key, mut log) = (Key::new(), Log::default());
        for (moves_ms, hits) in script {
            let verdict = key.step(&limit, Event { moves_ms, hits });
            let fits = hits < 0 || log.used(&limit, key.now_ms) + hits <= i64::from(limit.count());
            prop_assert_eq!(verdict.allowed, fits);
            if hits < 0 {
                log.give_back_oldest(&limit, key.now_ms, -hits);
            } else if fits {
                log.0.push((key.now_ms, hits));
            }
            let left = i64::from(limit.count()) - log.used(&limit, key.now_ms);
            prop_assert_eq!(verdict.remaining, left.unsigned_abs());
        }
    }

    /// Rounding refuses for at most one slot longer than a log would, and never admits more.
    #[test]
    fn a_wide_slot_refuses_at_most_one_width_longer(
        (limit, script) in with(sliding(), |limit| {
            prop::collection::vec((forward_ms(limit), crate::steps::costs(limit)), 1..60)
        }),
    ) {
        let width_ms = if is_exact(&limit) { 0 } else { limit.period_ms().div_ceil(64) };
        let (mut key, mut log) = (Key::new(), Log::default());
        for (moves_ms, hits) in script {
            // Beyond 2^52 in all, hits are cut off and no longer recorded.
            let hits = hits.min(1 << 40);
            let verdict = key.step(&limit, Event { moves_ms, hits });
            let fits = |used: i64| used + hits <= i64::from(limit.count());
            let used = log.used(&limit, key.now_ms);
            let used_a_width_ago = log.used(&limit, key.now_ms - width_ms);
            prop_assert!(!verdict.allowed || fits(used));
            prop_assert!(verdict.allowed || !fits(used_a_width_ago));
            if verdict.allowed || limit.count_refused() {
                log.0.push((key.now_ms, hits));
            }
        }
    }

    /// Hits are given back within one period of being admitted, whichever of them the caller means.
    #[test]
    fn no_give_back_inside_a_period_lets_a_sliding_window_go_over(
        (limit, script) in with(sliding(), |limit| {
            let step = (forward_ms(limit), crate::steps::costs(limit), any::<prop::sample::Index>(), 0..3u8);
            prop::collection::vec(step, 1..60)
        }),
    ) {
        let (mut key, mut log) = (Key::new(), Log::default());
        for (moves_ms, cost, which, gives_back) in script {
            if gives_back == 0 {
                let given = Event { moves_ms, hits: 0 };
                key.step(&limit, given);
                let alive: Vec<usize> = log.of_last_period(&limit, key.now_ms).collect();
                if alive.is_empty() {
                    continue;
                }
                let meant = &mut log.0[*which.get(&alive)].1;
                let hits = cost.min(*meant);
                *meant -= hits;
                key.step(&limit, Event { moves_ms: 0, hits: -hits });
            } else if key.step(&limit, Event { moves_ms, hits: cost }).allowed {
                log.0.push((key.now_ms, cost));
                prop_assert!(log.used(&limit, key.now_ms) <= i64::from(limit.count()));
            }
        }
    }

    #[test]
    fn a_fixed_window_equals_a_count_per_window_of_the_epoch(
        (limit, script) in with(limits_of(Algorithm::FixedWindow), |limit| {
            prop::collection::vec((forward_ms(limit), hits(limit)), 1..60)
        }),
    ) {
        let (mut key, mut window, mut used) = (Key::new(), 0, 0i64);
        for (moves_ms, hits) in script {
            let verdict = key.step(&limit, Event { moves_ms, hits });
            if key.now_ms / limit.period_ms() != window {
                (window, used) = (key.now_ms / limit.period_ms(), 0);
            }
            let fits = hits < 0 || used + hits <= i64::from(limit.count());
            prop_assert_eq!(verdict.allowed, fits);
            if fits || limit.count_refused() {
                used = (used + hits).clamp(0, 1 << 52);
            }
            let left = (i64::from(limit.count()) - used).max(0);
            prop_assert_eq!(verdict.remaining, left.unsigned_abs());
            let end_ms = (window + 1) * limit.period_ms();
            prop_assert_eq!(verdict.reset_after_ms, end_ms - key.now_ms);
        }
    }
}
