//! What a decision says of each descriptor.

use fluxlimit::engine::Code;
use fluxlimit::limit::{Algorithm, LimitSpec, Unit};
use fluxlimit::request::Override;
use fluxlimit::rules::Modes;
use fluxlimit::rules::file::{Node, NodeLimit};

use crate::served::{Served, request};
use crate::trees::{NodeExt, NodeLimitExt, node, per_hour, spec};

fn rule(key: &str, count: u32) -> Node {
    node(key, "").limited(per_hour(count))
}

fn token_bucket(count: u32, unit: Unit, burst: Option<u64>) -> NodeLimit {
    spec(LimitSpec { burst, ..LimitSpec::new(Algorithm::TokenBucket, count, unit) })
}

/// Asks each of `asked` in turn; each comes to what stands beside it.
#[track_caller]
fn check(served: &Served, asked: &[(&str, &str)]) {
    for (index, (descriptors, expected)) in asked.iter().enumerate() {
        assert_eq!(served.told(descriptors), *expected, "request {index}, {descriptors}");
    }
}

#[test]
fn every_descriptor_has_one_status_in_order() {
    let served = Served::new(vec![
        rule("a", 3),
        node("white", ""),
        node("free", "").unlimited(&[]),
        node("deep", "").with(vec![rule("x", 1)]),
    ]);
    let asked = [
        ("a 2 / white / free / deep / none", "OK: OK 1 of 3, 3600 s / OK 0 / OK 4294967295 / OK 0 / OK 0"),
        ("none / a 2 / a 1", "OVER: OK 0 / OVER 1 of 3, 3600 s / OK 1 of 3, 3600 s"),
        ("none", "OK: OK 0"),
    ];
    check(&served, &asked);
}

#[test]
fn a_status_carries_the_numbers_and_the_name_that_a_header_can_hold() {
    let limit = LimitSpec { unit_multiplier: 30, ..LimitSpec::new(Algorithm::FixedWindow, 7, Unit::Second) };
    let served = Served::new(vec![node("a", "").limited(spec(limit).named("say \"hi\" \\ for 5 €"))]);
    let status = served.ask("a").statuses[0].clone();
    let limit = status.limit.unwrap();
    assert_eq!((limit.requests_per_unit, limit.unit, limit.unit_multiplier), (7, Unit::Second, 30));
    assert_eq!(limit.name.as_deref(), Some("say hi  for 5 "));
    assert_eq!((status.remaining, status.reset_s), (6, Some(30)));
}

#[test]
fn remaining_stops_at_the_largest_number_that_envoy_takes() {
    let wide = token_bucket(1000, Unit::Second, Some(1 << 33));
    check(&Served::new(vec![node("a", "").limited(wide)]), &[("a", "OK: OK 4294967295 of 1000, 1 s")]);
}

#[test]
fn the_reset_of_a_refused_descriptor_is_its_wait_rounded_up_to_seconds() {
    let served = Served::new(vec![node("a", "").limited(token_bucket(4, Unit::Minute, None))]);
    check(&served, &[("a 4", "OK: OK 0 of 4, 60 s"), ("a", "OVER: OVER 0 of 4, 15 s")]);
    served.clock.advance_ms(1);
    check(&served, &[("a 0", "OK: OK 0 of 4, 60 s"), ("a", "OVER: OVER 0 of 4, 15 s")]);
    served.clock.advance_ms(13_999);
    check(&served, &[("a 0", "OK: OK 0 of 4, 46 s"), ("a", "OVER: OVER 0 of 4, 1 s")]);
    // What can never pass has no wait: the reset is when the key is as if unused.
    check(&served, &[("a 5", "OVER: OVER 0 of 4, 46 s")]);
}

#[test]
fn all_durations_of_a_fixed_window_are_its_end() {
    let served = Served::new(vec![rule("a", 3)]);
    served.clock.advance_ms(600_000);
    let asked = [
        ("a 4", "OVER: OVER 3 of 3, 3000 s"),
        ("a 3", "OK: OK 0 of 3, 3000 s"),
        ("a", "OVER: OVER 0 of 3, 3000 s"),
    ];
    check(&served, &asked);
}

#[test]
fn a_shadow_limit_that_would_refuse_answers_ok_with_nothing_left() {
    let served = Served::new(vec![node("a", "").limited(per_hour(3).shadow())]);
    let asked = [("a 2", "OK: OK 1 of 3, 3600 s"), ("a 2", "OK: OK 0 of 3, 3600 s")];
    check(&served, &asked);
}

