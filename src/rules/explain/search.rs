//! Searches for rules that a request nearly reached. All of them are bounded: a hint is a courtesy.

use std::collections::VecDeque;

use super::terrain::{Ground, Spot, Terrain};
use crate::request::Entry;

/// How many steps one search may take.
const MAX_STEPS: usize = 20_000;

/// A rule and the order of entries that reaches it.
pub(super) type Reached<'f> = (Vec<usize>, Spot<'f>);

/// An order of all the entries in which they reach a rule with a limit.
pub(super) fn other_order<'f>(terrain: &Terrain<'_, 'f>, entries: &[Entry]) -> Option<Reached<'f>> {
    let mut left = MAX_STEPS;
    order(&terrain.root, entries, &mut Vec::new(), &mut left)
}

fn order<'f>(
    ground: &Ground<'_, 'f>,
    entries: &[Entry],
    taken: &mut Vec<usize>,
    left: &mut usize,
) -> Option<Reached<'f>> {
    for (place, entry) in entries.iter().enumerate() {
        if *left == 0 || taken.contains(&place) {
            continue;
        }
        *left -= 1;
        let Some(index) = ground.find(entry) else { continue };
        taken.push(place);
        let spot = ground.spots[index];
        if taken.len() < entries.len() {
            let found = order(&ground.below(index), entries, taken, left);
            if found.is_some() {
                return found;
            }
        } else if spot.is_limited() {
            return Some((taken.clone(), spot));
        }
        taken.pop();
    }
    None
}

/// A way to a rule with a limit that the matcher did not take, because another node came first.
pub(super) struct Detour<'f> {
    /// The entry at which the ways part.
    pub(super) at: usize,
    /// The node that took the entry.
    pub(super) taken: Spot<'f>,
    /// The node that leads to the rule.
    pub(super) instead: Spot<'f>,
    /// The rule.
    pub(super) rule: Spot<'f>,
}

/// The first such way.
pub(super) fn detour<'f>(terrain: &Terrain<'_, 'f>, entries: &[Entry]) -> Option<Detour<'f>> {
    let mut left = MAX_STEPS;
    way(&terrain.root, entries, 0, None, &mut left)
}

/// Where two ways part: the entry, the node that takes it, and the other one.
type Parting<'f> = (usize, Spot<'f>, Spot<'f>);

fn way<'f>(
    ground: &Ground<'_, 'f>,
    entries: &[Entry],
    at: usize,
    parting: Option<Parting<'f>>,
    left: &mut usize,
) -> Option<Detour<'f>> {
    let candidates = ground.level.candidates(entries.get(at)?);
    let first = ground.spots[*candidates.first()?];
    for (rank, index) in candidates.into_iter().enumerate() {
        *left = left.checked_sub(1)?;
        let spot = ground.spots[index];
        let parting = parting.or((rank > 0).then_some((at, first, spot)));
        if at + 1 < entries.len() {
            let found = way(&ground.below(index), entries, at + 1, parting, left);
            if found.is_some() {
                return found;
            }
        } else if let (Some((at, taken, instead)), true) = (parting, spot.is_limited()) {
            return Some(Detour { at, taken, instead, rule: spot });
        }
    }
    None
}

/// The nodes above a deeper level from which the entries reach a rule with a limit, and that rule.
pub(super) fn from_deeper<'f>(
    terrain: &Terrain<'_, 'f>,
    entries: &[Entry],
) -> Option<(Vec<Spot<'f>>, Spot<'f>)> {
    let mut open = VecDeque::from([(Vec::new(), terrain.root.clone())]);
    let mut left = MAX_STEPS;
    while let Some((above, ground)) = open.pop_front() {
        left = left.checked_sub(1)?;
        if !above.is_empty() {
            let rule = Terrain { root: ground.clone() }.limited(entries);
            if let Some(rule) = rule {
                return Some((above, rule));
            }
        }
        for (index, spot) in ground.spots.iter().enumerate() {
            if !spot.node.children.is_empty() && open.len() < MAX_STEPS {
                let above = above.iter().copied().chain([*spot]).collect();
                open.push_back((above, ground.below(index)));
            }
        }
    }
    None
}
