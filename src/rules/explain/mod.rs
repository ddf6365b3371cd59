//! Why a request is limited as it is, or not at all: the walk through the rules, step by step.
//!
//! [`Explainer`] asks the compiled tree, the one that answers requests, and reads beside it the checked
//! files, whose nodes stand in the same order and know where they are written. So an explanation cannot
//! differ from what a server does.

mod hints;
mod search;
mod terrain;

use std::collections::BTreeSet;

use super::file::{NodeLimit, NodeLimits, RuleFile};
pub use super::tree::Step as How;
use super::{HashTag, Modes, OnStoreFailure, RuleSet};
use crate::engine::{Matched, Miss};
use crate::limit::Limit;
use crate::request::{Descriptor, Entry, Request};
pub use hints::{Hint, Why};
pub use terrain::Spot;
use terrain::{Ground, Terrain};

/// Explains requests by rules that have been checked.
#[derive(Debug)]
pub struct Explainer<'f> {
    files: &'f [RuleFile],
    rules: RuleSet,
}

/// What comes of a request, and why.
#[derive(Debug)]
pub struct Explanation<'f> {
    /// The files that hold the rules of its domain; none if there is no such domain.
    pub files: Vec<&'f RuleFile>,
    /// What comes of each descriptor, in the order of the request.
    pub descriptors: Vec<Explained<'f>>,
}

/// What comes of one descriptor.
#[derive(Debug)]
pub struct Explained<'f> {
    /// The way through the tree, as far as it goes: one step for each entry that matched.
    pub steps: Vec<StepTaken<'f>>,
    /// Where the way ends.
    pub end: End<'f>,
    /// What may have been meant, most likely first. Given where no limit applies.
    pub hints: Vec<Hint<'f>>,
}

/// An entry and the node that took it.
#[derive(Debug, Clone, Copy)]
pub struct StepTaken<'f> {
    /// The node.
    pub spot: Spot<'f>,
    /// How the entry came to it.
    pub how: How,
}

/// Where the way of a descriptor ends.
#[derive(Debug)]
pub enum End<'f> {
    /// At a rule whose limits apply.
    Limited {
        /// The rule.
        rule: Spot<'f>,
        /// Its limits, in file order. At least one is not replaced.
        limits: Vec<Applied<'f>>,
    },
    /// At a rule that says `unlimited`.
    Unlimited(Spot<'f>),
    /// At a node without a limit and without deeper rules: everything passes.
    Exempt(Spot<'f>),
    /// At a rule whose limits are all replaced.
    Replaced {
        /// The rule.
        rule: Spot<'f>,
        /// Its limits.
        limits: Vec<Applied<'f>>,
    },
    /// At a limit that came with the request.
    Override(Limit),
    /// At nothing.
    Miss {
        /// Why.
        miss: Miss,
        /// What the entry could have matched where the way ended; at most [`MAX_EXPECTED`].
        expected: Vec<Spot<'f>>,
        /// How many more there are.
        more: usize,
    },
}

/// A limit of a rule that was reached.
#[derive(Debug, Clone)]
pub struct Applied<'f> {
    /// The limit.
    pub limit: &'f NodeLimit,
    /// The rule of the request that takes its place by name; `None` if it applies.
    pub replaced_by: Option<Spot<'f>>,
}

/// How many nodes are named that an entry could have matched.
pub const MAX_EXPECTED: usize = 6;

impl<'f> Explainer<'f> {
    /// An explainer for the rules of those files, which have been checked together.
    #[must_use]
    pub fn new(files: &'f [RuleFile]) -> Self {
        Self { files, rules: RuleSet::compile(files) }
    }

    /// The names of the domains that have rules, in file order.
    pub fn domains(&self) -> impl Iterator<Item = &str> {
        self.rules.domains()
    }

    /// What comes of a request, and why.
    #[must_use]
    pub fn explain(&self, request: &Request) -> Explanation<'f> {
        let question = self.rules.question(request, Modes::default());
        let terrain = question.domain.map(|index| Terrain::of(&self.rules, index, self.files));
        let mut descriptors: Vec<Explained<'f>> = Vec::new();
        for (descriptor, matched) in request.descriptors.iter().zip(&question.matched) {
            let walked = terrain.as_ref().map(|terrain| terrain.walk(&descriptor.entries));
            let (steps, ground) = walked.map_or((Vec::new(), None), |(steps, ground)| (steps, Some(ground)));
            let end = match (descriptor.limit, question.domain) {
                (Some(limit), Some(index)) => {
                    End::Override(limit.limit(self.rules.domains[index].overrides_count_refused))
                }
                _ => end(descriptor, *matched, &steps, ground.as_ref()),
            };
            descriptors.push(Explained { steps, end, hints: Vec::new() });
        }
        mark_replaced(&mut descriptors);
        let view = hints::View { files: self.files, rules: &self.rules, request, terrain: terrain.as_ref() };
        let hinted: Vec<_> =
            (0..descriptors.len()).map(|index| view.hints(index, &descriptors[index])).collect();
        for (explained, hints) in descriptors.iter_mut().zip(hinted) {
            explained.hints = hints;
        }
        let files = self.files.iter().filter(|file| request.domain == *file.domain).collect();
        Explanation { files, descriptors }
    }
}

