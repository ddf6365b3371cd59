//! What goes to a store for one request, and what comes back.

use std::collections::HashMap;

use smallvec::{SmallVec, smallvec};

use super::Key;
use crate::algorithm::{State, Verdict};
use crate::limit::Limit;

/// Above this many charges, equal keys are found through a hash map.
const FEW_CHARGES: usize = 16;

/// One matched limit of one descriptor: what is asked of which counter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    /// Where it is counted.
    pub key: Key,
    /// What it is held against.
    pub limit: Limit,
    /// Hits: 0 looks, negative gives back; at most 2^52 either way.
    pub hits: i64,
    /// Measured only: it never refuses a request.
    pub shadow: bool,
    /// Whether the key carries the mark of a shadow limit in a list.
    pub mark: bool,
    /// Names the limit across restarts: the domain, the rule and the place in its list, hashed.
    pub limit_id: u64,
}

/// The charges of one limited descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group {
    /// How many of the settlement's charges are its own, following those of the groups before.
    pub charges: usize,
    /// Whether it joins the quota instead of refusing alone.
    pub quota: bool,
    /// What its keys are kept together by in a store that spreads keys over several machines; `None` for
    /// their own identity. Charges on the same key are in groups of the same tag.
    pub tag: Option<u64>,
}

/// The charges of one request, grouped by descriptor, and who can refuse it: applied by a store as one
/// atomic step.
#[derive(Debug, Clone)]
pub struct Settlement {
    charges: SmallVec<[Charge; 2]>,
    groups: SmallVec<[Group; 2]>,
    /// For each charge, the index of its key among the different keys.
    slots: SmallVec<[usize; 2]>,
    /// For each different key, the first charge on it.
    firsts: SmallVec<[usize; 2]>,
    /// A bit for each of the first 64 charges that is expected to be refused.
    expected_refusals: u64,
    /// A quota descriptor passes that has no charges, so the quota cannot refuse.
    pub quota_passes: bool,
    /// Nothing refuses; statuses still say what would have been.
    pub global_shadow: bool,
    /// The request was refused elsewhere: book only what a refused request books.
    pub refused: bool,
    /// Nothing is asked: the states of all its keys become those of unused ones, and there are no verdicts.
    pub resets: bool,
}

impl Settlement {
    /// A settlement of those charges. The groups' lengths add up to the number of charges.
    #[must_use]
    pub fn new(charges: SmallVec<[Charge; 2]>, groups: SmallVec<[Group; 2]>) -> Self {
        debug_assert_eq!(groups.iter().map(|group| group.charges).sum::<usize>(), charges.len());
        let (slots, firsts) = distinct(&charges);
        Self {
            charges,
            groups,
            slots,
            firsts,
            expected_refusals: 0,
            quota_passes: false,
            global_shadow: false,
            refused: false,
            resets: false,
        }
    }

    /// The charges, in the order of the request.
    #[must_use]
    pub fn charges(&self) -> &[Charge] {
        &self.charges
    }

    /// The charge, if there is only one and it is asked without anything decided elsewhere.
    #[must_use]
    pub fn alone(&self) -> Option<&Charge> {
        match &*self.charges {
            [charge] if !self.refused && !self.resets => Some(charge),
            _ => None,
        }
    }

