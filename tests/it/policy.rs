//! The request policy as scenarios: one test per sentence of the design.
//!
//! Every limit is a fixed window of 10 an hour, called by a letter. `a=8` is a stored state: 8 are used.
//! `a 3 / quota b 1, c 1 shadow counted` is a request of two descriptors, the second one with two limits.
//! `refused: no 2 / ok 10, ok 9` is what comes out: per limit whether its hits fit, and what remains.

use std::collections::BTreeMap;

use fluxlimit::algorithm::{FixedWindow, State};
use fluxlimit::engine::{Charge, Group, Identity, Key, Settlement, settle};
use fluxlimit::limit::{Algorithm, LimitSpec, Unit};
use fluxlimit::time::Timestamp;

use crate::steps::limit;

const NOW: Timestamp = Timestamp::from_ms(0);

fn charge(text: &str) -> Charge {
    let words: Vec<&str> = text.split(' ').collect();
    let spec = LimitSpec::new(Algorithm::FixedWindow, 10, Unit::Hour);
    let limit = limit(LimitSpec { count_refused: words.contains(&"counted"), ..spec });
    Charge {
        key: key(words[0]),
        limit,
        hits: words[1].parse().expect("hits"),
        shadow: words.contains(&"shadow"),
        mark: false,
        limit_id: 0,
    }
}

fn key(name: &str) -> Key {
    let limit = limit(LimitSpec::new(Algorithm::FixedWindow, 10, Unit::Hour));
    Identity::of(name.as_bytes(), 0).into_key(&limit, false)
}

fn settlement(asked: &str) -> Settlement {
    let (mode, descriptors) = asked.split_once(": ").unwrap_or(("", asked));
    let (mut charges, mut groups) = (Vec::new(), Vec::new());
    for descriptor in descriptors.split(" / ") {
        let (quota, limits) = match descriptor.strip_prefix("quota ") {
            Some(limits) => (true, limits),
            None => (false, descriptor),
        };
        let before = charges.len();
        charges.extend(limits.split(", ").map(charge));
        groups.push(Group { charges: charges.len() - before, quota, tag: None });
    }
    let mut settlement = Settlement::new(charges.into(), groups.into());
    match mode {
        "" => {}
        "global shadow" => settlement.global_shadow = true,
        "refused elsewhere" => settlement.refused = true,
        "another quota passes" => settlement.quota_passes = true,
        other => panic!("unknown mode {other}"),
    }
    settlement
}

/// With `stored`, the request `asked` comes to `expected` and leaves `after`.
#[track_caller]
fn check(stored: &str, asked: &str, expected: &str, after: &str) {
    let settlement = settlement(asked);
    let mut states: BTreeMap<&str, State> = stored
        .split_whitespace()
        .map(|used| used.split_once('=').expect("name=used"))
        .map(|(name, used)| {
            let used = used.parse().expect("a number");
            (name, State::FixedWindow(FixedWindow { start_ms: 0, used }))
        })
        .collect();
    let names: Vec<&str> = settlement
        .keys()
        .map(|of| *["a", "b", "c", "d"].iter().find(|name| key(name) == *of).expect("a letter"))
        .collect();
    let found: Vec<Option<&State>> = names.iter().map(|name| states.get(name)).collect();
    let (outcome, writes) = settle(&settlement, NOW, &found);

    let groups = settlement.groups().map(|(_, range)| {
        let verdicts = outcome.verdicts[range].iter();
        let told = verdicts
            .map(|verdict| format!("{} {}", if verdict.allowed { "ok" } else { "no" }, verdict.remaining));
        told.collect::<Vec<_>>().join(", ")
    });
    let fate = if outcome.refused { "refused" } else { "passes" };
    let found = format!("{fate}: {}", groups.collect::<Vec<_>>().join(" / "));
    for write in writes {
        states.insert(names[write.slot], write.state);
    }
    let left = states.iter().map(|(name, state)| match state {
        State::FixedWindow(window) => format!("{name}={}", window.used),
        other => panic!("{other:?} under {name}"),
    });
    assert_eq!((&*found, &*left.collect::<Vec<_>>().join(" ")), (expected, after), "{stored} | {asked}");
}

#[test]
fn each_charge_is_tried_on_what_the_allowed_ones_before_it_left() {
    check("", "a 6 / a 4", "passes: ok 4 / ok 0", "a=10");
    check("", "a 6 / a 6", "refused: ok 10 / no 10", "");
    // What is refused leaves everything to those behind it,
    check("", "a 11 / a 10", "refused: no 10 / ok 10", "");
    // unless it counts.
    check("", "a 11 counted / a 0 counted", "refused: no 0 / no 0", "a=11");
}

#[test]
fn one_enforced_descriptor_that_refuses_refuses_the_request_and_nobody_pays() {
    check("a=10", "b 1 / a 1 / c 1", "refused: ok 10 / no 0 / ok 10", "a=10");
    check("a=9", "b 1 / a 1 / c 1", "passes: ok 9 / ok 0 / ok 9", "a=10 b=1 c=1");
}

#[test]
fn one_of_several_limits_refuses_the_whole_descriptor() {
    check("b=10", "a 1, b 1, c 1", "refused: ok 10, no 0, ok 10", "b=10");
}

