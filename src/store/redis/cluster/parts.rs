//! A settlement over several slots: its parts, one per slot, and how their outcomes make one.
//!
//! A script reaches one slot, so the parts are settled one after another, each as if the request passed
//! until one refuses. What a refused request would not have booked is then given back. All of this is
//! pure: whoever drives a [`Walk`] sends the parts.

use smallvec::SmallVec;

use super::super::reply::Booked;
use super::super::settings::Address;
use super::super::work::Undone;
use super::errand::Settled;
use super::slot::Tag;
use crate::algorithm::{Verdict, keeps_state};
use crate::engine::{Charge, Group, Outcome, Settlement};

/// A request on its way over the slots: what was settled, and what is to come.
#[derive(Debug)]
pub(super) struct Walk {
    whole: Settlement,
    parts: Vec<Part>,
    /// What came of the parts before the present one.
    settled: Vec<Settled>,
    refused: bool,
}

/// The charges of one slot.
#[derive(Debug)]
pub(super) struct Part {
    /// The slot that all its keys are in.
    pub(super) slot: u16,
    /// What is settled there. Quota is decided over all parts, so here it never refuses.
    pub(super) settlement: Settlement,
    /// Where its charges stand in the whole request.
    places: SmallVec<[usize; 4]>,
}

/// What is given back to a slot.
#[derive(Debug)]
pub(super) struct GiveBack<'a> {
    /// The slot.
    pub(super) slot: u16,
    /// The node that booked: what took its place may not know of the bookings, and giving back what was not
    /// booked would admit too much.
    pub(super) node: &'a Address,
    /// What goes, each with the group of its charge.
    pub(super) undone: SmallVec<[(Group, Undone<'a>); 2]>,
}

impl Walk {
    /// A request before its first part.
    pub(super) fn over(whole: Settlement) -> Self {
        Self { parts: parts(&whole), settled: Vec::new(), refused: whole.refused, whole }
    }

    /// The next part to be settled; `None` after the last. If the caller has gone before the last part, the
    /// request counts as refused: nobody would hear that it passed.
    pub(super) fn next(&mut self, is_unwanted: bool) -> Option<&Part> {
        let part = self.parts.get_mut(self.settled.len())?;
        self.refused |= is_unwanted;
        part.settlement.refused = self.refused;
        Some(part)
    }

    /// Takes what came of that part.
    pub(super) fn took(&mut self, settled: Settled) {
        self.refused |= settled.answer.outcome.refused;
        self.settled.push(settled);
        if self.settled.len() == self.parts.len() {
            // Only now is it known whether every quota descriptor was refused.
            self.refused |= self.is_refused_as_a_whole();
        }
    }

    fn is_refused_as_a_whole(&self) -> bool {
        let mut allowed: SmallVec<[bool; 8]> = SmallVec::from_elem(false, self.whole.charges().len());
        for (part, settled) in self.parts.iter().zip(&self.settled) {
            for (place, verdict) in part.places.iter().zip(&settled.answer.outcome.verdicts) {
                allowed[*place] = verdict.allowed;
            }
        }
        !self.whole.global_shadow && self.whole.refuses(&self.whole.refused_groups(|index| allowed[index]))
    }

    /// What is to be given back after the last part: if the request is refused, what the parts before the
    /// refusal have booked and a refused request would not have.
    pub(super) fn give_backs(&self) -> impl Iterator<Item = GiveBack<'_>> + '_ {
        let refused = self.refused;
        let passed = self
            .parts
            .iter()
            .zip(&self.settled)
            .filter(move |(_, settled)| refused && !settled.answer.outcome.refused);
        let owed = passed.map(|(part, settled)| {
            let undone = part.unowed(&settled.answer.outcome).filter_map(|(group, index)| {
                let Booked { hits, place_ms } = *settled.answer.booked.get(index)?;
                let hits = u64::try_from(hits).ok().filter(|hits| *hits > 0)?;
                Some((group, Undone { charge: &part.settlement.charges()[index], hits, place_ms }))
            });
            GiveBack { slot: part.slot, node: &settled.node, undone: undone.collect() }
        });
        owed.filter(|owed| !owed.undone.is_empty())
    }

    /// The outcome after the last part.
    pub(super) fn outcome(&self) -> Outcome {
        let mut verdicts: SmallVec<[(usize, Verdict); 8]> = SmallVec::new();
        for (part, settled) in self.parts.iter().zip(&self.settled) {
            let here =
                if self.refused { &settled.answer.if_refused } else { &settled.answer.outcome.verdicts };
            verdicts.extend(part.places.iter().copied().zip(here.iter().copied()));
        }
        verdicts.sort_unstable_by_key(|(place, _)| *place);
        let verdicts = verdicts.into_iter().map(|(_, verdict)| verdict).collect();
        Outcome { refused: self.refused, verdicts, ..Outcome::default() }
    }
}

/// The slot of the whole settlement, if it is only one: then it is one atomic step.
#[must_use]
pub fn only_slot(whole: &Settlement) -> Option<u16> {
    let mut slots = groups(whole).map(|(_, tag, _)| tag.slot());
    let first = slots.next()?;
    slots.all(|slot| slot == first).then_some(first)
}

/// The parts of a settlement in the order of their slots, so that two requests over the same slots meet in
/// the first and not crosswise. Where a refusal is expected comes first: then nothing is booked elsewhere
/// only to be given back.
pub(super) fn parts(whole: &Settlement) -> Vec<Part> {
    let mut slots: SmallVec<[u16; 4]> = groups(whole).map(|(_, tag, _)| tag.slot()).collect();
    slots.sort_unstable();
    slots.dedup();
    let expects_refusal = |slot: u16| {
        let here = groups(whole).filter(|(group, tag, _)| tag.slot() == slot && !group.quota);
        here.flat_map(|(_, _, range)| range)
            .any(|index| whole.expects_refusal(index) && !whole.charges()[index].shadow)
    };
    slots.sort_by_cached_key(|slot| !expects_refusal(*slot));
    slots.into_iter().map(|slot| part(whole, slot)).collect()
}

/// The tag of each group that has charges.
fn groups(whole: &Settlement) -> impl Iterator<Item = (Group, Tag, std::ops::Range<usize>)> + '_ {
    whole.groups().filter_map(|(group, range)| {
        let first = whole.charges()[range.clone()].first()?;
        Some((group, Tag::of(group, first), range))
    })
}