    /// The charges of each limited descriptor, in the order of the request.
    pub fn groups(&self) -> impl Iterator<Item = (Group, std::ops::Range<usize>)> + '_ {
        let mut start = 0;
        self.groups.iter().map(move |group| {
            let range = start..start + group.charges;
            start = range.end;
            (*group, range)
        })
    }

    /// Per group, whether a limit that may refuse its descriptor does; `allowed` says which charges are.
    pub fn refused_groups(&self, allowed: impl Fn(usize) -> bool) -> SmallVec<[bool; 2]> {
        let refuses = |index: usize| !allowed(index) && !self.charges[index].shadow;
        self.groups().map(|(_, mut range)| range.any(refuses)).collect()
    }

    /// Whether the request is refused when those groups are, but for the global shadow mode.
    #[must_use]
    pub fn refuses(&self, refused_groups: &[bool]) -> bool {
        let mut quotas = 0;
        let mut refused_quotas = 0;
        for (group, refused) in self.groups.iter().zip(refused_groups) {
            if group.quota {
                quotas += 1;
                refused_quotas += usize::from(*refused);
            } else if *refused {
                return true;
            }
        }
        quotas > 0 && quotas == refused_quotas && !self.quota_passes
    }

    /// The different keys, in the order in which they first appear. Their index is a *slot*.
    #[must_use]
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &Key> + '_ {
        self.firsts.iter().map(|first| &self.charges[*first].key)
    }

    /// The slot of a charge.
    #[must_use]
    pub fn slot(&self, charge: usize) -> usize {
        self.slots[charge]
    }

    /// The first charge on the key of a slot.
    #[must_use]
    pub fn first_charge(&self, slot: usize) -> &Charge {
        &self.charges[self.firsts[slot]]
    }

    /// Whether a charge is the first on its key, so that no other of this settlement is tried before it.
    #[must_use]
    pub fn is_first(&self, charge: usize) -> bool {
        self.firsts[self.slots[charge]] == charge
    }

    /// Notes that a charge will be refused, as far as anybody knows. It is a hint for a store that needs
    /// several steps, and never changes what comes out; beyond the 64th charge it is forgotten.
    pub fn expect_refusal(&mut self, charge: usize) {
        self.expected_refusals |= bit(charge);
    }

    /// Whether a charge is expected to be refused.
    #[must_use]
    pub fn expects_refusal(&self, charge: usize) -> bool {
        self.expected_refusals & bit(charge) != 0
    }

    /// True if there is nothing to ask a store.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.charges.is_empty()
    }

    /// The same questions, with the charges on the slots for which `overflows` is true counted under the
    /// key that their limit keeps for a full store.
    #[must_use]
    pub fn overflowed(&self, overflows: impl Fn(usize) -> bool) -> Self {
        let mut charges = self.charges.clone();
        for (index, charge) in charges.iter_mut().enumerate() {
            if overflows(self.slots[index]) {
                charge.key = Key::overflow(&charge.limit, charge.mark, charge.limit_id);
            }
        }
        let (slots, firsts) = distinct(&charges);
        Self { charges, slots, firsts, groups: self.groups.clone(), ..*self }
    }

    /// The same questions, of which nothing is booked whatever the answer: hits that are refused are not counted
    /// either, and none are given back.
    #[must_use]
    pub fn looking(&self) -> Self {
        let mut looking = self.clone();
        for charge in &mut looking.charges {
            charge.limit = charge.limit.counting_refused(false);
            charge.hits = charge.hits.max(0);
        }
        looking.refused = true;
        looking
    }

    /// What makes the keys unused of those charges for which `resets` is true.
    #[must_use]
    pub fn resetting(&self, resets: impl Fn(usize) -> bool) -> Self {
        let kept = |index: &usize| resets(*index);
        let groups =
            self.groups().map(|(group, range)| Group { charges: range.filter(kept).count(), ..group });
        let charges = self.charges.iter().enumerate().filter(|(index, _)| resets(*index));
        let mut resetting = Self::new(charges.map(|(_, charge)| charge.clone()).collect(), groups.collect());
        resetting.resets = true;
        resetting
    }
}

/// The bit of a charge; none beyond the 64th.
fn bit(charge: usize) -> u64 {
    u32::try_from(charge).ok().and_then(|charge| 1_u64.checked_shl(charge)).unwrap_or(0)
}

fn distinct(charges: &[Charge]) -> (SmallVec<[usize; 2]>, SmallVec<[usize; 2]>) {
    if charges.len() == 1 {
        return (smallvec![0], smallvec![0]);
    }
    let mut slots = SmallVec::with_capacity(charges.len());
    let mut firsts = SmallVec::<[usize; 2]>::new();
    let mut known = HashMap::new();
    for (index, charge) in charges.iter().enumerate() {
        let slot = if charges.len() <= FEW_CHARGES {
            firsts.iter().position(|first| charges[*first].key == charge.key)
        } else {
            known.get(&charge.key).copied()
        };
        slots.push(slot.unwrap_or(firsts.len()));
        if slot.is_none() {
            if charges.len() > FEW_CHARGES {
                known.insert(&charge.key, firsts.len());
            }
            firsts.push(index);
        }
    }
    (slots, firsts)
}

/// What a store answers to a settlement.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outcome {
    /// Whether the request is refused.
    pub refused: bool,
    /// One verdict per charge, in order.
    pub verdicts: SmallVec<[Verdict; 2]>,
    /// The charges that were counted under the overflow key of their limit, because the store is full.
    pub overflowed: SmallVec<[usize; 4]>,
}

/// A state to store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// The slot of the key that it belongs to.
    pub slot: usize,
    /// The state.
    pub state: State,
    /// Milliseconds from the clock reading until the state need not be kept.
    pub reset_after_ms: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Identity;
    use crate::limit::{Algorithm, LimitSpec, Unit};

    #[test]
    fn refusals_are_expected_of_the_charges_that_they_were_noted_for() {
        let limit = Limit::new(LimitSpec::new(Algorithm::FixedWindow, 5, Unit::Day)).unwrap();
        let key = Identity::of(b"d", 0).into_key(&limit, false);
        let charge = Charge { key, limit, hits: 1, shadow: false, mark: false, limit_id: 0 };
        let charges = SmallVec::from_elem(charge, 70);
        let group = Group { charges: 70, quota: false, tag: None };
        let mut settlement = Settlement::new(charges, SmallVec::from_iter([group]));
        for charge in [0, 63, 64, 69] {
            settlement.expect_refusal(charge);
        }
        let expected =
            |of: &Settlement| (0..70).filter(|charge| of.expects_refusal(*charge)).collect::<Vec<_>>();
        assert_eq!(expected(&settlement), [0, 63]);
        assert_eq!(expected(&settlement.overflowed(|_| true)), [0, 63]);
        assert_eq!((0..70).filter(|charge| settlement.is_first(*charge)).collect::<Vec<_>>(), [0]);
    }
}
