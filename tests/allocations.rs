//! How often a decision allocates: counted, not timed. A program of its own, since the allocator that counts is
//! that of the whole program.

use fluxlimit::grpc::wire;
use fluxlimit::limit::Algorithm;
use parts::{call, limiter, message, request, rules};

#[path = "../benches/parts/mod.rs"]
mod parts;

fn allocations(what: impl FnOnce()) -> u64 {
    allocation_counter::measure(what).count_total
}

/// Between the bytes of a message and those of its answer, for one descriptor of two entries with one limit.
#[test]
fn a_decision_in_memory_allocates_its_key_its_answer_and_the_slots_of_a_sliding_window() {
    for algorithm in Algorithm::ALL {
        let limiter = limiter(rules(100, algorithm));
        let message = message(50, 7);
        // The first call stores the key.
        drop(call(&limiter, &message));
        let counted = allocations(|| drop(call(&limiter, &message)));
        let expected = if algorithm == Algorithm::SlidingWindow { 3 } else { 2 };
        assert_eq!(counted, expected, "allocations with a {}", algorithm.name());
    }
}

#[test]
fn reading_a_request_of_one_descriptor_allocates_nothing() {
    let message = message(50, 7);
    // The first clone makes the bytes shared.
    drop(message.clone());
    assert_eq!(allocations(|| drop(wire::request(&message))), 0);
    assert_eq!(wire::request(&message), Ok(request(50, 7)));
}