#[test]
fn a_refused_charge_that_counts_is_booked_beyond_the_limit_and_so_is_its_like() {
    check("a=10", "a 5 counted", "refused: no 0", "a=15");
    // All that count are booked, also those that had room; the others are not.
    check("a=10", "a 1 counted / b 1 counted / c 1", "refused: no 0 / ok 9 / ok 10", "a=11 b=1");
}

#[test]
fn the_remaining_of_a_refused_cost_is_what_is_left() {
    check("a=7", "a 5", "refused: no 3", "a=7");
    check("a=7", "a 11", "refused: no 3", "a=7");
    check("a=7", "a 5 counted", "refused: no 0", "a=12");
}

#[test]
fn the_same_key_twice_is_applied_twice_in_order() {
    check("", "a 1 / a 1", "passes: ok 9 / ok 8", "a=2");
    check("a=10", "a -1 / a 1", "passes: ok 1 / ok 0", "a=10");
    check("a=10", "a 1 / a -1", "refused: no 0 / ok 1", "a=9");
}

#[test]
fn a_give_back_is_booked_even_when_the_request_is_refused() {
    check("a=10 b=5", "a 1 / b -2", "refused: no 0 / ok 7", "a=10 b=3");
    check("b=5", "b -9", "passes: ok 10", "b=0");
}

#[test]
fn a_look_is_allowed_at_the_limit_refused_in_debt_and_costs_nothing() {
    check("a=10", "a 0", "passes: ok 0", "a=10");
    check("a=11", "a 0", "refused: no 0", "a=11");
    check("a=11", "a 0 counted", "refused: no 0", "a=11");
    check("", "a 0", "passes: ok 10", "");
}

#[test]
fn a_shadow_limit_never_refuses_and_costs_its_own_key_what_a_refusal_would() {
    check("a=10", "a 1 shadow / b 1", "passes: no 0 / ok 9", "a=10 b=1");
    check("a=10", "a 1 shadow counted / b 1", "passes: no 0 / ok 9", "a=11 b=1");
    // Beside an enforced limit of the same descriptor too.
    check("b=10", "a 1, b 1 shadow", "passes: ok 9, no 0", "a=1 b=10");
}

#[test]
fn a_shadow_limit_that_allows_is_booked_when_the_request_passes() {
    check("", "a 1 shadow / b 1", "passes: ok 9 / ok 9", "a=1 b=1");
    check("b=10", "a 1 shadow / b 1", "refused: ok 10 / no 0", "b=10");
    check("b=10", "a 1 shadow counted / b 1", "refused: ok 9 / no 0", "a=1 b=10");
}

#[test]
fn a_quota_refuses_only_if_every_quota_descriptor_is_refused() {
    check("a=10 b=10", "quota a 1 / quota b 1", "refused: no 0 / no 0", "a=10 b=10");
    check("a=10", "quota a 1 / quota b 1", "passes: no 0 / ok 9", "a=10 b=1");
    check("a=10", "quota a 1", "refused: no 0", "a=10");
}

#[test]
fn a_quota_that_passes_does_not_save_an_enforced_descriptor() {
    check("a=10", "quota b 1 / a 1", "refused: ok 10 / no 0", "a=10");
}

#[test]
fn an_enforced_descriptor_that_passes_does_not_save_the_quota() {
    check("a=10", "quota a 1 / b 1", "refused: no 0 / ok 10", "a=10");
}

#[test]
fn a_quota_descriptor_is_refused_if_any_of_its_enforced_limits_refuses() {
    check("b=10", "quota a 1, b 1", "refused: ok 10, no 0", "b=10");
    check("b=10", "quota a 1, b 1 shadow", "passes: ok 9, no 0", "a=1 b=10");
}

#[test]
fn a_quota_descriptor_whose_limits_all_measure_counts_as_passing() {
    check("a=10 b=10", "quota a 1 shadow / quota b 1", "passes: no 0 / no 0", "a=10 b=10");
}

#[test]
fn a_quota_descriptor_elsewhere_that_passes_keeps_the_quota_open() {
    check("a=10", "another quota passes: quota a 1 / b 1", "passes: no 0 / ok 9", "a=10 b=1");
    check("a=10", "another quota passes: a 1", "refused: no 0", "a=10");
}

#[test]
fn a_refused_quota_descriptor_in_a_passing_request_books_like_a_refused_one() {
    check("a=10", "quota a 1, c 1 / quota b 1", "passes: no 0, ok 10 / ok 9", "a=10 b=1");
    check("a=10", "quota a 1 counted, c 1 / quota b 1", "passes: no 0, ok 10 / ok 9", "a=11 b=1");
    check("a=10 c=5", "quota a 1, c -1 / quota b 1", "passes: no 0, ok 6 / ok 9", "a=10 b=1 c=4");
}

#[test]
fn in_global_shadow_mode_nothing_refuses_and_what_is_allowed_is_booked() {
    check("a=10", "global shadow: a 1 / b 1", "passes: no 0 / ok 9", "a=10 b=1");
    check("a=10", "global shadow: a 1, c 1", "passes: no 0, ok 9", "a=10 c=1");
    check("a=10", "global shadow: a 1 counted", "passes: no 0", "a=11");
    check("a=10", "global shadow: quota a 1", "passes: no 0", "a=10");
}

#[test]
fn a_request_that_was_refused_elsewhere_books_what_a_refused_one_books() {
    let left = "b=4 c=1";
    check("b=5", "refused elsewhere: a 1 / b -1 / c 1 counted", "refused: ok 10 / ok 6 / ok 9", left);
}
