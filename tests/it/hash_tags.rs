//! What a rule file says is kept together in a cluster, and the tags that come of it.

use fluxlimit::engine::stable_hash;
use fluxlimit::request::{Descriptor, Entry, Override, Request};
use fluxlimit::rules::load::{LoadOptions, Source, load};
use fluxlimit::rules::{HashTag, Modes, RuleSet};

const TREE: &str = "
descriptors:
- key: tenant
  rate_limit: [{unit: day, requests_per_unit: 9}, {unit: hour, requests_per_unit: 3}]
  descriptors:
  - key: user
    rate_limit: {unit: day, requests_per_unit: 5}
    descriptors:
    - {key: tenant, rate_limit: {unit: day, requests_per_unit: 5}}
- key: region
  rate_limit: {unit: day, requests_per_unit: 5}
  descriptors:
  - {key: tenant, rate_limit: {unit: day, requests_per_unit: 5}}
- key: tenant
  value: team-*
  share_threshold: true
  rate_limit: {unit: day, requests_per_unit: 5}
";

fn source(name: &str, text: &str) -> Source {
    Source { name: name.to_owned(), text: text.as_bytes().to_vec() }
}

fn rules(head: &str, settings: Option<&str>) -> RuleSet {
    let hash_tag = settings.and_then(HashTag::from_name);
    let options = LoadOptions { hash_tag, ..LoadOptions::default() };
    let loaded = load(&[source("a", &format!("domain: d\n{head}{TREE}"))], &options);
    assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
    RuleSet::compile(&loaded.files)
}

/// The tags of descriptors written `key=value key=value`; one that begins with `!` brings its own limit.
fn tags(rules: &RuleSet, descriptors: &[&str]) -> Vec<Option<u64>> {
    let descriptor = |text: &&str| {
        let limit = text.starts_with('!').then(|| Override::new(5, 3, None).unwrap());
        let entries = text.trim_start_matches('!').split(' ').map(|entry| {
            let (key, value) = entry.split_once('=').unwrap();
            Entry::new(key.as_bytes().to_vec(), value.as_bytes().to_vec())
        });
        Descriptor { entries: entries.collect(), limit, ..Descriptor::default() }
    };
    let request = Request {
        domain: "d".into(),
        descriptors: descriptors.iter().map(descriptor).collect(),
        ..Request::default()
    };
    let question = rules.question(&request, Modes::default());
    assert_eq!(question.settlement.groups().count(), descriptors.len(), "all are limited");
    question.settlement.groups().map(|(group, _)| group.tag).collect()
}

#[test]
fn without_a_hash_tag_every_descriptor_is_on_its_own() {
    assert_eq!(tags(&rules("", None), &["tenant=a", "tenant=a user=1", "!tenant=a"]), [None, None, None]);
}

#[test]
fn a_whole_domain_has_one_tag_that_never_changes() {
    let all = Some(stable_hash(b"d"));
    let asked = ["tenant=a", "tenant=b user=1", "region=x", "!x=y"];
    assert_eq!(tags(&rules("hash_tag: domain", None), &asked), [all; 4]);
}

#[test]
fn an_entry_gives_everything_under_its_value_one_tag_that_never_changes() {
    let rules = rules("hash_tag: tenant", None);
    let (a, b) = (Some(stable_hash(b"d\0tenant\0a")), Some(stable_hash(b"d\0tenant\0b")));
    let asked = ["tenant=a", "tenant=a user=1", "region=x tenant=a", "tenant=b", "region=x"];
    assert_eq!(tags(&rules, &asked), [a, a, a, b, None]);
    // The first of two counts.
    assert_eq!(tags(&rules, &["tenant=a user=1 tenant=b"]), [a]);
    // A limit that comes with the request shares the counter of a rule, and so its tag.
    assert_eq!(tags(&rules, &["!tenant=a", "!other=1 tenant=b", "!other=1"]), [a, b, None]);
}

#[test]
fn descriptors_that_share_a_counter_share_their_tag() {
    let rules = rules("hash_tag: tenant", None);
    let pattern = Some(stable_hash(b"d\0tenant\0team-*"));
    assert_eq!(tags(&rules, &["tenant=team-1", "tenant=team-2", "!tenant=team-*"]), [pattern; 3]);
}

#[test]
fn the_settings_speak_for_the_domains_that_say_nothing() {
    let a = Some(stable_hash(b"d\0tenant\0a"));
    assert_eq!(tags(&rules("", Some("tenant")), &["tenant=a"]), [a]);
    assert_eq!(tags(&rules("hash_tag: tenant", Some("domain")), &["tenant=a"]), [a]);
    let described = rules("", Some("tenant")).describe();
    assert!(described.lines().all(|line| line.ends_with(", hash_tag: tenant")), "{described}");
    // A file of the domain that says nothing follows the one that does, and not the settings.
    let says = source("says", "domain: d\nhash_tag: domain\ndescriptors: [{key: tenant}]");
    let options =
        LoadOptions { merge_domains: true, hash_tag: HashTag::from_name("tenant"), ..LoadOptions::default() };
    let silent =
        source("silent", "domain: d\ndescriptors: [{key: k, rate_limit: {unit: day, requests_per_unit: 5}}]");
    let rules = RuleSet::compile(&load(&[says, silent], &options).files);
    assert_eq!(tags(&rules, &["k=v"]), [Some(stable_hash(b"d"))]);
}

#[test]
fn mistakes_are_told_with_their_place() {
    let check = |sources: &[(&str, &str)], expected: &[&str]| {
        let sources: Vec<Source> = sources.iter().map(|(name, text)| source(name, text)).collect();
        let options = LoadOptions { merge_domains: true, ..LoadOptions::default() };
        let problems = load(&sources, &options).problems;
        assert_eq!(problems.iter().map(ToString::to_string).collect::<Vec<_>>(), expected);
    };
    let one = ("a", "domain: d\nhash_tag: tenant\ndescriptors: [{key: tenant}]");
    check(&[one, ("b", "domain: d"), ("c", "domain: d\nhash_tag: tenant")], &[]);
    check(
        &[one, ("b", "domain: d\nhash_tag: domain")],
        &[
            "b:2:11: hash_tag: the files of a domain say different things: found `domain`; expected `tenant`\n  \
           hint: the first stands at a:2:11",
        ],
    );
    check(
        &[("a", "domain: d\nhash_tag: ''")],
        &["a:2:11: hash_tag: this is empty; expected `domain` or the key of an entry, such as `tenant`"],
    );
    check(
        &[("a", "domain: d\nhash_tag: tennant\ndescriptors: [{key: k, descriptors: [{key: tenant}]}]")],
        &["a:2:11: hash_tag: no rule of the domain has an entry key `tennant`\n  \
           hint: did you mean `tenant`?"],
    );
    check(&[("a", "domain: d\nhash_tag: tenant\ndescriptors: [{key: ten*}]")], &[]);
    check(
        &[("a", "domain: d\ndescriptors: [{key: k, hash_tag: k}]")],
        &["a:2:24: descriptors[0].hash_tag: `hash_tag` has no meaning here\n  \
           hint: it belongs at the root of the file"],
    );
}
