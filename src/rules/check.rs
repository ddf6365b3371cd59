//! What can only be seen over all files of a domain: rules twice, rules nobody reaches, names of nothing.

use std::collections::{BTreeSet, HashMap};

use crate::yaml::{Message, Position, Problem, Severity, quoted};

use super::HashTag;
use super::decode::{DecodedFile, ReplacedName};
use super::file::{Node, NodeLimits, RuleFile};
use super::pattern::{covers, is_pattern};

/// How many pairs of rules of a domain are held against each other. The search for rules that nobody
/// reaches is a courtesy, and quadratic in the patterns of a level.
const MAX_COMPARISONS: usize = 4_000_000;

/// How many names of a domain are held against names that nobody has, to find the one that was meant.
const MAX_NAMES_TRIED: usize = 100_000;

/// A level of the tree: nodes that may come from several files.
type Level<'a> = Vec<Place<'a>>;

/// A node and where it stands.
#[derive(Clone)]
struct Place<'a> {
    file: &'a str,
    index: usize,
    node: &'a Node,
}

/// Collects the problems of one domain.
struct Search<'a> {
    problems: Vec<Problem>,
    /// The indices from the root to the level that is looked at.
    path: Vec<usize>,
    comparisons_left: usize,
    names_left_to_try: usize,
    names: BTreeSet<&'a str>,
}

/// Checks every domain; files of the same domain are one if domains are merged, else an error.
pub(super) fn check(files: &[DecodedFile], merge_domains: bool) -> Vec<Problem> {
    let mut domains: Vec<Vec<&DecodedFile>> = Vec::new();
    let mut index_of: HashMap<&str, usize> = HashMap::new();
    let mut problems = Vec::new();
    for file in files {
        let Some(rules) = &file.file else { continue };
        // A file without a domain is an error of its own and stands alone.
        let known = index_of.get(rules.domain.as_str()).filter(|_| !rules.domain.is_empty());
        let Some(index) = known else {
            index_of.insert(&rules.domain, domains.len());
            domains.push(vec![file]);
            continue;
        };
        let first = domains[*index].first().and_then(|first| first.file.as_ref());
        if let (false, Some(first)) = (merge_domains, first) {
            problems.push(domain_twice(rules, first));
            domains.push(vec![file]);
        } else {
            domains[*index].push(file);
        }
    }
    for domain in &domains {
        check_domain(domain, &mut problems);
    }
    problems
}

fn domain_twice(rules: &RuleFile, first: &RuleFile) -> Problem {
    let message = Message::new(format!("the domain {} has another file already", quoted(&rules.domain)))
        .found(format!("{}:{}", first.name, first.domain_at.line))
        .hint("put the rules into one file, or switch on `merge_domains`");
    Problem {
        position: Some(rules.domain_at),
        path: "domain".to_owned(),
        ..Problem::of_file(rules.name.as_str(), message)
    }
}

fn check_domain(files: &[&DecodedFile], problems: &mut Vec<Problem>) {
    problems.extend(policies_that_differ(files));
    problems.extend(hash_tags_that_differ(files));
    let mut search = Search {
        problems: Vec::new(),
        path: Vec::new(),
        comparisons_left: MAX_COMPARISONS,
        names_left_to_try: MAX_NAMES_TRIED,
        names: BTreeSet::new(),
    };
    let rules = files.iter().filter_map(|file| file.file.as_ref());
    let level: Level<'_> =
        rules.flat_map(|rules| places(&rules.name, &rules.descriptors).collect::<Vec<_>>()).collect();
    search.level(&level);
    problems.extend(hash_tag_of_no_entry(files, &level));
    for file in files {
        let name = file.file.as_ref().map_or("", |rules| rules.name.as_str());
        for replaced in &file.replaced_names {
            search.replaced_name(name, replaced);
        }
    }
    problems.append(&mut search.problems);
}

/// One request cannot get two answers, so the files of a domain may not say different ones.
fn policies_that_differ(files: &[&DecodedFile]) -> Vec<Problem> {
    let rules = files.iter().filter_map(|file| file.file.as_ref());
    let said = rules.filter_map(|rules| {
        let (policy, at) = rules.on_store_failure?;
        Some(Said { file: &rules.name, at, what: policy.name() })
    });
    that_differ("on_store_failure", said)
}

/// One counter cannot be in two places.
fn hash_tags_that_differ(files: &[&DecodedFile]) -> Vec<Problem> {
    let said = files.iter().filter_map(|file| {
        let rules = file.file.as_ref()?;
        Some(Said { file: &rules.name, at: file.hash_tag_at?, what: rules.hash_tag.as_ref()?.name() })
    });
    that_differ("hash_tag", said)
}

/// An entry key that no rule has keeps nothing together, so it is hardly meant.
fn hash_tag_of_no_entry(files: &[&DecodedFile], level: &[Place<'_>]) -> Option<Problem> {
    // They all say the same, or that is the problem.
    let file = files.iter().find(|file| file.hash_tag_at.is_some())?;
    let rules = file.file.as_ref()?;
    let Some(HashTag::Entry(key)) = &rules.hash_tag else { return None };
    let keys = entry_keys(level);
    if keys.iter().any(|own| covers(own, key)) {
        return None;
    }
    let message = Message::new(format!("no rule of the domain has an entry key {}", quoted(key)));
    let message = message.did_you_mean(crate::yaml::nearest(key, keys));
    Some(Problem {
        severity: Severity::Warning,
        position: file.hash_tag_at,
        path: "hash_tag".to_owned(),
        ..Problem::of_file(rules.name.as_str(), message)
    })
}

fn entry_keys<'a>(level: &[Place<'a>]) -> BTreeSet<&'a str> {
    let mut open: Vec<&Node> = level.iter().map(|place| place.node).collect();
    let mut keys = BTreeSet::new();
    while let Some(node) = open.pop() {
        open.extend(&node.children);
        keys.insert(node.key.as_str());
    }
    keys
}

