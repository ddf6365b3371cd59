//! Matching: the claims of the reference's text, one by one.

use fluxlimit::engine::{Matched, Miss};
use fluxlimit::request::{Descriptor, Entry, Override, Request};
use fluxlimit::rules::file::Node;
use fluxlimit::rules::{Modes, RuleSet};

use crate::trees::{NodeExt, NodeLimitExt, file, node, per_hour};

/// A request of the domain `d` whose descriptors are written `key=value key=value`.
fn request(descriptors: &[&str]) -> Request {
    let entry = |entry: &str| {
        let (key, value) = entry.split_once('=').unwrap_or((entry, ""));
        Entry::new(key.as_bytes().to_vec(), value.as_bytes().to_vec())
    };
    let descriptor = |text: &&str| Descriptor {
        entries: text.split(' ').filter(|entry| !entry.is_empty()).map(entry).collect(),
        ..Descriptor::default()
    };
    Request {
        domain: "d".into(),
        descriptors: descriptors.iter().map(descriptor).collect(),
        ..Request::default()
    }
}

/// Each descriptor of `asked` matches what stands beside it: the path of a rule, or why there is none.
#[track_caller]
fn check(tree: Vec<Node>, asked: &[(&str, &str)]) {
    let rules = RuleSet::compile(&[file("d", tree)]);
    for (descriptor, expected) in asked {
        let request = request(&[descriptor]);
        let question = rules.question(&request, Modes::default());
        assert_eq!(told(&question.matched[0]), *expected, "{descriptor}");
    }
}

fn told<'a>(matched: &Matched<'a>) -> &'a str {
    match matched {
        Matched::Nothing(miss) => miss.name(),
        Matched::Exempt => "exempt",
        Matched::Unlimited => "unlimited",
        Matched::Limited(rule) => rule.map_or("override", |rule| &rule.path),
    }
}

fn rule(key: &str, value: &str) -> Node {
    node(key, value).limited(per_hour(10))
}

#[test]
fn the_exact_value_comes_first_then_patterns_in_file_order_then_the_key_alone() {
    let tree = vec![rule("k", ""), rule("k", "ba*"), rule("k", "bar*"), rule("k", "bar1"), rule("k", "*z")];
    let asked = [
        ("k=bar1", "k=bar1"),
        ("k=bar2", "k=ba*"),
        ("k=bar*", "k=bar*"),
        ("k=baz", "k=ba*"),
        ("k=z", "k=*z"),
        ("k=other", "k"),
        ("k=", "k"),
    ];
    check(tree, &asked);
}

#[test]
fn key_and_value_are_matched_each_against_its_own_text() {
    let tree = vec![rule("a_b", "c"), rule("w", "*"), rule("*-id", ""), rule("x*", "1")];
    let asked = [
        ("a_b=c", "a_b=c"),
        ("a=b_c", "no_such_key"),
        ("w=", "w=*"),
        ("w_b=c", "no_such_key"),
        ("user-id=7", "*-id"),
        ("user=x-id", "no_such_key"),
        ("xy=1", "x*=1"),
        // Bug: it said that no rule had the key.
        ("xy=2", "value_not_listed"),
    ];
    check(tree, &asked);
}

#[test]
fn only_the_limit_of_the_last_entry_counts() {
    let deep = rule("a", "").with(vec![rule("b", "").with(vec![node("c", "")])]);
    let asked = [
        ("a", "a"),
        ("a b", "a > b"),
        ("a b c", "exempt"),
        ("a b c d", "extra_entry"),
        ("a x", "no_such_key"),
        ("", "no_entries"),
    ];
    check(vec![deep], &asked);
}

#[test]
fn a_miss_further_down_never_falls_back_to_a_sibling() {
    let tree = vec![
        node("a", "1").with(vec![rule("b", "1")]),
        node("a", "*").with(vec![rule("b", "2")]),
        node("a", "").with(vec![rule("b", "")]),
    ];
    let asked = [
        ("a=1 b=1", "a=1 > b=1"),
        ("a=1 b=2", "value_not_listed"),
        ("a=2 b=2", "a=* > b=2"),
        ("a=2 b=3", "value_not_listed"),
        ("a=1", "deeper_entry_missing"),
    ];
    check(tree, &asked);
}

#[test]
fn an_exact_node_without_limit_and_children_is_a_whitelist() {
    check(vec![rule("k", ""), node("k", "friend")], &[("k=friend", "exempt"), ("k=foe", "k")]);
}

#[test]
fn unlimited_is_not_limited() {
    check(vec![node("k", "").unlimited(&[])], &[("k=1", "unlimited")]);
}

#[test]
fn limits_that_a_matched_rule_replaces_are_exempt() {
    let named = |key: &str, limit| node(key, "").limited(limit);
    let tree = vec![
        named("a", per_hour(1).named("a")),
        named("b", per_hour(1).named("b").replacing(&["a"])),
        named("c", per_hour(1).named("c").replacing(&["b"])),
        named("d", per_hour(1).named("d").replacing(&["e"])),
        named("e", per_hour(1).named("e").replacing(&["d"])),
        node("u", "").unlimited(&["a"]),
        node("l", "").limited_by(vec![per_hour(1).named("a"), per_hour(2).named("z").shadow()]),
    ];
    let rules = RuleSet::compile(&[file("d", tree)]);
    let check = |asked: &[&str], expected: &[&str]| {
        let request = request(asked);
        let question = rules.question(&request, Modes::default());
        let found: Vec<&str> = question.matched.iter().map(told).collect();
        assert_eq!(found, expected, "{asked:?}");
        question.settlement.charges().len()
    };
    check(&["a", "b"], &["exempt", "b"]);
    // Also by one that is replaced itself.
    check(&["a", "b", "c"], &["exempt", "exempt", "c"]);
    check(&["d", "e"], &["exempt", "exempt"]);
    check(&["u", "a"], &["unlimited", "exempt"]);
    // In a list, only those limits that are named.
    assert_eq!(check(&["u", "l"], &["unlimited", "l"]), 1);
    assert_eq!(check(&["l"], &["l"]), 2);
}

#[test]
fn an_override_needs_only_the_domain_and_shares_the_counter_of_its_entries() {
    let rules = RuleSet::compile(&[file("d", vec![rule("k", ""), node("u", "").unlimited(&[])])]);
    let mut asked = request(&["k=1", "k=1", "u=1", "nowhere=1"]);
    for index in 1..4 {
        asked.descriptors[index].limit = Some(Override::new(5, 3, None).unwrap());
    }
    let question = rules.question(&asked, Modes::default());
    let found: Vec<&str> = question.matched.iter().map(told).collect();
    assert_eq!(found, ["k", "override", "override", "override"]);
    assert_eq!(question.settlement.slot(0), question.settlement.slot(1));
    asked.domain = "elsewhere".into();
    assert!(matches!(rules.question(&asked, Modes::default()).matched[1], Matched::Nothing(Miss::Domain)));
}

#[test]
fn what_a_shared_pattern_matches_has_one_counter() {
    let tree = vec![rule("k", "a*").shared(), rule("k", "b*")];
    let rules = RuleSet::compile(&[file("d", tree)]);
    let keys = |asked: &[&str]| {
        let request = request(asked);
        rules.question(&request, Modes::default()).settlement.keys().len()
    };
    assert_eq!((keys(&["k=a1", "k=a2", "k=a*"]), keys(&["k=b1", "k=b2"])), (1, 2));
}
