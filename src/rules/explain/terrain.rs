//! The compiled tree and the files that it was made of, side by side.

use super::super::RuleSet;
use super::super::file::{Node, NodeLimits, RuleFile};
use super::super::tree::Level;
use super::StepTaken;
use crate::request::Entry;

/// A node and the file that it stands in.
#[derive(Debug, Clone, Copy)]
pub struct Spot<'f> {
    /// How messages name the file.
    pub file: &'f str,
    /// The node.
    pub node: &'f Node,
}

/// A level of the tree: the nodes that can match the next entry.
#[derive(Debug, Clone)]
pub(super) struct Ground<'t, 'f> {
    pub(super) level: &'t Level,
    /// Where its nodes are written; in the order of the level.
    pub(super) spots: Vec<Spot<'f>>,
}

/// The tree of one domain.
#[derive(Debug)]
pub(super) struct Terrain<'t, 'f> {
    pub(super) root: Ground<'t, 'f>,
}

impl Spot<'_> {
    /// Whether a limit applies to requests that end here.
    pub(super) fn is_limited(&self) -> bool {
        matches!(self.node.limits, NodeLimits::Limited { .. })
    }
}

impl Ground<'_, '_> {
    /// The level below the node at a place.
    pub(super) fn below(&self, index: usize) -> Self {
        let Spot { file, node } = self.spots[index];
        let spots = node.children.iter().map(|node| Spot { file, node }).collect();
        Self { level: &self.level.node(index).children, spots }
    }

    /// The node that an entry goes to.
    pub(super) fn find(&self, entry: &Entry) -> Option<usize> {
        self.level.find_index(entry).ok().map(|(index, _)| index)
    }
}

impl<'t, 'f> Terrain<'t, 'f> {
    /// The domain at that place of the rule set, which was compiled of those files.
    pub(super) fn of(rules: &'t RuleSet, domain: usize, files: &'f [RuleFile]) -> Self {
        let domain = &rules.domains[domain];
        let files = files.iter().filter(|file| *file.domain == *domain.name);
        let spots =
            files.flat_map(|file| file.descriptors.iter().map(|node| Spot { file: &file.name, node }));
        Self { root: Ground { level: &domain.root, spots: spots.collect() } }
    }

    /// The steps of the entries as far as they match, and the level at which the way ends.
    pub(super) fn walk(&self, entries: &[Entry]) -> (Vec<StepTaken<'f>>, Ground<'t, 'f>) {
        let mut ground = self.root.clone();
        let mut steps = Vec::new();
        for entry in entries {
            let Ok((index, how)) = ground.level.find_index(entry) else { break };
            steps.push(StepTaken { spot: ground.spots[index], how });
            ground = ground.below(index);
        }
        (steps, ground)
    }

    /// The node at which the entries end, whether or not it has a limit.
    pub(super) fn reached(&self, entries: &[Entry]) -> Option<Spot<'f>> {
        let (steps, _) = self.walk(entries);
        steps.last().filter(|_| steps.len() == entries.len()).map(|step| step.spot)
    }

    /// The rule with a limit at which the entries end.
    pub(super) fn limited(&self, entries: &[Entry]) -> Option<Spot<'f>> {
        self.reached(entries).filter(Spot::is_limited)
    }
}