impl Explanation<'_> {
    /// What the files of the domain say is answered while the store does not answer; `None` if they do not.
    #[must_use]
    pub fn on_store_failure(&self) -> Option<OnStoreFailure> {
        self.files.iter().find_map(|file| file.on_store_failure).map(|(policy, _)| policy)
    }

    /// What the keys of the domain are kept together by in a cluster; `None` for their own identity.
    #[must_use]
    pub fn hash_tag(&self) -> Option<&HashTag> {
        self.files.iter().find_map(|file| file.hash_tag.as_ref())
    }

    /// Whether a limit applies to any of the descriptors.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        let limited = |end: &End<'_>| matches!(end, End::Limited { .. } | End::Override(_));
        self.descriptors.iter().any(|explained| limited(&explained.end))
    }
}

impl<'f> Explained<'f> {
    /// The key and value under which each entry is counted: its own, or the pattern that shares a counter.
    #[must_use]
    pub fn counted(&self, entries: &[Entry]) -> Vec<(String, String)> {
        let own = |entry: &Entry| (lossy(&entry.key), lossy(&entry.value));
        if matches!(self.end, End::Override(_)) {
            return entries.iter().map(own).collect();
        }
        let steps = self.steps.iter().zip(entries);
        let counted = steps.map(|(step, entry)| match step.spot.node {
            node if node.share_threshold => (node.key.clone(), node.value.clone()),
            _ => own(entry),
        });
        counted.collect()
    }

    /// The rule that was reached, if any was.
    #[must_use]
    pub fn rule(&self) -> Option<Spot<'f>> {
        match &self.end {
            End::Limited { rule, .. }
            | End::Replaced { rule, .. }
            | End::Unlimited(rule)
            | End::Exempt(rule) => Some(*rule),
            End::Override(_) | End::Miss { .. } => None,
        }
    }
}

/// Bytes as text; what is not UTF-8 is shown as such.
fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn end<'f>(
    descriptor: &Descriptor,
    matched: Matched<'_>,
    steps: &[StepTaken<'f>],
    ground: Option<&Ground<'_, 'f>>,
) -> End<'f> {
    let (Some(step), false) = (steps.last(), matches!(matched, Matched::Nothing(_))) else {
        let miss = if let Matched::Nothing(miss) = matched { miss } else { Miss::NoEntries };
        let all = ground.map(|ground| ground.spots.as_slice()).unwrap_or_default();
        let expected = expected(miss, all, descriptor.entries.get(steps.len()));
        let more = expected.len().saturating_sub(MAX_EXPECTED);
        return End::Miss { miss, expected: expected.into_iter().take(MAX_EXPECTED).collect(), more };
    };
    let rule = step.spot;
    match &rule.node.limits {
        NodeLimits::Unlimited { .. } => End::Unlimited(rule),
        NodeLimits::None => End::Exempt(rule),
        NodeLimits::Limited { limits, .. } => {
            let limits = limits.iter().map(|limit| Applied { limit, replaced_by: None }).collect();
            if matches!(matched, Matched::Limited(_)) {
                End::Limited { rule, limits }
            } else {
                End::Replaced { rule, limits }
            }
        }
    }
}

/// The nodes that are worth naming where the way ended: for a value those of its key, else one for each key.
fn expected<'f>(miss: Miss, spots: &[Spot<'f>], entry: Option<&Entry>) -> Vec<Spot<'f>> {
    if let (Miss::Value, Some(entry)) = (miss, entry) {
        let of_key = spots.iter().filter(|spot| entry.key == *spot.node.key);
        return of_key.copied().collect();
    }
    let mut keys = BTreeSet::new();
    spots.iter().filter(|spot| keys.insert(spot.node.key.as_str())).copied().collect()
}

/// Says of each limit that is replaced by name which rule of the request does so.
fn mark_replaced(descriptors: &mut [Explained<'_>]) {
    let mut replacing = Vec::new();
    for explained in &*descriptors {
        let Some(rule) = explained.rule() else { continue };
        match &rule.node.limits {
            NodeLimits::None => {}
            NodeLimits::Unlimited { replaces, .. } => {
                replacing.extend(replaces.iter().map(|name| (name.as_str(), rule)));
            }
            NodeLimits::Limited { limits, .. } => {
                let names = limits.iter().flat_map(|limit| &limit.replaces);
                replacing.extend(names.map(|name| (name.as_str(), rule)));
            }
        }
    }
    for explained in descriptors {
        let (End::Limited { limits, .. } | End::Replaced { limits, .. }) = &mut explained.end else {
            continue;
        };
        for applied in limits.iter_mut().filter(|applied| !applied.limit.name.is_empty()) {
            let by = replacing.iter().find(|(name, _)| *name == applied.limit.name);
            applied.replaced_by = by.map(|(_, rule)| *rule);
        }
    }
}
