//! A limited descriptor after settling: which of its limits speaks for it, and what that one says.

use std::cmp::Reverse;
use std::ops::Range;
use std::sync::Arc;

use smallvec::SmallVec;

use super::{LimitFacts, Matched, Outcome, Question, RuleFacts};
use crate::algorithm::Verdict;
use crate::limit::Limit;

/// What the one status of a limited descriptor is made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Judged<'a> {
    /// The rule; `None` for an override.
    pub(super) rule: Option<&'a RuleFacts>,
    /// Facts of the tightest limit; `None` for an override.
    pub(super) facts: Option<&'a LimitFacts>,
    /// The tightest limit.
    pub(super) limit: &'a Limit,
    /// The verdict on it.
    pub(super) verdict: &'a Verdict,
    /// Whether it only measures.
    pub(super) shadow: bool,
    /// Whether the descriptor joins the quota.
    pub(super) quota: bool,
}

impl Judged<'_> {
    /// Whether the descriptor's status says that it is over its limit.
    pub(super) fn is_over(&self) -> bool {
        !self.verdict.allowed && !self.shadow
    }

    /// Hits that are left, as answered; a shadow limit that would refuse has none.
    pub(super) fn remaining(&self) -> u32 {
        match self.verdict.remaining {
            _ if self.shadow && !self.verdict.allowed => 0,
            remaining => u32::try_from(remaining).unwrap_or(u32::MAX),
        }
    }

    /// Whole seconds, rounded up because Envoy truncates: until the same hits pass if they were refused,
    /// until the state is as if unused if they were allowed or can never pass.
    pub(super) fn reset_s(&self) -> u64 {
        let after_ms = match self.verdict.retry_after_ms {
            Some(retry_after_ms) if !self.verdict.allowed => retry_after_ms,
            _ => self.verdict.reset_after_ms,
        };
        after_ms.div_ceil(1000)
    }

    pub(super) fn name(&self) -> Option<&Arc<str>> {
        self.facts.and_then(|facts| facts.name.as_ref())
    }
}

/// Sorts the tightest first: refused before allowed; of the refused the longest wait, never being the
/// longest; then the fewest hits left, then the longest reset. Equal ones stay in file order.
pub(super) fn tightness(verdict: &Verdict) -> impl Ord + use<> {
    let wait_ms = verdict.retry_after_ms.unwrap_or(u64::MAX);
    (verdict.allowed, Reverse(wait_ms), verdict.remaining, Reverse(verdict.reset_after_ms))
}

/// The judgement on each limited descriptor, in the order of the request.
pub(super) fn judge<'a, 'r: 'a>(
    question: &'a Question<'r>,
    outcome: &'a Outcome,
) -> SmallVec<[Judged<'a>; 2]> {
    let mut judged = SmallVec::new();
    let mut groups = question.settlement.groups();
    for matched in &question.matched {
        let Matched::Limited(rule) = matched else { continue };
        let Some((group, charges)) = groups.next() else { break };
        let index = tightest(question, outcome, charges);
        let charge = &question.settlement.charges()[index];
        judged.push(Judged {
            rule: *rule,
            facts: question.limits[index],
            limit: &charge.limit,
            verdict: &outcome.verdicts[index],
            shadow: charge.shadow,
            quota: group.quota,
        });
    }
    judged
}

/// The charge that speaks for its descriptor; one that only measures does so only where all do.
fn tightest(question: &Question<'_>, outcome: &Outcome, charges: Range<usize>) -> usize {
    let first = charges.start;
    if charges.len() == 1 {
        return first;
    }
    let shadow = |index: &usize| question.settlement.charges()[*index].shadow;
    charges.min_by_key(|index| (shadow(index), tightness(&outcome.verdicts[*index]))).unwrap_or(first)
}
