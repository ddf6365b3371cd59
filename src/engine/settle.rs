//! The request policy: which charges are allowed, whether the request passes, and what is booked.
//!
//! Two passes over the charges, in order. The first tries each charge on the state that the charges before
//! it would leave, and so fixes what is allowed and the fate of the request. The second starts again from
//! the stored states and books what is owed: all that was allowed if the request passes, and otherwise
//! only what a refused request books. So a refused request costs nobody anything.

use smallvec::SmallVec;

use super::settlement::{Charge, Outcome, Settlement, Write};
use crate::algorithm::{State, Verdict, keeps_state, step};
use crate::time::Timestamp;

/// What the first pass found out.
struct Trial {
    allowed: SmallVec<[bool; 4]>,
    available: SmallVec<[u64; 4]>,
    /// Per group: whether a limit that may refuse its descriptor does.
    group_refused: SmallVec<[bool; 2]>,
    refused: bool,
}

/// Applies a settlement to the stored states of its keys (by slot), as of `now`: the verdicts, and what is
/// to be stored in their place.
#[must_use]
pub fn settle(
    settlement: &Settlement,
    now: Timestamp,
    stored: &[Option<&State>],
) -> (Outcome, SmallVec<[Write; 2]>) {
    if let Some(charge) = settlement.alone() {
        let (outcome, state) = settle_alone(settlement, charge, now, stored[0]);
        let reset_after_ms = outcome.verdicts[0].reset_after_ms;
        let write = state.map(|state| Write { slot: 0, state, reset_after_ms });
        return (outcome, write.into_iter().collect());
    }
    if settlement.resets {
        return (Outcome::default(), reset(settlement, now, stored));
    }
    let present: SmallVec<[State; 2]> = stored
        .iter()
        .enumerate()
        .map(|(slot, state)| State::at(&settlement.first_charge(slot).limit, *state, now))
        .collect();
    let trial = try_charges(settlement, &present);
    let moved = stored.iter().enumerate().map(|(slot, state)| {
        let limit = &settlement.first_charge(slot).limit;
        keeps_state(limit) && state.is_some_and(|state| state.is_too_far_ahead(limit, now))
    });
    book_charges(settlement, now, present, moved.collect(), &trial)
}

/// An unused state for each key that has one: that of the epoch, which a clock that runs back finds unused as well.
fn reset(settlement: &Settlement, now: Timestamp, stored: &[Option<&State>]) -> SmallVec<[Write; 2]> {
    let used = stored.iter().enumerate().filter(|(_, state)| state.is_some());
    let unused = used.map(|(slot, _)| {
        let limit = &settlement.first_charge(slot).limit;
        let state = State::at(limit, None, Timestamp::from_ms(0));
        Write { slot, reset_after_ms: state.reset_ms(limit, now), state }
    });
    unused.collect()
}

/// Applies a settlement of one charge: its verdict, and the state to store if there is one. Most requests have
/// one limit, for which the two passes come to one step.
#[must_use]
pub fn settle_alone(
    settlement: &Settlement,
    charge: &Charge,
    now: Timestamp,
    stored: Option<&State>,
) -> (Outcome, Option<State>) {
    let (verdict, state) = step(&charge.limit, stored, now, charge.hits);
    let refused_groups = settlement.refused_groups(|_| verdict.allowed);
    let refused = !settlement.global_shadow && settlement.refuses(&refused_groups);
    let verdicts = SmallVec::from_iter([verdict]);
    (Outcome { refused, verdicts, overflowed: SmallVec::new() }, state)
}

fn try_charges(settlement: &Settlement, present: &[State]) -> Trial {
    let charges = settlement.charges();
    let repeats = charges.len() > present.len();
    // Only a key that is asked twice is ever seen after a booking.
    let mut tried: SmallVec<[State; 2]> = if repeats { present.into() } else { SmallVec::new() };
    let mut allowed: SmallVec<[bool; 4]> = SmallVec::with_capacity(charges.len());
    let mut available = SmallVec::with_capacity(charges.len());
    for (index, charge) in charges.iter().enumerate() {
        let slot = settlement.slot(index);
        let state = if repeats { &tried[slot] } else { &present[slot] };
        let fits = state.allows(&charge.limit, charge.hits);
        allowed.push(fits);
        available.push(state.remaining(&charge.limit));
        if repeats && (fits || charge.limit.count_refused()) {
            book(charge, &mut tried[slot]);
        }
    }
    let group_refused = settlement.refused_groups(|index| allowed[index]);
    let enforced = !settlement.global_shadow;
    let refused = settlement.refused || (enforced && settlement.refuses(&group_refused));
    Trial { allowed, available, group_refused, refused }
}

fn book_charges(
    settlement: &Settlement,
    now: Timestamp,
    mut states: SmallVec<[State; 2]>,
    mut written: SmallVec<[bool; 2]>,
    trial: &Trial,
) -> (Outcome, SmallVec<[Write; 2]>) {
    let mut unpaid: SmallVec<[i64; 2]> = SmallVec::from_elem(0, states.len());
    let mut verdicts = SmallVec::with_capacity(settlement.charges().len());
    for ((group, range), refused) in settlement.groups().zip(&trial.group_refused) {
        debug_assert!(range.len() == group.charges);
        let passes = !trial.refused && (!refused || settlement.global_shadow);
        for index in range {
            let charge = &settlement.charges()[index];
            let slot = settlement.slot(index);
            let allowed = trial.allowed[index];
            let owed = charge.hits < 0 || charge.limit.count_refused() || (allowed && passes);
            if owed {
                book(charge, &mut states[slot]);
            }
            let state = &states[slot];
            let verdict = Verdict {
                allowed,
                available: trial.available[index],
                remaining: state.remaining(&charge.limit),
                retry_after_ms: if allowed {
                    Some(0)
                } else {
                    // A retry asks again for what this request did not get to pay before.
                    state.wait_ms(&charge.limit, now, charge.hits.saturating_add(unpaid[slot]))
                },
                reset_after_ms: state.reset_ms(&charge.limit, now),
            };
            written[slot] |= owed && books(charge);
            if !owed {
                unpaid[slot] = unpaid[slot].saturating_add(charge.hits);
            }
            verdicts.push(verdict);
        }
    }
    let states = states.into_iter().zip(written).enumerate();
    let writes = states.filter(|(_, (_, written))| *written).map(|(slot, (state, _))| {
        let reset_after_ms = state.reset_ms(&settlement.first_charge(slot).limit, now);
        Write { slot, state, reset_after_ms }
    });
    let outcome = Outcome { refused: trial.refused, verdicts, overflowed: SmallVec::new() };
    (outcome, writes.collect())
}

fn books(charge: &Charge) -> bool {
    charge.hits != 0 && keeps_state(&charge.limit)
}

fn book(charge: &Charge, state: &mut State) {
    if books(charge) {
        state.book(&charge.limit, charge.hits);
    }
}