fn part(whole: &Settlement, slot: u16) -> Part {
    let here = || groups(whole).filter(|(_, tag, _)| tag.slot() == slot);
    let places: SmallVec<[usize; 4]> = here().flat_map(|(_, _, range)| range).collect();
    let charges = places.iter().map(|place| whole.charges()[*place].clone()).collect();
    let mut settlement = Settlement::new(charges, here().map(|(group, ..)| group).collect());
    settlement.quota_passes = true;
    settlement.global_shadow = whole.global_shadow;
    settlement.refused = whole.refused;
    settlement.resets = whole.resets;
    Part { slot, settlement, places }
}

impl Part {
    /// The charges that a passing request has booked here and a refused one would not have: those that were
    /// allowed and cost hits, of descriptors that are not refused, whose rules do not count refused hits.
    ///
    /// Give-backs and rules with `count_refused` book either way; what was refused itself booked nothing.
    fn unowed(&self, outcome: &Outcome) -> impl Iterator<Item = (Group, usize)> + use<'_> {
        let allowed: SmallVec<[bool; 4]> = outcome.verdicts.iter().map(|verdict| verdict.allowed).collect();
        let refused_groups = self.settlement.refused_groups(|index| allowed[index]);
        let groups = self.settlement.groups().zip(refused_groups);
        let passing = groups.filter(|(_, refused)| !refused || self.settlement.global_shadow);
        let charges = passing.flat_map(|((group, range), _)| range.map(move |index| (group, index)));
        charges.filter(move |(_, index)| {
            let Charge { hits, limit, .. } = &self.settlement.charges()[*index];
            *hits > 0 && allowed[*index] && !limit.count_refused() && keeps_state(limit)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::super::super::reply::Answer;
    use super::*;
    use crate::algorithm::State;
    use crate::engine::{Identity, Key, settle};
    use crate::limit::{Algorithm, Limit, LimitSpec, Unit};
    use crate::time::Timestamp;

    /// One descriptor of a request: identity, which limits, hits, quota, and whether the first limit only
    /// measures.
    type Asked = (u8, u8, i64, bool, bool);

    fn limit(identity: u8, place: u8) -> Limit {
        let algorithms = [
            Algorithm::TokenBucket,
            Algorithm::LeakyBucket,
            Algorithm::FixedWindow,
            Algorithm::SlidingWindow,
        ];
        let algorithm = algorithms[usize::from((identity + place) % 4)];
        let burst = algorithm.is_bucket().then_some(4);
        let spec = LimitSpec::new(algorithm, 5 + u32::from(place), Unit::Second);
        Limit::new(LimitSpec { burst, count_refused: identity % 3 == 2, ..spec }).unwrap()
    }

    fn whole(asked: &[Asked], quota_passes: bool, global_shadow: bool, refused: bool) -> Settlement {
        let mut charges = SmallVec::new();
        for (name, limits, hits, _, shadow) in asked {
            for place in 0..*limits {
                let mut identity = Identity::of(b"d", 0);
                identity.entry(b"k", &[*name]);
                let (limit, mark) = (limit(*name, place), *shadow && place == 0);
                let key = identity.into_key(&limit, mark);
                charges.push(Charge { key, limit, hits: *hits, shadow: mark, mark, limit_id: 0 });
            }
        }
        let groups = asked.iter().map(|(_, limits, _, quota, _)| Group {
            charges: usize::from(*limits),
            quota: *quota,
            tag: None,
        });
        let mut whole = Settlement::new(charges, groups.collect());
        (whole.quota_passes, whole.global_shadow, whole.refused) = (quota_passes, global_shadow, refused);
        whole
    }

    /// Stored states, and how a store settles on them.
    #[derive(Debug, Clone, Default, PartialEq)]
    struct States(HashMap<Key, State>);

    impl States {
        fn settle(&mut self, settlement: &Settlement, now: Timestamp) -> Outcome {
            let stored: Vec<Option<&State>> = settlement.keys().map(|key| self.0.get(key)).collect();
            let (outcome, writes) = settle(settlement, now, &stored);
            for write in writes {
                self.0.insert(settlement.first_charge(write.slot).key.clone(), write.state);
            }
            outcome
        }

        /// What the script answers to a part.
        fn settle_part(&mut self, part: &Part, now: Timestamp) -> Settled {
            let mut refused = part.settlement.clone();
            refused.refused = true;
            let if_refused = self.clone().settle(&refused, now).verdicts;
            let outcome = self.settle(&part.settlement, now);
            let booked = part.settlement.charges().iter();
            let booked = booked.map(|charge| Booked { hits: charge.hits, place_ms: 0 }).collect();
            let node = Address { host: String::new(), port: 1 };
            Settled { answer: Answer { outcome, booked, if_refused }, node }
        }

        fn give_back(&mut self, charge: &Charge, hits: i64) {
            match self.0.get_mut(&charge.key).unwrap() {
                State::SlidingWindow(window) => {
                    // All of it happens in one millisecond, so what was booked is in the newest slot.
                    let Some(slot) = window.slots.last_mut() else { return };
                    slot.hits = slot.hits.saturating_sub(hits.unsigned_abs());
                    window.slots.retain(|slot| slot.hits > 0);
                }
                state => state.book(&charge.limit, -hits),
            }
        }

        fn walk(&mut self, whole: &Settlement, now: Timestamp) -> Outcome {
            let mut walk = Walk::over(whole.clone());
            while let Some(part) = walk.next(false) {
                let settled = self.settle_part(part, now);
                walk.took(settled);
            }
            for owed in walk.give_backs() {
                for (_, Undone { charge, hits, .. }) in &owed.undone {
                    self.give_back(charge, hits.cast_signed());
                }
            }
            walk.outcome()
        }

        /// The states of all keys as they are now; a state that equals no state is that of a new key.
        fn present(&self, now: Timestamp) -> Vec<State> {
            let asked: Vec<Asked> = [false, true]
                .into_iter()
                .flat_map(|shadow| (0..12).map(move |name| (name, 2, 0, false, shadow)))
                .collect();
            let all = whole(&asked, false, false, false);
            let charges = all.charges().iter();
            charges.map(|charge| State::at(&charge.limit, self.0.get(&charge.key), now)).collect()
        }
    }

    fn descriptors() -> impl Strategy<Value = Vec<Asked>> {
        let rare = || prop::bool::weighted(0.2);
        prop::collection::vec((0..12_u8, 1..3_u8, -2..5_i64, rare(), rare()), 1..5)
    }

    proptest! {
        #[test]
        fn a_walk_over_the_slots_comes_to_what_one_step_comes_to(
            asks in prop::collection::vec((0..400_u64, descriptors(), 0..8_u8), 1..20)
        ) {
            let (mut expected, mut found) = (States::default(), States::default());
            let mut now_ms = 1_800_000_000_000;
            for (moves_ms, asked, mode) in asks {
                now_ms += moves_ms;
                let now = Timestamp::from_ms(now_ms);
                let whole = whole(&asked, mode == 0, mode == 1, mode == 2);
                prop_assert_eq!(found.walk(&whole, now), expected.settle(&whole, now));
                prop_assert_eq!(found.present(now), expected.present(now));
            }
        }
    }

    #[test]
    fn parts_come_in_the_order_of_slots_and_hold_whole_descriptors() {
        let asked: Vec<Asked> = (0..12).map(|name| (name, 2, 1, true, false)).collect();
        let whole = whole(&asked, false, false, false);
        let parts = parts(&whole);
        assert!(parts.is_sorted_by_key(|part| part.slot));
        assert!(parts.len() > 5, "twelve identities have several slots");
        for part in &parts {
            assert!(part.settlement.quota_passes, "quota is decided over all parts");
            assert_eq!(only_slot(&part.settlement), Some(part.slot));
            assert!(part.places.chunks(2).all(|pair| pair[0] % 2 == 0 && pair[1] == pair[0] + 1));
        }
        let mut places: Vec<usize> = parts.iter().flat_map(|part| part.places.iter().copied()).collect();
        places.sort_unstable();
        assert_eq!(places, (0..24).collect::<Vec<_>>());
        assert_eq!(only_slot(&whole), None);
    }

    #[test]
    fn where_a_refusal_is_expected_comes_first() {
        let asked: Vec<Asked> = (0..6).map(|name| (name, 1, 1, false, name == 0)).collect();
        let slots: Vec<u16> =
            parts(&whole(&asked, false, false, false)).iter().map(|part| part.slot).collect();
        for expected in 0..6 {
            let mut whole = whole(&asked, false, false, false);
            let slot = groups(&whole).nth(expected).unwrap().1.slot();
            whole.expect_refusal(expected);
            let mut order = slots.clone();
            if expected > 0 {
                order.retain(|other| *other != slot);
                order.insert(0, slot);
            }
            let found: Vec<u16> = parts(&whole).iter().map(|part| part.slot).collect();
            assert_eq!(found, order, "one that only measures refuses nothing");
        }
    }

    #[test]
    fn a_caller_who_has_gone_counts_as_refused() {
        let mut states = States::default();
        let whole = whole(&[(0, 1, 1, false, false), (1, 1, 1, false, false)], false, false, false);
        let now = Timestamp::from_ms(1_800_000_000_000);
        let mut walk = Walk::over(whole);
        let first = states.settle_part(walk.next(false).unwrap(), now);
        walk.took(first);
        let last = walk.next(true).unwrap();
        assert!(last.settlement.refused);
        let last = states.settle_part(last, now);
        walk.took(last);
        assert!(walk.next(true).is_none());
        assert!(walk.outcome().refused);
        assert_eq!(walk.give_backs().count(), 1, "the first part booked a hit, the last did not");
    }
}
