//! The fast matcher held against a naive one that is written from the reference's text.

use fluxlimit::engine::{Identity, Key, Matched, Miss};
use fluxlimit::limit::Limit;
use fluxlimit::request::{Descriptor, Entry, Override, Request};
use fluxlimit::rules::file::{Node, NodeLimits, RuleFile};
use fluxlimit::rules::{Modes, RuleSet};
use proptest::prelude::*;

use crate::steps::config;
use crate::trees::{NodeExt, NodeLimitExt, file, node, per_hour};

/// What one descriptor should come to.
#[derive(Debug, PartialEq)]
enum Expected {
    Nothing(Miss),
    Exempt,
    Unlimited,
    Limited { quota: bool, charges: Vec<(Key, Limit, bool)> },
}

/// The reference's text as code: entry by entry, looking at every node.
struct Naive<'a> {
    files: &'a [RuleFile],
    request: &'a Request,
}

impl<'a> Naive<'a> {
    fn expected(&self) -> Vec<Expected> {
        let found: Vec<_> = self.request.descriptors.iter().map(|asked| self.find(asked)).collect();
        let matched = found.iter().filter_map(|found| found.as_ref().ok().and_then(|(node, _)| *node));
        let replaced: Vec<&str> = matched.flat_map(replaces).collect();
        let asked = self.request.descriptors.iter().zip(found);
        asked.map(|(asked, found)| Self::matched(asked, found, &replaced)).collect()
    }

    /// The node that the entries end at, `None` for an override, and the identity.
    fn find(&self, asked: &'a Descriptor) -> Result<(Option<&'a Node>, Identity), Miss> {
        let files = self.files.iter().filter(|file| self.request.domain == *file.domain);
        let files: Vec<_> = files.collect();
        let first = files.first().ok_or(Miss::Domain)?;
        let mut identity = Identity::of(first.domain.as_bytes(), 0);
        if asked.limit.is_some() {
            asked.entries.iter().for_each(|entry| identity.entry(&entry.key, &entry.value));
            return Ok((None, identity));
        }
        let mut level: Vec<&Node> = files.iter().flat_map(|file| &file.descriptors).collect();
        let mut last = None;
        for entry in &asked.entries {
            if last.is_some() && level.is_empty() {
                return Err(Miss::ExtraEntry);
            }
            let node = one_step(&level, entry)?;
            let shared = node.share_threshold;
            let key = if shared { node.key.as_bytes() } else { &entry.key };
            identity.entry(key, if shared { node.value.as_bytes() } else { &entry.value });
            level = node.children.iter().collect();
            last = Some(node);
        }
        Ok((Some(last.ok_or(Miss::NoEntries)?), identity))
    }

    fn matched(
        asked: &Descriptor,
        found: Result<(Option<&Node>, Identity), Miss>,
        replaced: &[&str],
    ) -> Expected {
        let (node, identity) = match found {
            Err(miss) => return Expected::Nothing(miss),
            Ok(found) => found,
        };
        let Some(node) = node else {
            let limit = asked.limit.expect("only an override has no node").limit(true);
            return Expected::Limited {
                quota: false,
                charges: vec![(identity.into_key(&limit, false), limit, false)],
            };
        };
        match &node.limits {
            NodeLimits::None if node.children.is_empty() => Expected::Exempt,
            NodeLimits::None => Expected::Nothing(Miss::DeeperEntry),
            NodeLimits::Unlimited { .. } => Expected::Unlimited,
            NodeLimits::Limited { limits, is_list } => {
                let kept =
                    limits.iter().filter(|limit| limit.name.is_empty() || !replaced.contains(&&*limit.name));
                let charges: Vec<_> = kept
                    .map(|limit| {
                        let mark = *is_list && limit.shadow_mode;
                        (identity.clone().into_key(&limit.limit, mark), limit.limit, limit.shadow_mode)
                    })
                    .collect();
                if charges.is_empty() {
                    Expected::Exempt
                } else {
                    Expected::Limited { quota: node.quota_mode, charges }
                }
            }
        }
    }
}

fn one_step<'a>(level: &[&'a Node], entry: &Entry) -> Result<&'a Node, Miss> {
    let has = |node: &&&Node, value: &[u8]| entry.key == *node.key && node.value.as_bytes() == value;
    let exact = level.iter().find(|node| !entry.value.is_empty() && has(node, &entry.value));
    let pattern = || {
        level.iter().find(|node| {
            (node.key.contains('*') || node.value.contains('*'))
                && stands_for(node.key.as_bytes(), &entry.key)
                && (node.value.is_empty() || stands_for(node.value.as_bytes(), &entry.value))
        })
    };
    let alone = || level.iter().find(|node| has(node, b""));
    let miss = || {
        let key_is_there = level.iter().any(|node| stands_for(node.key.as_bytes(), &entry.key));
        if key_is_there { Miss::Value } else { Miss::Key }
    };
    exact.or_else(pattern).or_else(alone).copied().ok_or_else(miss)
}

/// Whether `pattern`, in which each `*` is any bytes, is `text`.
fn stands_for(pattern: &[u8], text: &[u8]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((b'*', rest)) => (0..=text.len()).any(|from| stands_for(rest, &text[from..])),
        Some((byte, rest)) => text.first() == Some(byte) && stands_for(rest, &text[1..]),
    }
}

fn replaces(node: &Node) -> Vec<&str> {
    match &node.limits {
        NodeLimits::None => vec![],
        NodeLimits::Unlimited { replaces, .. } => replaces.iter().map(|name| &**name).collect(),
        NodeLimits::Limited { limits, .. } => {
            limits.iter().flat_map(|limit| &limit.replaces).map(|name| &**name).collect()
        }
    }
}

