//! The parts of a decision, each alone: decode, match, settle, memory store, answer, encode; and all of it.
//!
//! `cargo bench --bench decision`

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use fluxlimit::algorithm::State;
use fluxlimit::engine::{AnswerSettings, HeaderStyle, Settlement, answer, settle};
use fluxlimit::grpc::wire;
use fluxlimit::limit::Algorithm;
use fluxlimit::rules::Modes;
use fluxlimit::store::memory::{MemoryStore, Settings};
use fluxlimit::store::{Settling, Store};
use fluxlimit::time::{SystemClock, Timestamp};
use parts::{call, limiter, message, request, rules};

mod parts;

/// Numbers of rules, from a small file to more than anybody has.
const RULES: [usize; 2] = [10, 100_000];

/// Numbers of keys, from all in the cache to none.
const KEYS: [usize; 2] = [10, 1_000_000];

const NOW: Timestamp = Timestamp::from_ms(1_700_000_000_000);

fn matching(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("match");
    for count in RULES {
        let rules = rules(count, Algorithm::FixedWindow);
        let request = request(count / 2, 7);
        group.bench_function(BenchmarkId::new("rules", count), |bencher| {
            bencher.iter(|| black_box(rules.question(black_box(&request), Modes::default())));
        });
    }
}

fn settling(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("settle");
    for algorithm in Algorithm::ALL {
        let rules = rules(1, algorithm);
        let request = request(0, 7);
        let settlement = rules.question(&request, Modes::default()).settlement;
        let stored: Option<State> = settle(&settlement, NOW, &[None]).1.pop().map(|write| write.state);
        group.bench_function(algorithm.name(), |bencher| {
            bencher.iter(|| black_box(settle(black_box(&settlement), NOW, &[stored.as_ref()])));
        });
    }
}

fn memory_store(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("memory_store");
    let rules = rules(1, Algorithm::FixedWindow);
    let settlement = |user: usize| -> Settlement {
        let request = request(0, user);
        rules.question(&request, Modes::default()).settlement
    };
    for count in KEYS {
        let store = MemoryStore::new(
            Settings { max_keys: 2 * count.max(1024), ..Settings::default() },
            Arc::new(SystemClock),
        );
        for user in 0..count {
            outcome(store.settle(&settlement(user)));
        }
        // Steps of a large prime, so that the next key is never near the last one.
        let mut user = 0;
        group.bench_function(BenchmarkId::new("keys", count), |bencher| {
            bencher.iter_batched(
                || {
                    user = (user + 7_368_787) % count;
                    settlement(user)
                },
                |settlement| outcome(store.settle(&settlement)),
                BatchSize::SmallInput,
            );
        });
    }
}

fn answering(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("answer");
    for count in RULES {
        let rules = rules(count, Algorithm::FixedWindow);
        let request = request(count / 2, 7);
        let question = rules.question(&request, Modes::default());
        let (outcome, _) = settle(&question.settlement, NOW, &[None]);
        for headers in [HeaderStyle::Off, HeaderStyle::Both] {
            let settings = AnswerSettings { headers, ..AnswerSettings::default() };
            group.bench_function(BenchmarkId::new(format!("headers_{headers:?}"), count), |bencher| {
                bencher.iter(|| black_box(answer(&request, &question, black_box(&outcome), &settings)));
            });
        }
    }
}

fn wiring(criterion: &mut Criterion) {
    let message = message(0, 7);
    criterion.bench_function("decode", |bencher| {
        bencher.iter(|| black_box(wire::request(black_box(&message))));
    });
    let (rules, request) = (rules(1, Algorithm::TokenBucket), request(0, 7));
    let question = rules.question(&request, Modes::default());
    let (outcome, _) = settle(&question.settlement, NOW, &[None]);
    for headers in [HeaderStyle::Off, HeaderStyle::Both] {
        let settings = AnswerSettings { headers, ..AnswerSettings::default() };
        let decision = answer(&request, &question, &outcome, &settings);
        criterion.bench_function(&format!("encode/headers_{headers:?}"), |bencher| {
            bencher.iter(|| black_box(wire::framed(black_box(&decision))));
        });
    }
}

fn calling(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("call");
    for count in RULES {
        let limiter = limiter(rules(count, Algorithm::TokenBucket));
        let message = message(count / 2, 7);
        group.bench_function(BenchmarkId::new("rules", count), |bencher| {
            bencher.iter(|| black_box(call(&limiter, black_box(&message))));
        });
    }
}

fn outcome(settling: Settling) -> bool {
    match settling {
        Settling::Ready(outcome) => outcome.is_ok_and(|outcome| outcome.refused),
        Settling::Later(_) => false,
    }
}

fn short() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800))
        .sample_size(20)
        .without_plots()
}

criterion_group! {
    name = benches;
    config = short();
    targets = matching, settling, memory_store, answering, wiring, calling
}
criterion_main!(benches);