#[test]
fn the_tightest_limit_speaks_for_its_descriptor() {
    let minute = |count| spec(LimitSpec::new(Algorithm::FixedWindow, count, Unit::Minute)).named("minute");
    let hour = |count| spec(LimitSpec::new(Algorithm::FixedWindow, count, Unit::Hour)).named("hour");
    let smooth = |count| token_bucket(count, Unit::Minute, None).named("smooth");
    let check = |limits: Vec<NodeLimit>, asked: &[(&str, &str)]| {
        check(&Served::new(vec![node("a", "").limited_by(limits)]), asked);
    };
    // The fewest hits left.
    check(vec![minute(9), hour(8)], &[("a", "OK: OK 7 of hour, 3600 s")]);
    // Equally few: the longest reset.
    check(vec![minute(5), hour(5)], &[("a", "OK: OK 4 of hour, 3600 s")]);
    // All equal: file order.
    check(vec![minute(5), smooth(5)], &[("a 5", "OK: OK 0 of minute, 60 s")]);
    check(vec![smooth(5), minute(5)], &[("a 5", "OK: OK 0 of smooth, 60 s")]);
    // Refused before allowed, even if the allowed one has less left.
    check(
        vec![minute(4), hour(9)],
        &[("a 4", "OK: OK 0 of minute, 60 s"), ("a 1", "OVER: OVER 0 of minute, 60 s")],
    );
    check(
        vec![hour(5), minute(2)],
        &[("a 2", "OK: OK 0 of minute, 60 s"), ("a 1", "OVER: OVER 0 of minute, 60 s")],
    );
    // Of the refused the longest wait.
    check(
        vec![minute(2), hour(2)],
        &[("a 2", "OK: OK 0 of hour, 3600 s"), ("a 1", "OVER: OVER 0 of hour, 3600 s")],
    );
    check(
        vec![smooth(2), minute(2)],
        &[("a 2", "OK: OK 0 of smooth, 60 s"), ("a 1", "OVER: OVER 0 of minute, 60 s")],
    );
    // Never is the longest.
    check(
        vec![hour(3), smooth(2)],
        &[("a 2", "OK: OK 0 of smooth, 60 s"), ("a 3", "OVER: OVER 0 of smooth, 60 s")],
    );
}

#[test]
fn a_shadow_limit_beside_enforced_ones_never_speaks() {
    let shadow = per_hour(1).named("trial").shadow();
    let served = Served::new(vec![node("a", "").limited_by(vec![shadow, per_hour(5).named("real")])]);
    let asked = [("a 2", "OK: OK 3 of real, 3600 s"), ("a 4", "OVER: OVER 3 of real, 3600 s")];
    check(&served, &asked);
}

#[test]
fn several_limits_are_booked_together_or_not_at_all() {
    let minute = spec(LimitSpec::new(Algorithm::FixedWindow, 5, Unit::Minute));
    let served = Served::new(vec![node("a", "").limited_by(vec![minute, per_hour(8)])]);
    check(&served, &[("a 5", "OK: OK 0 of 5, 60 s"), ("a 1", "OVER: OVER 0 of 5, 60 s")]);
    served.clock.advance_ms(60_000);
    // Had the refused hit been booked in the hour, only 2 would be left there.
    check(&served, &[("a 3", "OK: OK 0 of 8, 3540 s")]);
}

#[test]
fn in_global_quota_mode_what_matches_nothing_passes_and_what_is_unlimited_is_left_out() {
    let tree = || vec![rule("a", 1), node("free", "").unlimited(&[]), node("white", "")];
    let quota =
        || Served { modes: Modes { global_quota: true, global_shadow: false }, ..Served::new(tree()) };
    let refused = "OVER 0 of 1, 3600 s";
    for (asked, code) in [
        ("a", "OVER"),
        ("a / none", "OK"),
        ("a / white", "OK"),
        ("a / free", "OVER"),
        ("a / free / none", "OK"),
    ] {
        let served = quota();
        served.ask("a");
        let told = served.told(asked);
        assert!(told.starts_with(&format!("{code}: {refused}")), "{asked}: {told}");
    }
    check(&quota(), &[("a / none", "OK: OK 0 of 1, 3600 s / OK 0")]);
    // Without the mode neither helps.
    let served = Served::new(tree());
    check(&served, &[("a", "OK: OK 0 of 1, 3600 s"), ("a / none", "OVER: OVER 0 of 1, 3600 s / OK 0")]);
}

#[test]
fn a_refused_quota_keeps_its_status_in_a_request_that_passes() {
    let served = Served::new(vec![rule("a", 1).quota(), rule("b", 5).quota()]);
    served.ask("a");
    check(&served, &[("a / b", "OK: OVER 0 of 1, 3600 s / OK 4 of 5, 3600 s")]);
}

#[test]
fn global_shadow_mode_passes_and_keeps_the_statuses() {
    let modes = Modes { global_shadow: true, global_quota: false };
    let served = Served { modes, ..Served::new(vec![rule("a", 1), rule("b", 5)]) };
    let asked = [
        ("a / b", "OK: OK 0 of 1, 3600 s / OK 4 of 5, 3600 s"),
        ("a / b", "OK: OVER 0 of 1, 3600 s / OK 3 of 5, 3600 s"),
    ];
    check(&served, &asked);
}

#[test]
fn an_override_is_enforced_instead_of_the_rule_and_shares_its_counter() {
    let served = Served::new(vec![node("a", "").limited(per_hour(9).named("rule").shadow())]);
    let mut overridden = request("a 2");
    overridden.descriptors[0].limit = Some(Override::new(4, 3, None).unwrap());
    served.ask("a 2");
    let decision = served.decide(&overridden);
    assert_eq!((decision.code, decision.statuses[0].remaining), (Code::Ok, 0));
    assert_eq!(decision.statuses[0].limit.as_ref().and_then(|limit| limit.name.clone()), None);
    assert_eq!(served.decide(&overridden).code, Code::OverLimit);
}
