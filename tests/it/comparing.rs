//! What a change of rules does, limit by limit.

use fluxlimit::rules::compare::{Effect, compare};
use fluxlimit::rules::file::RuleFile;
use fluxlimit::rules::load::{LoadOptions, Source, load};

fn rules(descriptors: &str) -> Vec<RuleFile> {
    let text = format!("domain: d\ndescriptors: [{descriptors}]");
    let loaded = load(&[Source { name: "a".to_owned(), text: text.into() }], &LoadOptions::default());
    assert!(loaded.is_ok(), "{:?}", loaded.problems);
    loaded.files
}

fn effects(old: &str, new: &str) -> Vec<Vec<Effect>> {
    compare(&rules(old), &rules(new)).into_iter().map(|change| change.effects).collect()
}

#[test]
fn numbers_that_admit_more_loosen_and_numbers_that_admit_less_tighten() {
    use Effect::{Changed, Loosened, StartedFresh, Tightened};
    let check = |old: &str, new: &str, there: &[Effect], back: &[Effect]| {
        let rule = |limit: &str| format!("{{key: k, rate_limit: {limit}}}");
        let expected = |effects: &[Effect]| if effects.is_empty() { vec![] } else { vec![effects.to_vec()] };
        assert_eq!(effects(&rule(old), &rule(new)), expected(there), "{old} -> {new}");
        assert_eq!(effects(&rule(new), &rule(old)), expected(back), "{new} -> {old}");
    };
    let ours = |rest: &str| format!("{{unit: second, requests_per_unit: 10, {rest}}}");
    check("{unit: day, requests_per_unit: 5}", "{unit: day, requests_per_unit: 5}", &[], &[]);
    check(
        "{unit: day, requests_per_unit: 5}",
        "{unit: day, requests_per_unit: 6}",
        &[Loosened],
        &[Tightened],
    );
    check(
        "{unit: second, requests_per_unit: 10}",
        "{unit: minute, requests_per_unit: 600}",
        &[Loosened, StartedFresh],
        &[Tightened, StartedFresh],
    );
    check(
        "{unit: second, requests_per_unit: 10}",
        "{unit: minute, requests_per_unit: 500}",
        &[Changed, StartedFresh],
        &[Changed, StartedFresh],
    );
    let bucket = |burst| ours(&format!("algorithm: token_bucket, burst: {burst}"));
    check(&bucket(5), &bucket(6), &[Loosened], &[Tightened]);
    check(&ours("count_refused: true"), &ours("count_refused: false"), &[Loosened], &[Tightened]);
    check(
        &ours("algorithm: fixed_window"),
        &ours("algorithm: sliding_window"),
        &[Tightened, StartedFresh],
        &[Loosened, StartedFresh],
    );
    check(&ours("algorithm: fixed_window"), &bucket(1), &[Changed, StartedFresh], &[Changed, StartedFresh]);
    check(&ours("name: a"), "{unlimited: true}", &[Loosened], &[Tightened]);
}

#[test]
fn limits_of_a_list_are_paired_by_their_counter_then_by_name() {
    let list = |limits: &str| format!("{{key: k, rate_limit: [{limits}]}}");
    let hour = "{unit: hour, requests_per_unit: 9}";
    let old = list(&format!("{{unit: second, requests_per_unit: 1, name: n}}, {hour}"));
    let moved = list(&format!("{hour}, {{unit: minute, requests_per_unit: 30, name: n}}"));
    assert_eq!(effects(&old, &moved), [[Effect::Changed, Effect::StartedFresh]]);
    assert_eq!(effects(&old, &list(hour)), [[Effect::Removed]]);
    assert_eq!(effects(&list(hour), &old), [[Effect::Added]]);
}

#[test]
fn rules_that_move_or_exempt_are_seen() {
    use Effect::{Added, Details, Loosened, Removed, Reordered, StartedFresh};
    let limit = "rate_limit: {unit: day, requests_per_unit: 5}";
    let rule = |value: &str| format!("{{key: k, value: '{value}', {limit}}}");
    let (one, two) = (rule("a*b"), rule("a*c"));
    assert_eq!(effects(&format!("{one}, {two}"), &format!("{two}, {one}")), [[Reordered], [Reordered]]);
    assert_eq!(effects(&one, &two), [[Added], [Removed]]);
    assert_eq!(effects(&one, &format!("{one}, {{key: k, value: x}}")), [[Added]]);
    assert_eq!(effects(&one, "{key: k, value: 'a*b'}"), [[Loosened]]);
    let shared = format!("{{key: k, value: 'a*b', share_threshold: true, {limit}}}");
    assert_eq!(effects(&one, &shared), [[StartedFresh]]);
    let told = format!("{{key: k, value: 'a*b', metadata: {{x: 1}}, {limit}}}");
    assert_eq!(effects(&one, &told), [[Details]]);
    // A node on the way is no rule.
    let deep = format!("{{key: k, descriptors: [{one}]}}");
    assert_eq!(effects("", &deep), [[Added]]);
}
