//! The descriptor tree of a domain and the walk through it.
//!
//! At each level an entry is looked up by key and value, then among the patterns in file order, then by key
//! alone. There is no way back: once a node matched, a miss further down never falls back to a sibling.

use std::hash::{Hash, Hasher};

use foldhash::fast::RandomState;
use hashbrown::{Equivalent, HashMap};

use super::pattern::{Pattern, is_pattern};
use crate::engine::{LimitFacts, Map, Miss, Path, RuleFacts};
use crate::limit::Limit;
use crate::request::Entry;

/// The nodes that can match the next entry.
#[derive(Debug, Default)]
pub(super) struct Level {
    nodes: Vec<Node>,
    exact: HashMap<Pair, usize, RandomState>,
    patterns: Vec<(Pattern, Option<Pattern>, usize)>,
    /// Every literal key of this level, with the node that has it alone.
    keys: HashMap<Box<[u8]>, Option<usize>, RandomState>,
}

/// One node of the tree.
#[derive(Debug)]
pub(super) struct Node {
    /// The key as written, perhaps with `*`.
    pub(super) key: Box<str>,
    /// The value as written, perhaps with `*`; empty if there is none.
    pub(super) value: Box<str>,
    /// What requests that end here are held against.
    pub(super) rule: Rule,
    /// What the next entry can match.
    pub(super) children: Level,
    /// Whether what the pattern matches shares one counter.
    pub(super) share_threshold: bool,
    /// Whether metrics name the value of the request at this level.
    pub(super) value_to_metric: bool,
    /// Whether any metric path through here depends on the request.
    pub(super) has_metric_path: bool,
}

/// What a node enforces.
#[derive(Debug)]
pub(super) enum Rule {
    None,
    Unlimited { replaces: Vec<Box<str>> },
    Limited(Limited),
}

/// A node's limits.
#[derive(Debug)]
pub(super) struct Limited {
    pub(super) facts: RuleFacts,
    pub(super) limits: Vec<RuleLimit>,
    pub(super) quota: bool,
    pub(super) detailed_metric: bool,
    /// Whether any of the limits replaces rules by name.
    pub(super) replaces: bool,
}

/// One limit of a node.
#[derive(Debug)]
pub(super) struct RuleLimit {
    pub(super) facts: LimitFacts,
    pub(super) limit: Limit,
    pub(super) limit_id: u64,
    pub(super) shadow: bool,
    pub(super) mark: bool,
    pub(super) name: Box<str>,
    pub(super) replaces: Vec<Box<str>>,
}

/// How an entry came to its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// By its key and its value.
    Exact,
    /// By a pattern, the first in file order.
    Pattern,
    /// By its key, whatever its value.
    KeyAlone,
}

impl Node {
    /// The key and value under which a matched entry is counted.
    pub(super) fn counted<'a>(&'a self, entry: &'a Entry) -> (&'a [u8], &'a [u8]) {
        if self.share_threshold {
            (self.key.as_bytes(), self.value.as_bytes())
        } else {
            (&entry.key, &entry.value)
        }
    }

    fn is_pattern(&self) -> bool {
        is_pattern(&self.key) || is_pattern(&self.value)
    }
}

impl Level {
    /// Adds a node behind those that are there. No node has its key and value yet.
    pub(super) fn add(&mut self, node: Node) {
        let index = self.nodes.len();
        let (key, value) = (node.key.as_bytes(), node.value.as_bytes());
        if node.is_pattern() {
            let value = (!node.value.is_empty()).then(|| Pattern::new(&node.value));
            self.patterns.push((Pattern::new(&node.key), value, index));
        }
        let alone = self.keys.entry(key.into()).or_default();
        if value.is_empty() {
            *alone = Some(index);
        } else {
            self.exact.insert(Pair(key.into(), value.into()), index);
        }
        self.nodes.push(node);
    }

    /// The node that an entry goes to.
    pub(super) fn find(&self, entry: &Entry) -> Result<(&Node, Step), Miss> {
        self.find_index(entry).map(|(index, step)| (&self.nodes[index], step))
    }

