//! Texts of rule files → the rules of every domain, or every mistake in them.

use std::collections::{HashMap, HashSet};

use crate::yaml::{Problem, Problems, Severity};

use super::HashTag;
use super::check::check;
use super::decode::decode;
pub use super::decode::hash_tag;
pub use super::file::Defaults;
use super::file::RuleFile;

/// One rule file before it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// How messages name it.
    pub name: String,
    /// Its content.
    pub text: Vec<u8>,
}

/// What the settings say about loading rules.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LoadOptions {
    /// Whether several files may hold rules of the same domain.
    pub merge_domains: bool,
    /// Whether warnings are errors.
    pub strict: bool,
    /// What limits are that neither say it themselves nor get it from their file.
    pub defaults: Defaults,
    /// What the keys of the domains are kept together by that do not say it.
    pub hash_tag: Option<HashTag>,
}

/// What came of loading.
#[derive(Debug)]
pub struct Loaded {
    /// The files in the order of their sources. Of use only if there is no error.
    pub files: Vec<RuleFile>,
    /// Everything that is wrong, file by file, in the order of the places.
    pub problems: Vec<Problem>,
}

impl Loaded {
    /// Whether the rules can be used; there may be warnings.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        !self.problems.iter().any(Problem::is_error)
    }
}

/// Reads all files, and says everything that is wrong with any of them.
#[must_use]
pub fn load(sources: &[Source], options: &LoadOptions) -> Loaded {
    let mut decoded: Vec<_> =
        sources.iter().map(|source| decode(&source.name, &source.text, options.defaults)).collect();
    let mut problems: Vec<Problem> = decoded.iter_mut().flat_map(|file| file.problems.drain(..)).collect();
    problems.extend(bounded(check(&decoded, options.merge_domains)));

    let order: HashMap<&str, usize> =
        sources.iter().enumerate().map(|(index, source)| (source.name.as_str(), index)).collect();
    problems.sort_by_key(|problem| {
        // What is about a file as a whole, such as the count of problems left out, stands after the rest.
        let is_whole = problem.position.is_none();
        (order.get(&*problem.file).copied(), is_whole, problem.position)
    });
    if options.strict {
        for problem in &mut problems {
            problem.severity = Severity::Error;
        }
    }
    let mut files: Vec<RuleFile> = decoded.into_iter().filter_map(|file| file.file).collect();
    complete_overrides(&mut files, options.defaults);
    if let Some(tag) = &options.hash_tag {
        complete_hash_tags(&mut files, tag);
    }
    Loaded { files, problems }
}

/// What the settings say of overrides holds for the domains none of whose files says it.
fn complete_overrides(files: &mut [RuleFile], defaults: Defaults) {
    let says = |file: &&RuleFile| file.overrides_count_refused.is_some();
    let said: HashSet<String> = files.iter().filter(says).map(|file| file.domain.clone()).collect();
    for file in files.iter_mut().filter(|file| !said.contains(&file.domain)) {
        file.overrides_count_refused = defaults.count_refused;
    }
}

/// The same of hash tags.
fn complete_hash_tags(files: &mut [RuleFile], tag: &HashTag) {
    let says = |file: &&RuleFile| file.hash_tag.is_some();
    let said: HashSet<String> = files.iter().filter(says).map(|file| file.domain.clone()).collect();
    for file in files.iter_mut().filter(|file| !said.contains(&file.domain)) {
        file.hash_tag = Some(tag.clone());
    }
}