/// What a file says about its whole domain.
struct Said<'a> {
    file: &'a str,
    at: Position,
    what: &'a str,
}

fn that_differ<'a>(key: &str, mut said: impl Iterator<Item = Said<'a>>) -> Vec<Problem> {
    let Some(first) = said.next() else { return Vec::new() };
    let problem = |other: Said<'_>| {
        let message = Message::new("the files of a domain say different things")
            .found(quoted(other.what))
            .expected(quoted(first.what))
            .hint(format!("the first stands at {}:{}:{}", first.file, first.at.line, first.at.column));
        Problem { position: Some(other.at), path: key.to_owned(), ..Problem::of_file(other.file, message) }
    };
    said.filter(|other| other.what != first.what).map(problem).collect()
}

fn places<'a>(file: &'a str, nodes: &'a [Node]) -> impl Iterator<Item = Place<'a>> {
    nodes.iter().enumerate().map(move |(index, node)| Place { file, index, node })
}

impl<'a> Search<'a> {
    fn level(&mut self, level: &Level<'a>) {
        self.twins(level);
        self.unreachable(level);
        for place in level {
            self.collect_names(place.node);
            self.path.push(place.index);
            let below = places(place.file, &place.node.children).collect();
            self.level(&below);
            self.path.pop();
        }
    }

    fn twins(&mut self, level: &Level<'a>) {
        let mut seen: HashMap<(&str, &str), &Place<'_>> = HashMap::new();
        for place in level.iter().filter(|place| !place.node.key.is_empty()) {
            let node = place.node;
            match seen.get(&(node.key.as_str(), node.value.as_str())) {
                Some(first) => {
                    let message = Message::new(format!("the same {} twice", described(node)))
                        .hint(format!("the first stands at {}", located(first)));
                    self.report(Severity::Error, place, message);
                }
                None => {
                    seen.insert((&node.key, &node.value), place);
                }
            }
        }
    }

    /// Patterns come in file order before keys alone, so an earlier pattern may leave nothing to others.
    fn unreachable(&mut self, level: &Level<'a>) {
        let is_pattern_node = |node: &Node| is_pattern(&node.key) || is_pattern(&node.value);
        let nodes = level.iter().filter(|place| !place.node.key.is_empty());
        let (patterns, plain): (Vec<_>, Vec<_>) = nodes.partition(|place| is_pattern_node(place.node));
        for (index, place) in patterns.iter().enumerate() {
            self.hidden(place, &patterns[..index]);
        }
        let takes_all = |value: &str| value.bytes().all(|byte| byte == b'*');
        let takers: Vec<_> = patterns.into_iter().filter(|place| takes_all(&place.node.value)).collect();
        for place in plain.into_iter().filter(|place| place.node.value.is_empty()) {
            self.hidden(place, &takers);
        }
    }

    fn hidden(&mut self, place: &Place<'a>, before: &[&Place<'a>]) {
        let allowed = &before[..before.len().min(self.comparisons_left)];
        self.comparisons_left -= allowed.len();
        let any = |value: &'a str| if value.is_empty() { "*" } else { value };
        let node = place.node;
        let wider = allowed.iter().find(|wide| {
            let wide = wide.node;
            let is_same = wide.key == node.key && wide.value == node.value;
            !is_same && covers(&wide.key, &node.key) && covers(any(&wide.value), any(&node.value))
        });
        if let Some(wider) = wider {
            let message = Message::new(format!(
                "no request reaches this {}, since {} takes all of its requests",
                described(node),
                described(wider.node)
            ))
            .hint(format!("the pattern stands at {}; the first pattern that matches counts", located(wider)));
            self.report(Severity::Warning, place, message);
        }
    }

    fn collect_names(&mut self, node: &'a Node) {
        match &node.limits {
            NodeLimits::None => {}
            NodeLimits::Unlimited { name, .. } => {
                self.names.insert(name);
            }
            NodeLimits::Limited { limits, .. } => {
                self.names.extend(limits.iter().map(|limit| limit.name.as_str()));
            }
        }
    }

    fn replaced_name(&mut self, file: &str, replaced: &ReplacedName) {
        if self.names.contains(replaced.name.as_str()) {
            return;
        }
        let message = Message::new(format!("no rule of this domain has the name {}", quoted(&replaced.name)));
        let tried = self.names.len().min(self.names_left_to_try);
        self.names_left_to_try -= tried;
        let names = self.names.iter().copied().take(tried).filter(|name| !name.is_empty());
        let message = message.did_you_mean(crate::yaml::nearest(&replaced.name, names));
        self.problems.push(Problem {
            severity: Severity::Warning,
            position: Some(replaced.position),
            path: replaced.path.clone(),
            ..Problem::of_file(file, message)
        });
    }

    fn report(&mut self, severity: Severity, place: &Place<'_>, message: Message) {
        let indices = self.path.iter().chain([&place.index]);
        let path: Vec<String> = indices.map(|index| format!("descriptors[{index}]")).collect();
        self.problems.push(Problem {
            severity,
            position: Some(place.node.position),
            path: path.join("."),
            ..Problem::of_file(place.file, message)
        });
    }
}

fn described(node: &Node) -> String {
    let key = quoted(&node.key);
    match node.value.as_str() {
        "" => format!("key {key} without a value"),
        value => format!("key {key} with value {}", quoted(value)),
    }
}

fn located(place: &Place<'_>) -> String {
    let Position { line, column } = place.node.position;
    format!("{}:{line}:{column}", place.file)
}