    /// The place of the node that an entry goes to.
    pub(super) fn find_index(&self, entry: &Entry) -> Result<(usize, Step), Miss> {
        let (key, value) = (&*entry.key, &*entry.value);
        if let Some(index) = self.exact.get(&PairRef(key, value)) {
            return Ok((*index, Step::Exact));
        }
        let matches = |(of_key, of_value, _): &&(Pattern, Option<Pattern>, usize)| {
            of_key.matches(key) && of_value.as_ref().is_none_or(|pattern| pattern.matches(value))
        };
        if let Some((_, _, index)) = self.patterns.iter().find(matches) {
            return Ok((*index, Step::Pattern));
        }
        match self.keys.get(key) {
            Some(Some(index)) => Ok((*index, Step::KeyAlone)),
            Some(None) => Err(Miss::Value),
            None if self.patterns.iter().any(|(of_key, ..)| of_key.matches(key)) => Err(Miss::Value),
            None => Err(Miss::Key),
        }
    }

    /// The places of all nodes that an entry could go to if the first of them did not take it.
    pub(super) fn candidates(&self, entry: &Entry) -> Vec<usize> {
        let (key, value) = (&*entry.key, &*entry.value);
        let exact = self.exact.get(&PairRef(key, value)).copied();
        let patterns = self.patterns.iter().filter(|(of_key, of_value, _)| {
            of_key.matches(key) && of_value.as_ref().is_none_or(|pattern| pattern.matches(value))
        });
        let alone = self.keys.get(key).copied().flatten();
        let mut places: Vec<usize> =
            exact.into_iter().chain(patterns.map(|(.., index)| *index)).chain(alone).collect();
        // A pattern without a value is also the node that has its own text as key alone.
        let mut seen = std::collections::BTreeSet::new();
        places.retain(|place| seen.insert(*place));
        places
    }

    /// The node at a place.
    pub(super) fn node(&self, index: usize) -> &Node {
        &self.nodes[index]
    }

    /// Whether no entry can match.
    pub(super) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Walks down by the entries, telling `visit` of each step; the node at which they end.
    pub(super) fn walk<'r>(
        &'r self,
        entries: &[Entry],
        mut visit: impl FnMut(&'r Node, &Entry, Step),
    ) -> Result<&'r Node, Miss> {
        let mut level = self;
        let mut reached = None;
        for entry in entries {
            let found =
                if reached.is_some() && level.is_empty() { Err(Miss::ExtraEntry) } else { level.find(entry) };
            let (node, step) = found?;
            visit(node, entry, step);
            level = &node.children;
            reached = Some(node);
        }
        reached.ok_or(Miss::NoEntries)
    }
}

/// The path that the metrics of a request's entries are counted under, if it is not that of the rule.
pub(super) fn metric_path(root: &Level, entries: &[Entry], detailed: bool) -> Path {
    let mut shared = false;
    let mut steps = Vec::with_capacity(entries.len());
    // The walk that found the rule goes the same way again.
    let _ = root.walk(entries, |node, entry, step| {
        shared |= node.share_threshold;
        steps.push((node, entry.clone(), step));
    });
    let mut path = Path::default();
    for (node, entry, step) in steps {
        let (key, value) = (String::from_utf8_lossy(&entry.key), String::from_utf8_lossy(&entry.value));
        let written = (!node.value.is_empty()).then_some(&*node.value);
        let with_value = (!value.is_empty()).then_some(&*value);
        match step {
            _ if node.share_threshold => path.push(&node.key, written),
            _ if detailed && shared => path.push(&key, with_value),
            // As in the reference, an empty value shows.
            _ if detailed => path.push(&key, Some(&value)),
            Step::Pattern | Step::KeyAlone if node.value_to_metric => path.push(&key, with_value),
            _ => path.push(&node.key, written),
        }
    }
    path
}

/// Metadata as it is answered; an empty map says nothing.
pub(super) fn answered_metadata(metadata: Option<&Map>) -> Option<Map> {
    metadata.filter(|map| !map.is_empty()).cloned()
}

#[derive(Debug, PartialEq, Eq)]
struct Pair(Box<[u8]>, Box<[u8]>);

impl Hash for Pair {
    fn hash<H: Hasher>(&self, state: &mut H) {
        PairRef(&self.0, &self.1).hash(state);
    }
}

/// A [`Pair`] that owns nothing.
#[derive(Hash)]
struct PairRef<'a>(&'a [u8], &'a [u8]);

impl Equivalent<Pair> for PairRef<'_> {
    fn equivalent(&self, pair: &Pair) -> bool {
        *self.0 == *pair.0 && *self.1 == *pair.1
    }
}
