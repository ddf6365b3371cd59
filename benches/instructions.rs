//! One part of a decision, so many times, for a tool that counts instructions.
//!
//! `.ci/instructions` runs each part with two numbers of rounds and divides the difference of the counts by
//! that of the rounds. What a start costs falls out of it, and the rest hardly depends on the machine.

use std::hint::black_box;
use std::sync::Arc;

use fluxlimit::engine::{AnswerSettings, answer, settle};
use fluxlimit::grpc::wire;
use fluxlimit::limit::Algorithm;
use fluxlimit::rules::Modes;
use fluxlimit::store::Store;
use fluxlimit::store::memory::{MemoryStore, Settings};
use fluxlimit::time::{ManualClock, Timestamp};
use parts::{call, limiter, message, request, rules};

mod parts;

/// What the server allocates with.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Every part, in the order of a call.
const PARTS: [&str; 9] = [
    "decode",
    "match",
    "settle-token_bucket",
    "settle-leaky_bucket",
    "settle-fixed_window",
    "settle-sliding_window",
    "memory_store",
    "encode",
    "call",
];

/// Users, so many that no round meets the state of the last one.
const USERS: usize = 64;

const NOW: Timestamp = Timestamp::from_ms(1_700_000_000_000);

#[expect(clippy::print_stdout, reason = "a list of its parts is what it says")]
fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    let (part, rounds) = (arguments.next(), arguments.next().and_then(|rounds| rounds.parse().ok()));
    match (part, rounds) {
        (Some(part), Some(rounds)) => run(&part, rounds),
        // Nothing to measure here without the tool, so `cargo bench` has nothing to do.
        _ => println!("{}", PARTS.join("\n")),
    }
}

fn run(part: &str, rounds: usize) {
    let algorithm = part.strip_prefix("settle-").and_then(Algorithm::from_name);
    let rules = rules(100, algorithm.unwrap_or(Algorithm::TokenBucket));
    let (messages, requests): (Vec<_>, Vec<_>) =
        (0..USERS).map(|user| (message(50, user), request(50, user))).unzip();
    let question = |user: usize| rules.question(&requests[user % USERS], Modes::default());
    match part {
        "decode" => (0..rounds).for_each(|round| drop(black_box(wire::request(&messages[round % USERS])))),
        "match" => (0..rounds).for_each(|round| drop(black_box(question(round)))),
        "memory_store" => {
            let store = MemoryStore::new(Settings::default(), Arc::new(ManualClock::at(NOW)));
            let questions: Vec<_> = (0..USERS).map(question).collect();
            (0..rounds).for_each(|round| drop(black_box(store.settle(&questions[round % USERS].settlement))));
        }
        "encode" => {
            let question = question(0);
            let (outcome, _) = settle(&question.settlement, NOW, &[None]);
            let settings = AnswerSettings::default();
            (0..rounds).for_each(|_| {
                drop(black_box(wire::framed(&answer(&requests[0], &question, &outcome, &settings))));
            });
        }
        "call" => {
            let limiter = limiter(rules);
            (0..rounds).for_each(|round| drop(black_box(call(&limiter, &messages[round % USERS]))));
        }
        _ if algorithm.is_some() => {
            let question = question(0);
            let mut state = settle(&question.settlement, NOW, &[None]).1.pop().map(|write| write.state);
            (0..rounds).for_each(|_| {
                let (outcome, mut writes) = settle(&question.settlement, NOW, &[state.as_ref()]);
                state = writes.pop().map(|write| write.state).or(state.take());
                drop(black_box(outcome));
            });
        }
        _ => panic!("unknown part {part}; expected one of {}", PARTS.join(", ")),
    }
}