/// The first problems of each severity; more of the same kind help nobody.
fn bounded(problems: Vec<Problem>) -> impl Iterator<Item = Problem> {
    let mut counts = [0; 2];
    problems.into_iter().filter(move |problem| {
        let count = &mut counts[problem.severity as usize];
        *count += 1;
        *count <= Problems::MAX
    })
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;
    use crate::engine::Value as Metadata;
    use crate::limit::{Algorithm, Limit, LimitSpec, Unit};
    use crate::rules::file::{NodeLimit, NodeLimits};
    use crate::rules::{OnStoreFailure, RuleSet};

    fn source(name: &str, text: &str) -> Source {
        Source { name: name.to_owned(), text: text.as_bytes().to_vec() }
    }

    fn lines(loaded: &Loaded) -> Vec<String> {
        loaded.problems.iter().map(ToString::to_string).collect()
    }

    /// The limits of a file's only rule, given the defaults of the settings.
    fn limits(head: &str, rate_limit: &str, defaults: Defaults) -> Vec<NodeLimit> {
        let text = format!("domain: d\n{head}\ndescriptors: [{{key: a, rate_limit: {rate_limit}}}]");
        let loaded = load(&[source("a", &text)], &LoadOptions { defaults, ..LoadOptions::default() });
        assert_eq!(lines(&loaded), Vec::<String>::new());
        match loaded.files[0].descriptors[0].limits.clone() {
            NodeLimits::Limited { limits, .. } => limits,
            other => panic!("{other:?}"),
        }
    }

    fn five_a_day(algorithm: Algorithm, burst: Option<u64>, count_refused: bool) -> Limit {
        Limit::new(LimitSpec { burst, count_refused, ..LimitSpec::new(algorithm, 5, Unit::Day) }).unwrap()
    }

    #[test]
    fn a_limit_takes_what_it_does_not_say_from_its_file_then_the_settings() {
        use Algorithm::{FixedWindow, LeakyBucket, SlidingWindow, TokenBucket};
        let none = Defaults::default();
        let settings = Defaults { algorithm: Some(TokenBucket), count_refused: Some(true), burst: Some(9) };
        let check = |head: &str, own: &str, defaults, algorithm, burst, count_refused| {
            let limit = limits(head, &format!("{{unit: day, requests_per_unit: 5{own}}}"), defaults)[0].limit;
            assert_eq!(limit, five_a_day(algorithm, burst, count_refused), "{head} {own}");
        };
        // As in the reference: a fixed window that books what it refuses.
        check("", "", none, FixedWindow, None, true);
        check("", ", count_refused: false", none, FixedWindow, None, false);
        // An algorithm, wherever it comes from, is ours and books nothing that it refuses.
        check("", ", algorithm: fixed_window", none, FixedWindow, None, false);
        check("defaults: {algorithm: sliding_window}", "", none, SlidingWindow, None, false);
        check("defaults: {algorithm: leaky_bucket, burst: 3}", "", none, LeakyBucket, Some(3), false);
        check("", "", settings, TokenBucket, Some(9), true);
        check("defaults: {count_refused: false}", "", settings, TokenBucket, Some(9), false);
        check("defaults: {burst: 4}", ", algorithm: leaky_bucket", settings, LeakyBucket, Some(4), true);
        check("defaults: {burst: 4}", ", burst: 2", settings, TokenBucket, Some(2), true);
        // A burst from defaults means nothing to a window.
        check("defaults: {burst: 4}", ", algorithm: sliding_window", settings, SlidingWindow, None, true);
    }

    #[test]
    fn shadow_mode_of_a_node_holds_for_all_its_limits_and_of_a_limit_for_itself() {
        let list =
            "[{unit: day, requests_per_unit: 5}, {unit: hour, requests_per_unit: 1, shadow_mode: true}]";
        let shadows = |head: &str| -> Vec<bool> {
            limits("", &format!("{list}{head}"), Defaults::default())
                .iter()
                .map(|limit| limit.shadow_mode)
                .collect()
        };
        assert_eq!(shadows(""), [false, true]);
        assert_eq!(shadows(", shadow_mode: true"), [true, true]);
    }

    #[test]
    fn overrides_take_count_refused_from_the_file() {
        let text = "domain: d\ndefaults: {count_refused: false}\n";
        let loaded = load(&[source("a", text), source("b", "domain: e")], &LoadOptions::default());
        let said: Vec<_> = loaded.files.iter().map(|file| file.overrides_count_refused).collect();
        assert_eq!(said, [Some(false), None]);
    }

    #[test]
    fn overrides_take_count_refused_from_the_settings_where_no_file_of_the_domain_says_it() {
        let defaults = Defaults { count_refused: Some(false), ..Defaults::default() };
        let options = LoadOptions { merge_domains: true, defaults, ..LoadOptions::default() };
        let says = "domain: d\ndefaults: {count_refused: true}\n";
        let sources = [source("a", says), source("b", "domain: d"), source("c", "domain: e")];
        let files = load(&sources, &options).files;
        let said: Vec<_> = files.iter().map(|file| file.overrides_count_refused).collect();
        assert_eq!(said, [Some(true), None, Some(false)]);
    }

    #[test]
    fn every_mistake_of_every_file_is_said_in_the_order_of_files_and_places() {
        let sources = [
            source("b.yaml", "domain: d\ndescriptors:\n- {key: a}\n- {kye: a}\n- {key: a}\n"),
            source("a.yaml", "domain: d\nx: 1\n"),
            source("c.yaml", "["),
        ];
        let loaded = load(&sources, &LoadOptions::default());
        let places: Vec<String> = lines(&loaded)
            .iter()
            .map(|line| line.splitn(4, ':').take(3).collect::<Vec<_>>().join(":"))
            .collect();
        assert_eq!(
            places,
            ["b.yaml:4:3", "b.yaml:4:4", "b.yaml:5:3", "a.yaml:1:9", "a.yaml:2:1", "c.yaml:1:1"]
        );
        assert!(!loaded.is_ok());
    }

    #[test]
    fn domains_of_several_files_are_merged_only_if_asked_for() {
        let one = source("one", "domain: d\ndescriptors: [{key: a}, {key: p, value: a*}]");
        let two = source("two", "domain: d\ndescriptors: [{key: b}, {key: p, value: ab*}]");
        let merged = LoadOptions { merge_domains: true, ..LoadOptions::default() };
        let alone = load(&[one.clone(), two.clone()], &LoadOptions::default());
        assert_eq!(
            lines(&alone),
            ["two:1:9: domain: the domain `d` has another file already: found one:1\n  \
              hint: put the rules into one file, or switch on `merge_domains`"]
        );
        let together = load(&[one.clone(), two], &merged);
        assert!(together.is_ok());
        assert_eq!(
            lines(&together),
            [
                "two:2:25: descriptors[1]: no request reaches this key `p` with value `ab*`, since key `p` with \
              value `a*` takes all of its requests\n  \
              hint: the pattern stands at one:2:25; the first pattern that matches counts"
            ]
        );
        let twice = load(&[one, source("three", "domain: d\ndescriptors: [{key: a, value: ''}]")], &merged);
        assert_eq!(
            lines(&twice),
            ["three:2:15: descriptors[0]: the same key `a` without a value twice\n  \
              hint: the first stands at one:2:15"]
        );
    }

    #[test]
    fn the_files_of_a_domain_agree_on_what_is_answered_while_the_store_fails() {
        let says = |name: &str, policy: &str| source(name, &format!("domain: d\non_store_failure: {policy}"));
        let merged = LoadOptions { merge_domains: true, ..LoadOptions::default() };
        let policy = |sources: &[Source]| {
            let loaded = load(sources, &merged);
            assert_eq!(lines(&loaded), Vec::<String>::new());
            RuleSet::compile(&loaded.files).on_store_failure(0)
        };
        let limited = source(
            "a",
            "domain: d\non_store_failure: deny\ndescriptors: [{key: k, rate_limit: {unlimited: true}}]",
        );
        let described = RuleSet::compile(&load(&[limited], &merged).files).describe();
        assert!(described.ends_with(", on_store_failure: deny\n"), "{described}");
        let silent = source("c", "domain: d");
        assert_eq!(policy(std::slice::from_ref(&silent)), None);
        assert_eq!(policy(&[silent.clone(), says("a", "deny")]), Some(OnStoreFailure::Deny));
        assert_eq!(policy(&[says("a", "allow"), silent.clone()]), Some(OnStoreFailure::Allow));
        let other = load(&[says("a", "deny"), silent, says("b", "allow")], &merged);
        assert_eq!(
            lines(&other),
            ["b:2:19: on_store_failure: the files of a domain say different things: found `allow`; \
              expected `deny`\n  hint: the first stands at a:2:19"]
        );
        let unknown = load(&[says("a", "denny")], &merged);
        assert_eq!(
            lines(&unknown),
            ["a:2:19: on_store_failure: unknown value `denny`; expected `error`, `allow` or `deny`\n  \
              hint: did you mean `deny`?"]
        );
        let inside = source("a", "domain: d\ndescriptors: [{key: k, on_store_failure: deny}]");
        assert_eq!(
            lines(&load(&[inside], &merged)),
            ["a:2:24: descriptors[0].on_store_failure: `on_store_failure` has no meaning here\n  \
              hint: it belongs at the root of the file"]
        );
    }

    #[test]
    fn key_and_value_do_not_run_together() {
        let loaded = load(
            &[source("a", "domain: d\ndescriptors: [{key: a_b}, {key: a, value: b}]")],
            &LoadOptions::default(),
        );
        assert_eq!(lines(&loaded), Vec::<String>::new());
    }

    #[test]
    fn strict_makes_warnings_errors() {
        let sources = [source("a", "domain: d\nunit: day\n")];
        let options = LoadOptions::default();
        assert!(load(&sources, &options).is_ok());
        assert!(!load(&sources, &LoadOptions { strict: true, ..options }).is_ok());
    }

    #[test]
    fn part_of_a_limit_is_laid_over_the_merged_one_as_in_go() {
        let text = "domain: d\ndescriptors:\n- &a {key: a, metadata: {x: 1}, rate_limit: {unit: day, requests_per_unit: 5}}\n\
                    - {<<: *a, value: y, metadata: {z: 2}, rate_limit: {requests_per_unit: 8}}\n";
        let loaded = load(&[source("a", text)], &LoadOptions::default());
        assert_eq!(lines(&loaded), Vec::<String>::new());
        let node = &loaded.files[0].descriptors[1];
        let NodeLimits::Limited { limits, .. } = &node.limits else { panic!("no limit") };
        assert_eq!((limits[0].limit.unit(), limits[0].limit.count()), (Unit::Day, 8));
        let keys: Vec<_> = node.metadata.iter().flat_map(|map| map.keys()).collect();
        assert_eq!(keys, ["x", "z"]);
    }

    #[test]
    fn metadata_is_read_as_go_reads_it() {
        let text = "domain: d\ndescriptors:\n- key: a\n  metadata:\n    yes: no\n    017: 017\n    big: 99999999999999999999\n    \
                    map: {1: 2, ~: x, 1.5: y, 1e9: z, y: !!binary aGk=}\n    day: 2020-01-01\n";
        let loaded = load(&[source("a", text)], &LoadOptions::default());
        let map = loaded.files[0].descriptors[0].metadata.clone().unwrap();
        assert_eq!(map["yes"], Metadata::Bool(false));
        assert_eq!(map["017"], Metadata::Number(15.0));
        assert_eq!(map["big"], Metadata::Number(1e20));
        assert_eq!(map["day"], Metadata::from("2020-01-01"));
        let Metadata::Map(inner) = &map["map"] else { panic!("no map") };
        assert_eq!(inner.keys().collect::<Vec<_>>(), ["1", "1.5", "1e+09", "<nil>", "true"]);
        assert_eq!(inner["true"], Metadata::from("hi"));
    }

    #[test]
    fn rules_as_deep_as_a_text_may_be_are_decoded_on_a_small_stack() {
        let mut text = String::from("domain: d\n");
        for level in 0..63 {
            let indent = "  ".repeat(level);
            writeln!(text, "{indent}descriptors:\n{indent}- key: a").unwrap();
        }
        let loaded = load(&[source("a", &text)], &LoadOptions::default());
        assert_eq!(lines(&loaded), Vec::<String>::new());
    }

    #[test]
    fn the_search_for_unreached_rules_is_bounded() {
        let mut text = String::from("domain: d\ndescriptors:\n");
        for index in 0..20_000 {
            writeln!(text, "- {{key: k, value: 'a{index}*'}}").unwrap();
        }
        let loaded = load(&[source("a", &text)], &LoadOptions::default());
        assert!(loaded.is_ok());
        assert_eq!(loaded.files[0].descriptors.len(), 20_000);
    }
}