const NAMES: [&str; 4] = ["", "", "n", "m"];

fn limits() -> impl Strategy<Value = NodeLimits> {
    let name = || proptest::sample::select(NAMES.to_vec());
    let limit = (1..9u32, name(), name(), any::<bool>()).prop_map(|(count, name, replaced, shadow)| {
        let limit = per_hour(count).named(name);
        let limit = if replaced.is_empty() { limit } else { limit.replacing(&[replaced]) };
        if shadow { limit.shadow() } else { limit }
    });
    prop_oneof![
        2 => Just(NodeLimits::None),
        1 => name().prop_map(|name| NodeLimits::Unlimited { name: String::new(), replaces: vec![name.to_owned()] }),
        4 => (prop::collection::vec(limit, 1..3), any::<bool>())
            .prop_map(|(limits, is_list)| NodeLimits::Limited { is_list: is_list || limits.len() > 1, limits }),
    ]
}

/// A level whose nodes have keys and values of their own; some levels go deeper.
pub(crate) fn levels() -> impl Strategy<Value = Vec<Node>> {
    let keys = proptest::sample::select(vec!["a", "b", "ab", "a*", "*b", "*"]);
    let values = proptest::sample::select(vec!["", "", "x", "y", "xy", "x*", "*y", "*", "x*y*"]);
    let alone =
        (keys, values, limits(), any::<[bool; 2]>()).prop_map(|(key, value, limits, [quota, shared])| {
            let share_threshold = shared && (key.contains('*') || value.contains('*'));
            Node { limits, quota_mode: quota, share_threshold, ..node(key, value) }
        });
    let alone = alone.boxed();
    let level = |nodes: Vec<Node>| {
        let mut level: Vec<Node> = Vec::new();
        for node in nodes {
            if !level.iter().any(|known| known.key == node.key && known.value == node.value) {
                level.push(node);
            }
        }
        level
    };
    prop::collection::vec(alone.clone(), 0..6).prop_map(level).prop_recursive(3, 40, 6, move |deeper| {
        let node = (alone.clone(), deeper).prop_map(|(node, children)| node.with(children));
        prop::collection::vec(node, 1..6).prop_map(level)
    })
}

fn descriptors() -> impl Strategy<Value = Descriptor> {
    let keys = proptest::sample::select(vec!["a", "b", "ab", "a*", "c", ""]);
    let values =
        proptest::sample::select(vec![&b""[..], b"x", b"y", b"xy", b"xxyy", b"x*", b"*", b"y\xff", b"z"]);
    let entries = prop::collection::vec((keys, values).prop_map(|(key, value)| Entry::new(key, value)), 0..4);
    (entries, prop::bool::weighted(0.1)).prop_map(|(entries, overridden)| Descriptor {
        limit: overridden.then(|| Override::new(3, 3, None).expect("3 an hour is a limit")),
        ..Descriptor::of(entries)
    })
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_fast_matcher_equals_the_naive_one(
        tree in levels(),
        at in any::<prop::sample::Index>(),
        descriptors in prop::collection::vec(descriptors(), 1..5),
        known in prop::bool::weighted(0.95),
        modes in any::<[bool; 2]>(),
    ) {
        // The same domain in two files is one level, in file order.
        let cut = if tree.is_empty() { 0 } else { at.index(tree.len()) };
        let (first, second) = tree.split_at(cut);
        let files = [file("d", first.to_vec()), file("other", tree.clone()), file("d", second.to_vec())];
        let rules = RuleSet::compile(&files);
        let domain = if known { "d" } else { "unknown" };
        let request = Request { domain: domain.into(), descriptors: descriptors.into(), hits_addend: 2 };
        let modes = Modes { global_shadow: modes[0], global_quota: modes[1] };
        let question = rules.question(&request, modes);

        let expected = Naive { files: &files, request: &request }.expected();
        let mut groups = question.settlement.groups();
        let found = question.matched.iter().map(|matched| match matched {
            Matched::Nothing(miss) => Expected::Nothing(*miss),
            Matched::Exempt => Expected::Exempt,
            Matched::Unlimited => Expected::Unlimited,
            Matched::Limited(_) => {
                let (group, range) = groups.next().expect("a group per limited descriptor");
                let charges = question.settlement.charges()[range].iter();
                let charges = charges.map(|charge| (charge.key.clone(), charge.limit, charge.shadow)).collect();
                Expected::Limited { quota: group.quota, charges }
            }
        });
        let found: Vec<Expected> = found.collect();
        let expected: Vec<Expected> = expected.into_iter().map(|expected| match expected {
            Expected::Limited { quota, charges } => Expected::Limited { quota: quota || modes.global_quota, charges },
            other => other,
        }).collect();
        prop_assert_eq!(&found, &expected);
        let passes = expected.iter().any(|one| matches!(one, Expected::Nothing(_) | Expected::Exempt));
        prop_assert_eq!(question.settlement.quota_passes, modes.global_quota && passes);
        prop_assert_eq!(question.settlement.global_shadow, modes.global_shadow);
        for (charge, facts) in question.settlement.charges().iter().zip(&question.limits) {
            prop_assert_eq!(charge.hits, 2);
            let written = facts.map_or(Some(charge.limit), |facts| rules.limits()[facts.index].limit);
            prop_assert_eq!(written, Some(charge.limit));
        }
    }
}
